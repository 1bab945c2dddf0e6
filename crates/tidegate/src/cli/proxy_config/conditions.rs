//! What a route asks of requests, in one cell: Envoy's `RouteMatch`.

use serde_json::Value;

use super::rows::{list, text};

/// Fields of `RouteMatch` that are told in a way of their own.
const TOLD: [&str; 10] = [
    "prefix",
    "path",
    "path_separated_prefix",
    "safe_regex",
    "connect_matcher",
    "case_sensitive",
    "headers",
    "query_parameters",
    "runtime_fraction",
    "tls_context",
];

/// `/api/*, x-version=v2, ?debug`; what is not known here is named.
pub fn told(asked: &Value) -> String {
    let mut all = vec![path(asked)];
    if asked["case_sensitive"] == false {
        all.push("in any case".to_owned());
    }
    all.extend(list(&asked["headers"]).map(header));
    all.extend(list(&asked["query_parameters"]).map(|parameter| format!("?{}", header(parameter))));
    if asked["runtime_fraction"].is_object() {
        all.push("a share of requests".to_owned());
    }
    for (field, what) in
        [("presented", "client certificate"), ("validated", "valid client certificate")]
    {
        if let Some(wanted) = asked["tls_context"][field].as_bool() {
            all.push(format!("{}{what}", if wanted { "" } else { "no " }));
        }
    }
    let more = asked.as_object().into_iter().flatten().map(|(name, _)| name);
    all.extend(more.filter(|name| !TOLD.contains(&name.as_str())).cloned());
    all.join(", ")
}

fn path(asked: &Value) -> String {
    if let Some(prefix) = asked["prefix"].as_str() {
        return format!("{prefix}*");
    }
    if let Some(prefix) = asked["path_separated_prefix"].as_str() {
        return format!("{prefix}/*");
    }
    if asked["connect_matcher"].is_object() {
        return "CONNECT".to_owned();
    }
    match asked["path"].as_str() {
        Some(path) => path.to_owned(),
        None => format!("~{}", text(&asked["safe_regex"]["regex"])),
    }
}

/// A `HeaderMatcher` or `QueryParameterMatcher`: `x=v2`, `x=v*`, `x~PATTERN`, `!x`.
fn header(matcher: &Value) -> String {
    let present = &matcher["present_match"];
    let not = (matcher["invert_match"] == true) != (*present == false);
    let not = if not { "!" } else { "" };
    let name = text(&matcher["name"]);
    let test = &matcher["string_match"];
    let range = &matcher["range_match"];
    let asked = if range.is_object() {
        format!("={}..{}", range["start"], range["end"])
    } else if test.is_object() {
        string(test)
    } else {
        String::new()
    };
    format!("{not}{name}{asked}")
}

fn string(test: &Value) -> String {
    let of = |kind: &str| test[kind].as_str();
    let case = if test["ignore_case"] == true { " in any case" } else { "" };
    let asked = match (of("exact"), of("prefix"), of("suffix"), of("contains")) {
        (Some(exact), ..) => format!("={exact}"),
        (_, Some(prefix), ..) => format!("={prefix}*"),
        (_, _, Some(suffix), _) => format!("=*{suffix}"),
        (.., Some(contained)) => format!("=*{contained}*"),
        _ => format!("~{}", text(&test["safe_regex"]["regex"])),
    };
    format!("{asked}{case}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_condition_is_told() {
        let header = |name: &str, test: Value| json!({"name": name, "string_match": test});
        let cases = [
            (json!({"prefix": "/"}), "/*"),
            (json!({"path": "/a", "case_sensitive": false}), "/a, in any case"),
            (json!({"path_separated_prefix": "/a", "case_sensitive": true}), "/a/*"),
            (json!({"safe_regex": {"regex": "/a.*"}}), "~/a.*"),
            (json!({"connect_matcher": {}}), "CONNECT"),
            (
                json!({"prefix": "/", "tls_context": {"presented": false}}),
                "/*, no client certificate",
            ),
            (
                json!({"prefix": "/", "tls_context": {"validated": true}}),
                "/*, valid client certificate",
            ),
            (json!({"prefix": "/", "headers": [header("x", json!({"exact": "v2"}))]}), "/*, x=v2"),
            (
                json!({"prefix": "/", "headers": [
                    header(":method", json!({"prefix": "P", "ignore_case": true})),
                    header("a", json!({"suffix": "z"})),
                    header("b", json!({"contains": "y"})),
                    header("c", json!({"safe_regex": {"regex": "[0-9]"}})),
                ]}),
                "/*, :method=P* in any case, a=*z, b=*y*, c~[0-9]",
            ),
            (
                json!({"prefix": "/", "headers": [
                    {"name": "a", "present_match": true},
                    {"name": "b", "present_match": false},
                    {"name": "c", "present_match": true, "invert_match": true},
                    {"name": "d", "range_match": {"start": 1, "end": 5}, "invert_match": true},
                ]}),
                "/*, a, !b, !c, !d=1..5",
            ),
            (
                json!({"prefix": "/", "query_parameters": [
                    {"name": "q", "string_match": {"exact": "1"}}, {"name": "p", "present_match": true},
                ]}),
                "/*, ?q=1, ?p",
            ),
            (
                json!({"prefix": "/", "runtime_fraction": {"default_value": {}}}),
                "/*, a share of requests",
            ),
            (json!({"prefix": "/", "tls_context": {}}), "/*"),
            (json!({"prefix": "/", "grpc": {}, "cookies": []}), "/*, cookies, grpc"),
        ];
        for (asked, wanted) in cases {
            assert_eq!(told(&asked), wanted, "{asked}");
        }
    }
}
