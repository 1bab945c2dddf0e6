//! Endpoints: they take connections or not, answer, fail in every way, and close what is idle.

use std::rc::Rc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::streams::{self, Rewound};
use super::wire::{Head, Messages, chunked, content};
use super::{Sim, millis};
use crate::io::simulated::{Dial, Socket};

/// How long one does nothing that does nothing.
pub(super) const STALL: Duration = Duration::from_secs(20);

/// How an endpoint does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    Well,
    /// Answers badly, breaks off.
    Badly,
    Refuses,
    /// Does not answer to attempts to connect.
    Silent,
}

/// What an endpoint does about a request.
#[derive(Clone, Copy, Debug)]
pub(super) enum Act {
    Answer(u16),
    /// Before the request is over.
    Early(u16),
    CutHead,
    CutBody,
    Break,
    Stall,
}

/// Decides about attempts to connect.
pub(super) async fn accept(sim: Rc<Sim>, mut dials: mpsc::UnboundedReceiver<Dial>) {
    while let Some(mut dial) = dials.recv().await {
        let port = dial.address.port();
        let mood = sim.mood(port);
        sim.note(&[1, u64::from(port), mood as u64]);
        let delay = millis(sim.number(20));
        let task = Rc::clone(&sim);
        sim.spawn(async move {
            match mood {
                Mood::Refuses => {
                    sleep(delay).await;
                    task.was(mood);
                }
                Mood::Silent => {
                    let given_up = timeout(STALL, dial.given_up()).await;
                    task.holds(given_up.is_ok(), || "a connection is awaited for ever".into());
                    task.was(mood);
                }
                Mood::Well | Mood::Badly => {
                    sleep(delay).await;
                    let socket = dial.accept();
                    task.take(socket.peer());
                    serve(&task, port, socket).await;
                    task.connections.set(task.connections.get() - 1);
                }
            }
        });
    }
}

/// One connection.
async fn serve(sim: &Rc<Sim>, port: u16, socket: Socket) {
    let mut messages = Messages::new(socket);
    let mut introduced = None;
    for carried in 0.. {
        let dies = sim.number(4) == 0;
        let time = if dies { millis(sim.number(200)) } else { Duration::from_secs(100_000) };
        let head = tokio::select! {
            biased;
            head = messages.head() => head,
            () = sleep(time) => {
                // What arrives from now on is never read.
                sleep(millis(sim.number(4))).await;
                sim.died(carried);
                if sim.number(2) == 0 {
                    messages.io().break_off();
                }
                return;
            }
        };
        let Ok(head) = head else { return };
        introduced = introduced.or(head.introduced());
        if head.is_preface() {
            return streams::serve(sim, port, Rewound::new(messages), introduced).await;
        }
        let Some(number) = head.number("x-number") else {
            return sim.fail(format!("a request that nobody made: {head:?}"));
        };
        let client = sim.introduces.then_some(sim.asked(number).port);
        sim.holds(introduced == client, || {
            format!("request {number} of {client:?} comes on a connection of {introduced:?}")
        });
        let delivery = sim.deliver(number, port, carried > 0);
        let goes_on = act(sim, port, &mut messages, &head, (number, delivery)).await;
        if goes_on.is_none() {
            return;
        }
    }
}

pub(super) fn choose(sim: &Sim, mood: Mood) -> Act {
    let bad = [503, 500, 502][sim.number(3) as usize];
    let odds = if mood == Mood::Well { sim.number(100) } else { 70 + sim.number(30) };
    match odds {
        0..76 => Act::Answer(200),
        76..84 => Act::Answer(bad),
        84..88 => Act::Early(if sim.number(2) == 0 { 200 } else { bad }),
        88..90 => Act::CutHead,
        90..93 => Act::CutBody,
        93..98 => Act::Break,
        _ => Act::Stall,
    }
}

/// Does something about a request; `None` when the connection is over.
async fn act(
    sim: &Sim,
    port: u16,
    messages: &mut Messages<Socket>,
    head: &Head,
    (number, delivery): (usize, usize),
) -> Option<()> {
    sleep(millis(sim.number(40))).await;
    let chosen = choose(sim, sim.mood(port));
    let broken = || sim.delivery(number, delivery, |delivery| delivery.broken = true);
    if !matches!(chosen, Act::Early(_)) && sim.number(3) > 0 || matches!(chosen, Act::Answer(_)) {
        let Ok(body) = messages.content(head, true).await else {
            broken();
            return None;
        };
        sim.holds(body == content(number, sim.asked(number).size), || {
            format!("request {number} came with other content")
        });
    }
    match chosen {
        Act::Answer(status) | Act::Early(status) => {
            let early = matches!(chosen, Act::Early(_));
            sim.delivery(number, delivery, |delivery| delivery.early = early);
            let answered = answer(sim, messages, (number, delivery), status, None).await;
            if answered.is_none() || early && messages.content(head, true).await.is_err() {
                broken();
                return None;
            }
            answered.filter(|goes_on| *goes_on).map(drop)
        }
        Act::CutBody => {
            broken();
            let cut = Some(sim.number(300) as usize);
            answer(sim, messages, (number, delivery), 200, cut).await;
            end(sim, messages)
        }
        Act::CutHead => {
            sim.delivery(number, delivery, |delivery| delivery.said = true);
            broken();
            let _ = messages.io().write_all(b"HTTP/1.1 200 OK\r\nX-Cut: ").await;
            end(sim, messages)
        }
        Act::Break => {
            broken();
            end(sim, messages)
        }
        Act::Stall => {
            sleep(STALL).await;
            broken();
            None
        }
    }
}

fn end(sim: &Sim, messages: &mut Messages<Socket>) -> Option<()> {
    if sim.number(2) == 0 {
        messages.io().break_off();
    }
    None
}

/// Sends an answer, or what is left of it when it is `cut` after so many bytes of content. Tells whether the connection
/// goes on; `None` where it failed.
async fn answer(
    sim: &Sim,
    messages: &mut Messages<Socket>,
    (number, delivery): (usize, usize),
    status: u16,
    cut: Option<usize>,
) -> Option<bool> {
    sim.delivery(number, delivery, |delivery| delivery.answered = Some(status));
    let size = cut.map_or(0, |cut| cut + 1) + sim.number(6000) as usize;
    let mut body = content(number, size);
    let framing = sim.number(6);
    let (framing, goes_on) = match framing {
        0 if cut.is_none() => ("Connection: close\r\n".to_owned(), false),
        1 | 2 => {
            body = chunked(&body);
            ("Transfer-Encoding: chunked\r\n".to_owned(), true)
        }
        3 => (format!("Content-Length: {size}\r\nConnection: close\r\n"), false),
        _ => (format!("Content-Length: {size}\r\n"), true),
    };
    body.truncate(cut.unwrap_or(usize::MAX));
    let head = format!(
        "HTTP/1.1 {status} Word\r\nX-Number: {number}\r\nX-Delivery: {delivery}\r\n\
         X-Size: {size}\r\n{framing}\r\n"
    );
    let io = messages.io();
    io.write_all(head.as_bytes()).await.ok()?;
    if sim.number(3) == 0 {
        sleep(millis(sim.number(60))).await;
    }
    io.write_all(&body).await.ok()?;
    if !goes_on && sim.number(2) == 0 {
        // It reads on, having said that it is at its end.
        io.shutdown().await.ok()?;
    }
    Some(goes_on)
}
