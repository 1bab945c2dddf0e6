//! Idle connections whose endpoint has gone, and what connections are made with.

use std::net::TcpListener;

use socket2::SockRef;

use tokio::task::LocalSet;

use super::super::cluster::{Balancing, ClusterSlot, EndpointSet, Keepalive};
use super::super::local::LocalClusters;
use super::super::outlier::tests::cluster;
use super::*;
use crate::stats::Registry;

/// A listener, and a worker's pool of connections to it.
fn ground(keepalive: Option<Keepalive>) -> (TcpListener, LocalClusters, Rc<LocalCluster>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let endpoints = EndpointSet::new(vec![Arc::new(Endpoint::new(address, None, 1))]);
    let slot = ClusterSlot::empty(0, "c".into());
    let cluster = cluster(None, 0, Balancing::RoundRobin, endpoints);
    slot.store(Some(Arc::new(Cluster { keepalive, ..cluster })));
    let all = LocalClusters::new(Registry::new(1).worker(0), Rc::default());
    let local = all.get(&slot).expect("it is there");
    (listener, all, local)
}

/// An end that the system knows of and the runtime does not, as nothing has waited since.
#[tokio::test]
async fn an_end_that_the_runtime_has_not_heard_of_is_seen_where_it_matters() {
    let test = async {
        let (listener, _all, local) = ground(None);
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

/// `tcpKeepalive`: what the sockets have of it is what it says, and the system's where it is silent.
#[tokio::test]
async fn connections_are_kept_alive_as_their_cluster_says() {
    let test = async {
        let made = |keepalive| async move {
            let (_listener, _all, local) = ground(keepalive);
            let pool = local.pick(None, None, || 0).expect("an endpoint");
            let (_dialled, io) = pool.dial_for_tcp(&local).await.expect("a connection");
            let socket = SockRef::from(io.socket());
            let on = socket.keepalive().expect("SO_KEEPALIVE");
            let idle = socket.tcp_keepalive_time().expect("TCP_KEEPIDLE");
            let interval = socket.tcp_keepalive_interval().expect("TCP_KEEPINTVL");
            let probes = socket.tcp_keepalive_retries().expect("TCP_KEEPCNT");
            (on, idle.as_secs(), interval.as_secs(), probes)
        };
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        let none = made(None).await;
        assert!(!none.0);
        let all = Keepalive { probes: Some(7), idle: seconds(123), interval: seconds(45) };
        assert_eq!(made(Some(all)).await, (true, 123, 45, 7));
        let part = Keepalive { idle: None, probes: None, ..all };
        assert_eq!(made(Some(part)).await, (true, none.1, 45, none.3));
    };
    LocalSet::new().run_until(test).await;
}
