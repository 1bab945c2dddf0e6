//! Transport sockets of servers that terminate TLS.

use tidegate_api::istio::gateway::TlsProtocol as Version;
use tidegate_envoy::any;
use tidegate_envoy::v3::core::TransportSocket;
use tidegate_envoy::v3::core::transport_socket::ConfigType;
use tidegate_envoy::v3::quic::QuicDownstreamTransport;
use tidegate_envoy::v3::tls::certificate_validation_context::TrustChainVerification;
use tidegate_envoy::v3::tls::common_tls_context::{
    CombinedCertificateValidationContext, ValidationContextType,
};
use tidegate_envoy::v3::tls::tls_parameters::TlsProtocol;
use tidegate_envoy::v3::tls::{
    CertificateValidationContext, CommonTlsContext, DownstreamTlsContext, SdsSecretConfig,
    TlsParameters,
};

use super::{ads, server_of_its_own, text};
use crate::model::tls::{Accepted, Channel, Credential, Terms};

/// What a filter chain does with the bytes in TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carries {
    /// It answers requests.
    Requests,
    /// It answers requests over QUIC.
    Http3,
    /// It passes them on.
    Bytes,
}

impl Carries {
    /// The protocols to agree on. Istio's proxies say who they are on connections without requests where both sides
    /// know `istio-peer-exchange`; a proxy without the filter that reads it, as ours, does not offer that one.
    fn protocols(self, terms: &Terms) -> Vec<String> {
        if self == Self::Http3 {
            return vec!["h3".to_owned()];
        }
        let peers = self == Self::Bytes && terms.is_in_mesh();
        let names = peers.then_some("istio-peer-exchange").into_iter().chain(["h2", "http/1.1"]);
        names.map(str::to_owned).collect()
    }
}

/// The transport socket of a filter chain that terminates TLS.
#[must_use]
pub fn socket(terms: &Terms, carries: Carries) -> TransportSocket {
    let context = context(terms, carries);
    let (name, config) = match carries {
        Carries::Requests | Carries::Bytes => ("envoy.transport_sockets.tls", any(&context)),
        Carries::Http3 => {
            let downstream_tls_context = Some(context);
            let quic = QuicDownstreamTransport { downstream_tls_context, ..Default::default() };
            ("envoy.transport_sockets.quic", any(&quic))
        }
    };
    let config_type = Some(ConfigType::TypedConfig(config));
    TransportSocket { name: name.to_owned(), config_type }
}

/// The TLS context of a server.
#[must_use]
pub fn context(terms: &Terms, carries: Carries) -> DownstreamTlsContext {
    let accepted = terms.clients.as_ref().map(|clients| &clients.accepted);
    DownstreamTlsContext {
        common_tls_context: Some(CommonTlsContext {
            tls_params: params(&terms.channel, carries),
            tls_certificate_sds_secret_configs: terms.identities.iter().map(by_name).collect(),
            alpn_protocols: carries.protocols(terms),
            validation_context_type: accepted.map(validation),
            ..CommonTlsContext::default()
        }),
        require_client_certificate: Some(terms.clients.as_ref().is_some_and(|c| c.demanded)),
        ..DownstreamTlsContext::default()
    }
}

/// A secret by its name.
pub(super) fn by_name(credential: &Credential) -> SdsSecretConfig {
    match credential {
        Credential::Elsewhere { server: Some(server), name } => {
            SdsSecretConfig { name: name.to_string(), sds_config: Some(server_of_its_own(server)) }
        }
        _ => SdsSecretConfig { name: credential.to_string(), sds_config: Some(ads()) },
    }
}

fn params(channel: &Channel, carries: Carries) -> Option<TlsParameters> {
    if carries == Carries::Http3 {
        return Some(TlsParameters {
            tls_minimum_protocol_version: TlsProtocol::TlSv13.into(),
            tls_maximum_protocol_version: TlsProtocol::TlSv13.into(),
            ecdh_curves: channel.groups.clone(),
            ..TlsParameters::default()
        });
    }
    if *channel == Channel::default() {
        // TLS 1.2 and 1.3, which is every data plane's own choice today.
        return None;
    }
    let version = |version: Version| match version {
        Version::Auto => TlsProtocol::TlsAuto,
        // Older ones are not offered, which the Gateway's status says.
        Version::V1_0 | Version::V1_1 | Version::V1_2 => TlsProtocol::TlSv12,
        Version::V1_3 => TlsProtocol::TlSv13,
    };
    Some(TlsParameters {
        tls_minimum_protocol_version: version(channel.oldest).into(),
        tls_maximum_protocol_version: version(channel.newest).into(),
        cipher_suites: channel.suites.clone(),
        ecdh_curves: channel.groups.clone(),
        ..TlsParameters::default()
    })
}

#[allow(deprecated, reason = "Istio writes names here: of any kind, and every Envoy reads it")]
fn validation(accepted: &Accepted) -> ValidationContextType {
    let trust = if accepted.any_issuer {
        TrustChainVerification::AcceptUntrusted
    } else {
        TrustChainVerification::VerifyTrustChain
    };
    let names = accepted.names.iter().map(|name| text::exact(name));
    let domains = accepted.trust_domains.iter();
    let domains = domains.map(|domain| text::starting(&format!("spiffe://{domain}/")));
    let here = CertificateValidationContext {
        match_subject_alt_names: names.chain(domains).collect(),
        verify_certificate_spki: accepted.key_hashes.clone(),
        verify_certificate_hash: accepted.hashes.clone(),
        trust_chain_verification: trust.into(),
        ..CertificateValidationContext::default()
    };
    match &accepted.authorities {
        Some(authorities) => {
            ValidationContextType::CombinedValidationContext(CombinedCertificateValidationContext {
                default_validation_context: Some(here),
                validation_context_sds_secret_config: Some(by_name(authorities)),
                ..CombinedCertificateValidationContext::default()
            })
        }
        None => ValidationContextType::ValidationContext(here),
    }
}
