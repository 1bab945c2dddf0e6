//! Labels and annotations that an injected pod has: who it is to the mesh, to kubectl and to Prometheus.

use serde_json::{Value, json};

use crate::Wrong;
use crate::annotations::{MERGE_METRICS, Plan, Template};
use crate::pod::Pod;
use crate::settings::Settings;
use crate::workload::Owner;

/// Longest value of a label.
const LONGEST_LABEL: usize = 63;

/// Labels the pod, and says which of its containers is meant where none is named.
pub(crate) fn label(pod: &mut Pod, plan: &Plan, settings: &Settings, owner: &Owner) {
    let first =
        pod.containers().next().and_then(|container| container["name"].as_str()).map(str::to_owned);
    let of = |names: &[&str]| {
        names
            .iter()
            .find_map(|name| pod.labels.get(*name).filter(|value| !value.is_empty()).cloned())
    };
    let name = of(&["service.istio.io/canonical-name", "app.kubernetes.io/name", "app"])
        .unwrap_or_else(|| owner.name.clone());
    let version =
        of(&["service.istio.io/canonical-revision", "app.kubernetes.io/version", "version"]);
    let mut labels = vec![
        ("service.istio.io/canonical-name", label_value(&name)),
        ("service.istio.io/canonical-revision", version.unwrap_or_else(|| "latest".to_owned())),
    ];
    if plan.template == Template::Sidecar {
        let mode = "security.istio.io/tlsMode";
        labels.push((mode, of(&[mode]).unwrap_or_else(|| "istio".to_owned())));
    }
    pod.labels.extend(labels.into_iter().map(|(name, value)| (name.to_owned(), value)));
    pod.annotations.insert("istio.io/rev".to_owned(), settings.revision().to_owned());
    for which in ["default-logs-container", "default-container"] {
        if let Some(first) = &first {
            pod.annotations
                .entry(format!("kubectl.kubernetes.io/{which}"))
                .or_insert_with(|| first.clone());
        }
    }
}

/// A name as the value of a label.
fn label_value(name: &str) -> String {
    let cut: String = name.chars().take(LONGEST_LABEL).collect();
    cut.trim_matches(['-', '_', '.']).to_owned()
}

/// Ports that the proxy and its agent have for themselves.
const RESERVED: [u16; 9] = [15000, 15001, 15004, 15006, 15008, 15020, 15021, 15053, 15090];

/// Has Prometheus ask the sidecar, which answers for the workload as well.
pub(crate) fn merge_metrics(
    pod: &mut Pod,
    plan: &Plan,
    proxy: &mut Value,
    owner: &Owner,
) -> Result<(), Wrong> {
    let asked = Metrics::of(pod);
    if !plan.merges_metrics || plan.status_port == 0 || asked.refused() {
        return Ok(());
    }
    let own = plan.status_port.to_string();
    if asked.port.as_deref() == Some(&*own) {
        return Ok(());
    }
    let wrong = |place: &str, reason: String| Wrong {
        object: owner.told(),
        place: format!("annotation {place}"),
        reason,
    };
    let targets = asked.targets(&own).map_err(|why| wrong(Metrics::TARGETS, why))?;
    if targets.is_empty()
        && let Some(port) = &asked.port
    {
        check(port, &own).map_err(|why| wrong("prometheus.io/port", why))?;
    }
    if let Some(value) = asked.variable(&targets)
        && let Some(variables) = proxy["env"].as_array_mut()
    {
        variables
            .push(json!({ "name": "ISTIO_PROMETHEUS_ANNOTATIONS", "value": value.to_string() }));
    }
    pod.annotations.retain(|name, _| name == MERGE_METRICS || !Metrics::is_one(name));
    for (name, value) in [("port", &*own), ("path", "/stats/prometheus"), ("scrape", "true")] {
        pod.annotations.insert(format!("prometheus.io/{name}"), value.to_owned());
    }
    Ok(())
}

/// What a workload says of its own metrics. Prometheus takes every sign that is no letter for `_`, and so may the annotations be
/// written.
#[derive(Default)]
struct Metrics {
    scrape: Option<String>,
    path: Option<String>,
    port: Option<String>,
    targets: Option<String>,
}

impl Metrics {
    const TARGETS: &str = "prometheus.istio.io/scrape-targets";

    fn key(name: &str) -> String {
        name.replace(|c: char| !c.is_ascii_alphanumeric(), "_")
    }

    fn is_one(name: &str) -> bool {
        let keys = ["prometheus_io_scrape", "prometheus_io_path", "prometheus_io_port"];
        keys.contains(&&*Self::key(name)) || Self::key(name) == Self::key(Self::TARGETS)
    }

    fn of(pod: &Pod) -> Self {
        let mut metrics = Self::default();
        for (name, value) in &pod.annotations {
            let field = match &*Self::key(name) {
                "prometheus_io_scrape" => &mut metrics.scrape,
                "prometheus_io_path" => &mut metrics.path,
                "prometheus_io_port" => &mut metrics.port,
                key if key == Self::key(Self::TARGETS) => &mut metrics.targets,
                _ => continue,
            };
            *field = Some(value.clone());
        }
        metrics
    }

    fn refused(&self) -> bool {
        self.scrape.as_deref().is_some_and(|scrape| crate::annotations::switch(scrape) == Ok(false))
    }

    /// Ports and paths, where several are named: `PORT:PATH,PORT:PATH`.
    fn targets(&self, own: &str) -> Result<Vec<(String, String)>, String> {
        let entries = self.targets.iter().flat_map(|targets| targets.split(','));
        let entries = entries.map(str::trim).filter(|entry| !entry.is_empty());
        let target = |entry: &str| {
            let (port, path) = entry.split_once(':').unwrap_or((entry, ""));
            check(port.trim(), own)?;
            let path = if path.trim().is_empty() { "/metrics" } else { path.trim() };
            Ok((port.trim().to_owned(), path.to_owned()))
        };
        entries.map(target).collect()
    }

    /// What the sidecar is told; nothing where nothing was said.
    fn variable(&self, targets: &[(String, String)]) -> Option<Value> {
        let mut told = json!({});
        let (port, path) =
            targets.first().map_or((self.port.clone(), self.path.clone()), |(port, path)| {
                (Some(port.clone()), Some(path.clone()))
            });
        for (name, value) in [("scrape", self.scrape.clone()), ("path", path), ("port", port)] {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                told[name] = value.into();
            }
        }
        if !targets.is_empty() {
            let targets = targets.iter().map(|(port, path)| json!({ "port": port, "path": path }));
            told["targets"] = targets.collect();
        }
        told.as_object().is_some_and(|told| !told.is_empty()).then_some(told)
    }
}

/// A port of the workload's metrics is one, and none of the sidecar's.
fn check(text: &str, own: &str) -> Result<(), String> {
    let port = tidegate_capture::port(text).map_err(|wrong| wrong.to_string())?;
    if RESERVED.contains(&port) || port.to_string() == own {
        return Err(format!("{port} is a port of the sidecar itself: write one of the workload's"));
    }
    Ok(())
}
