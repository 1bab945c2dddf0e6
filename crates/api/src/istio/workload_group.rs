//! WorkloadGroup: what the WorkloadEntries of a group of machines have in common.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::json;

use super::service_entry::{SOCKET_WITHOUT_PORTS, WorkloadEntry};
use crate::scalar::Port;
use crate::schema::rules::says;

/// Describes a group of workloads outside the cluster, as a template of the WorkloadEntry that each gets when it joins.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadGroup {
    /// Labels and annotations of each entry.
    pub metadata: Option<WorkloadMeta>,
    /// What each entry has beside its address.
    #[schemars(schema_with = "template")]
    pub template: WorkloadEntry,
    /// How it is found out whether a workload takes traffic.
    pub probe: Option<ReadinessProbe>,
}

/// As [`WorkloadEntry`], but the address is each workload's own.
fn template(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = WorkloadEntry::json_schema(generator);
    schema.insert("x-kubernetes-validations".to_owned(), json!([SOCKET_WITHOUT_PORTS]));
    schema
}

/// Metadata of each entry.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "ObjectMeta")]
pub struct WorkloadMeta {
    /// Labels.
    #[schemars(extend("maxProperties" = 256))]
    pub labels: Option<BTreeMap<String, String>>,
    /// Annotations.
    #[schemars(extend("maxProperties" = 256))]
    pub annotations: Option<BTreeMap<String, String>>,
}

/// How it is found out whether a workload takes traffic.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-oneof" = [["httpGet", "tcpSocket", "exec", "grpc"]]))]
pub struct ReadinessProbe {
    /// Seconds between the workload's start and the first probe.
    #[schemars(range(min = 0))]
    pub initial_delay_seconds: Option<i32>,
    /// Seconds that an answer may take; 1 when absent.
    #[schemars(range(min = 0))]
    pub timeout_seconds: Option<i32>,
    /// Seconds between probes; 10 when absent.
    #[schemars(range(min = 0))]
    pub period_seconds: Option<i32>,
    /// Good answers in a row that make the workload ready; 1 when absent.
    #[schemars(range(min = 0))]
    pub success_threshold: Option<i32>,
    /// Bad answers in a row that make it unready; 3 when absent.
    #[schemars(range(min = 0))]
    pub failure_threshold: Option<i32>,
    /// A request that has to be answered with a good status.
    pub http_get: Option<HttpProbe>,
    /// A port that has to take a connection.
    pub tcp_socket: Option<TcpProbe>,
    /// A command that has to succeed.
    pub exec: Option<ExecProbe>,
    /// A health check of gRPC.
    pub grpc: Option<GrpcProbe>,
}

/// A request that has to be answered with a good status.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "HTTPHealthCheckConfig")]
pub struct HttpProbe {
    /// The path.
    pub path: Option<String>,
    /// The port.
    pub port: Port,
    /// The host; the workload's own when absent.
    pub host: Option<String>,
    /// HTTP or HTTPS; HTTP when absent.
    #[schemars(extend("x-kubernetes-validations" = [says(
        "self in ['', 'HTTP', 'HTTPS']",
        "scheme must be one of [HTTP, HTTPS]",
    )]))]
    pub scheme: Option<String>,
    /// Header fields.
    pub http_headers: Option<Vec<ProbeHeader>>,
}

/// A header field of a probe.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "HTTPHeader")]
pub struct ProbeHeader {
    /// Its name.
    #[schemars(regex(pattern = "^[-_A-Za-z0-9]+$"))]
    pub name: Option<String>,
    /// Its value.
    pub value: Option<String>,
}

/// A port that has to take a connection.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "TCPHealthCheckConfig")]
pub struct TcpProbe {
    /// The host; the workload's own when absent.
    pub host: Option<String>,
    /// The port.
    pub port: Port,
}

/// A command that has to succeed.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "ExecHealthCheckConfig")]
pub struct ExecProbe {
    /// The command and its arguments.
    #[schemars(inner(length(min = 1)))]
    pub command: Vec<String>,
}

/// A health check of gRPC.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "GrpcHealthCheckConfig")]
pub struct GrpcProbe {
    /// The port.
    pub port: Option<Port>,
    /// The service that is asked for.
    pub service: Option<String>,
}
