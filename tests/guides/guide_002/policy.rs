//! Traffic policy: canary deployments, timeouts and retries.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::{Value, json};
use tidegate_testing::client::Client;
use tidegate_testing::origin::Origin;
use tidegate_testing::tools::Tool;
use tidegate_testing::{PATIENCE, eventually};

use super::{Guide, apply, pod, say, service};

/// A Pod of a version of the app, and the endpoint that it is.
fn version(version: &str, origin: &Origin) -> String {
    let labels = json!({"app": "app", "version": version});
    pod("app-service", version, &labels, origin.address())
}

/// Where a thousand requests go, all of one connection: how many to the canary, and how many fail.
async fn shares(guide: &Guide) -> (usize, usize) {
    let mut client = Client::connect(guide.gateway.http).await;
    let (mut canary, mut failed) = (0, 0);
    for _ in 0..1_000 {
        let answer = client.request("GET / HTTP/1.1\r\nHost: app.example.com\r\n\r\n").await;
        if answer.status != 200 {
            failed += 1;
            continue;
        }
        let told: Value = answer.json();
        match told["service"].as_str() {
            Some("canary") => canary += 1,
            other => assert_eq!(other, Some("stable")),
        }
    }
    (canary, failed)
}

/// How many of a thousand requests go to the canary, where none fails.
async fn canary_share(guide: &Guide) -> usize {
    let (canary, failed) = shares(guide).await;
    assert_eq!(failed, 0);
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

/// A Pod of the canary that answers 500 while it fails.
async fn canary(fails: &Arc<AtomicBool>) -> Origin {
    let fails = Arc::clone(fails);
    let answer = move |request| {
        let fails = fails.load(Ordering::SeqCst);
        async move {
            let mut answer = say("canary", request).await;
            if fails {
                *answer.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
            }
            answer
        }
    };
    Origin::start().http(answer).await
}

/// The guide up to its canary deployment, with two Pods of the canary.
async fn deployed(stable: &Origin, canaries: &[Origin; 2]) -> Option<Guide> {
    let guide = Guide::begin(&[Tool::Kubectl], &[]).await?;
    let app = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "app-service"},
        "spec": {"ports": [{"name": "http", "port": 80}], "selector": {"app": "app"}},
    });
    let labels = json!({"app": "app", "version": "canary"});
    let pods = [
        version("stable", stable),
        pod("app-service", "canary-a", &labels, canaries[0].address()),
        pod("app-service", "canary-b", &labels, canaries[1].address()),
    ];
    apply(&guide.shell, &format!("{app}\n{}", pods.join("\n"))).await;
    guide.apply("gateway-http.yaml").await;
    guide.apply("destinationrule-canary.yaml").await;
    guide.apply("virtualservice-canary.yaml").await;
    Some(guide)
}

#[tokio::test]
async fn a_canary_that_fails_costs_no_more_than_its_share() {
    let fails = [false, false].map(|fails| Arc::new(AtomicBool::new(fails)));
    let stable = Origin::start().http(|request| say("stable", request)).await;
    let canaries = [canary(&fails[0]).await, canary(&fails[1]).await];
    let Some(guide) = deployed(&stable, &canaries).await else { return };
    let shell = &guide.shell;
    // "Use DestinationRules for traffic policies": its production example's ejection.
    let patch = async |outlier: &Value| {
        let patch = json!({"spec": {"trafficPolicy": {"outlierDetection": outlier}}});
        let rule = "destinationrule app-service-dr";
        shell.ok(&format!("kubectl patch {rule} --type=merge -p '{patch}'")).await
    };
    patch(&json!({"consecutive5xxErrors": 5, "interval": "30s", "baseEjectionTime": "30s",
        "maxEjectionPercent": 50}))
    .await;
    let healthy =
        "cluster.outbound|80|canary|app-service.default.svc.cluster.local.membership_healthy";
    let until = |wanted: u64| {
        let guide = &guide;
        eventually(PATIENCE, move || async move {
            let (_, failed) = shares(guide).await;
            let found = guide.gateway.stat(healthy).await;
            if found == wanted { Ok(failed) } else { Err(format!("{found} and not {wanted}")) }
        })
    };
    let ten = 90..=110;

    fails[1].store(true, Ordering::SeqCst);
    // Those that it answers until it is ejected, of the tenth that is the canary's.
    let failed = until(1).await;
    assert!(failed <= 110, "{failed} of 1000");
    let asked = canaries[1].requests();
    let share = canary_share(&guide).await;
    assert!(ten.contains(&share), "{share} of 1000 for 10 %");
    assert_eq!(canaries[1].requests(), asked, "requests come to a Pod that is ejected");

    // Both fail: one stays, "maxEjectionPercent: 50", and stable versions get not one request more or less.
    fails[0].store(true, Ordering::SeqCst);
    let (canary, failed) = shares(&guide).await;
    assert!(canary == 0 && ten.contains(&failed), "{canary} answered, {failed} failed");

    fails.iter().for_each(|fails| fails.store(false, Ordering::SeqCst));
    patch(&json!({"interval": "1s", "baseEjectionTime": "1s"})).await;
    until(2).await;
    let asked = canaries[1].requests();
    let share = canary_share(&guide).await;
    assert!(ten.contains(&share), "{share} of 1000 for 10 %");
    assert!(canaries[1].requests() > asked, "it has returned");
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
