//! Lists: selected, paged, and at a revision that somebody has seen.

use serde_json::{Map, Value, json};
use tidegate_api::base64;

use super::revision;
use crate::rest::ask::Ask;
use crate::rest::failure::{Cause, Failure};
use crate::rest::reply::Reply;
use crate::rest::router::Target;
use crate::rest::selector::Selector;
use crate::rest::{Api, present};
use crate::store::{Entry, Snapshot};

pub(crate) fn list(api: &Api, target: &Target, ask: &Ask) -> Result<Reply, Failure> {
    let served = &target.served;
    let asked = Asked::parse(target, ask)?;
    let namespace = target.namespace.as_deref();
    let kind = served.info.kind;
    let mut snapshot = match (&asked.resume, asked.exact) {
        (Some(resume), _) => api
            .objects_at(kind, namespace, resume.revision)
            .map_err(|_| expired_page(resume, api.store.revision()))?,
        (None, Some(revision)) => {
            let current = api.store.revision();
            if revision > current {
                return Err(Failure::too_large_revision(revision, current));
            }
            api.objects_at(kind, namespace, revision).map_err(|_| {
                Failure::expired("The resourceVersion for the provided list is too old.")
            })?
        }
        (None, None) => api.objects(kind, namespace),
    };
    if asked.not_older > snapshot.revision {
        return Err(Failure::too_large_revision(asked.not_older, snapshot.revision));
    }
    if let Some(resume) = &asked.resume {
        let after = (&*resume.after.0, &*resume.after.1);
        let told = snapshot.entries.partition_point(|entry| place(entry) <= after);
        snapshot.entries.drain(..told);
    }
    if !asked.selector.is_empty() {
        snapshot.entries.retain(|entry| asked.selector.matches(entry));
    }
    let paging = page(&mut snapshot, &asked);
    present::list(target, ask, &snapshot, &paging)
}

/// What a list request says.
struct Asked {
    selector: Selector,
    limit: Option<usize>,
    resume: Option<Resume>,
    /// The list as it stood at this revision.
    exact: Option<u64>,
    /// A list at least as new as this revision.
    not_older: u64,
}

impl Asked {
    fn parse(target: &Target, ask: &Ask) -> Result<Self, Failure> {
        let query = &ask.query;
        let selector = Selector::parse(query, target.served.info, target.served.version)?;
        let limit = match query.get("limit") {
            None => 0,
            Some(text) => text.parse::<i64>().map_err(|_| {
                Failure::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))
            })?,
        };
        let resume = query.get("continue").map(Resume::parse).transpose()?;
        let asked = revision(ask)?;
        if resume.is_some() && asked.is_some() {
            return Err(Failure::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        let exact = matching(ask, resume.is_some())?;
        // A list from any point in time is served whole, as a real server does from its cache.
        let whole = query.get("resourceVersion") == Some("0");
        Ok(Self {
            selector,
            limit: usize::try_from(limit).ok().filter(|limit| *limit > 0 && !whole),
            resume,
            exact: asked.filter(|_| exact),
            not_older: asked.filter(|_| !exact).unwrap_or_default(),
        })
    }
}

/// Whether the list is to be exactly of its revision; refuses options that contradict each other.
fn matching(ask: &Ask, resumes: bool) -> Result<bool, Failure> {
    const FIELD: &str = "resourceVersionMatch";
    let mut causes = Vec::new();
    let wanted = ask.query.get(FIELD);
    match wanted {
        None => {}
        Some(_) if ask.query.get("resourceVersion").is_none() => causes.push(Cause::forbidden(
            FIELD,
            "resourceVersionMatch is forbidden unless resourceVersion is provided",
        )),
        Some(_) if resumes => causes.push(Cause::forbidden(
            FIELD,
            "resourceVersionMatch is forbidden when continue is provided",
        )),
        Some("Exact") if ask.query.get("resourceVersion") == Some("0") => {
            causes.push(Cause::forbidden(
                FIELD,
                "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
            ));
        }
        Some("Exact" | "NotOlderThan") => {}
        Some(other) => {
            let supported = ["Exact", "NotOlderThan", ""];
            causes.push(Cause::unsupported(FIELD, &other.into(), &supported));
        }
    }
    if ask.query.get("sendInitialEvents").is_some() {
        let detail = "sendInitialEvents is forbidden for list";
        causes.push(Cause::forbidden("sendInitialEvents", detail));
    }
    match causes.is_empty() {
        true => Ok(wanted == Some("Exact")),
        false => Err(Failure::invalid_options("ListOptions", causes)),
    }
}

/// Namespace and name: lists are in this order.
fn place(entry: &Entry) -> (&str, &str) {
    (&entry.key().namespace, &entry.key().name)
}

/// Cuts a list off at the limit and says how to go on.
fn page(snapshot: &mut Snapshot, asked: &Asked) -> Map<String, Value> {
    let mut paging = Map::new();
    let Some(limit) = asked.limit.filter(|limit| snapshot.entries.len() > *limit) else {
        return paging;
    };
    let left = snapshot.entries.len() - limit;
    snapshot.entries.truncate(limit);
    let Some(last) = snapshot.entries.last() else {
        return paging;
    };
    let (namespace, name) = place(last);
    let token = Resume { revision: snapshot.revision, after: (namespace.into(), name.into()) };
    paging.insert("continue".into(), token.to_text().into());
    // With a selector the number would be a guess.
    if asked.selector.is_empty() {
        paging.insert("remainingItemCount".into(), left.into());
    }
    paging
}

/// Where the next page begins.
#[derive(Debug, PartialEq, Eq)]
struct Resume {
    revision: u64,
    after: (String, String),
}

impl Resume {
    fn to_text(&self) -> String {
        let (namespace, name) = &self.after;
        let token = json!({
            "v": "meta.k8s.io/v1",
            "rv": self.revision,
            "start": format!("{namespace}/{name}\0"),
        });
        // Letters that an address can hold as they are.
        base64::encode(token.to_string().as_bytes()).replace('+', "-").replace('/', "_")
    }

    fn parse(text: &str) -> Result<Self, Failure> {
        let invalid = || Failure::bad_request("invalid continue token: continue key is not valid");
        let text = text.replace('-', "+").replace('_', "/");
        let bytes = base64::decode(&text).map_err(|_| invalid())?;
        let token: Value = serde_json::from_slice(&bytes).map_err(|_| invalid())?;
        let start = token["start"].as_str().and_then(|start| start.strip_suffix('\0'));
        let (namespace, name) = start.and_then(|s| s.split_once('/')).ok_or_else(invalid)?;
        Ok(Self {
            revision: token["rv"].as_u64().ok_or_else(invalid)?,
            after: (namespace.into(), name.into()),
        })
    }
}

/// The rest of a list that can no longer be had as it was: the client may start over, or take the latest.
fn expired_page(resume: &Resume, current: u64) -> Failure {
    let mut failure = Failure::expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a \
         new list without the continue parameter, or use the continue token in this response to retrieve the \
         remainder of the results. Continuing with the provided token results in an inconsistent list - \
         objects that were created, modified, or deleted between the time the first chunk was returned and \
         now may show up in the list.",
    );
    let latest = Resume { revision: current, after: resume.after.clone() };
    failure.resume = Some(latest.to_text());
    failure
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_read_back_and_garbage_does_not() {
        let token = Resume { revision: 7, after: ("default".into(), "a".into()) };
        assert_eq!(Resume::parse(&token.to_text()).ok(), Some(token));
        for garbage in ["", "garbage", "e30=", "!!!"] {
            assert!(Resume::parse(garbage).is_err(), "{garbage}");
        }
    }
}
