//! What injected containers are started with: read out of an injected Pod, and started in a network namespace as its node would.

use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command as StdCommand;

use serde_json::Value;
use tidegate_testing::PATIENCE;
use tidegate_testing::origin::{Origin, echo};
use tidegate_testing::process::{self, Process};
use tokio::process::Command;

use crate::support::captured::{ORIGINS, WORKLOAD};
use crate::support::egress_guide::Setting;

const OBJECTS: &str = "cat <<EOF | kubectl apply -f -
apiVersion: v1
kind: Pod
metadata:
  name: sleep-1
  labels:
    app: sleep
spec:
  containers:
  - name: sleep
    image: curlimages/curl
status:
  podIP: 10.77.0.100
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata:
  name: web
spec:
  hosts: [web.example]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: 10.77.0.2}]
EOF";

/// A container of a Pod.
struct Container {
    manifest: Value,
    /// Its variables, as the node fills them in.
    variables: Vec<(String, String)>,
}

impl Container {
    /// A container of a workload's template, of either sort.
    fn of(template: &Value, name: &str) -> Self {
        let lists = ["initContainers", "containers"].map(|list| template["spec"][list].as_array());
        let mut all = lists.into_iter().flatten().flatten();
        let manifest = all.find(|one| one["name"] == name).expect("the container").clone();
        let variables = manifest["env"].as_array().into_iter().flatten();
        let variables = variables.map(|variable| {
            let name = variable["name"].as_str().expect("a name").to_owned();
            let value = match &variable["value"] {
                Value::String(value) => value.clone(),
                _ => filled_in(&variable["valueFrom"]),
            };
            (name, value)
        });
        Self { variables: variables.collect(), manifest }
    }

    /// What it is started with behind its image's entry point.
    fn arguments(&self) -> Vec<String> {
        words(&self.manifest["args"]).into_iter().map(|word| self.expanded(word)).collect()
    }

    fn expanded(&self, mut word: String) -> String {
        for (name, value) in &self.variables {
            word = word.replace(&format!("$({name})"), value);
        }
        word
    }
}

fn words(list: &Value) -> Vec<String> {
    let list = list.as_array().expect("a list");
    list.iter().map(|word| word.as_str().expect("a word").to_owned()).collect()
}

/// What a node says where a manifest refers to the Pod.
fn filled_in(reference: &Value) -> String {
    let field = reference["fieldRef"]["fieldPath"].as_str();
    let resource = reference["resourceFieldRef"]["resource"].as_str();
    let value = match field.or(resource).expect("a reference") {
        "metadata.name" => "sleep-1",
        "metadata.namespace" | "spec.serviceAccountName" => "default",
        "status.podIP" => WORKLOAD[0],
        "status.hostIP" => "10.77.0.1",
        "spec.nodeName" => "node",
        "limits.cpu" => "2",
        "limits.memory" => "1073741824",
        other => panic!("{other}: what is that?"),
    };
    value.to_owned()
}

#[tokio::test]
async fn injected_containers_capture_and_serve() {
    capture_and_serve("", 0).await;
}

#[tokio::test]
async fn so_they_do_in_the_classic_layout() {
    capture_and_serve("--nativeSidecar=false", 1).await;
}

#[tokio::test]
async fn so_they_do_where_addresses_are_left_alone() {
    capture_and_serve("--meshConfigFile MESH", 0).await;
}

/// Injects with these flags, and does what a node does; `beside` containers are beside the workload's.
async fn capture_and_serve(flags: &str, beside: usize) {
    let Some(setting) = Setting::new("001/samples/sleep").await else { return };
    let Setting { world, shell, kubeconfig, .. } = &setting;
    let at: SocketAddr = format!("{}:80", ORIGINS[0]).parse().expect("an address");
    let web = Origin::start().at(at).http(echo).await;
    shell.ok(OBJECTS).await;
    let mesh = world.file("mesh.yaml", "defaultConfig: {interceptionMode: TPROXY}");
    let flags = flags.replace("MESH", &mesh);
    let injected = shell.ok(&format!("istioctl kube-inject -f sleep.yaml {flags}")).await;
    let documents = tidegate_yaml::parse(&injected).into_iter();
    let mut documents = documents.map(|document| document.expect("YAML").to_json());
    let deployment = documents.find(|object| object["kind"] == "Deployment").expect("it is there");
    let template = &deployment["spec"]["template"];
    let containers = template["spec"]["containers"].as_array().map_or(0, Vec::len);
    assert_eq!(containers, 1 + beside, "{template:#}");
    let [init, proxy] = ["istio-init", "istio-proxy"].map(|name| Container::of(template, name));
    for container in [&init, &proxy] {
        let image = container.manifest["image"].as_str().expect("an image");
        assert!(image.starts_with("tidegate-sidecar:"), "{image}");
    }

    // In the image, Istio's agent is another name of the program.
    let folder = world.file("here", "");
    let agent = Path::new(&folder).with_file_name("pilot-agent");
    symlink(env!("CARGO_BIN_EXE_tidegate"), &agent).expect("a link");
    let run = |words: &[String], variables: &[(String, String)]| {
        let mut command: StdCommand = world.command(&agent.display().to_string());
        command.args(words).envs(variables.iter().cloned()).env("KUBECONFIG", kubeconfig);
        Command::from(command)
    };
    let done = async |words: &[String]| process::run(run(words, &[]), "").await.success();
    let to_web = ["--resolve", "web.example:80:10.77.0.2", "http://web.example/"];
    let direct = world.curl(&to_web).await;
    assert!(direct.ends_with(" 200"), "{direct}");

    let applied = process::run(run(&init.arguments(), &init.variables), "").await;
    assert!(applied.success().contains("captured in this network namespace"));
    let nobody = world.curl(&to_web).await;
    assert!(nobody.contains(" 000"), "nobody is there who would carry it: {nobody}");

    // It is root here, and goes on as the user that the manifest has.
    let mut sidecar = Process::spawn(run(&proxy.arguments(), &proxy.variables));
    done(&["wait".to_owned()]).await;
    let carried = world.curl(&to_web).await;
    assert!(carried.ends_with(" 200"), "{carried}");
    assert_eq!(web.connections(), 2);
    sidecar.stdout().containing("outbound|80||web.example").await;
    let named = sidecar.stderr().containing("serves: outbound").await;
    assert!(named.contains("default/sleep-1 (10.77.0.100"), "{named}");
    let elsewhere = ["--resolve", "other.example:80:10.77.0.2", "http://other.example/"];
    let denied = world.curl(&elsewhere).await;
    assert!(denied.ends_with(" 502"), "{denied}");

    // In the classic layout nothing says that the workload has ended before.
    let hook = proxy.manifest.pointer("/lifecycle/preStop/exec/command").map(words);
    assert_eq!(hook.is_some(), beside == 0);
    if let Some(hook) = hook {
        assert_eq!(hook[0], "pilot-agent");
        done(&hook[1..]).await;
    }
    sidecar.signal(rustix::process::Signal::TERM);
    assert!(sidecar.wait(PATIENCE).await.success(), "{sidecar}");
}
