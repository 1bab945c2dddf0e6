//! Resources that policies name in place of labels (`targetRefs`).

use crate::Options;

/// The label of a proxy that serves a Gateway of the Gateway API: the name of that Gateway.
const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";

/// A resource that a policy is about: group, kind, namespace (empty for the policy's own) and name.
pub type Target<'a> = [&'a str; 4];

/// Whether a policy of `namespace` that is about these resources holds at the proxy. As in Istio: where it serves one of them, a
/// Gateway of the Gateway API in its own namespace. Services, ServiceEntries and GatewayClasses are for waypoints.
pub fn names_proxy<'a>(
    namespace: &str,
    mut targets: impl Iterator<Item = Target<'a>>,
    options: &Options,
) -> bool {
    let own = options.labels.get(GATEWAY_NAME);
    own.filter(|_| namespace == options.namespace).is_some_and(|own| {
        targets.any(|[group, kind, of, name]| {
            group == "gateway.networking.k8s.io"
                && kind == "Gateway"
                && (of.is_empty() || of == namespace)
                && name == own
        })
    })
}

/// Why a policy with targets does not hold here, and what to write instead: `selector` is the field that picks by labels.
#[must_use]
pub fn why_not(selector: &str, options: &Options) -> String {
    match options.labels.get(GATEWAY_NAME) {
        Some(own) => format!(
            "targetRefs names others than Gateway {own} of group gateway.networking.k8s.io in namespace {}, which this proxy serves",
            options.namespace
        ),
        None => format!(
            "targetRefs is for proxies of the Gateway API, and this one is none: name it by {selector}, as Istio asks for there"
        ),
    }
}
