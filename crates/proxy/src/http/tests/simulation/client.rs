//! Clients: they ask, wait, and some go away.

use std::rc::Rc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::{sleep, timeout};

use super::ledger::{Asked, Outcome, Why};
use super::wire::{Messages, chunked, content};
use super::{Sim, millis};
use crate::io::simulated::Socket;

/// Whoever waits so long is never told.
const NEVER: Duration = Duration::from_secs(2000);

/// A connection of a client from a port: a few requests, one after the other.
pub(super) async fn run(sim: Rc<Sim>, mut socket: Socket, port: u16) {
    for _ in 0..1 + sim.number(3) {
        sleep(millis(sim.number(30))).await;
        let route = sim.number(sim.terms.len() as u64) as usize;
        let method = ["GET", "GET", "PUT", "POST"][sim.number(4) as usize];
        let size = match (method, sim.number(4)) {
            ("GET", _) => 0,
            (_, 0) => sim.number(20_000) as usize,
            _ => sim.number(2000) as usize,
        };
        let terms = sim.terms[route].clone();
        let asked = Asked::new(port, method, size, terms, sim.tick());
        let number = sim.open(asked);
        let patience = (sim.number(8) == 0).then(|| millis(sim.number(400)));
        let exchange = exchange(&sim, &mut socket, number, route);
        match timeout(patience.unwrap_or(NEVER), exchange).await {
            Ok((outcome, goes_on)) => {
                sim.end(number, outcome);
                if !goes_on {
                    return;
                }
            }
            Err(_) => {
                sim.holds(patience.is_some(), || format!("request {number} is never answered"));
                sim.end(number, Outcome::Left);
                if sim.number(2) == 0 {
                    socket.break_off();
                }
                return;
            }
        }
    }
}

/// One request and its answer; whether another may follow.
async fn exchange(sim: &Sim, socket: &mut Socket, number: usize, route: usize) -> (Outcome, bool) {
    let (reads, mut writes) = tokio::io::split(socket);
    let message = message(sim, number, route);
    let mut sent = false;
    let mut reader = Messages::new(reads);
    let answer = {
        let writing = async {
            for piece in message.chunks(5000) {
                if writes.write_all(piece).await.is_err() {
                    break;
                }
                if sim.number(4) == 0 {
                    sleep(millis(sim.number(20))).await;
                }
            }
            sent = true;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            biased;
            answer = answer(sim, &mut reader, number) => answer,
            () = writing => unreachable!("it does not end"),
        }
    };
    (answer.0, answer.1 && sent && reader.is_empty())
}

fn message(sim: &Sim, number: usize, route: usize) -> Vec<u8> {
    let asked = sim.asked(number);
    let Asked { method, size, .. } = asked;
    let content = content(number, size);
    let head = format!("{method} /{route} HTTP/1.1\r\nHost: a\r\nX-Number: {number}\r\n");
    match (size, sim.number(3)) {
        (0, _) => format!("{head}\r\n").into_bytes(),
        (_, 0) => {
            let head = format!("{head}Transfer-Encoding: chunked\r\n\r\n");
            [head.into_bytes(), chunked(&content)].concat()
        }
        _ => [format!("{head}Content-Length: {size}\r\n\r\n").into_bytes(), content].concat(),
    }
}

async fn answer<R: tokio::io::AsyncRead + Unpin>(
    sim: &Sim,
    reader: &mut Messages<R>,
    number: usize,
) -> (Outcome, bool) {
    let Ok(head) = reader.head().await else { return (Outcome::Cut, false) };
    let Ok(body) = reader.content(&head, false).await else { return (Outcome::Cut, false) };
    let status = head.word().parse().unwrap_or(0);
    let goes_on = head.get("connection").is_none();
    let Some(delivery) = head.number("x-delivery") else {
        let why = Why::of(&body).unwrap_or_else(|| {
            sim.fail(format!("request {number} is answered {status} for nothing: {body:?}"));
            Why::Late
        });
        return (Outcome::Own(status, why), goes_on);
    };
    sim.holds(head.number("x-number") == Some(number), || {
        format!("request {number} has the answer to another: {head:?}")
    });
    sim.holds(body == content(number, body.len()), || {
        format!("the answer to request {number} is not what was sent")
    });
    sim.holds(head.number("x-size").is_none_or(|size| size == body.len()), || {
        format!("the answer to request {number} has {} bytes: {head:?}", body.len())
    });
    (Outcome::Answered(status, delivery), goes_on)
}
