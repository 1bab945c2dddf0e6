//! `tidegate egress`: what was not let out, and what would let it out.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::Value;
use tidegate_explain::remedy::{Refused, Wire, service_entries};

use super::objects::AccessArgs;
use super::proxy_config::fetch;
use super::proxy_config::process::{self, Known};
use super::proxy_config::table::Table;
use super::values::socket_address;
use crate::api::{self, Had};
use crate::failure::{Failure, Outcome};
use crate::terminal;

const EXAMPLES: &str = "\x1b[1mExamples:\x1b[0m
  # What was refused, by workload, host and port: of the gateway, and of all workloads that its API shows
  tidegate egress denied

  # Of one workload, as `tidegate run --pod NAME` and `tidegate sidecar --pod NAME` name it
  tidegate egress denied --pod sleep -n default

  # The ServiceEntries that would let it out
  tidegate egress denied -o yaml

  # Of the process alone whose admin interface listens there, such as a sidecar without an API
  tidegate egress denied --admin 127.0.0.1:15001";

/// How long an API may take to say whose addresses are whose.
const PATIENCE: Duration = Duration::from_secs(10);
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

    /// Of this workload alone, by the name of its Pod
    #[arg(long, value_name = "NAME")]
    pod: Option<String>,

    /// Of workloads of this namespace alone [default: all; with --pod: default]
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: Option<String>,

    /// Of one process alone, whose admin interface listens here, instead of all that the API knows of
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
    /// The admin interface's own JSON, with the workload in each entry
    Json,
}

/// Fetches and prints.
pub fn run(args: &EgressArgs) -> Outcome<()> {
    let Verb::Denied(args) = &args.verb;
    let mut lists = args.narrowed(lists(args)?)?;
    if args.output != Output::Yaml {
        let asks = args.admin.is_none() && lists.iter().flat_map(entries).any(at_gateway);
        name_workloads(&mut lists, &if asks { pods(&args.access) } else { BTreeMap::new() });
    }
    terminal::print(match args.output {
        Output::Json => json(lists),
        Output::Yaml => manifests(&lists),
        Output::Table => table(&lists),
    })
}

/// Adds to each entry whose it is, as `NAME.NAMESPACE`, where that is known: at an egress gateway by the address, in `pods`.
fn name_workloads(lists: &mut [Value], pods: &BTreeMap<String, String>) {
    for told in lists {
        let own = workload(told);
        for entry in told["denied"].as_array_mut().into_iter().flatten() {
            let source = || entry["source"].as_str().and_then(|source| pods.get(source)).cloned();
            let named = if at_gateway(entry) { source() } else { own.clone() };
            if let Some(named) = named {
                entry["workload"] = named.into();
            }
        }
    }
}

/// The lists of all processes that are asked, each in the form of `/egress/denied`.
fn lists(args: &DeniedArgs) -> Outcome<Vec<Value>> {
    if let Some(admin) = args.admin {
        return Ok(vec![fetch::json(admin, DENIED)?]);
    }
    let Known { admin, mut lists } = process::refusals(&args.access)?;
    if let Some(admin) = admin {
        match fetch::json(admin, DENIED) {
            Ok(own) => lists.insert(0, own),
            // Nobody else was asked.
            Err(failure) if lists.is_empty() => return Err(failure),
            Err(failure) => {
                terminal::say(format!("what the gateway refused itself is not listed: {failure}"));
            }
        }
    }
    Ok(lists)
}

impl DeniedArgs {
    /// The lists of the workloads that are asked for.
    fn narrowed(&self, lists: Vec<Value>) -> Outcome<Vec<Value>> {
        let Self { pod, namespace, .. } = self;
        let namespace = namespace.as_deref().or(pod.as_ref().map(|_| DEFAULT_NAMESPACE));
        let is = |asked: Option<&str>, known: &Value| asked.is_none_or(|asked| known == asked);
        let wanted = |told: &Value| {
            let metadata = &told["node"]["metadata"];
            is(pod.as_deref(), &metadata["NAME"]) && is(namespace, &metadata["NAMESPACE"])
        };
        let known: Vec<String> = lists.iter().filter_map(workload).collect();
        let lists: Vec<Value> = lists.into_iter().filter(wanted).collect();
        match pod {
            Some(pod) if lists.is_empty() => {
                let namespace = namespace.unwrap_or(DEFAULT_NAMESPACE);
                let known = if known.is_empty() { "nobody".to_owned() } else { known.join(", ") };
                Err(Failure::new(format!(
                    "what {pod}.{namespace} is refused is not known here; that of these is: {known}"
                ))
                .or("--admin ADDRESS:PORT, where its sidecar's admin interface listens"))
            }
            _ => Ok(lists),
        }
    }
}

fn entries(told: &Value) -> impl Iterator<Item = &Value> {
    told["denied"].as_array().into_iter().flatten()
}

/// Whether an egress gateway refused it, and so what others wanted.
fn at_gateway(entry: &Value) -> bool {
    entry["gateway"] == true
}

/// `NAME.NAMESPACE` of Pods by their addresses; of none where the API does not say.
fn pods(access: &AccessArgs) -> BTreeMap<String, String> {
    let listed = api::wait(PATIENCE, async {
        let client = api::client(access).await?;
        Ok(api::get(&client, "/api/v1/pods").await)
    });
    let Ok(Ok(Had::There(list))) = listed else { return BTreeMap::new() };
    let name = |pod: &Value| {
        let (metadata, address) = (&pod["metadata"], pod["status"]["podIP"].as_str()?);
        let (name, namespace) = (metadata["name"].as_str()?, metadata["namespace"].as_str()?);
        Some((address.to_owned(), format!("{name}.{namespace}")))
    };
    list["items"].as_array().into_iter().flatten().filter_map(name).collect()
}

/// `NAME.NAMESPACE` of whom the process serves, where it says so.
fn workload(told: &Value) -> Option<String> {
    let metadata = &told["node"]["metadata"];
    let (name, namespace) = (metadata["NAME"].as_str()?, metadata["NAMESPACE"].as_str()?);
    Some(format!("{name}.{namespace}"))
}

/// One list is told as it came.
fn json(mut lists: Vec<Value>) -> String {
    match lists.len() {
        1 => format!("{:#}\n", lists.remove(0)),
        _ => format!("{:#}\n", Value::from(lists)),
    }
}

fn table(lists: &[Value]) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let row = |entry: &Value| {
        vec![
            entry["workload"].as_str().unwrap_or("-").to_owned(),
            entry["host"].as_str().unwrap_or("-").to_owned(),
            text(&entry["address"]),
            entry["port"].to_string(),
            text(&entry["protocol"]),
            entry["count"].to_string(),
            text(&entry["last"]),
            text(&entry["source"]),
        ]
    };
    let rows: Vec<Vec<String>> = lists.iter().flat_map(entries).map(row).collect();
    let unlisted = lists.iter().filter_map(|told| told["unlisted"].as_u64());
    let unlisted = match unlisted.fold(0, u64::saturating_add) {
        0 => String::new(),
        count => format!("{count} more refusals are not, or no longer, in this list.\n"),
    };
    if rows.is_empty() {
        return format!("Nothing was refused.\n{unlisted}");
    }
    let bounds: BTreeSet<&str> = lists.iter().flat_map(entries).filter_map(bounds).collect();
    let bounds: String = bounds.into_iter().map(|it| format!("{}\n", hides(it))).collect();
    let heading = &["WORKLOAD", "HOST", "ADDRESS", "PORT", "PROTOCOL", "COUNT", "LAST", "SOURCE"];
    format!("{}{unlisted}{bounds}", Table::new(heading, rows))
}

/// What says which of all that is described counts for the workload of an entry.
fn bounds(entry: &Value) -> Option<&str> {
    entry["bounded_by"].as_str()
}

/// What such an object does.
fn hides(bounds: &str) -> String {
    format!("{bounds} hides from its workloads what its spec.egress[].hosts do not bring in.")
}

/// What such an object has to bring in for these manifests to count, as comments.
fn brought_in(bounds: &str, manifests: &[Value]) -> String {
    let hosts = manifests.iter().filter_map(|manifest| manifest["spec"]["hosts"][0].as_str());
    let lines: String = hosts.map(|host| format!("#   - ./{host}\n")).collect();
    format!(
        "# {}\n# What follows counts once they bring it in, by \"./*\" or by these:\n{lines}# What another namespace \
         describes already need only be brought in, as NAMESPACE/HOST.\n",
        hides(bounds)
    )
}

/// ServiceEntries in the namespaces of those who were refused; workloads of a namespace share them.
fn manifests(lists: &[Value]) -> String {
    let mut by_namespace: BTreeMap<&str, Vec<Refused>> = BTreeMap::new();
    let mut bounded: BTreeMap<&str, (&str, Vec<Refused>)> = BTreeMap::new();
    for told in lists {
        let namespace = told["node"]["metadata"]["NAMESPACE"].as_str();
        let namespace = namespace.unwrap_or(DEFAULT_NAMESPACE);
        let known = by_namespace.entry(namespace).or_default();
        let own = workload(told);
        for entry in entries(told) {
            let Some(refused) = refused(entry) else { continue };
            let gateway = own.clone().filter(|_| at_gateway(entry));
            if let Some(bounds) = bounds(entry) {
                let (_, hidden) = bounded.entry(bounds).or_insert((namespace, Vec::new()));
                hidden.push(refused.clone());
            }
            known.push(Refused { gateway, ..refused });
        }
    }
    let comments = bounded.into_iter().map(|(bounds, (namespace, refused))| {
        brought_in(bounds, &service_entries(&refused, namespace))
    });
    let objects = by_namespace
        .into_iter()
        .flat_map(|(namespace, refused)| service_entries(&refused, namespace));
    let documents: Vec<String> = objects.map(|object| tidegate_yaml::write(&object)).collect();
    match documents.is_empty() {
        true => "# Nothing was refused.\n".to_owned(),
        false => format!("{}{}", comments.collect::<String>(), documents.join("---\n")),
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
    let host = entry["host"].as_str().map(str::to_owned);
    Some(Refused { wire, host, address, port, gateway: None })
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

    fn table(lists: &[Value], pods: &BTreeMap<String, String>) -> String {
        let mut lists = lists.to_vec();
        name_workloads(&mut lists, pods);
        super::table(&lists)
    }

    #[test]
    fn json_says_whose_each_entry_is() {
        let mut lists = vec![told()];
        name_workloads(&mut lists, &BTreeMap::new());
        let told: Value = serde_json::from_str(&json(lists)).expect("JSON");
        assert_eq!(told["denied"][1]["workload"], "sleep.own");
    }

    #[test]
    fn the_table_has_a_line_for_each_and_says_what_is_not_in_it() {
        let mut other = told();
        other["node"]["metadata"]["NAME"] = "curl".into();
        let table = table(&[told(), other], &BTreeMap::new());
        let lines: Vec<Vec<&str>> =
            table.lines().map(|line| line.split_whitespace().collect()).collect();
        let last = "2026-01-02T00:00:00Z";
        assert_eq!(
            lines[1],
            ["sleep.own", "www.espn.com", "192.0.2.1", "443", "TLS", "2", last, "10.0.0.7"]
        );
        assert_eq!(lines[2][1..5], ["-", "192.0.2.1", "22", "TCP"]);
        assert_eq!(lines[3][..2], ["curl.own", "www.espn.com"]);
        assert_eq!(lines[5][..3], ["6", "more", "refusals"]);
        let nothing = super::table(&[json!({"denied": []})]);
        assert_eq!(nothing, "Nothing was refused.\n");
    }

    #[test]
    fn manifests_are_documents_of_the_workloads_namespaces() {
        let mut other = told();
        other["node"]["metadata"]["NAMESPACE"] = "another".into();
        let text = manifests(&[told(), told(), other]);
        let documents = tidegate_yaml::parse(&text);
        let of: Vec<(Value, Value)> = documents
            .iter()
            .map(|document| document.as_ref().expect("YAML").to_json())
            .map(|it| (it["metadata"]["namespace"].clone(), it["spec"]["hosts"][0].clone()))
            .collect();
        let expected = ["another", "own"].map(|namespace| {
            ["www.espn.com", "192-0-2-1.address"].map(|host| (namespace.into(), host.into()))
        });
        assert_eq!(of, expected.concat());
        assert_eq!(manifests(&[json!({})]), "# Nothing was refused.\n");
    }

    #[test]
    fn who_hides_what_a_workload_does_not_see_is_said_beside_what_would_let_it_out() {
        let mut told = told();
        told["denied"][0]["bounded_by"] = "Sidecar own/default".into();
        let lists = [told];
        let listed = table(&lists, &BTreeMap::new());
        let last = listed.lines().last().expect("a line");
        assert!(last.starts_with("Sidecar own/default hides"), "{listed}");
        let text = manifests(&lists);
        let comments: Vec<&str> = text.lines().take_while(|line| line.starts_with('#')).collect();
        assert!(
            comments[0].contains("Sidecar own/default hides")
                && comments[0].contains("egress[].hosts")
        );
        assert!(comments.contains(&"#   - ./www.espn.com"), "{text}");
        assert!(!text.contains("./192-0-2-1"), "{text}");
        assert_eq!(tidegate_yaml::parse(&text).len(), 2, "{text}");
    }

    #[test]
    fn one_workload_is_asked_for_by_its_pod_and_one_that_is_unknown_is_said_so() {
        let mut other = told();
        other["node"]["metadata"]["NAME"] = "curl".into();
        let narrowed = |pod: Option<&str>, namespace: Option<&str>| {
            let args = DeniedArgs {
                output: Output::Table,
                pod: pod.map(str::to_owned),
                namespace: namespace.map(str::to_owned),
                admin: None,
                access: AccessArgs::default(),
            };
            let lists = args.narrowed(vec![told(), other.clone()]).map_err(|why| why.to_string());
            lists.map(|lists| lists.iter().filter_map(workload).collect::<Vec<_>>())
        };
        assert_eq!(narrowed(Some("curl"), Some("own")).expect("it is known"), ["curl.own"]);
        assert_eq!(narrowed(None, Some("own")).expect("they are known").len(), 2);
        assert_eq!(narrowed(None, Some("other")).expect("nobody's"), Vec::<String>::new());
        let why = narrowed(Some("curl"), None).expect_err("it is of another namespace");
        assert!(why.contains("curl.default") && why.contains("sleep.own, curl.own"), "{why}");
    }

    #[test]
    fn what_a_gateway_refused_is_its_clients_and_is_let_out_through_it() {
        let mut told = told();
        told["node"]["metadata"] =
            json!({"NAME": "istio-egressgateway", "NAMESPACE": "istio-system"});
        for entry in told["denied"].as_array_mut().expect("a list") {
            entry["gateway"] = true.into();
        }
        let lists = [told];
        let pods = BTreeMap::from([("10.0.0.7".to_owned(), "sleep.own".to_owned())]);
        assert_eq!(table(&lists, &pods).matches("\nsleep.own ").count(), 2);
        assert_eq!(table(&lists, &BTreeMap::new()).matches("\n- ").count(), 2);
        // By the gateway's address alone nobody can be let out.
        let [Ok(document)] = &tidegate_yaml::parse(&manifests(&lists))[..] else {
            panic!("one document")
        };
        let document = document.to_json();
        assert_eq!(document["spec"]["hosts"][0], "www.espn.com");
        let annotation = &document["metadata"]["annotations"]["tidegate.dev/egress-gateway"];
        assert_eq!(annotation, "istio-egressgateway.istio-system");
    }
}
