use std::collections::HashMap as Map;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::{advance, sleep};

use super::lookup::{Answering, Family, Records};
use super::*;

mod rest;

const SECOND: Duration = Duration::from_secs(1);

/// A resolver whose names are a table, on a clock that is moved by hand.
struct Fixture {
    resolver: Resolver,
    table: Arc<Table>,
}

#[derive(Default)]
struct Table {
    answers: Mutex<Map<(String, Family), Result<Records, LookupError>>>,
    lookups: AtomicUsize,
    /// How long a lookup takes.
    time: Mutex<Duration>,
    running: AtomicUsize,
    most_running: AtomicUsize,
}

impl Lookup for Table {
    fn records<'a>(&'a self, name: &'a Name, family: Family) -> Answering<'a> {
        self.lookups.fetch_add(1, Ordering::Relaxed);
        let running = self.running.fetch_add(1, Ordering::Relaxed) + 1;
        self.most_running.fetch_max(running, Ordering::Relaxed);
        let time = *self.time.lock().unwrap();
        let answers = self.answers.lock().unwrap();
        let answer = answers.get(&(name.as_str().to_owned(), family)).cloned();
        Box::pin(async move {
            sleep(time).await;
            self.running.fetch_sub(1, Ordering::Relaxed);
            answer.unwrap_or(Err(LookupError::NoSuchName))
        })
    }
}

impl Fixture {
    fn new() -> Self {
        Self::redirecting(&[])
    }

    fn redirecting(rules: &[&str]) -> Self {
        let table = Arc::<Table>::default();
        let rules = rules.iter().map(|rule| rule.parse().unwrap()).collect();
        let lookup = Arc::clone(&table) as Arc<dyn Lookup>;
        let resolver = Resolver::with_lookup(rules, lookup, Handle::current());
        Self { resolver, table }
    }

    /// Gives `name` IPv4 addresses.
    fn set(&self, name: &str, ttl: u64, addresses: &[&str]) {
        self.set_family(name, Family::V4, ttl, addresses);
    }

    fn set_family(&self, name: &str, family: Family, ttl: u64, addresses: &[&str]) {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        let records = Records { addresses, ttl: Duration::from_secs(ttl) };
        self.table.answers.lock().unwrap().insert((name.to_owned(), family), Ok(records));
    }

    fn fail(&self, name: &str, family: Family, error: LookupError) {
        self.table.answers.lock().unwrap().insert((name.to_owned(), family), Err(error));
    }

    fn lookups(&self) -> usize {
        self.table.lookups.load(Ordering::Relaxed)
    }

    fn status(&self) -> NameStatus {
        self.resolver.status().remove(0)
    }
}

/// IPv4 only, without rest.
fn options() -> WatchOptions {
    WatchOptions { family: DnsFamily::V4Only, rest_after: None, ..WatchOptions::default() }
}

fn addresses(addresses: &[&str]) -> Resolution {
    let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
    Resolution { ready: true, addresses }
}

/// Whether nothing changes for `time`.
async fn is_quiet(subscription: &mut Subscription, time: Duration) -> bool {
    tokio::time::timeout(time, subscription.changed()).await.is_err()
}

#[tokio::test(start_paused = true)]
async fn a_name_is_resolved_at_once_and_then_at_its_ttl() {
    let fixture = Fixture::new();
    fixture.set("a.example", 60, &["10.0.0.2", "10.0.0.1", "10.0.0.2"]);
    let mut watch = fixture.resolver.watch("A.Example", 80, options());
    assert_eq!(watch.current(), Resolution::default(), "not ready");
    assert_eq!(watch.changed().await, addresses(&["10.0.0.1:80", "10.0.0.2:80"]));

    fixture.set("a.example", 60, &["10.0.0.3"]);
    assert!(is_quiet(&mut watch, 59 * SECOND).await);
    assert_eq!(fixture.lookups(), 1);
    let before = Instant::now();
    assert_eq!(watch.changed().await, addresses(&["10.0.0.3:80"]));
    assert!(before.elapsed() <= 2 * SECOND, "{:?}", before.elapsed());

    // An answer that is the same is no change, in whatever order.
    assert!(is_quiet(&mut watch, 600 * SECOND).await);
    assert!((10..=12).contains(&fixture.lookups()), "{}", fixture.lookups());
}

#[tokio::test(start_paused = true)]
async fn without_respect_for_the_ttl_the_refresh_rate_counts() {
    let fixture = Fixture::new();
    fixture.set("a.example", 3600, &["10.0.0.1"]);
    let options = WatchOptions { respect_ttl: false, refresh: 10 * SECOND, ..options() };
    let _watch = fixture.resolver.watch("a.example", 80, options);
    sleep(100 * SECOND).await;
    assert!((9..=11).contains(&fixture.lookups()), "{}", fixture.lookups());
}

#[tokio::test(start_paused = true)]
async fn the_last_good_addresses_serve_while_the_resolver_fails() {
    let fixture = Fixture::new();
    fixture.set("a.example", 10, &["10.0.0.1"]);
    let mut watch = fixture.resolver.watch("a.example", 80, options());
    watch.changed().await;
    for error in [LookupError::Timeout, LookupError::Refused("Server Failure".into())] {
        let before = fixture.lookups();
        fixture.fail("a.example", Family::V4, error.clone());
        assert!(is_quiet(&mut watch, 3600 * SECOND).await);
        assert_eq!(watch.current(), addresses(&["10.0.0.1:80"]));
        assert_eq!(watch.error(), Some(error.clone()));
        assert_eq!(fixture.status().error, Some(error));
        let lookups = fixture.lookups() - before;
        assert!((120..260).contains(&lookups), "{lookups} lookups in an hour of failure");
        fixture.set("a.example", 10, &["10.0.0.1"]);
        sleep(60 * SECOND).await;
        assert_eq!((watch.error(), fixture.status().error), (None, None));
    }
    fixture.set("a.example", 10, &["10.0.0.2"]);
    assert_eq!(watch.changed().await, addresses(&["10.0.0.2:80"]));
}

#[tokio::test(start_paused = true)]
async fn a_name_that_never_resolved_is_tried_again() {
    let fixture = Fixture::new();
    fixture.fail("a.example", Family::V4, LookupError::Timeout);
    let mut watch = fixture.resolver.watch("a.example", 80, options());
    assert_eq!(watch.changed().await, addresses(&[]), "ready, and empty");
    fixture.set("a.example", 10, &["10.0.0.1"]);
    let before = Instant::now();
    assert_eq!(watch.changed().await, addresses(&["10.0.0.1:80"]));
    assert!(before.elapsed() <= SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_gone_is_dropped_when_that_is_certain() {
    for error in [LookupError::NoSuchName, LookupError::NoAddress] {
        let fixture = Fixture::new();
        fixture.set("a.example", 10, &["10.0.0.1"]);
        let mut patient = fixture.resolver.watch("a.example", 80, options());
        let keep = WatchOptions { negative: Negative::Keep, ..options() };
        let mut keeping = fixture.resolver.watch("a.example", 80, keep);
        let at_once = Negative::DropAfter(Duration::ZERO);
        let envoy = WatchOptions { negative: at_once, ..options() };
        let mut like_envoy = fixture.resolver.watch("a.example", 80, envoy);
        for watch in [&mut patient, &mut keeping, &mut like_envoy] {
            watch.changed().await;
        }

        fixture.fail("a.example", Family::V4, error.clone());
        assert_eq!(like_envoy.changed().await, addresses(&[]));
        assert!(is_quiet(&mut patient, 29 * SECOND).await);
        assert_eq!(patient.changed().await, addresses(&[]));
        assert!(is_quiet(&mut keeping, 3600 * SECOND).await);
        assert!(fixture.status().empty > 1 && patient.error() == Some(error));

        fixture.set("a.example", 10, &["10.0.0.1"]);
        assert_eq!(patient.changed().await, addresses(&["10.0.0.1:80"]));
    }
}

#[tokio::test(start_paused = true)]
async fn one_wrong_answer_cuts_nobody_off() {
    let fixture = Fixture::new();
    fixture.set("a.example", 10, &["10.0.0.1"]);
    let mut watch = fixture.resolver.watch("a.example", 80, options());
    watch.changed().await;
    for _ in 0..5 {
        fixture.fail("a.example", Family::V4, LookupError::NoSuchName);
        while fixture.status().error.is_none() {
            sleep(SECOND).await;
        }
        fixture.set("a.example", 10, &["10.0.0.1"]);
        sleep(29 * SECOND).await;
    }
    assert!(is_quiet(&mut watch, SECOND).await);
}

#[tokio::test(start_paused = true)]
async fn watches_of_one_name_share_its_lookups() {
    let fixture = Fixture::new();
    fixture.set("a.example", 100, &["10.0.0.1"]);
    let mut first = fixture.resolver.watch("a.example", 80, options());
    let mut second = fixture.resolver.watch("a.example.", 443, options());
    assert_eq!(first.changed().await, addresses(&["10.0.0.1:80"]));
    assert_eq!(second.changed().await, addresses(&["10.0.0.1:443"]));
    assert_eq!((fixture.lookups(), fixture.status().watches), (1, 2));

    // The most eager one sets the pace, also when it comes late.
    sleep(50 * SECOND).await;
    let eager = WatchOptions { max_ttl: 10 * SECOND, ..options() };
    let third = fixture.resolver.watch("a.example", 80, eager);
    assert_eq!(third.current(), addresses(&["10.0.0.1:80"]), "known at once");
    sleep(45 * SECOND).await;
    assert!((5..=6).contains(&fixture.lookups()), "{}", fixture.lookups());
    drop(third);
    let lookups = fixture.lookups();
    sleep(200 * SECOND).await;
    assert!((2..=3).contains(&(fixture.lookups() - lookups)));
}

#[tokio::test(start_paused = true)]
async fn when_nobody_watches_nothing_is_looked_up() {
    let fixture = Fixture::new();
    fixture.set("a.example", 1, &["10.0.0.1"]);
    let mut watch = fixture.resolver.watch("a.example", 80, options());
    let other = fixture.resolver.watch("a.example", 81, options());
    watch.changed().await;
    drop((watch, other));
    assert!(fixture.resolver.status().is_empty());
    let lookups = fixture.lookups();
    sleep(100 * SECOND).await;
    assert_eq!(fixture.lookups(), lookups);
    assert!(fixture.resolver.shared.entries().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_is_put_back_has_its_addresses_at_once() {
    let fixture = Fixture::new();
    fixture.set("a.example", 10, &["10.0.0.1"]);
    let mut watch = fixture.resolver.watch("a.example", 80, options());
    watch.changed().await;
    drop(watch);
    fixture.fail("a.example", Family::V4, LookupError::Timeout);
    sleep(REMEMBERED - SECOND).await;
    let mut again = fixture.resolver.watch("a.example", 81, options());
    assert_eq!(again.current(), addresses(&["10.0.0.1:81"]));
    again.changed().await;
    assert!(is_quiet(&mut again, 2 * REMEMBERED).await);
    fixture.set("a.example", 10, &["10.0.0.2"]);
    assert_eq!(again.changed().await, addresses(&["10.0.0.2:81"]), "and is kept up to date");
}

#[tokio::test(start_paused = true)]
async fn families_are_asked_for_as_the_policy_says() {
    let fixture = Fixture::new();
    fixture.set("both.example", 10, &["10.0.0.1"]);
    fixture.set_family("both.example", Family::V6, 10, &["2001:db8::1"]);
    fixture.set("four.example", 10, &["10.0.0.4"]);
    fixture.set_family("six.example", Family::V6, 10, &["2001:db8::6"]);
    let cases = [
        (DnsFamily::Auto, ["[2001:db8::1]:80", "10.0.0.4:80", "[2001:db8::6]:80"]),
        (DnsFamily::V4Preferred, ["10.0.0.1:80", "10.0.0.4:80", "[2001:db8::6]:80"]),
        (DnsFamily::V4Only, ["10.0.0.1:80", "10.0.0.4:80", ""]),
        (DnsFamily::V6Only, ["[2001:db8::1]:80", "", "[2001:db8::6]:80"]),
        (DnsFamily::All, ["10.0.0.1:80 [2001:db8::1]:80", "10.0.0.4:80", "[2001:db8::6]:80"]),
    ];
    for (family, expected) in cases {
        for (name, expected) in ["both", "four", "six"].into_iter().zip(expected) {
            let host = format!("{name}.example");
            let options = WatchOptions { family, ..options() };
            let mut watch = fixture.resolver.watch(&host, 80, options);
            let expected: Vec<&str> = expected.split_whitespace().collect();
            assert_eq!(watch.changed().await, addresses(&expected), "{family:?} {name}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_family_that_fails_does_not_take_the_others_addresses_away() {
    let fixture = Fixture::new();
    fixture.set("a.example", 10, &["10.0.0.1"]);
    fixture.set_family("a.example", Family::V6, 10, &["2001:db8::1"]);
    let options = WatchOptions { family: DnsFamily::All, ..options() };
    let mut watch = fixture.resolver.watch("a.example", 80, options);
    watch.changed().await;
    fixture.fail("a.example", Family::V6, LookupError::Timeout);
    fixture.set("a.example", 10, &["10.0.0.2"]);
    assert_eq!(watch.changed().await, addresses(&["10.0.0.2:80", "[2001:db8::1]:80"]));
    assert_eq!(watch.error(), Some(LookupError::Timeout));
    fixture.fail("a.example", Family::V6, LookupError::NoAddress);
    assert_eq!(watch.changed().await, addresses(&["10.0.0.2:80"]));
}

#[tokio::test(start_paused = true)]
async fn a_logical_cluster_takes_the_servers_first_address() {
    let fixture = Fixture::new();
    fixture.set("a.example", 10, &["10.0.0.2", "10.0.0.1"]);
    let options = WatchOptions { first_only: true, ..options() };
    let mut watch = fixture.resolver.watch("a.example", 80, options);
    assert_eq!(watch.changed().await, addresses(&["10.0.0.2:80"]));
    fixture.set("a.example", 10, &["10.0.0.1", "10.0.0.2"]);
    assert_eq!(watch.changed().await, addresses(&["10.0.0.1:80"]));
}

#[tokio::test(start_paused = true)]
async fn addresses_and_this_machine_need_no_lookup() {
    let fixture = Fixture::new();
    for (host, family, expected) in [
        ("10.0.0.1", DnsFamily::V6Only, &["10.0.0.1:80"][..]),
        ("[2001:db8::1]", DnsFamily::V4Only, &["[2001:db8::1]:80"]),
        ("localhost", DnsFamily::Auto, &["127.0.0.1:80"]),
        ("db.localhost", DnsFamily::All, &["127.0.0.1:80", "[::1]:80"]),
        ("a..b", DnsFamily::Auto, &[]),
    ] {
        let options = WatchOptions { family, ..options() };
        let mut watch = fixture.resolver.watch(host, 80, options);
        assert_eq!(watch.current(), addresses(expected));
        assert_eq!(watch.changed().await, addresses(expected));
        assert!(is_quiet(&mut watch, 3600 * SECOND).await);
        assert!(watch.usage().is_none());
        assert_eq!(watch.error().is_some(), expected.is_empty());
    }
    assert_eq!(fixture.lookups(), 0);
}

#[tokio::test(start_paused = true)]
async fn connections_are_redirected_before_anything_is_looked_up() {
    let rules = ["a.example:80:127.0.0.1:8080", "::b.example:"];
    let fixture = Fixture::redirecting(&rules);
    fixture.set("b.example", 10, &["10.0.0.2"]);
    let mut direct = fixture.resolver.watch("a.example", 80, options());
    assert_eq!(direct.changed().await, addresses(&["127.0.0.1:8080"]));
    let mut renamed = fixture.resolver.watch("a.example", 443, options());
    assert_eq!(renamed.changed().await, addresses(&["10.0.0.2:443"]));
    assert_eq!(fixture.resolver.redirect("10.1.1.1", 9), ("b.example", 9));
}

#[tokio::test(start_paused = true)]
async fn a_thousand_names_are_looked_up_a_few_at_a_time() {
    let fixture = Fixture::new();
    *fixture.table.time.lock().unwrap() = SECOND / 100;
    let mut watches: Vec<Subscription> = (0..1000)
        .map(|n| {
            let host = format!("n{n}.example");
            fixture.set(&host, 10_000, &["10.0.0.1"]);
            fixture.resolver.watch(&host, 80, options())
        })
        .collect();
    for watch in &mut watches {
        assert_eq!(watch.changed().await.addresses.len(), 1);
    }
    assert_eq!(fixture.table.most_running.load(Ordering::Relaxed), CONCURRENT_LOOKUPS);
}

/// Clients choose names, and each may be a new one.
#[tokio::test(start_paused = true)]
async fn names_that_were_asked_for_once_do_not_pile_up() {
    let fixture = Fixture::new();
    let watched = fixture.resolver.watch("kept.example", 80, options());
    for n in 0..2 * CROWDED {
        drop(fixture.resolver.watch(&format!("n{n}.example"), 80, options()));
    }
    let names = fixture.resolver.shared.entries().len();
    assert!(names <= CROWDED + 1, "{names}");
    assert_eq!(fixture.resolver.status().len(), 1, "whoever is watched stays");
    drop(watched);
}

#[tokio::test(start_paused = true)]
async fn a_resolver_that_is_gone_leaves_its_answers() {
    let fixture = Fixture::new();
    fixture.set("a.example", 10, &["10.0.0.1"]);
    let mut watch = fixture.resolver.watch("a.example", 80, options());
    watch.changed().await;
    drop(fixture);
    advance(100 * SECOND).await;
    assert!(is_quiet(&mut watch, 100 * SECOND).await);
    assert_eq!(watch.current(), addresses(&["10.0.0.1:80"]));
}

#[test]
fn servers_are_named_with_or_without_a_port() {
    for (text, expected) in [
        ("10.0.0.53", "10.0.0.53:53"),
        ("10.0.0.53:5353", "10.0.0.53:5353"),
        ("2001:db8::53", "[2001:db8::53]:53"),
        ("[2001:db8::53]", "[2001:db8::53]:53"),
        ("[2001:db8::53]:5353", "[2001:db8::53]:5353"),
    ] {
        assert_eq!(parse_server(text).unwrap().to_string(), expected);
    }
    for bad in ["", "dns.example", "10.0.0.53:", "10.0.0.53:dns"] {
        assert!(parse_server(bad).is_err(), "{bad}");
    }
}
