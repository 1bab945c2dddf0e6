//! What workloads that other processes serve were refused.

use super::super::EGRESS_PATH;
use super::*;

const PODS: &str = "/api/v1/namespaces/default/pods";

async fn pod(lab: &Lab) -> String {
    let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "p" },
        "spec": { "containers": [{ "name": "app", "image": "x" }] } });
    let created = lab.post(PODS, pod).await.expect(201);
    created["metadata"]["uid"].as_str().expect("a uid").to_owned()
}

fn list(count: u64) -> Value {
    let entry = json!({
        "protocol": "TLS", "host": "www.espn.com", "address": "192.0.2.1", "port": 443, "source": "10.0.0.7",
        "count": count, "first": "2026-01-01T00:00:00.5Z", "last": "2026-01-02T00:00:00Z",
    });
    json!({ "denied": [entry], "unlisted": 2 })
}

#[tokio::test]
async fn the_last_list_of_a_pod_counts_and_outlives_it() {
    let lab = lab();
    let uid = pod(&lab).await;
    assert_eq!(lab.get(EGRESS_PATH).await.expect(200)["items"], json!([]));
    let hand_in = async |uid: &str, list: &Value| {
        lab.post(&format!("{PODS}/p/egress?uid={uid}"), list.clone()).await
    };
    hand_in(&uid, &list(1)).await.expect(200);
    hand_in(&uid, &list(3)).await.expect(200);
    let mut told = list(3);
    told["node"] = json!({ "metadata": { "NAME": "p", "NAMESPACE": "default" } });
    assert_eq!(lab.get(EGRESS_PATH).await.expect(200)["items"], json!([told]));
    assert_eq!(hand_in("other", &list(4)).await.code, 409, "another Pod had the name");
    assert_eq!(hand_in(&uid, &json!({ "denied": [{}] })).await.code, 400);
    lab.delete(&format!("{PODS}/p?gracePeriodSeconds=0")).await.expect(200);
    assert_eq!(hand_in(&uid, &list(4)).await.code, 404);
    assert_eq!(lab.get(EGRESS_PATH).await.expect(200)["items"], json!([told]));
}

#[tokio::test]
async fn who_sees_pods_sees_what_they_were_refused_and_who_writes_them_says_so() {
    let lab = lab();
    let uid = pod(&lab).await;
    let user = |groups: &[&str]| User {
        name: "somebody".into(),
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
    };
    let (viewer, nobody) = (user(&["tidegate:view"]), user(&[]));
    let asks = async |user: &User| lab.call(Method::GET, EGRESS_PATH).by(user).send().await.code;
    assert_eq!((asks(&viewer).await, asks(&nobody).await), (200, 404));
    let path = format!("{PODS}/p/egress?uid={uid}");
    let handed = lab.call(Method::POST, &path).by(&viewer).json(&list(1)).send().await;
    assert_eq!(handed.code, 403);
    assert_eq!(lab.post(EGRESS_PATH, json!({})).await.code, 405);
}
