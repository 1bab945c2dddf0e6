//! Role-based access control: the filters, and the rules that both share.

use super::super::row::{ROW, Row, whole};

const NO_CEL: &str = "use permissions and principals";
const NO_TREE: &str = "use rules";

pub(super) const ROWS: &[Row] = &[
    Row {
        message: "envoy.extensions.filters.http.rbac.v3.RBAC",
        honoured: &["rules", "rules_stat_prefix", "shadow_rules", "shadow_rules_stat_prefix"],
        refused: &[
            ("matcher", NO_TREE),
            ("shadow_matcher", "use shadow_rules"),
            ("track_per_rule_stats", "decisions are counted per filter, not per policy"),
        ],
        ..ROW
    },
    Row {
        message: "envoy.extensions.filters.http.rbac.v3.RBACPerRoute",
        honoured: &["rbac"],
        ..ROW
    },
    Row {
        message: "envoy.extensions.filters.network.rbac.v3.RBAC",
        honoured: &[
            "rules",
            "shadow_rules",
            "stat_prefix",
            "shadow_rules_stat_prefix",
            "enforcement_type",
        ],
        values: &[("enforcement_type", &["ONE_TIME_ON_FIRST_BYTE"])],
        refused: &[
            ("matcher", NO_TREE),
            ("shadow_matcher", "use shadow_rules"),
            ("delay_deny", "what is denied is closed at once"),
        ],
        ..ROW
    },
    // LOG denies nothing; the mark that it leaves for access logs is metadata, which none of ours reads.
    Row {
        message: "envoy.config.rbac.v3.RBAC",
        honoured: &["action", "policies"],
        refused: &[("audit_logging_options", "use the access log")],
        ..ROW
    },
    Row {
        message: "envoy.config.rbac.v3.Policy",
        honoured: &["permissions", "principals"],
        refused: &[("condition", NO_CEL), ("checked_condition", NO_CEL), ("cel_config", NO_CEL)],
        ..ROW
    },
    Row {
        message: "envoy.config.rbac.v3.Permission",
        honoured: &[
            "and_rules",
            "or_rules",
            "not_rule",
            "any",
            "header",
            "url_path",
            "uri_template",
            "destination_ip",
            "destination_port",
            "destination_port_range",
            "requested_server_name",
            "metadata",
            "sourced_metadata",
        ],
        values: &[("any", &["true"])],
        refused: &[("matcher", "no matcher extension is known")],
        ..ROW
    },
    Row { message: "envoy.config.rbac.v3.Permission.Set", honoured: &["rules"], ..ROW },
    Row {
        message: "envoy.config.rbac.v3.Principal",
        honoured: &[
            "and_ids",
            "or_ids",
            "not_id",
            "any",
            "authenticated",
            "source_ip",
            "direct_remote_ip",
            "remote_ip",
            "header",
            "url_path",
            "metadata",
            "sourced_metadata",
        ],
        values: &[("any", &["true"])],
        refused: &[
            ("filter_state", "no filter sets state"),
            ("custom", "no principal extension is known"),
        ],
        ..ROW
    },
    Row { message: "envoy.config.rbac.v3.Principal.Set", honoured: &["ids"], ..ROW },
    Row {
        message: "envoy.config.rbac.v3.Principal.Authenticated",
        honoured: &["principal_name"],
        ..ROW
    },
    Row {
        message: "envoy.config.rbac.v3.SourcedMetadata",
        honoured: &["metadata_matcher", "metadata_source"],
        values: &[("metadata_source", &["DYNAMIC"])],
        ..ROW
    },
    Row { message: "envoy.type.matcher.v3.PathMatcher", honoured: &["path"], ..ROW },
    whole("envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig"),
    whole("envoy.type.v3.Int32Range"),
];
