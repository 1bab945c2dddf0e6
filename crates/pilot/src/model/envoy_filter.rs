//! EnvoyFilters that concern the proxy, in the order in which they change what is compiled.

use std::collections::BTreeMap;
use std::sync::Arc;

use regex::Regex;
use tidegate_api::istio::envoy_filter::{
    self as api, ApplyTo, ObjectMatch, Operation, PatchContext,
};
use tidegate_api::{Object, ObjectKey};
use tidegate_envoy::capability::{self, Finding};
use tidegate_envoy::prost_reflect::DynamicMessage;

use super::age::Age;
use super::names;
use super::target::names_proxy;
use crate::Options;
use crate::patch::descriptors::Descriptors;
use crate::patch::per_filter;

/// An EnvoyFilter for this proxy.
#[derive(Clone, Debug, PartialEq)]
pub struct EnvoyFilter {
    /// Which object it is.
    pub key: ObjectKey,
    order: Order,
    /// Its patches that concern the proxy, in their order.
    pub patches: Vec<Patch>,
    /// Those that concern others, with the reason.
    pub elsewhere: Vec<(usize, String)>,
    /// What of it the proxy cannot do, wherever it is applied. Where there is any, nothing of it is.
    pub refused: Vec<Refused>,
    /// Fields of it that have no effect, each with its path and the reason.
    pub notices: Vec<String>,
}

/// Which EnvoyFilters come first: the order of the fields is the rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Order {
    priority: i32,
    /// Those of the root namespace come before others.
    is_own: bool,
    age: Age,
}

/// One change.
#[derive(Clone, Debug, PartialEq)]
pub struct Patch {
    /// Its place in `configPatches`.
    pub number: usize,
    /// What is changed.
    pub apply_to: ApplyTo,
    /// Which of them.
    pub what: ObjectMatch,
    /// How.
    pub operation: Operation,
    /// With what; nothing where something is removed.
    pub value: Option<DynamicMessage>,
    /// What that has to do with limits by descriptors.
    pub descriptors: Descriptors,
}

/// A patch that cannot be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its place in `configPatches`.
    pub patch: usize,
    /// The field at fault and what is wrong with it.
    pub reason: String,
}

/// By what an EnvoyFilter is for other proxies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    /// Its namespace is neither the root namespace nor the proxy's own.
    Namespace,
    /// Its `workloadSelector` asks for other labels.
    Labels,
    /// It names resources that this proxy does not serve.
    Targets,
}

impl Refused {
    /// The path of what is at fault, and why.
    #[must_use]
    pub fn told(&self) -> String {
        format!("{}{}", path(self.patch), self.reason)
    }
}

/// A patch, as messages name it.
#[must_use]
pub fn path(number: usize) -> String {
    format!("configPatches[{number}]")
}

impl EnvoyFilter {
    /// The EnvoyFilter, if it is for this proxy: by its namespace and by labels.
    ///
    /// # Errors
    /// It is for others: by what.
    pub fn select(
        object: &Object,
        spec: &api::EnvoyFilter,
        options: &Options,
    ) -> Result<Self, Others> {
        let is_root = *object.key.namespace == *options.root_namespace;
        let is_own = *object.key.namespace == *options.namespace;
        let selector = spec.workload_selector.as_ref();
        let selected = selector.is_none_or(|selector| options.carries(&selector.labels));
        let targets =
            spec.target_refs.iter().map(|t| [&*t.group, &*t.kind, &*t.namespace, &*t.name]);
        let named =
            spec.target_refs.is_empty() || names_proxy(&object.key.namespace, targets, options);
        let others = [
            (!(is_root || is_own), Others::Namespace),
            (!named, Others::Targets),
            (!selected, Others::Labels),
        ];
        if let Some((_, others)) = others.into_iter().find(|(is, _)| *is) {
            return Err(others);
        }
        let mut filter = Self {
            key: object.key.clone(),
            order: Order { priority: spec.priority, is_own: !is_root, age: Age::of(object) },
            patches: Vec::new(),
            elsewhere: Vec::new(),
            refused: Vec::new(),
            notices: Vec::new(),
        };
        for (number, patch) in spec.config_patches.iter().enumerate() {
            filter.take(number, patch, options);
        }
        Ok(filter)
    }

    fn take(&mut self, number: usize, patch: &api::ConfigPatch, options: &Options) {
        let what = patch.r#match.clone().unwrap_or_default();
        if let Some(reason) = is_for_others(&what, options) {
            return self.elsewhere.push((number, reason));
        }
        let mut refuse = |reason: String| self.refused.push(Refused { patch: number, reason });
        // Validation has seen to it that all of this is there.
        let (Some(apply_to), Some(operation)) =
            (patch.apply_to, patch.patch.as_ref().and_then(|patch| patch.operation))
        else {
            return refuse(" says not what is done".to_owned());
        };
        let value = match patch.message() {
            Ok(value) => value,
            Err(error) => return refuse(format!(".patch.value: {error}")),
        };
        if let Some(reason) = not_honoured(apply_to, operation) {
            return refuse(reason);
        }
        let report = value.as_ref().map(capability::check).unwrap_or_default();
        let told = |finding: &Finding| {
            let dot = if finding.path.is_empty() { "" } else { "." };
            format!(".patch.value{dot}{}: {}", finding.path, finding.reason)
        };
        report.refusals.iter().map(told).for_each(refuse);
        let notices =
            report.notices.iter().map(|notice| format!("{}{}", path(number), told(notice)));
        self.notices.extend(notices);
        let descriptors = value.as_ref().map(Descriptors::of).unwrap_or_default();
        self.patches.push(Patch { number, apply_to, what, operation, value, descriptors });
    }

    /// Its patches of a sort of things, whichever way traffic goes.
    pub fn patches(&self, apply_to: ApplyTo) -> impl Iterator<Item = &Patch> {
        self.patches.iter().filter(move |patch| patch.apply_to == apply_to)
    }

    /// Those of them for a resource.
    pub fn patches_of(&self, apply_to: ApplyTo, resource: &str) -> impl Iterator<Item = &Patch> {
        self.patches(apply_to).filter(move |patch| is_of_context(&patch.what, resource))
    }
}

/// Whether a patch is for a resource by its context: in a sidecar what goes out is one thing, and what comes in another.
#[must_use]
pub fn is_of_context(what: &ObjectMatch, resource: &str) -> bool {
    match what.context {
        PatchContext::Any | PatchContext::Gateway => true,
        PatchContext::SidecarInbound => names::is_inbound(resource),
        PatchContext::SidecarOutbound => !names::is_inbound(resource),
        PatchContext::Waypoint => false,
    }
}

/// Why a patch is for other proxies.
fn is_for_others(what: &ObjectMatch, options: &Options) -> Option<String> {
    let sidecar = options.workload().is_some();
    let ours = match what.context {
        PatchContext::Any => true,
        PatchContext::Gateway => !sidecar,
        PatchContext::SidecarInbound | PatchContext::SidecarOutbound => sidecar,
        PatchContext::Waypoint => false,
    };
    if !ours {
        return Some("match.context is that of other proxies".to_owned());
    }
    let proxy = what.proxy.as_ref()?;
    let version = env!("CARGO_PKG_VERSION");
    if !proxy.proxy_version.is_empty()
        && !Regex::new(&proxy.proxy_version).is_ok_and(|regex| regex.is_match(version))
    {
        return Some(format!(
            "match.proxy.proxyVersion does not take this proxy, whose version is {version}"
        ));
    }
    let name = proxy.metadata.keys().next()?;
    Some(format!("match.proxy.metadata asks for {name}, and this proxy has no metadata"))
}

/// Why an operation on a sort of things is not done here, beginning with the field.
fn not_honoured(apply_to: ApplyTo, operation: Operation) -> Option<String> {
    use Operation::{
        Add, InsertAfter, InsertBefore, InsertFirst, Merge, MergeAndReplaceList, Remove, Replace,
    };
    let done: &[Operation] = match apply_to {
        ApplyTo::Bootstrap => {
            return Some(
                ".applyTo: BOOTSTRAP is not supported: the bootstrap is this program's own".into(),
            );
        }
        ApplyTo::ExtensionConfig => {
            return Some(
                ".applyTo: EXTENSION_CONFIG is not supported: write the filter itself".into(),
            );
        }
        ApplyTo::RouteConfiguration => &[Merge, MergeAndReplaceList],
        ApplyTo::Listener | ApplyTo::FilterChain | ApplyTo::Cluster => {
            &[Add, Remove, Merge, MergeAndReplaceList]
        }
        ApplyTo::VirtualHost => &[Add, Remove, Merge, MergeAndReplaceList, Replace],
        ApplyTo::HttpRoute => {
            &[Add, Remove, Merge, MergeAndReplaceList, InsertBefore, InsertAfter, InsertFirst]
        }
        ApplyTo::NetworkFilter | ApplyTo::HttpFilter | ApplyTo::ListenerFilter => &[
            Add,
            Remove,
            Merge,
            MergeAndReplaceList,
            InsertBefore,
            InsertAfter,
            InsertFirst,
            Replace,
        ],
    };
    (!done.contains(&operation)).then(|| {
        let done: Vec<&str> = done.iter().map(|operation| operation.as_str()).collect();
        format!(
            ".patch.operation: {operation} is not done where applyTo is {apply_to}: {} is",
            done.join(" or ")
        )
    })
}

/// The EnvoyFilters for this proxy.
#[derive(Debug, Default)]
pub struct EnvoyFilters {
    in_order: BTreeMap<Order, Arc<EnvoyFilter>>,
    by_key: BTreeMap<ObjectKey, Order>,
    /// What is wrong with newer forms than those that are in force.
    newer: BTreeMap<ObjectKey, Vec<Refused>>,
    /// Those that are for other proxies.
    others: BTreeMap<ObjectKey, Others>,
}

impl EnvoyFilters {
    /// Notes by what an object is for other proxies; `None`: it is not, or gone.
    pub fn set_others(&mut self, key: &ObjectKey, others: Option<Others>) {
        match others {
            Some(others) => self.others.insert(key.clone(), others),
            None => self.others.remove(key),
        };
    }

    /// By what an object is for other proxies.
    #[must_use]
    pub fn others(&self, key: &ObjectKey) -> Option<Others> {
        self.others.get(key).copied()
    }

    /// Replaces the form of an object; answers the forms that were and that are in force. One of which the proxy can do
    /// something not takes the place of none that it can do.
    pub fn set(
        &mut self,
        key: &ObjectKey,
        filter: Option<EnvoyFilter>,
    ) -> [Option<Arc<EnvoyFilter>>; 2] {
        self.newer.remove(key);
        let before = self.get(key).cloned();
        if let Some(filter) = &filter
            && !filter.refused.is_empty()
            && before.as_ref().is_some_and(|before| before.refused.is_empty())
        {
            self.newer.insert(key.clone(), filter.refused.clone());
            return [before.clone(), before];
        }
        if let Some(order) = self.by_key.remove(key) {
            self.in_order.remove(&order);
        }
        let now = filter.map(Arc::new);
        if let Some(now) = &now {
            self.by_key.insert(key.clone(), now.order.clone());
            self.in_order.insert(now.order.clone(), Arc::clone(now));
        }
        [before, now]
    }

    /// The form of an object that is in force.
    #[must_use]
    pub fn get(&self, key: &ObjectKey) -> Option<&Arc<EnvoyFilter>> {
        self.in_order.get(self.by_key.get(key)?)
    }

    /// Those that are for this proxy.
    pub fn keys(&self) -> impl Iterator<Item = &ObjectKey> {
        self.by_key.keys()
    }

    /// What is wrong with the newest form of an object, where an older one is in force.
    #[must_use]
    pub fn newer(&self, key: &ObjectKey) -> &[Refused] {
        self.newer.get(key).map_or(&[], Vec::as_slice)
    }

    /// Those that are applied, in the order in which they are.
    pub fn applied(&self) -> impl Iterator<Item = &Arc<EnvoyFilter>> {
        self.in_order.values().filter(|filter| filter.refused.is_empty())
    }

    /// Those that say something to HTTP filters about some hosts or routes.
    pub fn speaking_to_filters(&self) -> impl Iterator<Item = &ObjectKey> {
        let speaks = |patch: &Patch| {
            patch.value.as_ref().is_some_and(|value| !per_filter::settings(value).is_empty())
        };
        let all = self.applied().filter(move |filter| filter.patches.iter().any(speaks));
        all.map(|filter| &filter.key)
    }

    /// Those with limits by descriptors that do not say themselves what requests are known by.
    pub fn with_open_descriptors(&self) -> impl Iterator<Item = &ObjectKey> {
        let open = |patch: &Patch| !patch.descriptors.open.is_empty();
        let all = self.applied().filter(move |filter| filter.patches.iter().any(open));
        all.map(|filter| &filter.key)
    }

    /// Whether any asks for servers of Gateways, by port or name.
    #[must_use]
    pub fn ask_for_servers(&self) -> bool {
        let mut patches = self.applied().flat_map(|filter| &filter.patches);
        patches.any(|patch| {
            patch.what.route_configuration.as_ref().is_some_and(|routes| {
                routes.port_number.is_some()
                    || !routes.port_name.is_empty()
                    || !routes.gateway.is_empty()
            })
        })
    }

    /// Whether any is applied to one of these sorts of things.
    #[must_use]
    pub fn touch(&self, sorts: &[ApplyTo]) -> bool {
        let mut patches = self.applied().flat_map(|filter| &filter.patches);
        patches.any(|patch| sorts.contains(&patch.apply_to))
    }
}
