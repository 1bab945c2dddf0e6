//! What a Gateway may say.

use std::collections::BTreeSet;

use super::{Gateway, Server, ServerTlsMode, ServerTlsSettings, TlsProtocol};
use crate::Object;
use crate::istio::rules::hosts;
use crate::validation::Report;

/// Cipher suites that TLS libraries of gateways offer, by OpenSSL's names.
const CIPHER_SUITES: [&str; 15] = [
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-ECDSA-AES256-SHA",
    "ECDHE-RSA-AES256-SHA",
    "AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-SHA",
    "AES256-SHA",
    "DES-CBC3-SHA",
];

impl Gateway {
    /// Checks what the spec says; the shape is right already.
    pub(crate) fn validate(&self, object: &Object, report: &mut Report) {
        if !hosts::is_label(object.name()) {
            report.wrong(format!(
                "the name of a Gateway has to be a DNS label, not {:?}",
                object.name()
            ));
        }
        if self.servers.is_empty() {
            report.field("servers", |r| {
                r.required("gateway must have at least one server");
            });
        }
        let mut names = BTreeSet::new();
        report.each("servers", &self.servers, |report, server| {
            server.validate(report);
            if !names.insert(server.port.name.as_str()) {
                report.field("port", |r| {
                    r.field("name", |r| {
                        let message = "port names in servers must be unique";
                        r.invalid(server.port.name.as_str(), message);
                    });
                });
            }
        });
    }
}

impl Server {
    fn validate(&self, report: &mut Report) {
        if self.hosts.is_empty() {
            report.field("hosts", |r| {
                r.required("server config must contain at least one host");
            });
        }
        report.each("hosts", &self.hosts, |report, host| {
            report.check(host.as_str(), server_host(host));
        });
        report.field("port", |report| {
            if self.port.name.is_empty() {
                report.field("name", |r| r.required("port name must be set"));
            }
            if self.port.target_port.is_some() {
                let message = "targetPort has no impact on Gateways; the Service maps ports";
                report.field("targetPort", |r| r.forbidden(message));
            }
        });
        self.validate_bind(report);
        match &self.tls {
            Some(tls) => report.field("tls", |report| {
                tls.validate(report);
                self.validate_tls_on_protocol(tls, report);
            }),
            None if self.port.protocol.is_tls() => {
                let message = "server must have TLS settings for HTTPS/TLS protocols";
                report.field("tls", |r| r.required(message));
            }
            None => {}
        }
    }

    fn validate_bind(&self, report: &mut Report) {
        report.field("bind", |report| {
            if self.bind.starts_with("unix://") {
                // A Unix socket has port number 0 in Istio, which its own API no longer takes.
                report.invalid(
                    self.bind.as_str(),
                    "a Gateway listens on addresses, not on Unix sockets",
                );
            } else if !self.bind.is_empty() && !hosts::is_ip(&self.bind) {
                report.invalid(self.bind.as_str(), "must be an IP address");
            }
        });
    }

    /// On a port without TLS only the redirect makes sense.
    fn validate_tls_on_protocol(&self, tls: &ServerTlsSettings, report: &mut Report) {
        let protocol = self.port.protocol;
        if !protocol.is_http() && tls.https_redirect {
            report.advise("tls.httpsRedirect should only be used with http servers");
        }
        if protocol.is_tls() {
            return;
        }
        let files = [&tls.ca_certificates, &tls.private_key, &tls.server_certificate];
        if !protocol.is_http() {
            report.wrong("server cannot have TLS settings for non HTTPS/TLS ports");
        } else if !tls.mode.is_passthrough() || files.iter().any(|file| !file.is_empty()) {
            report.wrong("server cannot have TLS settings for plain text HTTP ports");
        }
    }
}

/// Checks a host of a server: `host` or `namespace/host`.
fn server_host(text: &str) -> Result<(), String> {
    let host = match text.split_once('/') {
        None => text,
        Some(("", _) | (_, "")) => {
            return Err("config namespace and dnsName in host entry cannot be empty".to_owned());
        }
        Some((namespace, host)) => {
            if !matches!(namespace, "*" | ".") && !hosts::is_label(namespace) {
                return Err(format!("invalid namespace value {namespace:?} in gateway"));
            }
            host
        }
    };
    if hosts::is_ip(host) {
        return Ok(());
    }
    if host != "*" && !host.contains('.') {
        return Err("short names (non FQDN) are not allowed".to_owned());
    }
    hosts::wildcard_domain(host)?;
    hosts::whole_wildcard(host)
}

impl ServerTlsSettings {
    /// Checks what it says by itself.
    pub(in crate::istio) fn validate(&self, report: &mut Report) {
        self.advise_ciphers(report);
        match self.mode {
            ServerTlsMode::IstioMutual => return self.validate_mesh_certificates(report),
            mode if mode.is_passthrough() && self.names_certificates() => {
                let mode = if mode == ServerTlsMode::Passthrough {
                    "PASSTHROUGH"
                } else {
                    "AUTO_PASSTHROUGH"
                };
                report
                    .advise(format!("{mode} mode does not use certificates, they will be ignored"));
            }
            _ => {}
        }
        let pair = !self.server_certificate.is_empty() && !self.private_key.is_empty();
        let (name, names) = (!self.credential_name.is_empty(), !self.credential_names.is_empty());
        let list = !self.tls_certificates.is_empty();
        // The other two that do not go together are rules of the schema.
        if pair && (name || names || list) || name && list {
            report.wrong(
                "only one of credential_name, credential_names, server_certificate/private_key, \
                 tls_certificates should be specified",
            );
        }
        let terminates = !self.mode.is_passthrough();
        let from_secret = !self.credential_name.is_empty() || !self.credential_names.is_empty();
        if terminates && from_secret {
            return;
        }
        if terminates {
            self.validate_files(report);
        }
        if !self.ca_crl.is_empty() {
            report.field("caCrl", |report| {
                if !self.credential_name.is_empty() {
                    report.forbidden(
                        "with credentialName the revocation list belongs into the Secret",
                    );
                }
                if self.mode == ServerTlsMode::Simple {
                    report.forbidden("CRL is not supported with SIMPLE TLS");
                }
            });
        }
    }

    /// Certificate, key and authorities from files have to be complete.
    fn validate_files(&self, report: &mut Report) {
        let mutual = matches!(self.mode, ServerTlsMode::Mutual | ServerTlsMode::OptionalMutual);
        let tls = if mutual { "MUTUAL TLS" } else { "SIMPLE TLS" };
        if mutual && self.ca_certificates.is_empty() {
            let message = format!("{tls} requires a client CA bundle");
            report.field("caCertificates", |r| r.required(message));
        }
        let complete = |report: &mut Report, certificate: &str, key: &str| {
            if certificate.is_empty() {
                let message = format!(
                    "{tls} requires a server certificate: in the Secret that credentialName names, or as a file here"
                );
                report.field("serverCertificate", |r| r.required(message));
            }
            if key.is_empty() {
                let message = format!(
                    "{tls} requires a private key: beside the certificate in that Secret, or as a file here"
                );
                report.field("privateKey", |r| r.required(message));
            }
        };
        if self.tls_certificates.is_empty() {
            complete(report, &self.server_certificate, &self.private_key);
        }
        report.each("tlsCertificates", &self.tls_certificates, |report, pair| {
            complete(report, &pair.server_certificate, &pair.private_key);
        });
    }

    /// The mesh's own certificates leave no room for others.
    fn validate_mesh_certificates(&self, report: &mut Report) {
        let given = [
            ("serverCertificate", !self.server_certificate.is_empty()),
            ("privateKey", !self.private_key.is_empty()),
            ("caCertificates", !self.ca_certificates.is_empty()),
            ("tlsCertificates", !self.tls_certificates.is_empty()),
            ("credentialName", !self.credential_name.is_empty()),
            ("credentialNames", !self.credential_names.is_empty()),
        ];
        for (field, _) in given.into_iter().filter(|(_, given)| *given) {
            let message = format!("ISTIO_MUTUAL TLS cannot have associated {field}");
            report.field(field, |r| r.forbidden(message));
        }
    }

    fn names_certificates(&self) -> bool {
        let texts = [
            &self.ca_crl,
            &self.server_certificate,
            &self.private_key,
            &self.ca_certificates,
            &self.credential_name,
        ];
        texts.iter().any(|text| !text.is_empty())
            || !self.tls_certificates.is_empty()
            || !self.credential_names.is_empty()
    }

    fn advise_ciphers(&self, report: &mut Report) {
        let old = matches!(self.min_protocol_version, TlsProtocol::V1_0 | TlsProtocol::V1_1);
        if old && self.cipher_suites.is_empty() {
            report.field("minProtocolVersion", |r| {
                r.advise("TLS versions below TLSV1_2 need compatible cipherSuites, which are not offered by default");
            });
        }
        let mut seen = BTreeSet::new();
        report.each("cipherSuites", &self.cipher_suites, |report, suite| {
            if !is_cipher_suite(suite) {
                report.advise(format!("ignoring invalid cipher suite {suite}"));
            } else if !seen.insert(suite.as_str()) {
                report.advise(format!("ignoring duplicate cipher suite {suite}"));
            }
        });
    }
}

/// Whether a name is a known suite. Operators of OpenSSL's cipher strings (`-`, `+`, `[`) pass unread.
fn is_cipher_suite(name: &str) -> bool {
    name.is_empty()
        || name == "ALL"
        || !name.starts_with(char::is_alphanumeric)
        || CIPHER_SUITES.contains(&name)
}
