//! Values that many messages share: durations, enumerations, names, data.

use std::path::Path;
use std::time::Duration;

use prost_types::Duration as ProtoDuration;
use tidegate_envoy::v3::core::DataSource;
use tidegate_envoy::v3::core::data_source::Specifier;

use crate::config::refusal::{Refusal, Within};

/// A duration in whole milliseconds, as Envoy keeps it.
fn duration(value: &ProtoDuration) -> Result<Duration, Refusal> {
    let millis = value
        .seconds
        .checked_mul(1000)
        .and_then(|s| s.checked_add(i64::from(value.nanos / 1_000_000)));
    let millis = millis.and_then(|millis| u64::try_from(millis).ok());
    match millis {
        Some(millis) if value.nanos >= 0 => Ok(Duration::from_millis(millis)),
        _ => Err(Refusal::new("the duration must not be negative or beyond 292 million years")),
    }
}

/// A timeout: `default` when it is not set, none when it is zero.
pub(super) fn timeout(
    field: &str,
    value: Option<&ProtoDuration>,
    default: impl Into<Option<Duration>>,
) -> Result<Option<Duration>, Refusal> {
    let set = value.map(duration).transpose().within(field)?;
    Ok(set.or(default.into()).filter(|timeout| !timeout.is_zero()))
}

/// A duration that must be longer than nothing: `default` when it is not set.
pub(super) fn positive(
    field: &str,
    value: Option<&ProtoDuration>,
    default: Duration,
) -> Result<Duration, Refusal> {
    match value.map(duration).transpose().within(field)? {
        Some(Duration::ZERO) => Err(Refusal::of(field, "the duration must be at least 1 ms")),
        set => Ok(set.unwrap_or(default)),
    }
}

/// A value of an enumeration.
pub(super) fn enumeration<E: TryFrom<i32>>(field: &str, value: i32) -> Result<E, Refusal> {
    E::try_from(value)
        .map_err(|_| Refusal::of(field, format_args!("{value} is no value of this enumeration")))
}

/// A text that must not be empty.
pub(super) fn required<'v>(field: &str, value: &'v str) -> Result<&'v str, Refusal> {
    if value.is_empty() { Err(Refusal::of(field, "must not be empty")) } else { Ok(value) }
}

/// A message that must be there.
pub(super) fn present<'m, T>(field: &str, value: Option<&'m T>) -> Result<&'m T, Refusal> {
    value.ok_or_else(|| Refusal::of(field, "must be set"))
}

/// The name of a header (RFC 9110, section 5.6.2) or a pseudo header, in lower case.
pub(super) fn header_name(field: &str, name: &str) -> Result<String, Refusal> {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let plain = name.strip_prefix(':').unwrap_or(name);
    if plain.is_empty() || !plain.bytes().all(token) {
        return Err(Refusal::of(field, format_args!("{name:?} is no header name")));
    }
    Ok(name.to_ascii_lowercase())
}

/// A header's value: nothing that could end the line.
pub(super) fn header_value<'v>(field: &str, value: &'v str) -> Result<&'v str, Refusal> {
    if value.bytes().any(|byte| matches!(byte, b'\r' | b'\n' | b'\0')) {
        return Err(Refusal::of(field, "a header value has no line break and no NUL"));
    }
    Ok(value)
}

/// Data given in the message or in a file, at most `limit` bytes.
pub(super) fn data(source: &DataSource, limit: usize) -> Result<Vec<u8>, Refusal> {
    let (field, bytes) = match &source.specifier {
        Some(Specifier::InlineString(text)) => ("inline_string", text.clone().into_bytes()),
        Some(Specifier::InlineBytes(bytes)) => ("inline_bytes", bytes.clone()),
        Some(Specifier::Filename(path)) => ("filename", read(Path::new(path), limit)?),
        Some(Specifier::EnvironmentVariable(_)) => {
            return Err(Refusal::of("environment_variable", "use inline_string or filename"));
        }
        None => {
            return Err(Refusal::new(
                "one of inline_string, inline_bytes and filename must be set",
            ));
        }
    };
    if bytes.len() > limit {
        let reason =
            format!("the data has {} bytes, more than the {limit} that are allowed", bytes.len());
        return Err(Refusal::of(field, reason));
    }
    Ok(bytes)
}

/// Reads a file, and one byte beyond `limit` if there is more.
fn read(path: &Path, limit: usize) -> Result<Vec<u8>, Refusal> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(limit as u64 + 1).read_to_end(&mut bytes))
        .map_err(|error| {
            Refusal::of("filename", format_args!("cannot read {}: {error}", path.display()))
        })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proto(seconds: i64, nanos: i32) -> Option<ProtoDuration> {
        Some(ProtoDuration { seconds, nanos })
    }

    #[test]
    fn timeouts() {
        let default = Some(Duration::from_secs(15));
        let cases = [
            (None, Ok(default)),
            (proto(0, 0), Ok(None)),
            // As in Envoy, less than a millisecond is nothing.
            (proto(0, 999_999), Ok(None)),
            (proto(1, 500_000_000), Ok(Some(Duration::from_millis(1500)))),
            (proto(-1, 0), Err("t")),
            (proto(0, -1), Err("t")),
            (proto(i64::MAX, 0), Err("t")),
        ];
        for (value, expected) in cases {
            let found = timeout("t", value.as_ref(), default).map_err(|refusal| refusal.path);
            assert_eq!(found, expected.map_err(str::to_owned), "{value:?}");
        }
        assert_eq!(timeout("t", None, None), Ok(None));
        assert!(positive("t", proto(0, 0).as_ref(), Duration::from_secs(5)).is_err());
        assert_eq!(positive("t", None, Duration::from_secs(5)), Ok(Duration::from_secs(5)));
    }

    #[test]
    fn header_names_and_values() {
        for (name, expected) in [
            ("X-A", Some("x-a")),
            (":Path", Some(":path")),
            ("", None),
            (":", None),
            ("a b", None),
            ("a:b", None),
        ] {
            assert_eq!(header_name("n", name).ok().as_deref(), expected, "{name}");
        }
        assert!(header_value("v", "a\tb é").is_ok());
        assert!(header_value("v", "a\r\nb").is_err());
    }

    #[test]
    fn data_is_read_up_to_a_limit() {
        let inline = |text: &str| DataSource {
            specifier: Some(Specifier::InlineString(text.to_owned())),
            ..DataSource::default()
        };
        assert_eq!(data(&inline("abc"), 3), Ok(b"abc".to_vec()));
        assert_eq!(
            data(&inline("abcd"), 3).map_err(|refusal| refusal.path),
            Err("inline_string".to_owned())
        );
        let file = |path: &str| DataSource {
            specifier: Some(Specifier::Filename(path.to_owned())),
            ..DataSource::default()
        };
        let refused = data(&file("/nowhere/to/be/found"), 3).expect_err("no such file");
        assert!(refused.reason.contains("/nowhere/to/be/found"), "{refused}");
        assert!(data(&file("/dev/zero"), 3).is_err());
        assert!(data(&DataSource::default(), 3).is_err());
    }
}
