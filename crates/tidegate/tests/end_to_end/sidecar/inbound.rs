//! What comes to a workload.

use tidegate_testing::client;
use tidegate_testing::origin::Origin;

use super::{EVERYTHING, at, first_words, host};
use crate::support::captured::{WORKLOAD, World, greet};

/// The workload's own Service, and who may ask for what.
const OWN: &str = "
apiVersion: v1
kind: Service
metadata: {name: app}
spec:
  selector: {app: app}
  ports: [{name: http, port: 80, targetPort: 8080}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: open}
spec:
  selector: {matchLabels: {app: app}}
  rules: [{to: [{operation: {ports: ['8080'], paths: [/open]}}]}, {to: [{operation: {ports: ['9000']}}]}]
";

#[tokio::test]
async fn what_comes_in_is_carried_to_the_workload_as_policies_say() {
    let Some(world) = World::new() else { return };
    let listener = world.listen(at(WORKLOAD[0], 8080)).await;
    let _app = Origin::start().on(listener).http(host).await;
    greet(world.listen(at(WORKLOAD[0], 9000)).await);
    world.manifest("own.yaml", OWN);
    world.capture(&EVERYTHING);
    let mesh = world.file("mesh.yaml", "protocolDetectionTimeout: 300ms\n");
    let sidecar = world.sidecar(&["--labels", "app=app", "--mesh-config", &mesh]).await;
    let open = client::get(at(WORKLOAD[0], 8080), "app.example", "/open").await;
    assert_eq!((open.status, open.text().as_str()), (200, "app.example"));
    let closed = client::get(at(WORKLOAD[0], 8080), "app.example", "/closed").await;
    assert_eq!(closed.status, 403);
    sidecar.logged(&["\"GET /open HTTP/1.1\" 200", "inbound|8080||"]).await;
    sidecar.logged(&["\"GET /closed HTTP/1.1\" 403", "rbac_access_denied"]).await;
    // A port that no object describes; the server speaks first. It sees Istio's address of what is passed through.
    let words = first_words(tokio::net::TcpStream::connect(at(WORKLOAD[0], 9000)).await).await;
    assert_eq!(words, "hello 127.0.0.6\n");
    sidecar.logged(&["InboundPassthroughCluster"]).await;
    sidecar.end().await;
}
