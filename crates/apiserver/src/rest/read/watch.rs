//! Watches: what happens to the objects of a kind, as it happens.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value, json};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, sleep_until};

use super::lines::{Lines, Which};
use super::unparsed;
use crate::rest::ask::Ask;
use crate::rest::failure::{Cause, Failure};
use crate::rest::negotiate::{View, negotiate};
use crate::rest::reply::{self, PIECES_AHEAD, Reply};
use crate::rest::router::Target;
use crate::rest::selector::Selector;
use crate::rest::served::Served;
use crate::rest::table::{Include, Tables, partial};
use crate::rest::{Api, Shutdown};
use crate::store::{Entry, Event, Expired, Watch};

/// How often a watch with bookmarks is told how far it is.
const BOOKMARK_PERIOD: Duration = Duration::from_secs(60);
/// How long before its end a watch gets its last bookmark.
const LAST_BOOKMARK: Duration = Duration::from_secs(2);

/// Starts a watch. Its headers go out at once, its events as they happen.
pub(crate) fn watch(api: &Api, target: &Target, ask: &Ask) -> Result<Reply, Failure> {
    let served = &target.served;
    let asked = Asked::parse(target, ask)?;
    let place = Arc::clone(&api.watches).try_acquire_owned().map_err(|_| {
        Failure::too_many_requests("too many watches are open: close some, or try again later")
    })?;
    let shape = Shape {
        served: served.clone(),
        tables: asked.tables,
        metadata_only: asked.metadata_only,
        headed: true,
    };
    let (pieces, receiver) = mpsc::channel(PIECES_AHEAD);
    let kind = served.info.kind;
    let (first, position) = match asked.from {
        From::Now => {
            let snapshot = api.objects(kind, target.namespace.as_deref());
            if asked.not_older > snapshot.revision {
                return Err(Failure::too_large_revision(asked.not_older, snapshot.revision));
            }
            (snapshot.entries, snapshot.revision)
        }
        From::After(revision) => (Vec::new(), revision),
    };
    let follower = Follower {
        watch: api.store.watch(kind, position),
        namespace: target.namespace.clone(),
        selector: asked.selector,
        shape,
        lines: Arc::clone(&api.lines),
        pieces,
        bookmarks: asked.bookmarks,
        // A time that the clock does not reach is none.
        ends: asked.timeout.and_then(|timeout| Instant::now().checked_add(timeout)),
        shutdown: api.shutdown.clone(),
        _place: place,
    };
    tokio::spawn(follower.run(first, asked.marks_end));
    Ok(reply::stream(reply::JSON, receiver))
}

/// Where a watch begins.
enum From {
    /// With all there is.
    Now,
    /// With what comes after a revision.
    After(u64),
}

struct Asked {
    selector: Selector,
    from: From,
    /// "All there is" has to be at least as new as this revision.
    not_older: u64,
    bookmarks: bool,
    /// Whether a bookmark says where "all there is" ends.
    marks_end: bool,
    timeout: Option<Duration>,
    tables: Option<Tables>,
    metadata_only: bool,
}

impl Asked {
    fn parse(target: &Target, ask: &Ask) -> Result<Self, Failure> {
        let query = &ask.query;
        let (_, view) = negotiate(ask.accept().as_deref())?;
        let mut selector = Selector::parse(query, target.served.info, target.served.version)?;
        if let Some(name) = &target.name {
            selector = selector.with_name(name);
        }
        let revision: u64 = match query.get("resourceVersion") {
            None => 0,
            Some(text) => text.parse().map_err(|_| Failure::internal(unparsed(text)))?,
        };
        let initial = send_initial_events(ask)?;
        let bookmarks = query.flag("allowWatchBookmarks");
        let from = match (initial, revision) {
            (Some(true), _) | (None, 0) => From::Now,
            (_, revision) => From::After(revision),
        };
        Ok(Self {
            selector,
            from,
            not_older: revision,
            bookmarks,
            marks_end: bookmarks
                && (initial == Some(true) || query.get("resourceVersion").is_none()),
            timeout: timeout(ask),
            tables: match view {
                View::Table { version } => {
                    Some(Tables { include: Include::parse(query)?, version })
                }
                _ => None,
            },
            metadata_only: matches!(view, View::Metadata { .. }),
        })
    }
}

fn timeout(ask: &Ask) -> Option<Duration> {
    let seconds: u64 = ask.query.get("timeoutSeconds")?.parse().ok()?;
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

/// The `sendInitialEvents` parameter, which goes with `resourceVersionMatch=NotOlderThan` and with nothing else.
fn send_initial_events(ask: &Ask) -> Result<Option<bool>, Failure> {
    const FIELD: &str = "resourceVersionMatch";
    let matching = ask.query.get(FIELD);
    let initial = ask.query.get("sendInitialEvents").map(|_| ask.query.flag("sendInitialEvents"));
    let cause = match (initial, matching) {
        (None, None) | (Some(_), Some("NotOlderThan")) => return Ok(initial),
        (None, Some(_)) => Cause::forbidden(
            FIELD,
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        ),
        (Some(_), _) => Cause::forbidden(
            FIELD,
            "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        ),
    };
    Err(Failure::invalid_options("ListOptions", vec![cause]))
}

/// How objects of a watch are shown.
struct Shape {
    served: Served,
    tables: Option<Tables>,
    metadata_only: bool,
    /// Whether the next table describes its columns: only the first does.
    headed: bool,
}

impl Shape {
    /// What others may have made a line as; tables are of the moment and of one client.
    fn shared(&self, word: &'static str, revision: u64) -> Option<Which> {
        let Served { group, version, .. } = self.served;
        let metadata_only = self.metadata_only;
        self.tables.is_none().then_some(Which { revision, word, group, version, metadata_only })
    }

    /// One line: an event, with the object as the client wants to see it.
    fn line(&mut self, kind: &str, entry: &Entry, revision: u64) -> Vec<u8> {
        let mut out = format!("{{\"type\":\"{kind}\",\"object\":").into_bytes();
        // A deleted object is shown as it was last, at the revision of its deletion.
        let whole = self.tables.is_none() && !self.metadata_only && entry.revision() == revision;
        if whole {
            self.served.write(entry, &mut out);
        } else {
            let mut object = entry.manifest(&self.served.api_version);
            if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
                metadata.insert("resourceVersion".into(), revision.to_string().into());
            }
            out.extend_from_slice(self.object(object).to_string().as_bytes());
        }
        out.extend_from_slice(b"}\n");
        out
    }

    fn object(&mut self, object: Map<String, Value>) -> Value {
        match &self.tables {
            Some(tables) => {
                let headed = std::mem::replace(&mut self.headed, false);
                tables.single(&self.served, object, headed)
            }
            None if self.metadata_only => partial(&object.into(), "v1"),
            None => self.served.present(object.into()),
        }
    }

    /// A bookmark: an object that has nothing but a revision.
    fn bookmark(&mut self, revision: u64, ends_initial: bool) -> Vec<u8> {
        let mut metadata = json!({ "resourceVersion": revision.to_string() });
        if ends_initial {
            metadata["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
        }
        let object = json!({
            "apiVersion": self.served.api_version,
            "kind": self.served.info.name,
            "metadata": metadata,
        });
        let object = match (object, &self.tables) {
            // A row without an object to make cells of would be all blanks; the object says all there is.
            (Value::Object(map), None) => self.object(map),
            (object, _) => object,
        };
        line("BOOKMARK", &object)
    }
}

fn line(kind: &str, object: &Value) -> Vec<u8> {
    format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n").into_bytes()
}

/// The task behind a watch. It ends when its client goes, its time is up, it falls behind, or the server stops.
struct Follower {
    watch: Watch,
    namespace: Option<String>,
    selector: Selector,
    shape: Shape,
    lines: Arc<Lines>,
    pieces: mpsc::Sender<Bytes>,
    bookmarks: bool,
    ends: Option<Instant>,
    shutdown: Shutdown,
    _place: OwnedSemaphorePermit,
}

/// The client has gone.
struct Gone;

impl Follower {
    async fn run(mut self, first: Vec<Arc<Entry>>, marks_end: bool) {
        // Gone means that nobody is left to tell.
        let _ = self.follow(first, marks_end).await;
    }

    async fn follow(&mut self, first: Vec<Arc<Entry>>, marks_end: bool) -> Result<(), Gone> {
        for entry in first {
            if !self.selector.matches(&entry) {
                continue;
            }
            let line = self.shape.line("ADDED", &entry, entry.revision());
            self.send(line).await?;
        }
        if marks_end {
            let line = self.shape.bookmark(self.watch.position(), true);
            self.send(line).await?;
        }
        // Settled once: what counts back from the end each time is due again as soon as it was told a moment late.
        let last = self.ends.and_then(|ends| ends.checked_sub(LAST_BOOKMARK));
        let mut next_bookmark = self.next_bookmark(last);
        loop {
            tokio::select! {
                events = self.watch.next() => match events {
                    Ok(events) => self.tell(&events).await?,
                    Err(expired) => return self.expire(expired).await,
                },
                () = until(next_bookmark) => {
                    if let Err(expired) = self.catch_up().await? {
                        return self.expire(expired).await;
                    }
                    let line = self.shape.bookmark(self.watch.position(), false);
                    self.send(line).await?;
                    next_bookmark = self.next_bookmark(last);
                }
                () = until(self.ends) => return Ok(()),
                () = self.pieces.closed() => return Err(Gone),
                () = self.shutdown.stopped() => return Ok(()),
            }
        }
    }

    /// In a minute, but not after the last one, which is told shortly before the end.
    fn next_bookmark(&self, last: Option<Instant>) -> Option<Instant> {
        let now = Instant::now();
        let regular = now + BOOKMARK_PERIOD;
        match last {
            _ if !self.bookmarks => None,
            None if self.ends.is_none() => Some(regular),
            Some(last) if now < last => Some(regular.min(last)),
            _ => None,
        }
    }

    /// Tells what has happened up to now, so that a bookmark skips nothing.
    async fn catch_up(&mut self) -> Result<Result<(), Expired>, Gone> {
        match self.watch.poll() {
            Ok(events) => self.tell(&events).await.map(Ok),
            Err(expired) => Ok(Err(expired)),
        }
    }

    async fn tell(&mut self, events: &[Arc<Event>]) -> Result<(), Gone> {
        for event in events {
            let inside = |entry: &&Arc<Entry>| {
                let here = self.namespace.as_deref().is_none_or(|ns| *entry.key().namespace == *ns);
                here && self.selector.matches(entry)
            };
            let old = event.old.as_ref().filter(inside);
            let new = event.new.as_ref().filter(inside);
            let line = match (old, new) {
                (None, Some(new)) => self.line("ADDED", new, event.revision),
                (Some(_), Some(new)) => self.line("MODIFIED", new, event.revision),
                // Gone, or no longer selected.
                (Some(old), None) => self.line("DELETED", old, event.revision),
                (None, None) => continue,
            };
            self.send(line).await?;
        }
        Ok(())
    }

    /// The line about a change; one and the same for all watches of this view.
    fn line(&mut self, word: &'static str, entry: &Entry, revision: u64) -> Bytes {
        match self.shape.shared(word, revision) {
            Some(which) => self.lines.get(which, || self.shape.line(word, entry, revision)),
            None => self.shape.line(word, entry, revision).into(),
        }
    }

    async fn expire(&mut self, expired: Expired) -> Result<(), Gone> {
        let status = Failure::from(expired).status();
        self.send(line("ERROR", &status)).await
    }

    /// Hands a line on; waits while the client is slow, but no longer than the watch lives.
    async fn send(&mut self, line: impl Into<Bytes>) -> Result<(), Gone> {
        tokio::select! {
            // What the client can take is its own, even at the end.
            biased;
            sent = self.pieces.send(line.into()) => sent.map_err(|_| Gone),
            () = until(self.ends) => Err(Gone),
            () = self.shutdown.stopped() => Err(Gone),
        }
    }
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}
