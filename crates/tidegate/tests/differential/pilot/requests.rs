//! Requests from a configuration's own conditions: what each rule asks for, and what misses it by little.

use fastrand::Rng;
use rustls_pki_types::ServerName;
use serde_json::Value;

use super::compile::{Carries, Listener};
use super::generate::{PATH_EXPRESSIONS, VALUE_EXPRESSIONS};
use super::provoke::Policies;
use super::tls::{Tls, Version};

/// What is sent to a listener: a request, inside TLS or not.
#[derive(Clone, Debug)]
pub struct Ask {
    pub tls: Option<Tls>,
    pub http2: bool,
    pub request: Request,
}

impl std::fmt::Display for Ask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(Tls { name, certificate, version }) = &self.tls {
            let name = name.as_deref().unwrap_or("no name");
            let certified = if *certificate { ", certified" } else { "" };
            let version = version.map(|version| format!(", only {version:?}")).unwrap_or_default();
            write!(f, "[TLS {name}{certified}{version}] ")?;
        }
        let version = if self.http2 { "[HTTP/2] " } else { "" };
        write!(f, "{version}{}", self.request.bytes().escape_ascii())
    }
}

/// Makes requests for one configuration.
pub struct Asker<'a> {
    rng: Rng,
    /// VirtualServices.
    services: Vec<&'a Value>,
    hosts: Vec<&'a str>,
    policies: Policies<'a>,
}

impl<'a> Asker<'a> {
    pub fn new(manifests: &'a [Value], seed: u64) -> Self {
        let of = |kind: &'static str| manifests.iter().filter(move |m| m["kind"] == kind);
        let services: Vec<&Value> = of("VirtualService").collect();
        let servers = of("Gateway").flat_map(|gateway| list(&gateway["spec"]["servers"]));
        let hosts = servers.map(|server| &server["hosts"]);
        let hosts = hosts.chain(services.iter().map(|service| &service["spec"]["hosts"]));
        let hosts = hosts.flat_map(list).filter_map(Value::as_str);
        let hosts = hosts.map(|host| host.rsplit('/').next().unwrap_or(host)).collect();
        let policies = Policies::among(manifests, seed);
        Self { rng: Rng::with_seed(seed), services, hosts, policies }
    }

    /// Something to ask a listener.
    pub fn ask(&mut self, listener: &Listener) -> Ask {
        let http2 = self.chance(20);
        if listener.carries == Carries::Plain {
            return Ask { tls: None, http2, request: self.request(None) };
        }
        let tls = Tls {
            name: self.server_name(),
            certificate: self.chance(40),
            version: self.one(&[None, None, Some(Version::Tls12), Some(Version::Tls13)]).flatten(),
        };
        // Most requests are for the host that the connection was opened for.
        let host = if self.chance(70) { tls.name.clone() } else { None };
        Ask { request: self.request(host), http2, tls: Some(tls) }
    }

    fn chance(&mut self, percent: u8) -> bool {
        self.rng.u8(0..100) < percent
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> Option<T> {
        self.rng.choice(of).copied()
    }

    /// A name that a host stands for, or one beside it.
    fn name(&mut self, host: &str) -> String {
        let labels = ["x", "y.x", "a", "b"];
        let label = self.one(&labels).unwrap_or("x");
        let name = match host.strip_prefix('*') {
            Some("") => "any.example".to_owned(),
            Some(domain) => format!("{label}{domain}"),
            None => host.to_owned(),
        };
        match self.rng.u8(0..20) {
            0 => format!("z{name}"),
            1 => format!("z.{name}"),
            2 => format!("{name}.org"),
            3 => name.split_once('.').map_or("example", |(_, rest)| rest).to_owned(),
            4 => name.to_uppercase(),
            5 => format!("{name}."),
            _ => name,
        }
    }

    fn server_name(&mut self) -> Option<String> {
        if self.chance(10) {
            return None;
        }
        let rules = self.services.iter().flat_map(|s| list(&s["spec"]["tls"]));
        let names = rules
            .flat_map(|rule| list(&rule["match"]))
            .flat_map(|m| list(&m["sniHosts"]).iter().chain(list(&m["sni_hosts"])));
        let names: Vec<&str> = names.filter_map(Value::as_str).chain(self.hosts.clone()).collect();
        let host = self.one(&names).unwrap_or("a.example");
        let name = self.name(host).trim_end_matches('.').to_owned();
        ServerName::try_from(name.as_str()).is_ok().then_some(name)
    }

    fn request(&mut self, host: Option<String>) -> Request {
        let service = self.one(&self.services.clone());
        let rules = service.map_or(&[][..], |service| list(&service["spec"]["http"]));
        let rule = self.rng.choice(rules);
        let condition = rule.and_then(|rule| self.rng.choice(list(&rule["match"])));
        let own: Vec<&str> = service
            .into_iter()
            .flat_map(|s| list(&s["spec"]["hosts"]))
            .filter_map(Value::as_str)
            .collect();
        let pattern = if own.is_empty() || self.chance(30) {
            self.one(&self.hosts.clone())
        } else {
            self.one(&own)
        };
        let mut request = Request {
            method: self
                .one(&["GET", "GET", "GET", "POST", "PUT", "HEAD"])
                .unwrap_or("GET")
                .to_owned(),
            host: host.unwrap_or_else(|| self.name(pattern.unwrap_or("a.example"))),
            path: "/".to_owned(),
            query: Vec::new(),
            headers: Vec::new(),
        };
        if let Some(condition) = condition {
            self.fulfil(&mut request, condition);
        } else if self.chance(50) {
            request.path = "/anything/else".to_owned();
        }
        if self.chance(50) {
            self.miss(&mut request);
        }
        if self.chance(15) {
            request.host += self.one(&[":80", ":8080", ":443"]).unwrap_or_default();
        }
        self.policies.provoke(&mut request);
        request
    }

    /// Makes a request what a condition asks for.
    fn fulfil(&mut self, request: &mut Request, condition: &Value) {
        if let Some(uri) = condition.get("uri") {
            request.path = self.text(uri, &PATH_EXPRESSIONS);
            if uri.get("prefix").is_some() && self.chance(50) {
                request.path += self.one(&["/", "/more", "x", "1/2"]).unwrap_or_default();
            }
            if condition["ignoreUriCase"] == true && self.chance(50) {
                request.path = request.path.to_uppercase();
            }
        }
        if let Some(method) = condition.get("method") {
            // Of methods that begin so, one that all know.
            let text = self.text(method, &VALUE_EXPRESSIONS);
            request.method = if text.starts_with('P') { "PUT".to_owned() } else { text };
        }
        if let Some(authority) = condition.get("authority").filter(|a| a.get("exact").is_some()) {
            request.host = self.text(authority, &[]);
        }
        for (name, value) in entries(&condition["headers"]) {
            let text = self.text(value, &VALUE_EXPRESSIONS);
            match name.as_str() {
                ":authority" if value.get("exact").is_some() => request.host = text,
                ":authority" => request.host = format!("{text}{}", request.host),
                ":method" => request.method = text,
                name if name.starts_with(':') => {}
                name => request.headers.push((name.to_owned(), text)),
            }
        }
        for (name, value) in entries(&condition["withoutHeaders"]) {
            if request.headers.iter().any(|(there, _)| there == name) {
                continue;
            }
            // Not there, there with another value, or there with just that.
            match self.rng.u8(0..3) {
                0 => request.headers.push((name.clone(), "else".to_owned())),
                1 => request.headers.push((name.clone(), self.text(value, &VALUE_EXPRESSIONS))),
                _ => {}
            }
        }
        for (name, value) in entries(&condition["queryParams"]) {
            let text = self.text(value, &VALUE_EXPRESSIONS);
            request.query.push((name.clone(), text.replace(' ', "%20")));
        }
    }

    /// A text that a string match takes.
    fn text(&mut self, wanted: &Value, expressions: &[(&str, &[&'static str])]) -> String {
        let text = |kind: &str| wanted.get(kind).and_then(Value::as_str);
        if let Some(expression) = text("regex") {
            let known = expressions.iter().find(|(known, _)| *known == expression);
            let taken = known.and_then(|(_, texts)| self.one(texts));
            // What is left of an expression without its signs is near it.
            let near =
                || expression.replace(['^', '$', '(', ')', '.', '*', '[', ']', '+', '\\'], "");
            return taken.map_or_else(near, str::to_owned);
        }
        let more = self.one(&["", "-more", "1"]).unwrap_or_default();
        match (text("exact"), text("prefix")) {
            (Some(exact), _) => exact.to_owned(),
            (None, Some(prefix)) if prefix.starts_with('/') => prefix.to_owned(),
            (None, Some(prefix)) => format!("{prefix}{more}"),
            (None, None) => self.one(&["any", "1", ""]).unwrap_or_default().to_owned(),
        }
    }

    /// Changes one thing of a request.
    fn miss(&mut self, request: &mut Request) {
        match self.rng.u8(0..14) {
            0 => request.path.push('x'),
            1 => request.path.push('/'),
            2 => {
                request.path.pop();
            }
            3 => request.path = request.path.to_uppercase(),
            4 => request.path.insert_str(0, "/x"),
            5 => request.query.push(("other".to_owned(), "1".to_owned())),
            6 => {
                request.query.pop();
            }
            7 => request.query.iter_mut().for_each(|(_, value)| value.push('x')),
            8 => {
                request.headers.pop();
            }
            9 => request.headers.iter_mut().for_each(|(_, value)| value.push('x')),
            10 => request.headers.iter_mut().for_each(|(_, value)| *value = value.to_uppercase()),
            11 => {
                // Lines of some headers are one to Envoy, such as those of user-agent; see http1.rs.
                let own = request.headers.iter().filter(|(name, _)| name.starts_with("x-"));
                let again: Vec<_> = own.map(|(name, _)| (name.clone(), "v1".to_owned())).collect();
                request.headers.extend(again);
            }
            12 => request.query.iter_mut().for_each(|(name, _)| *name = name.to_uppercase()),
            _ => {
                request.method =
                    self.one(&["DELETE", "OPTIONS", "PATCH"]).unwrap_or("GET").to_owned();
            }
        }
        if !request.path.starts_with('/') {
            request.path.insert(0, '/');
        }
    }
}

/// A request before it is written in a version of HTTP.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub host: String,
    pub path: String,
    pub query: Vec<(String, String)>,
    pub headers: Vec<(String, String)>,
}

impl Request {
    /// In HTTP/1.1.
    pub fn bytes(&self) -> Vec<u8> {
        let headers: String =
            self.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let body = self.body();
        let length = if body.is_empty() { "" } else { "Content-Length: 4\r\n" };
        let (method, host, target) = (&self.method, &self.host, self.target());
        format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{headers}{length}Connection: close\r\n\r\n{body}")
            .into_bytes()
    }

    /// The head in HTTP/2; none where it cannot be written so.
    pub fn head(&self, scheme: &str) -> Option<http::Request<()>> {
        let uri = format!("{scheme}://{}{}", self.host, self.target());
        let mut head = http::Request::builder().method(&*self.method).uri(uri);
        for (name, value) in &self.headers {
            head = head.header(name, value);
        }
        head.body(()).ok()
    }

    pub fn is_head(&self) -> bool {
        self.method == "HEAD"
    }

    pub fn body(&self) -> &'static str {
        if matches!(&*self.method, "POST" | "PUT" | "PATCH") { "body" } else { "" }
    }

    fn target(&self) -> String {
        let pairs: Vec<String> =
            self.query.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mark = if pairs.is_empty() { "" } else { "?" };
        format!("{}{mark}{}", self.path, pairs.join("&"))
    }
}

pub fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}
