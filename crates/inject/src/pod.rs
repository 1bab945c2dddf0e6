//! A pod, and what is put into it.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use tidegate_capture::{Name, Options};

use crate::annotations::{Plan, Template};
use crate::containers::{self, INIT, PROXY};
use crate::merge::lay_over;
use crate::settings::Settings;
use crate::workload::{INJECT, Owner, STATUS};
use crate::{Wrong, metadata, probes, volumes};

/// The annotation that keeps what a user said about the containers that are injected.
const OVERRIDES: &str = "proxy.istio.io/overrides";

/// The image of a container that its user has only to say something about the injected one.
const AUTO: &str = "auto";

/// A pod of a manifest.
pub(crate) struct Pod {
    rest: Map<String, Value>,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    pub spec: Map<String, Value>,
}

impl Pod {
    /// Reads what is needed of a pod.
    pub fn new(
        mut rest: Map<String, Value>,
        mut spec: Map<String, Value>,
        owner: &Owner,
    ) -> Result<Self, Wrong> {
        let wrong = |place: String, reason: &str| Wrong {
            object: owner.told(),
            place,
            reason: reason.to_owned(),
        };
        let mut texts = |field: &str| match rest.remove(field) {
            None | Some(Value::Null) => Ok(BTreeMap::new()),
            Some(Value::Object(entries)) => {
                let texts = entries.into_iter().map(|(name, value)| match value {
                    Value::String(text) => Ok((name, text)),
                    _ => Err(wrong(
                        format!("{} {name}", field.trim_end_matches('s')),
                        "a text is expected: put the value in quotes",
                    )),
                });
                texts.collect()
            }
            Some(_) => {
                Err(wrong(format!("metadata.{field}"), "a mapping of names to texts is expected"))
            }
        };
        let (labels, annotations) = (texts("labels")?, texts("annotations")?);
        for field in ["initContainers", "containers", "volumes"] {
            let items =
                spec.remove(field).filter(|items| !items.is_null()).unwrap_or_else(|| json!([]));
            if !items.as_array().is_some_and(|items| items.iter().all(Value::is_object)) {
                return Err(wrong(format!("spec.{field}"), "a list of mappings is expected"));
            }
            spec.insert(field.to_owned(), items);
        }
        Ok(Self { rest, labels, annotations, spec })
    }

    /// Takes over what is asked of the sidecar at another place, where it is not asked here.
    pub fn hear(&mut self, other: Self) {
        for (name, value) in other.annotations {
            self.annotations.entry(name).or_insert(value);
        }
        if let Some(asked) = other.labels.get(INJECT) {
            self.labels.entry(INJECT.to_owned()).or_insert_with(|| asked.clone());
        }
    }

    /// The metadata, written down again.
    pub fn metadata(&self) -> Map<String, Value> {
        let mut metadata = self.rest.clone();
        for (field, texts) in [("labels", &self.labels), ("annotations", &self.annotations)] {
            if !texts.is_empty() {
                metadata.insert(field.to_owned(), json!(texts));
            }
        }
        metadata
    }

    /// The containers beside each other.
    pub fn containers(&self) -> impl Iterator<Item = &Value> {
        self.list("containers").iter()
    }

    fn list(&self, field: &str) -> &[Value] {
        self.spec.get(field).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    fn list_mut(&mut self, field: &str) -> &mut Vec<Value> {
        let list = self.spec.entry(field).or_insert_with(|| json!([]));
        if !list.is_array() {
            *list = json!([]);
        }
        match list {
            Value::Array(list) => list,
            _ => unreachable!("it was made one"),
        }
    }

    /// Puts everything in that the plan says.
    pub fn inject(&mut self, plan: &Plan, settings: &Settings, owner: &Owner) -> Result<(), Wrong> {
        let redirects = plan.template == Template::Sidecar && plan.mode.is_some();
        let is_native = plan.template == Template::Sidecar && plan.native;
        let over_init = redirects.then(|| self.take(INIT)).flatten();
        let over_proxy = self.take(PROXY);
        metadata::label(self, plan, settings, owner);
        let mut proxy = containers::proxy(plan, settings, self, owner);
        lay(&mut proxy, over_proxy.as_ref());
        let init = redirects.then(|| {
            let mut init = containers::init(plan, &excepting(plan, &mut proxy), settings);
            lay(&mut init, over_init.as_ref());
            init
        });
        metadata::merge_metrics(self, plan, &mut proxy, owner)?;
        probes::rewrite(self, plan, &mut proxy);
        self.keep_overrides(is_native, over_init, over_proxy);
        let volumes = volumes::volumes(plan);
        let names = |values: &[Value]| -> Vec<Value> {
            values.iter().map(|value| value["name"].clone()).collect()
        };
        let inits: Vec<Value> = init.into_iter().chain(is_native.then(|| proxy.clone())).collect();
        let status = [
            ("initContainers", names(&inits)),
            ("containers", if is_native { vec![] } else { vec![PROXY.into()] }),
            ("volumes", names(&volumes)),
        ];
        self.keep_status(status, settings);
        self.place(inits, (!is_native).then_some(proxy), plan);
        self.add_volumes(volumes);
        Ok(())
    }

    /// Takes a container out, wherever it stands.
    fn take(&mut self, name: &str) -> Option<Value> {
        ["containers", "initContainers"].into_iter().find_map(|field| {
            let list = self.list_mut(field);
            let place = list.iter().position(|container| container["name"] == name)?;
            Some(list.remove(place))
        })
    }

    /// What a user said of the injected containers stays readable, for who injects anew.
    fn keep_overrides(&mut self, is_native: bool, init: Option<Value>, proxy: Option<Value>) {
        let mut overrides: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
        let proxies = if is_native { "initContainers" } else { "containers" };
        for (field, container) in [("initContainers", init), (proxies, proxy)] {
            if let Some(container) = container {
                let mut kept = without_auto(&container);
                if kept.get("resources").is_none() {
                    kept["resources"] = json!({});
                }
                overrides.entry(field).or_default().push(kept);
            }
        }
        if !overrides.is_empty() {
            self.annotations.insert(OVERRIDES.to_owned(), json!(overrides).to_string());
        }
    }

    fn keep_status(&mut self, names: [(&str, Vec<Value>); 3], settings: &Settings) {
        let mut status = json!({ "imagePullSecrets": null, "revision": settings.revision() });
        for (field, names) in names {
            status[field] = if names.is_empty() { Value::Null } else { names.into() };
        }
        self.annotations.insert(STATUS.to_owned(), status.to_string());
    }

    /// Puts the containers where they belong.
    ///
    /// A native sidecar comes before the other init containers, so that these are part of the mesh. Else rules are set last: before
    /// the sidecar runs, nobody answers at its ports.
    fn place(&mut self, inits: Vec<Value>, proxy: Option<Value>, plan: &Plan) {
        let list = self.list_mut("initContainers");
        let at = if plan.native { 0 } else { list.len() };
        list.splice(at..at, inits);
        if let Some(proxy) = proxy {
            let list = self.list_mut("containers");
            // Where a container is not named, kubectl takes the first.
            let at = if plan.holds_application { 0 } else { list.len() };
            list.insert(at, proxy);
        }
        if plan.template == Template::Gateway {
            let mut security = json!({ "sysctls": [{ "name": "net.ipv4.ip_unprivileged_port_start", "value": "0" }] });
            lay(&mut security, self.spec.get("securityContext").filter(|own| own.is_object()));
            self.spec.insert("securityContext".to_owned(), security);
        }
        for field in ["initContainers", "containers"] {
            if self.list(field).is_empty() {
                self.spec.remove(field);
            }
        }
    }

    /// A volume that the pod has under the name of ours stays the pod's.
    fn add_volumes(&mut self, volumes: Vec<Value>) {
        let list = self.list_mut("volumes");
        for volume in volumes {
            if !list.iter().any(|own| own["name"] == volume["name"]) {
                list.push(volume);
            }
        }
    }

    /// Every container of the workload itself.
    pub fn workload_mut(&mut self) -> impl Iterator<Item = &mut Value> {
        let lists = self
            .spec
            .iter_mut()
            .filter(|(field, _)| ["initContainers", "containers"].contains(&field.as_str()));
        lists.filter_map(|(_, list)| list.as_array_mut()).flatten()
    }
}

fn lay(container: &mut Value, over: Option<&Value>) {
    if let Some(over) = over {
        lay_over(container, &without_auto(over));
    }
}

fn without_auto(container: &Value) -> Value {
    let mut container = container.clone();
    if let Value::Object(fields) = &mut container
        && fields.get("image").is_some_and(|image| image == AUTO)
    {
        fields.remove("image");
    }
    container
}

/// What is captured, but for what the proxy itself sends, whoever it runs as: or it would come back to it for ever.
fn excepting(plan: &Plan, proxy: &mut Value) -> Options {
    let id = |proxy: &Value, field: &str| {
        proxy["securityContext"][field].as_u64().and_then(|id| u32::try_from(id).ok())
    };
    if plan.runs_as_root()
        && let Some(security) = proxy["securityContext"].as_object_mut()
    {
        security.insert("runAsUser".to_owned(), 0.into());
    }
    let mut capture =
        Options { mode: plan.mode.unwrap_or(plan.capture.mode), ..plan.capture.clone() };
    match (id(proxy, "runAsUser"), id(proxy, "runAsGroup")) {
        // Root may be others, too: its group tells the proxy apart.
        (Some(0), Some(group)) => capture.gids = vec![Name::of_number(group)],
        (Some(0), None) | (None, _) => {}
        (Some(user), _) => capture.uids = vec![Name::of_number(user)],
    }
    capture
}
