use serde_json::{Value as Json, json};

use super::*;
use tidegate_testing::jwt::{Signer, mac};

const ALGORITHMS: [&str; 13] = [
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
    "HS256", "HS384", "HS512",
];

fn set(keys: &[Json]) -> KeySet {
    KeySet::parse(json!({"keys": keys}).to_string().as_bytes()).expect("a set")
}

fn verify(set: &KeySet, text: &str) -> Result<(), Fault> {
    set.verify(&Token::parse(text.as_bytes()).expect("a token"), text.as_bytes())
}

fn with(mut key: Json, changes: &Json) -> Json {
    let changes = changes.as_object().expect("fields").clone();
    key.as_object_mut().expect("a key").extend(changes);
    key
}

#[test]
fn every_algorithm_takes_its_own_signature_and_no_other() {
    for algorithm in ALGORITHMS {
        let signer = Signer::new(algorithm);
        let keys = set(&[signer.key()]);
        let text = signer.token(&json!({"alg": algorithm}), &json!({"iss": "i"}));
        assert_eq!(verify(&keys, &text), Ok(()), "{algorithm}");
        // Another payload, another header, another signature.
        let parts: Vec<&str> = text.split('.').collect();
        let forged = BASE64URL.encode(r#"{"iss":"j"}"#);
        let other = format!("{}.{forged}.{}", parts[0], parts[2]);
        assert_eq!(verify(&keys, &other), Err(Fault::Verification), "{algorithm}");
        let header = BASE64URL.encode(json!({"alg": algorithm, "x": 1}).to_string());
        let other = format!("{header}.{}.{}", parts[1], parts[2]);
        assert_eq!(verify(&keys, &other), Err(Fault::Verification), "{algorithm}");
        let mut signature = BASE64URL.decode(parts[2]).expect("base64url");
        signature[5] ^= 1;
        let other = format!("{}.{}.{}", parts[0], parts[1], BASE64URL.encode(&signature));
        assert_eq!(verify(&keys, &other), Err(Fault::Verification), "{algorithm}");
        let cut = format!("{}.{}.{}", parts[0], parts[1], BASE64URL.encode(&signature[..4]));
        assert_eq!(verify(&keys, &cut), Err(Fault::Verification), "{algorithm}");
        let stranger = match Signer::new(algorithm) {
            Signer::Secret(_) => Signer::Secret(vec![7; 64]),
            other => other,
        };
        let text = stranger.token(&json!({"alg": algorithm}), &json!({"iss": "i"}));
        assert_eq!(verify(&keys, &text), Err(Fault::Verification), "{algorithm}");
    }
}

#[test]
fn algorithms_are_not_confused() {
    for of_key in ["RS256", "ES256", "EdDSA", "HS256"] {
        let signer = Signer::new(of_key);
        let keys = set(&[signer.key()]);
        for other in ALGORITHMS.iter().filter(|other| other[..2] != of_key[..2]) {
            let text = signer.token(&json!({"alg": other}), &json!({}));
            // The RSA key is for PS256 as well, as it does not say otherwise, and signs so here.
            let expected = if of_key == "RS256" && other.starts_with("PS") {
                Ok(())
            } else {
                Err(Fault::Verification)
            };
            assert_eq!(verify(&keys, &text), expected, "{of_key} {other}");
        }
    }
    // What is public of a key is no secret.
    let signer = Signer::new("RS256");
    let keys = set(&[signer.key()]);
    let n = signer.key()["n"].as_str().expect("a number").to_owned();
    for secret in
        [n.as_bytes().to_vec(), BASE64URL.decode(&n).expect("base64url"), signer.set().into()]
    {
        let signed =
            format!("{}.{}", BASE64URL.encode(r#"{"alg":"HS256"}"#), BASE64URL.encode("{}"));
        let text =
            format!("{signed}.{}", BASE64URL.encode(mac(&secret, "HS256", signed.as_bytes())));
        assert_eq!(verify(&keys, &text), Err(Fault::Verification));
    }
}

#[test]
fn the_key_is_chosen_by_its_name_and_its_algorithm() {
    let (a, b) = (Signer::new("ES256"), Signer::new("ES256"));
    let named = |signer: &Signer, name: &str| with(signer.key(), &json!({"kid": name}));
    let token = |signer: &Signer, header: Json| signer.token(&header, &json!({}));
    let of_b = |kid: &str| token(&b, json!({"alg": "ES256", "kid": kid}));
    let keys = set(&[named(&a, "a"), named(&b, "b")]);
    assert_eq!(verify(&keys, &of_b("b")), Ok(()));
    assert_eq!(verify(&keys, &of_b("a")), Err(Fault::Verification));
    assert_eq!(verify(&keys, &of_b("c")), Err(Fault::NoSuchKey));
    // Without a name every key is tried, as is a key without a name.
    assert_eq!(verify(&keys, &token(&b, json!({"alg": "ES256"}))), Ok(()));
    assert_eq!(verify(&set(&[named(&a, "a"), b.key()]), &of_b("c")), Ok(()));
    let rsa = Signer::new("RS256");
    let only =
        set(&[with(rsa.key(), &json!({"alg": "RS256", "use": "sig", "key_ops": ["verify"]}))]);
    assert_eq!(verify(&only, &token(&rsa, json!({"alg": "RS256"}))), Ok(()));
    assert_eq!(verify(&only, &token(&rsa, json!({"alg": "RS512"}))), Err(Fault::NoSuchKey));
}

#[test]
fn keys_that_cannot_be_used_are_left_out_with_the_reason() {
    let (rsa, curve) = (Signer::new("RS256").key(), Signer::new("ES256").key());
    let edwards = Signer::new("EdDSA").key();
    let short = BASE64URL.encode([0x80; 128]);
    for (key, why) in [
        (json!({}), "`kty` is missing"),
        (json!({"kty": 1}), "`kty` is no text"),
        (json!({"kty": "XX"}), "kty \"XX\" is not known"),
        (with(rsa.clone(), &json!({"use": "enc"})), "not for signatures"),
        (with(rsa.clone(), &json!({"key_ops": ["encrypt"]})), "key_ops"),
        (with(rsa.clone(), &json!({"alg": "RSA-OAEP"})), "none of signatures"),
        (with(rsa.clone(), &json!({"alg": "HS256"})), "not for such a key"),
        (with(rsa.clone(), &json!({"e": "AQ"})), "3 or 65537"),
        (with(rsa.clone(), &json!({"n": "!"})), "`n` is no base64url"),
        (with(rsa.clone(), &json!({"n": short})), "2048 to 8192"),
        (with(rsa, &json!({"n": ""})), "2048 to 8192"),
        (with(curve.clone(), &json!({"crv": "secp256k1"})), "not known"),
        (with(curve.clone(), &json!({"alg": "ES384"})), "not for such a key"),
        (with(curve.clone(), &json!({"x": curve["y"]})), "no point on P-256"),
        (with(curve.clone(), &json!({"x": BASE64URL.encode([1; 33])})), "too long"),
        (with(edwards.clone(), &json!({"crv": "X25519"})), "not known"),
        (with(edwards, &json!({"x": "AAAA"})), "32 bytes"),
        (json!({"kty": "oct", "k": BASE64URL.encode([1; 31])}), "32 bytes at least"),
        (
            json!({"kty": "oct", "alg": "HS512", "k": BASE64URL.encode([1; 48])}),
            "not for such a key",
        ),
        (json!({"kty": "oct"}), "`k` is missing"),
    ] {
        let text = json!({"keys": [key, Signer::new("ES256").key()]}).to_string();
        let set = KeySet::parse(text.as_bytes()).expect("a set");
        assert!(set.left_out[0].contains(why), "{key}: {:?}", set.left_out);
        assert_eq!(set.keys.len(), 1);
    }
}

#[test]
fn what_is_no_set_is_told() {
    let many = json!({"keys": vec![json!({}); MAX_KEYS + 1]}).to_string();
    let large = format!("{}{{}}", " ".repeat(MAX_SET));
    for (text, why) in [
        ("", "no JSON"),
        ("{}", "no list `keys`"),
        (r#"{"keys":{}}"#, "no list"),
        (r#"{"keys":[]}"#, "no key that can be used"),
        (r#"{"keys":[1]}"#, "no object"),
        (&many, "101 keys"),
        (&large, "at most"),
    ] {
        let refused = KeySet::parse(text.as_bytes()).map(|_| ()).expect_err(text);
        assert!(refused.contains(why), "{refused}");
    }
}
