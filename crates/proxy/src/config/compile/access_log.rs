//! Access logs.

use std::sync::Arc;

use prost_types::Struct;
use tidegate_envoy::json;
use tidegate_envoy::prost::Message as _;
use tidegate_envoy::v3::accesslog::AccessLog;
use tidegate_envoy::v3::accesslog::access_log::ConfigType;
use tidegate_envoy::v3::accesslog::access_log_filter::FilterSpecifier;
use tidegate_envoy::v3::core::SubstitutionFormatString;
use tidegate_envoy::v3::core::substitution_format_string::Format as FormatSpecifier;
use tidegate_envoy::v3::file_access_log::FileAccessLog;
use tidegate_envoy::v3::file_access_log::file_access_log::AccessLogFormat as FileFormat;
use tidegate_envoy::v3::stream_access_log::stderr_access_log::AccessLogFormat as StderrFormat;
use tidegate_envoy::v3::stream_access_log::stdout_access_log::AccessLogFormat as StdoutFormat;
use tidegate_envoy::v3::stream_access_log::{StderrAccessLog, StdoutAccessLog};

use crate::accesslog::{
    Destination, Filter, Format, FormatError, Log, Logs, Output, ResponseFlags,
};
use crate::config::refusal::{Refusal, Within, each};

use super::unpack;
use super::value::{data, present, required};

/// Longest format in a file, bytes.
const MAX_FORMAT: usize = 64 * 1024;

/// The logs of a connection manager, TCP proxy or listener: `None` without entries, or when nothing is to be
/// written.
pub(super) fn logs(
    entries: &[AccessLog],
    logs: Option<&Logs>,
) -> Result<Option<Arc<Log>>, Refusal> {
    let Some(logs) = logs.filter(|_| !entries.is_empty()) else {
        return each("access_log", entries, entry).map(|_| None);
    };
    let written = entries.iter().flat_map(AccessLog::encode_length_delimited_to_vec).collect();
    logs.shared(written, || open(entries, logs)).map(Some)
}

fn open(entries: &[AccessLog], logs: &Logs) -> Result<Log, Refusal> {
    let parts = each("access_log", entries, entry)?;
    let outputs = each("access_log", &parts, |entry| {
        let sink = logs
            .sink(entry.destination.clone())
            .map_err(|error| Refusal::of("typed_config", error))?;
        Ok(Output { sink, format: Arc::clone(&entry.format), filter: entry.filter.clone() })
    })?;
    logs.log(outputs).map_err(|error| Refusal::of("access_log", error))
}

/// One entry, before anything is opened.
struct Entry {
    destination: Destination,
    format: Arc<Format>,
    filter: Option<Filter>,
}

fn entry(proto: &AccessLog) -> Result<Entry, Refusal> {
    let filter = proto.filter.as_ref().and_then(|filter| filter.filter_specifier.as_ref());
    let filter = filter.map(|specifier| filter_of(specifier).within("filter")).transpose()?;
    let Some(ConfigType::TypedConfig(any)) = &proto.config_type else {
        return Err(Refusal::of("typed_config", "must be set"));
    };
    let (destination, format) = match tidegate_envoy::type_name(&any.type_url).rsplit('.').next() {
        Some("FileAccessLog") => unpack(any).and_then(|log| file(&log)),
        Some("StdoutAccessLog") => unpack(any).and_then(|log: StdoutAccessLog| {
            let format = log.access_log_format.map(|StdoutFormat::LogFormat(format)| format);
            Ok((Destination::Stdout, log_format(format.as_ref())?))
        }),
        Some("StderrAccessLog") => unpack(any).and_then(|log: StderrAccessLog| {
            let format = log.access_log_format.map(|StderrFormat::LogFormat(format)| format);
            Ok((Destination::Stderr, log_format(format.as_ref())?))
        }),
        _ => {
            Err(Refusal::new(format_args!("{} is no access log that is known here", any.type_url)))
        }
    }
    .within("typed_config")?;
    Ok(Entry { destination, format: Arc::new(format), filter })
}

#[allow(deprecated, reason = "the older formats are what older control planes send")]
fn file(log: &FileAccessLog) -> Result<(Destination, Format), Refusal> {
    let path = required("path", &log.path)?;
    let format = match &log.access_log_format {
        Some(FileFormat::Format(source)) if !source.is_empty() => text("format", source, false)?,
        None | Some(FileFormat::Format(_)) => log_format(None)?,
        Some(FileFormat::JsonFormat(object)) => json_format("json_format", object, false)?,
        Some(FileFormat::TypedJsonFormat(object)) => {
            json_format("typed_json_format", object, false)?
        }
        Some(FileFormat::LogFormat(format)) => log_format(Some(format))?,
    };
    Ok((Destination::from_path(path), format))
}

/// A `log_format`; Envoy's own without one.
fn log_format(proto: Option<&SubstitutionFormatString>) -> Result<Format, Refusal> {
    match proto {
        Some(proto) => substitution_format(proto).within("log_format"),
        None => text("", Format::named("envoy").unwrap_or_default(), false),
    }
}

#[allow(deprecated, reason = "`text_format` is what everybody writes")]
fn substitution_format(proto: &SubstitutionFormatString) -> Result<Format, Refusal> {
    let omit_empty = proto.omit_empty_values;
    match present("format", proto.format.as_ref())? {
        FormatSpecifier::TextFormat(source) => text("text_format", source, omit_empty),
        FormatSpecifier::JsonFormat(object) => json_format("json_format", object, omit_empty),
        FormatSpecifier::TextFormatSource(source) => {
            let bytes = data(source, MAX_FORMAT).within("text_format_source")?;
            let source = String::from_utf8(bytes)
                .map_err(|_| Refusal::of("text_format_source", "a format is UTF-8 text"))?;
            text("text_format_source", &source, omit_empty)
        }
    }
}

fn text(field: &str, source: &str, omit_empty: bool) -> Result<Format, Refusal> {
    Format::text(source, omit_empty).map_err(|error| wrong(field, &error))
}

fn json_format(field: &str, object: &Struct, omit_empty: bool) -> Result<Format, Refusal> {
    let bytes = object.encode_to_vec();
    let object = json::bytes_to_json("google.protobuf.Struct", &bytes, json::FieldNames::Proto)
        .map_err(|error| Refusal::of(field, error))?;
    Format::json(&object, omit_empty).map_err(|error| wrong(field, &error))
}

fn wrong(field: &str, error: &FormatError) -> Refusal {
    Refusal::of(field, error)
}

fn filter_of(specifier: &FilterSpecifier) -> Result<Filter, Refusal> {
    let FilterSpecifier::ResponseFlagFilter(filter) = specifier else {
        return Err(Refusal::new("only response_flag_filter is supported"));
    };
    let flags = each("flags", &filter.flags, |letters| {
        ResponseFlags::from_short(letters)
            .ok_or_else(|| Refusal::new(format_args!("{letters:?} is no response flag")))
    })
    .within("response_flag_filter")?;
    Ok(Filter::Flags(flags.into_iter().fold(ResponseFlags::NONE, |all, flag| all | flag)))
}

#[cfg(test)]
mod tests;
