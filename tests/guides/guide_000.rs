//! Guide 000, "Istio as a front proxy for external services": its commands, and what it says they show.

use regex::Regex;
use tidegate_testing::tools::Tool;
use tidegate_testing::{PATIENCE, eventually};

use crate::support::{Gateway, Shell};

const GATEWAY: &str = r#"kubectl apply -f - <<EOF
apiVersion: networking.istio.io/v1alpha3
kind: Gateway
metadata:
  name: front-proxy
spec:
  selector:
    istio: ingressgateway # use istio default ingress gateway
  servers:
  - port:
      number: 80
      name: http
      protocol: HTTP
    hosts:
    - "*"
  - port:
      number: 443
      name: https
      protocol: HTTPS
    tls:
      mode: PASSTHROUGH
    hosts:
    - "*"
EOF"#;

const VIRTUAL_SERVICE: &str = r#"kubectl apply -f - <<EOF
apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata:
  name: front-proxy
spec:
  hosts:
  - "*"
  gateways:
  - front-proxy
  http:
  - match:
    - port: 80
      uri:
        prefix: /status
    route:
    - destination:
        host: httpbin.org
        port:
          number: 80
  tls:
  - match:
    - port: 443
      sni_hosts:
      - www.google.com
    route:
    - destination:
        host: www.google.com
        port:
          number: 443
EOF"#;

const SERVICE_ENTRIES: &str = "kubectl apply -f - <<EOF
apiVersion: networking.istio.io/v1alpha3
kind: ServiceEntry
metadata:
  name: httpbin-ext
spec:
  hosts:
  - httpbin.org
  ports:
  - number: 80
    name: http
    protocol: HTTP
  resolution: DNS
  location: MESH_EXTERNAL
---
apiVersion: networking.istio.io/v1alpha3
kind: ServiceEntry
metadata:
  name: google
spec:
  hosts:
  - www.google.com
  ports:
  - number: 443
    name: https
    protocol: HTTPS
  resolution: DNS
  location: MESH_EXTERNAL
EOF";

const TEAPOT: &str = "curl -s $INGRESS_HOST:$INGRESS_PORT/status/418 -Hhost:httpbin.org";
const GOOGLE: &str = "curl -s --resolve www.google.com:$SECURE_INGRESS_PORT:$INGRESS_HOST \
     https://www.google.com:$SECURE_INGRESS_PORT | grep -o \"<title>.*</title>\"";
const ACCESS_LOG: &str = "kubectl logs -l istio=ingressgateway -c istio-proxy -n istio-system";
const MIXER_LOG: &str = "kubectl -n istio-system logs -l istio-mixer-type=telemetry -c mixer";

/// A gateway with the guide's manifests applied and serving, and a shell beside it.
async fn front_proxy(flags: &[&str]) -> Option<(Gateway, Shell)> {
    let flags: Vec<&str> = std::iter::once(&"--demo").chain(flags).copied().collect();
    let gateway = Gateway::start(&flags).await;
    let shell = Shell::with(&gateway, &[Tool::Kubectl, Tool::Curl])?;
    assert_eq!(shell.ok(GATEWAY).await.trim(), "gateway.networking.istio.io/front-proxy created");
    let created = shell.ok(VIRTUAL_SERVICE).await;
    assert_eq!(created.trim(), "virtualservice.networking.istio.io/front-proxy created");
    let created = shell.ok(SERVICE_ENTRIES).await;
    assert!(created.contains("serviceentry.networking.istio.io/httpbin-ext created"), "{created}");
    assert!(created.contains("serviceentry.networking.istio.io/google created"), "{created}");
    gateway.answers("httpbin.org", "/status/418", 418).await;
    Some((gateway, shell))
}

#[tokio::test]
async fn runs_as_it_is_written() {
    let Some((_gateway, shell)) = front_proxy(&["--access-log-format", "istio-1.1"]).await else {
        return;
    };

    let teapot = shell.ok(TEAPOT).await;
    assert!(teapot.contains("-=[ teapot ]=-"), "{teapot}");
    assert_eq!(teapot.len(), 135);
    assert_eq!(shell.ok(GOOGLE).await.trim(), "<title>Google</title>");

    logged(
        &shell,
        &format!("{ACCESS_LOG} | grep 'httpbin.org'"),
        r#"(?m)^\[[-0-9T:.]+Z\] "GET /status/418 HTTP/1\.1" 418 - 0 135 \d+ \d+ "127\.0\.0\.1" "curl/[^"]+" "[-0-9a-f]{36}" "httpbin\.org" "127\.0\.0\.1:\d+" outbound\|80\|\|httpbin\.org \S+ 127\.0\.0\.1:\d+ 127\.0\.0\.1:\d+ -$"#,
    )
    .await;
    logged(
        &shell,
        &format!("{ACCESS_LOG} | grep 'www.google.com'"),
        r#"(?m)^\[[-0-9T:.]+Z\] "- - -" 0 - \d+ \d+ \d+ - "-" "-" "-" "-" "127\.0\.0\.1:\d+" outbound\|443\|\|www\.google\.com 127\.0\.0\.1:\d+ 127\.0\.0\.1:\d+ 127\.0\.0\.1:\d+ www\.google\.com$"#,
    )
    .await;
    logged(
        &shell,
        &format!("{MIXER_LOG} | grep 'httpbin.org'"),
        r#""instance":"accesslog\.logentry\.istio-system".*"destinationServiceHost":"httpbin\.org".*"method":"GET".*"receivedBytes":[1-9]\d{2},.*"reporter":"source".*"requestSize":0,.*"responseCode":418,"responseSize":135,"responseTimestamp":"[^"]+","sentBytes":[2-9]\d{2},.*"sourceWorkload":"istio-ingressgateway","url":"/status/418","userAgent":"curl/[^"]+","xForwardedFor":"127\.0\.0\.1"\}"#,
    )
    .await;
    logged(
        &shell,
        &format!(
            "{MIXER_LOG} | grep 'www.google.com' | grep '\"sourceWorkload\":\"istio-ingressgateway\"'| grep \
             '\"connectionEvent\":\"open\"'"
        ),
        r#""instance":"tcpaccesslog\.logentry\.istio-system","connectionDuration":"0s","connectionEvent":"open".*"receivedBytes":[1-9]\d{2,3},.*"requestedServerName":"www\.google\.com","sentBytes":0,.*"totalReceivedBytes":[1-9]\d{2,3},"totalSentBytes":0\}"#,
    )
    .await;

    let deleted = shell.ok("kubectl delete gateway front-proxy").await;
    assert_eq!(deleted.trim(), "gateway.networking.istio.io \"front-proxy\" deleted");
    shell.ok("kubectl delete virtualservice front-proxy").await;
    shell.ok("kubectl delete serviceentry google httpbin-ext").await;
    let left = shell.run("kubectl get gateways,virtualservices,serviceentries").await;
    assert!(left.stderr.contains("No resources found"), "{left:?}");
}

/// The log shows a line like this, soon: lines are collected beside the request path.
async fn logged(shell: &Shell, command: &str, pattern: &str) {
    let pattern = Regex::new(pattern).expect("a pattern");
    eventually(PATIENCE, || async {
        let shown = shell.run(command).await.stdout;
        if pattern.is_match(&shown) {
            Ok(())
        } else {
            Err(format!("{pattern}\nis not in\n{shown}"))
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_not_matched_is_not_served() {
    let Some((gateway, shell)) = front_proxy(&[]).await else { return };
    assert_eq!(gateway.get("httpbin.org", "/headers").await.status, 404);
    assert_eq!(gateway.get("httpbin.org", "/").await.status, 404);
    // The Gateway's host is "*", the route's too: any Host is carried to the destination as it is.
    assert_eq!(gateway.get("other.example", "/status/204").await.status, 204);

    let other = "curl -sk --resolve other.example:$SECURE_INGRESS_PORT:$INGRESS_HOST \
                 https://other.example:$SECURE_INGRESS_PORT";
    let refused = shell.run(other).await;
    assert!(!refused.status.success(), "{refused:?}");
    let plain = shell.run("curl -s $INGRESS_HOST:$SECURE_INGRESS_PORT").await;
    assert!(!plain.status.success(), "{plain:?}");
}

#[tokio::test]
async fn tls_is_carried_through_untouched() {
    let Some((gateway, _shell)) = front_proxy(&[]).await else { return };
    let Some(shell) = Shell::with(&gateway, &[Tool::Openssl]) else { return };
    let session = shell
        .ok("openssl s_client -connect $INGRESS_HOST:$SECURE_INGRESS_PORT -servername www.google.com \
             -verify_hostname www.google.com -verify_return_error -CAfile $CURL_CA_BUNDLE </dev/null")
        .await;
    assert!(session.contains("subject=CN = www.google.com"), "{session}");
    assert!(session.contains("issuer=CN = Tidegate demo CA"), "{session}");
    assert!(session.contains("Verification: OK"), "{session}");
}

#[tokio::test]
async fn each_object_that_is_deleted_stops_at_once() {
    let Some((gateway, shell)) = front_proxy(&[]).await else { return };
    let google = format!("{GOOGLE} || true");

    shell.ok("kubectl delete serviceentry httpbin-ext google").await;
    stops(&gateway, 503).await;
    assert_eq!(shell.ok(&google).await, "");
    shell.ok(SERVICE_ENTRIES).await;
    gateway.answers("httpbin.org", "/status/418", 418).await;
    eventually(PATIENCE, || async { shell.run(GOOGLE).await.status.success() }).await;

    shell.ok("kubectl delete virtualservice front-proxy").await;
    stops(&gateway, 404).await;
    assert_eq!(shell.ok(&google).await, "");
    shell.ok(VIRTUAL_SERVICE).await;
    gateway.answers("httpbin.org", "/status/418", 418).await;

    shell.ok("kubectl delete gateway front-proxy").await;
    for port in [gateway.http, gateway.https] {
        eventually(PATIENCE, || async { tokio::net::TcpStream::connect(port).await.is_err() })
            .await;
    }
}

/// The teapot is no longer served: its requests get this status instead.
async fn stops(gateway: &Gateway, status: u16) {
    eventually(PATIENCE, || async {
        let got = gateway.get("httpbin.org", "/status/418").await.status;
        if got == status { Ok(()) } else { Err(got) }
    })
    .await;
}
