//! Objects that tests write through the API.

use std::net::SocketAddr;

use serde_json::{Value, json};

/// A Gateway with one HTTP server.
pub fn gateway(name: &str, port: u16, hosts: &[&str]) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "Gateway",
        "metadata": { "name": name },
        "spec": {
            "selector": { "istio": "ingressgateway" },
            "servers": [{
                "port": { "number": port, "name": "http", "protocol": "HTTP" },
                "hosts": hosts,
            }],
        },
    })
}

/// A VirtualService that sends one host behind a Gateway to another host's port 80.
pub fn route(name: &str, gateway: &str, host: &str, destination: &str) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": { "name": name },
        "spec": {
            "hosts": [host],
            "gateways": [gateway],
            "http": [{ "route": [{ "destination": { "host": destination, "port": { "number": 80 } } }] }],
        },
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
