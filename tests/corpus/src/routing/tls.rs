//! `routing/facts` about TLS: what servers of Gateways ask of handshakes, and what is in Secrets.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result as Done;
use serde_json::{Value, json};
use tidegate_api::Spec;
use tidegate_api::istio::gateway::ServerTlsSettings;
use tidegate_envoy::json::{FieldNames, to_json};
use tidegate_pilot::compile::tls::{self, Carries};
use tidegate_pilot::model::credentials::{Found, NotFound, Secrets};
use tidegate_pilot::model::tls::{Credential, Terms};
use tidegate_pilot::{Options, mesh};

use super::{input, same, supplement, table, verdict};
use crate::cases::Tally;

pub fn run(folder: &Path, tally: &mut Tally) -> Done<()> {
    let contexts = table(folder, "gateway-tls-context")?;
    for case in contexts["cases"].as_array().into_iter().flatten() {
        let name = case["name"].as_str().unwrap_or_default();
        tally.add(&format!("gateway-tls-context/{name}"), verdict(context(case)));
    }
    let lookups = table(folder, "credential-secrets")?;
    for case in lookups["cases"].as_array().into_iter().flatten() {
        let name = case["secret"].as_str().unwrap_or_default();
        let namespace = case["namespace"].as_str().unwrap_or_default();
        let secrets = secrets(&lookups["secrets"], namespace);
        let full = format!("credential-secrets/{namespace}/{name}");
        tally.add(&full, verdict(lookup(case, &secrets)));
    }
    Ok(())
}

fn context(case: &Value) -> Result<(), String> {
    let settings = &case["server"]["tls"];
    let settings: ServerTlsSettings =
        serde_json::from_value(settings.clone()).map_err(|error| error.to_string())?;
    let expect = &case["expect"]["downstreamTLS"];
    let mut options = Options::default();
    mesh::apply(supplement::mesh_config(case), &mut options).map_err(|error| error.to_string())?;
    let Some(terms) = Terms::of(&settings, &options) else {
        return same(&expect.is_null(), &true);
    };
    let carries = match case["server"]["port"]["protocol"].as_str() {
        Some("HTTPS") if case["transport"] == "TransportProtocolQUIC" => {
            // There is a listener for it.
            same(&terms.hold_over_quic(), &true)?;
            Carries::Http3
        }
        Some("HTTPS") => Carries::Requests,
        _ => Carries::Bytes,
    };
    let context = tls::context(&terms, carries);
    let context = to_json(&context, FieldNames::Camel).map_err(|error| error.to_string())?;
    let expect = normal(expect);
    same(&expect, &found(&context, &expect))
}

/// An expectation with what it leaves open written out.
fn normal(expect: &Value) -> Value {
    let mut expect = expect.clone();
    expect["alpn"] = supplement::constant(&expect["alpn"]).clone();
    if expect["tlsParams"].is_null() {
        expect["tlsParams"] = json!({});
    }
    if expect["defaultValidation"].is_null() {
        expect["defaultValidation"] = json!({});
    }
    expect
}

/// A TLS context in the words of the table. Versions are compared where it has any.
fn found(context: &Value, expect: &Value) -> Value {
    let common = &context["commonTlsContext"];
    let names = |list: &Value| -> Vec<Value> {
        list.as_array().into_iter().flatten().map(|secret| secret["name"].clone()).collect()
    };
    let combined = &common["combinedValidationContext"];
    let authorities = &combined["validationContextSdsSecretConfig"];
    let mut params = common["tlsParams"].as_object().cloned().unwrap_or_default();
    params
        .retain(|key, _| !key.ends_with("ProtocolVersion") || !expect["tlsParams"][key].is_null());
    let mut default = combined["defaultValidationContext"].as_object().cloned().unwrap_or_default();
    if let Some(names) = default.get_mut("matchSubjectAltNames") {
        let exact = names.as_array().into_iter().flatten().map(|name| name["exact"].clone());
        *names = exact.collect();
    }
    // Istio names the list of revoked certificates in the listener, which is read once. Here it comes with the authorities,
    // whose secret ends with its name.
    let mut authorities = authorities.clone();
    let list = authorities["name"].as_str().and_then(|name| name.split_once('~'));
    if let Some((name, list)) = list.map(|(name, list)| (name.to_owned(), list.to_owned())) {
        authorities["name"] = name.into();
        default.insert("crl".to_owned(), json!({"specifier": {"filename": list}}));
    }
    json!({
        "certificateSecrets": names(&common["tlsCertificateSdsSecretConfigs"]),
        "validationSecrets": names(&json!([authorities]))
            .into_iter()
            .filter(|name| !name.is_null())
            .collect::<Vec<_>>(),
        "alpn": common["alpnProtocols"],
        "requireClientCertificate": context["requireClientCertificate"],
        "tlsParams": params,
        "defaultValidation": default,
    })
}

/// The Secrets of a table, for a gateway in `namespace`. Their types promise keys that some of them lack.
fn secrets(list: &Value, namespace: &str) -> Secrets {
    let mut secrets = Secrets::of(namespace);
    for secret in list.as_array().into_iter().flatten() {
        let manifest = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": secret["name"], "namespace": "default"},
            "type": "Opaque",
            "stringData": secret["data"],
        });
        let object = input::object(&manifest);
        let Some(Spec::Secret(secret)) = object.as_deref().map(|object| &object.spec) else {
            continue;
        };
        let secret = Arc::new((**secret).clone());
        let Some(object) = &object else { continue };
        secrets.set(&object.key.namespace, &object.key.name, Some(secret));
    }
    secrets
}

fn lookup(case: &Value, secrets: &Secrets) -> Result<(), String> {
    let name: Arc<str> = case["secret"].as_str().unwrap_or_default().into();
    let pair = Credential::Pair(Arc::clone(&name));
    let mut certificate = case["certificate"].clone();
    // Lists of revoked certificates go with the authorities that the table names below.
    certificate.as_object_mut().map(|expect| expect.remove("crl"));
    compare(&certificate, &secrets.find(&pair))?;
    compare(&case["clientCA"], &secrets.authorities_in(&name))
}

fn compare(expect: &Value, found: &Result<Found<'_>, NotFound>) -> Result<(), String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let found = match found {
        Ok(Found::Pair { chain, key, staple }) => {
            let mut found = json!({"cert": text(chain), "key": text(key)});
            if let Some(staple) = staple {
                found["staple"] = text(staple).into();
            }
            found
        }
        Ok(Found::Authorities { roots, revoked, .. }) => {
            let mut found = json!({"caCert": text(roots)});
            if let Some(revoked) = revoked {
                found["caCrl"] = text(revoked).into();
            }
            found
        }
        Ok(Found::Elsewhere) => return Err("no Secret has it".to_owned()),
        // Their words are Istio's own.
        Err(_) => json!({"error": expect["error"]}),
    };
    same(expect, &found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::changes::all_fail;

    fn case(tls: &Value, expect: &Value) -> Value {
        let server = json!({"hosts": ["a.com"], "port": {"protocol": "HTTPS"}, "tls": tls});
        json!({"name": "a", "server": server, "expect": {"downstreamTLS": expect}})
    }

    /// A runner that cannot fail proves nothing.
    #[test]
    fn every_broken_context_fails() {
        let spki = "YCBM2qyx7Sh0ysmRlOO9r0kCqF3lrF4x1pFpVx9pvJk=";
        let tls = json!({
            "mode": "MUTUAL",
            "serverCertificate": "/chain.pem",
            "privateKey": "/key.pem",
            "caCertificates": "/ca.pem",
            "caCrl": "/crl.pem",
            "subjectAltNames": ["b.com"],
            "verifyCertificateSpki": [spki],
            "verifyCertificateHash": ["ab"],
            "minProtocolVersion": "TLSV1_2",
            "maxProtocolVersion": "TLSV1_3",
            "cipherSuites": ["ECDHE-RSA-AES128-GCM-SHA256"],
            "ecdhCurves": ["P-256"],
        });
        let mut expect = json!({
            "certificateSecrets": ["file-cert:/chain.pem~/key.pem"],
            "validationSecrets": ["file-root:/ca.pem"],
            "alpn": ["h2", "http/1.1"],
            "requireClientCertificate": true,
            "tlsParams": {
                "tlsMinimumProtocolVersion": "TLSv1_2",
                "tlsMaximumProtocolVersion": "TLSv1_3",
                "cipherSuites": ["ECDHE-RSA-AES128-GCM-SHA256"],
                "ecdhCurves": ["P-256"],
            },
            "defaultValidation": {
                "matchSubjectAltNames": ["b.com"],
                "verifyCertificateSpki": [spki],
                "verifyCertificateHash": ["ab"],
                "crl": {"specifier": {"filename": "/crl.pem"}},
            },
        });
        all_fail(&case(&tls, &expect), "expect", context);
        // A table that is silent of versions leaves them open, and nothing else.
        let params = expect["tlsParams"].as_object_mut().expect("parameters");
        params.retain(|key, _| !key.ends_with("ProtocolVersion"));
        all_fail(&case(&tls, &expect), "expect", context);
        for part in ["tlsParams", "defaultValidation", "alpn"] {
            let mut silent = expect.clone();
            silent[part] = Value::Null;
            assert!(context(&case(&tls, &silent)).is_err(), "{part}");
        }
        let simple = json!({"mode": "SIMPLE", "credentialName": "c"});
        let mut quic = json!({
            "certificateSecrets": ["kubernetes://c"],
            "validationSecrets": [],
            "alpn": ["h3"],
            "requireClientCertificate": false,
        });
        let over = |expect: &Value, transport: &str| {
            let mut case = case(&simple, expect);
            case["transport"] = transport.into();
            context(&case)
        };
        assert_eq!(over(&quic, "TransportProtocolQUIC"), Ok(()));
        assert!(over(&quic, "TransportProtocolTCP").is_err());
        quic["alpn"] = json!(["h2", "http/1.1"]);
        assert!(over(&quic, "TransportProtocolQUIC").is_err());
        let passed = case(&json!({"mode": "PASSTHROUGH"}), &Value::Null);
        all_fail(&passed, "expect", context);
        assert!(context(&case(&tls, &Value::Null)).is_err(), "it is terminated");
    }

    #[test]
    fn every_broken_look_up_fails() {
        let list = json!([
            {"name": "web", "data": {"tls.crt": "chain", "tls.key": "key", "ca.crt": "roots", "ca.crl": "gone"}},
            {"name": "bare", "data": {"cert": "chain", "key": "key", "tls.ocsp-staple": "staple"}},
        ]);
        let secrets = secrets(&list, "default");
        let judge = |case: &Value| lookup(case, &secrets);
        let case = |name: &str, certificate: Value, authorities: Value| json!({"secret": name, "certificate": certificate, "clientCA": authorities});
        let pair = json!({"cert": "chain", "key": "key"});
        let web = case("web", pair.clone(), json!({"caCert": "roots", "caCrl": "gone"}));
        all_fail(&web, "certificate", judge);
        all_fail(&web, "clientCA", judge);
        let mut stapled = pair;
        stapled["staple"] = json!("staple");
        let bare = case("bare", stapled, json!({"error": "none"}));
        all_fail(&bare, "certificate", judge);
        // An error is an error, whatever its words; and it is none of what is there.
        for (case, part, wrong) in [
            (&bare, "clientCA", json!({"caCert": "roots"})),
            (&bare, "certificate", json!({"error": "none"})),
            (&web, "clientCA", json!({"error": "none"})),
            (&web, "certificate", json!({"error": "none"})),
        ] {
            let mut broken = case.clone();
            broken[part] = wrong;
            assert!(judge(&broken).is_err(), "{part} of {broken}");
        }
        let nobody = case("nobody", json!({"error": "none"}), json!({"error": "none"}));
        assert_eq!(judge(&nobody), Ok(()));
    }
}
