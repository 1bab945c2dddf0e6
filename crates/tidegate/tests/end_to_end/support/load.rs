//! Clients that send one request after the other, and remember what went wrong.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tidegate_testing::client::Client;
use tidegate_testing::{PATIENCE, eventually};
use tokio::task::JoinSet;

/// Load that runs until it is stopped.
pub struct Load {
    clients: JoinSet<Vec<String>>,
    progress: Arc<Progress>,
}

/// How far a load has come.
#[derive(Default)]
pub struct Progress {
    stop: AtomicBool,
    answered: AtomicUsize,
}

impl Progress {
    /// Whether another request is to be sent.
    pub fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    /// Counts an answer that was as wanted.
    pub fn answered(&self) {
        self.answered.fetch_add(1, Ordering::Relaxed);
    }
}

impl Load {
    /// Starts clients, each with one connection that has to stay open.
    pub fn start(clients: usize, address: SocketAddr, host: &str, path: &str, status: u16) -> Self {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        Self::of(clients, address, &request, status)
    }

    /// As [`Load::start`], with a request of any kind.
    pub fn of(clients: usize, address: SocketAddr, request: &str, status: u16) -> Self {
        let request = request.to_owned();
        Self::run(clients, |progress| ask(address, request.clone(), status, progress))
    }

    /// Starts clients of any kind; each answers what went wrong.
    pub fn run<F>(clients: usize, client: impl Fn(Arc<Progress>) -> F) -> Self
    where
        F: Future<Output = Vec<String>> + Send + 'static,
    {
        let mut load = Self { clients: JoinSet::new(), progress: Arc::default() };
        for _ in 0..clients {
            load.clients.spawn(client(Arc::clone(&load.progress)));
        }
        load
    }

    /// How many answers were as wanted, once it has ended.
    pub async fn total(self) -> Result<usize, Vec<String>> {
        let progress = Arc::clone(&self.progress);
        let faults = self.stop().await;
        if faults.is_empty() { Ok(progress.answered.load(Ordering::Relaxed)) } else { Err(faults) }
    }

    /// How many answers were as wanted until now.
    pub fn answered(&self) -> usize {
        self.progress.answered.load(Ordering::Relaxed)
    }

    /// Waits for this many further answers, so that load goes on across what the test does.
    pub async fn flows(&self, answers: usize) {
        let wanted = self.answered() + answers;
        eventually(PATIENCE, || async { self.answered() >= wanted }).await;
    }

    /// Ends the load; everything that was not the wanted answer.
    pub async fn stop(self) -> Vec<String> {
        self.progress.stop.store(true, Ordering::Relaxed);
        self.clients.join_all().await.concat()
    }
}

/// One client: a request after the other, on a connection that has to stay open.
async fn ask(
    address: SocketAddr,
    request: String,
    status: u16,
    progress: Arc<Progress>,
) -> Vec<String> {
    let mut faults = Vec::new();
    let mut client = Client::connect(address).await;
    while progress.goes_on() {
        client.send(&request).await;
        match client.read(false).await {
            Ok(answer) if answer.status == status => progress.answered(),
            Ok(answer) => faults.push(format!("{} {}", answer.status, answer.text())),
            Err(error) => {
                faults.push(error.to_string());
                client = Client::connect(address).await;
            }
        }
    }
    faults
}
