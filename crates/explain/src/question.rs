//! What is asked: one connection, and the request on it if it carries one.

use std::net::IpAddr;

/// A connection to a gateway or through a sidecar, and the request that is sent on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The way of the traffic, where a sidecar decides: outbound when absent.
    pub direction: Option<Direction>,
    /// The address that is connected to; any of the gateway's when absent, and for a sidecar one that is nobody's.
    pub address: Option<IpAddr>,
    /// The path of the Unix socket that is connected to, in place of an address and a port.
    pub unix_socket: Option<String>,
    /// The address that the client connects from; one that stands for any when absent.
    pub client_address: Option<IpAddr>,
    /// The port that is connected to.
    pub port: u16,
    /// What is spoken, below TLS if there is any.
    pub protocol: Protocol,
    /// How the connection is secured.
    pub security: Security,
    /// The server name in the ClientHello.
    pub sni: Option<String>,
    /// ALPN protocols in the ClientHello, in the client's order.
    pub alpn: Vec<String>,
    /// Whether the client shows a certificate when it is asked for one.
    pub client_certificate: bool,
    /// The names that this certificate carries (SANs); where none are known, whatever a handshake asks for.
    pub client_names: Vec<String>,
    /// The certificate itself and those that come with it, in DER; empty where only its names are known.
    pub client_chain: Vec<Vec<u8>>,
    /// The method.
    pub method: String,
    /// The Host header, with its port if it has one.
    pub host: String,
    /// Path and query.
    pub path: String,
    /// Other headers, in order.
    pub headers: Vec<(String, String)>,
}

/// The way of traffic through a sidecar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// From the workload.
    #[default]
    Outbound,
    /// To the workload.
    Inbound,
}

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP in the version that the handshake agrees on with ALPN; HTTP/1.1 where it agrees on none
    #[default]
    Http,
    /// HTTP/1.1
    Http1,
    /// HTTP/2
    Http2,
    /// Bytes that are no HTTP.
    Tcp,
}

/// How a connection is secured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Security {
    /// Not at all.
    #[default]
    Plain,
    /// Ordinary TLS.
    Tls,
}

impl Default for Question {
    /// `GET /` on port 80, in plain HTTP/1.1, of nobody.
    fn default() -> Self {
        Self {
            direction: None,
            address: None,
            unix_socket: None,
            client_address: None,
            port: 80,
            protocol: Protocol::default(),
            security: Security::default(),
            sni: None,
            alpn: Vec::new(),
            client_certificate: false,
            client_names: Vec::new(),
            client_chain: Vec::new(),
            method: "GET".to_owned(),
            host: String::new(),
            path: "/".to_owned(),
            headers: Vec::new(),
        }
    }
}
