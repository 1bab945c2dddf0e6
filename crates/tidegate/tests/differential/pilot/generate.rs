//! Configurations by chance, the same for the same seed: Gateways that share ports and hosts, VirtualServices
//! with every kind of condition and action, DestinationRules (`destinations.rs`) and policies (`policies.rs`).

use fastrand::Rng;
use serde_json::{Map, Value, json};

use super::{destinations, policies};

/// Hosts that overlap in every way: exact, below each other, under wildcards, apart.
pub const HOSTS: [&str; 9] = [
    "*",
    "*.example",
    "*.a.example",
    "a.example",
    "b.example",
    "x.a.example",
    "y.x.a.example",
    "a.test",
    "*.test",
];

pub const PATHS: [&str; 12] = [
    "/",
    "/api",
    "/api/",
    "/api/v1",
    "/apix",
    "/static",
    "/Static",
    "/a.b",
    "/health",
    "/v1/users",
    "/long/path/of/five/parts",
    "/~user",
];

/// Expressions for paths, and texts that they take.
pub const PATH_EXPRESSIONS: [(&str, &[&str]); 6] = [
    ("/v[0-9]+/.*", &["/v1/", "/v12/users"]),
    ("/(a|b)c?", &["/a", "/bc"]),
    (".*\\.css", &["/x/y.css", "/.css"]),
    ("/[^/]+/edit", &["/7/edit"]),
    ("/.*", &["/", "/anything"]),
    (".*", &["/", "/anything"]),
];

/// Expressions for values, and texts that they take.
pub const VALUE_EXPRESSIONS: [(&str, &[&str]); 5] = [
    ("v[0-9]+", &["v1", "v22"]),
    (".*Mobile.*", &["Mobile", "a Mobile b"]),
    ("Bearer .*", &["Bearer x"]),
    ("(?i)yes", &["YES", "yes"]),
    ("(GET|POST)", &["GET", "POST"]),
];

pub const VALUES: [&str; 6] = ["v1", "true", "a b", "x;y=z", "Blue", "blue-green"];
pub const HEADERS: [&str; 5] = ["x-version", "user-agent", "x-debug", "cookie", "x-Letter-Case"];
const PARAMETERS: [&str; 4] = ["debug", "q", "Page", "x-y"];
/// Services of the namespace, and a host of a ServiceEntry. Behind `none` there is nobody, and `missing` does not exist.
const SERVICES: [&str; 8] = ["s0", "s1", "s2", "s3", "entry.internal", "s4", "none", "missing"];
const HTTP_PORTS: [u16; 3] = [80, 8080, HTTPS_PORT];
/// The port of servers that terminate TLS, that of those that pass it through (some are one), and that of TCP.
const HTTPS_PORT: u16 = 443;
const TLS_PORT: u16 = 8443;
const TCP_PORT: u16 = 9000;

/// What stands for the hashes of the client's certificate and of its key, and for those of nobody's.
pub const CLIENT_HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";
pub const CLIENT_KEY_HASH: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const OTHER_HASH: &str = "1111111111111111111111111111111111111111111111111111111111111111";
const OTHER_KEY_HASH: &str = "ERERERERERERERERERERERERERERERERERERERERERERE=";

/// The manifests of one configuration.
pub fn configuration(seed: u64) -> Vec<Value> {
    let mut maker = Maker { rng: Rng::with_seed(seed), age: 0 };
    let mut manifests = maker.services();
    let gateways: Vec<String> = (0..maker.rng.usize(1..4)).map(|n| format!("g{n}")).collect();
    for name in &gateways {
        let spec = maker.gateway();
        manifests.push(maker.manifest("Gateway", name, &spec));
    }
    let delegates = maker.rng.usize(0..2);
    for n in 0..delegates {
        let http: Vec<Value> = (0..maker.rng.usize(1..3)).map(|_| maker.rule(&[], &[])).collect();
        let spec = json!({ "http": http });
        manifests.push(maker.manifest("VirtualService", &format!("d{n}"), &spec));
    }
    let delegates: Vec<String> = (0..delegates).map(|n| format!("d{n}")).collect();
    for n in 0..maker.rng.usize(1..5) {
        let spec = maker.virtual_service(&gateways, &delegates);
        manifests.push(maker.manifest("VirtualService", &format!("v{n}"), &spec));
    }
    policies::add(&mut manifests, seed);
    destinations::add(&mut manifests, seed);
    manifests
}

struct Maker {
    rng: Rng,
    age: u32,
}

impl Maker {
    /// An object of the networking group, some of one age.
    fn manifest(&mut self, kind: &str, name: &str, spec: &Value) -> Value {
        self.age += self.rng.u32(0..2);
        json!({
            "apiVersion": "networking.istio.io/v1",
            "kind": kind,
            "metadata": {
                "name": name,
                "namespace": "default",
                "creationTimestamp": format!("2024-01-01T00:00:{:02}Z", self.age),
            },
            "spec": spec,
        })
    }

    fn services(&mut self) -> Vec<Value> {
        let ports = json!([{ "name": "http", "port": 80 }, { "name": "tcp", "port": 9000 }]);
        let service = |name: &&&str| {
            json!({
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": { "name": name, "namespace": "default" },
                "spec": { "ports": ports },
            })
        };
        let inside = SERVICES.iter().filter(|name| !name.contains('.') && **name != "missing");
        let mut services: Vec<Value> = inside.collect::<Vec<_>>().iter().map(service).collect();
        let entry = json!({
            "hosts": ["entry.internal"],
            "ports": [
                { "number": 80, "name": "http", "protocol": "HTTP" },
                { "number": 9000, "name": "tcp", "protocol": "TCP" },
            ],
            "resolution": "STATIC",
            "endpoints": [{ "address": "127.0.0.1" }],
        });
        services.push(self.manifest("ServiceEntry", "entry", &entry));
        for name in ["s3", "s4"] {
            if self.chance(40) {
                let spec = json!({ "host": name, "trafficPolicy": { "tls": self.origination() } });
                services.push(self.manifest("DestinationRule", name, &spec));
            }
        }
        // What they hold is put in later.
        services.extend(["one", "two"].map(|name| {
            json!({
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": { "name": name, "namespace": "istio-system" },
                "stringData": { "tls.crt": "chain", "tls.key": "key", "ca.crt": "authorities" },
            })
        }));
        services
    }

    /// TLS towards a destination, for the most part to its liking; see the names in `origins.rs`.
    fn origination(&mut self) -> Value {
        let mut tls = json!({ "mode": self.one(&["SIMPLE", "MUTUAL"]) });
        let careless = self.chance(20);
        if tls["mode"] == "MUTUAL" || !careless {
            tls["credentialName"] = self.one(&["one", "two"]).into();
        }
        if careless {
            tls["insecureSkipVerify"] = true.into();
        }
        if self.chance(50) {
            tls["sni"] = self.one(&["right.internal", "right.internal", "wrong.internal"]).into();
        }
        if !careless && self.chance(20) {
            let name = self.one(&["right.internal", "wrong.internal"]);
            tls["subjectAltNames"] = json!([name]);
        }
        tls
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.rng.usize(0..of.len())]
    }

    fn chance(&mut self, percent: u8) -> bool {
        self.rng.u8(0..100) < percent
    }

    /// Some of these, each once, at least one.
    fn some(&mut self, of: &[&str], most: usize) -> Vec<String> {
        let count = self.rng.usize(1..=most.min(of.len()));
        self.rng
            .choose_multiple(of.iter(), count)
            .into_iter()
            .map(|one| (*one).to_owned())
            .collect()
    }

    fn gateway(&mut self) -> Value {
        let mut servers = Vec::new();
        for n in 0..self.rng.usize(1..4) {
            let protocol = self.one(&["HTTP", "HTTP", "HTTP2", "GRPC", "GRPC-WEB"]);
            let port = self.one(&[80, 8080]);
            let mut hosts = self.some(&HOSTS, 3);
            if self.chance(15) {
                // Only for VirtualServices of that namespace.
                hosts[0] = format!("{}/{}", self.one(&[".", "default", "other"]), hosts[0]);
            }
            let mut server = json!({
                "port": { "number": port, "name": format!("http-{n}"), "protocol": protocol },
                "hosts": hosts,
            });
            if self.chance(10) {
                server["tls"] = json!({ "httpsRedirect": true });
            }
            servers.push(server);
        }
        if self.chance(40) {
            let port = self.one(&[TLS_PORT, TLS_PORT, HTTPS_PORT]);
            servers.push(json!({
                "port": { "number": port, "name": "tls", "protocol": self.one(&["TLS", "HTTPS"]) },
                "hosts": self.some(&HOSTS, 3),
                "tls": { "mode": "PASSTHROUGH" },
            }));
        }
        for n in 0..self.rng.usize(0..3) {
            servers.push(json!({
                "port": { "number": HTTPS_PORT, "name": format!("https-{n}"), "protocol": "HTTPS" },
                "hosts": self.some(&HOSTS, 2),
                "tls": self.termination(),
            }));
        }
        if self.chance(15) {
            servers.push(json!({
                "port": { "number": TCP_PORT, "name": "tcp", "protocol": "TCP" },
                "hosts": ["*"],
            }));
        }
        json!({ "selector": { "istio": "ingressgateway" }, "servers": servers })
    }

    /// TLS that ends at a server.
    fn termination(&mut self) -> Value {
        let mode = self.one(&["SIMPLE", "SIMPLE", "MUTUAL", "OPTIONAL_MUTUAL"]);
        let mut tls = json!({
            "mode": mode,
            "credentialName": self.one(&["one", "one", "two", "nowhere"]),
        });
        if mode != "SIMPLE" && self.chance(30) {
            tls["verifyCertificateHash"] = json!([self.one(&[CLIENT_HASH, OTHER_HASH])]);
        }
        if mode != "SIMPLE" && self.chance(30) {
            tls["verifyCertificateSpki"] = json!([self.one(&[CLIENT_KEY_HASH, OTHER_KEY_HASH])]);
        }
        if mode != "SIMPLE" && self.chance(30) {
            tls["subjectAltNames"] = json!([self.one(&["client", "other"])]);
        }
        for limit in ["minProtocolVersion", "maxProtocolVersion"] {
            if self.chance(15) {
                tls[limit] = self.one(&["TLS_AUTO", "TLSV1_2", "TLSV1_3"]).into();
            }
        }
        tls
    }

    fn virtual_service(&mut self, gateways: &[String], delegates: &[String]) -> Value {
        let names: Vec<&str> = gateways.iter().map(String::as_str).collect();
        let (mut hosts, gateways) = (self.some(&HOSTS, 2), self.some(&names, 2));
        // Of hosts that overlap, a VirtualService may name one.
        let under =
            |a: &str, b: &str| b.strip_prefix('*').is_some_and(|domain| a.ends_with(domain));
        if let [a, b] = &hosts[..]
            && (under(a, b) || under(b, a))
        {
            hosts.pop();
        }
        let count = self.rng.usize(1..6);
        let http: Vec<Value> = (0..count).map(|_| self.rule(&gateways, delegates)).collect();
        let mut spec = json!({ "hosts": hosts, "gateways": gateways, "http": http });
        if self.chance(50) {
            let rules: Vec<Value> =
                (0..self.rng.usize(1..3)).map(|_| self.tls_rule(&hosts)).collect();
            spec["tls"] = rules.into();
        }
        if self.chance(15) {
            spec["tcp"] = json!([{ "route": self.shares(9000) }]);
        }
        spec
    }

    /// A rule for TLS: its names have to be within the hosts of the VirtualService.
    fn tls_rule(&mut self, hosts: &[String]) -> Value {
        let host = self.rng.choice(hosts).map_or("*", String::as_str);
        let name = match host.strip_prefix("*") {
            Some(_) if self.chance(40) => host.to_owned(),
            Some("") => "b.example".to_owned(),
            Some(domain) => format!("x{domain}"),
            None => host.to_owned(),
        };
        let mut condition = json!({ "sniHosts": [name] });
        if self.chance(20) {
            condition["port"] = self.one(&[TLS_PORT, HTTPS_PORT]).into();
        }
        json!({ "match": [condition], "route": self.shares(9000) })
    }

    /// A rule for requests; a delegate's own (no gateways) neither delegates nor names gateways.
    fn rule(&mut self, gateways: &[String], delegates: &[String]) -> Value {
        let mut rule = Map::new();
        let conditions: Vec<Value> =
            (0..self.rng.usize(0..3)).map(|_| self.condition(gateways)).collect();
        // Only what a prefix takes can be moved to another one.
        let prefixes = conditions.iter().all(|c| c["uri"].get("prefix").is_some());
        if !conditions.is_empty() {
            rule.insert("match".into(), conditions.into());
        }
        if self.chance(40) {
            rule.insert("headers".into(), self.header_changes());
        }
        match self.rng.u8(0..100) {
            0..12 => {
                rule.insert("redirect".into(), self.redirect(prefixes));
            }
            12..20 => {
                rule.insert("directResponse".into(), self.answer());
            }
            20..35 if !delegates.is_empty() => {
                let name = self.rng.choice(delegates);
                rule.insert("delegate".into(), json!({ "name": name, "namespace": "default" }));
            }
            _ => {
                rule.insert("route".into(), self.shares(80));
                if self.chance(40) {
                    rule.insert("rewrite".into(), self.rewrite());
                }
                if self.chance(20) {
                    rule.insert("timeout".into(), "20s".into());
                }
            }
        }
        rule.into()
    }

    /// Destinations of which one gets everything.
    fn shares(&mut self, port: u16) -> Value {
        let count = self.rng.usize(1..4);
        let whole = self.rng.usize(0..count);
        let services = self.rng.choose_multiple(SERVICES.iter(), count);
        let mut shares = Vec::new();
        for (n, service) in services.into_iter().enumerate() {
            let weight = if n == whole { 100 } else { 0 };
            let mut share = json!({
                "destination": { "host": service, "port": { "number": port } },
                "weight": weight,
            });
            if port == 80 && self.chance(25) {
                share["headers"] = self.header_changes();
            }
            shares.push(share);
        }
        if count == 1 && self.chance(50) {
            shares[0].as_object_mut().map(|share| share.remove("weight"));
        }
        shares.into()
    }

    fn condition(&mut self, gateways: &[String]) -> Value {
        let mut condition = Map::new();
        if self.chance(75) {
            condition.insert("uri".into(), self.path());
            if self.chance(20) {
                condition.insert("ignoreUriCase".into(), true.into());
            }
        }
        if self.chance(15) {
            condition.insert(
                "method".into(),
                self.one(&[
                    ("exact", "GET"),
                    ("exact", "POST"),
                    ("prefix", "P"),
                    ("regex", "(GET|POST)"),
                ])
                .into_value(),
            );
        }
        if self.chance(10) {
            condition.insert(
                "authority".into(),
                self.one(&[("exact", "a.example"), ("prefix", "x."), ("regex", ".*\\.example")])
                    .into_value(),
            );
        }
        if self.chance(5) {
            condition.insert(
                "scheme".into(),
                self.one(&[("exact", "http"), ("prefix", "https")]).into_value(),
            );
        }
        for (field, names, percent) in [
            ("headers", &HEADERS[..], 35),
            ("withoutHeaders", &HEADERS[..], 15),
            ("queryParams", &PARAMETERS[..], 25),
        ] {
            if self.chance(percent) {
                let names = self.some(names, 2);
                let all: Map<String, Value> =
                    names.into_iter().map(|name| (name, self.value())).collect();
                condition.insert(field.into(), all.into());
            }
        }
        if self.chance(8) {
            let (name, wanted) = self.one(&[
                (":authority", ("exact", "a.example")),
                (":authority", ("prefix", "x.")),
                (":method", ("exact", "POST")),
                (":path", ("prefix", "/api")),
            ]);
            let headers = condition.entry("headers").or_insert_with(|| json!({}));
            headers[name] = wanted.into_value();
        }
        if self.chance(8) {
            condition.insert("port".into(), self.one(&HTTP_PORTS).into());
        }
        if !gateways.is_empty() && self.chance(10) {
            let gateway = self.rng.choice(gateways).cloned();
            condition.insert("gateways".into(), json!([gateway]));
        }
        if self.chance(5) {
            let role = self.one(&["ingressgateway", "other"]);
            condition.insert("sourceLabels".into(), json!({ "istio": role }));
        }
        condition.into()
    }

    fn path(&mut self) -> Value {
        let path = self.one(&PATHS);
        match self.rng.u8(0..10) {
            0..4 => json!({ "exact": path }),
            4..8 => json!({ "prefix": path }),
            _ => json!({ "regex": self.one(&PATH_EXPRESSIONS).0 }),
        }
    }

    fn value(&mut self) -> Value {
        let value = self.one(&VALUES);
        match self.rng.u8(0..10) {
            0..4 => json!({ "exact": value }),
            4..6 => json!({ "prefix": value }),
            6..8 => json!({ "regex": self.one(&VALUE_EXPRESSIONS).0 }),
            _ => json!({}),
        }
    }

    fn header_changes(&mut self) -> Value {
        let mut changes = Map::new();
        for side in ["request", "response"] {
            if !self.chance(60) {
                continue;
            }
            let mut operations = Map::new();
            for operation in ["set", "add"] {
                if self.chance(50) {
                    let name =
                        self.one(&["x-a", "x-b", "x-version", "X-Mixed", "server", "user-agent"]);
                    let value = self.one(&["1", "two words", "%REQ(x-debug)%", "100%%", "a,b"]);
                    operations.insert(operation.into(), json!({ name: value }));
                }
            }
            if self.chance(40) {
                let name = self.one(&["x-a", "x-origin", "x-debug", "server", "x-none"]);
                operations.insert("remove".into(), json!([name]));
            }
            changes.insert(side.into(), operations.into());
        }
        changes.into()
    }

    /// A redirect; `prefixes`: of paths that begin as a condition says.
    fn redirect(&mut self, prefixes: bool) -> Value {
        let mut redirect = json!({ "redirectCode": self.one(&[301, 302, 303, 307, 308]) });
        let authority = self.chance(60);
        if authority {
            redirect["authority"] = self.one(&["new.example", "new.example:8443"]).into();
        }
        if prefixes && self.chance(50) {
            redirect["prefixRewrite"] = self.one(&["/new", "/new/", "/"]).into();
        } else if self.chance(60) || !authority {
            redirect["uri"] = self.one(&["/new", "/new?x=y", "/"]).into();
        }
        if self.chance(40) {
            redirect["scheme"] = self.one(&["http", "https"]).into();
        }
        match self.rng.u8(0..10) {
            0..2 => redirect["port"] = self.one(&[443, 8443, 80]).into(),
            2..4 => {
                redirect["derivePort"] =
                    self.one(&["FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"]).into();
            }
            _ => {}
        }
        redirect
    }

    fn answer(&mut self) -> Value {
        let mut answer = json!({ "status": self.one(&[200, 204, 403, 404, 418, 503]) });
        match self.rng.u8(0..10) {
            0..4 => {
                answer["body"] = json!({ "string": self.one(&["", "no", "a longer text\n"]) });
            }
            4..7 => {
                // Nothing, a text, and octets that are no text.
                answer["body"] = json!({ "bytes": self.one(&["", "Ynl0ZXM=", "AP8KgA=="]) });
            }
            _ => {}
        }
        answer
    }

    fn rewrite(&mut self) -> Value {
        let mut rewrite = Map::new();
        match self.rng.u8(0..10) {
            0..3 => {
                rewrite.insert("uri".into(), "/".into());
            }
            3..6 => {
                rewrite.insert("uri".into(), self.one(&["/new", "/new/", "/a/b"]).into());
            }
            6..8 => {
                let (pattern, text) =
                    self.one(&[("^/([^/]+)(/.*)?$", "\\2/\\1"), ("[0-9]+", "n"), ("/+", "/")]);
                rewrite
                    .insert("uriRegexRewrite".into(), json!({ "match": pattern, "rewrite": text }));
            }
            _ => {}
        }
        if rewrite.is_empty() || self.chance(30) {
            rewrite.insert("authority".into(), self.one(&["inside", "inside.example:81"]).into());
        }
        rewrite.into()
    }
}

trait IntoValue {
    fn into_value(self) -> Value;
}

impl IntoValue for (&str, &str) {
    fn into_value(self) -> Value {
        json!({ self.0: self.1 })
    }
}
