//! The listeners that are served.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tidegate_envoy::prost::Message;
use tidegate_envoy::v3::listener::{FilterChain as ProtoChain, Listener as ProtoListener};

use super::chains::Index;
use super::compile::{self, ListenerShell};
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
    pub fn put(
        &mut self,
        proto: &ProtoListener,
        slots: &mut Slots,
    ) -> Result<Arc<Listener>, Refusal> {
        let name: Arc<str> = proto.name.as_str().into();
        let before = self.chains.get(&name);
        let mut by_form = ChainsByForm::new();
        let mut chain = |proto: &ProtoChain| -> Result<Arc<FilterChain>, Refusal> {
            let form = proto.encode_to_vec();
            let chain = match before.and_then(|before| before.get(&form)) {
                Some(same) => Arc::clone(same),
                None => compile::filter_chain(proto, slots)?,
            };
            by_form.insert(form, Arc::clone(&chain));
            Ok(chain)
        };
        let chains = chains(proto, &mut chain)?;
        let listener = Arc::new(assemble(&name, compile::listener(proto, slots)?, chains));
        if let Some(before) = self.chains.insert(Arc::clone(&name), by_form) {
            retire(&before, &listener.chains);
        }
        Arc::make_mut(&mut self.current).insert(name, Arc::clone(&listener));
        Ok(listener)
    }

    /// Serves a listener no longer; tells whether it was there. Its chains retire when workers stop it.
    pub fn remove(&mut self, name: &str) -> bool {
        self.chains.remove(name);
        Arc::make_mut(&mut self.current).remove(name).is_some()
    }
}

fn chains(
    proto: &ProtoListener,
    chain: &mut impl FnMut(&ProtoChain) -> Result<Arc<FilterChain>, Refusal>,
) -> Result<FilterChains, Refusal> {
    let mut found = FilterChains::default();
    for (place, proto) in proto.filter_chains.iter().enumerate() {
        index(&mut found.index, proto, place).within_item("filter_chains", place)?;
        found.chains.push(chain(proto).within_item("filter_chains", place)?);
    }
    if let Some(proto) = &proto.default_filter_chain {
        found.default = Some(chain(proto).within("default_filter_chain")?);
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
