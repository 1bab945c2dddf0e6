//! Header operations of rules and destinations.

use std::collections::BTreeMap;

use tidegate_api::istio::virtual_service::{HeaderOperations, Headers};
use tidegate_envoy::v3::core::header_value_option::HeaderAppendAction;
use tidegate_envoy::v3::core::{HeaderValue, HeaderValueOption};

/// Header operations as Envoy has them. Overwriting comes before adding.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Operations {
    /// Request headers to overwrite or add.
    pub request_add: Vec<HeaderValueOption>,
    /// Request headers to take away.
    pub request_remove: Vec<String>,
    /// Response headers to overwrite or add.
    pub response_add: Vec<HeaderValueOption>,
    /// Response headers to take away.
    pub response_remove: Vec<String>,
    /// The new Host, which Envoy does not count among the headers.
    pub authority: Option<String>,
}

impl Operations {
    /// Translates the operations of a rule or destination.
    #[must_use]
    pub fn of(headers: Option<&Headers>) -> Self {
        let request = headers.and_then(|h| h.request.as_ref());
        let response = headers.and_then(|h| h.response.as_ref());
        Self {
            request_add: to_add(request),
            request_remove: to_remove(request),
            response_add: to_add(response),
            response_remove: to_remove(response),
            authority: request.and_then(|r| authority(&r.set).or_else(|| authority(&r.add))),
        }
    }
}

fn to_add(operations: Option<&HeaderOperations>) -> Vec<HeaderValueOption> {
    let Some(operations) = operations else { return Vec::new() };
    let set = options(&operations.set, HeaderAppendAction::OverwriteIfExistsOrAdd);
    let add = options(&operations.add, HeaderAppendAction::AppendIfExistsOrAdd);
    set.chain(add).collect()
}

fn options(
    headers: &BTreeMap<String, String>,
    action: HeaderAppendAction,
) -> impl Iterator<Item = HeaderValueOption> {
    let kept = headers.iter().filter(|(name, _)| !is_internal(name));
    kept.map(move |(name, value)| HeaderValueOption {
        header: Some(HeaderValue {
            key: name.clone(),
            value: value.clone(),
            ..HeaderValue::default()
        }),
        append_action: action.into(),
        ..HeaderValueOption::default()
    })
}

fn to_remove(operations: Option<&HeaderOperations>) -> Vec<String> {
    let names = operations.into_iter().flat_map(|o| &o.remove);
    names.filter(|name| !is_internal(name)).cloned().collect()
}

/// Whether Envoy keeps a header to itself: pseudo-headers, and Host, which is one in disguise.
fn is_internal(name: &str) -> bool {
    name.starts_with(':') || name.eq_ignore_ascii_case("host")
}

fn authority(headers: &BTreeMap<String, String>) -> Option<String> {
    let named =
        |name: &str| name.eq_ignore_ascii_case(":authority") || name.eq_ignore_ascii_case("host");
    headers.iter().find(|(name, _)| named(name)).map(|(_, value)| value.clone())
}
