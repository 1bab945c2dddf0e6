//! What is served, told to those who ask.

use tidegate_api::{Kind, ObjectKey};

use super::super::FORMS_PATH;
use super::*;

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
    application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";

#[tokio::test]
async fn everything_at_once_with_istio_first() {
    let lab = lab();
    let get = |path: &str| lab.call(Method::GET, path).header(header::ACCEPT, AGGREGATED);
    let answer = get("/apis").send().await;
    assert_eq!(
        answer.headers[header::CONTENT_TYPE],
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    );
    let groups = answer.json["items"].as_array().expect("groups");
    assert_eq!(groups[0]["metadata"]["name"], "networking.istio.io");
    let versions: Vec<&Value> =
        groups[0]["versions"].as_array().expect("versions").iter().map(|v| &v["version"]).collect();
    assert_eq!(versions, ["v1", "v1beta1", "v1alpha3"]);
    let gateway = &groups[0]["versions"][0]["resources"][0];
    assert_eq!(
        (&gateway["resource"], &gateway["shortNames"]),
        (&json!("gateways"), &json!(["gw"]))
    );
    assert_eq!(gateway["responseKind"]["group"], "networking.istio.io");
    assert_eq!(gateway["subresources"][0]["subresource"], "status");

    let tag = answer.headers[header::ETAG].to_str().expect("a tag").to_owned();
    let again = get("/apis").header(header::IF_NONE_MATCH, &tag).send().await;
    assert_eq!((again.code, again.text.as_str()), (304, ""));
    let other = get("/apis").header(header::IF_NONE_MATCH, "\"nope\"").send().await;
    assert_eq!(other.code, 200);

    let core = get("/api").send().await.expect(200);
    assert_eq!(core["items"][0]["metadata"], json!({}));
    let resources = core["items"][0]["versions"][0]["resources"].as_array().expect("resources");
    let pods = resources.iter().find(|r| r["resource"] == "pods").expect("pods");
    assert_eq!(pods["responseKind"], json!({ "group": "", "version": "", "kind": "Pod" }));
    let part = |resource: &Value, name: &str| {
        let parts = resource["subresources"].as_array().expect("parts").iter();
        parts.into_iter().find(|part| part["subresource"] == name).cloned()
    };
    let exec = part(pods, "exec").expect("what is served is listed");
    assert_eq!(exec["responseKind"]["kind"], "PodExecOptions");
    assert_eq!(exec["verbs"], json!(["create", "get"]));
    assert_eq!(part(pods, "attach"), None, "it is always refused");
    let old = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";
    let old = lab.call(Method::GET, "/apis").header(header::ACCEPT, old).send().await;
    assert_eq!(old.json["apiVersion"], "apidiscovery.k8s.io/v2beta1");
}

#[tokio::test]
async fn list_by_list() {
    let lab = lab();
    assert_eq!(lab.get("/api").await.expect(200)["versions"], json!(["v1"]));
    let groups = lab.get("/apis").await.expect(200);
    assert_eq!(groups["groups"][0]["preferredVersion"]["groupVersion"], "networking.istio.io/v1");
    let group = lab.get("/apis/apps").await.expect(200);
    assert_eq!(group["kind"], "APIGroup");
    let resources = lab.get("/apis/networking.istio.io/v1alpha3").await.expect(200);
    let names: Vec<&str> = resources["resources"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|r| r["name"].as_str())
        .collect();
    assert!(
        names.contains(&"virtualservices") && names.contains(&"virtualservices/status"),
        "{names:?}"
    );
    let version = lab.get("/version").await.expect(200);
    assert_eq!((&version["major"], &version["minor"]), (&json!("1"), &json!("32")));
    for path in ["/healthz", "/livez", "/readyz"] {
        assert_eq!(lab.get(path).await.text, "ok");
    }
    assert!(lab.get("/readyz?verbose").await.text.ends_with("readyz check passed\n"));
}

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

#[tokio::test]
async fn definitions_of_custom_kinds_are_found_and_read() {
    let lab = lab();
    let resources = lab.get("/apis/apiextensions.k8s.io/v1").await.expect(200);
    let definitions = &resources["resources"][0];
    assert_eq!(definitions["shortNames"], json!(["crd", "crds"]));
    assert_eq!(definitions["verbs"], json!(["get", "list", "watch"]));

    let list = lab.get(DEFINITIONS).await.expect(200);
    let items = list["items"].as_array().expect("a list");
    let names: Vec<&str> =
        items.iter().filter_map(|item| item["metadata"]["name"].as_str()).collect();
    assert!(names.is_sorted() && names.contains(&"virtualservices.networking.istio.io"));
    assert_eq!(names.len(), tidegate_api::KINDS.iter().filter(|info| !info.built_in).count());
    let gateway = "gateways.gateway.networking.k8s.io";
    let one = lab.get(&format!("{DEFINITIONS}/{gateway}")).await.expect(200);
    assert_eq!(items[names.binary_search(&gateway).expect("listed")]["spec"], one["spec"]);
    assert_eq!(one["apiVersion"], "apiextensions.k8s.io/v1");
    assert_eq!(one["status"]["conditions"][1]["type"], "Established");
    let version = &one["spec"]["versions"][0];
    let columns = version["additionalPrinterColumns"].as_array().expect("columns");
    assert_eq!(columns[0]["jsonPath"], ".spec.gatewayClassName");
    assert!(columns.iter().all(|column| column["jsonPath"] != ""), "{columns:?}");
    let listeners =
        &version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["listeners"];
    assert_eq!(listeners["x-kubernetes-list-map-keys"], json!(["name"]));
    assert!(
        listeners["x-kubernetes-validations"].as_array().is_some_and(|rules| !rules.is_empty())
    );
    assert_eq!(lab.get(&format!("{DEFINITIONS}/nopes.a.com")).await.code, 404);

    let selected = format!("{DEFINITIONS}?fieldSelector=metadata.name%3D{gateway}");
    assert_eq!(lab.get(&selected).await.expect(200)["items"].as_array().map(Vec::len), Some(1));
    let first = lab.get(&format!("{DEFINITIONS}?limit=2")).await.expect(200);
    let next = first["metadata"]["continue"].as_str().expect("more");
    let next = lab.get(&format!("{DEFINITIONS}?limit=2&continue={next}")).await.expect(200);
    assert_eq!(next["items"][0]["metadata"]["name"], names[2]);
    let watched = lab.get(&format!("{selected}&watch=true&timeoutSeconds=1")).await;
    assert!(watched.text.starts_with("{\"type\":\"ADDED\"") && watched.text.lines().count() == 1);
}

#[tokio::test]
async fn definitions_are_not_written() {
    let lab = lab();
    let definition = |name: &str| json!({"metadata": {"name": name}});
    let known = "gateways.networking.istio.io";
    assert_eq!(lab.post(DEFINITIONS, definition(known)).await.code, 409);
    let other = lab.post(DEFINITIONS, definition("nopes.a.com")).await;
    assert_eq!((other.code, other.json["reason"].as_str()), (403, Some("Forbidden")));
    assert!(
        other.json["message"].as_str().is_some_and(|said| said.contains("follow from the program"))
    );
    let path = format!("{DEFINITIONS}/{known}");
    assert_eq!(lab.call(Method::DELETE, &path).send().await.code, 403);
    assert_eq!(lab.call(Method::DELETE, DEFINITIONS).send().await.code, 403);
    assert_eq!(lab.get(&path).await.code, 200);
}

#[tokio::test]
async fn questions_about_oneself() {
    let lab = lab();
    let review = json!({ "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": { "resourceAttributes": { "verb": "create" } } });
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let answer = lab.post(path, review).await.expect(201);
    assert_eq!(answer["status"], json!({ "allowed": true }));
    assert_eq!(answer["spec"]["resourceAttributes"]["verb"], "create");
    let who = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview" });
    let who = lab.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", who).await.expect(201);
    assert_eq!(who["status"]["userInfo"]["username"], "admin");
    assert_eq!(lab.get(path).await.code, 405);
}

#[tokio::test]
async fn schemas() {
    let lab = lab();
    let index = lab.get("/openapi/v3").await;
    let made = index.headers[header::LAST_MODIFIED].to_str().expect("text");
    let again = lab.call(Method::GET, "/openapi/v3").header(header::IF_MODIFIED_SINCE, made);
    let again = again.send().await;
    assert_eq!((again.code, again.headers.get(header::CONTENT_TYPE)), (304, None));
    let index = index.expect(200);
    let url = index["paths"]["apis/networking.istio.io/v1"]["serverRelativeURL"]
        .as_str()
        .expect("a path");
    let document = lab.get(url).await;
    assert_eq!(document.headers[header::CACHE_CONTROL], "public, immutable");
    let gateway = &document.json["components"]["schemas"]["io.istio.networking.v1.Gateway"];
    assert_eq!(gateway["x-kubernetes-group-version-kind"][0]["kind"], "Gateway");
    assert!(gateway["properties"]["spec"]["properties"]["servers"]["description"].is_string());
    let old = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
    let old = lab.call(Method::GET, "/openapi/v2").header(header::ACCEPT, old).send().await;
    assert_eq!(old.text, "\n\u{3}2.0");
    assert_eq!(lab.get("/openapi/v3/apis/nope").await.code, 404);
}

#[tokio::test]
async fn which_forms_proved_good() {
    let lab = lab();
    let spec =
        |host: &str| json!({ "hosts": [host], "http": [{ "directResponse": { "status": 200 } }] });
    let (name, api) = (json!({ "name": "a" }), "networking.istio.io/v1");
    let good = json!({ "apiVersion": api, "kind": "VirtualService", "metadata": name, "spec": spec("a.example") });
    let created = lab.post(VS, good).await.expect(201);
    assert_eq!(lab.get(FORMS_PATH).await.expect(200)["items"], json!([]));
    let revision = created["metadata"]["resourceVersion"].as_str().and_then(|r| r.parse().ok());
    let key = ObjectKey::new(Kind::VirtualService, "default", "a");
    lab.store.confirm(&key, revision.expect("a revision")).await;
    lab.patch(&format!("{VS}/a"), MERGE, json!({ "spec": spec("b.example") })).await.expect(200);

    let forms = lab.get(FORMS_PATH).await.expect(200);
    let [form] = forms["items"].as_array().expect("a list").as_slice() else {
        panic!("{forms:#}");
    };
    assert_eq!(form["kind"], "VirtualService");
    assert_eq!((&form["namespace"], &form["name"]), (&json!("default"), &json!("a")));
    assert_eq!((&form["good"]["apiVersion"], &form["errors"]), (&json!(api), &Value::Null));
    assert_eq!(form["good"]["spec"]["hosts"], json!(["a.example"]), "not the one that lists show");
    assert_eq!(lab.post(FORMS_PATH, json!({})).await.code, 405);
}
