//! Injection as the guides type it: `istioctl kube-inject`, into kubectl.

use serde_json::Value;
use tidegate_testing::process;
use tidegate_testing::tools::Tool;
use tokio::process::Command;

use crate::support::{Gateway, Shell};

/// A workload to send requests from, with a Service for it.
const SLEEP: &str = "\
# A place to send requests from.
apiVersion: v1
kind: Service
metadata:
  name: sleep
spec:
  ports: [{port: 80, name: http}]
  selector: {app: sleep}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: sleep
spec:
  replicas: 1
  selector:
    matchLabels: {app: sleep}
  template:
    metadata:
      labels: {app: sleep}
    spec:
      containers:
      - name: sleep
        image: curlimages/curl
        command: [/bin/sleep, infinity]
";

#[tokio::test]
async fn a_guides_workload_is_applied_with_its_sidecar() {
    let gateway = Gateway::start(&[]).await;
    let Some(shell) = Shell::with(&gateway, &[Tool::Kubectl]) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("sleep.yaml"), SLEEP).expect("a file");
    let shell = shell.at(folder.path());

    shell.ok("kubectl apply -f <(istioctl kube-inject -f sleep.yaml)").await;
    let template = || async {
        let text = shell.ok("kubectl get deployment sleep -o jsonpath='{.spec.template}'").await;
        serde_json::from_str::<Value>(&text).expect("JSON")
    };
    let first = template().await;
    let names = |list: &str, template: &Value| -> Vec<String> {
        let list = template["spec"][list].as_array().expect("containers");
        list.iter().filter_map(|container| container["name"].as_str().map(str::to_owned)).collect()
    };
    assert_eq!(names("initContainers", &first), ["istio-init", "istio-proxy"]);
    assert_eq!(names("containers", &first), ["sleep"]);
    assert_eq!(first["spec"]["initContainers"][1]["restartPolicy"], "Always");
    assert_eq!(
        shell.ok("kubectl get service sleep -o jsonpath='{.spec.selector.app}'").await,
        "sleep"
    );

    // The line with a range with host bits: it lands as it is written.
    shell
        .ok("kubectl apply -f <(istioctl kube-inject -f sleep.yaml --includeIPRanges=10.0.0.1/24,172.20.0.0/16)")
        .await;
    let args = template().await["spec"]["initContainers"][0]["args"].clone();
    let args: Vec<&str> = args.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let place = args.iter().position(|word| *word == "-i").expect("what is captured");
    assert_eq!(args[place + 1], "10.0.0.1/24,172.20.0.0/16");
}

#[tokio::test]
async fn standard_input_files_and_mistakes() {
    let run = async |arguments: &[&str], input: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.arg("kube-inject").args(arguments);
        process::run(command, input).await
    };
    let classic = run(&["-f", "-", "--nativeSidecar=false"], SLEEP).await.success();
    let (service, _) = SLEEP.split_once("---").expect("two documents");
    assert!(classic.starts_with(service) && !classic.contains("restartPolicy"), "{classic}");

    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str| folder.path().join(name).display().to_string();
    let (result, mesh) = (file("injected.yaml"), file("mesh.yaml"));
    std::fs::write(&mesh, "defaultConfig: {interceptionMode: TPROXY}\n").expect("a file");
    let flags = ["-f", "-", "-o", &result, "--meshConfigFile", &mesh];
    assert_eq!(run(&flags, SLEEP).await.success(), "");
    let written = std::fs::read_to_string(&result).expect("a file");
    assert!(written.contains("TPROXY"), "{written}");

    let again = run(&["-f", &result], "").await;
    assert!(
        again.stderr.contains("note: Deployment sleep: no sidecar: it has one already"),
        "{}",
        again.stderr
    );
    assert_eq!(again.success(), written);

    let wrong = SLEEP.replace(
        "      labels: {app: sleep}\n    spec",
        "      annotations: {traffic.sidecar.istio.io/includeInboundPorts: http}\n    spec",
    );
    let refused = run(&["-f", "-"], &wrong).await;
    assert_eq!((refused.status.code(), refused.stdout.as_str()), (Some(1), ""));
    for told in [
        "Deployment sleep",
        "annotation traffic.sidecar.istio.io/includeInboundPorts",
        "1 to 65535",
    ] {
        assert!(refused.stderr.contains(told), "{}", refused.stderr);
    }
    let broken = run(&["-f", "-"], "kind: Pod\n  spec: a\n").await;
    assert_eq!(broken.status.code(), Some(1));
    assert!(broken.stderr.contains("-:2"), "{}", broken.stderr);
    assert_eq!(broken.stderr.matches("error: ").count(), 1, "{}", broken.stderr);
}
