//! The HTTP connection manager, HTTP filters and protocol options.

use super::super::row::{NOTHING, ROW, Row};
use super::filters::{CORS, FAULT};
use super::rate_limit::LOCAL_RATE_LIMIT;

const ROUTER: &str = "envoy.extensions.filters.http.router.v3.Router";
const DYNAMIC: &str = "envoy.extensions.filters.http.dynamic_forward_proxy.v3.FilterConfig";
const JWT: &str = "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication";
const RBAC: &str = "envoy.extensions.filters.http.rbac.v3.RBAC";
const UUID: &str = "envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig";

const NO_TRACING: &str = "no spans are made";
const CODEC_BOUNDS: &str = "the codec has bounds of its own against floods";

pub(super) const ROWS: &[Row] = &[
    Row {
        message: "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        honoured: &[
            "codec_type",
            "stat_prefix",
            "rds",
            "route_config",
            "http_filters",
            "common_http_protocol_options",
            "http_protocol_options",
            "http2_protocol_options",
            "server_name",
            "server_header_transformation",
            "via",
            "use_remote_address",
            "xff_num_trusted_hops",
            "skip_xff_append",
            "generate_request_id",
            "preserve_external_request_id",
            "always_set_request_id_in_response",
            "request_id_extension",
            "stream_idle_timeout",
            "request_timeout",
            "request_headers_timeout",
            "drain_timeout",
            "delayed_close_timeout",
            "max_request_headers_kb",
            "upgrade_configs",
            "access_log",
            "normalize_path",
            "merge_slashes",
            "path_with_escaped_slashes_action",
            "strip_any_host_port",
            "strip_trailing_host_dot",
            "strip_matching_host_port",
            "forward_client_cert_details",
            "set_current_client_cert_details",
        ],
        values: &[("codec_type", &["AUTO", "HTTP1", "HTTP2"])],
        ignored: &[("http3_protocol_options", "HTTP/3 is not spoken")],
        refused: &[
            ("scoped_routes", "use rds or route_config"),
            ("tracing", NO_TRACING),
            ("access_log_flush_interval", "a request is logged once, when it ends"),
            ("flush_access_log_on_new_request", "a request is logged once, when it ends"),
            ("access_log_options", "a request is logged once, when it ends"),
        ],
        ..ROW
    },
    Row {
        message: "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.SetCurrentClientCertDetails",
        honoured: &["subject", "cert", "chain", "dns", "uri"],
        ..ROW
    },
    Row {
        message: "envoy.extensions.filters.network.http_connection_manager.v3.Rds",
        honoured: &["config_source", "route_config_name"],
        ..ROW
    },
    Row {
        message: "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter",
        honoured: &["name", "typed_config", "is_optional", "disabled"],
        holds: &[("typed_config", &[CORS, DYNAMIC, FAULT, JWT, LOCAL_RATE_LIMIT, RBAC, ROUTER])],
        optional: Some("is_optional"),
        ..ROW
    },
    Row {
        message: DYNAMIC,
        honoured: &["dns_cache_config"],
        ignored: &[("save_upstream_address", "no filter looks at it")],
        refused: &[
            ("sub_cluster_config", "use dns_cache_config"),
            ("allow_dynamic_host_from_filter_state", "no filter leaves a host"),
        ],
        ..ROW
    },
    Row {
        message: ROUTER,
        honoured: &["suppress_envoy_headers"],
        ignored: &[
            ("dynamic_stats", "statistics are always kept"),
            ("suppress_grpc_request_failure_code_stats", "gRPC status codes are not counted apart"),
            ("start_child_span", NO_TRACING),
            ("reject_connect_request_early_data", "TLS early data is not accepted"),
        ],
        ..ROW
    },
    Row {
        message: "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.UpgradeConfig",
        honoured: &["upgrade_type", "enabled"],
        ..ROW
    },
    Row {
        message: "envoy.extensions.filters.network.http_connection_manager.v3.RequestIDExtension",
        honoured: &["typed_config"],
        // Without one, Envoy takes the same extension.
        holds: &[("typed_config", &[NOTHING, UUID])],
        ..ROW
    },
    Row {
        message: UUID,
        ignored: &[
            ("pack_trace_reason", NO_TRACING),
            ("use_request_id_for_trace_sampling", NO_TRACING),
        ],
        ..ROW
    },
    Row {
        message: "envoy.config.core.v3.HttpProtocolOptions",
        honoured: &[
            "idle_timeout",
            "max_connection_duration",
            "max_stream_duration",
            "max_headers_count",
            "max_requests_per_connection",
            "headers_with_underscores_action",
        ],
        values: &[("headers_with_underscores_action", &["ALLOW"])],
        ..ROW
    },
    Row {
        message: "envoy.config.core.v3.Http1ProtocolOptions",
        honoured: &["accept_http_10", "allow_absolute_url"],
        values: &[("allow_absolute_url", &["true"])],
        ignored: &[
            ("enable_trailers", "trailers are always passed on"),
            ("allow_custom_methods", "any token is a method"),
            ("use_balsa_parser", "the parser is our own"),
        ],
        refused: &[(
            "allow_chunked_length",
            "a message with both Content-Length and Transfer-Encoding is always refused (RFC 9112, 6.3)",
        )],
        ..ROW
    },
    Row {
        message: "envoy.config.core.v3.Http2ProtocolOptions",
        honoured: &[
            "max_concurrent_streams",
            "initial_stream_window_size",
            "initial_connection_window_size",
            "connection_keepalive",
        ],
        ignored: &[
            ("max_outbound_frames", CODEC_BOUNDS),
            ("max_outbound_control_frames", CODEC_BOUNDS),
            ("max_consecutive_inbound_frames_with_empty_payload", CODEC_BOUNDS),
            ("max_inbound_priority_frames_per_stream", CODEC_BOUNDS),
            ("max_inbound_window_update_frames_per_data_frame_sent", CODEC_BOUNDS),
            ("stream_reset_burst", CODEC_BOUNDS),
            ("stream_reset_rate", CODEC_BOUNDS),
            (
                "override_stream_error_on_invalid_http_message",
                "a bad message ends its stream alone",
            ),
            ("stream_error_on_invalid_http_messaging", "a bad message ends its stream alone"),
            ("use_oghttp2_codec", "the codec is our own"),
            ("enable_huffman_encoding", "the codec decides"),
        ],
        ..ROW
    },
];
