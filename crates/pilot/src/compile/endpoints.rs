//! Load assignments: the endpoints of a cluster.

use tidegate_envoy::v3::core::socket_address::PortSpecifier;
use tidegate_envoy::v3::core::{self, Pipe, SocketAddress, address};
use tidegate_envoy::v3::endpoint::lb_endpoint::HostIdentifier;
use tidegate_envoy::v3::endpoint::{
    ClusterLoadAssignment, Endpoint as EnvoyEndpoint, LbEndpoint, LocalityLbEndpoints,
};

use super::localities::Group;
use crate::model::endpoints::{Address, Endpoint};
use crate::model::locality::Locality;

/// The load assignment of a cluster, of endpoints in groups.
#[must_use]
pub fn assignment<'a>(
    cluster: &str,
    groups: impl IntoIterator<Item = Group<'a>>,
) -> ClusterLoadAssignment {
    ClusterLoadAssignment {
        cluster_name: cluster.to_owned(),
        endpoints: places(groups.into_iter().collect()),
        ..ClusterLoadAssignment::default()
    }
}

fn places(groups: Vec<Group<'_>>) -> Vec<LocalityLbEndpoints> {
    // Where nobody knows of any place, there is nothing to say of it.
    let alone = matches!(&*groups, [only] if !only.locality.is_known());
    let place = |group: Group<'_>| {
        let lb_endpoints = group.endpoints.into_iter().map(lb_endpoint).collect();
        if alone {
            return LocalityLbEndpoints { lb_endpoints, ..LocalityLbEndpoints::default() };
        }
        let Locality { region, zone, sub_zone } = group.locality.clone();
        LocalityLbEndpoints {
            locality: Some(core::Locality { region, zone, sub_zone }),
            lb_endpoints,
            load_balancing_weight: Some(group.weight),
            priority: group.priority,
            ..LocalityLbEndpoints::default()
        }
    };
    groups.into_iter().map(place).collect()
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
