//! What a request has to have for a configuration's policies to say something about it.

use fastrand::Rng;
use serde_json::{Value, json};

use super::destinations::{FAILS, FAILURES, KEY};
use super::policies::{GROUPS, ISSUERS, LIMITED, ORIGINS, SUBJECTS, signer};
use super::requests::{Request, list};

/// The policies of a configuration. A configuration without any gets requests as they are.
pub struct Policies<'a> {
    rng: Rng,
    /// Rules of AuthorizationPolicies.
    rules: Vec<&'a Value>,
    tokens: bool,
    cors: bool,
    limits: bool,
    /// Whether some destination hashes.
    hashes: bool,
    /// Whether endpoints may fail, and are not ejected for it.
    fails: bool,
}

impl<'a> Policies<'a> {
    pub fn among(manifests: &'a [Value], seed: u64) -> Self {
        let of = |kind: &'static str| manifests.iter().filter(move |m| m["kind"] == kind);
        // Only those of generated configurations: the written ones ask for other tokens.
        let limits = of("EnvoyFilter").any(|filter| filter["metadata"]["name"] == "limit");
        let tokens = of("RequestAuthentication").any(|m| m["metadata"]["name"] == "tokens");
        let rules = of("AuthorizationPolicy").flat_map(|policy| list(&policy["spec"]["rules"]));
        let rules = rules.collect();
        let http = of("VirtualService").flat_map(|service| list(&service["spec"]["http"]));
        let cors = http.filter(|rule| rule.get("corsPolicy").is_some()).count() > 0;
        let hashes = of("DestinationRule").any(|rule| rule.to_string().contains(KEY));
        let fails = of("Service").any(|service| service["metadata"]["name"] == "s0");
        // Requests of what has no policy stay what they were.
        Self { rng: Rng::with_seed(seed ^ 1), rules, tokens, cors, limits, hashes, fails }
    }

    /// Changes a request so that policies concern it.
    pub fn provoke(&mut self, request: &mut Request) {
        if self.chance(40)
            && let Some(rule) = self.rng.choice(&self.rules)
        {
            self.fulfil(request, rule);
        }
        if self.tokens && self.chance(70) {
            self.certify(request);
        }
        if self.cors && self.chance(40) {
            self.cross(request);
        }
        if self.limits && self.chance(30) {
            let value = self.one(&["yes", "yes", "no"]);
            request.headers.push((LIMITED.to_owned(), value.to_owned()));
        }
        if self.hashes {
            self.bring_key(request);
        }
        if self.fails && self.chance(20) {
            request.headers.push((FAILS.to_owned(), self.one(&FAILURES).to_owned()));
        }
        if self.chance(5) && !self.rules.is_empty() {
            let address = self.one(&["10.0.0.1", "203.0.113.9, 10.0.0.1"]);
            request.headers.push(("x-forwarded-for".to_owned(), address.to_owned()));
        }
    }

    fn chance(&mut self, percent: u8) -> bool {
        self.rng.u8(0..100) < percent
    }

    fn one<'b>(&mut self, of: &[&'b str]) -> &'b str {
        of[self.rng.usize(0..of.len())]
    }

    /// A key in each place: what has none is sent anywhere.
    fn bring_key(&mut self, request: &mut Request) {
        let key = self.one(&["a", "b", "c", "d"]);
        request.headers.push((KEY.to_owned(), key.to_owned()));
        request.query.push((KEY.to_owned(), key.to_owned()));
        let cookie = format!("{KEY}={key}");
        match request.headers.iter_mut().find(|(name, _)| name == "cookie") {
            Some((_, there)) => *there = format!("{there}; {cookie}"),
            None => request.headers.push(("cookie".to_owned(), cookie)),
        }
    }

    /// Does some of what a rule asks for.
    fn fulfil(&mut self, request: &mut Request, rule: &Value) {
        let operation = list(&rule["to"]).first().map(|to| &to["operation"]);
        let mut pick = |fields: [&str; 2]| {
            let values = fields.map(|field| operation.and_then(|operation| operation.get(field)));
            let values = values.into_iter().flatten().flat_map(list).collect::<Vec<_>>();
            self.rng.choice(&values).and_then(|value| value.as_str()).map(str::to_owned)
        };
        if let Some(path) = pick(["paths", "notPaths"]) {
            let path = path.replace("{**}", "of/five").replace("{*}", "v1").replace('*', "/some");
            request.path = if path.starts_with('/') { path } else { format!("/{path}") };
        }
        if let Some(method) = pick(["methods", "notMethods"]) {
            request.method = if method == "P*" { "PUT".to_owned() } else { method };
        }
        for condition in list(&rule["when"]) {
            let name = condition["key"].as_str().and_then(|key| {
                key.strip_prefix("request.headers[")?.strip_suffix(']').map(str::to_owned)
            });
            let value = ["values", "notValues"].iter().find_map(|f| condition[f][0].as_str());
            if let (Some(name), Some(value)) = (name, value) {
                request.headers.push((name, value.replace('*', "1")));
            }
        }
    }

    /// A token, for the most part one that is good.
    fn certify(&mut self, request: &mut Request) {
        let mut claims = json!({
            "iss": self.one(&ISSUERS),
            "sub": self.one(&SUBJECTS),
            "groups": [self.one(&GROUPS), self.one(&GROUPS)],
            "org": {"team": self.one(&["a", "b1", "c"])},
            "exp": 4_000_000_000_u64,
        });
        if self.chance(60) {
            claims["aud"] = match self.rng.u8(0..3) {
                0 => json!("app"),
                1 => json!(["other", "app"]),
                _ => json!("other"),
            };
        }
        match self.rng.u8(0..20) {
            0 => claims["iss"] = json!("https://nobody.example"),
            1 => claims["exp"] = json!(1),
            2 => claims["nbf"] = json!(4_000_000_000_u64),
            _ => {}
        }
        let mut token = signer().token(&json!({"alg": "HS256"}), &claims);
        match self.rng.u8(0..20) {
            0 => token.push('x'),
            1 => token = "no.token".to_owned(),
            _ => {}
        }
        let (name, prefix) =
            if self.chance(15) { ("x-token", "") } else { ("authorization", "Bearer ") };
        request.headers.push((name.to_owned(), format!("{prefix}{token}")));
    }

    /// A request from another origin's page, or what asks whether there may be one.
    fn cross(&mut self, request: &mut Request) {
        let mut add = |name: &str, value: &str| {
            request.headers.push((name.to_owned(), value.to_owned()));
        };
        add("origin", self.rng.choice(ORIGINS).unwrap_or(ORIGINS[0]));
        if self.rng.u8(0..100) < 50 {
            let methods = ["GET", "POST", "PATCH"];
            add("access-control-request-method", self.rng.choice(methods).unwrap_or("GET"));
            request.method = "OPTIONS".to_owned();
        }
    }
}
