//! Values of flags: parsed once, valid ever after.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::OpenOptions;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;

use tidegate_api::validation::names;
use tidegate_pilot::AccessLog;
use tidegate_proxy::accesslog::Format;
use tidegate_proxy::upstream::dns;

use crate::failure::{Failure, Outcome};

/// More threads than any machine has cores for.
const MOST_WORKERS: usize = 1024;

/// `--port-map`: the port that a Gateway names, and the port that is bound for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortMap(BTreeMap<u16, u16>);

impl PortMap {
    /// All pairs: Gateway port, bound port.
    pub fn iter(&self) -> impl Iterator<Item = (u16, u16)> {
        self.0.iter().map(|(&gateway, &bound)| (gateway, bound))
    }
}

impl FromStr for PortMap {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut map = BTreeMap::new();
        for pair in text.split(',') {
            let (gateway, bound) = pair.split_once('=').ok_or_else(|| {
                format!("{pair:?} is not GATEWAY-PORT=BOUND-PORT, such as 80=8080")
            })?;
            let gateway = port(gateway)?;
            if gateway == 0 {
                return Err("no Gateway has a port 0".to_owned());
            }
            let bound = port(bound)?;
            if bound != 0 && map.values().any(|&other| other == bound) {
                return Err(format!("{bound} would be bound for two Gateway ports"));
            }
            if map.insert(gateway, bound).is_some() {
                return Err(format!("Gateway port {gateway} is mapped twice"));
            }
        }
        Ok(Self(map))
    }
}

fn port(text: &str) -> Result<u16, String> {
    text.trim().parse().map_err(|_| format!("{text:?} is not a port (0 to 65535)"))
}

/// `--gateway-labels`: a Gateway is served when its selector asks for no other labels than these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labels(pub BTreeMap<String, String>);

impl Labels {
    /// Those of Istio's own gateway for what comes in.
    #[must_use]
    pub fn ingress() -> Self {
        Self([("istio".to_owned(), "ingressgateway".to_owned())].into())
    }

    /// `istio-ingressgateway`, or what the label `istio` says in place of `ingressgateway`: the name of the gateway's
    /// Service and Deployment.
    #[must_use]
    pub fn gateway_name(&self) -> String {
        let role = self.0.get("istio").map_or("ingressgateway", String::as_str);
        format!("istio-{role}")
    }

    /// The labels of a gateway's Pod: those it was given, and `app`.
    #[must_use]
    pub fn of_gateway(&self) -> BTreeMap<String, String> {
        let app = BTreeMap::from([("app".to_owned(), self.gateway_name())]);
        app.into_iter().chain(self.0.clone()).collect()
    }
}

impl FromStr for Labels {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let pairs = text.split(',').map(|pair| match pair.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => label(key.trim(), value.trim()),
            _ => Err(format!("{pair:?} is not KEY=VALUE, such as istio=ingressgateway")),
        });
        pairs.collect::<Result<_, _>>().map(Self)
    }
}

/// A label by Kubernetes' rules. That of the key `istio` names the gateway's Service and Pod, too.
fn label(key: &str, value: &str) -> Result<(String, String), String> {
    names::qualified_name(key).map_err(|reason| format!("the key {key:?}: {reason}"))?;
    names::label_value(value).map_err(|reason| format!("the value {value:?}: {reason}"))?;
    if key == "istio" {
        let name = format!("istio-{value}");
        names::dns_label(&name)
            .map_err(|reason| format!("the gateway would be named {name:?}: {reason}"))?;
    }
    Ok((key.to_owned(), value.to_owned()))
}

impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs: Vec<String> =
            self.0.iter().map(|(key, value)| format!("{key}={value}")).collect();
        f.write_str(&pairs.join(","))
    }
}

/// `--access-log`: where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessLogFile {
    /// To standard output, which carries nothing else.
    Stdout,
    /// Nowhere; `kubectl logs` still shows the latest.
    Off,
    /// To a file, appended, reopened on SIGUSR1.
    File(PathBuf),
}

impl FromStr for AccessLogFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "" => Err("an empty path; use - for standard output, off for none".to_owned()),
            "-" | "/dev/stdout" => Ok(Self::Stdout),
            "off" => Ok(Self::Off),
            path => Ok(Self::File(PathBuf::from(path))),
        }
    }
}

impl AccessLogFile {
    /// What pilot is told of it.
    pub fn compiled(&self, format: &AccessLogFormat) -> AccessLog {
        let path = match self {
            Self::Stdout => "/dev/stdout".to_owned(),
            // Records are made all the same, for `kubectl logs`.
            Self::Off => "/dev/null".to_owned(),
            Self::File(path) => path.display().to_string(),
        };
        AccessLog { path, format: format.source().to_owned() }
    }

    /// Tries to open the file, as it will be opened later.
    ///
    /// # Errors
    /// It cannot be appended to.
    pub fn check(&self) -> Outcome<()> {
        let Self::File(path) = self else { return Ok(()) };
        // It is open already, and may be what cannot be opened by its name.
        if path.as_os_str() == "/dev/stderr" {
            return Ok(());
        }
        match OpenOptions::new().append(true).create(true).open(path) {
            Ok(_) => Ok(()),
            Err(error) => Err(Failure::new(format!("access log {}: {error}", path.display()))
                .or("--access-log FILE, in a folder that this user may write")
                .or("--access-log -, for standard output, or off")),
        }
    }
}

/// `--access-log-format`: a name, or a format string of Envoy's.
#[derive(Clone, Debug)]
pub struct AccessLogFormat {
    source: String,
    compiled: Format,
}

impl AccessLogFormat {
    /// The format string, line end included.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The same, compiled.
    pub fn compiled(&self) -> Format {
        self.compiled.clone()
    }
}

impl FromStr for AccessLogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let source = match Format::named(text) {
            Some(source) => source.to_owned(),
            // A shell's quotes keep `\n` as it is typed, and a line without an end is no line.
            None => format!("{}\n", text.trim_end_matches("\\n").trim_end_matches('\n')),
        };
        Format::from_flag(text).map_err(|error| error.to_string())?;
        let compiled = Format::text(&source, false).map_err(|error| error.to_string())?;
        Ok(Self { source, compiled })
    }
}

/// `--run-as`: the user and the group that traffic is carried as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunAs {
    /// The user's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
}

impl FromStr for RunAs {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (uid, gid) = text.split_once(':').unwrap_or((text, text));
        let number = |text: &str| {
            // The last number means "as it is" to the system.
            text.parse().ok().filter(|number| *number != u32::MAX).ok_or_else(|| {
                format!("{text:?} is not UID or UID:GID, as numbers, such as 1337 or 0:1337")
            })
        };
        Ok(Self { uid: number(uid)?, gid: number(gid)? })
    }
}

impl fmt::Display for RunAs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.uid, self.gid)
    }
}

/// Parses the name of a namespace or a workload.
pub fn dns_name(text: &str) -> Result<String, String> {
    names::dns_subdomain(text).map(|()| text.to_owned())
}

/// Parses a number of worker threads.
pub fn workers(text: &str) -> Result<NonZeroUsize, String> {
    let number = text.parse().ok().filter(|number: &NonZeroUsize| number.get() <= MOST_WORKERS);
    number.ok_or_else(|| format!("expected a number from 1 to {MOST_WORKERS}"))
}

/// Parses `ADDRESS:PORT`.
pub fn socket_address(text: &str) -> Result<SocketAddr, String> {
    let example = "expected ADDRESS:PORT, such as 127.0.0.1:6443 or [::1]:6443";
    text.parse().map_err(|_| example.to_owned())
}

/// Where DNS queries are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DnsListen {
    /// Nowhere.
    Off,
    /// Here.
    At(SocketAddr),
}

impl FromStr for DnsListen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            text => {
                socket_address(text).map(Self::At).map_err(|expected| format!("{expected}, or off"))
            }
        }
    }
}

/// Parses an IP address without a port.
pub fn ip_address(text: &str) -> Result<IpAddr, String> {
    let expected = "expected an IP address without a port and brackets, such as 0.0.0.0 or ::";
    text.parse().map_err(|_| expected.to_owned())
}

/// Parses `ADDRESS` or `ADDRESS:PORT` of a name server.
pub fn dns_server(text: &str) -> Result<SocketAddr, String> {
    let example = "expected ADDRESS or ADDRESS:PORT, such as 10.96.0.10:53";
    dns::parse_server(text).map_err(|_| example.to_owned())
}

/// Parses a path that has to exist.
pub fn existing_path(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    match path.metadata() {
        Ok(_) => Ok(path),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_maps() {
        let map: PortMap = "80=8080,443=0".parse().expect("a map");
        assert_eq!(map.iter().collect::<Vec<_>>(), [(80, 8080), (443, 0)]);
        for wrong in ["", "80", "0=1", "80=x", "80=70000", "80=1,80=2", "80=1,81=1"] {
            assert!(wrong.parse::<PortMap>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn labels() {
        let labels: Labels = "istio=egressgateway, app=x".parse().expect("labels");
        assert_eq!(labels.to_string(), "app=x,istio=egressgateway");
        assert_eq!(labels.gateway_name(), "istio-egressgateway");
        assert_eq!(labels.of_gateway()["app"], "x", "what is given counts");
        let edge: Labels = "istio=edge".parse().expect("labels");
        assert_eq!(edge.of_gateway()["app"], "istio-edge");
        assert!("istio".parse::<Labels>().is_err());
        for wrong in ["=x", "istio=My GW/x", "istio=Gate", "istio=", "a b=c", "x/y/z=c", "app=-"] {
            assert!(wrong.parse::<Labels>().is_err(), "{wrong}");
        }
        let long = format!("istio={}", "x".repeat(60));
        assert!(long.parse::<Labels>().is_err_and(|error| error.contains("istio-xxx")));
    }

    #[test]
    fn users_and_groups() {
        assert_eq!("1337".parse(), Ok(RunAs { uid: 1337, gid: 1337 }));
        assert_eq!("0:1337".parse(), Ok(RunAs { uid: 0, gid: 1337 }));
        for wrong in ["", "root", "1:", ":1", "-1", "4294967295"] {
            assert!(wrong.parse::<RunAs>().is_err_and(|error| error.contains("0:1337")), "{wrong}");
        }
    }

    #[test]
    fn access_log_files() {
        assert_eq!("-".parse(), Ok(AccessLogFile::Stdout));
        assert_eq!("off".parse(), Ok(AccessLogFile::Off));
        assert_eq!("/x".parse(), Ok(AccessLogFile::File("/x".into())));
        assert!("".parse::<AccessLogFile>().is_err());
    }

    #[test]
    fn access_log_formats() {
        let source = |text: &str| text.parse::<AccessLogFormat>().map(|format| format.source);
        assert!(
            source("istio-1.1").is_ok_and(|source| source.ends_with("%REQUESTED_SERVER_NAME%\n"))
        );
        assert_eq!(source("%PROTOCOL%\\n"), Ok("%PROTOCOL%\n".to_owned()));
        assert_eq!(source("%PROTOCOL%"), Ok("%PROTOCOL%\n".to_owned()));
        assert!(source("istio-0.8").is_err_and(|error| error.contains("istio-1.1")));
        assert!(source("%NO_SUCH%").is_err());
    }

    #[test]
    fn addresses() {
        assert_eq!(dns_server("::1").expect("an address").to_string(), "[::1]:53");
        assert_eq!(dns_server("10.0.0.1:5353").expect("an address").port(), 5353);
        assert!(socket_address("6443").is_err());
        assert!(ip_address("0.0.0.0:80").is_err());
    }
}
