//! Endpoints, made of what other objects say.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::rest::endpoints;

const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
const PODS: &str = "/api/v1/namespaces/default/pods";
const ENDPOINTS: &str = "/api/v1/namespaces/default/endpoints";
const PATIENCE: Duration = Duration::from_secs(60);

fn service(selector: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": "web", "labels": { "team": "shop" } },
        "spec": {
            "selector": selector,
            "ports": [
                { "name": "http", "port": 80, "targetPort": "web" },
                { "name": "admin", "port": 81, "targetPort": 8081 },
            ],
        },
    })
}

fn slice(name: &str, addresses: &Value) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": { "name": name, "labels": { "kubernetes.io/service-name": "web" } },
        "addressType": "IPv4",
        "ports": [{ "name": "http", "port": 8080 }],
        "endpoints": addresses,
    })
}

fn pod(name: &str, ip: &str, ready: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "labels": { "app": "web" } },
        "spec": { "containers": [
            { "name": "c", "image": "i", "ports": [{ "name": "web", "containerPort": 8080 }] },
        ] },
        "status": { "podIP": ip, "conditions": [{ "type": "Ready", "status": ready }] },
    })
}

/// A lab in which Endpoints are made.
async fn following() -> (Lab, JoinHandle<()>) {
    let lab = lab();
    let shutdown = lab.api.shutdown.clone();
    let task = tokio::spawn(endpoints::run(lab.store.clone(), shutdown));
    (lab, task)
}

/// Waits until `subsets` of the Endpoints are these; none where there are no Endpoints.
async fn until(lab: &Lab, subsets: Option<Value>) -> Value {
    let reached = async {
        loop {
            let found = lab.get(&format!("{ENDPOINTS}/web")).await;
            let there = (found.code == 200).then(|| found.json["subsets"].clone());
            if there == subsets {
                return found.json;
            }
            tokio::task::yield_now().await;
        }
    };
    match timeout(PATIENCE, reached).await {
        Ok(found) => found,
        Err(_) => panic!("{}", lab.get(&format!("{ENDPOINTS}/web")).await.text),
    }
}

#[tokio::test]
async fn they_show_what_slices_say() {
    let (lab, task) = following().await;
    lab.post(SERVICES, service(&json!({ "app": "web" }))).await.expect(201);
    let none = until(&lab, Some(Value::Null)).await;
    assert_eq!(none["metadata"]["labels"]["team"], "shop");
    assert_eq!(none["metadata"]["labels"]["endpoints.kubernetes.io/managed-by"], "tidegate");
    let port = json!([{ "name": "http", "port": 8080, "protocol": "TCP" }]);

    let two = json!([
        { "addresses": ["10.1.2.4"], "conditions": { "ready": false } },
        { "addresses": ["10.1.2.3"], "nodeName": "node-1",
          "targetRef": { "kind": "Pod", "name": "web-1", "namespace": "default" } },
    ]);
    lab.post(SLICES, slice("a", &two)).await.expect(201);
    lab.post(SLICES, slice("b", &json!([{ "addresses": ["10.1.2.5"] }]))).await.expect(201);
    let first = json!({ "ip": "10.1.2.3", "nodeName": "node-1",
        "targetRef": { "kind": "Pod", "name": "web-1", "namespace": "default" } });
    let subset = json!({
        "addresses": [first, { "ip": "10.1.2.5" }],
        "notReadyAddresses": [{ "ip": "10.1.2.4" }],
        "ports": port,
    });
    until(&lab, Some(json!([subset]))).await;

    lab.delete(&format!("{SLICES}/a")).await.expect(200);
    let subset = json!({ "addresses": [{ "ip": "10.1.2.5" }], "ports": port });
    let mut shown = until(&lab, Some(json!([subset]))).await;
    shown["subsets"] = json!([]);
    let put = lab.put(&format!("{ENDPOINTS}/web"), shown).await;
    assert_eq!(put.code, 403, "{}", put.text);
    lab.delete(&format!("{SERVICES}/web")).await.expect(200);
    until(&lab, None).await;
    lab.stop.send_replace(true);
    task.await.expect("stopped");
}

#[tokio::test]
async fn without_slices_they_are_the_pods_that_are_selected() {
    let (lab, _task) = following().await;
    lab.post(PODS, pod("b", "10.0.0.2", "True")).await.expect(201);
    lab.post(PODS, pod("a", "10.0.0.1", "False")).await.expect(201);
    lab.post(SERVICES, service(&json!({ "app": "web" }))).await.expect(201);
    let addressed = |ip: &str, pod: &str| {
        let item =
            lab.store.get(&tidegate_api::ObjectKey::new(tidegate_api::Kind::Pod, "default", pod));
        let uid = item.expect("a Pod").json()["metadata"]["uid"].clone();
        json!({ "ip": ip, "targetRef": { "kind": "Pod", "namespace": "default", "name": pod, "uid": uid } })
    };
    let ports = json!([
        { "name": "http", "port": 8080, "protocol": "TCP" },
        { "name": "admin", "port": 8081, "protocol": "TCP" },
    ]);
    let (a, b) = (addressed("10.0.0.1", "a"), addressed("10.0.0.2", "b"));
    let both = json!({ "addresses": [b], "notReadyAddresses": [a], "ports": ports });
    until(&lab, Some(json!([both]))).await;

    // One that is selected no more.
    let label = json!({ "metadata": { "labels": { "app": "other" } } });
    lab.patch(&format!("{PODS}/b"), MERGE, label).await.expect(200);
    until(&lab, Some(json!([{ "notReadyAddresses": [a], "ports": ports }]))).await;
    let none = json!({ "spec": { "selector": null } });
    lab.patch(&format!("{SERVICES}/web"), MERGE, none).await.expect(200);
    until(&lab, None).await;
}

#[tokio::test]
async fn endpoints_that_somebody_wrote_stand() {
    let (lab, _task) = following().await;
    let written = json!([{
        "addresses": [{ "ip": "10.9.9.9" }],
        "ports": [{ "port": 1, "protocol": "TCP" }],
    }]);
    let own = json!({
        "apiVersion": "v1", "kind": "Endpoints", "metadata": { "name": "web" }, "subsets": written,
    });
    lab.post(ENDPOINTS, own).await.expect(201);
    lab.post(SERVICES, service(&json!({ "app": "web" }))).await.expect(201);
    lab.post(SLICES, slice("a", &json!([{ "addresses": ["10.1.2.5"] }]))).await.expect(201);
    until(&lab, Some(written)).await;
    lab.delete(&format!("{ENDPOINTS}/web")).await.expect(200);
    let port = json!([{ "name": "http", "port": 8080, "protocol": "TCP" }]);
    until(&lab, Some(json!([{ "addresses": [{ "ip": "10.1.2.5" }], "ports": port }]))).await;
}

/// Waits until slices say these addresses, each with whether it is ready and the numbers of its ports.
async fn slices_until(lab: &Lab, wanted: &[(&str, bool, u64)]) -> Value {
    let reached = async {
        loop {
            let found = lab.get(SLICES).await.json;
            let slices = found["items"].as_array().expect("a list").iter();
            let mut said: Vec<(String, bool, u64)> = slices
                .flat_map(|slice| {
                    let port = slice["ports"][0]["port"].as_u64().expect("a port");
                    let endpoints = slice["endpoints"].as_array().expect("endpoints").iter();
                    endpoints.map(move |endpoint| {
                        let address = endpoint["addresses"][0].as_str().expect("an address");
                        (address.to_owned(), endpoint["conditions"]["ready"] == true, port)
                    })
                })
                .collect();
            said.sort();
            let is = |(said, wanted): (&(String, bool, u64), &(&str, bool, u64))| {
                (&*said.0, said.1, said.2) == *wanted
            };
            if said.len() == wanted.len() && said.iter().zip(wanted).all(is) {
                return found;
            }
            tokio::task::yield_now().await;
        }
    };
    match timeout(PATIENCE, reached).await {
        Ok(found) => found,
        Err(_) => panic!("{}", lab.get(SLICES).await.text),
    }
}

#[tokio::test]
async fn those_of_a_service_without_a_selector_are_told_as_slices() {
    let (lab, task) = following().await;
    lab.post(SERVICES, service(&Value::Null)).await.expect(201);
    let port = json!([{ "name": "http", "port": 8080, "protocol": "TCP" }]);
    let mut endpoints = json!({
        "apiVersion": "v1", "kind": "Endpoints",
        "metadata": { "name": "web", "labels": { "team": "shop" } },
        "subsets": [{
            "addresses": [{ "ip": "10.1.2.3" }, { "ip": "fd00::3" }],
            "notReadyAddresses": [{ "ip": "10.1.2.4" }],
            "ports": port,
        }],
    });
    let written = lab.post(ENDPOINTS, endpoints.clone()).await;
    assert_eq!(written.code, 201, "{}", written.text);
    let warnings = written.warnings().join(" ");
    assert!(!warnings.contains("is stored, but"), "{warnings}");
    let all = [("10.1.2.3", true, 8080), ("10.1.2.4", false, 8080), ("fd00::3", true, 8080)];
    let slices = slices_until(&lab, &all).await;
    let labels = &slices["items"][0]["metadata"]["labels"];
    assert_eq!(labels["kubernetes.io/service-name"], "web");
    assert_eq!(labels["team"], "shop");
    let manager = "endpointslicemirroring-controller.k8s.io";
    assert_eq!(labels["endpointslice.kubernetes.io/managed-by"], manager);

    endpoints["subsets"] = json!([{ "addresses": [{ "ip": "10.1.2.5" }], "ports": port }]);
    lab.put(&format!("{ENDPOINTS}/web"), endpoints.clone()).await.expect(200);
    slices_until(&lab, &[("10.1.2.5", true, 8080)]).await;
    // A Service that selects Pods says itself which they are.
    let selects = json!({ "spec": { "selector": { "app": "web" } } });
    lab.patch(&format!("{SERVICES}/web"), MERGE, selects).await.expect(200);
    slices_until(&lab, &[]).await;
    let selects = json!({ "spec": { "selector": null } });
    lab.patch(&format!("{SERVICES}/web"), MERGE, selects).await.expect(200);
    slices_until(&lab, &[("10.1.2.5", true, 8080)]).await;
    lab.delete(&format!("{ENDPOINTS}/web")).await.expect(200);
    slices_until(&lab, &[]).await;
    lab.stop.send_replace(true);
    task.await.expect("it ends");
}
