//! Everything that is counted, by name: what `/stats` and Prometheus show are two views of this list.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use super::queries::Queries;
use super::registry::Shared;
use super::totals::{OfWorker, Responses, Total, Totals};
use super::{
    Block, CertificateStats, HistogramSum, JwtStats, ListenerStats, OutlierStats, Registry,
    SdsStats, Stats,
};

/// One thing that is counted.
pub(super) struct Unit {
    /// What its metrics' names begin with: `cluster.NAME.`.
    pub(super) prefix: String,
    /// The same without the names that are labels in Prometheus: `cluster.`.
    pub(super) stem: &'static str,
    /// Those names.
    pub(super) labels: Vec<(&'static str, String)>,
    pub(super) totals: Box<dyn Totals>,
}

/// A metric's value under its full name.
pub(super) enum Value {
    /// With whether anybody ever counted.
    Number(u64, bool),
    Histogram(HistogramSum),
}

impl Unit {
    /// What units with the same metrics have in common.
    pub(super) fn sort(&self) -> (&'static str, Option<&'static str>) {
        (self.stem, self.totals.name(0))
    }

    /// Calls `each` with every metric: its name behind the prefix, and its value.
    pub(super) fn for_each(&self, mut each: impl FnMut(&str, Value)) {
        for (index, name) in self.totals.names() {
            if let Some(total) = self.totals.total(index) {
                expand(name, total, &mut each);
            }
        }
    }

    /// The number of a counter or gauge by its full name.
    pub(super) fn get(&self, name: &str) -> Option<u64> {
        let wanted = name.strip_prefix(&self.prefix)?;
        let mut found = None;
        self.for_each(|name, value| {
            if let (true, Value::Number(number, _)) = (name == wanted, value) {
                found = Some(number);
            }
        });
        found
    }
}

/// A total as the metrics that it is shown as.
fn expand(name: &str, total: Total, each: &mut impl FnMut(&str, Value)) {
    let mut text = String::new();
    let mut number = |text: &mut String, suffix: std::fmt::Arguments<'_>, count| {
        text.clear();
        let _ = write!(text, "{name}_{suffix}");
        each(text, Value::Number(count, count > 0));
    };
    match &total {
        Total::Counter(count) => each(name, Value::Number(*count, *count > 0)),
        Total::Gauge(level) => each(name, Value::Number(level.unwrap_or(0), level.is_some())),
        Total::Classes(classes) => {
            for (class, count) in (1..).zip(classes) {
                number(&mut text, format_args!("{class}xx"), *count);
            }
            number(&mut text, format_args!("completed"), classes.iter().sum());
        }
        Total::Codes(codes) => {
            for (code, count) in codes {
                number(&mut text, format_args!("{code}"), *count);
            }
            let classes = total.classes();
            for (class, count) in (1..).zip(classes).filter(|(_, count)| *count > 0) {
                number(&mut text, format_args!("{class}xx"), count);
            }
            if !codes.is_empty() {
                number(&mut text, format_args!("completed"), classes.iter().sum());
            }
        }
        Total::Histogram(_) => {}
    }
    if let Total::Histogram(sum) = total {
        each(name, Value::Histogram(sum));
    }
}

/// Everything that is counted, sorted by prefix.
pub(super) fn all(registry: &Registry) -> Vec<Unit> {
    let of_cluster = |shared| named("cluster.", "envoy_cluster_name", shared);
    let of_member = |shared| named("cluster.", "envoy_cluster_name", shared);
    let of_tcp = |shared| named("tcp.", "envoy_tcp_prefix", shared);
    let mut units = fixed(registry);
    units.extend(registry.clusters.all().into_iter().map(of_cluster));
    units.extend(registry.membership.all().into_iter().map(of_member));
    units.extend(registry.outlier.all().into_iter().map(of_outlier));
    units.extend(registry.tcp.all().into_iter().map(of_tcp));
    units.extend(
        registry.listeners.all().into_iter().flat_map(|shared| of_listener(registry, shared)),
    );
    units.extend(of_managers(registry));
    let of_cors = |shared| of_filter("cors", "http.cors.", shared);
    let of_fault = |shared| of_filter("fault", "http.fault.", shared);
    units.extend(registry.cors.all().into_iter().map(of_cors));
    units.extend(registry.fault.all().into_iter().map(of_fault));
    units.extend(registry.http_rbac.all().into_iter().map(of_http_rbac));
    units.extend(registry.http_rbac_shadow.all().into_iter().map(of_http_rbac));
    units.extend(registry.jwt.all().into_iter().map(of_jwt));
    units.extend(registry.network_rbac.all().into_iter().map(of_network_rbac));
    units.extend(registry.network_rbac_shadow.all().into_iter().map(of_network_rbac));
    units.extend(registry.local_rate_limits.all().into_iter().map(of_local_rate_limit));
    units.extend(of_certificates(registry));
    units.extend(registry.sds.all().into_iter().map(of_secret));
    units.sort_by(|a, b| a.prefix.cmp(&b.prefix));
    units
}

/// A listener, and what each worker has of it.
fn of_listener(registry: &Registry, shared: Arc<Shared<ListenerStats>>) -> Vec<Unit> {
    let name = clean(&shared.key().name);
    let writers = shared.blocks().map(|(writer, _)| writer);
    let of_worker = |worker: usize| Unit {
        prefix: format!("listener.{name}.worker_{worker}."),
        stem: "listener.worker.",
        labels: vec![
            ("envoy_worker_id", worker.to_string()),
            ("envoy_listener_address", name.clone()),
        ],
        totals: Box::new(OfWorker(shared.clone(), worker)),
    };
    let workers = writers.filter(|writer| *writer < registry.workers()).map(of_worker);
    let mut units: Vec<_> = workers.collect();
    units.push(named("listener.", "envoy_listener_address", shared));
    units
}

/// The connection managers: by prefix over all listeners, and the responses of each listener.
fn of_managers(registry: &Registry) -> Vec<Unit> {
    let mut units = Vec::new();
    let mut managers: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for shared in registry.http.all() {
        let prefix = clean(&shared.key().name);
        let listener = clean(&shared.key().part);
        units.push(Unit {
            prefix: format!("listener.{listener}.http.{prefix}."),
            stem: "listener.http.",
            labels: vec![
                ("envoy_http_conn_manager_prefix", prefix.clone()),
                ("envoy_listener_address", listener),
            ],
            totals: Box::new(Responses(shared.clone())),
        });
        managers.entry(prefix).or_default().push(shared);
    }
    units.extend(managers.into_iter().map(|(prefix, blocks)| Unit {
        stem: "http.",
        labels: vec![("envoy_http_conn_manager_prefix", prefix.clone())],
        prefix: format!("http.{prefix}."),
        totals: Box::new(blocks),
    }));
    units
}

/// The certificates in force, of listeners and of clusters.
fn of_certificates(registry: &Registry) -> impl Iterator<Item = Unit> {
    let of_listeners = registry.listener_certificates.all().into_iter().map(|shared| {
        let (owner, label) = ("listener.", "envoy_listener_address");
        of_certificate(owner, "listener.ssl.certificate.", label, shared)
    });
    let of_clusters = registry.cluster_certificates.all().into_iter().map(|shared| {
        let (owner, label) = ("cluster.", "envoy_cluster_name");
        of_certificate(owner, "cluster.ssl.certificate.", label, shared)
    });
    of_listeners.chain(of_clusters)
}

/// A certificate. Its name is the secret's, colons and all.
fn of_certificate(
    owner: &'static str,
    stem: &'static str,
    label: &'static str,
    shared: Arc<Shared<CertificateStats>>,
) -> Unit {
    let name = clean(&shared.key().name);
    let certificate = shared.key().part.replace(char::is_control, "_");
    Unit {
        prefix: format!("{owner}{name}.ssl.certificate.{certificate}."),
        stem,
        labels: vec![("envoy_tls_certificate", certificate), (label, name)],
        totals: Box::new(shared),
    }
}

/// What outlier detection does in a cluster.
fn of_outlier(shared: Arc<Shared<OutlierStats>>) -> Unit {
    let name = clean(&shared.key().name);
    Unit {
        prefix: format!("cluster.{name}.outlier_detection."),
        stem: "cluster.outlier_detection.",
        labels: vec![("envoy_cluster_name", name)],
        totals: Box::new(shared),
    }
}

/// A secret, in whose name `://` is written `_`, as by Envoy.
fn of_secret(shared: Arc<Shared<SdsStats>>) -> Unit {
    let name = clean(&shared.key().name.replace("://", "_"));
    Unit {
        prefix: format!("sds.{name}."),
        stem: "sds.",
        labels: vec![("envoy_xds_resource_name", name)],
        totals: Box::new(shared),
    }
}

/// A filter of a connection manager.
fn of_filter<B: Block>(kind: &str, stem: &'static str, shared: Arc<Shared<B>>) -> Unit {
    let manager = dotless(&shared.key().name);
    Unit {
        prefix: format!("http.{manager}.{kind}."),
        stem,
        labels: vec![("envoy_http_conn_manager_prefix", manager)],
        totals: Box::new(shared),
    }
}

/// An RBAC filter of a connection manager; its own prefix is its second label.
fn of_http_rbac<B: Block>(shared: Arc<Shared<B>>) -> Unit {
    let manager = dotless(&shared.key().name);
    let own = dotless(&shared.key().part);
    let mut labels = vec![("envoy_http_conn_manager_prefix", manager.clone())];
    if !own.is_empty() {
        labels.insert(0, ("envoy_rbac_http_prefix", own.clone()));
    }
    let own = dotted(&own);
    Unit {
        prefix: format!("http.{manager}.rbac.{own}"),
        stem: "http.rbac.",
        labels,
        totals: Box::new(shared),
    }
}

/// A filter of tokens; its own prefix is its second label.
fn of_jwt(shared: Arc<Shared<JwtStats>>) -> Unit {
    let manager = dotless(&shared.key().name);
    let own = dotless(&shared.key().part);
    let mut labels = vec![("envoy_http_conn_manager_prefix", manager.clone())];
    if !own.is_empty() {
        labels.insert(0, ("envoy_jwt_authn_prefix", own.clone()));
    }
    let own = dotted(&own);
    Unit {
        prefix: format!("http.{manager}.jwt_authn.{own}"),
        stem: "http.jwt_authn.",
        labels,
        totals: Box::new(shared),
    }
}

/// An RBAC filter of a filter chain. What Envoy writes into the name of a family, the prefix of shadow rules, is a
/// label here.
fn of_network_rbac<B: Block>(shared: Arc<Shared<B>>) -> Unit {
    let name = dotless(&shared.key().name);
    let own = dotless(&shared.key().part);
    let mut labels = vec![("envoy_rbac_prefix", name.clone())];
    if !own.is_empty() {
        labels.push(("envoy_rbac_shadow_prefix", own.clone()));
    }
    let own = dotted(&own);
    Unit { prefix: format!("{name}.rbac.{own}"), stem: "rbac.", labels, totals: Box::new(shared) }
}

/// A local rate limit.
fn of_local_rate_limit<B: Block>(shared: Arc<Shared<B>>) -> Unit {
    let name = clean(&shared.key().name);
    Unit {
        prefix: format!("{name}.http_local_rate_limit."),
        stem: "http_local_rate_limit.",
        labels: vec![("envoy_local_http_ratelimit_prefix", name)],
        totals: Box::new(shared),
    }
}

/// A prefix that may have been written with its dot.
fn dotless(prefix: &str) -> String {
    clean(prefix.strip_suffix('.').unwrap_or(prefix))
}

fn dotted(prefix: &str) -> String {
    if prefix.is_empty() { String::new() } else { format!("{prefix}.") }
}

/// What there is one of.
fn fixed(registry: &Registry) -> Vec<Unit> {
    fn unit<B: Block>(stem: &'static str, stats: &Stats<B>) -> Unit {
        Unit {
            prefix: stem.to_owned(),
            stem,
            labels: Vec::new(),
            totals: Box::new(stats.shared().clone()),
        }
    }
    let queries = registry.dns_proxy.get().map(|proxy| Unit {
        prefix: "dns_proxy.".to_owned(),
        stem: "dns_proxy.",
        labels: Vec::new(),
        totals: Box::new(Queries(Arc::clone(proxy))),
    });
    let units = [
        unit("cluster_manager.", &registry.cluster_manager),
        unit("dns.hickory.", &registry.dns),
        unit("egress.", &registry.egress),
        unit("filesystem.", &registry.access_log),
        unit("http_inspector.", &registry.http_inspector),
        unit("listener_manager.", &registry.listener_manager),
        unit("server.", &registry.server),
        unit("tls_inspector.", &registry.tls_inspector),
    ];
    units.into_iter().chain(queries).collect()
}

fn named<B: Block>(stem: &'static str, label: &'static str, shared: Arc<Shared<B>>) -> Unit {
    let name = clean(&shared.key().name);
    Unit {
        prefix: format!("{stem}{name}."),
        stem,
        labels: vec![(label, name)],
        totals: Box::new(shared),
    }
}

/// A name as metrics show it: without `:`, as in Envoy, and without what would break a line.
fn clean(name: &str) -> String {
    name.chars().map(|c| if c == ':' || c.is_control() { '_' } else { c }).collect()
}
