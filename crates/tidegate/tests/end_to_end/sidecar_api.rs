//! `tidegate sidecar` on the objects of an API server: that of `tidegate up` in another process.

use http::{Request, Response};
use hyper::body::Incoming;
use serde_json::json;
use tidegate_testing::origin::{Body, Origin, full};
use tidegate_testing::{PATIENCE, eventually};

use crate::support::captured::{ORIGINS, World};
use crate::support::{Api, Gateway, Shell};

/// Where the API listens, so that the workload's namespace reaches it.
const API: &str = "10.77.0.1:0";

/// What lets the workload reach an origin, as guides type it.
const CREATE: &str = "\
cat <<EOF | istioctl create -f -
apiVersion: networking.istio.io/v1alpha3
kind: ServiceEntry
metadata:
  name: web
spec:
  hosts:
  - web.example
  ports:
  - number: 80
    name: http
    protocol: http
  resolution: STATIC
  endpoints:
  - address: 10.77.0.2
EOF";

const DELETE: &str = "istioctl delete ServiceEntry web";

async fn hello(_: Request<Incoming>) -> Response<Body> {
    Response::new(full("hello".to_owned()))
}

async fn answers(world: &World, wanted: &str) {
    eventually(PATIENCE, async || {
        let answer = world.curl(&["-H", "Host: web.example", "http://10.77.0.2/"]).await;
        if answer.contains(wanted) { Ok(()) } else { Err(answer) }
    })
    .await;
}

#[tokio::test]
async fn what_the_api_has_counts_and_stays_while_it_is_gone() {
    let Some(world) = World::new() else { return };
    let _web = Origin::start()
        .at(format!("{}:80", ORIGINS[0]).parse().expect("an address"))
        .http(hello)
        .await;
    let gateway = Gateway::start(&["--api-listen", API]).await;
    let shell = Shell::with(&gateway, &[]).expect("it takes no tool");
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "sleep", "labels": { "app": "sleep" } },
        "spec": { "containers": [{ "name": "sleep", "image": "curl" }], "serviceAccountName": "sleeper" },
        "status": { "podIP": "10.77.0.100" },
    });
    let create = format!("echo '{pod}' | istioctl create -f -");
    assert_eq!(shell.ok(&create).await, "pod/sleep created\n");
    let text = std::fs::read_to_string(&gateway.exports["KUBECONFIG"]).expect("a kubeconfig");
    let kubeconfig = world.file("kubeconfig", &text);
    world.capture(&["-i", "*", "-b", "*"]);
    let sidecar = world.sidecar_on(&[], &["--kubeconfig", &kubeconfig, "--pod", "sleep"]).await;
    let info = world.curl(&["http://127.0.0.1:15000/server_info"]).await;
    for told in ["sidecar~10.77.0.100~sleep.default~", "\"app\"", "sleeper"] {
        assert!(info.contains(told), "no {told} in {info}");
    }

    answers(&world, " 502").await;
    // What it was denied is an event of its Pod, which somebody else made.
    let mut api = Api::of(&gateway).await;
    let all = "/api/v1/namespaces/default/events";
    let about = &api.tells(all, &["EgressDenied", "web.example:80"]).await["items"][0];
    assert_eq!(about["involvedObject"]["kind"], "Pod");
    assert_eq!(about["involvedObject"]["name"], "sleep");
    let pod = api.send("GET", "/api/v1/namespaces/default/pods/sleep", "").await;
    assert_eq!(about["involvedObject"]["uid"], pod["metadata"]["uid"]);
    // And listed by the API, which hears of it from the sidecar.
    eventually(PATIENCE, async || {
        let listed = shell.ok("tidegate egress denied --pod sleep").await;
        let row = ["sleep.default", "web.example", "10.77.0.2", "80", "HTTP"];
        let found = listed.lines().any(|line| row.iter().all(|word| line.contains(word)));
        if found { Ok(()) } else { Err(listed) }
    })
    .await;
    shell.ok(CREATE).await;
    answers(&world, "hello 200").await;
    shell.ok(DELETE).await;
    answers(&world, " 502").await;
    shell.ok(CREATE).await;
    answers(&world, "hello 200").await;

    let place = gateway.place();
    let listen = gateway.api.to_string();
    gateway.process.kill().await;
    sidecar.told("what was read before stays in force").await;
    answers(&world, "hello 200").await;
    let _gateway = Gateway::start_at(&place, &["--api-listen", &listen]).await;
    sidecar.told("the API server is followed again").await;
    shell.ok(DELETE).await;
    answers(&world, " 502").await;
    sidecar.end().await;
}

#[tokio::test]
async fn a_pod_that_is_not_there_is_named_with_the_remedy() {
    let Some(world) = World::new() else { return };
    let gateway = Gateway::start(&["--api-listen", API]).await;
    let own = &gateway.exports["KUBECONFIG"];
    let kubeconfig = world.file("kubeconfig", &std::fs::read_to_string(own).expect("a kubeconfig"));
    let tidegate = env!("CARGO_BIN_EXE_tidegate");
    let flags = ["sidecar", "--kubeconfig", &kubeconfig, "--pod", "nobody"];
    let refused = world.run(tidegate, &flags).await;
    assert!(!refused.status.success());
    assert!(refused.stderr.contains("Pod default/nobody: "), "{}", refused.stderr);
    assert!(refused.stderr.contains("--labels KEY=VALUE"), "{}", refused.stderr);
    // The user that it would go on as may not read it: it is in a folder of its owner alone.
    let refused = world.run(tidegate, &["sidecar", "--kubeconfig", own]).await;
    assert!(!refused.status.success());
    for told in ["kubeconfig: user 1337:1337", "--run-as 0:1337"] {
        assert!(refused.stderr.contains(told), "{}", refused.stderr);
    }
}
