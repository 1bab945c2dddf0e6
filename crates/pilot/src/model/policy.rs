//! What holds for connections to one port of a host: the settings of a DestinationRule, put together.

use tidegate_api::istio::destination_rule::{
    ClientTlsSettings, ConnectionPoolSettings, LoadBalancerSettings, OutlierDetection,
    PortTrafficPolicy, ProxyProtocol, RetryBudget, TrafficPolicy, TunnelSettings,
};

/// The settings for a port of a host, or of a subset of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Policy<'a> {
    /// How endpoints are chosen.
    pub load_balancer: Option<&'a LoadBalancerSettings>,
    /// Limits and timeouts of connections.
    pub connection_pool: Option<&'a ConnectionPoolSettings>,
    /// When failing endpoints are taken out.
    pub outlier_detection: Option<&'a OutlierDetection>,
    /// Whether and how TLS is spoken.
    pub tls: Option<&'a ClientTlsSettings>,
    /// An HTTP tunnel in front of the host.
    pub tunnel: Option<&'a TunnelSettings>,
    /// The PROXY header that begins each connection.
    pub proxy_protocol: Option<&'a ProxyProtocol>,
    /// The share of requests that may be retries.
    pub retry_budget: Option<&'a RetryBudget>,
}

impl<'a> Policy<'a> {
    /// These settings with those of `over` for a port in their place, field by field. Of a port's own settings
    /// each counts, also one that is not given: a port takes nothing from what stands around it.
    #[must_use]
    pub fn with(self, over: &'a TrafficPolicy, port: u16) -> Self {
        let around = Self {
            load_balancer: over.load_balancer.as_ref().or(self.load_balancer),
            connection_pool: over.connection_pool.as_ref().or(self.connection_pool),
            outlier_detection: over.outlier_detection.as_ref().or(self.outlier_detection),
            tls: over.tls.as_ref().or(self.tls),
            tunnel: over.tunnel.as_ref().or(self.tunnel),
            proxy_protocol: over.proxy_protocol.as_ref().or(self.proxy_protocol),
            retry_budget: over.retry_budget.as_ref().or(self.retry_budget),
        };
        match of_port(over, port) {
            Some(own) => Self {
                load_balancer: own.load_balancer.as_ref(),
                connection_pool: own.connection_pool.as_ref(),
                outlier_detection: own.outlier_detection.as_ref(),
                tls: own.tls.as_ref(),
                ..around
            },
            None => around,
        }
    }
}

/// A policy's own settings for a port.
pub(super) fn of_port(policy: &TrafficPolicy, port: u16) -> Option<&PortTrafficPolicy> {
    let is = |p: &&PortTrafficPolicy| {
        p.port.and_then(|selector| selector.number).is_some_and(|number| number.get() == port)
    };
    policy.port_level_settings.iter().find(is)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_port_takes_nothing_and_a_subset_takes_what_it_does_not_say() {
        let read = |policy| -> TrafficPolicy { serde_json::from_value(policy).expect("a policy") };
        let host = read(json!({
            "loadBalancer": {"simple": "RANDOM"},
            "tls": {"mode": "SIMPLE"},
            "outlierDetection": {"consecutive5xxErrors": 1},
            "portLevelSettings": [{"port": {"number": 81}, "tls": {"mode": "SIMPLE"}}],
        }));
        let subset = read(json!({
            "loadBalancer": {"simple": "ROUND_ROBIN"},
            "portLevelSettings": [{"port": {"number": 82}, "connectionPool": {}}],
        }));
        let given = |policy: Policy<'_>| {
            let simple = policy.load_balancer.and_then(|settings| settings.simple);
            (
                simple.map(|simple| format!("{simple:?}")),
                policy.tls.is_some(),
                policy.outlier_detection.is_some(),
                policy.connection_pool.is_some(),
            )
        };
        let of_host = |port| Policy::default().with(&host, port);
        let of_subset = |port| of_host(port).with(&subset, port);
        let named = |simple: &str| Some(simple.to_owned());
        assert_eq!(given(of_host(80)), (named("Random"), true, true, false));
        assert_eq!(given(of_host(81)), (None, true, false, false));
        assert_eq!(given(of_subset(80)), (named("RoundRobin"), true, true, false));
        assert_eq!(given(of_subset(81)), (named("RoundRobin"), true, false, false));
        assert_eq!(given(of_subset(82)), (None, false, false, true));
    }
}
