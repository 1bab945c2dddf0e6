//! `tidegate run` with an API: the Pod that shows the command, and what an API refuses.

use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;
use tidegate_testing::process::{self, Process};
use tidegate_testing::tools::Tool;
use tidegate_testing::{PATIENCE, eventually};
use tokio::process::Command;
use tokio::sync::Mutex;

use crate::support::captured::World;
use crate::support::{Api, Gateway, Shell, WORKLOAD_TOKEN, of_user};

const POD: &str = "/api/v1/namespaces/default/pods/sleep";

/// An API beside the machine that commands are run on, and its users' kubeconfigs.
struct Lab {
    world: World,
    gateway: Gateway,
}

impl Lab {
    async fn new() -> Option<Self> {
        let world = World::new()?;
        let gateway = Gateway::start(&["--api-listen", "10.77.0.1:0"]).await;
        Some(Self { world, gateway })
    }

    fn kubeconfig(&self, token: &str) -> String {
        let text = of_user(token, Path::new(&self.gateway.exports["KUBECONFIG"]));
        self.world.file("kubeconfig", &text)
    }

    fn run(&self, kubeconfig: &str, flags: &[&str], script: &str) -> Command {
        let mut command = self.world.command(env!("CARGO_BIN_EXE_tidegate"));
        command.args(["run", "--workers", "1", "--kubeconfig", kubeconfig]).args(flags);
        command.args(["--", "sh", "-c", script]);
        command.into()
    }
}

#[tokio::test]
async fn credentials_that_the_api_refuses_end_the_start() {
    let Some(lab) = Lab::new().await else { return };
    for (token, flags, words) in [
        ("a-token-of-nobody", &[][..], "it answers 401"),
        (WORKLOAD_TOKEN, &["-n", "other"], "secrets is forbidden"),
    ] {
        let kubeconfig = lab.kubeconfig(token);
        let ended = process::run(lab.run(&kubeconfig, flags, "echo started"), "").await;
        assert_eq!(ended.status.code(), Some(125), "{ended:?}");
        assert_eq!(ended.stdout, "");
        assert!(ended.stderr.contains(words), "{}", ended.stderr);
        let namespace = flags.get(1).unwrap_or(&"default");
        for remedy in [&format!("tidegate:proxy:{namespace}"), "--kubeconfig FILE"] {
            assert!(ended.stderr.contains(remedy), "{}", ended.stderr);
        }
    }
}

#[tokio::test]
async fn a_namespace_that_is_not_there_is_told_with_what_helps() {
    let Some(lab) = Lab::new().await else { return };
    let own = std::fs::read_to_string(&lab.gateway.exports["KUBECONFIG"]).expect("a kubeconfig");
    let kubeconfig = lab.world.file("kubeconfig", &own);
    let ended = process::run(lab.run(&kubeconfig, &["-n", "nons"], "echo started"), "").await;
    assert_eq!(ended.stdout, "started\n", "{}", ended.stderr);
    for words in ["kubectl create namespace nons", "-n NAMESPACE"] {
        assert!(ended.stderr.contains(words), "{}", ended.stderr);
    }
    assert!(!ended.stderr.contains("--pod NAME"), "{}", ended.stderr);
}

#[tokio::test]
async fn a_pod_that_is_deleted_while_its_command_runs_is_shown_again() {
    let Some(lab) = Lab::new().await else { return };
    let kubeconfig = lab.kubeconfig(WORKLOAD_TOKEN);
    let api = Mutex::new(Api::of(&lab.gateway).await);
    let get = async |path: &str| {
        let answer = api.lock().await.try_send("GET", path, "").await.expect("an answer");
        (answer.status, answer.text())
    };
    let uid = async || {
        let pod: Value = serde_json::from_str(&get(POD).await.1).expect("JSON");
        pod["metadata"]["uid"].as_str().map(str::to_owned)
    };
    let go = lab.world.file("go", "");
    std::fs::remove_file(&go).expect("removed");
    let script = format!(
        "trap 'exit 0' TERM; ask() {{ curl -sS -m 20 http://10.77.0.$1/$2 >/dev/null; echo asked $2; }}; \
         ask 2 first; until [ -e {go} ]; do sleep 0.01; done; ask 3 second; while :; do sleep 0.01; done"
    );
    let flags = ["--pod", "sleep", "--labels", "app=sleep"];
    let mut run = Process::spawn(lab.run(&kubeconfig, &flags, &script));
    run.stdout().containing("asked first").await;
    let first = uid().await.expect("a Pod");
    api.lock().await.send("DELETE", POD, "").await;
    eventually(PATIENCE, async || match uid().await {
        Some(second) if second != first => Ok(()),
        other => Err(format!("{other:?}, before {first}")),
    })
    .await;
    run.stderr().containing("is shown again").await;
    std::fs::write(&go, "").expect("written");
    run.stdout().containing("asked second").await;
    // Of before and of now.
    let log = format!("{POD}/log?container=istio-proxy");
    let events = "/api/v1/namespaces/default/events?fieldSelector=involvedObject.name=sleep";
    let second = uid().await.expect("a Pod");
    for (path, words) in [(&*log, "/first"), (&log, "/second"), (events, &second)] {
        eventually(PATIENCE, async || {
            let (_, told) = get(path).await;
            if told.contains(words) { Ok(()) } else { Err(format!("no {words} in {told}")) }
        })
        .await;
    }
    let shell = Shell::with(&lab.gateway, &[]).expect("it takes no tool");
    assert!(shell.ok("tidegate egress denied --pod sleep").await.contains("sleep.default"));
    run.signal(Signal::TERM);
    assert!(run.wait(PATIENCE).await.success(), "{run}");
    assert_eq!(get(POD).await.0, 404);
}

#[tokio::test]
async fn kubectl_has_the_log_of_a_command_s_pod_without_a_container_s_name() {
    let (Some(kubectl), Some(lab)) = (Tool::Kubectl.need(), Lab::new().await) else { return };
    let kubeconfig = lab.kubeconfig(WORKLOAD_TOKEN);
    let script = "trap 'exit 0' TERM; curl -sS -m 20 http://10.77.0.2/first; echo asked; while :; do sleep 0.01; done";
    let flags = ["--pod", "sleep", "--labels", "app=sleep"];
    let mut run = Process::spawn(lab.run(&kubeconfig, &flags, script));
    run.stdout().containing("asked").await;
    let kubectl = async |words: &[&str]| {
        let mut command = Command::new(&kubectl);
        command.args(["--kubeconfig", &lab.gateway.exports["KUBECONFIG"]]).args(words);
        process::run(command, "").await
    };
    for words in [
        &["logs", "sleep"][..],
        &["logs", "-l", "app=sleep"],
        &["logs", "-l", "app=sleep", "--all-containers"],
    ] {
        let told = eventually(PATIENCE, async || {
            let log = kubectl(words).await;
            if log.stdout.contains("GET /first") {
                Ok(log.stdout)
            } else {
                Err(format!("{words:?}: {log:?}"))
            }
        })
        .await;
        assert_eq!(told.contains("terminal of tidegate run"), words.len() == 4, "{told}");
    }
    let refused = kubectl(&["exec", "sleep", "--", "ls"]).await;
    assert!(refused.stderr.contains("nsenter"), "{refused:?}");
    run.signal(Signal::TERM);
    assert!(run.wait(PATIENCE).await.success(), "{run}");
}
