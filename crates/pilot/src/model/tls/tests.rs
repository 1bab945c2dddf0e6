use std::collections::HashMap;

use super::*;

fn credentials() -> Vec<Credential> {
    let texts =
        ["foo", "foo-cacert", "foo-cacert-cacert", "system", "a~b", "a%7Eb", "a", "b", "%system"];
    let name = |text: &&str| Arc::<str>::from(*text);
    let mut all = vec![
        Credential::MeshPair,
        Credential::MeshAuthorities,
        Credential::SystemAuthorities("/etc/ssl/certs".into()),
    ];
    for text in &texts {
        all.push(Credential::Pair(name(text)));
        all.push(Credential::Authorities { name: name(text), named: false });
        all.push(Credential::AuthoritiesFile(name(text)));
        all.extend(texts.iter().map(|key| Credential::PairFiles(name(text), name(key))));
    }
    let authorities = |credential: &&Credential| {
        !matches!(
            credential,
            Credential::Pair(_) | Credential::PairFiles(..) | Credential::MeshPair
        )
    };
    let plain: Vec<Credential> = all.iter().filter(authorities).cloned().collect();
    for credential in plain {
        all.extend(texts.iter().map(|list| credential.clone().revoking(list)));
    }
    all
}

#[test]
fn no_two_credentials_share_a_name() {
    let mut names = HashMap::new();
    for credential in credentials() {
        if let Some(other) = names.insert(credential.to_string(), credential.clone()) {
            panic!("{credential:?} and {other:?} are both {credential}");
        }
    }
}

#[test]
fn names_are_istios() {
    let cases = [
        (Credential::Pair("foo".into()), "kubernetes://foo"),
        (Credential::Authorities { name: "foo".into(), named: false }, "kubernetes://foo-cacert"),
        (Credential::Authorities { name: "foo".into(), named: true }, "kubernetes://foo-cacert"),
        (Credential::PairFiles("/c.pem".into(), "/k.pem".into()), "file-cert:/c.pem~/k.pem"),
        (Credential::AuthoritiesFile("/ca.pem".into()), "file-root:/ca.pem"),
        (Credential::SystemAuthorities("/certs".into()), "file-root:system"),
    ];
    for (credential, name) in cases {
        assert_eq!(credential.to_string(), name);
    }
}
