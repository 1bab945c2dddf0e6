//! Keys of tokens that the gateway fetches: from a service of the mesh, plain and in TLS; others; and none.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tidegate_testing::ca::Ca;
use tidegate_testing::client::{self, Client};
use tidegate_testing::jwt::Signer;
use tidegate_testing::origin::{Body, Origin, echo, full};
use tidegate_testing::{PATIENCE, eventually};

use crate::support::{Api, Gateway, NETWORKING, objects};

const TOKENS: &str = "/apis/security.istio.io/v1/namespaces/istio-system/requestauthentications";
const HOST: &str = "app.example";

/// An issuer with a key at each of two paths, and how often the first was asked for.
struct Issuer {
    keys: [Signer; 2],
    asked: AtomicUsize,
    /// Whether the second key is at a third path.
    moved: AtomicBool,
}

impl Issuer {
    fn new() -> Arc<Self> {
        let keys = [(); 2].map(|()| Signer::new("ES256"));
        Arc::new(Self { keys, asked: AtomicUsize::new(0), moved: AtomicBool::new(false) })
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Body> {
        let key = match request.uri().path() {
            "/.well-known/openid-configuration" => {
                let host = request.headers()["host"].to_str().expect("text");
                let told = json!({"jwks_uri": format!("http://{host}/first")});
                return Response::new(full(told.to_string()));
            }
            "/first" => {
                self.asked.fetch_add(1, Ordering::Relaxed);
                &self.keys[0]
            }
            "/second" => &self.keys[1],
            "/gone" if self.moved.load(Ordering::Relaxed) => &self.keys[1],
            _ => {
                let mut answer = Response::new(full("no"));
                *answer.status_mut() = StatusCode::NOT_FOUND;
                return answer;
            }
        };
        Response::new(full(key.set()))
    }

    fn token(&self, key: usize) -> String {
        self.token_of("issuer", key)
    }

    fn token_of(&self, issuer: &str, key: usize) -> String {
        let claims = json!({"iss": issuer, "exp": 4_000_000_000_u64});
        self.keys[key].token(&json!({"alg": "ES256"}), &claims)
    }
}

/// An origin of an issuer, in TLS if it has a certificate.
async fn origin(issuer: &Arc<Issuer>, ca: Option<&Ca>) -> Origin {
    let issuer = Arc::clone(issuer);
    let answer = move |request| {
        let issuer = Arc::clone(&issuer);
        async move { issuer.answer(&request) }
    };
    let origin = match ca {
        Some(ca) => Origin::start().tls(&ca.issue(&["secure.internal"])),
        None => Origin::start(),
    };
    origin.http(answer).await
}

fn rules(uri: &str) -> Value {
    json!({"jwtRules": [{"issuer": "issuer", "jwksUri": uri}]})
}

fn policy(uri: &str) -> Value {
    json!({
        "apiVersion": "security.istio.io/v1",
        "kind": "RequestAuthentication",
        "metadata": {"name": "users", "namespace": "istio-system"},
        "spec": rules(uri),
    })
}

/// What a request with a token is answered.
async fn ask(gateway: &Gateway, token: &str) -> (u16, String) {
    let mut client = Client::connect(gateway.http).await;
    let head = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {token}\r\n\r\n");
    let answer = client.request(head).await;
    (answer.status, answer.text())
}

/// Waits until a token is answered with a status, and gives the answer's words.
async fn answered(gateway: &Gateway, token: &str, status: u16) -> String {
    eventually(PATIENCE, || async {
        let (found, words) = ask(gateway, token).await;
        if found == status { Ok(words) } else { Err(format!("{found}: {words}")) }
    })
    .await
}

/// A count of the filter, under whatever prefix.
async fn counted(gateway: &Gateway, name: &str) -> u64 {
    let text = client::get(gateway.admin, "localhost", "/stats").await.text();
    let name = format!(".jwt_authn.{name}: ");
    let value = text.lines().find_map(|line| line.split_once(&name).map(|(_, value)| value));
    value.and_then(|value| value.trim().parse().ok()).expect("a count")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_fetched_where_the_policy_says() {
    let ca = Ca::new("authority");
    let issuer = Issuer::new();
    let (plain, secure) = (origin(&issuer, None).await, origin(&issuer, Some(&ca)).await);
    let app = Origin::start().http(echo).await;
    let gateway = Gateway::start(&[]).await;
    let mut api = Api::of(&gateway).await;
    for (name, host, origin) in [
        ("app", "app.internal", &app),
        ("plain", "plain.internal", &plain),
        ("secure", "secure.internal", &secure),
    ] {
        api.create("serviceentries", &objects::host(name, host, origin.address())).await;
    }
    api.create("gateways", &objects::gateway("g", 80, &[HOST])).await;
    api.create("virtualservices", &objects::route("app", "g", HOST, "app.internal")).await;
    gateway.answers(HOST, "/", 200).await;

    api.send("POST", TOKENS, &policy("http://plain.internal/first").to_string()).await;
    assert!(answered(&gateway, "junk", 401).await.starts_with("Jwt is not in the form"));
    answered(&gateway, &issuer.token(0), 200).await;
    assert_eq!(ask(&gateway, &issuer.token(1)).await.0, 401);
    gateway.answers(HOST, "/", 200).await;

    // A change of something else fetches nothing.
    let rule = json!({"headers": {"response": {"set": {"x-changed": "yes"}}},
        "route": [{"destination": {"host": "app.internal", "port": {"number": 80}}}]});
    api.change(&format!("{NETWORKING}/virtualservices/app"), &json!({"http": [rule]})).await;
    let is_changed = async || gateway.get(HOST, "/").await.header("x-changed").is_some();
    eventually(PATIENCE, is_changed).await;
    assert_eq!(ask(&gateway, &issuer.token(0)).await.0, 200);
    assert_eq!(issuer.asked.load(Ordering::Relaxed), 1, "once for the process");
    assert_eq!(counted(&gateway, "jwks_fetch_success").await, 1);

    // Other keys, in TLS as a DestinationRule says.
    let users = format!("{TOKENS}/users");
    api.create_secret(&objects::authorities("authority", &ca)).await;
    let tls = json!({"mode": "SIMPLE", "credentialName": "authority", "sni": "secure.internal"});
    api.create("destinationrules", &objects::towards("secure", "secure.internal", &tls)).await;
    api.change(&users, &rules("https://secure.internal:80/second")).await;
    answered(&gateway, &issuer.token(1), 200).await;
    assert_eq!(ask(&gateway, &issuer.token(0)).await.0, 401);

    // None.
    api.change(&users, &rules("http://plain.internal/gone")).await;
    let words = answered(&gateway, &issuer.token(1), 401).await;
    assert_eq!(words, "Jwks remote fetch is failed");
    eventually(PATIENCE, || async { counted(&gateway, "jwks_fetch_failed").await > 0 }).await;
    gateway.process.stderr().containing("http://plain.internal/gone cannot be fetched").await;
    gateway.answers(HOST, "/", 200).await;

    // Who wrote the policy is told so, by an event too, until keys are there.
    let why = "keys of http://plain.internal/gone cannot be fetched: ";
    let told = api.wait_for(&users, &[("ResolvedRefs", "False"), ("Programmed", "True")]).await;
    let told = told["status"]["conditions"].to_string();
    assert!(told.contains("KeysNotFetched") && told.contains(why), "{told}");
    assert!(told.contains("tokens that need them are refused"), "{told}");
    api.tells("/api/v1/namespaces/istio-system/events", &["KeysNotFetched", why]).await;
    issuer.moved.store(true, Ordering::Relaxed);
    api.wait_for(&users, &[("ResolvedRefs", "True"), ("Programmed", "True")]).await;
    answered(&gateway, &issuer.token(1), 200).await;
}

/// Where a policy does not say where the keys are, the issuer is asked (OpenID discovery).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_issuer_is_asked_where_its_keys_are() {
    let issuer = Issuer::new();
    let origin = origin(&issuer, None).await;
    let app = Origin::start().http(echo).await;
    let gateway = Gateway::start(&[]).await;
    let mut api = Api::of(&gateway).await;
    api.create("serviceentries", &objects::host("app", "app.internal", app.address())).await;
    api.create("gateways", &objects::gateway("g", 80, &[HOST])).await;
    api.create("virtualservices", &objects::route("app", "g", HOST, "app.internal")).await;
    gateway.answers(HOST, "/", 200).await;

    let address = format!("http://{}", origin.address());
    let silent = format!("{address}/none");
    let mut users = policy("");
    users["spec"] = json!({"jwtRules": [{"issuer": address}, {"issuer": silent}]});
    api.send("POST", TOKENS, &users.to_string()).await;
    // Before the policy is in force, any token passes.
    answered(&gateway, "junk", 401).await;
    answered(&gateway, &issuer.token_of(&address, 0), 200).await;
    assert_eq!(ask(&gateway, &issuer.token_of(&address, 1)).await.0, 401, "of another key");
    assert_eq!(ask(&gateway, &issuer.token_of(&silent, 0)).await.0, 401, "its keys are not known");
    let why = format!(
        "jwtRules[1].issuer: where its keys are is not known: {silent}/.well-known/openid-configuration: the answer is 404"
    );
    api.tells(&format!("{TOKENS}/users"), &["NotServed", &why]).await;
    gateway.answers(HOST, "/", 200).await;
}
