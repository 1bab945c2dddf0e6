//! Command lines of Istio's image, by which injected containers are started, in the words of our own verbs: `istio-iptables …` is
//! `capture apply …`, and `proxy sidecar …` is `sidecar …` with what Istio's variables and files say of the Pod.
//!
//! A flag of Istio's means what it means there, or has nothing to say here, or is refused in words. Of one that neither knows our
//! own verb says so.

use std::ffi::OsString;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::path::Path;

use serde_json::Value;

use crate::failure::{Failure, Outcome};

/// What Istio's image calls its agent, whose verbs these are.
pub const AGENT: &str = "pilot-agent";

/// Where a Pod's labels are, as its own volume has them.
const LABELS: &str = "/etc/istio/pod/labels";
/// Where a workload's certificate in the mesh is, if somebody puts it there.
const CERTIFICATES: &str = "/var/run/secrets/workload-spiffe-credentials";
/// The domain that the sidecar knows Services by.
const DOMAIN: &str = "svc.cluster.local";
/// The mark and the routing table of TPROXY that the rules have.
const MARK: &str = "1337";
const ROUTES: &str = "133";

/// Flags of Istio's that no value follows.
const SWITCHES: &[&str] = &[
    "-n",
    "--dry-run",
    "--skip-rule-apply",
    "--run-validation",
    "--redirect-dns",
    "--drop-invalid",
    "--dual-stack",
    "--capture-all-dns",
    "--cni-mode",
    "--reconcile",
    "--cleanup-only",
    "--force-apply",
    "--native-nftables",
    "--profiling",
    "--log_as_json",
    "-h",
    "--help",
];

/// What a command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Meant {
    /// A verb of our own, in its words.
    Ours(Vec<OsString>),
    /// What Istio's agent does beside the proxy.
    Agents(Vec<OsString>),
}

/// What is around the process, as the Pod's manifest has it.
pub struct Pod<'a> {
    /// A variable of the environment.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// The text of a file.
    pub file: &'a dyn Fn(&Path) -> Option<String>,
    /// The addresses of its interfaces, but for loopback.
    pub addresses: &'a dyn Fn() -> Vec<IpAddr>,
}

impl Pod<'_> {
    /// A variable that says something.
    fn said(&self, name: &str) -> Option<String> {
        (self.variable)(name).filter(|value| !value.is_empty())
    }

    fn is_on(&self, name: &str) -> bool {
        self.said(name).is_some_and(|value| is_true(&value))
    }
}

/// What a command line, with the name of the program before it, asks for.
///
/// # Errors
/// It is one of Istio's that asks for what is not to be had here.
pub fn meant(line: Vec<OsString>, pod: &Pod<'_>) -> Outcome<Meant> {
    let own = line.first().map(|own| Path::new(own).file_name().unwrap_or(own));
    let is_agent = own.is_some_and(|own| own == AGENT);
    let Some(words) = line.iter().skip(1).map(|word| word.to_str()).collect::<Option<Vec<_>>>()
    else {
        return Ok(Meant::Ours(line));
    };
    let words = match words.as_slice() {
        ["istio-iptables", flags @ ..] => capture(flags, pod)?,
        ["proxy", "sidecar", flags @ ..] => sidecar(flags, pod)?,
        ["proxy", "router", ..] => {
            return Err(refused("proxy router", "the gateway of this program is another verb")
                .or("tidegate up --kubeconfig, as deploy/ has it"));
        }
        ["request" | "wait", ..] | [] if is_agent => return Ok(Meant::Agents(line)),
        _ => return Ok(Meant::Ours(line)),
    };
    let words = std::iter::once("tidegate".to_owned()).chain(words);
    Ok(Meant::Ours(words.map(OsString::from).collect()))
}

/// `istio-iptables` as `capture`.
fn capture(words: &[&str], pod: &Pod<'_>) -> Outcome<Vec<String>> {
    let refused = |flag: &str, why| Err(refused(&format!("istio-iptables {flag}"), why));
    let (mut verb, mut line) = ("apply", Vec::new());
    let mut switches = [
        ("--redirect-dns", pod.is_on("ISTIO_META_DNS_CAPTURE")),
        ("--capture-all-dns", false),
        ("--drop-invalid", pod.is_on("INVALID_DROP")),
    ];
    for given in flags(words) {
        let name = given.name;
        match name {
            "-n" | "--dry-run" if given.is_on() => verb = "print",
            "--cleanup-only" if given.is_on() => return Ok(line_of(&["capture", "remove"])),
            "--skip-rule-apply" | "--run-validation" | "--cni-mode" | "--network-namespace"
                if given.is_on() =>
            {
                return refused(name, "it is for Istio's CNI plugin, which is not there");
            }
            "-t" | "--istio-inbound-tproxy-mark" if !given.is(MARK) => {
                return refused(name, "packets are marked with 1337, and no other number");
            }
            "-r" | "--istio-inbound-tproxy-route-table" if !given.is(ROUTES) => {
                return refused(name, "marked packets are routed by table 133, and no other");
            }
            "--force-iptables-binary" => {
                line.extend(["--backend", given.text()].map(str::to_owned));
            }
            _ if says_nothing(name) => {}
            _ => match switches.iter_mut().find(|(switch, _)| *switch == name) {
                Some((_, on)) => *on = given.is_on(),
                None => line.extend(given.words()),
            },
        }
    }
    let on = switches.iter().filter(|(_, on)| *on).map(|(switch, _)| (*switch).to_owned());
    line.extend(on);
    for (variable, flag) in [
        ("ISTIO_OUTBOUND_OWNER_GROUPS", "--include-owner-groups"),
        ("ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE", "--exclude-owner-groups"),
    ] {
        let groups = pod.said(variable).filter(|groups| groups != "*");
        line.extend(groups.into_iter().flat_map(|groups| [flag.to_owned(), groups]));
    }
    let loopback = "ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR";
    if pod.said(loopback).is_some_and(|range| range != "127.0.0.1/32") {
        return refused(loopback, "of loopback, 127.0.0.1 alone is left alone");
    }
    let mut all = line_of(&["capture", verb]);
    all.extend(line);
    Ok(all)
}

/// `proxy sidecar` as `sidecar`.
fn sidecar(words: &[&str], pod: &Pod<'_>) -> Outcome<Vec<String>> {
    let refused = |flag: &str, why| Err(refused(&format!("proxy sidecar {flag}"), why));
    let config = proxy_config(pod)?;
    let workers = |text: &str| text.parse::<NonZeroUsize>().ok().map(|number| number.to_string());
    let mut concurrency = config["concurrency"].as_u64().and_then(|n| workers(&n.to_string()));
    let mut line = line_of(&["sidecar"]);
    for given in flags(words) {
        match given.name {
            "--domain" if !given.is("") && !given.text().ends_with(DOMAIN) => {
                return refused("--domain", "Services are known by svc.cluster.local alone");
            }
            "--meshConfig" if (pod.file)(Path::new(given.text())).is_some() => {
                line.extend(["--mesh-config", given.text()].map(str::to_owned));
            }
            "--concurrency" => concurrency = workers(given.text()).or(concurrency),
            "--log_output_level" => {
                line.extend(["--log-level".to_owned(), level(given.text()).to_owned()]);
            }
            "--stsPort" | "--tokenManagerPlugin" | "--templateFile"
                if !given.is("") && !given.is("0") =>
            {
                return refused(given.name, "nothing here does what it asks for");
            }
            "--domain"
            | "--meshConfig"
            | "--stsPort"
            | "--tokenManagerPlugin"
            | "--templateFile" => {}
            name if says_nothing(name) => {}
            _ => line.extend(given.words()),
        }
    }
    // Where nothing limits it, Kubernetes says what the node has.
    let concurrency = concurrency.or_else(|| workers(&pod.said("ISTIO_CPU_LIMIT")?));
    line.extend(concurrency.into_iter().flat_map(|number| ["--workers".to_owned(), number]));
    // As the rules do that its init container applies.
    line.extend(pod.is_on("ISTIO_META_DNS_CAPTURE").then(|| "--redirect-dns".to_owned()));
    line.extend(described(pod, &config));
    Ok(line)
}

/// What the Pod's variables and files say of it.
fn described(pod: &Pod<'_>, config: &Value) -> Vec<String> {
    let mode = pod.said("ISTIO_META_INTERCEPTION_MODE");
    let mode = mode.or_else(|| config["interceptionMode"].as_str().map(str::to_owned));
    let certificates = (pod.file)(&Path::new(CERTIFICATES).join("cert-chain.pem"));
    let first = pod.said("INSTANCE_IP").and_then(|text| text.parse::<IpAddr>().ok());
    let others = first.map(|first| (pod.addresses)().into_iter().filter(move |ip| *ip != first));
    let addresses = first.into_iter().chain(others.into_iter().flatten());
    let facts = [
        ("--namespace", pod.said("POD_NAMESPACE")),
        ("--pod", pod.said("POD_NAME")),
        ("--service-account", pod.said("SERVICE_ACCOUNT")),
        ("--labels", (pod.file)(Path::new(LABELS)).and_then(|text| labels(&text))),
        ("--workload-certs", certificates.map(|_| CERTIFICATES.to_owned())),
        ("--interception-mode", mode.filter(|mode| mode != "NONE")),
    ];
    let facts = facts.into_iter().filter_map(|(flag, value)| Some((flag, value?)));
    let addresses = addresses.map(|address| ("--address", address.to_string()));
    facts.chain(addresses).flat_map(|(flag, value)| [flag.to_owned(), value]).collect()
}

/// Istio's `ProxyConfig`, of which `concurrency` and `interceptionMode` count.
fn proxy_config(pod: &Pod<'_>) -> Outcome<Value> {
    let Some(text) = pod.said("PROXY_CONFIG") else { return Ok(Value::Null) };
    match tidegate_yaml::parse(&text).as_slice() {
        [] => Ok(Value::Null),
        [Ok(document)] => Ok(document.to_json()),
        [Err(fault), ..] => Err(Failure::in_yaml(fault, "PROXY_CONFIG", &text)),
        _ => Err(Failure::new("PROXY_CONFIG: one document is expected: Istio's ProxyConfig")),
    }
}

/// A level of Istio's own log, as in `default:info,ads:debug`, in our words.
fn level(text: &str) -> &'static str {
    let mut scopes =
        text.split(',').map(|scope| scope.split_once(':').unwrap_or(("default", scope)));
    let own = scopes.rfind(|(scope, _)| *scope == "default");
    match own.map_or("info", |(_, level)| level) {
        "none" => "off",
        "fatal" | "error" => "error",
        "warn" => "warn",
        "debug" => "debug",
        _ => "info",
    }
}

/// `KEY=VALUE,…` of the lines `KEY="VALUE"`, as Kubernetes writes them.
fn labels(text: &str) -> Option<String> {
    let pairs = text.lines().filter_map(|line| {
        let (key, value) = line.split_once('=')?;
        Some(format!("{key}={}", serde_json::from_str::<String>(value).ok()?))
    });
    let pairs: Vec<String> = pairs.collect();
    (!pairs.is_empty()).then(|| pairs.join(","))
}

/// Whether what a flag asks for is so in any case, or concerns what is not there: Envoy's own log and files, Istio's log as JSON.
fn says_nothing(name: &str) -> bool {
    let idle = [
        "-n",
        "--dry-run",
        "--cleanup-only",
        "--skip-rule-apply",
        "--run-validation",
        "--cni-mode",
        "--network-namespace",
        "-t",
        "--istio-inbound-tproxy-mark",
        "-r",
        "--istio-inbound-tproxy-route-table",
        "--iptables-probe-port",
        "--probe-timeout",
        "--dual-stack",
        "--reconcile",
        "--force-apply",
        "--native-nftables",
        "--proxyLogLevel",
        "--proxyComponentLogLevel",
        "--serviceCluster",
        "--outlierLogPath",
        "--profiling",
    ];
    idle.contains(&name) || name.starts_with("--log_") || name.starts_with("--vklog")
}

fn refused(what: &str, why: &str) -> Failure {
    Failure::new(format!("{what}: {why}"))
}

fn line_of(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn is_true(text: &str) -> bool {
    ["true", "1", "t"].contains(&text.to_ascii_lowercase().as_str())
}

/// A flag as it is given.
struct Given<'a> {
    name: &'a str,
    value: Option<&'a str>,
}

impl<'a> Given<'a> {
    fn text(&self) -> &'a str {
        self.value.unwrap_or_default()
    }

    fn is(&self, value: &str) -> bool {
        self.text() == value
    }

    fn is_on(&self) -> bool {
        self.value.is_none_or(|value| !value.is_empty() && value != "false" && value != "0")
    }

    fn words(&self) -> impl Iterator<Item = String> + use<'a> {
        [Some(self.name), self.value].into_iter().flatten().map(str::to_owned)
    }
}

/// Flags with their values, by the rules of Istio's commands: `--name=value`, `--name value`, and switches that may have `=false`.
fn flags<'a>(words: &[&'a str]) -> Vec<Given<'a>> {
    let (mut given, mut rest) = (Vec::new(), words);
    while let [word, after @ ..] = rest {
        rest = after;
        let value_follows = word.starts_with('-') && !SWITCHES.contains(word);
        let (name, mut value) = match word.split_once('=').filter(|_| word.starts_with("--")) {
            Some((name, value)) => (name, Some(value)),
            None => (*word, None),
        };
        if let (true, None, [next, after @ ..]) = (value_follows, value, rest)
            && !next.starts_with('-')
        {
            (value, rest) = (Some(*next), after);
        }
        given.push(Given { name, value });
    }
    given
}

#[cfg(test)]
mod tests;
