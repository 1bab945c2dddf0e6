//! Noticing that a thread has ended which should not have.

use std::convert::Infallible;

use tokio::sync::oneshot;

/// Held by a thread for as long as it runs; dropped also when it panics.
#[derive(Debug)]
pub struct Alive(
    #[allow(dead_code, reason = "dropping it is the message")] oneshot::Sender<Infallible>,
);

/// Resolves when the [`Alive`] is gone.
#[derive(Debug)]
pub struct Ended(oneshot::Receiver<Infallible>);

/// The two ends.
pub fn pair() -> (Alive, Ended) {
    let (alive, ended) = oneshot::channel();
    (Alive(alive), Ended(ended))
}

impl Ended {
    /// Waits for the end. Safe to cancel; call it no more once it has resolved.
    pub async fn wait(&mut self) {
        // Nothing can be sent: an answer is always that the sender is gone.
        let _ = (&mut self.0).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_thread_that_panics_has_ended() {
        let (alive, mut ended) = pair();
        let thread = std::thread::spawn(move || {
            let _alive = alive;
            panic!("as the test wants");
        });
        ended.wait().await;
        assert!(thread.join().is_err());
    }
}
