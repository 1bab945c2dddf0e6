//! Marks that a control plane leaves in the metadata of resources for a data plane that knows them. Envoy ignores them.

use prost_types::value::Kind;
use prost_types::{ListValue, Value};

use crate::v3::core::Metadata;

/// The name among `filter_metadata` under which the marks stand.
pub const MARKS: &str = "io.tidegate";

/// On a filter chain or a route with a direct answer: what comes here may not go out, as nothing describes where it wants to.
const DENIES_EGRESS: &str = "denies_egress";

/// Beside it on a route: what whoever asks for a tunnel is told, in Envoy's format of texts.
const DENIES_TUNNELS: &str = "denies_tunnels";

/// Beside it: what says which of all that is described counts here, in words for people.
const BOUNDED_BY: &str = "bounded_by";

/// On a cluster whose connections begin with TLS: the field that has them begin so, in words for people.
const STARTS_TLS: &str = "starts_tls";

/// On a cluster that sends to what clients ask for by name: the port that is dialled, whatever they say.
const DIALS_PORT: &str = "dials_port";

/// On such a cluster: what every name ends with, a dot and a domain.
const DIALS_WITHIN: &str = "dials_within";

/// On a filter chain of an egress gateway: the port that workloads know it by.
const EGRESS_PORT: &str = "egress_port";

/// On a filter chain: it is for the addresses alone that names led the workload to; what is for others may not go out.
const LED_BY: &str = "led_by";

/// Leaves the mark of the names by which a workload is led to a chain: hosts, and `*.` with a domain for all names under it.
pub fn lead_by<'n>(metadata: &mut Option<Metadata>, names: impl IntoIterator<Item = &'n str>) {
    let value = |name: &str| Value { kind: Some(Kind::StringValue(name.to_owned())) };
    let values = names.into_iter().map(value).collect();
    leave(metadata, LED_BY, Kind::ListValue(ListValue { values }));
}

/// The names by which a workload is led to a chain, where metadata has the mark of it.
#[must_use]
pub fn led_by(metadata: Option<&Metadata>) -> Option<Vec<&str>> {
    let Some(Kind::ListValue(list)) = find(metadata, LED_BY) else { return None };
    Some(list.values.iter().filter_map(text).collect())
}

/// Leaves the mark of places that let nothing out.
pub fn deny_egress(metadata: &mut Option<Metadata>) {
    leave(metadata, DENIES_EGRESS, Kind::BoolValue(true));
}

/// Leaves the mark of what whoever asks for a tunnel is told.
pub fn deny_tunnels(metadata: &mut Option<Metadata>, words: String) {
    leave(metadata, DENIES_TUNNELS, Kind::StringValue(words));
}

/// What whoever asks for a tunnel is told, where metadata has the mark of it.
#[must_use]
pub fn denied_tunnel(metadata: Option<&Metadata>) -> Option<&str> {
    match find(metadata, DENIES_TUNNELS) {
        Some(Kind::StringValue(words)) => Some(words),
        _ => None,
    }
}

/// Leaves the mark of what says which of all that is described counts.
pub fn bound_by(metadata: &mut Option<Metadata>, words: String) {
    leave(metadata, BOUNDED_BY, Kind::StringValue(words));
}

/// What says which of all that is described counts, where metadata has the mark of it.
#[must_use]
pub fn bounded_by(metadata: Option<&Metadata>) -> Option<&str> {
    match find(metadata, BOUNDED_BY) {
        Some(Kind::StringValue(words)) => Some(words),
        _ => None,
    }
}

/// Leaves the mark of which field has TLS begin.
pub fn start_tls(metadata: &mut Option<Metadata>, field: String) {
    leave(metadata, STARTS_TLS, Kind::StringValue(field));
}

/// Leaves the mark of what names end with that are dialled: a dot and a domain.
pub fn dial_within(metadata: &mut Option<Metadata>, suffix: String) {
    leave(metadata, DIALS_WITHIN, Kind::StringValue(suffix));
}

/// What names end with that are dialled, where metadata has the mark of it.
#[must_use]
pub fn dialled_within(metadata: Option<&Metadata>) -> Option<&str> {
    match find(metadata, DIALS_WITHIN) {
        Some(Kind::StringValue(suffix)) => Some(suffix),
        _ => None,
    }
}

/// Leaves the mark of which port is dialled.
pub fn dial_port(metadata: &mut Option<Metadata>, port: u16) {
    leave(metadata, DIALS_PORT, Kind::NumberValue(port.into()));
}

/// The port that is dialled, where metadata has the mark of it.
#[must_use]
pub fn dialled_port(metadata: Option<&Metadata>) -> Option<u16> {
    port(metadata, DIALS_PORT)
}

/// Leaves the mark of a way out for workloads: what it leads nowhere may not go out. They know it by this port.
pub fn lead_out(metadata: &mut Option<Metadata>, port: u16) {
    leave(metadata, EGRESS_PORT, Kind::NumberValue(port.into()));
}

/// The port that workloads know a way out by, where metadata has the mark of one.
#[must_use]
pub fn egress_port(metadata: Option<&Metadata>) -> Option<u16> {
    port(metadata, EGRESS_PORT)
}

fn port(metadata: Option<&Metadata>, mark: &str) -> Option<u16> {
    match find(metadata, mark) {
        Some(Kind::NumberValue(port)) if *port >= 1.0 && *port <= 65535.0 => Some(*port as u16),
        _ => None,
    }
}

fn leave(metadata: &mut Option<Metadata>, mark: &str, kind: Kind) {
    let marks = &mut metadata.get_or_insert_default().filter_metadata;
    let value = Value { kind: Some(kind) };
    marks.entry(MARKS.to_owned()).or_default().fields.insert(mark.to_owned(), value);
}

/// Whether metadata has the mark of places that let nothing out.
#[must_use]
pub fn denies_egress(metadata: Option<&Metadata>) -> bool {
    matches!(find(metadata, DENIES_EGRESS), Some(Kind::BoolValue(true)))
}

/// The field that has TLS begin, where metadata has the mark of it.
#[must_use]
pub fn starts_tls(metadata: Option<&Metadata>) -> Option<&str> {
    match find(metadata, STARTS_TLS) {
        Some(Kind::StringValue(field)) => Some(field),
        _ => None,
    }
}

fn text(value: &Value) -> Option<&str> {
    match &value.kind {
        Some(Kind::StringValue(text)) => Some(text),
        _ => None,
    }
}

fn find<'m>(metadata: Option<&'m Metadata>, mark: &str) -> Option<&'m Kind> {
    metadata?.filter_metadata.get(MARKS)?.fields.get(mark)?.kind.as_ref()
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
        assert_eq!(denied_tunnel(metadata.as_ref()), None);
        assert_eq!(bounded_by(metadata.as_ref()), None);
        bound_by(&mut metadata, "an object".to_owned());
        assert_eq!(bounded_by(metadata.as_ref()), Some("an object"));
        deny_tunnels(&mut metadata, "no".to_owned());
        assert_eq!(denied_tunnel(metadata.as_ref()), Some("no"));
        let mut other = metadata.unwrap_or_default();
        let marks = other.filter_metadata.remove(MARKS).unwrap_or_default();
        other.filter_metadata.insert("istio".to_owned(), marks);
        assert!(!denies_egress(Some(&other)));
        let mut both = Some(other);
        deny_egress(&mut both);
        assert!(denies_egress(both.as_ref()));
        assert_eq!(led_by(both.as_ref()), None);
        lead_by(&mut both, ["a.example", "*.b.example"]);
        assert_eq!(led_by(both.as_ref()), Some(vec!["a.example", "*.b.example"]));
        assert_eq!(starts_tls(both.as_ref()), None);
        start_tls(&mut both, "a field".to_owned());
        assert_eq!(starts_tls(both.as_ref()), Some("a field"));
        assert!(denies_egress(both.as_ref()));
        dial_port(&mut both, 8443);
        assert_eq!((dialled_port(both.as_ref()), dialled_port(None)), (Some(8443), None));
        assert_eq!(egress_port(both.as_ref()), None);
        lead_out(&mut both, 80);
        assert_eq!(
            (egress_port(both.as_ref()), dialled_port(both.as_ref())),
            (Some(80), Some(8443))
        );
        assert_eq!(both.map(|both| both.filter_metadata.len()), Some(2));
    }
}
