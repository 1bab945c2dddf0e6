//! Names that clients ask for and that are not followed: who is told why.

#[path = "tls/setup.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod setup;

use std::sync::Arc;

use serde_json::{Value, json};
use tidegate_proxy::accesslog::{Format, ReadOptions};
use tidegate_testing::PATIENCE;
use tidegate_testing::client::Client;
use tokio::time::timeout;

use setup::Running;

const WHY: &str =
    "127.0.0.1 leads to 127.0.0.1, an address of this machine or its link, and is not followed";

/// A listener at the edge or inside that sends to where requests ask, and logs.
fn config(at_edge: bool) -> Value {
    let manager = json!({"name": "hcm", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "hcm",
        "use_remote_address": at_edge,
        "route_config": {"name": "r", "virtual_hosts": [{
            "name": "v", "domains": ["*"],
            "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "asked"}}],
        }]},
        "http_filters": [{"name": "router", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}],
        "access_log": [{"name": "file", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
            "path": "/dev/null"}}],
    }});
    let cluster = json!({
        "name": "asked",
        "lb_policy": "CLUSTER_PROVIDED",
        "cluster_type": {"name": "asked", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig",
            "dns_cache_config": {"name": "names"}}},
    });
    setup::bootstrap(&[json!({"filters": [manager]})], &[cluster], &[])
}

/// What the client and the log have of a request to the machine itself.
async fn refused(at_edge: bool) -> (String, String) {
    let running = Running::start(&config(at_edge)).await;
    let format = "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_TRANSPORT_FAILURE_REASON%\n";
    let format = Arc::new(Format::text(format, false).expect("a format"));
    let options = ReadOptions { follow: true, ..ReadOptions::default() };
    let mut log = running.proxy.view().logs().read(format, options);
    let mut client = Client::connect(running.address).await;
    let answer = client.request("GET / HTTP/1.1\r\nHost: 127.0.0.1:15000\r\n\r\n").await;
    assert_eq!(answer.status, 503);
    let line = timeout(PATIENCE, log.next()).await.expect("in time").expect("a line");
    (answer.text(), String::from_utf8(line.text).expect("text"))
}

#[tokio::test]
async fn why_a_name_is_not_followed_is_told_inside_and_to_the_log_alone_at_the_edge() {
    for (at_edge, told) in [(true, "DNS resolution failure"), (false, &*format!("{WHY}\n"))] {
        let (answer, line) = refused(at_edge).await;
        assert_eq!(answer, told, "at the edge: {at_edge}");
        let why = WHY.replace(' ', "_");
        assert_eq!(line.trim(), format!("503 DF dns_resolution_failure {why}"));
    }
}
