//! Gateway: which ports a gateway opens, for which hosts, with which TLS.

mod validate;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::Protocol;
use crate::scalar::Port;
use crate::schema::rules::{Says, says};

/// Opens ports on the proxies that a label selector picks, for hosts that VirtualServices then route.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Gateway {
    /// The ports to open, each with the hosts that are served on it.
    #[serde(default)]
    pub servers: Vec<Server>,
    /// Labels of the proxies that this Gateway configures; a proxy has to carry all of them. Proxies are
    /// looked for in every namespace; without labels, every gateway is meant.
    #[serde(default)]
    pub selector: BTreeMap<String, String>,
}

/// One port of a Gateway and the hosts that are served on it.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Server {
    /// The port to listen on.
    pub port: ServerPort,
    /// The address to listen on; every address when absent.
    #[serde(default)]
    pub bind: String,
    /// Hosts that are served: exact names, names with a leading `*.`, or `*`. `namespace/host` admits
    /// VirtualServices of that namespace only; the namespace may be `*` (any) or `.` (the Gateway's own).
    pub hosts: Vec<String>,
    /// How TLS is treated on this port. Required for HTTPS and TLS; on plain HTTP only `httpsRedirect`
    /// may be given.
    pub tls: Option<ServerTlsSettings>,
    /// Accepted for compatibility, without effect.
    #[serde(default)]
    pub default_endpoint: String,
    /// A name for this server. Nothing that is served depends on it.
    #[serde(default)]
    pub name: String,
}

/// The port of a [`Server`].
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Port")]
pub struct ServerPort {
    /// The port number, 1 to 65535.
    pub number: Port,
    /// What is spoken on the port: HTTP, HTTPS, HTTP2, GRPC, GRPC-WEB, TCP, TLS, MONGO, MYSQL or REDIS,
    /// in any letter case.
    pub protocol: Protocol,
    /// A label for the port, unique among the servers of this Gateway.
    pub name: String,
    /// Deprecated and refused: the gateway's Service maps ports.
    #[serde(default, deserialize_with = "crate::scalar::zero_is_no_port")]
    #[schemars(schema_with = "crate::scalar::port_or_zero")]
    pub target_port: Option<Port>,
}

const CERTIFICATES: &[Says] = &[
    says(
        "!(has(self.tlsCertificates) && has(self.credentialNames))",
        "only one of credentialNames or tlsCertificates can be set",
    ),
    says(
        "!(has(self.credentialName) && has(self.credentialNames))",
        "only one of credentialName or credentialNames can be set",
    ),
];

/// What a Gateway's port does with TLS.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "ServerTLSSettings", extend("x-kubernetes-validations" = CERTIFICATES))]
pub struct ServerTlsSettings {
    /// On a plain HTTP port: answer every request with a redirect (301) to https.
    #[serde(default)]
    pub https_redirect: bool,
    /// Whether TLS is terminated here, and what is asked of clients. PASSTHROUGH when absent.
    #[serde(default)]
    pub mode: ServerTlsMode,
    /// File with the server's certificate chain (PEM).
    #[serde(default)]
    pub server_certificate: String,
    /// File with the server's private key (PEM).
    #[serde(default)]
    pub private_key: String,
    /// File with the authorities (PEM) that client certificates are verified against.
    #[serde(default)]
    pub ca_certificates: String,
    /// File with revoked client certificates (PEM).
    #[serde(default)]
    pub ca_crl: String,
    /// Secret that holds certificate and key: `tls.crt` and `tls.key`, or `cert` and `key`. It counts in the namespace of
    /// the gateway's own process (istio-system), not of this Gateway. `sds://NAME` asks the mesh's own server of secrets.
    #[serde(default)]
    pub credential_name: String,
    /// Several Secrets, at most two: one with an RSA key and one with an ECDSA key.
    #[serde(default)]
    #[schemars(length(min = 1, max = 2))]
    pub credential_names: Vec<String>,
    /// Secret that holds the authorities for client certificates. Without it `<credentialName>-cacert` is
    /// looked for, then `ca.crt` in the server's own Secret, then the only Secret of the namespace that holds authorities
    /// and that nothing names, which the status tells.
    #[serde(default)]
    pub ca_cert_credential_name: String,
    /// Several certificates from files, at most two: one with an RSA key and one with an ECDSA key.
    #[serde(default)]
    #[schemars(length(min = 1, max = 2))]
    pub tls_certificates: Vec<TlsCertificate>,
    /// Names of which a client certificate has to carry one, in the modes that ask for one.
    #[serde(default)]
    pub subject_alt_names: Vec<String>,
    /// Base64 of the SHA-256 of acceptable client public keys (SPKI).
    #[serde(default)]
    pub verify_certificate_spki: Vec<String>,
    /// Hexadecimal SHA-256 of acceptable client certificates.
    #[serde(default)]
    pub verify_certificate_hash: Vec<String>,
    /// The oldest TLS version that is spoken; when absent, the mesh config's, else TLS 1.2. TLS 1.0 and 1.1 are not
    /// offered: with them, too, TLS 1.2 is the oldest.
    #[serde(default)]
    pub min_protocol_version: TlsProtocol,
    /// The newest TLS version that is spoken; TLS 1.3 when absent. TLS 1.0 and 1.1 are not offered: with them the
    /// server takes no connections.
    #[serde(default)]
    pub max_protocol_version: TlsProtocol,
    /// Cipher suites of TLS 1.2 to offer, by OpenSSL's names; when absent, the mesh config's, else a safe list.
    #[serde(default)]
    pub cipher_suites: Vec<String>,
    /// Key exchange groups to offer, in order of preference; when absent, the mesh config's, else a safe list.
    #[serde(default)]
    pub ecdh_curves: Vec<String>,
    /// Accept client certificates of any issuer. Not for gateways on the open network.
    #[schemars(extend("nullable" = true))]
    pub insecure_skip_verify: Option<bool>,
}

/// One certificate with its key, from files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "TLSCertificate")]
pub struct TlsCertificate {
    /// File with the certificate chain (PEM).
    #[serde(default)]
    pub server_certificate: String,
    /// File with the private key (PEM).
    #[serde(default)]
    pub private_key: String,
    /// Deprecated: the authorities belong into the settings' own `caCertificates`.
    #[serde(default)]
    pub ca_certificates: String,
}

/// Who ends a TLS connection, and what is asked of the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ServerTlsMode {
    /// Not terminated: bytes go to the destination that the SNI selects.
    #[default]
    Passthrough,
    /// Terminated with the server's certificate.
    Simple,
    /// Terminated, and the client has to show a valid certificate.
    Mutual,
    /// Not terminated: the SNI itself encodes the destination. Not served yet: use PASSTHROUGH and `tls` rules.
    AutoPassthrough,
    /// Terminated with the mesh's own certificates, which the client has to show too.
    IstioMutual,
    /// Terminated; a client certificate is asked for and, if shown, has to be valid.
    OptionalMutual,
}

impl ServerTlsMode {
    /// Whether the connection is handed on without being terminated.
    pub fn is_passthrough(self) -> bool {
        matches!(self, ServerTlsMode::Passthrough | ServerTlsMode::AutoPassthrough)
    }
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
pub enum TlsProtocol {
    /// The default of the field.
    #[default]
    #[serde(rename = "TLS_AUTO")]
    Auto,
    /// TLS 1.0.
    #[serde(rename = "TLSV1_0")]
    V1_0,
    /// TLS 1.1.
    #[serde(rename = "TLSV1_1")]
    V1_1,
    /// TLS 1.2.
    #[serde(rename = "TLSV1_2")]
    V1_2,
    /// TLS 1.3.
    #[serde(rename = "TLSV1_3")]
    V1_3,
}

#[cfg(test)]
mod tests;
