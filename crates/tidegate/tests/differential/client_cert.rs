//! What origins are told of clients' certificates, beside Envoy.

use std::sync::Arc;

use rustls::ClientConfig;
use serde_json::{Value, json};
use tidegate_testing::ca::{Ca, Identity};
use tidegate_testing::client::{self, Client};
use tidegate_testing::tools::Tool;

use crate::sides::Side;

const MODES: [&str; 5] =
    ["SANITIZE", "FORWARD_ONLY", "APPEND_FORWARD", "SANITIZE_SET", "ALWAYS_FORWARD_ONLY"];
const NAME: &str = "a.example";

/// A listener that answers with the header that an origin would get.
fn listener(mode: &str, more: bool, server: &Identity, clients: &Ca) -> Value {
    let details = json!({"subject": true, "uri": true, "dns": true, "cert": more, "chain": more});
    let echo = json!({"key": "x-echo", "value": "%REQ(x-forwarded-client-cert)%"});
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "h",
        "forward_client_cert_details": mode,
        "set_current_client_cert_details": details,
        "http_filters": [{"name": "router", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}],
        "route_config": {"virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [{
            "match": {"prefix": "/"},
            "direct_response": {"status": 200},
            "response_headers_to_add": [{"header": echo}],
        }]}]},
    });
    let tls = json!({
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {
            "tls_certificates": [{
                "certificate_chain": {"inline_string": server.certificate_pem},
                "private_key": {"inline_string": server.key_pem},
            }],
            "validation_context": {"trusted_ca": {"inline_string": clients.pem()}},
        },
    });
    json!({
        "name": format!("{mode} {more}"),
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
        .flat_map(|mode| [false, true].map(|more| listener(mode, more, &server, &clients)))
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
