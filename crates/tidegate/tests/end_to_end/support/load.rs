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
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
}

impl Load {
    /// Starts clients, each with one connection that has to stay open.
    pub fn start(clients: usize, address: SocketAddr, host: &str, path: &str, status: u16) -> Self {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        Self::of(clients, address, &request, status)
    }

    /// As [`Load::start`], with a request of any kind.
    pub fn of(clients: usize, address: SocketAddr, request: &str, status: u16) -> Self {
        let mut load =
            Self { clients: JoinSet::new(), stop: Arc::default(), answered: Arc::default() };
        for _ in 0..clients {
            let (request, stop) = (request.to_owned(), Arc::clone(&load.stop));
            let answered = Arc::clone(&load.answered);
            load.clients.spawn(async move {
                let mut faults = Vec::new();
                let mut client = Client::connect(address).await;
                while !stop.load(Ordering::Relaxed) {
                    client.send(&request).await;
                    match client.read(false).await {
                        Ok(answer) if answer.status == status => {
                            answered.fetch_add(1, Ordering::Relaxed);
                        }
                        Ok(answer) => faults.push(format!("{} {}", answer.status, answer.text())),
                        Err(error) => {
                            faults.push(error.to_string());
                            client = Client::connect(address).await;
                        }
                    }
                }
                faults
            });
        }
        load
    }

    /// Waits for this many further answers, so that load goes on across what the test does.
    pub async fn flows(&self, answers: usize) {
        let wanted = self.answered.load(Ordering::Relaxed) + answers;
        eventually(PATIENCE, || async { self.answered.load(Ordering::Relaxed) >= wanted }).await;
    }

    /// Ends the load; everything that was not the wanted answer.
    pub async fn stop(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.join_all().await.concat()
    }
}
