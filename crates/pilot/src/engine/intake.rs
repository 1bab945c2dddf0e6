//! First step: objects into the model, and marks on what they feed.

use std::collections::BTreeSet;
use std::sync::Arc;

use tidegate_api::istio;
use tidegate_api::kube;
use tidegate_api::{Kind, Object, ObjectKey, Spec};

use super::credentials::{Use, User};
use super::{Dirty, Index, Pilot, Problem, index, stands};
use crate::Input;
use crate::model::destination_rule::Rule;
use crate::model::endpoints::{PodAddress, Slice};
use crate::model::gateway::Gateway;
use crate::model::host::Host;
use crate::model::names;
use crate::model::registry::{SERVICE_NAME_LABEL, ServiceName};
use crate::model::service::Service;
use crate::model::tls::{client_credentials, server_secrets};
use crate::model::virtual_service::VirtualService;
use crate::status;

impl Pilot {
    pub(super) fn take(&mut self, input: Input, dirty: &mut Dirty) {
        match input {
            Input::Apply(object) => self.apply_object(&object, dirty),
            Input::Delete(key) => self.delete(&key, dirty),
            Input::File { name, content } => self.set_file(name, content, dirty),
            Input::Refused(secrets) => self.set_refused(secrets, dirty),
            Input::Invalid { key, generation, errors } => {
                dirty.status.insert(key.clone());
                if !self.generations.contains_key(&key) {
                    dirty.applied.insert(key.clone()); // Nothing older stands for it.
                }
                self.problems.insert(key, Problem { generation, errors });
            }
        }
    }

    fn apply_object(&mut self, object: &Object, dirty: &mut Dirty) {
        let key = &object.key;
        self.problems.remove(key);
        self.generations.insert(key.clone(), object.generation);
        dirty.status.insert(key.clone());
        if stands(key.kind) {
            dirty.applied.insert(key.clone());
        }
        match status::unserved_fields(&object.spec) {
            fields if fields.is_empty() => self.unserved.remove(key),
            fields => self.unserved.insert(key.clone(), fields),
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
            Spec::EndpointSlice(slice) => self.set_slice(object, slice, dirty),
            Spec::Pod(pod) => {
                let pod = PodAddress::of(pod, &object.labels);
                dirty.endpoints.extend(self.registry.set_pod(key, Some(pod)));
            }
            Spec::Secret(secret) => {
                self.set_secret(key, Some(Arc::new(kube::Secret::clone(secret))), dirty);
            }
            _ => {}
        }
    }

    fn delete(&mut self, key: &ObjectKey, dirty: &mut Dirty) {
        self.problems.remove(key);
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
                self.set_services(key, Vec::new(), dirty);
                self.set_hidden(key, Vec::new(), dirty);
            }
            Kind::DestinationRule => self.set_rule(key, None, dirty),
            Kind::EndpointSlice => {
                let touched = self.registry.set_slice(key, None);
                self.mark_endpoints(touched, dirty);
            }
            Kind::Pod => dirty.endpoints.extend(self.registry.set_pod(key, None)),
            Kind::Secret => self.set_secret(key, None, dirty),
            _ => {}
        }
        self.generations.remove(key);
        self.unserved.remove(key);
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
        self.mark_reach(&name, dirty);
        dirty.ports.extend(self.index.set_gateway(key, gateway));
        self.index.set_known(&name, exists);
        self.index.settle_naming(&name);
        let naming = self.index.naming(&name);
        dirty.status.extend(naming.chain(self.index.all_strays()).cloned());
    }

    /// Marks the VirtualServices that name a Gateway, and where they claim hosts as things stand: what it lists decides
    /// about that elsewhere, too. So it does for those whose hosts no Gateway of theirs has.
    fn mark_reach(&self, gateway: &str, dirty: &mut Dirty) {
        for key in self.index.naming(gateway).chain(self.index.all_strays()) {
            let Some(service) = self.index.virtual_service(key) else { continue };
            let reach = self.index.reach(service).into_iter().map(|(gateway, _)| gateway);
            let reached = dirty.services.entry(key.clone()).or_default();
            reached.gateways.extend(reach);
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
        let reached = old.into_iter().flat_map(|old| self.index.reach(old));
        let reached: BTreeSet<Arc<str>> = reached.map(|(gateway, _)| gateway).collect();
        let both = old.into_iter().chain(service.as_ref());
        let gateways: BTreeSet<Arc<str>> =
            both.flat_map(|service| service.gateways.iter().cloned()).collect();
        let named = |index: &Index| -> BTreeSet<Arc<str>> {
            let has = |gateway: &&Arc<str>| index.naming(gateway).next().is_some();
            gateways.iter().filter(has).cloned().collect()
        };
        let were = named(&self.index);
        let before = self.index.set_virtual_service(key, service);
        // A Gateway that has its first or loses its last is told about, and may take others or leave them.
        for gateway in were.symmetric_difference(&named(&self.index)) {
            dirty.status.extend(gateway_key(gateway));
            dirty.reclaimed.insert(Arc::clone(gateway));
        }
        let now = self.index.virtual_service(key);
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
        let services = Service::of_entry(object, spec, &self.options);
        // It has hosts; without services they are hidden.
        let hosts = spec.hosts.iter().filter(|_| services.is_empty());
        let hidden = hosts.map(|host| host.to_ascii_lowercase().into()).collect();
        self.set_services(&object.key, services, dirty);
        self.set_hidden(&object.key, hidden, dirty);
    }

    fn set_kube_service(&mut self, object: &Object, service: &kube::Service, dirty: &mut Dirty) {
        let service = Service::of_kube(object, service, &self.options);
        let ObjectKey { namespace, name, .. } = &object.key;
        let host = || names::service_host(name, namespace, &self.options.domain).into();
        let hidden = if service.is_none() { vec![host()] } else { Vec::new() };
        self.set_services(&object.key, service.into_iter().collect(), dirty);
        self.set_hidden(&object.key, hidden, dirty);
    }

    /// Hosts that are hidden are told to those who send there.
    fn set_hidden(&mut self, key: &ObjectKey, hosts: Vec<Arc<str>>, dirty: &mut Dirty) {
        for host in self.registry.set_hidden(key, hosts) {
            dirty.status.extend(self.index.referring_to(&host).map(|(service, _)| service.clone()));
        }
    }

    fn set_services(&mut self, key: &ObjectKey, services: Vec<Service>, dirty: &mut Dirty) {
        for host in self.registry.set_services(key, services) {
            // Whose service it is decides which rules hold.
            let ruled = self.rules.concerning(&host).next().is_some();
            for (service, port_open) in self.index.referring_to(&host) {
                dirty.status.insert(service.clone());
                if port_open || ruled {
                    dirty.touched.insert(service.clone());
                }
            }
            // Others that define the host may have won or lost a port.
            let others = self.registry.definitions(&host).map(|s| &s.key);
            dirty.status.extend(others.filter(|k| k.kind == Kind::ServiceEntry).cloned());
            dirty.status.extend(self.rules.concerning(&host).map(|rule| rule.key.clone()));
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
            // A rule for one host touches that one; only a wildcard has to look for its hosts.
            let hosts: BTreeSet<Arc<str>> = if pattern.is_wildcard() {
                let all = self.registry.hosts().chain(self.index.referred());
                all.filter(|host| Host::new(host).is_within(&pattern)).cloned().collect()
            } else {
                BTreeSet::from([pattern.as_str().into()])
            };
            for host in hosts {
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
