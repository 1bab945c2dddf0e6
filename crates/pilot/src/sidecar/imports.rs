//! Which hosts an egress listener of a Sidecar brings in.

use std::collections::{BTreeSet, HashMap};

use crate::model::host::Host;
use crate::model::service::Service;
use crate::model::virtual_service::VirtualService;

/// Stands for every namespace.
const EVERY: &str = "*";

/// The hosts of an egress listener, by the namespaces of the objects that define them.
#[derive(Clone, Debug)]
pub struct Imports {
    namespaces: HashMap<String, Hosts>,
}

#[derive(Clone, Debug, Default)]
struct Hosts {
    names: BTreeSet<Host>,
    wildcards: Vec<Host>,
    left_out: Vec<Host>,
}

impl Hosts {
    /// Whether a host is among them.
    fn hold(&self, host: &Host) -> bool {
        self.names.contains(host) || self.wildcards.iter().any(|wide| host.is_within(wide))
    }

    /// Whether any name of a host is among them.
    fn touch(&self, host: &Host) -> bool {
        self.names.contains(host)
            || self.wildcards.iter().any(|wide| host.overlaps(wide))
            || (host.is_wildcard() && self.names.iter().any(|name| name.is_within(host)))
    }
}

impl Imports {
    /// As `namespace/host` each, where `own` is what `.` means. What validation refuses is passed over.
    #[must_use]
    pub fn new(written: &[String], own: &str) -> Self {
        let mut namespaces: HashMap<String, Hosts> = HashMap::new();
        for (namespace, host) in written.iter().filter_map(|text| text.split_once('/')) {
            let (namespace, left_out) = match namespace.strip_prefix('~') {
                Some("") => (EVERY, true),
                Some(namespace) => (namespace, true),
                None => (namespace, false),
            };
            let namespace = if namespace == "." { own } else { namespace };
            let hosts = namespaces.entry(namespace.to_owned()).or_default();
            let host = Host::new(host);
            if left_out {
                hosts.left_out.push(host);
            } else if host.is_wildcard() {
                hosts.wildcards.push(host);
            } else {
                hosts.names.insert(host);
            }
        }
        Self { namespaces }
    }

    /// What is written for a namespace, and for all.
    fn of(&self, namespace: &str) -> impl Iterator<Item = &Hosts> {
        [namespace, EVERY].into_iter().filter_map(|namespace| self.namespaces.get(namespace))
    }

    fn leave_out(&self, host: &Host, namespace: &str) -> bool {
        let mut left_out = self.of(namespace).flat_map(|hosts| &hosts.left_out);
        left_out.any(|wide| host.is_within(wide))
    }

    /// Whether a host is brought in that an object of a namespace defines.
    #[must_use]
    pub fn take(&self, host: &Host, namespace: &str) -> bool {
        self.of(namespace).any(|hosts| hosts.hold(host)) && !self.leave_out(host, namespace)
    }

    /// Whether a service is brought in.
    #[must_use]
    pub fn bring_in(&self, service: &Service) -> bool {
        self.take(&Host::new(&service.host), &service.key.namespace)
    }

    /// Whether a VirtualService is brought in.
    #[must_use]
    pub fn bring_in_rules(&self, rules: &VirtualService) -> bool {
        rules.hosts.iter().any(|host| self.touch(host, &rules.key.namespace))
    }

    /// Whether rules of a namespace are brought in that are written for a host: a wildcard counts where any name of it does.
    #[must_use]
    pub fn touch(&self, host: &Host, namespace: &str) -> bool {
        self.of(namespace).any(|hosts| hosts.touch(host)) && !self.leave_out(host, namespace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_brought_in_by_namespace_and_left_out() {
        let written = [
            "./a.example",
            "n/*",
            "*/*.shared.example",
            "~n/*.secret.example",
            "~/x.shared.example",
        ];
        let imports = Imports::new(&written.map(str::to_owned), "own");
        for (host, namespace, takes, touches) in [
            ("A.example", "own", true, true),
            ("b.example", "own", false, false),
            ("a.example", "other", false, false),
            ("any.example", "n", true, true),
            ("*.any.example", "n", true, true),
            ("b.secret.example", "n", false, false),
            ("*.secret.example", "n", false, false),
            ("b.shared.example", "other", true, true),
            ("x.shared.example", "n", false, false),
            ("*.example", "own", false, true),
            ("*.example", "other", false, true),
            ("*.com", "other", false, false),
        ] {
            let host = Host::new(host);
            assert_eq!(imports.take(&host, namespace), takes, "{host} of {namespace}");
            assert_eq!(imports.touch(&host, namespace), touches, "{host} of {namespace}");
        }
    }
}
