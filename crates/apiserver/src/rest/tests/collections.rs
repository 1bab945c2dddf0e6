//! Lists: selectors, pages, revisions, views; and deleting what a selector picks.

use super::*;

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

async fn five() -> Lab {
    let lab = lab();
    for n in 0..5 {
        lab.post(CM, config_map(&format!("c{n}"), &json!({ "n": n.to_string(), "g": "list" })))
            .await
            .expect(201);
    }
    lab
}

#[tokio::test]
async fn selectors_pick() {
    let lab = five().await;
    for (query, expected) in [
        ("labelSelector=n in (0,1)", &["c0", "c1"][..]),
        ("labelSelector=n notin (0,1,2),g", &["c3", "c4"]),
        ("labelSelector=!g", &[]),
        ("labelSelector=g%3Dlist,n%3D%3D3", &["c3"]),
        ("fieldSelector=metadata.name=c2", &["c2"]),
        (
            "fieldSelector=metadata.name!=c2,metadata.namespace=default&labelSelector=n<3",
            &["c0", "c1"],
        ),
        ("fieldSelector=metadata.namespace=other", &[]),
    ] {
        assert_eq!(lab.get(&format!("{CM}?{query}")).await.names(), expected, "{query}");
    }
    lab.get(&format!("{CM}?labelSelector=bad key!=x")).await.refused(
        400,
        "BadRequest",
        "unable to parse requirement: found 'key', expected: in, notin, =, ==, !=, gt, lt",
    );
    lab.get(&format!("{CM}?fieldSelector=data.a=1")).await.refused(
        400,
        "BadRequest",
        "field label not supported: data.a",
    );
}

/// What each field that is offered picks, through the API: who has the value, and with `!=` who has another.
#[tokio::test]
async fn fields_pick() {
    let lab = lab();
    let namespace = "/api/v1/namespaces/default";
    let pod = |name: &str, spec: Value, status: Value| {
        let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
            "spec": {"containers": [{"name": "c", "image": "i"}]}, "status": status});
        pod["spec"]
            .as_object_mut()
            .expect("a spec")
            .append(spec.clone().as_object_mut().expect("fields"));
        ("pods", pod)
    };
    let event = |name: &str, of: Value, more: Value| {
        let mut event = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": name}, "involvedObject": of});
        event
            .as_object_mut()
            .expect("an event")
            .append(more.clone().as_object_mut().expect("fields"));
        ("events", event)
    };
    let secret = |name: &str, kind: &str| {
        (
            "secrets",
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": kind}),
        )
    };
    let service = |name: &str, spec: Value| {
        (
            "services",
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}),
        )
    };
    let there = [
        pod(
            "a",
            json!({"nodeName": "n", "restartPolicy": "Never", "schedulerName": "s", "serviceAccountName": "sa", "hostNetwork": true}),
            json!({"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}], "phase": "Running", "nominatedNodeName": "m"}),
        ),
        pod("b", json!({}), json!({"podIP": "10.0.0.2", "phase": "Succeeded"})),
        event(
            "a",
            json!({"kind": "Pod", "namespace": "default", "name": "x", "uid": "u", "apiVersion": "v1", "resourceVersion": "7", "fieldPath": "spec"}),
            json!({"reason": "R", "type": "Warning", "reportingComponent": "c", "source": {"component": "s"}}),
        ),
        event(
            "b",
            json!({"kind": "Service", "namespace": "default", "name": "y"}),
            json!({"reason": "Q", "type": "Normal"}),
        ),
        secret("a", "example.com/x"),
        secret("b", "Opaque"),
        service("a", json!({"clusterIP": "None", "ports": [{"port": 80}]})),
        service("b", json!({"type": "NodePort", "ports": [{"port": 80}]})),
    ];
    for (plural, object) in there {
        lab.post(&format!("{namespace}/{plural}"), object).await.expect(201);
    }
    for (plural, field, value) in [
        ("pods", "spec.nodeName", "n"),
        ("pods", "spec.restartPolicy", "Never"),
        ("pods", "spec.schedulerName", "s"),
        ("pods", "spec.serviceAccountName", "sa"),
        ("pods", "spec.hostNetwork", "true"),
        ("pods", "status.phase", "Running"),
        ("pods", "status.podIP", "10.0.0.1"),
        ("pods", "status.podIPs", "10.0.0.1"),
        ("pods", "status.nominatedNodeName", "m"),
        ("events", "involvedObject.kind", "Pod"),
        ("events", "involvedObject.name", "x"),
        ("events", "involvedObject.uid", "u"),
        ("events", "involvedObject.apiVersion", "v1"),
        ("events", "involvedObject.resourceVersion", "7"),
        ("events", "involvedObject.fieldPath", "spec"),
        ("events", "reason", "R"),
        ("events", "reportingComponent", "c"),
        ("events", "source", "s"),
        ("events", "type", "Warning"),
        ("secrets", "type", "example.com/x"),
        ("services", "spec.clusterIP", "None"),
        ("services", "spec.type", "ClusterIP"),
    ] {
        for (is, picked) in [("=", "a"), ("==", "a"), ("!=", "b")] {
            let named = "metadata.name!=kubernetes";
            let query = format!("{namespace}/{plural}?fieldSelector={field}{is}{value},{named}");
            assert_eq!(lab.get(&query).await.names(), [picked], "{plural}: {field}{is}{value}");
        }
    }
    let active = lab.get("/api/v1/namespaces?fieldSelector=status.phase!=Active").await;
    assert_eq!(active.names(), [""; 0]);
}

#[tokio::test]
async fn pages_show_one_revision() {
    let lab = five().await;
    let first = lab.get(&format!("{CM}?limit=2")).await;
    assert_eq!(first.names(), ["c0", "c1"]);
    let metadata = &first.json["metadata"];
    assert_eq!(metadata["remainingItemCount"], 3);
    lab.delete(&format!("{CM}/c2")).await.expect(200);
    lab.post(CM, config_map("c3a", &json!({}))).await.expect(201);
    let token = metadata["continue"].as_str().expect("a token");
    let second = lab.get(&format!("{CM}?limit=2&continue={token}")).await;
    assert_eq!(second.names(), ["c2", "c3"], "as it stood when the first page was cut");
    assert_eq!(second.json["metadata"]["resourceVersion"], metadata["resourceVersion"]);
    let token = second.json["metadata"]["continue"].as_str().expect("a token").to_owned();
    assert_eq!(lab.get(&format!("{CM}?limit=2&continue={token}")).await.names(), ["c4"]);
    assert_eq!(lab.get(CM).await.names(), ["c0", "c1", "c3", "c3a", "c4"]);

    assert_eq!(
        lab.get(&format!("{CM}?limit=2&resourceVersion=0")).await.names().len(),
        5,
        "served whole"
    );
    assert_eq!(lab.get(&format!("{CM}?limit=-1")).await.names().len(), 5);
    for (query, code, reason) in [
        ("limit=abc", 400, "BadRequest"),
        ("continue=garbage", 400, "BadRequest"),
        (&*format!("continue={token}&resourceVersion=5"), 400, "BadRequest"),
        ("resourceVersion=abc", 400, "BadRequest"),
        ("resourceVersion=99999999", 504, "Timeout"),
        ("resourceVersionMatch=Exact", 422, "Invalid"),
        ("resourceVersionMatch=Bogus&resourceVersion=1", 422, "Invalid"),
        ("sendInitialEvents=true&resourceVersionMatch=NotOlderThan", 422, "Invalid"),
    ] {
        let answer = lab.get(&format!("{CM}?{query}")).await;
        assert_eq!((answer.code, answer.json["reason"].as_str()), (code, Some(reason)), "{query}");
    }
}

#[tokio::test]
async fn pages_expire_and_say_how_to_go_on() {
    let lab = five().await;
    let first = lab.get(&format!("{CM}?limit=2")).await;
    let token = first.json["metadata"]["continue"].as_str().expect("a token").to_owned();
    let then = first.json["metadata"]["resourceVersion"].as_str().expect("a revision").to_owned();
    lab.forget().await;
    let expired = lab.get(&format!("{CM}?limit=2&continue={token}")).await;
    assert_eq!((expired.code, &expired.json["reason"]), (410, &json!("Expired")));
    let token = expired.json["metadata"]["continue"].as_str().expect("a token");
    let rest = lab.get(&format!("{CM}?continue={token}")).await;
    assert_eq!(rest.names(), ["c2", "c3", "c4", "forget"], "the rest as it stands now");
    let exact = format!("{CM}?resourceVersionMatch=Exact&resourceVersion={then}");
    assert_eq!(lab.get(&exact).await.json["reason"], "Expired");
}

#[tokio::test]
async fn exact_lists_look_back() {
    let lab = five().await;
    let then = lab.store.revision();
    lab.delete(&format!("{CM}/c0")).await.expect(200);
    let exact = lab.get(&format!("{CM}?resourceVersionMatch=Exact&resourceVersion={then}")).await;
    assert_eq!(exact.names(), ["c0", "c1", "c2", "c3", "c4"]);
    assert_eq!(exact.json["metadata"]["resourceVersion"], then.to_string());
}

#[tokio::test]
async fn a_namespace_that_is_not_there_is_empty_to_readers() {
    let lab = lab();
    let list = lab.get("/api/v1/namespaces/nowhere/configmaps").await.expect(200);
    assert_eq!(list["items"], json!([]));
    assert_eq!(list["kind"], "ConfigMapList");
}

#[tokio::test]
async fn tables() {
    let lab = five().await;
    let get = |target: String| lab.call(Method::GET, &target).header(header::ACCEPT, TABLE).send();
    let table = get(format!("{CM}?limit=2")).await.expect(200);
    assert_eq!((&table["kind"], &table["apiVersion"]), (&json!("Table"), &json!("meta.k8s.io/v1")));
    let columns: Vec<&str> = table["columnDefinitions"]
        .as_array()
        .expect("columns")
        .iter()
        .filter_map(|column| column["name"].as_str())
        .collect();
    assert_eq!(columns, ["Name", "Data", "Age"]);
    let cells = &table["rows"][0]["cells"];
    assert_eq!((&cells[0], &cells[1]), (&json!("c0"), &json!(1)));
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    assert_eq!(table["metadata"]["remainingItemCount"], 3);
    let whole = get(format!("{CM}?includeObject=Object")).await.expect(200);
    assert_eq!(whole["rows"][0]["object"]["data"], json!({ "a": "1" }));
    let bare = get(format!("{CM}/c1?includeObject=None")).await.expect(200);
    assert_eq!(bare["rows"][0]["cells"][0], "c1");
    assert!(bare["rows"][0].get("object").is_none());
    assert_eq!(get(format!("{CM}?includeObject=x")).await.code, 400);
}

#[tokio::test]
async fn metadata_alone_and_yaml() {
    let lab = five().await;
    let accept = |target: &str, accept: &str| {
        lab.call(Method::GET, target).header(header::ACCEPT, accept).send()
    };
    let partial = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
    let list = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
    let one = accept(&format!("{CM}/c1"), partial).await.expect(200);
    assert_eq!(one["kind"], "PartialObjectMetadata");
    assert!(one.get("data").is_none());
    let all = accept(CM, list).await.expect(200);
    assert_eq!(all["items"].as_array().map(Vec::len), Some(5));
    assert_eq!(accept(CM, partial).await.code, 406);
    let yaml = accept(&format!("{CM}/c1"), "application/yaml").await;
    assert_eq!(yaml.headers[header::CONTENT_TYPE], "application/yaml");
    assert!(
        yaml.text.starts_with("apiVersion: v1\ndata:\n  a: \"1\"\nkind: ConfigMap\n"),
        "{}",
        yaml.text
    );
}

#[tokio::test]
async fn what_a_selector_picks_is_deleted() {
    let lab = five().await;
    let deleted = lab.delete(&format!("{CM}?labelSelector=n in (1,3)")).await;
    assert_eq!(deleted.names(), ["c1", "c3"]);
    assert_eq!(lab.get(CM).await.names(), ["c0", "c2", "c4"]);
    assert_eq!(lab.delete("/api/v1/configmaps").await.code, 404, "not across namespaces");
}

#[tokio::test]
async fn objects_from_files_are_shown_and_refuse_writes_with_their_place() {
    let lab = lab();
    let mut manifest = config_map("f", &json!({}));
    manifest["metadata"]["namespace"] = "default".into();
    let origin = Origin::File { path: Arc::from(std::path::Path::new("/m/x.yaml")), line: 3 };
    lab.store.push(pushed(&manifest, origin)).await;
    let item = format!("{CM}/f");
    let object = lab.get(&item).await.expect(200);
    assert_eq!(object["metadata"]["annotations"]["tidegate.dev/source"], "/m/x.yaml:3");
    for answer in [
        lab.delete(&item).await,
        lab.put(&item, object).await,
        lab.patch(&item, MERGE, json!({ "data": { "b": "2" } })).await,
        lab.patch(&item, MERGE, json!({ "metadata": { "labels": { "b": "2" } } })).await,
        lab.post(CM, config_map("f", &json!({}))).await,
    ] {
        if answer.code == 200 {
            continue;
        }
        answer.refused(
            403,
            "Forbidden",
            "configmaps \"f\" is forbidden: it comes from /m/x.yaml:3: change it there, the file is watched",
        );
    }
    let all = lab.delete(CM).await;
    assert_eq!(all.code, 200);
    assert!(all.warnings()[0].contains("/m/x.yaml:3"));
}
