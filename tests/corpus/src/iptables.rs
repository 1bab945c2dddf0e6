//! Options of capture and the rules that come of them, chain by chain. Those of scope core are also loaded, each into a network namespace
//! of its own, where that can be made.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, anyhow, bail};
use serde::Deserialize;
use serde_json::{Map, Value};
use tidegate_capture::{Dns, Family, Groups, Name, Options, Table, list, port, restore, tables};
use tidegate_testing::namespace;
use tidegate_testing::tools::{self, Tool};

use crate::cases::{self, Tally};

#[derive(Deserialize)]
struct Case {
    #[serde(default)]
    scope: Scope,
    options: Map<String, Value>,
    expect: Expect,
}

/// What a case is about: rules of the other cases may name users that this system does not have.
#[derive(Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Scope {
    Core,
    #[default]
    Secondary,
}

#[derive(Deserialize)]
struct Expect {
    ipv4: Vec<Expected>,
    /// Absent where the case is not about IPv6.
    ipv6: Option<Vec<Expected>>,
}

#[derive(Deserialize)]
struct Expected {
    table: String,
    chains: Vec<String>,
    rules: Vec<String>,
}

/// Runs every case of a folder.
pub fn run(folder: &Path) -> Result<Tally> {
    let loads = can_load();
    cases::run(folder, |case: &Case| match judge(case)? {
        None if loads && case.scope == Scope::Core => refused(&options(&case.options)?),
        wrong => Ok(wrong),
    })
}

/// In what the rules are not as expected.
fn judge(case: &Case) -> Result<Option<String>> {
    let options = options(&case.options)?;
    let ipv4 = differs(&case.expect.ipv4, &tables(&options, Family::V4));
    let ipv6 = || {
        let expected = case.expect.ipv6.as_ref()?;
        differs(expected, &tables(&options, Family::V6)).map(|why| format!("IPv6: {why}"))
    };
    Ok(ipv4.or_else(ipv6))
}

/// Whether rules can be loaded here; if not that is said in words.
fn can_load() -> bool {
    let there = Tool::Iptables.need().is_some();
    let may = tools::is_root_of_all() && namespace::can_be_made();
    if there && !may {
        tools::skip("rules are loaded by root, into network namespaces");
    }
    there && may
}

/// What the system has against the rules.
fn refused(options: &Options) -> Result<Option<String>> {
    for (family, program) in [(Family::V4, "iptables-restore"), (Family::V6, "ip6tables-restore")] {
        let mut command = namespace::command(program);
        command.arg("--noflush").stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| program.to_owned())?;
        let mut stdin = child.stdin.take().context("a piped standard input")?;
        stdin.write_all(restore(&tables(options, family)).as_bytes())?;
        drop(stdin);
        let output = child.wait_with_output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Ok(Some(format!("{program}: {}", said.trim())));
        }
    }
    Ok(None)
}

/// The options, as Istio's own tests name them.
fn options(written: &Map<String, Value>) -> Result<Options> {
    let mut options = Options::default();
    let names = |text: &str| list(text, str::parse::<Name>);
    let mut servers = Vec::new();
    for (key, value) in written {
        let text = value.as_str().unwrap_or_default();
        match key.as_str() {
            "ProxyUID" => options.uids = names(text)?,
            "ProxyGID" => options.gids = names(text)?,
            "InboundInterceptionMode" => options.mode = text.parse()?,
            "InboundPortsInclude" => options.inbound = text.parse()?,
            "InboundPortsExclude" => options.inbound_except = list(text, port)?,
            "OutboundIPRangesInclude" => options.outbound = text.parse()?,
            "OutboundIPRangesExclude" => options.outbound_except = text.parse()?,
            "OutboundPortsInclude" => options.outbound_ports = list(text, port)?,
            "OwnerGroupsInclude" => options.groups = Groups::Only(names(text)?),
            "OwnerGroupsExclude" => options.groups = Groups::AllBut(names(text)?),
            "ExcludeInterfaces" => options.interfaces_except = names(text)?,
            "RerouteVirtualInterfaces" => options.rerouted_interfaces = names(text)?,
            "HostIPv4LoopbackCidr" => options.loopback = text.parse()?,
            "DNSServersV4" | "DNSServersV6" => {
                for server in value.as_array().into_iter().flatten() {
                    let text = server.as_str().ok_or_else(|| anyhow!("{server} is no server"))?;
                    servers.push(text.parse()?);
                }
            }
            // Queries are captured as far as there are servers; which family is printed, the expectation says.
            "RedirectDNS" | "EnableIPv6" | "DryRun" => {}
            unknown => bail!("{unknown} is an option that this runner does not know"),
        }
    }
    if written.get("RedirectDNS") == Some(&Value::Bool(true)) {
        options.dns = Dns::Servers(servers);
    }
    Ok(options)
}

/// The first table, chain or rule that is not as expected.
fn differs(expected: &[Expected], tables: &[Table]) -> Option<String> {
    let names = |names: BTreeSet<&str>| names.into_iter().collect::<Vec<_>>().join(", ");
    let wanted: BTreeSet<_> = expected.iter().map(|table| &*table.table).collect();
    let made: BTreeSet<_> = tables.iter().map(|table| table.name).collect();
    if wanted != made {
        return Some(format!("the tables are {}, not {}", names(made), names(wanted)));
    }
    expected.iter().find_map(|expected| {
        let table = tables.iter().find(|table| table.name == expected.table)?;
        let wanted: BTreeSet<_> = expected.chains.iter().map(String::as_str).collect();
        let made: BTreeSet<_> = table.chains.iter().copied().collect();
        if wanted != made {
            return Some(format!(
                "the chains of {} are {}, not {}",
                table.name,
                names(made),
                names(wanted)
            ));
        }
        let wanted = by_chain(&expected.rules);
        let made = by_chain(&table.rules);
        let chains: BTreeSet<_> = wanted.keys().chain(made.keys()).collect();
        chains.into_iter().find_map(|chain| {
            let of = |rules: &BTreeMap<String, Vec<String>>| rules.get(chain).cloned();
            let (wanted, made) = (of(&wanted).unwrap_or_default(), of(&made).unwrap_or_default());
            let place =
                (0..wanted.len().max(made.len())).find(|at| wanted.get(*at) != made.get(*at))?;
            let rule = |rules: &[String]| rules.get(place).map_or("none".to_owned(), Clone::clone);
            Some(format!(
                "{} {chain}[{place}] is {}, not {}",
                table.name,
                rule(&made),
                rule(&wanted)
            ))
        })
    })
}

/// The rules of each chain in their order, addresses written in one way.
fn by_chain(rules: &[String]) -> BTreeMap<String, Vec<String>> {
    let mut chains: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for rule in rules {
        let words = rule.split_whitespace().map(|word| match word.parse::<ipnet::IpNet>() {
            Ok(range) => range.to_string(),
            Err(_) => word.to_owned(),
        });
        let words: Vec<String> = words.collect();
        let chain = words.get(1).cloned().unwrap_or_default();
        chains.entry(chain).or_default().push(words.join(" "));
    }
    chains
}

#[cfg(test)]
mod tests {
    use super::*;

    const CASE: &str = r#"{
        "name": "n", "options": {"OutboundIPRangesInclude": "10.0.0.0/8"},
        "expect": {"ipv4": [{"table": "nat", "chains": [CHAINS], "rules": [RULES]}]}
    }"#;

    fn judged(chains: &[&str], rules: &[&str]) -> Option<String> {
        let quoted = |words: &[&str]| {
            words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(",")
        };
        let case = CASE.replace("CHAINS", &quoted(chains)).replace("RULES", &quoted(rules));
        judge(&serde_json::from_str(&case).expect("a case")).expect("options")
    }

    #[test]
    fn rules_are_loaded_by_the_system() {
        if !can_load() {
            return;
        }
        let of =
            |uid: &str| Options { uids: vec![uid.parse().expect("a name")], ..Options::default() };
        assert_eq!(refused(&of("1337")).expect("it is asked"), None);
        let why = refused(&of("nobody-is-called-so")).expect("it is asked");
        assert!(why.is_some_and(|why| why.contains("nobody-is-called-so")));
    }

    #[test]
    fn a_broken_expectation_fails() {
        let options =
            Options { outbound: "10.0.0.0/8".parse().expect("a range"), ..Options::default() };
        let made = tables(&options, Family::V4);
        let [nat] = made.as_slice() else { panic!("one table: {made:#?}") };
        let rules: Vec<&str> = nat.rules.iter().map(String::as_str).collect();
        assert_eq!(judged(&nat.chains, &rules), None);
        let told = |rules: &[&str]| judged(&nat.chains, rules).expect("a difference");
        assert!(told(&rules[1..]).starts_with("nat ISTIO_INBOUND[0] is -A ISTIO_INBOUND"));
        let (last, others) = rules.split_last().expect("rules");
        assert!(told(&[&[*last], others].concat()).contains("nat ISTIO_OUTPUT[0]"), "their order");
        assert!(
            told(&[&rules[..], &["-A FORWARD -j DROP"]].concat()).contains("FORWARD[0] is none")
        );
        assert!(judged(&nat.chains[1..], &rules).is_some(), "a chain");
        let unknown = CASE.replace("CHAINS", "").replace("RULES", "").replace("OutboundIPR", "X");
        assert!(judge(&serde_json::from_str(&unknown).expect("a case")).is_err(), "an option");
    }
}
