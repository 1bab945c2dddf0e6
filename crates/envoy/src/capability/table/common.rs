//! Parts that several messages share.

use super::super::row::{ROW, Row, whole};

pub(super) const ROWS: &[Row] = &[
    Row { message: "envoy.config.core.v3.Address", honoured: &["socket_address", "pipe"], ..ROW },
    // The mode is for listeners; of endpoints it says nothing.
    whole("envoy.config.core.v3.Pipe"),
    Row {
        message: "envoy.config.core.v3.SocketAddress",
        honoured: &["protocol", "address", "port_value"],
        values: &[("protocol", &["TCP"])],
        ..ROW
    },
    whole("envoy.config.core.v3.CidrRange"),
    Row {
        message: "envoy.config.core.v3.ConfigSource",
        // Servers of their own are for secrets; who compiles other sources refuses them.
        honoured: &["ads", "self", "api_config_source", "resource_api_version"],
        values: &[("resource_api_version", &["V3", "AUTO"])],
        ignored: &[(
            "initial_fetch_timeout",
            "there is no limit to how long a resource may take to come",
        )],
        refused: &[("path", "use ads"), ("path_config_source", "use ads")],
        ..ROW
    },
    Row {
        message: "envoy.config.core.v3.ApiConfigSource",
        // A node is only ever sent in the first message, which servers take either way.
        honoured: &[
            "api_type",
            "transport_api_version",
            "grpc_services",
            "set_node_on_first_message_only",
        ],
        values: &[("api_type", &["GRPC"]), ("transport_api_version", &["V3"])],
        ignored: &[("request_timeout", "it is for REST")],
        refused: &[
            ("cluster_names", "use grpc_services"),
            ("refresh_delay", "it is for REST"),
            (
                "rate_limit_settings",
                "a server is asked when names change, and answered once per answer",
            ),
        ],
        ..ROW
    },
    Row {
        message: "envoy.config.core.v3.GrpcService",
        honoured: &["envoy_grpc"],
        ignored: &[("timeout", "a stream lasts for as long as it is needed")],
        refused: &[
            ("google_grpc", "use envoy_grpc, which names a cluster"),
            ("initial_metadata", "streams carry no metadata"),
        ],
        ..ROW
    },
    Row {
        message: "envoy.config.core.v3.GrpcService.EnvoyGrpc",
        honoured: &["cluster_name"],
        ignored: &[
            ("max_receive_message_length", "4 MiB are taken"),
            ("skip_envoy_headers", "there are none"),
        ],
        refused: &[
            ("authority", "the server is called by its name or address"),
            ("retry_policy", "streams are opened again by themselves"),
        ],
        ..ROW
    },
    // Kept for `/config_dump`, where it tells which object a resource was made from, and for `mark`.
    Row {
        message: "envoy.config.core.v3.Metadata",
        honoured: &["filter_metadata"],
        ignored: &[("typed_filter_metadata", "it says where the configuration came from")],
        ..ROW
    },
    whole("envoy.config.core.v3.AggregatedConfigSource"),
    whole("envoy.config.core.v3.SelfConfigSource"),
    Row {
        message: "envoy.config.core.v3.DataSource",
        honoured: &["filename", "inline_bytes", "inline_string"],
        ..ROW
    },
    Row {
        message: "envoy.config.core.v3.SubstitutionFormatString",
        honoured: &["text_format", "text_format_source", "json_format", "omit_empty_values"],
        ignored: &[
            ("content_type", "logs have none, and bodies that are made of a format are plain text"),
            ("json_format_options", "properties are written in the order of their names"),
        ],
        ..ROW
    },
    Row {
        message: "envoy.config.core.v3.HeaderValueOption",
        honoured: &["header", "append", "append_action", "keep_empty_value"],
        ..ROW
    },
    whole("envoy.config.core.v3.HeaderValue"),
    Row {
        message: "envoy.config.core.v3.RuntimeFractionalPercent",
        honoured: &["default_value"],
        ignored: &[("runtime_key", "there is no runtime: the default holds")],
        ..ROW
    },
    whole("envoy.config.core.v3.Locality"),
    // It must have a key. There is no runtime: the default holds.
    whole("envoy.config.core.v3.RuntimeDouble"),
    whole("envoy.type.v3.FractionalPercent"),
    whole("envoy.type.v3.Percent"),
    whole("envoy.type.v3.Int64Range"),
    Row {
        message: "envoy.type.matcher.v3.StringMatcher",
        honoured: &["exact", "prefix", "suffix", "contains", "safe_regex", "ignore_case"],
        ..ROW
    },
    Row {
        message: "envoy.type.matcher.v3.RegexMatcher",
        honoured: &["regex"],
        ignored: &[("google_re2", "the one engine runs in linear time, as RE2 does")],
        ..ROW
    },
    Row {
        message: "envoy.type.matcher.v3.RegexMatchAndSubstitute",
        honoured: &["pattern", "substitution"],
        ..ROW
    },
];
