//! Logs of Pods that other processes run.

use super::super::RUN_ANNOTATION;
use super::*;

const PODS: &str = "/api/v1/namespaces/default/pods";

async fn pod(lab: &Lab) -> String {
    let containers =
        json!([{ "name": "app", "image": "x" }, { "name": "istio-proxy", "image": "x" }]);
    let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "p" }, "spec": { "containers": containers } });
    let created = lab.post(PODS, pod).await.expect(201);
    created["metadata"]["uid"].as_str().expect("a uid").to_owned()
}

#[tokio::test]
async fn lines_that_are_handed_in_are_the_container_s_log() {
    let lab = lab();
    let uid = pod(&lab).await;
    let log = format!("{PODS}/p/log?container=istio-proxy");
    let none = lab.get(&log).await;
    assert_eq!(none.code, 400, "{}", none.text);
    assert!(none.text.contains("not run by this process"), "{}", none.text);

    let hand_in = async |query: &str, lines: &str| {
        lab.call(Method::POST, &format!("{PODS}/p/log?{query}")).body(lines.to_owned()).send().await
    };
    let whose = format!("container=istio-proxy&uid={uid}");
    hand_in(&whose, "").await.expect(200);
    assert_eq!(lab.get(&log).await.text, "", "there is a log, of which nothing has been written");
    hand_in(&whose, "one\ntwo\n").await.expect(200);
    hand_in(&whose, "three\n").await.expect(200);
    assert_eq!(lab.get(&log).await.text, "one\ntwo\nthree\n");
    assert_eq!(lab.get(&format!("{log}&tailLines=1")).await.text, "three\n");
    assert_eq!(lab.get(&format!("{PODS}/p/log?container=app")).await.code, 400, "not of another");

    hand_in("container=istio-proxy&uid=other", "four\n").await.refused(
        409,
        "Conflict",
        &format!(
            "Operation cannot be fulfilled on Pod \"p\": Precondition failed: UID in precondition: other, \
             UID in object meta: {uid}"
        ),
    );
    assert_eq!(hand_in("container=no", "four\n").await.code, 400);
    lab.delete(&format!("{PODS}/p?gracePeriodSeconds=0")).await.expect(200);
    assert_eq!(hand_in(&whose, "four\n").await.code, 404);
    pod(&lab).await;
    assert_eq!(lab.get(&log).await.code, 400, "another Pod of the name has another log");
}

#[tokio::test]
async fn the_log_of_a_command_says_where_its_output_is() {
    let lab = lab();
    let containers =
        json!([{ "name": "sh", "image": "x" }, { "name": "istio-proxy", "image": "x" }]);
    let metadata = json!({ "name": "p", "annotations": { RUN_ANNOTATION: "laptop/4711" } });
    let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": { "containers": containers } });
    lab.post(PODS, pod).await.expect(201);
    let log = lab.get(&format!("{PODS}/p/log?container=sh&follow=true")).await;
    assert_eq!(log.code, 200, "all containers are asked at once: {}", log.text);
    assert!(log.text.contains("the terminal of tidegate run"), "{}", log.text);
    assert!(log.text.ends_with("kubectl logs p -c istio-proxy\n"), "{}", log.text);
    assert_eq!(lab.get(&format!("{PODS}/p/log?container=sh&tailLines=0")).await.text, "");
    assert_eq!(lab.get(&format!("{PODS}/p/log?container=istio-proxy")).await.code, 400);
}
