//! Injection of a Pod that is being created: what an API server asks a mutating webhook, and what that answers (`AdmissionReview` of
//! admission.k8s.io/v1).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::{Settings, inject_document};

const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";

/// Status of an object that asks for what cannot be: as the API's own for one that does not validate.
const UNPROCESSABLE: u16 = 422;

/// Answers a review: allowed, with the patch that puts a sidecar into the Pod where it is to have one, or refused with the reason.
/// What is no Pod, or is not being created, is allowed as it is.
///
/// # Errors
/// It is no review that could be answered; why, in words.
pub fn review(review: &Value, settings: &Settings) -> Result<Value, String> {
    let text = |path: &str| review.pointer(path).and_then(Value::as_str).unwrap_or_default();
    if (text("/apiVersion"), text("/kind")) != (API_VERSION, KIND) {
        return Err(format!(
            "{:?} of {:?} is not an {KIND} of {API_VERSION}: name that version in admissionReviewVersions",
            text("/kind"),
            text("/apiVersion")
        ));
    }
    let uid = text("/request/uid");
    if uid.is_empty() {
        return Err("request.uid is missing: there is nothing to answer".to_owned());
    }
    let response = match (text("/request/operation"), review.pointer("/request/object")) {
        ("CREATE", Some(object)) => decide(object, text("/request/namespace"), settings),
        _ => Map::from_iter([("allowed".to_owned(), true.into())]),
    };
    let mut response = Value::Object(response);
    response["uid"] = uid.into();
    Ok(json!({ "apiVersion": API_VERSION, "kind": KIND, "response": response }))
}

/// What is decided of an object that is created in a namespace.
fn decide(object: &Value, namespace: &str, settings: &Settings) -> Map<String, Value> {
    let mut object = object.clone();
    // The API server fills it in later, where whoever creates the Pod leaves it out.
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("namespace".to_owned(), namespace.into());
    }
    let mut notes = Vec::new();
    let decision = match inject_document(&object, settings, &mut notes) {
        Ok(None) => json!({ "allowed": true }),
        Ok(Some(injected)) => {
            let patch = json_patch::diff(&object, &injected);
            let mut allowed = json!({
                "allowed": true,
                "patchType": "JSONPatch",
                "patch": STANDARD.encode(json!(patch).to_string()),
            });
            if !notes.is_empty() {
                allowed["warnings"] = notes.into();
            }
            allowed
        }
        Err(wrong) => json!({
            "allowed": false,
            "status": { "code": UNPROCESSABLE, "reason": "Invalid", "message": wrong.to_string() },
        }),
    };
    match decision {
        Value::Object(decision) => decision,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "generateName": "sleep-7d9f8c-",
                "labels": { "app": "sleep", "pod-template-hash": "7d9f8c" },
                "ownerReferences": [{
                    "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "sleep-7d9f8c", "uid": "1", "controller": true,
                }],
            },
            "spec": { "containers": [{ "name": "sleep", "image": "curl" }] },
        })
    }

    fn asked(object: &Value) -> Value {
        asked_to("CREATE", object)
    }

    fn asked_to(operation: &str, object: &Value) -> Value {
        let request =
            json!({ "uid": "u-1", "operation": operation, "namespace": "shop", "object": object });
        let answer = review(
            &json!({ "apiVersion": API_VERSION, "kind": KIND, "request": request }),
            &Settings::default(),
        );
        let answer = answer.expect("an answer");
        assert_eq!(answer["response"]["uid"], "u-1");
        answer["response"].clone()
    }

    /// The Pod as the API server has it afterwards.
    fn patched(object: &Value) -> Value {
        let response = asked(object);
        assert_eq!(
            (&response["allowed"], &response["patchType"]),
            (&json!(true), &json!("JSONPatch")),
            "{response:#}"
        );
        let patch = STANDARD.decode(response["patch"].as_str().expect("a patch")).expect("base64");
        let patch: json_patch::Patch = serde_json::from_slice(&patch).expect("a JSON patch");
        let mut object = object.clone();
        json_patch::patch(&mut object, &patch).expect("it applies to what was sent");
        object
    }

    fn variable(pod: &Value, name: &str) -> Value {
        let all = pod["spec"]["initContainers"].as_array().expect("containers");
        let proxy =
            all.iter().find(|container| container["name"] == "istio-proxy").expect("the sidecar");
        let variables = proxy["env"].as_array().expect("variables");
        let one = variables.iter().find(|variable| variable["name"] == name);
        one.map(|one| one["value"].clone()).unwrap_or_default()
    }

    #[test]
    fn a_pod_gets_its_sidecar_by_a_patch_and_is_of_its_deployment() {
        let pod = patched(&pod());
        assert_eq!(pod["metadata"].get("namespace"), None, "that is the API server's");
        assert_eq!(variable(&pod, "ISTIO_META_WORKLOAD_NAME"), "sleep");
        let owner = "kubernetes://apis/apps/v1/namespaces/shop/deployments/sleep";
        assert_eq!(variable(&pod, "ISTIO_META_OWNER"), owner);
    }

    #[test]
    fn who_is_to_have_none_is_let_in_as_it_is() {
        let mut without = pod();
        without["metadata"]["labels"]["sidecar.istio.io/inject"] = "false".into();
        let mut on_node = pod();
        on_node["spec"]["hostNetwork"] = true.into();
        let service = json!({ "apiVersion": "v1", "kind": "Service", "metadata": {} });
        for object in [without, on_node, service, Value::Null, patched(&pod())] {
            assert_eq!(asked(&object), json!({ "uid": "u-1", "allowed": true }), "{object}");
        }
        assert_eq!(asked_to("UPDATE", &pod()), json!({ "uid": "u-1", "allowed": true }));
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_place() {
        let mut wrong = pod();
        wrong["metadata"]["annotations"] =
            json!({ "traffic.sidecar.istio.io/includeOutboundIPRanges": "10.0.0.0/99" });
        let response = asked(&wrong);
        assert_eq!(response["allowed"], false);
        let message = response["status"]["message"].as_str().expect("words");
        assert!(message.contains("includeOutboundIPRanges"), "{message}");
    }

    #[test]
    fn what_is_no_review_is_told_so() {
        let of = |body: &Value| review(body, &Settings::default()).expect_err("no review");
        let old = json!({ "apiVersion": "admission.k8s.io/v1beta1", "kind": KIND, "request": { "uid": "a" } });
        assert!(of(&old).contains("admissionReviewVersions"));
        assert!(of(&json!({ "apiVersion": API_VERSION, "kind": KIND })).contains("request.uid"));
        assert!(of(&json!([])).contains("is not an AdmissionReview"));
    }
}
