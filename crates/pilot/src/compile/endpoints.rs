//! Load assignments: the endpoints of a cluster.

use tidegate_envoy::v3::core::socket_address::PortSpecifier;
use tidegate_envoy::v3::core::{self, Pipe, SocketAddress, address};
use tidegate_envoy::v3::endpoint::lb_endpoint::HostIdentifier;
use tidegate_envoy::v3::endpoint::{
    ClusterLoadAssignment, Endpoint as EnvoyEndpoint, LbEndpoint, LocalityLbEndpoints,
};

use crate::model::endpoints::{Address, Endpoint};

/// The load assignment of a cluster: one locality, since the gateway knows no distance.
#[must_use]
pub fn assignment<'a>(
    cluster: &str,
    endpoints: impl Iterator<Item = &'a Endpoint>,
) -> ClusterLoadAssignment {
    let lb_endpoints: Vec<LbEndpoint> = endpoints.map(lb_endpoint).collect();
    let locality = LocalityLbEndpoints { lb_endpoints, ..LocalityLbEndpoints::default() };
    ClusterLoadAssignment {
        cluster_name: cluster.to_owned(),
        endpoints: if locality.lb_endpoints.is_empty() { Vec::new() } else { vec![locality] },
        ..ClusterLoadAssignment::default()
    }
}

fn lb_endpoint(endpoint: &Endpoint) -> LbEndpoint {
    let address = match &endpoint.address {
        Address::Socket(address, port) => address::Address::SocketAddress(SocketAddress {
            address: address.clone(),
            port_specifier: Some(PortSpecifier::PortValue((*port).into())),
            ..SocketAddress::default()
        }),
        Address::Pipe(path) => {
            address::Address::Pipe(Pipe { path: path.clone(), ..Pipe::default() })
        }
    };
    let endpoint_address = EnvoyEndpoint {
        address: Some(core::Address { address: Some(address) }),
        ..EnvoyEndpoint::default()
    };
    LbEndpoint {
        host_identifier: Some(HostIdentifier::Endpoint(endpoint_address)),
        load_balancing_weight: (endpoint.weight != 1).then_some(endpoint.weight),
        ..LbEndpoint::default()
    }
}
