//! `tidegate api`: an API that gateways in other processes take their objects from.

use std::path::Path;

use rustix::process::Signal;
use tidegate_testing::origin::{Origin, full};
use tidegate_testing::tools::Tool;
use tidegate_testing::{PATIENCE, eventually};
use tokio::process::Command;

use crate::support::{ApiServer, Attached, Way, objects};

/// Whether a program did what it was told, and all that it said.
async fn said(program: &Path, kubeconfig: &Path, arguments: &[&str]) -> (bool, String) {
    let done = Command::new(program).env("KUBECONFIG", kubeconfig).args(arguments).output().await;
    let done = done.expect("started");
    let text = [done.stdout, done.stderr].concat();
    (done.status.success(), String::from_utf8_lossy(&text).into_owned())
}

/// As an API server without controllers: what nobody acts on has no status, and nothing shows itself.
#[tokio::test]
async fn it_serves_objects_and_acts_on_none() {
    let server = ApiServer::start().await;
    let mut api = server.client().await;
    api.create("gateways", &objects::gateway("web", 80, &["*"])).await;
    let gateway = "/apis/networking.istio.io/v1/namespaces/default/gateways/web";
    let shown = api.send("GET", gateway, "").await;
    assert!(shown["status"].is_null(), "{shown}");
    let pods = api.send("GET", "/api/v1/pods", "").await;
    assert_eq!(pods["items"].as_array().map(Vec::len), Some(0), "{pods}");

    // One that acts comes, and goes again.
    let origin = Origin::start().http(|_| async { http::Response::new(full("hello".to_owned())) });
    let origin = origin.await;
    api.create("serviceentries", &objects::host("origin", "origin.example", origin.address()))
        .await;
    api.create("virtualservices", &objects::route("a", "web", "a.example", "origin.example")).await;
    let way = Way::to(&server).await;
    let mut attached = Attached::start(&way, &[]).await;
    attached.answers("a.example", 200).await;
    api.wait_for(gateway, &[("Programmed", "True")]).await;

    // It is shown as long as it is there, with its log.
    const SHOWN: &str = "/api/v1/namespaces/istio-system/pods?labelSelector=istio=ingressgateway";
    let pods = api.tells(SHOWN, &["istio-ingressgateway", "Running"]).await;
    assert_eq!(pods["items"].as_array().map(Vec::len), Some(1), "{pods}");
    let log = [
        "logs",
        "-n",
        "istio-system",
        "-l",
        "istio=ingressgateway",
        "--tail=-1",
        "-c",
        "istio-proxy",
    ];
    let kubeconfig = server.kubeconfig();
    if let Some(kubectl) = Tool::Kubectl.need() {
        eventually(PATIENCE, || async {
            let text = said(&kubectl, &kubeconfig, &log).await.1;
            if text.contains("a.example") { Ok(()) } else { Err(text) }
        })
        .await;
        let exec = ["exec", "-n", "istio-system", "istio-ingressgateway", "--", "ls"];
        let (_, text) = said(&kubectl, &kubeconfig, &exec).await;
        assert!(text.contains("it is a gateway (process"), "{text}");
    }
    let tidegate = Path::new(env!("CARGO_BIN_EXE_tidegate"));
    let (done, text) = said(tidegate, &kubeconfig, &["proxy-status"]).await;
    let line = text.lines().find(|line| line.starts_with("istio-ingressgateway.istio-system "));
    assert!(done && line.is_some_and(|line| line.contains("SYNCED")), "{text}");
    // Another replica is another Pod; one that somebody deletes comes again.
    let mut second = Attached::start(&way, &[]).await;
    api.tells(SHOWN, &["istio-ingressgateway-2"]).await;
    api.send("DELETE", "/api/v1/namespaces/istio-system/pods/istio-ingressgateway-2", "").await;
    api.tells(SHOWN, &["istio-ingressgateway-2"]).await;
    for gateway in [&mut second, &mut attached] {
        gateway.process.signal(Signal::TERM);
        assert!(gateway.process.wait(PATIENCE).await.success());
    }
    let pods = api.send("GET", SHOWN, "").await;
    assert_eq!(pods["items"].as_array().map(Vec::len), Some(0), "{pods}");
    let (done, text) = said(tidegate, &kubeconfig, &["proxy-status"]).await;
    assert!(!done && text.contains("no Pod in istio-system says where"), "{text}");

    // What was written outlives the process.
    let place = server.place();
    let mut process = server.process;
    process.signal(Signal::TERM);
    assert!(process.wait(PATIENCE).await.success());
    let server = ApiServer::start_at(&place, &[]).await;
    let shown = server.client().await.send("GET", gateway, "").await;
    assert_eq!(shown["spec"]["servers"][0]["port"]["number"], 80, "{shown}");
}
