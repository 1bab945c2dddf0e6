//! The filter of tokens, and tests of what filters note of a request.

use super::super::row::{ROW, Row, whole};

pub(super) const ROWS: &[Row] = &[
    Row {
        message: "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
        honoured: &[
            "providers",
            "rules",
            "bypass_cors_preflight",
            "requirement_map",
            "strip_failure_response",
            "stat_prefix",
        ],
        refused: &[(
            "filter_state_rules",
            "no filter sets state; use rules or a route's requirement_name",
        )],
        ..ROW
    },
    Row {
        message: "envoy.extensions.filters.http.jwt_authn.v3.JwtProvider",
        honoured: &[
            "issuer",
            "audiences",
            "subjects",
            "require_expiration",
            "max_lifetime",
            "local_jwks",
            "remote_jwks",
            "forward",
            "from_headers",
            "from_params",
            "from_cookies",
            "forward_payload_header",
            "pad_forward_payload_header",
            "payload_in_metadata",
            "normalize_payload_in_metadata",
            "header_in_metadata",
            "clock_skew_seconds",
            "jwt_cache_config",
            "claim_to_headers",
            "clear_route_cache",
        ],
        refused: &[(
            "failed_status_in_metadata",
            "the log has the reason in %RESPONSE_CODE_DETAILS%",
        )],
        ..ROW
    },
    Row {
        message: "envoy.extensions.filters.http.jwt_authn.v3.RemoteJwks",
        honoured: &["http_uri", "cache_duration", "async_fetch", "retry_policy"],
        ..ROW
    },
    // Listeners wait for no keys: requests do, until the first have come.
    whole("envoy.extensions.filters.http.jwt_authn.v3.JwksAsyncFetch"),
    whole("envoy.config.core.v3.HttpUri"),
    Row {
        message: "envoy.config.core.v3.RetryPolicy",
        honoured: &["retry_back_off", "num_retries"],
        refused: &[
            ("retry_on", "fetches are attempted again after 5xx, resets and connections that fail"),
            ("retry_priority", "there are no priorities"),
            ("retry_host_predicate", "each attempt takes any endpoint"),
            ("host_selection_retry_max_attempts", "each attempt takes any endpoint"),
        ],
        ..ROW
    },
    whole("envoy.config.core.v3.BackoffStrategy"),
    whole("envoy.extensions.filters.http.jwt_authn.v3.JwtProvider.NormalizePayload"),
    whole("envoy.extensions.filters.http.jwt_authn.v3.JwtCacheConfig"),
    whole("envoy.extensions.filters.http.jwt_authn.v3.JwtHeader"),
    whole("envoy.extensions.filters.http.jwt_authn.v3.JwtClaimToHeader"),
    whole("envoy.extensions.filters.http.jwt_authn.v3.ProviderWithAudiences"),
    whole("envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig"),
    Row {
        message: "envoy.extensions.filters.http.jwt_authn.v3.RequirementRule",
        honoured: &["match", "requires", "requirement_name"],
        ..ROW
    },
    Row {
        message: "envoy.extensions.filters.http.jwt_authn.v3.JwtRequirement",
        honoured: &[
            "provider_name",
            "provider_and_audiences",
            "requires_any",
            "requires_all",
            "allow_missing_or_failed",
            "allow_missing",
        ],
        refused: &[(
            "extract_only_without_validation",
            "what nobody has verified is not used; use allow_missing_or_failed",
        )],
        ..ROW
    },
    Row {
        message: "envoy.extensions.filters.http.jwt_authn.v3.JwtRequirementOrList",
        honoured: &["requirements"],
        ..ROW
    },
    Row {
        message: "envoy.extensions.filters.http.jwt_authn.v3.JwtRequirementAndList",
        honoured: &["requirements"],
        ..ROW
    },
    Row {
        message: "envoy.type.matcher.v3.MetadataMatcher",
        honoured: &["filter", "path", "value", "invert"],
        ..ROW
    },
    whole("envoy.type.matcher.v3.MetadataMatcher.PathSegment"),
    Row {
        message: "envoy.type.matcher.v3.ValueMatcher",
        honoured: &[
            "null_match",
            "double_match",
            "string_match",
            "bool_match",
            "present_match",
            "list_match",
            "or_match",
        ],
        ..ROW
    },
    whole("envoy.type.matcher.v3.ValueMatcher.NullMatch"),
    whole("envoy.type.matcher.v3.DoubleMatcher"),
    Row { message: "envoy.type.matcher.v3.ListMatcher", honoured: &["one_of"], ..ROW },
    Row { message: "envoy.type.matcher.v3.OrMatcher", honoured: &["value_matchers"], ..ROW },
];
