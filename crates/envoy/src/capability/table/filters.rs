//! HTTP filters that have no file of their own.

use super::super::row::{ROW, Row, whole};

pub(super) const CORS: &str = "envoy.extensions.filters.http.cors.v3.Cors";
pub(super) const CORS_POLICY: &str = "envoy.extensions.filters.http.cors.v3.CorsPolicy";
pub(super) const FAULT: &str = "envoy.extensions.filters.http.fault.v3.HTTPFault";

const BY_HEADER: &str = "clients cannot ask for faults";
const NO_RUNTIME: &str = "there is no runtime: what is written here holds";

pub(super) const ROWS: &[Row] = &[
    whole(CORS),
    Row {
        message: CORS_POLICY,
        honoured: &[
            "allow_origin_string_match",
            "allow_methods",
            "allow_headers",
            "expose_headers",
            "max_age",
            "allow_credentials",
            "filter_enabled",
            "shadow_enabled",
            "allow_private_network_access",
            "forward_not_matching_preflights",
        ],
        ..ROW
    },
    Row {
        message: FAULT,
        honoured: &["delay", "abort", "headers", "downstream_nodes", "max_active_faults"],
        ignored: &[
            ("delay_percent_runtime", NO_RUNTIME),
            ("abort_percent_runtime", NO_RUNTIME),
            ("delay_duration_runtime", NO_RUNTIME),
            ("abort_http_status_runtime", NO_RUNTIME),
            ("abort_grpc_status_runtime", NO_RUNTIME),
            ("max_active_faults_runtime", NO_RUNTIME),
            ("response_rate_limit_percent_runtime", NO_RUNTIME),
            ("disable_downstream_cluster_stats", "faults are not counted by client"),
            ("filter_metadata", "no log shows what filters note"),
        ],
        refused: &[
            ("upstream_cluster", "use the configuration of routes (typed_per_filter_config)"),
            ("response_rate_limit", "answers are not slowed down"),
        ],
        ..ROW
    },
    Row {
        message: "envoy.extensions.filters.common.fault.v3.FaultDelay",
        honoured: &["fixed_delay", "percentage"],
        refused: &[("header_delay", BY_HEADER)],
        ..ROW
    },
    Row {
        message: "envoy.extensions.filters.http.fault.v3.FaultAbort",
        honoured: &["http_status", "grpc_status", "percentage"],
        refused: &[
            ("header_abort", BY_HEADER),
            ("response_body", "what is answered is Envoy's default text"),
        ],
        ..ROW
    },
];
