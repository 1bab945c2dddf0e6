//! Endpoints that speak HTTP/2: they do as the others, refuse and reset streams, and leave connections with a word or without.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::Request;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::sleep;

use super::origin::{Act, STALL, choose};
use super::wire::{Messages, content};
use super::{Delivery, SOONEST_TIMEOUT, Sim, millis};
use crate::io::simulated::Socket;

/// A connection of which something is read already.
pub(super) struct Rewound {
    first: BytesMut,
    io: Socket,
    resets: Rc<Cell<bool>>,
}

impl Rewound {
    /// One of which the beginning of the preface is read (RFC 9113 section 3.4).
    pub(super) fn new(messages: Messages<Socket>) -> Self {
        let (rest, io) = messages.into_parts();
        let mut first = BytesMut::from(&b"PRI * HTTP/2.0\r\n\r\n"[..]);
        first.extend_from_slice(&rest);
        Self { first, io, resets: Rc::default() }
    }
}

impl Drop for Rewound {
    fn drop(&mut self) {
        if self.resets.get() {
            self.io.break_off();
        }
    }
}

impl AsyncRead for Rewound {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let n = self.first.len().min(into.remaining());
        if n == 0 {
            return Pin::new(&mut self.io).poll_read(cx, into);
        }
        into.put_slice(&self.first[..n]);
        self.first.advance(n);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Rewound {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// A request on a connection: its number, and that of its delivery.
type Carried = (usize, usize);

/// One connection, whose client has introduced itself so.
pub(super) async fn serve(sim: &Rc<Sim>, port: u16, io: Rewound, introduced: Option<u16>) {
    let resets = Rc::clone(&io.resets);
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams([1, 2, 100][sim.number(3) as usize]);
    let is_late = sim.number(4) == 0;
    if is_late {
        // Streams that are asked for meanwhile wait for what it says, as long as a connection may take.
        let delay = millis(sim.number(100));
        sleep(delay).await;
        if delay >= SOONEST_TIMEOUT {
            sim.refuses.set(true);
        }
    }
    let Ok(mut server) = builder.handshake::<_, Bytes>(io).await else { return };
    let carried = Rc::<RefCell<Vec<Carried>>>::default();
    let breaks = Rc::new(Notify::new());
    let mut leaves = false;
    loop {
        let dies = !leaves && sim.number(4) == 0;
        let time = if dies { millis(sim.number(200)) } else { Duration::from_secs(100_000) };
        tokio::select! {
            biased;
            next = server.accept() => {
                let Some(Ok((request, respond))) = next else { break };
                let (own, breaks, carried) = (Rc::clone(sim), Rc::clone(&breaks), Rc::clone(&carried));
                let mut respond = respond;
                sim.spawn(async move {
                    if is_late {
                        // All that was said meanwhile is read first: the request may have been given up.
                        sleep(millis(1)).await;
                    }
                    if is_given_up(&mut respond) {
                        return;
                    }
                    let Some(at) = take(&own, port, &request, introduced) else { return };
                    carried.borrow_mut().push(at);
                    act(&own, port, request, respond, at, &breaks).await;
                });
            }
            () = breaks.notified() => break,
            () = sleep(time) => match sim.number(4) {
                0 => {
                    sim.refuses.set(true);
                    server.graceful_shutdown();
                    leaves = true;
                }
                1 => {
                    sim.refuses.set(true);
                    server.abrupt_shutdown(Reason::NO_ERROR);
                    leaves = true;
                }
                _ => {
                    // What arrives from now on is never read.
                    sleep(millis(sim.number(4))).await;
                    break;
                }
            }
        }
    }
    resets.set(sim.number(2) == 0);
    sim.died(0);
    // What is not answered by now never will be; what was said may have waited to be sent.
    for (number, delivery) in carried.take() {
        if sim.asked(number).outcome.is_none() {
            let end = |delivery: &mut Delivery| (delivery.broken, delivery.said) = (true, false);
            sim.delivery(number, delivery, end);
        }
    }
}

fn is_given_up(respond: &mut SendResponse<Bytes>) -> bool {
    respond.poll_reset(&mut Context::from_waker(Waker::noop())).is_ready()
}

/// Takes a request in.
fn take(
    sim: &Sim,
    port: u16,
    request: &Request<RecvStream>,
    introduced: Option<u16>,
) -> Option<Carried> {
    let number = request.headers().get("x-number").and_then(|number| number.to_str().ok());
    let Some(number) = number.and_then(|number| number.parse().ok()) else {
        sim.fail(format!("a request that nobody made: {request:?}"));
        return None;
    };
    let client = sim.introduces.then(|| sim.asked(number).port);
    sim.holds(introduced == client, || {
        format!("request {number} of {client:?} comes on a connection of {introduced:?}")
    });
    Some((number, sim.deliver(number, port, true)))
}

/// Does something about a request.
async fn act(
    sim: &Sim,
    port: u16,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    (number, delivery): Carried,
    breaks: &Notify,
) {
    sleep(millis(sim.number(40))).await;
    let chosen = choose(sim, sim.mood(port));
    let broken = || sim.delivery(number, delivery, |delivery| delivery.broken = true);
    let mut body = request.into_body();
    if !matches!(chosen, Act::Early(_)) && sim.number(3) > 0 || matches!(chosen, Act::Answer(_)) {
        let Ok(body) = read(&mut body).await else { return broken() };
        sim.holds(body == content(number, sim.asked(number).size), || {
            format!("request {number} came with other content")
        });
    }
    let at = (number, delivery);
    match chosen {
        Act::Answer(status) | Act::Early(status) => {
            let answered = answer(sim, &mut respond, at, status, None).await;
            let early = matches!(chosen, Act::Early(_));
            if answered.is_none() || early && sim.number(2) == 0 && read(&mut body).await.is_err() {
                broken();
            }
        }
        Act::CutBody => {
            broken();
            answer(sim, &mut respond, at, 200, Some(sim.number(300) as usize)).await;
        }
        Act::CutHead if sim.number(2) == 0 => {
            sim.refuses.set(true);
            sim.delivery(number, delivery, |delivery| delivery.refused = true);
            respond.send_reset(Reason::REFUSED_STREAM);
        }
        Act::CutHead => {
            broken();
            reset(sim, &mut respond, at, Reason::INTERNAL_ERROR);
        }
        Act::Break => breaks.notify_one(),
        Act::Stall => {
            sleep(STALL).await;
            broken();
            reset(sim, &mut respond, at, Reason::CANCEL);
        }
    }
}

/// Resets a stream; on a connection that is over nobody hears of it.
fn reset(
    sim: &Sim,
    respond: &mut SendResponse<Bytes>,
    (number, delivery): Carried,
    reason: Reason,
) {
    if !is_given_up(respond) {
        sim.delivery(number, delivery, |delivery| delivery.said = true);
        respond.send_reset(reason);
    }
}

async fn read(body: &mut RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut all = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        all.extend_from_slice(&data);
        body.flow_control().release_capacity(data.len())?;
    }
    Ok(all)
}

/// Sends an answer, or what is left of it when it is `cut` after so many bytes of content; `None` where that failed.
async fn answer(
    sim: &Sim,
    respond: &mut SendResponse<Bytes>,
    (number, delivery): Carried,
    status: u16,
    cut: Option<usize>,
) -> Option<()> {
    sim.delivery(number, delivery, |delivery| delivery.answered = Some(status));
    let size = cut.map_or(0, |cut| cut + 1) + sim.number(6000) as usize;
    let mut body = content(number, size);
    body.truncate(cut.unwrap_or(usize::MAX));
    let mut head = http::Response::builder()
        .status(status)
        .header("x-number", number)
        .header("x-delivery", delivery)
        .header("x-size", size);
    if sim.number(2) == 0 {
        head = head.header("content-length", size);
    }
    let mut stream = respond.send_response(head.body(()).ok()?, false).ok()?;
    if sim.number(3) == 0 {
        sleep(millis(sim.number(60))).await;
    }
    stream.send_data(body.into(), cut.is_none()).ok()?;
    if cut.is_some() {
        stream.send_reset(Reason::INTERNAL_ERROR);
    }
    Some(())
}
