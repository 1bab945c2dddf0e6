//! What the proxy beside a workload has: what it sees, and which listeners, filter chains and virtual hosts follow from that.
//!
//! Nothing here writes Envoy's messages (`compile::sidecar` does) or keeps state: a [`Scope`] is looked at anew whenever objects
//! change, and what comes out as before is not written again (`engine/sidecar/lay_out.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidegate_api::ObjectKey;
use tidegate_api::istio::{Protocol, Sidecar};

use self::routes::TableName;
use crate::Options;
use crate::model::names;
use crate::model::registry::Registry;
use crate::model::service::{Port, Service};
use crate::model::virtual_service::{Place as RulePlace, VirtualService};

pub mod domains;
pub mod egress;
pub mod imports;
pub mod inbound;
pub mod listeners;
pub mod name_table;
pub mod routes;

pub use egress::{Egress, Place};

/// Port that outbound connections are redirected to.
pub const OUTBOUND_PORT: u16 = 15001;
/// Port that inbound connections are redirected to.
pub const INBOUND_PORT: u16 = 15006;

/// Ports of a host that is reached from here, each with the definition that has it.
pub type Ports<'a> = BTreeMap<u16, (&'a Arc<Service>, &'a Port)>;

/// What a sidecar sees, as the Sidecar that is about its workload says.
#[derive(Debug)]
pub struct Scope<'a> {
    /// The sidecar and its mesh.
    pub options: &'a Options,
    /// What destination hosts stand for.
    pub registry: &'a Registry,
    /// The Sidecar; without one everything is seen.
    pub sidecar: Option<(&'a ObjectKey, &'a Sidecar)>,
    /// What is seen through each egress listener. One that is about every other port is the last.
    egress: Vec<Egress<'a>>,
}

impl<'a> Scope<'a> {
    /// What a sidecar sees of these VirtualServices, in any order, and of the registry, which holds nothing that is hidden
    /// from it.
    #[must_use]
    pub fn new(
        options: &'a Options,
        registry: &'a Registry,
        services: impl Iterator<Item = &'a VirtualService>,
        sidecar: Option<(&'a ObjectKey, &'a Sidecar)>,
    ) -> Self {
        let seen = services.filter(|service| service.acts_in_mesh());
        let mut rules: Vec<&VirtualService> = seen.collect();
        rules.sort_by(|a, b| (&a.order, &a.key).cmp(&(&b.order, &b.key)));
        let listeners = sidecar.map_or(&[][..], |(_, sidecar)| &sidecar.egress);
        let egress = match listeners {
            [] => vec![Egress::of_all(options, registry, rules)],
            some => some.iter().map(|one| Egress::of(one, options, registry, &rules)).collect(),
        };
        Self { options, registry, sidecar, egress }
    }

    /// What is seen through each egress listener; through one for all ports that no other is about last.
    #[must_use]
    pub fn egress(&self) -> &[Egress<'a>] {
        &self.egress
    }

    /// The egress listener whose requests a route configuration is for.
    #[must_use]
    pub fn egress_of(&self, table: &TableName) -> Option<&Egress<'a>> {
        self.egress.iter().find(|egress| match (&egress.place, table) {
            (Place::Everywhere, TableName::Port(_) | TableName::Service(..)) => true,
            (Place::Port { number, .. }, TableName::Port(port)) => number == port,
            (Place::Socket { path, .. }, TableName::Socket(bind)) => **path == **bind,
            _ => false,
        })
    }

    /// The hosts that anything may be sent to: those that the Sidecar brings in, where the rules that it brings in send to, and
    /// the way out of what nobody describes. Nothing where no Sidecar says so: that may be any.
    #[must_use]
    pub fn needs(&self) -> Option<BTreeSet<Arc<str>>> {
        self.sidecar.filter(|(_, sidecar)| !sidecar.egress.is_empty())?;
        let mut needed: BTreeSet<Arc<str>> = self.egress.iter().flat_map(Egress::needs).collect();
        let proxy = self.options.egress_proxy.as_deref().and_then(names::of_cluster);
        needed.extend(proxy.map(|(host, ..)| Arc::from(host)));
        // Another name leads to what it stands for.
        let targets: Vec<Arc<str>> = needed
            .iter()
            .flat_map(|host| self.registry.definitions(host))
            .filter_map(|service| Some(service.alias_of()?.to_ascii_lowercase().into()))
            .collect();
        needed.extend(targets);
        Some(needed)
    }

    /// The place of rules for a port.
    #[must_use]
    pub fn place(port: u16) -> RulePlace {
        RulePlace { gateway: names::MESH.into(), port, tls: false, http3: false }
    }
}

/// What is spoken on a port, as far as it decides who looks at connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoken {
    /// Requests.
    Http,
    /// Bytes; with TLS around them or not.
    Tcp {
        /// Whether they begin with a ClientHello.
        tls: bool,
    },
    /// Whatever it turns out to be.
    Auto,
}

impl Spoken {
    /// What is spoken on a port; `None` for what no connection carries.
    #[must_use]
    pub fn on(port: &Port) -> Option<Self> {
        Self::of(port.protocol)
    }

    /// What a protocol is; nothing named is whatever it turns out to be.
    #[must_use]
    pub fn of(protocol: Option<Protocol>) -> Option<Self> {
        Some(match protocol {
            None => Self::Auto,
            Some(protocol) if protocol.is_http() => Self::Http,
            Some(protocol) if protocol.is_tcp() => Self::Tcp { tls: protocol.is_tls() },
            Some(_) => return None,
        })
    }

    /// Whether requests may be among it.
    #[must_use]
    pub fn has_requests(self) -> bool {
        matches!(self, Self::Http | Self::Auto)
    }
}
