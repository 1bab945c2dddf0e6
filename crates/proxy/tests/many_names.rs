//! As many names as a large mesh has, of one resolver. A process of its own, so that its memory can be looked at.

use tidegate_proxy::stats::Registry;
use tidegate_proxy::upstream::cluster::DnsFamily;
use tidegate_proxy::upstream::dns::{DnsConfig, Resolver, Subscription, WatchOptions};
use tidegate_testing::PATIENCE;
use tidegate_testing::dns_server::DnsServer;
use tokio::runtime::Handle;
use tokio::time::timeout;

const NAMES: usize = 10_000;
/// What a name may take while nobody uses it, and once it is resolved; bytes. What the name server remembers is in it.
const IDLE: usize = 8 << 10;
const RESOLVED: usize = 12 << 10;

/// Memory of this process, bytes.
fn memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    let kilobytes: usize = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kilobytes * 1024
}

/// Watches all of them.
fn watch(resolver: &Resolver) -> Vec<Subscription> {
    let options = WatchOptions { family: DnsFamily::V4Only, ..WatchOptions::default() };
    (0..NAMES).map(|n| resolver.watch(&format!("n{n}.example"), 80, options)).collect()
}

/// Uses all of them.
async fn resolved(watches: &mut [Subscription]) {
    for watch in watches.iter() {
        watch.usage().expect("a name").mark();
    }
    for watch in watches {
        let found = timeout(PATIENCE, watch.changed()).await.expect("an answer");
        assert_eq!(found.addresses.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_names_take_bounded_memory() {
    let server = DnsServer::start().await;
    for n in 0..NAMES {
        server.address(&format!("n{n}.example."), 3600, "192.0.2.1");
    }
    let registry = Registry::new(1);
    let config = DnsConfig { servers: vec![server.address], ..DnsConfig::default() };
    let resolver = Resolver::new(config, registry.control().dns(), Handle::current());

    let before = memory();
    let mut watches = watch(&resolver);
    let idle = memory().saturating_sub(before) / NAMES;
    assert!(idle < IDLE, "{idle} bytes for each");
    assert_eq!(server.asked(), [], "nobody uses them");

    resolved(&mut watches).await;
    let with = memory();
    let used = with.saturating_sub(before) / NAMES;
    assert!(used < RESOLVED, "{used} bytes for each");
    assert_eq!(server.asked().len(), NAMES, "once each");

    // As often as they come anew, they are the same.
    for _ in 0..5 {
        watches = watch(&resolver);
        resolved(&mut watches).await;
    }
    let grown = memory().saturating_sub(with) / NAMES;
    assert!(grown < IDLE, "{grown} bytes more for each");
    assert_eq!(resolver.status().len(), NAMES);
    assert_eq!(server.asked(), [], "all of them were known");
}
