//! The names under which a workload may ask for a service in a Host header.

use tidegate_api::Kind;

use super::Egress;
use crate::Options;
use crate::model::service::Service;
use crate::model::subnet::Subnet;

/// Names of one service.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Domains {
    /// All of them, in Istio's order.
    pub all: Vec<String>,
    /// Those of `all` that were made from another by leaving a part out: a service that is really called so comes first.
    pub short: Vec<String>,
}

/// The names of a service.
#[must_use]
pub fn of(service: &Service, egress: &Egress<'_>) -> Domains {
    let mut domains = Domains::default();
    domains.add(&service.host, egress);
    if !apart(service) {
        egress.aliases(&service.host).iter().for_each(|alias| domains.add(alias, egress));
    }
    if service.direct && service.key.kind == Kind::Service {
        let under: Vec<String> = domains.all.iter().map(|domain| format!("*.{domain}")).collect();
        domains.all.extend(under);
    }
    let addresses = service.addresses.iter().filter_map(Subnet::single);
    let addresses = addresses.filter(|address| !address.is_unspecified());
    domains.all.extend(addresses.map(|address| bracketed(&address.to_string())));
    domains
}

/// Those of the names of a service that leave a part of it out: [`Domains::short`].
#[must_use]
pub fn shortened(service: &Service, egress: &Egress<'_>) -> Vec<String> {
    let aliases = if apart(service) { &[] } else { egress.aliases(&service.host) };
    let all = std::iter::once(&*service.host).chain(aliases.iter().copied());
    let Options { namespace, domain, .. } = egress.options;
    all.flat_map(|host| short(host, namespace, domain)).collect()
}

/// Other names of a service that requests have to be freed of, as who answers them is outside of the mesh and need not know them; the
/// names under which workloads ask for each.
pub fn foreign<'a>(
    service: &Service,
    egress: &Egress<'a>,
) -> impl Iterator<Item = (&'a str, Domains)> {
    let aliases = if apart(service) { egress.aliases(&service.host) } else { &[] };
    aliases.iter().map(|alias| {
        let mut domains = Domains::default();
        domains.add(alias, egress);
        (*alias, domains)
    })
}

/// Whether its other names are none that it answers to.
fn apart(service: &Service) -> bool {
    service.key.kind == Kind::ServiceEntry
}

impl Domains {
    fn add(&mut self, host: &str, egress: &Egress<'_>) {
        let short = short(host, &egress.options.namespace, &egress.options.domain);
        self.all.push(bracketed(host));
        if !host.contains(':') {
            self.all.push(format!("{host}."));
        }
        self.all.extend(short.iter().cloned());
        self.short.extend(short);
    }
}

/// What is left of a Kubernetes Service's name where a client's resolver completes it: `a` in its own namespace, `a.ns` and
/// `a.ns.svc` everywhere.
pub(super) fn short(host: &str, namespace: &str, domain: &str) -> Vec<String> {
    let Some(name) = host.strip_suffix(domain).and_then(|rest| rest.strip_suffix(".svc.")) else {
        return Vec::new();
    };
    let Some((service, own)) = name.split_once('.') else { return Vec::new() };
    let svc = format!("{name}.svc");
    if own == namespace {
        vec![service.to_owned(), svc, name.to_owned()]
    } else {
        vec![name.to_owned(), svc]
    }
}

/// A host as it stands in a Host header.
#[must_use]
pub fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_have_short_names_and_others_do_not() {
        let names = |host: &str| short(host, "own", "cluster.local");
        assert_eq!(names("a.own.svc.cluster.local"), ["a", "a.own.svc", "a.own"]);
        assert_eq!(names("a.ns.svc.cluster.local"), ["a.ns", "a.ns.svc"]);
        for other in ["a.example.org", "svc.cluster.local", "a.svc.cluster.local", "cluster.local"]
        {
            assert_eq!(names(other), [] as [&str; 0], "{other}");
        }
    }
}
