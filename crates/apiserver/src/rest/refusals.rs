//! What workloads were not let out, of those whose sidecars are other processes: these hand their lists in, and `/tidegate/egress`,
//! which no other API server has, tells all of them.
//!
//! A POST on `pods/<name>/egress` hands in the list of a Pod, which takes the place of the one before. Who may write a Pod may do so. A
//! list outlives its Pod, as a workload may have ended by the time that somebody asks; everything has a bound.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tidegate_api::{Kind, ObjectKey};
use tokio::time::Instant;

use super::Api;
use super::ask::Ask;
use super::failure::Failure;
use super::handed_in::uid_of;
use super::reply::{self, Reply};
use super::router::{Target, Verb};
use super::users::{Right, User};

/// Where all of them are.
pub const PATH: &str = "/tidegate/egress";

/// Workloads of which a list is kept; the one that was not heard of for the longest goes first.
const MOST_WORKLOADS: usize = 256;
/// Entries of one list, as many as a process may hand in.
pub const MOST_ENTRIES: usize = 256;
/// The longest name of a host, bytes (RFC 1035 section 2.3.4).
const LONGEST_NAME: usize = 253;
/// How long the list of a workload is kept that is not heard of, as Kubernetes keeps Events.
const KEPT: Duration = Duration::from_hours(1);

/// The list of one process, in the form of its `/egress/denied`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct List {
    denied: Vec<Entry>,
    /// Refusals that are in no entry.
    unlisted: u64,
}

/// What was refused, however often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    protocol: Protocol,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    address: IpAddr,
    port: u16,
    source: IpAddr,
    count: u64,
    first: Timestamp,
    last: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Protocol {
    Http,
    Tls,
    Tcp,
}

/// The lists of all workloads, by the `metadata.uid` of their Pods.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<HashMap<String, Workload>>);

#[derive(Debug)]
struct Workload {
    namespace: String,
    name: String,
    list: List,
    heard: Instant,
}

impl List {
    /// # Errors
    /// It is in another form, or longer than a list may be; in words.
    fn read(body: &[u8]) -> Result<Self, String> {
        let list: Self = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        if list.denied.len() > MOST_ENTRIES {
            return Err(format!("more than {MOST_ENTRIES} entries"));
        }
        let mut named = list.denied.iter().filter_map(|entry| entry.host.as_deref());
        let is_name = |host: &str| {
            host.len() <= LONGEST_NAME
                && host
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
        };
        match named.find(|host| !is_name(host)) {
            None => Ok(list),
            Some(host) => Err(format!("{host:?} is no name of a host")),
        }
    }
}

impl Refusals {
    /// Takes the list of a Pod in place of the one before.
    fn take(&self, uid: String, workload: Workload) {
        let now = workload.heard;
        let mut workloads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        workloads.retain(|_, known| now.duration_since(known.heard) < KEPT);
        if workloads.len() >= MOST_WORKLOADS && !workloads.contains_key(&uid) {
            let oldest = workloads.iter().min_by_key(|(_, known)| known.heard);
            if let Some(oldest) = oldest.map(|(uid, _)| uid.clone()) {
                workloads.remove(&oldest);
            }
        }
        workloads.insert(uid, workload);
    }

    /// All lists that are kept, in the form of `/egress/denied`, by the names of their workloads.
    fn told(&self, now: Instant) -> Vec<serde_json::Value> {
        let workloads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut kept: Vec<&Workload> =
            workloads.values().filter(|known| now.duration_since(known.heard) < KEPT).collect();
        kept.sort_by_key(|known| (&known.namespace, &known.name, known.heard));
        let told = kept.into_iter().map(|Workload { namespace, name, list, .. }| {
            let node = json!({ "metadata": { "NAME": name, "NAMESPACE": namespace } });
            json!({ "node": node, "denied": list.denied, "unlisted": list.unlisted })
        });
        told.collect()
    }
}

/// Takes the list of a Pod that another process serves. `uid` says of which Pod, where another one may have its name by now, or
/// none any more.
pub(crate) fn hand_in(api: &Api, target: &Target, ask: &Ask) -> Result<Reply, Failure> {
    let namespace = target.namespace.clone().unwrap_or_default();
    let name = target.name.clone().unwrap_or_default();
    let info = Kind::Pod.info();
    let key = ObjectKey::new(Kind::Pod, namespace.as_str(), name.as_str());
    let entry = api.store.get(&key).ok_or_else(|| Failure::not_found(info, &name))?;
    let uid = uid_of(&entry);
    if let Some(asked) = ask.query.get("uid").filter(|asked| *asked != uid) {
        let why =
            format!("Precondition failed: UID in precondition: {asked}, UID in object meta: {uid}");
        return Err(Failure::precondition(info, &name, &why));
    }
    let list = List::read(&ask.body)
        .map_err(|why| Failure::bad_request(format!("what pod {name} was refused: {why}")))?;
    api.refusals.take(uid, Workload { namespace, name, list, heard: Instant::now() });
    let done = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success" });
    Ok(reply::json(StatusCode::OK, &done))
}

/// Answers with all lists, for who may see the Pods that they are of.
pub(crate) fn all(api: &Api, ask: &Ask) -> Result<Reply, Failure> {
    let (verb, info) = (Verb::List, Kind::Pod.info());
    let right = Right { verb, info, subresource: None, namespace: None };
    let may = |user: &User| user.may(&right);
    if !ask.user.as_deref().is_some_and(may) {
        return Err(Failure::page_not_found());
    }
    let items = api.refusals.told(Instant::now());
    Ok(reply::json(StatusCode::OK, &json!({ "kind": "EgressDeniedList", "items": items })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard_of(refusals: &Refusals, number: usize, heard: Instant) {
        let workload = Workload {
            namespace: "default".to_owned(),
            name: format!("w{number}"),
            list: List::default(),
            heard,
        };
        refusals.take(number.to_string(), workload);
    }

    #[test]
    fn lists_are_kept_for_an_hour_and_the_oldest_goes_where_there_is_no_room() {
        let (refusals, start) = (Refusals::default(), Instant::now());
        for number in 0..MOST_WORKLOADS {
            heard_of(&refusals, number, start + Duration::from_millis(number as u64));
        }
        let told = |now| -> Vec<String> {
            let name = |told: &serde_json::Value| {
                told["node"]["metadata"]["NAME"].as_str().expect("a name").to_owned()
            };
            refusals.told(now).iter().map(name).collect()
        };
        let soon = start + Duration::from_secs(1);
        heard_of(&refusals, 0, soon);
        heard_of(&refusals, MOST_WORKLOADS, soon);
        let names = told(soon);
        assert_eq!(names.len(), MOST_WORKLOADS);
        assert!(names.contains(&"w0".to_owned()), "it was heard of again");
        assert!(!names.contains(&"w1".to_owned()), "it was not");
        assert_eq!(told(start + KEPT + Duration::from_millis(200)).len(), MOST_WORKLOADS - 199);
        assert!(told(soon + KEPT).is_empty());
        heard_of(&refusals, 7, soon + KEPT);
        let kept = refusals.0.lock().unwrap_or_else(PoisonError::into_inner).len();
        assert_eq!(kept, 1, "what is too old takes no room");
    }

    #[test]
    fn what_is_no_list_is_refused_in_words() {
        let entry = |host: &str| {
            json!({ "protocol": "HTTP", "host": host, "address": "192.0.2.1", "port": 80, "source": "10.0.0.7",
                "count": 1, "first": "2026-01-01T00:00:00Z", "last": "2026-01-01T00:00:00Z" })
        };
        let read = |denied: Vec<serde_json::Value>| {
            List::read(json!({ "denied": denied, "unlisted": 0 }).to_string().as_bytes())
        };
        assert_eq!(read(vec![entry("a.example")]).expect("a list").denied.len(), 1);
        assert!(read(vec![entry("\u{1b}[31m")]).expect_err("a name").contains("no name of a host"));
        assert!(read(vec![entry(&"a".repeat(254))]).is_err());
        let many = vec![entry("a.example"); MOST_ENTRIES + 1];
        assert_eq!(read(many).expect_err("a bound"), "more than 256 entries");
        assert!(List::read(b"{}").expect_err("it lacks fields").contains("denied"));
    }
}
