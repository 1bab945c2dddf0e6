//! DestinationRules by chance for a generated configuration, the same for the same seed, and retries of its rules. Nothing in
//! them is left to chance: limits are never reached, endpoints not ejected, and requests bring the key by which they are hashed.

use fastrand::Rng;
use serde_json::{Map, Value, json};

/// What requests bring of a key: a header, a query parameter, a cookie.
pub const KEY: &str = "x-key";
/// A header that asks origins to fail: the status, and how many attempts do.
pub const FAILS: &str = "x-fails";
pub const FAILURES: [&str; 6] = ["503 1", "503 2", "500 1", "502 1", "409 1", "404 1"];
/// Hosts that have a DestinationRule in some configurations.
const HOSTS: [&str; 6] = ["s0", "s1", "s2", "s3", "s4", "entry.internal"];
const SUBSETS: [&str; 2] = ["v1", "v2"];

/// Adds DestinationRules, or what they say to those that are there, and retries.
pub fn add(manifests: &mut Vec<Value>, seed: u64) {
    let mut maker = Maker { rng: Rng::with_seed(seed ^ 0x6465_7374) };
    let mut with_subsets = Vec::new();
    for host in HOSTS {
        if !maker.chance(40) {
            continue;
        }
        let spec = maker.rule();
        if !spec["subsets"].is_null() {
            with_subsets.push(host);
        }
        put(manifests, host, spec);
    }
    for service in manifests.iter_mut().filter(|m| m["kind"] == "VirtualService") {
        let Value::Object(spec) = &mut service["spec"] else { continue };
        for rules in ["http", "tls", "tcp"] {
            let rules = spec.get_mut(rules).and_then(Value::as_array_mut);
            for rule in rules.into_iter().flatten() {
                maker.route(rule, &with_subsets);
            }
        }
        let rules = spec.get_mut("http").and_then(Value::as_array_mut).into_iter().flatten();
        for rule in rules.filter(|rule| rule.get("route").is_some()) {
            if maker.chance(30) {
                rule["retries"] = maker.retries();
            }
        }
    }
}

/// Gives the DestinationRule of a host what it does not say yet.
fn put(manifests: &mut Vec<Value>, host: &str, spec: Value) {
    let of_host = |m: &&mut Value| m["kind"] == "DestinationRule" && m["spec"]["host"] == host;
    if let Some(there) = manifests.iter_mut().find(of_host) {
        let tls = there["spec"]["trafficPolicy"]["tls"].take();
        there["spec"] = spec;
        there["spec"]["trafficPolicy"]["tls"] = tls;
        there["spec"]["host"] = host.into();
        return;
    }
    let mut rule = json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": {"name": host.replace('.', "-"), "namespace": "default"},
        "spec": spec,
    });
    rule["spec"]["host"] = host.into();
    manifests.push(rule);
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

    fn rule(&mut self) -> Value {
        let mut rule = json!({"trafficPolicy": self.policy()});
        if self.chance(40) {
            let mut port = self.policy();
            port["port"] = json!({"number": self.one(&[80, 9000])});
            rule["trafficPolicy"]["portLevelSettings"] = json!([port]);
        }
        if self.chance(20) {
            let interval = self.one(&["0s", "10s"]);
            rule["trafficPolicy"]["retryBudget"] =
                json!({"percent": 50, "minRetryConcurrency": 1000, "budgetInterval": interval});
        }
        if self.chance(50) {
            let mut subsets = Vec::new();
            for name in SUBSETS {
                let mut subset = json!({"name": name, "labels": {"version": name}});
                if self.chance(50) {
                    subset["trafficPolicy"] = self.policy();
                }
                subsets.push(subset);
            }
            rule["subsets"] = subsets.into();
        }
        rule
    }

    fn policy(&mut self) -> Value {
        let mut policy = Map::new();
        if self.chance(60) {
            policy.insert("connectionPool".into(), self.pool());
        }
        if self.chance(40) {
            policy.insert("outlierDetection".into(), self.outlier());
        }
        // One without anything is refused.
        if policy.is_empty() || self.chance(60) {
            policy.insert("loadBalancer".into(), self.balancing());
        }
        policy.into()
    }

    fn pool(&mut self) -> Value {
        let mut pool = json!({"tcp": {"connectTimeout": "5s"}, "http": {}});
        for (field, value) in [
            ("maxConnections", json!(self.one(&[100, 1000]))),
            ("idleTimeout", json!("30s")),
            ("maxConnectionDuration", json!("60s")),
            ("tcpKeepalive", json!({"time": "7200s", "interval": "75s", "probes": 9})),
        ] {
            if self.chance(40) {
                pool["tcp"][field] = value;
            }
        }
        for (field, value) in [
            ("http1MaxPendingRequests", json!(1000)),
            ("http2MaxRequests", json!(1000)),
            ("maxRequestsPerConnection", json!(self.one(&[1, 2, 100]))),
            ("maxRetries", json!(1000)),
            ("idleTimeout", json!("60s")),
            ("maxConcurrentStreams", json!(100)),
            ("h2UpgradePolicy", json!(self.one(&["DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"]))),
        ] {
            if self.chance(30) {
                pool["http"][field] = value;
            }
        }
        pool
    }

    /// Nobody fails so often.
    fn outlier(&mut self) -> Value {
        let mut outlier = json!({"consecutive5xxErrors": self.one(&[0, 10_000])});
        for (field, value) in [
            ("consecutiveGatewayErrors", json!(10_000)),
            ("interval", json!("10s")),
            ("baseEjectionTime", json!("30s")),
            ("maxEjectionPercent", json!(self.one(&[10, 100]))),
            ("minHealthPercent", json!(self.one(&[0, 50]))),
            ("splitExternalLocalOriginErrors", json!(true)),
        ] {
            if self.chance(40) {
                outlier[field] = value;
            }
        }
        outlier
    }

    fn balancing(&mut self) -> Value {
        if self.chance(40) {
            let simple = self.one(&["ROUND_ROBIN", "LEAST_REQUEST", "RANDOM"]);
            let mut balancing = json!({"simple": simple});
            if self.chance(30) && simple != "RANDOM" {
                balancing["warmup"] = json!({"duration": "10s", "minimumPercent": 20});
            }
            return balancing;
        }
        let cookie = self.one(&["0s", "3600s"]);
        let mut hash = match self.rng.u8(0..4) {
            0 => json!({"httpHeaderName": KEY}),
            1 => json!({"httpQueryParameterName": KEY}),
            2 => json!({"httpCookie": {"name": KEY, "path": "/", "ttl": cookie}}),
            _ => json!({"useSourceIp": true}),
        };
        match self.rng.u8(0..3) {
            0 => hash["ringHash"] = json!({"minimumRingSize": self.one(&[16, 1024])}),
            1 => hash["maglev"] = json!({"tableSize": self.one(&[251, 65537])}),
            _ => {}
        }
        json!({"consistentHash": hash})
    }

    fn retries(&mut self) -> Value {
        let attempts = self.one(&[0, 1, 2, 3]);
        let mut retries = json!({"attempts": attempts});
        if attempts == 0 {
            return retries;
        }
        for (field, value) in [
            (
                "retryOn",
                json!(self.one(&["5xx", "gateway-error,reset", "retriable-4xx", "500,503"])),
            ),
            ("perTryTimeout", json!("15s")),
            ("backoff", json!("2ms")),
            // Which other endpoint of a ring is taken is not as in Envoy yet.
            ("retryIgnorePreviousHosts", json!(false)),
        ] {
            if self.chance(60) {
                retries[field] = value;
            }
        }
        retries
    }

    /// Leads some of a rule's shares to subsets, of which one does not exist.
    fn route(&mut self, rule: &mut Value, with_subsets: &[&str]) {
        for share in rule.get_mut("route").and_then(Value::as_array_mut).into_iter().flatten() {
            let host = share["destination"]["host"].as_str().unwrap_or_default();
            if with_subsets.contains(&host) && self.chance(50) {
                share["destination"]["subset"] = self.one(&["v1", "v1", "v2", "v2", "v3"]).into();
            }
        }
    }
}
