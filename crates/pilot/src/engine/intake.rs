//! First step: objects into the model, and marks on what they feed.

use std::collections::BTreeSet;
use std::sync::Arc;

use tidegate_api::istio;
use tidegate_api::kube;
use tidegate_api::{Kind, Object, ObjectKey, Spec};

use super::credentials::{Use, User};
use super::{Dirty, Index, Pilot, Problem, index, stands};
use crate::model::authentication::TokenPolicy;
use crate::model::authorization::Policy;
use crate::model::destination_rule::Rule;
use crate::model::endpoints::{self, PodAddress, Slice};
use crate::model::envoy_filter::EnvoyFilter;
use crate::model::gateway::Gateway;
use crate::model::host::Host;
use crate::model::names;
use crate::model::peers::PeerPolicy;
use crate::model::registry::{SERVICE_NAME_LABEL, ServiceName};
use crate::model::service::Service;
use crate::model::tls::{client_credentials, server_secrets};
use crate::model::virtual_service::VirtualService;
use crate::status;
use crate::{Input, Remark};

impl Pilot {
    pub(super) fn take(&mut self, input: Input, dirty: &mut Dirty) {
        match input {
            Input::Apply(object) => {
                self.apply_object(&object, dirty);
                self.write_out(&object.key, Some(&object), dirty);
            }
            Input::Delete(key) => {
                self.delete(&key, dirty);
                self.write_out(&key, None, dirty);
            }
            Input::File { name, content } => self.set_file(name, content, dirty),
            Input::Faulty(secrets) => self.set_faulty(secrets, dirty),
            Input::Discovered { issuer, keys } => self.set_discovered(issuer, keys, dirty),
            Input::Unfetched(keys) => self.set_unfetched(keys, dirty),
            Input::Invalid { key, generation, errors, selector } => {
                dirty.status.insert(key.clone());
                if !self.generations.contains_key(&key) {
                    dirty.applied.insert(key.clone()); // Nothing older stands for it.
                }
                self.set_unreadable(&key, selector.as_ref(), dirty);
                // It may be a delegate that is missed.
                dirty.status.extend(self.index.roots_of(&key).cloned());
                if key.kind == Kind::Gateway {
                    // So it may be as a Gateway, by those who name it.
                    let naming = index::gateway_name(&key);
                    dirty.status.extend(self.index.naming(&naming).cloned());
                }
                self.problems.insert(key, Problem { generation, errors });
            }
        }
    }

    pub(super) fn apply_object(&mut self, object: &Object, dirty: &mut Dirty) {
        let key = &object.key;
        self.problems.remove(key);
        self.generations.insert(key.clone(), object.generation);
        dirty.status.insert(key.clone());
        if stands(key.kind) {
            dirty.applied.insert(key.clone());
        }
        let idle = status::idle(object);
        if !stands(key.kind) {
            // Of these kinds there is no status.
            dirty.remarks.extend(idle.iter().map(|(reason, message)| Remark {
                key: key.clone(),
                reason,
                message: message.clone(),
            }));
        }
        match idle.is_empty() {
            true => self.idle.remove(key),
            false => self.idle.insert(key.clone(), idle),
        };
        match &object.spec {
            Spec::Gateway(spec) => {
                let settings = spec.servers.iter().filter_map(|server| server.tls.as_ref());
                self.set_named(key, settings.flat_map(server_secrets).collect(), dirty);
                let selected = Gateway::select(object, spec, &self.options);
                let gateway = selected.filter(|_| self.options.workload().is_none());
                self.set_gateway(key, true, gateway, dirty);
            }
            Spec::VirtualService(spec) => {
                let service = VirtualService::resolve(object, spec, &self.options);
                self.set_virtual_service(key, Some(service), dirty);
            }
            Spec::ServiceEntry(spec) => self.set_entry(object, spec, dirty),
            Spec::Service(service) => self.set_kube_service(object, service, dirty),
            Spec::DestinationRule(rule) => {
                let rule = Rule::new(object, rule, &self.options);
                self.set_rule(key, Some(rule), dirty);
            }
            Spec::WorkloadEntry(spec) => {
                self.set_workload(key, Some(endpoints::workload(object, spec)), dirty);
            }
            Spec::RequestAuthentication(spec) => {
                let policy = TokenPolicy::new(object, spec, &self.options);
                self.set_tokens(key, Some(policy), dirty);
            }
            Spec::AuthorizationPolicy(spec) => {
                let policy = Policy::new(object, spec, &self.options);
                self.set_policy(key, Some(policy), dirty);
            }
            Spec::PeerAuthentication(spec) => {
                let policy = PeerPolicy::new(object, spec, &self.options);
                self.peers.set(key, Some(policy));
            }
            Spec::Sidecar(spec) => self.set_sidecar(object, spec, dirty),
            Spec::EnvoyFilter(spec) => {
                let filter = EnvoyFilter::select(object, spec, &self.options);
                self.filters.set_others(key, filter.as_ref().err().copied());
                self.set_envoy_filter(key, filter.ok(), dirty);
            }
            Spec::EndpointSlice(slice) => self.set_slice(object, slice, dirty),
            Spec::Pod(pod) => {
                let pod = PodAddress::of(pod, &object.labels);
                let touched = self.registry.set_pod(key, Some(pod));
                self.mark_selecting(touched, dirty);
            }
            Spec::Secret(secret) => {
                self.set_secret(key, Some(Arc::new(kube::Secret::clone(secret))), dirty);
            }
            _ => {}
        }
    }

    pub(super) fn delete(&mut self, key: &ObjectKey, dirty: &mut Dirty) {
        self.problems.remove(key);
        dirty.status.extend(self.index.roots_of(key).cloned());
        // Its status goes with it: another object of the name starts from nothing.
        self.told.remove(key);
        dirty.status.insert(key.clone());
        match key.kind {
            Kind::Gateway => {
                self.set_named(key, BTreeSet::new(), dirty);
                self.set_gateway(key, false, None, dirty);
            }
            Kind::VirtualService => self.set_virtual_service(key, None, dirty),
            Kind::ServiceEntry | Kind::Service => {
                self.take_addresses_back(key);
                self.set_services(key, Vec::new(), dirty);
                self.set_hidden(key, Vec::new(), dirty);
            }
            Kind::DestinationRule => self.set_rule(key, None, dirty),
            Kind::WorkloadEntry => self.set_workload(key, None, dirty),
            Kind::AuthorizationPolicy => self.set_policy(key, None, dirty),
            Kind::RequestAuthentication => self.set_tokens(key, None, dirty),
            Kind::PeerAuthentication => self.peers.set(key, None),
            Kind::Sidecar => self.remove_sidecar(key, dirty),
            Kind::EnvoyFilter => {
                self.filters.set_others(key, None);
                self.set_envoy_filter(key, None, dirty);
            }
            Kind::EndpointSlice => {
                let touched = self.registry.set_slice(key, None);
                self.mark_endpoints(touched, dirty);
            }
            Kind::Pod => {
                let touched = self.registry.set_pod(key, None);
                self.mark_selecting(touched, dirty);
            }
            Kind::Secret => self.set_secret(key, None, dirty),
            _ => {}
        }
        self.generations.remove(key);
        self.idle.remove(key);
        dirty.applied.remove(key);
    }

    fn set_gateway(
        &mut self,
        key: &ObjectKey,
        exists: bool,
        gateway: Option<Gateway>,
        dirty: &mut Dirty,
    ) {
        let name = index::gateway_name(key);
        // Where they reach then is found out when they are routed again.
        let both = self.index.gateway(key).into_iter().chain(&gateway);
        let mut concerned: BTreeSet<ObjectKey> =
            both.flat_map(|gateway| self.index.kept_by(gateway)).collect();
        concerned.extend(self.index.naming(&name).cloned());
        self.mark_reach(&concerned, dirty);
        self.mark_around(&concerned, dirty);
        dirty.adopters.insert(Arc::clone(&name));
        dirty.ports.extend(self.index.set_gateway(key, gateway));
        if self.index.set_known(&name, exists) {
            dirty.named = true;
        }
        self.index.settle_naming(&name);
        dirty.adopters.extend(self.index.all_unnamed().cloned());
        self.mark_around(&concerned, dirty);
        dirty.status.extend(concerned);
    }

    /// Marks wildcards that hold hosts of VirtualServices, where these share none with their Gateways: who has such a wildcard is
    /// told who has them.
    fn mark_around<'k>(&self, keys: impl IntoIterator<Item = &'k ObjectKey>, dirty: &mut Dirty) {
        let strays = keys.into_iter().filter(|key| self.index.is_stray(key));
        let strays = strays.filter_map(|key| self.index.virtual_service(key));
        dirty.wider.extend(strays.flat_map(|service| service.hosts.iter().flat_map(Host::wider)));
    }

    /// Marks VirtualServices, and where they claim hosts as things stand: what a Gateway lists that they name decides
    /// about that elsewhere, too. So does one that has their hosts for those whose hosts no Gateway of theirs has.
    fn mark_reach(&self, keys: &BTreeSet<ObjectKey>, dirty: &mut Dirty) {
        for key in keys {
            let Some(service) = self.index.virtual_service(key) else { continue };
            let reached = dirty.services.entry(key.clone()).or_default();
            reached.gateways.extend(self.index.reached(service).cloned());
            reached.hosts.extend(service.hosts.iter().cloned());
        }
    }

    fn set_virtual_service(
        &mut self,
        key: &ObjectKey,
        service: Option<VirtualService>,
        dirty: &mut Dirty,
    ) {
        self.replace_virtual_service(key, service, dirty);
        // Whoever delegates to it says something else now.
        let roots = self.index.roots_of(key).filter(|root| *root != key);
        for root in roots.cloned().collect::<Vec<_>>() {
            let again = self.index.virtual_service(&root).map(|service| (**service).clone());
            self.replace_virtual_service(&root, again, dirty);
        }
    }

    fn replace_virtual_service(
        &mut self,
        key: &ObjectKey,
        service: Option<VirtualService>,
        dirty: &mut Dirty,
    ) {
        let old = self.index.virtual_service(key).map(|old| &**old);
        let reached = old.into_iter().flat_map(|old| self.index.reached(old));
        let reached: BTreeSet<Arc<str>> = reached.cloned().collect();
        let both = old.into_iter().chain(service.as_ref());
        let gateways: BTreeSet<Arc<str>> =
            both.flat_map(|service| service.gateways.iter().cloned()).collect();
        let named = |index: &Index| -> BTreeSet<Arc<str>> {
            let has = |gateway: &&Arc<str>| index.naming(gateway).next().is_some();
            gateways.iter().filter(has).cloned().collect()
        };
        let for_mesh = |index: &Index| -> BTreeSet<Arc<str>> {
            gateways.iter().filter(|gateway| index.is_for_mesh(gateway)).cloned().collect()
        };
        let (were, were_for_mesh) = (named(&self.index), for_mesh(&self.index));
        self.mark_around([key], dirty);
        let before = self.index.set_virtual_service(key, service);
        self.mark_around([key], dirty);
        // A Gateway that has its first or loses its last is told about, and may take others or leave them.
        for gateway in were.symmetric_difference(&named(&self.index)) {
            dirty.status.extend(gateway_key(gateway));
            dirty.reclaimed.insert(Arc::clone(gateway));
            dirty.adopters.insert(Arc::clone(gateway));
        }
        if self.leads_out {
            // What a way out for workloads has no route for is noted, and not what others ask for.
            let are_for_mesh = for_mesh(&self.index);
            let differ = were_for_mesh.symmetric_difference(&are_for_mesh);
            let plans = differ.flat_map(|gateway| self.listeners.plans_of(gateway));
            dirty.listeners.extend(plans.map(|plan| Arc::clone(&plan.name)));
        }
        let now = self.index.virtual_service(key);
        let is_delegate =
            |service: Option<&Arc<VirtualService>>| service.is_some_and(|s| s.hosts.is_empty());
        dirty.delegates |= is_delegate(before.as_ref()) != is_delegate(now);
        for service in before.iter().chain(now) {
            dirty.adopters.extend(self.index.unnamed_like(service));
        }
        dirty.status.insert(key.clone());
        dirty.status.extend(before.iter().chain(now).flat_map(|service| service.delegates()));
        for service in before.iter().chain(now).filter(|s| s.routes_connections()) {
            dirty.carriers.extend(service.gateways.iter().cloned());
        }
        dirty.replaced.insert(key.clone());
        let at = dirty.services.entry(key.clone()).or_default();
        at.gateways.extend(reached);
        at.hosts.extend(before.iter().flat_map(|before| before.hosts.iter().cloned()));
    }

    fn set_entry(&mut self, object: &Object, spec: &istio::ServiceEntry, dirty: &mut Dirty) {
        let shown = Service::shows_entry(object, spec, &self.options);
        let mut services = Service::of_entry(object, spec);
        self.give_addresses(object, &mut services);
        self.set_exported(&object.key, services, shown, dirty);
    }

    fn set_kube_service(&mut self, object: &Object, service: &kube::Service, dirty: &mut Dirty) {
        let shown = Service::shows_kube(object, &self.options);
        let service = Service::of_kube(object, service, &self.options);
        self.set_exported(&object.key, vec![service], shown, dirty);
    }

    /// Enters the services of an object, which the proxy sees or which are hidden from it.
    fn set_exported(
        &mut self,
        key: &ObjectKey,
        services: Vec<Service>,
        shown: bool,
        dirty: &mut Dirty,
    ) {
        let (shown, hidden) = if shown { (services, Vec::new()) } else { (Vec::new(), services) };
        self.set_services(key, shown, dirty);
        self.set_hidden(key, hidden, dirty);
    }

    /// Hosts that are hidden are told to those who send there.
    fn set_hidden(&mut self, key: &ObjectKey, services: Vec<Service>, dirty: &mut Dirty) {
        for host in self.registry.set_hidden(key, services) {
            dirty.status.extend(self.index.referring_to(&host).map(|(service, _)| service.clone()));
        }
    }

    fn set_workload(
        &mut self,
        key: &ObjectKey,
        workload: Option<istio::WorkloadEntry>,
        dirty: &mut Dirty,
    ) {
        let touched = self.registry.set_workload(key, workload);
        self.mark_selecting(touched, dirty);
    }

    /// Marks hosts whose workloads differ.
    fn mark_selecting(&self, hosts: Vec<Arc<str>>, dirty: &mut Dirty) {
        for host in hosts {
            // Names to resolve are part of the cluster itself.
            if self.registry.definitions(&host).any(|service| service.resolved().is_some()) {
                dirty.hosts.insert(host);
            } else {
                dirty.endpoints.insert(host);
            }
        }
    }

    /// Marks the WorkloadEntries that services of an object select: who selects them is told.
    fn mark_workloads(&self, key: &ObjectKey, dirty: &mut Dirty) {
        let services = self.registry.services_of(key).iter();
        let workloads = services.flat_map(|service| self.registry.workloads_of(service));
        dirty.status.extend(workloads.map(|(key, _)| key.clone()));
    }

    fn set_services(&mut self, key: &ObjectKey, services: Vec<Service>, dirty: &mut Dirty) {
        self.mark_workloads(key, dirty);
        let changed = self.registry.set_services(key, services);
        self.mark_workloads(key, dirty);
        for host in changed {
            // Whose service it is decides which rules hold.
            let ruled = self.rules.concerning(&host).next().is_some();
            // Whether the proxy resolves what clients ask for stands beside what carries their connections.
            let asked = Host::new(&host).is_wildcard();
            for (service, port_open) in self.index.referring_to(&host) {
                dirty.status.insert(service.clone());
                if port_open || ruled || asked {
                    dirty.touched.insert(service.clone());
                }
            }
            // Others that define the host may have won or lost a port.
            let others = self.registry.definitions(&host).map(|s| &s.key);
            dirty.status.extend(others.filter(|k| k.kind == Kind::ServiceEntry).cloned());
            dirty.status.extend(self.rules.concerning(&host).map(|rule| rule.key.clone()));
            // Who names it by a shorter name is told.
            for short in names::shortened(&host, &self.options.domain) {
                dirty.status.extend(self.index.referring_to(short).map(|(key, _)| key.clone()));
                dirty.status.extend(self.rules.concerning(short).map(|rule| rule.key.clone()));
            }
            dirty.hosts.insert(host);
        }
    }

    fn set_rule(&mut self, key: &ObjectKey, rule: Option<Rule>, dirty: &mut Dirty) {
        dirty.status.insert(key.clone());
        let named = rule.iter().flat_map(Rule::secrets).collect();
        self.set_named(key, named, dirty);
        let options = &self.options;
        let uses = |rule: Option<&Rule>| -> BTreeSet<Use> {
            let settings = rule.into_iter().flat_map(Rule::tls);
            let credentials =
                settings.flat_map(|(_, settings)| client_credentials(settings, options));
            credentials.map(|credential| (credential, User::Rule(key.clone()))).collect()
        };
        let before = uses(self.rules.get(key).map(|rule| &**rule));
        dirty.credentials.extend(self.credentials.replace(&before, &uses(rule.as_ref())));
        for pattern in self.rules.set(key, rule) {
            // Others for the same wildcard may have won or lost, whether it holds any host or none.
            let beside = self.rules.concerning(pattern.as_str());
            dirty.status.extend(beside.map(|rule| rule.key.clone()));
            for host in self.hosts_under(&pattern) {
                for (service, _) in self.index.referring_to(&host) {
                    dirty.touched.insert(service.clone());
                    // Which subsets there are is said of those who name one.
                    dirty.status.insert(service.clone());
                }
                // Others for the host may have won or lost.
                dirty.status.extend(self.rules.concerning(&host).map(|rule| rule.key.clone()));
                dirty.hosts.insert(host);
            }
        }
    }

    /// The hosts that a DestinationRule for a host or a wildcard may hold for. Only a wildcard has to look for them.
    pub(super) fn hosts_under(&self, pattern: &Host) -> BTreeSet<Arc<str>> {
        if !pattern.is_wildcard() {
            return BTreeSet::from([pattern.as_str().into()]);
        }
        let all = self.registry.hosts().chain(self.index.referred());
        all.filter(|host| Host::new(host).is_within(pattern)).cloned().collect()
    }

    fn set_slice(&mut self, object: &Object, slice: &kube::EndpointSlice, dirty: &mut Dirty) {
        let owner = object.labels.get(SERVICE_NAME_LABEL).map(|name| {
            let name: ServiceName = (Arc::clone(&object.key.namespace), name.as_str().into());
            let labels = Arc::new(object.labels.clone());
            (name, Slice { spec: slice.clone(), labels })
        });
        let touched = self.registry.set_slice(&object.key, owner);
        self.mark_endpoints(touched, dirty);
    }

    fn mark_endpoints(&self, services: Vec<ServiceName>, dirty: &mut Dirty) {
        let host = |(namespace, name): ServiceName| {
            names::service_host(&name, &namespace, &self.options.domain).into()
        };
        dirty.endpoints.extend(services.into_iter().map(host));
    }
}

/// The Gateway of a name, `NAMESPACE/NAME`.
pub(super) fn gateway_key(name: &str) -> Option<ObjectKey> {
    let (namespace, name) = name.split_once('/')?;
    Some(ObjectKey::new(Kind::Gateway, namespace, name))
}
