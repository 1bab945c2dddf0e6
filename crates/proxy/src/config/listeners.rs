//! The listeners that are served.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tidegate_envoy::prost::Message;
use tidegate_envoy::v3::listener::{FilterChain as ProtoChain, Listener as ProtoListener};

use super::chains::Index;
use super::compile::{self, Links as _, ListenerShell, noted};
use super::listener::{FilterChain, FilterChains, Listener, RouteSlot};
use super::refusal::{Refusal, Within};
use super::slots::Slots;

/// The listeners, and their chains by encoded form: a chain that did not change stays the same, and with it
/// its connections.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    current: Arc<BTreeMap<Arc<str>, Arc<Listener>>>,
    chains: HashMap<Arc<str>, ChainsByForm>,
}

type ChainsByForm = HashMap<Vec<u8>, Arc<FilterChain>>;

/// What a new form of a listener came to.
#[derive(Debug)]
pub(super) struct Put {
    /// The new form.
    pub listener: Arc<Listener>,
    /// What is wrong with the transport sockets of some chains.
    pub faults: Vec<Refusal>,
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
    /// A fault in a chain's transport socket, be it one of `unsupported` or found here, is told and costs that chain's
    /// connections alone, as long as there is another chain.
    pub fn put(
        &mut self,
        proto: &ProtoListener,
        unsupported: Vec<Refusal>,
        slots: &mut Slots,
    ) -> Result<Put, Vec<Refusal>> {
        if unsupported.iter().any(|refusal| socket_of(&refusal.path).is_none()) {
            return Err(unsupported);
        }
        let name: Arc<str> = proto.name.as_str().into();
        let nothing = ChainsByForm::new();
        let mut known = Known::new(self.chains.get(&name).unwrap_or(&nothing), proto);
        let (mut by_form, mut moved) = (ChainsByForm::new(), Vec::new());
        let (mut faults, mut good) = (Vec::new(), 0);
        let mut chain = |place: &str, proto: &ProtoChain| -> Result<Arc<FilterChain>, Refusal> {
            let form = proto.encode_to_vec();
            let why = unsupported.iter().find(|why| socket_of(&why.path) == Some(place));
            let (chain, fault) = match known.find(&form, proto) {
                Some((chain, routes)) => {
                    let slot = |name: String| (Arc::clone(&chain), slots.routes(&name));
                    moved.extend(routes.map(slot));
                    (chain, None)
                }
                None => noted(slots, place, |slots| compile::filter_chain(proto, why, slots))?,
            };
            if why.is_none() && fault.is_none() {
                good += 1;
                // One that is at fault is looked at again.
                by_form.insert(form, Arc::clone(&chain));
            }
            faults.extend(fault.map(|fault| fault.within(place)));
            Ok(chain)
        };
        let chains = chains(proto, &mut chain).map_err(|refusal| vec![refusal])?;
        faults.extend(unsupported);
        if good == 0 && !faults.is_empty() {
            return Err(faults);
        }
        for fault in &mut faults {
            fault.reason.push_str(
                "; handshakes of this filter chain are refused, and the others are served",
            );
        }
        let shell = compile::listener(proto, slots).map_err(|refusal| vec![refusal])?;
        let listener = Arc::new(assemble(&name, shell, chains));
        let mut before = Before { moved, retired: Vec::new() };
        before.moved.iter().for_each(|(chain, _)| keep_routes(chain));
        if let Some(chains) = self.chains.insert(Arc::clone(&name), by_form) {
            before.retired = retire(chains, &listener.chains);
        }
        Arc::make_mut(&mut self.current).insert(name, Arc::clone(&listener));
        Ok(Put { listener, faults, before })
    }

    /// Serves a listener no longer; gives back its chains if it was there. They retire when workers stop it.
    pub fn remove(&mut self, name: &str) -> Option<Vec<Arc<FilterChain>>> {
        self.chains.remove(name);
        let before = Arc::make_mut(&mut self.current).remove(name)?;
        let chains = before.chains.chains.iter().chain(&before.chains.default);
        Some(chains.inspect(|chain| keep_routes(chain)).cloned().collect())
    }
}

/// The chains that a listener has, for its new form.
struct Known<'k> {
    by_form: &'k ChainsByForm,
    /// Forms of the new chains.
    forms: HashSet<Vec<u8>>,
    /// Those that the new form does not have, by their form without the name of the route configuration. Made when one
    /// is looked for.
    gone: Option<ChainsByForm>,
}

impl<'k> Known<'k> {
    fn new(by_form: &'k ChainsByForm, proto: &ProtoListener) -> Self {
        let chains = proto.filter_chains.iter().chain(&proto.default_filter_chain);
        Self { by_form, forms: chains.map(Message::encode_to_vec).collect(), gone: None }
    }

    /// The chain of this form; or one of which only the name of the route configuration differs, and that name.
    fn find(
        &mut self,
        form: &[u8],
        proto: &ProtoChain,
    ) -> Option<(Arc<FilterChain>, Option<String>)> {
        if let Some(same) = self.by_form.get(form) {
            return Some((Arc::clone(same), None));
        }
        let (form, routes) = compile::without_routes_name(proto)?;
        let gone = self.gone.get_or_insert_with(|| gone(self.by_form, &self.forms));
        Some((gone.remove(&form)?, Some(routes)))
    }
}

fn gone(by_form: &ChainsByForm, forms: &HashSet<Vec<u8>>) -> ChainsByForm {
    let gone = by_form.iter().filter(|(form, _)| !forms.contains(*form));
    let gone = gone.filter_map(|(form, chain)| {
        let (form, _) = compile::without_routes_name(&ProtoChain::decode(&form[..]).ok()?)?;
        Some((form, Arc::clone(chain)))
    });
    gone.collect()
}

/// Lets a chain stay with the routes that it has.
fn keep_routes(chain: &FilterChain) {
    if let Some(manager) = chain.manager() {
        manager.routes.keep();
    }
}

/// The chain in whose transport socket a field stands.
fn socket_of(path: &str) -> Option<&str> {
    let (chain, field) = path.split_once('.')?;
    let is_chain = chain == "default_filter_chain" || chain.starts_with("filter_chains[");
    let is_socket = field == "transport_socket" || field.starts_with("transport_socket.");
    (is_chain && is_socket).then_some(chain)
}

fn chains(
    proto: &ProtoListener,
    chain: &mut impl FnMut(&str, &ProtoChain) -> Result<Arc<FilterChain>, Refusal>,
) -> Result<FilterChains, Refusal> {
    let mut found = FilterChains::default();
    for (place, proto) in proto.filter_chains.iter().enumerate() {
        index(&mut found.index, proto, place).within_item("filter_chains", place)?;
        found.chains.push(chain(&format!("filter_chains[{place}]"), proto)?);
    }
    if let Some(proto) = &proto.default_filter_chain {
        found.default = Some(chain("default_filter_chain", proto)?);
    }
    Ok(found)
}

fn index(index: &mut Index, proto: &ProtoChain, place: usize) -> Result<(), Refusal> {
    let criteria =
        compile::chain_criteria(proto.filter_chain_match.as_ref()).within("filter_chain_match")?;
    index.insert(&criteria, place).map_err(|other| {
        let reason =
            format!("asks for the same as filter_chains[{other}], so only one could ever be taken");
        Refusal::of("filter_chain_match", reason)
    })
}

fn assemble(name: &Arc<str>, shell: ListenerShell, chains: FilterChains) -> Listener {
    let mut all = chains.chains.iter().chain(&chains.default);
    let by_name = all.any(|chain| chain.rbac.iter().any(|filter| filter.needs_server_name));
    Listener {
        name: Arc::clone(name),
        address: shell.address,
        stat_prefix: shell.stat_prefix,
        chains: FilterChains { needs_inspection: shell.needs_inspection || by_name, ..chains },
        inspect_timeout: shell.inspect_timeout,
        continue_on_inspect_timeout: shell.continue_on_inspect_timeout,
        buffer_limit: shell.buffer_limit,
        more_addresses: shell.more_addresses,
        capture: shell.capture,
        inbound: shell.inbound,
        log: shell.log,
    }
}

/// Marks the chains that the new form of a listener does not have, and gives them back.
fn retire(before: ChainsByForm, now: &FilterChains) -> Vec<Arc<FilterChain>> {
    let kept: HashSet<_> = now.chains.iter().chain(&now.default).map(Arc::as_ptr).collect();
    let gone = before.into_values().filter(|chain| !kept.contains(&Arc::as_ptr(chain)));
    let gone = gone.inspect(|chain| {
        keep_routes(chain);
        chain.retired.store(true, Ordering::Relaxed);
    });
    gone.collect()
}
