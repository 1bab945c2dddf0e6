//! Verbs that ask an API server take kubeconfigs as kubectl does, and whatever server they lead to.

use serde_json::{Value, json};
use tidegate_testing::ca::Ca;
use tidegate_testing::origin::{Body, Incoming, Origin, Request, Response, full};
use tidegate_testing::process::{self, Output};
use tokio::process::Command;

use crate::support::{Api, Gateway, Shell, objects};

/// `~/.kube/config` with two contexts, of which the current one leads nowhere, and the credentials beside it.
const BESIDE: &str = r#"
mkdir -p ~/.kube
value() { sed -n "s/^ *$1: *//p" "$KUBECONFIG" | head -n 1 | tr -d '"'; }
value certificate-authority-data | base64 -d > ~/.kube/ca.pem
value token > ~/.kube/token
cat > ~/.kube/config <<EOF
apiVersion: v1
kind: Config
clusters:
- {name: here, cluster: {server: "$(value server)", certificate-authority: ca.pem}}
- {name: nowhere, cluster: {server: "https://127.0.0.1:1"}}
contexts:
- {name: here, context: {cluster: here, user: me}}
- {name: nowhere, context: {cluster: nowhere, user: me}}
current-context: nowhere
users:
- {name: me, user: {tokenFile: token}}
EOF
"#;

#[tokio::test]
async fn every_verb_takes_contexts_files_beside_kubeconfigs_and_lists_of_them() {
    let gateway = Gateway::start(&[]).await;
    let mut api = Api::of(&gateway).await;
    let Some(shell) = Shell::with(&gateway, &[]) else { return };
    let hello = |_| async { Response::new(full("hello".to_owned())) };
    let origin = Origin::start().http(hello).await;
    api.create("gateways", &objects::gateway("web", 80, &["*"])).await;
    api.create("serviceentries", &objects::host("origin", "origin.example", origin.address()))
        .await;
    api.create("virtualservices", &objects::route("a", "web", "a.example", "origin.example")).await;
    gateway.answers("a.example", "/", 200).await;
    shell.ok(BESIDE).await;
    let explained = "explain GET http://a.example/";
    for (verb, words) in [
        (explained, "VirtualService default/a"),
        ("analyze -A -o json", "[]"),
        ("proxy-config listeners", "0.0.0.0"),
        ("proxy-status", "istio-ingressgateway.istio-system"),
        ("egress denied", ""),
    ] {
        let told = shell.ok(&format!("KUBECONFIG= tidegate {verb} --context here")).await;
        assert!(told.contains(words) || verb.starts_with("proxy-config"), "{verb}: {told}");
        let wrong = shell.run(&format!("KUBECONFIG= tidegate {verb} --context gone")).await;
        assert_eq!(wrong.status.code(), Some(1), "{verb}: {wrong:?}");
        assert!(wrong.stderr.contains("gone"), "{verb}: {wrong:?}");
    }
    // The current context counts, and is not passed over because nobody answers there.
    let nowhere = shell.run(&format!("KUBECONFIG= tidegate {explained}")).await;
    assert_eq!(nowhere.status.code(), Some(1), "{nowhere:?}");
    assert!(nowhere.stderr.contains(".kube/config"), "{nowhere:?}");
    // Of several, those that are not there do not matter.
    let list = "KUBECONFIG=$HOME/gone:$KUBECONFIG:$HOME/.kube/config";
    let told = shell.ok(&format!("{list} tidegate {explained}")).await;
    assert!(told.contains("VirtualService default/a"), "{told}");
}

/// An API server of which somebody knows little: an older Istio is installed there, and Secrets are not for everybody.
async fn cluster(request: Request<Incoming>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let list = |items: Value| (200, json!({ "items": items }));
    let refused = |code: u16, words: &str| (code, json!({ "kind": "Status", "message": words }));
    let (code, body) = match &*path {
        "/apis/networking.istio.io/v1/virtualservices" => refused(404, "page not found"),
        "/apis/networking.istio.io/v1beta1/virtualservices" => {
            let mut route = objects::route("old", "web", "a.example", "gone.example");
            route["metadata"]["namespace"] = "default".into();
            list(json!([route]))
        }
        "/apis/networking.istio.io/v1/gateways" => {
            let mut gateway = objects::gateway("web", 80, &["*"]);
            gateway["metadata"]["namespace"] = "default".into();
            list(json!([gateway]))
        }
        "/api/v1/secrets" => refused(403, "secrets is forbidden: User \"ada\" cannot list it"),
        path if path.starts_with("/apis/security") || path.starts_with("/tidegate") => {
            refused(404, "page not found")
        }
        _ => list(json!([])),
    };
    let response = Response::builder().status(code).header("content-type", "application/json");
    response.body(full(body.to_string())).expect("an answer")
}

async fn tidegate(kubeconfig: &std::path::Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(arguments).arg("--kubeconfig").arg(kubeconfig).env_clear();
    process::run(command, "").await
}

#[tokio::test]
async fn any_cluster_is_asked_with_the_rights_and_versions_that_it_has() {
    let folder = tempfile::tempdir().expect("a folder");
    let ca = Ca::new("a cluster's");
    let server = ca.issue(&["cluster.example"]);
    let client = ca.issue(&["ada"]);
    let api = Origin::start().mutual_tls(&server, &ca).http(cluster).await;
    let beside = [
        ("ca.pem", ca.pem().to_owned()),
        ("ada.pem", client.certificate_pem.clone()),
        ("ada.key", client.key_pem.clone()),
    ];
    for (name, text) in &beside {
        std::fs::write(folder.path().join(name), text).expect("written");
    }
    let kubeconfig = folder.path().join("config");
    let text = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "c", "cluster": {
            "server": format!("https://{}", api.address()),
            "tls-server-name": "cluster.example",
            "certificate-authority": "ca.pem",
        }}],
        "users": [{ "name": "ada", "user": {
            "client-certificate": "ada.pem", "client-key": "ada.key",
        }}],
        "contexts": [{ "name": "c", "context": { "cluster": "c", "user": "ada" } }],
        "current-context": "c",
    });
    std::fs::write(&kubeconfig, text.to_string()).expect("written");

    let found = tidegate(&kubeconfig, &["analyze"]).await;
    assert!(found.stdout.contains("(VirtualService default/old) "), "{found:?}");
    assert!(found.stdout.contains("gone.example"), "{found:?}");
    let warned = found.stderr.lines().filter(|line| line.starts_with("Warning: without secrets: "));
    assert_eq!(warned.count(), 1, "{found:?}");
    let explained = tidegate(&kubeconfig, &["explain", "GET", "http://a.example/"]).await;
    assert!(explained.stdout.contains("VirtualService default/old"), "{explained:?}");
    let shown = tidegate(&kubeconfig, &["proxy-config", "routes"]).await;
    assert_eq!(shown.status.code(), Some(1), "{shown:?}");
    assert!(shown.stderr.contains("kubectl port-forward"), "{shown:?}");
}
