//! Transport sockets and secrets.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::crypto::SupportedKxGroup;
use rustls::version::{TLS12, TLS13};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};
use tidegate_envoy::suites::USE_GROUPS;
use tidegate_envoy::v3::core::transport_socket::ConfigType;
use tidegate_envoy::v3::core::{DataSource, TransportSocket};
use tidegate_envoy::v3::tls::certificate_validation_context::TrustChainVerification;
use tidegate_envoy::v3::tls::common_tls_context::ValidationContextType;
use tidegate_envoy::v3::tls::downstream_tls_context::SessionTicketKeysType;
use tidegate_envoy::v3::tls::secret::Type as SecretType;
use tidegate_envoy::v3::tls::subject_alt_name_matcher::SanType;
use tidegate_envoy::v3::tls::tls_parameters::TlsProtocol;
use tidegate_envoy::v3::tls::{
    CertificateValidationContext, CommonTlsContext, DownstreamTlsContext, SdsSecretConfig,
    Secret as ProtoSecret, TlsCertificate, TlsParameters, UpstreamTlsContext,
};

use crate::config::refusal::{Refusal, Within, each};
use crate::tls::context::Common;
use crate::tls::identity::{Identity, Unusable};
use crate::tls::pem::{self, Wanted};
use crate::tls::secret::{IdentitySource, Secret, SecretSlot, ValidationSource};
use crate::tls::suites;
use crate::tls::validation::{NameKind, NameMatch, Validation};
use crate::tls::{ClientTls, ServerTls, Verifier, system_roots};

use super::matching::text;
use super::source;
use super::value::{data, enumeration, present, required};
use super::{Links, noted, unpack};

/// Most bytes of a chain, a key, roots or a revocation list.
const MAX_PEM: usize = 16 * 1024 * 1024;

/// Most bytes of an OCSP response.
const MAX_STAPLE: usize = 64 * 1024;

/// What a transport socket of a filter chain does; `None` when that is nothing.
pub(super) fn server(
    proto: Option<&TransportSocket>,
    timeout: Duration,
    links: &mut impl Links,
) -> Result<Option<Arc<ServerTls>>, Refusal> {
    let Some(context) = context::<DownstreamTlsContext>(proto)? else { return Ok(None) };
    noted(links, "typed_config", |links| server_context(&context, timeout, links))
        .map(|tls| Some(Arc::new(tls)))
}

/// What a transport socket of a cluster does; `None` when that is nothing.
pub(super) fn client(
    proto: Option<&TransportSocket>,
    links: &mut impl Links,
) -> Result<Option<Arc<ClientTls>>, Refusal> {
    let Some(context) = context::<UpstreamTlsContext>(proto)? else { return Ok(None) };
    noted(links, "typed_config", |links| client_context(&context, links))
        .map(|tls| Some(Arc::new(tls)))
}

/// The TLS context in a transport socket; `None` for plain text, the only other kind.
fn context<T: prost::Name + Default>(
    proto: Option<&TransportSocket>,
) -> Result<Option<T>, Refusal> {
    let Some(proto) = proto else { return Ok(None) };
    let Some(ConfigType::TypedConfig(any)) = &proto.config_type else {
        return Err(Refusal::of("typed_config", "must be set"));
    };
    let found = tidegate_envoy::type_name(&any.type_url);
    if found == T::full_name() {
        return unpack(any).map(Some).within("typed_config");
    }
    if found.ends_with(".RawBuffer") {
        return Ok(None);
    }
    Err(Refusal::of("typed_config", format_args!("use {}", T::full_name())))
}

/// The protocol by which Istio's proxies agree that a description of the client goes before the bytes of a connection: a magic
/// number, a length and a message. It is for the filter that takes them off. Without one, and there is none here, clients are not
/// offered it, so that they send nothing but their bytes.
const PEER_EXCHANGE: &[u8] = b"istio-peer-exchange";

fn server_context(
    proto: &DownstreamTlsContext,
    timeout: Duration,
    links: &mut impl Links,
) -> Result<ServerTls, Refusal> {
    let common = present("common_tls_context", proto.common_tls_context.as_ref())?;
    let mut common = noted(links, "common_tls_context", |links| common_context(common, links))?;
    common.alpn.retain(|protocol| **protocol != *PEER_EXCHANGE);
    if common.identities.is_empty() {
        let reason =
            "must have a certificate in tls_certificates or tls_certificate_sds_secret_configs";
        return Err(Refusal::of("common_tls_context", reason));
    }
    let stateless = match &proto.session_ticket_keys_type {
        None => true,
        Some(SessionTicketKeysType::DisableStatelessSessionResumption(disable)) => !disable,
        Some(_) => {
            let reason = "keys of session tickets are made and changed in the process";
            return Err(Refusal::of("session_ticket_keys", reason));
        }
    };
    let require = proto.require_client_certificate.unwrap_or(false);
    let mut tls = ServerTls::new(common, require, timeout);
    tls.require_sni = proto.require_sni.unwrap_or(false);
    tls.resumes = stateless;
    tls.prefers_client_suites = proto.prefer_client_ciphers;
    Ok(tls)
}

fn client_context(
    proto: &UpstreamTlsContext,
    links: &mut impl Links,
) -> Result<ClientTls, Refusal> {
    let none = CommonTlsContext::default();
    let common = proto.common_tls_context.as_ref().unwrap_or(&none);
    let common = noted(links, "common_tls_context", |links| common_context(common, links))?;
    if common.identities.len() > 1 {
        return Err(Refusal::of("common_tls_context", "a client has one certificate at most"));
    }
    if !proto.sni.is_empty() && rustls_pki_types::ServerName::try_from(proto.sni.as_str()).is_err()
    {
        return Err(Refusal::of("sni", format_args!("{:?} is no host name", proto.sni)));
    }
    let resumes = proto.max_session_keys != Some(0);
    Ok(ClientTls::new(common, &proto.sni, proto.auto_sni_san_validation, resumes))
}

fn common_context(proto: &CommonTlsContext, links: &mut impl Links) -> Result<Common, Refusal> {
    let now = SystemTime::now();
    let mut here = Vec::new();
    for (place, certificate) in proto.tls_certificates.iter().enumerate() {
        here.push(noted(links, &format!("tls_certificates[{place}]"), |links| {
            let identity = identity(certificate)?;
            if let Some(why) = identity.untimely(now) {
                let reason =
                    format_args!("{why}; it stands in place, so nothing else can be served");
                links.notice(Refusal::of("certificate_chain", reason));
            }
            Ok(IdentitySource::Here(identity))
        })?);
    }
    let secrets = each(
        "tls_certificate_sds_secret_configs",
        &proto.tls_certificate_sds_secret_configs,
        |config| secret_slot(config, links).map(IdentitySource::Secret),
    )?;
    let none = TlsParameters::default();
    let params = proto.tls_params.as_ref().unwrap_or(&none);
    let Handshake { versions, suites, groups } =
        noted(links, "tls_params", |links| handshake(params, links))?;
    Ok(Common {
        identities: here.into_iter().chain(secrets).collect(),
        validation: validation_source(proto.validation_context_type.as_ref(), links)?,
        versions,
        suites,
        groups,
        alpn: each("alpn_protocols", &proto.alpn_protocols, |protocol| match protocol.len() {
            1..=255 => Ok(protocol.as_bytes().into()),
            _ => Err(Refusal::new("must have 1 to 255 bytes")),
        })?,
    })
}

/// What `TlsParameters` leave a handshake to choose from.
struct Handshake {
    versions: Vec<&'static rustls::SupportedProtocolVersion>,
    suites: Vec<rustls::CipherSuite>,
    groups: Vec<&'static dyn SupportedKxGroup>,
}

/// Suites and groups that cannot be had are left out, with a notice: others are there to agree on. Where none is, the
/// context is refused, for an empty list would mean all.
fn handshake(proto: &TlsParameters, links: &mut impl Links) -> Result<Handshake, Refusal> {
    let mut versions = versions(proto)?;
    let suites = cipher_suites(&proto.cipher_suites, links);
    if suites.is_empty() && !proto.cipher_suites.is_empty() && versions.contains(&&TLS12) {
        const NONE: &str = "no suite of TLS 1.2 is left";
        if !versions.contains(&&TLS13) {
            let reason = format_args!("{NONE}, and TLS 1.3 is not allowed");
            return Err(Refusal::of("cipher_suites", reason));
        }
        links
            .notice(Refusal::of("cipher_suites", format_args!("{NONE}: TLS 1.3 alone is offered")));
        versions.retain(|version| **version == TLS13);
    }
    let groups = groups(&proto.ecdh_curves, links);
    if groups.is_empty() && !proto.ecdh_curves.is_empty() {
        return Err(Refusal::of("ecdh_curves", format_args!("none is left: {USE_GROUPS}")));
    }
    Ok(Handshake { versions, suites, groups })
}

fn versions(
    proto: &TlsParameters,
) -> Result<Vec<&'static rustls::SupportedProtocolVersion>, Refusal> {
    const MIN: &str = "tls_minimum_protocol_version";
    const MAX: &str = "tls_maximum_protocol_version";
    let old = |field: &str| {
        Err(Refusal::of(
            field,
            "versions below TLSv1_2 are not offered (RFC 8996): use TLSv1_2 or TLSv1_3",
        ))
    };
    let min = enumeration(MIN, proto.tls_minimum_protocol_version)?;
    let max = enumeration(MAX, proto.tls_maximum_protocol_version)?;
    let from_12 = match min {
        TlsProtocol::TlsAuto | TlsProtocol::TlSv12 => true,
        TlsProtocol::TlSv13 => false,
        TlsProtocol::TlSv10 | TlsProtocol::TlSv11 => return old(MIN),
    };
    let to_13 = match max {
        TlsProtocol::TlsAuto | TlsProtocol::TlSv13 => true,
        TlsProtocol::TlSv12 => false,
        TlsProtocol::TlSv10 | TlsProtocol::TlSv11 => return old(MAX),
    };
    match (from_12, to_13) {
        (true, true) => Ok(vec![&TLS13, &TLS12]),
        (true, false) => Ok(vec![&TLS12]),
        (false, true) => Ok(vec![&TLS13]),
        (false, false) => Err(Refusal::of(MAX, "is below tls_minimum_protocol_version")),
    }
}

fn cipher_suites(names: &[String], links: &mut impl Links) -> Vec<rustls::CipherSuite> {
    let mut found = Vec::new();
    for (place, names) in names.iter().enumerate() {
        for suite in suites::tls12(names) {
            match suite {
                Ok(suite) => found.push(suite),
                Err((name, why)) => links.notice(Refusal::of(
                    &format!("cipher_suites[{place}]"),
                    format_args!("{name:?} is left out: {why}"),
                )),
            }
        }
    }
    found
}

fn groups(names: &[String], links: &mut impl Links) -> Vec<&'static dyn SupportedKxGroup> {
    let mut found = Vec::new();
    for (place, name) in names.iter().enumerate() {
        match suites::group(name) {
            Some(group) => found.push(group),
            None => links.notice(Refusal::of(
                &format!("ecdh_curves[{place}]"),
                format_args!("{name:?} is left out: it is not offered here; {USE_GROUPS}"),
            )),
        }
    }
    found
}

fn secret_slot(
    proto: &SdsSecretConfig,
    links: &mut impl Links,
) -> Result<Arc<SecretSlot>, Refusal> {
    let name = required("name", &proto.name)?;
    match source::server(proto.sds_config.as_ref()).within("sds_config")? {
        Some(server) => Ok(links.secret_of(server, name)),
        None => Ok(links.secret(name)),
    }
}

fn identity(proto: &TlsCertificate) -> Result<Arc<Identity>, Refusal> {
    let part = |field: &str, source: Option<&DataSource>| {
        present(field, source).and_then(|source| data(source, MAX_PEM).within(field))
    };
    let chain = part("certificate_chain", proto.certificate_chain.as_ref())?;
    let key = part("private_key", proto.private_key.as_ref())?;
    let identity = Identity::from_pem(&chain, &key).map_err(|unusable| match unusable {
        Unusable::Chain(why) => Refusal::of("certificate_chain", why),
        Unusable::Key(why) => Refusal::of("private_key", why),
    })?;
    let Some(staple) = &proto.ocsp_staple else { return Ok(Arc::new(identity)) };
    let stapled = data(staple, MAX_STAPLE)
        .and_then(|staple| identity.with_staple(staple).map_err(Refusal::new));
    stapled.map(Arc::new).within("ocsp_staple")
}

fn validation_source(
    proto: Option<&ValidationContextType>,
    links: &mut impl Links,
) -> Result<ValidationSource, Refusal> {
    let mut source = ValidationSource::default();
    match proto {
        None => {}
        Some(ValidationContextType::ValidationContext(context)) => {
            let here = validation(context).within("validation_context")?;
            if !here.names.is_empty() && !here.asks() {
                let reason = "names in certificates that nobody is trusted to issue say nothing: set trusted_ca";
                return Err(Refusal::of(
                    "validation_context.match_typed_subject_alt_names",
                    reason,
                ));
            }
            source.here = Some(Arc::new(here));
        }
        Some(ValidationContextType::ValidationContextSdsSecretConfig(config)) => {
            let slot = secret_slot(config, links).within("validation_context_sds_secret_config")?;
            source.secret = Some(slot);
        }
        Some(ValidationContextType::CombinedValidationContext(both)) => {
            let here = both.default_validation_context.as_ref();
            let here = present("default_validation_context", here)
                .and_then(|context| validation(context).within("default_validation_context"));
            source.here = Some(Arc::new(here.within("combined_validation_context")?));
            let config = both.validation_context_sds_secret_config.as_ref();
            let slot = present("validation_context_sds_secret_config", config).and_then(|config| {
                secret_slot(config, links).within("validation_context_sds_secret_config")
            });
            source.secret = Some(slot.within("combined_validation_context")?);
        }
        Some(_) => return Err(Refusal::new("providers of validation contexts are not supported")),
    }
    Ok(source)
}

#[allow(deprecated, reason = "match_subject_alt_names is what older control planes send")]
fn validation(proto: &CertificateValidationContext) -> Result<Validation, Refusal> {
    let mut names =
        each("match_typed_subject_alt_names", &proto.match_typed_subject_alt_names, |matcher| {
            let kind = match enumeration("san_type", matcher.san_type)? {
                SanType::Dns => NameKind::Dns,
                SanType::Uri => NameKind::Uri,
                SanType::Email => NameKind::Email,
                SanType::IpAddress => NameKind::Ip,
                SanType::Unspecified | SanType::OtherName => {
                    return Err(Refusal::of("san_type", "use DNS, URI, EMAIL or IP_ADDRESS"));
                }
            };
            let test = present("matcher", matcher.matcher.as_ref())?;
            Ok(NameMatch { kind, text: text(test).within("matcher")? })
        })?;
    let untyped = each("match_subject_alt_names", &proto.match_subject_alt_names, text)?;
    for text in untyped {
        let kinds = [NameKind::Dns, NameKind::Uri, NameKind::Email, NameKind::Ip];
        names.extend(kinds.map(|kind| NameMatch { kind, text: text.clone() }));
    }
    let trust: TrustChainVerification =
        enumeration("trust_chain_verification", proto.trust_chain_verification)?;
    let validation = Validation {
        roots: roots(proto)?,
        revoked: revoked(proto)?,
        only_leaf_revoked: proto.only_verify_leaf_cert_crl,
        names,
        key_hashes: each("verify_certificate_spki", &proto.verify_certificate_spki, |hash| {
            digest(STANDARD.decode(hash).ok(), "the base64 form of 32 bytes")
        })?,
        hashes: each("verify_certificate_hash", &proto.verify_certificate_hash, |hash| {
            digest(unhex(hash), "64 hexadecimal digits, perhaps with colons between pairs")
        })?,
        accept_untrusted: matches!(trust, TrustChainVerification::AcceptUntrusted),
        no_hints: proto.suppress_client_ca_list,
    };
    // What the library refuses is told now, not at the first handshake.
    let unlisted = Validation { revoked: Vec::new(), ..validation.clone() };
    Verifier::of_clients(unlisted, false).map_err(|why| Refusal::of("trusted_ca", why))?;
    Verifier::of_clients(validation.clone(), false).map_err(|why| Refusal::of("crl", why))?;
    Ok(validation)
}

fn roots(proto: &CertificateValidationContext) -> Result<Vec<CertificateDer<'static>>, Refusal> {
    let Some(source) = &proto.trusted_ca else {
        return match proto.system_root_certs {
            Some(_) => system_roots::load().map_err(|why| Refusal::of("system_root_certs", why)),
            None => Ok(Vec::new()),
        };
    };
    let text = data(source, MAX_PEM).within("trusted_ca")?;
    if let Some(instead) = pem::instead(Wanted::Authorities, &text) {
        return Err(Refusal::of("trusted_ca", instead));
    }
    let roots = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    match roots {
        Ok(roots) if roots.is_empty() => {
            Err(Refusal::of("trusted_ca", "there is no certificate in it"))
        }
        Ok(roots) => Ok(roots),
        Err(error) => {
            Err(Refusal::of("trusted_ca", format_args!("the PEM text cannot be read: {error}")))
        }
    }
}

fn revoked(
    proto: &CertificateValidationContext,
) -> Result<Vec<CertificateRevocationListDer<'static>>, Refusal> {
    let Some(source) = &proto.crl else { return Ok(Vec::new()) };
    let text = data(source, MAX_PEM).within("crl")?;
    if let Some(instead) = pem::instead(Wanted::Revocations, &text) {
        return Err(Refusal::of("crl", instead));
    }
    let lists = CertificateRevocationListDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    match lists {
        Ok(lists) if lists.is_empty() => {
            Err(Refusal::of("crl", "there is no revocation list in it"))
        }
        Ok(lists) => Ok(lists),
        Err(error) => Err(Refusal::of("crl", format_args!("the PEM text cannot be read: {error}"))),
    }
}

fn digest(bytes: Option<Vec<u8>>, form: &str) -> Result<[u8; 32], Refusal> {
    let digest = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    digest.ok_or_else(|| Refusal::new(format_args!("must be a SHA-256: {form}")))
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b':').collect();
    let value = |digit: u8| char::from(digit).to_digit(16);
    let pair = |pair: &[u8; 2]| Some((value(pair[0])? << 4 | value(pair[1])?) as u8);
    let (pairs, rest) = digits.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(pair).collect()).flatten()
}

/// A secret.
pub(in crate::config) fn secret(proto: &ProtoSecret) -> Result<Secret, Refusal> {
    match &proto.r#type {
        Some(SecretType::TlsCertificate(certificate)) => {
            identity(certificate).map(Secret::Identity).within("tls_certificate")
        }
        Some(SecretType::ValidationContext(context)) => validation(context)
            .map(|validation| Secret::Validation(Arc::new(validation)))
            .within("validation_context"),
        Some(_) | None => {
            Err(Refusal::new("one of tls_certificate and validation_context must be set"))
        }
    }
}

#[cfg(test)]
mod tests;
