//! The bodies of the fuzz targets of TLS, as plain functions: any driver may feed them.

use super::client_hello::{DEFAULT_MAX_BYTES, Inspection, Progress, parse};
use super::identity::Leaf;
use super::ocsp;
use super::x509::Certificate;

/// Parses `data` and checks what must hold for any input:
///
/// - no panic, no endless loop;
/// - a decision is final: bytes that arrive later do not change it;
/// - it does not depend on the pieces that they arrive in;
/// - a decision is taken within the limit;
/// - a server name that comes out is a host name in lower case.
///
/// # Panics
///
/// When one of these does not hold.
pub fn client_hello(data: &[u8]) {
    let limit = 1 + data.first().map_or(DEFAULT_MAX_BYTES, |byte| usize::from(*byte) * 64);
    for limit in [limit, DEFAULT_MAX_BYTES] {
        check(data, limit);
    }
}

fn check(data: &[u8], limit: usize) {
    let whole = parse(data, limit);
    assert!(whole != Inspection::NeedMore || data.len() < limit, "undecided beyond the limit");
    if let Inspection::Hello(hello) = &whole {
        if let Some(name) = &hello.server_name {
            assert!(!name.is_empty() && name.len() <= 253);
            assert!(!name.bytes().any(|b| b.is_ascii_uppercase() || !b.is_ascii_graphic()));
        }
        assert!(hello.alpn.iter().all(|protocol| !protocol.is_empty()));
    }
    // Sampled, so that the cost stays linear in the input.
    let mut progress = Progress::default();
    for part in 1..8 {
        let piece = &data[..data.len() * part / 8];
        let early = parse(piece, limit);
        assert_eq!(progress.parse(piece, limit), early, "in pieces");
        if early != Inspection::NeedMore {
            progress = Progress::default();
        }
        assert!(early == Inspection::NeedMore || early == whole, "{early:?}, later {whole:?}");
    }
}

/// Takes `data` for a certificate, and for an OCSP response, and checks what must hold for any input:
///
/// - no panic, no endless loop;
/// - there are no more names than there is room for;
/// - the subject, which is written into headers and logs, cannot end a line;
/// - an answer is about the number that was asked for only if it stands in it.
///
/// # Panics
///
/// When one of these does not hold.
pub fn certificate(data: &[u8]) {
    let serial = Certificate::parse(data).map_or(&[1][..], |certificate| {
        let leaf = Leaf::of(&certificate);
        assert!(!leaf.subject.chars().any(char::is_control), "{:?}", leaf.subject);
        assert!(certificate.alt_names().count() * 2 <= data.len());
        assert!(leaf.serial.bytes().all(|digit| digit.is_ascii_hexdigit()));
        certificate.serial
    });
    if ocsp::good_until(data, serial).is_ok() {
        assert!(data.windows(serial.len().max(1)).any(|part| part.starts_with(serial)));
    }
}
