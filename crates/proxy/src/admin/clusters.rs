//! `/clusters`: clusters, their thresholds and endpoints, with what was counted of each.

use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::{Map, Value as Json, json};

use super::answer::{Answer, Pieces, pretty};
use super::commands::Call;
use super::server::Admin;
use super::state::{Cluster, Endpoint, Health, Locality, Rates, Thresholds};
use super::views::remote;
use crate::stats::{Kind, Registry};

pub(super) fn answer(admin: &Admin, call: Call<'_>) -> Answer {
    let filter = match call.pattern("filter") {
        Ok(filter) => filter,
        Err(answer) => return answer,
    };
    let mut clusters = admin.state.clusters();
    clusters.retain(|cluster| filter.as_ref().is_none_or(|filter| filter.is_match(&cluster.name)));
    clusters.sort_by(|a, b| a.name.cmp(&b.name));
    let registry = admin.registry.clone();
    if call.parameter("format").as_deref() == Some("json") {
        return Answer::pieces(Answer::JSON, as_json(clusters, registry));
    }
    let parts = clusters.into_iter().map(move |cluster| text(&cluster, &registry));
    Answer::pieces(Answer::TEXT, Pieces::gathered(parts))
}

/// The lines of one cluster.
fn text(cluster: &Cluster, registry: &Registry) -> String {
    let name = &cluster.name;
    let mut out = String::new();
    // Writing to a string does not fail.
    let mut line = |rest: std::fmt::Arguments<'_>| {
        let _ = writeln!(out, "{name}::{rest}");
    };
    line(format_args!("observability_name::{}", cluster.alias.as_ref().unwrap_or(name)));
    let rates =
        cluster.outlier.into_iter().flat_map(|rates| ["", "local_origin_"].into_iter().zip(rates));
    for (origin, rates) in rates {
        let Rates { average, threshold } =
            rates.unwrap_or(Rates { average: -1.0, threshold: -1.0 });
        line(format_args!("outlier::{origin}success_rate_average::{average}"));
        line(format_args!("outlier::{origin}success_rate_ejection_threshold::{threshold}"));
    }
    for (priority, thresholds) in
        [("default", cluster.default_priority), ("high", cluster.high_priority)]
    {
        let Thresholds { max_connections, max_pending_requests, max_requests, max_retries } =
            thresholds;
        for (key, value) in [
            ("max_connections", max_connections),
            ("max_pending_requests", max_pending_requests),
            ("max_requests", max_requests),
            ("max_retries", max_retries),
        ] {
            line(format_args!("{priority}_priority::{key}::{value}"));
        }
    }
    line(format_args!("added_via_api::{}", cluster.added_via_api));
    if let Some(service) = &cluster.eds_service {
        line(format_args!("eds_service_name::{service}"));
    }
    for endpoint in &cluster.endpoints {
        let Endpoint { address, hostname, health, success_rates, weight, locality, priority } =
            endpoint;
        let Locality { region, zone, sub_zone } = locality;
        for (metric, _, value) in registry.endpoint(name, &address.to_string()) {
            line(format_args!("{address}::{metric}::{value}"));
        }
        line(format_args!("{address}::hostname::{hostname}"));
        line(format_args!("{address}::health_flags::{}", health_flags(*health)));
        line(format_args!("{address}::weight::{weight}"));
        line(format_args!("{address}::region::{region}"));
        line(format_args!("{address}::zone::{zone}"));
        line(format_args!("{address}::sub_zone::{sub_zone}"));
        line(format_args!("{address}::canary::false"));
        line(format_args!("{address}::priority::{priority}"));
        // -1 says that there is none.
        let [answers, connections] = success_rates.map(|rate| rate.unwrap_or(-1.0));
        line(format_args!("{address}::success_rate::{answers}"));
        line(format_args!("{address}::local_origin_success_rate::{connections}"));
    }
    out
}

fn health_flags(health: Health) -> String {
    let Health { failed_active, failed_outlier, failed_eds, degraded_eds } = health;
    let flags = [
        (failed_active, "/failed_active_hc"),
        (failed_outlier, "/failed_outlier_check"),
        (failed_eds, "/failed_eds_health"),
        (degraded_eds, "/degraded_eds_health"),
    ];
    let set: String = flags.into_iter().filter_map(|(set, flag)| set.then_some(flag)).collect();
    if set.is_empty() { "healthy".to_owned() } else { set }
}

/// `envoy.admin.v3.Clusters`, cluster by cluster.
fn as_json(clusters: Vec<Cluster>, registry: Arc<Registry>) -> Pieces {
    if clusters.is_empty() {
        return Pieces::one(b"{}\n".to_vec());
    }
    let last = clusters.len() - 1;
    let body = clusters.into_iter().enumerate().map(move |(index, cluster)| {
        let comma = if index < last { "," } else { "" };
        pretty(&status(&cluster, &registry), 2) + comma + "\n"
    });
    let head = std::iter::once("{\n \"cluster_statuses\": [\n".to_owned());
    Pieces::gathered(head.chain(body).chain(std::iter::once(" ]\n}\n".to_owned())))
}

/// `envoy.admin.v3.ClusterStatus`
fn status(cluster: &Cluster, registry: &Registry) -> Json {
    let hosts: Vec<Json> = (cluster.endpoints.iter())
        .map(|endpoint| host_status(&cluster.name, endpoint, registry))
        .collect();
    let mut high = thresholds(cluster.high_priority);
    high["priority"] = "HIGH".into();
    let mut status = Map::new();
    status.insert("name".into(), (*cluster.name).into());
    if cluster.added_via_api {
        status.insert("added_via_api".into(), true.into());
    }
    let rates = cluster.outlier.into_iter().flatten().zip(["", "local_origin_"]);
    for (rates, origin) in rates.filter_map(|(rates, origin)| Some((rates?, origin))) {
        let threshold = percent(rates.threshold);
        status.insert(format!("{origin}success_rate_ejection_threshold"), threshold);
    }
    if !hosts.is_empty() {
        status.insert("host_statuses".into(), hosts.into());
    }
    status.insert(
        "circuit_breakers".into(),
        json!({"thresholds": [thresholds(cluster.default_priority), high]}),
    );
    let observability_name = cluster.alias.as_ref().unwrap_or(&cluster.name);
    status.insert("observability_name".into(), (**observability_name).into());
    if let Some(service) = &cluster.eds_service {
        status.insert("eds_service_name".into(), (**service).into());
    }
    status.into()
}

fn thresholds(thresholds: Thresholds) -> Json {
    json!({
        "max_connections": thresholds.max_connections,
        "max_pending_requests": thresholds.max_pending_requests,
        "max_requests": thresholds.max_requests,
        "max_retries": thresholds.max_retries,
    })
}

/// `envoy.admin.v3.HostStatus`
fn host_status(cluster: &str, endpoint: &Endpoint, registry: &Registry) -> Json {
    let mut metrics = registry.endpoint(cluster, &endpoint.address.to_string());
    metrics.sort_by_key(|(name, kind, _)| (*kind, *name));
    let stats: Vec<Json> = metrics
        .into_iter()
        .map(|(name, kind, value)| {
            // protobuf's JSON leaves out what is zero, and COUNTER is the zero of its enum.
            let mut metric = Map::new();
            metric.insert("name".into(), name.into());
            if value > 0 {
                metric.insert("value".into(), value.to_string().into());
            }
            if kind == Kind::Gauge {
                metric.insert("type".into(), "GAUGE".into());
            }
            metric.into()
        })
        .collect();
    let mut status = Map::new();
    status.insert("address".into(), remote(&endpoint.address));
    status.insert("stats".into(), stats.into());
    status.insert("health_status".into(), health_status(endpoint.health));
    for (rate, name) in
        endpoint.success_rates.into_iter().zip(["success_rate", "local_origin_success_rate"])
    {
        if let Some(rate) = rate {
            status.insert(name.into(), percent(rate));
        }
    }
    status.insert("weight".into(), endpoint.weight.into());
    if !endpoint.hostname.is_empty() {
        status.insert("hostname".into(), endpoint.hostname.as_str().into());
    }
    if endpoint.priority > 0 {
        status.insert("priority".into(), endpoint.priority.into());
    }
    status.insert("locality".into(), locality(&endpoint.locality));
    status.into()
}

/// `envoy.type.v3.Percent`
fn percent(value: f64) -> Json {
    if value == 0.0 { json!({}) } else { json!({"value": value}) }
}

/// `envoy.admin.v3.HostHealthStatus`
fn health_status(health: Health) -> Json {
    let mut status = Map::new();
    if health.failed_active {
        status.insert("failed_active_health_check".into(), true.into());
    }
    if health.failed_outlier {
        status.insert("failed_outlier_check".into(), true.into());
    }
    status.insert("eds_health_status".into(), eds_health(health).into());
    status.into()
}

/// `envoy.config.core.v3.HealthStatus`
pub(super) fn eds_health(health: Health) -> &'static str {
    match health {
        Health { failed_eds: true, .. } => "UNHEALTHY",
        Health { degraded_eds: true, .. } => "DEGRADED",
        _ => "HEALTHY",
    }
}

/// `envoy.config.core.v3.Locality`
pub(super) fn locality(locality: &Locality) -> Json {
    let Locality { region, zone, sub_zone } = locality;
    let parts = [("region", region), ("zone", zone), ("sub_zone", sub_zone)];
    let known = parts.into_iter().filter(|(_, value)| !value.is_empty());
    known.map(|(key, value)| (key.to_owned(), value.as_str().into())).collect::<Map<_, _>>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn success_rates_are_shown_where_there_is_outlier_detection() {
        let registry = Registry::new(1);
        let rates = Rates { average: 90.0, threshold: 52.5 };
        let mut cluster = Cluster { name: "c".into(), ..Cluster::default() };
        assert!(!text(&cluster, &registry).contains("outlier"));
        cluster.outlier = Some([Some(rates), None]);
        let shown = text(&cluster, &registry);
        let shown: Vec<_> =
            shown.lines().filter_map(|line| line.strip_prefix("c::outlier::")).collect();
        let expected = [
            "success_rate_average::90",
            "success_rate_ejection_threshold::52.5",
            "local_origin_success_rate_average::-1",
            "local_origin_success_rate_ejection_threshold::-1",
        ];
        assert_eq!(shown, expected);
        let json = status(&cluster, &registry);
        assert_eq!(json["success_rate_ejection_threshold"], json!({"value": 52.5}));
        assert_eq!(json.get("local_origin_success_rate_ejection_threshold"), None);
    }
}
