//! Clusters, their endpoints and the protocols spoken to them.

use super::super::row::{ROW, Row, whole};

const DNS_CLUSTER: &str = "envoy.extensions.clusters.dns.v3.DnsCluster";
const DYNAMIC_CLUSTER: &str = "envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig";
const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
const ROUND_ROBIN: &str = "envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin";
const LEAST_REQUEST: &str =
    "envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest";
const RANDOM: &str = "envoy.extensions.load_balancing_policies.random.v3.Random";
const URI_TEMPLATE: &str = "envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig";
const RING_HASH: &str = "envoy.extensions.load_balancing_policies.ring_hash.v3.RingHash";
const MAGLEV: &str = "envoy.extensions.load_balancing_policies.maglev.v3.Maglev";

const ORIGIN: &str = "it says where the configuration came from";
const NO_HEALTH_CHECKS: &str = "endpoints are not checked for health";
const ALWAYS_STATS: &str = "statistics are always kept";
const IN_HTTP_OPTIONS: &str =
    "deprecated by Envoy for HttpProtocolOptions in typed_extension_protocol_options";
const UNBOUNDED: &str = "the same endpoint is chosen however busy it is";
const ONE_RESOLVER: &str = "there is one resolver: see --dns-server";

pub(super) const ROWS: &[Row] = &[
    Row {
        message: "envoy.config.cluster.v3.Cluster",
        honoured: &[
            "name",
            "alt_stat_name",
            "type",
            "cluster_type",
            "eds_cluster_config",
            "load_assignment",
            "connect_timeout",
            "per_connection_buffer_limit_bytes",
            "lb_policy",
            "round_robin_lb_config",
            "least_request_lb_config",
            "ring_hash_lb_config",
            "maglev_lb_config",
            "original_dst_lb_config",
            "load_balancing_policy",
            "common_lb_config",
            "circuit_breakers",
            "outlier_detection",
            "typed_extension_protocol_options",
            "dns_lookup_family",
            "dns_refresh_rate",
            "respect_dns_ttl",
            "upstream_connection_options",
            "upstream_bind_config",
            "cleanup_interval",
            "transport_socket",
            "metadata",
        ],
        values: &[
            ("type", &["STATIC", "STRICT_DNS", "LOGICAL_DNS", "EDS", "ORIGINAL_DST"]),
            (
                "lb_policy",
                &[
                    "ROUND_ROBIN",
                    "LEAST_REQUEST",
                    "RANDOM",
                    "RING_HASH",
                    "MAGLEV",
                    "LOAD_BALANCING_POLICY_CONFIG",
                    "CLUSTER_PROVIDED",
                ],
            ),
        ],
        holds: &[("typed_extension_protocol_options", &[HTTP_OPTIONS])],
        ignored: &[
            ("close_connections_on_host_health_failure", NO_HEALTH_CHECKS),
            ("ignore_health_on_host_removal", NO_HEALTH_CHECKS),
            ("preconnect_policy", "connections are opened when they are needed"),
            ("track_cluster_stats", ALWAYS_STATS),
            ("track_timeout_budgets", ALWAYS_STATS),
            ("stats_matcher", ALWAYS_STATS),
            ("lrs_server", "load is not reported"),
            ("lrs_report_endpoint_metrics", "load is not reported"),
        ],
        refused: &[
            ("health_checks", NO_HEALTH_CHECKS),
            ("max_requests_per_connection", IN_HTTP_OPTIONS),
            ("common_http_protocol_options", IN_HTTP_OPTIONS),
            ("http_protocol_options", IN_HTTP_OPTIONS),
            ("http2_protocol_options", IN_HTTP_OPTIONS),
            ("upstream_http_protocol_options", IN_HTTP_OPTIONS),
            ("protocol_selection", IN_HTTP_OPTIONS),
            ("dns_resolvers", ONE_RESOLVER),
            ("dns_resolution_config", ONE_RESOLVER),
            ("typed_dns_resolver_config", ONE_RESOLVER),
        ],
        ..ROW
    },
    whole("envoy.config.cluster.v3.Cluster.OriginalDstLbConfig"),
    whole("envoy.type.metadata.v3.MetadataKey"),
    Row { message: "envoy.type.metadata.v3.MetadataKey.PathSegment", honoured: &["key"], ..ROW },
    Row {
        message: "envoy.config.core.v3.BindConfig",
        honoured: &["source_address", "extra_source_addresses", "freebind"],
        values: &[("freebind", &["false"])],
        refused: &[(
            "additional_source_addresses",
            "deprecated by Envoy for extra_source_addresses",
        )],
        ..ROW
    },
    Row { message: "envoy.config.core.v3.ExtraSourceAddress", honoured: &["address"], ..ROW },
    Row {
        message: "envoy.config.cluster.v3.Cluster.CustomClusterType",
        honoured: &["name", "typed_config"],
        holds: &[("typed_config", &[DNS_CLUSTER, DYNAMIC_CLUSTER])],
        ..ROW
    },
    Row {
        message: DNS_CLUSTER,
        honoured: &[
            "dns_refresh_rate",
            "respect_dns_ttl",
            "dns_lookup_family",
            "all_addresses_in_single_endpoint",
        ],
        refused: &[("typed_dns_resolver_config", ONE_RESOLVER)],
        ..ROW
    },
    Row {
        message: DYNAMIC_CLUSTER,
        honoured: &["dns_cache_config"],
        ignored: &[
            ("allow_insecure_cluster_options", "servers are verified where TLS says so"),
            ("allow_coalesced_connections", "a connection is for one name"),
        ],
        refused: &[("sub_clusters_config", "use dns_cache_config")],
        ..ROW
    },
    Row {
        message: "envoy.extensions.common.dynamic_forward_proxy.v3.DnsCacheConfig",
        honoured: &[
            "name",
            "dns_lookup_family",
            "dns_refresh_rate",
            "dns_min_refresh_rate",
            "host_ttl",
            "max_hosts",
        ],
        ignored: &[
            ("dns_failure_refresh_rate", "lookups that fail are repeated after 1s to 30s"),
            ("disable_dns_refresh_on_failure", "lookups that fail are repeated after 1s to 30s"),
            ("dns_cache_circuit_breaker", "lookups wait for their turn"),
            ("preresolve_hostnames", "a name is resolved when it is asked for first"),
            ("dns_query_timeout", "a request waits for a name as long as for a connection"),
        ],
        refused: &[
            ("typed_dns_resolver_config", ONE_RESOLVER),
            ("dns_resolution_config", ONE_RESOLVER),
            ("use_tcp_for_dns_lookups", ONE_RESOLVER),
            ("key_value_config", "names are kept in memory"),
        ],
        ..ROW
    },
    Row {
        message: "envoy.config.cluster.v3.Cluster.EdsClusterConfig",
        honoured: &["eds_config", "service_name"],
        ..ROW
    },
    Row {
        message: "envoy.config.cluster.v3.Cluster.CommonLbConfig",
        honoured: &[
            "consistent_hashing_lb_config",
            "healthy_panic_threshold",
            "locality_weighted_lb_config",
        ],
        ignored: &[
            ("ignore_new_hosts_until_first_hc", NO_HEALTH_CHECKS),
            ("override_host_status", NO_HEALTH_CHECKS),
            ("update_merge_window", "changes of endpoints take effect at once"),
        ],
        ..ROW
    },
    Row {
        message: "envoy.config.cluster.v3.Cluster.CommonLbConfig.ConsistentHashingLbConfig",
        honoured: &["use_hostname_for_hashing"],
        refused: &[("hash_balance_factor", UNBOUNDED)],
        ..ROW
    },
    Row {
        message: "envoy.config.cluster.v3.Cluster.RingHashLbConfig",
        honoured: &["minimum_ring_size", "maximum_ring_size", "hash_function"],
        values: &[("hash_function", &["XX_HASH"])],
        ..ROW
    },
    Row {
        message: "envoy.config.cluster.v3.Cluster.MaglevLbConfig",
        honoured: &["table_size"],
        ..ROW
    },
    Row {
        message: "envoy.config.cluster.v3.Cluster.RoundRobinLbConfig",
        honoured: &["slow_start_config"],
        ..ROW
    },
    Row {
        message: "envoy.config.cluster.v3.Cluster.LeastRequestLbConfig",
        honoured: &["choice_count", "slow_start_config"],
        values: &[("choice_count", &["2"])],
        ..ROW
    },
    Row {
        message: "envoy.config.cluster.v3.Cluster.SlowStartConfig",
        honoured: &["slow_start_window", "aggression", "min_weight_percent"],
        ..ROW
    },
    whole("envoy.config.cluster.v3.Cluster.CommonLbConfig.LocalityWeightedLbConfig"),
    Row { message: "envoy.config.cluster.v3.LoadBalancingPolicy", honoured: &["policies"], ..ROW },
    Row {
        message: "envoy.config.cluster.v3.LoadBalancingPolicy.Policy",
        honoured: &["typed_extension_config"],
        ..ROW
    },
    Row {
        message: "envoy.config.core.v3.TypedExtensionConfig",
        honoured: &["name", "typed_config"],
        // Balancers of a cluster, and templates of RBAC. Who compiles one of them refuses the other.
        holds: &[(
            "typed_config",
            &[ROUND_ROBIN, LEAST_REQUEST, RANDOM, RING_HASH, MAGLEV, URI_TEMPLATE],
        )],
        ..ROW
    },
    Row { message: ROUND_ROBIN, honoured: &["slow_start_config", "locality_lb_config"], ..ROW },
    Row { message: RANDOM, honoured: &["locality_lb_config"], ..ROW },
    Row {
        message: "envoy.extensions.load_balancing_policies.common.v3.SlowStartConfig",
        honoured: &["slow_start_window", "aggression", "min_weight_percent"],
        ..ROW
    },
    Row {
        message: "envoy.extensions.load_balancing_policies.common.v3.LocalityLbConfig",
        honoured: &["locality_weighted_lb_config"],
        refused: &[("zone_aware_lb_config", "use locality_weighted_lb_config, or priorities")],
        ..ROW
    },
    whole(
        "envoy.extensions.load_balancing_policies.common.v3.LocalityLbConfig.LocalityWeightedLbConfig",
    ),
    Row {
        message: RING_HASH,
        honoured: &[
            "minimum_ring_size",
            "maximum_ring_size",
            "hash_function",
            "consistent_hashing_lb_config",
            "locality_weighted_lb_config",
        ],
        values: &[("hash_function", &["DEFAULT_HASH", "XX_HASH"])],
        ..ROW
    },
    Row {
        message: MAGLEV,
        honoured: &["table_size", "consistent_hashing_lb_config", "locality_weighted_lb_config"],
        ..ROW
    },
    Row {
        message: "envoy.extensions.load_balancing_policies.common.v3.ConsistentHashingLbConfig",
        honoured: &["use_hostname_for_hashing"],
        refused: &[("hash_balance_factor", UNBOUNDED)],
        ..ROW
    },
    Row {
        message: LEAST_REQUEST,
        honoured: &["choice_count", "selection_method", "slow_start_config", "locality_lb_config"],
        values: &[("choice_count", &["2"]), ("selection_method", &["N_CHOICES"])],
        ..ROW
    },
    Row { message: "envoy.config.cluster.v3.CircuitBreakers", honoured: &["thresholds"], ..ROW },
    Row {
        message: "envoy.config.cluster.v3.CircuitBreakers.Thresholds",
        // Limits of priority HIGH may stand here; routes of that priority are refused.
        honoured: &[
            "priority",
            "max_connections",
            "max_pending_requests",
            "max_requests",
            "max_retries",
            "retry_budget",
            "track_remaining",
        ],
        ..ROW
    },
    Row {
        message: "envoy.config.cluster.v3.CircuitBreakers.Thresholds.RetryBudget",
        honoured: &["budget_percent", "budget_interval", "min_retry_concurrency"],
        ..ROW
    },
    Row {
        message: "envoy.config.cluster.v3.UpstreamConnectionOptions",
        honoured: &["tcp_keepalive"],
        ..ROW
    },
    whole("envoy.config.core.v3.TcpKeepalive"),
    Row {
        message: HTTP_OPTIONS,
        honoured: &[
            "common_http_protocol_options",
            "upstream_http_protocol_options",
            "explicit_http_config",
            "use_downstream_protocol_config",
            "outlier_detection",
        ],
        refused: &[("auto_config", "use explicit_http_config or use_downstream_protocol_config")],
        ..ROW
    },
    Row {
        message: "envoy.extensions.upstreams.http.v3.HttpProtocolOptions.OutlierDetection",
        honoured: &["error_matcher"],
        ..ROW
    },
    Row {
        // Which answers are failures: what can be told from their status.
        message: "envoy.config.common.matcher.v3.MatchPredicate",
        honoured: &[
            "or_match",
            "and_match",
            "not_match",
            "any_match",
            "http_response_headers_match",
        ],
        ..ROW
    },
    Row {
        message: "envoy.config.common.matcher.v3.MatchPredicate.MatchSet",
        honoured: &["rules"],
        ..ROW
    },
    Row {
        message: "envoy.config.common.matcher.v3.HttpHeadersMatch",
        honoured: &["headers"],
        ..ROW
    },
    Row {
        message: "envoy.config.cluster.v3.OutlierDetection",
        honoured: &[
            "consecutive_5xx",
            "interval",
            "base_ejection_time",
            "max_ejection_percent",
            "enforcing_consecutive_5xx",
            "enforcing_success_rate",
            "success_rate_minimum_hosts",
            "success_rate_request_volume",
            "success_rate_stdev_factor",
            "consecutive_gateway_failure",
            "enforcing_consecutive_gateway_failure",
            "split_external_local_origin_errors",
            "consecutive_local_origin_failure",
            "enforcing_consecutive_local_origin_failure",
            "enforcing_local_origin_success_rate",
            "failure_percentage_threshold",
            "enforcing_failure_percentage",
            "enforcing_failure_percentage_local_origin",
            "failure_percentage_minimum_hosts",
            "failure_percentage_request_volume",
            "max_ejection_time",
            "max_ejection_time_jitter",
            "always_eject_one_host",
        ],
        ignored: &[("successful_active_health_check_uneject_host", NO_HEALTH_CHECKS)],
        refused: &[
            ("monitors", "use consecutive_5xx and its like"),
            ("detect_degraded_hosts", "endpoints are in or ejected"),
        ],
        ..ROW
    },
    Row {
        message: "envoy.config.core.v3.UpstreamHttpProtocolOptions",
        honoured: &["auto_sni", "auto_san_validation"],
        refused: &[("override_auto_sni_header", "the server that is asked for is the host")],
        ..ROW
    },
    Row {
        message: "envoy.extensions.upstreams.http.v3.HttpProtocolOptions.ExplicitHttpConfig",
        honoured: &["http_protocol_options", "http2_protocol_options"],
        ..ROW
    },
    Row {
        message: "envoy.extensions.upstreams.http.v3.HttpProtocolOptions.UseDownstreamHttpConfig",
        honoured: &["http_protocol_options", "http2_protocol_options"],
        refused: &[("http3_protocol_options", "HTTP/3 is not spoken")],
        ..ROW
    },
    Row {
        message: "envoy.config.core.v3.KeepaliveSettings",
        honoured: &["interval", "timeout", "interval_jitter"],
        refused: &[("connection_idle_interval", "use interval")],
        ..ROW
    },
    Row {
        message: "envoy.config.endpoint.v3.ClusterLoadAssignment",
        honoured: &["cluster_name", "endpoints", "policy"],
        ..ROW
    },
    Row {
        message: "envoy.config.endpoint.v3.ClusterLoadAssignment.Policy",
        honoured: &["overprovisioning_factor"],
        ignored: &[("weighted_priority_health", NO_HEALTH_CHECKS)],
        ..ROW
    },
    Row {
        message: "envoy.config.endpoint.v3.LocalityLbEndpoints",
        honoured: &["lb_endpoints", "locality", "load_balancing_weight", "priority"],
        ignored: &[
            ("proximity", "only zone awareness looks at it, which is refused"),
            ("metadata", ORIGIN),
        ],
        ..ROW
    },
    Row {
        message: "envoy.config.endpoint.v3.LbEndpoint",
        honoured: &["endpoint", "load_balancing_weight", "health_status"],
        values: &[("health_status", &["UNKNOWN", "HEALTHY"])],
        ignored: &[("metadata", "only subsets look at it, which are refused")],
        ..ROW
    },
    Row {
        message: "envoy.config.endpoint.v3.Endpoint",
        honoured: &["address", "hostname"],
        ignored: &[("health_check_config", NO_HEALTH_CHECKS)],
        ..ROW
    },
];
