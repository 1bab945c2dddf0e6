//! `tidegate api`: an API that gateways in other processes take their objects from.

use rustix::process::Signal;
use tidegate_testing::PATIENCE;
use tidegate_testing::origin::{Origin, full};

use crate::support::{ApiServer, Attached, Way, objects};

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
    attached.process.signal(Signal::TERM);
    assert!(attached.process.wait(PATIENCE).await.success());

    // What was written outlives the process.
    let place = server.place();
    let mut process = server.process;
    process.signal(Signal::TERM);
    assert!(process.wait(PATIENCE).await.success());
    let server = ApiServer::start_at(&place, &[]).await;
    let shown = server.client().await.send("GET", gateway, "").await;
    assert_eq!(shown["spec"]["servers"][0]["port"]["number"], 80, "{shown}");
}
