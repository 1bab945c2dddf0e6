//! The ServiceEntries that would let out what was refused.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde_json::{Value, json};
use tidegate_pilot::expand::GATEWAY_ANNOTATION;

/// What was refused: something by a host, by an address, or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What was asked for.
    pub wire: Wire,
    /// The host that the client named, or that DNS led it there by.
    pub host: Option<String>,
    /// Where it wanted to go.
    pub address: Option<IpAddr>,
    /// The port.
    pub port: u16,
    /// The Service of the egress gateway that refused it, as `NAME.NAMESPACE`; its port and address are that one's then.
    pub gateway: Option<String>,
}

/// What was spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wire {
    /// Requests in plain text.
    Http,
    /// TLS.
    Tls,
    /// Anything else.
    Tcp,
}

/// What one ServiceEntry is for: all that was asked of a host, by whatever its client spoke, else an address. Bytes have the name of a
/// host where the sidecar told its address, and tells one of the host's own once there is an entry: those that it has by itself
/// need not be known then, and may change.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    Host(String),
    Address(IpAddr),
}

/// ServiceEntries for a namespace, each of which lets out what was refused of one host or address.
#[must_use]
pub fn service_entries(refused: &[Refused], namespace: &str) -> Vec<Value> {
    type Ports = BTreeMap<u16, BTreeSet<Wire>>;
    let mut targets: BTreeMap<(Target, Option<&str>), Ports> = BTreeMap::new();
    for one in refused {
        let Some(target) = Target::of(one) else { continue };
        let ports = targets.entry((target, one.gateway.as_deref())).or_default();
        ports.entry(one.port).or_default().insert(one.wire);
    }
    let entries = targets.into_iter().map(|((target, gateway), ports)| {
        let name = target.name();
        let mut spec = json!({"hosts": [target.host()]});
        if let Some(address) = target.address() {
            spec["addresses"] = json!([address]);
        }
        let ports: Vec<Value> =
            ports.into_iter().map(|(number, wires)| target.port(number, &wires)).collect();
        spec["ports"] = ports.into();
        spec["location"] = "MESH_EXTERNAL".into();
        spec["resolution"] = target.resolution().into();
        let mut metadata = json!({"name": name, "namespace": namespace});
        if let Some(gateway) = gateway {
            metadata["annotations"] = json!({GATEWAY_ANNOTATION: gateway});
        }
        json!({
            "apiVersion": "networking.istio.io/v1",
            "kind": "ServiceEntry",
            "metadata": metadata,
            "spec": spec,
        })
    });
    entries.collect()
}

impl Target {
    fn of(refused: &Refused) -> Option<Self> {
        let Refused { host, address, .. } = refused;
        // Istio takes no such name for a host.
        let host = host.as_ref().filter(|host| !host.contains('_'));
        match (host.cloned(), *address) {
            (Some(host), _) => Some(Self::Host(host)),
            // The address is the gateway's own.
            (None, _) if refused.gateway.is_some() => None,
            (None, address) => address.map(Self::Address),
        }
    }

    fn host(&self) -> String {
        match self {
            Self::Host(host) => host.clone(),
            Self::Address(address) => format!("{}.address", dashed(*address)),
        }
    }

    fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Host(_) => None,
            Self::Address(address) => Some(*address),
        }
    }

    /// The name of the object.
    fn name(&self) -> String {
        match self {
            Self::Host(host) => host.clone(),
            Self::Address(address) => format!("address-{}", dashed(*address)),
        }
    }

    /// Nobody resolves an address; the client has it already.
    fn resolution(&self) -> &'static str {
        match self {
            Self::Host(_) => "DNS",
            Self::Address(_) => "NONE",
        }
    }

    /// A port on which this was spoken. Who names no server is let through by the address, whatever it speaks.
    fn port(&self, number: u16, wires: &BTreeSet<Wire>) -> Value {
        let protocol = match (self, wires.first()) {
            (Self::Host(_), Some(Wire::Http)) if wires.len() == 1 => "HTTP",
            (Self::Host(_), Some(Wire::Tls)) if wires.len() == 1 => "TLS",
            (Self::Host(_), Some(Wire::Http | Wire::Tls)) => "",
            _ => "TCP",
        };
        if protocol.is_empty() {
            // Which of them it is the proxy sees for itself.
            return json!({"number": number, "name": format!("any-{number}")});
        }
        let name = format!("{}-{number}", protocol.to_ascii_lowercase());
        json!({"number": number, "name": name, "protocol": protocol})
    }
}

/// An address as a part of a name.
fn dashed(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => v4.to_string().replace('.', "-"),
        IpAddr::V6(v6) => v6.segments().map(|part| format!("{part:x}")).join("-"),
    }
}
