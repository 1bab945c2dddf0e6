//! Wildcard hosts behind an egress gateway, which resolves them itself: no client picks the address, and neither does what it was told
//! by a resolver of its own.

use tidegate_testing::ca::Ca;
use tidegate_testing::tools::Tool;

use super::{GATEWAY, at, egress_gateway, origin, saw};
use crate::support::Shell;
use crate::support::captured::{ORIGINS, WORKLOAD, World, resolver};
use crate::support::egress_guide::Workload;

/// By annotation. RESOLUTION stands for one.
const SHORT: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata:
  name: wild
  annotations: {tidegate.dev/egress-gateway: istio-egressgateway.istio-system}
spec:
  hosts: ['*.wild.example']
  ports: [{number: 80, name: http, protocol: HTTP}, {number: 443, name: tls, protocol: TLS}]
  resolution: RESOLUTION
";

/// As Istio has it.
const LONG: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: wild}
spec:
  hosts: ['*.wild.example']
  ports: [{number: 80, name: http, protocol: HTTP}, {number: 443, name: tls, protocol: TLS}]
  resolution: RESOLUTION
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: wild}
spec:
  selector: {istio: egressgateway}
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: ['*.wild.example']
  - port: {number: 443, name: tls, protocol: TLS}
    hosts: ['*.wild.example']
    tls: {mode: PASSTHROUGH}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: wild}
spec:
  hosts: ['*.wild.example']
  gateways: [wild, mesh]
  http:
  - match: [{gateways: [mesh], port: 80}]
    route: [{destination: {host: istio-egressgateway.istio-system.svc.cluster.local, port: {number: 80}}}]
  - match: [{gateways: [wild], port: 80}]
    route: [{destination: {host: '*.wild.example', port: {number: 80}}}]
  tls:
  - match: [{gateways: [mesh], port: 443, sniHosts: ['*.wild.example']}]
    route: [{destination: {host: istio-egressgateway.istio-system.svc.cluster.local, port: {number: 443}}}]
  - match: [{gateways: [wild], port: 443, sniHosts: ['*.wild.example']}]
    route: [{destination: {host: '*.wild.example', port: {number: 443}}}]
";

/// Hosts, where they are, and who is seen there: the gateway, by its address of that family.
const HOSTS: [(&str, &str, &str); 3] = [
    ("one.wild.example", ORIGINS[0], GATEWAY),
    ("two.wild.example", ORIGINS[1], GATEWAY),
    ("six.wild.example", ORIGINS[2], WORKLOAD[1]),
];

#[tokio::test]
async fn wildcard_hosts_are_resolved_by_the_gateway_whatever_was_dialled() {
    let (Some(_), Some(world)) = (Tool::Kubectl.need(), World::new()) else { return };
    let internet = resolver().await;
    let ca = Ca::new("internet");
    let roots = world.file("roots.pem", ca.pem());
    for (name, address, _) in HOSTS {
        internet.address(&format!("{name}."), 60, address);
        origin(at(address, 80), None).await;
        origin(at(address, 443), Some(&ca.issue(&[name]))).await;
    }
    internet.address("own.wild.example.", 60, "127.0.0.1");
    let gateway = egress_gateway(&world, &roots, &[]).await;
    let Some(shell) = Shell::with(&gateway, &[Tool::Kubectl]) else { return };
    let kubeconfig = &gateway.exports["KUBECONFIG"];
    let workload = Workload::start(kubeconfig, &roots, &["--pod", "client"]).await;

    for (form, resolution) in
        [(LONG, "DYNAMIC_DNS"), (SHORT, "DYNAMIC_DNS"), (LONG, "NONE"), (SHORT, "NONE")]
    {
        let file = world.file("wild.yaml", &form.replace("RESOLUTION", resolution));
        shell.ok(&format!("kubectl apply -f {file}")).await;
        for (host, address, client) in HOSTS {
            let seen = format!("{} 200", saw(address, client));
            // A stranger's address, and one at which nobody is.
            for dialled in [ORIGINS[0], "10.77.0.200"] {
                for (scheme, port) in [("http", 80), ("https", 443)] {
                    let connect = format!("{host}:{port}:{dialled}:{port}");
                    let url = format!("{scheme}://{host}/");
                    workload.answers(&["--connect-to", &connect, &url], |it| it == seen).await;
                }
            }
        }
        // Names that lead to the gateway itself, or nowhere.
        for host in ["own.wild.example", "nobody.wild.example"] {
            let to = format!("{host}:80:10.77.0.200:80");
            let answer = workload.curl(&["--connect-to", &to, &format!("http://{host}/")]).await;
            assert!(answer.ends_with(" 503"), "{resolution}, {host}: {answer}");
            let to = format!("{host}:443:10.77.0.200:443");
            let url = format!("https://{host}/");
            let answer = workload.curl(&["-k", "--connect-to", &to, &url]).await;
            assert!(answer.contains(" 000"), "{resolution}, {host}: {answer}");
        }
        // What is not of it does not get as far as the gateway.
        let answer = workload.curl(&["-H", "Host: wild.example", "http://10.77.0.2/"]).await;
        assert!(answer.ends_with(" 502"), "{resolution}: {answer}");
        shell.ok(&format!("kubectl delete -f {file}")).await;
        workload.answers(&["http://one.wild.example/"], |it| it.ends_with(" 502")).await;
    }
    workload.end().await;
}
