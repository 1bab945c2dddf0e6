//! Options to rules, for one address family.
//!
//! The order of rules is what decides; each section says why it stands where it does.

use std::fmt::Display;
use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

use crate::options::{Dns, Family, Groups, Mode, Name, Options, Ports, Ranges};

/// Connections to the workload.
const INBOUND: &str = "ISTIO_INBOUND";
/// Leads connections of the workload to the proxy.
const REDIRECT: &str = "ISTIO_REDIRECT";
/// Leads connections to the workload to the proxy.
const IN_REDIRECT: &str = "ISTIO_IN_REDIRECT";
/// Connections of the workload.
const OUTPUT: &str = "ISTIO_OUTPUT";
/// Queries of the workload.
const OUTPUT_DNS: &str = "ISTIO_OUTPUT_DNS";
/// Marks packets of connections that the proxy has already.
const DIVERT: &str = "ISTIO_DIVERT";
/// Marks packets of new connections, for the proxy.
const TPROXY: &str = "ISTIO_TPROXY";
/// Drops.
const DROP: &str = "ISTIO_DROP";

/// The mark of what the proxy sends to the workload by an address that is not loopback: the proxy's own inbound side takes it.
const OUTBOUND_MARK: u32 = 1338;
/// The port of DNS.
const DNS_PORT: u16 = 53;

/// One table of one address family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// `mangle`, `nat` or `raw`.
    pub name: &'static str,
    /// The chains that it has beside the built-in ones, in the order of their first rules.
    pub chains: Vec<&'static str>,
    /// Its rules in order, each as an argument list of iptables: `-A CHAIN …`, or `-I CHAIN POSITION …`.
    pub rules: Vec<String>,
}

/// The rules that capture what `options` ask for, of one address family: tables that have any.
#[must_use]
pub fn tables(options: &Options, family: Family) -> Vec<Table> {
    let mut rules = Rules::new(options, family);
    rules.leave_interfaces();
    rules.drop_invalid();
    rules.lead_to_proxy();
    rules.capture_inbound();
    rules.capture_outbound();
    rules.keep_addresses();
    let tables = [rules.mangle, rules.nat, rules.raw].into_iter();
    tables.filter(|table| !table.rules.is_empty()).collect()
}

struct Rules<'a> {
    options: &'a Options,
    family: Family,
    /// Loopback addresses of the family.
    loopback: IpNet,
    /// Where the proxy connects from to what it passes on to the workload without knowing it: an address that nobody else has, so
    /// that such a connection is not captured again.
    passthrough: &'static str,
    mangle: Table,
    nat: Table,
    raw: Table,
}

impl Table {
    const fn new(name: &'static str) -> Self {
        Self { name, chains: Vec::new(), rules: Vec::new() }
    }

    fn append(&mut self, chain: &'static str, rule: impl Display) {
        self.know(chain);
        self.rules.push(format!("-A {chain} {rule}"));
    }

    fn insert(&mut self, chain: &'static str, position: u32, rule: impl Display) {
        self.know(chain);
        self.rules.push(format!("-I {chain} {position} {rule}"));
    }

    fn know(&mut self, chain: &'static str) {
        if chain.starts_with("ISTIO_") && !self.chains.contains(&chain) {
            self.chains.push(chain);
        }
    }
}

impl<'a> Rules<'a> {
    fn new(options: &'a Options, family: Family) -> Self {
        let (loopback, passthrough) = match family {
            Family::V4 => (options.loopback.into(), "127.0.0.6/32"),
            Family::V6 => (IpNet::from(IpAddr::from(Ipv6Addr::LOCALHOST)), "::6/128"),
        };
        let [mangle, nat, raw] = ["mangle", "nat", "raw"].map(Table::new);
        Self { options, family, loopback, passthrough, mangle, nat, raw }
    }

    /// Each user and group that the proxy runs as, as iptables matches it, users first.
    fn owners(&self) -> impl Iterator<Item = (Owner, &'a Name)> + use<'a> {
        let users = self.options.uids.iter().map(|uid| (Owner::User, uid));
        users.chain(self.options.gids.iter().map(|gid| (Owner::Group, gid)))
    }

    /// The mark of inbound packets, if their addresses are left alone.
    fn mark(&self) -> Option<u32> {
        match self.options.mode {
            Mode::Redirect => None,
            Mode::Tproxy { mark } => Some(mark),
        }
    }

    /// First of all, what comes and goes by interfaces that have nothing to do with the workload.
    fn leave_interfaces(&mut self) {
        let is_tproxy = self.mark().is_some();
        for table in [&mut self.nat, &mut self.mangle] {
            if table.name == "mangle" && !is_tproxy {
                continue;
            }
            for interface in &self.options.interfaces_except {
                table.append("PREROUTING", format_args!("-i {interface} -j RETURN"));
                table.append("OUTPUT", format_args!("-o {interface} -j RETURN"));
            }
        }
        for interface in &self.options.rerouted_interfaces {
            self.nat.insert("PREROUTING", 1, format_args!("-i {interface} -j RETURN"));
        }
    }

    /// What belongs to no connection would be answered with a reset, which ends a connection that is well.
    fn drop_invalid(&mut self) {
        if self.options.drop_invalid {
            self.mangle
                .append("PREROUTING", format_args!("-m conntrack --ctstate INVALID -j {DROP}"));
            self.mangle.append(DROP, "-j DROP");
        }
    }

    /// The chains by whose names connections are led to the proxy.
    fn lead_to_proxy(&mut self) {
        let Options { tunnel_port, outbound_port, inbound_port, .. } = self.options;
        self.nat.append(INBOUND, format_args!("-p tcp --dport {tunnel_port} -j RETURN"));
        let redirect = |port| format!("-p tcp -j REDIRECT --to-ports {port}");
        self.nat.append(REDIRECT, redirect(outbound_port));
        self.nat.append(IN_REDIRECT, redirect(inbound_port));
    }

    fn capture_inbound(&mut self) {
        if self.options.inbound == Ports::default() {
            return;
        }
        let (mark, loopback) = (self.mark(), self.loopback);
        let table = if mark.is_some() { &mut self.mangle } else { &mut self.nat };
        if let Some(mark) = mark {
            table.append(DIVERT, format_args!("-j MARK --set-mark {mark}"));
            table.append(DIVERT, "-j ACCEPT");
            let on_port = self.options.inbound_port;
            table.append(
                TPROXY,
                format_args!("! -d {loopback} -p tcp -j TPROXY --tproxy-mark {mark}/0xffffffff --on-port {on_port}"),
            );
        }
        table.append("PREROUTING", format_args!("-p tcp -j {INBOUND}"));
        // What is matched of the ports that are captured: all of them at once, or one after the other.
        let matches = match &self.options.inbound {
            Ports::All => {
                for port in &self.options.inbound_except {
                    table.append(INBOUND, format_args!("-p tcp --dport {port} -j RETURN"));
                }
                vec!["-p tcp".to_owned()]
            }
            Ports::Only(ports) => {
                ports.iter().map(|port| format!("-p tcp --dport {port}")).collect()
            }
        };
        for matched in matches {
            if mark.is_some() {
                let known = "-m conntrack --ctstate RELATED,ESTABLISHED";
                table.append(INBOUND, format_args!("{matched} {known} -j {DIVERT}"));
                table.append(INBOUND, format_args!("{matched} -j {TPROXY}"));
            } else {
                table.append(INBOUND, format_args!("{matched} -j {IN_REDIRECT}"));
            }
        }
    }

    fn capture_outbound(&mut self) {
        self.nat.append("OUTPUT", format_args!("-j {OUTPUT}"));
        for port in &self.options.outbound_ports_except {
            for protocol in ["tcp", "udp"] {
                self.nat.append(OUTPUT, format_args!("-p {protocol} --dport {port} -j RETURN"));
            }
        }
        self.nat.append(OUTPUT, format_args!("-o lo -s {} -j RETURN", self.passthrough));
        for (kind, name) in self.owners() {
            self.leave_owner(kind, name);
        }
        self.leave_groups();
        self.capture_queries();
        // Whoever names loopback means the other container or the proxy itself.
        self.nat.append(OUTPUT, format_args!("-d {} -j RETURN", self.loopback));
        for range in self.options.outbound_except.of(self.family) {
            self.nat.append(OUTPUT, format_args!("-d {range} -j RETURN"));
        }
        for port in &self.options.outbound_ports {
            self.nat.append(OUTPUT, format_args!("-p tcp --dport {port} -j {REDIRECT}"));
        }
        self.capture_ranges();
    }

    /// What the proxy itself sends is not captured, or it would never leave.
    fn leave_owner(&mut self, kind: Owner, name: &Name) {
        let (owner, loopback) = (kind.flag(), self.loopback);
        let tunnel = self.options.tunnel_port;
        let dns = self.options.dns.is_captured();
        // But for what it sends to the workload by an address that is not loopback: that is inbound, unless it is a query.
        let ports = if dns && kind == Owner::User {
            format!("-m multiport ! --dports {DNS_PORT},{tunnel}")
        } else {
            format!("! --dport {tunnel}")
        };
        self.nat.append(
            OUTPUT,
            format_args!(
                "-o lo ! -d {loopback} -p tcp {ports} -m owner {owner} {name} -j {IN_REDIRECT}"
            ),
        );
        // What the workload sends to itself by an address that is not loopback goes straight, unless loopback is to be captured. A
        // DNS server on loopback is to be heard of.
        if !self.options.outbound.has_loopback() {
            let queries = if dns { format!("-p tcp ! --dport {DNS_PORT} ") } else { String::new() };
            self.nat
                .append(OUTPUT, format_args!("-o lo {queries}-m owner ! {owner} {name} -j RETURN"));
        }
        self.nat.append(OUTPUT, format_args!("-m owner {owner} {name} -j RETURN"));
    }

    fn leave_groups(&mut self) {
        match &self.options.groups {
            Groups::AllBut(groups) => {
                for group in groups {
                    self.nat.append(OUTPUT, format_args!("-m owner --gid-owner {group} -j RETURN"));
                }
            }
            Groups::Only(groups) => {
                self.nat.append(OUTPUT, format_args!("{}-j RETURN", none_of(groups)));
            }
        }
    }

    /// Leads queries to the sidecar's resolver, and keeps apart what conntrack knows of those to it and of its own: both have
    /// port 53 at one end, and either could be taken for the other.
    fn capture_queries(&mut self) {
        let dns = &self.options.dns;
        if !dns.is_captured() {
            return;
        }
        self.raw.append("OUTPUT", format_args!("-j {OUTPUT_DNS}"));
        // What of the packets to a server, and of those from it, is matched.
        let servers: Vec<(String, String)> = match dns {
            Dns::All => vec![(String::new(), String::new())],
            _ => {
                let range = |server: &IpAddr| IpNet::from(*server);
                dns.servers(self.family)
                    .map(|server| {
                        (format!(" -d {}", range(server)), format!(" -s {}", range(server)))
                    })
                    .collect()
            }
        };
        if !servers.is_empty() {
            self.nat.append(OUTPUT, format_args!("-j {OUTPUT_DNS}"));
        }
        for (protocol, flag) in [("tcp", "--to-ports"), ("udp", "--to-port")] {
            for (to, _) in &servers {
                let port = self.options.dns_port;
                self.nat.append(
                    OUTPUT_DNS,
                    format_args!("-p {protocol} --dport {DNS_PORT}{to} -j REDIRECT {flag} {port}"),
                );
            }
        }
        for (kind, name) in self.owners() {
            let (owner, own) = (kind.flag(), self.options.dns_port);
            for (port, zone) in [(format!("--dport {DNS_PORT}"), 1), (format!("--sport {own}"), 2)]
            {
                self.raw.append(
                    OUTPUT_DNS,
                    format_args!("-p udp {port} -m owner {owner} {name} -j CT --zone {zone}"),
                );
            }
        }
        if !servers.is_empty() {
            self.raw.append("PREROUTING", format_args!("-j {INBOUND}"));
        }
        for (to, from) in &servers {
            self.raw
                .append(OUTPUT_DNS, format_args!("-p udp --dport {DNS_PORT}{to} -j CT --zone 2"));
            self.raw
                .append(INBOUND, format_args!("-p udp --sport {DNS_PORT}{from} -j CT --zone 1"));
        }
    }

    /// Last, the ranges that are captured; of interfaces of virtual machines what comes in is on its way out.
    fn capture_ranges(&mut self) {
        let matches: Vec<String> = match &self.options.outbound {
            Ranges::All => vec![String::new()],
            ranges => ranges.of(self.family).map(|range| format!("-d {range} ")).collect(),
        };
        for matched in matches {
            for interface in &self.options.rerouted_interfaces {
                self.nat.insert(
                    "PREROUTING",
                    1,
                    format_args!("-i {interface} {matched}-j {REDIRECT}"),
                );
            }
            self.nat.append(OUTPUT, format_args!("{matched}-j {REDIRECT}"));
        }
    }

    /// With addresses left alone, marks tell which packets have been to the proxy.
    fn keep_addresses(&mut self) {
        let Some(mark) = self.mark() else { return };
        let (loopback, owners) = (self.loopback, self.owners());
        let table = &mut self.mangle;
        table.append(
            "PREROUTING",
            format_args!("-p tcp -m mark --mark {mark} -j CONNMARK --save-mark"),
        );
        // What the proxy passes on to the workload is marked already.
        table.append("OUTPUT", format_args!("-p tcp -o lo -m mark --mark {mark} -j RETURN"));
        for (kind, name) in owners {
            let owner = kind.flag();
            table.append(
                "OUTPUT",
                format_args!("! -d {loopback} -p tcp -o lo -m owner {owner} {name} -j MARK --set-mark {OUTBOUND_MARK}"),
            );
        }
        // Answers of the workload find back to the proxy.
        table.append(
            "OUTPUT",
            format_args!("-p tcp -m connmark --mark {mark} -j CONNMARK --restore-mark"),
        );
        let left = [
            format!("-p tcp -m mark --mark {mark} -j RETURN"),
            format!("-p tcp -s {} -i lo -j RETURN", self.passthrough),
            format!("-p tcp -i lo -m mark ! --mark {OUTBOUND_MARK} -j RETURN"),
        ];
        for (position, rule) in (1..).zip(left) {
            table.insert(INBOUND, position, rule);
        }
    }
}

/// What the proxy is known by.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    User,
    Group,
}

impl Owner {
    const fn flag(self) -> &'static str {
        match self {
            Self::User => "--uid-owner",
            Self::Group => "--gid-owner",
        }
    }
}

/// Matches senders that are in none of these groups.
fn none_of(groups: &[Name]) -> String {
    groups.iter().map(|group| format!("-m owner ! --gid-owner {group} ")).collect()
}
