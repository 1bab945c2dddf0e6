use std::io::Write;

use super::super::dns::DnsConfig;
use super::*;
use crate::buffer::BufferPool;
use crate::stats::Registry;

const PATIENCE: Duration = Duration::from_secs(20);
const POLICY: Policy = Policy {
    max_hosts: 3,
    host_ttl: Duration::from_secs(300),
    min_ttl: Duration::from_secs(5),
    within: None,
    port: None,
    default_port: 80,
};

struct World {
    registry: Arc<Registry>,
    names: Names,
    local: LocalNames,
    policy: Policy,
    hosts: tempfile::NamedTempFile,
}

impl World {
    /// One in which these names are in the table of hosts, and no server is asked.
    fn new(hosts: &str, connect_to: &[&str], policy: Policy) -> Self {
        let registry = Registry::new(1);
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(hosts.as_bytes()).expect("written");
        let config = DnsConfig {
            servers: vec![SocketAddr::from(([127, 0, 0, 1], 1))],
            connect_to: connect_to.iter().map(|rule| rule.parse().expect("a rule")).collect(),
            hosts: file.path().to_owned(),
            resolv_conf: "/nonexistent".into(),
        };
        let resolver = Resolver::new(config, registry.worker(0).dns(), Handle::current());
        let names = Names::default();
        names.resolve_with(resolver, WatchOptions::default(), Handle::current());
        Self { registry, names, local: LocalNames::default(), policy, hosts: file }
    }

    async fn pick(&self, authority: &str) -> Result<Rc<Pool>, NoEndpoint> {
        let asked = Asked::of(authority.as_bytes(), &self.policy).ok_or(NoEndpoint::Nameless)?;
        let scope = self.registry.worker(0);
        let make = |endpoint: Arc<Endpoint>| {
            let stats = scope.endpoint("c", &endpoint.address.to_string());
            Pool::new(endpoint, stats, scope.cluster("c"), Rc::<BufferPool>::default())
        };
        self.local.pick(asked, (&self.names, &self.policy), PATIENCE, make).await
    }

    async fn address(&self, authority: &str) -> Result<String, NoEndpoint> {
        self.pick(authority).await.map(|pool| pool.endpoint.address.to_string())
    }

    fn sweep(&self, later: Duration) {
        self.local.sweep(Instant::now() + later, None, (&self.names, &self.policy));
    }
}

#[test]
fn hosts_and_ports_are_read() {
    let asked = |text: &str, policy: &Policy| {
        Asked::of(text.as_bytes(), policy).map(|asked| asked.to_string())
    };
    let fixed = Policy { port: Some(8443), ..POLICY };
    assert_eq!(asked("A.Example.", &POLICY).as_deref(), Some("a.example:80"));
    assert_eq!(asked("a.example:81", &POLICY).as_deref(), Some("a.example:81"));
    assert_eq!(asked("a.example:81", &fixed).as_deref(), Some("a.example:8443"), "not its choice");
    assert_eq!(asked("[2001:db8::1]:81", &POLICY).as_deref(), Some("2001:db8::1:81"));
    assert_eq!(asked("[2001:db8::1]", &POLICY).as_deref(), Some("2001:db8::1:80"));
    for nobody in ["", ":80", "a.example:x", "a.example:70000", "[2001:db8::1"] {
        assert_eq!(asked(nobody, &POLICY), None, "{nobody}");
    }
}

#[tokio::test]
async fn a_name_is_resolved_when_it_is_asked_for_and_forgotten_when_nobody_does() {
    let world = World::new("192.0.2.1 a.example\n192.0.2.2 b.example\n", &[], POLICY);
    assert_eq!(world.address("a.example").await.as_deref(), Ok("192.0.2.1:80"));
    assert_eq!(world.address("b.example:81").await.as_deref(), Ok("192.0.2.2:81"));
    assert_eq!(world.address("192.0.2.3").await.as_deref(), Ok("192.0.2.3:80"));
    let (first, again) = (world.pick("a.example").await, world.pick("A.example").await);
    assert!(Rc::ptr_eq(&first.expect("a pool"), &again.expect("a pool")), "one pool for a name");
    assert_eq!(world.names.len(), 3);
    let held = world.pick("b.example:81").await.expect("a pool");
    world.sweep(POLICY.host_ttl / 2);
    assert_eq!(world.names.len(), 3);
    world.sweep(POLICY.host_ttl);
    assert_eq!(world.names.len(), 1, "whoever is held stays");
    drop(held);
    world.local.close(&world.names);
    assert!(world.names.is_empty());
}

#[tokio::test]
async fn names_have_a_bound_and_make_room_for_others() {
    let hosts: String = (1..10).map(|n| format!("192.0.2.{n} n{n}.example\n")).collect();
    let world = World::new(&hosts, &[], POLICY);
    let mut held = Vec::new();
    for n in 1..=3 {
        held.push(world.pick(&format!("n{n}.example")).await.expect("a pool"));
    }
    let full = world.pick("n4.example").await.map(|_| ());
    assert_eq!(full, Err(NoEndpoint::TooMany("n4.example".into())));
    held.pop();
    assert_eq!(world.address("n4.example").await.as_deref(), Ok("192.0.2.4:80"));
    assert_eq!(world.names.len(), 3);
}

/// Whatever routes let through.
#[tokio::test]
async fn other_names_than_those_it_is_for_are_not_resolved() {
    let hosts = "192.0.2.1 a.example.com\n192.0.2.2 a.example.org\n192.0.2.3 example.com\n";
    let policy = Policy { within: Some(".example.com".into()), ..POLICY };
    let world = World::new(hosts, &[], policy);
    assert_eq!(world.address("A.Example.com").await.as_deref(), Ok("192.0.2.1:80"));
    for other in ["a.example.org", "example.com", "aexample.com", "192.0.2.1"] {
        let refused = world.pick(other).await.map(|_| ());
        assert!(matches!(refused, Err(NoEndpoint::Outside(..))), "{other}: {refused:?}");
    }
    assert_eq!(world.names.len(), 1);
}

/// Services of the machine itself are not for clients to reach by a name of their choice.
#[tokio::test]
async fn names_that_lead_inward_are_not_followed() {
    let hosts = "127.0.0.1 own.example\n169.254.169.254 metadata.example\n";
    let world =
        World::new(hosts, &["own.test:80:127.0.0.1:8080"], Policy { max_hosts: 9, ..POLICY });
    for name in [
        "own.example",
        "metadata.example",
        "localhost",
        "127.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
    ] {
        let refused = world.pick(name).await.map(|_| ());
        assert!(matches!(refused, Err(NoEndpoint::Inward(..))), "{name}: {refused:?}");
    }
    // The operator may.
    assert_eq!(world.address("own.test").await.as_deref(), Ok("127.0.0.1:8080"));
    let private = World::new("10.0.0.1 intranet.example\n", &[], POLICY);
    assert_eq!(private.address("intranet.example").await.as_deref(), Ok("10.0.0.1:80"));
}

/// An endpoint stays for as long as its name leads to it, wherever else that leads.
#[tokio::test]
async fn an_address_that_is_still_there_stays() {
    let found = Found::default();
    let news = |addresses: &[&str]| News {
        lookups: Default::default(),
        resolution: super::super::dns::Resolution {
            ready: true,
            addresses: addresses.iter().map(|a| a.parse().expect("an address")).collect(),
        },
        failure: None,
    };
    let now = |found: &Found| match found.now.load_full().as_deref() {
        Some(Ok(endpoint)) => endpoint.address.to_string(),
        other => format!("{other:?}"),
    };
    found.put("a", &news(&["192.0.2.2:80"]), false);
    found.put("a", &news(&["192.0.2.1:80", "192.0.2.2:80"]), false);
    assert_eq!(now(&found), "192.0.2.2:80");
    found.put("a", &news(&["127.0.0.1:80", "192.0.2.3:80"]), false);
    assert_eq!(now(&found), "192.0.2.3:80");
}

#[tokio::test]
async fn what_is_not_resolved_says_why() {
    let world = World::new("", &[], POLICY);
    let long = "x".repeat(64);
    let why = world.pick(&long).await.map(|_| ()).expect_err("it is no name");
    assert_eq!(why, NoEndpoint::Unresolved(long.into(), LookupError::Invalid));
    assert_eq!(world.pick("").await.map(|_| ()), Err(NoEndpoint::Nameless));
    assert!(
        NoEndpoint::of_own(
            &Endpoint::new(SocketAddr::from(([192, 0, 2, 1], 80)), None, 1),
            [192, 0, 2, 1].into()
        )
        .is_err()
    );
}

/// However long nobody asked for it, whoever does is not sent to an address that outlived its TTL.
#[tokio::test(start_paused = true)]
async fn a_name_that_rested_is_resolved_before_it_is_dialled() {
    let world = World::new("10.0.0.1 a.example\n", &[], POLICY);
    assert_eq!(world.address("a.example").await.as_deref(), Ok("10.0.0.1:80"));
    tokio::time::sleep(Duration::from_secs(3600)).await;
    std::fs::write(world.hosts.path(), "10.0.0.200 a.example\n").expect("written");
    assert_eq!(world.address("a.example").await.as_deref(), Ok("10.0.0.200:80"));
}
