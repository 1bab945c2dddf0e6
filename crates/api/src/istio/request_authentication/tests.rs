use serde_json::{Value, json};

use crate::Kind::RequestAuthentication;
use crate::istio::testing::{advice, faults, with};

fn rule() -> Value {
    json!({"jwtRules": [{"issuer": "a", "jwks": r#"{"keys": [{"kty": "RSA", "e": "AQAB", "n": "AAAA"}]}"#}]})
}

#[test]
fn rules() {
    assert_eq!(advice(RequestAuthentication, &rule()), [""; 0]);
    assert_eq!(advice(RequestAuthentication, &json!({})), [""; 0]);
    for (changes, fault) in [
        (vec![("/jwtRules/0/jwks", json!("foo"))], "jwks parse error"),
        (vec![("/jwtRules/0/jwks", json!("[]"))], "jwks parse error"),
        (
            vec![("/jwtRules/0/jwks", json!(r#"{"keys": [{"kty": "RSA", "e": "AQAB"}]}"#))],
            "n is missing",
        ),
        (
            vec![("/jwtRules/0/jwks", json!(r#"{"kty": "RSA", "e": "*", "n": "AAAA"}"#))],
            "no base64url",
        ),
        (vec![("/jwtRules/0/jwksUri", json!("https://a"))], "only one of"),
        (vec![("/jwtRules/0", json!({"jwksUri": "a.b"}))], "scheme"),
        (vec![("/jwtRules/0/fromHeaders", json!([{"name": ""}]))], "name"),
        (vec![("/jwtRules/0/fromHeaders", json!([{"name": "a b"}]))], "not a valid header name"),
        (vec![("/jwtRules/0/fromCookies", json!([""]))], "at least 1"),
        (
            vec![("/jwtRules/0/outputClaimToHeaders", json!([{"header": "a", "claim": ""}]))],
            "claim",
        ),
        (vec![("/jwtRules/0", json!({}))], "issuer or jwksUri"),
        (
            vec![("/targetRefs", json!([{"kind": "Pod", "name": "a"}]))],
            "Unsupported value: \"Pod\"",
        ),
    ] {
        let faults = faults(RequestAuthentication, &with(&rule(), &changes));
        assert!(faults.len() == 1 && faults[0].contains(fault), "{changes:?}: {faults:?}");
    }
}

#[test]
fn private_keys_are_told() {
    let key = r#"{"kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA", "d": "AAAA"}"#;
    let advice_of =
        |key| advice(RequestAuthentication, &with(&rule(), &[("/jwtRules/0/jwks", json!(key))]));
    let advice = advice_of(key);
    assert!(advice.len() == 1 && advice[0].contains("private key material"), "{advice:?}");
    // One of HMAC verifies by itself, as in Envoy.
    let key = r#"{"kty": "oct", "k": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}"#;
    let advice = advice_of(key);
    assert!(
        advice.len() == 1 && advice[0].contains("tokens signed with it are taken"),
        "{advice:?}"
    );
    assert!(!advice[0].contains("only public keys"), "{advice:?}");
}
