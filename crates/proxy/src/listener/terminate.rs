//! The handshake that comes before a chain's filter, as it counts and is logged.

use std::rc::Rc;
use std::time::{Instant, SystemTime};

use tokio::net::TcpStream;

use super::local::Current;
use crate::accesslog::{Field, Kind, Record};
use crate::buffer::Buffer;
use crate::http::chain::Client;
use crate::io::Io;
use crate::stats::ListenerStats;
use crate::throttle::Throttle;
use crate::tls::validation::Mismatch;
use crate::tls::{ClientHello, Failure, Refused, ServerTls, Settled, accept, mismatch};
use crate::worker::Worker;

/// Terminates TLS. `None` when the handshake failed: the connection is over then.
pub(super) async fn terminate(
    worker: &Worker,
    current: &Current,
    tls: &ServerTls,
    io: TcpStream,
    (first, hello): (Option<Buffer>, Option<ClientHello>),
    client: Client,
) -> Option<(Io, Client)> {
    match accept(io, first, hello, tls, &worker.buffers).await {
        Ok((io, settled)) => {
            count(&current.stats, &settled);
            let server_name = client.server_name.clone().or_else(|| settled.server_name.clone());
            let client = Client { server_name, tls: Some(Rc::new(settled)), ..client };
            Some((Io::Tls(io), client))
        }
        Err(Refused { failure, stream }) => {
            count_failure(&current.stats, &failure);
            log_failure(worker, current, &client, &failure);
            tell_failure(current, &client, &failure);
            if let Some(stream) = stream {
                stream.see_off().await;
            }
            None
        }
    }
}

fn count(stats: &ListenerStats, settled: &Settled) {
    stats.ssl_handshake.inc();
    if settled.peer.is_none() {
        stats.ssl_no_certificate.inc();
    }
    if settled.resumed {
        stats.ssl_session_reused.inc();
    }
    match settled.version {
        "TLSv1.2" => stats.ssl_version_tls12.inc(),
        _ => stats.ssl_version_tls13.inc(),
    }
    let cipher = match settled.cipher {
        "TLS_AES_128_GCM_SHA256" => &stats.ssl_cipher_aes128_gcm,
        "TLS_AES_256_GCM_SHA384" => &stats.ssl_cipher_aes256_gcm,
        "TLS_CHACHA20_POLY1305_SHA256" => &stats.ssl_cipher_chacha20,
        "ECDHE-ECDSA-AES128-GCM-SHA256" => &stats.ssl_cipher_ecdsa_aes128_gcm,
        "ECDHE-ECDSA-AES256-GCM-SHA384" => &stats.ssl_cipher_ecdsa_aes256_gcm,
        "ECDHE-ECDSA-CHACHA20-POLY1305" => &stats.ssl_cipher_ecdsa_chacha20,
        "ECDHE-RSA-AES128-GCM-SHA256" => &stats.ssl_cipher_rsa_aes128_gcm,
        "ECDHE-RSA-AES256-GCM-SHA384" => &stats.ssl_cipher_rsa_aes256_gcm,
        _ => &stats.ssl_cipher_rsa_chacha20,
    };
    cipher.inc();
}

fn count_failure(stats: &ListenerStats, failure: &Failure) {
    match failure {
        Failure::Tls(rustls::Error::NoCertificatesPresented) => stats.ssl_fail_verify_no_cert.inc(),
        Failure::Tls(error @ rustls::Error::InvalidCertificate(_)) => match mismatch(error) {
            Some(Mismatch::Name) => stats.ssl_fail_verify_san.inc(),
            Some(Mismatch::Pin) => stats.ssl_fail_verify_cert_hash.inc(),
            None => stats.ssl_fail_verify_error.inc(),
        },
        Failure::Tls(_) | Failure::NoServerName => stats.ssl_connection_error.inc(),
        Failure::TimedOut => stats.downstream_cx_transport_socket_connect_timeout.inc(),
        Failure::NotReady(_) => stats.ssl_context_not_ready.inc(),
        Failure::Closed | Failure::Io(_) => {}
    }
}

thread_local! {
    /// How many failures this worker tells of.
    static TOLD: Throttle = const { Throttle::new() };
}

/// Says why a handshake failed, where that is more than a client that went away. Access logs do not, unless the listener has
/// one for every connection: as Istio configures them, it has one for those that no chain takes.
fn tell_failure(current: &Current, client: &Client, failure: &Failure) {
    if matches!(failure, Failure::Closed | Failure::Io(_)) {
        return;
    }
    let Some(kept_back) = TOLD.with(|told| told.pass(Instant::now())) else { return };
    let name = client.server_name.as_deref().unwrap_or("-");
    tracing::info!(
        listener = %current.listener.name, peer = %client.peer, server_name = name, kept_back,
        "a TLS handshake failed: {failure}"
    );
}

/// Notes a connection whose handshake failed.
fn log_failure(worker: &Worker, current: &Current, client: &Client, failure: &Failure) {
    let Some(log) = &current.listener.log else { return };
    let mut record = Record::new(Kind::TcpClose, SystemTime::now(), log);
    record.connection_id = client.id;
    record.set(Field::Listener, current.listener.name.as_bytes());
    record.set(Field::DownstreamFailure, format!("TLS_error: {failure}"));
    client.describe(&mut record);
    worker.recorder.record(record);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every suite that can be agreed on has a counter of its own.
    #[test]
    fn suites_are_told_apart() {
        let registry = crate::stats::Registry::new(1);
        let stats = registry.worker(0).listener("l");
        for suite in crate::tls::suites::supported(&[]) {
            let cipher = crate::tls::suites::name(suite.suite());
            let settled = Settled {
                version: "TLSv1.3",
                cipher,
                server_name: None,
                alpn: None,
                resumed: false,
                peer: None,
                local_uris: Vec::new(),
            };
            count(&stats, &settled);
        }
        let counters = [
            &stats.ssl_cipher_aes128_gcm,
            &stats.ssl_cipher_aes256_gcm,
            &stats.ssl_cipher_chacha20,
            &stats.ssl_cipher_ecdsa_aes128_gcm,
            &stats.ssl_cipher_ecdsa_aes256_gcm,
            &stats.ssl_cipher_ecdsa_chacha20,
            &stats.ssl_cipher_rsa_aes128_gcm,
            &stats.ssl_cipher_rsa_aes256_gcm,
            &stats.ssl_cipher_rsa_chacha20,
        ];
        assert!(counters.iter().all(|counter| counter.get() == 1));
        assert_eq!(stats.ssl_handshake.get(), 9);
    }
}
