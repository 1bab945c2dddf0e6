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
use crate::config::listener::{Listener, canonical};
use crate::egress::Post;
use crate::listener::{self, Binding, BoundPipe, ListenerSocket};
use crate::pipe::Pipe;
use crate::remote::Remote;
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
    open: HashMap<Arc<str>, Open>,
    /// Listeners that accept no more and have connections that go on.
    closed: HashSet<Arc<str>>,
}

/// A listener that takes connections.
#[derive(Debug)]
struct Open {
    /// Its addresses, as they are bound if they are.
    at: Binding,
    bound: bool,
    /// Its Unix socket, if it is on one.
    pipe: Option<BoundPipe>,
}

impl Open {
    /// Where it is, as it is told.
    fn addresses(&self) -> impl Iterator<Item = Remote> {
        let pipe = self.pipe.iter().map(|own| Remote::Pipe(Arc::clone(&own.pipe().path)));
        pipe.chain(self.at.addresses.iter().copied().map(Remote::Ip))
    }

    /// Whether a form of the listener is to be found where this one is.
    fn fits(&self, listener: &Listener) -> bool {
        let same = |(now, open): (SocketAddr, &SocketAddr)| now == *open || now.port() == 0;
        let path = |pipe: &Pipe| Arc::clone(&pipe.path);
        listener.capture.bound == self.bound
            && listener.pipe.as_ref().map(path) == self.pipe.as_ref().map(|own| path(own.pipe()))
            && listener.capture.transparent == self.at.transparent
            && listener.addresses().count() == self.at.addresses.len()
            && listener.addresses().zip(&self.at.addresses).all(same)
    }
}

/// What could not be bound, and why.
fn at_pipe(pipe: &Pipe, error: io::Error) -> (Remote, io::Error) {
    (Remote::Pipe(Arc::clone(&pipe.path)), error)
}

/// What a listener is bound to, with its addresses as they are.
fn binding(listener: &Listener, addresses: Vec<SocketAddr>) -> Binding {
    Binding { addresses, transparent: listener.capture.transparent }
}

impl Fleet {
    /// Starts a worker for each that the registry has counts for. What they refuse to let out goes to `post`.
    ///
    /// # Errors
    /// A thread or its runtime cannot be made.
    pub(crate) fn start(registry: &Arc<Registry>, logs: &Logs, post: &Post) -> io::Result<Self> {
        Self::with_places(registry, logs, Some(post), &Places::of_process())
    }

    /// As [`Fleet::start`], with other places for clients than the process' own limit makes.
    ///
    /// # Errors
    /// See there.
    pub(crate) fn with_places(
        registry: &Arc<Registry>,
        logs: &Logs,
        post: Option<&Post>,
        places: &Arc<Places>,
    ) -> io::Result<Self> {
        let start = |index| {
            let (stats, recorder) = (registry.worker(index), logs.recorder(index));
            Thread::start(index, stats, recorder, post.cloned(), Arc::clone(places))
        };
        let threads = (0..registry.workers()).map(start).collect::<io::Result<_>>()?;
        Ok(Self { threads, open: HashMap::new(), closed: HashSet::new() })
    }

    /// Opens a listener, or replaces the form in which it is served. One that was closed stays closed.
    ///
    /// # Errors
    /// One of its addresses, which is told, cannot be bound or is another listener's; a listener that was open stays as it was.
    pub fn serve(&mut self, listener: &Arc<Listener>) -> Result<Served, (Remote, io::Error)> {
        let open = self.open.get_mut(&listener.name);
        let was_open = open.is_some();
        let in_place = open.filter(|open| open.fits(listener));
        if in_place.is_some() || self.closed.contains(&listener.name) {
            let own = in_place.and_then(|open| open.pipe.as_mut());
            if let Some((own, pipe)) = own.zip(listener.pipe.as_ref()) {
                own.set_mode(pipe.mode).map_err(|error| at_pipe(pipe, error))?;
            }
            self.tell_all(|| Command::Update(Arc::clone(listener)));
            return Ok(Served::InPlace);
        }
        // Other addresses: the new ones must be ours before the old ones are given up, which workers do.
        let served = if was_open { Served::Moved } else { Served::Opened };
        match listener.pipe.as_ref().filter(|_| listener.capture.bound) {
            Some(pipe) => {
                let (bound, sockets) =
                    self.share_pipe(pipe).map_err(|error| at_pipe(pipe, error))?;
                self.listen(listener, sockets, Some(bound));
            }
            None => {
                let at_address = |(address, error)| (Remote::Ip(address), error);
                let sockets = self.sockets(listener).map_err(at_address)?;
                self.listen(listener, sockets, None);
            }
        }
        Ok(served)
    }

    /// A Unix socket, and as a socket of each worker.
    fn share_pipe(&self, pipe: &Pipe) -> io::Result<(BoundPipe, Vec<Vec<ListenerSocket>>)> {
        let bound = BoundPipe::bind(pipe)?;
        let of_worker = |_: &Thread| Ok(vec![ListenerSocket::Pipe(bound.share()?)]);
        let sockets = self.threads.iter().map(of_worker).collect::<io::Result<_>>()?;
        Ok((bound, sockets))
    }

    /// The sockets of a listener, for each worker; none for one that serves what others hand on to it.
    fn sockets(
        &self,
        listener: &Listener,
    ) -> Result<Vec<Vec<ListenerSocket>>, (SocketAddr, io::Error)> {
        self.check_others(listener)?;
        if listener.capture.bound {
            let wanted = binding(listener, listener.addresses().collect());
            let before = self.open.get(&listener.name).filter(|open| open.bound);
            let held = before.map(|open| open.at.clone()).unwrap_or_default();
            return listener::bind_all(&wanted, &held, self.threads.len());
        }
        Ok(self.threads.iter().map(|_| Vec::new()).collect())
    }

    /// As in Envoy, no address is two listeners', whether they listen there or are handed what is dialled to it. Where both listen the
    /// system finds it out.
    fn check_others(&self, listener: &Listener) -> Result<(), (SocketAddr, io::Error)> {
        for address in listener.addresses() {
            let has = |(name, open): &(&Arc<str>, &Open)| {
                let bind = listener.capture.bound && open.bound;
                let mut addresses = open.at.addresses.iter();
                let same = |open: &SocketAddr| canonical(*open) == canonical(address);
                **name != listener.name && !bind && addresses.any(same)
            };
            if let Some((name, _)) = self.open.iter().find(has) {
                let reason = format!(
                    "the listener {name} has it, and only one can serve what is dialled to it"
                );
                return Err((address, io::Error::other(reason)));
            }
        }
        Ok(())
    }

    fn listen(
        &mut self,
        listener: &Arc<Listener>,
        sockets: Vec<Vec<ListenerSocket>>,
        pipe: Option<BoundPipe>,
    ) {
        let bound = sockets.iter().take(1).flatten().filter(|_| pipe.is_none());
        let bound = bound.map(ListenerSocket::address);
        let bound = bound.collect::<io::Result<Vec<_>>>().unwrap_or_default();
        let addresses = if bound.is_empty() { listener.addresses().collect() } else { bound };
        for (thread, sockets) in self.threads.iter().zip(sockets) {
            thread.tell(Command::Listen(Arc::clone(listener), sockets));
        }
        let bound = listener.capture.bound;
        let open = Open { at: binding(listener, addresses), bound, pipe };
        self.open.insert(Arc::clone(&listener.name), open);
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

    /// The listeners that take connections, with their addresses; of those that bind none, connections to these are handed
    /// on to them.
    pub fn addresses(&self) -> impl Iterator<Item = (&Arc<str>, Vec<Remote>)> {
        self.open.iter().map(|(name, open)| (name, open.addresses().collect()))
    }

    /// The first address of a listener that takes connections.
    #[must_use]
    pub fn address(&self, name: &str) -> Option<SocketAddr> {
        self.open.get(name)?.at.addresses.first().copied()
    }

    /// The sockets that are listened on, by listener.
    pub fn bound(&self) -> impl Iterator<Item = (&Arc<str>, &SocketAddr)> {
        let bound = self.open.iter().filter(|(_, open)| open.bound);
        bound.flat_map(|(name, open)| open.at.addresses.iter().map(move |address| (name, address)))
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
