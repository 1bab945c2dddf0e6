//! What becomes of a listener of which one chain's transport socket is at fault.

use crate::tls::context::NotReady;

use super::*;

const CONTEXT: &str =
    "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext";

/// A chain that takes its certificate from a secret; `more` is put into its context.
fn secure(name: &str, more: &Value) -> Value {
    let base = json!({
        "@type": CONTEXT,
        "common_tls_context": {"tls_certificate_sds_secret_configs": [{"name": "s"}]},
    });
    let socket = json!({"name": "tls", "typed_config": with(&base, more)});
    with(&chain(name, &[name], name), &json!({"transport_socket": socket}))
}

fn bad_crl() -> Value {
    let context = json!({"crl": {"filename": "/nonexistent/crl.pem"}});
    json!({"common_tls_context": {"validation_context": context}})
}

/// Why the chain at a place serves no handshake, of those that are not short of a secret alone.
fn refusing(listener: &listener::Listener, place: usize) -> Option<String> {
    let tls = listener.chains.chains[place].tls.as_ref().expect("TLS");
    match tls.configs() {
        Err(NotReady::Refused(why)) => Some(why.into()),
        _ => None,
    }
}

#[test]
fn a_fault_in_one_chains_transport_socket_leaves_the_others_served() {
    let mut side = Side::new();
    let good = secure("good", &json!({}));
    let both = [secure("bad", &bad_crl()), good.clone()];
    let applied = side.apply(vec![listener("l", &both)], &[]);
    const CRL: &str = "filter_chains[0].transport_socket.typed_config.common_tls_context.validation_context.crl.filename";
    assert_eq!(side.refused(), [format!("l: {CRL}")]);
    assert!(applied.rejected.iter().any(|rejected| rejected.path == CRL), "{:?}", applied.rejected);
    let first = Arc::clone(&applied.listeners.put[0]);
    assert!(refusing(&first, 0).is_some_and(|why| why.contains("crl")));
    assert_eq!(refusing(&first, 1), None);

    // Neighbours change and stay, and what is at fault is told each time.
    let three = [secure("bad", &bad_crl()), good.clone(), secure("new", &json!({}))];
    let second = Arc::clone(&side.apply(vec![listener("l", &three)], &[]).listeners.put[0]);
    assert!(Arc::ptr_eq(&first.chains.chains[1], &second.chains.chains[1]));
    assert_eq!(side.refused(), [format!("l: {CRL}")]);
    assert!(refusing(&second, 0).is_some());

    // Mended, nothing is left of it.
    let third = side.serve(vec![listener("l", &[secure("bad", &json!({})), good])]);
    assert_eq!(refusing(&third.listeners.put[0], 0), None);
    assert_eq!(side.refused(), [""; 0]);
}

#[test]
fn what_the_capability_table_refuses_in_a_transport_socket_is_such_a_fault() {
    let mut side = Side::new();
    let validator = json!({"custom_validator_config": {"name": "v"}});
    let unsupported = json!({"common_tls_context": {"validation_context": validator}});
    let chains = [secure("good", &json!({})), secure("bad", &unsupported)];
    let applied = side.apply(vec![listener("l", &chains)], &[]);
    let refused = side.refused();
    assert!(
        refused.iter().all(|path| path.starts_with("l: filter_chains[1].transport_socket.")),
        "{refused:?}"
    );
    assert_eq!(refused.len(), 1);
    assert!(refusing(&applied.listeners.put[0], 1).is_some());
    assert_eq!(refusing(&applied.listeners.put[0], 0), None);
}

/// Its name says TLS: it must never be plaintext.
#[test]
fn a_transport_socket_without_its_configuration_takes_no_connection() {
    let mut side = Side::new();
    let unconfigured = json!({"transport_socket": {"name": "envoy.transport_sockets.tls"}});
    let bad = with(&chain("bad", &["bad"], "bad"), &unconfigured);
    let applied = side.apply(vec![listener("l", &[secure("good", &json!({})), bad])], &[]);
    assert_eq!(side.refused(), ["l: filter_chains[1].transport_socket.typed_config"]);
    assert!(refusing(&applied.listeners.put[0], 1).is_some());
    assert_eq!(refusing(&applied.listeners.put[0], 0), None);
}

#[test]
fn a_fault_elsewhere_or_in_every_chain_refuses_the_listener() {
    let mut side = Side::new();
    side.serve(vec![listener("l", &[secure("a", &json!({}))])]);
    let all = [secure("a", &bad_crl()), secure("b", &bad_crl())];
    assert!(side.apply(vec![listener("l", &all)], &[]).listeners.put.is_empty());
    assert_eq!(side.refused().len(), 2);
    let timeout = json!({"transport_socket_connect_timeout": "-1s"});
    let elsewhere = [with(&secure("a", &json!({})), &timeout), secure("b", &json!({}))];
    assert!(side.apply(vec![listener("l", &elsewhere)], &[]).listeners.put.is_empty());
    assert_eq!(side.refused(), ["l: filter_chains[0].transport_socket_connect_timeout"]);
}

#[test]
fn a_suite_that_is_left_out_is_told_with_its_whole_path() {
    let mut side = Side::new();
    let suites = json!({"cipher_suites": ["ECDHE-RSA-AES128-GCM-SHA256", "AES128-SHA"]});
    let params = json!({"common_tls_context": {"tls_params": suites}});
    let applied = side.serve(vec![listener("l", &[secure("a", &params)])]);
    let told: Vec<_> = applied.warnings.iter().map(|told| &*told.finding.path).collect();
    assert_eq!(
        told,
        [
            "filter_chains[0].transport_socket.typed_config.common_tls_context.tls_params.cipher_suites[1]"
        ]
    );
    assert!(applied.warnings[0].finding.reason.contains("left out"));
}
