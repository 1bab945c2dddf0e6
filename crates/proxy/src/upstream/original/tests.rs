use std::rc::Rc;

use super::*;
use crate::buffer::BufferPool;
use crate::stats::Registry;
use crate::upstream::source::Mark;

const INTERVAL: Duration = Duration::from_secs(5);

struct World {
    registry: Arc<Registry>,
    all: Originals,
    local: LocalOriginals,
}

impl World {
    fn new() -> Self {
        let (all, local) = (Originals::default(), LocalOriginals::default());
        Self { registry: Registry::new(1), all, local }
    }

    fn pick(&self, port: u16, passes: u8) -> Rc<Pool> {
        self.pick_from(None, port, passes)
    }

    /// What comes from an address, where that is told.
    fn pick_from(&self, source: Option<ClientSource>, port: u16, passes: u8) -> Rc<Pool> {
        let scope = self.registry.worker(0);
        let captured = Captured { dialled: ([10, 0, 0, 1], port).into(), passes };
        self.local.pick((captured, source), &self.all, |endpoint| {
            let stats = scope.endpoint("c", &endpoint.address.to_string());
            Pool::new(endpoint, stats, scope.cluster("c"), Rc::<BufferPool>::default())
        })
    }

    /// Sweeps after an interval.
    async fn sweep(&self) {
        tokio::time::advance(INTERVAL).await;
        self.local.sweep(Instant::now(), (None, INTERVAL), &self.all);
    }

    fn ports(&self) -> Vec<u16> {
        self.all.all().iter().map(|endpoint| endpoint.address.port()).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn addresses_come_when_they_are_dialled_and_go_when_nobody_uses_them() {
    let world = World::new();
    let held = world.pick(1, 0);
    assert!(Rc::ptr_eq(&held, &world.pick(1, 0)));
    let again = world.pick(1, 1);
    assert!(!Rc::ptr_eq(&held, &again), "passed another number of times");
    assert!(Arc::ptr_eq(&held.endpoint, &again.endpoint));
    drop(again);
    world.pick(2, 0);
    assert_eq!(world.ports(), [1, 2]);
    assert_eq!(world.all.take_changes(), (2, 2));
    // Used since the last sweep.
    world.sweep().await;
    assert_eq!(world.ports(), [1, 2]);
    world.sweep().await;
    assert_eq!(world.ports(), [1]);
    drop(held);
    world.sweep().await;
    assert!(world.ports().is_empty());
    assert_eq!(world.all.take_changes(), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn who_is_told_by_its_address_shares_connections_with_nobody_else() {
    let world = World::new();
    let from =
        |last: u8| Some(ClientSource { address: [192, 0, 2, last].into(), mark: Mark(1337) });
    let first = world.pick_from(from(1), 1, 0);
    assert!(Rc::ptr_eq(&first, &world.pick_from(from(1), 1, 0)));
    for other in [world.pick_from(from(2), 1, 0), world.pick(1, 0)] {
        assert!(!Rc::ptr_eq(&first, &other));
        assert!(Arc::ptr_eq(&first.endpoint, &other.endpoint));
    }
}

#[tokio::test(start_paused = true)]
async fn sweeps_wait_for_the_interval() {
    let world = World::new();
    world.pick(1, 0);
    for _ in 0..10 {
        world.local.sweep(Instant::now(), (None, INTERVAL), &world.all);
    }
    assert_eq!(world.ports(), [1]);
}

#[tokio::test(start_paused = true)]
async fn addresses_have_a_bound() {
    let world = World::new();
    let held = world.pick(1, 0);
    for port in 2..=10_000 {
        world.pick(port, 0);
    }
    assert!(world.ports().len() <= MANY, "{}", world.ports().len());
    assert!(world.ports().contains(&1));
    drop(held);
}

/// They are not looked at again for each that comes.
#[tokio::test(start_paused = true)]
async fn many_that_are_used_are_looked_at_seldom() {
    let world = World::new();
    let mut held = Vec::new();
    let mut looks = Vec::new();
    for port in 1..=20_000 {
        held.push(world.pick(port, 0));
        if looks.last() != Some(&world.local.many.get()) {
            looks.push(world.local.many.get());
        }
    }
    assert_eq!(looks, [MANY, 2 * MANY, 4 * MANY, 8 * MANY]);
    drop(held);
    world.sweep().await;
    world.sweep().await;
    assert_eq!((world.ports().len(), world.local.many.get()), (0, MANY));
}

#[tokio::test(start_paused = true)]
async fn all_go_with_the_worker() {
    let world = World::new();
    let held = world.pick(1, 0);
    world.local.close(&world.all);
    assert!(world.ports().is_empty());
    assert_eq!(Rc::strong_count(&held), 1);
}

/// A connection that nobody has redirected was dialled to where it came.
#[tokio::test]
async fn what_is_not_redirected_is_not_captured() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let Ok(listener) = tokio::net::TcpListener::bind(address).await else { continue };
        let to = listener.local_addr().expect("an address");
        let client = TcpStream::connect(to).await.expect("a connection");
        let (io, peer) = listener.accept().await.expect("a connection");
        assert_eq!(peer, client.local_addr().expect("an address"));
        assert_eq!(Captured::redirected(&io, peer, to), None);
    }
}
