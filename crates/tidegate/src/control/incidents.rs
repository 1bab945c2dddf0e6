//! Endpoints that are ejected or return, names that lead nowhere, and TLS that is meant differently at its two ends, as events of
//! the objects that they come from.

use tidegate_api::ObjectKey;
use tidegate_apiserver::store::{Note, Tone};
use tidegate_pilot::Pilot;
use tidegate_proxy::egress::Denied;
use tidegate_proxy::upstream::incident::Incident;
use tidegate_proxy::upstream::outlier::What;
use tidegate_xds::ResourceType;

/// What is to be said of it to each object that the cluster comes from.
pub fn notes(incident: &Incident, pilot: &Pilot) -> Vec<Note> {
    let cluster = match incident {
        Incident::Endpoint(event) => &event.cluster,
        Incident::Name(event) => &event.cluster,
        Incident::Tls(wrong) => &wrong.cluster,
        // No object describes it; the log says it as well, and `tidegate egress denied` lists it.
        Incident::Egress(_) => return Vec::new(),
    };
    let owners = pilot.owners(ResourceType::Cluster, cluster);
    owners.into_iter().filter_map(|key| note(incident, key)).collect()
}

/// The same to one object, such as the Pod of the workload that it happened to.
pub fn note(incident: &Incident, about: ObjectKey) -> Option<Note> {
    let (tone, reason, message) = match incident {
        Incident::Endpoint(event) => {
            let (tone, reason) = match event.what {
                What::Ejected { .. } => (Tone::Warning, "EndpointEjected"),
                What::Returned { .. } | What::Reached { .. } => (Tone::Normal, "EndpointReturned"),
                // Nothing happened to it; the log says that it might have.
                What::Spared { .. } => return None,
            };
            (tone, reason, event.to_string())
        }
        Incident::Name(event) => {
            let (tone, reason) = match event.failure {
                Some(_) => (Tone::Warning, "NameNotResolved"),
                None => (Tone::Normal, "NameResolved"),
            };
            (tone, reason, event.to_string())
        }
        Incident::Tls(wrong) => (Tone::Warning, "WrongTLS", wrong.to_string()),
        Incident::Egress(denied) => {
            // How often is counted by the event.
            let once = Denied { count: 1, ..denied.clone() };
            (Tone::Warning, "EgressDenied", once.to_string())
        }
    };
    Some(Note { about, tone, reason: reason.to_owned(), message })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tidegate_api::Kind;
    use tidegate_proxy::upstream::dns::LookupError;
    use tidegate_proxy::upstream::incident::NameEvent;
    use tidegate_proxy::upstream::outlier::{Cause, Event};

    use super::*;

    #[test]
    fn ejections_are_warnings_and_say_why() {
        let key = || ObjectKey::new(Kind::Service, "default", "a");
        let event = |what| {
            Incident::Endpoint(Event {
                cluster: "outbound|80||a.default.svc.cluster.local".into(),
                address: std::net::SocketAddr::from(([192, 0, 2, 1], 8080)).into(),
                what,
            })
        };
        let (cause, status) = (Cause::Consecutive5xx, Some(503));
        let time = Duration::from_secs(30);
        let ejected = What::Ejected { cause, status, ejections: 2, time, probed: false };
        let said = note(&event(ejected), key()).expect("it is said");
        assert_eq!(
            (said.tone, &*said.reason, &*said.message),
            (
                Tone::Warning,
                "EndpointEjected",
                "endpoint 192.0.2.1:8080 of outbound|80||a.default.svc.cluster.local is ejected for 30s \
                 (2. ejection): too many failures in a row, the last one 503"
            )
        );
        let said = note(&event(What::Reached { after: time }), key()).expect("it is said");
        assert_eq!((said.tone, &*said.reason), (Tone::Normal, "EndpointReturned"));
        assert!(said.message.ends_with("after 30.0s, as it takes connections"), "{}", said.message);
        assert!(note(&event(What::Spared { cause, status }), key()).is_none());
    }

    #[test]
    fn names_that_lead_nowhere_are_warnings_and_say_why() {
        let key = || ObjectKey::new(Kind::ServiceEntry, "default", "a");
        let said = |failure| {
            let (cluster, name) = ("outbound|80||a.example".into(), "db.example".into());
            let note = note(&Incident::Name(NameEvent { cluster, name, failure }), key());
            note.map(|note| (note.tone, note.reason, note.message)).expect("it is said")
        };
        let words =
            "db.example is not resolved, so that it has no endpoints: there is no such name";
        let told = (Tone::Warning, "NameNotResolved".to_owned(), words.to_owned());
        assert_eq!(said(Some(LookupError::NoSuchName)), told);
        let again = (Tone::Normal, "NameResolved".to_owned(), "db.example is resolved".to_owned());
        assert_eq!(said(None), again);
    }
}
