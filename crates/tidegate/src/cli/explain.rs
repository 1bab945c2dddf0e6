//! Flags of `tidegate explain`.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tidegate_explain::{Protocol, Question, Security};

use super::objects::AccessArgs;
use super::values::{Labels, existing_path, ip_address};
use crate::failure::{Failure, Outcome};

const EXAMPLES: &str = "\x1b[1mExamples:\x1b[0m
  # Where would this go, with these manifests?
  tidegate explain GET http://httpbin.example.com/status/418 -f ./manifests

  # The same of what the API server has, with a header
  tidegate explain GET http://app.example.com/api -H 'x-api-version: v2'

  # A connection without HTTP, for a server name
  tidegate explain CONNECT tcp://10.0.0.1:443 --tls --sni www.google.com -f ./manifests";

/// Flags of `tidegate explain`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ExplainArgs {
    /// The request's method
    pub method: String,

    /// Where the client sends it: http://HOST[:PORT]/PATH, https://…, or tcp://HOST:PORT
    pub url: Target,

    /// A header of the request; may be repeated
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", help_heading = "Request")]
    pub headers: Vec<Header>,

    /// Manifests: files, or folders; without them an API server is asked, that of a cluster or of `tidegate up`
    #[arg(short = 'f', long = "filename", value_name = "PATH", num_args = 1.., help_heading = "Objects")]
    #[arg(value_parser = existing_path, conflicts_with_all = ["kubeconfig", "context"])]
    pub files: Vec<PathBuf>,

    #[command(flatten)]
    pub access: AccessArgs,

    /// Whose configuration decides
    #[arg(long, value_name = "KIND", default_value = "gateway", help_heading = "Proxy")]
    pub proxy: ProxyKind,

    /// The namespace of the gateway or workload [default: istio-system for a gateway, else default]
    #[arg(long, value_name = "NAMESPACE", help_heading = "Proxy")]
    pub namespace: Option<String>,

    /// The labels of the gateway, which Gateways select, with `app=istio-…` as a running one has it [default: those of the
    /// gateway that is running, else istio=ingressgateway]; or those of the workload
    #[arg(long, value_name = "KEY=VALUE,…", help_heading = "Proxy")]
    pub labels: Option<Labels>,

    /// A mesh config, whose settings hold [default: that of the running process]
    #[arg(long, value_name = "FILE", value_parser = existing_path, help_heading = "Proxy")]
    pub mesh_config: Option<PathBuf>,

    /// The gateway's certificate in a mesh, for ISTIO_MUTUAL: a folder with cert-chain.pem, key.pem and root-cert.pem
    #[arg(long, value_name = "DIR", value_parser = existing_path, help_heading = "Proxy")]
    pub workload_certs: Option<PathBuf>,

    /// The workload asks its sidecar for names: hosts of ServiceEntries without an address get one there
    #[arg(long, help_heading = "Proxy")]
    pub dns_capture: bool,

    /// The way of the traffic through a sidecar
    #[arg(long, value_name = "WAY", help_heading = "Proxy")]
    pub direction: Option<Direction>,

    /// The address that the client connects to [default: any of the gateway's]
    #[arg(long, value_name = "ADDRESS", value_parser = ip_address, help_heading = "Connection")]
    pub address: Option<IpAddr>,

    /// The Unix socket that the client connects to, in place of an address and a port: its path, or @NAME
    #[arg(long, value_name = "PATH", conflicts_with_all = ["address", "port", "client_address"], help_heading = "Connection")]
    pub unix_socket: Option<String>,

    /// The address that the client connects from, as the gateway sees it [default: one that stands for any]
    #[arg(long, value_name = "ADDRESS", value_parser = ip_address, help_heading = "Connection")]
    pub client_address: Option<IpAddr>,

    /// The port that the client connects to [default: that of the URL]
    #[arg(long, value_name = "PORT", help_heading = "Connection")]
    pub port: Option<u16>,

    /// What is spoken [default: the version of HTTP that --alpn leads to, else http; tcp for tcp://]
    #[arg(long, value_name = "PROTOCOL", help_heading = "Connection")]
    pub protocol: Option<Spoken>,

    /// The connection is TLS, whatever the URL says
    #[arg(long, help_heading = "Connection")]
    pub tls: bool,

    /// The server name in the ClientHello; empty for none [default: the URL's host, unless it is an address]
    #[arg(long, value_name = "NAME", help_heading = "Connection")]
    pub sni: Option<String>,

    /// ALPN protocols in the ClientHello [default: h2 for http2, http/1.1 for http]
    #[arg(long, value_name = "PROTOCOL,…", value_delimiter = ',', help_heading = "Connection")]
    pub alpn: Option<Vec<String>>,

    /// Whether the client has a certificate to show: yes, no, or the certificate itself, a file in PEM
    #[arg(long, value_name = "yes|no|FILE", default_value = "no", help_heading = "Connection")]
    pub client_cert: ClientCert,

    /// The names in a certificate that is not given as a file (SANs): host names, URIs, addresses
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', help_heading = "Connection")]
    pub client_cert_san: Vec<String>,

    /// Show every candidate that lost, those for other ports, hosts and paths included
    #[arg(long)]
    pub all: bool,

    /// How to print the answer
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub output: Output,
}

/// `--proxy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProxyKind {
    /// A gateway
    Gateway,
    /// The sidecar of a workload
    Sidecar,
}

/// `--direction`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Direction {
    /// To the workload
    Inbound,
    /// From the workload
    Outbound,
}

/// `--protocol`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Spoken {
    /// HTTP/1.1
    Http,
    /// HTTP/2
    Http2,
    /// Bytes
    Tcp,
}

/// `--client-cert`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientCert {
    /// There is one.
    Yes,
    /// There is none.
    No,
    /// The chain, in DER.
    Chain(Vec<Vec<u8>>),
}

impl std::str::FromStr for ClientCert {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "yes" => return Ok(Self::Yes),
            "no" => return Ok(Self::No),
            _ => {}
        }
        let failed =
            |error: &dyn std::fmt::Display| format!("neither yes nor no, and as a file: {error}");
        let chain = CertificateDer::pem_file_iter(text).map_err(|error| failed(&error))?;
        let chain = chain.map(|der| der.map(|der| der.to_vec()));
        match chain.collect::<Result<Vec<_>, _>>() {
            Ok(chain) if chain.is_empty() => Err(failed(&"it has no certificate")),
            Ok(chain) => Ok(Self::Chain(chain)),
            Err(error) => Err(failed(&error)),
        }
    }
}

/// `-o`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    Text,
    /// For programs
    Json,
}

/// A header as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header(String, String);

impl std::str::FromStr for Header {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) =
            text.split_once(':').ok_or_else(|| format!("{text:?} is not NAME: VALUE"))?;
        let name = http::HeaderName::try_from(name.trim())
            .map_err(|_| format!("{:?} is no name of a header", name.trim()))?;
        Ok(Self(name.as_str().to_owned(), value.trim().to_owned()))
    }
}

/// What a URL says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    tcp: bool,
    tls: bool,
    authority: String,
    host: String,
    port: u16,
    path: String,
}

impl std::str::FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let example = || format!("{text:?} is not like http://HOST[:PORT]/PATH");
        let uri: http::Uri = text.parse().map_err(|_| example())?;
        let (tcp, tls, port) = match uri.scheme_str() {
            Some("http") => (false, false, Some(80)),
            Some("https") => (false, true, Some(443)),
            Some("tcp") => (true, false, None),
            _ => return Err(example()),
        };
        let authority = uri.authority().ok_or_else(example)?;
        // The default port is as none, so that clients leave it out of the Host (RFC 9110, section 4.2.3), as they do whose
        // password is in the URL.
        let named = port_of(authority)?.filter(|named| Some(*named) != port);
        let shown = match named {
            Some(named) => format!("{}:{named}", authority.host()),
            None => authority.host().to_owned(),
        };
        let port = named.or(port);
        Ok(Self {
            tcp,
            tls,
            authority: shown,
            host: authority.host().to_owned(),
            port: port.ok_or("a tcp:// URL needs a port")?,
            path: match uri.path_and_query().map_or("/", |path| path.as_str()) {
                // As clients send an empty path (RFC 9112, section 3.2.1).
                query if !query.starts_with('/') => format!("/{query}"),
                path => path.to_owned(),
            },
        })
    }
}

/// The port of an authority; `None` where it has none, or an empty one (RFC 3986, section 3.2.3).
fn port_of(authority: &http::uri::Authority) -> Result<Option<u16>, String> {
    let all = authority.as_str();
    let served = all.rsplit_once('@').map_or(all, |(_, served)| served);
    let written = served.strip_prefix(authority.host()).unwrap_or_default();
    match written.strip_prefix(':').unwrap_or(written) {
        "" => Ok(None),
        port => match port.parse() {
            Ok(0) | Err(_) => Err(format!("{port:?} is no port, which is between 1 and 65535")),
            Ok(port) => Ok(Some(port)),
        },
    }
}

impl ExplainArgs {
    /// The namespace of the proxy.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or(match self.proxy {
            ProxyKind::Gateway => "istio-system",
            ProxyKind::Sidecar => "default",
        })
    }

    /// The host of the URL, as a workload would look it up.
    #[must_use]
    pub fn dialled_host(&self) -> &str {
        self.url.host.strip_suffix('.').unwrap_or(&self.url.host)
    }

    /// The question that the flags ask.
    ///
    /// # Errors
    /// Flags that contradict each other.
    pub fn question(&self) -> Outcome<Question> {
        if self.proxy == ProxyKind::Gateway && self.direction.is_some() {
            let failure = Failure::new("--direction is for sidecars: a gateway has one");
            return Err(failure.or("--proxy sidecar"));
        }
        let has_file = matches!(self.client_cert, ClientCert::Chain(_));
        if has_file && !self.client_cert_san.is_empty() {
            let failure =
                Failure::new("the certificate of --client-cert FILE has names of its own");
            return Err(failure.or("leave --client-cert-san out"));
        }
        let direction = (self.proxy == ProxyKind::Sidecar).then_some(match self.direction {
            Some(Direction::Inbound) => tidegate_explain::Direction::Inbound,
            Some(Direction::Outbound) | None => tidegate_explain::Direction::Outbound,
        });
        let url = &self.url;
        let protocol = match (self.protocol, url.tcp) {
            (Some(Spoken::Http2), _) => Protocol::Http2,
            (Some(Spoken::Tcp), _) | (None, true) => Protocol::Tcp,
            (Some(Spoken::Http), _) => Protocol::Http1,
            (None, false) => Protocol::Http,
        };
        let tls = self.tls || url.tls;
        let alpn = match (&self.alpn, tls, protocol) {
            (Some(given), ..) => given.clone(),
            (None, true, Protocol::Http | Protocol::Http1) => vec!["http/1.1".to_owned()],
            (None, true, Protocol::Http2) => vec!["h2".to_owned()],
            _ => Vec::new(),
        };
        // RFC 6066 section 3: an address is no server name.
        let address = url.host.trim_matches(['[', ']']).parse::<IpAddr>();
        let sni = match &self.sni {
            Some(name) => Some(name.clone()).filter(|name| !name.is_empty()),
            // Nor has one a dot at its end.
            None => (tls && address.is_err()).then(|| self.dialled_host().to_owned()),
        };
        let host = self.headers.iter().find(|h| h.0 == "host").map(|h| h.1.clone());
        let headers = self.headers.iter().filter(|h| h.0 != "host");
        // A workload dials the address that its URL names; a gateway is dialled by whatever name.
        let dialled = address.ok().filter(|_| direction.is_some());
        Ok(Question {
            direction,
            address: self.address.or(dialled),
            unix_socket: self.unix_socket.clone(),
            client_address: self.client_address,
            port: self.port.unwrap_or(url.port),
            protocol,
            security: if tls { Security::Tls } else { Security::Plain },
            sni,
            alpn,
            client_certificate: self.client_cert != ClientCert::No
                || !self.client_cert_san.is_empty(),
            client_names: self.client_cert_san.clone(),
            client_chain: match &self.client_cert {
                ClientCert::Chain(chain) => chain.clone(),
                ClientCert::Yes | ClientCert::No => Vec::new(),
            },
            method: self.method.clone(),
            host: host.unwrap_or_else(|| url.authority.clone()),
            path: url.path.clone(),
            headers: headers.map(|h| (h.0.clone(), h.1.clone())).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: ExplainArgs,
    }

    fn question(line: &str) -> Outcome<Question> {
        let words = std::iter::once("explain").chain(line.split_whitespace());
        Line::try_parse_from(words).expect("a good line").args.question()
    }

    #[test]
    fn a_url_says_most() {
        let asked = question("GET https://a.com:8443/x?y=1").expect("a question");
        assert_eq!((asked.port, asked.security), (8443, Security::Tls));
        assert_eq!((asked.host.as_str(), asked.path.as_str()), ("a.com:8443", "/x?y=1"));
        assert_eq!(
            (asked.sni.as_deref(), asked.alpn.as_slice()),
            (Some("a.com"), &["http/1.1".to_owned()][..])
        );
        let plain = question("GET http://a.com -H Host:b.com -H X-A:1").expect("a question");
        assert_eq!((plain.port, plain.host.as_str(), plain.sni), (80, "b.com", None));
        assert_eq!(plain.headers, [("x-a".to_owned(), "1".to_owned())]);
        for (url, host) in [
            ("http://a.com:80/", "a.com"),
            ("https://a.com:443/", "a.com"),
            ("https://me:secret@a.com:80/", "a.com:80"),
            ("http://[::1]:80/", "[::1]"),
            ("http://a.com:/", "a.com"),
            ("http://81:81/", "81:81"),
        ] {
            assert_eq!(question(&format!("GET {url}")).expect("a question").host, host, "{url}");
        }
        let query = question("GET http://a.com?q").expect("a question");
        assert_eq!(query.path, "/?q", "as clients send it");
        let from = question("GET http://a.com --client-address 10.0.0.9").expect("a question");
        assert_eq!(from.client_address, "10.0.0.9".parse().ok());
        let address = question("GET https://10.0.0.1/ --sni=").expect("a question");
        assert_eq!(address.sni, None);
        let tcp = question("CONNECT tcp://a.com:443 --tls").expect("a question");
        assert_eq!((tcp.protocol, tcp.sni.as_deref()), (Protocol::Tcp, Some("a.com")));
        assert!(!tcp.client_certificate);
        let named = question("GET https://a.com --client-cert-san a.b,spiffe://c").expect("one");
        assert!(named.client_certificate, "who names it has it");
        assert_eq!(named.client_names, ["a.b", "spiffe://c"]);
        let dotted = question("GET https://a.com./").expect("a question");
        assert_eq!((dotted.host.as_str(), dotted.sni.as_deref()), ("a.com.", Some("a.com")));
        let sidecar = question("GET http://10.0.0.1/ --proxy sidecar").expect("a question");
        assert_eq!(sidecar.direction, Some(tidegate_explain::Direction::Outbound));
        assert_eq!(sidecar.address, "10.0.0.1".parse().ok());
        assert!(question("GET http://a.com --direction inbound").is_err());
    }

    #[test]
    fn a_certificate_may_be_given_as_a_file() {
        let ca = tidegate_testing::ca::Ca::new("clients");
        let file = ca.pem_file();
        let line = format!("GET https://a.com --client-cert {}", file.path().display());
        let asked = question(&line).expect("a question");
        assert!(asked.client_certificate && asked.client_chain.len() == 1);
        assert!(question(&format!("{line} --client-cert-san a.com")).is_err(), "it has its own");
        assert!("maybe".parse::<ClientCert>().is_err());
        std::fs::write(file.path(), "nothing").expect("written");
        assert!(file.path().display().to_string().parse::<ClientCert>().is_err(), "no certificate");
    }

    #[test]
    fn what_is_no_url_is_refused() {
        for wrong in ["a.com", "ftp://a.com/", "tcp://a.com", "http:///x"] {
            assert!(wrong.parse::<Target>().is_err(), "{wrong}");
        }
        for port in ["99999", "65536", "abc", "0"] {
            for scheme in ["http", "https"] {
                let wrong = format!("{scheme}://a.com:{port}/");
                assert!(wrong.parse::<Target>().is_err(), "{wrong}");
            }
        }
        assert!("a b: c".parse::<Header>().is_err());
    }
}
