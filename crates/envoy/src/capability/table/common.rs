//! Parts that several messages share.

use super::super::row::{ROW, Row, whole};

pub(super) const ROWS: &[Row] = &[
    Row { message: "envoy.config.core.v3.Address", honoured: &["socket_address"], ..ROW },
    Row {
        message: "envoy.config.core.v3.SocketAddress",
        honoured: &["protocol", "address", "port_value"],
        values: &[("protocol", &["TCP"])],
        ..ROW
    },
    whole("envoy.config.core.v3.CidrRange"),
    Row {
        message: "envoy.config.core.v3.ConfigSource",
        honoured: &["ads", "self", "resource_api_version"],
        values: &[("resource_api_version", &["V3", "AUTO"])],
        ignored: &[(
            "initial_fetch_timeout",
            "there is no limit to how long a resource may take to come",
        )],
        refused: &[
            ("path", "use ads"),
            ("path_config_source", "use ads"),
            ("api_config_source", "use ads"),
        ],
        ..ROW
    },
    // Kept for `/config_dump`, where it tells which object a resource was made from.
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
            ("content_type", "it is for bodies, not for logs"),
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
