//! Endpoints: what clusters list and what EDS assigns.

use std::net::SocketAddr;
use std::sync::Arc;

use tidegate_envoy::v3::endpoint::lb_endpoint::HostIdentifier;
use tidegate_envoy::v3::endpoint::{ClusterLoadAssignment, Endpoint as ProtoEndpoint, LbEndpoint};

use crate::config::refusal::{Refusal, Within, each};
use crate::upstream::cluster::{DnsName, Endpoint, EndpointSet};

use super::address::{HostPort, host_port, socket_address};
use super::value::present;

/// The endpoints that an assignment lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::config) struct Assigned(Vec<AssignedEndpoint>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct AssignedEndpoint {
    address: SocketAddr,
    hostname: Option<Arc<str>>,
    weight: u32,
}

impl Assigned {
    /// The set of endpoints. Those that `before` has alike are kept, with their connections and counts.
    pub fn endpoints(&self, before: &EndpointSet) -> EndpointSet {
        let mut left: Vec<_> = before.endpoints.iter().collect();
        let endpoints = self.0.iter().map(|assigned| {
            // Sets mostly keep their order, so the first that is left is mostly the one.
            match left.iter().position(|endpoint| assigned.is(endpoint)) {
                Some(at) => Arc::clone(left.remove(at)),
                None => assigned.endpoint(),
            }
        });
        EndpointSet::new(endpoints.collect())
    }
}

impl AssignedEndpoint {
    fn is(&self, endpoint: &Endpoint) -> bool {
        endpoint.address == self.address
            && endpoint.weight == self.weight
            && endpoint.hostname == self.hostname
    }

    fn endpoint(&self) -> Arc<Endpoint> {
        Arc::new(Endpoint::new(self.address, self.hostname.clone(), self.weight))
    }
}

/// An assignment whose endpoints are addresses.
pub(in crate::config) fn assignment(proto: &ClusterLoadAssignment) -> Result<Assigned, Refusal> {
    flat(proto, |endpoint, weight| {
        let address = present("address", endpoint.address.as_ref())?;
        Ok(AssignedEndpoint {
            address: socket_address(address).within("address")?,
            hostname: hostname(endpoint),
            weight,
        })
    })
    .map(Assigned)
}

/// An assignment whose endpoints are names to resolve.
pub(super) fn names(proto: &ClusterLoadAssignment) -> Result<Vec<DnsName>, Refusal> {
    flat(proto, |endpoint, weight| {
        let address = present("address", endpoint.address.as_ref())?;
        let HostPort { host, port } = host_port(address).within("address")?;
        if !endpoint.hostname.is_empty() && endpoint.hostname != host {
            return Err(Refusal::of(
                "hostname",
                "an endpoint that is found by DNS has its address as host name",
            ));
        }
        Ok(DnsName { host: host.into(), port, weight })
    })
}

fn hostname(endpoint: &ProtoEndpoint) -> Option<Arc<str>> {
    Some(endpoint.hostname.as_str()).filter(|name| !name.is_empty()).map(Into::into)
}

/// All endpoints of all localities.
fn flat<T>(
    proto: &ClusterLoadAssignment,
    compile: impl Fn(&ProtoEndpoint, u32) -> Result<T, Refusal>,
) -> Result<Vec<T>, Refusal> {
    let localities = each("endpoints", &proto.endpoints, |locality| {
        each("lb_endpoints", &locality.lb_endpoints, |lb_endpoint| {
            let weight = weight(lb_endpoint)?;
            let Some(HostIdentifier::Endpoint(endpoint)) = &lb_endpoint.host_identifier else {
                return Err(Refusal::of("endpoint", "must be set"));
            };
            compile(endpoint, weight).within("endpoint")
        })
    })?;
    Ok(localities.into_iter().flatten().collect())
}

fn weight(proto: &LbEndpoint) -> Result<u32, Refusal> {
    match proto.load_balancing_weight {
        Some(0) => Err(Refusal::of("load_balancing_weight", "must be 1 at least")),
        weight => Ok(weight.unwrap_or(1)),
    }
}

#[cfg(test)]
mod tests {
    use tidegate_envoy::v3::core::address::Address as AddressKind;
    use tidegate_envoy::v3::core::socket_address::PortSpecifier;
    use tidegate_envoy::v3::core::{Address, SocketAddress};
    use tidegate_envoy::v3::endpoint::LocalityLbEndpoints;

    use super::*;

    fn endpoint(host: &str, port: u32, weight: Option<u32>) -> LbEndpoint {
        let socket = SocketAddress {
            address: host.into(),
            port_specifier: Some(PortSpecifier::PortValue(port)),
            ..SocketAddress::default()
        };
        let address = Some(Address { address: Some(AddressKind::SocketAddress(socket)) });
        LbEndpoint {
            load_balancing_weight: weight,
            host_identifier: Some(HostIdentifier::Endpoint(ProtoEndpoint {
                address,
                ..ProtoEndpoint::default()
            })),
            ..LbEndpoint::default()
        }
    }

    fn proto(localities: Vec<Vec<LbEndpoint>>) -> ClusterLoadAssignment {
        let endpoints = localities
            .into_iter()
            .map(|lb_endpoints| LocalityLbEndpoints {
                lb_endpoints,
                ..LocalityLbEndpoints::default()
            })
            .collect();
        ClusterLoadAssignment { endpoints, ..ClusterLoadAssignment::default() }
    }

    #[test]
    fn endpoints_that_stay_are_the_same() {
        let local = |port, weight| endpoint("127.0.0.1", port, weight);
        let first =
            assignment(&proto(vec![vec![local(1, None), local(2, Some(3))], vec![local(1, None)]]))
                .expect("valid")
                .endpoints(&EndpointSet::default());
        let weights: Vec<_> = first.endpoints.iter().map(|endpoint| endpoint.weight).collect();
        assert_eq!((weights, first.total_weight, first.ready), (vec![1, 3, 1], 5, true));

        let second =
            assignment(&proto(vec![vec![local(2, Some(3)), local(1, Some(2)), local(1, None)]]))
                .expect("valid")
                .endpoints(&first);
        assert!(Arc::ptr_eq(&second.endpoints[0], &first.endpoints[1]));
        assert_eq!(second.endpoints[1].weight, 2);
        assert!(Arc::ptr_eq(&second.endpoints[2], &first.endpoints[0]));
    }

    #[test]
    fn refusals_name_the_endpoint() {
        let place = "endpoints[1].lb_endpoints[0]";
        let good = || vec![endpoint("127.0.0.1", 80, None)];
        let refused = |bad: LbEndpoint| {
            assignment(&proto(vec![good(), vec![bad]])).expect_err("refused").path
        };
        assert_eq!(
            refused(endpoint("example.com", 80, None)),
            format!("{place}.endpoint.address.socket_address.address")
        );
        assert_eq!(
            refused(endpoint("127.0.0.1", 70_000, None)),
            format!("{place}.endpoint.address.socket_address.port_value")
        );
        assert_eq!(
            refused(endpoint("127.0.0.1", 80, Some(0))),
            format!("{place}.load_balancing_weight")
        );
        assert_eq!(refused(LbEndpoint::default()), format!("{place}.endpoint"));
    }

    #[test]
    fn names_to_resolve() {
        let found = names(&proto(vec![vec![endpoint("example.com", 80, Some(2))]]));
        assert_eq!(found, Ok(vec![DnsName { host: "example.com".into(), port: 80, weight: 2 }]));
    }
}
