//! `tidegate egress`: what was not let out, and what would let it out.

use std::net::{IpAddr, SocketAddr};

use clap::{Args, Subcommand, ValueEnum};
use serde_json::Value;
use tidegate_explain::remedy::{Refused, Wire, service_entries};

use super::objects::AccessArgs;
use super::proxy_config::table::Table;
use super::proxy_config::{fetch, process};
use super::values::socket_address;
use crate::failure::Outcome;
use crate::terminal;

const EXAMPLES: &str = "\x1b[1mExamples:\x1b[0m
  # What was refused, by workload, host and port
  tidegate egress denied

  # The ServiceEntries that would let it out
  tidegate egress denied -o yaml

  # Of the sidecar whose admin interface listens there
  tidegate egress denied --admin 127.0.0.1:15001";

/// Where the list of what was refused stands.
const DENIED: &str = "/egress/denied";
/// The namespace of manifests where the process says none.
const DEFAULT_NAMESPACE: &str = "default";

/// Flags of `tidegate egress`.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true, disable_help_subcommand = true)]
pub struct EgressArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List what was refused as no object describes where it wanted to go
    Denied(DeniedArgs),
}

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
struct DeniedArgs {
    /// How to show it
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    output: Output,

    /// Where the admin interface listens [default: where the process of the kubeconfig says; without one, 127.0.0.1:15000]
    #[arg(long, value_name = "ADDRESS:PORT")]
    #[arg(value_parser = socket_address, conflicts_with_all = ["kubeconfig", "context"])]
    admin: Option<SocketAddr>,

    #[command(flatten)]
    access: AccessArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// A line for each host or address, and port
    Table,
    /// ServiceEntries that would let it out
    Yaml,
    /// The admin interface's own JSON
    Json,
}

/// Fetches and prints.
pub fn run(args: &EgressArgs) -> Outcome<()> {
    let Verb::Denied(args) = &args.verb;
    let admin = match args.admin {
        Some(given) => given,
        None => process::admin(&args.access, None)?,
    };
    let told = fetch::json(admin, DENIED)?;
    terminal::print(match args.output {
        Output::Json => format!("{told:#}\n"),
        Output::Yaml => manifests(&told),
        Output::Table => table(&told),
    })
}

fn entries(told: &Value) -> impl Iterator<Item = &Value> {
    told["denied"].as_array().into_iter().flatten()
}

/// `NAME.NAMESPACE` of whom the process serves, where it says so.
fn workload(told: &Value) -> Option<String> {
    let metadata = &told["node"]["metadata"];
    let (name, namespace) = (metadata["NAME"].as_str()?, metadata["NAMESPACE"].as_str()?);
    Some(format!("{name}.{namespace}"))
}

fn table(told: &Value) -> String {
    let workload = workload(told);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let rows: Vec<Vec<String>> = entries(told)
        .map(|entry| {
            vec![
                workload.clone().unwrap_or_else(|| "-".to_owned()),
                entry["host"].as_str().unwrap_or("-").to_owned(),
                text(&entry["address"]),
                entry["port"].to_string(),
                text(&entry["protocol"]),
                entry["count"].to_string(),
                text(&entry["last"]),
                text(&entry["source"]),
            ]
        })
        .collect();
    let unlisted = match told["unlisted"].as_u64() {
        None | Some(0) => String::new(),
        Some(count) => format!("{count} more refusals are not, or no longer, in this list.\n"),
    };
    if rows.is_empty() {
        return format!("Nothing was refused.\n{unlisted}");
    }
    let heading = &["WORKLOAD", "HOST", "ADDRESS", "PORT", "PROTOCOL", "COUNT", "LAST", "SOURCE"];
    format!("{}{unlisted}", Table::new(heading, rows))
}

fn manifests(told: &Value) -> String {
    let refused: Vec<Refused> = entries(told).filter_map(refused).collect();
    let namespace = told["node"]["metadata"]["NAMESPACE"].as_str().unwrap_or(DEFAULT_NAMESPACE);
    let documents: Vec<String> =
        service_entries(&refused, namespace).iter().map(tidegate_yaml::write).collect();
    match documents.is_empty() {
        true => "# Nothing was refused.\n".to_owned(),
        false => documents.join("---\n"),
    }
}

/// An entry of the list; none for one that this version does not know.
fn refused(entry: &Value) -> Option<Refused> {
    let wire = match entry["protocol"].as_str()? {
        "HTTP" => Wire::Http,
        "TLS" => Wire::Tls,
        "TCP" => Wire::Tcp,
        _ => return None,
    };
    let address: Option<IpAddr> = entry["address"].as_str().and_then(|text| text.parse().ok());
    let port = entry["port"].as_u64().and_then(|port| u16::try_from(port).ok())?;
    Some(Refused { wire, host: entry["host"].as_str().map(str::to_owned), address, port })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told() -> Value {
        let entry = |protocol: &str, host: Option<&str>, port: u16| {
            let mut entry = json!({"protocol": protocol, "address": "192.0.2.1", "port": port, "count": 2,
                "source": "10.0.0.7", "first": "2026-01-01T00:00:00Z", "last": "2026-01-02T00:00:00Z"});
            if let Some(host) = host {
                entry["host"] = host.into();
            }
            entry
        };
        let all = [entry("TLS", Some("www.espn.com"), 443), entry("TCP", None, 22)];
        json!({"node": {"metadata": {"NAME": "sleep", "NAMESPACE": "own"}}, "denied": all, "unlisted": 3})
    }

    #[test]
    fn the_table_has_a_line_for_each_and_says_what_is_not_in_it() {
        let table = table(&told());
        let lines: Vec<Vec<&str>> =
            table.lines().map(|line| line.split_whitespace().collect()).collect();
        let last = "2026-01-02T00:00:00Z";
        assert_eq!(
            lines[1],
            ["sleep.own", "www.espn.com", "192.0.2.1", "443", "TLS", "2", last, "10.0.0.7"]
        );
        assert_eq!(lines[2][1..5], ["-", "192.0.2.1", "22", "TCP"]);
        assert_eq!(lines[3][..3], ["3", "more", "refusals"]);
        assert_eq!(super::table(&json!({"denied": []})), "Nothing was refused.\n");
    }

    #[test]
    fn manifests_are_documents_of_the_workloads_namespace() {
        let text = manifests(&told());
        let documents = tidegate_yaml::parse(&text);
        let hosts: Vec<Value> = documents
            .iter()
            .map(|document| document.as_ref().expect("YAML").to_json())
            .inspect(|manifest| assert_eq!(manifest["metadata"]["namespace"], "own"))
            .map(|manifest| manifest["spec"]["hosts"][0].clone())
            .collect();
        assert_eq!(hosts, ["www.espn.com", "192-0-2-1.address"]);
        assert_eq!(manifests(&json!({})), "# Nothing was refused.\n");
    }
}
