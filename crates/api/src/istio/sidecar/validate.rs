//! What a Sidecar may say.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{
    CaptureMode, EgressListener, IngressListener, OutboundTrafficMode, OutboundTrafficPolicy,
    Sidecar, SidecarPort,
};
use crate::Object;
use crate::istio::gateway::{ServerTlsMode, ServerTlsSettings};
use crate::istio::rules::hosts;
use crate::scalar::Port;
use crate::validation::Report;

/// What the address of a Unix socket begins with.
const UNIX_PREFIX: &str = "unix://";

impl Sidecar {
    /// Checks what the spec says; the shape is right already.
    pub(crate) fn validate(&self, object: &Object, report: &mut Report) {
        report.optional("workloadSelector", self.workload_selector.as_ref(), |report, selector| {
            if selector.labels.is_empty() {
                report.advise(
                    "selects every workload of the namespace, as it names no labels; leave it out to say so",
                );
            }
            report.entries("labels", &selector.labels, |report, key, _| {
                if key.is_empty() {
                    report.invalid(key, "empty key is not supported in selector");
                }
                if key.contains('*') {
                    report.invalid(key, "wildcard is not supported in selector");
                }
            });
        });
        let rest = Self { workload_selector: None, ..self.clone() };
        if rest == Self::default() {
            report.wrong(
                "says nothing: give ingress, egress, inboundConnectionPool or outboundTrafficPolicy",
            );
        }
        let mut ports = BTreeSet::new();
        report.each("ingress", &self.ingress, |report, listener| {
            listener.validate(report);
            listener.port.validate_alone(&mut ports, report);
        });
        report.optional("inboundConnectionPool", self.inbound_connection_pool.as_ref(), |r, p| {
            p.validate(r);
        });
        self.validate_egress(object, report);
        report.optional("outboundTrafficPolicy", self.outbound_traffic_policy.as_ref(), |r, p| {
            p.validate(r);
        });
    }

    fn validate_egress(&self, object: &Object, report: &mut Report) {
        let (mut ports, mut sockets) = (BTreeSet::new(), BTreeSet::new());
        let mut left = self.egress.len();
        report.each("egress", &self.egress, |report, listener| {
            left -= 1;
            match &listener.port {
                None if left > 0 => report.wrong(
                    "has no port, which means every other port: there can be one such listener, the last of the list",
                ),
                None if !listener.bind.is_empty() => {
                    report.advise("bind has no effect without a port");
                }
                None => {}
                Some(port) => {
                    listener.validate_place(port, report);
                    port.validate_alone(&mut ports, report);
                    if port.number.is_none() && !sockets.insert(listener.bind.as_str()) {
                        report.field("bind", |r| r.duplicate(listener.bind.as_str()));
                    }
                }
            }
            listener.validate_hosts(object.namespace(), report);
        });
    }
}

impl SidecarPort {
    fn validate(&self, report: &mut Report) {
        if !self.name.is_empty() && !hosts::is_label(&self.name) {
            report.field("name", |r| r.invalid(self.name.as_str(), "must be a DNS label"));
        }
        if self.target_port.is_some() {
            let message = "targetPort has no impact on Sidecars; remove it";
            report.field("targetPort", |r| r.forbidden(message));
        }
    }

    /// No two listeners have one port.
    fn validate_alone(&self, taken: &mut BTreeSet<Port>, report: &mut Report) {
        if let Some(number) = self.number.filter(|number| !taken.insert(*number)) {
            report.field("port", |r| r.field("number", |r| r.duplicate(number.get())));
        }
    }
}

impl IngressListener {
    fn validate(&self, report: &mut Report) {
        report.field("port", |report| {
            self.port.validate(report);
            if self.port.number.is_none() {
                report.field("number", |r| r.required("port must be between 1-65535"));
            }
        });
        if !self.bind.is_empty() && !hosts::is_ip(&self.bind) {
            report.field("bind", |r| r.invalid(self.bind.as_str(), "must be an IP address"));
        }
        if !self.default_endpoint.is_empty() {
            report.field("defaultEndpoint", |report| {
                let text = self.default_endpoint.as_str();
                report.check(text, default_endpoint(text));
            });
        }
        report.optional("tls", self.tls.as_ref(), |report, tls| self.validate_tls(tls, report));
        report.optional("connectionPool", self.connection_pool.as_ref(), |report, pool| {
            pool.validate(report);
            if pool.http.is_some() && !self.port.protocol.is_http() {
                let protocol = self.port.protocol.as_str();
                report.field("http", |r| {
                    r.advise(format!("has no effect on a port that speaks {protocol}"));
                });
            }
        });
    }

    fn validate_tls(&self, tls: &ServerTlsSettings, report: &mut Report) {
        if !self.port.protocol.is_tls() {
            report.wrong("is for ports of protocol HTTPS and TLS only");
        }
        let given = [
            ("subjectAltNames", !tls.subject_alt_names.is_empty()),
            ("httpsRedirect", tls.https_redirect),
            ("credentialName", !tls.credential_name.is_empty()),
            ("credentialNames", !tls.credential_names.is_empty()),
            ("tlsCertificates", !tls.tls_certificates.is_empty()),
        ];
        for (field, _) in given.into_iter().filter(|(_, given)| *given) {
            let message = "is not supported beside workloads: name files with serverCertificate, \
                           privateKey and caCertificates";
            report.field(field, |r| r.forbidden(message));
        }
        if matches!(tls.mode, ServerTlsMode::IstioMutual | ServerTlsMode::AutoPassthrough) {
            report.field("mode", |r| r.forbidden("cannot be set beside workloads"));
        }
        tls.validate(report);
    }
}

/// Checks where a workload listens.
fn default_endpoint(text: &str) -> Result<(), String> {
    if let Some(path) = text.strip_prefix(UNIX_PREFIX) {
        return hosts::unix_path(path).map_err(str::to_owned);
    }
    let form = "must be 127.0.0.1:PORT, 0.0.0.0:PORT, [::1]:PORT, [::]:PORT or unix://PATH";
    let (host, port) = text.rsplit_once(':').ok_or(form)?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let known: [IpAddr; 4] = [
        Ipv4Addr::LOCALHOST.into(),
        Ipv4Addr::UNSPECIFIED.into(),
        Ipv6Addr::LOCALHOST.into(),
        Ipv6Addr::UNSPECIFIED.into(),
    ];
    if !host.is_empty() && !host.parse().is_ok_and(|host: IpAddr| known.contains(&host)) {
        return Err(form.to_owned());
    }
    match port.parse().ok().and_then(Port::new) {
        Some(_) => Ok(()),
        None => Err("port must be between 1-65535".to_owned()),
    }
}

impl EgressListener {
    fn validate_place(&self, port: &SidecarPort, report: &mut Report) {
        report.field("port", |r| port.validate(r));
        if port.number.is_some() {
            if !self.bind.is_empty() && !hosts::is_ip(&self.bind) {
                let message = "must be an IP address; a Unix socket needs port number 0";
                report.field("bind", |r| r.invalid(self.bind.as_str(), message));
            }
            return;
        }
        let socket = match self.bind.strip_prefix(UNIX_PREFIX) {
            Some(path) => hosts::unix_path(path),
            None => Err("port number 0 needs the path of a Unix socket here: unix://PATH"),
        };
        report.field("bind", |r| r.check(self.bind.as_str(), socket));
        if self.capture_mode == CaptureMode::Iptables {
            let message =
                "must be DEFAULT or NONE for a Unix socket, which nothing is redirected to";
            report.field("captureMode", |r| r.invalid("IPTABLES", message));
        }
    }

    /// `namespace/host`, each once.
    fn validate_hosts(&self, own: &str, report: &mut Report) {
        if self.hosts.is_empty() {
            report.field("hosts", |r| r.required("must contain at least one host, such as */*"));
        }
        let mut seen: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        report.each("hosts", &self.hosts, |report, text| {
            let (namespace, host) = match imported(text) {
                Ok(parts) => parts,
                Err(message) => return report.invalid(text.as_str(), message),
            };
            if namespace.starts_with('~') {
                return;
            }
            let namespace = if namespace == "." { own } else { namespace };
            let there = seen.entry(namespace).or_default();
            if there.contains("*") || there.contains(host) || (host == "*" && !there.is_empty()) {
                report.advise(format!("duplicated egress host: {text}"));
            }
            there.insert(host);
        });
        let every = seen.get("*").is_some_and(|hosts| hosts.contains("*"));
        if every && seen.len() > 1 {
            report.field("hosts", |r| r.advise("*/* is every host: the others have no effect"));
        }
    }
}

/// The namespace and the host of an import.
fn imported(text: &str) -> Result<(&str, &str), String> {
    let (namespace, host) = text
        .split_once('/')
        .ok_or("must be namespace/host, such as ./* for the own namespace or */* for all")?;
    let bare = namespace.strip_prefix('~').unwrap_or(namespace);
    let leaves_out = bare.len() < namespace.len();
    let any = matches!(bare, "*" | ".") || (leaves_out && bare.is_empty());
    if !any && !hosts::is_label(bare) {
        return Err(format!("invalid namespace value {namespace:?}"));
    }
    if host.is_empty() {
        return Err("the host behind the / cannot be empty".to_owned());
    }
    hosts::wildcard_domain(host)?;
    hosts::whole_wildcard(host)?;
    Ok((namespace, host))
}

impl OutboundTrafficPolicy {
    fn validate(&self, report: &mut Report) {
        report.optional("egressProxy", self.egress_proxy.as_ref(), |report, proxy| {
            if self.mode != OutboundTrafficMode::AllowAny {
                return report.forbidden("must be set only with mode ALLOW_ANY");
            }
            report.field("host", |r| r.check(proxy.host.as_str(), hosts::fqdn(&proxy.host)));
            if proxy.port.is_none() {
                report.field("port", |r| r.required("says which port of the service takes it"));
            }
            proxy.validate(report);
        });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::Kind::Sidecar;
    use crate::istio::testing::{advice, faults, with};

    #[test]
    fn what_a_sidecar_may_say() {
        let good = json!({
            "workloadSelector": {"labels": {"app": "a"}},
            "ingress": [{
                "port": {"number": 9080, "protocol": "HTTPS", "name": "in"},
                "defaultEndpoint": "unix:///run/a.sock",
                "tls": {"mode": "SIMPLE", "serverCertificate": "a.pem", "privateKey": "a.key"},
            }],
            "egress": [
                {"port": {"number": 8080, "protocol": "http"}, "bind": "127.0.0.2", "hosts": ["./*"]},
                {"port": {"protocol": "HTTP_PROXY"}, "bind": "unix://@out", "captureMode": "NONE",
                 "hosts": ["*/*", "~/*.internal.example", "~secret/*"]},
                {"hosts": ["istio-system/*"]},
            ],
            "outboundTrafficPolicy": {
                "mode": "ALLOW_ANY",
                "egressProxy": {"host": "out.example", "port": {"number": 443}},
            },
        });
        assert_eq!(advice(Sidecar, &good), [""; 0]);
        for (place, value, fault) in [
            ("/ingress/0/port/number", json!(0), "between 1-65535"),
            ("/ingress/0/port/protocol", json!("HTTP"), "HTTPS and TLS only"),
            ("/ingress/0/port/targetPort", json!(80), "no impact"),
            ("/ingress/0/bind", json!("a"), "must be an IP address"),
            ("/ingress/0/defaultEndpoint", json!("10.0.0.1:80"), "must be 127.0.0.1:PORT"),
            ("/ingress/0/defaultEndpoint", json!("80"), "must be 127.0.0.1:PORT"),
            ("/ingress/0/defaultEndpoint", json!("[::1]:0"), "between 1-65535"),
            ("/ingress/0/defaultEndpoint", json!("unix://a"), "absolute path"),
            ("/ingress/0/tls/httpsRedirect", json!(true), "not supported beside workloads"),
            ("/egress/0/port/name", json!("a b"), "DNS label"),
            ("/egress/0/port/number", json!(0), "needs the path of a Unix socket"),
            ("/egress/0/bind", json!("unix:///a"), "needs port number 0"),
            ("/egress/1/captureMode", json!("IPTABLES"), "nothing is redirected"),
            ("/egress/0/port", json!(null), "the last of the list"),
            ("/egress/0/hosts", json!([]), "at least one host"),
            ("/egress/0/hosts/0", json!("a.example"), "must be namespace/host"),
            ("/egress/0/hosts/0", json!("/a.example"), "invalid namespace"),
            ("/egress/0/hosts/0", json!("./"), "cannot be empty"),
            ("/egress/0/hosts/0", json!("~a_b/*"), "invalid namespace"),
            ("/egress/0/hosts/0", json!("./*a.example"), "partial wildcard"),
            ("/outboundTrafficPolicy/mode", json!("REGISTRY_ONLY"), "only with mode ALLOW_ANY"),
            ("/outboundTrafficPolicy/egressProxy/port", json!(null), "which port"),
            ("/outboundTrafficPolicy/egressProxy/host", json!("*.example"), "invalid"),
        ] {
            let faults = faults(Sidecar, &with(&good, &[(place, value.clone())]));
            assert!(!faults.is_empty() && faults[0].contains(fault), "{place} {value}: {faults:?}");
        }
        assert!(faults(Sidecar, &json!({}))[0].contains("says nothing"));
    }

    #[test]
    fn what_has_no_effect_is_told() {
        let egress = |hosts: &[&str]| json!({"egress": [{"hosts": hosts}]});
        for (hosts, says) in [
            (&["a/*", "a/b.example"][..], "duplicated egress host: a/b.example"),
            (&["a/b.example", "a/*"], "duplicated egress host: a/*"),
            (&["./b.example", "default/b.example"], "duplicated egress host: default/b.example"),
            (&["*/*", "a/b.example"], "*/* is every host"),
        ] {
            let advice = advice(Sidecar, &egress(hosts));
            assert!(advice.len() == 1 && advice[0].contains(says), "{hosts:?}: {advice:?}");
        }
        assert_eq!(
            advice(Sidecar, &egress(&["a/b.example", "b/b.example", "~a/b.example"])),
            [""; 0]
        );
    }
}
