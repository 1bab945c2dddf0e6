//! Merge, JSON and strategic patches.

use super::*;

const JSON_PATCH: &str = "application/json-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";

#[tokio::test]
async fn patches_of_a_custom_object() {
    let lab = lab();
    let mut object = virtual_service("p", "a");
    object["metadata"]["labels"] = json!({ "a": "1", "b": "2" });
    let created = lab.post(VS, object).await.expect(201);
    let item = format!("{VS}/p");
    let patch =
        json!({ "metadata": { "labels": { "a": null, "c": "3" } }, "spec": { "hosts": ["x"] } });
    let merged = lab.patch(&item, MERGE, patch).await.expect(200);
    assert_eq!(merged["metadata"]["labels"], json!({ "b": "2", "c": "3" }));
    assert_eq!(merged["metadata"]["generation"], 2);
    assert_eq!(
        lab.patch(&item, MERGE, json!({})).await.expect(200),
        merged,
        "no change, no revision"
    );
    let patched = lab
        .patch(
            &item,
            JSON_PATCH,
            json!([
                { "op": "test", "path": "/metadata/labels/c", "value": "3" },
                { "op": "add", "path": "/spec/hosts/-", "value": "y" },
                { "op": "remove", "path": "/metadata/labels/b" },
            ]),
        )
        .await
        .expect(200);
    assert_eq!(patched["spec"]["hosts"], json!(["x", "y"]));

    let failing = json!([{ "op": "test", "path": "/metadata/labels/c", "value": "9" }]);
    assert_eq!(lab.patch(&item, JSON_PATCH, failing).await.code, 422);
    assert_eq!(lab.patch(&item, JSON_PATCH, json!({})).await.code, 400);
    for content_type in [STRATEGIC, "application/json"] {
        lab.patch(&item, content_type, json!({})).await.refused(
            415,
            "UnsupportedMediaType",
            "the body of the request was in an unknown format - accepted media types include: \
             application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
        );
    }
    let stale = json!({ "metadata": { "resourceVersion": "1" } });
    assert_eq!(lab.patch(&item, MERGE, stale).await.json["reason"], "Conflict");
    lab.patch(&item, MERGE, json!({ "metadata": { "uid": "x" } })).await.refused(
        422,
        "Invalid",
        "VirtualService.networking.istio.io \"p\" is invalid: metadata.uid: Invalid value: \"x\": field is \
         immutable",
    );
    assert_eq!(lab.patch(&item, MERGE, json!({ "metadata": { "name": "q" } })).await.code, 400);
    assert_eq!(lab.patch(&item, MERGE, json!({ "kind": "Gateway" })).await.code, 422);
    let ignored =
        json!({ "metadata": { "creationTimestamp": "2000-01-01T00:00:00Z", "generation": 50 } });
    let ignored = lab.patch(&item, MERGE, ignored).await.expect(200);
    assert_eq!(ignored["metadata"]["creationTimestamp"], created["metadata"]["creationTimestamp"]);
    assert_eq!(ignored["metadata"]["generation"], 3);
    assert_eq!(lab.patch(&format!("{item}?force=true"), MERGE, json!({})).await.code, 422);
    assert_eq!(lab.patch(&format!("{VS}/absent"), MERGE, json!({})).await.code, 404);
    let strict = format!("{item}?fieldValidation=Strict");
    let unknown = lab.patch(&strict, MERGE, json!({ "spec": { "zzz": 1 } })).await;
    // kubectl prints kind and name of the details, and then the causes.
    unknown.refused(
        422,
        "Invalid",
        "VirtualService.networking.istio.io \"p\" is invalid: spec.zzz: unknown field; kubectl explain \
         virtualservice.spec lists the fields there",
    );
    let details = &unknown.json["details"];
    assert_eq!((&details["kind"], &details["name"]), (&"VirtualService".into(), &"p".into()));
    assert_eq!(details["causes"][0]["field"], "spec.zzz");
    let deeper = json!({ "spec": { "http": [{ "routes": [] }] }, "metadata": { "zzz": 1 } });
    let unknown = lab.patch(&strict, MERGE, deeper).await;
    let told = unknown.json["message"].as_str().expect("a message");
    for wanted in [
        "spec.http[0].routes: unknown field; kubectl explain virtualservice.spec.http ",
        "metadata.zzz: ",
    ] {
        assert!(told.contains(wanted), "{told}");
    }
}

#[tokio::test]
async fn strategic_patches_merge_lists_by_their_keys() {
    let lab = lab();
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": "s" },
        "spec": { "selector": { "x": "y" }, "ports": [{ "name": "http", "port": 80 }, { "name": "https", "port": 443 }] },
    });
    lab.post(SERVICES, service).await.expect(201);
    let item = format!("{SERVICES}/s");
    let patched = lab.patch(
        &item,
        STRATEGIC,
        json!({ "spec": { "ports": [{ "port": 80, "targetPort": 8080 }] } }),
    );
    let patched = patched.await.expect(200);
    assert_eq!(patched["spec"]["ports"][0]["targetPort"], 8080);
    assert_eq!(patched["spec"]["ports"][0]["name"], "http");
    assert_eq!(patched["spec"]["ports"][1]["port"], 443);
    let patch = json!({ "spec": {
        "ports": [{ "port": 443, "$patch": "delete" }, { "port": 90, "name": "n" }],
        "$setElementOrder/ports": [{ "port": 90 }, { "port": 80 }],
    } });
    let patched = lab.patch(&item, STRATEGIC, patch).await.expect(200);
    let ports: Vec<&Value> =
        patched["spec"]["ports"].as_array().expect("ports").iter().map(|p| &p["port"]).collect();
    assert_eq!(ports, [90, 80]);
    let patch = json!({ "spec": { "zzz": 1 } });
    let answer = lab.patch(&format!("{item}?fieldValidation=Strict"), STRATEGIC, patch).await;
    assert_eq!(answer.code, 422);
    assert!(answer.text.contains("map[spec:map[zzz:1]]"), "{}", answer.text);
    // Kubernetes' words for its own kinds, of which the value is no more than a beginning.
    let patch = json!({ "spec": { "zzz": "long".repeat(1000) } });
    let answer = lab.patch(&format!("{item}?fieldValidation=Strict"), STRATEGIC, patch).await;
    let told = answer.json["message"].as_str().expect("a message");
    assert!(told.contains("patch: Invalid value: \"map[spec:map[zzz:longlong"), "{told}");
    assert!(told.ends_with("…\": strict decoding error: unknown field \"spec.zzz\""), "{told}");
    assert!(told.len() < 400, "{told}");
}

#[tokio::test]
async fn a_patch_that_takes_away_what_is_not_there_changes_nothing() {
    let lab = lab();
    let map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "a" } });
    let made = lab.post(CM, map).await.expect(201);
    let item = format!("{CM}/a");
    let nothing = json!({ "data": { "zz": null }, "metadata": { "labels": { "zz": null } } });
    assert_eq!(lab.patch(&item, MERGE, nothing).await.expect(200), made);
    lab.patch(&item, MERGE, json!({ "data": { "a": "1" } })).await.expect(200);
    let emptied = lab.patch(&item, MERGE, json!({ "data": { "a": null } })).await.expect(200);
    assert_eq!(emptied.get("data"), None, "the last entry takes its map with it");

    let pods = "/api/v1/namespaces/default/pods";
    let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "p" },
        "spec": { "nodeSelector": {}, "volumes": [{ "name": "v", "emptyDir": {} }],
            "containers": [{ "name": "c", "image": "i", "resources": { "limits": {} } }] } });
    let pod = lab.post(pods, pod).await.expect(201);
    assert_eq!(pod["spec"].get("nodeSelector"), None);
    assert_eq!(pod["spec"]["volumes"][0]["emptyDir"], json!({}), "a struct without fields stays");
}

#[tokio::test]
async fn an_object_has_a_bound_however_it_grows() {
    let lab = lab();
    lab.post(VS, virtual_service("p", "a")).await.expect(201);
    let item = format!("{VS}/p");
    let body = json!({ "string": "x".repeat(700 << 10) });
    let answer = json!({ "directResponse": { "status": 200, "body": body } });
    let grow = json!([{ "op": "add", "path": "/spec/http/-", "value": answer }]);
    let mut codes = Vec::new();
    for _ in 0..3 {
        codes.push(lab.patch(&item, JSON_PATCH, grow.clone()).await.code);
    }
    assert_eq!(codes, [200, 200, 413]);
    let apply = "application/apply-patch+yaml";
    let mut whole = virtual_service("whole", "a");
    let body = json!({ "string": "x".repeat(900 << 10) });
    let answer = json!({ "directResponse": { "status": 200, "body": body } });
    whole["spec"]["http"] = json!([answer, answer]);
    let target = format!("{VS}/whole?fieldManager=it");
    for answer in [lab.patch(&target, apply, whole.clone()).await, lab.post(VS, whole).await] {
        assert_eq!(answer.code, 413);
        let message = answer.json["message"].as_str().expect("words");
        assert!(message.contains("the limit of one is 1572864"), "{message}");
    }
}
