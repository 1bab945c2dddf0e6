//! What of the objects on the way is not in force as it is written: forms that are refused, and what stands in their place.

use tidegate_api::{Kind, ObjectKey};
use tidegate_pilot::Serves;
use tidegate_pilot::origins::RouteOrigin;
use tidegate_pilot::status::Force;
use tidegate_proxy::config::listener::FilterChain;
use tidegate_proxy::route::{Action, VirtualHost};
use tidegate_proxy::tls::context::Common;
use tidegate_proxy::tls::secret::IdentitySource;
use tidegate_xds::assemble::virtual_host_name;
use tidegate_xds::{Rejection, ResourceType};

use crate::World;
use crate::answer::{Answer, Lost, NotInForce, Source};

const LAST_GOOD: &str = "lastGood";
const ITSELF: &str = "itself";
const NOTHING: &str = "nothing";
const REST: &str = "rest";
const CLOSED: &str = "closed";
/// Objects of these kinds may have to do with every request.
const OF_ALL: [Kind; 3] =
    [Kind::AuthorizationPolicy, Kind::RequestAuthentication, Kind::EnvoyFilter];
/// The status that the proxy answers for a route none of whose forms it takes.
const BROKEN: u16 = 500;

impl World {
    /// What is refused of a listener, as far as it concerns one of its filter chains.
    pub(crate) fn refused_listener(&self, name: &str, chain: Option<usize>) -> Vec<NotInForce> {
        let refused = self.refused(ResourceType::Listener, name).filter_map(|rejection| {
            let number = item(&rejection.path, "filter_chains");
            if !rejection.serves_on && number.is_some() && number != chain {
                return None;
            }
            let origins = || self.pilot.chain_origins(name).into_iter();
            let origin = number.and_then(|number| origins().nth(number));
            let server = origin.and_then(|origin| origin.server);
            let from = match server {
                Some(server) => self.places(&[server]),
                None => {
                    let owners = self.pilot.owners(rejection.kind, name).into_iter();
                    owners
                        .filter(|key| key.kind == Kind::Gateway)
                        .map(|key| self.whole(key))
                        .collect()
                }
            };
            Some(told(rejection, rejection.serves_on, from))
        });
        refused.collect()
    }

    /// What is refused of a virtual host: single routes, or the whole.
    pub(crate) fn refused_host(&self, table: &str, host: &VirtualHost) -> Vec<NotInForce> {
        let name = virtual_host_name(table, &host.name);
        let origins = self.pilot.host_origins(table, &host.name).unwrap_or_default();
        let refused = self.refused(ResourceType::VirtualHost, &name).map(|rejection| {
            let number = item(&rejection.path, "routes");
            let origin = number.and_then(|number| origins.route(number));
            let from: Vec<Source> = match origin {
                Some(origin) => RouteOrigin::parts(origin).map(|o| self.source(o)).collect(),
                None => self.owners(rejection),
            };
            let served = rejection.route_alone().and_then(|number| host.routes().get(number));
            let mended = served.is_some_and(
                |route| !matches!(&route.action, Action::Direct(direct) if direct.status == BROKEN),
            );
            told(rejection, rejection.serves_on || mended, from)
        });
        refused.collect()
    }

    /// What is refused of resources of these types with a name.
    pub(crate) fn refused_of(&self, kinds: &[ResourceType], name: &str) -> Vec<NotInForce> {
        let refused = kinds.iter().flat_map(|kind| self.refused(*kind, name));
        refused.map(|refused| told(refused, refused.serves_on, self.owners(refused))).collect()
    }

    /// The credentials of a filter chain that are not as they are now, because those before serve on.
    pub(crate) fn kept_of_chain(&self, chain: &FilterChain) -> Vec<NotInForce> {
        chain.tls.as_ref().map_or_else(Vec::new, |tls| self.kept(&tls.common))
    }

    /// The credentials of handshakes that are not as they are now, because those before serve on; and those that serve though they
    /// have expired.
    pub(crate) fn kept(&self, common: &Common) -> Vec<NotInForce> {
        let identities = common.identities.iter().filter_map(|identity| match identity {
            IdentitySource::Secret(slot) => Some(&slot.name),
            IdentitySource::Here(_) => None,
        });
        let all = identities.chain(common.validation.secret.as_ref().map(|slot| &slot.name));
        let kept = all.flat_map(|name| {
            let from = self.pilot.secret_sources(name);
            let unread: Vec<_> = from.iter().filter_map(|key| self.unread_form(key)).collect();
            let lack = self.pilot.lack(name).and_then(|lack| {
                let instead = match lack.serves {
                    Serves::Before => LAST_GOOD,
                    Serves::Itself => ITSELF,
                    Serves::Nothing => return None,
                };
                Some((lack.words, instead))
            });
            let lack = lack.map(|(refused, instead)| NotInForce {
                refused,
                instead,
                from: from.into_iter().map(|key| self.whole(key)).collect(),
            });
            lack.into_iter().chain(unread)
        });
        kept.collect()
    }

    /// Adds the objects on the way whose newest form does not decode, and what else is not in force that may have to do with
    /// every request.
    pub(crate) fn note_unread(&self, answer: &mut Answer) {
        let here = |key: &&ObjectKey| {
            self.is_of_all(key) || answer.sources().any(|source| source.is_in(key))
        };
        let unread = self.unread().keys().filter(here);
        let mut told: Vec<_> = unread.filter_map(|key| self.unread_form(key)).collect();
        told.extend(OF_ALL.into_iter().flat_map(|kind| self.keys(kind)).filter_map(|key| {
            let standing = self.pilot.standing(key)?;
            let fault = standing.fault.clone()?;
            let instead = match &standing.force {
                // What matches nothing here has nothing to do with what was asked.
                force if force.is_elsewhere() => return None,
                Force::Nothing { .. } => NOTHING,
                Force::Whole | Force::Through(_) => REST,
            };
            let from = vec![self.whole(key.clone())];
            Some(NotInForce { refused: fault, instead, from })
        }));
        told.retain(|form| !answer.not_in_force.contains(form));
        answer.not_in_force.extend(told);
    }

    /// Whether an object may have to do with every request here.
    fn is_of_all(&self, key: &ObjectKey) -> bool {
        let options = self.pilot.options();
        let near = [&*options.namespace, &*options.root_namespace].contains(&&*key.namespace);
        let elsewhere = self.pilot.standing(key).is_some_and(|standing| {
            matches!(standing.force, Force::Nothing { reason: "NotSelected", .. })
        });
        OF_ALL.contains(&key.kind) && near && !elsewhere
    }

    fn unread_form(&self, key: &ObjectKey) -> Option<NotInForce> {
        let errors = self.unread().get(key)?;
        // Where it stands in its file is told with what is wrong, as far as it is known.
        let from = vec![Source { last_good: false, ..self.whole(key.clone()) }];
        let instead = match self.has(key) {
            true => LAST_GOOD,
            false if self.pilot.closed_by(key) => CLOSED,
            false => NOTHING,
        };
        Some(NotInForce { refused: errors.join("; "), instead, from })
    }

    /// Objects of a kind of which no form ever decoded.
    pub(crate) fn never_read(&self, kind: Kind) -> impl Iterator<Item = Lost> + '_ {
        let never = self.unread().iter().filter(move |(key, _)| key.kind == kind && !self.has(key));
        never.map(|(key, errors)| {
            let from = Source { last_good: false, ..self.whole(key.clone()) };
            Lost::object(from, format!("its form is refused: {}", errors.join("; ")))
        })
    }

    fn refused(&self, kind: ResourceType, name: &str) -> impl Iterator<Item = &Rejection> {
        self.rejected.iter().filter(move |r| r.kind == kind && *r.name == *name)
    }

    fn owners(&self, rejection: &Rejection) -> Vec<Source> {
        let owners = self.pilot.owners(rejection.kind, &rejection.name);
        owners.into_iter().map(|key| self.whole(key)).collect()
    }
}

fn told(rejection: &Rejection, serves_on: bool, from: Vec<Source>) -> NotInForce {
    let place = match rejection.path.as_str() {
        "" => String::new(),
        path => format!("{path}: "),
    };
    NotInForce {
        refused: format!("the proxy refuses it: {place}{}", rejection.reason),
        instead: if serves_on { LAST_GOOD } else { NOTHING },
        from,
    }
}

/// The number of the item of a list in which a field stands.
fn item(path: &str, list: &str) -> Option<usize> {
    let (number, _) = path.strip_prefix(list)?.strip_prefix('[')?.split_once(']')?;
    number.parse().ok()
}
