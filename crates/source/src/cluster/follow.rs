//! One kind, listed and then watched, whatever comes between.
//!
//! A list tells everything that is there, so that what it lacks is gone; a watch tells what happens after it. Nothing else
//! takes an object away: no refusal, no silence, no kind that is not served for a while.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use tidegate_api::{Kind, Scope};
use tokio::time::{Instant, sleep, timeout};

use super::Selection;
use super::backoff::Backoff;
use super::events::Events;
use super::fault::Fault;
use super::health::Reporter;
use super::known::Known;
use super::raw::{Raw, resource};
use super::server::{Connection, Server};
use super::times::Times;
use crate::{Change, Queue};

/// Objects of one page of a list.
const PAGE: u32 = 500;

/// How long the watch is asked for, in seconds, that begins with what there is: that may be much.
const LONGEST: u32 = 600;

/// What the bookmark says of itself that ends what there was when a watch began.
const INITIAL_END: &str = "k8s.io/initial-events-end";

/// A watch that ends sooner, and tells nothing, has failed.
const SHORTEST: Duration = Duration::from_secs(1);

/// Follows the objects of one kind.
#[derive(Debug)]
pub(super) struct Follower {
    kind: Kind,
    selection: Selection,
    times: Times,
    server: Arc<Server>,
    reporter: Arc<Reporter>,
    queue: Arc<Queue>,
    known: Known,
    backoff: Backoff,
    /// Whether what there is is asked for as the beginning of a watch, of which a server keeps no list: until one refuses.
    streams: bool,
    /// Whether lists are asked for in pages: not where the history is too short for all of them.
    pages: bool,
}

/// What was listed: from where, and up to which change.
struct Listed {
    connection: Connection,
    api: Api<Raw>,
    revision: String,
}

impl Follower {
    pub(super) fn new(
        kind: Kind,
        selection: Selection,
        times: Times,
        server: Arc<Server>,
        reporter: Arc<Reporter>,
        queue: Arc<Queue>,
    ) -> Self {
        let (known, backoff) = (Known::new(kind), Backoff::default());
        Self {
            kind,
            selection,
            times,
            server,
            reporter,
            queue,
            known,
            backoff,
            streams: true,
            pages: true,
        }
    }

    /// Follows, for ever.
    pub(super) async fn run(mut self) {
        loop {
            let fault = match self.list().await {
                Ok(listed) => self.follow(listed).await,
                Err(fault) => fault,
            };
            self.settle(fault).await;
        }
    }

    /// Lists the kind in the first of its versions that is served.
    async fn list(&mut self) -> Result<Listed, Fault> {
        let connection = self.server.connection().await?;
        for version in self.kind.info().versions {
            let api = self.api(&connection, version);
            match self.all(&connection, &api).await {
                Ok(revision) => {
                    self.known_now(self.reporter.read(self.kind));
                    return Ok(Listed { connection, api, revision });
                }
                Err(Fault::NotServed) => {}
                Err(fault) => return Err(fault),
            }
        }
        Err(Fault::NotServed)
    }

    fn api(&self, connection: &Connection, version: &str) -> Api<Raw> {
        let info = self.kind.info();
        let (client, resource) = (connection.client.clone(), resource(info, version));
        match &self.selection.namespace {
            Some(namespace) if info.scope == Scope::Namespaced => {
                Api::namespaced_with(client, namespace, &resource)
            }
            _ => Api::all_with(client, &resource),
        }
    }

    /// Reads everything; the revision that it is of.
    async fn all(&mut self, connection: &Connection, api: &Api<Raw>) -> Result<String, Fault> {
        if self.streams {
            match self.stream_all(connection, api).await {
                Err(Fault::Refused(why)) => {
                    tracing::debug!(kind = %self.kind, %why, "what there is is listed, as watches cannot begin with it");
                    self.streams = false;
                }
                read => return read,
            }
        }
        self.list_all(api).await
    }

    /// Reads everything as the beginning of a watch. A server that does not know how refuses, or says nothing of an end.
    async fn stream_all(
        &mut self,
        connection: &Connection,
        api: &Api<Raw>,
    ) -> Result<String, Fault> {
        self.known.begin();
        let params = WatchParams { send_initial_events: true, ..self.watching(LONGEST) };
        let mut events = self.patiently(Events::of(connection, api, &params, "")).await?;
        loop {
            let endless = || Fault::Refused("it does not say where what there is ends".to_owned());
            let event = timeout(self.times.answer, events.next()).await;
            let event = event.ok().flatten().ok_or_else(endless)??;
            if let WatchEvent::Bookmark(bookmark) = &event
                && bookmark.metadata.annotations.contains_key(INITIAL_END)
            {
                self.known.finish(&self.queue);
                self.queue.wake();
                return Ok(bookmark.metadata.resource_version.clone());
            }
            self.take(event)?;
        }
    }

    /// Lists everything; the revision that the list is of.
    async fn list_all(&mut self, api: &Api<Raw>) -> Result<String, Fault> {
        self.known.begin();
        let mut params = ListParams {
            label_selector: self.selection.labels.clone(),
            field_selector: self.selection.fields.clone(),
            limit: self.pages.then_some(PAGE),
            ..ListParams::default()
        };
        loop {
            let page = async { api.list(&params).await.map_err(|error| Fault::of(&error)) };
            let page = self.patiently(page).await;
            if page.as_ref().err() == Some(&Fault::Expired) {
                self.pages = false;
            }
            let page = page?;
            for raw in page.items {
                self.known.put(raw, &self.queue);
            }
            self.queue.wake();
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params.continue_token = Some(token),
                None => {
                    self.known.finish(&self.queue);
                    self.queue.wake();
                    let revision = page.metadata.resource_version;
                    return revision.filter(|text| !text.is_empty()).ok_or_else(|| {
                        Fault::Other("its lists have no resourceVersion".to_owned())
                    });
                }
            }
        }
    }

    /// Watches what comes after a list, until only another list helps.
    async fn follow(&mut self, mut listed: Listed) -> Fault {
        let mut certain = true;
        loop {
            let went = match certain {
                true => self.watch(&mut listed).await,
                false => self.look(&listed).await.map(|()| true),
            };
            match went {
                Ok(in_time) => certain = in_time,
                Err(fault @ (Fault::Expired | Fault::NotServed | Fault::TooLong(_))) => {
                    return fault;
                }
                Err(fault) => {
                    certain = false;
                    self.settle(fault).await;
                    // Another server, or another user of it, may have another history.
                    match self.server.connection().await {
                        Ok(now) if now.number == listed.connection.number => {}
                        Ok(_) => return Fault::Expired,
                        Err(fault) => return fault,
                    }
                }
            }
        }
    }

    /// Looks whether the server still is as far as it was: one that lost its store, or has an older one back, would tell nothing
    /// before it is as far again, and never what happened before.
    async fn look(&self, listed: &Listed) -> Result<(), Fault> {
        let params = ListParams { limit: Some(1), ..ListParams::default() };
        let page = async { listed.api.list(&params).await.map_err(|error| Fault::of(&error)) };
        let page = self.patiently(page).await?;
        let number = |revision: &str| revision.parse::<u64>().ok();
        let now = page.metadata.resource_version.as_deref().and_then(number);
        match (now, number(&listed.revision)) {
            (Some(now), Some(before)) if now < before => {
                let kind = self.kind;
                tracing::warn!(%kind, now, before, "the API server is not as far as it was: all is listed again");
                Err(Fault::Expired)
            }
            _ => Ok(()),
        }
    }

    /// One watch, until it ends; whether that was in its time, and not because the server or the way there is gone.
    async fn watch(&mut self, listed: &mut Listed) -> Result<bool, Fault> {
        let Listed { connection, api, revision } = listed;
        let Times { watch, margin, .. } = self.times;
        let seconds = watch + fastrand::u32(..=watch / 2);
        let params = self.watching(seconds);
        let began = Instant::now();
        let mut events = self.patiently(Events::of(connection, api, &params, revision)).await?;
        self.reporter.works(self.kind);
        let asked = Duration::from_secs(seconds.into());
        let longest = asked + margin;
        let mut heard = false;
        loop {
            let event = timeout(longest, events.next()).await;
            let event = event.map_err(|_| {
                Fault::Other(format!("nothing was heard of it for {} s", longest.as_secs()))
            })?;
            let Some(event) = event else { break };
            let reached = self.take(event?)?;
            if !reached.is_empty() {
                *revision = reached;
            }
            heard = true;
            self.backoff.reset();
        }
        if !heard && began.elapsed() < SHORTEST {
            return Err(Fault::Other("it ends watches as soon as they begin".to_owned()));
        }
        Ok(began.elapsed() >= asked)
    }

    /// A watch of so many seconds.
    fn watching(&self, seconds: u32) -> WatchParams {
        WatchParams {
            label_selector: self.selection.labels.clone(),
            field_selector: self.selection.fields.clone(),
            timeout: Some(seconds),
            bookmarks: true,
            send_initial_events: false,
        }
    }

    /// Takes in an event; the revision that it leads to.
    fn take(&mut self, event: WatchEvent<Raw>) -> Result<String, Fault> {
        let revision = match event {
            WatchEvent::Added(raw) | WatchEvent::Modified(raw) => {
                let revision = raw.version().to_owned();
                self.known.put(raw, &self.queue);
                revision
            }
            WatchEvent::Deleted(raw) => {
                self.known.remove(&raw, &self.queue);
                raw.version().to_owned()
            }
            WatchEvent::Bookmark(bookmark) => return Ok(bookmark.metadata.resource_version),
            WatchEvent::Error(status) => return Err(Fault::answered(&status)),
        };
        self.queue.wake();
        Ok(revision)
    }

    /// Tells what went wrong, looks whether the way in has changed, and waits.
    async fn settle(&mut self, fault: Fault) {
        match &fault {
            // Every API server has these.
            Fault::NotServed if self.kind.info().built_in => {
                let plural = self.kind.info().plural;
                self.fails(&format!("it has no {plural}: is it a Kubernetes API server?"));
            }
            Fault::NotServed => {
                self.known_now(self.reporter.not_served(self.kind, self.known.len()));
            }
            Fault::Expired => {
                tracing::debug!(kind = %self.kind, "the history is too short: all is listed again");
            }
            Fault::Unauthorized(why) | Fault::Forbidden(why) => {
                self.reporter.refused(self.kind, &self.in_words(why));
            }
            Fault::TooLong(why) => {
                self.streams = false;
                self.fails(why);
            }
            Fault::Refused(why) | Fault::Other(why) => self.fails(why),
        }
        if !matches!(fault, Fault::NotServed | Fault::Expired) {
            self.server.renew(matches!(fault, Fault::Unauthorized(_))).await;
        }
        sleep(self.backoff.next()).await;
    }

    fn fails(&self, why: &str) {
        self.reporter.fails(self.kind, &self.in_words(why));
    }

    fn in_words(&self, why: &str) -> String {
        format!("{}: {why}", self.server.access())
    }

    /// The kind is known now, and with it all of them, if it was the last.
    fn known_now(&self, last: bool) {
        if last {
            self.queue.push(Change::Synced);
            self.queue.wake();
        }
    }

    /// An answer, or what came instead of it.
    async fn patiently<T>(
        &self,
        answer: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        let patience = self.times.answer;
        match timeout(patience, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(Fault::Other(format!("no answer within {} s", patience.as_secs()))),
        }
    }
}
