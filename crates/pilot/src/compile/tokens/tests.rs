use serde_json::{Value, json};
use tidegate_api::Kind;
use tidegate_api::istio::RequestAuthentication;
use tidegate_envoy::json::{FieldNames, to_json};

use super::*;
use crate::Options;
use crate::compile::authorization::Authorization;
use crate::model::authentication::TokenPolicy;
use crate::model::authorization::Reach;
use crate::model::destination_rule::Rules;
use crate::model::registry::Registry;

/// What RequestAuthentications come to where there is nothing else.
fn alone(policies: &TokenPolicies) -> Tokens {
    let context = Context {
        options: &Options::default(),
        registry: &Registry::default(),
        rules: &Rules::default(),
        tokens: &Tokens::default(),
        authorization: &Authorization::default(),
        resolves_asked: false,
    };
    compile(policies, &Discovered::default(), &context)
}

fn compiled(rules: &Value) -> (Value, Vec<String>) {
    let spec: RequestAuthentication =
        serde_json::from_value(json!({"jwtRules": rules})).expect("a spec");
    let key = ObjectKey::new(Kind::RequestAuthentication, "istio-system", "a");
    let mut policies = TokenPolicies::default();
    let policy = TokenPolicy { key: key.clone(), spec: spec.into(), reach: Reach::Here };
    assert!(policies.set(&key, Some(policy)));
    let tokens = alone(&policies);
    let filter = tokens.filter.expect("a filter");
    let written = to_json(&filter, FieldNames::Proto).expect("known types");
    (written["typed_config"].clone(), tokens.faults.get(&key).cloned().unwrap_or_default())
}

const KEY: &str =
    r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

fn name(number: usize) -> String {
    format!("ns[istio-system]-policy[a]-rule[{number}]")
}

#[test]
fn a_token_that_is_there_must_be_good() {
    let set = format!("{{\"keys\":[{KEY}]}}");
    let (one, faults) = compiled(&json!([{"issuer": "i", "jwks": set}]));
    assert_eq!(faults, [""; 0]);
    let of = |number| json!({"provider_name": name(number)});
    let optional =
        |number| json!({"requires_any": {"requirements": [of(number), {"allow_missing": {}}]}});
    let needs = |filter: &Value| filter["rules"][0]["requires"].clone();
    assert_eq!(needs(&one), optional(0));
    assert_eq!(one["providers"][name(0)]["local_jwks"]["inline_string"], json!(set));
    let (two, _) = compiled(&json!([{"issuer": "b", "jwks": KEY}, {"issuer": "a", "jwks": KEY}]));
    let each = json!({"requires_all": {"requirements": [optional(1), optional(0)]}});
    let expected = json!({"requires_any": {"requirements": [of(1), of(0), each]}});
    assert_eq!(needs(&two), expected, "by issuer");
    assert_eq!(two["providers"][name(0)]["local_jwks"]["inline_string"], json!(set));
    let required = json!({"issuer": "c", "jwks": KEY, "presence": "REQUIRED"});
    let (three, _) = compiled(&json!([{"issuer": "a", "jwks": KEY}, required]));
    assert_eq!(needs(&three), of(1));
    let (both, _) = compiled(&json!([required, required]));
    assert_eq!(needs(&both), json!({"requires_all": {"requirements": [of(0), of(1)]}}));
    assert_eq!(alone(&TokenPolicies::default()), Tokens::default());
}

#[test]
fn whose_keys_are_not_known_has_no_good_tokens() {
    let (filter, faults) = compiled(&json!([
        {"issuer": "a", "jwksUri": "https://a/keys{}"},
        {"issuer": "b.example/"},
        {"issuer": "c", "jwks": KEY, "outputPayloadToHeader": "Host",
         "outputClaimToHeaders": [{"header": "x", "claim": "a"}, {"header": "HOST", "claim": "a"},
            {"header": "Content-Length", "claim": "a"}]},
    ]));
    for number in 0..2 {
        let keys = &filter["providers"][name(number)]["local_jwks"]["inline_string"];
        assert_eq!(keys, &json!(NOBODYS_KEY));
    }
    let told = [
        "jwtRules[0].jwksUri: ",
        "jwtRules[1].issuer: it is no address that could be asked where its keys are, so that every token of this issuer is \
         refused; write jwksUri or jwks",
        "jwtRules[2].outputPayloadToHeader: ",
        "jwtRules[2].outputClaimToHeaders[1].header: ",
        "jwtRules[2].outputClaimToHeaders[2].header: ",
    ];
    assert_eq!(faults.len(), told.len(), "{faults:?}");
    for (fault, told) in faults.iter().zip(told) {
        assert!(fault.starts_with(told), "{fault}");
    }
    let provider = &filter["providers"][name(2)];
    assert_eq!(provider["claim_to_headers"], json!([{"header_name": "x", "claim_name": "a"}]));
    assert_eq!(provider.get("forward_payload_header"), None);
}
