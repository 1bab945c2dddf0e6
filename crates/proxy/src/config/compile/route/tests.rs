use serde_json::{Value, json};

use crate::config::slots::Slots;
use crate::config::testing::{proto, with};
use crate::http::RequestHead;
use crate::route::{Facts, MirrorHost};

use bytes::Bytes;

use super::*;

fn levels(name: &str, actions: &Value) -> Levels {
    let option = with(&json!({"header": {"key": "x-level", "value": name}}), actions);
    let json = json!({"name": "x", "request_headers_to_add": [option.clone()], "response_headers_to_add": [option]});
    proto::<ProtoRoute>(&json).mutations().expect("valid")
}

fn around(most_specific_wins: bool) -> RouteLevel {
    let mutations = ["host", "table"].map(|name| levels(name, &json!({})));
    RouteLevel {
        mutations,
        most_specific_wins,
        max_body: 8,
        filters: Overrides::default(),
        retry: None,
        keep: Keep::default(),
        mirrors: Arc::default(),
        rate_limits: Arc::default(),
    }
}

fn compile(json: &Value) -> Result<Arc<Route>, Refusal> {
    route(&proto(json), &around(false), &mut Slots::default())
}

fn forwarding(more: &Value) -> Result<Forward, Refusal> {
    forwarding_of(&json!({"prefix": "/api"}), more)
}

fn forwarding_of(matching: &Value, more: &Value) -> Result<Forward, Refusal> {
    let action = with(&json!({"cluster": "c"}), more);
    let route = compile(&json!({"match": matching, "route": action}))?;
    match Arc::into_inner(route).map(|route| route.action) {
        Some(Action::Forward(forward)) => Ok(*forward),
        other => panic!("not forwarded: {other:?}"),
    }
}

fn redirecting(action: &Value) -> Redirect {
    let json = json!({"match": {"path": "/a"}, "redirect": action});
    match &compile(&json).unwrap_or_else(|refusal| panic!("{refusal}")).action {
        Action::Redirect(redirect) => redirect.clone(),
        other => panic!("not redirected: {other:?}"),
    }
}

#[test]
fn forwarding_defaults_are_envoys() {
    let forward = forwarding(&json!({})).expect("valid");
    assert_eq!(&*forward.targets.at(0).cluster.name, "c");
    assert_eq!(forward.cluster_not_found, 503);
    assert!(matches!(forward.path, PathRewrite::Keep));
    assert!(matches!(forward.host, HostRewrite::Keep));
    assert!(!forward.append_forwarded_host);
    assert_eq!(forward.timeout, Some(Duration::from_secs(15)));
    assert_eq!(forward.idle_timeout, Inherit::Inherited);
    assert_eq!(forward.max_stream_duration, Inherit::Inherited);
    assert!(forward.upgrades.is_empty());
}

#[test]
fn forwarding_settings_are_read() {
    let forward = forwarding(&json!({
        "cluster_not_found_response_code": "NOT_FOUND",
        "append_x_forwarded_host": true,
        "timeout": "0s",
        "idle_timeout": "0s",
        "max_grpc_timeout": "1s",
        "max_stream_duration": {"max_stream_duration": "3s"},
        "upgrade_configs": [{"upgrade_type": "WebSocket", "enabled": false}, {"upgrade_type": "tcp"}],
    }))
    .expect("valid");
    assert_eq!(forward.cluster_not_found, 404);
    assert!(forward.append_forwarded_host);
    assert_eq!(forward.timeout, None);
    assert_eq!(forward.idle_timeout, Inherit::Own(None));
    assert_eq!(forward.max_stream_duration, Inherit::Own(Some(Duration::from_secs(3))));
    // A route that says how long streams may last counts no calls' time.
    assert_eq!(forward.max_grpc_timeout, Inherit::Inherited);
    for (most, expected) in [("0s", None), ("2s", Some(Duration::from_secs(2)))] {
        let forward = forwarding(&json!({"max_grpc_timeout": most})).expect("valid");
        assert_eq!(forward.max_grpc_timeout, Inherit::Own(expected));
    }
    assert_eq!(forward.upgrade(b"websocket"), Some(false));
    assert_eq!(forward.upgrade(b"TCP"), Some(true));
}

#[test]
fn a_prefix_rewrite_replaces_what_was_matched() {
    let cases = [
        (json!({"prefix": "/api"}), "/x/users?q"),
        (json!({"path_separated_prefix": "/api"}), "/x/users?q"),
        (json!({"path": "/api/users"}), "/x?q"),
        (json!({"safe_regex": {"regex": "/api.*"}}), "/x?q"),
        (json!({"connect_matcher": {}}), "/x?q"),
    ];
    for (matching, expected) in cases {
        let forward = forwarding_of(&matching, &json!({"prefix_rewrite": "/x"})).expect("valid");
        let path = forward.path.apply(b"/api/users?q").expect("a rewrite");
        assert_eq!(String::from_utf8_lossy(&path), expected, "{matching}");
    }
}

#[test]
fn host_rewrites() {
    let regex = json!({"pattern": {"regex": "^/(.*)"}, "substitution": "\\1"});
    let cases = [
        (json!({"host_rewrite_literal": "h"}), "Literal"),
        (json!({"host_rewrite_literal": ""}), "Keep"),
        (json!({"host_rewrite_header": "x-h"}), "Header"),
        (json!({"host_rewrite_path_regex": regex}), "Path"),
        (json!({"auto_host_rewrite": true}), "Endpoint"),
        (json!({"auto_host_rewrite": false}), "Keep"),
    ];
    for (more, expected) in cases {
        let host = format!("{:?}", forwarding(&more).expect("valid").host);
        assert!(host.starts_with(expected), "{more}: {host}");
    }
}

#[test]
fn weighted_clusters() {
    let weighted = |clusters: Value| {
        let action = json!({"weighted_clusters": {"clusters": clusters}});
        compile(&json!({"match": {"prefix": "/"}, "route": action}))
    };
    let route = weighted(json!([
        {"name": "a", "weight": 1},
        {"name": "b", "weight": 3, "host_rewrite_literal": "h"},
        {"name": "c"},
    ]))
    .expect("valid");
    let Action::Forward(forward) = &route.action else { panic!("not forwarded") };
    let shares: Vec<_> =
        forward.targets.iter().map(|(target, weight)| (&*target.cluster.name, weight)).collect();
    assert_eq!(shares, [("a", 1), ("b", 3), ("c", 0)]);
    assert_eq!(forward.targets.at(u64::MAX).host.as_deref(), Some("h"));
    let paths = [
        (json!([]), "route.weighted_clusters.clusters"),
        (json!([{"name": "a", "weight": 0}]), "route.weighted_clusters.clusters"),
        (
            json!([{"name": "a", "weight": u32::MAX}, {"name": "b", "weight": 1}]),
            "route.weighted_clusters.clusters",
        ),
        (json!([{"weight": 1}]), "route.weighted_clusters.clusters[0].name"),
    ];
    for (clusters, expected) in paths {
        let refused = weighted(clusters).map(|_| ()).expect_err(expected);
        assert_eq!(refused.path, expected, "{refused}");
    }
}

#[test]
fn redirects() {
    let plain = redirecting(&json!({}));
    assert_eq!((plain.status, plain.scheme, plain.host, plain.port), (301, None, None, None));
    assert!(
        matches!(plain.path, RedirectPath::Keep) && !plain.strip_query && !plain.keep_default_port
    );
    let full = redirecting(&json!({
        "https_redirect": true, "host_redirect": "h", "port_redirect": 8443, "path_redirect": "/p",
        "strip_query": true, "response_code": "PERMANENT_REDIRECT",
    }));
    assert_eq!((full.status, full.scheme.as_deref(), full.port), (308, Some("https"), Some(8443)));
    assert!(matches!(full.path, RedirectPath::Replace(_)) && full.strip_query);
    for (code, status) in [("FOUND", 302), ("SEE_OTHER", 303), ("TEMPORARY_REDIRECT", 307)] {
        assert_eq!(redirecting(&json!({"response_code": code})).status, status);
    }
    let scheme = redirecting(&json!({"scheme_redirect": "ftp"})).scheme;
    assert_eq!(scheme.as_deref(), Some("ftp"));
    let path = redirecting(&json!({"prefix_rewrite": "/z"})).path;
    assert!(matches!(path, RedirectPath::Prefix { matched: None, .. }), "{path:?}");
}

#[test]
fn direct_responses() {
    let direct = |action: Value| -> Result<(u16, Bytes), Refusal> {
        let route = compile(&json!({"match": {"prefix": "/"}, "direct_response": action}))?;
        match &route.action {
            Action::Direct(direct) => Ok((direct.status, direct.body.clone())),
            other => panic!("not answered: {other:?}"),
        }
    };
    assert_eq!(direct(json!({"status": 204})), Ok((204, Bytes::new())));
    let eight = json!({"status": 200, "body": {"inline_string": "12345678"}});
    assert_eq!(direct(eight), Ok((200, Bytes::from_static(b"12345678"))));
    for (action, expected) in [
        (json!({"status": 100}), "direct_response.status"),
        (json!({"status": 600}), "direct_response.status"),
        (json!({"status": 200, "body": {}}), "direct_response.body"),
        (
            json!({"status": 200, "body": {"inline_string": "123456789"}}),
            "direct_response.body.inline_string",
        ),
        (json!({"status": 200, "body_format": {}}), "direct_response.body_format.text_format"),
        (
            json!({"status": 200, "body_format": {"json_format": {"a": "b"}}}),
            "direct_response.body_format.json_format",
        ),
        (
            json!({"status": 200, "body_format": {"text_format_source": {"inline_string": "%NO%"}}}),
            "direct_response.body_format.text_format_source",
        ),
    ] {
        assert_eq!(direct(action).map_err(|refusal| refusal.path), Err(expected.to_owned()));
    }
}

#[test]
fn mutations_apply_from_the_route_outwards_unless_the_most_specific_wins() {
    let json = json!({
        "match": {"prefix": "/"}, "route": {"cluster": "c"},
        "request_headers_to_add": [{"header": {"key": "x-level", "value": "route"}}],
    });
    for (most_specific_wins, expected) in
        [(false, ["route", "host", "table"]), (true, ["table", "host", "route"])]
    {
        let level = around(most_specific_wins);
        let route = route(&proto(&json), &level, &mut Slots::default()).expect("valid");
        let mut head = RequestHead::default();
        route.request_headers.apply_to_request(&mut head, &Facts::default());
        let values: Vec<_> =
            head.headers.get_all(b"x-level").map(String::from_utf8_lossy).collect();
        assert_eq!(values, expected);
    }
}

#[test]
fn refusals_name_the_field() {
    let base = json!({"match": {"prefix": "/"}, "route": {"cluster": "c"}});
    let regex = json!({"pattern": {"regex": "a"}, "substitution": "\\1"});
    let cases = [
        (json!({"match": {"safe_regex": {"regex": "("}}}), "match.safe_regex.regex"),
        (json!({"route": {"cluster": ""}}), "route.cluster"),
        (json!({"route": {"timeout": "-1s"}}), "route.timeout"),
        (
            json!({"route": {"max_stream_duration": {"max_stream_duration": "-1s"}}}),
            "route.max_stream_duration.max_stream_duration",
        ),
        (json!({"route": {"prefix_rewrite": "/a\r\n"}}), "route.prefix_rewrite"),
        (json!({"route": {"regex_rewrite": regex}}), "route.regex_rewrite.substitution"),
        (json!({"route": {"prefix_rewrite": "/", "regex_rewrite": regex}}), "route.regex_rewrite"),
        (json!({"route": {"host_rewrite_header": "a b"}}), "route.host_rewrite_header"),
        (json!({"route": {"max_grpc_timeout": "-1s"}}), "route.max_grpc_timeout"),
        (json!({"route": {"hash_policy": [{}]}}), "route.hash_policy[0]"),
        (
            json!({"route": {"hash_policy": [{"connection_properties": {}}]}}),
            "route.hash_policy[0]",
        ),
        (
            json!({"route": {"hash_policy": [{"cookie": {"name": "a\r\n"}}]}}),
            "route.hash_policy[0].cookie.name",
        ),
        (
            json!({"route": {"hash_policy": [{"cookie": {"name": "a", "ttl": "-1s"}}]}}),
            "route.hash_policy[0].cookie.ttl",
        ),
        (
            json!({"route": {"hash_policy": [{"header": {"header_name": ""}}]}}),
            "route.hash_policy[0].header.header_name",
        ),
        (
            json!({"match": {"prefix": "/", "dynamic_metadata": [{"filter": "f"}]}}),
            "match.dynamic_metadata[0].path",
        ),
        (
            json!({"route": {"host_rewrite_path_regex": regex}}),
            "route.host_rewrite_path_regex.substitution",
        ),
        (
            json!({"route": {"upgrade_configs": [{"upgrade_type": ""}]}}),
            "route.upgrade_configs[0].upgrade_type",
        ),
        (
            json!({"route": {"upgrade_configs": [{"upgrade_type": "a"}, {"upgrade_type": "A"}]}}),
            "route.upgrade_configs[1].upgrade_type",
        ),
        (
            json!({"request_headers_to_add": [{"header": {"key": "a", "value": "%"}}]}),
            "request_headers_to_add[0].header.value",
        ),
        (json!({"response_headers_to_remove": ["host"]}), "response_headers_to_remove[0]"),
    ];
    for (more, expected) in cases {
        let mut json = with(&base, &more);
        if more.pointer("/match/safe_regex").is_some() {
            json["match"] = more["match"].clone();
        }
        let refused = compile(&json).map(|_| ()).expect_err(expected);
        assert_eq!(refused.path, expected, "{more}: {refused}");
    }
    for (json, expected) in [
        (json!({"route": {"cluster": "c"}}), "match"),
        (json!({"match": {"prefix": "/"}}), ""),
        (json!({"match": {"prefix": "/"}, "route": {}}), "route"),
        (
            json!({"match": {"prefix": "/"}, "redirect": {"port_redirect": 65536}}),
            "redirect.port_redirect",
        ),
        (
            json!({"match": {"prefix": "/"}, "redirect": {"regex_rewrite": regex}}),
            "redirect.regex_rewrite.substitution",
        ),
    ] {
        assert_eq!(compile(&json).map(|_| ()).expect_err(expected).path, expected);
    }
}

#[test]
fn mirrors_are_the_routes_own_or_those_around() {
    let half = json!({"default_value": {"numerator": 1, "denominator": "MILLION"}});
    let own = json!([
        {"cluster": "m", "runtime_fraction": half, "trace_sampled": false},
        {"cluster": "n", "disable_shadow_host_suffix_append": true},
        {"cluster": "o", "host_rewrite_literal": "other", "disable_shadow_host_suffix_append": true},
    ]);
    let asks = json!({"request_mirror_policies": own});
    let forward = forwarding(&asks).expect("valid");
    let read: Vec<_> = forward
        .mirrors
        .all
        .iter()
        .map(|mirror| (&*mirror.cluster.name, mirror.share.map(|s| s.denominator), &mirror.host))
        .collect();
    assert_eq!(
        read,
        [
            ("m", Some(1_000_000), &MirrorHost::Shadow),
            ("n", None, &MirrorHost::Same),
            ("o", None, &MirrorHost::Literal("other".into())),
        ]
    );
    assert_eq!(forward.mirrors.keep, 8 << 20);
    let mut links = Slots::default();
    let policies =
        super::super::mirror::policies(&proto::<RouteAction>(&asks).request_mirror_policies);
    let around = RouteLevel {
        mirrors: super::super::mirror::linked(&policies.expect("valid"), &mut links),
        keep: Keep::of(Some(7), None),
        ..around(false)
    };
    for (own, wanted) in [(json!([]), 3), (json!([{"cluster": "p"}]), 1)] {
        let action = json!({"cluster": "c", "request_mirror_policies": own});
        let of_route = proto(&json!({"match": {"prefix": "/"}, "route": action}));
        match &route(&of_route, &around, &mut links).expect("valid").action {
            Action::Forward(forward) => {
                assert_eq!((forward.mirrors.all.len(), forward.mirrors.keep), (wanted, 7));
            }
            other => panic!("not forwarded: {other:?}"),
        }
    }
    for (wrong, path) in [
        (json!([{"cluster": "m"}, {}]), "route.request_mirror_policies[1].cluster"),
        (
            json!([{"cluster": "m", "runtime_fraction": {}}]),
            "route.request_mirror_policies[0].runtime_fraction.default_value",
        ),
        (
            json!([{"cluster": "m", "host_rewrite_literal": "a\n"}]),
            "route.request_mirror_policies[0].host_rewrite_literal",
        ),
    ] {
        let refused = forwarding(&json!({"request_mirror_policies": wrong}));
        assert_eq!(refused.expect_err(path).path, path);
    }
}
