//! Where a request goes: clusters, their endpoints, and whether a request sent there can arrive.

use std::net::{Ipv4Addr, SocketAddr};

use tidegate_api::{ObjectKey, Spec};
use tidegate_pilot::model::tls;
use tidegate_pilot::origins::Origin;
use tidegate_proxy::remote::Remote;
use tidegate_proxy::route::{Fraction, Mirror, Mirrors, TextMatch};
use tidegate_proxy::tls::context::NotReady;
use tidegate_proxy::tls::secret::{IdentitySource, Missing, ValidationSource};
use tidegate_proxy::upstream::ClusterSlot;
use tidegate_proxy::upstream::cluster::{
    Cluster as Served, Discovery, ProxyHeader as Header, Secure, UpstreamProtocol,
};
use tidegate_xds::ResourceType;

use crate::answer::{Answer, Cluster, End, Lost, ProxyHeader, Source, Spoken, UpstreamTls};
use crate::lost::without_port;
use crate::request::shown;
use crate::{World, sidecar};

impl World {
    /// Tells where it may go: clusters with their shares, endpoints and origins; `host` is the one of the request, as it is
    /// sent.
    pub(crate) fn destinations(
        &self,
        all: &[(&ClusterSlot, u32)],
        host: Option<&str>,
        answer: &mut Answer,
    ) {
        const KINDS: [ResourceType; 2] = [ResourceType::Cluster, ResourceType::Endpoints];
        let total: u64 = all.iter().map(|(_, weight)| u64::from(*weight)).sum();
        let share = |weight: u32| 100.0 * f64::from(weight) / (total.max(1) as f64);
        for (slot, weight) in all {
            answer.clusters.push(self.cluster(slot, share(*weight), host));
            answer.not_in_force.extend(self.refused_of(&KINDS, &slot.name));
            let mut outranked = self.outranked(&slot.name);
            outranked.retain(|lost| !answer.lost.contains(lost));
            answer.lost.extend(outranked);
            let served = slot.load();
            if served.as_deref().is_some_and(|served| served.outlier.is_some()) {
                answer.notes.push(self.ejected(&slot.name));
            }
            let secure = served.as_deref().and_then(|served| served.tls.as_ref());
            let kept = secure.map(|secure| self.kept(&secure.context.common));
            answer.not_in_force.extend(kept.into_iter().flatten());
        }
    }

    /// What is said of a cluster by DestinationRules that others come before.
    fn outranked(&self, cluster: &str) -> Vec<Lost> {
        let behind = self.behind(ResourceType::Cluster, cluster);
        let outranked = behind.pilot.outranked(cluster).into_iter();
        outranked.map(|(origin, told)| Lost::object(behind.source(&origin), told)).collect()
    }

    /// Which endpoints of a cluster with outlier detection are out, as far as it is known.
    fn ejected(&self, cluster: &str) -> String {
        let Some(ejected) = &self.ejected else {
            return format!(
                "endpoints of {cluster} may be out for a while (outlierDetection); which of them are is not known here: the admin \
                 interface tells (GET /clusters)"
            );
        };
        match ejected.get(cluster).map(Vec::as_slice) {
            None | Some([]) => format!(
                "no endpoint of {cluster} is out now; those that fail may be for a while (outlierDetection)"
            ),
            Some(out) => {
                let out: Vec<String> = out.iter().map(ToString::to_string).collect();
                format!(
                    "out for a while and without requests (outlierDetection) of {cluster} now: {}",
                    out.join(", ")
                )
            }
        }
    }

    /// Tells where copies go; `asked` is where the objects say so, in the order of the copies.
    pub(crate) fn mirrors(&self, mirrors: &Mirrors, host: &str, asked: &[Source]) -> Vec<Cluster> {
        let share = |mirror: &Mirror| match mirror.share {
            Some(Fraction { numerator, denominator }) => {
                100.0 * f64::from(numerator) / f64::from(denominator.max(1))
            }
            None => 100.0,
        };
        let mut all: Vec<Cluster> = mirrors
            .all
            .iter()
            .map(|mirror| self.cluster(&mirror.cluster, share(mirror), Some(host)))
            .collect();
        // What a patch asks for stands nowhere in the rules.
        if all.len() == asked.len() {
            for (mirror, asked) in all.iter_mut().zip(asked) {
                mirror.from.insert(0, asked.clone());
            }
        }
        all
    }

    fn cluster(&self, slot: &ClusterSlot, share: f64, host: Option<&str>) -> Cluster {
        let served = slot.load();
        let behind = self.behind(ResourceType::Cluster, &slot.name);
        let owners = behind.pilot.owners(ResourceType::Cluster, &slot.name);
        let endpoints = served.as_deref().map(endpoints).unwrap_or_default();
        let secure = served.as_deref().and_then(|served| served.tls.as_ref());
        let tls = secure.map(|secure| self.upstream_tls(&slot.name, secure, host));
        let why = self.pilot.vacant(&slot.name);
        let why = why.map_or_else(String::new, |why| format!(": {why}"));
        let fault = match (&served, &tls) {
            (None, _) => Some(self.absent(&slot.name)),
            (Some(_), _) if endpoints.is_empty() => Some(match self.may_lack() {
                true => format!("it has no endpoints in the manifests of -f{why}"),
                false => format!("it has no endpoints{why}"),
            }),
            (Some(_), Some(UpstreamTls { fault: Some(fault), .. })) => {
                Some(format!("TLS cannot be spoken with it: {fault}"))
            }
            (Some(_), _) => None,
        };
        Cluster {
            name: slot.name.to_string(),
            share,
            exists: served.is_some(),
            endpoints,
            proxy_header: served.as_deref().and_then(|served| self.proxy_header(slot, served)),
            tls,
            fault,
            status: None,
            spoken: served
                .as_deref()
                .filter(|_| host.is_some())
                .map(|served| self.spoken(slot, served)),
            from: self.made_from(owners, &slot.name),
        }
    }

    /// What a cluster was made from: services as a whole, and those settings of DestinationRules that hold for it.
    fn made_from(&self, owners: Vec<ObjectKey>, cluster: &str) -> Vec<Source> {
        let behind = self.behind(ResourceType::Cluster, cluster);
        let settings = behind.pilot.cluster_settings(cluster);
        let told = |key: &ObjectKey| settings.iter().any(|origin| origin.key == *key);
        let owners = owners.into_iter().filter(|key| !told(key)).map(|key| behind.whole(key));
        owners.chain(settings.iter().map(|origin| behind.source(origin))).collect()
    }

    /// What is spoken to the endpoints of a cluster, and what has it spoken where that is not what is expected of them.
    fn spoken(&self, slot: &ClusterSlot, served: &Served) -> Spoken {
        let protocol = match served.http.protocol {
            Some(UpstreamProtocol::Http1) => "HTTP/1.1",
            Some(UpstreamProtocol::Http2) => "HTTP/2",
            None => "that of the client",
        };
        let behind = self.behind(ResourceType::Cluster, &slot.name);
        let http2 = served.http.protocol == Some(UpstreamProtocol::Http2);
        let by = http2.then(|| behind.pilot.http2_by(&slot.name)).flatten();
        let origin = by.map(|by| match by {
            Ok((key, port)) => {
                let path = behind.port_of(&key, port);
                Origin { key, path }
            }
            Err(setting) => setting,
        });
        Spoken { protocol, from: origin.iter().map(|origin| behind.source(origin)).collect() }
    }

    /// The header that connections to a cluster begin with, and the setting that says so.
    fn proxy_header(&self, slot: &ClusterSlot, served: &Served) -> Option<ProxyHeader> {
        let version = match served.proxy_header.as_ref()? {
            Header::V1 => "V1",
            Header::V2 { .. } => "V2",
        };
        let behind = self.behind(ResourceType::Cluster, &slot.name);
        let settings = behind.pilot.cluster_settings(&slot.name).into_iter();
        let from = settings.filter(|origin| origin.path.ends_with(".proxyProtocol"));
        Some(ProxyHeader { version, from: from.map(|origin| behind.source(&origin)).collect() })
    }

    /// Where a port of a service stands.
    fn port_of(&self, key: &ObjectKey, number: u16) -> String {
        let at = match self.object(key).map(|object| &object.spec) {
            Some(Spec::Service(service)) => {
                service.spec.ports.iter().position(|port| port.port == i32::from(number))
            }
            Some(Spec::ServiceEntry(entry)) => {
                entry.ports.iter().position(|port| port.number.get() == number)
            }
            _ => None,
        };
        at.map_or_else(|| "spec.ports".to_owned(), |at| format!("spec.ports[{at}]"))
    }

    /// Why there is no cluster of a name, in the words of whoever wrote the objects.
    fn absent(&self, name: &str) -> String {
        let gateway = self.pilot.options().workload().is_none();
        match self.pilot.absent(name).filter(|_| gateway) {
            Some(why) => format!("it does not exist: {why}"),
            None => "it does not exist".to_owned(),
        }
    }

    /// How TLS is spoken with a cluster.
    fn upstream_tls(&self, cluster: &str, secure: &Secure, host: Option<&str>) -> UpstreamTls {
        let behind = self.behind(ResourceType::Cluster, cluster);
        let common = &secure.context.common;
        let nowhere = Remote::Ip(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0));
        let asked = secure.asks(host.map(without_port).unwrap_or_default(), &nowhere, None);
        let identity = common.identities.first().map(|identity| match identity {
            IdentitySource::Secret(secret) => self.credential(&secret.name),
            IdentitySource::Here(identity) => identity.leaf.subject.clone(),
        });
        let ValidationSource { here, secret } = &common.validation;
        let names = here.iter().flat_map(|here| &here.names);
        let mut names: Vec<String> = names.map(|name| words(&name.text)).collect();
        names.dedup();
        let verifies = secure.context.verifies();
        if verifies && names.is_empty() && (secure.auto_san || secure.context.by_name) {
            names.push(asked.host.unwrap_or(asked.server).to_owned());
        }
        let fault = secure.context.configs().err();
        UpstreamTls {
            mode: if identity.is_some() { "MUTUAL" } else { "SIMPLE" },
            server_name: asked.server.to_owned(),
            verified: verifies,
            names,
            authorities: secret.as_ref().filter(|_| verifies).map(|s| self.credential(&s.name)),
            certificate: identity,
            fault: fault.map(|fault| self.not_ready(&fault)),
            from: behind.pilot.upstream_tls(cluster).iter().map(|o| behind.source(o)).collect(),
        }
    }

    /// Why no handshake can be held, in the words of whoever wrote the objects.
    pub(crate) fn not_ready(&self, fault: &NotReady) -> String {
        match fault {
            NotReady::Missing(Missing { name, .. }) => {
                let lack = self.pilot.lack(name).map(|lack| lack.words);
                let looked =
                    lack.unwrap_or_else(|| format!("{} is not there", self.credential(name)));
                let only =
                    if self.may_lack() { "; only the manifests of -f were looked at" } else { "" };
                format!("{looked}{only}")
            }
            other => other.to_string(),
        }
    }

    /// Where the secret of that name in xDS comes from.
    pub(crate) fn credential(&self, secret: &str) -> String {
        tls::in_words(secret, &self.pilot.options().namespace)
    }
}

/// A test of names, in words.
pub(crate) fn words(test: &TextMatch) -> String {
    match test {
        TextMatch::Exact(name) => shown(name),
        other => other.to_string(),
    }
}

/// Where a cluster sends: addresses, or names to resolve.
fn endpoints(cluster: &Served) -> Vec<String> {
    match &cluster.discovery {
        Discovery::StrictDns(names) => {
            names.iter().map(|n| format!("{}:{}", n.host, n.port)).collect()
        }
        Discovery::LogicalDns(name) => vec![format!("{}:{}", name.host, name.port)],
        Discovery::Static | Discovery::Eds(_) => {
            let endpoints = cluster.endpoints.load();
            endpoints.endpoints.iter().map(|e| e.address.to_string()).collect()
        }
        Discovery::Dialled { .. } => vec![sidecar::DIALLED.to_owned()],
        Discovery::Asked(policy) => vec![match policy.port {
            Some(port) => format!("{}, at port {port}", sidecar::ASKED),
            None => sidecar::ASKED.to_owned(),
        }],
    }
}

/// Settles what becomes of a request whose clusters cannot all take it: `missing` is the answer where a cluster does
/// not exist, `unreachable` where it cannot be reached; nothing where connections are closed.
pub(crate) fn settle(answer: &mut Answer, missing: Option<u16>, unreachable: Option<u16>) {
    for cluster in &mut answer.clusters {
        let status = if cluster.exists { unreachable } else { missing };
        cluster.status = status.filter(|_| cluster.fault.is_some());
    }
    let taking = |cluster: &&Cluster| cluster.share > 0.0 || answer.clusters.len() == 1;
    let taking: Vec<&Cluster> = answer.clusters.iter().filter(taking).collect();
    let fault = |cluster: &&Cluster| Some(format!("{}: {}", cluster.name, cluster.fault.as_ref()?));
    let faults: Option<Vec<String>> = taking.iter().map(fault).collect();
    if let (Some(faults), Some(first)) = (faults, taking.first()) {
        answer.end = End::Unavailable { status: first.status, reason: faults.join("; ") };
    }
}
