//! How many pods are wanted, through the sub-resource that all sets of pods share.

use super::*;

const WEB: &str = "/apis/apps/v1/namespaces/default/deployments/web";

async fn with_web() -> Lab {
    let lab = lab();
    let labels = json!({"app": "web"});
    let template = json!({
        "metadata": {"labels": {"app": "web", "tier": "a"}},
        "spec": {"containers": [{"name": "web", "image": "web"}]},
    });
    let more = json!({"key": "tier", "operator": "In", "values": ["a", "b"]});
    let selector = json!({"matchLabels": labels, "matchExpressions": [more]});
    let web = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"selector": selector, "template": template},
    });
    let path = WEB.strip_suffix("/web").expect("a list");
    assert_eq!(lab.post(path, web).await.code, 201);
    lab
}

#[tokio::test]
async fn a_scale_is_read_and_written() {
    let lab = with_web().await;
    let path = format!("{WEB}/scale");
    let scale = lab.get(&path).await.expect(200);
    assert_eq!((&scale["kind"], &scale["apiVersion"]), (&json!("Scale"), &json!("autoscaling/v1")));
    assert_eq!(scale["spec"], json!({"replicas": 1}));
    assert_eq!(scale["status"], json!({"replicas": 0, "selector": "app=web,tier in (a,b)"}));

    let patch = |text: &'static str, media: &str| {
        lab.call(Method::PATCH, &path).header(header::CONTENT_TYPE, media).body(text)
    };
    let merge = "application/merge-patch+json";
    let scaled = patch(r#"{"spec":{"replicas":2}}"#, merge).send().await.expect(200);
    assert_eq!(scaled["spec"]["replicas"], 2);
    let json_patch = r#"[{"op": "replace", "path": "/spec/replicas", "value": 3}]"#;
    patch(json_patch, "application/json-patch+json").send().await.expect(200);
    let web = lab.get(WEB).await.expect(200);
    assert_eq!((&web["spec"]["replicas"], &web["metadata"]["generation"]), (&json!(3), &json!(3)));
    let managers = web["metadata"]["managedFields"].as_array().expect("managers");
    let by = managers.iter().find(|entry| entry["subresource"] == "scale").expect("the scaler");
    assert_eq!(by["fieldsV1"], json!({"f:spec": {"f:replicas": {}}}));

    let old = scaled;
    assert_eq!(lab.put(&path, old.clone()).await.code, 409, "of an older revision");
    let mut new = lab.get(&path).await.expect(200);
    new["spec"] = json!({});
    assert_eq!(lab.put(&path, new).await.expect(200)["spec"], json!({}), "none is 0");
    assert_eq!(lab.get(WEB).await.expect(200)["spec"]["replicas"], 0);
}

#[tokio::test]
async fn what_is_no_scale_is_refused() {
    let lab = with_web().await;
    let path = format!("{WEB}/scale");
    for (replicas, code) in
        [(json!(-1), 422), (json!("2"), 422), (json!(1.5), 422), (json!(1), 200)]
    {
        let scale = json!({"metadata": {"name": "web"}, "spec": {"replicas": replicas}});
        assert_eq!(lab.put(&path, scale).await.code, code, "{replicas}");
    }
    assert_eq!(lab.call(Method::DELETE, &path).send().await.code, 405);
    let apply = lab.call(Method::PATCH, &path);
    let apply = apply.header(header::CONTENT_TYPE, "application/apply-patch+yaml").body("{}");
    assert_eq!(apply.send().await.code, 415);
    assert_eq!(lab.get("/apis/apps/v1/namespaces/default/deployments/nope/scale").await.code, 404);
    assert_eq!(lab.get("/apis/apps/v1/namespaces/default/daemonsets/web/scale").await.code, 404);
}

#[tokio::test]
async fn scales_are_found() {
    let lab = lab();
    let resources = lab.get("/apis/apps/v1").await.expect(200);
    let resources = resources["resources"].as_array().expect("a list").clone();
    let named = |name: &str| resources.iter().find(|resource| resource["name"] == name);
    for kind in ["deployments", "statefulsets", "replicasets"] {
        let scale = named(&format!("{kind}/scale")).expect("a scale");
        assert_eq!((&scale["group"], &scale["kind"]), (&json!("autoscaling"), &json!("Scale")));
    }
    assert!(named("daemonsets/scale").is_none());
}

#[tokio::test]
async fn no_token_is_made_that_would_let_nobody_in() {
    let lab = lab();
    let refused = lab.post("/api/v1/namespaces/default/serviceaccounts/a/token", json!({})).await;
    assert_eq!(refused.code, 403);
    let said = refused.json["message"].as_str().unwrap_or_default();
    assert!(said.contains("--api-token-file"), "{said}");
}
