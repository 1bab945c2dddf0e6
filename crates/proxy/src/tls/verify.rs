//! Verification of a peer's certificate, for both roles.
//!
//! Chains are verified by the TLS library. What it does not take is a leaf without extensions (version 1),
//! which is what `openssl x509 -req` makes unless told otherwise, nor a leaf that is itself trusted: those two
//! are verified here, against a trusted certificate directly. Where revocation lists are given, one of its issuer has to
//! be among them, as for other leaves.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, PeerMisbehaved,
    RootCertStore, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::crl::RevocationList;
use super::crypto::provider;
use super::identity::dns_name_covers;
use super::validation::{Mismatch, Validation};
use super::x509::{AltName, Certificate};
use crate::route::TextMatch;

/// Verifies the certificates of one kind of peers.
#[derive(Debug)]
pub struct Verifier {
    validation: Validation,
    chain: Chain,
    hints: Vec<DistinguishedName>,
    mandatory: bool,
    /// Whether a server's certificate must be for the name that was asked for.
    by_name: bool,
}

#[derive(Debug)]
enum Chain {
    /// It is not looked at.
    Any,
    Client(Arc<dyn ClientCertVerifier>),
    Server(Arc<WebPkiServerVerifier>),
}

/// A validation context that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unverifiable(String);

impl Verifier {
    /// A verifier of clients; `mandatory` says that one without a certificate is refused.
    ///
    /// # Errors
    /// A root or a revocation list is malformed.
    pub fn of_clients(validation: Validation, mandatory: bool) -> Result<Self, Unverifiable> {
        let store = store(&validation)?;
        let hints = if validation.no_hints { Vec::new() } else { store.subjects() };
        let chain = if store.is_empty() {
            Chain::Any
        } else {
            let builder = WebPkiClientVerifier::builder_with_provider(
                Arc::new(store),
                Arc::clone(provider()),
            );
            let mut builder = builder.with_crls(validation.revoked.iter().cloned());
            if !validation.revoked.is_empty() {
                builder = builder.enforce_revocation_expiration();
            }
            if validation.only_leaf_revoked {
                builder = builder.only_check_end_entity_revocation();
            }
            Chain::Client(builder.build().map_err(|error| Unverifiable(error.to_string()))?)
        };
        Ok(Self { validation, chain, hints, mandatory, by_name: false })
    }

    /// A verifier of servers; `by_name` says that the certificate must be for the name that is asked for.
    ///
    /// # Errors
    /// A root or a revocation list is malformed.
    pub fn of_servers(validation: Validation, by_name: bool) -> Result<Self, Unverifiable> {
        let store = store(&validation)?;
        let chain = if store.is_empty() {
            Chain::Any
        } else {
            let builder = WebPkiServerVerifier::builder_with_provider(
                Arc::new(store),
                Arc::clone(provider()),
            );
            let mut builder = builder.with_crls(validation.revoked.iter().cloned());
            if !validation.revoked.is_empty() {
                builder = builder.enforce_revocation_expiration();
            }
            if validation.only_leaf_revoked {
                builder = builder.only_check_end_entity_revocation();
            }
            Chain::Server(builder.build().map_err(|error| Unverifiable(error.to_string()))?)
        };
        Ok(Self { validation, chain, hints: Vec::new(), mandatory: true, by_name })
    }

    /// Verifies everything but the name that was asked for.
    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        certificate: &Certificate<'_>,
        now: UnixTime,
        chain: impl FnOnce(&Chain) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if !self.validation.accept_untrusted && !matches!(self.chain, Chain::Any) {
            if self.is_for_us(leaf, certificate) {
                self.verify_directly(leaf, certificate, now)?;
            } else {
                chain(&self.chain)?;
            }
        }
        self.validation.check(certificate, leaf).map_err(refused)
    }

    /// Whether the library does not take this leaf.
    fn is_for_us(&self, leaf: &CertificateDer<'_>, certificate: &Certificate<'_>) -> bool {
        certificate.version < 3 || self.validation.roots.iter().any(|root| root == leaf)
    }

    /// Verifies a leaf that is trusted itself, or was issued by one that is.
    fn verify_directly(
        &self,
        leaf: &CertificateDer<'_>,
        certificate: &Certificate<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        let now = UNIX_EPOCH + Duration::from_secs(now.as_secs());
        valid_at(certificate, now)?;
        let mut issuers = self.validation.roots.iter().filter_map(|root| {
            let issuer = Certificate::parse(root)?;
            let issued = || {
                issuer.subject == certificate.issuer
                    && issuer.is_valid_at(now)
                    && signed_by(&issuer, certificate.signed, signature_of(certificate))
            };
            (root == leaf || issued()).then_some(issuer)
        });
        let issuer = issuers.next().ok_or(CertificateError::UnknownIssuer)?;
        self.not_revoked(certificate, &issuer, now)
    }

    /// Asks the revocation lists of a certificate's issuer, where any are given.
    fn not_revoked(
        &self,
        certificate: &Certificate<'_>,
        issuer: &Certificate<'_>,
        now: SystemTime,
    ) -> Result<(), Error> {
        if self.validation.revoked.is_empty() {
            return Ok(());
        }
        let lists = self.validation.revoked.iter().filter_map(|list| RevocationList::parse(list));
        let lists = lists.filter(|list| {
            list.is_whole
                && list.issuer == certificate.issuer
                && signed_by(issuer, list.signed, (list.signature_algorithm, list.signature))
        });
        let (mut known, mut expired) = (false, false);
        for list in lists {
            if list.has(certificate) {
                return Err(CertificateError::Revoked.into());
            }
            let holds = list.next_update.is_none_or(|next| now <= next);
            known |= holds;
            expired |= !holds;
        }
        match (known, expired) {
            (true, _) => Ok(()),
            (false, true) => Err(CertificateError::ExpiredRevocationList.into()),
            (false, false) => Err(CertificateError::UnknownRevocationStatus.into()),
        }
    }
}

fn valid_at(certificate: &Certificate<'_>, now: SystemTime) -> Result<(), Error> {
    if now < certificate.not_before {
        return Err(CertificateError::NotValidYet.into());
    }
    if certificate.not_after < now {
        return Err(CertificateError::Expired.into());
    }
    Ok(())
}

/// The signature of a certificate: its algorithm, and its bytes.
const fn signature_of<'a>(certificate: &Certificate<'a>) -> (&'a [u8], &'a [u8]) {
    (certificate.signature_algorithm, certificate.signature)
}

/// Whether an issuer's key made a signature.
fn signed_by(issuer: &Certificate<'_>, signed: &[u8], (by, signature): (&[u8], &[u8])) -> bool {
    let algorithms = provider().signature_verification_algorithms.all;
    algorithms.iter().any(|algorithm| {
        algorithm.signature_alg_id().as_ref() == by
            && algorithm.public_key_alg_id().as_ref() == issuer.key_algorithm
            && algorithm.verify_signature(issuer.key_bits, signed, signature).is_ok()
    })
}

fn store(validation: &Validation) -> Result<RootCertStore, Unverifiable> {
    let mut store = RootCertStore::empty();
    for root in &validation.roots {
        let added = store.add(root.clone());
        added.map_err(|error| {
            Unverifiable(format!("a trusted certificate is malformed: {error}"))
        })?;
    }
    Ok(store)
}

pub(super) fn parse<'c>(leaf: &'c CertificateDer<'_>) -> Result<Certificate<'c>, Error> {
    Certificate::parse(leaf).ok_or_else(|| CertificateError::BadEncoding.into())
}

pub(super) fn refused(mismatch: Mismatch) -> Error {
    CertificateError::Other(OtherError(Arc::new(mismatch))).into()
}

/// Why names or pins did not match, if that is what the error says.
#[must_use]
pub fn mismatch(error: &Error) -> Option<Mismatch> {
    match error {
        Error::InvalidCertificate(CertificateError::Other(OtherError(why))) => {
            let named = why.downcast_ref::<WrongName>().map(|_| Mismatch::Name);
            named.or_else(|| why.downcast_ref::<Mismatch>().copied())
        }
        _ => None,
    }
}

/// A server's certificate is for others than who was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it is for {shown}, and {asked} was asked for")]
struct WrongName {
    shown: Names,
    asked: Names,
}

/// Names as they are told: the first few, each as far as a line has room for it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Names(Vec<String>);

impl Names {
    /// A certificate may have thousands, of any length.
    const TOLD: usize = 4;
    const LENGTH: usize = 100;

    fn of(names: impl Iterator<Item = String>) -> Self {
        let told = |name: String| name.escape_default().take(Self::LENGTH).collect();
        Self(names.take(Self::TOLD + 1).map(told).collect())
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [] => f.write_str("no name"),
            some if some.len() > Self::TOLD => write!(f, "{} …", some[..Self::TOLD].join(", ")),
            some => f.write_str(&some.join(", ")),
        }
    }
}

/// Why a peer's certificate is not accepted, in words.
#[must_use]
pub fn in_words(error: &Error) -> String {
    let Error::InvalidCertificate(why) = error else { return error.to_string() };
    let words = match why {
        CertificateError::UnknownIssuer => "nobody who is trusted has issued it",
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet"
        }
        CertificateError::Revoked => "it has been revoked",
        CertificateError::ExpiredRevocationList
        | CertificateError::ExpiredRevocationListContext { .. } => {
            "the list that would say whether it has been revoked has expired"
        }
        CertificateError::UnknownRevocationStatus => "no list says whether it has been revoked",
        CertificateError::BadSignature => "its signature does not hold",
        CertificateError::BadEncoding => "it cannot be read",
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "it is for another use (extended key usage)"
        }
        // The library has no type of its own for it here.
        CertificateError::Other(OtherError(why)) if why.to_string() == "CaUsedAsEndEntity" => {
            "it is the certificate of an authority, and not of a peer"
        }
        CertificateError::Other(OtherError(why)) => return why.to_string(),
        other => return other.to_string(),
    };
    words.to_owned()
}

// === signatures of the handshake ===

fn algorithms() -> &'static WebPkiSupportedAlgorithms {
    &provider().signature_verification_algorithms
}

/// Verifies that the holder of the certificate's key has signed `message`.
fn verify_signature(
    message: &[u8],
    leaf: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
    tls13: bool,
) -> Result<HandshakeSignatureValid, Error> {
    let certificate = parse(leaf)?;
    if certificate.version >= 3 {
        let verify = if tls13 {
            rustls::crypto::verify_tls13_signature
        } else {
            rustls::crypto::verify_tls12_signature
        };
        return verify(message, leaf, signed, algorithms());
    }
    let scheme = algorithms().mapping.iter().find(|(scheme, _)| *scheme == signed.scheme);
    let forbidden = tls13
        && matches!(
            signed.scheme,
            SignatureScheme::RSA_PKCS1_SHA256
                | SignatureScheme::RSA_PKCS1_SHA384
                | SignatureScheme::RSA_PKCS1_SHA512
        );
    let Some((_, candidates)) = scheme.filter(|_| !forbidden) else {
        return Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
    };
    // TLS 1.3 binds the curve to the scheme; the first is the one that it means.
    let candidates = if tls13 { &candidates[..candidates.len().min(1)] } else { candidates };
    let valid = candidates.iter().any(|algorithm| {
        algorithm.public_key_alg_id().as_ref() == certificate.key_algorithm
            && algorithm.verify_signature(certificate.key_bits, message, signed.signature()).is_ok()
    });
    if valid {
        return Ok(HandshakeSignatureValid::assertion());
    }
    Err(CertificateError::BadSignature.into())
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let certificate = parse(leaf)?;
        self.verify(leaf, &certificate, now, |chain| match chain {
            Chain::Client(chain) => chain.verify_client_cert(leaf, intermediates, now).map(|_| ()),
            Chain::Any | Chain::Server(_) => Err(CertificateError::UnknownIssuer.into()),
        })?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_signature(message, leaf, signed, false)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_signature(message, leaf, signed, true)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms().supported_schemes()
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let certificate = parse(leaf)?;
        let verified = self.verify(leaf, &certificate, now, |chain| match chain {
            Chain::Server(chain) => {
                match chain.verify_server_cert(leaf, intermediates, server_name, ocsp, now) {
                    // The chain is looked at first: it is good. Names are looked at below.
                    Ok(_)
                    | Err(Error::InvalidCertificate(
                        CertificateError::NotValidForName
                        | CertificateError::NotValidForNameContext { .. },
                    )) => Ok(()),
                    Err(error) => Err(error),
                }
            }
            Chain::Any | Chain::Client(_) => Err(CertificateError::UnknownIssuer.into()),
        });
        let wrong_name = |asked: Names| {
            let shown = Names::of(certificate.alt_names().map(|name| name.to_string()));
            CertificateError::Other(OtherError(Arc::new(WrongName { shown, asked }))).into()
        };
        verified.map_err(|error| match mismatch(&error) {
            Some(Mismatch::Name) => {
                let asked = self.validation.names.iter().map(|asked| match &asked.text {
                    TextMatch::Exact(name) => String::from_utf8_lossy(name).into_owned(),
                    pattern => pattern.to_string(),
                });
                wrong_name(Names::of(asked))
            }
            Some(Mismatch::Pin) | None => error,
        })?;
        if self.by_name && !is_for(&certificate, server_name) {
            let asked = match server_name {
                ServerName::IpAddress(address) => IpAddr::from(*address).to_string(),
                name => name.to_str().into_owned(),
            };
            return Err(wrong_name(Names(vec![asked])));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_signature(message, leaf, signed, false)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_signature(message, leaf, signed, true)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms().supported_schemes()
    }
}

/// Whether a certificate is for a server of this name.
pub(super) fn is_for(certificate: &Certificate<'_>, server_name: &ServerName<'_>) -> bool {
    certificate.alt_names().any(|name| match (&name, server_name) {
        (AltName::Dns(name), ServerName::DnsName(wanted)) => dns_name_covers(name, wanted.as_ref()),
        (AltName::Ip(address), ServerName::IpAddress(wanted)) => *address == IpAddr::from(*wanted),
        _ => false,
    })
}
