//! Every kind has its row, and is found by its names.

use super::*;

#[test]
fn every_kind_has_one_row() {
    for row in KINDS {
        assert_eq!(row.kind.info().name, row.name);
        assert_eq!(KINDS.iter().filter(|other| other.kind == row.kind).count(), 1, "{}", row.name);
        if row.kind != Kind::KubernetesGateway {
            assert_eq!(format!("{:?}", row.kind), row.name);
        }
    }
}

#[test]
fn lookups() {
    let kind = |row: Option<&KindInfo>| row.map(|row| row.kind);
    assert_eq!(kind(by_plural("networking.istio.io", "gateways")), Some(Kind::Gateway));
    assert_eq!(kind(by_plural("", "gateways")), None);
    assert_eq!(kind(by_plural("events.k8s.io", "events")), Some(Kind::Event));
    assert_eq!(kind(by_kind("apps", "Deployment")), Some(Kind::Deployment));
    assert_eq!(kind(by_api_version("v1", "Event")), Some(Kind::Event));
    assert_eq!(kind(by_api_version("events.k8s.io/v1", "Event")), Some(Kind::Event));
    assert_eq!(
        kind(by_api_version("networking.istio.io/v1alpha3", "Gateway")),
        Some(Kind::Gateway)
    );
    assert_eq!(kind(by_api_version("networking.istio.io/v2", "Gateway")), None);
    assert_eq!(kind(by_any_name("ServiceEntry")), Some(Kind::ServiceEntry));
    assert_eq!(kind(by_any_name("se")), Some(Kind::ServiceEntry));
    assert_eq!(kind(by_any_name("gateways.networking.istio.io")), Some(Kind::Gateway));
    assert_eq!(kind(by_any_name("gateway")), Some(Kind::Gateway), "Istio's comes first");
    let other = by_any_name("gateways.gateway.networking.k8s.io");
    assert_eq!(kind(other), Some(Kind::KubernetesGateway));
    assert_eq!(kind(by_any_name("gateways.nope.io")), None);
}
