//! The addresses that this machine is reached at.

use std::io;
use std::net::IpAddr;

use crate::capture;

/// Those of its interfaces but for loopback and their links, of IPv4 first, as in Kubernetes.
///
/// # Errors
/// The system does not say.
pub fn own() -> io::Result<Vec<IpAddr>> {
    let all = if_addrs::get_if_addrs()?;
    let own = all.iter().filter(|one| !one.is_loopback() && !one.is_link_local());
    // Nor is it reached at what capture gives to loopback, to send from.
    let own = own.map(if_addrs::Interface::ip).filter(|ip| *ip != capture::SOURCE);
    let mut own: Vec<IpAddr> = own.collect();
    own.sort_by_key(IpAddr::is_ipv6);
    Ok(own)
}
