//! TLS towards destinations.
//!
//! Servers are verified, by their name too: the one in `subjectAltNames`, else the one that is asked for. That is `sni`, else
//! the request's host as it is sent, else the destination's own host where a connection carries no requests.

use std::sync::Arc;

use tidegate_api::istio::destination_rule::{ClientTlsMode, ClientTlsSettings};
use tidegate_envoy::any;
use tidegate_envoy::v3::cluster::Cluster;
use tidegate_envoy::v3::core::transport_socket::ConfigType;
use tidegate_envoy::v3::core::{TransportSocket, UpstreamHttpProtocolOptions};
use tidegate_envoy::v3::tls::common_tls_context::{
    CombinedCertificateValidationContext, ValidationContextType,
};
use tidegate_envoy::v3::tls::{
    CertificateValidationContext, CommonTlsContext, TlsParameters, UpstreamTlsContext,
};

use super::cluster::HttpOptions;
use super::tls;
use crate::Options;
use crate::model::host::Host;
use crate::model::tls::{Channel, client_authorities, client_identity};

/// Lets a cluster speak TLS as a DestinationRule says.
pub fn apply(
    settings: &ClientTlsSettings,
    host: &str,
    options: &Options,
    http: &mut HttpOptions,
    cluster: &mut Cluster,
) {
    if settings.mode == ClientTlsMode::Disable {
        return;
    }
    let own = Some(host).filter(|host| !Host::new(host).is_wildcard());
    let sni = if settings.sni.is_empty() { own.unwrap_or_default() } else { &settings.sni };
    if settings.sni.is_empty() {
        http.upstream = Some(UpstreamHttpProtocolOptions { auto_sni: true, ..Default::default() });
    }
    let verifies = settings.insecure_skip_verify != Some(true);
    let context = UpstreamTlsContext {
        common_tls_context: Some(CommonTlsContext {
            tls_params: params(settings, &options.tls_defaults),
            tls_certificate_sds_secret_configs: client_identity(settings)
                .iter()
                .map(tls::by_name)
                .collect(),
            validation_context_type: verifies.then(|| validation(settings, &options.system_roots)),
            alpn_protocols: if http.http2 { vec!["h2".to_owned()] } else { Vec::new() },
            ..CommonTlsContext::default()
        }),
        sni: sni.to_owned(),
        auto_sni_san_validation: verifies && settings.subject_alt_names.is_empty(),
        ..UpstreamTlsContext::default()
    };
    cluster.transport_socket = Some(TransportSocket {
        name: "envoy.transport_sockets.tls".to_owned(),
        config_type: Some(ConfigType::TypedConfig(any(&context))),
    });
}

/// The mesh's suites and groups, for handshakes that are not of the mesh itself.
fn params(settings: &ClientTlsSettings, defaults: &Channel) -> Option<TlsParameters> {
    let Channel { suites, groups, .. } = defaults;
    if settings.mode == ClientTlsMode::IstioMutual || (suites.is_empty() && groups.is_empty()) {
        return None;
    }
    Some(TlsParameters {
        cipher_suites: suites.clone(),
        ecdh_curves: groups.clone(),
        ..TlsParameters::default()
    })
}

#[allow(deprecated, reason = "Istio writes names here: of any kind, and every Envoy reads it")]
fn validation(settings: &ClientTlsSettings, system_roots: &Arc<str>) -> ValidationContextType {
    let here = CertificateValidationContext {
        match_subject_alt_names: settings.subject_alt_names.iter().map(|n| tls::exact(n)).collect(),
        ..CertificateValidationContext::default()
    };
    let authorities = client_authorities(settings, system_roots);
    ValidationContextType::CombinedValidationContext(CombinedCertificateValidationContext {
        default_validation_context: Some(here),
        validation_context_sds_secret_config: Some(tls::by_name(&authorities)),
        ..CombinedCertificateValidationContext::default()
    })
}
