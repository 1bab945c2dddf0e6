//! What the next hop is told of the client's certificate: `x-forwarded-client-cert`.
//!
//! As in Envoy, an element says what was shown; whether it was verified is a matter of the chain's TLS context.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::tls::Settled;
use crate::tls::crypto::sha256;
use crate::tls::handshake::Peer;
use crate::tls::x509::hex;

/// What happens to the header (`forward_client_cert_details`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardCert {
    /// It is removed.
    #[default]
    Sanitize,
    /// It goes on if the client has shown a certificate.
    Forward,
    /// So, with an element for that certificate added.
    Append(Details),
    /// An element for the certificate replaces it.
    Set(Details),
    /// It goes on whoever sent it.
    AlwaysForward,
}

/// What an element says beside whose certificate it was shown to, and the certificate's hash
/// (`set_current_client_cert_details`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a field of Envoy's")]
pub struct Details {
    /// The certificate.
    pub cert: bool,
    /// It and those that came with it.
    pub chain: bool,
    /// Its subject.
    pub subject: bool,
    /// Its URIs.
    pub uri: bool,
    /// Its DNS names.
    pub dns: bool,
}

impl ForwardCert {
    /// Whether a header that came goes on; `shown` is whether the client has shown a certificate.
    #[must_use]
    pub fn keeps(self, shown: bool) -> bool {
        match self {
            Self::Sanitize | Self::Set(_) => false,
            Self::Forward | Self::Append(_) => shown,
            Self::AlwaysForward => true,
        }
    }

    /// The element that is to be added for the certificate that was shown in a handshake. It is made once for a
    /// connection.
    #[must_use]
    pub fn element(self, settled: &Settled) -> Option<&[u8]> {
        let (Self::Append(details) | Self::Set(details)) = self else { return None };
        let peer = settled.peer.as_ref()?;
        let make = || element(peer, &settled.local_uris, details).into_boxed_str();
        Some(peer.forwarded.get_or_init(make).as_bytes())
    }
}

fn element(peer: &Peer, local_uris: &[Box<str>], details: Details) -> String {
    let mut text = String::new();
    for uri in local_uris {
        push(&mut text, "By", &printable(uri));
    }
    if let Some(leaf) = peer.chain.first() {
        push(&mut text, "Hash", &hex(&sha256(leaf)));
        if details.cert {
            push(&mut text, "Cert", &quoted(&pem(leaf)));
        }
        if details.chain {
            let chain: String = peer.chain.iter().map(|each| pem(each)).collect();
            push(&mut text, "Chain", &quoted(&chain));
        }
    }
    if details.subject {
        push(&mut text, "Subject", &quoted(&peer.leaf.subject));
    }
    if details.uri {
        if peer.leaf.uris.is_empty() {
            push(&mut text, "URI", "");
        }
        for uri in &peer.leaf.uris {
            push(&mut text, "URI", &printable(uri));
        }
    }
    if details.dns {
        for name in &peer.leaf.dns_names {
            push(&mut text, "DNS", &printable(name));
        }
    }
    text
}

fn push(text: &mut String, key: &str, value: &str) {
    let semicolon = if text.is_empty() { "" } else { ";" };
    let _ = write!(text, "{semicolon}{key}={value}");
}

fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}

/// A name without what could end the line that it is written into.
fn printable(name: &str) -> String {
    name.chars().fold(String::with_capacity(name.len()), |mut text, char| {
        if char.is_control() {
            char.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| {
                let _ = write!(text, "%{byte:02X}");
            });
        } else {
            text.push(char);
        }
        text
    })
}

/// A certificate in PEM (RFC 7468), percent-encoded.
fn pem(der: &[u8]) -> String {
    const BREAK: &str = "%0A";
    let mut text = format!("-----BEGIN%20CERTIFICATE-----{BREAK}");
    for line in STANDARD.encode(der).as_bytes().chunks(64) {
        for byte in line {
            match byte {
                b'+' => text.push_str("%2B"),
                b'/' => text.push_str("%2F"),
                b'=' => text.push_str("%3D"),
                plain => text.push(char::from(*plain)),
            }
        }
        text.push_str(BREAK);
    }
    text.push_str("-----END%20CERTIFICATE-----");
    text.push_str(BREAK);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_end_their_line() {
        assert_eq!(printable("spiffe://a/b;c\r\nx: y\u{85}"), "spiffe://a/b;c%0D%0Ax: y%C2%85");
    }

    #[test]
    fn lines_of_64_characters() {
        let text = pem(&[0xff; 50]);
        let lines: Vec<_> = text.split("%0A").collect();
        assert_eq!(lines.len(), 5, "{text}");
        assert_eq!(lines[1], "%2F".repeat(64));
        assert_eq!(lines[2], "%2F%2F8%3D");
        assert!(text.ends_with("-----END%20CERTIFICATE-----%0A"));
    }

    #[test]
    fn who_may_forward() {
        let details = Details::default();
        for (mode, shown, unshown) in [
            (ForwardCert::Sanitize, false, false),
            (ForwardCert::Forward, true, false),
            (ForwardCert::Append(details), true, false),
            (ForwardCert::Set(details), false, false),
            (ForwardCert::AlwaysForward, true, true),
        ] {
            assert_eq!((mode.keeps(true), mode.keeps(false)), (shown, unshown), "{mode:?}");
        }
    }
}
