//! Idle connections whose endpoint has gone.

use std::net::TcpListener;

use tokio::task::LocalSet;

use super::super::cluster::{Balancing, ClusterSlot, EndpointSet};
use super::super::local::LocalClusters;
use super::super::outlier::tests::cluster;
use super::*;
use crate::stats::Registry;

/// An end that the system knows of and the runtime does not, as nothing has waited since.
#[tokio::test]
async fn an_end_that_the_runtime_has_not_heard_of_is_seen_where_it_matters() {
    let test = async {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let endpoints = EndpointSet::new(vec![Arc::new(Endpoint::new(address, None, 1))]);
        let slot = ClusterSlot::empty(0, "c".into());
        let cluster = cluster(None, 0, Balancing::RoundRobin, endpoints);
        slot.store(Some(Arc::new(cluster)));
        let all = LocalClusters::new(Registry::new(1).worker(0), Rc::default());
        let local = all.get(&slot).expect("it is there");
        let pool = local.pick(None, None, || 0).expect("an endpoint");

        let lease = pool.lease(&local, "", Liveness::Assumed).await.expect("a connection");
        let (theirs, _) = listener.accept().expect("a connection");
        lease.give_back();
        let lease = pool.reuse("", Liveness::Verified).expect("nobody has closed it");
        drop(theirs);
        while !lease.has_input() {
            std::thread::yield_now();
        }
        lease.give_back();
        let lease = pool.reuse("", Liveness::Assumed).expect("as far as the runtime knows");
        lease.give_back();
        assert!(pool.reuse("", Liveness::Verified).is_none());
        assert_eq!(pool.stats.upstream_cx_destroy_remote.get(), 1);
    };
    LocalSet::new().run_until(test).await;
}
