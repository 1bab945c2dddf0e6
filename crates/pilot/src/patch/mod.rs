//! EnvoyFilters: patches on what is compiled, each resource by itself.
//!
//! One EnvoyFilter after the other changes a resource. What one of them makes of it is taken as a whole or not at all: where
//! one of its patches cannot be made, or the proxy would refuse the outcome, the resource stays as it was before that
//! EnvoyFilter. So nothing is ever half applied, and nobody else's part of the resource suffers.
//!
//! | file | subject |
//! |---|---|
//! | `matches.rs` | which things a patch is for |
//! | `merge.rs` | MERGE |
//! | `list.rs` | the other operations |
//! | `descriptors.rs`, `per_filter.rs` | what their values need of others |
//! | `trace.rs` | what came of them |

pub mod descriptors;
mod list;
pub mod matches;
pub mod merge;
pub mod per_filter;
mod trace;

use std::sync::Arc;

use bytes::Bytes;
use tidegate_api::istio::envoy_filter::{ApplyTo, ObjectMatch};
use tidegate_envoy::prost_reflect::{DynamicMessage, Value};
use tidegate_envoy::{capability, dynamic, encode, type_name};
use tidegate_xds::{Resource, ResourceType};

use crate::model::envoy_filter::{EnvoyFilter, EnvoyFilters, Patch, Refused};
use crate::options::Judge;
use list::{Aim, change, patch_filters, patch_list};
use matches::{RoutePlace, text};
use trace::Made;
pub use trace::{Filters, Missed, Removed, Trace};

const MANAGER: &str =
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";

/// A resource as patches leave it.
#[derive(Debug)]
pub struct Patched {
    /// Its bytes; `None` where it is removed.
    pub bytes: Option<Bytes>,
    /// Who had to do with it.
    pub trace: Trace,
    /// What was taken out of it, or itself in the end, in order.
    pub removed: Vec<Removed>,
}

/// Which patches are made on a resource.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// A listener and everything in it.
    Listener,
    /// A cluster, and the hosts of services that lead to it where it is the workload's own, whose name has none.
    Cluster(&'a [Arc<str>]),
    /// A route configuration without its virtual hosts.
    RouteConfiguration(&'a RoutePlace),
    /// A virtual host and its routes.
    VirtualHost(&'a RoutePlace),
}

impl Target<'_> {
    const fn kind(self) -> ResourceType {
        match self {
            Self::Listener => ResourceType::Listener,
            Self::Cluster(_) => ResourceType::Cluster,
            Self::RouteConfiguration(_) => ResourceType::RouteConfiguration,
            Self::VirtualHost(_) => ResourceType::VirtualHost,
        }
    }

    const fn message(self) -> &'static str {
        match self {
            Self::Listener => ApplyTo::Listener.message(),
            Self::Cluster(_) => ApplyTo::Cluster.message(),
            Self::RouteConfiguration(_) => ApplyTo::RouteConfiguration.message(),
            Self::VirtualHost(_) => ApplyTo::VirtualHost.message(),
        }
    }
}

/// Patches a resource, which is `name` to the proxy.
#[must_use]
pub fn patched(
    filters: &EnvoyFilters,
    target: Target<'_>,
    name: &str,
    bytes: Bytes,
    judge: Judge,
) -> Patched {
    let (mut trace, mut removed) = (Trace::default(), Vec::new());
    let Ok(mut current) = dynamic(target.message(), &bytes) else {
        return Patched { bytes: Some(bytes), trace, removed };
    };
    let mut encoded = bytes;
    for filter in filters.applied() {
        let (mut next, mut made) = (current.clone(), Made::default());
        let outcome = one((filter, name), target, &mut next, &mut made);
        let taken = made.removed(&filter.key);
        let (patches, missed) = made.settle();
        if !missed.is_empty() {
            trace.missed.insert(filter.key.clone(), missed);
        }
        let stays = match outcome {
            Ok(_) if patches.is_empty() => continue,
            Ok(stays) => stays,
            Err(refused) => {
                trace.refused.insert(filter.key.clone(), refused);
                continue;
            }
        };
        if !stays {
            trace.made.insert(filter.key.clone(), patches);
            removed.extend(taken);
            return Patched { bytes: None, trace, removed };
        }
        let bytes = Bytes::from(encode(&next));
        match refusal(target.kind(), name, [(&current, &encoded), (&next, &bytes)], judge) {
            None => {
                trace.made.insert(filter.key.clone(), patches);
                removed.extend(taken);
                (current, encoded) = (next, bytes);
            }
            Some(reason) => {
                // Whose fault of several it is cannot be told: the first is named.
                let patch = patches.first().copied().unwrap_or_default();
                trace.refused.insert(filter.key.clone(), Refused { patch, reason });
            }
        }
    }
    Patched { bytes: Some(encoded), trace, removed }
}

/// Why the proxy would refuse a resource in its second form, but for what it refuses in the first.
fn refusal(
    kind: ResourceType,
    name: &str,
    [(before, before_bytes), (after, after_bytes)]: [(&DynamicMessage, &Bytes); 2],
    Judge(judge): Judge,
) -> Option<String> {
    let unsupported = |message| capability::check(message).refusals;
    let found = unsupported(after);
    if !found.is_empty() {
        let known = unsupported(before);
        if let Some(finding) = found.into_iter().find(|finding| !known.contains(finding)) {
            return Some(told(name, &finding.to_string()));
        }
    }
    let judged = |bytes: &Bytes| judge(&Resource::new(kind, name, bytes.clone()));
    let reason = judged(after_bytes).err()?;
    (judged(before_bytes) != Err(reason.clone())).then(|| told(name, &reason))
}

fn told(name: &str, reason: &str) -> String {
    format!(": the proxy would refuse {name}: {reason}")
}

/// An EnvoyFilter, and the resource that it changes.
type Of<'a> = (&'a EnvoyFilter, &'a str);

/// What one EnvoyFilter does to a resource; whether that stays.
fn one(
    filter: Of<'_>,
    target: Target<'_>,
    message: &mut DynamicMessage,
    made: &mut Made,
) -> Result<bool, Refused> {
    match target {
        Target::Listener => listener(filter, message, made),
        Target::Cluster(hosts) => {
            let name = text(message, "name");
            changed(filter, ApplyTo::Cluster, message, made, |patch, _| {
                matches::cluster(&patch.what, &name, hosts)
            })
        }
        Target::RouteConfiguration(place) => {
            changed(filter, ApplyTo::RouteConfiguration, message, made, |patch, _| {
                matches::route_configuration(&patch.what, place)
            })
        }
        Target::VirtualHost(place) => virtual_host(filter, place, message, made),
    }
}

/// Changes a thing by the patches of a sort that are for it; whether it stays.
fn changed(
    (filter, resource): Of<'_>,
    apply_to: ApplyTo,
    message: &mut DynamicMessage,
    made: &mut Made,
    fits: impl Fn(&Patch, &DynamicMessage) -> bool,
) -> Result<bool, Refused> {
    for patch in filter.patches_of(apply_to, resource) {
        if fits(patch, message) && !change(message, patch, made)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn listener(
    (filter, name): Of<'_>,
    message: &mut DynamicMessage,
    made: &mut Made,
) -> Result<bool, Refused> {
    if !changed((filter, name), ApplyTo::Listener, message, made, |patch, listener| {
        matches::listener(&patch.what, listener)
    })? {
        return Ok(false);
    }
    let here = message.clone();
    let of = |apply_to| -> Vec<&Patch> {
        let all = filter.patches_of(apply_to, name);
        all.filter(|patch| matches::inside_listener(&patch.what, &here)).collect()
    };
    let by_port = matches::is_virtual(name);
    let inside = Inside {
        by_port,
        chains: of(ApplyTo::FilterChain),
        network: of(ApplyTo::NetworkFilter),
        http: of(ApplyTo::HttpFilter),
    };
    // Envoy takes none of those for TCP on UDP.
    if !message.has_field_by_name("udp_listener_config") {
        let of_listener = of(ApplyTo::ListenerFilter);
        note_missed(message, Filters::Listener, &of_listener, made);
        named_list(message, Filters::Listener, &of_listener, made, |_, _| Ok(()))?;
    }
    inside.default_chain(message, made)?;
    let Some(Value::List(chains)) = message.get_field_by_name_mut("filter_chains") else {
        return Ok(true);
    };
    let aim = Aim {
        fits: &|patch, chain| matches::filter_chain(&patch.what, by_port, chain),
        names_one: &|_| false,
        first_beside: false,
    };
    patch_list(chains, &inside.chains, &aim, made, |chain, made| inside.filters(chain, made))?;
    Ok(true)
}

/// The patches for what is inside a listener.
struct Inside<'f> {
    /// Whether its chains are for ports, and not the listener itself.
    by_port: bool,
    chains: Vec<&'f Patch>,
    network: Vec<&'f Patch>,
    http: Vec<&'f Patch>,
}

impl Inside<'_> {
    /// The chain of connections that no other takes. Nothing is added beside it.
    fn default_chain(&self, listener: &mut DynamicMessage, made: &mut Made) -> Result<(), Refused> {
        const FIELD: &str = "default_filter_chain";
        let Some(Value::Message(mut chain)) = listener.take_field_by_name(FIELD) else {
            return Ok(());
        };
        for patch in &self.chains {
            if matches::filter_chain(&patch.what, self.by_port, &chain)
                && !change(&mut chain, patch, made)?
            {
                return Ok(());
            }
        }
        self.filters(&mut chain, made)?;
        listener.set_field_by_name(FIELD, Value::Message(chain));
        Ok(())
    }

    fn filters(&self, chain: &mut DynamicMessage, made: &mut Made) -> Result<(), Refused> {
        let here = |patch: &&Patch| matches::filter_chain(&patch.what, self.by_port, chain);
        let network: Vec<&Patch> = self.network.iter().copied().filter(here).collect();
        let http: Vec<&Patch> = self.http.iter().copied().filter(here).collect();
        let chosen: Vec<&Patch> = network.iter().chain(&http).copied().collect();
        note_missed(chain, Filters::Network, &chosen, made);
        named_list(chain, Filters::Network, &network, made, |filter, made| {
            let name = text(filter, "name");
            let here = http
                .iter()
                .copied()
                .filter(|p| matches::network_filter(&p.what).is_none_or(|wanted| wanted == name));
            http_filters(filter, &here.collect::<Vec<_>>(), made)
        })
    }
}

/// The HTTP filters of a network filter, if it is a connection manager.
fn http_filters(
    filter: &mut DynamicMessage,
    patches: &[&Patch],
    made: &mut Made,
) -> Result<(), Refused> {
    const FIELD: &str = "typed_config";
    let Some(first) = patches.first().filter(|_| filter.has_field_by_name(FIELD)) else {
        return Ok(());
    };
    let Some(Value::Message(packed)) = filter.get_field_by_name_mut(FIELD) else { return Ok(()) };
    let (url, bytes) = merge::any(packed);
    if type_name(&url) != MANAGER {
        return Ok(());
    }
    let mut manager = dynamic(&url, &bytes)
        .map_err(|error| Refused { patch: first.number, reason: format!(": {error}") })?;
    note_missed(&manager, Filters::Http, patches, made);
    named_list(&mut manager, Filters::Http, patches, made, |_, _| Ok(()))?;
    packed.set_field_by_number(2, Value::Bytes(encode(&manager).into()));
    Ok(())
}

/// Notes which of the patches for filters of a list name none of them.
fn note_missed(message: &DynamicMessage, filters: Filters, patches: &[&Patch], made: &mut Made) {
    if patches.is_empty() {
        return;
    }
    let list = message.get_field_by_name(filters.field());
    let list = list.as_deref().and_then(Value::as_list).unwrap_or_default();
    let names: Vec<String> =
        list.iter().filter_map(Value::as_message).map(|filter| text(filter, "name")).collect();
    for patch in patches {
        if filters.wanted(&patch.what).is_some_and(|wanted| !names.iter().any(|n| n == wanted)) {
            made.miss(patch, filters, &names);
        }
    }
}

/// Patches a list of filters, which are told apart by their names. A patch that names none is for all of them, but for those of a
/// listener, of which it is for none.
fn named_list(
    message: &mut DynamicMessage,
    filters: Filters,
    patches: &[&Patch],
    made: &mut Made,
    deeper: impl FnMut(&mut DynamicMessage, &mut Made) -> Result<(), Refused>,
) -> Result<(), Refused> {
    let Some(Value::List(list)) = message.get_field_by_name_mut(filters.field()) else {
        return Ok(());
    };
    let aim = Aim {
        fits: &|patch, thing| {
            let wanted = filters.wanted(&patch.what);
            wanted.map_or(filters != Filters::Listener, |name| name == text(thing, "name"))
        },
        names_one: &|patch| filters.wanted(&patch.what).is_some(),
        first_beside: false,
    };
    patch_filters(list, patches, &aim, made, deeper)
}

fn virtual_host(
    (filter, name): Of<'_>,
    place: &RoutePlace,
    message: &mut DynamicMessage,
    made: &mut Made,
) -> Result<bool, Refused> {
    let fits = |patch: &Patch, host: &DynamicMessage| {
        matches::route_configuration(&patch.what, place) && matches::virtual_host(&patch.what, host)
    };
    if !changed((filter, name), ApplyTo::VirtualHost, message, made, fits)? {
        return Ok(false);
    }
    let here: Vec<&Patch> =
        filter.patches_of(ApplyTo::HttpRoute, name).filter(|p| fits(p, message)).collect();
    let Some(Value::List(routes)) = message.get_field_by_name_mut("routes") else {
        return Ok(true);
    };
    let aim = Aim {
        fits: &|patch, route| matches::route(&patch.what, route),
        names_one: &|patch| matches::names_route(&patch.what),
        first_beside: true,
    };
    patch_list(routes, &here, &aim, made, |_, _| Ok(()))?;
    Ok(true)
}

/// A resource that an EnvoyFilter adds.
#[derive(Clone, Debug)]
pub struct Added {
    /// Whose it is.
    pub filter: Arc<EnvoyFilter>,
    /// Which of its patches.
    pub patch: usize,
    /// Its message.
    pub message: DynamicMessage,
    /// Which things the patch is for.
    pub what: ObjectMatch,
}

impl Added {
    /// Its name; empty where the patch gives none.
    #[must_use]
    pub fn name(&self) -> String {
        text(&self.message, "name")
    }

    /// Why the proxy would refuse it.
    #[must_use]
    pub fn refusal(&self, resource: &Resource, Judge(judge): Judge) -> Option<Refused> {
        let reason = judge(resource).err()?;
        Some(Refused { patch: self.patch, reason: told(&resource.name, &reason) })
    }
}

/// The listeners, clusters or virtual hosts that EnvoyFilters add.
pub fn added(filters: &EnvoyFilters, apply_to: ApplyTo) -> impl Iterator<Item = Added> {
    use tidegate_api::istio::envoy_filter::Operation;
    filters.applied().flat_map(move |filter| {
        let patches = filter.patches(apply_to).filter(|p| p.operation == Operation::Add);
        patches.filter_map(|patch| {
            Some(Added {
                filter: Arc::clone(filter),
                patch: patch.number,
                message: patch.value.clone()?,
                what: patch.what.clone(),
            })
        })
    })
}
