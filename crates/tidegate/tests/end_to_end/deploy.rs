//! What `deploy/` has for clusters: objects by Kubernetes' own schemas, and rights that are what is read and written, no more.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use k8s_openapi::api::{admissionregistration, apps, autoscaling, core, policy, rbac};
use k8s_openapi::serde::Serialize;
use k8s_openapi::serde::de::DeserializeOwned;
use serde_json::Value;
use tidegate_api::Kind;
use tidegate_api::kinds::{by_api_version, split_api_version};
use tidegate_testing::ca::Ca;
use tidegate_testing::process::Process;
use tidegate_testing::tools::Tool;

use crate::support::ApiServer;

/// The version of Kubernetes that is rendered for: what Helm takes for it may be too old for the chart.
const KUBERNETES: &str = "1.30";

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy")
}

fn documents(yaml: &str) -> Vec<Value> {
    let documents = tidegate_yaml::parse(yaml).into_iter();
    let documents = documents.map(|document| document.expect("YAML").root.to_json());
    documents.filter(|value| !value.is_null()).collect()
}

/// The manifests that are there for whoever has no Helm.
fn manifests() -> String {
    let path = deploy().join("manifests/ingressgateway.yaml");
    std::fs::read_to_string(path).expect("manifests")
}

fn helm(flags: &[&str]) -> Option<String> {
    let mut command = Command::new(Tool::Helm.need()?);
    command.args(["template", "tidegate", "--namespace", "istio-system"]);
    command.args(["--kube-version", KUBERNETES]).args(flags).arg(deploy().join("helm/tidegate"));
    let rendered = command.output().expect("it runs");
    let told = String::from_utf8_lossy(&rendered.stderr);
    assert!(rendered.status.success(), "{flags:?}: {told}");
    Some(String::from_utf8(rendered.stdout).expect("text"))
}

fn find<'a>(documents: &'a [Value], kind: &str) -> &'a Value {
    let found = documents.iter().find(|document| document["kind"] == kind);
    found.unwrap_or_else(|| panic!("no {kind}"))
}

/// Reads an object as Kubernetes' type of it: a field that this has not would be missing afterwards.
fn agrees<T: DeserializeOwned + Serialize>(object: &Value) {
    let typed: T = serde_json::from_value(object.clone()).unwrap_or_else(|error| {
        panic!("{} {}: {error}", object["kind"], object["metadata"]["name"])
    });
    let again = serde_json::to_value(typed).expect("JSON");
    assert_eq!(&again, object, "a field that there is not");
}

fn agrees_with_schema(object: &Value) {
    let text = |field: &str| object[field].as_str().unwrap_or_default();
    match (text("apiVersion"), text("kind")) {
        ("v1", "Service") => agrees::<core::v1::Service>(object),
        ("v1", "ServiceAccount") => agrees::<core::v1::ServiceAccount>(object),
        ("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration") => {
            agrees::<admissionregistration::v1::MutatingWebhookConfiguration>(object);
        }
        ("apps/v1", "Deployment") => agrees::<apps::v1::Deployment>(object),
        ("autoscaling/v2", "HorizontalPodAutoscaler") => {
            agrees::<autoscaling::v2::HorizontalPodAutoscaler>(object);
        }
        ("policy/v1", "PodDisruptionBudget") => agrees::<policy::v1::PodDisruptionBudget>(object),
        ("rbac.authorization.k8s.io/v1", kind) => match kind {
            "ClusterRole" => agrees::<rbac::v1::ClusterRole>(object),
            "ClusterRoleBinding" => agrees::<rbac::v1::ClusterRoleBinding>(object),
            "Role" => agrees::<rbac::v1::Role>(object),
            "RoleBinding" => agrees::<rbac::v1::RoleBinding>(object),
            other => panic!("{other}?"),
        },
        other => panic!("{other:?}?"),
    }
}

/// Rights as `ROLE GROUP/RESOURCE[/NAME] VERB`.
fn rights(role: &Value) -> BTreeSet<String> {
    let kind = role["kind"].as_str().expect("a kind");
    let list = |value: &Value| {
        let list = value.as_array().into_iter().flatten();
        list.filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
    };
    let mut rights = BTreeSet::new();
    for rule in role["rules"].as_array().expect("rules") {
        let mut names: Vec<String> = list(&rule["resourceNames"]);
        names.iter_mut().for_each(|name| name.insert(0, ' '));
        if names.is_empty() {
            names.push(String::new());
        }
        for group in list(&rule["apiGroups"]) {
            for resource in list(&rule["resources"]) {
                for verb in list(&rule["verbs"]) {
                    for name in &names {
                        rights.insert(format!("{kind}: {verb} {group}/{resource}{name}"));
                    }
                }
            }
        }
    }
    rights
}

/// What the source watches, and with `status` what is written.
fn needed(status: bool) -> BTreeSet<String> {
    let mut needed = BTreeSet::new();
    for kind in Kind::compiled() {
        let info = kind.info();
        // Those of the gateway's own namespace.
        let role = if kind == Kind::Secret { "Role" } else { "ClusterRole" };
        for verb in ["get", "list", "watch"] {
            needed.insert(format!("{role}: {verb} {}/{}", info.group, info.plural));
        }
        if status && info.status_subresource && !info.built_in {
            needed.insert(format!("ClusterRole: patch {}/{}/status", info.group, info.plural));
        }
    }
    if status {
        needed
            .extend(["get", "create", "patch"].map(|verb| format!("ClusterRole: {verb} /events")));
        let leases = "coordination.k8s.io/leases";
        needed.insert(format!("Role: create {leases}"));
        let own = format!("{leases} istio-ingressgateway-status");
        needed.extend(["get", "update"].map(|verb| format!("Role: {verb} {own}")));
    }
    needed
}

fn all_rights(documents: &[Value]) -> BTreeSet<String> {
    let roles = ["ClusterRole", "Role"].map(|kind| rights(find(documents, kind)));
    roles.into_iter().flatten().collect()
}

#[test]
fn rights_are_those_of_what_is_read_and_written() {
    assert_eq!(all_rights(&documents(&manifests())), needed(true));
}

/// What objects say of the Deployment is so there: which Pods are picked, what is scaled, and which port leads where.
fn fit_each_other(documents: &[Value]) {
    let deployment = find(documents, "Deployment");
    let named = |kind: &str| documents.iter().find(|document| document["kind"] == kind);
    let pod = &deployment["spec"]["template"];
    let service = &find(documents, "Service")["spec"];
    let budget = named("PodDisruptionBudget");
    let selectors = [&deployment["spec"]["selector"]["matchLabels"], &service["selector"]];
    for selector in
        selectors.into_iter().chain(budget.map(|b| &b["spec"]["selector"]["matchLabels"]))
    {
        for (key, value) in selector.as_object().expect("a selector") {
            assert_eq!(&pod["metadata"]["labels"][key], value, "{key}");
        }
    }
    if let Some(scaler) = named("HorizontalPodAutoscaler") {
        let target = &scaler["spec"]["scaleTargetRef"];
        assert_eq!(target["name"], deployment["metadata"]["name"]);
        assert_eq!(
            (&target["apiVersion"], &target["kind"]),
            (&deployment["apiVersion"], &deployment["kind"])
        );
    }
    let list = |list: &Value| list.as_array().expect("a list").clone();
    let container = &pod["spec"]["containers"][0];
    let ports = list(&container["ports"]);
    let number = |port: &Value| -> Option<u64> {
        let own = ports.iter().find(|own| own["containerPort"] == *port || own["name"] == *port)?;
        own["containerPort"].as_u64()
    };
    let map = list(&container["args"]);
    let map =
        map.iter().find_map(|flag| flag.as_str()?.strip_prefix("--port-map=")).expect("a map");
    let mapped: BTreeSet<&str> = map.split(',').collect();
    let health = number(&container["readinessProbe"]["httpGet"]["port"]);
    assert_eq!(health, Some(15021), "where the program tells its health, if nobody says another");
    let led: BTreeSet<String> = list(&service["ports"])
        .iter()
        .map(|port| (&port["port"], number(&port["targetPort"]).expect("a port of the container")))
        .filter(|(_, target)| Some(*target) != health)
        .map(|(port, target)| format!("{port}={target}"))
        .collect();
    assert!(led.iter().map(String::as_str).eq(mapped), "{led:?} {map}");
}

#[test]
fn manifests_agree_with_kubernetes_and_with_each_other() {
    let documents = documents(&manifests());
    documents.iter().for_each(agrees_with_schema);
    for kind in ["Deployment", "Service", "PodDisruptionBudget", "HorizontalPodAutoscaler"] {
        find(&documents, kind);
    }
    let account = &find(&documents, "ServiceAccount")["metadata"]["name"];
    let deployment = find(&documents, "Deployment");
    let pod = &deployment["spec"]["template"];
    assert_eq!(&pod["spec"]["serviceAccountName"], account);
    for (binding, role) in [("RoleBinding", "Role"), ("ClusterRoleBinding", "ClusterRole")] {
        let binding = find(&documents, binding);
        assert_eq!(&binding["subjects"][0]["name"], account);
        assert_eq!(binding["roleRef"]["name"], find(&documents, role)["metadata"]["name"]);
    }
    fit_each_other(&documents);
    // Whoever may do nothing but serve.
    let container = &pod["spec"]["containers"][0];
    let secured = [
        (&pod["spec"]["securityContext"]["runAsNonRoot"], true),
        (&container["securityContext"]["readOnlyRootFilesystem"], true),
        (&container["securityContext"]["allowPrivilegeEscalation"], false),
    ];
    for (said, wanted) in secured {
        assert_eq!(*said, wanted);
    }
    assert_eq!(container["securityContext"]["capabilities"]["drop"][0], "ALL");
}

/// All flags are known: what the program says is that it is in no Pod.
#[test]
fn the_container_is_started_with_flags_that_there_are() {
    let documents = documents(&manifests());
    let container = &find(&documents, "Deployment")["spec"]["template"]["spec"]["containers"][0];
    let flags = container["args"].as_array().expect("flags").iter();
    let flags: Vec<&str> = flags.map(|flag| flag.as_str().expect("text")).collect();
    assert!(flags.contains(&"--port-map=80=8080,443=8443"), "{flags:?}");
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    let started = command.args(flags).env_clear().output().expect("it runs");
    let told = String::from_utf8_lossy(&started.stderr);
    assert!(told.contains("there is no kubeconfig"), "{told}");
}

/// The injector is asked where it answers, for the Pods that it is for, and its certificate is where it looks for it.
#[tokio::test]
async fn the_injector_is_asked_where_it_answers() {
    let path = deploy().join("manifests/sidecar-injector.yaml");
    let documents = documents(&std::fs::read_to_string(path).expect("manifests"));
    documents.iter().for_each(agrees_with_schema);
    let deployment = find(&documents, "Deployment");
    let (template, service) = (&deployment["spec"]["template"], find(&documents, "Service"));
    let labels = template["metadata"]["labels"].as_object().expect("labels");
    for selector in [
        &deployment["spec"]["selector"]["matchLabels"],
        &service["spec"]["selector"],
        &find(&documents, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
    ] {
        for (key, value) in selector.as_object().expect("a selector") {
            assert_eq!(labels.get(key), Some(value), "{key}");
        }
    }
    let webhook = &find(&documents, "MutatingWebhookConfiguration")["webhooks"][0];
    let asked = &webhook["clientConfig"]["service"];
    for field in ["name", "namespace"] {
        assert_eq!(asked[field], service["metadata"][field]);
    }
    let container = &template["spec"]["containers"][0];
    let port = &service["spec"]["ports"][0];
    assert_eq!(
        (&asked["port"], &port["targetPort"]),
        (&port["port"], &container["ports"][0]["containerPort"])
    );

    // The workloads' rights are those of what is read.
    let cluster = find(&documents, "ClusterRole");
    let own = documents.iter().find(|one| one["metadata"]["name"] == "tidegate-sidecar-own");
    let read = |role: &Value| -> BTreeSet<String> {
        let rights = rights(role).into_iter();
        rights.filter_map(|right| Some(right.split_once(": ")?.1.to_owned())).collect()
    };
    let mut wanted: BTreeSet<String> = needed(false);
    wanted = wanted.iter().filter_map(|it| Some(it.split_once(": ")?.1.to_owned())).collect();
    wanted.extend(["get", "create", "patch"].map(|verb| format!("{verb} /events")));
    assert_eq!(&read(cluster) | &read(own.expect("a role")), wanted);

    // It starts with these flags, at the port that is asked, and answers at the path.
    let folder = tempfile::tempdir().expect("a folder");
    let ca = Ca::new("a cluster");
    let identity = ca.issue(&["tidegate-webhook.istio-system.svc"]);
    std::fs::write(folder.path().join("tls.crt"), &identity.certificate_pem).expect("a file");
    std::fs::write(folder.path().join("tls.key"), &identity.key_pem).expect("a file");
    let mount = container["volumeMounts"][0]["mountPath"].as_str().expect("a path");
    let here = folder.path().display().to_string();
    let flags = container["args"].as_array().expect("flags").iter();
    let flags = flags.map(|flag| flag.as_str().expect("text").replace(mount, &here));
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(flags).args(["--listen", "127.0.0.1:0"]);
    let process = Process::spawn(command);
    let line = process.stderr().containing("injects the Pods").await;
    assert!(line.contains(asked["path"].as_str().expect("a path")), "{line}");
    let help = Command::new(env!("CARGO_BIN_EXE_tidegate")).args(["webhook", "--help"]).output();
    let help = String::from_utf8(help.expect("it runs").stdout).expect("text");
    assert!(
        help.contains(&format!("0.0.0.0:{}", asked["port"])),
        "the port is the default: {help}"
    );
}

/// What an API server has to say of the kinds that ours knows.
#[tokio::test]
async fn an_api_server_takes_the_manifests() {
    let server = ApiServer::start().await;
    let mut api = server.client().await;
    let mut taken = Vec::new();
    for document in documents(&manifests()) {
        let text = |field: &str| document[field].as_str().unwrap_or_default();
        let (api_version, kind) = (text("apiVersion"), text("kind"));
        let Some(info) = by_api_version(api_version, kind) else { continue };
        let root = match split_api_version(api_version) {
            ("", _) => "/api",
            _ => "/apis",
        };
        let path = format!(
            "{root}/{api_version}/namespaces/istio-system/{}?dryRun=All&fieldValidation=Strict",
            info.plural
        );
        api.send("POST", &path, &document.to_string()).await;
        taken.push(kind.to_owned());
    }
    assert_eq!(taken, ["ServiceAccount", "Service", "Deployment"]);
}

#[test]
fn the_chart_renders_to_the_manifests() {
    let Some(rendered) = helm(&[]) else { return };
    let again = "helm template tidegate deploy/helm/tidegate -n istio-system --kube-version 1.30";
    assert_eq!(rendered, manifests(), "{again} > deploy/manifests/ingressgateway.yaml");
}

#[test]
fn the_chart_renders_whatever_is_asked_for() {
    let variants: [&[&str]; 4] = [
        &["--set", "status=false,autoscaling.enabled=false,podDisruptionBudget.enabled=false"],
        &["--set", "gateway=edge,labels.team=web,meshConfigMap=istio,args={--workers=2}"],
        &[
            "--set",
            "service.type=NodePort,service.externalTrafficPolicy=Local,drainDelaySeconds=0,image.tag=x,\
             priorityClassName=high,nodeSelector.a=b,podAnnotations.a=b,serviceAccount.name=mine",
        ],
        &["--set", "rbac.create=false,serviceAccount.create=false,imagePullSecrets[0].name=pull"],
    ];
    for (number, flags) in variants.into_iter().enumerate() {
        let Some(rendered) = helm(flags) else { return };
        let documents = documents(&rendered);
        documents.iter().for_each(agrees_with_schema);
        fit_each_other(&documents);
        let kinds: Vec<&str> = documents.iter().filter_map(|d| d["kind"].as_str()).collect();
        match number {
            0 => {
                assert_eq!(all_rights(&documents), needed(false));
                assert_eq!(find(&documents, "Deployment")["spec"]["replicas"], 2);
                assert!(rendered.contains("- --no-status\n"), "{rendered}");
            }
            1 => {
                for flag in
                    ["istio=edge,team=web", "--mesh-config=/etc/istio/config/mesh", "--workers=2"]
                {
                    assert!(rendered.contains(flag), "no {flag} in {rendered}");
                }
                assert_eq!(find(&documents, "Service")["metadata"]["name"], "istio-edge");
            }
            2 => assert_eq!(find(&documents, "ServiceAccount")["metadata"]["name"], "mine"),
            _ => {
                let kept =
                    ["PodDisruptionBudget", "Service", "Deployment", "HorizontalPodAutoscaler"];
                assert_eq!(kinds, kept);
            }
        }
    }
}
