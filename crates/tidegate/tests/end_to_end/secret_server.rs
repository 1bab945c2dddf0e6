//! `credentialName: sds://NAME`: certificates that a server of the mesh config hands out.

use serde_json::{Value, json};
use tidegate_envoy::prost::Message as _;
use tidegate_envoy::v3::discovery::{DiscoveryRequest, DiscoveryResponse};
use tidegate_envoy::v3::tls::Secret;
use tidegate_envoy::{any, json::from_json};
use tidegate_testing::ca::{Ca, Identity};
use tidegate_testing::grpc::{Call, Server};
use tidegate_testing::{PATIENCE, client, eventually};

use crate::support::{Api, Gateway, NETWORKING, objects};

const GATEWAY: &str = "gateways/web";

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

/// The status of the Gateway, once it has these words in it.
async fn tells(api: &mut Api, words: &str) -> Value {
    let api = tokio::sync::Mutex::new(api);
    eventually(PATIENCE, || async {
        let path = format!("{NETWORKING}/{GATEWAY}");
        let status = api.lock().await.send("GET", &path, "").await["status"].clone();
        if status.to_string().contains(words) { Ok(status) } else { Err(format!("{status:#}")) }
    })
    .await
}

async fn shows(gateway: &Gateway, ca: &Ca, leaf: &Identity) -> bool {
    let stream = client::tls(gateway.https, "web.example", ca.client_config(&[])).await;
    stream.is_ok_and(|stream| {
        let chain = stream.get_ref().1.peer_certificates();
        chain.and_then(|chain| chain.first()) == Some(&leaf.certificate)
    })
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
    web["spec"]["servers"].as_array_mut().expect("servers").push(json!({
        "port": { "number": 443, "name": "https", "protocol": "HTTPS" },
        "hosts": ["web.example"],
        "tls": { "mode": "SIMPLE", "credentialName": "sds://web" },
    }));
    api.create("gateways", &web).await;
    // Nobody is there: that is told, and the other server answers.
    tells(&mut api, "it has not come from its server").await;
    gateway.answers("plain.example", "/", 404).await;

    let mut server = Server::at(address, None);
    let mut call = server.call().await;
    let asked = request(&mut call).await;
    assert_eq!(asked.resource_names, ["web"]);
    assert!(asked.node.is_some_and(|node| node.id.starts_with("router~")));
    answer(&call, "1", &secret(&leaf, &leaf));
    assert_eq!(request(&mut call).await.version_info, "1");
    assert!(shows(&gateway, &ca, &leaf).await);
    api.wait_for(&format!("{NETWORKING}/{GATEWAY}"), &[("Programmed", "True")]).await;

    answer(&call, "2", &secret(&other, &leaf));
    let refused = request(&mut call).await;
    assert_eq!((&*refused.version_info, &*refused.response_nonce), ("1", "2"));
    assert!(refused.error_detail.is_some());
    tells(&mut api, "the key is not that of the certificate").await;
    assert!(shows(&gateway, &ca, &leaf).await, "the one before serves on");
}
