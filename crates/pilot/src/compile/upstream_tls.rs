//! TLS towards destinations.
//!
//! Servers are verified, by their name too: one of `subjectAltNames` of the rule or of the ServiceEntry, else the one that is asked for. That is `sni`, else
//! the request's host as it is sent, else the destination's own host where a connection carries no requests.

use tidegate_api::istio::Protocol;
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
use super::{text, tls};
use crate::Options;
use crate::model::host::Host;
use crate::model::names;
use crate::model::tls::{Channel, client_authorities, client_identity, verifies};

/// Where connections go.
#[derive(Clone, Copy, Debug)]
pub struct To<'a> {
    /// The host.
    pub host: &'a str,
    /// Its port.
    pub port: u16,
    /// What is spoken there, where that is said.
    pub protocol: Option<Protocol>,
    /// Names of which its certificate carries one, where that is said.
    pub certified: &'a [String],
    /// The subset of its endpoints; empty for all of them.
    pub subset: &'a str,
    /// The gateway and its mesh.
    pub options: &'a Options,
}

/// Lets a cluster speak TLS as a DestinationRule says.
pub fn apply(
    settings: &ClientTlsSettings,
    to: To<'_>,
    http: &mut HttpOptions,
    cluster: &mut Cluster,
) {
    let in_mesh = settings.mode == ClientTlsMode::IstioMutual;
    if settings.mode == ClientTlsMode::Disable {
        return;
    }
    if settings.sni.is_empty() && !in_mesh {
        http.upstream = Some(UpstreamHttpProtocolOptions { auto_sni: true, ..Default::default() });
    }
    let (verifies, names) = (verifies(settings), to.names(settings));
    let context = UpstreamTlsContext {
        common_tls_context: Some(CommonTlsContext {
            tls_params: params(settings, &to.options.tls_defaults),
            tls_certificate_sds_secret_configs: client_identity(settings, to.options)
                .iter()
                .map(tls::by_name)
                .collect(),
            validation_context_type: verifies.then(|| validation(settings, to)),
            alpn_protocols: to.protocols(in_mesh, http).iter().map(|p| (*p).to_owned()).collect(),
            ..CommonTlsContext::default()
        }),
        sni: to.server_name(settings),
        // Certificates of the mesh are for who runs a workload, not for hosts.
        auto_sni_san_validation: verifies && !in_mesh && names.is_empty(),
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

impl<'a> To<'a> {
    /// The name that a server is asked for, where requests do not say it.
    fn server_name(self, settings: &ClientTlsSettings) -> String {
        let host = self.host;
        match settings.mode {
            _ if !settings.sni.is_empty() => settings.sni.clone(),
            _ if Host::new(host).is_wildcard() => String::new(),
            ClientTlsMode::IstioMutual => names::mesh_server(host, self.subset, self.port),
            _ => host.to_owned(),
        }
    }

    /// Names of which the server's certificate has to carry one; without any, it is verified by the name that is asked for.
    fn names(self, settings: &'a ClientTlsSettings) -> &'a [String] {
        if settings.subject_alt_names.is_empty() {
            self.certified
        } else {
            &settings.subject_alt_names
        }
    }

    /// The protocols to offer. Sidecars tell traffic of the mesh by Istio's own names. The one by which Istio's proxies
    /// agree on telling each other who they are, before any byte of the traffic, is not among them: nothing here would say it.
    fn protocols(self, in_mesh: bool, http: &HttpOptions) -> &'static [&'static str] {
        match (in_mesh, self.protocol) {
            (true, _) if http.http2 => &["istio-h2", "istio", "h2"],
            (true, Some(protocol)) if protocol.is_http() => {
                &["istio-http/1.1", "istio", "http/1.1"]
            }
            (true, _) => &["istio"],
            (false, _) if http.http2 => &["h2"],
            (false, _) => &[],
        }
    }
}

#[allow(deprecated, reason = "Istio writes names here: of any kind, and every Envoy reads it")]
fn validation(settings: &ClientTlsSettings, to: To<'_>) -> ValidationContextType {
    let here = CertificateValidationContext {
        match_subject_alt_names: to.names(settings).iter().map(|n| text::exact(n)).collect(),
        ..CertificateValidationContext::default()
    };
    let authorities = client_authorities(settings, to.options);
    ValidationContextType::CombinedValidationContext(CombinedCertificateValidationContext {
        default_validation_context: Some(here),
        validation_context_sds_secret_config: Some(tls::by_name(&authorities)),
        ..CombinedCertificateValidationContext::default()
    })
}
