//! Rules across fields of routes.

use serde_json::{Value, json};

use super::rules::judged;
use crate::Kind;

const ROUTES: [Kind; 5] =
    [Kind::HTTPRoute, Kind::GRPCRoute, Kind::TCPRoute, Kind::TLSRoute, Kind::UDPRoute];

/// A route of a kind with one rule.
fn route(kind: Kind, rule: &Value) -> Value {
    let mut spec = json!({"rules": [rule]});
    if kind == Kind::TLSRoute {
        spec["hostnames"] = json!(["a.com"]);
    }
    spec
}

fn rule_of(kind: Kind, rule: &Value, faults: &[&str]) {
    judged(kind, &route(kind, rule), faults);
}

fn backend() -> Value {
    json!({"name": "a", "port": 80})
}

#[test]
fn parents_are_told_apart_by_their_sections() {
    let parent = |name: &str, namespace: Option<&str>, section: Option<&str>| {
        let mut parent = json!({"name": name});
        if let Some(namespace) = namespace {
            parent["namespace"] = namespace.into();
        }
        if let Some(section) = section {
            parent["sectionName"] = section.into();
        }
        parent
    };
    let unique = "sectionName must be unique when parentRefs includes 2 or more references to the same parent";
    let specified = "sectionName must be specified when parentRefs includes 2 or more references to the same parent";
    let cases: [(Value, &[&str]); 7] = [
        (json!([parent("a", None, None), parent("b", None, None)]), &[]),
        (json!([parent("a", None, Some("x")), parent("a", None, Some("y"))]), &[]),
        (json!([parent("a", Some("n"), None), parent("a", Some("m"), None)]), &[]),
        (json!([parent("a", Some("n"), Some("x")), parent("a", None, Some("x"))]), &[]),
        (json!([parent("a", None, None), parent("a", None, None)]), &[unique]),
        (json!([parent("a", Some("n"), None), parent("a", Some("n"), Some("x"))]), &[specified]),
        (json!([parent("a", None, Some("x")), parent("a", None, Some("x"))]), &[unique]),
    ];
    for (parents, faults) in cases {
        for kind in ROUTES {
            let mut spec = route(kind, &json!({"backendRefs": [backend()]}));
            spec["parentRefs"] = parents.clone();
            judged(kind, &spec, faults);
        }
    }
}

#[test]
fn services_are_asked_for_by_a_port() {
    let port = "Must have port for Service reference";
    for (backend, faults) in [
        (json!({"name": "a", "port": 80}), &[][..]),
        (json!({"name": "a", "group": "a.com", "kind": "Service"}), &[]),
        (json!({"name": "a", "kind": "Bucket"}), &[]),
        (json!({"name": "a"}), &[port]),
    ] {
        for kind in ROUTES {
            rule_of(kind, &json!({"backendRefs": [backend]}), faults);
        }
        let mirror = json!({"type": "RequestMirror", "requestMirror": {"backendRef": backend}});
        for kind in [Kind::HTTPRoute, Kind::GRPCRoute] {
            rule_of(kind, &json!({"filters": [mirror]}), faults);
            let backend = json!({"name": "a", "port": 80, "filters": [mirror]});
            rule_of(kind, &json!({"backendRefs": [backend]}), faults);
        }
    }
}

#[test]
fn mirrors_copy_one_share() {
    let mirror = |shares: &[(&str, Value)]| {
        let mut mirror = json!({"backendRef": backend()});
        for (field, value) in shares {
            mirror[field] = value.clone();
        }
        json!({"filters": [{"type": "RequestMirror", "requestMirror": mirror}]})
    };
    let half = json!({"numerator": 1, "denominator": 2});
    for kind in [Kind::HTTPRoute, Kind::GRPCRoute] {
        rule_of(kind, &mirror(&[("percent", json!(0))]), &[]);
        rule_of(kind, &mirror(&[("fraction", half.clone())]), &[]);
        rule_of(kind, &mirror(&[("fraction", json!({"numerator": 100}))]), &[]);
        let both = "Only one of percent or fraction may be specified in HTTPRequestMirrorFilter";
        rule_of(kind, &mirror(&[("percent", json!(1)), ("fraction", half.clone())]), &[both]);
        let more = "numerator must be less than or equal to denominator";
        rule_of(kind, &mirror(&[("fraction", json!({"numerator": 101}))]), &[more]);
    }
}

#[test]
fn a_filter_has_the_field_of_its_type_and_no_other() {
    let fields = [
        ("RequestHeaderModifier", "requestHeaderModifier", json!({"remove": ["a"]})),
        ("ResponseHeaderModifier", "responseHeaderModifier", json!({"remove": ["a"]})),
        ("RequestMirror", "requestMirror", json!({"backendRef": backend()})),
        ("ExtensionRef", "extensionRef", json!({"group": "", "kind": "A", "name": "a"})),
        ("RequestRedirect", "requestRedirect", json!({"hostname": "a.com"})),
        ("URLRewrite", "urlRewrite", json!({"hostname": "a.com"})),
        ("CORS", "cors", json!({"allowOrigins": ["*"]})),
    ];
    for (kind, known) in [(Kind::HTTPRoute, 7), (Kind::GRPCRoute, 4)] {
        for (at, (name, field, value)) in fields.iter().take(known).enumerate() {
            let filters = |filter: Value| json!({"filters": [filter]});
            rule_of(kind, &filters(json!({"type": name, *field: value})), &[]);
            let (other, other_field, other_value) = &fields[(at + 1) % known];
            let missing = format!("filter.{field} must be specified for {name} filter.type");
            let extra =
                format!("filter.{other_field} must be nil if the filter.type is not {other}");
            rule_of(kind, &filters(json!({"type": name})), &[&missing]);
            let misfit = json!({"type": name, *other_field: other_value});
            rule_of(kind, &filters(misfit.clone()), &[&missing, &extra]);
            let backend = json!({"name": "a", "port": 80, "filters": [misfit]});
            rule_of(kind, &json!({"backendRefs": [backend]}), &[&missing, &extra]);
        }
    }
}

#[test]
fn filters_that_stand_for_the_whole_rule_stand_once() {
    let headers =
        json!({"type": "RequestHeaderModifier", "requestHeaderModifier": {"remove": ["a"]}});
    let answers =
        json!({"type": "ResponseHeaderModifier", "responseHeaderModifier": {"remove": ["a"]}});
    let redirect = json!({"type": "RequestRedirect", "requestRedirect": {"hostname": "a.com"}});
    let rewrite = json!({"type": "URLRewrite", "urlRewrite": {"hostname": "a.com"}});
    let cors = json!({"type": "CORS", "cors": {"allowOrigins": ["*"]}});
    let mirror = json!({"type": "RequestMirror", "requestMirror": {"backendRef": backend()}});
    for kind in [Kind::HTTPRoute, Kind::GRPCRoute] {
        rule_of(kind, &json!({"filters": [headers, answers, mirror, mirror]}), &[]);
        let twice = json!({"filters": [headers, answers, headers, answers]});
        let faults = [
            "RequestHeaderModifier filter cannot be repeated",
            "ResponseHeaderModifier filter cannot be repeated",
        ];
        rule_of(kind, &twice, &faults);
        let backend = json!({"name": "a", "port": 80, "filters": twice["filters"]});
        rule_of(kind, &json!({"backendRefs": [backend]}), &faults);
    }
    for (filter, name) in
        [(&redirect, "RequestRedirect"), (&rewrite, "URLRewrite"), (&cors, "CORS")]
    {
        let fault = format!("{name} filter cannot be repeated");
        rule_of(Kind::HTTPRoute, &json!({"filters": [filter]}), &[]);
        rule_of(Kind::HTTPRoute, &json!({"filters": [filter, filter]}), &[&fault]);
    }
    let either = "May specify either httpRouteFilterRequestRedirect or httpRouteFilterRequestRewrite, but not both";
    rule_of(Kind::HTTPRoute, &json!({"filters": [redirect, rewrite]}), &[either]);
    let both = json!({"filters": [redirect], "backendRefs": [backend()]});
    let alone = "RequestRedirect filter must not be used together with backendRefs";
    rule_of(Kind::HTTPRoute, &both, &[alone]);
    rule_of(Kind::HTTPRoute, &json!({"filters": [redirect], "backendRefs": []}), &[]);
}

#[test]
fn a_prefix_is_replaced_where_one_is_matched() {
    let path = json!({"type": "ReplacePrefixMatch", "replacePrefixMatch": "/b"});
    let prefix = json!({"path": {"type": "PathPrefix", "value": "/a"}});
    let exact = json!({"path": {"type": "Exact", "value": "/a"}});
    for (kind, field, within) in
        [("RequestRedirect", "requestRedirect", "when"), ("URLRewrite", "urlRewrite", "When")]
    {
        let filter = json!({"type": kind, field: {"path": path}});
        let whole = json!({"type": kind, field: {"path": {"type": "ReplaceFullPath", "replaceFullPath": "/"}}});
        let rest =
            "filter with path.replacePrefixMatch, exactly one PathPrefix match must be specified";
        let fault = format!("When using {kind} {rest}");
        let inner = format!("Within backendRefs, {within} using {kind} {rest}");
        let backend = json!({"name": "a", "port": 80, "filters": [filter]});
        for (matches, fits) in [
            (json!([prefix]), true),
            (json!([{"headers": [{"name": "a", "value": "b"}]}]), true),
            (json!([prefix, prefix]), false),
            (json!([exact]), false),
            (json!([]), false),
        ] {
            let rule = json!({"matches": matches, "filters": [filter]});
            let faults: &[&str] = if fits { &[] } else { &[&fault] };
            rule_of(Kind::HTTPRoute, &rule, faults);
            rule_of(Kind::HTTPRoute, &json!({"matches": matches, "filters": [whole]}), &[]);
            let rule = json!({"matches": matches, "backendRefs": [backend]});
            let faults: &[&str] = if fits { &[] } else { &[&inner] };
            rule_of(Kind::HTTPRoute, &rule, faults);
        }
        rule_of(Kind::HTTPRoute, &json!({"filters": [filter]}), &[]);
    }
}

#[test]
fn a_path_that_takes_anothers_place_is_of_its_type() {
    let modifier = |path: Value| json!({"filters": [{"type": "RequestRedirect", "requestRedirect": {"path": path}}]});
    for (kind, field, other) in [
        ("ReplaceFullPath", "replaceFullPath", "ReplacePrefixMatch"),
        ("ReplacePrefixMatch", "replacePrefixMatch", "ReplaceFullPath"),
    ] {
        rule_of(Kind::HTTPRoute, &modifier(json!({"type": kind, field: "/"})), &[]);
        let needed = format!("{field} must be specified when type is set to '{kind}'");
        rule_of(Kind::HTTPRoute, &modifier(json!({"type": kind})), &[&needed]);
        let misfit = format!("type must be '{kind}' when {field} is set");
        rule_of(Kind::HTTPRoute, &modifier(json!({"type": other, field: "/"})), &[&misfit]);
    }
}

#[test]
fn paths_that_are_matched_as_text_are_plain() {
    let path =
        |kind: &str, value: &str| json!({"matches": [{"path": {"type": kind, "value": value}}]});
    let among = "type one of ['Exact', 'PathPrefix']";
    let characters = "must only contain valid characters (matching \
                      ^(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|[%][0-9a-fA-F]{2})+$) for types ['Exact', 'PathPrefix']";
    for kind in ["Exact", "PathPrefix"] {
        for value in ["/", "/a/b", "/a%20b", "/my[/"] {
            let faults: &[&str] = if value.contains('[') { &[characters] } else { &[] };
            rule_of(Kind::HTTPRoute, &path(kind, value), faults);
        }
        let start = format!("value must be an absolute path and start with '/' when {among}");
        rule_of(Kind::HTTPRoute, &path(kind, "a"), &[&start]);
        for part in ["//", "/./", "/../", "%2f", "%2F", "#"] {
            let fault = format!("must not contain '{part}' when {among}");
            rule_of(Kind::HTTPRoute, &path(kind, &format!("/a{part}b")), &[&fault]);
        }
        for end in ["/..", "/."] {
            let fault = format!("must not end with '{end}' when {among}");
            rule_of(Kind::HTTPRoute, &path(kind, &format!("/a{end}")), &[&fault]);
        }
    }
    for value in ["a//b", "/[a-z]#", "/a/.."] {
        rule_of(Kind::HTTPRoute, &path("RegularExpression", value), &[]);
    }
}

#[test]
fn matches_of_a_route_are_counted_together() {
    let fault = "While 16 rules and 64 matches per rule are allowed, the total number of matches across all rules in a route must \
                 be less than 128";
    let headers = |n: usize| vec![json!({"headers": [{"name": "a", "value": "b"}]}); n];
    for kind in [Kind::HTTPRoute, Kind::GRPCRoute] {
        let rules = |counts: &[usize]| {
            let rules: Vec<Value> =
                counts.iter().map(|n| json!({"matches": headers(*n)})).collect();
            json!({ "rules": rules })
        };
        judged(kind, &rules(&[64, 64]), &[]);
        judged(kind, &rules(&[64, 63, 1]), &[]);
        judged(kind, &rules(&[64, 64, 1]), &[fault]);
        judged(kind, &rules(&[8; 16]), &[]);
        judged(kind, &rules(&[9; 16]), &[fault]);
    }
}

#[test]
fn methods_of_grpc_are_names() {
    let method = |method: Value| json!({"matches": [{"method": method}]});
    let service = r"service must only contain valid characters (matching ^(?i)\.?[a-z_][a-z_0-9]*(\.[a-z_][a-z_0-9]*)*$)";
    let name = "method must only contain valid characters (matching ^[A-Za-z_][A-Za-z_0-9]*$)";
    let cases: [(Value, &[&str]); 7] = [
        (json!({"service": "a.b.Echo", "method": "Say"}), &[]),
        (json!({"type": "Exact", "service": ".Foo"}), &[]),
        (json!({"type": "RegularExpression", "service": "a.*", "method": "[a-z]+"}), &[]),
        (json!({}), &["One or both of 'service' or 'method' must be specified"]),
        (json!({"service": "a..b"}), &[service]),
        (json!({"method": "a.b"}), &[name]),
        (json!({"service": "a b", "method": "1"}), &[service, name]),
    ];
    for (written, faults) in cases {
        rule_of(Kind::GRPCRoute, &method(written), faults);
    }
}

#[test]
fn times_and_origins() {
    let times = |request: &str, backend: &str| json!({"timeouts": {"request": request, "backendRequest": backend}});
    let longer = "backendRequest timeout cannot be longer than request timeout";
    for (request, backend, faults) in [
        ("1s", "1s", &[][..]),
        ("0s", "10s", &[]),
        ("1m", "59s", &[]),
        ("1s", "0s", &[]),
        ("500ms", "1s", &[longer]),
        ("59s", "1m", &[longer]),
    ] {
        rule_of(Kind::HTTPRoute, &times(request, backend), faults);
    }
    for (field, some, fault) in [
        (
            "allowOrigins",
            "https://*.a.com:8443",
            "AllowOrigins cannot contain '*' alongside other origins",
        ),
        ("allowMethods", "GET", "AllowMethods cannot contain '*' alongside other methods"),
        ("allowHeaders", "x-a", "AllowHeaders cannot contain '*' alongside other methods"),
    ] {
        let cors =
            |values: &[&str]| json!({"filters": [{"type": "CORS", "cors": {field: values}}]});
        rule_of(Kind::HTTPRoute, &cors(&["*"]), &[]);
        rule_of(Kind::HTTPRoute, &cors(&[some]), &[]);
        rule_of(Kind::HTTPRoute, &cors(&["*", some]), &[fault]);
    }
}

#[test]
fn server_names_are_names() {
    let hosts =
        |hosts: &[&str]| json!({"hostnames": hosts, "rules": [{"backendRefs": [backend()]}]});
    let bad = "Hostnames must be valid based on RFC-1123";
    let wildcard = "Wildcards on hostnames must be the first label, and the rest of hostname must be valid based on RFC-1123";
    judged(Kind::TLSRoute, &hosts(&["a.com", "*.b.com"]), &[]);
    judged(Kind::TLSRoute, &hosts(&["1.2.3.4"]), &["Hostnames cannot contain an IP"]);
    judged(Kind::TLSRoute, &hosts(&["a.com", "A.com"]), &[bad]);
    judged(Kind::TLSRoute, &hosts(&["a.*.com"]), &[wildcard]);
    judged(Kind::TLSRoute, &hosts(&["*"]), &[wildcard]);
}
