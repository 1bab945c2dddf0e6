//! Certificates that change all the time, under load.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind};
use rustls_pki_types::CertificateDer;
use serde_json::json;
use tidegate_testing::ca::Ca;
use tidegate_testing::client::{self, Client};

use super::setup::{Running, bootstrap, certificate, http_chain, serving_secret};

const ROTATIONS: usize = 1000;
/// How often the certificate is looked at right after it was confirmed.
const EVERY: usize = 4;
const NAME: &str = "a.example";

/// What clients know of the rotation.
struct Rotation {
    /// The number of each certificate.
    numbers: HashMap<CertificateDer<'static>, usize>,
    /// The last one that is known to be served.
    confirmed: AtomicUsize,
    over: AtomicBool,
}

impl Rotation {
    /// Shakes hands and asks for something; the number of the certificate that was shown.
    async fn ask(
        &self,
        address: SocketAddr,
        config: &Arc<ClientConfig>,
    ) -> io::Result<(usize, HandshakeKind)> {
        let stream = client::tls(address, NAME, Arc::clone(config)).await?;
        let (_, session) = stream.get_ref();
        let kind = session.handshake_kind().ok_or(io::ErrorKind::NotConnected)?;
        let shown = session.peer_certificates().and_then(|chain| chain.first());
        let shown = shown.ok_or(io::ErrorKind::NotFound)?;
        let number = self.numbers[shown];
        let mut client = Client::over(stream);
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let answer = client.read(false).await?;
        assert_eq!(answer.status, 200);
        Ok((number, kind))
    }

    /// A client that shakes hands until the rotation is over; how many of its handshakes were whole ones, and how
    /// many went on with a session.
    async fn load(
        self: Arc<Self>,
        address: SocketAddr,
        config: Arc<ClientConfig>,
    ) -> io::Result<(usize, usize)> {
        let (mut whole, mut resumed) = (0, 0);
        while !self.over.load(Ordering::Acquire) {
            let confirmed = self.confirmed.load(Ordering::Acquire);
            let (shown, kind) = self.ask(address, &config).await?;
            if kind == HandshakeKind::Resumed {
                // Of the session that went on.
                resumed += 1;
                continue;
            }
            assert!(shown >= confirmed, "{shown} was shown, {confirmed} was confirmed before");
            whole += 1;
        }
        Ok((whole, resumed))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_rotations_cost_no_handshake() {
    let ca = Ca::new("root");
    let identities: Vec<_> = (0..=ROTATIONS).map(|_| ca.issue(&[NAME])).collect();
    let numbers = (0..).zip(&identities).map(|(number, each)| (each.certificate.clone(), number));
    let rotation = Arc::new(Rotation {
        numbers: numbers.collect(),
        confirmed: AtomicUsize::new(0),
        over: AtomicBool::new(false),
    });
    let secret =
        |number: usize| json!({"name": "s", "tls_certificate": certificate(&identities[number])});
    let chain = http_chain(&[], &serving_secret("s"), "answer");
    let mut running = Running::start_with(&bootstrap(&[chain], &[], &[secret(0)]), 2).await;
    let address = running.address;
    let clients: Vec<_> = [(&TLS12, false), (&TLS12, true), (&TLS13, false), (&TLS13, true)]
        .map(|(version, resumes)| {
            let load = Arc::clone(&rotation).load(address, ca.client_config_of(version, resumes));
            (resumes, tokio::spawn(load))
        })
        .into();
    let own = [ca.client_config_of(&TLS12, false), ca.client_config_of(&TLS13, false)];
    for number in 1..=ROTATIONS {
        let outcome = running.put_secret(&secret(number)).await;
        assert!(outcome.rejected.is_empty(), "{:?}", outcome.rejected);
        rotation.confirmed.store(number, Ordering::Release);
        // Beside the clients, who are anywhere between two rotations.
        if number.is_multiple_of(EVERY) {
            let config = &own[number / EVERY % 2];
            let (shown, _) = rotation.ask(address, config).await.expect("a handshake");
            assert_eq!(shown, number);
        }
    }
    rotation.over.store(true, Ordering::Release);
    for (resumes, client) in clients {
        let (whole, resumed) = client.await.expect("no panic").expect("no handshake failed");
        assert!(whole > 0);
        assert_eq!(resumed > 0, resumes, "{whole} whole handshakes, {resumed} resumed");
    }
    running.counts("sds.s.update_rejected", 0).await;
    running.counts("listener.tls.ssl.connection_error", 0).await;
}
