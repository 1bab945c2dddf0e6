//! The columns of each kind, as a Kubernetes API server prints them.

use serde_json::{Value, json};
use tidegate_api::Kind;

/// The head of a column.
#[derive(Debug)]
pub(super) struct Column {
    name: &'static str,
    /// `string`, `date` or `integer`.
    kind: &'static str,
    /// `name` for the column that kubectl prefixes with the resource.
    format: &'static str,
    /// Shown only with `-o wide`.
    wide: bool,
    description: &'static str,
}

impl Column {
    pub(super) fn definition(&self) -> Value {
        json!({
            "name": self.name,
            "type": self.kind,
            "format": self.format,
            "description": self.description,
            "priority": u8::from(self.wide),
        })
    }
}

const NAME: Column = Column {
    name: "Name",
    kind: "string",
    format: "name",
    wide: false,
    description: "Name of the object, unique in its namespace.",
};

const fn text(name: &'static str, description: &'static str) -> Column {
    Column { name, kind: "string", format: "", wide: false, description }
}

const fn wide(name: &'static str, description: &'static str) -> Column {
    Column { wide: true, ..text(name, description) }
}

/// Built-in kinds give their age as text.
const AGE: Column = text("Age", "Time since the object was created.");
/// Custom kinds give it as a date.
const AGE_DATE: Column = Column { kind: "date", ..AGE };

/// The columns of a kind, in the order of [`super::cells::cells`].
pub(super) fn columns(kind: Kind) -> Vec<Column> {
    match kind {
        Kind::Gateway => vec![NAME, AGE_DATE],
        Kind::VirtualService => vec![
            NAME,
            text("Gateways", "Gateways that apply these routes."),
            text("Hosts", "Hosts whose traffic is routed."),
            AGE_DATE,
        ],
        Kind::DestinationRule => vec![NAME, text("Host", "Host that the rule is about."), AGE_DATE],
        Kind::ServiceEntry => vec![
            NAME,
            text("Hosts", "Hosts of the service."),
            text("Location", "Whether the service is part of the mesh."),
            text("Resolution", "How the addresses of the hosts are found."),
            AGE_DATE,
        ],
        Kind::Namespace => vec![NAME, text("Status", "Active or Terminating."), AGE],
        Kind::Service => vec![
            NAME,
            text("Type", "How the Service is reached."),
            text("Cluster-IP", "Address within the cluster."),
            text("External-IP", "Addresses from outside."),
            text("Port(s)", "Ports, with the nodes' ports after a colon."),
            AGE,
            wide("Selector", "Labels of the pods behind it."),
        ],
        Kind::EndpointSlice => vec![
            NAME,
            text("AddressType", "What kind of addresses these are."),
            text("Ports", "Ports of every endpoint."),
            text("Endpoints", "Addresses of the endpoints."),
            AGE,
        ],
        Kind::Secret => {
            vec![NAME, text("Type", "What the data is for."), text("Data", "Number of keys."), AGE]
        }
        Kind::ConfigMap => vec![NAME, text("Data", "Number of keys."), AGE],
        Kind::Pod => vec![
            NAME,
            text("Ready", "Containers that are ready, of all."),
            text("Status", "State of the pod as a whole."),
            text("Restarts", "How often containers were restarted."),
            AGE,
            wide("IP", "Address of the pod."),
            wide("Node", "Node on which it runs."),
            wide("Nominated Node", "Node that is to be freed for it."),
            wide("Readiness Gates", "Further conditions for being ready."),
        ],
        Kind::Deployment => vec![
            NAME,
            text("Ready", "Pods that are ready, of those wanted."),
            text("Up-to-date", "Pods that have the latest template."),
            text("Available", "Pods that have been ready for long enough."),
            AGE,
            wide("Containers", "Names of the containers."),
            wide("Images", "Images of the containers."),
            wide("Selector", "Labels of its pods."),
        ],
        Kind::Event => vec![
            text("Last Seen", "Time since it happened last."),
            text("Type", "Normal or Warning."),
            text("Reason", "Why, in one word."),
            text("Object", "What it is about."),
            wide("Subobject", "Which part of that."),
            wide("Source", "Who says so."),
            text("Message", "What happened."),
            wide("First Seen", "Time since it happened first."),
            wide("Count", "How often it happened."),
            Column { wide: true, ..NAME },
        ],
    }
}
