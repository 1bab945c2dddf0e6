use std::net::SocketAddr;
use std::sync::Mutex;

use tidegate_testing::jwt::Signer;
use tokio::task::JoinSet;
use tokio::time::{Instant, advance, sleep, timeout};

use super::super::keys::KeySet;
use super::source::Waiting;
use super::*;
use crate::remote::Remote;
use crate::upstream::ClusterSlot;
use crate::upstream::fault::Fault;

const KEEP: Duration = Duration::from_secs(100);
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long a fetch takes here.
const TAKES: Duration = Duration::from_millis(100);

/// A source whose fetches come to what the test says, on a clock that is wound.
struct Bench {
    source: Arc<KeySource>,
    /// Whether the issuer answers.
    answers: Arc<Mutex<bool>>,
    /// What fetches came to, and when they began.
    counted: Arc<Mutex<Vec<(Instant, bool)>>>,
    /// Which of them were told as news.
    news: Arc<Mutex<Vec<bool>>>,
    _task: JoinSet<()>,
}

fn origin(unasked: Option<Duration>) -> Origin {
    Origin {
        uri: "http://issuer/keys".parse().expect("a URI"),
        cluster: "issuer".into(),
        timeout: TIMEOUT,
        keep: KEEP,
        unasked,
        retries: Retries { most: 0, pause: PAUSE, longest_pause: PAUSE },
    }
}

fn set() -> KeySet {
    KeySet::parse(Signer::new("HS256").set().as_bytes()).expect("a set")
}

impl Bench {
    fn start(unasked: Option<Duration>, takes: Duration) -> Self {
        let slot = Arc::new(ClusterSlot::empty(0, "issuer".into()));
        let source = Arc::new(KeySource::new(origin(unasked), slot));
        let answers = Arc::new(Mutex::new(true));
        let counted = Arc::new(Mutex::new(Vec::new()));
        let mut task = JoinSet::new();
        let news = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&news);
        let bench = (Arc::clone(&source), Arc::clone(&answers), Arc::clone(&counted));
        task.spawn(async move {
            let (source, answers, counted) = bench;
            let began = Mutex::new(Instant::now());
            let fetch = |_, _| {
                *began.lock().expect("the lock") = Instant::now();
                let answers = Arc::clone(&answers);
                async move {
                    sleep(takes).await;
                    let good = *answers.lock().expect("the lock");
                    // Which endpoint is met is chance.
                    let at = Remote::from(SocketAddr::from(([192, 0, 2, 1], fastrand::u16(..))));
                    if good { Ok(set()) } else { Err(Fault::at(&at, "no")) }
                }
            };
            let ended = |ended: follower::Ended| {
                let began = *began.lock().expect("the lock");
                counted.lock().expect("the lock").push((began, ended.good));
                news.lock().expect("the lock").push(ended.news);
            };
            follower::follow(&source, fetch, ended).await;
        });
        Self { source, answers, counted, news: told, _task: task }
    }

    fn answer(&self, answers: bool) {
        *self.answers.lock().expect("the lock") = answers;
    }

    fn counted(&self) -> Vec<bool> {
        self.counted.lock().expect("the lock").iter().map(|(_, good)| *good).collect()
    }

    fn has_keys(&self) -> bool {
        self.source.has_keys(Instant::now())
    }

    /// Waits as a request does; whether there are keys then.
    async fn ask(&self) -> bool {
        if !self.has_keys() {
            let Some(mut waiting) = self.source.wait() else { return false };
            let longest = waiting.longest();
            timeout(longest, waiting.over()).await.expect("an end");
        }
        self.source.note_use();
        self.has_keys()
    }
}

/// Lets time pass in steps, so that what is due in between happens when it is.
async fn pass(time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        advance(Duration::from_millis(50)).await;
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_told_once_and_its_end_too() {
    let bench = Bench::start(Some(Duration::from_secs(10)), TAKES);
    bench.answer(false);
    assert_eq!(bench.source.fault(), None, "nothing is known yet");
    pass(Duration::from_secs(15)).await;
    let fault = bench.source.fault();
    assert!(fault.as_ref().is_some_and(|fault| fault.ends_with(": no")), "{fault:?}");
    assert_eq!(*bench.news.lock().expect("the lock"), [true, false]);
    pass(Duration::from_secs(15)).await;
    assert_eq!(bench.source.fault(), fault, "whichever endpoint is met");
    bench.answer(true);
    pass(Duration::from_secs(15)).await;
    assert_eq!((bench.source.fault(), bench.has_keys()), (None, true));
    assert_eq!(bench.news.lock().expect("the lock").iter().filter(|news| **news).count(), 2);
}

#[tokio::test(start_paused = true)]
async fn requests_that_wait_make_one_fetch() {
    let bench = Bench::start(None, TAKES);
    pass(KEEP).await;
    assert!(bench.counted().is_empty(), "nobody has asked");
    let mut waiting: Vec<Waiting> =
        (0..10).map(|_| bench.source.wait().expect("a place")).collect();
    for request in &mut waiting {
        timeout(TIMEOUT, request.over()).await.expect("an end");
    }
    assert!(bench.has_keys());
    assert_eq!(bench.counted(), [true]);
}

#[tokio::test(start_paused = true)]
async fn keys_are_fetched_ahead_of_their_end_while_they_are_used() {
    let bench = Bench::start(None, TAKES);
    assert!(bench.ask().await);
    let mut lacking = 0;
    for _ in 0..300 {
        lacking += u32::from(!bench.has_keys());
        bench.source.note_use();
        pass(Duration::from_secs(1)).await;
    }
    assert_eq!(lacking, 0);
    assert!((4..=5).contains(&bench.counted().len()), "{:?}", bench.counted());
    let times: Vec<Instant> =
        bench.counted.lock().expect("the lock").iter().map(|(began, _)| *began).collect();
    for pair in times.windows(2) {
        let between = pair[1] - pair[0];
        assert!((KEEP.mul_f64(0.8)..KEEP).contains(&between), "{between:?}");
    }
    // The last ones may have been used, and so there may be others; then there is nobody.
    pass(2 * KEEP).await;
    let before = bench.counted().len();
    pass(3 * KEEP).await;
    assert_eq!(bench.counted().len(), before, "nobody uses them");
    assert!(!bench.has_keys());
    assert!(bench.ask().await, "they come again when they are asked for");
}

#[tokio::test(start_paused = true)]
async fn keys_outlive_failures_until_their_end_and_no_longer() {
    let bench = Bench::start(None, TAKES);
    assert!(bench.ask().await);
    let began = Instant::now();
    bench.answer(false);
    while began.elapsed() < KEEP - Duration::from_secs(1) {
        assert!(bench.has_keys(), "{:?}", began.elapsed());
        bench.source.note_use();
        pass(Duration::from_secs(1)).await;
    }
    let failed = bench.counted().iter().filter(|good| !**good).count();
    assert!((5..=20).contains(&failed), "it is tried again before the end: {failed}");
    pass(Duration::from_secs(2)).await;
    assert!(!bench.has_keys());
    assert!(!bench.ask().await);
    bench.answer(true);
    pass(PAUSE).await;
    assert!(bench.ask().await, "it answers again");
}

#[tokio::test(start_paused = true)]
async fn a_failure_counts_for_a_while() {
    let bench = Bench::start(None, TAKES);
    bench.answer(false);
    assert!(!bench.ask().await);
    for _ in 0..100 {
        assert!(bench.source.wait().is_none());
    }
    assert_eq!(bench.counted(), [false]);
    pass(2 * PAUSE).await;
    assert_eq!(bench.counted(), [false], "nobody waits");
    assert!(!bench.ask().await);
    assert_eq!(bench.counted(), [false, false]);
}

#[tokio::test(start_paused = true)]
async fn a_fetch_takes_no_longer_than_it_may() {
    let bench = Bench::start(None, Duration::MAX);
    let began = Instant::now();
    assert!(!bench.ask().await);
    assert!((TIMEOUT..TIMEOUT + PAUSE).contains(&began.elapsed()), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn keys_that_are_fetched_unasked_hold_until_others_come() {
    let again = Duration::from_secs(10);
    let bench = Bench::start(Some(again), TAKES);
    pass(Duration::from_secs(1)).await;
    assert!(bench.has_keys(), "nobody has to ask");
    bench.answer(false);
    pass(5 * KEEP).await;
    assert!(bench.has_keys());
    let counted = bench.counted();
    let failed = counted.iter().filter(|good| !**good).count();
    // From the first that is due on, once in so much time.
    assert!((35..=42).contains(&failed), "{failed} of {counted:?}");
    bench.answer(true);
    pass(2 * again).await;
    assert_eq!(bench.counted().last(), Some(&true));
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_does_not_wait_for_the_next_time() {
    let bench = Bench::start(Some(Duration::from_secs(1000)), TAKES);
    bench.answer(false);
    pass(2 * PAUSE).await;
    assert_eq!(bench.counted(), [false]);
    bench.answer(true);
    assert!(bench.ask().await);
    assert_eq!(bench.counted(), [false, true]);
}

#[tokio::test(start_paused = true)]
async fn no_more_wait_than_may() {
    let bench = Bench::start(None, TAKES);
    let waiting: Vec<_> = (0..MOST_WAITING).map(|_| bench.source.wait()).collect();
    assert!(waiting.iter().all(Option::is_some));
    assert!(bench.source.wait().is_none());
    drop(waiting);
    assert!(bench.source.wait().is_some());
}

#[test]
fn a_source_is_used_as_long_as_a_filter_has_it() {
    let slot = Arc::new(ClusterSlot::empty(0, "issuer".into()));
    let source = Arc::new(KeySource::new(origin(None), slot));
    assert!(!source.is_used());
    let (one, other) = (source.used_by("a", ""), source.used_by("b", ""));
    drop(one);
    assert!(source.is_used());
    drop(other);
    assert!(!source.is_used());
}
