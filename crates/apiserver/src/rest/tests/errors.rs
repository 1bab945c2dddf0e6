//! Requests that are refused, in the words that clients and people know.

use super::super::{ADMIN_ANNOTATION, RUN_ANNOTATION};
use super::*;

#[tokio::test]
async fn creates_that_make_no_sense() {
    let lab = lab();
    let good = virtual_service("e1", "a");
    let with = |pointer: &str, value: Value| {
        let mut object = good.clone();
        *object.pointer_mut(pointer).expect("there") = value;
        object
    };
    let mut versioned = good.clone();
    versioned["metadata"]["resourceVersion"] = "5".into();
    lab.post(VS, versioned).await.refused(
        500,
        "",
        "resourceVersion should not be set on objects to be created",
    );
    let mut elsewhere = good.clone();
    elsewhere["metadata"]["namespace"] = "other".into();
    lab.post(VS, elsewhere).await.refused(
        400,
        "BadRequest",
        "the namespace of the provided object does not match the namespace sent on the request",
    );
    let answer = lab.post(VS, with("/kind", "Gateway".into())).await;
    answer.refused(
        422,
        "Invalid",
        "Gateway.networking.istio.io \"e1\" is invalid: kind: Invalid value: \"Gateway\": must be VirtualService",
    );
    assert_eq!(answer.json["details"]["causes"][0]["field"], "kind");
    lab.post(VS, with("/apiVersion", "networking.istio.io/v1alpha3".into())).await.refused(
        400,
        "BadRequest",
        "the API version in the data (networking.istio.io/v1alpha3) does not match the expected API version \
         (networking.istio.io/v1)",
    );
    lab.post(VS, json!({ "metadata": {} })).await.refused(
        400,
        "BadRequest",
        "the object provided is unrecognized (must be of type VirtualService): Object 'Kind' is missing in \
         '{\"metadata\":{}}' ({\"metadata\":{}})",
    );
    let untyped = json!({"metadata": {"name": "plain"}, "data": {"a": "b"}});
    let stored = lab.post("/api/v1/namespaces/default/configmaps", untyped).await.expect(201);
    assert_eq!(stored["kind"], "ConfigMap", "one of Kubernetes' own kinds needs no type");
    let nowhere = VS.replace("/default/", "/nowhere/");
    lab.post(&nowhere, good.clone()).await.refused(
        404,
        "NotFound",
        "namespaces \"nowhere\" not found",
    );
    lab.post(VS, good.clone()).await.expect(201);
    let mut held = good.clone();
    held["metadata"]["finalizers"] = json!(["plain"]);
    let refused = lab.post(VS, held).await;
    assert_eq!(refused.code, 409);
    assert!(refused.warnings()[0].contains("prefer a domain-qualified finalizer name"));
    let again = lab.post(VS, good).await;
    again.refused(
        409,
        "AlreadyExists",
        "virtualservices.networking.istio.io \"e1\" already exists",
    );
    assert_eq!(
        again.json["details"],
        json!({ "name": "e1", "group": "networking.istio.io", "kind": "virtualservices" })
    );
    let everywhere = VS.replace("/namespaces/default", "");
    assert_eq!(lab.post(&everywhere, json!({})).await.expect(404), Value::Null);
}

#[tokio::test]
async fn bodies_that_cannot_be_read_say_where() {
    let lab = lab();
    for (content_type, body, code, part) in [
        ("application/json", "{\"a\":", 400, "unexpected end of JSON input at line 1 column 5"),
        ("application/json", "{\n\"a\": x}", 400, "line 2 column 6"),
        ("application/json", "", 400, "(<empty>)"),
        ("application/yaml", "a: 1\nb: [1\nc: 2\n", 400, "yaml parse error: line "),
        ("application/vnd.kubernetes.protobuf", "k8s", 400, "k8s\\0"),
        ("text/plain", "{}", 415, "accepted media types include: application/json"),
    ] {
        let call = lab.call(Method::POST, VS).body(body);
        let answer = call.header(header::CONTENT_TYPE, content_type).send().await;
        assert_eq!(answer.code, code, "{}", answer.text);
        assert!(
            answer.json["message"].as_str().is_some_and(|m| m.contains(part)),
            "{}",
            answer.text
        );
    }
    let answer = lab.call(Method::PATCH, &format!("{VS}/x")).body("{\"spec\":");
    let answer = answer.header(header::CONTENT_TYPE, MERGE).send().await;
    assert_eq!(answer.code, 400);
    assert!(answer.text.contains("error decoding patch"), "{}", answer.text);
}

#[tokio::test]
async fn unknown_and_double_fields_follow_the_policy() {
    let lab = lab();
    let text = r#"{"apiVersion":"networking.istio.io/v1","kind":"VirtualService","metadata":{"name":"fv"},
        "bogus":1,"spec":{"zzz":1,"hosts":["a"],"hosts":["b"],"http":[{"route":[{"destination":{"host":"h"}}]}]}}"#;
    let post =
        |policy: &str| lab.call(Method::POST, &format!("{VS}?dryRun=All{policy}")).body(text);
    post("&fieldValidation=Strict").send().await.refused(
        400,
        "BadRequest",
        "VirtualService in version \"v1\" cannot be handled as a VirtualService: strict decoding error: \
         duplicate field \"spec.hosts\"",
    );
    let warned = post("").send().await;
    assert_eq!(
        warned.warnings(),
        [
            "299 - \"duplicate field \\\"spec.hosts\\\"\"",
            "299 - \"unknown field \\\"bogus\\\"\"",
            "299 - \"unknown field \\\"spec.zzz\\\"\"",
        ]
    );
    assert_eq!(warned.expect(201)["spec"]["hosts"], json!(["b"]));
    let silent = post("&fieldValidation=Ignore").send().await;
    assert!(silent.warnings().is_empty());
    assert!(silent.expect(201)["spec"].get("zzz").is_none());
    post("&fieldValidation=Bogus").send().await.refused(
        422,
        "Invalid",
        "CreateOptions.meta.k8s.io \"\" is invalid: fieldValidation: Unsupported value: \"Bogus\": supported \
         values: \"\", \"Ignore\", \"Strict\", \"Warn\"",
    );
    let mut unknown = virtual_service("fv", "a");
    unknown["spec"]["zzz"] = 1.into();
    unknown["bogus"] = 1.into();
    lab.post(&format!("{VS}?fieldValidation=Strict"), unknown).await.refused(
        400,
        "BadRequest",
        "VirtualService in version \"v1\" cannot be handled as a VirtualService: strict decoding error: \
         unknown field \"bogus\", unknown field \"spec.zzz\"",
    );
}

#[tokio::test]
async fn shapes_that_are_wrong() {
    let lab = lab();
    let mut wrong = virtual_service("v", "a");
    wrong["spec"]["hosts"] = "x".into();
    let answer = lab.post(VS, wrong).await;
    assert_eq!(answer.code, 422);
    let causes = answer.json["details"]["causes"].as_array().expect("causes");
    assert_eq!(
        causes[0],
        json!({
            "reason": "FieldValueTypeInvalid",
            "message": "Invalid value: \"string\": spec.hosts in body must be of type array: \"string\"",
            "field": "spec.hosts",
        })
    );
    lab.post(
        SERVICES,
        json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "x" }, "spec": {} }),
    )
    .await
    .refused(422, "Invalid", "Service \"x\" is invalid: spec.ports: Required value");
    let text = json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "x" },
        "spec": { "ports": [{ "port": "abc" }] } });
    let answer = lab.post(SERVICES, text).await;
    assert_eq!(
        (answer.code, &answer.json["reason"]),
        (400, &json!("BadRequest")),
        "{}",
        answer.text
    );
    let prefix = "Service in version \"v1\" cannot be handled as a Service: ";
    assert!(
        answer.json["message"].as_str().is_some_and(|m| m.starts_with(prefix)),
        "{}",
        answer.text
    );
}

#[tokio::test]
async fn what_an_object_says_may_be_wrong_and_is_told() {
    let lab = lab();
    let gateway = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "Gateway", "metadata": { "name": "g" },
        "spec": { "servers": [] },
    });
    let path = "/apis/networking.istio.io/v1/namespaces/default/gateways";
    let answer = lab.post(path, gateway).await;
    assert_eq!(answer.code, 201, "stored: its status says what is wrong");
    assert!(
        answer
            .warnings()
            .iter()
            .any(|warning| warning.contains("accepted, but not in effect: spec.servers")),
        "{:?}",
        answer.warnings()
    );
    let key = tidegate_api::ObjectKey::new(tidegate_api::Kind::Gateway, "default", "g");
    assert!(lab.store.get(&key).expect("stored").decoded().is_err());
}

/// Who makes a mistake in a policy learns at once what it does to traffic.
#[tokio::test]
async fn a_policy_that_cannot_be_read_is_told_what_it_does_to_traffic() {
    let lab = lab();
    let path = "/apis/security.istio.io/v1/namespaces/default/authorizationpolicies";
    let policy = |name: &str, selector: Value, key: &str| {
        let mut spec =
            json!({ "action": "DENY", "rules": [{ "when": [{ "key": key, "values": ["a"] }] }] });
        if !selector.is_null() {
            spec["selector"] = selector;
        }
        json!({
            "apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
            "metadata": { "name": name }, "spec": spec,
        })
    };
    let (wrong, right) = ("request.header[x]", "request.headers[x]");
    let labels = json!({ "matchLabels": { "app": "other" } });
    for (manifest, told) in [
        (policy("a", Value::Null, wrong), "all gateways that it may be about refuse every request"),
        (policy("b", labels, wrong), "gateways with the labels app=other refuse every request"),
    ] {
        let answer = lab.post(path, manifest).await;
        let warnings = answer.warnings();
        assert_eq!(answer.code, 201, "{warnings:?}");
        assert!(warnings.iter().any(|warning| warning.contains(told)), "{warnings:?}");
    }
    let created = lab.post(path, policy("c", Value::Null, right)).await;
    assert_eq!(created.warnings().len(), 0);
    let mut changed = policy("c", Value::Null, wrong);
    changed["metadata"]["resourceVersion"] = created.json["metadata"]["resourceVersion"].clone();
    let answer = lab.put(&format!("{path}/c"), changed).await;
    let warnings = answer.warnings();
    assert!(
        warnings.iter().any(|w| w.contains("its last good form stays in force")),
        "{warnings:?}"
    );
}

#[tokio::test]
async fn rules_of_the_schema_hold_at_the_door() {
    let lab = lab();
    let path = "/apis/networking.istio.io/v1/namespaces/default/serviceentries";
    let entry = |endpoints: Value| {
        json!({
            "apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry", "metadata": { "name": "s" },
            "spec": { "hosts": ["a.b"], "resolution": "DNS_ROUND_ROBIN", "endpoints": endpoints },
        })
    };
    let two = json!([{ "address": "c.d" }, { "address": "e.f" }]);
    let told = "ServiceEntry.networking.istio.io \"s\" is invalid: spec: Invalid value: DNS_ROUND_ROBIN mode \
        cannot have multiple endpoints";
    lab.post(path, entry(two.clone())).await.refused(422, "Invalid", told);
    lab.post(path, entry(json!([{ "address": "c.d" }]))).await.expect(201);
    let item = format!("{path}/s");
    let patch = json!({ "spec": { "endpoints": two } });
    lab.patch(&item, MERGE, patch).await.refused(422, "Invalid", told);
}

/// An older version may have stored what this one refuses.
#[tokio::test]
async fn what_was_stored_before_a_rule_came_can_be_labelled_and_deleted() {
    let lab = lab();
    let wrong = json!({
        "kind": "ServiceEntry",
        "metadata": { "name": "s", "namespace": "default", "uid": "u", "generation": 1,
            "finalizers": ["example.com/x"] },
        "spec": { "hosts": ["a.b"], "resolution": "NONE", "endpoints": [{ "address": "c.d" }] },
    });
    let Value::Object(value) = wrong else { panic!("an object") };
    let key = tidegate_api::ObjectKey::new(tidegate_api::Kind::ServiceEntry, "default", "s");
    let draft = store::Draft { key, value, decoded: Err(["wrong".to_owned()].into()) };
    lab.store.put(draft, store::Expect::Absent).await.expect("stored");

    let path = "/apis/networking.istio.io/v1/namespaces/default/serviceentries/s";
    let labels = json!({ "metadata": { "labels": { "a": "b" } } });
    let labelled = lab.patch(path, MERGE, labels).await;
    let warnings = labelled.warnings();
    assert!(warnings.iter().any(|w| w.contains("NONE mode cannot set endpoints")), "{warnings:?}");
    labelled.expect(200);
    let changed = json!({ "spec": { "hosts": ["c.d"] } });
    lab.patch(path, MERGE, changed).await.expect(422);
    lab.delete(path).await.expect(200);
    lab.patch(path, MERGE, json!({ "metadata": { "finalizers": null } })).await.expect(200);
    lab.get(path).await.expect(404);
}

#[tokio::test]
async fn paths_and_methods() {
    let lab = lab();
    for path in [
        "/nope",
        "/apis/nope.io/v1",
        "/apis/networking.istio.io/v9",
        &VS.replace("virtual", "nope"),
    ] {
        let answer = lab.get(path).await;
        assert_eq!((answer.code, answer.text.as_str()), (404, "404 page not found\n"), "{path}");
    }
    lab.get(&format!("{VS}/x")).await.refused(
        404,
        "NotFound",
        "virtualservices.networking.istio.io \"x\" not found",
    );
    lab.get(&format!("{CM}/x")).await.refused(404, "NotFound", "configmaps \"x\" not found");
    let not_allowed = "the server does not allow this method on the requested resource";
    lab.post("/version", json!({})).await.refused(405, "MethodNotAllowed", not_allowed);
    lab.put(VS, json!({})).await.refused(400, "BadRequest", "name must be provided");
    lab.delete("/api/v1/namespaces").await.refused(405, "MethodNotAllowed", not_allowed);
    let answer = lab.call(Method::GET, VS).header(header::ACCEPT, "text/html").send().await;
    assert_eq!((answer.code, &answer.json["reason"]), (406, &json!("NotAcceptable")));
    let call = lab.call(Method::POST, VS).json(&virtual_service("x", "a"));
    assert_eq!(call.header(header::ACCEPT, "text/html").send().await.code, 406);
    assert_eq!(lab.get(&format!("{VS}/x")).await.code, 404, "refused before it is written");
    let bob = HeaderName::from_static("impersonate-user");
    lab.call(Method::GET, VS).header(bob, "bob").send().await.refused(
        403,
        "Forbidden",
        "virtualservices.networking.istio.io is forbidden: User \"bob\" cannot list resource \
         \"virtualservices\" in API group \"networking.istio.io\" in the namespace \"default\"",
    );
}

/// Who reads the annotation takes an object for the process's own by it, and asks at an address that stands there.
#[tokio::test]
async fn nobody_says_through_the_api_that_an_object_comes_from_elsewhere() {
    let lab = lab();
    let own = json!({ "tidegate.dev/source": "tidegate" });
    let cause = "metadata.annotations[tidegate.dev/source]: Forbidden: the server says by it that an object comes from a \
                 file or is the process's own: leave it out";
    let refused = |answer: &Answer, what: &str| {
        answer.refused(422, "Invalid", &format!("{what} is invalid: {cause}"));
    };
    let mut map = config_map("c", &json!({}));
    map["metadata"]["annotations"] = own.clone();
    let item = format!("{CM}/c");
    refused(&lab.post(CM, map.clone()).await, "ConfigMap \"c\"");
    let apply = "application/apply-patch+yaml";
    let applied = format!("{item}?fieldManager=m");
    refused(&lab.patch(&applied, apply, map.clone()).await, "ConfigMap \"c\"");
    assert_eq!(lab.get(&item).await.code, 404);

    lab.post(CM, config_map("c", &json!({}))).await.expect(201);
    let annotate = json!({ "metadata": { "annotations": own } });
    for answer in [
        lab.put(&item, map.clone()).await,
        lab.patch(&item, MERGE, annotate.clone()).await,
        lab.patch(&item, "application/strategic-merge-patch+json", annotate.clone()).await,
        lab.patch(&applied, apply, map).await,
    ] {
        refused(&answer, "ConfigMap \"c\"");
    }
    let mut service = virtual_service("v", "a");
    service["metadata"]["annotations"] = json!({ "tidegate.dev/source": "/m/x.yaml:3" });
    let kind = "VirtualService.networking.istio.io \"v\"";
    refused(&lab.post(VS, service).await, kind);
    lab.post(VS, virtual_service("v", "a")).await.expect(201);
    refused(&lab.patch(&format!("{VS}/v"), MERGE, annotate).await, kind);
}

/// Sessions with pods take a node; who asks for one is told where what the pod shows is to be found.
#[tokio::test]
async fn sessions_with_pods_are_refused_with_what_there_is_instead() {
    let lab = lab();
    let pods = "/api/v1/namespaces/default/pods";
    let container = json!({ "name": "c", "image": "i" });
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "other" }, "spec": { "containers": [container] },
    });
    pod["metadata"]["annotations"] = json!({ ADMIN_ANNOTATION: "127.0.0.1:15000" });
    lab.post(pods, pod.clone()).await.expect(201);
    pod["metadata"]["name"] = "own".into();
    pod["metadata"]["namespace"] = "default".into();
    lab.store.push(pushed(&pod, Origin::Process)).await;
    for (session, beginning) in [
        ("exec?command=ls", "no command can be run in pod own: "),
        ("attach", "nothing can be attached to pod own: "),
        ("portforward", "no port can be forwarded to pod own: "),
    ] {
        let path = format!("{pods}/own/{session}");
        for answer in [lab.post(&path, json!({})).await, lab.get(&path).await] {
            assert_eq!((answer.code, &answer.json["reason"]), (400, &"BadRequest".into()));
            let told = answer.json["message"].as_str().expect("a message");
            assert!(
                told.starts_with(beginning) && told.contains("http://127.0.0.1:15000"),
                "{told}"
            );
        }
    }
    let other = lab.post(&format!("{pods}/other/exec"), json!({})).await;
    let why = "no command can be run in pod other: nothing here runs pods, this one only says where endpoints are";
    other.refused(400, "BadRequest", why);
    pod["metadata"]["name"] = "run".into();
    pod["metadata"]["annotations"] = json!({ RUN_ANNOTATION: "laptop/4711" });
    lab.post(pods, pod).await.expect(201);
    let run = lab.post(&format!("{pods}/run/exec?command=ls"), json!({})).await;
    let told = run.json["message"].as_str().expect("a message");
    for words in ["process 4711 of machine laptop", "nsenter", "tidegate egress denied --pod run"] {
        assert!(told.contains(words), "{told}");
    }
    assert_eq!(lab.post(&format!("{pods}/nobody/exec"), json!({})).await.code, 404);
    assert_eq!(lab.get(&format!("{SERVICES}/s/exec")).await.code, 404);
}
