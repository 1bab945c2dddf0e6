//! Marks that a control plane leaves in the metadata of resources for a data plane that knows them. Envoy ignores them.

use prost_types::Value;
use prost_types::value::Kind;

use crate::v3::core::Metadata;

/// The name among `filter_metadata` under which the marks stand.
pub const MARKS: &str = "io.tidegate";

/// On a filter chain or a route with a direct answer: what comes here may not go out, as nothing describes where it wants to.
const DENIES_EGRESS: &str = "denies_egress";

/// Leaves the mark of places that let nothing out.
pub fn deny_egress(metadata: &mut Option<Metadata>) {
    let yes = Value { kind: Some(Kind::BoolValue(true)) };
    let marks = &mut metadata.get_or_insert_default().filter_metadata;
    marks.entry(MARKS.to_owned()).or_default().fields.insert(DENIES_EGRESS.to_owned(), yes);
}

/// Whether metadata has the mark of places that let nothing out.
#[must_use]
pub fn denies_egress(metadata: Option<&Metadata>) -> bool {
    let marks = metadata.and_then(|metadata| metadata.filter_metadata.get(MARKS));
    let mark = marks.and_then(|marks| marks.fields.get(DENIES_EGRESS));
    mark.is_some_and(|mark| mark.kind == Some(Kind::BoolValue(true)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_found_where_it_was_left() {
        let mut metadata = None;
        assert!(!denies_egress(metadata.as_ref()));
        deny_egress(&mut metadata);
        assert!(denies_egress(metadata.as_ref()));
        let mut other = metadata.unwrap_or_default();
        let marks = other.filter_metadata.remove(MARKS).unwrap_or_default();
        other.filter_metadata.insert("istio".to_owned(), marks);
        assert!(!denies_egress(Some(&other)));
        let mut both = Some(other);
        deny_egress(&mut both);
        assert!(denies_egress(both.as_ref()));
        assert_eq!(both.map(|both| both.filter_metadata.len()), Some(2));
    }
}
