//! Server-side apply: what a manager says is its own.

use super::*;

const APPLY: &str = "application/apply-patch+yaml";

fn wanted(spec: &Value) -> Value {
    json!({ "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": { "name": "s" }, "spec": spec })
}

async fn apply(lab: &Lab, query: &str, body: Value) -> Answer {
    lab.patch(&format!("{VS}/s?{query}"), APPLY, body).await
}

#[tokio::test]
async fn fields_belong_to_whoever_applied_them() {
    let lab = lab();
    let answer = apply(&lab, "", wanted(&json!({}))).await;
    answer.refused(
        422,
        "Invalid",
        "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch",
    );
    let route = json!([{ "route": [{ "destination": { "host": "h" } }] }]);
    let mut first = wanted(&json!({ "hosts": ["a"], "http": route }));
    first["metadata"]["labels"] = json!({ "a": "1" });
    let created = apply(&lab, "fieldManager=m1", first.clone()).await.expect(201);
    assert_eq!(
        apply(&lab, "fieldManager=m1", first.clone()).await.expect(200),
        created,
        "no change"
    );

    first["metadata"] = json!({ "name": "s" });
    let without = apply(&lab, "fieldManager=m1", first).await.expect(200);
    assert!(without["metadata"].get("labels").is_none(), "what is no longer wanted goes");

    let other = wanted(&json!({ "hosts": ["other"] }));
    let conflict = apply(&lab, "fieldManager=m2", other.clone()).await;
    conflict.refused(
        409,
        "Conflict",
        "Apply failed with 1 conflict: conflict with \"m1\": .spec.hosts",
    );
    assert_eq!(
        conflict.json["details"]["causes"],
        json!([{ "reason": "FieldManagerConflict", "message": "conflict with \"m1\"", "field": ".spec.hosts" }])
    );
    let forced = apply(&lab, "fieldManager=m2&force=true", other).await.expect(200);
    assert_eq!(forced["spec"]["hosts"], json!(["other"]));
    let nothing = json!({ "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": { "name": "s" } });
    let dropped = apply(&lab, "fieldManager=m1", nothing).await.expect(200);
    assert_eq!(dropped["spec"], json!({ "hosts": ["other"] }), "m2's host stays, m1's routes go");

    let item = format!("{VS}/s?fieldManager=m3");
    lab.patch(&item, MERGE, json!({ "spec": { "gateways": ["g"] } })).await.expect(200);
    let conflict = apply(&lab, "fieldManager=m1", wanted(&json!({ "gateways": ["x"] }))).await;
    assert!(
        conflict.text.contains("conflict with \\\"m3\\\" using networking.istio.io/v1"),
        "{}",
        conflict.text
    );
}

#[tokio::test]
async fn applies_that_make_no_sense() {
    let lab = lab();
    apply(&lab, "fieldManager=m1", json!({ "spec": {} })).await.refused(
        400,
        "BadRequest",
        "invalid object type: /, Kind=",
    );
    let mut managed = wanted(&json!({ "hosts": ["a"] }));
    managed["metadata"]["managedFields"] = json!([]);
    apply(&lab, "fieldManager=m1", managed).await.refused(
        400,
        "BadRequest",
        "metadata.managedFields must be nil",
    );
    apply(&lab, "fieldManager=m1", wanted(&json!({ "zzz": 1 }))).await.refused(
        500,
        "",
        "failed to create typed patch object (default/s; networking.istio.io/v1, Kind=VirtualService): \
         .spec.zzz: field not declared in schema",
    );
    let mut gone = wanted(&json!({ "hosts": ["a"] }));
    gone["metadata"]["uid"] = "x".into();
    let answer = apply(&lab, "fieldManager=m1", gone).await;
    assert!(answer.code == 409 && answer.text.contains("uid mismatch"), "{}", answer.text);
    let long = format!("fieldManager={}", "m".repeat(129));
    assert_eq!(apply(&lab, &long, wanted(&json!({}))).await.code, 422);
}

#[tokio::test]
async fn lists_of_built_in_kinds_are_shared_entry_by_entry() {
    let lab = lab();
    let item = |manager: &str| format!("{SERVICES}/s?fieldManager={manager}");
    let port = |port: u16, name: &str| {
        json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "s" },
            "spec": { "ports": [{ "port": port, "name": name }] } })
    };
    lab.patch(&item("m1"), APPLY, port(80, "http")).await.expect(201);
    let both = lab.patch(&item("m2"), APPLY, port(443, "https")).await.expect(200);
    assert_eq!(both["spec"]["ports"].as_array().map(Vec::len), Some(2));
    let moved = lab.patch(&item("m1"), APPLY, port(81, "other")).await.expect(200);
    let ports: Vec<&Value> =
        moved["spec"]["ports"].as_array().expect("ports").iter().map(|p| &p["port"]).collect();
    assert_eq!(ports, [443, 81], "m1's old port is gone, m2's is not");
}

#[tokio::test]
async fn yaml_is_applied_too() {
    let lab = lab();
    let call = lab
        .call(Method::PATCH, &format!("{CM}/c?fieldManager=m"))
        .body("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: \"1\"}\n");
    let created = call.header(header::CONTENT_TYPE, APPLY).send().await.expect(201);
    assert_eq!(created["data"], json!({ "a": "1" }));
    let owner = &created["metadata"]["managedFields"][0];
    assert_eq!((&owner["manager"], &owner["operation"]), (&json!("m"), &json!("Apply")));
    assert_eq!(owner["fieldsV1"], json!({ "f:data": { "f:a": {} } }));
}

#[tokio::test]
async fn an_object_that_is_being_deleted_keeps_its_rules() {
    let lab = lab();
    let route = json!([{ "route": [{ "destination": { "host": "h" } }] }]);
    let form = |finalizers: Value| {
        let mut form = wanted(&json!({ "hosts": ["a"], "http": route }));
        form["metadata"]["finalizers"] = finalizers;
        form
    };
    let held = form(json!(["example.com/a"]));
    apply(&lab, "fieldManager=m", held).await.expect(201);
    lab.delete(&format!("{VS}/s")).await.expect(200);
    let more = form(json!(["example.com/a", "example.com/b"]));
    apply(&lab, "fieldManager=m", more).await.refused(
        422,
        "Invalid",
        "VirtualService.networking.istio.io \"s\" is invalid: metadata.finalizers: Forbidden: no new \
         finalizers can be added if the object is being deleted, found new finalizers \
         []string{\"example.com/b\"}",
    );
    // The last finalizer goes, and so does the object.
    apply(&lab, "fieldManager=m", form(json!([]))).await.expect(200);
    assert_eq!(lab.get(&format!("{VS}/s")).await.code, 404);
}

/// What is said of a VirtualService in its status.
fn said(reason: &str) -> Value {
    json!({ "conditions": [{
        "type": "Programmed", "status": "True", "reason": reason, "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }] })
}

/// Managers, the sub-resource through which they write, and the top-level fields that they own.
fn owners(object: &Value) -> Vec<(String, String, Vec<String>)> {
    let entries = object["metadata"]["managedFields"].as_array().expect("owners").iter();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let fields = |entry: &Value| {
        entry["fieldsV1"].as_object().expect("fields").keys().cloned().collect::<Vec<_>>()
    };
    entries.map(|e| (text(&e["manager"]), text(&e["subresource"]), fields(e))).collect()
}

fn owner(manager: &str, subresource: &str, fields: &[&str]) -> (String, String, Vec<String>) {
    (manager.into(), subresource.into(), fields.iter().map(|&field| field.into()).collect())
}

#[tokio::test]
async fn an_object_that_was_exported_with_its_status_is_applied_without_it() {
    let lab = lab();
    let route = json!([{ "route": [{ "destination": { "host": "h" } }] }]);
    let mut exported = wanted(&json!({ "hosts": ["a"], "http": route }));
    exported["status"] = said("Exported");
    let created = apply(&lab, "fieldManager=m", exported.clone()).await.expect(201);
    assert_eq!(created.get("status"), None);
    assert_eq!(owners(&created), [owner("m", "", &["f:spec"])]);

    let mut status = wanted(&Value::Null);
    status["status"] = said("Served");
    let path = format!("{VS}/s/status?fieldManager=gateway");
    lab.patch(&path, APPLY, status).await.expect(200);
    let again = apply(&lab, "fieldManager=m", exported.clone()).await.expect(200);
    let forced = apply(&lab, "fieldManager=n&force=true", exported).await.expect(200);
    assert_eq!((&again["status"], &forced["status"]), (&said("Served"), &said("Served")));
    let expected = [
        owner("m", "", &["f:spec"]),
        owner("gateway", "status", &["f:status"]),
        owner("n", "", &["f:spec"]),
    ];
    assert_eq!(owners(&forced), expected);
}

#[tokio::test]
async fn what_is_applied_to_a_status_is_nothing_else() {
    let lab = lab();
    lab.post(VS, virtual_service("s", "a")).await.expect(201);
    let mut other = virtual_service("s", "another");
    other["metadata"]["labels"] = json!({ "a": "1" });
    other["status"] = said("Served");
    let path = format!("{VS}/s/status?fieldManager=st&force=true");
    let now = lab.patch(&path, APPLY, other.clone()).await.expect(200);
    assert_eq!((&now["spec"]["hosts"], &now["status"]), (&json!(["a"]), &said("Served")));
    assert_eq!(now["metadata"]["generation"], 1);
    assert_eq!(now["metadata"].get("labels"), None);
    assert_eq!(owners(&now).last(), Some(&owner("st", "status", &["f:status"])));
    other["status"] = Value::Null;
    other.as_object_mut().expect("an object").remove("status");
    let without = lab.patch(&path, APPLY, other).await.expect(200);
    assert_eq!(without.get("status"), None, "what is no longer said goes");
    assert_eq!(without["spec"], now["spec"]);

    let service = |app: &str| {
        json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "s" },
            "spec": { "selector": { "app": app }, "ports": [{ "port": 80 }] } })
    };
    lab.post(SERVICES, service("a")).await.expect(201);
    let path = format!("{SERVICES}/s/status?fieldManager=st&force=true");
    let now = lab.patch(&path, APPLY, service("b")).await.expect(200);
    assert_eq!(now["spec"]["selector"], json!({ "app": "a" }));
}

/// No kubelet is here to write a Pod's address.
#[tokio::test]
async fn a_pod_is_applied_with_its_status_when_it_is_new() {
    let lab = lab();
    let pod = |ip: &str| {
        json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "p" },
            "spec": { "containers": [{ "name": "c", "image": "i" }] },
            "status": { "podIP": ip } })
    };
    let path = "/api/v1/namespaces/default/pods/p?fieldManager=m";
    let new = lab.patch(path, APPLY, pod("10.0.0.1")).await.expect(201);
    assert_eq!(new["status"]["podIP"], "10.0.0.1");
    let again = lab.patch(path, APPLY, pod("10.0.0.2")).await.expect(200);
    assert_eq!(again["status"]["podIP"], "10.0.0.1");
}

/// As structured-merge-diff has it: what is said to be nothing is owned, and takes nothing of others along.
#[tokio::test]
async fn who_applies_nothing_in_a_place_owns_it() {
    let lab = lab();
    let apply = async |manager: &str, labels: Value| {
        let mut object = config_map("o", &labels);
        object.as_object_mut().expect("an object").remove("data");
        let target = format!("{CM}/o?fieldManager={manager}");
        let now = lab.patch(&target, APPLY, object).await;
        assert!(now.code < 300, "{}", now.text);
        let owners = now.json["metadata"]["managedFields"].as_array().cloned();
        let own = |entry: &Value| entry["manager"] == manager;
        let own = owners.unwrap_or_default().into_iter().find(own);
        (now.json["metadata"]["labels"].clone(), own.map(|entry| entry["fieldsV1"].clone()))
    };
    let owned = |labels: Value| Some(json!({"f:metadata": {"f:labels": labels}}));
    assert_eq!(apply("one", json!({"a": "1"})).await.1, owned(json!({"f:a": {}})));
    apply("two", json!({"b": "2"})).await;
    for nothing in [Value::Null, json!({})] {
        assert_eq!(apply("one", nothing).await, (json!({"b": "2"}), owned(json!({}))));
        let both = json!({"a": "1", "b": "2"});
        assert_eq!(apply("one", json!({"a": "1"})).await, (both, owned(json!({"f:a": {}}))));
    }
    apply("two", Value::Null).await;
    assert_eq!(apply("one", json!({})).await, (Value::Null, owned(json!({}))));
    assert_eq!(apply("three", json!({"c": "3"})).await.0, json!({"c": "3"}), "no conflict");

    // A list that merges by keys is no place of its own.
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "o"},
        "spec": {"ports": [{"port": 80}]}});
    lab.post(SERVICES, service.clone()).await.expect(201);
    for (nothing, fields) in [(json!([]), None), (Value::Null, Some(json!({"f:ports": {}})))] {
        let mut said = service.clone();
        said["spec"]["ports"] = nothing;
        let target = format!("{SERVICES}/o?fieldManager=one");
        let now = lab.patch(&target, APPLY, said).await.expect(200);
        assert_eq!(now["spec"]["ports"][0]["port"], 80);
        let owners = now["metadata"]["managedFields"].as_array().expect("owners");
        let own = owners.iter().find(|entry| entry["manager"] == "one");
        assert_eq!(own.map(|own| own["fieldsV1"]["f:spec"].clone()), fields);
    }
}
