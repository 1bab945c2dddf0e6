//! The client: takes a case's steps and writes down what comes back.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::case::{Step, fill};
use super::wire::{Wire, content, fields};

/// How long a connection is watched for its end.
const WATCH: Duration = Duration::from_millis(1200);

/// Takes the steps on one connection; returns what was seen, as lines.
pub async fn run(address: SocketAddr, id: usize, steps: &[Step]) -> Vec<String> {
    let Ok(stream) = TcpStream::connect(address).await else {
        return vec!["no connection".to_owned()];
    };
    let mut wire = Wire::new(stream);
    let mut seen = Vec::new();
    for step in steps {
        match step {
            Step::Send(bytes) => wire.send(&fill(bytes, id, address.port())).await,
            Step::Pause(time) => tokio::time::sleep(Duration::from_millis(*time)).await,
            Step::Read => seen.extend(read(&mut wire, false).await),
            Step::ReadHead => seen.extend(read(&mut wire, true).await),
            Step::Raw(length) => {
                let body = wire.sized(*length).await;
                seen.push(content("< raw", &body.content, body.ended));
            }
            Step::RawEnd => {
                let rest = wire.rest().await;
                seen.push(format!("< raw [{}], end", rest.escape_ascii()));
            }
            Step::Finish => wire.finish().await,
            Step::Probe => seen.push(probe(&mut wire).await),
            Step::Ends => {
                let ended = timeout(WATCH, async { while wire.fill().await {} }).await.is_ok();
                seen.push(if ended { "closed" } else { "open" }.to_owned());
            }
            Step::Beside(bytes) => {
                let steps = [Step::Send(bytes.clone()), Step::Read];
                let beside = Box::pin(run(address, id, &steps)).await;
                seen.extend(beside.into_iter().map(|line| format!("beside {line}")));
            }
        }
    }
    let port = format!(":{}", address.port());
    seen.into_iter().map(|line| line.replace(&port, ":(port)")).collect()
}

/// Reads one answer with its interim ones.
async fn read(wire: &mut Wire, to_head: bool) -> Vec<String> {
    let mut seen = Vec::new();
    loop {
        let Some(head) = wire.head().await else {
            seen.push("< no answer".to_owned());
            return seen;
        };
        seen.push(format!("< {}", head.start));
        seen.extend(fields("<", &head.fields));
        if head.status() == 101 {
            return seen;
        }
        if head.status() >= 200 {
            let body = wire.response_body(&head, to_head).await;
            seen.push(content("<", &body.content, body.ended));
            seen.extend(fields("< trailer", &body.trailers));
            return seen;
        }
    }
}

/// Whether the connection takes a further request.
async fn probe(wire: &mut Wire) -> String {
    wire.send(b"GET /probe HTTP/1.1\r\nHost: probe\r\n\r\n").await;
    match wire.head().await {
        None => "closed".to_owned(),
        Some(head) if head.status() == 200 => "open".to_owned(),
        Some(head) => format!("open, but says {}", head.start),
    }
}
