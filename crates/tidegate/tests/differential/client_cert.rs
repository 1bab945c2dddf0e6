//! What origins are told of clients' certificates, beside Envoy.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::Resumption;
use serde_json::{Value, json};
use tidegate_testing::ca::{Ca, Identity};
use tidegate_testing::client::{self, Client};
use tidegate_testing::tools::Tool;

use crate::bootstrap::{MANAGER, ROUTER};
use crate::sides::Side;

const MODES: [&str; 5] =
    ["SANITIZE", "FORWARD_ONLY", "APPEND_FORWARD", "SANITIZE_SET", "ALWAYS_FORWARD_ONLY"];
const NAME: &str = "a.example";

/// A listener that answers with the header that an origin would get.
fn telling(mode: &str, more: bool, server: &Identity, clients: &Ca) -> Value {
    let details = json!({"subject": true, "uri": true, "dns": true, "cert": more, "chain": more});
    let echo = json!({"key": "x-echo", "value": "%REQ(x-forwarded-client-cert)%"});
    let route = json!({
        "match": {"prefix": "/"},
        "direct_response": {"status": 200},
        "response_headers_to_add": [{"header": echo}],
    });
    let mut manager = manager(&json!([route]));
    manager["forward_client_cert_details"] = mode.into();
    manager["set_current_client_cert_details"] = details;
    let trusted = json!({"trusted_ca": {"inline_string": clients.pem()}});
    listener(&format!("{mode} {more}"), &manager, server, &trusted)
}

/// A connection manager with these routes.
fn manager(routes: &Value) -> Value {
    json!({
        "@type": MANAGER,
        "stat_prefix": "h",
        "http_filters": [{"name": "router", "typed_config": {"@type": ROUTER}}],
        "route_config": {"virtual_hosts": [{"name": "v", "domains": ["*"], "routes": routes}]},
    })
}

/// A listener for TLS that asks clients for certificates, without demanding any.
fn listener(name: &str, manager: &Value, server: &Identity, accepted: &Value) -> Value {
    let tls = json!({
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {
            "tls_certificates": [{
                "certificate_chain": {"inline_string": server.certificate_pem},
                "private_key": {"inline_string": server.key_pem},
            }],
            "validation_context": accepted,
        },
    });
    json!({
        "name": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "filter_chains": [{
            "filters": [{"name": "hcm", "typed_config": manager}],
            "transport_socket": {"name": "tls", "typed_config": tls},
        }],
    })
}

/// What a side says to each client on each listener.
async fn told(side: &Side, configs: &[Arc<ClientConfig>]) -> Vec<String> {
    let mut told = Vec::new();
    for (mode, more) in MODES.iter().flat_map(|mode| [(mode, false), (mode, true)]) {
        let address = side.listeners[&format!("{mode} {more}")];
        for (number, config) in configs.iter().enumerate() {
            let stream = client::tls(address, NAME, Arc::clone(config)).await.expect("connected");
            let mut client = Client::over(stream);
            for headers in ["", "X-Forwarded-Client-Cert: By=a;Hash=b\r\n"] {
                let get = format!("GET / HTTP/1.1\r\nHost: {NAME}\r\n{headers}\r\n");
                let answer = client.request(get).await;
                let echo = answer.header("x-echo").unwrap_or("nothing");
                told.push(format!("{mode} {more}, client {number}, {headers:?}: {echo}"));
            }
        }
    }
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn origins_are_told_of_clients_certificates_as_by_envoy() {
    let Some(program) = Tool::Envoy.need() else { return };
    let (ca, clients) = (Ca::new("root"), Ca::new("clients"));
    let server = ca.issue_with_uris(&[NAME], &["spiffe://local/one", "spiffe://local/two"]);
    let many = clients.issue_with_uris(&["c.example", "d.example"], &["spiffe://x/y", "urn:z"]);
    let few = clients.issue_with_uris(&[], &[]);
    let listeners: Vec<_> = MODES
        .iter()
        .flat_map(|mode| [false, true].map(|more| telling(mode, more, &server, &clients)))
        .collect();
    let bootstrap = json!({"static_resources": {"listeners": listeners}});
    let configs = [
        ca.client_config(&["http/1.1"]),
        ca.client_config_with(&many, &["http/1.1"]),
        ca.client_config_with(&few, &["http/1.1"]),
    ];
    let envoy = told(&Side::envoy(&program, &bootstrap).await, &configs).await;
    let tidegate = told(&Side::tidegate(&bootstrap).await, &configs).await;
    assert!(envoy.iter().filter(|line| line.contains("Hash=")).count() > 10, "{envoy:#?}");
    for (theirs, ours) in envoy.iter().zip(&tidegate) {
        assert_eq!(theirs, ours);
    }
}

/// What is asked of certificates, each on a path of its own.
fn asked() -> Vec<Value> {
    let wanted = [None, Some(true), Some(false)];
    let asked = wanted.into_iter().flat_map(|p| wanted.map(|v| (p, v)));
    asked
        .map(|(presented, validated)| {
            let mut asked = json!({});
            for (name, wanted) in [("presented", presented), ("validated", validated)] {
                if let Some(wanted) = wanted {
                    asked[name] = wanted.into();
                }
            }
            asked
        })
        .collect()
}

/// The statuses that each client gets on each listener, for each of the paths.
async fn statuses(side: &Side, configs: &[Arc<ClientConfig>]) -> Vec<String> {
    let mut told = Vec::new();
    for name in ["verifying", "trusting"] {
        for (number, config) in configs.iter().enumerate() {
            let (address, mut taken) = (side.listeners[name], Vec::new());
            let stream = client::tls(address, NAME, Arc::clone(config)).await.expect("connected");
            let mut client = Client::over(stream);
            for path in 0..asked().len() {
                let get = format!("GET /{path} HTTP/1.1\r\nHost: {NAME}\r\n\r\n");
                taken.push(client.request(get).await.status);
            }
            told.push(format!("{name}, client {number}: {taken:?}"));
        }
    }
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn routes_ask_for_clients_certificates_as_those_of_envoy() {
    let Some(program) = Tool::Envoy.need() else { return };
    let (ca, clients) = (Ca::new("root"), Ca::new("clients"));
    let server = ca.issue(&[NAME]);
    let routes: Vec<Value> = asked()
        .into_iter()
        .enumerate()
        .map(|(path, asked)| {
            json!({"match": {"path": format!("/{path}"), "tls_context": asked},
                "direct_response": {"status": 200}})
        })
        .collect();
    let manager = manager(&routes.into());
    // One accepts no certificate but those of the authority; the other takes those of others as well, unverified.
    let trusted = json!({"trusted_ca": {"inline_string": clients.pem()}});
    let any = json!({"trusted_ca": {"inline_string": ca.pem()}, "trust_chain_verification": "ACCEPT_UNTRUSTED"});
    let listeners = [("verifying", trusted), ("trusting", any)]
        .map(|(name, accepted)| listener(name, &manager, &server, &accepted));
    let bootstrap = json!({"static_resources": {"listeners": listeners}});
    let identity = clients.issue(&["c.example"]);
    let configs =
        [ca.client_config(&["http/1.1"]), ca.client_config_with(&identity, &["http/1.1"])].map(
            |config| {
                // Of a resumed session Envoy no longer knows whether the certificate was validated.
                let mut config = ClientConfig::clone(&config);
                config.resumption = Resumption::disabled();
                Arc::new(config)
            },
        );
    let envoy = statuses(&Side::envoy(&program, &bootstrap).await, &configs).await;
    let tidegate = statuses(&Side::tidegate(&bootstrap).await, &configs).await;
    let kinds: std::collections::BTreeSet<_> =
        envoy.iter().map(|line| line.split_once(": ").map(|(_, taken)| taken)).collect();
    assert_eq!(kinds.len(), 3, "none, presented and validated: {envoy:#?}");
    assert_eq!(envoy, tidegate);
}
