//! A network namespace for a command: a pair of interfaces with an address at each end, routes to this machine and, through it,
//! to others.
//!
//! The namespace has no name: it lasts as long as this process or the command has it, whatever ends them.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::thread;

use ipnet::Ipv4Net;
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

use super::claim::{Claim, Rule};
use crate::failure::{Failure, Outcome};
use crate::programs::{PATIENCE, run};

/// The namespace of the calling thread.
const OWN: &str = "/proc/thread-self/ns/net";
/// Addresses of each command: a network, this machine's, the command's, and one for all of them.
const BITS: u8 = 30;
/// The range of addresses that commands have in IPv6, of which the first network's number is the last that differs.
const IPV6: [u16; 3] = [0xfd74, 0x6964, 0x6567];
/// Where the kernel says whether it forwards IPv6.
const FORWARDS_IPV6: &str = "/proc/sys/net/ipv6/conf/all/forwarding";
/// Where the kernel lists addresses of IPv6; absent where it has none.
const HAS_IPV6: &str = "/proc/net/if_inet6";

/// A network of its own. Dropping it removes what was made of it in this namespace.
#[derive(Debug)]
pub struct Network {
    namespace: OwnedFd,
    addresses: Vec<IpAddr>,
    claim: Claim,
}

/// The addresses at both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ends {
    /// All of them.
    network: Ipv4Net,
    /// This machine's.
    host: Ipv4Addr,
    /// The command's.
    command: Ipv4Addr,
}

impl Network {
    /// Makes one with the first addresses of `range` that are free. `forwards` says whether it reaches other networks.
    ///
    /// # Errors
    /// The system refuses it, or all addresses are taken.
    pub fn new(range: Ipv4Net, forwards: bool) -> Outcome<Self> {
        // Whoever starts at the same time chooses its addresses afterwards.
        let claim = Claim::new()?;
        let taken = taken()?;
        let ends = Ends::first(range, &taken).ok_or_else(|| {
            Failure::new(format!("all addresses of {range} are taken"))
                .or("--network RANGE, one that nobody uses")
        })?;
        let namespace = unshared()?;
        let mut network = Self { namespace, addresses: vec![ends.command.into()], claim };
        network.connect(&ends)?;
        if fs::exists(HAS_IPV6).unwrap_or_default() {
            network.connect_ipv6(&ends)?;
        }
        if forwards {
            network.forward(&ends)?;
        }
        network.claim.settle();
        Ok(network)
    }

    /// The command's addresses; IPv4 first.
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// Does something on a thread that is in the namespace, as are those that it starts.
    ///
    /// # Errors
    /// There is no such thread.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Outcome<T> {
        let failed = |error| Failure::new(format!("the command's network: {error}"));
        let entered = move || -> std::io::Result<T> {
            move_into_link_name_space(self.namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            Ok(work())
        };
        let done = thread::scope(|scope| {
            let thread = thread::Builder::new().name("inside".to_owned());
            Ok(thread.spawn_scoped(scope, entered)?.join())
        });
        match done.map_err(failed)? {
            Ok(done) => done.map_err(failed),
            Err(_) => Err(Failure::new("a panic in the command's network: a defect of Tidegate")),
        }
    }

    fn ip_inside(&self, arguments: &[&str]) -> Outcome<()> {
        self.inside(|| ip(arguments))?
    }

    /// A pair of interfaces, with IPv4.
    fn connect(&self, ends: &Ends) -> Outcome<()> {
        let link = self.claim.link();
        let namespace = format!("/proc/{}/fd/{}", std::process::id(), self.namespace.as_raw_fd());
        ip(&["link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", &namespace])?;
        ip(&["address", "add", &of(ends.host.into(), BITS), "dev", link])?;
        ip(&["link", "set", link, "up"])?;
        self.ip_inside(&["link", "set", "lo", "up"])?;
        self.ip_inside(&["address", "add", &of(ends.command.into(), BITS), "dev", "eth0"])?;
        self.ip_inside(&["link", "set", "eth0", "up"])?;
        self.ip_inside(&["route", "add", "default", "via", &ends.host.to_string()])
    }

    /// IPv6 between both ends; further where this machine forwards it already. That is not turned on for a command: the machine
    /// would not listen to its own router any more. There is a route all the same: what has none is not captured, and not told.
    fn connect_ipv6(&mut self, ends: &Ends) -> Outcome<()> {
        let [host, command] = ends.ipv6();
        let link = self.claim.link().to_owned();
        ip(&["address", "add", &of(host.into(), 64), "dev", &link, "nodad"])?;
        self.ip_inside(&["address", "add", &of(command.into(), 64), "dev", "eth0", "nodad"])?;
        if forwards_ipv6() || self.refuse_ipv6(&of(host.into(), 64)) {
            self.ip_inside(&["-6", "route", "add", "default", "via", &host.to_string()])?;
        }
        self.addresses.push(command.into());
        Ok(())
    }

    /// Has what leaves for other networks than this refused at once, as where there is no route; whether that can be had.
    fn refuse_ipv6(&self, near: &str) -> bool {
        const REFUSED: &[&str] = &["-j", "REJECT", "--reject-with"];
        // What is captured is for loopback by then.
        let rules: [Vec<&str>; 4] = [
            vec!["-d", "::1", "-j", "ACCEPT"],
            vec!["-d", near, "-j", "ACCEPT"],
            [&["-p", "tcp"], REFUSED, &["tcp-reset"]].concat(),
            [&["-p", "udp"], REFUSED, &["icmp6-no-route"]].concat(),
        ];
        let append = |rule: &Vec<&str>| {
            let words = [&["-w", PATIENCE, "-A", "OUTPUT", "-o", "eth0"], rule.as_slice()].concat();
            run("ip6tables", &words, "").map(drop)
        };
        let refused = self.inside(|| rules.iter().try_for_each(append));
        match refused.and_then(|done| done) {
            Ok(()) => true,
            Err(why) => {
                tracing::debug!(
                    "IPv6 leads to this machine alone, and what is for others is not captured: {why}"
                );
                false
            }
        }
    }

    /// Leads to other networks, whose answers come to an address of this machine.
    fn forward(&mut self, ends: &Ends) -> Outcome<()> {
        let link = self.claim.link().to_owned();
        self.claim.forward()?;
        self.claim.add([Rule::masquerade("iptables", &ends.network.to_string(), &link)])?;
        self.claim.add(Rule::let_through("iptables", &link))?;
        if self.addresses.len() > 1 && forwards_ipv6() {
            let network = of(ends.ipv6()[0].into(), 64);
            self.claim.add([Rule::masquerade("ip6tables", &network, &link)])?;
            self.claim.add(Rule::let_through("ip6tables", &link))?;
        }
        Ok(())
    }
}

impl Ends {
    /// The first network of a range in which no address is taken.
    fn first(range: Ipv4Net, taken: &[Ipv4Net]) -> Option<Self> {
        let mut networks = range.subnets(BITS).ok()?;
        let clash =
            |one: &Ipv4Net| taken.iter().any(|other| other.contains(one) || one.contains(other));
        let network = networks.find(|one| !clash(one))?;
        let mut hosts = network.hosts();
        Some(Self { network, host: hosts.next()?, command: hosts.next()? })
    }

    /// The same in IPv6: as many networks as there are in IPv4, by their number.
    fn ipv6(&self) -> [Ipv6Addr; 2] {
        let [_, _, third, fourth] = self.network.network().octets();
        let [a, b, c] = IPV6;
        let network = u16::from_be_bytes([third, fourth]);
        [1, 2].map(|end| Ipv6Addr::new(a, b, c, network, 0, 0, 0, end))
    }
}

/// A namespace that only this process knows.
fn unshared() -> Outcome<OwnedFd> {
    let failed = |error: std::io::Error| {
        Failure::new(format!("no network namespace for the command: {error}"))
            .or("run it as root, with CAP_SYS_ADMIN and CAP_NET_ADMIN")
    };
    let make = || -> std::io::Result<OwnedFd> {
        // SAFETY: only the network is unshared. The table of file descriptors, which the function is unsafe for, stays the
        // one that all threads have.
        #[allow(unsafe_code, reason = "the proof is above")]
        unsafe {
            unshare_unsafe(UnshareFlags::NEWNET)?;
        }
        Ok(File::open(OWN)?.into())
    };
    // The thread ends, and the namespace stays with the file.
    let made = thread::spawn(make).join();
    made.unwrap_or_else(|_| Err(std::io::Error::other("a panic"))).map_err(failed)
}

/// The networks of this machine's interfaces.
fn taken() -> Outcome<Vec<Ipv4Net>> {
    let all = if_addrs::get_if_addrs()
        .map_err(|error| Failure::new(format!("the addresses of this machine: {error}")))?;
    let networks = all.into_iter().filter_map(|one| match one.addr {
        if_addrs::IfAddr::V4(own) => Ipv4Net::with_netmask(own.ip, own.netmask).ok(),
        if_addrs::IfAddr::V6(_) => None,
    });
    Ok(networks.map(|network| network.trunc()).collect())
}

fn forwards_ipv6() -> bool {
    fs::read_to_string(FORWARDS_IPV6).is_ok_and(|text| text.trim() != "0")
}

fn ip(arguments: &[&str]) -> Outcome<()> {
    run("ip", arguments, "").map(|_| ())
}

fn of(address: IpAddr, bits: u8) -> String {
    format!("{address}/{bits}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> Ipv4Net {
        text.parse().expect("a network")
    }

    #[test]
    fn the_first_free_addresses_are_taken() {
        let range = net("198.18.0.0/28");
        let ends = Ends::first(range, &[]).expect("addresses");
        assert_eq!((ends.host, ends.command), ([198, 18, 0, 1].into(), [198, 18, 0, 2].into()));
        let ends = Ends::first(range, &[net("198.18.0.0/30"), net("198.18.0.4/31")]);
        assert_eq!(ends.expect("addresses").network, net("198.18.0.8/30"));
        assert_eq!(Ends::first(range, &[net("198.0.0.0/8")]), None);
        assert_eq!(Ends::first(net("198.18.0.0/31"), &[]), None);
        let other = Ends::first(range, &[net("198.18.0.0/30")]).expect("addresses");
        let first = Ends::first(range, &[]).expect("addresses");
        assert_ne!(first.ipv6(), other.ipv6());
    }
}
