//! The way of a record: worker, ring, file and reader.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::timeout;

use super::*;
use crate::stats::Registry;

/// A long time: only a failing test waits for it.
const DEADLINE: Duration = Duration::from_secs(30);

struct Fixture {
    registry: Arc<Registry>,
    logs: Arc<Logs>,
    folder: tempfile::TempDir,
}

impl Fixture {
    fn new(workers: usize, options: Options) -> Self {
        let registry = Registry::new(workers);
        let logs = Logs::start(&registry, options).unwrap();
        Self { registry, logs, folder: tempfile::tempdir().unwrap() }
    }

    fn file_log(&self, name: &str, format: &str, filter: Option<Filter>) -> Log {
        let path = self.folder.path().join(name);
        let sink = self.logs.sink(Destination::File(path)).unwrap();
        let format = Arc::new(Format::text(format, false).unwrap());
        self.logs.log(vec![Output { sink, format, filter }]).unwrap()
    }

    fn written(&self, name: &str) -> String {
        read(&self.folder.path().join(name))
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// A record that says `id` and ended `id` nanoseconds after 1970.
fn record(log: &Log, id: u64) -> Record {
    let mut record = Record::new(Kind::Http, UNIX_EPOCH, log);
    record.connection_id = id;
    record.timing.end = Duration::from_nanos(id);
    record
}

fn ids() -> Arc<Format> {
    Arc::new(Format::text("%CONNECTION_ID%\n", false).unwrap())
}

async fn all(mut reader: Reader) -> Vec<String> {
    let mut lines = Vec::new();
    while let Some(line) = timeout(DEADLINE, reader.next()).await.unwrap() {
        lines.push(String::from_utf8(line.text).unwrap());
    }
    lines
}

fn numbers(range: std::ops::Range<u64>) -> Vec<String> {
    range.map(|id| id.to_string()).collect()
}

#[tokio::test]
async fn files_and_readers_see_every_record_in_order() {
    let fixture = Fixture::new(2, Options::default());
    let log = fixture.file_log("a.log", "%CONNECTION_ID%\n", None);
    let recorders = [fixture.logs.recorder(0), fixture.logs.recorder(1)];
    for id in 0..1_000 {
        recorders[usize::from(id % 3 == 0)].record(record(&log, id));
    }
    assert_eq!(
        all(fixture.logs.read(ids(), ReadOptions::default())).await,
        numbers(0..1_000),
        "a request that just ended is seen"
    );
    timeout(DEADLINE, fixture.logs.flush()).await.unwrap();
    let mut in_file: Vec<u64> =
        fixture.written("a.log").lines().map(|line| line.parse().unwrap()).collect();
    in_file.sort_unstable();
    assert!(in_file.into_iter().eq(0..1_000));
    let stats = fixture.registry.control().access_log();
    assert_eq!((stats.write_failed.get(), stats.records_overrun.get()), (0, 0));
    assert!(stats.write_completed.get() > 0);
}

#[tokio::test]
async fn tail_since_and_filter() {
    let fixture = Fixture::new(1, Options::default());
    let errors = Some(Filter::Status(Compare::AtLeast, 500));
    let log = fixture.file_log("a.log", "%CONNECTION_ID%\n", errors);
    let recorder = fixture.logs.recorder(0);
    for id in 0..100 {
        let mut record = record(&log, id);
        record.status = if id % 2 == 0 { 503 } else { 200 };
        recorder.record(record);
    }
    recorder.record(record(&Log::default(), 100));
    let lines = async |options| all(fixture.logs.read(ids(), options)).await;
    assert_eq!(lines(ReadOptions::default()).await.len(), 50);
    let tail = ReadOptions { tail: Some(2), ..ReadOptions::default() };
    assert_eq!(lines(tail).await, ["96", "98"]);
    assert_eq!(lines(ReadOptions { tail: Some(0), ..tail }).await, [] as [&str; 0]);
    assert_eq!(lines(ReadOptions { tail: Some(1_000), ..tail }).await.len(), 50);
    let since = ReadOptions {
        since: Some(UNIX_EPOCH + Duration::from_nanos(95)),
        ..ReadOptions::default()
    };
    assert_eq!(lines(since).await, ["96", "98"]);
    assert_eq!(lines(ReadOptions { tail: Some(1), ..since }).await, ["98"]);
    let mixer = Arc::new(Format::mixer(Workload {
        namespace: "istio-system".into(),
        app: "a".into(),
        pod: "p".into(),
        deployment: "d".into(),
    }));
    assert_eq!(all(fixture.logs.read(mixer, ReadOptions::default())).await.len(), 101);
}

#[tokio::test]
async fn following_goes_on_until_the_end() {
    let fixture = Fixture::new(1, Options::default());
    let log = fixture.file_log("a.log", "x\n", None);
    let recorder = fixture.logs.recorder(0);
    recorder.record(record(&log, 0));
    let follow = ReadOptions { follow: true, tail: Some(1), ..ReadOptions::default() };
    let mut reader = fixture.logs.read(ids(), follow);
    let mut next = async || timeout(DEADLINE, reader.next()).await.unwrap().map(|line| line.ended);
    assert_eq!(next().await, Some(0));
    for id in 1..50 {
        recorder.record(record(&log, id));
        assert_eq!(next().await, Some(id));
    }
    recorder.record(record(&log, 50));
    drop(fixture);
    assert_eq!(next().await, Some(50));
    assert_eq!(next().await, None);
}

#[tokio::test]
async fn rotation_goes_on_in_a_new_file() {
    let fixture = Fixture::new(1, Options::default());
    let log = fixture.file_log("a.log", "%CONNECTION_ID%\n", None);
    let recorder = fixture.logs.recorder(0);
    recorder.record(record(&log, 1));
    timeout(DEADLINE, fixture.logs.flush()).await.unwrap();
    let path = fixture.folder.path().join("a.log");
    std::fs::rename(&path, fixture.folder.path().join("old.log")).unwrap();
    recorder.record(record(&log, 2));
    fixture.logs.reopen();
    timeout(DEADLINE, fixture.logs.flush()).await.unwrap();
    recorder.record(record(&log, 3));
    timeout(DEADLINE, fixture.logs.flush()).await.unwrap();
    assert_eq!(fixture.written("old.log"), "1\n2\n");
    assert_eq!(fixture.written("a.log"), "3\n");
}

#[tokio::test]
async fn one_file_has_one_sink_and_several_formats() {
    let fixture = Fixture::new(1, Options::default());
    let first = fixture.file_log("a.log", "one\n", None);
    let second = fixture.file_log("a.log", "two\n", None);
    let path = Destination::File(fixture.folder.path().join("a.log"));
    let sinks = [(); 2].map(|()| fixture.logs.sink(path.clone()).unwrap());
    assert!(Arc::ptr_eq(&sinks[0], &sinks[1]));
    let recorder = fixture.logs.recorder(0);
    recorder.record(record(&first, 1));
    recorder.record(record(&second, 2));
    timeout(DEADLINE, fixture.logs.flush()).await.unwrap();
    assert_eq!(fixture.written("a.log"), "one\ntwo\n");
}

#[tokio::test]
async fn a_log_that_is_gone_still_gets_its_last_records() {
    let fixture = Fixture::new(1, Options::default());
    let log = fixture.file_log("a.log", "%CONNECTION_ID%\n", None);
    fixture.logs.recorder(0).record(record(&log, 1));
    drop(log);
    timeout(DEADLINE, fixture.logs.flush()).await.unwrap();
    assert_eq!(fixture.written("a.log"), "1\n");
    assert_eq!(all(fixture.logs.read(ids(), ReadOptions::default())).await, ["1"]);
    assert_eq!(fixture.logs.known_logs(), 0, "and is forgotten after that");
}

#[tokio::test]
async fn what_is_kept_is_bounded() {
    let options = Options { keep_records: 10, ..Options::default() };
    let fixture = Fixture::new(1, options);
    let log = fixture.file_log("a.log", "%CONNECTION_ID%\n", None);
    let recorder = fixture.logs.recorder(0);
    (0..1_000).for_each(|id| recorder.record(record(&log, id)));
    timeout(DEADLINE, fixture.logs.flush()).await.unwrap();
    assert_eq!(fixture.written("a.log").lines().count(), 1_000, "files miss nothing");
    assert_eq!(all(fixture.logs.read(ids(), ReadOptions::default())).await, numbers(990..1_000));
}

/// A pipe that nobody reads holds up neither workers nor readers, and loses the oldest lines.
#[tokio::test]
async fn a_stuck_file_holds_nobody_up() {
    let one = record(&Log::default(), 0).size();
    let options = Options {
        keep_records: 10,
        most_bytes: 100 * one,
        keep_bytes: 100 * one,
        ..Options::default()
    };
    let fixture = Fixture::new(1, options);
    let pipe = fixture.folder.path().join("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    // Read and write, so that opening the other end does not wait for a peer.
    let reading = std::fs::OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
    let log = fixture.file_log("pipe", &"%CONNECTION_ID% ".repeat(2_000), None);
    let recorder = fixture.logs.recorder(0);
    for id in 0..1_000 {
        recorder.record(record(&log, id));
        // Readers empty the worker's buffer even while the log thread waits.
        let last =
            all(fixture.logs.read(ids(), ReadOptions { tail: Some(1), ..Default::default() }));
        assert_eq!(last.await, [id.to_string()]);
    }
    assert!(fixture.registry.control().access_log().records_overrun.get() > 500);
    // Lets the log thread go on and end.
    let drain = std::thread::spawn(move || {
        std::io::copy(&mut std::io::BufReader::new(reading), &mut std::io::sink())
    });
    drop(drain);
}

#[test]
fn an_idle_thread_wakes_for_one_record() {
    // So short that the thread goes idle again and again, now before and now after the next record.
    let options = Options { interval: Duration::from_micros(50), ..Options::default() };
    let fixture = Fixture::new(1, options);
    let log = fixture.file_log("a.log", "%CONNECTION_ID%\n", None);
    let recorder = fixture.logs.recorder(0);
    let start = SystemTime::now();
    for id in 0..500 {
        recorder.record(record(&log, id));
        let expected = id as usize + 1;
        while fixture.written("a.log").lines().count() < expected {
            assert!(start.elapsed().unwrap() < DEADLINE, "record {id} was never written");
            std::thread::yield_now();
        }
    }
}
