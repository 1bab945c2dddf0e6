//! Rate limits.

use super::super::row::{ROW, Row, whole};

/// The HTTP filter, which is also what routes say instead of it.
pub(super) const LOCAL_RATE_LIMIT: &str =
    "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit";

pub(super) const ROWS: &[Row] = &[
    Row {
        message: LOCAL_RATE_LIMIT,
        honoured: &[
            "stat_prefix",
            "status",
            "token_bucket",
            "filter_enabled",
            "filter_enforced",
            "request_headers_to_add_when_not_enforced",
            "response_headers_to_add",
            "descriptors",
            "stage",
            "local_rate_limit_per_downstream_connection",
            "enable_x_ratelimit_headers",
            "vh_rate_limits",
            "always_consume_default_token_bucket",
            "rate_limits",
            "max_dynamic_descriptors",
            "rate_limited_as_resource_exhausted",
        ],
        refused: &[(
            "local_cluster_rate_limit",
            "there is one process, whose workers share a limit already",
        )],
        ..ROW
    },
    whole("envoy.type.v3.TokenBucket"),
    whole("envoy.type.v3.HttpStatus"),
    whole("envoy.extensions.common.ratelimit.v3.LocalRateLimitDescriptor"),
    Row {
        message: "envoy.config.route.v3.RateLimit",
        honoured: &["stage", "disable_key", "actions", "hits_addend", "x_ratelimit_option"],
        refused: &[
            ("limit", "limits are those of the filter's descriptors"),
            ("apply_on_stream_done", "tokens are taken when a request comes"),
        ],
        ..ROW
    },
    Row { message: "envoy.config.route.v3.RateLimit.HitsAddend", honoured: &["number"], ..ROW },
    Row {
        message: "envoy.config.route.v3.RateLimit.Action",
        honoured: &[
            "request_headers",
            "query_parameters",
            "remote_address",
            "masked_remote_address",
            "generic_key",
            "header_value_match",
            "query_parameter_value_match",
            "remote_address_match",
        ],
        ..ROW
    },
    whole("envoy.config.route.v3.RateLimit.Action.RequestHeaders"),
    whole("envoy.config.route.v3.RateLimit.Action.QueryParameters"),
    whole("envoy.config.route.v3.RateLimit.Action.RemoteAddress"),
    whole("envoy.config.route.v3.RateLimit.Action.MaskedRemoteAddress"),
    Row {
        message: "envoy.config.route.v3.RateLimit.Action.GenericKey",
        honoured: &["descriptor_value", "descriptor_key"],
        refused: &[("default_value", NO_VARIABLES)],
        ..ROW
    },
    Row {
        message: "envoy.config.route.v3.RateLimit.Action.HeaderValueMatch",
        honoured: &["descriptor_value", "descriptor_key", "expect_match", "headers"],
        refused: &[("default_value", NO_VARIABLES)],
        ..ROW
    },
    Row {
        message: "envoy.config.route.v3.RateLimit.Action.QueryParameterValueMatch",
        honoured: &["descriptor_value", "descriptor_key", "expect_match", "query_parameters"],
        refused: &[("default_value", NO_VARIABLES)],
        ..ROW
    },
    Row {
        message: "envoy.config.route.v3.RateLimit.Action.RemoteAddressMatch",
        honoured: &["descriptor_value", "descriptor_key", "address_matcher"],
        refused: &[("default_value", NO_VARIABLES)],
        ..ROW
    },
    Row {
        message: "envoy.type.matcher.v3.AddressMatcher",
        honoured: &["ranges", "invert_match"],
        ..ROW
    },
    whole("xds.core.v3.CidrRange"),
];

const NO_VARIABLES: &str = "values have no variables, so that none is empty";
