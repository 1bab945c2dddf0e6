//! The listeners that are served.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use tidegate_envoy::capability::Finding;
use tidegate_envoy::prost::Message;
use tidegate_envoy::v3::listener::FilterChain as ProtoChain;
use tidegate_xds::Resource;

use crate::filter::{self, Filter, Kind};

use super::chains::ChainCriteria;
use super::compile::{self, Links as _, ListenerShell, noted};
use super::listener::{FilterChain, FilterChains, Listener, RouteSlot};
use super::listener_form::{Entry, ListenerForm, Look, NewChain, Place};
use super::refusal::{Refusal, Within};
use super::slots::Slots;

/// The listeners, and their chains by encoded form: a chain that did not change is not looked at again. It stays the same,
/// and with it its connections.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    current: Arc<BTreeMap<Arc<str>, Arc<Listener>>>,
    chains: HashMap<Arc<str>, ChainsByForm>,
}

/// Chains in which nothing is at fault.
pub(super) type ChainsByForm = HashMap<Bytes, ServedChain>;

/// A chain that is served.
#[derive(Clone, Debug)]
pub(super) struct ServedChain {
    chain: Arc<FilterChain>,
    /// What it asks for; of the default one that is not looked at.
    criteria: Option<Arc<ChainCriteria>>,
    /// Fields without effect, by their paths in the chain.
    notices: Arc<[Finding]>,
}

impl ServedChain {
    /// Whether it is known all that counts of a chain in this place.
    pub fn fits(&self, place: Place) -> bool {
        self.criteria.is_some() || matches!(place, Place::Default)
    }
}

/// What a new form of a listener came to.
#[derive(Debug)]
pub(super) struct Put {
    /// The new form.
    pub listener: Arc<Listener>,
    /// What is wrong with the transport sockets of some chains.
    pub faults: Vec<Refusal>,
    /// Fields without effect.
    pub notices: Vec<Finding>,
    /// How many chains were compiled: those that the form before did not have.
    pub compiled: usize,
    /// What became of the chains of the form before.
    pub before: Before,
}

/// What became of chains that a listener had before. Until the routes of this update are all there, both kinds have those
/// that they had.
#[derive(Debug, Default)]
pub(super) struct Before {
    /// Those that are there still, and take their routes from another slot as soon as it is filled.
    pub moved: Vec<(Arc<FilterChain>, Arc<RouteSlot>)>,
    /// Those that are gone. Their connections end with the routes that they have.
    pub retired: Vec<Arc<FilterChain>>,
}

impl Listeners {
    /// The listeners by name.
    pub fn current(&self) -> &Arc<BTreeMap<Arc<str>, Arc<Listener>>> {
        &self.current
    }

    /// Names of the route configurations that chains point to.
    pub fn routes(&self) -> HashSet<Arc<str>> {
        let listeners = self.current.values();
        let chains = listeners.flat_map(|l| l.chains.chains.iter().chain(&l.chains.default));
        let managers = chains.filter_map(|chain| chain.manager());
        managers.map(|manager| Arc::clone(&manager.routes.slot().name)).collect()
    }

    /// Serves a listener from now on, in place of the one of its name. Chains that are gone are retired. One of which only
    /// the name of its route configuration differs stays, and its connections with it.
    ///
    /// A fault in a chain's transport socket is told and costs that chain's connections alone, as long as there is another
    /// chain.
    pub fn put(&mut self, resource: &Resource, slots: &mut Slots) -> Result<Put, Vec<Refusal>> {
        let name = &resource.name;
        let nothing = ChainsByForm::new();
        let known = self.chains.get(name).unwrap_or(&nothing);
        let ListenerForm { around, entries } = ListenerForm::read(resource, known)?;
        let mut chains = Chains::new(known, &entries);
        for entry in entries {
            chains.add(entry, slots).map_err(|refusal| vec![refusal])?;
        }
        let Chains { found, by_form, moved, mut faults, unsupported, compiled, .. } = chains;
        faults.extend(unsupported);
        if by_form.is_empty() && !faults.is_empty() {
            return Err(faults);
        }
        for fault in &mut faults {
            fault.reason.push_str(
                "; handshakes of this filter chain are refused, and the others are served",
            );
        }
        let shell = compile::listener(&around.message, slots).map_err(|refusal| vec![refusal])?;
        let notices = around.notices.into_iter().chain(chains.notices).collect();
        let listener = Arc::new(assemble(name, shell, found));
        if let Some(before) = self.current.get(name) {
            go_on(&listener.chains, &before.chains);
        }
        let mut before = Before { moved, retired: Vec::new() };
        before.moved.iter().for_each(|(chain, _)| keep_routes(chain));
        if let Some(chains) = self.chains.insert(Arc::clone(name), by_form) {
            before.retired = retire(chains, &listener.chains);
        }
        Arc::make_mut(&mut self.current).insert(Arc::clone(name), Arc::clone(&listener));
        Ok(Put { listener, faults, notices, compiled, before })
    }

    /// Serves a listener no longer; gives back its chains if it was there. They retire when workers stop it.
    pub fn remove(&mut self, name: &str) -> Option<Vec<Arc<FilterChain>>> {
        self.chains.remove(name);
        let before = Arc::make_mut(&mut self.current).remove(name)?;
        let chains = before.chains.chains.iter().chain(&before.chains.default);
        Some(chains.inspect(|chain| keep_routes(chain)).cloned().collect())
    }
}

/// Limits of chains that are new go on with the buckets of those before that are for the same routes.
fn go_on(now: &FilterChains, before: &FilterChains) {
    let limits = |filter: &Filter| matches!(filter.kind, Kind::LocalRateLimit(_));
    let managers = |chains: &FilterChains| -> Vec<(Arc<str>, Arc<FilterChain>)> {
        let all = chains.chains.iter().chain(&chains.default);
        let named = all.filter_map(|chain| {
            let manager = chain.manager().filter(|m| m.filters.iter().any(limits))?;
            Some((Arc::clone(&manager.routes.slot().name), Arc::clone(chain)))
        });
        named.collect()
    };
    let now = managers(now);
    if now.is_empty() {
        return;
    }
    let before: HashMap<Arc<str>, Arc<FilterChain>> = managers(before).into_iter().collect();
    for (routes, chain) in now {
        let old = before.get(&routes).filter(|old| !Arc::ptr_eq(old, &chain));
        if let (Some(now), Some(old)) = (chain.manager(), old.and_then(|old| old.manager())) {
            filter::go_on(&now.filters, &old.filters);
        }
    }
}

/// The chains of a new form of a listener while they are put together.
struct Chains<'k> {
    found: FilterChains,
    by_form: ChainsByForm,
    moved: Vec<(Arc<FilterChain>, Arc<RouteSlot>)>,
    /// What was found wrong with transport sockets, and what is not supported in them.
    faults: Vec<Refusal>,
    unsupported: Vec<Refusal>,
    notices: Vec<Finding>,
    compiled: usize,
    gone: Gone<'k>,
}

impl<'k> Chains<'k> {
    fn new(known: &'k ChainsByForm, entries: &[Entry]) -> Self {
        Self {
            found: FilterChains::default(),
            by_form: ChainsByForm::with_capacity(entries.len()),
            moved: Vec::new(),
            faults: Vec::new(),
            unsupported: Vec::new(),
            notices: Vec::new(),
            compiled: 0,
            gone: Gone {
                known,
                forms: entries.iter().map(|entry| entry.form.clone()).collect(),
                chains: None,
            },
        }
    }

    fn add(&mut self, entry: Entry, slots: &mut Slots) -> Result<(), Refusal> {
        let Entry { place, form, look } = entry;
        let (served, is_good) = match look {
            Look::Same(served) => {
                self.index(place, served.criteria.as_deref())?;
                (served, true)
            }
            Look::New(new) => self.add_new(place, *new, slots)?,
        };
        self.notices.extend(served.notices.iter().map(|notice| Finding {
            path: format!("{place}.{}", notice.path),
            reason: notice.reason.clone(),
        }));
        match place {
            Place::Of(_) => self.found.chains.push(Arc::clone(&served.chain)),
            Place::Default => self.found.default = Some(Arc::clone(&served.chain)),
        }
        if is_good {
            // One that is at fault is looked at again. The default chain comes last and may look like another.
            self.by_form.entry(form).or_insert(served);
        }
        Ok(())
    }

    /// Compiles a chain, if it is not one of before under another name of its routes; tells whether nothing is at fault.
    fn add_new(
        &mut self,
        place: Place,
        new: NewChain,
        slots: &mut Slots,
    ) -> Result<(ServedChain, bool), Refusal> {
        let NewChain { proto, notices, unsupported } = new;
        let outer = place.to_string();
        let criteria = match place {
            Place::Of(_) => compile::chain_criteria(proto.filter_chain_match.as_ref())
                .within("filter_chain_match")
                .within(&outer)
                .map(|criteria| Some(Arc::new(criteria)))?,
            Place::Default => None,
        };
        self.index(place, criteria.as_deref())?;
        let (chain, fault) = match self.gone.renamed(&proto) {
            Some((chain, routes)) => {
                self.moved.push((Arc::clone(&chain), slots.routes(&routes)));
                (chain, None)
            }
            None => {
                self.compiled += 1;
                noted(slots, &outer, |slots| {
                    compile::filter_chain(&proto, unsupported.first(), slots)
                })?
            }
        };
        let is_good = unsupported.is_empty() && fault.is_none();
        self.faults.extend(fault.map(|fault| fault.within(&outer)));
        self.unsupported.extend(unsupported.into_iter().map(|each| each.within(&outer)));
        Ok((ServedChain { chain, criteria, notices: notices.into() }, is_good))
    }

    /// Makes a chain be found by what it asks for.
    fn index(&mut self, place: Place, criteria: Option<&ChainCriteria>) -> Result<(), Refusal> {
        let (Place::Of(number), Some(criteria)) = (place, criteria) else { return Ok(()) };
        self.found.needs_inspection |= criteria.need_inspection();
        self.found.index.insert(criteria, number).map_err(|other| {
            let reason = format!(
                "asks for the same as filter_chains[{other}], so only one could ever be taken"
            );
            Refusal::of("filter_chain_match", reason).within(&place.to_string())
        })
    }
}

/// The chains that a listener has and its new form does not.
struct Gone<'k> {
    known: &'k ChainsByForm,
    /// The forms of the new chains.
    forms: Vec<Bytes>,
    /// By their form without the name of the route configuration. Made when one is looked for.
    chains: Option<HashMap<Vec<u8>, Arc<FilterChain>>>,
}

impl Gone<'_> {
    /// A chain of which only the name of the route configuration differs, and the new name.
    fn renamed(&mut self, proto: &ProtoChain) -> Option<(Arc<FilterChain>, String)> {
        if self.known.is_empty() {
            return None;
        }
        let (form, routes) = compile::without_routes_name(proto)?;
        let Self { known, forms, chains } = self;
        let chains = chains.get_or_insert_with(|| {
            let forms: HashSet<&Bytes> = forms.iter().collect();
            let gone = known.iter().filter(|(form, _)| !forms.contains(form));
            let gone = gone.filter_map(|(form, served)| {
                let proto = ProtoChain::decode(&form[..]).ok()?;
                Some((compile::without_routes_name(&proto)?.0, Arc::clone(&served.chain)))
            });
            gone.collect()
        });
        Some((chains.remove(&form)?, routes))
    }
}

/// Lets a chain stay with the routes that it has.
fn keep_routes(chain: &FilterChain) {
    if let Some(manager) = chain.manager() {
        manager.routes.keep();
    }
}

fn assemble(name: &Arc<str>, shell: ListenerShell, chains: FilterChains) -> Listener {
    let mut all = chains.chains.iter().chain(&chains.default);
    let by_name = all.any(|chain| chain.rbac.iter().any(|filter| filter.needs_server_name));
    Listener {
        name: Arc::clone(name),
        address: shell.address,
        pipe: shell.pipe,
        stat_prefix: shell.stat_prefix,
        chains: FilterChains {
            needs_inspection: shell.needs_inspection || by_name || chains.needs_inspection,
            ..chains
        },
        inspect_timeout: shell.inspect_timeout,
        continue_on_inspect_timeout: shell.continue_on_inspect_timeout,
        buffer_limit: shell.buffer_limit,
        more_addresses: shell.more_addresses,
        capture: shell.capture,
        unseen: shell.unseen,
        inbound: shell.inbound,
        log: shell.log,
    }
}

/// The chains that the new form of a listener does not have.
fn retire(before: ChainsByForm, now: &FilterChains) -> Vec<Arc<FilterChain>> {
    let kept: HashSet<_> = now.chains.iter().chain(&now.default).map(Arc::as_ptr).collect();
    let before = before.into_values().map(|served| served.chain);
    let gone = before.filter(|chain| !kept.contains(&Arc::as_ptr(chain)));
    gone.inspect(|chain| keep_routes(chain)).collect()
}
