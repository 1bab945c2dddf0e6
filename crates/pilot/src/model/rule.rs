//! Rules for requests as they apply: those of a VirtualService, and those of delegates in place of the rules that
//! lead to them.

use std::fmt;
use std::sync::Arc;

use tidegate_api::ObjectKey;
use tidegate_api::istio::virtual_service::{Destination, HttpMatchRequest, HttpRoute};

use super::delegate::{self, ConditionOrigin, Contradiction, Merged};
use super::virtual_service::VirtualService;

/// A rule for requests as it applies.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// What it says.
    pub says: Arc<HttpRoute>,
    /// The object that it is written in: the VirtualService itself, or a delegate.
    pub key: ObjectKey,
    /// Its number there.
    pub number: usize,
    /// Where it is a delegate's: the number of the rule that leads to it, and where its conditions come from.
    through: Option<(usize, Vec<ConditionOrigin>)>,
}

/// A rule that delegates, and what keeps rules of the delegate from applying through it.
#[derive(Clone, Debug, PartialEq)]
pub struct Unmet {
    /// Number of the rule that delegates.
    pub number: usize,
    /// The delegate.
    pub delegate: ObjectKey,
    /// What is wrong.
    pub reason: UnmetReason,
}

/// What keeps rules of a delegate from applying.
#[derive(Clone, Debug, PartialEq)]
pub enum UnmetReason {
    /// There is no such VirtualService.
    Missing,
    /// Its exportTo hides it.
    Hidden,
    /// It has hosts, and so is none.
    HasHosts,
    /// Its rule of this number delegates further.
    Chained(usize),
    /// Its rule of this number contradicts the one that leads to it.
    Contradicts(usize, Contradiction),
}

impl Rule {
    /// A rule that applies as it is written.
    pub(super) fn own(key: &ObjectKey, number: usize, says: &Arc<HttpRoute>) -> Self {
        Self { says: Arc::clone(says), key: key.clone(), number, through: None }
    }

    /// Where it stands in its object: `http[1]`.
    #[must_use]
    pub fn place(&self) -> String {
        format!("http[{}]", self.number)
    }

    /// Where one of its conditions stands in its object, or the rule where it has none there.
    #[must_use]
    pub fn condition_place(&self, condition: Option<usize>) -> String {
        let own = self.own_condition(condition);
        own.map_or_else(|| self.place(), |own| format!("{}.match[{own}]", self.place()))
    }

    /// The number that one of its conditions has in its object; `None` where it has none there.
    #[must_use]
    pub fn own_condition(&self, condition: Option<usize>) -> Option<usize> {
        match &self.through {
            None => condition,
            Some((_, origins)) => origins.get(condition?)?.own,
        }
    }

    /// Of a delegate's rule: where the rule of the VirtualService stands that leads to it under a condition.
    #[must_use]
    pub fn root_place(&self, condition: Option<usize>) -> Option<String> {
        let (number, origins) = self.through.as_ref()?;
        let origin = condition.and_then(|number| origins.get(number));
        Some(match origin.and_then(|origin| origin.root) {
            Some(root) => format!("http[{number}].match[{root}]"),
            None => format!("http[{number}]"),
        })
    }

    /// Of a delegate's rule: the number of the rule that leads to it.
    #[must_use]
    pub fn root_number(&self) -> Option<usize> {
        self.through.as_ref().map(|(number, _)| *number)
    }

    /// Its conditions with their numbers; one that is none for a rule without any.
    pub fn conditions(&self) -> impl Iterator<Item = (Option<usize>, Option<&HttpMatchRequest>)> {
        let none = self.says.matches.is_empty().then_some((None, None));
        let all = self.says.matches.iter().enumerate().map(|(n, c)| (Some(n), Some(c)));
        none.into_iter().chain(all)
    }

    /// Every destination that it sends copies to, with the path of the field in its object.
    pub fn mirrors(&self) -> impl Iterator<Item = (String, &Destination)> {
        let one = self.says.mirror.as_deref();
        let one = one.map(|destination| (format!("{}.mirror", self.place()), destination));
        let more = self.says.mirrors.iter().enumerate().map(|(m, mirror)| {
            (format!("{}.mirrors[{m}].destination", self.place()), &mirror.destination)
        });
        one.into_iter().chain(more)
    }

    /// Every destination that it sends to, with the path of the field in its object.
    pub fn destinations(&self) -> impl Iterator<Item = (String, &Destination)> {
        self.says.route.iter().enumerate().map(|(d, destination)| {
            (format!("{}.route[{d}].destination", self.place()), &destination.destination)
        })
    }
}

/// The rules of `service` as they apply, with those of its delegates, and what keeps others from applying.
pub(super) fn apply<'a>(
    service: &'a VirtualService,
    delegate: impl Fn(&ObjectKey) -> Option<&'a VirtualService>,
) -> (Vec<Rule>, Vec<Unmet>) {
    let (mut rules, mut unmet) = (Vec::new(), Vec::new());
    for (number, rule) in service.http.iter().enumerate() {
        let Some(key) = service.delegate_of(rule) else {
            rules.push(Rule::own(&service.key, number, rule));
            continue;
        };
        let mut note = |reason| unmet.push(Unmet { number, delegate: key.clone(), reason });
        match delegate(&key) {
            None => note(UnmetReason::Missing),
            Some(found) if !found.hosts.is_empty() => note(UnmetReason::HasHosts),
            Some(found) if !found.is_exported_to(&service.key.namespace) => {
                note(UnmetReason::Hidden);
            }
            Some(found) => {
                for (own, says) in found.http.iter().enumerate() {
                    if says.delegate.is_some() {
                        note(UnmetReason::Chained(own));
                        continue;
                    }
                    match delegate::merge(rule, says) {
                        Ok(Merged { rule, conditions }) => rules.push(Rule {
                            says: Arc::new(rule),
                            key: found.key.clone(),
                            number: own,
                            through: Some((number, conditions)),
                        }),
                        Err(with) => note(UnmetReason::Contradicts(own, with)),
                    }
                }
            }
        }
    }
    (rules, unmet)
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, delegate, reason } = self;
        let ObjectKey { namespace, name, .. } = delegate;
        write!(f, "http[{number}].delegate: ")?;
        match reason {
            UnmetReason::Missing => {
                write!(
                    f,
                    "there is no VirtualService {name} in namespace {namespace}; the rule takes no requests"
                )
            }
            UnmetReason::Hidden => write!(
                f,
                "exportTo of VirtualService {namespace}/{name} hides it from here; name this namespace there"
            ),
            UnmetReason::HasHosts => write!(
                f,
                "VirtualService {namespace}/{name} has hosts of its own; a delegate has none, so take them away there"
            ),
            UnmetReason::Chained(own) => write!(
                f,
                "http[{own}] of {namespace}/{name} delegates further, which a delegate cannot; name that one here"
            ),
            UnmetReason::Contradicts(own, Contradiction { condition, with }) => {
                write!(f, "http[{own}] of {namespace}/{name} is left out, as match[{condition}] ")?;
                for (n, conflict) in with.iter().enumerate() {
                    let or = if n == 0 { "" } else { ", and " };
                    write!(f, "{or}{conflict}")?;
                    if with.len() > 1 {
                        write!(f, " (match[{n}] of http[{number}])")?;
                    }
                }
                f.write_str("; a delegate can only narrow what leads to it")
            }
        }
    }
}
