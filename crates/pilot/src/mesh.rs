//! Istio's mesh config, as far as it decides what is served.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tidegate_api::istio::gateway::TlsProtocol;
use tidegate_api::scalar::GoDuration;
use tidegate_envoy::v3::hcm::http_connection_manager::ForwardClientCertDetails;

use crate::model::names::cluster;
use crate::{InboundPolicy, Options, OutboundPolicy, PathNormalization, Topology};

/// The path of the providers of extensions.
const PROVIDERS: &str = "extensionProviders";

/// The retries of rules that say nothing of them.
const RETRIES: &str = "defaultHttpRetryPolicy";

/// How localities share requests where a DestinationRule says nothing of it.
const LOCALITIES: &str = "localityLbSetting";

/// A setting of a mesh config that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeshError {
    /// Path of the field, such as `defaultConfig.proxyHeaders`.
    pub path: String,
    /// What it has to be.
    pub wanted: &'static str,
}

impl std::fmt::Display for MeshError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} must be {}", self.path, self.wanted)
    }
}

/// Takes over what a mesh config says, and answers the paths of its fields that have no effect yet.
///
/// # Errors
/// A field that is read is of another type; then nothing is taken over.
pub fn apply(mesh: &Value, options: &mut Options) -> Result<Vec<String>, MeshError> {
    let mut taken = options.clone();
    let mut idle = Vec::new();
    if !mesh.is_object() && !mesh.is_null() {
        return Err(MeshError { path: "it".to_owned(), wanted: "a mapping" });
    }
    walk(mesh, "", &mut |path, value| {
        let wrong = |wanted| MeshError { path: path.to_owned(), wanted };
        match path {
            "rootNamespace" => {
                let name = value.as_str().filter(|name| !name.is_empty());
                taken.root_namespace =
                    name.ok_or_else(|| wrong("the name of a namespace"))?.to_owned();
            }
            "connectTimeout" => taken.connect_timeout = span(value).map_err(wrong)?,
            // Gateways are told the protocol of every port.
            "protocolDetectionTimeout" if taken.workload().is_some() => {
                let span = value.as_str().and_then(GoDuration::parse).map(GoDuration::get);
                taken.detection_timeout = span.ok_or_else(|| wrong("a duration, such as 300ms"))?;
            }
            "dnsRefreshRate" => taken.dns_refresh_rate = span(value).map_err(wrong)?,
            "defaultConfig.proxyHeaders.xForwardedHost.enabled" => {
                taken.forwarded_host = value.as_bool().ok_or_else(|| wrong("true or false"))?;
            }
            "defaultConfig.gatewayTopology.numTrustedProxies" if taken.workload().is_none() => {
                let count = value.as_u64().and_then(|count| u32::try_from(count).ok());
                taken.topology.trusted_proxies =
                    count.ok_or_else(|| wrong("a number of proxies"))?;
            }
            "defaultConfig.gatewayTopology.forwardClientCertDetails"
                if taken.workload().is_none() =>
            {
                taken.topology.forward_client_cert = forward_client_cert(value).map_err(wrong)?;
            }
            "pathNormalization.normalization" => {
                taken.path_normalization = path_normalization(value).map_err(wrong)?;
            }
            LOCALITIES => {
                let setting = serde_json::from_value(value.clone());
                taken.locality_setting =
                    Some(setting.map_err(|_| wrong("a setting of localities"))?);
            }
            RETRIES => {
                let policy = serde_json::from_value(value.clone());
                taken.default_retries = Some(policy.map_err(|_| wrong("a retry policy"))?);
            }
            "tlsDefaults.cipherSuites" => {
                taken.tls_defaults.suites = names(value).map_err(wrong)?;
            }
            "tlsDefaults.ecdhCurves" => {
                taken.tls_defaults.groups = names(value).map_err(wrong)?;
            }
            "tlsDefaults.minProtocolVersion" => {
                taken.tls_defaults.oldest = oldest(value).map_err(wrong)?;
            }
            "outboundTrafficPolicy.mode" => {
                taken.outbound_policy = match value.as_str() {
                    Some("REGISTRY_ONLY") => OutboundPolicy::RegistryOnly,
                    Some("ALLOW_ANY") => OutboundPolicy::AllowAny,
                    Some("ALLOW_ANY_DYNAMIC_DNS") => OutboundPolicy::AllowAnyDynamicDns,
                    _ => return Err(wrong("REGISTRY_ONLY, ALLOW_ANY or ALLOW_ANY_DYNAMIC_DNS")),
                };
            }
            // Whom policies name is of it; of peers, sidecars alone demand that.
            "trustDomain" => {
                let own = value.as_str().filter(|name| !name.is_empty());
                let own = own.ok_or_else(|| wrong("the name of a trust domain"))?.to_owned();
                let aliases = taken.trust_domains.iter().skip(1).cloned();
                taken.trust_domains = std::iter::once(own).chain(aliases).collect();
            }
            "trustDomainAliases" => {
                let own = taken.trust_domains.iter().take(1).cloned();
                taken.trust_domains = own.chain(names(value).map_err(wrong)?).collect();
            }
            "inboundTrafficPolicy.mode" => {
                taken.inbound_policy = match value.as_str() {
                    Some("PASSTHROUGH") => InboundPolicy::Passthrough,
                    Some("LOCALHOST") => InboundPolicy::Localhost,
                    _ => return Err(wrong("PASSTHROUGH or LOCALHOST")),
                };
            }
            PROVIDERS => taken.secret_server = secret_server(value, &mut idle)?,
            other => idle.push(other.to_owned()),
        }
        Ok(())
    })?;
    *options = taken;
    Ok(idle)
}

fn span(value: &Value) -> Result<Duration, &'static str> {
    let span = value.as_str().and_then(GoDuration::parse).map(GoDuration::get);
    span.filter(|span| !span.is_zero()).ok_or("a duration above zero, such as 10s")
}

/// The cluster of the first server of secrets among the providers; the others are idle.
fn secret_server(value: &Value, idle: &mut Vec<String>) -> Result<Option<Arc<str>>, MeshError> {
    let wrong = |path: String, wanted| MeshError { path, wanted };
    let list = value.as_array().ok_or_else(|| wrong(PROVIDERS.to_owned(), "a list"))?;
    let mut found = None;
    for (at, provider) in list.iter().enumerate() {
        let path = format!("{PROVIDERS}[{at}]");
        let Some(sds) = provider.get("sds").filter(|_| found.is_none()) else {
            idle.push(path);
            continue;
        };
        let service = sds.get("service").and_then(Value::as_str).unwrap_or_default();
        // A namespace may stand before it, which the host has in it, too.
        let host = service.rsplit('/').next().unwrap_or(service);
        if host.is_empty() {
            return Err(wrong(format!("{path}.sds.service"), "the host of a service"));
        }
        let port =
            sds.get("port").and_then(Value::as_u64).and_then(|port| u16::try_from(port).ok());
        let port = port.filter(|port| *port != 0);
        let port = port.ok_or_else(|| wrong(format!("{path}.sds.port"), "a port"))?;
        found = Some(cluster(&host.to_ascii_lowercase(), "", port).into());
    }
    Ok(found)
}

fn names(value: &Value) -> Result<Vec<String>, &'static str> {
    let names = value.as_array().map(|names| names.iter().map(|name| name.as_str()));
    let names: Option<Vec<&str>> = names.and_then(Iterator::collect);
    names.map(|names| names.into_iter().map(str::to_owned).collect()).ok_or("a list of names")
}

/// A version of `MeshConfig.TLSConfig`, which knows no older ones than TLS 1.2.
fn oldest(value: &Value) -> Result<TlsProtocol, &'static str> {
    match value.as_str() {
        Some("TLS_AUTO") => Ok(TlsProtocol::Auto),
        Some("TLSV1_2") => Ok(TlsProtocol::V1_2),
        Some("TLSV1_3") => Ok(TlsProtocol::V1_3),
        _ => Err("TLS_AUTO, TLSV1_2 or TLSV1_3"),
    }
}

/// A `ForwardClientCertDetails` of Istio: the names of Envoy's, and one for what there is without it.
fn forward_client_cert(value: &Value) -> Result<ForwardClientCertDetails, &'static str> {
    match value.as_str() {
        Some("UNDEFINED") => Ok(Topology::default().forward_client_cert),
        name => name
            .and_then(ForwardClientCertDetails::from_str_name)
            .ok_or("SANITIZE, FORWARD_ONLY, APPEND_FORWARD, SANITIZE_SET or ALWAYS_FORWARD_ONLY"),
    }
}

/// A `NormalizationType` of Istio.
fn path_normalization(value: &Value) -> Result<PathNormalization, &'static str> {
    match value.as_str() {
        Some("NONE") => Ok(PathNormalization::None),
        Some("DEFAULT" | "BASE") => Ok(PathNormalization::Base),
        Some("MERGE_SLASHES") => Ok(PathNormalization::MergeSlashes),
        Some("DECODE_AND_MERGE_SLASHES") => Ok(PathNormalization::DecodeAndMergeSlashes),
        _ => Err("DEFAULT, NONE, BASE, MERGE_SLASHES or DECODE_AND_MERGE_SLASHES"),
    }
}

/// Visits everything that is no mapping, and policies as a whole, by its path.
fn walk(
    value: &Value,
    path: &str,
    visit: &mut impl FnMut(&str, &Value) -> Result<(), MeshError>,
) -> Result<(), MeshError> {
    let fields = match value {
        Value::Object(fields) if ![RETRIES, LOCALITIES].contains(&path) => fields,
        Value::Null => return Ok(()),
        _ => return visit(path, value),
    };
    for (name, value) in fields {
        let dot = if path.is_empty() { "" } else { "." };
        walk(value, &format!("{path}{dot}{name}"), visit)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::tls::Channel;

    #[test]
    fn what_is_served_is_taken_over_and_the_rest_is_told() {
        let mut options = Options::default();
        let mesh = json!({
            "rootNamespace": "root",
            "connectTimeout": "3s",
            "dnsRefreshRate": "1m30s",
            "defaultHttpRetryPolicy": {"attempts": 3, "perTryTimeout": "2s"},
            "outboundTrafficPolicy": {"mode": "ALLOW_ANY"},
            "trustDomain": "cluster.local",
            "localityLbSetting": {"failover": [{"from": "eu", "to": "us"}]},
            "tlsDefaults": {
                "cipherSuites": ["ECDHE-ECDSA-AES128-GCM-SHA256"],
                "ecdhCurves": ["P-384"],
                "minProtocolVersion": "TLSV1_3",
            },
            "defaultConfig": {
                "concurrency": 2,
                "proxyHeaders": {"xForwardedHost": {"enabled": true}, "server": null},
                "gatewayTopology": {
                    "numTrustedProxies": 2, "forwardClientCertDetails": "FORWARD_ONLY",
                    "proxyProtocol": {"x": 1},
                },
            },
        });
        let idle = apply(&mesh, &mut options).expect("it is read");
        let proxy_protocol = "defaultConfig.gatewayTopology.proxyProtocol.x";
        assert_eq!(idle, ["defaultConfig.concurrency", proxy_protocol]);
        let forward_client_cert = ForwardClientCertDetails::ForwardOnly;
        assert_eq!(options.topology, Topology { trusted_proxies: 2, forward_client_cert });
        assert_eq!((options.root_namespace.as_str(), options.forwarded_host), ("root", true));
        assert_eq!(options.connect_timeout, Duration::from_secs(3));
        let failover = &options.locality_setting.as_ref().expect("a setting").failover;
        assert_eq!((failover[0].from.as_str(), failover[0].to.as_str()), ("eu", "us"));
        assert_eq!(options.outbound_policy, OutboundPolicy::AllowAny);
        assert_eq!(options.dns_refresh_rate, Duration::from_secs(90));
        assert_eq!(options.default_retries.as_ref().map(|retries| retries.attempts), Some(3));
        let Channel { oldest, newest, suites, groups, .. } = &options.tls_defaults;
        assert_eq!((*oldest, *newest), (TlsProtocol::V1_3, TlsProtocol::Auto));
        assert_eq!(
            (&suites[..], &groups[..]),
            (&["ECDHE-ECDSA-AES128-GCM-SHA256".to_owned()][..], &["P-384".to_owned()][..])
        );
        assert_eq!(apply(&Value::Null, &mut options), Ok(Vec::new()));
    }

    #[test]
    fn how_long_a_protocol_is_waited_for_is_of_sidecars() {
        let mesh = |text: &str| json!({"protocolDetectionTimeout": text});
        let workload = crate::Workload { addresses: Vec::new() };
        let proxy = crate::ProxyKind::Sidecar(workload);
        let mut sidecar = Options { proxy, ..Options::default() };
        assert_eq!(apply(&mesh("300ms"), &mut sidecar), Ok(Vec::new()));
        assert_eq!(sidecar.detection_timeout, Duration::from_millis(300));
        assert_eq!(apply(&mesh("0s"), &mut sidecar), Ok(Vec::new()));
        assert_eq!(sidecar.detection_timeout, Duration::ZERO);
        assert!(apply(&mesh("soon"), &mut sidecar).is_err());
        let idle = apply(&mesh("300ms"), &mut Options::default());
        assert_eq!(idle, Ok(vec!["protocolDetectionTimeout".to_owned()]));
    }

    #[test]
    fn the_first_server_of_secrets_counts() {
        let provider = |service: &str| json!({"name": "a", "sds": {"name": "a", "service": service, "port": 8443}});
        let other = json!({"name": "zipkin", "zipkin": {"service": "zipkin", "port": 9411}});
        for service in ["SDS.example.com", "default/sds.example.com"] {
            let mesh = json!({"extensionProviders": [other, provider(service), provider("b")]});
            let mut options = Options::default();
            let idle = apply(&mesh, &mut options).expect("it is read");
            assert_eq!(idle, ["extensionProviders[0]", "extensionProviders[2]"]);
            let cluster = options.secret_server.as_deref();
            assert_eq!(cluster, Some("outbound|8443||sds.example.com"));
        }
        for (sds, field) in [
            (json!({"service": "", "port": 1}), "service"),
            (json!({"service": "a", "port": 0}), "port"),
            (json!({"service": "a", "port": 65536}), "port"),
        ] {
            let mesh = json!({"extensionProviders": [{"name": "a", "sds": sds}]});
            let error = apply(&mesh, &mut Options::default()).expect_err("it is wrong");
            assert_eq!(error.path, format!("extensionProviders[0].sds.{field}"));
        }
    }

    #[test]
    fn what_is_wrong_changes_nothing() {
        for (mesh, message) in [
            (json!({"connectTimeout": "3s", "rootNamespace": 1}), "rootNamespace must be the name"),
            (json!({"connectTimeout": "0s"}), "connectTimeout must be a duration above zero"),
            (json!({"dnsRefreshRate": "soon"}), "dnsRefreshRate must be a duration"),
            (
                json!({"defaultConfig": {"proxyHeaders": {"xForwardedHost": {"enabled": "yes"}}}}),
                "defaultConfig.proxyHeaders.xForwardedHost.enabled must be true or false",
            ),
            (
                json!({"defaultHttpRetryPolicy": {"attempts": "many"}}),
                "defaultHttpRetryPolicy must be a retry policy",
            ),
            (
                json!({"tlsDefaults": {"ecdhCurves": [1]}}),
                "tlsDefaults.ecdhCurves must be a list of names",
            ),
            (
                json!({"tlsDefaults": {"minProtocolVersion": "TLSV1_1"}}),
                "tlsDefaults.minProtocolVersion must be TLS_AUTO",
            ),
            (
                json!({"defaultConfig": {"gatewayTopology": {"numTrustedProxies": -1}}}),
                "defaultConfig.gatewayTopology.numTrustedProxies must be a number of proxies",
            ),
            (
                json!({"defaultConfig": {"gatewayTopology": {"forwardClientCertDetails": "ALL"}}}),
                "defaultConfig.gatewayTopology.forwardClientCertDetails must be SANITIZE, ",
            ),
            (
                json!({"pathNormalization": {"normalization": "ALL"}}),
                "pathNormalization.normalization must be DEFAULT, NONE, ",
            ),
            (json!([]), "it must be a mapping"),
        ] {
            let mut options = Options::default();
            let error = apply(&mesh, &mut options).expect_err(message).to_string();
            assert!(error.starts_with(message), "{error}");
            assert_eq!(options.connect_timeout, Options::default().connect_timeout);
        }
    }
}
