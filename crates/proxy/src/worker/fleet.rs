//! All workers together: what the control side does to every one of them.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::Places;
use super::thread::{Command, Thread};
use crate::accesslog::Logs;
use crate::config::listener::Listener;
use crate::listener;
use crate::stats::Registry;

/// How a listener came to be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// It is new.
    Opened,
    /// Its sockets stay.
    InPlace,
    /// It has another address.
    Moved,
}

/// The workers of a process.
#[derive(Debug)]
pub struct Fleet {
    threads: Vec<Thread>,
    open: HashMap<Arc<str>, SocketAddr>,
    /// Listeners that accept no more and have connections that go on.
    closed: HashSet<Arc<str>>,
}

impl Fleet {
    /// Starts a worker for each that the registry has counts for.
    ///
    /// # Errors
    /// A thread or its runtime cannot be made.
    pub fn start(registry: &Arc<Registry>, logs: &Logs) -> io::Result<Self> {
        Self::with_places(registry, logs, &Places::of_process())
    }

    /// As [`Fleet::start`], with other places for clients than the process' own limit makes.
    ///
    /// # Errors
    /// See there.
    pub fn with_places(
        registry: &Arc<Registry>,
        logs: &Logs,
        places: &Arc<Places>,
    ) -> io::Result<Self> {
        let start = |index| {
            let (stats, recorder) = (registry.worker(index), logs.recorder(index));
            Thread::start(index, stats, recorder, Arc::clone(places))
        };
        let threads = (0..registry.workers()).map(start).collect::<io::Result<_>>()?;
        Ok(Self { threads, open: HashMap::new(), closed: HashSet::new() })
    }

    /// Opens a listener, or replaces the form in which it is served. One that was closed stays closed.
    ///
    /// # Errors
    /// Its address cannot be bound; a listener that was open stays as it was.
    pub fn serve(&mut self, listener: &Arc<Listener>) -> io::Result<Served> {
        if let Some(&address) = self.open.get(&listener.name) {
            if listener.address == address || listener.address.port() == 0 {
                self.tell_all(|| Command::Update(Arc::clone(listener)));
                return Ok(Served::InPlace);
            }
            // Another address: the new one must be ours before the old one is given up.
            let sockets = listener::bind(listener.address, self.threads.len())?;
            self.stop(&listener.name);
            self.listen(listener, sockets);
            return Ok(Served::Moved);
        }
        if self.closed.contains(&listener.name) {
            self.tell_all(|| Command::Update(Arc::clone(listener)));
            return Ok(Served::InPlace);
        }
        let sockets = listener::bind(listener.address, self.threads.len())?;
        self.listen(listener, sockets);
        Ok(Served::Opened)
    }

    fn listen(&mut self, listener: &Arc<Listener>, sockets: Vec<std::net::TcpListener>) {
        let bound = sockets.first().and_then(|socket| socket.local_addr().ok());
        let bound = bound.unwrap_or(listener.address);
        for (thread, socket) in self.threads.iter().zip(sockets) {
            thread.tell(Command::Listen(Arc::clone(listener), socket));
        }
        self.open.insert(Arc::clone(&listener.name), bound);
    }

    /// Closes a listener. Its connections end after what they are doing.
    pub fn stop(&mut self, name: &Arc<str>) {
        if self.open.remove(name).is_some() || self.closed.remove(name) {
            self.tell_all(|| Command::Stop(Arc::clone(name)));
        }
    }

    /// Closes a listener for good; its connections go on. False if it was not open.
    pub fn close(&mut self, name: &Arc<str>) -> bool {
        let open = self.open.remove(name).is_some();
        if open {
            self.closed.insert(Arc::clone(name));
            self.tell_all(|| Command::Close(Arc::clone(name)));
        }
        open
    }

    /// Whether a listener is served, be it only for the connections that it has.
    #[must_use]
    pub fn serves(&self, name: &str) -> bool {
        self.open.contains_key(name) || self.closed.contains(name)
    }

    /// The addresses that are listened on, by listener.
    #[must_use]
    pub fn addresses(&self) -> &HashMap<Arc<str>, SocketAddr> {
        &self.open
    }

    /// Waits until every worker has done all it was told.
    pub async fn sync(&self) {
        for done in self.ask_all(Command::Sync) {
            // A worker that has ended serves nothing, so nothing old either.
            let _ = done.await;
        }
    }

    /// Stops accepting and lets connections finish, for at most `grace`. True when all did.
    pub async fn drain(&mut self, grace: Duration) -> bool {
        self.open.clear();
        let done = self.ask_all(Command::Drain);
        let all = async {
            for done in done {
                let _ = done.await;
            }
        };
        tokio::time::timeout(grace, all).await.is_ok()
    }

    fn tell_all(&self, command: impl Fn() -> Command) {
        for thread in &self.threads {
            thread.tell(command());
        }
    }

    fn ask_all(&self, command: fn(oneshot::Sender<()>) -> Command) -> Vec<oneshot::Receiver<()>> {
        let ask = |thread: &Thread| {
            let (done, receiver) = oneshot::channel();
            thread.tell(command(done));
            receiver
        };
        self.threads.iter().map(ask).collect()
    }
}
