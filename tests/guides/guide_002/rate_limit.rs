//! Rate limiting, as the guide writes it.

use std::time::Instant;

use serde_json::json;
use tidegate_testing::client::Client;
use tidegate_testing::tools::Tool;
use tidegate_testing::{PATIENCE, eventually};

use super::{Guide, apply};

const REQUEST: &str = "GET /get HTTP/1.1\r\nHost: httpbin.example.com\r\n\r\n";

/// Many requests at once, over several connections, which several workers take; how many were answered, and how many told
/// to wait.
async fn burst(guide: &Guide) -> (usize, usize) {
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(Client::connect(guide.gateway.http).await);
    }
    let (mut answered, mut limited) = (0, 0);
    for round in 0..25 {
        for client in &mut clients {
            let answer = client.request(REQUEST).await;
            match answer.status {
                200 => answered += 1,
                429 => {
                    limited += 1;
                    assert_eq!(answer.header("x-rate-limit"), Some("100"), "{round}");
                    assert_eq!(answer.text(), "local_rate_limited");
                }
                other => panic!("{other}: {}", answer.text()),
            }
        }
    }
    (answered, limited)
}

/// An EnvoyFilter that has the gateway call itself otherwise.
fn server_name() -> String {
    const MANAGER: &str = "envoy.filters.network.http_connection_manager";
    let url = format!(
        "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.{}",
        "HttpConnectionManager"
    );
    let patch = json!({
        "applyTo": "NETWORK_FILTER",
        "match": {"context": "GATEWAY", "listener": {"filterChain": {"filter": {"name": MANAGER}}}},
        "patch": {
            "operation": "MERGE",
            "value": {"typed_config": {"@type": url, "server_name": "guide"}},
        },
    });
    let filter = json!({
        "apiVersion": "networking.istio.io/v1alpha3",
        "kind": "EnvoyFilter",
        "metadata": {"name": "name", "namespace": "istio-system"},
        "spec": {"configPatches": [patch]},
    });
    filter.to_string()
}

#[tokio::test]
async fn excessive_traffic_is_limited() {
    let Some(guide) = Guide::begin(&[Tool::Kubectl], &[("httpbin", 80)]).await else { return };
    let shell = &guide.shell;
    guide.apply("gateway-http.yaml").await;
    guide.apply("virtualservice-basic.yaml").await;
    assert_eq!(burst(&guide).await, (200, 0), "there is no limit yet");

    let began = Instant::now();
    let applied = guide.apply("envoyfilter-ratelimit.yaml").await;
    assert_eq!(applied, "envoyfilter.networking.istio.io/ingress-ratelimit created\n");
    let condition = |name: &str| {
        format!(
            "kubectl get envoyfilter ingress-ratelimit -n istio-system \
             -o jsonpath='{{.status.conditions[?(@.type==\"{name}\")].status}}'"
        )
    };
    assert_eq!(shell.ok(&condition("Reconciled")).await, "True");

    // A burst of 100, then 10 per second: for the process, whichever worker has the connection.
    let (answered, limited) = burst(&guide).await;
    let came = began.elapsed().as_secs_f64() * 10.0;
    assert!(answered >= 100 && (answered as f64) <= 100.0 + came, "{answered} in {came} tokens");
    assert_eq!(answered + limited, 200);

    // A change of what is around the limit leaves the bucket as it is.
    apply(shell, &server_name()).await;
    shell.ok("kubectl wait --for=condition=Programmed envoyfilter/name -n istio-system").await;
    let answer = Client::connect(guide.gateway.http).await.request(REQUEST).await;
    assert_eq!(answer.header("server"), Some("guide"));
    let (more, _) = burst(&guide).await;
    let came = began.elapsed().as_secs_f64() * 10.0;
    assert!((answered + more) as f64 <= 100.0 + came, "{answered} and {more} in {came} tokens");

    // One that the proxy cannot honour is refused by name and path, and the last good form serves on.
    let broken = "kubectl patch envoyfilter ingress-ratelimit -n istio-system --type=json -p \
        '[{\"op\": \"replace\", \"path\": \"/spec/configPatches/0/patch/value/typed_config/value/local_cluster_rate_limit\", \
        \"value\": {}}]'";
    let broken = broken.replace("\"replace\"", "\"add\"");
    shell.ok(&broken).await;
    shell
        .ok("kubectl wait --for=condition=Reconciled=False envoyfilter/ingress-ratelimit -n istio-system")
        .await;
    let message = shell.ok(&condition("Reconciled").replace("].status}", "].message}")).await;
    assert!(
        message.starts_with("configPatches[0].patch.value.typed_config.local_cluster_rate_limit: "),
        "{message}"
    );
    assert!(message.contains("; the last good form serves on"), "{message}");
    assert!(burst(&guide).await.1 > 0, "it limits still");

    shell.ok("kubectl delete -f envoyfilter-ratelimit.yaml").await;
    eventually(PATIENCE, || async { burst(&guide).await.1 == 0 }).await;
}
