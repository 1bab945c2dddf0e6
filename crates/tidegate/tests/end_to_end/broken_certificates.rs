//! Certificates that cannot be served, or not for long: what clients are shown, and where it is told.

use serde_json::Value;
use tidegate_testing::ca::Ca;
use tidegate_testing::tools::Tool;
use tidegate_testing::{PATIENCE, eventually};

use crate::support::handshakes::{shown, shows, two_hosts};
use crate::support::{Api, Gateway, SECRETS, Shell, WEB, objects};

/// When the certificate expires that is in force, of the Secret `a`: at the listener.
const EXPIRES: &str = "ssl.certificate.kubernetes://a.expiration_unix_time_seconds";
/// How many forms of that Secret were refused.
const REJECTED: &str = "sds.kubernetes_a.update_rejected";

/// Waits for a warning about an object that has these words in it.
async fn warned(api: &mut Api, namespace: &str, object: (&str, &str), words: &str) {
    let api = tokio::sync::Mutex::new(api);
    let path = format!("/api/v1/namespaces/{namespace}/events");
    eventually(PATIENCE, || async {
        let events = api.lock().await.send("GET", &path, "").await;
        let is_it = |event: &Value| {
            let about = &event["involvedObject"];
            (about["kind"] == object.0 && about["name"] == object.1)
                && event["type"] == "Warning"
                && event["reason"] == "InvalidCertificateRef"
                && event["message"].as_str().is_some_and(|message| message.contains(words))
        };
        let found = events["items"].as_array().into_iter().flatten().any(is_it);
        if found { Ok(()) } else { Err(format!("no {words:?} about {object:?} in {events:#}")) }
    })
    .await;
}

/// Waits until this many forms of the Secret were refused.
async fn rejected(gateway: &Gateway, count: u64) {
    eventually(PATIENCE, || async {
        let found = gateway.stat(REJECTED).await;
        if found >= count { Ok(()) } else { Err(format!("{found} of {count} forms were refused")) }
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_served_leaves_the_one_before_and_is_told() {
    let ca = Ca::new("root");
    let (gateway, mut api) = two_hosts(&ca).await;
    let config = ca.client_config(&[]);
    let before = shown(&gateway, "a.example", &config).await.expect("a handshake");
    let expires = gateway.https_stat(EXPIRES).await;
    let [leaf, other] = ["a.example"; 2].map(|name| ca.issue(&[name]));
    let broken = [
        (
            objects::pair_of(&leaf.certificate_pem, &other.key_pem),
            "key: the key is not that of the certificate",
        ),
        (objects::pair_of("garbage", &leaf.key_pem), "certificate: "),
        (objects::pair_of(&leaf.certificate_pem, "garbage"), "key: "),
        (
            objects::pair(&ca.issue_expired(&["a.example"])),
            "certificate: the certificate of CN=a.example expired",
        ),
    ];
    for (count, (data, words)) in (1..).zip(broken) {
        api.change_secret("a", &data).await;
        let words = format!("Secret istio-system/a, {words}");
        let place = format!("servers[0] (port 443): {words}");
        let serves_on = "; the one before serves on";
        // It is in force, but for that.
        api.tells(WEB, &[&place, serves_on, "InvalidCertificateRef", "PartlyServed"]).await;
        api.wait_for(WEB, &[("ResolvedRefs", "False"), ("Programmed", "True")]).await;
        warned(&mut api, "default", ("Gateway", "web"), &place).await;
        warned(&mut api, "istio-system", ("Secret", "a"), &words).await;
        assert_eq!(gateway.stat(REJECTED).await, count);
        assert_eq!(gateway.https_stat(EXPIRES).await, expires, "of the one in force");
        let now = shown(&gateway, "a.example", &config).await.expect("a handshake");
        assert_eq!(now, before, "the old one serves on");
    }
    api.change_secret("a", &objects::pair(&leaf)).await;
    shows(&gateway, "a.example", &config, &leaf).await;
    api.wait_for(WEB, &[("ResolvedRefs", "True"), ("Programmed", "True")]).await;
    api.tells(WEB, &["every worker serves it"]).await;
    api.tells("/api/v1/namespaces/default/events", &["ResolvedRefs holds again"]).await;
    api.tells("/api/v1/namespaces/istio-system/events", &["Usable holds again"]).await;
}

/// Whoever judges it, the control plane or the proxy: of wrong forms that follow each other none is told as good.
#[tokio::test]
async fn a_wrong_secret_in_place_of_another_is_not_told_to_be_mended() {
    let ca = Ca::new("root");
    let (gateway, mut api) = two_hosts(&ca).await;
    let leaf = ca.issue(&["a.example"]);
    let lost = serde_json::json!({ "tls.key": "" });
    let forms = [
        (lost.clone(), "has an empty certificate or key"),
        (objects::pair_of(&leaf.certificate_pem, "garbage"), "a, key: "),
        (lost, "has an empty certificate or key"),
        (objects::pair_of("garbage", &leaf.key_pem), "a, certificate: "),
    ];
    for (count, (data, words)) in (1..).zip(forms) {
        api.change_secret("a", &data).await;
        // Events do not tell the third form from the first.
        rejected(&gateway, count).await;
        api.tells(WEB, &[words]).await;
        warned(&mut api, "default", ("Gateway", "web"), words).await;
        warned(&mut api, "istio-system", ("Secret", "a"), words).await;
        assert_eq!(gateway.stat(REJECTED).await, count, "{words}");
    }
    for namespace in ["default", "istio-system"] {
        let events = api.send("GET", &format!("/api/v1/namespaces/{namespace}/events"), "").await;
        assert!(!events.to_string().contains("holds again"), "{events:#}");
    }
    api.change_secret("a", &objects::pair(&leaf)).await;
    api.wait_for(WEB, &[("ResolvedRefs", "True")]).await;
    api.tells("/api/v1/namespaces/default/events", &["ResolvedRefs holds again"]).await;
    api.tells("/api/v1/namespaces/istio-system/events", &["Usable holds again"]).await;
}

/// There is nothing better: what was served before a restart must not end with it.
#[tokio::test]
async fn an_expired_certificate_that_is_the_first_serves_and_shows_when_it_expired() {
    let ca = Ca::new("root");
    let gateway = Gateway::start(&[]).await;
    let mut api = Api::of(&gateway).await;
    let expired = ca.issue_expired(&["a.example"]);
    api.create_secret(&objects::certificate("a", &expired)).await;
    let tls = serde_json::json!({ "mode": "SIMPLE", "credentialName": "a" });
    let server = objects::https("https", "a.example", &tls);
    api.create("gateways", &objects::gateway_of("web", &[server])).await;
    api.wait_for(WEB, &[("Programmed", "True")]).await;
    shows(&gateway, "a.example", &ca.client_config_in_2000(), &expired).await;
    // The first of January 2001.
    assert_eq!(gateway.https_stat(EXPIRES).await, 978_307_200);
    assert_eq!(gateway.stat("server.days_until_first_cert_expiring").await, 0);
    assert_eq!(gateway.stat(REJECTED).await, 0);
    gateway.process.stderr().containing("the certificate of CN=a.example expired").await;
    let words = "Secret istio-system/a, certificate: the certificate of CN=a.example expired at 2001-01-01T00:00:00";
    warned(&mut api, "default", ("Gateway", "web"), words).await;
    warned(&mut api, "istio-system", ("Secret", "a"), words).await;
    api.wait_for(WEB, &[("ResolvedRefs", "False"), ("Programmed", "True")]).await;
    api.tells(WEB, &[words, "it is presented all the same", "every worker serves it"]).await;
    // The next one is not refused for that.
    let config = ca.client_config(&[]);
    let leaf = ca.issue(&["a.example"]);
    api.change_secret("a", &objects::pair(&leaf)).await;
    shows(&gateway, "a.example", &config, &leaf).await;
    assert!(gateway.https_stat(EXPIRES).await > 978_307_200);
    api.wait_for(WEB, &[("ResolvedRefs", "True")]).await;
}

#[tokio::test]
async fn kubectl_shows_what_is_wrong_with_a_certificate() {
    let ca = Ca::new("root");
    let (gateway, mut api) = two_hosts(&ca).await;
    let Some(shell) = Shell::with(&gateway, &[Tool::Kubectl]) else { return };
    let [leaf, other] = ["a.example"; 2].map(|name| ca.issue(&[name]));
    let wrong = objects::pair_of(&leaf.certificate_pem, &other.key_pem);
    api.change_secret("a", &wrong).await;
    let words = "Secret istio-system/a, key: the key is not that of the certificate";
    warned(&mut api, "default", ("Gateway", "web"), words).await;
    warned(&mut api, "istio-system", ("Secret", "a"), words).await;
    let described = shell.ok("kubectl describe gateways.networking.istio.io web").await;
    let (conditions, events) = described.split_once("Events:").expect("events");
    assert!(conditions.contains(words), "{described}");
    assert!(events.contains("InvalidCertificateRef") && events.contains(words), "{described}");
    let events = shell.ok("kubectl events -n istio-system --for secret/a").await;
    assert!(events.contains("Warning") && events.contains(words), "{events}");
}

/// The log speaks of Secrets as people know them, and of one that is there and wrong says what is wrong.
#[tokio::test]
async fn the_log_says_what_is_wrong_with_a_secret_that_a_handshake_needs() {
    let ca = Ca::new("root");
    let gateway = Gateway::start(&[]).await;
    let mut api = Api::of(&gateway).await;
    let tls = serde_json::json!({ "mode": "SIMPLE", "credentialName": "web-cert" });
    let server = objects::https("https", "a.example", &tls);
    api.create("gateways", &objects::gateway_of("web", &[server])).await;
    let (config, leaf) = (ca.client_config(&[]), ca.issue(&["a.example"]));
    let handshake_tells = async |words: &str| {
        eventually(PATIENCE, || async {
            let _refused = shown(&gateway, "a.example", &config).await.expect_err("no certificate");
            let log = gateway.process.stderr().text();
            let line = log.lines().rev().find(|line| line.contains("a TLS handshake failed: "));
            let told = line.is_some_and(|line| line.contains(words));
            if told { Ok(()) } else { Err(format!("no {words:?} in {line:?}")) }
        })
        .await;
    };
    let none = "there is no Secret web-cert in namespace istio-system, where the gateway is";
    api.tells(WEB, &[none]).await;
    handshake_tells(none).await;
    // A name like it is suggested as soon as there is one.
    api.create_secret(&objects::certificate("web-crt", &leaf)).await;
    api.tells(WEB, &["did you mean web-crt?"]).await;
    handshake_tells("did you mean web-crt?").await;
    api.send("DELETE", &format!("{SECRETS}/web-crt"), "").await;
    // What pilot sees, and what the proxy sees.
    let mut lacking = objects::certificate("web-cert", &leaf);
    lacking["type"] = "Opaque".into();
    lacking["data"].as_object_mut().expect("data").remove("tls.key");
    api.create_secret(&lacking).await;
    handshake_tells("Secret istio-system/web-cert has no certificate with a key").await;
    api.change_secret("web-cert", &objects::pair_of(&leaf.certificate_pem, "garbage")).await;
    let wrong = "Secret istio-system/web-cert, key: ";
    handshake_tells(wrong).await;
    gateway.process.stderr().containing(&format!(" {wrong}")).await;
    api.change_secret("web-cert", &objects::pair(&leaf)).await;
    shows(&gateway, "a.example", &config, &leaf).await;
    assert!(!gateway.process.stderr().text().contains("kubernetes://"), "{}", gateway.process);
}

/// What cannot be used is told as long as somebody takes it, and its end only to whoever heard of it.
#[tokio::test]
async fn what_is_told_of_a_secret_ends_with_who_takes_it() {
    let ca = Ca::new("root");
    let (gateway, mut api) = two_hosts(&ca).await;
    let leaf = ca.issue(&["a.example"]);
    let broken = [
        (objects::pair_of("garbage", &leaf.key_pem), "istio-system/a, certificate: "),
        (objects::pair_of(&leaf.certificate_pem, "garbage"), "istio-system/a, key: "),
    ];
    let [(first, first_words), (second, second_words)] = broken;
    api.change_secret("a", &first).await;
    warned(&mut api, "istio-system", ("Secret", "a"), first_words).await;
    // Nobody takes it any more, and it is mended; that it can be used is for the next one to see.
    api.send("DELETE", WEB, "").await;
    api.change_secret("a", &objects::pair(&leaf)).await;
    let tls = serde_json::json!({ "mode": "SIMPLE", "credentialName": "a" });
    let server = objects::https("https", "a.example", &tls);
    api.create("gateways", &objects::gateway_of("web", &[server])).await;
    api.wait_for(WEB, &[("ResolvedRefs", "True"), ("Programmed", "True")]).await;
    shows(&gateway, "a.example", &ca.client_config(&[]), &leaf).await;
    // Whoever takes it now is told anew, and of the end of that.
    api.change_secret("a", &second).await;
    warned(&mut api, "istio-system", ("Secret", "a"), second_words).await;
    let events = "/api/v1/namespaces/istio-system/events";
    let ends = async |api: &mut Api| {
        let events = api.send("GET", events, "").await;
        let items = events["items"].as_array().cloned().unwrap_or_default();
        let ends = items.iter().filter(|event| event["message"] == "Usable holds again");
        ends.map(|event| event["count"].as_u64().unwrap_or(1)).sum::<u64>()
    };
    assert_eq!(ends(&mut api).await, 0, "it ended with who took it");
    api.change_secret("a", &objects::pair(&leaf)).await;
    api.tells(events, &["Usable holds again"]).await;
    assert_eq!(ends(&mut api).await, 1);
}
