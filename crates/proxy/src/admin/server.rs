//! The server: connections, their bounds, and the way from a request to its command.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use http::{Method, Request, Response, StatusCode};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::answer::{Answer, Pieces};
use super::commands::{COMMANDS, Call, Command};
use super::state::{Lifecycle, State};
use super::{commands, health, origin};
use crate::stats::{Registry, Scope};

/// Connections at a time; more wait in the kernel's queue.
const CONNECTIONS: usize = 64;
/// Time for a request's head.
const HEAD: Duration = Duration::from_secs(30);
/// Largest request head, bytes.
const HEAD_SIZE: usize = 64 * 1024;

/// What of the admin interface can be chosen.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Whether `/quitquitquit` ends the process.
    pub allow_quit: bool,
    /// Names besides addresses and `localhost` under which it may be asked.
    pub allowed_hosts: Vec<String>,
}

/// The admin interface.
pub struct Admin {
    pub(super) state: Arc<dyn State>,
    pub(super) registry: Arc<Registry>,
    pub(super) options: Options,
    control: Scope,
    /// Told to fail health checks (`/healthcheck/fail`).
    failed: AtomicBool,
}

impl Admin {
    /// An admin interface over a running proxy.
    pub fn new(state: Arc<dyn State>, registry: Arc<Registry>, options: Options) -> Arc<Self> {
        let control = registry.control();
        Arc::new(Self { state, registry, options, control, failed: AtomicBool::new(false) })
    }

    /// Serves the admin interface on a listener that is bound, until the future is dropped.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) {
        accept(listener, self, Self::answer).await;
    }

    /// Serves `/healthz/ready` on a listener that is bound, until the future is dropped.
    pub async fn serve_health(self: Arc<Self>, listener: TcpListener) {
        accept(listener, self, health::answer).await;
    }

    /// Answers one request.
    pub fn answer<B>(&self, request: &Request<B>) -> Answer {
        if let Err(reason) = origin::check(request, &self.options.allowed_hosts) {
            return Answer::error(StatusCode::FORBIDDEN, reason + "\n");
        }
        let path = request.uri().path();
        let Some(command) = COMMANDS.iter().find(|command| command.path == path) else {
            let text = format!("invalid path. {}", commands::help());
            return Answer::error(StatusCode::NOT_FOUND, text);
        };
        let method = request.method();
        if let Some(wanted) = refused(command, method) {
            let text = format!("Method {method} not allowed, {wanted} required.");
            return Answer::error(StatusCode::METHOD_NOT_ALLOWED, text);
        }
        let query = request.uri().query().unwrap_or_default();
        (command.run)(self, Call { query })
    }

    /// How far the process is, as it is told to say.
    pub(super) fn lifecycle(&self) -> Lifecycle {
        match self.state.lifecycle() {
            Lifecycle::Live if self.failed.load(Relaxed) => Lifecycle::Draining,
            lifecycle => lifecycle,
        }
    }

    /// Makes health checks fail, or succeed again.
    pub(super) fn set_failed(&self, failed: bool) {
        self.failed.store(failed, Relaxed);
    }

    /// Seconds since the process started.
    pub(super) fn uptime(&self) -> u64 {
        let started = self.state.about().started;
        SystemTime::now().duration_since(started).unwrap_or_default().as_secs()
    }

    /// Brings `server.` up to date, which nobody counts while nobody asks.
    pub(super) fn refresh_stats(&self) {
        self.state.refresh_stats();
        let server = self.control.server();
        let lifecycle = self.lifecycle();
        server.concurrency.set(self.registry.workers() as u64);
        server.live.set(u64::from(lifecycle == Lifecycle::Live));
        server.state.set(lifecycle.number());
        server.uptime.set(self.uptime());
        server.total_connections.set(self.registry.connections());
        if let Some(memory) = super::views::memory() {
            server.memory_physical_size.set(memory.resident);
        }
    }
}

/// The method that should have been used, if this one is refused. Envoy takes GET and its kin for all that
/// changes nothing, and POST for the rest.
fn refused(command: &Command, method: &Method) -> Option<&'static str> {
    match (command.changes, method) {
        (true, &Method::POST) | (false, &Method::GET | &Method::HEAD | &Method::POST) => None,
        (true, _) => Some("POST"),
        (false, _) => Some("GET"),
    }
}

/// Accepts connections and answers their requests, until the future is dropped.
async fn accept(
    listener: TcpListener,
    admin: Arc<Admin>,
    answer: fn(&Admin, &Request<hyper::body::Incoming>) -> Answer,
) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    // Dropped with the future, and every connection with it.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                wait_after(&error).await;
                continue;
            }
        };
        while connections.try_join_next().is_some() {}
        let admin = admin.clone();
        connections.spawn(async move {
            if let Err(error) = converse(stream, &admin, answer).await {
                tracing::debug!(%error, "admin connection ended");
            }
            drop(slot);
        });
    }
}

/// Without file descriptors left `accept` fails again at once; some may be free after a while.
async fn wait_after(error: &io::Error) {
    tracing::warn!(%error, "admin connection cannot be accepted");
    tokio::time::sleep(Duration::from_millis(100)).await;
}

async fn converse(
    stream: TcpStream,
    admin: &Arc<Admin>,
    answer: fn(&Admin, &Request<hyper::body::Incoming>) -> Answer,
) -> hyper::Result<()> {
    let service = service_fn(|request| {
        let admin = admin.clone();
        async move { Ok::<Response<Pieces>, Infallible>(answer(&admin, &request).into_response()) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_SIZE)
        .serve_connection(TokioIo::new(stream), service)
        .await
}
