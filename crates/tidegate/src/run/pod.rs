//! The Pod by which a run shows itself, where its objects come from an API: its labels, its addresses, and since when.

use std::sync::Arc;

use http::{Method, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};
use tidegate_api::validation::names;
use tidegate_apiserver::rest::RUN_ANNOTATION as PROCESS;
use tidegate_apiserver::store::Note;
use tidegate_proxy::accesslog::Format;
use tidegate_proxy::view::View;
use tidegate_source::cluster::{Access, Answer, Ask, Client};
use tokio::sync::mpsc;

use crate::events;
use crate::handing_in::HandingIn;
use crate::sidecar::Workload;

/// The container whose log is the access log, in Istio.
const PROXY_CONTAINER: &str = "istio-proxy";

/// No node has this name, so that nobody else runs what is shown so.
pub const NODE: &str = "tidegate-run";

/// A Pod that is there as long as the process that it shows.
#[derive(Debug)]
pub struct Shown {
    client: Client,
    path: String,
    uid: String,
}

impl Shown {
    /// Creates the Pod of a workload.
    ///
    /// # Errors
    /// There is none, in words, with what can be done about it.
    pub async fn create(
        access: &Access,
        workload: &Workload,
        command: &str,
    ) -> Result<Self, String> {
        let client = access.client().await.map_err(|error| error.to_string())?;
        let pod = manifest(workload, command, &own());
        let shown = Self::show(client, &pod).await?;
        shown.map_err(|answer| refused(&answer, &workload.namespace))
    }

    /// Creates a Pod, in place of one of its name whose process is gone; or what the API answers that takes none.
    ///
    /// # Errors
    /// The API does not answer.
    pub async fn show(client: Client, pod: &Value) -> Result<Result<Self, Answer>, String> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let [namespace, name] = ["namespace", "name"].map(|field| text(&pod["metadata"][field]));
        let all = format!("/api/v1/namespaces/{namespace}/pods");
        let path = format!("{all}/{name}");
        let create = || json_body(Method::POST, &all, pod);
        let mut answer = client.send(create()).await?;
        if answer.status == StatusCode::CONFLICT && remove_stale(&client, &path).await? {
            answer = client.send(create()).await?;
        }
        if !answer.status.is_success() {
            return Ok(Err(answer));
        }
        let shown = Self { client, path, uid: text(&answer.body["metadata"]["uid"]) };
        if answer.body["status"]["podIP"] != pod["status"]["podIP"] {
            // Clusters take a status by itself alone.
            let status = json!({ "status": pod["status"] }).to_string().into_bytes();
            let path = format!("{}/status", shown.path);
            let patch = Ask::new(Method::PATCH, &path).with("application/merge-patch+json", status);
            let answer = shown.client.send(patch).await?;
            if !answer.status.is_success() {
                tracing::warn!("Pod {namespace}/{name} has no status: {}", answer.refusal());
            }
        }
        Ok(Ok(shown))
    }

    /// Hands in the log of the sidecar, as that of the Pod, and what it refuses.
    pub fn hand_in(&self, view: &Arc<View>, format: Format) -> [HandingIn; 2] {
        let Self { client, path, uid } = self;
        let refusals = format!("{path}/egress?uid={uid}");
        [self.hand_in_log(view, format), HandingIn::refusals(client.clone(), refusals, view)]
    }

    /// Hands in the log of a proxy, as that of the Pod.
    pub fn hand_in_log(&self, view: &Arc<View>, format: Format) -> HandingIn {
        let Self { client, path, uid } = self;
        let log = format!("{path}/log?container={PROXY_CONTAINER}&uid={uid}");
        HandingIn::log(client.clone(), log, view.logs(), format)
    }

    /// Whether the API still has it, as far as is known.
    pub async fn is_there(&self) -> bool {
        match self.client.send(Ask::new(Method::GET, &self.path)).await {
            Ok(answer) if answer.status == StatusCode::NOT_FOUND => false,
            Ok(answer) if answer.status.is_success() => answer.body["metadata"]["uid"] == *self.uid,
            _ => true,
        }
    }

    /// Writes what is said of the Pod as Events of it, until nobody says anything any more.
    pub async fn tell(&self, notes: &mut mpsc::Receiver<Note>) {
        events::write_all(&self.client, &self.uid, notes).await;
    }

    /// Deletes it.
    pub async fn remove(&self) {
        if let Err(why) = delete(&self.client, &self.path, &self.uid).await {
            tracing::warn!("the Pod of this command is left behind: {why}");
        }
    }
}

/// Why a Pod was not created, and what helps.
fn refused(answer: &Answer, namespace: &str) -> String {
    let why = answer.refusal();
    match answer.status {
        StatusCode::CONFLICT => format!("{why}; --pod NAME gives it another name"),
        StatusCode::NOT_FOUND => format!(
            "{why}; kubectl create namespace {namespace} creates it, and -n NAMESPACE names another one"
        ),
        StatusCode::FORBIDDEN => {
            format!("{why}; -n NAMESPACE names one where these credentials may create Pods")
        }
        _ => why,
    }
}

/// Removes a Pod of a process of this machine that is gone; whether it did.
async fn remove_stale(client: &Client, path: &str) -> Result<bool, String> {
    let answer = client.send(Ask::new(Method::GET, path)).await?;
    let metadata = &answer.body["metadata"];
    let of = metadata["annotations"][PROCESS].as_str().unwrap_or_default();
    let (machine_of, number) = of.rsplit_once('/').unwrap_or_default();
    let gone = number.parse::<u32>().is_ok_and(|pid| !is_running(pid));
    if machine_of != machine() || !gone {
        return Ok(false);
    }
    delete(client, path, metadata["uid"].as_str().unwrap_or_default()).await?;
    Ok(true)
}

/// Deletes a Pod, and not another one that has its name meanwhile.
async fn delete(client: &Client, path: &str, uid: &str) -> Result<(), String> {
    let options = json!({
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "gracePeriodSeconds": 0,
        "preconditions": { "uid": uid },
    });
    let answer = client.send(json_body(Method::DELETE, path, &options)).await?;
    let gone = answer.status.is_success() || answer.status == StatusCode::NOT_FOUND;
    if gone { Ok(()) } else { Err(answer.refusal()) }
}

fn json_body<'a>(method: Method, path: &'a str, body: &Value) -> Ask<'a> {
    Ask::new(method, path).with("application/json", body.to_string().into_bytes())
}

fn is_running(pid: u32) -> bool {
    std::path::Path::new("/proc").join(pid.to_string()).exists()
}

fn machine() -> String {
    rustix::system::uname().nodename().to_string_lossy().to_ascii_lowercase()
}

/// What the Pod of this process says of whom it is.
pub fn own() -> String {
    process(&machine(), std::process::id())
}

/// Whether a Pod says that it is of a process of this machine.
pub fn is_of_this_machine(pod: &Value) -> bool {
    let of = pod["metadata"]["annotations"][PROCESS].as_str();
    of.and_then(|of| of.rsplit_once('/')).is_some_and(|(of, _)| of == machine())
}

fn process(machine: &str, pid: u32) -> String {
    format!("{machine}/{pid}")
}

fn manifest(workload: &Workload, command: &str, own: &str) -> Value {
    let Workload { namespace, name, labels, service_account, addresses } = workload;
    let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let image = format!("tidegate:{}", env!("CARGO_PKG_VERSION"));
    let container = |name: &str| json!({ "name": name, "image": image });
    let status = |name: &str| {
        json!({
            "name": name, "image": image, "imageID": "", "ready": true, "started": true,
            "restartCount": 0, "state": { "running": { "startedAt": now } }, "lastState": {},
        })
    };
    let condition =
        |name: &str| json!({ "type": name, "status": "True", "lastTransitionTime": now });
    let fits = names::dns_label(command).is_ok() && command != PROXY_CONTAINER;
    let command = if fits { command } else { "command" };
    let containers = [command, PROXY_CONTAINER];
    let (described, running) = (containers.map(container), containers.map(status));
    let conditions = ["Ready", "ContainersReady"].map(condition);
    let address = addresses.first().map(ToString::to_string);
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": labels,
            "annotations": { PROCESS: own, "kubectl.kubernetes.io/default-container": PROXY_CONTAINER },
        },
        "spec": {
            "containers": described,
            "serviceAccountName": service_account,
            "nodeName": NODE,
            "restartPolicy": "Never",
        },
        "status": {
            "phase": "Running",
            "podIP": address,
            "podIPs": addresses.iter().map(|ip| json!({ "ip": ip })).collect::<Vec<_>>(),
            "startTime": now,
            "conditions": conditions,
            "containerStatuses": running,
        },
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tidegate_api::{Kind, Object, Origin};

    use super::*;

    #[test]
    fn the_pod_is_one_that_an_api_takes() {
        let workload = Workload {
            namespace: "default".to_owned(),
            name: "curl-7".to_owned(),
            labels: BTreeMap::from([("app".to_owned(), "sleep".to_owned())]),
            service_account: "default".to_owned(),
            addresses: vec![[198, 18, 0, 2].into()],
        };
        let pod = manifest(&workload, "curl", &process("m", 7));
        let object = Object::decode(Kind::Pod, "v1", &pod, Origin::Api).expect("a Pod").object;
        assert_eq!(object.labels["app"], "sleep");
        assert_eq!(pod["status"]["podIP"], "198.18.0.2");
        assert_eq!(pod["metadata"]["annotations"][PROCESS], "m/7");
    }
}
