//! What a workload asks of its sidecar, laid over the settings: annotations are read here, and valid behind.

use std::collections::BTreeMap;
use std::fmt::Display;

use serde_json::{Map, Value, json};
use tidegate_capture::{Mode, Name, Options, list, port, some_ranges};

use crate::config::{self, ProxyConfig};
use crate::pod::Pod;
use crate::quantity::is_quantity;
use crate::workload::Owner;
use crate::{Readiness, Settings, Wrong};

/// What kind of proxy a pod gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Template {
    /// One beside a workload.
    Sidecar,
    /// One that is the workload.
    Gateway,
}

/// What is to be injected.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub template: Template,
    /// `None`: nothing is redirected.
    pub mode: Option<Mode>,
    pub capture: Options,
    pub status_port: u16,
    pub readiness: Readiness,
    pub native: bool,
    /// Whether the workload waits for its sidecar.
    pub holds_application: bool,
    pub rewrites_probes: bool,
    /// Whether the sidecar answers for the metrics of both.
    pub merges_metrics: bool,
    /// Whether the sidecar binds ports below 1024.
    pub binds_low_ports: bool,
    pub image: String,
    pub init_image: String,
    pub resources: Value,
    pub log_level: String,
    pub component_log_level: String,
    pub agent_log_level: String,
    /// A ConfigMap with a bootstrap of the user's own.
    pub bootstrap: Option<String>,
    pub volumes: Map<String, Value>,
    pub mounts: Map<String, Value>,
    pub proxy_config: Map<String, Value>,
    pub metadata: Vec<(String, String)>,
}

const MODE: &str = "sidecar.istio.io/interceptionMode";
const TEMPLATES: &str = "inject.istio.io/templates";
pub(crate) const MERGE_METRICS: &str = "prometheus.istio.io/merge-metrics";

/// Annotations that begin like those of sidecars have an effect if they stand here.
const KNOWN: [&str; 35] = [
    MODE,
    TEMPLATES,
    crate::workload::STATUS,
    "sidecar.istio.io/inject",
    "sidecar.istio.io/agentLogLevel",
    "sidecar.istio.io/bootstrapOverride",
    "sidecar.istio.io/capNetBindService",
    "sidecar.istio.io/componentLogLevel",
    "sidecar.istio.io/logLevel",
    "sidecar.istio.io/nativeSidecar",
    "sidecar.istio.io/proxyCPU",
    "sidecar.istio.io/proxyCPULimit",
    "sidecar.istio.io/proxyImage",
    "sidecar.istio.io/proxyMemory",
    "sidecar.istio.io/proxyMemoryLimit",
    "sidecar.istio.io/rewriteAppHTTPProbers",
    "sidecar.istio.io/userVolume",
    "sidecar.istio.io/userVolumeMount",
    "status.sidecar.istio.io/port",
    "readiness.status.sidecar.istio.io/initialDelaySeconds",
    "readiness.status.sidecar.istio.io/periodSeconds",
    "readiness.status.sidecar.istio.io/failureThreshold",
    "traffic.sidecar.istio.io/includeOutboundIPRanges",
    "traffic.sidecar.istio.io/excludeOutboundIPRanges",
    "traffic.sidecar.istio.io/includeOutboundPorts",
    "traffic.sidecar.istio.io/excludeOutboundPorts",
    "traffic.sidecar.istio.io/includeInboundPorts",
    "traffic.sidecar.istio.io/excludeInboundPorts",
    "traffic.sidecar.istio.io/excludeInterfaces",
    "traffic.sidecar.istio.io/kubevirtInterfaces",
    // Read by the control plane and by the proxy at run time.
    "sidecar.istio.io/statsInclusionPrefixes",
    "sidecar.istio.io/statsInclusionSuffixes",
    "sidecar.istio.io/statsInclusionRegexps",
    "sidecar.istio.io/extraStatTags",
    "sidecar.istio.io/statsHistogramBuckets",
];

/// Ports of the sidecar itself, of which nothing may be redirected: metrics and health.
const OWN_PORTS: [u16; 2] = [15090, 15021];

impl Plan {
    /// What a pod asks for, over the settings. Notes are added of what it asks for in vain.
    pub fn read(
        pod: &Pod,
        settings: &Settings,
        owner: &Owner,
        notes: &mut Vec<String>,
    ) -> Result<Self, Wrong> {
        let read = Reader { owner, annotations: &pod.annotations };
        read.tell_unknown(notes);
        let (proxy_config, fields) = proxy_config(&read, settings)?;
        let status_port = read
            .value("status.sidecar.istio.io/port", |text| {
                number(text).and_then(|port| u16::try_from(port).map_err(|_| A_PORT.to_owned()))
            })?
            .or(fields.status_port)
            .unwrap_or(settings.status_port);
        let flag = |name: &str, default: bool| {
            Ok::<_, Wrong>(read.value(name, switch)?.unwrap_or(default))
        };
        let text = |name: &str, default: &str| read.text(name).unwrap_or(default).to_owned();
        let image = read.value("sidecar.istio.io/proxyImage", image)?;
        Ok(Self {
            template: template(&read)?,
            mode: mode(&read, &fields, settings)?,
            capture: capture(&read, settings, status_port)?,
            status_port,
            readiness: readiness(&read, settings.readiness)?,
            native: flag("sidecar.istio.io/nativeSidecar", settings.native)?,
            holds_application: fields.holds_application.unwrap_or_default(),
            rewrites_probes: flag(
                "sidecar.istio.io/rewriteAppHTTPProbers",
                settings.rewrites_probes,
            )?,
            merges_metrics: flag(MERGE_METRICS, settings.merges_metrics)?,
            binds_low_ports: flag("sidecar.istio.io/capNetBindService", false)?,
            init_image: image
                .clone()
                .or_else(|| settings.init_image.clone())
                .unwrap_or_else(|| settings.image.clone()),
            image: image.unwrap_or_else(|| settings.image.clone()),
            resources: resources(&read)?,
            log_level: text("sidecar.istio.io/logLevel", "warning"),
            component_log_level: text("sidecar.istio.io/componentLogLevel", "misc:error"),
            agent_log_level: text("sidecar.istio.io/agentLogLevel", "default:info"),
            bootstrap: read.text("sidecar.istio.io/bootstrapOverride").map(str::to_owned),
            volumes: read.value("sidecar.istio.io/userVolume", by_name)?.unwrap_or_default(),
            mounts: read.value("sidecar.istio.io/userVolumeMount", by_name)?.unwrap_or_default(),
            proxy_config,
            metadata: fields.metadata,
        })
    }

    /// Whether the sidecar has to run as root: it takes connections by their mark, or binds low ports.
    pub fn runs_as_root(&self) -> bool {
        matches!(self.mode, Some(Mode::Tproxy { .. })) || self.binds_low_ports
    }
}

/// Reads annotations of one pod.
struct Reader<'a> {
    owner: &'a Owner,
    annotations: &'a BTreeMap<String, String>,
}

impl Reader<'_> {
    fn text(&self, name: &str) -> Option<&str> {
        self.annotations.get(name).map(String::as_str)
    }

    fn value<T, E: Display>(
        &self,
        name: &str,
        read: impl Fn(&str) -> Result<T, E>,
    ) -> Result<Option<T>, Wrong> {
        let Some(text) = self.text(name) else { return Ok(None) };
        read(text).map(Some).map_err(|why| self.wrong(name, why))
    }

    /// As [`Self::value`], of an annotation that stands for a flag of `kube-inject`.
    fn over<T, E: Display>(
        &self,
        name: &str,
        flag: &str,
        read: impl Fn(&str) -> Result<T, E>,
        below: &T,
    ) -> Result<T, Wrong>
    where
        T: Clone,
    {
        let Some(text) = self.text(name) else { return Ok(below.clone()) };
        read(text).map_err(|why| {
            let mut wrong = self.wrong(name, why);
            wrong.place = format!("{} (in place of --{flag})", wrong.place);
            wrong
        })
    }

    fn wrong(&self, name: &str, why: impl Display) -> Wrong {
        Wrong {
            object: self.owner.told(),
            place: format!("annotation {name}"),
            reason: why.to_string(),
        }
    }

    fn tell_unknown(&self, notes: &mut Vec<String>) {
        let is_ours =
            |name: &str| name.contains("sidecar.istio.io/") || name.starts_with("inject.istio.io/");
        for name in
            self.annotations.keys().filter(|name| is_ours(name) && !KNOWN.contains(&name.as_str()))
        {
            notes.push(format!("{}: annotation {name} has no effect", self.owner.told()));
        }
    }
}

fn proxy_config(
    read: &Reader<'_>,
    settings: &Settings,
) -> Result<(Map<String, Value>, ProxyConfig), Wrong> {
    let mut config = settings.proxy_config.clone();
    if let Some(own) = read.value(config::ANNOTATION, config::parse)? {
        config::lay_over(&mut config, &own);
    }
    let fields = config::read(&config).map_err(|why| read.wrong(config::ANNOTATION, why))?;
    Ok((config, fields))
}

fn template(read: &Reader<'_>) -> Result<Template, Wrong> {
    let one = |name: &str| match name.trim() {
        "sidecar" => Ok(Template::Sidecar),
        "gateway" => Ok(Template::Gateway),
        other => Err(format!("{other:?} is no template that is there: write sidecar or gateway")),
    };
    let several = |text: &str| -> Result<Template, String> {
        let templates: Vec<Template> = text.split(',').map(one).collect::<Result<_, _>>()?;
        match templates.as_slice() {
            [first, others @ ..] if others.iter().all(|other| other == first) => Ok(*first),
            _ => Err("a pod is a sidecar's or a gateway, not both: write one of them".to_owned()),
        }
    };
    Ok(read.value(TEMPLATES, several)?.unwrap_or(Template::Sidecar))
}

/// How connections are redirected: `NONE` for not at all.
fn mode(
    read: &Reader<'_>,
    fields: &ProxyConfig,
    settings: &Settings,
) -> Result<Option<Mode>, Wrong> {
    let parse = |text: &str| match text {
        "NONE" => Ok(None),
        text => text.parse::<Mode>().map(Some).map_err(|why| format!("{why}, or NONE")),
    };
    if let Some(mode) = read.value(MODE, parse)? {
        return Ok(mode);
    }
    match &fields.interception_mode {
        None => Ok(Some(settings.capture.mode)),
        Some(text) => parse(text)
            .map_err(|why| read.wrong(config::ANNOTATION, format!("interceptionMode: {why}"))),
    }
}

fn capture(read: &Reader<'_>, settings: &Settings, status_port: u16) -> Result<Options, Wrong> {
    let base = &settings.capture;
    let traffic = |name: &str| format!("traffic.sidecar.istio.io/{name}");
    let ports = |text: &str| list(text, port);
    let names = |text: &str| list(text, str::parse::<Name>);
    let mut except = OWN_PORTS.to_vec();
    except.extend(read.over(
        &traffic("excludeInboundPorts"),
        "excludeInboundPorts",
        ports,
        &base.inbound_except,
    )?);
    if status_port != 0 {
        except.push(status_port);
    }
    let mut seen = Vec::new();
    except.retain(|port| {
        !seen.contains(port) && {
            seen.push(*port);
            true
        }
    });
    // The first is the name of today, the second that of before.
    let rerouted = ["istio.io/reroute-virtual-interfaces", &traffic("kubevirtInterfaces")]
        .into_iter()
        .find_map(|name| read.value(name, names).transpose())
        .transpose()?;
    Ok(Options {
        outbound: read.over(
            &traffic("includeOutboundIPRanges"),
            "includeIPRanges",
            str::parse,
            &base.outbound,
        )?,
        outbound_except: read.over(
            &traffic("excludeOutboundIPRanges"),
            "excludeIPRanges",
            some_ranges,
            &base.outbound_except,
        )?,
        outbound_ports: read.over(
            &traffic("includeOutboundPorts"),
            "includeOutboundPorts",
            ports,
            &base.outbound_ports,
        )?,
        outbound_ports_except: read.over(
            &traffic("excludeOutboundPorts"),
            "excludeOutboundPorts",
            ports,
            &base.outbound_ports_except,
        )?,
        inbound: read.over(
            &traffic("includeInboundPorts"),
            "includeInboundPorts",
            str::parse,
            &base.inbound,
        )?,
        inbound_except: except,
        interfaces_except: read
            .value(&traffic("excludeInterfaces"), names)?
            .unwrap_or_else(|| base.interfaces_except.clone()),
        rerouted_interfaces: rerouted.unwrap_or_else(|| base.rerouted_interfaces.clone()),
        ..base.clone()
    })
}

fn readiness(read: &Reader<'_>, base: Readiness) -> Result<Readiness, Wrong> {
    let seconds = |name: &str, below: u32| {
        let name = format!("readiness.status.sidecar.istio.io/{name}");
        Ok::<_, Wrong>(read.value(&name, number)?.unwrap_or(below))
    };
    Ok(Readiness {
        initial_delay: seconds("initialDelaySeconds", base.initial_delay)?,
        period: seconds("periodSeconds", base.period)?,
        failure_threshold: seconds("failureThreshold", base.failure_threshold)?,
    })
}

/// Requests and limits: those of the annotations alone, where there is one.
fn resources(read: &Reader<'_>) -> Result<Value, Wrong> {
    let quantity = |text: &str| match is_quantity(text) {
        true => Ok(text.to_owned()),
        false => Err(format!("{text:?} is no quantity: write one such as 100m or 128Mi")),
    };
    let mut resources = json!({});
    for (name, kind, resource) in [
        ("proxyCPU", "requests", "cpu"),
        ("proxyMemory", "requests", "memory"),
        ("proxyCPULimit", "limits", "cpu"),
        ("proxyMemoryLimit", "limits", "memory"),
    ] {
        if let Some(quantity) = read.value(&format!("sidecar.istio.io/{name}"), quantity)? {
            resources[kind][resource] = quantity.into();
        }
    }
    if resources.as_object().is_some_and(Map::is_empty) {
        resources = json!({
            "requests": { "cpu": "100m", "memory": "128Mi" },
            "limits": { "cpu": "2", "memory": "1Gi" },
        });
    }
    Ok(resources)
}

const A_PORT: &str = "a number from 0 to 65535 is expected";

fn number(text: &str) -> Result<u32, String> {
    text.trim().parse().map_err(|_| format!("{text:?} is no number: write one such as 15"))
}

/// True and false as Go reads them.
pub(crate) fn switch(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "True" | "TRUE" => Ok(true),
        "0" | "f" | "F" | "false" | "False" | "FALSE" => Ok(false),
        _ => Err(format!("{text:?} is neither: write true or false")),
    }
}

fn image(text: &str) -> Result<String, String> {
    match text.contains('/') {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "{text:?} has no registry: write one such as docker.io/istio/proxyv2:1.27.0"
        )),
    }
}

/// Volumes or mounts by their names, in JSON.
fn by_name(text: &str) -> Result<Map<String, Value>, String> {
    const WANTED: &str =
        "write JSON, a mapping of names to what they are, such as {\"a\": {\"emptyDir\": {}}}";
    let named: Map<String, Value> =
        serde_json::from_str(text).map_err(|error| format!("{error}: {WANTED}"))?;
    match named.values().all(Value::is_object) {
        true => Ok(named),
        false => Err(format!("not each of them is a mapping: {WANTED}")),
    }
}
