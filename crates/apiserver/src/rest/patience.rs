//! Answers of HTTP/2 that a client asked for and does not take.
//!
//! The system ends a connection on which nothing is taken ([`super::limits::Limits::stalled`]), but a client may go on with other
//! streams of it while it leaves the window of one shut. What that one is to be sent is let go then, after as long a time.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

use super::reply::ReplyBody;

/// What is handed on at once: the connection keeps it, whatever happens to the rest. An answer that is no longer than that is not
/// watched over.
const PIECE: usize = 64 << 10;

/// The client took nothing for too long: the stream is reset.
#[derive(Debug, thiserror::Error)]
#[error("the client took nothing of the answer for {} s", .0.as_secs())]
pub(super) struct Stalled(Duration);

/// A body that goes when nobody takes it.
pub(super) struct Patient {
    rest: Arc<Mutex<Rest>>,
    patience: Duration,
    watcher: Option<AbortHandle>,
}

/// What is still to be sent.
struct Rest {
    /// None once it has been let go.
    body: Option<ReplyBody>,
    /// What the body gave and was not handed on yet.
    piece: Bytes,
    /// Whether that is longer than what is handed on at once: a part of it would keep the whole.
    long: bool,
    /// Since when it is the client that is waited for.
    since: Option<Instant>,
}

impl Patient {
    /// A body that is let go when the client takes nothing of it for so long. To be called on a runtime.
    pub(super) fn new(body: ReplyBody, patience: Duration) -> Self {
        let long = body.size_hint().upper().is_none_or(|length| length > PIECE as u64);
        let rest = Rest {
            body: Some(body),
            piece: Bytes::new(),
            long: false,
            since: Some(Instant::now()),
        };
        let rest = Arc::new(Mutex::new(rest));
        let watching = long.then(|| tokio::spawn(watch_over(Arc::clone(&rest), patience)));
        Self { rest, patience, watcher: watching.map(|task| task.abort_handle()) }
    }
}

impl Drop for Patient {
    fn drop(&mut self) {
        if let Some(watcher) = &self.watcher {
            watcher.abort();
        }
    }
}

async fn watch_over(rest: Arc<Mutex<Rest>>, patience: Duration) {
    loop {
        // While it is not the client that is waited for, its time has not begun.
        let since = lock(&rest).since.unwrap_or_else(Instant::now);
        sleep_until(since + patience).await;
        let mut rest = lock(&rest);
        if rest.since.is_some_and(|since| since.elapsed() >= patience) {
            (rest.body, rest.piece) = (None, Bytes::new());
            return;
        }
    }
}

fn lock(rest: &Mutex<Rest>) -> MutexGuard<'_, Rest> {
    rest.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Body for Patient {
    type Data = Bytes;
    type Error = Stalled;

    /// Asked for when the client can take more.
    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Stalled>>> {
        let mut guard = lock(&self.rest);
        let rest = &mut *guard;
        let Some(body) = &mut rest.body else {
            return Poll::Ready(Some(Err(Stalled(self.patience))));
        };
        if rest.piece.is_empty() {
            rest.since = None;
            match Pin::new(body).poll_frame(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Ready(Some(frame)) => match frame.map(Frame::into_data) {
                    Ok(Ok(data)) => {
                        rest.long = data.len() > PIECE;
                        rest.piece = data;
                    }
                    Ok(Err(trailers)) => return Poll::Ready(Some(Ok(trailers))),
                    Err(never) => match never {},
                },
            }
        }
        rest.since = Some(Instant::now());
        let length = rest.piece.len().min(PIECE);
        let piece = rest.piece.split_to(length);
        let piece = if rest.long { Bytes::copy_from_slice(&piece) } else { piece };
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        let rest = lock(&self.rest);
        rest.piece.is_empty() && rest.body.as_ref().is_some_and(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let rest = lock(&self.rest);
        let Some(body) = &rest.body else { return SizeHint::default() };
        let (hint, there) = (body.size_hint(), rest.piece.len() as u64);
        let mut more = SizeHint::new();
        more.set_lower(hint.lower() + there);
        if let Some(upper) = hint.upper() {
            more.set_upper(upper + there);
        }
        more
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Full};
    use tokio::sync::mpsc;
    use tokio::time::sleep;

    use super::*;
    use crate::rest::reply;

    const PATIENCE: Duration = Duration::from_secs(300);

    #[tokio::test(start_paused = true)]
    async fn what_nobody_takes_is_let_go() {
        let (pieces, receiver) = mpsc::channel(1);
        let mut body = Patient::new(reply::stream("text/plain", receiver).into_body(), PATIENCE);
        for _ in 0..3 {
            pieces.send("line".into()).await.expect("it is there");
            sleep(PATIENCE / 2).await;
            let line = body.frame().await.expect("a line").expect("in time");
            assert_eq!(line.into_data().expect("data"), "line");
        }
        assert!(!pieces.is_closed());
        sleep(PATIENCE * 2).await;
        assert!(pieces.is_closed(), "nobody asked for more");
        assert!(body.frame().await.expect("an answer").is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn silence_of_the_server_is_not_the_clients() {
        let (pieces, receiver) = mpsc::channel(1);
        let mut body = Patient::new(reply::stream("text/plain", receiver).into_body(), PATIENCE);
        let later = async {
            sleep(PATIENCE * 10).await;
            pieces.send("line".into()).await.expect("it is there");
        };
        let (frame, ()) = tokio::join!(body.frame(), later);
        assert!(frame.expect("a line").is_ok());
    }

    #[tokio::test]
    async fn a_long_answer_is_handed_on_in_pieces_that_do_not_keep_it() {
        let whole: Vec<u8> = (0..200_000u32).map(|n| n as u8).collect();
        let text = Bytes::from(whole.clone());
        let mut body = Patient::new(Full::new(text).boxed_unsync(), PATIENCE);
        let mut read = Vec::new();
        while let Some(frame) = body.frame().await {
            let data = frame.expect("in time").into_data().expect("data");
            assert!(data.len() <= PIECE && data.is_unique());
            assert_eq!(
                body.size_hint().exact(),
                Some((whole.len() - read.len() - data.len()) as u64)
            );
            read.extend_from_slice(&data);
        }
        assert!(read == whole && body.is_end_stream());
    }
}
