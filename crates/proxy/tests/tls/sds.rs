//! Secrets from a server of their own.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};
use tidegate_envoy::any;
use tidegate_envoy::prost::Message as _;
use tidegate_envoy::v3::discovery::{DiscoveryRequest, DiscoveryResponse};
use tidegate_envoy::v3::tls::Secret;
use tidegate_testing::ca::{Ca, Identity};
use tidegate_testing::client;
use tidegate_testing::grpc::{Call, Server};
use tidegate_xds::ResourceType;

use super::setup::{Running, bootstrap, certificate, cluster, http_chain, serving, socket};

/// A chain for a host whose certificate the server behind the cluster `sds` has.
fn chain(host: &str) -> Value {
    let grpc = json!([{"envoy_grpc": {"cluster_name": "sds"}}]);
    let api = json!({"api_type": "GRPC", "transport_api_version": "V3", "grpc_services": grpc});
    let source = json!({"api_config_source": api, "resource_api_version": "V3"});
    let secret = json!({"name": host, "sds_config": source});
    let context = json!({"tls_certificate_sds_secret_configs": [secret]});
    http_chain(&[host], &json!({"common_tls_context": context}), "")
}

fn sds(server: &Server) -> Value {
    cluster("sds", server.address())
}

/// Waits for something while the proxy hears of its servers.
async fn meanwhile<T>(running: &mut Running, what: impl Future<Output = T>) -> T {
    tokio::pin!(what);
    loop {
        tokio::select! {
            biased;
            done = &mut what => return done,
            news = running.proxy.news() => {
                running.proxy.hear(news);
            }
        }
    }
}

/// The next request of a stream.
async fn asked(running: &mut Running, call: &mut Call) -> DiscoveryRequest {
    let bytes = meanwhile(running, call.request()).await.expect("a request");
    DiscoveryRequest::decode(bytes).expect("a request of discovery")
}

fn answer(call: &Call, version: &str, secrets: &[Secret]) {
    let response = DiscoveryResponse {
        version_info: version.to_owned(),
        resources: secrets.iter().map(any).collect(),
        type_url: ResourceType::Secret.type_url().to_owned(),
        nonce: format!("nonce of {version}"),
        ..DiscoveryResponse::default()
    };
    call.answer(&response.encode_to_vec());
}

fn secret(host: &str, leaf: &Identity) -> Secret {
    secret_of(host, &certificate(leaf))
}

fn secret_of(host: &str, certificate: &Value) -> Secret {
    let secret = json!({"name": host, "tls_certificate": certificate});
    tidegate_envoy::json::from_json(&secret).unwrap_or_else(|error| panic!("{error}"))
}

/// Whether clients are shown this certificate.
async fn shows(running: &Running, host: &str, ca: &Ca, leaf: &Identity) -> bool {
    let stream = client::tls(running.address, host, ca.client_config(&[])).await;
    stream.is_ok_and(|stream| {
        let chain = stream.get_ref().1.peer_certificates();
        chain.and_then(|chain| chain.first()) == Some(&leaf.certificate)
    })
}

#[tokio::test]
async fn secrets_come_change_and_outlive_what_is_wrong() {
    let ca = Ca::new("root");
    let [first, second, third, other] = ["a.example"; 4].map(|host| ca.issue(&[host]));
    let mut server = Server::start(None).await;
    let address = server.address();
    let chains = [chain("a.example"), chain("b.example")];
    let mut running = Running::start(&bootstrap(&chains, &[sds(&server)], &[])).await;

    let mut call = server.call().await;
    assert_eq!(call.path, "/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets");
    let request = asked(&mut running, &mut call).await;
    assert_eq!(request.resource_names, ["a.example", "b.example"]);
    assert_eq!(request.type_url, ResourceType::Secret.type_url());
    assert!(request.node.is_some() && request.response_nonce.is_empty());
    assert!(!shows(&running, "a.example", &ca, &first).await, "it has not come yet");

    answer(&call, "1", &[secret("a.example", &first)]);
    let ack = asked(&mut running, &mut call).await;
    assert_eq!((&*ack.version_info, &*ack.response_nonce), ("1", "nonce of 1"));
    assert!(ack.error_detail.is_none() && ack.node.is_none());
    assert!(shows(&running, "a.example", &ca, &first).await);
    assert!(!shows(&running, "b.example", &ca, &first).await, "closed alone");

    answer(&call, "2", &[secret("a.example", &second)]);
    asked(&mut running, &mut call).await;
    assert!(shows(&running, "a.example", &ca, &second).await);

    let mut mixed = certificate(&third);
    mixed["private_key"] = certificate(&other)["private_key"].take();
    answer(&call, "3", &[secret_of("a.example", &mixed)]);
    let nack = asked(&mut running, &mut call).await;
    assert_eq!((&*nack.version_info, &*nack.response_nonce), ("2", "nonce of 3"));
    let why = nack.error_detail.expect("it is refused").message;
    assert!(why.starts_with("a.example: tls_certificate.private_key"), "{why}");
    assert!(shows(&running, "a.example", &ca, &second).await, "the one before serves on");
    let standing = running.proxy.verdict().rejected;
    assert!(standing.iter().any(|rejection| &*rejection.name == "sds/a.example"), "{standing:?}");

    // The server goes, and what it said stays; it comes back, and is asked for everything again.
    drop((call, server));
    assert!(shows(&running, "a.example", &ca, &second).await);
    let mut server = Server::at(address, None);
    let mut call = meanwhile(&mut running, server.call()).await;
    let request = asked(&mut running, &mut call).await;
    assert_eq!(request.resource_names, ["a.example", "b.example"]);
    assert!(request.node.is_some() && request.version_info.is_empty());
    let last = ca.issue(&["a.example"]);
    answer(&call, "4", &[secret("a.example", &last)]);
    assert_eq!(asked(&mut running, &mut call).await.version_info, "4");
    assert!(shows(&running, "a.example", &ca, &last).await);
    let standing = running.proxy.verdict().rejected;
    assert_eq!(standing, [], "nothing is wrong any more");
    running.counts("sds.sds/a.example.update_rejected", 1).await;
    running.counts("sds.sds/a.example.update_success", 3).await;
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told() {
    let ca = Ca::new("root");
    let leaf = ca.issue(&["b.example"]);
    let server = Server::start(None).await;
    let there = http_chain(&["b.example"], &serving(&leaf), "");
    let file = bootstrap(&[chain("a.example"), there], &[sds(&server)], &[]);
    drop(server);
    let mut running = Running::start(&file).await;
    let news = running.proxy.news().await;
    let outcome = running.proxy.hear(news);
    let [refused] = &outcome.rejected[..] else { panic!("{:?}", outcome.rejected) };
    assert_eq!(&*refused.name, "sds/a.example");
    let reason = &refused.reason;
    assert!(reason.contains("sds") && reason.contains("refused"), "{reason}");
    assert!(!refused.serves_on);
    assert!(shows(&running, "b.example", &ca, &leaf).await, "the others are served");
    // Who needs it no longer, asks no longer.
    let listener: Vec<_> = vec![(ResourceType::Listener, Arc::from("tls"))];
    let outcome = running.apply(Vec::new(), listener).await;
    assert_eq!(outcome.verdict.rejected, []);
}

#[tokio::test]
async fn a_server_is_asked_in_tls_and_verified() {
    let ca = Ca::new("root");
    let leaf = ca.issue(&["a.example"]);
    let identity = ca.issue(&["sds.internal"]);
    let mut server = Server::start(Some(identity.server_config(&["h2"]))).await;
    let file = |name: &str| {
        let roots = json!({"trusted_ca": {"inline_string": ca.pem()}});
        let mut cluster = sds(&server);
        cluster["transport_socket"] = socket(
            "Upstream",
            &json!({
                "common_tls_context": {"validation_context": roots},
                "sni": name,
                "auto_sni_san_validation": true,
            }),
        );
        bootstrap(&[chain("a.example")], &[cluster], &[])
    };
    let (right, wrong) = (file("sds.internal"), file("other.internal"));
    let mut running = Running::start(&wrong).await;
    let news = running.proxy.news().await;
    let rejected = running.proxy.hear(news).rejected;
    let names: BTreeSet<&str> = rejected.iter().map(|r| &*r.name).collect();
    assert_eq!(names, BTreeSet::from(["sds/a.example"]), "{rejected:?}");
    let mut running = Running::start(&right).await;
    let mut call = meanwhile(&mut running, server.call()).await;
    asked(&mut running, &mut call).await;
    answer(&call, "1", &[secret("a.example", &leaf)]);
    asked(&mut running, &mut call).await;
    assert!(shows(&running, "a.example", &ca, &leaf).await);
}
