//! `tidegate analyze`: what is wrong with objects of a running process, and with manifests.

use serde_json::{Value, json};
use tidegate_testing::origin::{Origin, full};

use crate::support::{Api, Gateway, Shell, objects};

/// The exit status where something was found.
const FOUND: Option<i32> = Some(79);

#[tokio::test]
async fn faults_of_a_running_process_are_told_by_namespace() {
    let gateway = Gateway::start(&[]).await;
    let mut api = Api::of(&gateway).await;
    let Some(shell) = Shell::with(&gateway, &[]) else { return };
    let origin = Origin::start().http(|_| async { http::Response::new(full("hello".to_owned())) });
    let origin = origin.await;
    api.create("gateways", &objects::gateway("web", 80, &["*"])).await;
    api.create("serviceentries", &objects::host("origin", "origin.example", origin.address()))
        .await;
    api.create("virtualservices", &objects::route("good", "web", "a.example", "origin.example"))
        .await;
    gateway.answers("a.example", "/", 200).await;
    let nothing = shell.run("istioctl analyze").await;
    assert_eq!((nothing.status.code(), &*nothing.stdout), (Some(0), ""), "{nothing:?}");
    let words = "No validation issues found when analyzing namespace: default.";
    assert!(nothing.stderr.contains(words), "{nothing:?}");

    let bad = objects::route("bad", "web", "b.example", "nobody.example");
    api.create("virtualservices", &bad).await;
    api.tells("/api/v1/namespaces/default/events", &["nobody.example"]).await;
    let found = shell.run("istioctl analyze").await;
    assert_eq!(found.status.code(), FOUND, "{found:?}");
    let line = found.stdout.lines().next().unwrap_or_default();
    assert!(line.starts_with("Error [RefNotFound] (VirtualService default/bad) "), "{found:?}");
    assert!(line.contains("nobody.example") && !found.stdout.contains("default/good"), "{found:?}");
    let elsewhere = shell.run("istioctl analyze -n other").await;
    assert_eq!((elsewhere.status.code(), &*elsewhere.stdout), (Some(0), ""), "{elsewhere:?}");
    let all = shell.run("istioctl analyze -A -o json").await;
    let all: Vec<Value> = serde_json::from_str(&all.stdout).expect("JSON");
    assert_eq!(
        (&all[0]["level"], &all[0]["origin"]),
        (&json!("Error"), &json!("VirtualService default/bad"))
    );
    assert_eq!(
        shell.run("istioctl analyze --failure-threshold warning -n default").await.status.code(),
        FOUND
    );
}

const MANIFESTS: &str = "\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: cart, namespace: shop}
spec:
  hosts: [cart.example]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 192.0.2.1}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: lonely, namespace: shop}
spec:
  hosts: [shop.example]
  gateways: [nowhere]
  http:
  - route: [{destination: {host: cart.example}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: nobody, namespace: shop}
spec:
  host: nobody.example
";

/// Without a process, with the lines that they stand in.
#[tokio::test]
async fn faults_of_manifests_are_told_before_anybody_applies_them() {
    let gateway = Gateway::start(&[]).await;
    let Some(shell) = Shell::with(&gateway, &[]) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("shop.yaml"), MANIFESTS).expect("a file");
    let shell = shell.at(folder.path());
    let found = shell.run("KUBECONFIG= tidegate analyze shop.yaml").await;
    assert_eq!(found.status.code(), FOUND, "{found:?}");
    let lines: Vec<&str> = found.stdout.lines().collect();
    let [nobody, lonely] = lines[..] else { panic!("{found:?}") };
    for (line, level, object, words) in [
        (lonely, "Error [RefNotFound]", "(VirtualService shop/lonely ", "no Gateway nowhere"),
        (nobody, "Error [RefNotFound]", "(DestinationRule shop/nobody ", "nobody.example"),
    ] {
        assert!(line.starts_with(level) && line.contains(object) && line.contains(words), "{line}");
    }
    assert!(lonely.contains("/shop.yaml:10) "), "{lonely}");

    let mended =
        MANIFESTS.replace("[nowhere]", "[web]").replace("  host: nobody.", "  host: cart.");
    let gateway = "apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: web, namespace: shop}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]
";
    std::fs::write(folder.path().join("shop.yaml"), format!("{mended}---\n{gateway}"))
        .expect("a file");
    let mended = shell.run("tidegate analyze --use-kube=false shop.yaml").await;
    assert_eq!((mended.status.code(), &*mended.stdout), (Some(0), ""), "{mended:?}");

    std::fs::write(
        folder.path().join("shop.yaml"),
        MANIFESTS.replace("hosts: [cart.example]", "hosts: 5"),
    )
    .expect("a file");
    let wrong = shell.run("tidegate analyze shop.yaml").await;
    assert_eq!(wrong.status.code(), FOUND, "{wrong:?}");
    assert!(wrong.stderr.contains("shop.yaml:5"), "{wrong:?}");
}

const MESH: &str = "\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: cart, namespace: shop}
spec:
  hosts: [cart.example]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 192.0.2.1}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: cart, namespace: shop}
spec:
  hosts: [cart.example]
  http:
  - route: [{destination: {host: cart.example, subset: v2}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: again, namespace: shop}
spec:
  hosts: [cart.example]
  gateways: [mesh]
  http:
  - route: [{destination: {host: gone.example}}]
";

/// No gateway has anything to say of them.
#[tokio::test]
async fn virtual_services_of_sidecars_are_judged() {
    let gateway = Gateway::start(&[]).await;
    let Some(shell) = Shell::with(&gateway, &[]) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("mesh.yaml"), MESH).expect("a file");
    let shell = shell.at(folder.path());
    let found = shell.run("tidegate analyze mesh.yaml").await;
    assert_eq!(found.status.code(), FOUND, "{found:?}");
    for (start, words) in [
        ("Error [RefNotFound] (VirtualService shop/cart ", "subset v2 of host cart.example"),
        ("Error [RefNotFound] (VirtualService shop/again ", "host gone.example not found"),
        ("Error [Conflict] (VirtualService shop/cart ", "VirtualService shop/again's"),
    ] {
        let line = found.stdout.lines().find(|line| line.starts_with(start));
        assert!(line.is_some_and(|line| line.contains(words)), "{start}: {found:?}");
    }
    let mended = MESH.replace(", subset: v2", "").replace("gone.", "cart.");
    let mended =
        mended.replace("hosts: [cart.example]\n  gateways", "hosts: [a.example]\n  gateways");
    std::fs::write(folder.path().join("mesh.yaml"), mended).expect("a file");
    let mended = shell.run("tidegate analyze mesh.yaml --output-threshold warning").await;
    assert_eq!((mended.status.code(), &*mended.stdout), (Some(0), ""), "{mended:?}");
}

/// What would be wrong if manifests were applied to what is there.
#[tokio::test]
async fn manifests_are_judged_beside_what_a_process_has() {
    let gateway = Gateway::start(&[]).await;
    let mut api = Api::of(&gateway).await;
    let Some(shell) = Shell::with(&gateway, &[]) else { return };
    api.create("gateways", &objects::gateway("web", 80, &["*"])).await;
    let folder = tempfile::tempdir().expect("a folder");
    let route = objects::route("new", "web", "new.example", "gone.example").to_string();
    std::fs::write(folder.path().join("new.json"), route).expect("a file");
    let shell = shell.at(folder.path());
    let found = shell.run("tidegate analyze new.json --use-kube").await;
    assert_eq!(found.status.code(), FOUND, "{found:?}");
    assert!(found.stdout.contains("gone.example"), "{found:?}");
    assert!(!found.stdout.contains("no Gateway"), "it is there: {found:?}");
    let alone = shell.run("tidegate analyze new.json").await;
    assert!(alone.stdout.contains("no Gateway"), "nothing else counts: {alone:?}");
}
