//! Policies by chance for a generated configuration, the same for the same seed: who may ask for what, tokens, faults, CORS,
//! mirrors and local rate limits. Nothing in them is left to chance when a request comes: faults and mirrors concern all
//! requests or none, and a bucket has no token or more than are asked for.

use fastrand::Rng;
use serde_json::{Map, Value, json};
use tidegate_testing::jwt::Signer;

use super::generate::{HEADERS, HOSTS, PATHS, VALUES};

/// Whom tokens are from. The secret of a key of MACs is always the same, so that requests can be signed as well.
pub const ISSUERS: [&str; 2] = ["https://users.example", "https://machines.example"];
/// Who calls in generated tokens, and their groups.
pub const SUBJECTS: [&str; 3] = ["ann", "bob", "root"];
pub const GROUPS: [&str; 3] = ["dev", "ops", "dev-beta"];
/// Where pages are that ask across origins.
pub const ORIGINS: [&str; 4] =
    ["https://page.example", "http://page.example", "https://x.page.example", "https://page.test"];
/// A header by which local rate limits tell requests apart.
pub const LIMITED: &str = "x-limited";

/// The signer of an issuer's tokens.
pub fn signer() -> Signer {
    Signer::new("HS256")
}

/// Adds policies to what some of the configurations have.
pub fn add(manifests: &mut Vec<Value>, seed: u64) {
    let mut maker = Maker { rng: Rng::with_seed(seed ^ 0x706f_6c69_6379) };
    for manifest in manifests.iter_mut().filter(|m| m["kind"] == "VirtualService") {
        for rule in manifest["spec"]["http"].as_array_mut().into_iter().flatten() {
            maker.traffic(rule);
        }
    }
    let tokens = maker.chance(30);
    if tokens {
        manifests.push(maker.authentication());
    }
    if maker.chance(40) {
        for n in 0..maker.rng.usize(1..4) {
            manifests.push(maker.authorization(&format!("p{n}"), tokens));
        }
    }
    if maker.chance(20) {
        manifests.push(maker.limit());
    }
}

/// An object of the gateway's own namespace.
fn manifest(api: &str, kind: &str, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": api,
        "kind": kind,
        "metadata": {"name": name, "namespace": "istio-system"},
        "spec": spec,
    })
}

struct Maker {
    rng: Rng,
}

impl Maker {
    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.rng.usize(0..of.len())]
    }

    fn chance(&mut self, percent: u8) -> bool {
        self.rng.u8(0..100) < percent
    }

    /// One or two of these.
    fn few(&mut self, of: &[&str]) -> Value {
        let count = self.rng.usize(1..=2.min(of.len()));
        self.rng.choose_multiple(of.iter(), count).into_iter().copied().collect()
    }

    /// All requests or none.
    fn percentage(&mut self) -> Value {
        json!({"value": self.one(&[0, 100, 100])})
    }

    /// Faults, CORS and mirrors of a rule.
    fn traffic(&mut self, rule: &mut Value) {
        if rule.get("delegate").is_some() {
            return;
        }
        if self.chance(15) {
            rule["corsPolicy"] = self.cors();
        }
        if rule.get("route").is_none() {
            return;
        }
        if self.chance(12) {
            rule["fault"] = self.fault();
        }
        if self.chance(12) {
            let to = |name: &str| json!({"host": name, "port": {"number": 80}});
            let destination = to(self.one(&["s0", "s1", "none", "missing"]));
            rule["mirrors"] =
                json!([{"destination": destination, "percentage": self.percentage()}]);
        }
    }

    fn fault(&mut self) -> Value {
        let mut fault = Map::new();
        if self.chance(70) {
            let abort = if self.chance(70) {
                json!({"httpStatus": self.one(&[400, 418, 429, 503])})
            } else {
                json!({"grpcStatus": self.one(&["UNAVAILABLE", "RESOURCE_EXHAUSTED"])})
            };
            fault.insert("abort".into(), abort);
        }
        if fault.is_empty() || self.chance(30) {
            fault.insert("delay".into(), json!({"fixedDelay": "0.005s"}));
        }
        for kind in fault.values_mut() {
            kind["percentage"] = self.percentage();
        }
        fault.into()
    }

    fn cors(&mut self) -> Value {
        let origin = match self.rng.u8(0..4) {
            0 => json!({"exact": "*"}),
            1 => json!({"prefix": "https://"}),
            2 => json!({"regex": "https?://page\\.example"}),
            _ => json!({"exact": ORIGINS[0]}),
        };
        let mut cors = json!({"allowOrigins": [origin]});
        if self.chance(60) {
            cors["allowMethods"] = self.few(&["GET", "POST", "DELETE"]);
        }
        if self.chance(40) {
            cors["allowHeaders"] = self.few(&["x-version", "authorization"]);
        }
        if self.chance(40) {
            cors["exposeHeaders"] = self.few(&["x-origin", "x-a"]);
        }
        if self.chance(40) {
            cors["maxAge"] = self.one(&["1s", "24h", "90s"]).into();
        }
        if self.chance(40) {
            cors["allowCredentials"] = self.chance(50).into();
        }
        if self.chance(30) {
            cors["unmatchedPreflights"] = self.one(&["FORWARD", "IGNORE"]).into();
        }
        cors
    }

    fn authentication(&mut self) -> Value {
        let mut rules = Vec::new();
        for issuer in &ISSUERS[..self.rng.usize(1..=ISSUERS.len())] {
            let mut rule = json!({"issuer": issuer, "jwks": signer().set()});
            if self.chance(30) {
                rule["audiences"] = json!(["app"]);
            }
            if self.chance(30) {
                rule["fromHeaders"] = json!([{"name": "x-token"},
                    {"name": "Authorization", "prefix": "Bearer "}]);
            }
            if self.chance(50) {
                rule["forwardOriginalToken"] = self.chance(70).into();
            }
            if self.chance(40) {
                rule["outputClaimToHeaders"] = json!([{"header": "x-sub", "claim": "sub"}]);
            }
            if self.chance(20) {
                rule["outputPayloadToHeader"] = "x-payload".into();
            }
            rules.push(rule);
        }
        manifest(
            "security.istio.io/v1",
            "RequestAuthentication",
            "tokens",
            &json!({"jwtRules": rules}),
        )
    }

    fn authorization(&mut self, name: &str, tokens: bool) -> Value {
        let action = self.one(&["ALLOW", "DENY", "DENY", "AUDIT"]);
        let mut rules = Vec::new();
        for _ in 0..self.rng.usize(1..4) {
            rules.push(self.permission(tokens));
        }
        if action == "ALLOW" && self.chance(60) {
            // Otherwise there would be little that is allowed.
            rules.push(json!({"to": [{"operation": {"methods": ["GET", "HEAD", "PUT"]}}]}));
        }
        let mut policy = manifest(
            "security.istio.io/v1",
            "AuthorizationPolicy",
            name,
            &json!({"action": action, "rules": rules}),
        );
        if self.chance(20) {
            policy["spec"]["selector"] = json!({"matchLabels": {"istio": "ingressgateway"}});
        }
        if self.chance(10) && action != "AUDIT" {
            policy["metadata"]["annotations"] = json!({"istio.io/dry-run": "true"});
        }
        policy
    }

    fn permission(&mut self, tokens: bool) -> Value {
        let mut rule = Map::new();
        if self.chance(70) {
            let operations: Vec<Value> =
                (0..self.rng.usize(1..3)).map(|_| self.operation()).collect();
            rule.insert("to".into(), operations.into());
        }
        if self.chance(40) {
            let sources: Vec<Value> =
                (0..self.rng.usize(1..3)).map(|_| self.source(tokens)).collect();
            rule.insert("from".into(), sources.into());
        }
        if rule.is_empty() || self.chance(40) {
            let conditions: Vec<Value> =
                (0..self.rng.usize(1..3)).map(|_| self.condition(tokens)).collect();
            rule.insert("when".into(), conditions.into());
        }
        rule.into()
    }

    /// A field or its opposite, of which one at least.
    fn fields(&mut self, name: &str, of: Vec<(&'static str, Value)>) -> Value {
        let chosen = self.rng.usize(0..of.len());
        let mut fields = Map::new();
        for (n, (field, value)) in of.into_iter().enumerate() {
            if n == chosen || self.chance(15) {
                let not = format!("not{}{}", field[..1].to_uppercase(), &field[1..]);
                let field = if self.chance(25) { not } else { field.to_owned() };
                fields.insert(field, value);
            }
        }
        json!({name: fields})
    }

    fn operation(&mut self) -> Value {
        let path = self.one(&PATHS);
        let paths = match self.rng.u8(0..8) {
            0 => json!([format!("{path}*")]),
            1 => json!(["*users"]),
            2 => json!(["*"]),
            3 => json!(["/{*}/users"]),
            4 => json!(["/long/{**}/parts"]),
            _ => self.few(&PATHS),
        };
        let host = self.one(&HOSTS);
        let hosts = match self.rng.u8(0..3) {
            0 => json!([host]),
            1 => json!(["x.*", host]),
            _ => json!([host.to_uppercase(), "a.example:*"]),
        };
        let methods = match self.rng.u8(0..3) {
            0 => json!(["P*"]),
            _ => self.few(&["GET", "POST", "PUT", "DELETE"]),
        };
        let ports = json!([self.one(&["80", "8080", "443", "1"])]);
        let of = vec![("paths", paths), ("hosts", hosts), ("methods", methods), ("ports", ports)];
        self.fields("operation", of)
    }

    fn source(&mut self, tokens: bool) -> Value {
        const BLOCKS: [&str; 4] = ["127.0.0.0/8", "127.0.0.1", "10.0.0.0/8", "::1/128"];
        let (blocks, remote) = (self.few(&BLOCKS), self.few(&BLOCKS[..3]));
        let principals = json!([self.one(&["*", "cluster.local/ns/default/sa/*"])]);
        let mut of =
            vec![("ipBlocks", blocks), ("remoteIpBlocks", remote), ("principals", principals)];
        if tokens {
            let ann = format!("{}/ann", ISSUERS[0]);
            let ours = format!("{}/*", ISSUERS[0]);
            let callers = json!([self.one(&["*", "*/bob", &ann, &ours])]);
            of.push(("requestPrincipals", callers));
        }
        self.fields("source", of)
    }

    fn condition(&mut self, tokens: bool) -> Value {
        let claims = if tokens { 4 } else { 0 };
        let (key, values) = match self.rng.u8(0..6 + claims) {
            0 | 1 => {
                let name = self.one(&HEADERS);
                (format!("request.headers[{name}]"), self.few(&VALUES))
            }
            2 => ("request.headers[x-version]".to_owned(), json!(["v*"])),
            3 => ("source.ip".to_owned(), json!([self.one(&["127.0.0.1", "10.0.0.0/8"])])),
            4 => ("remote.ip".to_owned(), json!([self.one(&["127.0.0.0/8", "10.0.0.1"])])),
            5 => ("connection.sni".to_owned(), json!([self.one(&["a.example", "*.example", "*"])])),
            6 => ("request.auth.claims[sub]".to_owned(), self.few(&SUBJECTS)),
            7 => ("request.auth.claims[groups]".to_owned(), self.few(&GROUPS)),
            8 => {
                ("request.auth.claims[org][team]".to_owned(), json!([self.one(&["a", "b*", "*"])]))
            }
            _ => ("request.auth.audiences".to_owned(), json!(["app"])),
        };
        let field = if self.chance(25) { "notValues" } else { "values" };
        json!({"key": key, field: values})
    }

    /// A limit for all requests of the gateway, of which those that say so have no token.
    fn limit(&mut self) -> Value {
        const LIMIT: &str =
            "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit";
        let bucket = |tokens: u32| json!({"max_tokens": tokens, "tokens_per_fill": 1, "fill_interval": "36000s"});
        let share = |percent: u32| json!({"default_value": {"numerator": percent}});
        let action = json!({"request_headers": {"header_name": LIMITED, "descriptor_key": "k"}});
        let mut limit = json!({
            "@type": LIMIT,
            "stat_prefix": "limit",
            "token_bucket": bucket(1_000_000),
            "filter_enabled": share(self.one(&[0, 100, 100, 100])),
            "filter_enforced": share(self.one(&[0, 100, 100, 100])),
            "rate_limits": [{"actions": [action]}],
            "descriptors": [
                {"entries": [{"key": "k", "value": "yes"}], "token_bucket": bucket(0)}
            ],
        });
        let header = |name: &str, value: &str| {
            json!([{"header": {"key": name, "value": value},
                "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}])
        };
        if self.chance(40) {
            limit["response_headers_to_add"] = header("x-limit", "%PROTOCOL%");
        }
        if self.chance(40) {
            limit["request_headers_to_add_when_not_enforced"] = header("x-over", "1");
        }
        if self.chance(30) {
            limit["status"] = json!({"code": self.one(&["ServiceUnavailable", "Forbidden"])});
        }
        if self.chance(30) {
            limit["rate_limited_as_resource_exhausted"] = true.into();
        }
        let filter = json!({"name": "envoy.filters.network.http_connection_manager",
            "subFilter": {"name": "envoy.filters.http.router"}});
        let patch = json!({
            "applyTo": "HTTP_FILTER",
            "match": {"context": "GATEWAY", "listener": {"filterChain": {"filter": filter}}},
            "patch": {
                "operation": self.one(&["INSERT_BEFORE", "INSERT_FIRST"]),
                "value": {"name": "envoy.filters.http.local_ratelimit", "typed_config": limit},
            },
        });
        manifest(
            "networking.istio.io/v1alpha3",
            "EnvoyFilter",
            "limit",
            &json!({"configPatches": [patch]}),
        )
    }
}
