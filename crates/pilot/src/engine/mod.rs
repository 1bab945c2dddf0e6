//! The engine: takes a batch of inputs in, finds what it touches, and compiles only that.
//!
//! A batch goes through five steps, one method each: [`Pilot::take`] enters objects into the model and marks
//! what they feed; `plan` merges the touched ports of the Gateways again, and brings the credentials that these take; `route` moves VirtualServices
//! between virtual hosts; `emit` compiles what is marked; `tell` compares conditions with those told before.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use tidegate_api::{Kind, ObjectKey};
use tidegate_xds::{Resource, ResourceType};

use crate::compile::authorization::Authorization;
use crate::compile::tokens::{Discovered, Tokens};
use crate::compile::{self, Context};
use crate::model::authentication::TokenPolicies;
use crate::model::authorization::Policies;
use crate::model::auto_address::AutoAddresses;
use crate::model::credentials::Secrets;
use crate::model::destination_rule::Rules;
use crate::model::envoy_filter::EnvoyFilters;
use crate::model::host::Host;
use crate::model::merge::{ListenerPlan, PortPlan};
use crate::model::names;
use crate::model::peers::PeerPolicies;
use crate::model::registry::Registry;
use crate::model::sidecar::Sidecars;
use crate::model::tls::Credential;
use crate::sidecar::name_table::NameChange;
use crate::status::{self, Account, StatusUpdate, Subject, View};
use crate::{Compiled, Input, Options, Output, Remark, UnfetchedKeys};

mod adoption;
mod credentials;
mod emit;
mod index;
mod intake;
mod listeners;
mod naming;
mod origins;
mod outbox;
mod patched;
mod patches;
mod plan;
mod reach;
mod redirects;
mod removals;
mod route_table;
mod security;
mod shadows;
mod short_forms;
mod sidecar;

pub(crate) use credentials::Credentials;
pub(crate) use index::{Index, gateway_name};
pub(crate) use listeners::Listeners;
use outbox::Outbox;
pub(crate) use patched::Patches;
pub(crate) use route_table::RouteTable;
pub(crate) use shadows::Shadows;
pub(crate) use short_forms::ShortForms;
pub(crate) use sidecar::Sidecar;

/// A control plane for one proxy.
#[derive(Debug)]
pub struct Pilot {
    options: Options,
    index: Index,
    registry: Registry,
    rules: Rules,
    token_policies: TokenPolicies,
    /// What `token_policies` come to.
    tokens: Tokens,
    unfetched: UnfetchedKeys,
    /// What issuers say of where their keys are.
    discovered: Discovered,
    policies: Policies,
    /// What `policies` come to.
    authorization: Authorization,
    /// Whether requests may be for hosts that the proxy resolves as clients ask for them.
    resolves_asked: bool,
    /// Whether rules of the mesh lead to the gateway.
    leads_out: bool,
    /// PeerAuthentications; on a gateway none counts.
    peers: PeerPolicies,
    /// Addresses of hosts that have none of their own; on a gateway nobody asks for them.
    auto_addresses: AutoAddresses,
    /// The hosts of ServiceEntries that were given some.
    addressed: HashMap<ObjectKey, Vec<Arc<str>>>,
    /// Sidecars; on a gateway none counts.
    sidecars: Sidecars,
    /// Objects whose last form was refused.
    problems: HashMap<ObjectKey, Problem>,
    /// Fields without effect that objects use.
    idle: HashMap<ObjectKey, Vec<(&'static str, String)>>,
    /// `metadata.generation` of the last good form of every object, also of those that only a refused form is told of.
    generations: HashMap<ObjectKey, i64>,
    ports: BTreeMap<u16, PortPlan>,
    listeners: Listeners,
    tables: BTreeMap<Arc<str>, RouteTable>,
    shadows: Shadows,
    /// Ports of each host that have a cluster.
    clusters: HashMap<Arc<str>, BTreeSet<Arc<str>>>,
    /// Clusters without endpoints, by host.
    vacant: HashMap<Arc<str>, Vacant>,
    secrets: Secrets,
    credentials: Credentials,
    /// What is served beside a workload; nothing on a gateway.
    sidecar: Sidecar,
    /// What was told of names; nothing on a gateway.
    names: naming::Told,
    filters: EnvoyFilters,
    patches: Patches,
    /// Objects that annotations stand for.
    short_forms: ShortForms,
    outbox: Outbox,
    told: HashMap<ObjectKey, Account>,
    started: bool,
}

/// Clusters without endpoints, and why they have none.
pub(crate) type Vacant = BTreeMap<Arc<str>, String>;

/// Why the last form of an object was refused.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    pub(crate) generation: i64,
    pub(crate) errors: Vec<String>,
}

/// What a batch touches.
#[derive(Debug, Default)]
struct Dirty {
    /// Ports whose Gateways are to be merged again.
    ports: BTreeSet<u16>,
    /// Whose services have other connections of a sidecar than before: those of older ones, or their own.
    beaten: BTreeSet<ObjectKey>,
    /// VirtualServices that are new, different or gone.
    replaced: BTreeSet<ObjectKey>,
    /// VirtualServices that may claim other hosts than before, with what they could claim.
    services: BTreeMap<ObjectKey, Reached>,
    /// Wildcards: who has one may be told of others that have hosts under it.
    wider: BTreeSet<Host>,
    /// Whether there are other Gateways than before: those that name none may be told of one as the one that is meant.
    named: bool,
    /// The same of VirtualServices that others may delegate to.
    delegates: bool,
    /// VirtualServices whose routes depend on something that changed.
    touched: BTreeSet<ObjectKey>,
    /// Gateways that other VirtualServices than before may claim hosts at.
    reclaimed: BTreeSet<Arc<str>>,
    /// Gateways that nobody names, or that somebody does no more, and that may take other hosts than before.
    adopters: BTreeSet<Arc<str>>,
    /// Gateways whose connection rules changed.
    carriers: BTreeSet<Arc<str>>,
    /// Route configurations that are new.
    skeletons: BTreeSet<Arc<str>>,
    /// Route tables with something to settle.
    tables: BTreeSet<Arc<str>>,
    /// Listeners to compile.
    listeners: BTreeSet<Arc<str>>,
    /// Hosts whose clusters are to be compiled.
    hosts: BTreeSet<Arc<str>>,
    /// Hosts whose endpoints may differ.
    endpoints: BTreeSet<Arc<str>>,
    /// Credentials whose secrets may differ.
    credentials: BTreeSet<Credential>,
    /// Secrets that may be more or less to those who take them than before, or that others take.
    secrets: BTreeSet<ObjectKey>,
    /// Objects whose conditions may differ.
    status: BTreeSet<ObjectKey>,
    /// Objects that this batch applied.
    applied: BTreeSet<ObjectKey>,
    /// Secrets of xDS of which a form was withheld.
    withheld: Vec<Arc<str>>,
    /// Credentials that may be lacking, or no more.
    lacking: BTreeSet<Credential>,
    /// What happened to objects.
    remarks: Vec<Remark>,
    /// Names that mean something else than before.
    names: Vec<NameChange>,
    /// Whether another Sidecar may say what the workload sees.
    scope: bool,
    /// Whether something differs that everything beside a workload is made from.
    everything: bool,
    /// What is made anew beside a workload.
    laid_out: Vec<Resource>,
    /// Whether AuthorizationPolicies that hold here changed.
    policies: bool,
    /// Whether RequestAuthentications that hold here changed.
    tokens: bool,
}

/// Where a VirtualService could claim hosts.
#[derive(Debug, Default)]
struct Reached {
    gateways: BTreeSet<Arc<str>>,
    hosts: BTreeSet<Host>,
}

impl Pilot {
    /// A pilot without objects.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self {
            secrets: Secrets::of(&options.namespace)
                .in_mesh(options.workload_certificates.as_deref())
                .of_workload(options.workload().is_some()),
            credentials: Credentials::default(),
            auto_addresses: AutoAddresses::default(),
            addressed: HashMap::new(),
            sidecars: Sidecars::new(options.outbound_policy),
            options,
            index: Index::default(),
            registry: Registry::default(),
            rules: Rules::default(),
            token_policies: TokenPolicies::default(),
            tokens: Tokens::default(),
            unfetched: UnfetchedKeys::default(),
            discovered: Discovered::default(),
            policies: Policies::default(),
            authorization: Authorization::default(),
            resolves_asked: false,
            leads_out: false,
            peers: PeerPolicies::default(),
            problems: HashMap::new(),
            idle: HashMap::new(),
            generations: HashMap::new(),
            ports: BTreeMap::new(),
            listeners: Listeners::default(),
            tables: BTreeMap::new(),
            shadows: Shadows::default(),
            clusters: HashMap::new(),
            vacant: HashMap::new(),
            sidecar: Sidecar::default(),
            names: naming::Told::default(),
            filters: EnvoyFilters::default(),
            patches: Patches::default(),
            short_forms: ShortForms::default(),
            outbox: Outbox::default(),
            told: HashMap::new(),
            started: false,
        }
    }

    /// Applies a batch. Batches are cheaper than single inputs where they touch the same resources: at the
    /// start, give everything at once.
    pub fn apply(&mut self, inputs: impl IntoIterator<Item = Input>) -> Output {
        let mut dirty = Dirty::default();
        for input in inputs {
            self.take(input, &mut dirty);
        }
        let before = (self.resolves_asked, self.leads_out);
        (self.resolves_asked, self.leads_out) = (self.leads_to_asked(), self.is_led_to());
        if self.options.workload().is_some() {
            dirty.everything |= before.0 != self.resolves_asked;
            let compiled = self.emit_sidecar(&mut dirty);
            // What holds of other objects is told by the gateway; who loses to whom in the mesh by `lost_hosts`.
            dirty.status.retain(|key| is_told_by_sidecars(key.kind));
            dirty.status.append(&mut dirty.beaten);
            let status = self.tell(&mut dirty);
            let change = self.outbox.finish();
            let accounts = dirty.status.len();
            let (names, withheld) = (std::mem::take(&mut dirty.names), dirty.withheld);
            let lacking = self.lacking(dirty.lacking);
            return Output {
                change,
                status,
                withheld,
                lacking,
                compiled,
                accounts,
                names,
                ..Output::default()
            };
        }
        let mut compiled = Compiled::NONE;
        self.plan(&mut dirty, &mut compiled);
        self.authorize(&mut dirty);
        if before != (self.resolves_asked, self.leads_out) {
            dirty.listeners.extend(self.listeners.names().map(Arc::clone));
        }
        self.route(&mut dirty);
        self.emit(&mut dirty, &mut compiled);
        let status = self.tell(&mut dirty);
        self.short_forms.attribute(&mut dirty.remarks);
        let applied = dirty.applied.into_iter();
        let applied = applied.filter(|key| stands(key.kind) && self.told.contains_key(key));
        Output {
            applied: applied.filter_map(|key| Some((key.clone(), self.in_force(&key)?))).collect(),
            change: self.outbox.finish(),
            status,
            secrets: dirty.secrets,
            withheld: dirty.withheld,
            lacking: self.lacking(dirty.lacking),
            remarks: dirty.remarks,
            compiled,
            accounts: dirty.status.len(),
            names: Vec::new(),
        }
    }

    /// The objects that a resource was compiled from: whom to tell when a proxy refuses it.
    #[must_use]
    pub fn owners(&self, kind: ResourceType, name: &str) -> Vec<ObjectKey> {
        let mut owners = self.makers(kind, name);
        owners.extend(self.patches.behind(kind, name).cloned());
        self.short_forms.owners(owners)
    }

    /// The objects that a resource was compiled from, before EnvoyFilters changed it.
    fn makers(&self, kind: ResourceType, name: &str) -> Vec<ObjectKey> {
        match kind {
            ResourceType::Listener if self.options.workload().is_some() => {
                let mut owners = self.sidecar.listener_owners(name);
                if names::is_inbound(name) {
                    owners.extend(self.security());
                }
                owners
            }
            ResourceType::Listener => {
                self.listeners.owners(name).into_iter().chain(self.security()).collect()
            }
            ResourceType::RouteConfiguration => {
                self.tables.get(name).map(|t| t.owners("")).unwrap_or_default()
            }
            ResourceType::VirtualHost => {
                let split = tidegate_xds::assemble::split_virtual_host_name(name);
                let owners = |(table, host): (&str, &str)| match self.tables.get(table) {
                    Some(table) => table.owners(host),
                    None => self.sidecar.host_owners(table, host),
                };
                let owners = split.map(owners).unwrap_or_default();
                self.with_delegates(owners)
            }
            ResourceType::Cluster | ResourceType::Endpoints => self.cluster_owner(name),
            ResourceType::Secret => self.secret_owners(name),
        }
    }

    /// The policies that say who may do what here, and whose tokens are taken.
    fn security(&self) -> impl Iterator<Item = ObjectKey> + '_ {
        let policies = self.policies.here().map(|policy| policy.key.clone());
        let tokens = self.token_policies.here().map(|policy| policy.key.clone());
        policies.chain(tokens)
    }

    /// Objects, and those that rules of theirs are taken from; each once.
    fn with_delegates(&self, mut keys: Vec<ObjectKey>) -> Vec<ObjectKey> {
        for at in 0..keys.len() {
            let Some(service) = self.index.virtual_service(&keys[at]) else { continue };
            for rule in &service.rules {
                if !keys.contains(&rule.key) {
                    keys.push(rule.key.clone());
                }
            }
        }
        keys
    }

    /// `outbound|PORT|SUBSET|HOST` leads back to the definition that has the port, a cluster for keys of tokens to those who
    /// take these.
    fn cluster_owner(&self, name: &str) -> Vec<ObjectKey> {
        if let Some(keys) = self.tokens.clusters.get(name) {
            return keys.owners.iter().cloned().collect();
        }
        if names::is_inbound(name) {
            return self.sidecar.inbound(name).map(|by| by.key().clone()).into_iter().collect();
        }
        let Some((host, port, _)) = names::of_cluster(name) else { return Vec::new() };
        let ports = self.registry.ports(host);
        ports.get(&port).map(|(service, _)| service.key.clone()).into_iter().collect()
    }

    fn context(&self) -> Context<'_> {
        Context {
            options: &self.options,
            registry: &self.registry,
            rules: &self.rules,
            tokens: &self.tokens,
            authorization: &self.authorization,
            resolves_asked: self.resolves_asked,
        }
    }

    /// Whether requests may be for hosts that the proxy resolves as clients ask for them: at a gateway, where rules send there.
    fn leads_to_asked(&self) -> bool {
        let anyone = self.options.workload().is_some();
        let led = |host: &Arc<str>| self.index.referring_to(host).next().is_some();
        self.registry.asked().any(|host| anyone || led(host))
    }

    /// Whether a rule of the mesh sends workloads to the gateway.
    fn is_led_to(&self) -> bool {
        let of_mesh = |key| self.index.virtual_service(key).is_some_and(|rules| rules.in_mesh);
        let hosts = self.options.services.iter().map(|service| &*service.host);
        let mut leading = hosts.flat_map(|host| self.index.referring_to(host));
        leading.any(|(key, _)| of_mesh(key))
    }

    /// The port by which workloads know a listener that is their way out: rules of the mesh lead to the gateway, and its
    /// Gateways have no VirtualService that is for others alone.
    fn egress_port(&self, plan: &ListenerPlan) -> Option<u16> {
        let mut gateways = plan.servers.iter().map(|server| &server.gateway);
        let leads_out = self.leads_out && gateways.all(|gateway| self.index.is_for_mesh(gateway));
        plan.servers.first().filter(|_| leads_out).map(|server| server.port)
    }

    /// The generation of the form that counts; the refused one's where there never was a good one.
    fn in_force(&self, key: &ObjectKey) -> Option<i64> {
        let good = self.generations.get(key).copied();
        good.or_else(|| self.problems.get(key).map(|problem| problem.generation))
    }

    /// Compares what is to be said of touched objects with what was said before.
    fn tell(&mut self, dirty: &mut Dirty) -> Vec<StatusUpdate> {
        let mut updates = Vec::new();
        dirty.status.extend(self.shadows.take_touched());
        let wider = dirty.wider.iter();
        dirty.status.extend(wider.flat_map(|host| self.index.having(host)).cloned());
        if dirty.named {
            dirty.status.extend(self.index.naming_nobody().cloned());
        }
        if dirty.delegates {
            dirty.status.extend(self.index.delegating_to_nobody().cloned());
        }
        // A delegate stands as whoever leads to it.
        let services = dirty.status.iter().filter_map(|key| self.index.virtual_service(key));
        let delegates: Vec<ObjectKey> = services.flat_map(|service| service.delegates()).collect();
        dirty.status.extend(delegates);
        self.short_forms.tell_entries(&mut dirty.status);
        for key in &dirty.status {
            let now = self.account_with_long_form(key);
            let before = self.told.get(key);
            let problem = self.problems.get(key).map(|p| p.generation);
            let generation = problem.or_else(|| self.generations.get(key).copied());
            let conditions = now.as_ref().map_or(&[][..], |n| &n.conditions);
            let old = before.map_or(&[][..], |b| &b.conditions);
            let told_first = before.is_none() && now.is_some();
            let again = told_first || (now.is_some() && dirty.applied.contains(key));
            // An object that is gone has no status left to write.
            if let Some(generation) = generation
                && (old != conditions || again)
            {
                updates.push(StatusUpdate {
                    key: key.clone(),
                    generation,
                    in_force: self.generations.get(key).copied().unwrap_or(generation),
                    conditions: conditions.to_vec(),
                });
            }
            if before.map(|b| &b.standing) != now.as_ref().map(|n| &n.standing) {
                dirty.applied.insert(key.clone());
            }
            match now {
                Some(now) => self.told.insert(key.clone(), now),
                None => self.told.remove(key),
            };
        }
        updates
    }

    fn account(&self, key: &ObjectKey) -> Option<Account> {
        let subject = match key.kind {
            _ if !self.generations.contains_key(key) => None,
            Kind::Gateway => Some(Subject::Gateway),
            Kind::VirtualService => Some(Subject::VirtualService),
            Kind::ServiceEntry => Some(Subject::ServiceEntry),
            Kind::DestinationRule => self.rules.get(key).map(|r| Subject::DestinationRule(r)),
            Kind::EnvoyFilter => Some(Subject::EnvoyFilter),
            Kind::WorkloadEntry => Some(Subject::WorkloadEntry),
            Kind::AuthorizationPolicy => self.policies.get(key).map(Subject::AuthorizationPolicy),
            Kind::RequestAuthentication => {
                self.token_policies.get(key).map(Subject::RequestAuthentication)
            }
            Kind::PeerAuthentication => Some(Subject::PeerAuthentication),
            Kind::Sidecar => Some(Subject::Sidecar),
            _ => None,
        };
        status::account(key, subject, self.problems.get(key), self.view())
    }

    /// Everything that status is read from.
    fn view(&self) -> View<'_> {
        View {
            options: &self.options,
            problems: &self.problems,
            index: &self.index,
            registry: &self.registry,
            rules: &self.rules,
            policies: &self.policies,
            tokens: &self.tokens,
            unfetched: &self.unfetched,
            authorization: &self.authorization,
            ports: &self.ports,
            listeners: &self.listeners,
            tables: &self.tables,
            shadows: &self.shadows,
            idle: &self.idle,
            vacant: &self.vacant,
            secrets: &self.secrets,
            credentials: &self.credentials,
            filters: &self.filters,
            patches: &self.patches,
            short_forms: &self.short_forms,
            sidecar: &self.sidecar,
        }
    }

    /// The resources that hold whatever the objects say.
    fn put_fixtures(&mut self) {
        if !self.started {
            self.started = true;
            let cluster = compile::cluster::black_hole(self.options.connect_timeout);
            let name = cluster.name.as_str();
            self.outbox.put(Resource::encode(ResourceType::Cluster, name, &cluster));
        }
    }
}

/// Whether objects of a kind have a standing of their own. Services and endpoints are parts of what others say.
const fn stands(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Gateway
            | Kind::VirtualService
            | Kind::ServiceEntry
            | Kind::DestinationRule
            | Kind::EnvoyFilter
            | Kind::WorkloadEntry
            | Kind::AuthorizationPolicy
            | Kind::RequestAuthentication
            | Kind::PeerAuthentication
            | Kind::Sidecar
    )
}

/// Whether a sidecar, too, says what it makes of objects of a kind.
const fn is_told_by_sidecars(kind: Kind) -> bool {
    matches!(kind, Kind::AuthorizationPolicy | Kind::RequestAuthentication | Kind::EnvoyFilter)
}

/// Counts nothing: the start of a batch.
impl Compiled {
    const NONE: Self = Self {
        listeners: 0,
        route_configurations: 0,
        virtual_hosts: 0,
        clusters: 0,
        load_assignments: 0,
        secrets: 0,
    };
}
