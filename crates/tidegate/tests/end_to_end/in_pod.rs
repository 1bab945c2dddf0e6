//! `tidegate up --kubeconfig` as in a Pod: the API server and the credentials are those that a service account has.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{Request, Response};
use hyper::body::Incoming;
use tempfile::TempDir;
use tidegate_testing::origin::{Body, Origin, full};
use tidegate_testing::tools::{Tool, is_root, skip};
use tidegate_testing::{PATIENCE, eventually};
use tokio::process::Command;

use crate::support::{Api, ApiServer, Attached, Way, objects};

/// Where every Pod has its credentials.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const LEASE: &str =
    "/apis/coordination.k8s.io/v1/namespaces/edge/leases/istio-ingressgateway-status";
const TOKENS: [&str; 2] = ["the-first-token-of-the-pod", "the-second-token-of-the-pod"];

/// What a kubelet hands to a Pod: files that are links through one that is put in the place of another, so that all change at once.
struct Account {
    folder: TempDir,
    /// The file by which the API server knows the Pod.
    users: PathBuf,
}

impl Account {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["token", "ca.crt", "namespace"] {
            symlink(format!("..data/{name}"), folder.path().join(name)).expect("a link");
        }
        Self { users: folder.path().join("users"), folder }
    }

    /// Has the Pod known by a token, from when the server starts.
    fn known_by(&self, token: &str) {
        let user = format!("{token},system:serviceaccount:edge:gateway,1,tidegate:proxy:edge\n");
        fs::write(&self.users, user).expect("written");
        fs::set_permissions(&self.users, fs::Permissions::from_mode(0o600)).expect("a mode");
    }

    /// Gives the Pod a token.
    fn hand_in(&self, token: &str, server: &ApiServer) {
        let kubeconfig = fs::read_to_string(server.kubeconfig()).expect("a kubeconfig");
        let authority = kubeconfig.lines().find_map(|line| {
            line.trim().trim_start_matches("- ").strip_prefix("certificate-authority-data: ")
        });
        let authority = authority.expect("an authority").trim_matches('"');
        let new = self.folder.path().join(token);
        fs::create_dir(&new).expect("a folder");
        fs::write(new.join("token"), token).expect("written");
        fs::write(new.join("ca.crt"), STANDARD.decode(authority).expect("base64"))
            .expect("written");
        fs::write(new.join("namespace"), "edge").expect("written");
        let link = self.folder.path().join("..new");
        symlink(token, &link).expect("a link");
        fs::rename(link, self.folder.path().join("..data")).expect("in its place");
    }

    /// `tidegate up` with these credentials where a Pod has them, which nothing else sees.
    fn pod(&self, way: &Way) -> Option<Command> {
        let unshare = Tool::Unshare.need()?;
        let new = || {
            let mut new = Command::new(&unshare);
            new.arg("--mount");
            if !is_root() {
                new.args(["--user", "--map-root-user"]);
            }
            new
        };
        let possible = new().arg("true").as_std_mut().output();
        if !possible.is_ok_and(|output| output.status.success()) {
            skip("no mount namespace can be made here");
            return None;
        }
        let script = format!(
            "mount -t tmpfs none /var/run/ && mkdir -p {SERVICE_ACCOUNT} && \
             mount --bind {} {SERVICE_ACCOUNT} && exec \"$0\" \"$@\"",
            self.folder.path().display()
        );
        let mut pod = new();
        pod.args(["sh", "-c", &script, env!("CARGO_BIN_EXE_tidegate")]);
        pod.env_remove("KUBECONFIG").env("HOME", "/nonexistent");
        pod.env("KUBERNETES_SERVICE_HOST", way.link.address().ip().to_string());
        pod.env("KUBERNETES_SERVICE_PORT", way.link.address().port().to_string());
        Some(pod)
    }
}

async fn hello(_: Request<Incoming>) -> Response<Body> {
    Response::new(full("hello".to_owned()))
}

#[tokio::test]
async fn a_pod_goes_by_its_service_account_whose_token_changes() {
    let account = Account::new();
    let [first, second] = TOKENS;
    account.known_by(first);
    let users = account.users.to_string_lossy().into_owned();
    let flags = ["--api-token-file", &users];
    let server = ApiServer::start_with(&flags).await;
    account.hand_in(first, &server);
    let way = Way::to(&server).await;
    let Some(pod) = account.pod(&way) else { return };
    let mut api = server.client().await;
    let edge = r#"{"metadata": {"name": "edge"}}"#;
    api.send("POST", "/api/v1/namespaces", edge).await;
    let origin = Origin::start().http(hello).await;
    api.create("gateways", &objects::gateway("web", 80, &["*"])).await;
    api.create("serviceentries", &objects::host("origin", "origin.example", origin.address()))
        .await;
    route(&mut api, "a").await;

    let gateway = Attached::started(pod, None, &[]).await;
    assert!(gateway.process.stderr().text().contains("the Pod's service account"));
    gateway.ready().await;
    gateway.answers("a.example", 200).await;
    // Its namespace is that of the Pod.
    held(&mut api).await;

    // The token that it was started with is good no more.
    let place = server.place();
    server.process.kill().await;
    account.known_by(second);
    let server = ApiServer::start_at(&place, &flags).await;
    let mut api = server.client().await;
    route(&mut api, "b").await;
    way.link.mend(server.address);
    gateway.process.stderr().containing("it answers 401").await;
    assert_eq!(gateway.get("a.example").await.status, 200, "what was read stays");
    assert_eq!(gateway.get("b.example").await.status, 404);
    account.hand_in(second, &server);
    gateway.answers("b.example", 200).await;
    gateway.process.stderr().containing("the API server is followed again").await;
    held(&mut api).await;
}

async fn route(api: &mut Api, name: &str) {
    let route = objects::route(name, "web", &format!("{name}.example"), "origin.example");
    api.create("virtualservices", &route).await;
}

/// Waits until the Lease of the Pod's namespace is held, and renewed.
async fn held(api: &mut Api) {
    let api = tokio::sync::Mutex::new(api);
    let renewed = async || {
        let lease = api.lock().await.send("GET", LEASE, "").await;
        lease["spec"]["renewTime"].as_str().map(str::to_owned)
    };
    let before = renewed().await;
    eventually(PATIENCE, || async {
        match renewed().await {
            Some(now) if Some(&now) != before.as_ref() => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}
