//! `tidegate proxy-config`: what a running gateway has been told to do, from its admin interface.
//!
//! Works on Envoy's admin interface as well, since the shapes are Envoy's.

mod conditions;
pub(crate) mod fetch;
pub(crate) mod process;
pub(crate) mod rows;
pub(crate) mod table;

use std::net::SocketAddr;

use clap::{Args, ValueEnum};
use serde_json::Value;

use self::table::Table;
use super::objects::AccessArgs;
use super::values::socket_address;
use crate::failure::Outcome;
use crate::terminal;

const EXAMPLES: &str = "\x1b[1mExamples:\x1b[0m
  # Hosts, paths and conditions, and which VirtualService each route comes from
  tidegate proxy-config routes

  # Endpoints and whether they are healthy
  tidegate proxy-config endpoints

  # Everything, as /config_dump has it
  tidegate proxy-config all -o json

  # A process whose admin interface listens elsewhere
  tidegate proxy-config clusters --admin 127.0.0.1:9901";

/// Flags of `tidegate proxy-config`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ProxyConfigArgs {
    /// What to show
    what: Section,

    /// The gateway to ask, as istioctl names it: deploy/NAME, POD or POD.NAMESPACE [default: that of the API that is asked]
    #[arg(value_name = "GATEWAY", conflicts_with = "admin")]
    gateway: Option<process::Name>,

    /// The namespace of that gateway
    #[arg(short, long, value_name = "NAMESPACE", requires = "gateway")]
    namespace: Option<String>,

    /// How to show it
    #[arg(short, long, value_name = "FORMAT", default_value = "short")]
    output: Output,

    /// Where the admin interface listens [default: where the process of the kubeconfig says; without one, 127.0.0.1:15000]
    #[arg(long, value_name = "ADDRESS:PORT")]
    #[arg(value_parser = socket_address, conflicts_with_all = ["kubeconfig", "context"])]
    admin: Option<SocketAddr>,

    #[command(flatten)]
    access: AccessArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Section {
    /// Everything
    #[value(alias = "a")]
    All,
    /// Ports, and what is done with connections
    #[value(aliases = ["listener", "l"])]
    Listeners,
    /// Hosts and paths, and where they lead
    #[value(aliases = ["route", "r"])]
    Routes,
    /// Destinations
    #[value(aliases = ["cluster", "c"])]
    Clusters,
    /// Addresses of destinations
    #[value(aliases = ["endpoint", "ep"])]
    Endpoints,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// Tables
    Short,
    /// The admin interface's own JSON
    Json,
}

/// Fetches and prints.
pub fn run(args: &ProxyConfigArgs) -> Outcome<()> {
    let admin = match args.admin {
        Some(given) => given,
        None => {
            let named = args.gateway.clone().map(|name| name.within(args.namespace.clone()));
            process::admin(&args.access, named.as_ref())?
        }
    };
    terminal::print(match args.output {
        Output::Json => json(args.what, admin)?,
        Output::Short => short(args.what, admin)?,
    })
}

fn json(what: Section, admin: SocketAddr) -> Outcome<String> {
    let shown = match what {
        Section::Endpoints => fetch::json(admin, "/clusters?format=json")?,
        what => {
            let dump = fetch::json(admin, "/config_dump")?;
            match what.dump() {
                None => dump,
                Some(kind) => rows::section(&dump, kind).cloned().unwrap_or(Value::Null),
            }
        }
    };
    Ok(format!("{shown:#}\n"))
}

fn short(what: Section, admin: SocketAddr) -> Outcome<String> {
    let sections = match what {
        Section::All => {
            vec![Section::Listeners, Section::Routes, Section::Clusters, Section::Endpoints]
        }
        one => vec![one],
    };
    let tables: Vec<String> = sections
        .into_iter()
        .map(|section| table(section, admin).map(|table| table.to_string()))
        .collect::<Outcome<_>>()?;
    Ok(tables.join("\n"))
}

fn table(section: Section, admin: SocketAddr) -> Outcome<Table> {
    if section == Section::Endpoints {
        return Ok(rows::endpoints(&fetch::json(admin, "/clusters?format=json")?));
    }
    let dump = fetch::json(admin, "/config_dump")?;
    Ok(match section {
        Section::Listeners => rows::listeners(&dump),
        Section::Routes => rows::routes(&dump),
        _ => rows::clusters(&dump),
    })
}

impl Section {
    /// The message of `/config_dump` that holds the section.
    fn dump(self) -> Option<&'static str> {
        match self {
            Self::All | Self::Endpoints => None,
            Self::Listeners => Some("ListenersConfigDump"),
            Self::Routes => Some("RoutesConfigDump"),
            Self::Clusters => Some("ClustersConfigDump"),
        }
    }
}
