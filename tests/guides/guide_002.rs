//! Guide 002, "How to configure Istio ingress gateway for external traffic": its manifests stand in `002/`, its commands
//! are typed here as it writes them. What it says of traffic policy, up to "Timeout and Retry Configuration", is in
//! `guide_002/policy.rs`, of limits in `guide_002/rate_limit.rs`, its "Complete Production Example" in `guide_002/production.rs`,
//! its "Monitoring and Troubleshooting" in `guide_002/monitoring.rs`.
//!
//! It takes three things for granted, which the tests add: addresses behind the Services that it names, since
//! nothing here runs its Deployments; ports 80 and 443 at `$INGRESS_IP`, to which curl is led by its own
//! configuration file, so that no command is changed for a gateway that binds other ports; and a VirtualService for the
//! host with mutual TLS.

#[path = "guide_002/monitoring.rs"]
mod monitoring;
#[path = "guide_002/policy.rs"]
mod policy;
#[path = "guide_002/production.rs"]
mod production;
#[path = "guide_002/rate_limit.rs"]
mod rate_limit;

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;

use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate_testing::client::{Client, Response};
use tidegate_testing::origin::{Body, Incoming, Origin, Request, full};
use tidegate_testing::tools::Tool;

use crate::support::{Gateway, Shell};

const MANIFESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/guides/002");

/// A gateway, a shell in a folder with the guide's manifests, and the Services that these name.
struct Guide {
    gateway: Gateway,
    shell: Shell,
    _folder: TempDir,
    _origins: Vec<Origin>,
}

impl Guide {
    /// Services by name and port, each with an origin that says who it is.
    async fn begin(tools: &[Tool], services: &[(&'static str, u16)]) -> Option<Self> {
        let gateway = Gateway::start(&[]).await;
        let folder = tempfile::tempdir().expect("a folder");
        for manifest in fs::read_dir(MANIFESTS).expect("the guide's manifests") {
            let manifest = manifest.expect("a manifest");
            fs::copy(manifest.path(), folder.path().join(manifest.file_name())).expect("a copy");
        }
        let shell = Shell::with(&gateway, tools)?.at(folder.path());
        shell.curl_connects(&[(80, gateway.http), (443, gateway.https)]);
        let mut origins = Vec::new();
        for &(name, port) in services {
            let origin = Origin::start().http(move |request| say(name, request)).await;
            let applied = apply(&shell, &service(name, port, &origin)).await;
            assert!(applied.contains("endpointslice"), "{applied}");
            origins.push(origin);
        }
        Some(Self { gateway, shell, _folder: folder, _origins: origins })
    }

    /// Applies one of the guide's manifests, and waits until all of it is served.
    async fn apply(&self, manifest: &str) -> String {
        let applied = self.shell.ok(&format!("kubectl apply -f {manifest}")).await;
        self.shell.ok(&format!("kubectl wait --for=condition=Programmed -f {manifest}")).await;
        applied
    }

    /// Where a request goes: `SERVICE PATH`, or the status that the gateway answers itself.
    async fn goes(&self, host: &str, path: &str, headers: &[&str]) -> String {
        let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n");
        let answer = Client::connect(self.gateway.http).await.request(request).await;
        where_to(&answer)
    }

    /// Looks where each request goes: host, path, headers, and the place.
    async fn all_go(&self, requests: &[(&str, &str, &[&str], &str)]) {
        for (host, path, headers, place) in requests {
            assert_eq!(self.goes(host, path, headers).await, *place, "{host}{path} {headers:?}");
        }
    }
}

fn where_to(answer: &Response) -> String {
    match answer.status {
        200 => {
            let told = answer.json();
            let text = |field: &str| told[field].as_str().expect("a text").to_owned();
            format!("{} {}", text("service"), text("path"))
        }
        status => status.to_string(),
    }
}

async fn say(
    service: &'static str,
    request: Request<Incoming>,
) -> tidegate_testing::origin::Response<Body> {
    let path = request.uri().path_and_query().map(ToString::to_string);
    let text = |value: &http::HeaderValue| value.to_str().map(str::to_owned).unwrap_or_default();
    let headers: BTreeMap<&str, String> =
        request.headers().iter().map(|(name, value)| (name.as_str(), text(value))).collect();
    let told = json!({ "service": service, "path": path, "headers": headers });
    tidegate_testing::origin::Response::new(full(told.to_string()))
}

/// A Service and where it is, unless it is the guide's own, which is there already.
fn service(name: &str, port: u16, origin: &Origin) -> String {
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": name },
        "spec": { "ports": [{ "name": "http", "port": port }] },
    });
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": { "name": name, "labels": { "kubernetes.io/service-name": name } },
        "addressType": "IPv4",
        "ports": [{ "name": "http", "port": origin.address().port() }],
        "endpoints": [{ "addresses": [origin.address().ip()] }],
    });
    format!("{service}\n{slice}")
}

/// A Pod with labels, and the endpoint of a Service that it is.
fn pod(service: &str, name: &str, labels: &Value, address: SocketAddr) -> String {
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "spec": {"containers": [{"name": "app", "image": "app"}]},
    });
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": format!("{service}-{name}"),
            "labels": {"kubernetes.io/service-name": service},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": address.port()}],
        "endpoints": [{
            "addresses": [address.ip()],
            "targetRef": {"kind": "Pod", "name": name},
        }],
    });
    format!("{pod}\n{slice}")
}

async fn apply(shell: &Shell, manifest: &str) -> String {
    shell.ok(&format!("kubectl apply -f - <<'EOF'\n{manifest}\nEOF")).await
}

#[tokio::test]
async fn a_service_is_exposed() {
    // httpbin's Service is the guide's own; the addresses behind it stand first.
    let tools = [Tool::Kubectl, Tool::Curl];
    let Some(guide) = Guide::begin(&tools, &[("httpbin", 80)]).await else { return };
    guide.shell.ok("kubectl delete service httpbin").await;
    let shell = &guide.shell;

    let applied = shell.ok("kubectl apply -f httpbin-deployment.yaml").await;
    assert_eq!(applied, "deployment.apps/httpbin created\nservice/httpbin created\n");
    // Nothing here runs Deployments: there are no Pods, and that is said.
    let pods = shell.run("kubectl get pods -l app=httpbin").await;
    assert_eq!(pods.stderr, "No resources found in default namespace.\n");
    let service = shell.ok("kubectl get svc httpbin").await;
    assert!(columns(&service, "httpbin").contains(&"80/TCP".to_owned()), "{service}");

    let applied = guide.apply("gateway-http.yaml").await;
    assert_eq!(applied, "gateway.networking.istio.io/httpbin-gateway created\n");
    let shown = shell.ok("kubectl get gateway httpbin-gateway").await;
    assert_eq!(columns(&shown, "httpbin-gateway").len(), columns(&shown, "NAME").len(), "{shown}");
    let shown = shell.ok("kubectl get svc istio-ingressgateway -n istio-system").await;
    let columns_shown = columns(&shown, "istio-ingressgateway");
    assert_eq!(columns_shown[1..4], ["LoadBalancer", "127.0.0.1", "127.0.0.1"], "{shown}");

    let applied = guide.apply("virtualservice-basic.yaml").await;
    assert_eq!(applied, "virtualservice.networking.istio.io/httpbin-vs created\n");
    let shown = shell.ok("kubectl get virtualservice httpbin-vs").await;
    assert!(shown.contains("[\"httpbin-gateway\"]"), "{shown}");
    assert!(shown.contains("[\"httpbin.example.com\"]"), "{shown}");
    let curl = shell
        .ok("export INGRESS_IP=$(kubectl get svc istio-ingressgateway -n istio-system -o jsonpath='{.status.loadBalancer.ingress[0].ip}')\n\
             curl -H \"Host: httpbin.example.com\" http://$INGRESS_IP/get")
        .await;
    let told: Value = serde_json::from_str(&curl).expect("JSON");
    assert_eq!((&told["service"], &told["path"]), (&json!("httpbin"), &json!("/get")));
    assert_eq!(told["headers"]["host"], "httpbin.example.com");

    guide
        .all_go(&[
            ("httpbin.example.com", "/", &[], "httpbin /"),
            ("HTTPBIN.example.com:80", "/a?b=c", &[], "httpbin /a?b=c"),
            // The Gateway's host, which no VirtualService routes, and hosts of nobody.
            ("api.example.com", "/", &[], "404"),
            ("example.com", "/", &[], "404"),
            ("a.httpbin.example.com", "/", &[], "404"),
            ("httpbin.example.com.org", "/", &[], "404"),
        ])
        .await;
}

/// The words of the line that begins with one.
fn columns(table: &str, first: &str) -> Vec<String> {
    let line = table.lines().find(|line| line.split_whitespace().next() == Some(first));
    line.unwrap_or_default().split_whitespace().map(str::to_owned).collect()
}

#[tokio::test]
async fn hosts_lead_to_services() {
    let services = [
        ("api-service", 8080),
        ("web-frontend", 80),
        ("admin-service", 8080),
        ("default-service", 80),
    ];
    let Some(guide) = Guide::begin(&[Tool::Kubectl], &services).await else { return };
    guide.apply("gateway-multi-host.yaml").await;
    let hosts: [(&str, &str, &[&str], &str); 6] = [
        ("api.example.com", "/a", &[], "api-service /a"),
        ("web.example.com", "/a", &[], "web-frontend /a"),
        ("admin.example.com", "/a", &[], "admin-service /a"),
        ("Api.Example.com:8080", "/a", &[], "api-service /a"),
        ("other.example.com", "/a", &[], "404"),
        ("api.example.org", "/a", &[], "404"),
    ];
    guide.all_go(&hosts).await;

    guide.apply("gateway-wildcard.yaml").await;
    guide.all_go(&hosts[..4]).await;
    guide
        .all_go(&[
            ("api.eu.example.com", "/a", &[], "api-service /a"),
            ("web.eu.example.com:80", "/a", &[], "web-frontend /a"),
            ("other.example.com", "/a", &[], "default-service /a"),
            ("rapi.example.com", "/a", &[], "default-service /a"),
            ("apix.example.com", "/a", &[], "default-service /a"),
            // Letter case counts in a header's value, also where it does not in the host.
            ("API.eu.example.com", "/a", &[], "default-service /a"),
            ("example.com", "/a", &[], "404"),
            ("api.example.org", "/a", &[], "404"),
        ])
        .await;

    // Alone, the wildcard takes what the exact hosts took.
    guide.shell.ok("kubectl delete -f gateway-multi-host.yaml").await;
    guide.shell.ok("kubectl wait --for=condition=Programmed -f gateway-wildcard.yaml").await;
    guide
        .all_go(&[
            ("api.example.com", "/a", &[], "api-service /a"),
            ("web.example.com", "/a", &[], "web-frontend /a"),
            ("admin.example.com", "/a", &[], "default-service /a"),
        ])
        .await;
}

/// A guide with VirtualServices for app.example.com, which no server of the Gateway that they name lists: they are told so,
/// and apply.
async fn app(services: &[(&'static str, u16)], manifest: &str) -> Option<Guide> {
    let guide = Guide::begin(&[Tool::Kubectl], services).await?;
    guide.apply("gateway-http.yaml").await;
    guide.apply(manifest).await;
    let told = guide.shell.ok("kubectl get virtualservices -o yaml").await;
    let told = told.split_whitespace().collect::<Vec<_>>().join(" ");
    let why = "Gateway default/httpbin-gateway lists httpbin.example.com, api.example.com, not app.example.com";
    assert!(told.contains(why), "{told}");
    Some(guide)
}

const HOST: &str = "app.example.com";

#[tokio::test]
async fn paths_lead_to_services() {
    let services = [
        ("api-service", 8080),
        ("cdn-service", 80),
        ("health-service", 8080),
        ("versioned-api", 8080),
        ("web-frontend", 80),
    ];
    let manifest = "virtualservice-path-routing.yaml";
    let Some(guide) = app(&services, manifest).await else { return };
    guide
        .all_go(&[
            // "/api, /api/, /api/v1, /api/users all match", "/api/users becomes /users".
            (HOST, "/api", &[], "api-service /"),
            (HOST, "/api/", &[], "api-service /"),
            (HOST, "/api/v1", &[], "api-service /v1"),
            (HOST, "/api/users", &[], "api-service /users"),
            (HOST, "/api/users?page=2", &[], "api-service /users?page=2"),
            (HOST, "/api?page=2", &[], "api-service /?page=2"),
            (HOST, "/API/users", &[], "web-frontend /API/users"),
            (HOST, "/my/api", &[], "web-frontend /my/api"),
            (HOST, "/ap", &[], "web-frontend /ap"),
            (HOST, "/static", &[], "cdn-service /static"),
            (HOST, "/static/a.css", &[], "cdn-service /static/a.css"),
            (HOST, "/stati", &[], "web-frontend /stati"),
            // "only /health matches, not /health/ or /health/check"
            (HOST, "/health", &[], "health-service /health"),
            (HOST, "/health?x", &[], "health-service /health?x"),
            (HOST, "/health/", &[], "web-frontend /health/"),
            (HOST, "/health/check", &[], "web-frontend /health/check"),
            (HOST, "/healthy", &[], "web-frontend /healthy"),
            // The whole path, not a part of it.
            (HOST, "/v1/", &[], "versioned-api /v1/"),
            (HOST, "/v10/users?a=b", &[], "versioned-api /v10/users?a=b"),
            (HOST, "/v1", &[], "web-frontend /v1"),
            (HOST, "/v/users", &[], "web-frontend /v/users"),
            (HOST, "/vx/users", &[], "web-frontend /vx/users"),
            (HOST, "/old/v1/users", &[], "web-frontend /old/v1/users"),
            (HOST, "/", &[], "web-frontend /"),
            ("other.example.com", "/api", &[], "404"),
        ])
        .await;
}

#[tokio::test]
async fn headers_and_query_parameters_lead_to_services() {
    let services = [
        ("mobile-api-service", 8080),
        ("api-v2-service", 8080),
        ("debug-api-service", 8080),
        ("premium-service", 8080),
        ("api-service", 8080),
        ("web-frontend", 80),
    ];
    let manifest = "virtualservice-advanced-routing.yaml";
    let Some(guide) = app(&services, manifest).await else { return };
    const MOBILE: &str = "User-Agent: Mozilla/5.0 (iPhone) Mobile/15E148";
    const V2: &str = "X-API-Version: v2";
    guide
        .all_go(&[
            (HOST, "/api/a", &[MOBILE], "mobile-api-service /api/a"),
            (HOST, "/api", &["user-agent: Mobile"], "mobile-api-service /api"),
            (HOST, "/api", &["user-agent: mobile"], "api-service /api"),
            (HOST, "/", &[MOBILE], "web-frontend /"),
            (HOST, "/api/a", &[V2], "api-v2-service /api/a"),
            (HOST, "/api", &["x-api-version: v2.1"], "api-service /api"),
            (HOST, "/api", &["x-api-version: V2"], "api-service /api"),
            (HOST, "/", &[V2], "web-frontend /"),
            (HOST, "/api?debug=true", &[], "debug-api-service /api?debug=true"),
            (HOST, "/api/a?x=y&debug=true", &[], "debug-api-service /api/a?x=y&debug=true"),
            (HOST, "/api?debug=false", &[], "api-service /api?debug=false"),
            (HOST, "/api?debug", &[], "api-service /api?debug"),
            (HOST, "/api?nodebug=true", &[], "api-service /api?nodebug=true"),
            (HOST, "/?debug=true", &[], "web-frontend /?debug=true"),
            (HOST, "/premium", &["Authorization: Bearer abc"], "premium-service /premium"),
            (HOST, "/premium/a", &["authorization: Bearer "], "web-frontend /premium/a"),
            (HOST, "/premium", &["Authorization: Basic abc"], "web-frontend /premium"),
            (HOST, "/premium", &[], "web-frontend /premium"),
            (HOST, "/api", &["Authorization: Bearer abc"], "api-service /api"),
            (HOST, "/api/a", &[], "api-service /api/a"),
            (HOST, "/", &[], "web-frontend /"),
            // In the order of the rules.
            (HOST, "/api?debug=true", &[V2, MOBILE], "mobile-api-service /api?debug=true"),
            (HOST, "/api?debug=true", &[V2], "api-v2-service /api?debug=true"),
        ])
        .await;
}

const CERTIFICATES: &str = r#"# Create a private key
openssl genrsa -out httpbin.example.com.key 2048

# Create a certificate signing request (CSR)
openssl req -new -key httpbin.example.com.key \
  -out httpbin.example.com.csr \
  -subj "/CN=httpbin.example.com/O=Example Organization"

# Self-sign the certificate (valid for 365 days)
openssl x509 -req -days 365 \
  -in httpbin.example.com.csr \
  -signkey httpbin.example.com.key \
  -out httpbin.example.com.crt

# Create a Kubernetes secret to store the TLS credentials
# The secret must be in the same namespace as the Istio Ingress Gateway (istio-system)
kubectl create -n istio-system secret tls httpbin-credential \
  --key=httpbin.example.com.key \
  --cert=httpbin.example.com.crt

# Verify the secret was created
kubectl get secret httpbin-credential -n istio-system"#;

const CLIENT_CA: &str = r#"# Create a CA for client certificates
openssl genrsa -out client-ca.key 2048
openssl req -x509 -new -nodes -key client-ca.key \
  -sha256 -days 365 -out client-ca.crt \
  -subj "/CN=Client CA/O=Example Organization"

# Create a client certificate signed by the CA
openssl genrsa -out client.key 2048
openssl req -new -key client.key -out client.csr \
  -subj "/CN=client/O=Example Organization"
openssl x509 -req -in client.csr -CA client-ca.crt -CAkey client-ca.key \
  -CAcreateserial -out client.crt -days 365 -sha256

# Create the CA secret for the gateway
kubectl create secret generic httpbin-client-ca \
  --from-file=ca.crt=client-ca.crt -n istio-system"#;

const INGRESS_IP: &str = "export INGRESS_IP=$(kubectl get svc istio-ingressgateway -n istio-system \
     -o jsonpath='{.status.loadBalancer.ingress[0].ip}')\n";
const HTTPS: &str = "curl -k -H \"Host: httpbin.example.com\" https://$INGRESS_IP/get";
const REDIRECT: &str = "curl -I -H \"Host: httpbin.example.com\" http://$INGRESS_IP/get";
const MUTUAL: &str = "curl -k --cert client.crt --key client.key \
  -H \"Host: secure.httpbin.example.com\" \
  https://$INGRESS_IP/get";

impl Guide {
    /// The guide up to where TLS is terminated: httpbin behind both of its Gateways.
    async fn secured() -> Option<Self> {
        let tools = [Tool::Kubectl, Tool::Curl, Tool::Openssl];
        let guide = Self::begin(&tools, &[("httpbin", 80)]).await?;
        guide.apply("gateway-http.yaml").await;
        guide.apply("virtualservice-basic.yaml").await;
        let secret = guide.shell.ok(CERTIFICATES).await;
        assert!(secret.contains("secret/httpbin-credential created"), "{secret}");
        let shown = columns(&secret, "httpbin-credential");
        assert_eq!(shown[1..3], ["kubernetes.io/tls", "2"], "{secret}");
        let applied = guide.apply("gateway-tls.yaml").await;
        assert_eq!(applied, "gateway.networking.istio.io/httpbin-gateway-secure created\n");
        // No VirtualService names it: it takes the one that is open in plain HTTP, and says so.
        let told = guide.shell.ok("kubectl get gateway httpbin-gateway-secure -o yaml").await;
        let told = told.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(told.contains("add default/httpbin-gateway-secure to their gateways"), "{told}");
        Some(guide)
    }

    /// Has a VirtualService of httpbin apply at the Gateway with mutual TLS, for whose host the guide has none.
    async fn bind(&self, name: &str, host: &str) {
        let manifest = json!({
            "apiVersion": "networking.istio.io/v1",
            "kind": "VirtualService",
            "metadata": { "name": name },
            "spec": {
                "hosts": [host],
                "gateways": ["httpbin-gateway-mtls"],
                "http": [{ "route": [{ "destination": { "host": "httpbin", "port": { "number": 80 } } }] }],
            },
        });
        apply(&self.shell, &manifest.to_string()).await;
        let wait = format!("kubectl wait --for=condition=Programmed virtualservice/{name}");
        self.shell.ok(&wait).await;
    }

    /// What a command of curl's ends with: the status, or `closed`.
    async fn status(&self, curl: &str) -> String {
        let quiet = curl.replacen("curl", "curl -s -o /dev/null -w '%{http_code}'", 1);
        let ended = self.shell.run(&format!("{INGRESS_IP}{quiet}")).await;
        if ended.status.success() { ended.stdout } else { "closed".to_owned() }
    }

    /// The status of a GET over TLS with a server name, and perhaps another host than it names.
    async fn named(&self, name: &str, host: &str, more: &str) -> String {
        let to = format!("--resolve {name}:443:127.0.0.1 -H 'Host: {host}' https://{name}/get");
        self.status(&format!("curl -k {more} {to}")).await
    }
}

#[tokio::test]
async fn tls_is_terminated_with_and_without_a_server_name() {
    let Some(guide) = Guide::secured().await else { return };
    let told = guide.shell.ok(&format!("{INGRESS_IP}{HTTPS}")).await;
    let told: Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!((&told["service"], &told["path"]), (&json!("httpbin"), &json!("/get")));
    assert_eq!(told["headers"]["x-forwarded-proto"], "https");

    let redirected = guide.shell.ok(&format!("{INGRESS_IP}{REDIRECT}")).await;
    assert!(redirected.starts_with("HTTP/1.1 301 Moved Permanently\r\n"), "{redirected}");
    assert!(redirected.contains("location: https://httpbin.example.com/get\r\n"), "{redirected}");
    // Other hosts of port 80 are not redirected.
    assert_eq!(guide.goes("api.example.com", "/get", &[]).await, "404");

    let host = "httpbin.example.com";
    assert_eq!(guide.named(host, host, "").await, "200");
    assert_eq!(guide.named(host, host, "--http1.1").await, "200");
    assert_eq!(guide.named("other.example.com", host, "").await, "closed");
    assert_eq!(guide.named(host, "other.example.com", "").await, "404");
    let other = HTTPS.replace("httpbin.example.com", "other.example.com");
    assert_eq!(guide.status(&other).await, "404");

    let session =
        "openssl s_client -connect $INGRESS_HOST:$SECURE_INGRESS_PORT -noservername </dev/null";
    let session = guide.shell.ok(session).await;
    assert!(
        session.contains("subject=CN = httpbin.example.com, O = Example Organization"),
        "{session}"
    );
}

#[tokio::test]
async fn clients_show_certificates_where_mutual_tls_asks_for_them() {
    let Some(guide) = Guide::secured().await else { return };
    guide.shell.ok("kubectl apply -f gateway-mtls.yaml").await;
    let made = guide.shell.ok(CLIENT_CA).await;
    assert!(made.contains("secret/httpbin-client-ca created"), "{made}");
    guide.shell.ok("kubectl wait --for=condition=Programmed -f gateway-mtls.yaml").await;
    // The Gateway never names the secret: it is the only one, and what to write today is said.
    let told = guide.shell.ok("kubectl describe gateway httpbin-gateway-mtls").await;
    assert!(told.contains("caCertCredentialName: httpbin-client-ca"), "{told}");

    let secure = "secure.httpbin.example.com";
    guide.bind("secure-vs", secure).await;
    let told = guide.shell.ok(&format!("{INGRESS_IP}{MUTUAL}")).await;
    let told: Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!((&told["service"], &told["headers"]["host"]), (&json!("httpbin"), &json!(secure)));

    let shown =
        told["headers"]["x-forwarded-client-cert"].as_str().expect("the client's certificate");
    assert!(shown.contains("Subject=\"O=Example Organization,CN=client\""), "{shown}");

    let certified = "--cert client.crt --key client.key";
    let uncertified = MUTUAL.replace(certified, "");
    assert_eq!(guide.status(&uncertified).await, "403");
    assert_eq!(guide.status(HTTPS).await, "200", "nobody else has to show one");
    let stranger = MUTUAL.replace("client.", "httpbin.example.com.");
    assert_eq!(guide.status(&stranger).await, "closed");

    assert_eq!(guide.named(secure, secure, certified).await, "200");
    assert_eq!(guide.named(secure, secure, "").await, "closed");
    // On the other server's terms it is not answered, nor the other way round.
    assert_eq!(guide.named("httpbin.example.com", secure, certified).await, "421");
    assert_eq!(guide.named(secure, "httpbin.example.com", certified).await, "421");
    assert_eq!(guide.status(REDIRECT).await, "301");
}

#[tokio::test]
async fn its_manifests_stand_beside_each_other() {
    let services = [
        ("api-service", 8080),
        ("web-frontend", 80),
        ("default-service", 80),
        ("cdn-service", 80),
        ("health-service", 8080),
        ("premium-service", 8080),
    ];
    let path_routing = "virtualservice-path-routing.yaml";
    let Some(guide) = app(&services, path_routing).await else { return };
    for manifest in [
        "virtualservice-basic.yaml",
        "gateway-multi-host.yaml",
        "gateway-wildcard.yaml",
        "virtualservice-advanced-routing.yaml",
    ] {
        guide.shell.ok(&format!("kubectl apply -f {manifest}")).await;
        guide.shell.ok(&format!("kubectl wait --for=condition=Programmed -f {manifest}")).await;
    }
    guide
        .all_go(&[
            // Rules of both VirtualServices of the host, the one for every request last.
            (HOST, "/static/a", &[], "cdn-service /static/a"),
            (HOST, "/health", &[], "health-service /health"),
            (HOST, "/premium", &["authorization: Bearer x"], "premium-service /premium"),
            (HOST, "/premium", &[], "web-frontend /premium"),
            // An exact host goes before the wildcard, of which the rest is.
            ("api.example.com", "/a", &[], "api-service /a"),
            ("web.example.com", "/a", &[], "web-frontend /a"),
            ("any.example.com", "/a", &[], "default-service /a"),
        ])
        .await;
}
