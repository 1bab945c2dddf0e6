//! Access logs of listeners, connection managers and TCP proxies.

use tidegate_envoy::any;
use tidegate_envoy::v3::accesslog::access_log::ConfigType;
use tidegate_envoy::v3::accesslog::access_log_filter::FilterSpecifier;
use tidegate_envoy::v3::accesslog::{AccessLog, AccessLogFilter, ResponseFlagFilter};
use tidegate_envoy::v3::core::data_source::Specifier;
use tidegate_envoy::v3::core::substitution_format_string::Format;
use tidegate_envoy::v3::core::{DataSource, SubstitutionFormatString};
use tidegate_envoy::v3::file_access_log::FileAccessLog;
use tidegate_envoy::v3::file_access_log::file_access_log::AccessLogFormat;

use crate::Options;

/// The log of requests or connections; empty when nothing is logged.
#[must_use]
pub fn of_traffic(options: &Options) -> Vec<AccessLog> {
    log(options, None)
}

/// The log of a listener: connections that no filter chain takes, which nothing else would tell.
#[must_use]
pub fn of_listener(options: &Options) -> Vec<AccessLog> {
    let flags = ResponseFlagFilter { flags: vec!["NR".to_owned()] };
    log(options, Some(FilterSpecifier::ResponseFlagFilter(flags)))
}

fn log(options: &Options, filter: Option<FilterSpecifier>) -> Vec<AccessLog> {
    let Some(log) = &options.access_log else { return Vec::new() };
    let text = DataSource {
        specifier: Some(Specifier::InlineString(log.format.clone())),
        ..DataSource::default()
    };
    let file = FileAccessLog {
        path: log.path.clone(),
        access_log_format: Some(AccessLogFormat::LogFormat(SubstitutionFormatString {
            format: Some(Format::TextFormatSource(text)),
            ..SubstitutionFormatString::default()
        })),
    };
    vec![AccessLog {
        name: "envoy.access_loggers.file".to_owned(),
        filter: filter.map(|f| AccessLogFilter { filter_specifier: Some(f) }),
        config_type: Some(ConfigType::TypedConfig(any(&file))),
    }]
}
