//! Endpoints that are sockets of this machine.

use serde_json::{Value, json};

use super::{Origins, header, speaks_http2};

/// Where the sockets are; the origins behind them are those of the other cases.
#[derive(Clone, Debug)]
pub struct Pipes {
    pub http1: String,
    pub http2: String,
    /// Nobody listens here.
    pub refused: String,
}

pub(super) fn routes() -> Vec<Value> {
    let shown = ["UPSTREAM_REMOTE_ADDRESS", "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT"].map(|fact| {
        header(
            &format!("x-{}", fact.to_ascii_lowercase()),
            &format!("%{fact}%"),
            "APPEND_IF_EXISTS_OR_ADD",
        )
    });
    let to = |path: &str, cluster: &str| {
        json!({"match": {"prefix": path}, "route": {"cluster": cluster, "timeout": "5s"},
            "response_headers_to_add": shown})
    };
    // What is shown of an endpoint that there was no connection to is another matter.
    let refused =
        json!({"match": {"prefix": "/pipe/refused"}, "route": {"cluster": "pipe-refused"}});
    vec![refused, to("/pipe/h2", "pipe2"), to("/pipe", "pipe")]
}

pub(super) fn clusters(origins: &Origins) -> Vec<Value> {
    let cluster = |name: &str, path: &str| {
        let endpoint = json!({"endpoint": {"address": {"pipe": {"path": path}}}});
        json!({
            "name": name,
            "type": "STATIC",
            "connect_timeout": "2s",
            // It asks for nothing where there is no TCP.
            "upstream_connection_options": {"tcp_keepalive": {"keepalive_probes": 3}},
            "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
        })
    };
    let Pipes { http1, http2, refused } = &origins.pipes;
    vec![
        cluster("pipe", http1),
        speaks_http2(cluster("pipe2", http2)),
        cluster("pipe-refused", refused),
    ]
}
