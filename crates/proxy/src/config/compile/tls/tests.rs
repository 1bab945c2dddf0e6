use serde_json::{Value, json};
use tidegate_testing::ca::{Ca, Identity as Made};

use crate::config::slots::Slots;
use crate::config::testing::{proto, with};

use super::*;

fn certificate(made: &Made) -> Value {
    json!({
        "certificate_chain": {"inline_string": made.certificate_pem},
        "private_key": {"inline_string": made.key_pem},
    })
}

fn refused_server(context: &Value) -> String {
    let context: DownstreamTlsContext = proto(context);
    let made = server_context(&context, Duration::from_secs(1), &mut Slots::default());
    made.map(|_| ()).expect_err("refused").to_string()
}

#[test]
fn a_servers_context() {
    let ca = Ca::new("root");
    let (a, b) = (ca.issue(&["a.example"]), ca.issue(&["b.example"]));
    let context: DownstreamTlsContext = proto(&json!({
        "common_tls_context": {
            "tls_certificates": [certificate(&a), certificate(&b)],
            "tls_certificate_sds_secret_configs": [
                {"name": "kubernetes://c", "sds_config": {"ads": {}, "resource_api_version": "V3"}}
            ],
            "alpn_protocols": ["istio-peer-exchange", "h2", "http/1.1"],
            "tls_params": {
                "tls_minimum_protocol_version": "TLSv1_2",
                "cipher_suites": ["ECDHE-RSA-AES128-GCM-SHA256", "[ECDHE-ECDSA-AES128-GCM-SHA256|ECDHE-ECDSA-CHACHA20-POLY1305]"],
                "ecdh_curves": ["X25519", "P-256"],
            },
            "combined_validation_context": {
                "default_validation_context": {
                    "match_typed_subject_alt_names": [
                        {"san_type": "URI", "matcher": {"prefix": "spiffe://cluster.local/"}},
                    ],
                    "verify_certificate_spki": ["NvqYIYSbgK2vCJpQhObf77vv+bQWtc5ek5RIOwPiC9A="],
                    "verify_certificate_hash": ["DF:6F:F7:2F:E9:11:65:21:26:8F:6F:2D:D4:96:6F:51:DF:47:98:83:FE:70:37:B3:9F:1E:40:68:0A:83:C8:6E"],
                },
                "validation_context_sds_secret_config": {"name": "kubernetes://c-cacert"},
            },
        },
        "require_client_certificate": true,
        "disable_stateless_session_resumption": true,
    }));
    let mut slots = Slots::default();
    let made = server_context(&context, Duration::from_secs(1), &mut slots);
    let tls = made.unwrap_or_else(|refusal| panic!("{refusal}"));
    assert_eq!(tls.common.identities.len(), 3);
    assert_eq!((tls.common.suites.len(), tls.common.groups.len()), (3, 2));
    assert_eq!(tls.common.alpn, [Box::from(*b"h2"), Box::from(*b"http/1.1")]);
    assert!(tls.require_client_certificate && !tls.resumes);
    let here = tls.common.validation.here.as_deref().expect("a default");
    assert_eq!((here.names.len(), here.key_hashes.len(), here.hashes.len()), (1, 1, 1));
    let slot = tls.common.validation.secret.as_ref().expect("a secret");
    assert!(Arc::ptr_eq(slot, &slots.secret("kubernetes://c-cacert")));
    // The secrets are not there yet.
    assert!(tls.configs().is_err());
}

#[test]
fn what_a_server_cannot_do_is_refused_by_its_path() {
    let ca = Ca::new("root");
    let (a, b) = (ca.issue(&["a.example"]), ca.issue(&["b.example"]));
    let base = json!({"common_tls_context": {"tls_certificates": [certificate(&a)]}});
    let mixed = json!({
        "certificate_chain": {"inline_string": a.certificate_pem},
        "private_key": {"inline_string": b.key_pem},
    });
    let params = |params: Value| json!({"common_tls_context": {"tls_params": params}});
    let validation =
        |context: Value| json!({"common_tls_context": {"validation_context": context}});
    let cases = [
        (
            json!({"common_tls_context": {"tls_certificates": []}}),
            "common_tls_context: must have a certificate",
        ),
        (
            json!({"common_tls_context": {"tls_certificates": [mixed]}}),
            "common_tls_context.tls_certificates[0].private_key: the key is not that of",
        ),
        (
            json!({"common_tls_context": {"tls_certificates": [{"private_key": {"inline_string": ""}}]}}),
            "common_tls_context.tls_certificates[0].certificate_chain: must be set",
        ),
        (
            params(json!({
                "cipher_suites": ["AES128-SHA", "NONSENSE"],
                "tls_maximum_protocol_version": "TLSv1_2",
            })),
            "common_tls_context.tls_params.cipher_suites: no suite of TLS 1.2 is left, and TLS 1.3",
        ),
        (
            params(json!({"ecdh_curves": ["P-224", "X448"]})),
            "common_tls_context.tls_params.ecdh_curves: none is left: use X25519",
        ),
        (
            params(json!({"tls_minimum_protocol_version": "TLSv1_0"})),
            "common_tls_context.tls_params.tls_minimum_protocol_version: versions below TLSv1_2",
        ),
        (
            params(json!({
                "tls_minimum_protocol_version": "TLSv1_3",
                "tls_maximum_protocol_version": "TLSv1_2",
            })),
            "common_tls_context.tls_params.tls_maximum_protocol_version: is below",
        ),
        (
            validation(json!({"trusted_ca": {"inline_string": "garbage"}})),
            "common_tls_context.validation_context.trusted_ca: there is no certificate in it",
        ),
        (
            validation(
                json!({"trusted_ca": {"inline_string": ca.pem()}, "crl": {"inline_string": "x"}}),
            ),
            "common_tls_context.validation_context.crl: there is no revocation list in it",
        ),
        (
            validation(json!({"verify_certificate_hash": ["abc"]})),
            "common_tls_context.validation_context.verify_certificate_hash[0]: must be a SHA-256",
        ),
        (
            validation(json!({"verify_certificate_spki": ["AAAA"]})),
            "common_tls_context.validation_context.verify_certificate_spki[0]: must be a SHA-256",
        ),
        (
            validation(json!({
                "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": "a"}}],
            })),
            "common_tls_context.validation_context.match_typed_subject_alt_names: names in",
        ),
        (
            json!({"common_tls_context": {"alpn_protocols": [""]}}),
            "common_tls_context.alpn_protocols[0]: must have 1 to 255 bytes",
        ),
    ];
    for (more, expected) in cases {
        let refused = refused_server(&with(&base, &more));
        assert!(refused.starts_with(expected), "{refused}\n{expected}");
    }
}

/// A context with `params`, and what was said of it.
fn lenient(params: &Value) -> (Common, Vec<String>) {
    let proto: CommonTlsContext = proto(&json!({"tls_params": params}));
    let mut slots = Slots::default();
    let common = common_context(&proto, &mut slots).unwrap_or_else(|refusal| panic!("{refusal}"));
    let notices = slots.take_notices();
    (common, notices.into_iter().map(|said| format!("{}: {}", said.path, said.reason)).collect())
}

#[test]
fn suites_and_groups_that_cannot_be_had_are_left_out_and_told() {
    let (common, told) = lenient(&json!({
        "cipher_suites": ["ECDHE-RSA-AES128-GCM-SHA256", "[AES128-SHA|ECDHE-RSA-CHACHA20-POLY1305]", "NONSENSE"],
        "ecdh_curves": ["P-256", "X448"],
    }));
    assert_eq!((common.suites.len(), common.groups.len(), common.versions.len()), (2, 1, 2));
    let expected = [
        "tls_params.cipher_suites[1]: \"AES128-SHA\" is left out: it has no forward secrecy",
        "tls_params.cipher_suites[2]: \"NONSENSE\" is left out: no suite is known",
        "tls_params.ecdh_curves[1]: \"X448\" is left out: it is not offered here",
    ];
    assert_eq!(told.len(), expected.len(), "{told:?}");
    for (told, expected) in told.iter().zip(expected) {
        assert!(told.starts_with(expected), "{told}");
    }
}

/// No list at all means all suites; a list of which nothing is left must not.
#[test]
fn without_a_suite_of_tls_1_2_that_version_is_not_offered() {
    let (common, told) = lenient(&json!({"cipher_suites": ["AES256-GCM-SHA384"]}));
    assert_eq!(common.versions, [&TLS13]);
    assert!(told.last().is_some_and(|told| told.ends_with("TLS 1.3 alone is offered")), "{told:?}");
    // Suites of TLS 1.2 are of no account where that is not allowed.
    let only = json!({"cipher_suites": ["AES128-SHA"], "tls_minimum_protocol_version": "TLSv1_3"});
    assert_eq!(lenient(&only).1.len(), 1);
}

#[test]
fn a_clients_context() {
    let ca = Ca::new("root");
    let context = |more: Value| -> Result<ClientTls, Refusal> {
        let base = json!({
            "sni": "a.example",
            "common_tls_context": {
                "validation_context": {"trusted_ca": {"inline_string": ca.pem()}},
            },
        });
        client_context(&proto(&with(&base, &more)), &mut Slots::default())
    };
    let tls = context(json!({})).unwrap_or_else(|refusal| panic!("{refusal}"));
    assert!(tls.verifies() && tls.resumes && !tls.by_name);
    assert_eq!(&*tls.sni, "a.example");
    let lax = json!({"common_tls_context": {"validation_context": {
        "trust_chain_verification": "ACCEPT_UNTRUSTED",
    }}});
    assert!(context(lax).is_ok_and(|tls| !tls.verifies()));
    assert!(context(json!({"max_session_keys": 0})).is_ok_and(|tls| !tls.resumes));
    let refused = context(json!({"sni": "a b"})).map(|_| ()).map_err(|refusal| refusal.path);
    assert_eq!(refused, Err("sni".to_owned()));
    let nothing = client_context(&UpstreamTlsContext::default(), &mut Slots::default());
    assert!(nothing.is_ok_and(|tls| !tls.verifies()));
}

#[test]
fn secrets() {
    let ca = Ca::new("root");
    let made = ca.issue(&["a.example"]);
    let of = |json: Value| secret(&proto(&with(&json!({"name": "s"}), &json)));
    let identity = of(json!({"tls_certificate": certificate(&made)}));
    assert!(matches!(identity, Ok(Secret::Identity(_))));
    let validation = of(json!({"validation_context": {"trusted_ca": {"inline_string": ca.pem()}}}));
    assert!(matches!(validation, Ok(Secret::Validation(_))));
    let refused = |json: Value| of(json).map(|_| ()).expect_err("refused").path;
    assert_eq!(refused(json!({})), "");
    let garbage = json!({"private_key": {"inline_string": "garbage"}});
    assert_eq!(
        refused(json!({"tls_certificate": with(&certificate(&made), &garbage)})),
        "tls_certificate.private_key"
    );
}
