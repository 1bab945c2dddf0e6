//! Polling with a deadline, for what can be asked but not awaited.

use std::fmt::Debug;
use std::panic::Location;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// The longest pause between two probes; the first pause is a millisecond, each next one twice as long.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// What a probe may return: `bool`, `Option` or `Result`.
pub trait Outcome {
    /// What the probe yields when it holds.
    type Value;

    /// The value, or in words why it is not there yet.
    ///
    /// # Errors
    /// The reason, as the message of the final panic shows it.
    fn outcome(self) -> Result<Self::Value, String>;
}

impl Outcome for bool {
    type Value = ();

    fn outcome(self) -> Result<(), String> {
        if self { Ok(()) } else { Err("still false".to_owned()) }
    }
}

impl<T> Outcome for Option<T> {
    type Value = T;

    fn outcome(self) -> Result<T, String> {
        self.ok_or_else(|| "still none".to_owned())
    }
}

impl<T, E: Debug> Outcome for Result<T, E> {
    type Value = T;

    fn outcome(self) -> Result<T, String> {
        self.map_err(|error| format!("{error:?}"))
    }
}

/// Runs `probe` until it holds and returns its value; panics with its last reason when `deadline` has
/// passed. The probe runs at least once, and once more after the deadline, so that a stalled machine
/// does not fail a condition that holds.
#[track_caller]
pub fn eventually<P, F>(
    deadline: Duration,
    mut probe: P,
) -> impl Future<Output = <F::Output as Outcome>::Value>
where
    P: FnMut() -> F,
    F: Future,
    F::Output: Outcome,
{
    let caller = Location::caller();
    async move {
        let end = Instant::now() + deadline;
        let mut pause = Duration::from_millis(1);
        loop {
            let last = Instant::now() >= end;
            match probe().await.outcome() {
                Ok(value) => return value,
                Err(reason) if last => panic!("not within {deadline:?} at {caller}: {reason}"),
                Err(_) => sleep(pause).await,
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn returns_the_first_value_that_holds() {
        let mut asked = 0;
        let value = eventually(Duration::from_secs(5), || {
            asked += 1;
            let now = asked;
            async move { (now == 3).then_some(now) }
        })
        .await;
        assert_eq!(value, 3);
    }

    #[tokio::test]
    #[should_panic(expected = "the tide is out")]
    async fn panics_with_the_last_reason() {
        eventually(Duration::from_millis(5), || async { Err::<(), _>("the tide is out") }).await;
    }
}
