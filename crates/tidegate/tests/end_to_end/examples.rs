//! Every example is loaded, so that none rots.

use std::fs;
use std::path::{Path, PathBuf};

use tidegate_testing::origin::{Origin, echo};
use tidegate_testing::process::Process;
use tidegate_testing::tools::Tool;
use tidegate_testing::{PATIENCE, client, eventually};
use tokio::process::Command;

use crate::support::{Api, Gateway, HeldPort, Shell};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples")
}

fn folders() -> Vec<PathBuf> {
    let entries =
        fs::read_dir(folder()).expect("examples").map(|entry| entry.expect("an entry").path());
    let mut folders: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

/// Kinds that carry conditions.
const NETWORKING: [&str; 4] = ["gateways", "virtualservices", "serviceentries", "destinationrules"];

#[tokio::test]
async fn every_manifest_is_served_from_its_folder() {
    for folder in folders().iter().filter(|folder| !folder.ends_with("envoy-bootstrap")) {
        let gateway = Gateway::start(&["-f", &folder.display().to_string()]).await;
        let mut api = Api::of(&gateway).await;
        let mut seen = 0;
        for plural in NETWORKING {
            let list =
                api.send("GET", &format!("{}/{plural}", crate::support::NETWORKING), "").await;
            for item in list["items"].as_array().expect("a list") {
                let name = item["metadata"]["name"].as_str().expect("a name");
                let path = format!("{}/{plural}/{name}", crate::support::NETWORKING);
                let good =
                    [("Reconciled", "True"), ("ResolvedRefs", "True"), ("Programmed", "True")];
                api.wait_for(&path, &good).await;
                seen += 1;
            }
        }
        assert!(seen > 0, "{}", folder.display());
    }
}

#[tokio::test]
async fn every_manifest_is_taken_by_kubectl() {
    let gateway = Gateway::start(&[]).await;
    let Some(shell) = Shell::with(&gateway, &[Tool::Kubectl]) else { return };
    for folder in folders().iter().filter(|folder| !folder.ends_with("envoy-bootstrap")) {
        let applied = shell.run(&format!("kubectl apply -f {}", folder.display())).await;
        assert_eq!(applied.stderr, "", "{}", folder.display());
        shell.ok(&format!("kubectl delete -f {}", folder.display())).await;
    }
}

#[tokio::test]
async fn the_bootstrap_starts_the_data_plane() {
    let origin = Origin::start().http(echo).await;
    let text = fs::read_to_string(folder().join("envoy-bootstrap/envoy.yaml")).expect("the file");
    let [http, admin] = [(); 2].map(|()| HeldPort::any());
    let (http_at, admin_at) = (http.address, admin.address);
    let text = text
        .replace("port_value: 10000", &format!("port_value: {}", http_at.port()))
        .replace("port_value: 9901", &format!("port_value: {}", admin_at.port()))
        .replace("port_value: 9001", &format!("port_value: {}", origin.address().port()));
    let file = tempfile::Builder::new().suffix(".yaml").tempfile().expect("a file");
    fs::write(file.path(), text).expect("written");

    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(["proxy", "--workers", "1", "-c"]).arg(file.path());
    let proxy = Process::spawn(command);
    eventually(PATIENCE, || async { tokio::net::TcpStream::connect(http_at).await }).await;
    assert_eq!(client::get(http_at, "any.example", "/").await.status, 200, "{proxy}");
    let serving = proxy.stderr().containing("serving ").await;
    assert!(serving.contains(&format!(" at {http_at}, admin at http://{admin_at}")), "{serving}");
    assert_eq!(client::get(admin_at, "127.0.0.1", "/ready").await.status, 200, "{proxy}");
    let info = client::get(admin_at, "127.0.0.1", "/server_info").await.json();
    let options = &info["command_line_options"];
    assert_eq!(options["concurrency"], 1);
    assert_eq!(options["config_path"], *file.path().to_string_lossy());
    // Its routes stand inside the listener.
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(["proxy-config", "routes", "--admin", &admin_at.to_string()]);
    let routes = command.output().await.expect("it runs");
    let routes = String::from_utf8_lossy(&routes.stdout).into_owned();
    assert!(routes.contains(" backend"), "{routes}");
}
