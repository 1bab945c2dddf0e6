//! From the names that people and programs use to a row of the table.

use super::{KINDS, KindInfo};

/// Splits `apiVersion` into group and version; the core group is empty.
pub fn split_api_version(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

/// The kind served under a group by that plural (`networking.istio.io`, `gateways`).
pub fn by_plural(group: &str, plural: &str) -> Option<&'static KindInfo> {
    KINDS.iter().find(|row| row.plural == plural && has_group(row, group))
}

/// The kind of that name in a group (`networking.istio.io`, `Gateway`).
pub fn by_kind(group: &str, name: &str) -> Option<&'static KindInfo> {
    KINDS.iter().find(|row| row.name == name && has_group(row, group))
}

/// The kind that an `apiVersion` and `kind` name, if that version is served.
pub fn by_api_version(api_version: &str, name: &str) -> Option<&'static KindInfo> {
    let (group, version) = split_api_version(api_version);
    by_kind(group, name).filter(|row| row.serves(group, version))
}

/// The kind that a user means by a plural, singular, short name or kind, in any letter case; a group may
/// follow a dot (`gateways.networking.istio.io`). The first row wins, as with kubectl.
pub fn by_any_name(word: &str) -> Option<&'static KindInfo> {
    let word = word.to_ascii_lowercase();
    let (name, group) = match word.split_once('.') {
        Some((name, group)) => (name, Some(group)),
        None => (word.as_str(), None),
    };
    KINDS.iter().find(|row| {
        let named = row.plural == name || row.singular == name || row.short_names.contains(&name);
        named && group.is_none_or(|group| has_group(row, group))
    })
}

fn has_group(row: &KindInfo, group: &str) -> bool {
    row.group == group || row.views.iter().any(|(view, _)| *view == group)
}
