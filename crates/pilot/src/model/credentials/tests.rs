use serde_json::json;

use super::*;

fn secrets(all: &[(&str, &[(&str, &str)])]) -> Secrets {
    let mut secrets = Secrets::of("istio-system");
    for (name, data) in all {
        let data: BTreeMap<&str, &str> = data.iter().copied().collect();
        let secret: Secret = serde_json::from_value(json!({"stringData": data})).expect("a Secret");
        secrets.set(&"istio-system".into(), &(*name).into(), Some(Arc::new(secret)));
    }
    secrets
}

/// The authorities of `name`, and whether nothing named the Secret that they are in.
fn found(secrets: &Secrets, name: &str, named: bool) -> Result<(String, bool), bool> {
    let credential = Credential::Authorities { name: name.into(), named };
    match secrets.find(&credential) {
        Ok(Found::Authorities { roots, guessed, .. }) => {
            Ok((String::from_utf8_lossy(roots).into_owned(), guessed.is_some()))
        }
        Ok(other) => panic!("{other:?}"),
        Err(not_found) => Err(not_found.broken),
    }
}

#[test]
fn where_authorities_are_looked_for() {
    let pair: &[(&str, &str)] = &[("tls.crt", "c"), ("tls.key", "k")];
    let whole: &[(&str, &str)] = &[("tls.crt", "c"), ("tls.key", "k"), ("ca.crt", "own")];
    let all = secrets(&[
        ("apart", whole),
        ("apart-cacert", &[("cacert", "apart")]),
        ("whole", whole),
        ("pair", pair),
        ("clients", &[("ca.crt", "clients")]),
    ]);
    let own = |text: &str| Ok((text.to_owned(), false));
    assert_eq!(found(&all, "apart", false), own("apart"), "the one with the suffix goes first");
    assert_eq!(found(&all, "apart", true), own("apart"), "also for one that is named");
    assert_eq!(found(&all, "apart-cacert", true), own("apart"));
    assert_eq!(found(&all, "whole", false), own("own"));
    assert_eq!(found(&all, "pair", false), Ok(("clients".to_owned(), true)));
    assert_eq!(found(&all, "pair", true), Err(true), "nothing is guessed for one that is named");
    assert_eq!(found(&all, "nowhere", false), Err(false));
    let two = secrets(&[
        ("pair", pair),
        ("clients", &[("ca.crt", "clients")]),
        ("others", &[("cacert", "others")]),
    ]);
    assert_eq!(found(&two, "pair", false), Err(false), "of two, none");
}

#[test]
fn what_anything_names_is_not_guessed() {
    let pair: &[(&str, &str)] = &[("tls.crt", "c"), ("tls.key", "k")];
    let mut all = secrets(&[
        ("pair", pair),
        ("clients", &[("ca.crt", "clients")]),
        ("servers", &[("ca.crt", "servers")]),
        ("other-cacert", &[("ca.crt", "other")]),
    ]);
    let names = |names: &[&str]| names.iter().map(|name| Arc::from(*name)).collect();
    let key = |name| ObjectKey::new(tidegate_api::Kind::DestinationRule, "default", name);
    assert!(!all.set_named(&key("a"), names(&["pair", "nowhere"])), "no authorities in them");
    assert_eq!(found(&all, "pair", false), Err(false), "of three, none");
    assert!(all.set_named(&key("a"), names(&["servers"])));
    assert!(all.set_named(&key("b"), names(&["servers", "other"])));
    let clients = Ok(("clients".to_owned(), true));
    assert_eq!(found(&all, "pair", false), clients);
    all.set_named(&key("a"), names(&[]));
    assert_eq!(found(&all, "pair", false), clients, "another names it still");
    assert!(all.set_named(&key("b"), names(&["clients", "other"])));
    assert_eq!(found(&all, "pair", false), Ok(("servers".to_owned(), true)));
}

/// What is revoked by the authorities of `name`, besides what the file `/crl` lists.
fn revoked(secrets: &Secrets, name: &str) -> Result<Option<String>, NotFound> {
    let authorities = Credential::Authorities { name: name.into(), named: true };
    let credential =
        Credential::Revoking { authorities: Box::new(authorities), list: "/crl".into() };
    match secrets.find(&credential)? {
        Found::Authorities { revoked, .. } => {
            Ok(revoked.map(|bytes| String::from_utf8_lossy(bytes).into_owned()))
        }
        found => panic!("{found:?}"),
    }
}

#[test]
fn where_revoked_certificates_are_listed() {
    let mut all = secrets(&[
        ("plain", &[("ca.crt", "a")]),
        ("tls", &[("ca.crt", "a"), ("ca.crl", "own")]),
        ("generic", &[("cacert", "a"), ("crl", "own")]),
    ]);
    let unread = revoked(&all, "plain").expect_err("not read yet");
    assert!(!unread.broken, "{unread:?}");
    all.set_file("/crl".into(), Ok(b"file".as_slice().into()));
    let list = |name| revoked(&all, name).expect("found").expect("a list");
    assert_eq!([list("plain"), list("tls"), list("generic")], ["file", "own", "own"]);
    all.set_file("/crl".into(), Err("gone".to_owned()));
    let gone = revoked(&all, "plain").expect_err("cannot be read");
    assert!(gone.broken && gone.reason.contains("/crl cannot be read: gone"), "{gone:?}");
}

#[test]
fn a_secret_with_a_name_like_it_is_suggested() {
    let pair: &[(&str, &str)] = &[("tls.crt", "c"), ("tls.key", "k")];
    let all = secrets(&[("web-cert", pair), ("web-certs", pair), ("other", pair)]);
    let told = |name: &str| all.find(&Credential::Pair(name.into())).expect_err("none").reason;
    let none = "there is no Secret web-crt in namespace istio-system, where the gateway is";
    assert_eq!(told("web-crt"), format!("{none}; did you mean web-cert?"));
    assert!(!told("unlike").contains("did you mean"));
    let meant = |secret: &str, named: &str| {
        all.may_be_meant(secret, &Credential::Authorities { name: named.into(), named: true })
    };
    assert!(meant("web-cart", "web-crt"), "it may be better than what is there");
    assert!(!meant("web-cart", "web-cert"), "that is there");
    assert!(!meant("web", "unlike"));
}
