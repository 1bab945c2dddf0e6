//! The server that a workload's DNS queries are redirected to.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tidegate_dns::{DnsProxy, Server, Upstream};
use tidegate_proxy::upstream::dns::DnsConfig;

use super::Workload;
use crate::cli::DnsListen;
use crate::failure::{Failure, Outcome};

/// The port that rules of capture lead queries to.
const PORT: u16 = 15053;

/// Where queries are answered, as was said; `None` for nowhere.
///
/// # Errors
/// Both was said.
pub fn wanted(said: &[DnsListen], workload: &Workload) -> Outcome<Option<Vec<SocketAddr>>> {
    let at = said.iter().filter_map(|one| match one {
        DnsListen::At(address) => Some(*address),
        DnsListen::Off => None,
    });
    let at: Vec<SocketAddr> = at.collect();
    match (said.contains(&DnsListen::Off), at.is_empty()) {
        (true, false) => Err(Failure::new("--dns-listen: off, and an address")
            .or("one of the two: queries are answered there or nowhere")),
        (true, true) => Ok(None),
        (false, false) => Ok(Some(at)),
        (false, true) => Ok(Some(captured(workload))),
    }
}

/// Where rules of capture lead: the loopback address of each family that the workload has.
pub fn captured(workload: &Workload) -> Vec<SocketAddr> {
    let own = tidegate_pilot::Workload { addresses: workload.addresses.clone() };
    own.loopbacks().into_iter().map(|address: IpAddr| SocketAddr::new(address, PORT)).collect()
}

/// Binds them. It is for the user to do that the sidecar runs as: rules of capture know answers by whose socket they come from.
///
/// # Errors
/// An address is taken, or not of this machine.
pub fn bind(addresses: &[SocketAddr]) -> Outcome<Server> {
    Server::bind(addresses).map_err(|error| {
        Failure::new(error.to_string())
            .or("--dns-listen ADDRESS:PORT, and capture apply so that it leads there")
            .or("--dns-listen off, where the workload's queries are not captured")
            .or("a network namespace of its own for each workload")
    })
}

/// The proxy of names behind it, which asks the same resolvers as the data plane.
pub fn proxy(config: &DnsConfig) -> Arc<DnsProxy> {
    let upstream = Upstream::new(config.servers.clone(), config.resolv_conf.clone());
    Arc::new(DnsProxy::new(upstream))
}

/// Where it answers, in words that end where others go on.
pub fn told(server: &Server) -> String {
    let addresses: Vec<String> = server.addresses().iter().map(ToString::to_string).collect();
    format!("DNS at {}, ", addresses.join(" and "))
}

/// Answers until it is dropped.
pub async fn serve(server: Server, proxy: Arc<DnsProxy>) {
    if let Err(error) = server.serve(proxy).await {
        tracing::error!("DNS queries of the workload are not answered: {error}");
    }
}
