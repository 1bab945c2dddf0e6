//! Header mutations.

use std::sync::Arc;

use tidegate_envoy::v3::core::HeaderValueOption;
use tidegate_envoy::v3::core::header_value_option::HeaderAppendAction;
use tidegate_envoy::v3::route::weighted_cluster::ClusterWeight;
use tidegate_envoy::v3::route::{Route, RouteConfiguration, VirtualHost};

use crate::config::refusal::{Refusal, Within, each};
use crate::route::{AppendAction, Mutation, MutationLevel, Template};

use super::value::{enumeration, header_name, header_value, present};

/// The mutations of one level in both directions.
#[derive(Clone, Debug)]
pub(super) struct Levels {
    pub request: Arc<MutationLevel>,
    pub response: Arc<MutationLevel>,
}

/// The messages that ask for mutations.
pub(super) trait Mutating {
    /// Their mutations.
    fn mutations(&self) -> Result<Levels, Refusal>;
}

macro_rules! mutating {
    ($($message:ty),+) => {$(
        impl Mutating for $message {
            fn mutations(&self) -> Result<Levels, Refusal> {
                Ok(Levels {
                    request: level("request", &self.request_headers_to_add, &self.request_headers_to_remove)?,
                    response: level("response", &self.response_headers_to_add, &self.response_headers_to_remove)?,
                })
            }
        }
    )+};
}

mutating!(RouteConfiguration, VirtualHost, Route, ClusterWeight);

fn level(
    direction: &str,
    add: &[HeaderValueOption],
    remove: &[String],
) -> Result<Arc<MutationLevel>, Refusal> {
    let add = each(&format!("{direction}_headers_to_add"), add, mutation)?;
    let remove =
        each(&format!("{direction}_headers_to_remove"), remove, |name| changeable("", name))?;
    Ok(Arc::new(MutationLevel { add, remove }))
}

/// Headers that are added in one place.
pub(super) fn additions(field: &str, add: &[HeaderValueOption]) -> Result<MutationLevel, Refusal> {
    Ok(MutationLevel { add: each(field, add, mutation)?, remove: Vec::new() })
}

fn mutation(option: &HeaderValueOption) -> Result<Mutation, Refusal> {
    let header = present("header", option.header.as_ref())?;
    if !header.raw_value.is_empty() {
        return Err(Refusal::of("header.raw_value", "use value"));
    }
    let value = header_value("value", &header.value)
        .and_then(|value| Template::new(value).map_err(|error| Refusal::of("value", error)))
        .within("header")?;
    Ok(Mutation {
        name: writable("key", &header.key).within("header")?,
        value,
        action: action(option)?,
        keep_empty: option.keep_empty_value,
    })
}

#[allow(deprecated, reason = "`append` is what older control planes send")]
fn action(option: &HeaderValueOption) -> Result<AppendAction, Refusal> {
    let action = match enumeration("append_action", option.append_action)? {
        HeaderAppendAction::AppendIfExistsOrAdd => AppendAction::Append,
        HeaderAppendAction::AddIfAbsent => AppendAction::AddIfAbsent,
        HeaderAppendAction::OverwriteIfExistsOrAdd => AppendAction::Overwrite,
        HeaderAppendAction::OverwriteIfExists => AppendAction::OverwriteIfPresent,
    };
    match option.append {
        None => Ok(action),
        Some(_) if action != AppendAction::Append => Err(Refusal::of(
            "append",
            "append and append_action cannot both be set; use append_action",
        )),
        Some(true) => Ok(AppendAction::Append),
        Some(false) => Ok(AppendAction::Overwrite),
    }
}

/// The name of a header that may be written: what says where a message ends is nobody's but the proxy's, as a wrong length
/// makes one message two (RFC 9112, sections 6 and 11.2).
pub(super) fn writable(field: &str, name: &str) -> Result<Box<[u8]>, Refusal> {
    let name = changeable(field, name)?;
    match &*name {
        b"content-length" | b"transfer-encoding" => {
            Err(Refusal::of(field, "it says where a message ends, which the proxy alone decides"))
        }
        _ => Ok(name),
    }
}

/// The name of a header that may be changed, or taken away.
pub(super) fn changeable(field: &str, name: &str) -> Result<Box<[u8]>, Refusal> {
    let name = header_name(field, name)?;
    if name.starts_with(':') || name == "host" {
        let reason =
            "pseudo headers and host cannot be changed here; use the rewrites of the route";
        return Err(Refusal::of(field, reason));
    }
    Ok(name.into_bytes().into())
}

#[cfg(test)]
mod tests {
    use tidegate_envoy::v3::core::HeaderValue;

    use super::*;

    fn option(key: &str, value: &str) -> HeaderValueOption {
        let header = HeaderValue { key: key.into(), value: value.into(), raw_value: Vec::new() };
        HeaderValueOption { header: Some(header), ..HeaderValueOption::default() }
    }

    #[test]
    #[allow(deprecated, reason = "`append` is what older control planes send")]
    fn actions() {
        let cases = [
            (None, 0, Ok(AppendAction::Append)),
            (None, 1, Ok(AppendAction::AddIfAbsent)),
            (None, 2, Ok(AppendAction::Overwrite)),
            (None, 3, Ok(AppendAction::OverwriteIfPresent)),
            (None, 9, Err("append_action")),
            (Some(true), 0, Ok(AppendAction::Append)),
            (Some(false), 0, Ok(AppendAction::Overwrite)),
            (Some(true), 2, Err("append")),
        ];
        for (append, append_action, expected) in cases {
            let option = HeaderValueOption { append, append_action, ..option("X-A", "v") };
            let found =
                mutation(&option).map(|mutation| mutation.action).map_err(|refusal| refusal.path);
            assert_eq!(found, expected.map_err(str::to_owned), "{append:?} {append_action}");
        }
    }

    #[test]
    fn refusals_name_the_field() {
        let raw = HeaderValue { key: "a".into(), value: String::new(), raw_value: b"x".to_vec() };
        let cases = [
            (HeaderValueOption::default(), "header"),
            (option(":path", "v"), "header.key"),
            (option("Host", "v"), "header.key"),
            (option("a b", "v"), "header.key"),
            (option("Content-Length", "5"), "header.key"),
            (option("transfer-encoding", "chunked"), "header.key"),
            (option("a", "x\ny"), "header.value"),
            (option("a", "%NOPE%"), "header.value"),
            (HeaderValueOption { header: Some(raw), ..option("a", "") }, "header.raw_value"),
        ];
        for (option, expected) in cases {
            let refusal = level("request", &[option], &[]).expect_err(expected);
            assert_eq!(refusal.path, format!("request_headers_to_add[0].{expected}"));
        }
        assert!(level("response", &[], &["content-length".into()]).is_ok());
        let refusal = level("response", &[], &["x-a".into(), "host".into()]).expect_err("host");
        assert_eq!(refusal.path, "response_headers_to_remove[1]");
    }
}
