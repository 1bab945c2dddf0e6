//! Istio's names: of clusters, listeners, routes and virtual hosts, and what short names stand for.

use std::net::{Ipv6Addr, SocketAddr};

use super::gateway::Server;

/// Virtual host that answers 404 where a port has no other.
pub const BLACKHOLE: &str = "blackhole";

/// Virtual host that answers 421 for hosts which other TLS terms hold for.
pub const MISDIRECTED: &str = "misdirected";

/// Cluster without endpoints: what is sent to it is closed.
pub const BLACK_HOLE_CLUSTER: &str = "BlackHoleCluster";

/// Cluster that sends to where the client dialled.
pub const PASSTHROUGH_CLUSTER: &str = "PassthroughCluster";

/// The cluster that sends requests to the host that they ask for, whichever that is.
pub const ALLOW_ANY_DYNAMIC_DNS_CLUSTER: &str = "AllowAnyDynamicDNSCluster";

/// The cache of the names that clients ask for.
pub const DNS_CACHE: &str = "dynamic_dns";

/// Cluster that sends what comes in to a workload to where the client dialled.
pub const INBOUND_PASSTHROUGH_CLUSTER: &str = "InboundPassthroughCluster";

/// What names of listeners for HTTP/3 begin with.
const UDP: &str = "udp_";

/// The gateway name that stands for all sidecars.
pub const MESH: &str = "mesh";

/// `outbound|PORT|SUBSET|HOST`; the subset may be empty.
#[must_use]
pub fn cluster(host: &str, subset: &str, port: u16) -> String {
    format!("outbound|{port}|{subset}|{host}")
}

/// `outbound|PORT|~tls|HOST`: a service to which the proxy speaks TLS in place of its client. No subset has such a name.
#[must_use]
pub fn cluster_in_tls(host: &str, port: u16) -> String {
    cluster(host, "~tls", port)
}

/// `inbound|ADDRESS_PORT`: the listener of a port of the workload that is really bound.
#[must_use]
pub fn bound_inbound(at: SocketAddr) -> String {
    format!("inbound|{}", listener(&at.ip().to_string(), at.port()))
}

/// `inbound|PORT||`: the workload itself, at one of its ports.
#[must_use]
pub fn inbound_cluster(port: u16) -> String {
    format!("inbound|{port}||")
}

/// `inbound|http|PORT`: the virtual host for requests to a port of the workload, by the number that its service has for it.
#[must_use]
pub fn inbound_virtual_host(port: u16) -> String {
    format!("inbound|http|{port}")
}

/// Whether a resource of a sidecar is for what comes in to its workload.
#[must_use]
pub fn is_inbound(name: &str) -> bool {
    let starts =
        [INBOUND_PASSTHROUGH_CLUSTER, "inbound|", crate::sidecar::inbound::VIRTUAL_INBOUND];
    starts.iter().any(|start| name.starts_with(start))
}

/// `jwks|PORT|SCHEME|HOST`: a cluster that keys of tokens are fetched through, where no service's does.
#[must_use]
pub fn keys_cluster(host: &str, port: u16, tls: bool) -> String {
    format!("jwks|{port}|{}|{host}", if tls { "https" } else { "http" })
}

/// `outbound_.PORT_.SUBSET_.HOST`: the name that proxies of a mesh ask each other for.
#[must_use]
pub fn mesh_server(host: &str, subset: &str, port: u16) -> String {
    format!("outbound_.{port}_.{subset}_.{host}")
}

/// The host, the port and the subset of a [`cluster`].
#[must_use]
pub fn of_cluster(name: &str) -> Option<(&str, u16, &str)> {
    let mut parts = name.splitn(4, '|').skip(1);
    let port = parts.next()?.parse().ok()?;
    let subset = parts.next()?;
    Some((parts.next()?, port, subset))
}

/// `ADDRESS_PORT`.
#[must_use]
pub fn listener(address: &str, port: u16) -> String {
    format!("{address}_{port}")
}

/// `udp_NAME`: the listener for HTTP/3 beside the one of a name. No other has such a name, as addresses do not begin so.
#[must_use]
pub fn over_udp(listener: &str) -> String {
    format!("{UDP}{listener}")
}

/// The listener that one for HTTP/3 stands beside; `None` where the name is that of another.
#[must_use]
pub fn beside_udp(name: &str) -> Option<&str> {
    name.strip_prefix(UDP)
}

/// The route configuration of a plain HTTP port: `http.PORT`, and `http.PORT.BIND` where the servers name
/// an address of their own. The port is the one that is listened on.
#[must_use]
pub fn http_routes(port: u16, bind: &str) -> String {
    if bind.is_empty() { format!("http.{port}") } else { format!("http.{port}.{bind}") }
}

/// The route configuration of a server that terminates HTTPS: `https.PORT.PORTNAME.GATEWAY.NAMESPACE`, and the
/// address behind it where the server names one.
#[must_use]
pub fn https_routes(port: u16, server: &Server) -> String {
    let (namespace, gateway) = server.gateway.split_once('/').unwrap_or(("", &server.gateway));
    let bind = if server.bind.is_empty() { "" } else { "." };
    format!("https.{port}.{}.{gateway}.{namespace}{bind}{}", server.port_name, server.bind)
}

/// The port that a route configuration of a gateway, or of a sidecar, is for.
#[must_use]
pub fn port_of_routes(name: &str) -> Option<u16> {
    let mut parts = name.split('.');
    match parts.next()? {
        "http" | "https" => parts.next()?.parse().ok(),
        _ if is_inbound(name) => of_cluster(name).map(|(_, port, _)| port),
        _ => name.rsplit(':').next()?.parse().ok(),
    }
}

/// The route configuration for connections that name no server, where several servers share their certificate.
#[must_use]
pub fn https_routes_without_name(port: u16, bind: &str) -> String {
    if bind.is_empty() { format!("https.{port}") } else { format!("https.{port}.{bind}") }
}

/// `HOST:PORT` with the Gateway server's port; an IPv6 address stands in brackets.
#[must_use]
pub fn virtual_host(host: &str, port: u16) -> String {
    if host.parse::<Ipv6Addr>().is_ok() {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// `HOST:PORT~alias`: where requests name a host by another name than its own. No port is written so.
#[must_use]
pub fn virtual_host_of_alias(alias: &str, port: u16) -> String {
    format!("{}~alias", virtual_host(alias, port))
}

/// The full name of a host that a resource of `namespace` writes: a name without a dot means a service of
/// that namespace, `*` and everything else mean themselves.
#[must_use]
pub fn full_host(written: &str, namespace: &str, domain: &str) -> String {
    if written.is_empty() || written == "*" || written.contains('.') {
        written.to_owned()
    } else {
        service_host(written, namespace, domain)
    }
}

/// The host of a Kubernetes Service; without a domain it ends with the namespace, as in Istio.
#[must_use]
pub fn service_host(name: &str, namespace: &str, domain: &str) -> String {
    match domain {
        "" => format!("{name}.{namespace}"),
        domain => format!("{name}.{namespace}.svc.{domain}"),
    }
}

/// The Service that DNS in a cluster knows by a name as well, and configuration does not: that of `name.namespace` or
/// `name.namespace.svc`.
#[must_use]
pub fn lengthened(host: &str, domain: &str) -> Option<String> {
    let mut parts = host.split('.');
    let (name, namespace) = (parts.next()?, parts.next()?);
    match (parts.next(), parts.next()) {
        (None | Some("svc"), None) => Some(service_host(name, namespace, domain)),
        _ => None,
    }
}

/// The names that [`lengthened`] takes for a Service's.
pub fn shortened<'h>(host: &'h str, domain: &str) -> impl Iterator<Item = &'h str> {
    let short = host.strip_suffix(domain).and_then(|rest| rest.strip_suffix('.'));
    let short = short.filter(|short| short.ends_with(".svc"));
    short.into_iter().flat_map(|short| [short, short.trim_end_matches(".svc")])
}

/// `NAMESPACE/NAME` of a gateway that a VirtualService of `namespace` names: `name`, `ns/name`, `./name`,
/// or the old `name.ns` and `name.ns.svc.cluster.local`.
#[must_use]
pub fn full_gateway(written: &str, namespace: &str) -> String {
    if written == MESH {
        return written.to_owned();
    }
    if let Some((ns, name)) = written.split_once('/') {
        return if ns == "." { format!("{namespace}/{name}") } else { written.to_owned() };
    }
    match written.split_once('.') {
        None => format!("{namespace}/{written}"),
        Some((name, rest)) => {
            let ns = rest.split_once('.').map_or(rest, |(ns, _)| ns);
            format!("{ns}/{name}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_services_of_the_own_namespace() {
        let host = |written| full_host(written, "default", "cluster.local");
        assert_eq!(host("reviews"), "reviews.default.svc.cluster.local");
        assert_eq!(host("httpbin.org"), "httpbin.org");
        assert_eq!(host("*"), "*");
    }

    #[test]
    fn gateways_have_several_spellings() {
        for written in ["gw", "./gw", "ns/gw", "gw.ns", "gw.ns.svc.cluster.local"] {
            assert_eq!(full_gateway(written, "ns"), "ns/gw", "{written}");
        }
        assert_eq!(full_gateway("mesh", "ns"), "mesh");
    }

    #[test]
    fn names_are_istios() {
        assert_eq!(cluster("httpbin.org", "", 80), "outbound|80||httpbin.org");
        assert_eq!(http_routes(8080, ""), "http.8080");
        assert_eq!(http_routes(7, "127.0.0.1"), "http.7.127.0.0.1");
        assert_eq!(virtual_host("::1", 80), "[::1]:80");
    }
}
