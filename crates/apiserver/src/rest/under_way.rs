//! What is under way on a connection, so that one on which nothing is can be told.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::watch;
use tokio::time::timeout;

use super::patience::{Patient, Stalled};

/// Requests of one connection that have not been answered to the end.
#[derive(Clone, Debug)]
pub(super) struct UnderWay(watch::Sender<usize>);

impl UnderWay {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(0))
    }

    /// Counts one more, until what is returned goes.
    pub(super) fn begin(&self) -> OneUnderWay {
        self.0.send_modify(|count| *count += 1);
        OneUnderWay(self.0.clone())
    }

    /// Waits until nothing has been under way for that long.
    pub(super) async fn none_for(&self, pause: Duration) {
        let mut count = self.0.subscribe();
        loop {
            // The sender is ours: the channel stays open.
            let _ = count.wait_for(|count| *count == 0).await;
            if timeout(pause, count.changed()).await.is_err() {
                return;
            }
        }
    }
}

/// One request that is being answered.
#[derive(Debug)]
pub(super) struct OneUnderWay(watch::Sender<usize>);

impl OneUnderWay {
    /// The body, with which it ends.
    pub(super) fn with(self, body: Patient) -> CountedBody {
        CountedBody { body, _one: self }
    }
}

impl Drop for OneUnderWay {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

/// A body that is under way until it has been sent, or nobody wants it any more.
pub(super) struct CountedBody {
    body: Patient,
    _one: OneUnderWay,
}

impl Body for CountedBody {
    type Data = Bytes;
    type Error = Stalled;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Stalled>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::{Instant, sleep};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_pause_begins_anew_with_each_request() {
        const PAUSE: Duration = Duration::from_secs(10);
        let under_way = UnderWay::new();
        let start = Instant::now();
        let requests = async {
            for length in [3, 20, 9] {
                sleep(Duration::from_secs(9)).await;
                let one = under_way.begin();
                sleep(Duration::from_secs(length)).await;
                drop(one);
            }
        };
        tokio::join!(under_way.none_for(PAUSE), requests);
        assert_eq!(start.elapsed().as_secs(), 9 + 3 + 9 + 20 + 9 + 9 + 10);
    }
}
