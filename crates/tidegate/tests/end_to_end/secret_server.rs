//! `credentialName: sds://NAME`: certificates that a server of the mesh config hands out.

use serde_json::json;
use tidegate_envoy::prost::Message as _;
use tidegate_envoy::v3::discovery::{DiscoveryRequest, DiscoveryResponse};
use tidegate_envoy::v3::tls::Secret;
use tidegate_envoy::{any, json::from_json};
use tidegate_testing::ca::{Ca, Identity};
use tidegate_testing::grpc::{Call, Server};

use crate::support::handshakes::shown;
use crate::support::{Api, Gateway, WEB, objects};

fn secret(certificate: &Identity, key: &Identity) -> Secret {
    let text = |text: &str| json!({ "inline_string": text });
    let pair = json!({
        "certificate_chain": text(&certificate.certificate_pem),
        "private_key": text(&key.key_pem),
    });
    from_json(&json!({ "name": "web", "tls_certificate": pair })).expect("a secret")
}

fn answer(call: &Call, version: &str, secret: &Secret) {
    let response = DiscoveryResponse {
        version_info: version.to_owned(),
        resources: vec![any(secret)],
        nonce: version.to_owned(),
        ..DiscoveryResponse::default()
    };
    call.answer(&response.encode_to_vec());
}

async fn request(call: &mut Call) -> DiscoveryRequest {
    let bytes = call.request().await.expect("a request");
    DiscoveryRequest::decode(bytes).expect("a request of discovery")
}

#[tokio::test]
async fn a_server_hands_certificates_out_and_hears_what_is_wrong() {
    let ca = Ca::new("root");
    let [leaf, other] = ["web.example"; 2].map(|name| ca.issue(&[name]));
    let address = Server::start(None).await.address();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("mesh.yaml");
    let mesh =
        "extensionProviders: [{name: sds, sds: {name: sds, service: sds.internal, port: 80}}]";
    std::fs::write(&file, mesh).expect("written");
    let gateway = Gateway::start(&["--mesh-config", &file.display().to_string()]).await;
    let mut api = Api::of(&gateway).await;
    let mut entry = objects::host("sds", "sds.internal", address);
    entry["spec"]["ports"][0]["protocol"] = json!("GRPC");
    api.create("serviceentries", &entry).await;
    let mut web = objects::gateway("web", 80, &["plain.example"]);
    let tls = json!({ "mode": "SIMPLE", "credentialName": "sds://web" });
    let servers = web["spec"]["servers"].as_array_mut().expect("servers");
    servers.push(objects::https("https", "web.example", &tls));
    api.create("gateways", &web).await;
    // Nobody is there: that is told, and the other server answers.
    api.tells(WEB, &["it has not come from its server"]).await;
    gateway.answers("plain.example", "/", 404).await;

    let mut server = Server::at(address, None);
    let mut call = server.call().await;
    let asked = request(&mut call).await;
    assert_eq!(asked.resource_names, ["web"]);
    assert!(asked.node.is_some_and(|node| node.id.starts_with("router~")));
    answer(&call, "1", &secret(&leaf, &leaf));
    assert_eq!(request(&mut call).await.version_info, "1");
    let config = ca.client_config(&[]);
    let served = shown(&gateway, "web.example", &config).await.expect("a handshake");
    assert_eq!(served, leaf.certificate);
    api.wait_for(WEB, &[("Programmed", "True")]).await;

    answer(&call, "2", &secret(&other, &leaf));
    let refused = request(&mut call).await;
    assert_eq!((&*refused.version_info, &*refused.response_nonce), ("1", "2"));
    assert!(refused.error_detail.is_some());
    api.tells(WEB, &["the key is not that of the certificate"]).await;
    let served = shown(&gateway, "web.example", &config).await.expect("a handshake");
    assert_eq!(served, leaf.certificate, "the one before serves on");
}
