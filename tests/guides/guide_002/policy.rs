//! Traffic policy: canary deployments, timeouts and retries.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tidegate_testing::client::Client;
use tidegate_testing::origin::Origin;
use tidegate_testing::tools::Tool;

use super::{Guide, apply, say, service};

/// A Pod of a version, and the endpoint that it is.
fn version(version: &str, origin: &Origin) -> String {
    let labels = json!({"app": "app", "version": version});
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": version, "labels": labels},
        "spec": {"containers": [{"name": "app", "image": "app"}]},
    });
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": format!("app-{version}"),
            "labels": {"kubernetes.io/service-name": "app-service"},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": origin.address().port()}],
        "endpoints": [{
            "addresses": [origin.address().ip()],
            "targetRef": {"kind": "Pod", "name": version},
        }],
    });
    format!("{pod}\n{slice}")
}

/// How many of a thousand requests, all of one connection, go to the canary.
async fn canary_share(guide: &Guide) -> usize {
    let mut client = Client::connect(guide.gateway.http).await;
    let mut canary = 0;
    for _ in 0..1_000 {
        let answer = client.request("GET / HTTP/1.1\r\nHost: app.example.com\r\n\r\n").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let told: Value = answer.json();
        match told["service"].as_str() {
            Some("canary") => canary += 1,
            other => assert_eq!(other, Some("stable")),
        }
    }
    canary
}

#[tokio::test]
async fn a_canary_gets_its_share_of_any_thousand_requests() {
    let Some(guide) = Guide::begin(&[Tool::Kubectl], &[]).await else { return };
    let shell = &guide.shell;
    let stable = Origin::start().http(|request| say("stable", request)).await;
    let canary = Origin::start().http(|request| say("canary", request)).await;
    let ports = json!([{"name": "http", "port": 80}]);
    let app = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "app-service"},
        "spec": {"ports": ports, "selector": {"app": "app"}},
    });
    let versions = format!("{}\n{}", version("stable", &stable), version("canary", &canary));
    apply(shell, &format!("{app}\n{versions}")).await;

    guide.apply("gateway-http.yaml").await;
    guide.apply("virtualservice-canary.yaml").await;
    // Before there are subsets, that is what the status says.
    let condition = |name: &str| {
        format!(
            "kubectl get virtualservice canary-deployment \
             -o jsonpath='{{.status.conditions[?(@.type==\"{name}\")].message}}'"
        )
    };
    let missing = shell.ok(&condition("ResolvedRefs")).await;
    assert!(missing.contains("subset stable of host app-service"), "{missing}");
    assert_eq!(guide.goes("app.example.com", "/", &[]).await, "503");

    guide.apply("destinationrule-canary.yaml").await;
    shell.ok("kubectl wait --for=condition=ResolvedRefs virtualservice/canary-deployment").await;
    let share = canary_share(&guide).await;
    assert!((90..=110).contains(&share), "{share} of 1000 for 10 %");

    // The rollout goes on.
    for (weight, least, most) in [(50, 490, 510), (100, 1_000, 1_000), (0, 0, 0)] {
        let weights = json!([
            {"op": "replace", "path": "/spec/http/0/route/0/weight", "value": 100 - weight},
            {"op": "replace", "path": "/spec/http/0/route/1/weight", "value": weight},
        ]);
        shell
            .ok(&format!(
                "kubectl patch virtualservice canary-deployment --type=json -p '{weights}'"
            ))
            .await;
        let generation = shell
            .ok("kubectl get virtualservice canary-deployment -o jsonpath='{.metadata.generation}'")
            .await;
        let observed =
            "{.status.conditions[?(@.type==\"Programmed\")].observedGeneration}".to_owned();
        shell
            .ok(&format!(
                "kubectl wait --for=jsonpath='{observed}'={generation} virtualservice/canary-deployment"
            ))
            .await;
        let share = canary_share(&guide).await;
        assert!((least..=most).contains(&share), "{share} of 1000 for {weight} %");
    }
}

#[tokio::test]
async fn what_fails_is_tried_again() {
    let Some(guide) = Guide::begin(&[Tool::Kubectl], &[]).await else { return };
    // Fails three times in a row, with the statuses that are listed and those that are not.
    let statuses = [503, 504, 503, 200, 503, 504, 503, 503, 500, 200];
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let origin = Origin::start().http(move |request| {
        let status = statuses.get(count.fetch_add(1, Ordering::SeqCst)).copied().unwrap_or(200);
        async move {
            let mut answer = say("api-service", request).await;
            *answer.status_mut() = http::StatusCode::from_u16(status).expect("a status");
            answer
        }
    });
    let origin = origin.await;
    apply(&guide.shell, &service("api-service", 8080, &origin)).await;
    guide.apply("gateway-http.yaml").await;
    guide.apply("virtualservice-resilience.yaml").await;
    let goes = || guide.goes("api.example.com", "/api/a", &[]);
    assert_eq!(goes().await, "api-service /api/a");
    assert_eq!(asked.load(Ordering::SeqCst), 4);
    assert_eq!(goes().await, "503", "three more attempts, and no other");
    assert_eq!(asked.load(Ordering::SeqCst), 8);
    assert_eq!(goes().await, "500", "which is not listed");
    assert_eq!(goes().await, "api-service /api/a");
    assert_eq!(asked.load(Ordering::SeqCst), 10);
}
