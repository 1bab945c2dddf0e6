//! What pilot says of names, for the DNS proxy of the workload.
//!
//! A name is answered once every worker serves what its answer leads to: a client that asks, and dials at once, finds it there.

use std::collections::VecDeque;
use std::sync::Arc;

use tidegate_dns::{DnsProxy, Host, InvalidName, Leads, Name, host_name};
use tidegate_pilot::sidecar::name_table::{self, NameChange, NameEntry};

/// The table of names that follows a pilot.
pub struct Names {
    proxy: Arc<DnsProxy>,
    /// The workload's, where names may be left short.
    namespace: String,
    /// Changes, by the snapshot generation that they belong to.
    waiting: VecDeque<(u64, Vec<NameChange>)>,
    /// Whether nobody asks yet.
    fresh: bool,
}

impl Names {
    /// The table of a DNS proxy for a workload of a namespace. What comes first is entered at once: the proxy answers when
    /// everything is served.
    pub fn new(proxy: Arc<DnsProxy>, namespace: String) -> Self {
        Self { proxy, namespace, waiting: VecDeque::new(), fresh: true }
    }

    /// Takes what was compiled, as of a snapshot generation.
    pub fn compiled(&mut self, generation: u64, changes: Vec<NameChange>) {
        if std::mem::take(&mut self.fresh) {
            self.enter(changes);
        } else if !changes.is_empty() {
            self.waiting.push_back((generation, changes));
        }
    }

    /// Every worker serves a generation.
    pub fn heard(&mut self, served: Option<u64>) {
        while self.waiting.front().is_some_and(|(of, _)| served.is_some_and(|now| now >= *of)) {
            let changes = self.waiting.pop_front().map(|(_, changes)| changes);
            self.enter(changes.unwrap_or_default());
        }
    }

    fn enter(&self, changes: Vec<NameChange>) {
        let changes = changes.into_iter().filter_map(|NameChange { name, entry }| {
            let parsed = host_name(&name).and_then(|parsed| {
                let host = entry.map(|entry| host(&entry, &self.namespace)).transpose()?;
                Ok((parsed, host))
            });
            parsed.inspect_err(|error| tracing::warn!("{name} is not answered: {error}")).ok()
        });
        self.proxy.update(changes);
    }
}

/// What the DNS proxy is told of a name.
fn host(entry: &NameEntry, namespace: &str) -> Result<Host, InvalidName> {
    let short: Vec<Name> =
        entry.short(namespace).iter().filter_map(|short| host_name(short).ok()).collect();
    let leads = match &entry.leads {
        name_table::Leads::To(addresses) => Leads::To(addresses.clone()),
        name_table::Leads::Alias(target) => Leads::Alias(host_name(target)?),
    };
    Ok(Host { leads, short })
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use tidegate_dns::Upstream;

    use super::*;

    fn change(name: &str, address: Option<[u8; 4]>) -> NameChange {
        let entry = address.map(|address| NameEntry {
            leads: name_table::Leads::To(vec![IpAddr::from(address)]),
            kubernetes: None,
        });
        NameChange { name: name.into(), entry }
    }

    #[test]
    fn names_wait_until_what_they_lead_to_is_served() {
        let proxy = Arc::new(DnsProxy::new(Upstream::new(Vec::new(), "/dev/null".into())));
        let mut names = Names::new(Arc::clone(&proxy), "default".to_owned());
        names.compiled(1, vec![change("a.example", Some([192, 0, 2, 1]))]);
        assert_eq!(proxy.hosts(), 1, "nobody asks yet");
        names.compiled(2, vec![change("b.example", Some([192, 0, 2, 2]))]);
        names.compiled(3, vec![change("a.example", None), change("..", Some([192, 0, 2, 3]))]);
        for (served, hosts) in [(None, 1), (Some(1), 1), (Some(2), 2), (Some(3), 1), (Some(9), 1)] {
            names.heard(served);
            assert_eq!(proxy.hosts(), hosts, "{served:?}");
        }
        assert!(names.waiting.is_empty());
    }
}
