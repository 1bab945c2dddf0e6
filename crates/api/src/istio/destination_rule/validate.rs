//! What a DestinationRule may say.

use std::collections::BTreeSet;

use super::{
    ClientTlsMode, ClientTlsSettings, ConnectionPoolSettings, DestinationRule, H2UpgradePolicy,
    HttpSettings, OutlierDetection, PortTrafficPolicy, Subset, TcpSettings, TrafficPolicy,
    TunnelSettings,
};
use crate::Object;
use crate::istio::rules::{self, Exporter, hosts};
use crate::metadata::validate_labels;
use crate::validation::Report;

impl DestinationRule {
    /// Checks what the spec says; the shape is right already.
    pub(crate) fn validate(&self, object: &Object, report: &mut Report) {
        report.field("host", |r| {
            r.check(self.host.as_str(), hosts::wildcard_domain(&self.host));
        });
        let namespace = object.namespace();
        report.optional("trafficPolicy", self.traffic_policy.as_ref(), |r, policy| {
            policy.validate(namespace, r);
        });
        let mut names = BTreeSet::new();
        report.each("subsets", &self.subsets, |report, subset| {
            if !names.insert(subset.name.as_str()) {
                report.field("name", |r| r.duplicate(subset.name.as_str()));
            }
            subset.validate(namespace, report);
        });
        report.optional("workloadSelector", self.workload_selector.as_ref(), |report, selector| {
            if selector.match_labels.is_empty() {
                report.advise("selects every workload of the namespace, as it names no labels");
            }
        });
        let who = match self.workload_selector {
            Some(_) => Exporter::SelectiveRule,
            None => Exporter::Ordinary,
        };
        rules::export_to(report, namespace, &self.export_to, who);
    }
}

impl Subset {
    fn validate(&self, namespace: &str, report: &mut Report) {
        if !hosts::is_label(&self.name) {
            report.field("name", |r| {
                r.invalid(self.name.as_str(), "must be a DNS label");
            });
        }
        validate_labels("labels", &self.labels, report);
        if self.labels.is_empty() && self.traffic_policy.is_none() {
            report.advise("has neither labels nor a trafficPolicy, so that it is the host with all its endpoints");
        }
        report.optional("trafficPolicy", self.traffic_policy.as_ref(), |r, policy| {
            policy.validate(namespace, r);
        });
    }
}

impl TrafficPolicy {
    fn validate(&self, namespace: &str, report: &mut Report) {
        if *self == TrafficPolicy::default() {
            return report.wrong("traffic policy must have at least one field");
        }
        if self.tunnel.is_some() && self.proxy_protocol.is_some() {
            report.wrong("tunnel and proxyProtocol must not be set together");
        }
        // A port's policy has the same four parts.
        let parts = PortTrafficPolicy {
            port: None,
            load_balancer: self.load_balancer.clone(),
            connection_pool: self.connection_pool.clone(),
            outlier_detection: self.outlier_detection.clone(),
            tls: self.tls.clone(),
        };
        parts.validate_parts(namespace, report);
        report.each("portLevelSettings", &self.port_level_settings, |report, policy| {
            policy.validate(namespace, report);
        });
        report.optional("tunnel", self.tunnel.as_ref(), |r, tunnel| {
            tunnel.validate(r);
        });
    }
}

impl PortTrafficPolicy {
    fn validate(&self, namespace: &str, report: &mut Report) {
        if self.port.and_then(|port| port.number).is_none() {
            report.field("port", |r| {
                r.required("portTrafficPolicy must have valid port");
            });
        }
        let parts = PortTrafficPolicy { port: None, ..self.clone() };
        if parts == PortTrafficPolicy::default() {
            report.wrong("port traffic policy must have at least one field");
        }
        self.validate_parts(namespace, report);
    }

    fn validate_parts(&self, namespace: &str, report: &mut Report) {
        report.optional("outlierDetection", self.outlier_detection.as_ref(), |r, o| o.validate(r));
        report
            .optional("connectionPool", self.connection_pool.as_ref(), |r, pool| pool.validate(r));
        let detects = self.outlier_detection.is_some();
        report.optional("loadBalancer", self.load_balancer.as_ref(), |r, settings| {
            settings.validate(detects, r);
        });
        report.optional("tls", self.tls.as_ref(), |r, tls| {
            tls.validate(namespace, r);
        });
    }
}

impl TunnelSettings {
    fn validate(&self, report: &mut Report) {
        if !matches!(self.protocol.as_str(), "" | "CONNECT" | "POST") {
            report.field("protocol", |r| {
                r.not_supported(self.protocol.as_str(), &["CONNECT", "POST"]);
            });
        }
        if hosts::fqdn(&self.target_host).is_err() && !hosts::is_ip(&self.target_host) {
            report.field("targetHost", |r| {
                r.invalid(self.target_host.as_str(), "must be valid FQDN or IP address");
            });
        }
    }
}

impl OutlierDetection {
    fn validate(&self, report: &mut Report) {
        rules::duration(report, "interval", self.interval);
        rules::duration(report, "baseEjectionTime", self.base_ejection_time);
        rules::whole_percent(report, "maxEjectionPercent", self.max_ejection_percent);
        rules::whole_percent(report, "minHealthPercent", self.min_health_percent);
        if self.consecutive_errors != 0 {
            report.field("consecutiveErrors", |r| {
                r.advise(
                    "is deprecated, use consecutiveGatewayErrors or consecutive5xxErrors instead",
                );
            });
        }
        let local = self.consecutive_local_origin_failures.unwrap_or(0);
        if local > 0 && !self.split_external_local_origin_errors {
            report.field("consecutiveLocalOriginFailures", |r| {
                r.invalid(local, "needs splitExternalLocalOriginErrors: true");
            });
        }
    }
}

impl ConnectionPoolSettings {
    /// Checks the limits; the shape is right already.
    pub(in crate::istio) fn validate(&self, report: &mut Report) {
        if self.tcp.is_none() && self.http.is_none() {
            report.wrong("connection pool must have at least one field");
        }
        report.optional("tcp", self.tcp.as_ref(), |r, tcp| tcp.validate(r));
        report.optional("http", self.http.as_ref(), |r, http| http.validate(r));
    }
}

impl TcpSettings {
    fn validate(&self, report: &mut Report) {
        rules::not_negative(report, "maxConnections", self.max_connections);
        rules::duration(report, "connectTimeout", self.connect_timeout);
        rules::duration(report, "maxConnectionDuration", self.max_connection_duration);
        rules::duration_or_zero(report, "idleTimeout", self.idle_timeout);
        report.optional("tcpKeepalive", self.tcp_keepalive.as_ref(), |report, keepalive| {
            rules::duration(report, "time", keepalive.time);
            rules::duration(report, "interval", keepalive.interval);
        });
    }
}

impl HttpSettings {
    fn validate(&self, report: &mut Report) {
        rules::not_negative(report, "http1MaxPendingRequests", self.http1_max_pending_requests);
        rules::not_negative(report, "http2MaxRequests", self.http2_max_requests);
        rules::not_negative(report, "maxRequestsPerConnection", self.max_requests_per_connection);
        rules::not_negative(report, "maxRetries", self.max_retries);
        rules::not_negative(report, "maxConcurrentStreams", self.max_concurrent_streams);
        rules::duration(report, "idleTimeout", self.idle_timeout);
        if self.h2_upgrade_policy == H2UpgradePolicy::Upgrade && self.use_client_protocol {
            report.field("useClientProtocol", |r| {
                r.invalid(true, "must not be true when h2UpgradePolicy is UPGRADE");
            });
        }
        report.optional("http2KeepAlive", self.http2_keep_alive.as_ref(), |report, keep_alive| {
            for (field, span) in
                [("interval", keep_alive.interval), ("timeout", keep_alive.timeout)]
            {
                if span.is_none() {
                    report.field(field, |r| r.required(""));
                }
                rules::duration(report, field, span);
            }
        });
    }
}

impl ClientTlsSettings {
    fn validate(&self, namespace: &str, report: &mut Report) {
        if let Some(reference) = self.credential_name.strip_prefix("configmap://") {
            let own = reference.split_once('/').is_some_and(|(ns, name)| {
                !ns.is_empty() && ns == namespace && !name.is_empty() && !name.contains('/')
            });
            if !own {
                let message =
                    format!("must be configmap://{namespace}/NAME, of the rule's own namespace");
                report.field("credentialName", |r| {
                    r.invalid(self.credential_name.as_str(), message);
                });
            }
        }
        self.validate_verification(report);
        let from_secret = !self.credential_name.is_empty();
        match self.mode {
            ClientTlsMode::Simple | ClientTlsMode::Mutual if from_secret => {
                let files = [
                    ("clientCertificate", &self.client_certificate),
                    ("privateKey", &self.private_key),
                    ("caCertificates", &self.ca_certificates),
                    ("caCrl", &self.ca_crl),
                ];
                for (field, _) in files.into_iter().filter(|(_, file)| !file.is_empty()) {
                    report.field(field, |r| r.forbidden("credentialName takes its place"));
                }
            }
            ClientTlsMode::Mutual => {
                let files = [
                    ("clientCertificate", &self.client_certificate),
                    ("privateKey", &self.private_key),
                ];
                for (field, _) in files.into_iter().filter(|(_, file)| file.is_empty()) {
                    report.field(field, |r| {
                        r.required("mutual TLS needs it, or credentialName");
                    });
                }
            }
            _ => {}
        }
    }

    /// Skipping verification leaves no room for what is verified.
    fn validate_verification(&self, report: &mut Report) {
        if self.insecure_skip_verify != Some(true) {
            return;
        }
        // A Secret may hold a client certificate alone, so that it says nothing in mutual mode.
        let secret = self.mode == ClientTlsMode::Simple && !self.credential_name.is_empty();
        let given = [
            ("caCertificates", !self.ca_certificates.is_empty()),
            ("subjectAltNames", !self.subject_alt_names.is_empty()),
            ("credentialName", secret),
        ];
        if !matches!(self.mode, ClientTlsMode::Simple | ClientTlsMode::Mutual) {
            return;
        }
        for (field, _) in given.into_iter().filter(|(_, given)| *given) {
            report.field(field, |r| {
                r.forbidden("may not be set when insecureSkipVerify is true");
            });
        }
    }
}
