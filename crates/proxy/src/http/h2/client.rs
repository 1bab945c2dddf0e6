//! A request over HTTP/2 to an endpoint.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use h2::client::ResponseFuture;

use super::body::{RecvBody, SendBody, recv_error};
use super::message;
use crate::http::h1::parse::Carriage;
use crate::http::h1::{BadMessage, Framing};
use crate::http::head::{Headers, RequestHead, ResponseHead};
use crate::http::stream::{Recv, RecvError, Stream, Wire};
use crate::upstream::multiplex::StreamLease;

/// One stream of a connection to an endpoint.
#[derive(Debug)]
pub struct Http2Upstream {
    lease: StreamLease,
    state: State,
    /// The answer has no content, whatever follows its head.
    bare: bool,
}

#[derive(Debug)]
enum State {
    Idle,
    Sent {
        response: ResponseFuture,
        send: SendBody,
    },
    Answered {
        recv: RecvBody,
        send: SendBody,
    },
    /// The request could not be sent.
    Failed(Option<RecvError>),
}

impl Http2Upstream {
    /// Uses a leased place on a connection.
    #[must_use]
    pub fn new(lease: StreamLease) -> Self {
        Self { lease, state: State::Idle, bare: false }
    }

    /// Our address on the connection.
    #[must_use]
    pub fn local(&self) -> Option<SocketAddr> {
        self.lease.local()
    }

    /// Whether the connection has carried a request before.
    #[must_use]
    pub fn is_reused(&self) -> bool {
        self.lease.reused
    }

    /// Queues the request's head; `body` says whether content follows.
    pub fn start_request(&mut self, head: &RequestHead, body: bool) {
        self.bare = head.is_method("HEAD");
        let Some(request) = message::write_request(head) else {
            let error = io::Error::new(io::ErrorKind::InvalidInput, "not sayable in HTTP/2");
            self.state = State::Failed(Some(error.into()));
            return;
        };
        self.state = match self.lease.send_request(request, !body) {
            Ok((response, stream)) => State::Sent { response, send: SendBody::new(stream, !body) },
            Err(error) => State::Failed(Some(recv_error(error))),
        };
    }

    /// Reads the response's head.
    ///
    /// # Errors
    /// The endpoint refused or reset the stream, or broke the protocol.
    pub fn poll_response(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut ResponseHead,
    ) -> Poll<Result<Carriage, RecvError>> {
        let answered = match &mut self.state {
            State::Sent { response, .. } => {
                if let Poll::Ready(Some(Ok(interim))) = response.poll_informational(cx) {
                    message::read_response(&interim, head);
                    return Poll::Ready(answerable(head.status).map(|()| carriage(Framing::None)));
                }
                ready!(Pin::new(response).poll(cx)).map_err(recv_error)?
            }
            State::Failed(error) => {
                return Poll::Ready(Err(error.take().unwrap_or(RecvError::Truncated)));
            }
            State::Idle | State::Answered { .. } => return Poll::Ready(Err(RecvError::Truncated)),
        };
        message::read_response(&answered, head);
        answerable(head.status)?;
        self.bare |= matches!(head.status, 204 | 304);
        let length = message::content_length(answered.headers());
        let recv = RecvBody::new(answered.into_body());
        let framing = match length {
            _ if recv.received_all() || self.bare => Framing::None,
            Some(length) => Framing::Length(length),
            None => Framing::Chunked,
        };
        if let State::Sent { send, .. } = std::mem::replace(&mut self.state, State::Idle) {
            self.state = State::Answered { recv, send };
        }
        Poll::Ready(Ok(carriage(framing)))
    }

    fn send(&mut self) -> Option<&mut SendBody> {
        match &mut self.state {
            State::Sent { send, .. } | State::Answered { send, .. } => Some(send),
            State::Idle | State::Failed(_) => None,
        }
    }
}

/// 101 has no place in HTTP/2 (RFC 9113 section 8.6).
fn answerable(status: u16) -> Result<(), RecvError> {
    if status == 101 { Err(BadMessage::Malformed.into()) } else { Ok(()) }
}

fn carriage(framing: Framing) -> Carriage {
    Carriage { framing, keep_alive: true, expects_continue: false, upgrade: false }
}

impl Stream for Http2Upstream {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Recv<'_>, RecvError>> {
        match &mut self.state {
            State::Answered { recv, .. } => match ready!(recv.poll_recv(cx))? {
                // To a client that speaks HTTP/1 it would be the beginning of the next answer.
                Recv::Data(_) if self.bare => Poll::Ready(Err(BadMessage::Length.into())),
                received => Poll::Ready(Ok(received)),
            },
            _ => Poll::Ready(Err(RecvError::Truncated)),
        }
    }

    fn consume(&mut self, n: usize) {
        if let State::Answered { recv, .. } = &mut self.state {
            recv.consume(n);
        }
    }

    fn take_trailers(&mut self) -> Option<Box<Headers>> {
        match &mut self.state {
            State::Answered { recv, .. } => recv.take_trailers(),
            _ => None,
        }
    }

    fn received_all(&self) -> bool {
        matches!(&self.state, State::Answered { recv, .. } if recv.received_all())
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match self.send() {
            Some(send) => send.poll_send(cx, data),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn finish(&mut self, trailers: Option<&Headers>) {
        if let Some(send) = self.send() {
            send.finish(trailers);
        }
    }

    fn poll_flush(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The connection's own task writes.
        Poll::Ready(Ok(()))
    }

    fn become_tunnel(&mut self) {}

    fn wire(&self) -> Option<Wire> {
        None
    }
}
