//! Listeners, filter chains, listener filters and network filters (HTTP: `http.rs`).

use super::super::row::{ROW, Row, whole};

const HTTP_CONNECTION_MANAGER: &str =
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const RBAC: &str = "envoy.extensions.filters.network.rbac.v3.RBAC";
const SNI_FORWARD: &str =
    "envoy.extensions.filters.network.sni_dynamic_forward_proxy.v3.FilterConfig";
const TCP_PROXY: &str = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";
const TLS_INSPECTOR: &str = "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector";
const HTTP_INSPECTOR: &str = "envoy.extensions.filters.listener.http_inspector.v3.HttpInspector";
const ORIGINAL_DST: &str = "envoy.extensions.filters.listener.original_dst.v3.OriginalDst";
const ORIGINAL_SRC: &str = "envoy.extensions.filters.listener.original_src.v3.OriginalSrc";
const FILE_LOG: &str = "envoy.extensions.access_loggers.file.v3.FileAccessLog";
const STDOUT_LOG: &str = "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog";
const STDERR_LOG: &str = "envoy.extensions.access_loggers.stream.v3.StderrAccessLog";

const OWN_SOCKETS: &str = "each worker has a socket of its own, and the kernel spreads connections";

pub(super) const ROWS: &[Row] = &[
    Row {
        message: "envoy.config.listener.v3.Listener",
        honoured: &[
            "name",
            "address",
            "additional_addresses",
            "stat_prefix",
            "filter_chains",
            "default_filter_chain",
            "listener_filters",
            "listener_filters_timeout",
            "continue_on_listener_filters_timeout",
            "per_connection_buffer_limit_bytes",
            "traffic_direction",
            "access_log",
            "bind_to_port",
            "use_original_dst",
            "transparent",
            "freebind",
        ],
        values: &[("freebind", &["false"])],
        ignored: &[
            ("metadata", "it says where the configuration came from"),
            ("connection_balance_config", OWN_SOCKETS),
            ("enable_reuse_port", OWN_SOCKETS),
            ("reuse_port", OWN_SOCKETS),
            ("max_connections_to_accept_per_socket_event", OWN_SOCKETS),
            ("drain_type", "connections drain when a listener or a chain of it goes"),
            ("ignore_global_conn_limit", "there is no global limit of connections"),
            ("bypass_overload_manager", "there is no overload manager"),
            ("stats_matcher", "statistics are always kept"),
        ],
        refused: &[
            ("udp_listener_config", "HTTP/3 is not spoken: only TCP listeners are supported"),
            ("api_listener", "it is for gRPC clients without a proxy"),
            ("filter_chain_matcher", "use filter_chain_match in each chain"),
        ],
        ..ROW
    },
    Row { message: "envoy.config.listener.v3.AdditionalAddress", honoured: &["address"], ..ROW },
    Row {
        message: "envoy.config.listener.v3.FilterChain",
        honoured: &[
            "name",
            "filter_chain_match",
            "filters",
            "transport_socket",
            "transport_socket_connect_timeout",
            "use_proxy_proto",
            "metadata",
        ],
        values: &[("use_proxy_proto", &["false"])],
        ..ROW
    },
    Row {
        message: "envoy.config.listener.v3.FilterChainMatch",
        honoured: &[
            "destination_port",
            "prefix_ranges",
            "server_names",
            "transport_protocol",
            "application_protocols",
            "direct_source_prefix_ranges",
            "source_type",
            "source_prefix_ranges",
            "source_ports",
        ],
        refused: &[
            ("address_suffix", "Envoy does not implement it: use prefix_ranges"),
            ("suffix_len", "Envoy does not implement it: use prefix_ranges"),
        ],
        ..ROW
    },
    Row {
        message: "envoy.config.listener.v3.Filter",
        honoured: &["name", "typed_config"],
        holds: &[("typed_config", &[HTTP_CONNECTION_MANAGER, RBAC, SNI_FORWARD, TCP_PROXY])],
        ..ROW
    },
    Row {
        message: "envoy.config.listener.v3.ListenerFilter",
        honoured: &["name", "typed_config", "filter_disabled"],
        holds: &[("typed_config", &[TLS_INSPECTOR, HTTP_INSPECTOR, ORIGINAL_DST, ORIGINAL_SRC])],
        ..ROW
    },
    whole("envoy.config.listener.v3.ListenerFilterChainMatchPredicate"),
    Row {
        message: SNI_FORWARD,
        honoured: &["dns_cache_config", "port_value"],
        ignored: &[("save_upstream_address", "no filter looks at it")],
        ..ROW
    },
    Row { message: HTTP_INSPECTOR, ..ROW },
    Row { message: ORIGINAL_DST, ..ROW },
    Row {
        message: ORIGINAL_SRC,
        honoured: &["mark", "bind_port"],
        values: &[("bind_port", &["false"])],
        ..ROW
    },
    Row {
        message: TLS_INSPECTOR,
        honoured: &["enable_ja3_fingerprinting", "enable_ja4_fingerprinting"],
        values: &[
            ("enable_ja3_fingerprinting", &["false"]),
            ("enable_ja4_fingerprinting", &["false"]),
        ],
        ignored: &[
            ("initial_read_buffer_size", "buffers come from a pool"),
            ("max_client_hello_size", "a ClientHello may take 16 KiB, Envoy's default"),
        ],
        ..ROW
    },
    Row {
        message: TCP_PROXY,
        honoured: &[
            "stat_prefix",
            "cluster",
            "weighted_clusters",
            "idle_timeout",
            "max_downstream_connection_duration",
            "max_connect_attempts",
            "access_log",
        ],
        refused: &[
            ("downstream_idle_timeout", "Envoy does not implement it: use idle_timeout"),
            ("upstream_idle_timeout", "Envoy does not implement it: use idle_timeout"),
        ],
        ignored: &[("hash_policy", "only ring hash and Maglev look at it, which are refused")],
        ..ROW
    },
    Row {
        message: "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.WeightedCluster",
        honoured: &["clusters"],
        ..ROW
    },
    Row {
        message: "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.WeightedCluster.ClusterWeight",
        honoured: &["name", "weight"],
        ..ROW
    },
    Row {
        message: "envoy.config.accesslog.v3.AccessLog",
        honoured: &["name", "filter", "typed_config"],
        holds: &[("typed_config", &[FILE_LOG, STDOUT_LOG, STDERR_LOG])],
        ..ROW
    },
    Row {
        message: "envoy.config.accesslog.v3.AccessLogFilter",
        honoured: &["response_flag_filter"],
        ..ROW
    },
    whole("envoy.config.accesslog.v3.ResponseFlagFilter"),
    Row {
        message: FILE_LOG,
        honoured: &["path", "format", "json_format", "typed_json_format", "log_format"],
        ..ROW
    },
    Row { message: STDOUT_LOG, honoured: &["log_format"], ..ROW },
    Row { message: STDERR_LOG, honoured: &["log_format"], ..ROW },
];
