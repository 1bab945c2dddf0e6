//! The objects that an API server has and its mesh config, from a cluster's or a running process'; this one tells, too, in which
//! forms they are in force.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tidegate_api::istio::destination_rule::TrafficPolicy;
use tidegate_api::istio::policy::selected;
use tidegate_api::kinds::KindInfo;
use tidegate_api::{KINDS, Kind, Object, ObjectKey, Origin, Spec};
use tidegate_apiserver::rest::{ADMIN_ANNOTATION, FORMS_PATH};
use tidegate_apiserver::store::{SOURCE_ANNOTATION, is_own};
use tidegate_pilot::Input;
use tidegate_pilot::status::{PROGRAMMED, SERVED};
use tidegate_source::cluster::Client;
use tokio::time::timeout;

use crate::api::{self, Had};
use crate::cli::AccessArgs;
use crate::cli::proxy_config::fetch;
use crate::failure::{Failure, Outcome};
use crate::up::gateway::{MESH_CONFIG, MESH_KEY, NAMESPACE};
use crate::{mesh, terminal};

/// A list of 100,000 objects takes a few seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a running process has.
#[derive(Debug, Default)]
pub struct Live {
    /// Every object that a proxy is compiled from, in the form that proved good last where that is told.
    pub objects: Vec<Arc<Object>>,
    /// What was written of them later, which may be refused.
    pub later: Vec<Input>,
    /// What the process says of objects that are not in force, whether or not that can be found out here.
    pub unserved: Vec<(ObjectKey, String)>,
    /// What the process says of objects of which a part is in force.
    pub partly: Vec<(ObjectKey, String)>,
    /// What status says of objects, of the form in which they are: the conditions that Tidegate writes.
    pub conditions: BTreeMap<ObjectKey, Vec<Value>>,
    /// The mesh config, where its ConfigMap is.
    pub mesh: Option<mesh::Config>,
    /// The objects through which the process shows itself.
    pub shown: BTreeSet<ObjectKey>,
    /// Where its admin interface listens, as its Pod says.
    pub admin: Option<SocketAddr>,
}

/// Asks an API server for what decisions are made from.
///
/// # Errors
/// No kubeconfig, nobody who answers there, or an answer that is none.
pub async fn ask(args: &AccessArgs) -> Outcome<Live> {
    let client = api::client(args).await.map_err(|missing| missing.or(MANIFESTS))?;
    let failed =
        |why| Failure::new(why).or("tidegate up, if no API server runs").or(MANIFESTS.to_owned());
    let mut live = Live::default();
    match timeout(PATIENCE, live.read(&client)).await {
        Ok(Ok(())) => Ok(live),
        Ok(Err(reason)) => Err(failed(reason)),
        Err(_) => Err(failed(format!("no answer within {} s", PATIENCE.as_secs()))),
    }
}

/// What does without an API server.
const MANIFESTS: &str = "-f PATH, to explain manifests";

impl Live {
    /// Takes in everything that there is to see. What may not be read is told, and left out.
    async fn read(&mut self, client: &Client) -> Result<(), String> {
        let mut seen = false;
        let mut refusals = Vec::new();
        for info in Kind::compiled().map(Kind::info) {
            match api::list(client, info).await? {
                (version, Had::There(list)) => {
                    seen = true;
                    items(&list).for_each(|item| self.take_in(info, version, item));
                }
                // What is not served, nobody has written.
                (_, Had::Nothing) => {}
                (_, Had::Forbidden(why)) => refusals.push((info.plural, why)),
            }
        }
        if let (false, Some((_, why))) = (seen, refusals.first()) {
            return Err(why.clone());
        }
        for (plural, why) in refusals {
            terminal::say(format_args!("Warning: without {plural}: {why}"));
        }
        // Another API server than ours knows nothing of it.
        if let Had::There(forms) = api::get(client, FORMS_PATH).await? {
            items(&forms).for_each(|form| self.settle(form));
        }
        let path = format!("/api/v1/namespaces/{NAMESPACE}/configmaps/{MESH_CONFIG}");
        match api::get(client, &path).await? {
            Had::There(map) => {
                self.mesh = map["data"][MESH_KEY].as_str().map(|text| mesh::Config {
                    from: format!("ConfigMap {NAMESPACE}/{MESH_CONFIG}"),
                    text: text.to_owned(),
                });
            }
            Had::Nothing => {}
            Had::Forbidden(why) => {
                terminal::say(format_args!("Warning: without the mesh config: {why}"));
            }
        }
        Ok(())
    }

    /// Takes in an object that is listed.
    fn take_in(&mut self, info: &KindInfo, version: &str, item: &Value) {
        match object(info, version, item) {
            Ok(object) => {
                // Whatever somebody else writes into a Pod is no address to ask.
                let own = is_own(item).then_some(&object);
                self.admin = self.admin.or_else(|| admin(own?));
                let key = || object.key.clone();
                self.unserved.extend(unserved(item, "False").map(|why| (key(), why)));
                self.partly.extend(unserved(item, "True").map(|why| (key(), why)));
                self.shown.extend(is_own(item).then(key));
                self.conditions.extend(conditions(item).map(|told| (key(), told)));
                self.objects.push(object);
            }
            Err(invalid) => self.later.extend(invalid),
        }
    }

    /// Takes in what is told of the forms of one object.
    fn settle(&mut self, form: &Value) {
        let Some(info) = KINDS.iter().find(|info| form["kind"] == info.name) else { return };
        let text = |field: &str| form[field].as_str().unwrap_or_default();
        let key = ObjectKey::new(info.kind, text("namespace"), text("name"));
        let shown = self.objects.iter().position(|object| object.key == key);
        if let Ok(good) = object(info, info.versions[0], &form["good"]) {
            match shown {
                Some(shown) => {
                    let newest = std::mem::replace(&mut self.objects[shown], good);
                    self.later.push(Input::Apply(newest));
                }
                None => self.objects.push(good),
            }
        }
        let errors: Vec<String> =
            items_of(&form["errors"]).filter_map(Value::as_str).map(str::to_owned).collect();
        if !errors.is_empty() {
            let generation = shown.map_or(0, |shown| self.objects[shown].generation);
            // One that never was good is told of as it is listed.
            self.later.push(Input::Invalid { key, generation, errors, selector: None });
        }
    }
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    items_of(&list["items"])
}

fn items_of(array: &Value) -> impl Iterator<Item = &Value> {
    array.as_array().into_iter().flatten()
}

/// A listed object.
///
/// # Errors
/// It does not decode, which is told where it has a name.
fn object(info: &KindInfo, version: &str, item: &Value) -> Result<Arc<Object>, Option<Input>> {
    let mut item = item.clone();
    item["apiVersion"] = KindInfo::api_version(info.group, version).into();
    item["kind"] = info.name.into();
    let metadata = &item["metadata"];
    let source = metadata["annotations"][SOURCE_ANNOTATION].as_str().and_then(origin);
    match Object::decode(info.kind, version, &item, source.unwrap_or(Origin::Api)) {
        Ok(decoded) => Ok(Arc::new(decoded.object)),
        Err(errors) => {
            let text = |field: &str| metadata[field].as_str();
            let name = text("name").ok_or(None)?;
            let key = ObjectKey::new(info.kind, text("namespace").unwrap_or_default(), name);
            let generation = metadata["generation"].as_i64().unwrap_or_default();
            let errors = errors.iter().map(ToString::to_string).collect();
            let selector = selected(info.kind, &item);
            Err(Some(Input::Invalid { key, generation, errors, selector }))
        }
    }
}

/// Where the admin interface of a process listens, if an object shows the process.
fn admin(object: &Object) -> Option<SocketAddr> {
    object.annotations.get(ADMIN_ANNOTATION)?.parse().ok()
}

/// The endpoints that a process has ejected, by cluster; nothing where its admin interface does not tell. Where no object asks
/// for ejection nobody is asked.
pub fn ejected(live: &Live) -> Option<BTreeMap<String, Vec<SocketAddr>>> {
    let asks = |policy: &TrafficPolicy| {
        let mut ports = policy.port_level_settings.iter();
        policy.outlier_detection.is_some() || ports.any(|port| port.outlier_detection.is_some())
    };
    let may_eject = |object: &Arc<Object>| match &object.spec {
        Spec::DestinationRule(rule) => {
            let subsets = rule.subsets.iter().filter_map(|subset| subset.traffic_policy.as_ref());
            rule.traffic_policy.iter().chain(subsets).any(asks)
        }
        // It may ask for anything.
        Spec::EnvoyFilter(_) => true,
        _ => false,
    };
    let admin = live.admin.filter(|_| live.objects.iter().any(may_eject))?;
    fetch::json(admin, "/clusters?format=json").ok().map(|told| out(&told))
}

/// The ejected endpoints in Envoy's `/clusters`.
fn out(clusters: &Value) -> BTreeMap<String, Vec<SocketAddr>> {
    let mut found: BTreeMap<String, Vec<SocketAddr>> = BTreeMap::new();
    for cluster in items_of(&clusters["cluster_statuses"]) {
        let name = cluster["name"].as_str().unwrap_or_default();
        for host in items_of(&cluster["host_statuses"]) {
            let place = &host["address"]["socket_address"];
            let ip = place["address"].as_str().and_then(|text| text.parse().ok());
            let port = place["port_value"].as_u64().and_then(|port| u16::try_from(port).ok());
            if host["health_status"]["failed_outlier_check"] == true
                && let (Some(ip), Some(port)) = (ip, port)
            {
                found.entry(name.to_owned()).or_default().push(SocketAddr::new(ip, port));
            }
        }
    }
    found
}

/// Why an object, or a part of it, is not in force, where its status says that it is (`True`), or that nothing of it is.
fn unserved(item: &Value, is: &str) -> Option<String> {
    let mut conditions = items_of(&item["status"]["conditions"]);
    let programmed = conditions.find(|condition| condition["type"] == PROGRAMMED)?;
    let text = |field: &str| programmed[field].as_str().unwrap_or_default();
    let said = || format!("{}: {}", text("reason"), text("message"));
    (text("status") == is && text("reason") != SERVED).then(said)
}

/// The conditions of an object that a gateway has judged in the form that it has now.
fn conditions(item: &Value) -> Option<Vec<Value>> {
    let all: Vec<Value> = items_of(&item["status"]["conditions"]).cloned().collect();
    let programmed = all.iter().find(|condition| condition["type"] == PROGRAMMED)?;
    let judged = &programmed["observedGeneration"];
    (*judged == item["metadata"]["generation"]).then_some(all)
}

/// `FILE:LINE`, as the API tells where a read-only object comes from.
fn origin(told: &str) -> Option<Origin> {
    let (path, line) = told.rsplit_once(':')?;
    Some(Origin::File { path: Path::new(path).into(), line: line.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ejected_endpoints_are_those_of_envoys_clusters() {
        let host = |port: u16, out: bool| {
            let health = if out { json!({"failed_outlier_check": true}) } else { json!({}) };
            json!({
                "address": {"socket_address": {"address": "192.0.2.1", "port_value": port}},
                "health_status": health,
            })
        };
        let clusters = json!({"cluster_statuses": [
            {"name": "a", "host_statuses": [host(80, false), host(81, true)]},
            {"name": "b", "host_statuses": [host(80, false)]},
        ]});
        let one = SocketAddr::from(([192, 0, 2, 1], 81));
        assert_eq!(out(&clusters), BTreeMap::from([("a".to_owned(), vec![one])]));
    }
}
