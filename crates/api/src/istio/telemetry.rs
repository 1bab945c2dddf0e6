//! Telemetry: what is told of traffic, and to whom.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::policy::{self, ATTACHMENT, PolicySelector, TargetReference};
use crate::scalar::GoDuration;
use crate::schema::rules::{Says, says};
use crate::validation::Report;

/// Says which metrics, access logs and traces proxies produce, and who gets them.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = ATTACHMENT))]
pub struct Telemetry {
    /// The workloads that this is about, by their labels.
    pub selector: Option<PolicySelector>,
    /// The resource that this is about.
    pub target_ref: Option<TargetReference>,
    /// The resources that this is about.
    #[schemars(length(max = 16))]
    pub target_refs: Option<Vec<TargetReference>>,
    /// Traces.
    pub tracing: Option<Vec<Tracing>>,
    /// Metrics.
    pub metrics: Option<Vec<Metrics>>,
    /// Access logs.
    pub access_logging: Option<Vec<AccessLogging>>,
}

/// Which traffic is meant.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum WorkloadMode {
    /// Both.
    ClientAndServer,
    /// What workloads send.
    Client,
    /// What workloads get.
    Server,
}

/// Picks traffic.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ModeSelector {
    /// Which traffic; both when absent.
    pub mode: Option<WorkloadMode>,
}

/// Who gets what is told, by a name of the mesh config's `extensionProviders`.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProviderRef {
    /// Its name.
    #[schemars(length(min = 1))]
    pub name: String,
}

/// Which traces are made.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tracing {
    /// The traffic that is meant.
    #[serde(rename = "match")]
    pub condition: Option<ModeSelector>,
    /// Who gets the traces.
    pub providers: Option<Vec<ProviderRef>>,
    /// Share of requests that are traced, in percent.
    #[schemars(range(min = 0.0, max = 100.0), extend("nullable" = true))]
    pub random_sampling_percentage: Option<f64>,
    /// Whether no spans are reported.
    #[schemars(extend("nullable" = true))]
    pub disable_span_reporting: Option<bool>,
    /// Whether the context of traces is not passed on.
    #[schemars(extend("nullable" = true))]
    pub disable_context_propagation: Option<bool>,
    /// Tags of spans, by name.
    pub custom_tags: Option<BTreeMap<String, CustomTag>>,
    /// Whether the request's id decides about sampling.
    #[schemars(extend("nullable" = true))]
    pub use_request_id_for_trace_sampling: Option<bool>,
    /// Whether Istio's own tags are added.
    #[schemars(extend("nullable" = true))]
    pub enable_istio_tags: Option<bool>,
}

/// Where the value of a tag comes from.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-oneof" = [["literal", "environment", "header", "formatter"]]))]
pub struct CustomTag {
    /// A fixed value.
    pub literal: Option<TagText>,
    /// A variable of the proxy's environment.
    pub environment: Option<TagSource>,
    /// A header field of the request.
    pub header: Option<TagSource>,
    /// A format string of access logs.
    pub formatter: Option<TagText>,
}

/// A text of a tag.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TagText {
    /// The text.
    #[schemars(length(min = 1))]
    pub value: String,
}

/// Where the value of a tag is looked for.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TagSource {
    /// The name.
    #[schemars(length(min = 1))]
    pub name: String,
    /// The value where there is none of that name.
    pub default_value: Option<String>,
}

/// Which metrics are kept.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Metrics {
    /// Who gets the metrics.
    pub providers: Option<Vec<ProviderRef>>,
    /// Changes of single metrics.
    pub overrides: Option<Vec<MetricsOverride>>,
    /// Time between reports.
    pub reporting_interval: Option<GoDuration>,
}

/// A change of a metric.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MetricsOverride {
    /// The metrics that are meant.
    #[serde(rename = "match")]
    pub condition: Option<MetricSelector>,
    /// Whether they are not kept.
    #[schemars(extend("nullable" = true))]
    pub disabled: Option<bool>,
    /// Changes of their labels, by name.
    pub tag_overrides: Option<BTreeMap<String, TagOverride>>,
}

/// Picks metrics.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-oneof" = [["metric", "customMetric"]]))]
pub struct MetricSelector {
    /// One of Istio's own.
    pub metric: Option<Metric>,
    /// One by its name.
    #[schemars(length(min = 1))]
    pub custom_metric: Option<String>,
    /// Which traffic; both when absent.
    pub mode: Option<WorkloadMode>,
}

/// Istio's own metrics.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[schemars(rename = "IstioMetric")]
#[allow(missing_docs, reason = "each is the metric of that name")]
pub enum Metric {
    AllMetrics,
    RequestCount,
    RequestDuration,
    RequestSize,
    ResponseSize,
    TcpOpenedConnections,
    TcpClosedConnections,
    TcpSentBytes,
    TcpReceivedBytes,
    GrpcRequestMessages,
    GrpcResponseMessages,
}

const TAG: &[Says] = &[
    says(
        "has(self.operation) && self.operation == 'REMOVE' ? true : has(self.value) && self.value != ''",
        "value must be set when operation is UPSERT",
    ),
    says(
        "has(self.operation) && self.operation == 'REMOVE' ? !has(self.value) : true",
        "value must not be set when operation is REMOVE",
    ),
];

/// A change of a label.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = TAG))]
pub struct TagOverride {
    /// What is done; UPSERT when absent.
    pub operation: Option<TagOperation>,
    /// The new value, as an expression.
    pub value: Option<String>,
}

/// What is done to a label.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TagOperation {
    /// It is added or changed.
    Upsert,
    /// It is taken away.
    Remove,
}

/// Which access logs are written.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccessLogging {
    /// The traffic that is meant.
    #[serde(rename = "match")]
    pub condition: Option<ModeSelector>,
    /// Who gets the logs.
    pub providers: Option<Vec<ProviderRef>>,
    /// Whether nothing is logged.
    #[schemars(extend("nullable" = true))]
    pub disabled: Option<bool>,
    /// Which requests are logged.
    pub filter: Option<LogFilter>,
}

/// Which requests are logged.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogFilter {
    /// An expression of CEL that has to be true.
    pub expression: Option<String>,
}

impl Telemetry {
    /// Checks what goes beyond its shape.
    pub(crate) fn validate(&self, report: &mut Report) {
        let targets = self.target_refs.as_deref().unwrap_or_default();
        policy::validate_attachment(
            report,
            self.selector.as_ref(),
            self.target_ref.as_ref(),
            targets,
        );
    }
}
