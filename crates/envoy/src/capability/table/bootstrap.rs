//! What a bootstrap file holds beside the resources.

use super::super::row::{ROW, Row, whole};

const OWN_STATS: &str = "statistics are always kept, and read at the admin address";
const ENVOY_ONLY: &str = "it concerns Envoy's own inside";

pub(super) const ROWS: &[Row] = &[
    Row {
        message: "envoy.config.bootstrap.v3.Bootstrap",
        honoured: &["node", "static_resources", "admin"],
        ignored: &[
            ("layered_runtime", "there is no runtime: defaults hold"),
            ("cluster_manager", "the sizes and options it sets are fixed here"),
            ("stats_config", OWN_STATS),
            ("stats_flush_interval", OWN_STATS),
            ("stats_flush_on_admin", OWN_STATS),
            ("stats_eviction_interval", OWN_STATS),
            ("stats_server_version_override", OWN_STATS),
            ("deferred_stat_options", OWN_STATS),
            ("enable_dispatcher_stats", OWN_STATS),
            ("watchdog", ENVOY_ONLY),
            ("watchdogs", ENVOY_ONLY),
            ("fatal_actions", ENVOY_ONLY),
            ("perf_tracing_file_path", ENVOY_ONLY),
            ("inline_headers", ENVOY_ONLY),
            ("listener_manager", ENVOY_ONLY),
            ("memory_allocator_manager", ENVOY_ONLY),
            ("enable_worker_cpu_affinity", ENVOY_ONLY),
            ("application_log_config", "logs of the process follow its own flags"),
            ("default_regex_engine", "the one engine runs in linear time, as RE2 does"),
            ("typed_dns_resolver_config", "there is one resolver: see --dns-server"),
            ("node_context_params", "no discovery is done from a bootstrap file"),
        ],
        refused: &[
            ("dynamic_resources", "only static_resources are read from a bootstrap file"),
            (
                "stats_sinks",
                "statistics are not pushed: scrape /stats/prometheus at the admin address",
            ),
            (
                "overload_manager",
                "limits stand in listeners and clusters, there is no overload manager",
            ),
            (
                "use_tcp_for_dns_lookups",
                "DNS goes over UDP first, over TCP when the answer says so",
            ),
            ("dns_resolution_config", "there is one resolver: see --dns-server"),
        ],
        ..ROW
    },
    Row {
        message: "envoy.config.bootstrap.v3.Bootstrap.StaticResources",
        honoured: &["listeners", "clusters", "secrets"],
        ..ROW
    },
    Row {
        message: "envoy.config.bootstrap.v3.Admin",
        honoured: &["address"],
        ignored: &[
            ("access_log", "requests to the admin address are not logged"),
            ("access_log_path", "requests to the admin address are not logged"),
            ("profile_path", ENVOY_ONLY),
            ("ignore_global_conn_limit", "there is no global limit of connections"),
        ],
        ..ROW
    },
    whole("envoy.config.core.v3.Node"),
];
