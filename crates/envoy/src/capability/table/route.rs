//! Route configurations, virtual hosts and routes.

use super::super::row::{NOTHING, ROW, Row, whole};
use super::filters::{CORS_POLICY, FAULT};
use super::rate_limit::LOCAL_RATE_LIMIT;

const FILTER_CONFIG: &str = "envoy.config.route.v3.FilterConfig";
const JWT_PER_ROUTE: &str = "envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig";
const RBAC_PER_ROUTE: &str = "envoy.extensions.filters.http.rbac.v3.RBACPerRoute";

/// What routes may say instead of filters' own configuration.
const PER_ROUTE: &[&str] =
    &[FILTER_CONFIG, CORS_POLICY, FAULT, JWT_PER_ROUTE, LOCAL_RATE_LIMIT, RBAC_PER_ROUTE];

const PREVIOUS_HOSTS: &str = "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate";

const ORIGIN: &str = "it says where the configuration came from";
const NO_ROUTE_STATS: &str = "statistics are kept per listener and cluster, not per route";
const NO_TRACING: &str = "no spans are made";
const CORS_FILTER: &str = "deprecated by Envoy for typed_per_filter_config of the CORS filter";

pub(super) const ROWS: &[Row] = &[
    Row {
        message: "envoy.config.route.v3.RouteConfiguration",
        honoured: &[
            "name",
            "virtual_hosts",
            "vhds",
            "request_headers_to_add",
            "request_headers_to_remove",
            "response_headers_to_add",
            "response_headers_to_remove",
            "most_specific_header_mutations_wins",
            "ignore_port_in_host_matching",
            "max_direct_response_body_size_bytes",
            "typed_per_filter_config",
            "validate_clusters",
            "request_mirror_policies",
        ],
        holds: &[("typed_per_filter_config", PER_ROUTE)],
        ignored: &[("metadata", ORIGIN)],
        ..ROW
    },
    Row { message: "envoy.config.route.v3.Vhds", honoured: &["config_source"], ..ROW },
    Row {
        message: "envoy.config.route.v3.VirtualHost",
        honoured: &[
            "name",
            "domains",
            "routes",
            "require_tls",
            "request_headers_to_add",
            "request_headers_to_remove",
            "response_headers_to_add",
            "response_headers_to_remove",
            "include_request_attempt_count",
            "include_attempt_count_in_response",
            "retry_policy",
            "per_request_buffer_limit_bytes",
            "request_body_buffer_limit",
            "rate_limits",
            "request_mirror_policies",
            "typed_per_filter_config",
        ],
        holds: &[("typed_per_filter_config", PER_ROUTE)],
        ignored: &[("metadata", ORIGIN), ("virtual_clusters", NO_ROUTE_STATS)],
        refused: &[("cors", CORS_FILTER)],
        ..ROW
    },
    Row {
        message: "envoy.config.route.v3.Route",
        honoured: &[
            "name",
            "match",
            "route",
            "redirect",
            "direct_response",
            "metadata",
            "request_headers_to_add",
            "request_headers_to_remove",
            "response_headers_to_add",
            "response_headers_to_remove",
            "per_request_buffer_limit_bytes",
            "request_body_buffer_limit",
            "typed_per_filter_config",
        ],
        holds: &[("typed_per_filter_config", PER_ROUTE)],
        ignored: &[
            ("decorator", NO_TRACING),
            ("tracing", NO_TRACING),
            ("stat_prefix", NO_ROUTE_STATS),
        ],
        ..ROW
    },
    Row {
        message: FILTER_CONFIG,
        honoured: &["config", "is_optional", "disabled"],
        holds: &[(
            "config",
            &[NOTHING, CORS_POLICY, FAULT, JWT_PER_ROUTE, LOCAL_RATE_LIMIT, RBAC_PER_ROUTE],
        )],
        optional: Some("is_optional"),
        ..ROW
    },
    Row {
        message: "envoy.config.route.v3.RouteMatch",
        honoured: &[
            "prefix",
            "path",
            "safe_regex",
            "path_separated_prefix",
            "connect_matcher",
            "case_sensitive",
            "headers",
            "query_parameters",
            "grpc",
            "runtime_fraction",
            "dynamic_metadata",
            "tls_context",
        ],
        refused: &[("path_match_policy", "use path, prefix, path_separated_prefix or safe_regex")],
        ..ROW
    },
    whole("envoy.config.route.v3.RouteMatch.ConnectMatcher"),
    whole("envoy.config.route.v3.RouteMatch.GrpcRouteMatchOptions"),
    whole("envoy.config.route.v3.RouteMatch.TlsContextMatchOptions"),
    Row {
        message: "envoy.config.route.v3.HeaderMatcher",
        honoured: &[
            "name",
            "string_match",
            "range_match",
            "present_match",
            "invert_match",
            "treat_missing_header_as_empty",
            "exact_match",
            "prefix_match",
            "suffix_match",
            "contains_match",
            "safe_regex_match",
        ],
        ..ROW
    },
    Row {
        message: "envoy.config.route.v3.QueryParameterMatcher",
        honoured: &["name", "string_match", "present_match"],
        ..ROW
    },
    Row {
        message: "envoy.config.route.v3.RouteAction",
        honoured: &[
            "cluster",
            "weighted_clusters",
            "cluster_not_found_response_code",
            "prefix_rewrite",
            "regex_rewrite",
            "host_rewrite_literal",
            "host_rewrite_header",
            "host_rewrite_path_regex",
            "auto_host_rewrite",
            "append_x_forwarded_host",
            "timeout",
            "max_grpc_timeout",
            "hash_policy",
            "idle_timeout",
            "max_stream_duration",
            "upgrade_configs",
            "priority",
            "rate_limits",
            "include_vh_rate_limits",
            "retry_policy",
            "request_mirror_policies",
        ],
        values: &[("priority", &["DEFAULT"])],
        ignored: &[("early_data_policy", "TLS early data is not accepted")],
        refused: &[
            ("hedge_policy", "one request at a time is sent"),
            ("cors", CORS_FILTER),
            ("internal_redirect_action", "redirects are passed to the client"),
            ("internal_redirect_policy", "redirects are passed to the client"),
        ],
        ..ROW
    },
    Row {
        message: "envoy.config.route.v3.RouteAction.RequestMirrorPolicy",
        honoured: &[
            "cluster",
            "runtime_fraction",
            "disable_shadow_host_suffix_append",
            "host_rewrite_literal",
        ],
        ignored: &[("trace_sampled", NO_TRACING)],
        refused: &[
            ("cluster_header", "use cluster"),
            ("request_headers_mutations", "copies have the headers of the request"),
        ],
        ..ROW
    },
    Row {
        message: "envoy.config.route.v3.RetryPolicy",
        honoured: &[
            "retry_on",
            "num_retries",
            "per_try_timeout",
            "per_try_idle_timeout",
            "retry_host_predicate",
            "host_selection_retry_max_attempts",
            "retriable_status_codes",
            "retry_back_off",
            "retriable_headers",
            "retriable_request_headers",
        ],
        refused: &[
            ("retry_priority", "there is one priority of endpoints"),
            ("rate_limited_retry_back_off", "use retry_back_off"),
        ],
        ..ROW
    },
    Row {
        message: "envoy.config.route.v3.RetryPolicy.RetryHostPredicate",
        honoured: &["name", "typed_config"],
        holds: &[("typed_config", &[PREVIOUS_HOSTS])],
        ..ROW
    },
    whole(PREVIOUS_HOSTS),
    whole("envoy.config.route.v3.RetryPolicy.RetryBackOff"),
    Row {
        message: "envoy.config.route.v3.RouteAction.MaxStreamDuration",
        honoured: &["max_stream_duration"],
        ..ROW
    },
    Row {
        message: "envoy.config.route.v3.RouteAction.HashPolicy",
        honoured: &["header", "cookie", "connection_properties", "query_parameter", "terminal"],
        ..ROW
    },
    whole("envoy.config.route.v3.RouteAction.HashPolicy.Header"),
    whole("envoy.config.route.v3.RouteAction.HashPolicy.Cookie"),
    whole("envoy.config.route.v3.RouteAction.HashPolicy.ConnectionProperties"),
    whole("envoy.config.route.v3.RouteAction.HashPolicy.QueryParameter"),
    Row {
        message: "envoy.config.route.v3.RouteAction.UpgradeConfig",
        honoured: &["upgrade_type", "enabled"],
        ..ROW
    },
    Row {
        message: "envoy.config.route.v3.WeightedCluster",
        honoured: &["clusters"],
        ignored: &[("runtime_key_prefix", "there is no runtime: the weights written hold")],
        refused: &[("total_weight", "deprecated by Envoy: the weights' sum counts")],
        ..ROW
    },
    Row {
        message: "envoy.config.route.v3.WeightedCluster.ClusterWeight",
        honoured: &[
            "name",
            "weight",
            "request_headers_to_add",
            "request_headers_to_remove",
            "response_headers_to_add",
            "response_headers_to_remove",
            "host_rewrite_literal",
            "typed_per_filter_config",
        ],
        holds: &[("typed_per_filter_config", &[FILTER_CONFIG])],
        ..ROW
    },
    Row {
        message: "envoy.config.route.v3.RedirectAction",
        honoured: &[
            "https_redirect",
            "scheme_redirect",
            "host_redirect",
            "port_redirect",
            "path_redirect",
            "prefix_rewrite",
            "regex_rewrite",
            "response_code",
            "strip_query",
        ],
        ..ROW
    },
    Row {
        message: "envoy.config.route.v3.DirectResponseAction",
        honoured: &["status", "body", "body_format"],
        ..ROW
    },
];
