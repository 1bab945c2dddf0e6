//! Keys of issuers that are fetched: where, and through which cluster.
//!
//! Where the host is one of the registry, that is its own cluster, with what DestinationRules say; else one that resolves its
//! name. What is to be had by `https` is fetched in TLS: as a DestinationRule says, else verified by the host's name and the
//! system's authorities.
//!
//! Unlike Istio, where the control plane fetches keys and writes them out, the proxy does. As there, keys that came once
//! hold until others come.

use std::sync::Arc;
use std::time::Duration;

use tidegate_api::istio::destination_rule::{ClientTlsMode, ClientTlsSettings};
use tidegate_api::istio::request_authentication::JwksUri;
use tidegate_api::scalar::GoDuration;
use tidegate_envoy::v3::cluster::Cluster;
use tidegate_envoy::v3::core::HttpUri;
use tidegate_envoy::v3::core::http_uri::HttpUpstreamType;
use tidegate_envoy::v3::jwt::{JwksAsyncFetch, RemoteJwks};

use super::{Context, cluster, duration};
use crate::model::endpoints::is_name;
use crate::model::names;
use crate::model::service::{Discovery, Port, Service};
use crate::model::tls::{Credential, client_credentials};

/// How long a fetch may take where the rule does not say it, as in Istio.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long keys are good until others are fetched, as in Istio.
const KEEP: Duration = Duration::from_secs(300);
/// How long after a failure they are fetched again.
const AGAIN: Duration = Duration::from_secs(10);

/// How the keys of an issuer are fetched.
#[derive(Debug)]
pub struct Fetched {
    /// The address, and the cluster that it is asked for through.
    pub remote: RemoteJwks,
    /// The host that is looked up in the registry, in lower case.
    pub host: Arc<str>,
    /// A cluster of its own, where that of the registry does not do.
    pub cluster: Option<Cluster>,
    /// What that takes for handshakes.
    pub credentials: Vec<Credential>,
}

/// How keys are fetched that are at an address; `within` is how long that may take, if it is said.
///
/// # Errors
/// What is wrong with that.
pub fn fetched(
    address: &str,
    within: Option<GoDuration>,
    context: &Context<'_>,
) -> Result<Fetched, String> {
    let uri = JwksUri::parse(address)?;
    let host: Arc<str> = uri.host.to_ascii_lowercase().into();
    check(&host, &uri.path)?;
    let through = Through::find(&uri, &host, context);
    let timeout = within.map(GoDuration::get).filter(|timeout| !timeout.is_zero());
    let remote = RemoteJwks {
        http_uri: Some(HttpUri {
            uri: written(&uri, &host),
            timeout: Some(duration(timeout.unwrap_or(TIMEOUT))),
            http_upstream_type: Some(HttpUpstreamType::Cluster(through.name)),
        }),
        cache_duration: Some(duration(KEEP)),
        // Keys are there before the first token is, and outlive failures. Nobody waits for them to listen.
        async_fetch: Some(JwksAsyncFetch {
            fast_listener: true,
            failed_refetch_duration: Some(duration(AGAIN)),
        }),
        retry_policy: None,
    };
    Ok(Fetched { remote, host, cluster: through.own, credentials: through.credentials })
}

/// Checks that a host can be one, and that a path and query can be asked for (RFC 3986): one issuer's address must not take
/// down what else is served.
fn check(host: &str, path: &str) -> Result<(), String> {
    let of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if is_name(host) && !host.bytes().all(of_name) {
        return Err(format!("{host:?} is no host name"));
    }
    let of_path =
        |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/%?".contains(&byte);
    match path.chars().find(|c| !u8::try_from(*c).is_ok_and(of_path)) {
        Some(found) => Err(format!("{found:?} has to be written as %XX")),
        None => Ok(()),
    }
}

/// The address, with its port where that is not the usual one.
fn written(uri: &JwksUri, host: &str) -> String {
    let (scheme, usual) = if uri.tls { ("https", 443) } else { ("http", 80) };
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    match uri.port.get() {
        port if port == usual => format!("{scheme}://{host}{}", uri.path),
        port => format!("{scheme}://{host}:{port}{}", uri.path),
    }
}

/// The cluster that keys are fetched through.
struct Through {
    name: String,
    own: Option<Cluster>,
    credentials: Vec<Credential>,
}

impl Through {
    fn find(uri: &JwksUri, host: &str, context: &Context<'_>) -> Self {
        let number = uri.port.get();
        let settings = uri.tls.then(|| by_name(host));
        let name = names::keys_cluster(host, number, uri.tls);
        let credentials = |settings: Option<&ClientTlsSettings>| {
            settings.map(|s| client_credentials(s, context.options)).unwrap_or_default()
        };
        match (registered(host, number, context), &settings) {
            (Some((service, port)), Some(settings)) if !in_tls(service, port, context) => {
                let own = cluster::in_tls(service, port, (&name, settings), context);
                Self { name, own, credentials: credentials(Some(settings)) }
            }
            (Some(_), _) => {
                let name = names::cluster(host, "", number);
                Self { name, own: None, credentials: Vec::new() }
            }
            (None, settings) => {
                let settings = settings.as_ref();
                let own = Some(cluster::of_host(host, number, (&name, settings), context));
                Self { name, own, credentials: credentials(settings) }
            }
        }
    }
}

/// The service port that a host and its port are, if it has endpoints that a gateway can send to.
fn registered<'a>(host: &str, port: u16, context: &Context<'a>) -> Option<(&'a Service, &'a Port)> {
    let (service, port) = context.registry.ports(host).get(&port).copied()?;
    (!matches!(service.discovery, Discovery::Nowhere(_))).then_some((service, port))
}

/// Whether a DestinationRule has TLS for a service port.
fn in_tls(service: &Service, port: &Port, context: &Context<'_>) -> bool {
    let namespace = Some(&*service.key.namespace);
    let rules = context.rules.find(&service.host, namespace, context.options);
    let tls = rules.as_ref().and_then(|rules| rules.policy_for(port.number, None).tls);
    tls.is_some_and(|tls| tls.mode != ClientTlsMode::Disable)
}

/// TLS with a server that is verified by its name, or its address, and the system's authorities.
fn by_name(host: &str) -> ClientTlsSettings {
    let (sni, subject_alt_names) = match is_name(host) {
        true => (host.to_owned(), Vec::new()),
        false => (String::new(), vec![host.to_owned()]),
    };
    ClientTlsSettings {
        mode: ClientTlsMode::Simple,
        sni,
        subject_alt_names,
        ..ClientTlsSettings::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_so_that_they_can_be_asked_for() {
        for (text, expected) in [
            ("https://A.example/keys?a=b#c", Ok("https://a.example/keys?a=b")),
            ("HTTP://a.example:80", Ok("http://a.example/")),
            ("https://a.example:8443/", Ok("https://a.example:8443/")),
            ("http://[::1]:443/", Ok("http://[::1]:443/")),
            ("https://a|b/", Err("\"a|b\" is no host name")),
            ("https://a.example/{}", Err("'{' has to be written as %XX")),
            ("https://a.example/\u{e9}", Err("'\u{e9}' has to be written as %XX")),
        ] {
            let uri = JwksUri::parse(text).expect("an address");
            let host = uri.host.to_ascii_lowercase();
            let found = check(&host, &uri.path).map(|()| written(&uri, &host));
            assert_eq!(found.as_deref().map_err(String::as_str), expected, "{text}");
        }
    }
}
