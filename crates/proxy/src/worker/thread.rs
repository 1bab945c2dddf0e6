//! A worker's thread, and what the control side tells it.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, LocalSet};

use super::{Places, Worker};
use crate::accesslog::Recorder;
use crate::config::listener::Listener;
use crate::egress::Post;
use crate::listener::{Acceptor, ListenerSocket, LocalListener};
use crate::stats::Scope;

/// How often idle upstream connections are looked at.
const SWEEP: Duration = Duration::from_secs(2);

/// What a worker is told.
#[derive(Debug)]
pub enum Command {
    /// Serve a listener, and accept on its sockets. One without serves what others hand on to it. One of this name that is open
    /// gives up its other sockets, and its connections close after what they are doing.
    Listen(Arc<Listener>, Vec<ListenerSocket>),
    /// Serve another form of a listener that is open.
    Update(Arc<Listener>),
    /// Stop accepting for the listener of this name, whose connections close after what they are doing.
    Stop(Arc<str>),
    /// Stop accepting for the listener of this name, whose connections go on.
    Close(Arc<str>),
    /// Answer when everything before is done.
    Sync(oneshot::Sender<()>),
    /// Stop accepting, let connections finish, answer when all have.
    Drain(oneshot::Sender<()>),
}

/// The control side's end of a worker.
#[derive(Debug)]
pub struct Thread {
    commands: mpsc::UnboundedSender<Command>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Thread {
    /// Starts worker number `index`, whose clients take some of `places`. What it refuses to let out goes to `post`.
    ///
    /// # Errors
    /// The thread or its runtime cannot be made.
    pub(crate) fn start(
        index: usize,
        stats: Scope,
        recorder: Recorder,
        post: Option<Post>,
        places: Arc<Places>,
    ) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (commands, receiver) = mpsc::unbounded_channel();
        let thread =
            std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
                let worker = Rc::new(Worker::new(index, stats, recorder, post, places));
                LocalSet::new().block_on(&runtime, run(worker, receiver));
            })?;
        Ok(Self { commands, thread: Some(thread) })
    }

    /// Tells the worker something; false when it has ended.
    pub fn tell(&self, command: Command) -> bool {
        self.commands.send(command).is_ok()
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        // The end of the channel ends the worker.
        let (closed, _) = mpsc::unbounded_channel();
        self.commands = closed;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("a worker ended in a panic");
        }
    }
}

/// Carries out commands until the control side is gone.
pub(crate) async fn run(worker: Rc<Worker>, mut commands: mpsc::UnboundedReceiver<Command>) {
    let mut open: HashMap<Arc<str>, Open> = HashMap::new();
    let mut sweep = tokio::time::interval(SWEEP);
    loop {
        let command = tokio::select! {
            command = commands.recv() => command,
            _ = sweep.tick() => {
                worker.clusters.sweep();
                continue;
            }
        };
        match command {
            None => return,
            Some(Command::Listen(listener, sockets)) => {
                let before = open.remove(&listener.name);
                let name = Arc::clone(&listener.name);
                open.insert(name, Open::new(&worker, &listener, sockets, before).await);
            }
            Some(Command::Update(listener)) => {
                if let Some(open) = open.get(&listener.name) {
                    open.local.update(listener);
                }
            }
            Some(Command::Stop(name)) => {
                if let Some(open) = open.remove(&name) {
                    open.retire(&worker).await;
                }
            }
            Some(Command::Close(name)) => {
                if let Some(open) = open.get_mut(&name) {
                    open.close(&worker).await;
                }
            }
            Some(Command::Sync(done)) => {
                let _ = done.send(());
            }
            Some(Command::Drain(done)) => {
                // What has come to one listener may be another's, which takes it until the last queue is empty.
                for open in open.values_mut() {
                    open.stop_accepting().await;
                }
                for (_, mut open) in open.drain() {
                    open.close(&worker).await;
                }
                worker.drain();
                let worker = Rc::clone(&worker);
                tokio::task::spawn_local(async move {
                    worker.connections.drained().await;
                    let _ = done.send(());
                });
            }
        }
    }
}

/// A listener that is served, and what accepts for it.
struct Open {
    local: Rc<LocalListener>,
    accepting: Vec<Accepting>,
}

impl Open {
    /// Serves a listener on these sockets, in place of the form `before`, whose sockets are given up but for those that are kept.
    async fn new(
        worker: &Rc<Worker>,
        listener: &Arc<Listener>,
        sockets: Vec<ListenerSocket>,
        mut before: Option<Self>,
    ) -> Self {
        let local = Rc::new(LocalListener::new(Rc::clone(worker), Arc::clone(listener)));
        for address in listener.addresses() {
            worker.listeners.enter(address, &local);
        }
        let mut accepting = Vec::with_capacity(sockets.len());
        for socket in sockets {
            let socket = match (socket, &mut before) {
                (ListenerSocket::Kept(address), Some(before)) => before.give(address).await,
                (ListenerSocket::Kept(_), None) => None,
                (ListenerSocket::Bound(socket), _) => {
                    accepting_on(listener, TcpListener::from_std(socket).map(Acceptor::Ip))
                }
                (ListenerSocket::Pipe(socket), _) => accepting_on(listener, Acceptor::pipe(socket)),
            };
            accepting.extend(socket.map(|socket| Accepting::new(&local, socket)));
        }
        if let Some(before) = before {
            before.retire(worker).await;
        }
        Self { local, accepting }
    }

    /// Gives up the socket at an address, and what waits in its queue with it.
    async fn give(&mut self, address: SocketAddr) -> Option<Rc<Acceptor>> {
        let at = self.accepting.iter().position(|one| one.socket.address() == Some(address))?;
        Some(self.accepting.swap_remove(at).stop().await)
    }

    /// Takes no more connections than those that have come.
    async fn close(&mut self, worker: &Worker) {
        worker.listeners.leave(&self.local);
        self.stop_accepting().await;
    }

    /// Takes what has come to its sockets, and closes them.
    async fn stop_accepting(&mut self) {
        for accepting in self.accepting.drain(..) {
            let socket = accepting.stop().await;
            self.local.accept_waiting(&socket);
        }
    }

    /// Takes no more connections; those that there are close after what they are doing.
    async fn retire(mut self, worker: &Worker) {
        self.close(worker).await;
        self.local.retire();
    }
}

/// A socket that the runtime can wait for; where it cannot, the log says so.
fn accepting_on(listener: &Listener, socket: io::Result<Acceptor>) -> Option<Rc<Acceptor>> {
    let told = |error: &io::Error| {
        tracing::error!(%error, listener = %listener.name, "cannot accept");
    };
    socket.inspect_err(told).ok().map(Rc::new)
}

/// A socket, and the task that accepts on it.
struct Accepting {
    socket: Rc<Acceptor>,
    task: JoinHandle<()>,
}

impl Accepting {
    fn new(local: &Rc<LocalListener>, socket: Rc<Acceptor>) -> Self {
        let task = tokio::task::spawn_local(Rc::clone(local).accept(Rc::clone(&socket)));
        Self { socket, task }
    }

    /// Ends the task: the socket is closed with what this returns, and whoever is told so then can use the address again.
    async fn stop(mut self) -> Rc<Acceptor> {
        if !self.task.is_finished() {
            self.task.abort();
            let _ = (&mut self.task).await;
        }
        self.socket
    }
}
