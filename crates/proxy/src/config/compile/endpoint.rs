//! Endpoints: what clusters list and what EDS assigns.

use std::sync::Arc;

use tidegate_envoy::v3::core::Locality as Where;
use tidegate_envoy::v3::endpoint::lb_endpoint::HostIdentifier;
use tidegate_envoy::v3::endpoint::{
    ClusterLoadAssignment, Endpoint as ProtoEndpoint, LbEndpoint, LocalityLbEndpoints,
};

use crate::config::refusal::{Refusal, Within, each};
use crate::remote::Remote;
use crate::upstream::cluster::{DnsName, Endpoint, EndpointSet, Locality, Place};

use super::address::{HostPort, host_port, remote};
use super::value::present;

/// The last priority that there may be, as in Envoy.
const MAX_PRIORITY: u32 = 128;

/// The endpoints that an assignment lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::config) struct Assigned(Vec<AssignedEndpoint>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct AssignedEndpoint {
    address: Remote,
    hostname: Option<Arc<str>>,
    weight: u32,
    place: Arc<Place>,
}

impl Assigned {
    /// The set of endpoints. Those that `before` has alike are kept, with their connections and counts.
    pub fn endpoints(&self, before: &EndpointSet) -> EndpointSet {
        let mut left: Vec<_> = before.endpoints.iter().collect();
        let endpoints = self.0.iter().map(|assigned| {
            // Sets mostly keep their order, so the first that is left is mostly the one.
            let endpoint = match left.iter().position(|endpoint| assigned.is(endpoint)) {
                Some(at) => Arc::clone(left.remove(at)),
                None => Arc::new(assigned.endpoint().known_from(before)),
            };
            (endpoint, Arc::clone(&assigned.place))
        });
        EndpointSet::placed(endpoints)
    }
}

impl AssignedEndpoint {
    fn is(&self, endpoint: &Endpoint) -> bool {
        endpoint.address == self.address
            && endpoint.weight == self.weight
            && endpoint.hostname == self.hostname
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint::new(self.address.clone(), self.hostname.clone(), self.weight)
    }
}

/// An assignment whose endpoints are addresses.
pub(in crate::config) fn assignment(proto: &ClusterLoadAssignment) -> Result<Assigned, Refusal> {
    flat(proto, |endpoint, weight, place| {
        let address = present("address", endpoint.address.as_ref())?;
        Ok(AssignedEndpoint {
            address: remote(address).within("address")?,
            hostname: hostname(endpoint),
            weight,
            place: Arc::clone(place),
        })
    })
    .map(Assigned)
}

/// An assignment whose endpoints are names to resolve.
pub(super) fn names(proto: &ClusterLoadAssignment) -> Result<Vec<DnsName>, Refusal> {
    flat(proto, |endpoint, weight, place| {
        let address = present("address", endpoint.address.as_ref())?;
        let HostPort { host, port } = host_port(address).within("address")?;
        if !endpoint.hostname.is_empty() && endpoint.hostname != host {
            return Err(Refusal::of(
                "hostname",
                "an endpoint that is found by DNS has its address as host name",
            ));
        }
        Ok(DnsName { host: host.into(), port, weight, place: Arc::clone(place) })
    })
}

fn hostname(endpoint: &ProtoEndpoint) -> Option<Arc<str>> {
    Some(endpoint.hostname.as_str()).filter(|name| !name.is_empty()).map(Into::into)
}

/// All endpoints of all localities.
fn flat<T>(
    proto: &ClusterLoadAssignment,
    compile: impl Fn(&ProtoEndpoint, u32, &Arc<Place>) -> Result<T, Refusal>,
) -> Result<Vec<T>, Refusal> {
    let overprovisioning = overprovisioning(proto)?;
    let localities = each("endpoints", &proto.endpoints, |locality| {
        let place = Arc::new(place(locality, overprovisioning)?);
        each("lb_endpoints", &locality.lb_endpoints, |lb_endpoint| {
            let weight = weight(lb_endpoint)?;
            let Some(HostIdentifier::Endpoint(endpoint)) = &lb_endpoint.host_identifier else {
                return Err(Refusal::of("endpoint", "must be set"));
            };
            compile(endpoint, weight, &place).within("endpoint")
        })
    })?;
    Ok(localities.into_iter().flatten().collect())
}

fn overprovisioning(proto: &ClusterLoadAssignment) -> Result<u32, Refusal> {
    let factor = proto.policy.as_ref().and_then(|policy| policy.overprovisioning_factor);
    match factor {
        Some(0) => {
            Err(Refusal::of("overprovisioning_factor", "must be 1 at least")).within("policy")
        }
        factor => Ok(factor.unwrap_or(Place::default().overprovisioning)),
    }
}

fn place(proto: &LocalityLbEndpoints, overprovisioning: u32) -> Result<Place, Refusal> {
    if proto.priority > MAX_PRIORITY {
        return Err(Refusal::of("priority", format_args!("must be {MAX_PRIORITY} at most")));
    }
    let weight = some_weight(proto.load_balancing_weight)?.unwrap_or_default();
    let locality = proto.locality.clone().unwrap_or_default();
    let Where { region, zone, sub_zone } = locality;
    let locality = Locality { region, zone, sub_zone };
    Ok(Place { priority: proto.priority, locality, weight, overprovisioning })
}

fn weight(proto: &LbEndpoint) -> Result<u32, Refusal> {
    Ok(some_weight(proto.load_balancing_weight)?.unwrap_or(1))
}

fn some_weight(weight: Option<u32>) -> Result<Option<u32>, Refusal> {
    match weight {
        Some(0) => Err(Refusal::of("load_balancing_weight", "must be 1 at least")),
        weight => Ok(weight),
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
        assert_eq!((weights, first.ready), (vec![1, 3, 1], true));

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
        let host = "example.com".into();
        assert_eq!(found, Ok(vec![DnsName { host, port: 80, weight: 2, place: Arc::default() }]));
    }
}
