//! Certificates that are not valid now.

use std::time::{Duration, SystemTime};

use tidegate_testing::ca::{Ca, Identity as Made};

use crate::config::applier::{CHAIN, fill};
use crate::config::expiring::Expiring;
use crate::tls::identity::Identity;
use crate::tls::secret::{Secret, SecretSlot};

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

fn identity(made: &Made) -> Identity {
    let pems = (made.certificate_pem.as_bytes(), made.key_pem.as_bytes());
    Identity::from_pem(pems.0, pems.1).expect("a chain and its key")
}

/// A certificate that is valid from a moment on.
fn valid_from(from: SystemTime) -> Arc<Identity> {
    let mut made = identity(&Ca::new("root").issue(&["a.example"]));
    made.leaf.not_before = from;
    Arc::new(made)
}

fn secret(made: &Made) -> Resource {
    let certificate = json!({
        "certificate_chain": {"inline_string": made.certificate_pem},
        "private_key": {"inline_string": made.key_pem},
    });
    let json = json!({"name": "s", "tls_certificate": certificate});
    resource::<tidegate_envoy::v3::tls::Secret>(ResourceType::Secret, "s", &json)
}

#[test]
fn an_expired_certificate_is_served_with_a_warning_and_replaces_none_that_is_valid() {
    let ca = Ca::new("root");
    let mut side = Side::new();
    let applied = side.serve(vec![secret(&ca.issue_expired(&["a.example"]))]);
    let told = applied.warnings[0].finding.reason.as_str();
    assert!(told.starts_with("the certificate of CN=a.example expired"), "{told}");
    assert!(told.contains("at 2001-01-01T00:00:00"), "{told}");

    let doubtful = side.applier.verdict().doubtful;
    assert_eq!(doubtful.len(), 1);
    assert_eq!((&*doubtful[0].name, &*doubtful[0].path), ("s", CHAIN));

    assert_eq!(side.serve(vec![secret(&ca.issue(&["a.example"]))]).warnings, []);
    assert_eq!(side.applier.verdict().doubtful, []);
    side.apply(vec![secret(&ca.issue_expired(&["a.example"]))], &[]);
    assert_eq!(side.refused(), ["s: tls_certificate.certificate_chain"]);
}

#[test]
fn a_certificate_that_expires_while_it_is_served_is_told_from_then_on() {
    let now = SystemTime::now();
    let slot = |name: &str, expires: SystemTime| {
        let mut made = identity(&Ca::new("root").issue(&["a.example"]));
        made.leaf.not_after = expires;
        let slot = Arc::new(SecretSlot::empty(name.into()));
        fill(&slot, Secret::Identity(Arc::new(made)), now).expect("taken");
        slot
    };
    let slots = [slot("later", now + 2 * HOUR), slot("soon", now + HOUR)];
    let mut expiring = Expiring::default();
    slots.iter().for_each(|slot| expiring.note(slot));
    let expired = |expiring: &Expiring, at| {
        let told = expiring.expired(at).into_iter();
        told.map(|doubtful| doubtful.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!((expired(&expiring, now), expiring.next(now)), (vec![], Some(now + HOUR)));
    let at = now + HOUR + HOUR / 2;
    assert_eq!(expired(&expiring, at), ["soon"]);
    assert_eq!(expiring.next(at), Some(now + 2 * HOUR));
    // It is renewed, or nobody asks for it any more.
    let renewed = identity(&Ca::new("root").issue(&["a.example"]));
    slots[1].store(Some(Secret::Identity(Arc::new(renewed))));
    expiring.note(&slots[1]);
    assert_eq!(expired(&expiring, at), [""; 0]);
    drop(slots);
    assert_eq!((expired(&expiring, now + 3 * HOUR), expiring.next(now)), (vec![], None));
}

#[test]
fn a_certificate_that_is_not_valid_yet_waits_until_it_is() {
    let slot = SecretSlot::empty("s".into());
    let now = SystemTime::now();
    let fill = |identity: &Arc<Identity>, now| {
        let told = fill(&slot, Secret::Identity(Arc::clone(identity)), now);
        told.map(|told| told.map(|told| told.reason)).expect("taken")
    };
    let is_at = |identity: &Arc<Identity>, now| {
        slot.identity_at(now).is_some_and(|found| Arc::ptr_eq(&found, identity))
    };
    // There is nothing better.
    let first = valid_from(now + HOUR);
    assert!(fill(&first, now).is_some_and(|told| told.contains("there is none that is valid")));
    assert!(is_at(&first, now));
    // There is.
    let (second, third) = (valid_from(now), valid_from(now + HOUR));
    assert_eq!(fill(&second, now), None);
    assert!(fill(&third, now).is_some_and(|told| told.contains("until then the one before it")));
    assert!(is_at(&second, now) && is_at(&third, now + HOUR));
    // What comes while it waits takes its place.
    let fourth = valid_from(now);
    assert_eq!(fill(&fourth, now), None);
    assert!(is_at(&fourth, now + HOUR));
}
