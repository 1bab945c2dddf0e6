//! Objects that tests write through the API.

use std::net::SocketAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tidegate_testing::ca::{Ca, Identity};

/// A Gateway with one HTTP server.
pub fn gateway(name: &str, port: u16, hosts: &[&str]) -> Value {
    let server = json!({
        "port": { "number": port, "name": "http", "protocol": "HTTP" },
        "hosts": hosts,
    });
    gateway_of(name, &[server])
}

/// A Gateway with these servers.
pub fn gateway_of(name: &str, servers: &[Value]) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "Gateway",
        "metadata": { "name": name },
        "spec": { "selector": { "istio": "ingressgateway" }, "servers": servers },
    })
}

/// A server of port 443 that terminates TLS for one host.
pub fn https(name: &str, host: &str, tls: &Value) -> Value {
    json!({
        "port": { "number": 443, "name": name, "protocol": "HTTPS" },
        "hosts": [host],
        "tls": tls,
    })
}

/// A VirtualService that sends one host behind a Gateway to another host's port 80.
pub fn route(name: &str, gateway: &str, host: &str, destination: &str) -> Value {
    let destination = json!({ "host": destination, "port": { "number": 80 } });
    rules(name, gateway, host, &json!([{ "route": [{ "destination": destination }] }]))
}

/// A VirtualService for one host behind a Gateway, with these rules for HTTP.
pub fn rules(name: &str, gateway: &str, host: &str, http: &Value) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": { "name": name },
        "spec": { "hosts": [host], "gateways": [gateway], "http": http },
    })
}

/// A ServiceEntry whose port 80 is one origin.
pub fn host(name: &str, host: &str, origin: SocketAddr) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "ServiceEntry",
        "metadata": { "name": name },
        "spec": {
            "hosts": [host],
            "ports": [{ "number": 80, "name": "http", "protocol": "HTTP", "targetPort": origin.port() }],
            "resolution": "STATIC",
            "endpoints": [{ "address": origin.ip() }],
        },
    })
}

/// A DestinationRule that says how TLS is spoken with a host.
pub fn towards(name: &str, host: &str, tls: &Value) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": { "name": name },
        "spec": { "host": host, "trafficPolicy": { "tls": tls } },
    })
}

/// A Secret with a certificate and its key.
pub fn certificate(name: &str, leaf: &Identity) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": name },
        "type": "kubernetes.io/tls",
        "data": pair(leaf),
    })
}

/// The data of a Secret with a certificate and its key.
pub fn pair(leaf: &Identity) -> Value {
    pair_of(&leaf.certificate_pem, &leaf.key_pem)
}

/// The same of anything that is to be taken for a certificate and a key.
pub fn pair_of(certificate: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Value {
    json!({ "tls.crt": STANDARD.encode(certificate), "tls.key": STANDARD.encode(key) })
}

/// A Secret with authorities.
pub fn authorities(name: &str, ca: &Ca) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": name },
        "data": { "ca.crt": STANDARD.encode(ca.pem()) },
    })
}
