//! Certificates that are replaced through the API all the time, under load.

use std::time::{Duration, Instant};

use rustls::version::{TLS12, TLS13};
use tidegate_testing::ca::Ca;

use crate::support::handshakes::{handshakes, shows, two_hosts};
use crate::support::objects;

const ROTATIONS: usize = 1000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_certificates_through_the_api_cost_no_handshake() {
    let ca = Ca::new("root");
    let (gateway, mut api) = two_hosts(&ca).await;
    let loads = [(&TLS12, false), (&TLS12, true), (&TLS13, false), (&TLS13, true)]
        .map(|(version, resumes)| ca.client_config_of(version, resumes))
        .map(|config| handshakes(&gateway, "a.example", &config));
    let config = ca.client_config_of(&TLS13, false);
    let mut waits: Vec<Duration> = Vec::with_capacity(ROTATIONS);
    for _ in 0..ROTATIONS {
        let leaf = ca.issue(&["a.example"]);
        let start = Instant::now();
        api.change_secret("a", &objects::pair(&leaf)).await;
        shows(&gateway, "a.example", &config, &leaf).await;
        waits.push(start.elapsed());
    }
    for load in &loads {
        load.flows(10).await;
    }
    for load in loads {
        assert_eq!(load.stop().await, Vec::<String>::new());
    }
    assert_eq!(gateway.stat("sds.kubernetes_a.update_rejected").await, 0);
    assert_eq!(gateway.https_stat("ssl.connection_error").await, 0);
    // From the write to the first client that is shown it. A second at most is promised; single ones may wait for a machine
    // that is busy, half of a thousand do not.
    waits.sort_unstable();
    let at = |share: usize| waits[(waits.len() - 1) * share / 100];
    assert!(at(50) < Duration::from_secs(1), "half of them took longer than {:?}", at(50));
    println!("served after {:?} (median), {:?} (99 %), {:?} at most", at(50), at(99), at(100));
}
