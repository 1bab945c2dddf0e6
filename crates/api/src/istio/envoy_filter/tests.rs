use serde_json::{Value, json};

use crate::{Examined, FieldError, Kind, Object, Origin, Spec};

const MANAGER: &str = "envoy.filters.network.http_connection_manager";

fn examine(patch: &Value) -> Examined {
    let object = json!({
        "metadata": {"name": "x", "namespace": "default"}, "spec": {"configPatches": [patch]},
    });
    Object::examine(Kind::EnvoyFilter, "v1alpha3", &object, Origin::Api)
}

fn faults(patch: &Value) -> Vec<String> {
    examine(patch).errors.iter().map(FieldError::to_string).collect()
}

#[test]
fn values_are_messages_also_as_typed_structs_and_with_gos_durations() {
    const LIMIT: &str = "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit";
    let limit = json!({
        "stat_prefix": "l",
        "token_bucket": {"max_tokens": 100, "tokens_per_fill": 10, "fill_interval": "500ms"},
    });
    let mut plain = limit.clone();
    plain["@type"] = format!("type.googleapis.com/{LIMIT}").into();
    plain["token_bucket"]["fill_interval"] = "0.5s".into();
    let mut values = vec![json!({"name": "f", "typed_config": plain})];
    for wrapper in ["udpa.type.v1", "xds.type.v3"] {
        values.push(json!({"name": "f", "typedConfig": {
            "@type": format!("type.googleapis.com/{wrapper}.TypedStruct"),
            "type_url": format!("type.googleapis.com/{LIMIT}"),
            "value": limit,
        }}));
    }
    let messages: Vec<_> = values
        .into_iter()
        .map(|value| {
            let patch = json!({"applyTo": "HTTP_FILTER", "patch": {"operation": "INSERT_FIRST", "value": value}});
            let examined = examine(&patch);
            assert_eq!(examined.errors, []);
            let Some(Spec::EnvoyFilter(spec)) = examined.object.map(|object| object.spec) else {
                panic!("an EnvoyFilter");
            };
            let message = spec.config_patches[0].message().expect("valid").expect("given");
            tidegate_envoy::encode(&message)
        })
        .collect();
    assert!(messages.windows(2).all(|pair| pair[0] == pair[1]) && !messages[0].is_empty());
}

#[test]
fn faults_have_the_path_inside_the_value() {
    let value =
        |value: Value| json!({"applyTo": "CLUSTER", "patch": {"operation": "ADD", "value": value}});
    for (patch, fault) in [
        (value(json!({"nme": "a"})), "spec.configPatches[0].patch.value.nme"),
        (value(json!({"connect_timeout": "soon"})), "patch.value.connect_timeout"),
        (
            value(json!({"transport_socket": {"typed_config": {"@type": "a/b.C"}}})),
            "`b.C` is not known",
        ),
        (json!({"applyTo": "CLUSTER", "patch": {"operation": "MERGE"}}), "patch.value: Required"),
        (
            json!({"applyTo": "CLUSTER", "match": {"listener": {}}, "patch": {"operation": "REMOVE"}}),
            "match.listener: Invalid value: applyTo CLUSTER is matched by cluster",
        ),
        (
            json!({"applyTo": "HTTP_FILTER", "patch": {"operation": "REMOVE"},
                   "match": {"listener": {"filterChain": {"filter": {"name": "x", "subFilter": {"name": "y"}}}}}}),
            "requires filter match with",
        ),
        (
            json!({"applyTo": "HTTP_FILTER", "patch": {"operation": "REMOVE"},
                   "match": {"listener": {"filterChain": {"filter": {"name": MANAGER, "subFilter": {}}}}}}),
            "subFilter.name: Required",
        ),
        (
            json!({"applyTo": "CLUSTER", "match": {"proxy": {"proxyVersion": "1\\.2++"}},
                   "patch": {"operation": "REMOVE"}}),
            "proxyVersion: Invalid value",
        ),
    ] {
        let found = faults(&patch);
        assert!(found.iter().any(|found| found.contains(fault)), "{patch}: {found:?}");
    }
}

#[test]
fn versions_are_matched_by_expressions_that_re2_takes() {
    for version in ["1\\..*", "(a+)+", "a+?", "^1\\.2[0-9]{1,2}"] {
        let patch = json!({"applyTo": "CLUSTER", "match": {"proxy": {"proxyVersion": version}},
            "patch": {"operation": "REMOVE"}});
        assert_eq!(faults(&patch), [""; 0], "{version}");
    }
}
