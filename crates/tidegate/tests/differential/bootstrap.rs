//! The bootstrap that both sides start from.

use std::net::SocketAddr;

use serde_json::{Value, json};

mod hash;
mod jwt;
mod limits;
mod mirrors;
mod pipes;
mod policy;
mod rbac;
mod retry;

pub use jwt::SIGNERS;
pub use pipes::Pipes;

pub const MANAGER: &str = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
pub const ROUTER: &str = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
pub const PROTOCOL: &str =
    "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// Where the scripted origins listen.
#[derive(Clone, Debug)]
pub struct Origins {
    pub http1: SocketAddr,
    pub http2: SocketAddr,
    /// Nobody listens here.
    pub refused: SocketAddr,
    /// Sockets of this machine that lead to these.
    pub pipes: Pipes,
    /// Origins that tell their number.
    pub numbered: Vec<SocketAddr>,
    /// Origins with a cluster and a route of their own: name, whether it speaks HTTP/2, address.
    pub own: Vec<(&'static str, bool, SocketAddr)>,
}

/// The bootstrap, but for the admin interface, whose port each side has for itself.
pub fn bootstrap(origins: &Origins) -> Value {
    json!({
        "static_resources": {
            "listeners": listeners(origins),
            "clusters": clusters(origins),
        }
    })
}

/// One listener for each set of options of the connection manager.
fn listeners(origins: &Origins) -> Vec<Value> {
    let edge = json!({
        "use_remote_address": true,
        "normalize_path": true,
        "http_protocol_options": {"enable_trailers": true},
        "upgrade_configs": [{"upgrade_type": "websocket"}],
    });
    let plain = json!({
        "use_remote_address": false,
        "http_protocol_options": {"accept_http_10": true},
        "strip_any_host_port": true,
        "via": "gate",
        "server_header_transformation": "PASS_THROUGH",
        "generate_request_id": false,
    });
    let strict = json!({
        "use_remote_address": true,
        "xff_num_trusted_hops": 1,
        "normalize_path": true,
        "merge_slashes": true,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        "strip_matching_host_port": true,
        "strip_trailing_host_dot": true,
        "max_request_headers_kb": 4,
        "common_http_protocol_options": {"max_headers_count": 12},
        "always_set_request_id_in_response": true,
        "preserve_external_request_id": true,
        "server_header_transformation": "APPEND_IF_ABSENT",
        "skip_xff_append": true,
    });
    let timed = json!({
        "use_remote_address": true,
        "normalize_path": true,
        "path_with_escaped_slashes_action": "UNESCAPE_AND_REDIRECT",
        "request_headers_timeout": "0.4s",
        "request_timeout": "0.7s",
        "http_protocol_options": {"accept_http_10": true},
    });
    let idle = json!({
        "use_remote_address": true,
        "merge_slashes": true,
        "path_with_escaped_slashes_action": "UNESCAPE_AND_FORWARD",
        "stream_idle_timeout": "0.5s",
        "common_http_protocol_options": {"max_requests_per_connection": 2},
    });
    let rbac = json!({"use_remote_address": true, "http_filters": rbac::http_filters()});
    let jwt = json!({"use_remote_address": true, "http_filters": jwt::http_filters()});
    let policy = json!({"use_remote_address": true, "http_filters": policy::http_filters()});
    let all = [
        ("edge", edge),
        ("plain", plain),
        ("strict", strict),
        ("timed", timed),
        ("idle", idle),
        ("rbac", rbac),
        ("jwt", jwt),
        ("policy", policy),
        ("limit", json!({"use_remote_address": true, "http_filters": limits::http_filters()})),
        ("rbac-open", json!({})),
        ("rbac-closed", json!({})),
        ("rbac-tls", json!({})),
        ("rbac-tls-open", json!({})),
    ];
    all.map(|(name, options)| listener(name, options, origins)).to_vec()
}

fn listener(name: &str, options: Value, origins: &Origins) -> Value {
    let mut manager = json!({
        "@type": MANAGER,
        "stat_prefix": name,
        "server_name": "gate",
        "delayed_close_timeout": "0.1s",
        "route_config": {
            "name": "routes",
            "validate_clusters": false,
            "request_headers_to_add": [header("x-table", "1", "APPEND_IF_EXISTS_OR_ADD")],
            "response_headers_to_add": [header("x-table", "1", "APPEND_IF_EXISTS_OR_ADD")],
            "virtual_hosts": virtual_hosts(origins),
        },
        "http_filters": [router()],
    });
    if let (Some(manager), Value::Object(options)) = (manager.as_object_mut(), options) {
        manager.extend(options);
    }
    let mut filters = rbac::network_filters(name);
    filters.push(json!({"name": "http", "typed_config": manager}));
    let mut listener = json!({
        "name": name,
        "address": address(([127, 0, 0, 1], 0).into()),
        "filter_chains": [{"filters": filters}],
    });
    rbac::secure(&mut listener);
    listener
}

fn router() -> Value {
    json!({"name": "router", "typed_config": {"@type": ROUTER}})
}

fn virtual_hosts(origins: &Origins) -> Value {
    let says = |name: &str, domains: &[&str]| {
        json!({"name": name, "domains": domains, "routes": [
            {"match": {"prefix": "/"}, "direct_response": text(200, name)}]})
    };
    let [mirror, mirrored] = mirrors::virtual_hosts();
    json!([
        says("exact", &["exact.example"]),
        says("wild", &["*.wild.example"]),
        says("deeper", &["*.deep.wild.example"]),
        says("tail", &["tail.*"]),
        says("port", &["port.example:81"]),
        says("ipv6", &["[::1]"]),
        {"name": "tls", "domains": ["tls.example"], "require_tls": "ALL", "routes": [
            {"match": {"prefix": "/"}, "direct_response": text(200, "tls")}]},
        rbac::virtual_host(),
        jwt::virtual_host(),
        retry::virtual_host(),
        policy::virtual_host(),
        limits::virtual_host(),
        mirror,
        mirrored,
        {"name": "any", "domains": ["*"], "routes": routes(origins)},
    ])
}

fn routes(origins: &Origins) -> Vec<Value> {
    let own = origins.own.iter().map(|(name, ..)| {
        json!({"match": {"prefix": format!("/own/{name}/")}, "route": {"cluster": name}})
    });
    [own.collect(), pipes::routes(), hash::routes(), matches(), redirects(), forwards()].concat()
}

/// Routes that tell which of them was taken.
fn matches() -> Vec<Value> {
    let says = |name: &str, status: u16, matcher: Value| json!({"match": matcher, "direct_response": text(status, name)});
    let by_header = |name: &str, header: Value| {
        says(name, 200, json!({"prefix": "/header", "headers": [header]}))
    };
    let by_query = |name: &str, query: Value| {
        says(name, 200, json!({"prefix": "/query", "query_parameters": [query]}))
    };
    vec![
        says("probe", 200, json!({"path": "/probe"})),
        says("path", 200, json!({"path": "/path"})),
        says("case", 200, json!({"path": "/case", "case_sensitive": false})),
        says("prefix", 200, json!({"prefix": "/prefix"})),
        says("separated", 200, json!({"path_separated_prefix": "/sep"})),
        says("regex", 200, json!({"safe_regex": {"regex": "/re/[0-9]+"}})),
        by_header("exact", json!({"name": "x-m", "string_match": {"exact": "one"}})),
        by_header("prefix", json!({"name": "x-m", "string_match": {"prefix": "pre"}})),
        by_header("suffix", json!({"name": "x-m", "string_match": {"suffix": "suf"}})),
        by_header("contains", json!({"name": "x-m", "string_match": {"contains": "mid"}})),
        by_header(
            "nocase",
            json!({"name": "x-m", "string_match":
            {"exact": "CASE", "ignore_case": true}}),
        ),
        by_header(
            "regex",
            json!({"name": "x-m", "string_match":
            {"safe_regex": {"regex": "r[0-9]"}}}),
        ),
        by_header("range", json!({"name": "x-n", "range_match": {"start": 5, "end": 10}})),
        by_header("method", json!({"name": ":method", "string_match": {"exact": "PUT"}})),
        by_header("authority", json!({"name": ":authority", "string_match": {"exact": "auth"}})),
        by_header("scheme", json!({"name": ":scheme", "string_match": {"exact": "https"}})),
        by_header("path", json!({"name": ":path", "string_match": {"suffix": "?p"}})),
        by_header("present", json!({"name": "x-p", "present_match": true})),
        by_header("absent", json!({"name": "x-a", "present_match": false})),
        by_header(
            "not",
            json!({"name": "x-a", "string_match": {"exact": "no"},
            "invert_match": true}),
        ),
        by_query("exact", json!({"name": "q", "string_match": {"exact": "one"}})),
        by_query(
            "regex",
            json!({"name": "q", "string_match":
            {"safe_regex": {"regex": "[0-9]+"}}}),
        ),
        by_query("present", json!({"name": "there", "present_match": true})),
        says("", 204, json!({"path": "/direct/204"})),
        says("", 304, json!({"path": "/direct/304"})),
        says("teapot", 418, json!({"path": "/direct/418"})),
        says("odd", 599, json!({"path": "/direct/599"})),
        json!({"match": {"path": "/direct/empty"}, "direct_response": {"status": 200}}),
        json!({"match": {"path": "/direct/headers"}, "direct_response": text(200, "made"),
            "response_headers_to_add": [
                header("content-type", "text/html", "OVERWRITE_IF_EXISTS_OR_ADD"),
                header("x-made", "1", "APPEND_IF_EXISTS_OR_ADD"), told("x-told")]}),
        json!({"match": {"path": "/direct/location"}, "direct_response": text(302, "moved"),
            "response_headers_to_add": [
                header("location", "/there", "OVERWRITE_IF_EXISTS_OR_ADD")]}),
    ]
}

fn redirects() -> Vec<Value> {
    let to = |path: &str, redirect: Value| json!({"match": {"prefix": format!("/to/{path}")}, "redirect": redirect});
    vec![
        to("https", json!({"https_redirect": true})),
        to("scheme", json!({"scheme_redirect": "ftp"})),
        to("host", json!({"host_redirect": "there.example"})),
        to("port", json!({"port_redirect": 8443})),
        to(
            "both",
            json!({"host_redirect": "there.example", "port_redirect": 81,
            "https_redirect": true}),
        ),
        to("path", json!({"path_redirect": "/moved"})),
        to("query", json!({"path_redirect": "/moved?new=1"})),
        to("prefix", json!({"prefix_rewrite": "/moved"})),
        to(
            "regex",
            json!({"regex_rewrite": {"pattern": {"regex": "^/to/(.*)/(.*)$"},
            "substitution": "/\\2/\\1"}}),
        ),
        to("strip", json!({"https_redirect": true, "strip_query": true})),
        to("302", json!({"https_redirect": true, "response_code": "FOUND"})),
        to("303", json!({"https_redirect": true, "response_code": "SEE_OTHER"})),
        to("307", json!({"https_redirect": true, "response_code": "TEMPORARY_REDIRECT"})),
        to("308", json!({"https_redirect": true, "response_code": "PERMANENT_REDIRECT"})),
    ]
}

fn forwards() -> Vec<Value> {
    let to = |path: &str, mut action: Value| {
        if action.get("cluster").is_none() {
            action["cluster"] = "origin".into();
        }
        json!({"match": {"prefix": path}, "route": action})
    };
    let mut routes = vec![
        to("/rewrite/prefix", json!({"prefix_rewrite": "/new"})),
        to("/rewrite/slash/", json!({"prefix_rewrite": "/"})),
        to(
            "/rewrite/regex",
            json!({"regex_rewrite": {
            "pattern": {"regex": "/rewrite/regex/([a-z]+)"}, "substitution": "/\\1/was"}}),
        ),
        to(
            "/rewrite/host",
            json!({"host_rewrite_literal": "inner.example",
            "append_x_forwarded_host": true}),
        ),
        to("/rewrite/from-header", json!({"host_rewrite_header": "x-host"})),
        to("/rewrite/from-endpoint", json!({"cluster": "named", "auto_host_rewrite": true})),
        to("/rewrite/from-nameless", json!({"auto_host_rewrite": true})),
        to("/unknown", json!({"cluster": "nowhere"})),
        to(
            "/unknown-404",
            json!({"cluster": "nowhere",
            "cluster_not_found_response_code": "NOT_FOUND"}),
        ),
        to("/refused", json!({"cluster": "refused"})),
        to("/empty", json!({"cluster": "empty"})),
        to("/slow", json!({"timeout": "0.4s"})),
        to("/slow-idle", json!({"timeout": "0s", "idle_timeout": "0.4s"})),
        to(
            "/slow-age",
            json!({"timeout": "0s",
            "max_stream_duration": {"max_stream_duration": "0.4s"}}),
        ),
        to("/call/most", json!({"timeout": "7s", "max_grpc_timeout": "3s"})),
        to("/call/any", json!({"timeout": "7s", "max_grpc_timeout": "0s"})),
        to("/call/none", json!({"timeout": "7s"})),
        to("/narrow/requests", json!({"cluster": "one-request"})),
        to("/narrow/connections", json!({"cluster": "one-connection"})),
        to(
            "/refuse-upgrade",
            json!({"upgrade_configs": [
            {"upgrade_type": "websocket", "enabled": false}]}),
        ),
        to("/upgrade-other", json!({"upgrade_configs": [{"upgrade_type": "other"}]})),
        to("/h2", json!({"cluster": "origin2", "timeout": "5s"})),
        to("/as-client/1", json!({"cluster": "as-client-1"})),
        to("/as-client/2", json!({"cluster": "as-client-2"})),
    ];
    // The first match counts.
    routes.swap(5, 6);
    routes.swap(9, 11);
    let mut nowhere = to("/told/empty", json!({"cluster": "empty"}));
    nowhere["response_headers_to_add"] = json!([told("x-told")]);
    routes.push(nowhere);
    let mut mutate = to("/mutate", json!({}));
    mutate["request_headers_to_add"] = json!([
        header("x-append", "new", "APPEND_IF_EXISTS_OR_ADD"),
        header("x-set", "new", "OVERWRITE_IF_EXISTS_OR_ADD"),
        header("x-absent", "new", "ADD_IF_ABSENT"),
        header("x-overwrite", "new", "OVERWRITE_IF_EXISTS"),
        header(
            "x-who",
            "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %PROTOCOL%",
            "OVERWRITE_IF_EXISTS_OR_ADD"
        ),
        header("x-copy", "%REQ(x-set)%", "OVERWRITE_IF_EXISTS_OR_ADD"),
        header("x-path", "%PATH(NQ)% %PATH(WQ:PATH)% %PATH%", "OVERWRITE_IF_EXISTS_OR_ADD"),
        header("x-q", "<%QUERY_PARAM(q)%>", "OVERWRITE_IF_EXISTS_OR_ADD"),
        header(
            "x-none",
            "<%DOWNSTREAM_TLS_VERSION%%DOWNSTREAM_PEER_SUBJECT%%ENVIRONMENT(TIDEGATE_NOT_SET)%>\
             <%DYNAMIC_METADATA(a:b)%%FILTER_STATE(a)%>",
            "OVERWRITE_IF_EXISTS_OR_ADD"
        ),
        header("x-raw", "%UPSTREAM_CLUSTER_RAW%", "OVERWRITE_IF_EXISTS_OR_ADD"),
        told("x-told"),
    ]);
    mutate["request_headers_to_remove"] = json!(["x-gone"]);
    mutate["response_headers_to_add"] = json!([
        header("x-append", "new", "APPEND_IF_EXISTS_OR_ADD"),
        header("x-set", "new", "OVERWRITE_IF_EXISTS_OR_ADD"),
        header("x-absent", "new", "ADD_IF_ABSENT"),
    ]);
    mutate["response_headers_to_remove"] = json!(["x-gone"]);
    let mut all = mutate["response_headers_to_add"].as_array().cloned().unwrap_or_default();
    all.push(told("x-told"));
    mutate["response_headers_to_add"] = all.into();
    routes.push(mutate);
    routes.push(to("/o", json!({})));
    routes.push(json!({"match": {"path": "*"}, "route": {"cluster": "origin"}}));
    routes
}

/// What of an exchange header values can tell, but for times.
fn told(name: &str) -> Value {
    let value = "<%RESPONSE_FLAGS% %RESPONSE_FLAGS_LONG% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %BYTES_RECEIVED% \
                 %BYTES_SENT% %UPSTREAM_REQUEST_ATTEMPT_COUNT% %RESPONSE_TX_DURATION%%TRACE_ID%%SPAN_ID%\
                 %CONNECTION_TERMINATION_DETAILS%%DOWNSTREAM_TRANSPORT_FAILURE_REASON%%VIRTUAL_CLUSTER_NAME%\
                 %ACCESS_LOG_TYPE% %RESPONSE_TRAILERS_BYTES%%UPSTREAM_METADATA(a:b)%%PER_REQUEST_STATE(a)%%TRAILER(a)%>";
    header(name, value, "OVERWRITE_IF_EXISTS_OR_ADD")
}

fn clusters(origins: &Origins) -> Value {
    let one = |key: &str| {
        json!({"thresholds": [{"max_connections": 1024, "max_pending_requests": 1024,
            "max_requests": 1024, key: 1}]})
    };
    let mut requests = cluster("one-request", &[origins.http1]);
    requests["circuit_breakers"] = one("max_requests");
    let mut connections = cluster("one-connection", &[origins.http1]);
    connections["circuit_breakers"] =
        json!({"thresholds": [{"max_connections": 1, "max_pending_requests": 1}]});
    let own = origins.own.iter().map(|(name, http2, at)| {
        let cluster = cluster(name, &[*at]);
        if *http2 { speaks_http2(cluster) } else { cluster }
    });
    let mut origin = cluster("origin", &[origins.http1]);
    origin["typed_extension_protocol_options"] = json!({
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": PROTOCOL,
            "explicit_http_config": {"http_protocol_options": {"enable_trailers": true}}}});
    let mut named = cluster("named", &[origins.http1]);
    named["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["hostname"] =
        "endpoint.example".into();
    let shared = [
        origin,
        named,
        cluster("refused", &[origins.refused]),
        cluster("empty", &[]),
        requests,
        connections,
        speaks_http2(cluster("origin2", &[origins.http2])),
        as_client("as-client-1", origins.http1),
        as_client("as-client-2", origins.http2),
    ];
    shared
        .into_iter()
        .chain(retry::clusters(origins.http1))
        .chain(mirrors::clusters(origins.http1))
        .chain(pipes::clusters(origins))
        .chain(own)
        .chain(hash::clusters(&origins.numbered))
        .collect()
}

fn speaks_http2(mut cluster: Value) -> Value {
    cluster["typed_extension_protocol_options"] = json!({
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": PROTOCOL, "explicit_http_config": {"http2_protocol_options": {}}}});
    cluster
}

/// A cluster that speaks what its clients do.
fn as_client(name: &str, at: SocketAddr) -> Value {
    let mut cluster = cluster(name, &[at]);
    cluster["typed_extension_protocol_options"] = json!({
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": PROTOCOL,
            "use_downstream_protocol_config": {"http2_protocol_options": {}}}});
    cluster
}

fn cluster(name: &str, at: &[SocketAddr]) -> Value {
    let endpoints: Vec<_> =
        at.iter().map(|at| json!({"endpoint": {"address": address(*at)}})).collect();
    json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": "2s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
    })
}

/// The listener `edge`, with nothing but routes to these hosts.
pub fn edge(hosts: &[Value]) -> Value {
    let manager = json!({"@type": MANAGER, "stat_prefix": "edge",
        "route_config": {"name": "r", "virtual_hosts": hosts}, "http_filters": [router()]});
    bare("edge", &manager)
}

/// The listener `tcp`, whose connections are for the cluster of that name.
pub fn tcp() -> Value {
    let proxy = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "tcp", "cluster": "tcp"});
    bare("tcp", &proxy)
}

fn bare(name: &str, config: &Value) -> Value {
    json!({"name": name, "address": address(([127, 0, 0, 1], 0).into()),
        "filter_chains": [{"filters": [{"name": name, "typed_config": config}]}]})
}

pub fn address(at: SocketAddr) -> Value {
    json!({"socket_address": {"address": at.ip().to_string(), "port_value": at.port()}})
}

fn header(name: &str, value: &str, action: &str) -> Value {
    json!({"header": {"key": name, "value": value}, "append_action": action})
}

fn text(status: u16, body: &str) -> Value {
    if body.is_empty() {
        json!({"status": status})
    } else {
        json!({"status": status, "body": {"inline_string": body}})
    }
}
