//! The listeners that are served.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tidegate_envoy::prost::Message;
use tidegate_envoy::v3::listener::{FilterChain as ProtoChain, Listener as ProtoListener};

use super::chains::Index;
use super::compile::{self, ListenerShell, noted};
use super::listener::{FilterChain, FilterChains, Listener};
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

impl Listeners {
    /// The listeners by name.
    pub fn current(&self) -> &Arc<BTreeMap<Arc<str>, Arc<Listener>>> {
        &self.current
    }

    /// Serves a listener from now on, in place of the one of its name. Chains that are gone are retired.
    ///
    /// A fault in a chain's transport socket, be it one of `unsupported` or found here, is told and costs that chain's
    /// connections alone, as long as there is another chain.
    pub fn put(
        &mut self,
        proto: &ProtoListener,
        unsupported: Vec<Refusal>,
        slots: &mut Slots,
    ) -> Result<(Arc<Listener>, Vec<Refusal>), Vec<Refusal>> {
        if unsupported.iter().any(|refusal| socket_of(&refusal.path).is_none()) {
            return Err(unsupported);
        }
        let name: Arc<str> = proto.name.as_str().into();
        let before = self.chains.get(&name);
        let mut by_form = ChainsByForm::new();
        let (mut faults, mut good) = (Vec::new(), 0);
        let mut chain = |place: &str, proto: &ProtoChain| -> Result<Arc<FilterChain>, Refusal> {
            let form = proto.encode_to_vec();
            let same = before.and_then(|before| before.get(&form)).map(Arc::clone);
            let why = unsupported.iter().find(|why| socket_of(&why.path) == Some(place));
            let (chain, fault) = match same {
                Some(same) => (same, None),
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
        if let Some(before) = self.chains.insert(Arc::clone(&name), by_form) {
            retire(&before, &listener.chains);
        }
        Arc::make_mut(&mut self.current).insert(name, Arc::clone(&listener));
        Ok((listener, faults))
    }

    /// Serves a listener no longer; tells whether it was there. Its chains retire when workers stop it.
    pub fn remove(&mut self, name: &str) -> bool {
        self.chains.remove(name);
        Arc::make_mut(&mut self.current).remove(name).is_some()
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

/// Marks the chains that the new form of a listener does not have.
fn retire(before: &ChainsByForm, now: &FilterChains) {
    for chain in before.values() {
        let mut kept = now.chains.iter().chain(&now.default);
        if !kept.any(|kept| Arc::ptr_eq(kept, chain)) {
            chain.retired.store(true, Ordering::Relaxed);
        }
    }
}
