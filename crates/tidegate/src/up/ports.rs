//! Which ports the gateway binds for the ports that Gateways name.
//!
//! With the right to bind them, 80 and 443 are bound themselves; without it they are bound at 8080 and 8443.
//! `--port-map` goes before either. These ports are held from the start on, by sockets that do not listen: a
//! port that is taken is an error at once and not a status hours later, and a port that the kernel chose is
//! given to nobody else. The holding sockets let others bind (SO_REUSEADDR, SO_REUSEPORT), as the proxy does when a
//! Gateway opens the port.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};

use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use tidegate_proxy::surroundings::Surroundings;

use crate::cli::PortMap;
use crate::failure::{Failure, Outcome};

/// The flag that says at which address ports are bound.
pub const GATEWAY_LISTEN: &str = "--gateway-listen";

/// Ports of the gateway's Service, each with where it is bound when the port itself is forbidden.
const SERVICE_PORTS: [(u16, u16); 2] = [(80, 8080), (443, 8443)];

/// The first port that everybody may bind, where the system does not say otherwise.
const UNPRIVILEGED: u16 = 1024;

/// The ports that were settled at the start.
#[derive(Debug)]
pub struct Ports {
    listen: IpAddr,
    bound: BTreeMap<u16, u16>,
    /// Held until the process ends.
    _held: Vec<Socket>,
}

impl Ports {
    /// Settles and holds 80, 443 and whatever `given` names, at the address `listen`.
    ///
    /// # Errors
    /// A port that is taken or forbidden, with the ways out.
    pub fn settle(listen: IpAddr, given: Option<&PortMap>) -> Outcome<Self> {
        let given: BTreeMap<u16, u16> = given.into_iter().flat_map(PortMap::iter).collect();
        let mut ports = Self { listen, bound: BTreeMap::new(), _held: Vec::new() };
        let usual = SERVICE_PORTS.into_iter().filter(|(port, _)| !given.contains_key(port));
        let usual = usual.map(|(port, fallback)| {
            let bound = if may_bind(listen, port) { port } else { fallback };
            (port, bound)
        });
        let wanted: Vec<(u16, u16)> = given.iter().map(|(&a, &b)| (a, b)).chain(usual).collect();
        let refused = wanted.into_iter().filter_map(|(port, bound)| ports.hold(port, bound).err());
        match refused.reduce(Failure::and) {
            Some(failure) => Err(failure),
            None => Ok(ports),
        }
    }

    /// The address that ports are bound at.
    pub fn listen(&self) -> IpAddr {
        self.listen
    }

    /// All ports settled at the start: Gateway port, bound port.
    pub fn iter(&self) -> impl Iterator<Item = (u16, u16)> {
        self.bound.iter().map(|(&gateway, &bound)| (gateway, bound))
    }

    /// The address at which clients on this machine reach the gateway.
    pub fn reachable(&self) -> IpAddr {
        reachable(self.listen)
    }

    /// The lowest port that this process may bind.
    pub fn lowest(&self) -> u16 {
        if may_bind(self.listen, 1) {
            return 1;
        }
        let setting = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
        setting.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(UNPRIVILEGED)
    }

    /// What is said of a port of a Gateway that cannot be bound.
    pub fn surroundings(&self) -> Surroundings {
        let gateways: BTreeMap<u16, u16> =
            self.bound.iter().map(|(&gateway, &bound)| (bound, gateway)).collect();
        Surroundings::new(move |bound| {
            let gateway = gateways.get(&bound).copied().unwrap_or(bound);
            format!(
                "start with --port-map {gateway}={}, to bind another port for it",
                other(gateway)
            )
        })
    }

    /// The Gateway port for which a port is bound already; the kernel's choice (0) never is.
    fn held_for(&self, port: u16) -> Option<u16> {
        let held = self.bound.iter().find(|(_, bound)| **bound == port);
        held.map(|(&gateway, _)| gateway)
    }

    fn hold(&mut self, gateway: u16, bound: u16) -> Outcome<()> {
        if let Some(other) = self.held_for(bound) {
            let failure = format!(
                "port {bound} would be bound for two ports of Gateways, {other} and {gateway}"
            );
            let free = self::other(gateway);
            return Err(Failure::new(failure)
                .or(format!("--port-map {other}={bound},{gateway}={free}"))
                .or(format!("--port-map {other}=0, to bind any free port for that one")));
        }
        let address = SocketAddr::new(self.listen, bound);
        let socket = hold(address).map_err(|error| refused(gateway, address, &error))?;
        let address = socket.local_addr().ok().and_then(|address| address.as_socket());
        self.bound.insert(gateway, address.map_or(bound, |address| address.port()));
        self._held.push(socket);
        Ok(())
    }
}

/// `127.0.0.1` (or `::1`) for a wildcard, else the address itself.
pub fn reachable(listen: IpAddr) -> IpAddr {
    match listen {
        IpAddr::V4(address) if address.is_unspecified() => std::net::Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(address) if address.is_unspecified() => std::net::Ipv6Addr::LOCALHOST.into(),
        address => address,
    }
}

/// Another port to bind for a Gateway's port: far from the well-known ones, and told before it is tried.
fn other(gateway: u16) -> u16 {
    if gateway < 10_000 { gateway + 10_000 } else { 0 }
}

/// Whether the kernel lets this process bind a port, be it taken or not.
fn may_bind(listen: IpAddr, port: u16) -> bool {
    let result = bind(SocketAddr::new(listen, port), false);
    !matches!(result, Err(error) if is(&error, Errno::ACCESS))
}

/// Binds without listening. Fails when a program listens there, also one that would share.
fn hold(address: SocketAddr) -> io::Result<Socket> {
    if address.port() != 0 {
        drop(bind(address, false)?);
    }
    bind(address, true)
}

fn bind(address: SocketAddr, share: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Connections of an earlier life that wait for their end do not make a port taken.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(share)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}

fn refused(gateway: u16, address: SocketAddr, error: &io::Error) -> Failure {
    let port = address.port();
    let what = |reason: &str| {
        let mapped = if gateway == port {
            String::new()
        } else {
            format!(" (for port {gateway} of Gateways)")
        };
        Failure::new(format!("port {port} of {}{mapped} {reason}", address.ip()))
    };
    let other = other(gateway);
    let map =
        format!("--port-map {gateway}={other}, to bind another port for it (0: any free one)");
    match error {
        error if is(error, Errno::ADDRINUSE) => what("is taken by another program")
            .or(format!("ss -ltnp 'sport = :{port}', to see by whom, and stop that"))
            .or(map),
        error if is(error, Errno::ACCESS) => what("may not be bound by this user")
            .or(map)
            .or("setcap cap_net_bind_service=+ep on the tidegate binary, or run it as root"),
        error if is(error, Errno::ADDRNOTAVAIL) => Failure::new(format!(
            "{} is no address of this machine ({GATEWAY_LISTEN})",
            address.ip()
        ))
        .or(format!("{GATEWAY_LISTEN} 0.0.0.0, for all of them; `ip address` lists them")),
        error => what(&format!("cannot be bound: {error}")).or(map),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn settle(map: &str) -> Outcome<Ports> {
        Ports::settle(LOOPBACK, Some(&map.parse().expect("a port map")))
    }

    #[test]
    fn holds_a_port_for_the_proxy_which_a_second_process_finds_taken() {
        let ports = settle("80=0,443=0").expect("free ports");
        let (bound, other) = (ports.bound[&80], ports.bound[&443]);
        assert!(bound != 0 && bound != other);

        // As the proxy does: alone first, then shared.
        let address = SocketAddr::new(LOOPBACK, bound);
        drop(bind(address, false).expect("nobody listens"));
        let worker = bind(address, true).expect("a worker's socket");
        worker.listen(8).expect("listening");
        let failure = settle(&format!("80={bound},443=0")).expect_err("taken").to_string();
        assert!(failure.contains(&format!("port {bound} of 127.0.0.1")), "{failure}");
        assert!(failure.contains("--port-map 80="), "{failure}");
    }

    #[test]
    fn says_that_a_port_is_taken_and_how_to_go_on() {
        let taken = TcpListener::bind((LOOPBACK, 0)).expect("a port");
        let port = taken.local_addr().expect("its address").port();
        let failure = settle(&format!("80={port},443=0")).expect_err("taken").to_string();
        assert!(failure.contains("taken by another program"), "{failure}");
        assert!(failure.contains("for port 80 of Gateways"), "{failure}");
    }

    #[test]
    fn no_port_is_bound_for_two_ports_of_gateways() {
        // As `--port-map 80=443` asks where 443 itself may be bound.
        let mut ports = settle("80=0,443=0").expect("free ports");
        let bound = ports.bound[&80];
        let failure = ports.hold(9000, bound).expect_err("held already").to_string();
        assert!(failure.contains("two ports of Gateways, 80 and 9000"), "{failure}");
        assert!(failure.contains(&format!("--port-map 80={bound},9000=19000")), "{failure}");
        ports.hold(9000, 0).expect("any free port");
    }

    #[test]
    fn says_that_an_address_is_not_here() {
        let foreign = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        let map = "80=0,443=0".parse().expect("a port map");
        let failure = Ports::settle(foreign, Some(&map)).expect_err("no such address");
        let told = failure.to_string();
        assert!(told.contains("--gateway-listen 0.0.0.0"), "{told}");
        assert_eq!(told.matches("no address of this machine").count(), 1, "{told}");
    }

    #[test]
    fn a_wildcard_is_reached_on_loopback() {
        assert_eq!(reachable(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), LOOPBACK);
        assert_eq!(reachable("::".parse().expect("an address")).to_string(), "::1");
        assert_eq!(reachable("192.0.2.1".parse().expect("an address")).to_string(), "192.0.2.1");
    }
}
