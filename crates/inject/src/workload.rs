//! Which documents are workloads, and where in them the pod stands.

use serde_json::{Map, Value};

use crate::annotations::Plan;
use crate::pod::Pod;
use crate::{Settings, Wrong};

/// The annotation that an injected pod has.
pub(crate) const STATUS: &str = "sidecar.istio.io/status";

/// The annotation and the label that ask for a sidecar, or for none. The label is stronger.
pub(crate) const INJECT: &str = "sidecar.istio.io/inject";

/// Namespaces of the cluster itself, whose workloads get none.
const SYSTEM_NAMESPACES: [&str; 4] =
    ["kube-system", "kube-public", "kube-node-lease", "local-path-storage"];

/// Who a pod belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub api_version: String,
    pub kind: String,
    /// Empty where the manifest leaves it to who applies it.
    pub namespace: String,
    pub name: String,
}

impl Owner {
    /// The object in words.
    pub fn told(&self) -> String {
        let Self { kind, namespace, name, .. } = self;
        let slash = if namespace.is_empty() { "" } else { "/" };
        format!("{kind} {namespace}{slash}{name}")
    }
}

/// Where a kind has its pods: the field with the metadata, and the one with the specification.
struct Shape {
    groups: &'static [&'static str],
    kind: &'static str,
    /// What holds `metadata` of the pods.
    metadata: &'static str,
    /// What holds `spec` of the pods.
    spec: &'static str,
}

const fn with_template(groups: &'static [&'static str], kind: &'static str) -> Shape {
    Shape { groups, kind, metadata: "/spec/template", spec: "/spec/template" }
}

/// `extensions` is where the kinds of `apps` were before Kubernetes 1.16.
const APPS: &[&str] = &["apps", "extensions"];

const SHAPES: [Shape; 9] = [
    Shape { groups: &[""], kind: "Pod", metadata: "", spec: "" },
    with_template(APPS, "Deployment"),
    with_template(APPS, "StatefulSet"),
    with_template(APPS, "DaemonSet"),
    with_template(APPS, "ReplicaSet"),
    with_template(&[""], "ReplicationController"),
    with_template(&["batch"], "Job"),
    with_template(&["apps.openshift.io", ""], "DeploymentConfig"),
    // Istio keeps what it says about the pods of a CronJob at its job template.
    Shape {
        groups: &["batch"],
        kind: "CronJob",
        metadata: "/spec/jobTemplate",
        spec: "/spec/jobTemplate/spec/template",
    },
];

/// Puts a sidecar into a document, or into each item of a list. `None`: it stays as it is.
pub(crate) fn inject(
    document: &Value,
    settings: &Settings,
    notes: &mut Vec<String>,
) -> Result<Option<Value>, Wrong> {
    let text = |name: &str| document.get(name).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    if kind.ends_with("List") {
        return list(document, settings, notes);
    }
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    let Some(shape) =
        SHAPES.iter().find(|shape| shape.kind == kind && shape.groups.contains(&group))
    else {
        return Ok(None);
    };
    workload(document, shape, settings, notes)
}

fn list(
    document: &Value,
    settings: &Settings,
    notes: &mut Vec<String>,
) -> Result<Option<Value>, Wrong> {
    let Some(items) = document.get("items").and_then(Value::as_array) else { return Ok(None) };
    let mut injected = items.clone();
    let mut is_changed = false;
    for item in &mut injected {
        if let Some(changed) = inject(item, settings, notes)? {
            *item = changed;
            is_changed = true;
        }
    }
    let mut list = document.clone();
    if let Some(items) = list.get_mut("items") {
        *items = Value::Array(injected);
    }
    Ok(is_changed.then_some(list))
}

fn workload(
    document: &Value,
    shape: &Shape,
    settings: &Settings,
    notes: &mut Vec<String>,
) -> Result<Option<Value>, Wrong> {
    let owner = owner(document, shape);
    let wrong = |place: String, reason: &str| Wrong {
        object: owner.told(),
        place,
        reason: reason.to_owned(),
    };
    let place = |path: &str| path.trim_start_matches('/').replace('/', ".");
    let spec_path = format!("{}/spec", shape.spec);
    let Some(Value::Object(spec)) = document.pointer(&spec_path) else {
        return Err(wrong(place(&spec_path), "a mapping is expected: the specification of a pod"));
    };
    let metadata = |parent: &str| match document.pointer(&format!("{parent}/metadata")) {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(metadata)) => Ok(metadata.clone()),
        Some(_) => {
            Err(wrong(place(&format!("{parent}/metadata")), "a mapping is expected: metadata"))
        }
    };
    let mut pod = Pod::new(metadata(shape.metadata)?, spec.clone(), &owner)?;
    if shape.metadata != shape.spec {
        pod.hear(Pod::new(metadata(shape.spec)?, Map::new(), &owner)?);
    }
    if let Some(why) = left_out(&pod, &owner) {
        notes.push(format!("{}: no sidecar: {why}", owner.told()));
        return Ok(None);
    }
    if let (place, Some(asked)) = asked(&pod)
        && !["true", "false", ""].contains(&asked)
    {
        let owner = owner.told();
        notes.push(format!(
            "{owner}: {place} {INJECT}: {asked:?} is neither true nor false, and counts as true"
        ));
    }
    let plan = Plan::read(&pod, settings, &owner, notes)?;
    pod.inject(&plan, settings, &owner)?;
    let mut injected = document.clone();
    // Both are there, but for metadata, which its parent is there for.
    if let Some(Value::Object(parent)) = injected.pointer_mut(shape.metadata) {
        parent.insert("metadata".to_owned(), Value::Object(pod.metadata()));
    }
    if let Some(spec) = injected.pointer_mut(&spec_path) {
        *spec = Value::Object(pod.spec);
    }
    Ok(Some(injected))
}

fn owner(document: &Value, shape: &Shape) -> Owner {
    let text =
        |path: &str| document.pointer(path).and_then(Value::as_str).filter(|text| !text.is_empty());
    let namespace = text("/metadata/namespace").unwrap_or_default().to_owned();
    let generated = text("/metadata/generateName");
    if let Some(owner) = generated.and_then(|_| controller(document, &namespace)) {
        return owner;
    }
    let name = text("/metadata/name").or(generated);
    Owner {
        api_version: text("/apiVersion").unwrap_or_default().to_owned(),
        kind: shape.kind.to_owned(),
        namespace,
        name: name.unwrap_or_default().to_owned(),
    }
}

/// What a Pod that is being created was made for: its controller, or what that one was made for in turn, as far as names tell.
fn controller(document: &Value, namespace: &str) -> Option<Owner> {
    let owners = document.pointer("/metadata/ownerReferences")?.as_array()?;
    let owner = owners.iter().find(|owner| owner["controller"] == true)?;
    let text = |field: &str| owner.get(field).and_then(Value::as_str);
    let (api_version, kind, name) = (text("apiVersion")?, text("kind")?, text("name")?);
    let label = |name: &str| document.pointer("/metadata/labels")?.get(name)?.as_str();
    let of_hash = || name.strip_suffix(label("pod-template-hash")?)?.strip_suffix('-');
    // The controller of CronJobs ends the names of its Jobs with the time.
    let of_time = || {
        let (name, time) = name.rsplit_once('-')?;
        let is_time = (8..=10).contains(&time.len()) && time.bytes().all(|b| b.is_ascii_digit());
        is_time.then_some(name)
    };
    let (kind, name) = match kind {
        "ReplicaSet" => of_hash().map_or((kind, name), |name| ("Deployment", name)),
        "Job" => of_time().map_or((kind, name), |name| ("CronJob", name)),
        _ => (kind, name),
    };
    Some(Owner {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    })
}

/// Why a pod gets no sidecar.
fn left_out(pod: &Pod, owner: &Owner) -> Option<String> {
    if pod.spec.get("hostNetwork") == Some(&Value::Bool(true)) {
        // Rules in the network of the node would redirect what belongs to others.
        return Some("it is in the network of its node (hostNetwork)".to_owned());
    }
    if SYSTEM_NAMESPACES.contains(&owner.namespace.as_str()) {
        return Some(format!("{} is a namespace of the cluster itself", owner.namespace));
    }
    if pod.annotations.contains_key(STATUS) {
        return Some(
            "it has one already; to have another, inject the manifest that it was made from"
                .to_owned(),
        );
    }
    let (place, asked) = asked(pod);
    (asked == Some("false")).then(|| format!("its {place} {INJECT} says so"))
}

/// What the pod itself says about having a sidecar, and where.
fn asked(pod: &Pod) -> (&'static str, Option<&str>) {
    match pod.labels.get(INJECT) {
        Some(label) => ("label", Some(label)),
        None => ("annotation", pod.annotations.get(INJECT).map(String::as_str)),
    }
}
