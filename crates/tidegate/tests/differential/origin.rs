//! The scripted origin: it does what the case says and records what reached it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::Notify;

use super::case::{Act, Case};
use super::wire::{Ended, Head, Wire, content, fields};

/// What origins share: the cases, and what was received for each.
#[derive(Debug)]
pub struct Stage {
    pub cases: Vec<Case>,
    received: Mutex<HashMap<usize, Vec<String>>>,
    requests: Mutex<HashMap<usize, usize>>,
    changed: Notify,
}

impl Stage {
    pub fn new(cases: Vec<Case>) -> Arc<Self> {
        Arc::new(Self {
            cases,
            received: Mutex::default(),
            requests: Mutex::default(),
            changed: Notify::new(),
        })
    }

    /// Notes lines for a case.
    pub fn record(&self, id: Option<usize>, lines: impl IntoIterator<Item = String>) {
        let mut received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        received.entry(id.unwrap_or(usize::MAX)).or_default().extend(lines);
        self.changed.notify_waiters();
    }

    /// Waits until a case has all of its requests, for so long at most.
    pub async fn all_requests(&self, id: usize, patience: Duration) {
        let all = async {
            loop {
                let changed = self.changed.notified();
                if self.contents(id) >= self.cases[id].requests {
                    return;
                }
                changed.await;
            }
        };
        // Who has fewer differs.
        let _ = tokio::time::timeout(patience, all).await;
    }

    fn contents(&self, id: usize) -> usize {
        let received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = received.get(&id).into_iter().flatten();
        lines.filter(|line| line.starts_with("> [")).count()
    }

    /// Counts a request of a case; tells how many there were before.
    pub fn count(&self, id: usize) -> usize {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let count = requests.entry(id).or_default();
        *count += 1;
        *count - 1
    }

    /// Takes what was noted for a case.
    pub fn take(&self, id: usize) -> Vec<String> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        let mut received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        received.remove(&id).unwrap_or_default()
    }
}

/// Starts the HTTP/1 origin.
pub async fn start(stage: Arc<Stage>) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port for the origin");
    let address = listener.local_addr().expect("the origin's address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(Arc::clone(&stage), stream));
        }
    });
    address
}

/// Has a socket of this machine lead to an origin.
pub fn behind_pipe(path: &Path, origin: SocketAddr) -> String {
    let listener = UnixListener::bind(path).expect("a socket");
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut far = TcpStream::connect(origin).await.expect("the origin");
                // However it ends, both are closed.
                let _ = copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    path.display().to_string()
}

/// Starts HTTP/1 origins that answer with their number.
pub async fn start_numbered(count: usize) -> Vec<SocketAddr> {
    let mut addresses = Vec::new();
    for number in 0..count {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port for the origin");
        addresses.push(listener.local_addr().expect("the origin's address"));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut wire = Wire::new(stream);
                    while let Some(head) = wire.head().await {
                        wire.request_body(&head).await;
                        let answer =
                            format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{number}");
                        wire.send(answer.as_bytes()).await;
                    }
                });
            }
        });
    }
    addresses
}

/// Starts an HTTP/1 origin that answers the first request of each connection and closes when a second one
/// comes: as if it had closed just before.
pub async fn start_stale() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port for the origin");
    let address = listener.local_addr().expect("the origin's address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut wire = Wire::new(stream);
                if let Some(head) = wire.head().await {
                    wire.request_body(&head).await;
                    wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
                    wire.head().await;
                }
            });
        }
    });
    address
}

fn record_head(stage: &Stage, id: Option<usize>, head: &Head) {
    stage.record(id, [format!("> {}", head.start)]);
    stage.record(id, fields(">", &head.fields));
}

async fn serve(stage: Arc<Stage>, stream: TcpStream) {
    let mut wire = Wire::new(stream);
    while let Some(head) = wire.head().await {
        let id = head.get("x-case").and_then(|id| id.parse::<usize>().ok());
        let case = id.and_then(|id| stage.cases.get(id));
        let acts = case.zip(id).map_or(&[][..], |(case, id)| {
            case.first.get(stage.count(id)).map_or(&case.origin[..], |acts| &acts[..])
        });
        if !matches!(acts.first(), Some(Act::Early)) {
            let body = wire.request_body(&head).await;
            // How much of a request arrives that is broken off is a matter of chance.
            if body.ended == Ended::Cut {
                return;
            }
            record_head(&stage, id, &head);
            stage.record(id, [content(">", &body.content, body.ended)]);
            stage.record(id, fields("> trailer", &body.trailers));
        }
        if matches!(acts.first(), Some(Act::Early)) {
            record_head(&stage, id, &head);
        }
        let default =
            Act::Send(b"HTTP/1.1 200 OK\r\nServer: origin\r\nContent-Length: 2\r\n\r\nok".to_vec());
        let acts = if acts.is_empty() { std::slice::from_ref(&default) } else { acts };
        if head.start.starts_with("HEAD ")
            && matches!(acts, [Act::Send(_)])
            && case.is_some_and(|case| case.origin.is_empty())
        {
            wire.send(b"HTTP/1.1 200 OK\r\nServer: origin\r\nContent-Length: 2\r\n\r\n").await;
            continue;
        }
        for act in acts {
            match act {
                Act::Early => {}
                Act::Body => {
                    let body = wire.request_body(&head).await;
                    stage.record(id, [content(">", &body.content, body.ended)]);
                }
                Act::Send(bytes) => wire.send(bytes).await,
                Act::Pause(time) => tokio::time::sleep(Duration::from_millis(*time)).await,
                Act::Echo(length) => {
                    let body = wire.sized(*length).await;
                    wire.send(&body.content).await;
                }
                Act::Hold => {
                    wire.rest().await;
                    return;
                }
                Act::Close => return,
                Act::Reset => {
                    let _ = socket2::SockRef::from(wire.stream()).set_linger(Some(Duration::ZERO));
                    return;
                }
            }
        }
    }
}
