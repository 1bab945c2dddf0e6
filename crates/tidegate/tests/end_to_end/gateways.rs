//! Gateways of one port that come, change and go while clients of another one send requests: servers with the same TLS
//! terms share their routes, which are named after the oldest of them, and nobody may notice.

use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::{Value, json};
use tidegate_testing::ca::Ca;
use tidegate_testing::client::{self, Client};
use tidegate_testing::origin::{Origin, echo};
use tidegate_testing::{PATIENCE, eventually};

use crate::many_changes::{HOST, handshakes, streams, tls};
use crate::support::{Api, Gateway, Load, NETWORKING, objects};

/// Gateways that are older than the one under load.
const OLDER: [&str; 6] = ["a0", "a1", "a2", "a3", "a4", "a5"];

fn host(name: &str) -> String {
    format!("{name}.example")
}

fn gateway(name: &str, host: &str) -> Value {
    objects::gateway_of(name, &[server("https", host, "SIMPLE")])
}

fn server(port: &str, host: &str, mode: &str) -> Value {
    objects::https(port, host, &json!({ "mode": mode, "credentialName": "certificate" }))
}

fn path(name: &str) -> String {
    format!("{NETWORKING}/gateways/{name}")
}

/// All Gateways with the same certificate, the one under load the youngest, and a route for all of their hosts.
async fn set_up(api: &mut Api, origin: &Origin, ca: &Ca) {
    let hosts: Vec<String> = OLDER.map(host).into_iter().chain([HOST.to_owned()]).collect();
    let names: Vec<&str> = hosts.iter().map(String::as_str).collect();
    let mut secret = objects::certificate("certificate", &ca.issue(&names));
    secret["stringData"] = json!({ "ca.crt": ca.pem() });
    api.create_secret(&secret).await;
    let mut route = objects::route("all", "kept", HOST, "o.internal");
    route["spec"]["hosts"] = json!(hosts);
    route["spec"]["gateways"] = OLDER.into_iter().chain(["kept"]).collect();
    for name in OLDER {
        api.create("gateways", &gateway(name, &host(name))).await;
    }
    api.create("gateways", &gateway("kept", HOST)).await;
    api.create("serviceentries", &objects::host("o", "o.internal", origin.address())).await;
    api.create("virtualservices", &route).await;
    api.wait_for(&path("kept"), &[("Programmed", "True")]).await;
    api.wait_for(&format!("{NETWORKING}/virtualservices/all"), &[("Programmed", "True")]).await;
}

/// Changes the servers of a Gateway, and waits until that is served.
async fn change(api: &mut Api, name: &str, servers: &Value) {
    api.change(&path(name), &json!({ "servers": [servers] })).await;
    api.wait_for(&path(name), &[("Programmed", "True")]).await;
}

/// Clients of the Gateway that nothing happens to, each on a connection that has to stay open, or on one for each request.
fn loads(address: SocketAddr, ca: &Ca) -> [(&'static str, Load); 3] {
    let (one, two) = (ca.client_config(&["http/1.1"]), ca.client_config(&["h2"]));
    let (kept, fresh) = (Arc::clone(&one), one);
    [
        ("TLS", Load::run(2, move |progress| tls(address, Arc::clone(&kept), progress))),
        ("handshakes", Load::run(1, move |p| handshakes(address, Arc::clone(&fresh), p))),
        (
            "HTTP/2",
            Load::run(2, move |progress| {
                let two = Arc::clone(&two);
                async move {
                    let stream = client::tls(address, HOST, two).await.expect("a handshake");
                    streams(stream, progress).await
                }
            }),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateways_go_and_change_and_others_notice_nothing() {
    let origin = Origin::start().http(echo).await;
    let ca = Ca::new("authority");
    let running = Gateway::start(&[]).await;
    let mut api = Api::of(&running).await;
    set_up(&mut api, &origin, &ca).await;

    let address = running.https;
    let one = ca.client_config(&["http/1.1"]);
    let loads = loads(address, &ca);
    for (round, name) in OLDER.into_iter().enumerate() {
        let own = host(name);
        match round % 3 {
            1 => change(&mut api, name, &server("other", &own, "SIMPLE")).await,
            // Without it, nobody on this port asks for a certificate.
            2 => change(&mut api, name, &server("https", &own, "MUTUAL")).await,
            _ => {}
        }
        let asks = if round % 3 == 2 {
            ca.client_config_with(&ca.issue(&["client"]), &["http/1.1"])
        } else {
            Arc::clone(&one)
        };
        let stream = client::tls(address, &own, Arc::clone(&asks)).await.expect("a handshake");
        let mut client = Client::over(stream);
        let answer = client.request(format!("GET / HTTP/1.1\r\nHost: {own}\r\n\r\n")).await;
        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
        for (_, load) in &loads {
            load.flows(5).await;
        }

        api.send("DELETE", &path(name), "").await;
        // Its own clients are told to go, and there are no new ones.
        assert_eq!(client.read_to_end().await, b"", "{name}");
        eventually(PATIENCE, || async {
            client::tls(address, &own, Arc::clone(&asks)).await.map_or(Ok(()), |_| Err(name))
        })
        .await;
        for (_, load) in &loads {
            load.flows(5).await;
        }
    }
    for (name, load) in loads {
        assert_eq!(load.stop().await, Vec::<String>::new(), "{name}");
    }
}
