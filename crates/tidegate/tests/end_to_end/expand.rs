//! `tidegate expand` as people use it: into a file, and into kubectl.

use tidegate_testing::tools::Tool;

use crate::support::{Gateway, Shell};

const BOOKS: &str = "\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata:
  name: books
  annotations:
    tidegate.dev/egress-gateway: istio-egressgateway.istio-system
    tidegate.dev/originate-tls: \"true\"
spec:
  hosts: [books.example.com]
  resolution: DNS
  ports:
  - {number: 80, name: http, protocol: HTTP, targetPort: 443}
";

#[tokio::test]
async fn what_is_printed_is_applied_without_a_warning() {
    let gateway = Gateway::start(&[]).await;
    let Some(shell) = Shell::with(&gateway, &[Tool::Kubectl]) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("books.yaml"), BOOKS).expect("a file");
    let shell = shell.at(folder.path());

    let applied = shell.ok("tidegate expand -f books.yaml | kubectl apply -f - 2>&1").await;
    let lines: Vec<&str> = applied.lines().collect();
    assert_eq!(
        lines,
        [
            "serviceentry.networking.istio.io/books created",
            "gateway.networking.istio.io/books-via-istio-egressgateway created",
            "virtualservice.networking.istio.io/books-via-istio-egressgateway created",
            "destinationrule.networking.istio.io/books-via-istio-egressgateway created",
        ]
    );
    let annotations = "kubectl get serviceentry books -o jsonpath='{.metadata.annotations}'";
    assert!(!shell.ok(annotations).await.contains("egress-gateway\":"), "the long form alone");

    std::fs::write(folder.path().join("wrong.yaml"), BOOKS.replace(", targetPort: 443", ""))
        .expect("a file");
    let wrong = shell.ok("tidegate expand -f wrong.yaml 2>&1 || true").await;
    assert!(wrong.contains("add targetPort: 443 to port 80"), "{wrong}");
}
