//! Names that nobody uses, and what becomes of their first use.

use super::super::super::cluster::{Balancing, Cluster, Discovery as Source, DnsName};
use super::super::super::discovery::Discovery;
use super::super::super::endpoints::EndpointSet;
use super::super::super::outlier::tests::cluster;
use super::*;
use crate::remote::Remote;

/// IPv4 only, resting a minute after the last use.
fn resting() -> WatchOptions {
    WatchOptions { rest_after: Some(60 * SECOND), ..options() }
}

/// A cluster of these names, followed.
fn follow(discovery: &mut Discovery, hosts: &[&str]) -> Arc<Cluster> {
    let name =
        |host: &&str| DnsName { host: (*host).into(), port: 80, weight: 1, place: Arc::default() };
    let mut cluster = cluster(None, 0, Balancing::RoundRobin, EndpointSet::default());
    cluster.discovery = Source::StrictDns(hosts.iter().map(name).collect());
    cluster.dns.family = DnsFamily::V4Only;
    cluster.dns.respect_ttl = true;
    cluster.connect_timeout = 10 * SECOND;
    let cluster = Arc::new(cluster);
    discovery.follow(&cluster);
    cluster
}

fn discovery(fixture: &Fixture) -> Discovery {
    Discovery::new(fixture.resolver.clone(), Handle::current(), None)
}

/// Where a request that comes now goes, and how long it waits.
async fn request(cluster: &Cluster) -> (Vec<String>, Duration) {
    let before = Instant::now();
    cluster.use_when_ready().await;
    let endpoints = cluster.endpoints.load();
    let addresses = endpoints.endpoints.iter().map(|endpoint| match &endpoint.address {
        Remote::Ip(address) => address.to_string(),
        other => format!("{other:?}"),
    });
    (addresses.collect(), before.elapsed())
}

fn at(address: &str) -> Vec<String> {
    vec![format!("{address}:80")]
}

#[tokio::test(start_paused = true)]
async fn a_name_is_looked_up_at_its_first_use() {
    let fixture = Fixture::new();
    fixture.set("a.example", 10, &["10.0.0.1"]);
    *fixture.table.time.lock().unwrap() = SECOND / 10;
    let mut discovery = discovery(&fixture);
    let unused = follow(&mut discovery, &["a.example"]);
    sleep(3600 * SECOND).await;
    assert_eq!((fixture.lookups(), unused.is_warming()), (0, false));
    assert!(fixture.status().resting);

    assert_eq!(request(&unused).await, (at("10.0.0.1"), SECOND / 10));
    assert_eq!(request(&unused).await, (at("10.0.0.1"), Duration::ZERO));
    assert_eq!(fixture.lookups(), 1);
}

/// A TTL holds however long nobody asked: the first request after that goes to the address that the name has then.
#[tokio::test(start_paused = true)]
async fn the_first_request_after_a_rest_goes_to_the_address_of_now() {
    let fixture = Fixture::new();
    fixture.set("a.example", 10, &["10.0.0.1"]);
    let mut discovery = discovery(&fixture);
    let cluster = follow(&mut discovery, &["a.example"]);
    assert_eq!(request(&cluster).await.0, at("10.0.0.1"));

    sleep(3600 * SECOND).await;
    assert!((6..=8).contains(&fixture.lookups()), "{} lookups in an hour", fixture.lookups());
    assert!(fixture.status().resting);
    fixture.set("a.example", 10, &["10.0.0.2"]);
    *fixture.table.time.lock().unwrap() = SECOND / 10;
    let all = tokio::join!(request(&cluster), request(&cluster));
    let expected = (at("10.0.0.2"), SECOND / 10);
    assert_eq!(all, (expected.clone(), expected));
    assert_eq!(request(&cluster).await, (at("10.0.0.2"), Duration::ZERO));

    // In use, it is kept fresh, and nobody waits for that.
    let lookups = fixture.lookups();
    for _ in 0..100 {
        sleep(10 * SECOND).await;
        assert_eq!(request(&cluster).await.1, Duration::ZERO);
    }
    assert!((85..=101).contains(&(fixture.lookups() - lookups)));
    assert!(!fixture.status().resting);
}

/// RFC 8767: a resolver that is silent delays requests a little, and once.
#[tokio::test(start_paused = true)]
async fn a_silent_resolver_has_the_addresses_of_before_served_soon() {
    let fixture = Fixture::new();
    fixture.set("a.example", 10, &["10.0.0.1"]);
    let mut discovery = discovery(&fixture);
    let cluster = follow(&mut discovery, &["a.example"]);
    request(&cluster).await;
    sleep(3600 * SECOND).await;
    fixture.fail("a.example", Family::V4, LookupError::Timeout);
    *fixture.table.time.lock().unwrap() = 10 * SECOND;
    assert_eq!(request(&cluster).await, (at("10.0.0.1"), STALE_AFTER));
    for _ in 0..10 {
        assert_eq!(request(&cluster).await, (at("10.0.0.1"), Duration::ZERO));
        sleep(SECOND).await;
    }
    // One that says at once that it fails delays nobody further.
    sleep(3600 * SECOND).await;
    *fixture.table.time.lock().unwrap() = Duration::ZERO;
    assert_eq!(request(&cluster).await, (at("10.0.0.1"), Duration::ZERO));
}

/// A change of the cluster is no use of it.
#[tokio::test(start_paused = true)]
async fn new_forms_of_a_cluster_cost_no_lookup() {
    let fixture = Fixture::new();
    fixture.set("a.example", 10, &["10.0.0.1"]);
    let mut discovery = discovery(&fixture);
    let first = follow(&mut discovery, &["a.example"]);
    request(&first).await;
    sleep(3600 * SECOND).await;
    let lookups = fixture.lookups();
    let mut forms = Vec::new();
    for _ in 0..10 {
        forms.push(follow(&mut discovery, &["a.example"]));
        sleep(100 * SECOND).await;
    }
    assert_eq!(fixture.lookups(), lookups);
    let last = forms.pop().unwrap();
    assert!(last.endpoints.load().ready, "what was known is known to it");
    fixture.set("a.example", 10, &["10.0.0.2"]);
    assert_eq!(request(&last).await.0, at("10.0.0.2"));

    // Whoever still has a form that is gone waits for nothing.
    sleep(3600 * SECOND).await;
    assert_eq!(request(&forms[0]).await, (at("10.0.0.1"), Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn a_name_rests_only_if_all_who_watch_it_agree() {
    let fixture = Fixture::new();
    fixture.set("a.example", 10, &["10.0.0.1"]);
    let _one = fixture.resolver.watch("a.example", 80, resting());
    sleep(1000 * SECOND).await;
    assert_eq!(fixture.lookups(), 0);
    let other = fixture.resolver.watch("a.example", 81, options());
    sleep(1000 * SECOND).await;
    assert!(fixture.lookups() > 80 && !fixture.status().resting);
    drop(other);
    sleep(1000 * SECOND).await;
    assert!(fixture.status().resting);
    // Whoever begins to watch it does not use it yet.
    let lookups = fixture.lookups();
    let new = fixture.resolver.watch("a.example", 82, resting());
    sleep(SECOND).await;
    assert_eq!((fixture.lookups(), new.current()), (lookups, addresses(&["10.0.0.1:82"])));
    new.usage().unwrap().mark();
    sleep(SECOND).await;
    assert_eq!(fixture.lookups(), lookups + 1);
}

/// Of as many clusters as a mesh has, those that nobody uses cost no query, and those that go leave nothing behind.
#[tokio::test(start_paused = true)]
async fn ten_thousand_names_that_nobody_uses_are_not_asked_for() {
    let fixture = Fixture::new();
    let watch = |n: usize, port| fixture.resolver.watch(&format!("n{n}.example"), port, resting());
    let mut watches = Vec::new();
    for n in 0..10_000 {
        fixture.set(&format!("n{n}.example"), 5, &["10.0.0.1"]);
        watches.extend([watch(n, 80), watch(n, 443)]);
    }
    assert_eq!(fixture.resolver.shared.entries().len(), 10_000, "one of each name");
    sleep(3600 * SECOND).await;
    assert_eq!(fixture.lookups(), 0);
    // What was used once rests before long.
    for watch in &mut watches {
        watch.usage().unwrap().mark();
        assert_eq!(watch.changed().await.addresses.len(), 1);
    }
    sleep(200 * SECOND).await;
    let asked = fixture.lookups();
    sleep(3600 * SECOND).await;
    assert_eq!(fixture.lookups(), asked);
    drop(watches);
    sleep(2 * REMEMBERED).await;
    assert!(fixture.resolver.shared.entries().is_empty());
}
