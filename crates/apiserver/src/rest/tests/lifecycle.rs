//! An object from its creation to its end.

use super::*;
use crate::rest::namespaces;
use tidegate_api::{Kind, ObjectKey};

#[tokio::test]
async fn create_update_delete() {
    let lab = lab();
    let mut sent = virtual_service("r1", "a");
    for (field, value) in [
        ("uid", json!("mine")),
        ("generation", json!(77)),
        ("deletionGracePeriodSeconds", json!(5)),
    ] {
        sent["metadata"][field] = value;
    }
    sent["status"] = json!({ "observedGeneration": "9" });
    let created = lab.post(VS, sent).await.expect(201);
    assert_eq!(created["metadata"]["namespace"], "default");
    assert_eq!(created["metadata"]["generation"], 1);
    assert_ne!(created["metadata"]["uid"], "mine");
    assert!(created["metadata"].get("deletionGracePeriodSeconds").is_none());
    assert!(created.get("status").is_none());

    let item = format!("{VS}/r1");
    assert_eq!(lab.put(&item, created.clone()).await.expect(200), created, "nothing changed");
    let mut labelled = created.clone();
    labelled["metadata"]["labels"] = json!({ "a": "b" });
    let labelled = lab.put(&item, labelled).await.expect(200);
    assert_eq!(labelled["metadata"]["generation"], 1, "labels are not wanted state");
    assert_ne!(labelled["metadata"]["resourceVersion"], created["metadata"]["resourceVersion"]);
    lab.put(&item, created.clone()).await.refused(
        409,
        "Conflict",
        "Operation cannot be fulfilled on virtualservices.networking.istio.io \"r1\": the object has been \
         modified; please apply your changes to the latest version and try again",
    );
    lab.put(&item, virtual_service("r1", "a")).await.refused(
        422,
        "Invalid",
        "virtualservices.networking.istio.io \"r1\" is invalid: metadata.resourceVersion: Invalid value: 0: \
         must be specified for an update",
    );
    let mut changed = labelled;
    changed["spec"]["hosts"] = json!(["b"]);
    assert_eq!(lab.put(&item, changed).await.expect(200)["metadata"]["generation"], 2);
    lab.put(&item, virtual_service("other", "a")).await.refused(
        400,
        "BadRequest",
        "the name of the object (other) does not match the name on the URL (r1)",
    );
    assert_eq!(lab.put(&format!("{VS}/absent"), virtual_service("absent", "a")).await.code, 404);

    for (body, part) in [
        (json!({ "preconditions": { "uid": "x" } }), "the UID in the precondition (x)"),
        (
            json!({ "preconditions": { "resourceVersion": "1" } }),
            "the ResourceVersion in the precondition (1)",
        ),
    ] {
        let answer = lab.call(Method::DELETE, &item).json(&body).send().await;
        assert_eq!(answer.code, 409);
        assert!(answer.text.contains(part), "{}", answer.text);
    }
    let deleted =
        lab.call(Method::DELETE, &item).json(&json!({ "propagationPolicy": "Background" }));
    let deleted = deleted.send().await.expect(200);
    assert_eq!(deleted["status"], "Success");
    assert_eq!(deleted["details"]["kind"], "virtualservices");
    assert_eq!(deleted["details"]["uid"], created["metadata"]["uid"]);
    assert_eq!(lab.delete(&item).await.code, 404);
}

#[tokio::test]
async fn every_version_is_a_view_of_one_object() {
    let lab = lab();
    let old = VS.replace("/v1/", "/v1alpha3/");
    let mut object = virtual_service("mv", "a");
    object["apiVersion"] = "networking.istio.io/v1alpha3".into();
    let created = lab.post(&old, object).await.expect(201);
    assert_eq!(created["apiVersion"], "networking.istio.io/v1alpha3");
    let seen = lab.get(&format!("{VS}/mv")).await.expect(200);
    assert_eq!(seen["apiVersion"], "networking.istio.io/v1");
    assert_eq!(seen["metadata"]["uid"], created["metadata"]["uid"]);
    let list = lab.get(&VS.replace("/v1/", "/v1beta1/")).await.expect(200);
    assert_eq!(list["apiVersion"], "networking.istio.io/v1beta1");
    assert_eq!(list["items"][0]["apiVersion"], "networking.istio.io/v1beta1");
}

#[tokio::test]
async fn status_is_written_on_a_path_of_its_own() {
    let lab = lab();
    let created = lab.post(VS, virtual_service("st", "a")).await.expect(201);
    let status = format!("{VS}/st/status");
    let mut with_status = created.clone();
    with_status["spec"] = json!({ "hosts": ["ignored"] });
    with_status["status"] = json!({ "conditions": [{ "type": "Reconciled", "status": "True" }] });
    let written = lab.put(&status, with_status).await.expect(200);
    assert_eq!(written["spec"], created["spec"]);
    assert_eq!(written["status"]["conditions"][0]["type"], "Reconciled");
    assert_eq!(written["metadata"]["generation"], 1);
    let patch = json!({ "status": null, "spec": { "hosts": ["b"] } });
    let main = lab.patch(&format!("{VS}/st"), MERGE, patch).await.expect(200);
    assert_eq!(main["status"], written["status"], "the main path leaves status alone");
    assert_eq!(lab.get(&status).await.expect(200)["metadata"]["generation"], 2);
    assert_eq!(lab.get(&format!("{CM}/x/status")).await.code, 404);
}

#[tokio::test]
async fn finalizers_hold_an_object() {
    let lab = lab();
    let mut object = virtual_service("f", "a");
    object["metadata"]["finalizers"] = json!(["example.com/a", "example.com/b"]);
    lab.post(VS, object).await.expect(201);
    let item = format!("{VS}/f");
    let deleted = lab.delete(&item).await.expect(200);
    assert!(deleted["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(deleted["metadata"]["deletionGracePeriodSeconds"], 0);
    assert_eq!(deleted["metadata"]["generation"], 2);
    assert_eq!(lab.delete(&item).await.expect(200), deleted, "a second delete changes nothing");
    let more = json!({ "metadata": { "finalizers": ["example.com/a", "example.com/b", "example.com/c"] } });
    lab.patch(&item, MERGE, more).await.refused(
        422,
        "Invalid",
        "VirtualService.networking.istio.io \"f\" is invalid: metadata.finalizers: Forbidden: no new \
         finalizers can be added if the object is being deleted, found new finalizers \
         []string{\"example.com/c\"}",
    );
    let edited = lab
        .patch(&item, MERGE, json!({ "spec": { "hosts": ["still-editable"] } }))
        .await
        .expect(200);
    assert_eq!(edited["metadata"]["generation"], 3);
    lab.post(VS, virtual_service("f", "a")).await.refused(
        409,
        "AlreadyExists",
        "object is being deleted: virtualservices.networking.istio.io \"f\" already exists",
    );
    lab.patch(&item, MERGE, json!({ "metadata": { "finalizers": ["example.com/b"] } }))
        .await
        .expect(200);
    lab.patch(&item, MERGE, json!({ "metadata": { "finalizers": null } })).await.expect(200);
    assert_eq!(lab.get(&item).await.code, 404);
}

#[tokio::test]
async fn names_are_made_up_when_asked_for() {
    let lab = lab();
    let object =
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "generateName": "gen-" } });
    let created = lab.post(CM, object).await.expect(201);
    let name = created["metadata"]["name"].as_str().expect("a name");
    assert!(name.starts_with("gen-") && name.len() == 9, "{name}");
    let long = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "generateName": "a".repeat(100) } });
    let created = lab.post(CM, long).await.expect(201);
    assert_eq!(created["metadata"]["name"].as_str().map(str::len), Some(63));
}

#[tokio::test]
async fn a_dry_run_checks_everything_and_stores_nothing() {
    let lab = lab();
    let revision = lab.store.revision();
    let tried = lab.post(&format!("{VS}?dryRun=All"), virtual_service("d", "a")).await.expect(201);
    assert!(tried["metadata"]["uid"].is_string());
    assert!(tried["metadata"].get("resourceVersion").is_none());
    assert_eq!(lab.get(&format!("{VS}/d")).await.code, 404);
    assert_eq!(lab.store.revision(), revision);
    lab.post(VS, virtual_service("d", "a")).await.expect(201);
    assert_eq!(lab.post(&format!("{VS}?dryRun=All"), virtual_service("d", "a")).await.code, 409);
    let patch = json!({ "spec": { "hosts": ["z"] } });
    let patched = lab.patch(&format!("{VS}/d?dryRun=All"), MERGE, patch).await.expect(200);
    assert_eq!(patched["metadata"]["generation"], 2);
    let call = lab.call(Method::DELETE, &format!("{VS}/d")).json(&json!({ "dryRun": ["All"] }));
    call.send().await.expect(200);
    assert_eq!(lab.get(&format!("{VS}/d")).await.expect(200)["spec"]["hosts"], json!(["a"]));
    assert_eq!(lab.post(&format!("{VS}?dryRun=Nope"), virtual_service("x", "a")).await.code, 422);
}

#[tokio::test]
async fn services_get_addresses_and_ports_that_no_other_has() {
    let lab = lab();
    let service = |name: &str, spec: Value| json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": name }, "spec": spec });
    let ports = json!([{ "port": 80 }]);
    let one =
        lab.post(SERVICES, service("one", json!({ "type": "LoadBalancer", "ports": ports }))).await;
    let one = one.expect(201);
    let address = one["spec"]["clusterIP"].as_str().expect("an address");
    assert!(address.starts_with("10.96."), "{address}");
    assert_eq!(one["spec"]["clusterIPs"], json!([address]));
    assert!(one["spec"]["ports"][0]["nodePort"].as_u64().is_some_and(|port| port >= 30_000));
    assert_eq!(one["spec"]["ports"][0]["targetPort"], 80);
    assert_eq!(one["status"], json!({ "loadBalancer": {} }));
    let taken = service("two", json!({ "clusterIP": address, "ports": ports }));
    let answer = lab.post(SERVICES, taken).await;
    assert_eq!(answer.code, 422);
    assert!(answer.text.contains("provided IP is already allocated"), "{}", answer.text);
    let item = format!("{SERVICES}/one");
    let labelled = lab
        .patch(&item, MERGE, json!({ "metadata": { "labels": { "a": "b" } } }))
        .await
        .expect(200);
    assert_eq!(labelled["spec"], one["spec"], "what it has it keeps");
    let moved = lab.patch(&item, MERGE, json!({ "spec": { "clusterIP": "10.96.9.9" } })).await;
    assert_eq!(moved.code, 422);
    assert_eq!(lab.delete(&item).await.expect(200)["kind"], "Service", "answered with the object");
}

#[tokio::test]
async fn pods_keep_their_address_and_sets_of_them_come_with_a_warning() {
    let lab = lab();
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "p" },
        "spec": { "containers": [{ "name": "c", "image": "i" }] },
        "status": { "podIP": "10.1.2.3", "phase": "Running" },
    });
    let created = lab.post("/api/v1/namespaces/default/pods", pod).await.expect(201);
    assert_eq!(created["status"]["podIP"], "10.1.2.3");
    for (kind, plural, replicas) in [
        ("Deployment", "deployments", json!(1)),
        ("StatefulSet", "statefulsets", json!(1)),
        ("ReplicaSet", "replicasets", json!(1)),
        ("DaemonSet", "daemonsets", Value::Null),
    ] {
        let template = json!({ "metadata": { "labels": { "a": "b" } }, "spec": { "containers": [{ "name": "c", "image": "i" }] } });
        let set = json!({
            "apiVersion": "apps/v1", "kind": kind, "metadata": { "name": "d" },
            "spec": { "selector": { "matchLabels": { "a": "b" } }, "template": template, "serviceName": "d" },
        });
        let path = format!("/apis/apps/v1/namespaces/default/{plural}?fieldValidation=Ignore");
        let answer = lab.post(&path, set).await;
        let warnings = answer.warnings();
        assert!(
            warnings.iter().any(|told| told.contains("nothing here runs its pods")),
            "{kind}: {warnings:?}"
        );
        assert_eq!(answer.expect(201)["spec"]["replicas"], replicas, "{kind}");
    }
}

#[tokio::test]
async fn events_are_seen_through_both_groups() {
    let lab = lab();
    let new = "/apis/events.k8s.io/v1/namespaces/default/events";
    let event = json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": { "name": "e" },
        "eventTime": "2026-08-22T10:00:00.000000Z", "action": "Sync", "reason": "Applied", "type": "Normal",
        "regarding": { "kind": "VirtualService", "name": "v", "namespace": "default" }, "note": "hi",
        "reportingController": "tidegate", "reportingInstance": "i",
    });
    let created = lab.post(new, event).await.expect(201);
    assert_eq!(created["note"], "hi");
    let old = lab.get("/api/v1/namespaces/default/events/e").await.expect(200);
    assert_eq!((&old["message"], &old["reportingComponent"]), (&json!("hi"), &json!("tidegate")));
    assert_eq!(old["involvedObject"]["name"], "v");
    let patched = lab.patch(&format!("{new}/e"), MERGE, json!({ "note": "ho" })).await.expect(200);
    assert_eq!(patched["note"], "ho");
    let picked = lab.get(
        "/api/v1/namespaces/default/events?fieldSelector=involvedObject.name=v,reason=Applied",
    );
    assert_eq!(picked.await.names(), ["e"]);
}

#[tokio::test]
async fn a_namespace_takes_its_contents_with_it() {
    let lab = lab();
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "n" } });
    let created = lab.post("/api/v1/namespaces", namespace).await.expect(201);
    assert_eq!(created["metadata"]["labels"]["kubernetes.io/metadata.name"], "n");
    assert_eq!(created["status"]["phase"], "Active");
    let maps = "/api/v1/namespaces/n/configmaps";
    let mut held = config_map("held", &json!({}));
    held["metadata"]["finalizers"] = json!(["example.com/x"]);
    lab.post(maps, held).await.expect(201);
    lab.post(maps, config_map("free", &json!({}))).await.expect(201);

    let deleted = lab.delete("/api/v1/namespaces/n").await.expect(200);
    assert_eq!(deleted["status"]["phase"], "Terminating");
    let refused = lab.post(maps, config_map("late", &json!({}))).await;
    refused.refused(
        403,
        "Forbidden",
        "configmaps \"late\" is forbidden: unable to create new content in namespace n because it is being \
         terminated",
    );
    let ending = tokio::spawn(namespaces::run(lab.store.clone(), lab.api.shutdown.clone()));
    let gone = |kind, name: &str| {
        let (store, key) = (
            lab.store.clone(),
            match kind {
                Kind::Namespace => ObjectKey::cluster(kind, "n"),
                _ => ObjectKey::new(kind, "n", name),
            },
        );
        async move {
            let mut watch = store.watch(kind, store.revision());
            while store.get(&key).is_some() {
                watch.next().await.expect("in the window");
            }
        }
    };
    let patience = tidegate_testing::PATIENCE;
    tokio::time::timeout(patience, gone(Kind::ConfigMap, "free")).await.expect("deleted");
    assert_eq!(lab.get("/api/v1/namespaces/n").await.code, 200, "held up by a finalizer");
    lab.patch(&format!("{maps}/held"), MERGE, json!({ "metadata": { "finalizers": null } }))
        .await
        .expect(200);
    tokio::time::timeout(patience, gone(Kind::Namespace, "")).await.expect("gone");
    lab.stop.send_replace(true);
    ending.await.expect("stopped");
    lab.delete("/api/v1/namespaces/default").await.refused(
        403,
        "Forbidden",
        "namespaces \"default\" is forbidden: this namespace may not be deleted",
    );
}

#[tokio::test]
async fn a_dry_run_is_refused_what_a_real_one_is() {
    use crate::store::Push;
    use tidegate_api::{Kind, Object, Origin};

    let lab = lab();
    let mut manifest = config_map("shown", &json!({}));
    manifest["metadata"]["namespace"] = json!("default");
    let decoded = Object::decode(Kind::ConfigMap, "v1", &manifest, Origin::Process);
    let object = Arc::new(decoded.expect("a valid object").object);
    let Value::Object(map) = manifest.clone() else { unreachable!("it was made as one") };
    lab.store.push(Push::Put { object, manifest: map }).await;
    let item = format!("{CM}/shown");
    let change = json!({ "data": { "a": "2" } });
    let mut replaced = manifest.clone();
    replaced["data"]["a"] = json!("2");
    for dry_run in ["", "?dryRun=All"] {
        let patched = lab.patch(&format!("{item}{dry_run}"), MERGE, change.clone()).await;
        assert_eq!((patched.code, dry_run), (403, dry_run), "{}", patched.text);
        let put = lab.put(&format!("{item}{dry_run}"), replaced.clone()).await;
        assert_eq!(put.json["message"], patched.json["message"]);
        let created = lab.post(&format!("{CM}{dry_run}"), manifest.clone()).await;
        assert_eq!(created.json["message"], patched.json["message"]);
    }
}

/// Whoever names no manager is known by its program.
#[tokio::test]
async fn who_writes_is_told_by_the_user_agent() {
    let lab = lab();
    let agent = "kubectl/v1.32.5 (linux/amd64) kubernetes/9894294";
    for (name, query, agent, expected) in [
        ("a", "", agent, "kubectl"),
        ("b", "", "OpenAPI-Generator", "OpenAPI-Generator"),
        ("c", "?fieldManager=me", agent, "me"),
        ("d", "", "", "unknown"),
    ] {
        let call = lab.call(Method::POST, &format!("{CM}{query}"));
        let call = call.json(&config_map(name, &json!({})));
        let made = call.header(header::USER_AGENT, agent).send().await.expect(201);
        assert_eq!(made["metadata"]["managedFields"][0]["manager"], expected, "{agent:?}");
    }
}

#[tokio::test]
async fn what_nothing_here_acts_on_is_said_when_it_is_asked_for() {
    let lab = lab();
    let pods = "/api/v1/namespaces/default/pods";
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "run" },
        "spec": { "containers": [{ "name": "c", "image": "i" }] },
    });
    let run = lab.post(pods, pod.clone()).await;
    assert_eq!(run.code, 201, "{}", run.text);
    assert!(
        run.warnings()[0].contains("nothing here runs it: tidegate run"),
        "{:?}",
        run.warnings()
    );
    // One that says where it is stands for something that runs.
    pod["metadata"]["name"] = "stands".into();
    pod["status"] = json!({ "podIP": "192.0.2.1" });
    assert!(lab.post(pods, pod).await.warnings().is_empty());
    let containers = json!({ "spec": { "ephemeralContainers": [{ "name": "d", "image": "i" }] } });
    let debug = lab.patch(&format!("{pods}/run/ephemeralcontainers"), MERGE, containers).await;
    debug.refused(
        400,
        "BadRequest",
        "no container can be added to pod run: nothing here runs pods, this one only says where endpoints are",
    );
    let scalers = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";
    lab.post(scalers, json!({})).await.refused(
        404,
        "NotFound",
        "horizontalpodautoscalers.autoscaling are not served: nothing here runs pods, and so nothing scales them",
    );
}
