//! `tidegate proxy-status`: whether gateways have what they were told, from the dumps of their admin interfaces.

use std::net::SocketAddr;

use clap::Args;
use serde_json::Value;

use super::objects::AccessArgs;
use super::proxy_config::process::{self, Gateway, Name};
use super::proxy_config::table::Table;
use super::proxy_config::{fetch, rows};
use crate::failure::{Failure, Outcome};
use crate::terminal;

const EXAMPLES: &str = "\x1b[1mExamples:\x1b[0m
  # Every gateway that the API shows
  tidegate proxy-status

  # What one of them refused, and why
  tidegate proxy-status istio-ingressgateway.istio-system

\x1b[1mCells:\x1b[0m
  SYNCED       everything of that sort is served
  NOT SENT     there is nothing of that sort
  3 REJECTED   of three it serves an older form, or none
  3 WARMING    three are not in use yet";

/// Flags of `tidegate proxy-status`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ProxyStatusArgs {
    /// One gateway, as istioctl names it: deploy/NAME, POD or POD.NAMESPACE; what it refused is told, too
    #[arg(value_name = "GATEWAY")]
    gateway: Option<Name>,

    /// The namespace of that gateway
    #[arg(short, long, value_name = "NAMESPACE", requires = "gateway")]
    namespace: Option<String>,

    #[command(flatten)]
    access: AccessArgs,
}

/// A sort of resources: its column, the message of a dump that has it, and the lists in that with what is served and what waits.
struct Sort {
    column: &'static str,
    message: &'static str,
    served: &'static str,
    waiting: &'static str,
}

const SORTS: [Sort; 5] = [
    Sort {
        column: "CDS",
        message: "ClustersConfigDump",
        served: "dynamic_active_clusters",
        waiting: "dynamic_warming_clusters",
    },
    Sort {
        column: "LDS",
        message: "ListenersConfigDump",
        served: "dynamic_listeners",
        waiting: "",
    },
    Sort {
        column: "EDS",
        message: "EndpointsConfigDump",
        served: "dynamic_endpoint_configs",
        waiting: "",
    },
    Sort {
        column: "RDS",
        message: "RoutesConfigDump",
        served: "dynamic_route_configs",
        waiting: "",
    },
    Sort {
        column: "SDS",
        message: "SecretsConfigDump",
        served: "dynamic_active_secrets",
        waiting: "dynamic_warming_secrets",
    },
];

const HEADING: [&str; 7] = ["NAME", "CDS", "LDS", "EDS", "RDS", "SDS", "VERSION"];

/// Fetches and prints.
///
/// # Errors
/// The API does not answer, shows no gateway, or not the one that is named.
pub fn run(args: &ProxyStatusArgs) -> Outcome<()> {
    let named = args.gateway.clone().map(|name| name.within(args.namespace.clone()));
    let gateways = process::gateways(&args.access, named.as_ref())?;
    let mut table = Vec::new();
    let mut refused = Vec::new();
    for gateway in &gateways {
        match look(gateway.admin) {
            Ok((dump, version)) => {
                table.push(row(gateway, &dump, version));
                refused.extend(refusals(&dump));
            }
            // A gateway on another machine shows its admin interface to that one alone.
            Err(failure) => {
                terminal::say(failure);
                let mut row = vec![gateway.to_string()];
                row.extend(SORTS.map(|_| "UNREACHABLE".to_owned()));
                row.push(String::new());
                table.push(row);
            }
        }
    }
    terminal::print(Table::new(&HEADING, table))?;
    match named {
        Some(_) if !refused.is_empty() => {
            terminal::print(format_args!("\n{}", Table::new(&["RESOURCE", "REJECTED"], refused)))
        }
        _ => Ok(()),
    }
}

fn look(admin: SocketAddr) -> Result<(Value, String), Failure> {
    let dump = fetch::json(admin, "/config_dump?include_eds")?;
    let about = fetch::json(admin, "/server_info")?;
    Ok((dump, about["version"].as_str().unwrap_or_default().to_owned()))
}

fn row(gateway: &Gateway, dump: &Value, version: String) -> Vec<String> {
    let mut row = vec![gateway.to_string()];
    row.extend(SORTS.iter().map(|sort| sort.state(dump)));
    row.push(version);
    row
}

impl Sort {
    fn state(&self, dump: &Value) -> String {
        let section = rows::section(dump, self.message).unwrap_or(&Value::Null);
        let (served, waiting) = (list(&section[self.served]), list(&section[self.waiting]));
        let rejected = served.iter().chain(waiting).filter(|one| is_rejected(one)).count();
        let warms = |one: &&Value| one["warming_state"].is_object();
        let warming = served.iter().filter(warms).count() + waiting.len();
        match (rejected, warming, served.len()) {
            (0, 0, 0) => "NOT SENT".to_owned(),
            (0, 0, _) => "SYNCED".to_owned(),
            (0, warming, _) => format!("{warming} WARMING"),
            (rejected, ..) => format!("{rejected} REJECTED"),
        }
    }
}

/// Every resource that was refused, with the reason.
fn refusals(dump: &Value) -> Vec<Vec<String>> {
    let mut refused = Vec::new();
    for sort in &SORTS {
        let section = rows::section(dump, sort.message).unwrap_or(&Value::Null);
        for one in list(&section[sort.served]).iter().chain(list(&section[sort.waiting])) {
            if is_rejected(one) {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                let failed = &one["error_state"]["failed_configuration"];
                let name = [&one["name"], &failed["name"], &failed["cluster_name"]];
                let name = name.into_iter().find(|name| name.is_string()).map(text);
                let name = format!("{} {}", sort.column, name.unwrap_or_default());
                refused.push(vec![name, text(&one["error_state"]["details"])]);
            }
        }
    }
    refused
}

fn is_rejected(one: &Value) -> bool {
    one["error_state"].is_object()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn cells_say_what_is_served_and_what_was_refused() {
        let refused = json!({"error_state": {
            "failed_configuration": {"name": "bad"},
            "details": "no such filter",
        }});
        let dump = json!({"configs": [
            {"@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump",
             "dynamic_active_clusters": [{"cluster": {"name": "a"}}],
             "dynamic_warming_clusters": [{"cluster": {"name": "b"}}]},
            {"@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump",
             "dynamic_listeners": [{"name": "0.0.0.0_80", "active_state": {}}, refused]},
            {"@type": "type.googleapis.com/envoy.admin.v3.RoutesConfigDump",
             "dynamic_route_configs": [{"route_config": {"name": "http.80"}}]},
        ]});
        let states = SORTS.map(|sort| sort.state(&dump));
        assert_eq!(states, ["1 WARMING", "1 REJECTED", "NOT SENT", "SYNCED", "NOT SENT"]);
        assert_eq!(refusals(&dump), [["LDS bad", "no such filter"]]);
    }
}
