//! What is under way outlives every change of configuration: tunnels, streams and long polls go on where they are, whatever
//! becomes of the objects that led there.

mod streams;

use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::{Value, json};
use tidegate_testing::ca::Ca;
use tidegate_testing::{Gate, HeldPort, PATIENCE, eventually};

use self::streams::{UnderWay, http2_origin, origin};
use crate::support::{Api, Gateway, NETWORKING, WEB, objects};

/// The host that everything is asked of.
const HOST: &str = "a.example";
/// What origins answer: the one where everything is under way, and the one that is there too at times.
const NEAR: u16 = 200;
const OTHER: u16 = 202;
/// How often objects of a kind change.
const CHANGES: usize = 50;
const SERVICES: &str = "/api/v1/namespaces/default/services";
const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";

/// The servers of the Gateway: HTTP, HTTPS, and one that knows nothing of what it carries.
fn servers(tcp: u16) -> Vec<Value> {
    let plain = |number: u16, protocol: &str| {
        let port =
            json!({ "number": number, "name": protocol.to_lowercase(), "protocol": protocol });
        json!({ "port": port, "hosts": ["*"] })
    };
    let tls = json!({ "mode": "SIMPLE", "credentialName": "certificate" });
    vec![plain(80, "HTTP"), objects::https("https", HOST, &tls), plain(tcp, "TCP")]
}

/// A VirtualService that leads all three servers to a host.
fn route(tcp: u16, destination: &str) -> Value {
    let mut route = objects::route("a", "web", HOST, destination);
    let rule = route["spec"]["http"][0].clone();
    route["spec"]["hosts"] = json!(["*"]);
    route["spec"]["tcp"] = json!([{ "match": [{ "port": tcp }], "route": rule["route"] }]);
    route
}

/// A gateway with something under way to `destination`, whose endpoint is an origin of the test.
struct Scene {
    gateway: Gateway,
    api: Api,
    ca: Ca,
    under_way: UnderWay,
    /// Where the third server is.
    tcp: HeldPort,
    /// Where everything goes that is under way.
    origin: SocketAddr,
}

impl Scene {
    /// Objects lead to the host `destination`, which `there` writes.
    async fn set(destination: &str, there: impl AsyncFnOnce(&mut Api, SocketAddr)) -> Self {
        let gate = Gate::new();
        let (origin, tcp) = (origin(&gate, NEAR).await, HeldPort::any());
        let (gateway, api, ca) = Self::written(destination, there, origin, &tcp).await;
        let under_way = UnderWay::begin(&gateway, Some(tcp.address), &ca, &gate).await;
        Self { gateway, api, ca, under_way, tcp, origin }
    }

    /// The same of an endpoint that speaks HTTP/2, whose connections carry many requests at a time.
    async fn set_on_http2(gate: &Arc<Gate>, origin: SocketAddr) -> Self {
        let tcp = HeldPort::any();
        let there = async |api: &mut Api, origin| {
            let mut entry = objects::host("a", ENTRY, origin);
            entry["spec"]["ports"][0]["protocol"] = json!("HTTP2");
            api.create("serviceentries", &entry).await;
        };
        let (gateway, api, ca) = Self::written(ENTRY, there, origin, &tcp).await;
        let under_way = UnderWay::begin(&gateway, None, &ca, gate).await;
        Self { gateway, api, ca, under_way, tcp, origin }
    }

    /// The objects, in force.
    async fn written(
        destination: &str,
        there: impl AsyncFnOnce(&mut Api, SocketAddr),
        origin: SocketAddr,
        tcp: &HeldPort,
    ) -> (Gateway, Api, Ca) {
        let ca = Ca::new("authority");
        let gateway = Gateway::start(&["--workers", "1"]).await;
        let mut api = Api::of(&gateway).await;
        api.create_secret(&objects::certificate("certificate", &ca.issue(&[HOST]))).await;
        let port = tcp.address.port();
        api.create("gateways", &objects::gateway_of("web", &servers(port))).await;
        there(&mut api, origin).await;
        api.create("virtualservices", &route(port, destination)).await;
        api.wait_for(WEB, &[("Programmed", "True")]).await;
        let path = format!("{NETWORKING}/virtualservices/a");
        api.wait_for(&path, &[("Programmed", "True")]).await;
        (gateway, api, ca)
    }

    /// Writes an object, in place of the one of its name.
    async fn write(&mut self, collection: &str, object: &Value) {
        let path = format!("{collection}/{}", object["metadata"]["name"].as_str().expect("a name"));
        // The gateway may write the object's status in between, at most a few times.
        for _ in 0..10 {
            let now = self.api.try_send("GET", &path, "").await.expect("an answer");
            if now.status == 404 {
                self.api.send("POST", collection, &object.to_string()).await;
                return;
            }
            let mut object = object.clone();
            object["metadata"]["resourceVersion"] =
                now.json()["metadata"]["resourceVersion"].clone();
            let answer = self.api.try_send("PUT", &path, &object.to_string()).await;
            let answer = answer.expect("an answer");
            match answer.status {
                200 => return,
                409 => {}
                _ => panic!("{path}: {}", answer.text()),
            }
        }
        panic!("{path} never stays as it is");
    }

    /// The same, until every worker serves it.
    async fn put(&mut self, plural: &str, object: &Value) {
        let collection = format!("{NETWORKING}/{plural}");
        self.write(&collection, object).await;
        let path = format!("{collection}/{}", object["metadata"]["name"].as_str().expect("a name"));
        self.api.wait_for(&path, &[("Programmed", "True")]).await;
    }

    async fn delete(&mut self, path: &str) {
        self.api.send("DELETE", path, "").await;
    }

    /// Waits until requests are all answered so: once is not enough where others are still chosen, too.
    async fn answers(&self, status: u16) {
        eventually(PATIENCE, || async {
            for _ in 0..4 {
                let answer = self.gateway.get(HOST, "/").await;
                if answer.status != status {
                    return Err(format!("{answer:?}"));
                }
            }
            Ok(())
        })
        .await;
    }

    /// Requests go through the changed configuration, whatever they are answered, and everything goes on.
    async fn goes_on(&self) {
        let _ = self.gateway.get(HOST, "/").await;
        self.under_way.goes_on().await;
    }
}

/// The host that a ServiceEntry stands for.
const ENTRY: &str = "a.internal";

async fn entry(api: &mut Api, origin: SocketAddr) {
    api.create("serviceentries", &objects::host("a", ENTRY, origin)).await;
}

#[tokio::test]
async fn of_destination_rules() {
    change_destination_rules(Scene::set(ENTRY, entry).await).await;
}

#[tokio::test]
async fn of_destination_rules_and_an_endpoint_of_http2() {
    let gate = Gate::new();
    let origin = http2_origin(&gate).await;
    change_destination_rules(Scene::set_on_http2(&gate, origin.address()).await).await;
}

async fn change_destination_rules(mut scene: Scene) {
    let policies = [
        json!({ "loadBalancer": { "simple": "ROUND_ROBIN" } }),
        json!({ "loadBalancer": { "consistentHash": { "httpHeaderName": "x-user" } } }),
        json!({ "connectionPool": { "tcp": { "maxConnections": 1 }, "http": { "http2MaxRequests": 1 } } }),
        json!({ "connectionPool": { "http": { "idleTimeout": "1ms", "maxRequestsPerConnection": 1 } } }),
        json!({ "connectionPool": { "http": { "h2UpgradePolicy": "UPGRADE" } } }),
        json!({ "outlierDetection": { "consecutive5xxErrors": 1, "interval": "10ms", "maxEjectionPercent": 100 } }),
        json!({ "proxyProtocol": { "version": "V1" } }),
        json!({ "tls": { "mode": "SIMPLE", "sni": "a.internal" } }),
        json!({ "portLevelSettings": [{ "port": { "number": 80 }, "loadBalancer": { "simple": "RANDOM" } }] }),
    ];
    for round in 0..CHANGES {
        let policy = &policies[round % policies.len()];
        let mut rule = json!({
            "apiVersion": "networking.istio.io/v1",
            "kind": "DestinationRule",
            "metadata": { "name": "a" },
            "spec": { "host": ENTRY, "trafficPolicy": policy },
        });
        if round % 2 == 1 {
            rule["spec"]["subsets"] = json!([{ "name": "v1", "trafficPolicy": policy }]);
        }
        scene.put("destinationrules", &rule).await;
        scene.goes_on().await;
        if round % 5 == 4 {
            scene.delete(&format!("{NETWORKING}/destinationrules/a")).await;
            scene.answers(NEAR).await;
        }
    }
    scene.under_way.ends().await;
}

#[tokio::test]
async fn of_service_entries() {
    let mut scene = Scene::set(ENTRY, entry).await;
    let other = origin(&Gate::new(), OTHER).await;
    let entry = |origins: &[SocketAddr]| {
        let mut entry = objects::host("a", ENTRY, other);
        let endpoint = |origin: &SocketAddr| json!({ "address": origin.ip(), "ports": { "http": origin.port() } });
        entry["spec"]["endpoints"] = origins.iter().map(endpoint).collect();
        entry
    };
    let near = scene.origin;
    for round in 0..CHANGES / 5 {
        scene.put("serviceentries", &entry(&[near, other])).await;
        scene.goes_on().await;
        scene.put("serviceentries", &entry(&[other])).await;
        scene.answers(OTHER).await;
        scene.goes_on().await;
        // Another kind of cluster, and another port of the host.
        let mut named = entry(&[other]);
        named["spec"]["resolution"] = json!("DNS");
        let further = json!({ "number": 8000 + round, "name": "further", "protocol": "TCP" });
        named["spec"]["ports"].as_array_mut().expect("ports").push(further);
        scene.put("serviceentries", &named).await;
        scene.goes_on().await;
        scene.delete(&format!("{NETWORKING}/serviceentries/a")).await;
        scene.gateway.answers(HOST, "/", 503).await;
        scene.goes_on().await;
        scene.put("serviceentries", &entry(&[near])).await;
        scene.answers(NEAR).await;
        scene.goes_on().await;
    }
    scene.under_way.ends().await;
}

/// The host that a Service stands for.
const SERVICE: &str = "a.default.svc.cluster.local";

fn service(ports: &Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "a" }, "spec": { "ports": ports } })
}

/// An EndpointSlice with one endpoint in this state.
fn slice(name: &str, origin: SocketAddr, conditions: &Value) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": { "name": name, "labels": { "kubernetes.io/service-name": "a" } },
        "addressType": "IPv4",
        "ports": [{ "name": "http", "port": origin.port() }],
        "endpoints": [{ "addresses": [origin.ip()], "conditions": conditions }],
    })
}

#[tokio::test]
async fn of_services_and_their_endpoints() {
    let port = json!({ "name": "http", "port": 80 });
    let ready = json!({ "ready": true });
    let draining = json!({ "ready": false, "serving": true, "terminating": true });
    let mut scene = Scene::set(SERVICE, async |api, origin| {
        api.send("POST", SERVICES, &service(&json!([port])).to_string()).await;
        api.send("POST", SLICES, &slice("near", origin, &ready).to_string()).await;
    })
    .await;
    let (near, other) = (scene.origin, origin(&Gate::new(), OTHER).await);
    for round in 0..CHANGES / 5 {
        scene.write(SLICES, &slice("other", other, &ready)).await;
        scene.write(SLICES, &slice("near", near, &draining)).await;
        scene.answers(OTHER).await;
        scene.goes_on().await;
        scene.delete(&format!("{SLICES}/near")).await;
        let further = json!({ "name": "further", "port": 8000 + round });
        scene.write(SERVICES, &service(&json!([port, further]))).await;
        scene.goes_on().await;
        scene.delete(&format!("{SERVICES}/a")).await;
        scene.gateway.answers(HOST, "/", 503).await;
        scene.goes_on().await;
        scene.write(SERVICES, &service(&json!([port]))).await;
        scene.write(SLICES, &slice("near", near, &ready)).await;
        scene.delete(&format!("{SLICES}/other")).await;
        scene.answers(NEAR).await;
        scene.goes_on().await;
    }
    scene.under_way.ends().await;
}

#[tokio::test]
async fn of_gateways_and_their_certificates() {
    let mut scene = Scene::set(ENTRY, entry).await;
    let tcp = scene.tcp.address.port();
    let further = HeldPort::any();
    for round in 0..CHANGES / 5 {
        // Another host, another port, another server of the same port.
        let mut more = servers(tcp);
        more[0]["hosts"] = json!(["*", format!("b{round}.example")]);
        more[1]["hosts"] = json!([HOST, format!("b{round}.example")]);
        let mut other = more[0].clone();
        other["port"] =
            json!({ "number": further.address.port(), "name": "further", "protocol": "HTTP" });
        more.push(other);
        let tls = json!({ "mode": "SIMPLE", "credentialName": "certificate" });
        more.push(objects::https("second", "second.example", &tls));
        scene.put("gateways", &objects::gateway_of("web", &more)).await;
        scene.goes_on().await;
        // Other terms of TLS, and another certificate.
        more[1]["tls"]["minProtocolVersion"] = json!("TLSV1_3");
        scene.put("gateways", &objects::gateway_of("web", &more)).await;
        let leaf = scene.ca.issue(&[HOST]);
        scene.api.change_secret("certificate", &objects::pair(&leaf)).await;
        scene.goes_on().await;
        // Port by port, down to the last.
        for left in (1..more.len()).rev() {
            let left = more[more.len() - left..].to_vec();
            scene.put("gateways", &objects::gateway_of("web", &left)).await;
            scene.under_way.goes_on().await;
        }
        scene.delete(WEB).await;
        scene.under_way.goes_on().await;
        scene.put("gateways", &objects::gateway_of("web", &servers(tcp))).await;
        scene.gateway.answers(HOST, "/", NEAR).await;
    }
    scene.under_way.ends().await;
}

#[tokio::test]
async fn of_virtual_services() {
    let mut scene = Scene::set(ENTRY, entry).await;
    let tcp = scene.tcp.address.port();
    let neighbour = |round: usize| objects::route("b", "web", &format!("b{round}.example"), ENTRY);
    for round in 0..CHANGES / 5 {
        let mut changed = route(tcp, ENTRY);
        let http = &mut changed["spec"]["http"][0];
        http["timeout"] = json!("1ms");
        http["retries"] = json!({ "attempts": 1, "perTryTimeout": "1ms" });
        http["headers"] = json!({ "request": { "set": { "x-round": round.to_string() } } });
        scene.put("virtualservices", &changed).await;
        scene.put("virtualservices", &neighbour(round)).await;
        scene.goes_on().await;
        changed["spec"]["http"] = json!([{ "directResponse": { "status": 410 } }]);
        changed["spec"]["tcp"][0]["route"][0]["destination"]["host"] = json!("nowhere.internal");
        scene.put("virtualservices", &changed).await;
        scene.answers(410).await;
        scene.goes_on().await;
        scene.delete(&format!("{NETWORKING}/virtualservices/a")).await;
        scene.answers(404).await;
        scene.goes_on().await;
        scene.put("virtualservices", &route(tcp, ENTRY)).await;
        scene.answers(NEAR).await;
        scene.goes_on().await;
    }
    scene.under_way.ends().await;
}

#[tokio::test]
async fn of_policies_and_patches() {
    const POLICIES: &str =
        "/apis/security.istio.io/v1/namespaces/istio-system/authorizationpolicies";
    const FILTERS: &str = "/apis/networking.istio.io/v1alpha3/namespaces/istio-system/envoyfilters";
    let mut scene = Scene::set(ENTRY, entry).await;
    for round in 0..CHANGES / 2 {
        let paths = json!(["/", format!("/none{round}")]);
        let rule = json!({ "to": [{ "operation": { "paths": paths } }] });
        let policy = json!({
            "apiVersion": "security.istio.io/v1",
            "kind": "AuthorizationPolicy",
            "metadata": { "name": "it" },
            "spec": { "action": "DENY", "rules": [rule] },
        });
        scene.write(POLICIES, &policy).await;
        scene.answers(403).await;
        scene.goes_on().await;
        let manager = json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "server_name": format!("round{round}"),
        });
        let filter = json!({ "name": "envoy.filters.network.http_connection_manager" });
        let filter = json!({
            "apiVersion": "networking.istio.io/v1alpha3",
            "kind": "EnvoyFilter",
            "metadata": { "name": "it" },
            "spec": { "configPatches": [{
                "applyTo": "NETWORK_FILTER",
                "match": { "listener": { "filterChain": { "filter": filter } } },
                "patch": { "operation": "MERGE", "value": { "typed_config": manager } },
            }] },
        });
        scene.write(FILTERS, &filter).await;
        let path = format!("{FILTERS}/it");
        scene.api.wait_for(&path, &[("Programmed", "True")]).await;
        scene.goes_on().await;
        scene.delete(&format!("{POLICIES}/it")).await;
        scene.answers(NEAR).await;
    }
    scene.under_way.ends().await;
}
