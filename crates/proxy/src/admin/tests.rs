//! Answers next to what Envoy 1.40 gives for the same configuration.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use http::{Request, StatusCode};
use serde_json::{Value as Json, json};
use tidegate_envoy::json::from_json;
use tidegate_envoy::v3;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use self::fake::Fake;
use super::*;
use crate::stats::Registry;

mod fake;

struct Fixture {
    fake: Arc<Fake>,
    admin: Arc<Admin>,
    registry: Arc<Registry>,
}

impl Fixture {
    fn new(options: Options) -> Self {
        let fake = Fake::new(Lifecycle::Live);
        let registry = Registry::new(2);
        let admin = Admin::new(fake.clone(), registry.clone(), options);
        Self { fake, admin, registry }
    }

    fn call(&self, method: &str, uri: &str) -> (StatusCode, String) {
        let request = Request::builder().method(method).uri(uri).body(()).unwrap();
        let answer = self.admin.answer(&request);
        let body: Vec<u8> = answer.body.flatten().collect();
        (answer.status, String::from_utf8(body).unwrap())
    }

    fn get(&self, uri: &str) -> String {
        let (status, body) = self.call("GET", uri);
        assert_eq!(status, StatusCode::OK, "{uri}: {body}");
        body
    }

    fn json(&self, uri: &str) -> Json {
        serde_json::from_str(&self.get(uri)).unwrap()
    }
}

fn fixture() -> Fixture {
    Fixture::new(Options::default())
}

#[test]
fn denied_egress_as_json() {
    let fixture = fixture();
    fixture.registry.worker(1).egress().unlisted.add(2);
    let expected = json!({
        "node": {"id": "n1", "cluster": "c1"},
        "denied": [{
            "protocol": "TLS", "host": "www.espn.com", "address": "192.0.2.1", "port": 443, "source": "10.0.0.7",
            "count": 3, "first": "2019-01-31T14:40:18.645Z", "last": "2019-01-31T14:40:18.645Z",
        }],
        "unlisted": 2,
    });
    assert_eq!(fixture.json("/egress/denied"), expected);
}

#[test]
fn clusters_as_text() {
    let fixture = fixture();
    let endpoint = fixture.registry.worker(1).endpoint("edsc", "127.0.0.1:19100");
    endpoint.cx_total.inc();
    endpoint.cx_active.inc();
    assert_eq!(
        fixture.get("/clusters?filter=edsc"),
        "edsc::observability_name::edsc\n\
         edsc::default_priority::max_connections::1024\n\
         edsc::default_priority::max_pending_requests::1024\n\
         edsc::default_priority::max_requests::1024\n\
         edsc::default_priority::max_retries::3\n\
         edsc::high_priority::max_connections::1024\n\
         edsc::high_priority::max_pending_requests::1024\n\
         edsc::high_priority::max_requests::1024\n\
         edsc::high_priority::max_retries::3\n\
         edsc::added_via_api::true\n\
         edsc::127.0.0.1:19100::cx_active::1\n\
         edsc::127.0.0.1:19100::cx_connect_fail::0\n\
         edsc::127.0.0.1:19100::cx_total::1\n\
         edsc::127.0.0.1:19100::rq_active::0\n\
         edsc::127.0.0.1:19100::rq_error::0\n\
         edsc::127.0.0.1:19100::rq_pending_active::0\n\
         edsc::127.0.0.1:19100::rq_success::0\n\
         edsc::127.0.0.1:19100::rq_timeout::0\n\
         edsc::127.0.0.1:19100::rq_total::0\n\
         edsc::127.0.0.1:19100::hostname::\n\
         edsc::127.0.0.1:19100::health_flags::/failed_eds_health\n\
         edsc::127.0.0.1:19100::weight::1\n\
         edsc::127.0.0.1:19100::region::r\n\
         edsc::127.0.0.1:19100::zone::z\n\
         edsc::127.0.0.1:19100::sub_zone::\n\
         edsc::127.0.0.1:19100::canary::false\n\
         edsc::127.0.0.1:19100::priority::0\n\
         edsc::127.0.0.1:19100::success_rate::-1\n\
         edsc::127.0.0.1:19100::local_origin_success_rate::-1\n"
    );
    let all = fixture.get("/clusters");
    assert!(
        all.contains("outbound|80||httpbin.org::observability_name::outbound|80||httpbin.org;\n")
    );
    assert!(all.contains("outbound|80||httpbin.org::127.0.0.1:19100::health_flags::healthy\n"));
}

#[test]
fn clusters_as_json() {
    let fixture = fixture();
    let endpoint = fixture.registry.worker(0).endpoint("edsc", "127.0.0.1:19100");
    endpoint.cx_total.inc();
    let json = fixture.json("/clusters?format=json");
    let edsc = &json["cluster_statuses"][0];
    assert_eq!(edsc["name"], "edsc");
    let host = &edsc["host_statuses"][0];
    assert_eq!(
        host["stats"],
        json!([
            {"name": "cx_connect_fail"},
            {"name": "cx_total", "value": "1"},
            {"name": "rq_error"},
            {"name": "rq_success"},
            {"name": "rq_timeout"},
            {"name": "rq_total"},
            {"name": "cx_active", "type": "GAUGE"},
            {"name": "rq_active", "type": "GAUGE"},
            {"name": "rq_pending_active", "type": "GAUGE"},
        ])
    );
    assert_eq!(host["health_status"], json!({"eds_health_status": "UNHEALTHY"}));
    assert_eq!(host["locality"], json!({"region": "r", "zone": "z"}));
    assert_eq!(edsc["circuit_breakers"]["thresholds"][1]["priority"], "HIGH");
    from_json::<v3::admin::Clusters>(&json).unwrap();
    assert_eq!(fixture.get("/clusters?format=json&filter=nope"), "{}\n");
}

#[test]
fn listeners_in_both_forms() {
    let fixture = fixture();
    assert_eq!(fixture.get("/listeners"), "0.0.0.0_8080::127.0.0.1:19080\ntls::[::1]:19443\n");
    let json = fixture.json("/listeners?format=json");
    assert_eq!(
        json["listener_statuses"][1],
        json!({"name": "tls", "local_address": {"socket_address": {"address": "::1", "port_value": 19443}}})
    );
    from_json::<v3::admin::Listeners>(&json).unwrap();
}

#[test]
fn sections_of_a_dump_stand_where_envoy_has_them() {
    let fixture = fixture();
    let types = |uri: &str| -> Vec<String> {
        let json = fixture.json(uri);
        let configs = json["configs"].as_array().unwrap().iter();
        configs
            .map(|config| config["@type"].as_str().unwrap().rsplit('.').next().unwrap().to_owned())
            .collect()
    };
    assert_eq!(
        types("/config_dump"),
        [
            "BootstrapConfigDump",
            "ClustersConfigDump",
            "ListenersConfigDump",
            "ScopedRoutesConfigDump",
            "RoutesConfigDump",
            "SecretsConfigDump"
        ]
    );
    assert_eq!(types("/config_dump?include_eds")[2], "EndpointsConfigDump");
    let json = fixture.json("/config_dump");
    assert_eq!(
        json["configs"][2]["dynamic_listeners"][0]["name"], "0.0.0.0_8080",
        "as guide 002 reads it"
    );
}

#[test]
fn dump_shows_what_is_in_force_and_what_was_refused() {
    let fixture = fixture();
    let json = fixture.json("/config_dump");
    from_json::<v3::admin::ConfigDump>(&json).unwrap();
    let clusters = &json["configs"][1];
    assert_eq!(
        clusters["static_clusters"],
        json!([{
            "cluster": {
                "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
                "name": "dead", "type": "STATIC", "connect_timeout": "1s",
            },
            "last_updated": "2019-01-31T14:40:18.645Z",
        }])
    );
    let dynamic = clusters["dynamic_active_clusters"].as_array().unwrap();
    assert_eq!(dynamic.len(), 2);
    assert_eq!(
        (&dynamic[0]["cluster"]["name"], &dynamic[0]["version_info"]),
        (&json!("edsc"), &json!("v7"))
    );
    let bad = &json["configs"][2]["dynamic_listeners"][1];
    assert_eq!(bad["error_state"]["details"], "no");
    assert_eq!(bad["error_state"]["failed_configuration"]["name"], "bad");
    assert_eq!(bad.get("active_state"), None);
    let hosts = &json["configs"][4]["dynamic_route_configs"][0]["route_config"]["virtual_hosts"];
    assert_eq!(
        *hosts,
        json!([{"name": "a:80", "domains": ["*"]}, {"name": "b:80", "domains": ["*"]}])
    );
}

#[test]
fn secrets_are_never_shown() {
    let fixture = fixture();
    let secret = &fixture.json("/config_dump?resource=dynamic_active_secrets")["configs"][0];
    assert_eq!(secret["name"], "s1");
    assert_eq!(
        secret["secret"]["tls_certificate"],
        json!({
            "certificate_chain": {"inline_string": "CERT"},
            "private_key": {"inline_string": "[redacted]"},
        })
    );
    assert!(!fixture.get("/config_dump?include_eds").contains("KEY"));
    let inside =
        &fixture.json("/config_dump")["configs"][0]["bootstrap"]["static_resources"]["secrets"][0];
    assert_eq!(inside["name"], "s1");
}

#[test]
fn parts_of_a_dump() {
    let fixture = fixture();
    assert_eq!(
        fixture
            .json("/config_dump?resource=dynamic_active_clusters&mask=cluster.name,version_info"),
        json!({"configs": [
            {
                "@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump.DynamicCluster",
                "version_info": "v7",
                "cluster": {"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": "edsc"},
            },
            {
                "@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump.DynamicCluster",
                "version_info": "v7",
                "cluster": {
                    "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
                    "name": "outbound|80||httpbin.org",
                },
            },
        ]})
    );
    let masked = fixture.json("/config_dump?mask=bootstrap.node.id,static_clusters.cluster.name");
    assert_eq!(masked["configs"].as_array().unwrap().len(), 2);
    assert_eq!(masked["configs"][0]["bootstrap"], json!({"node": {"id": "n1"}}));
    let named = fixture.json("/config_dump?name_regex=^ede|^eds");
    assert_eq!(named["configs"][1]["dynamic_active_clusters"].as_array().unwrap().len(), 1);
    assert_eq!(named["configs"][1].get("static_clusters"), None);
    assert_eq!(fixture.get("/config_dump?resource=dynamic_warming_clusters"), "{}\n");
    let endpoints = fixture.json("/config_dump?resource=dynamic_endpoint_configs");
    assert_eq!(endpoints["configs"][0]["endpoint_config"]["cluster_name"], "edsc");
    for (uri, status, text) in [
        ("/config_dump?resource=nope", 404, "nope not found in config dump"),
        ("/config_dump?resource=bootstrap", 400, "Use ?mask=bootstrap"),
        (
            "/config_dump?mask=x",
            400,
            "FieldMask x could not be successfully applied to any configs.",
        ),
        ("/config_dump?name_regex=(", 400, "Invalid regex"),
        ("/stats?filter=(", 400, "Invalid regex"),
        ("/stats?format=foo", 400, "usage: /stats?format="),
        ("/clusters?filter=(", 400, "Invalid regex"),
    ] {
        let (got, body) = fixture.call("GET", uri);
        assert_eq!(got, status, "{uri}");
        assert!(body.contains(text), "{uri}: {body}");
    }
}

#[test]
fn server_and_readiness() {
    let fixture = fixture();
    let info = fixture.json("/server_info");
    assert_eq!((&info["state"], &info["version"]), (&json!("LIVE"), &json!("0.1.0")));
    assert_eq!(info["node"]["id"], "n1");
    assert!(info["uptime_current_epoch"].as_str().unwrap().ends_with('s'));
    assert_eq!(fixture.get("/ready"), "LIVE\n");
    for (lifecycle, text) in [
        (Lifecycle::PreInitializing, "PRE_INITIALIZING\n"),
        (Lifecycle::Initializing, "INITIALIZING\n"),
        (Lifecycle::Draining, "DRAINING\n"),
    ] {
        *fixture.fake.lifecycle.lock().unwrap() = lifecycle;
        let (status, body) = fixture.call("GET", "/ready");
        assert_eq!((status, body.as_str()), (StatusCode::SERVICE_UNAVAILABLE, text));
    }
    *fixture.fake.lifecycle.lock().unwrap() = Lifecycle::Live;
    assert_eq!(fixture.call("POST", "/healthcheck/fail"), (StatusCode::OK, "OK\n".to_owned()));
    assert_eq!(fixture.call("GET", "/ready").1, "DRAINING\n");
    assert_eq!(fixture.json("/server_info")["state"], "DRAINING");
    fixture.call("POST", "/healthcheck/ok");
    assert_eq!(fixture.get("/ready"), "LIVE\n");
}

#[test]
fn stats_through_the_interface() {
    let fixture = fixture();
    let stats = fixture.registry.worker(0).listener("127.0.0.1_8080");
    stats.downstream_cx_active.inc();
    let text = fixture.get("/stats?filter=^server\\.&usedonly");
    assert!(text.contains("server.concurrency: 2\n"), "{text}");
    assert!(text.contains("server.live: 1\nserver.memory_physical_size: "), "{text}");
    assert!(text.contains("server.total_connections: 1\n"), "{text}");
    assert!(fixture.get("/stats/prometheus").contains("\nenvoy_server_live{} 1\n"));
    assert!(
        fixture.get("/stats?format=prometheus&filter=live").contains("envoy_server_live{} 1\n")
    );
    let json = fixture.json("/stats?format=json&filter=server.live");
    assert_eq!(json["stats"][0], json!({"name": "server.live", "value": 1}));
}

#[test]
fn orders_need_post_and_permission() {
    let fixture = fixture();
    for path in
        ["/healthcheck/fail", "/drain_listeners", "/quitquitquit", "/logging", "/reopen_logs"]
    {
        assert_eq!(
            fixture.call("GET", path),
            (StatusCode::METHOD_NOT_ALLOWED, "Method GET not allowed, POST required.".to_owned())
        );
    }
    assert_eq!(fixture.call("DELETE", "/stats").0, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(fixture.call("POST", "/quitquitquit").0, StatusCode::FORBIDDEN);
    fixture.call("POST", "/drain_listeners?graceful&inboundonly");
    fixture.call("POST", "/reopen_logs");
    assert_eq!(*fixture.fake.orders.lock().unwrap(), ["drain true true", "reopen"]);
    let allowed = Fixture::new(Options { allow_quit: true, ..Options::default() });
    assert_eq!(allowed.call("POST", "/quitquitquit"), (StatusCode::OK, "OK\n".to_owned()));
    assert_eq!(*allowed.fake.orders.lock().unwrap(), ["quit"]);
}

#[test]
fn help_and_home_name_every_command() {
    let fixture = fixture();
    let help = fixture.get("/help");
    let home = fixture.get("/");
    assert!(help.starts_with("admin commands are:\n  /: Admin home page\n  /certs: "));
    assert!(help.contains("  /healthcheck/fail (POST): "));
    assert!(
        home.contains("<a href=\"/config_dump\">") && home.contains("action=\"/healthcheck/ok\"")
    );
    let (status, text) = fixture.call("GET", "/nope");
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_eq!(text, format!("invalid path. {help}"));
    let memory = fixture.json("/memory");
    assert!(memory["total_physical_bytes"].as_str().unwrap().parse::<u64>().unwrap() > 1 << 20);
    let certs = &fixture.json("/certs")["certificates"][0];
    let shown = &certs["cert_chain"][0];
    let names = json!([{"dns": "a.test"}, {"ip_address": "10.0.0.1"}, {"uri": "spiffe://a"}]);
    assert_eq!(shown["subject_alt_names"], names);
    assert_eq!((&shown["path"], &certs["ca_cert"][0]["path"]), (&json!("s"), &json!("<inline>")));
    // As issued.
    assert_eq!(shown["valid_from"], "1975-01-01T00:00:00Z");
    assert_eq!(shown["expiration_time"], "4096-01-01T00:00:00Z");
    let days: u64 = shown["days_until_expiration"].as_str().unwrap().parse().unwrap();
    assert!(days > 700_000, "{days}");
    assert_eq!(certs["ca_cert"][0]["subject_alt_names"], json!([]));
    assert_ne!(certs["ca_cert"][0]["serial_number"], shown["serial_number"]);
    assert_eq!(fixture.get("/hot_restart_version"), "disabled\n");
    assert_eq!(fixture.json("/runtime"), json!({"entries": {}, "layers": []}));
    assert!(fixture.call("POST", "/logging").1.starts_with("active loggers:\n  tidegate: "));
}

/// Sends one request over TCP and reads the answer to its end.
async fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    tokio::time::timeout(Duration::from_secs(30), read).await.unwrap().unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn over_the_network() {
    let fixture = fixture();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(fixture.admin.clone().serve(listener));
    let get = |path: &str, host: &str| {
        format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n")
    };
    let answer = ask(address, &get("/ready", "localhost:15000")).await;
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=UTF-8\r\n"),
        "{answer}"
    );
    assert!(
        answer
            .contains("cache-control: no-cache, max-age=0\r\nx-content-type-options: nosniff\r\n")
    );
    assert!(answer.contains("LIVE"));
    let answer = ask(address, &get("/config_dump", "evil.example")).await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    // A hundred thousand lines, in chunks.
    let held: Vec<_> =
        (0..1_000).map(|index| fixture.registry.control().cluster(&format!("c{index}"))).collect();
    let answer = ask(address, &get("/stats", "127.0.0.1")).await;
    assert!(answer.contains("transfer-encoding: chunked\r\n"));
    assert_eq!(answer.matches(".upstream_rq_total: 0\n").count(), held.len());
    let answer = ask(address, "GET /stats HTTP/1.1\r\nbad header\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    server.abort();
}

#[tokio::test]
async fn health_has_a_port_of_its_own() {
    let fake = Arc::new(Fake {
        lifecycle: Mutex::new(Lifecycle::Live),
        serves_initial: false,
        orders: Mutex::default(),
    });
    let not_yet = Admin::new(fake, Registry::new(1), Options::default());
    let fixture = fixture();
    let mut addresses = Vec::new();
    for admin in [not_yet, fixture.admin.clone()] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        addresses.push(listener.local_addr().unwrap());
        tokio::spawn(admin.serve_health(listener));
    }
    let status = async |address, line: &str| {
        let request =
            format!("{line} HTTP/1.1\r\nhost: gateway.example\r\nconnection: close\r\n\r\n");
        ask(address, &request).await[9..12].to_owned()
    };
    assert_eq!(status(addresses[0], "GET /healthz/ready").await, "503");
    assert_eq!(status(addresses[1], "GET /healthz/ready").await, "200");
    assert_eq!(status(addresses[1], "GET /config_dump").await, "404");
    assert_eq!(status(addresses[1], "POST /healthz/ready").await, "405");
    fixture.call("POST", "/healthcheck/fail");
    assert_eq!(status(addresses[1], "GET /healthz/ready").await, "503");
}
