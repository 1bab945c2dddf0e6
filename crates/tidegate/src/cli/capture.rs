//! `tidegate capture`: which connections of a network namespace are led to the sidecar in it.

use std::io;
use std::net::IpAddr;

use clap::{Args, Subcommand, ValueEnum};
use tidegate_capture::{
    Dns, Family, Groups, Mode, Name, Options, Ports, Ranges, Wrong, list, port, restore,
    some_ranges, tables,
};

use crate::capture::{self, Choice};
use crate::failure::{Failure, Outcome};
use crate::terminal;

const EXAMPLES: &str = "\x1b[1mExamples:\x1b[0m
  # What a workload sends, but to loopback, and what comes to it, until it is removed again
  tidegate capture apply --include-ip-ranges '*' --include-inbound-ports '*'
  tidegate capture remove

  # Everything that a workload sends, but to two ranges of its cluster
  tidegate capture print --include-ip-ranges '*' --exclude-ip-ranges 10.96.0.0/12,10.244.0.0/16

  # Only what it sends to one range, and what comes to two ports
  tidegate capture print -i 10.0.0.0/8 -b 8080,8443

  # Its DNS queries too, for iptables-restore --noflush
  tidegate capture print -i '*' --redirect-dns --family ipv4

`tidegate istio-iptables …` is `tidegate capture apply …` by Istio's name, for injected containers.";

/// The file that names the servers of DNS.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Flags of `tidegate capture`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, arg_required_else_help = true)]
pub struct CaptureArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Capture connections of this network namespace, in place of what was captured before
    #[command(after_help = EXAMPLES)]
    Apply(Box<ApplyArgs>),
    /// Capture nothing any more
    Remove,
    /// Print the rules as iptables-restore reads them, and change nothing
    #[command(after_help = EXAMPLES)]
    Print(Box<PrintArgs>),
}

#[derive(Debug, Args)]
struct ApplyArgs {
    #[command(flatten)]
    what: WhatArgs,

    /// The programs that change rules
    #[arg(long, value_enum, default_value_t = Choice::Auto)]
    backend: Choice,
}

#[derive(Debug, Args)]
struct PrintArgs {
    #[command(flatten)]
    what: WhatArgs,

    /// For which addresses
    #[arg(long, value_enum, default_value_t = Families::Both)]
    family: Families,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Families {
    /// IPv4, for iptables-restore
    Ipv4,
    /// IPv6, for ip6tables-restore
    Ipv6,
    /// One after the other
    Both,
}

/// What is captured. Names and letters of istio-iptables work, too.
#[derive(Debug, Args)]
struct WhatArgs {
    /// Ranges of addresses to which outbound connections are captured, or * for all
    #[arg(
        short = 'i',
        long,
        alias = "istio-service-cidr",
        value_name = "RANGES",
        default_value = ""
    )]
    include_ip_ranges: Ranges,

    /// Ranges to which they are not
    #[arg(
        short = 'x',
        long,
        alias = "istio-service-exclude-cidr",
        value_name = "RANGES",
        default_value = ""
    )]
    #[arg(value_parser = some_ranges)]
    exclude_ip_ranges: Ranges,

    /// Ports to which outbound connections are captured, whatever their address
    #[arg(
        short = 'q',
        long,
        alias = "istio-outbound-ports",
        value_name = "PORTS",
        default_value = ""
    )]
    #[arg(value_parser = ports)]
    include_outbound_ports: List<u16>,

    /// Ports to which they are not
    #[arg(
        short = 'o',
        long,
        alias = "istio-local-outbound-ports-exclude",
        value_name = "PORTS",
        default_value = ""
    )]
    #[arg(value_parser = ports)]
    exclude_outbound_ports: List<u16>,

    /// Inbound ports that are captured, or * for all
    #[arg(
        short = 'b',
        long,
        alias = "istio-inbound-ports",
        value_name = "PORTS",
        default_value = ""
    )]
    include_inbound_ports: Ports,

    /// Inbound ports that are not, where all others are
    #[arg(
        short = 'd',
        long,
        alias = "istio-local-exclude-ports",
        value_name = "PORTS",
        default_value = ""
    )]
    #[arg(value_parser = ports)]
    exclude_inbound_ports: List<u16>,

    /// How inbound connections are led to the proxy: REDIRECT, or TPROXY, which leaves their addresses alone
    #[arg(
        short = 'm',
        long,
        alias = "istio-inbound-interception-mode",
        default_value = "REDIRECT"
    )]
    mode: Mode,

    /// Groups whose outbound connections are captured [default: all]
    #[arg(long, value_name = "GROUPS", conflicts_with = "exclude_owner_groups")]
    #[arg(value_parser = names)]
    include_owner_groups: Option<List<Name>>,

    /// Groups whose outbound connections are not captured
    #[arg(long, value_name = "GROUPS")]
    #[arg(value_parser = names)]
    exclude_owner_groups: Option<List<Name>>,

    /// Interfaces that nothing is captured of
    #[arg(
        short = 'c',
        long,
        alias = "istio-exclude-interfaces",
        value_name = "NAMES",
        default_value = ""
    )]
    #[arg(value_parser = names)]
    exclude_interfaces: List<Name>,

    /// Interfaces of virtual machines: what comes in there is on its way out
    #[arg(short = 'k', long, value_name = "NAMES", default_value = "", hide_default_value = true)]
    #[arg(value_parser = names)]
    kube_virt_interfaces: List<Name>,

    /// Lead DNS queries to the servers of /etc/resolv.conf to the sidecar's resolver
    #[arg(long)]
    redirect_dns: bool,

    /// Lead all DNS queries there, whatever server they are for
    #[arg(long, requires = "redirect_dns")]
    capture_all_dns: bool,

    /// Drop packets that belong to no connection, rather than answer them with a reset
    #[arg(long)]
    drop_invalid: bool,

    /// Users that the proxy runs as: what they send is not captured
    #[arg(short = 'u', long, value_name = "USERS", default_value = "1337")]
    #[arg(value_parser = names)]
    proxy_uid: List<Name>,

    /// Groups that the proxy runs as
    #[arg(short = 'g', long, value_name = "GROUPS", default_value = "1337")]
    #[arg(value_parser = names)]
    proxy_gid: List<Name>,

    /// The proxy's port for outbound connections
    #[arg(short = 'p', long, alias = "envoy-port", value_name = "PORT", default_value = "15001")]
    #[arg(value_parser = port)]
    outbound_port: u16,

    /// The proxy's port for inbound connections
    #[arg(
        short = 'z',
        long,
        alias = "inbound-capture-port",
        value_name = "PORT",
        default_value = "15006"
    )]
    #[arg(value_parser = port)]
    inbound_port: u16,

    /// The proxy's port for tunnels
    #[arg(
        short = 'e',
        long,
        alias = "inbound-tunnel-port",
        value_name = "PORT",
        default_value = "15008"
    )]
    #[arg(value_parser = port)]
    tunnel_port: u16,
}

/// Runs the verb.
///
/// # Errors
/// No server of DNS is known whose queries could be captured, or the rules cannot be changed.
pub fn run(args: &CaptureArgs) -> Outcome<()> {
    let options = |what: &WhatArgs| what.options(|| std::fs::read_to_string(RESOLV_CONF));
    match &args.verb {
        Verb::Print(print) => terminal::print(text(&options(&print.what)?, print.family)),
        Verb::Apply(apply) => {
            terminal::print(capture::apply(&options(&apply.what)?, apply.backend)?)
        }
        Verb::Remove => terminal::print(capture::remove()?),
    }
}

/// The rules of each family, with what to load them by, and what packets are to be routed by beside them.
fn text(options: &Options, families: Families) -> String {
    let wanted = [
        (Families::Ipv4, Family::V4, "iptables-restore"),
        (Families::Ipv6, Family::V6, "ip6tables-restore"),
    ];
    let wanted =
        wanted.into_iter().filter(|(name, ..)| [*name, Families::Both].contains(&families));
    let texts = wanted.map(|(_, family, tool)| {
        let mut beside = String::new();
        if let Mode::Tproxy { mark } = options.mode {
            for words in capture::routing(family, mark) {
                beside.push_str(&format!("# ip {}\n", words.join(" ")));
            }
        }
        format!("{beside}# {tool} --noflush\n{}", restore(&tables(options, family)))
    });
    texts.collect()
}

impl WhatArgs {
    /// What is asked for. `resolv_conf` reads the file that names the servers of DNS, where that is needed.
    fn options(&self, resolv_conf: impl FnOnce() -> io::Result<String>) -> Outcome<Options> {
        let groups = match (&self.include_owner_groups, &self.exclude_owner_groups) {
            (Some(groups), _) => Groups::Only(groups.0.clone()),
            (None, Some(groups)) => Groups::AllBut(groups.0.clone()),
            (None, None) => Groups::default(),
        };
        let dns = match (self.redirect_dns, self.capture_all_dns) {
            (false, _) => Dns::None,
            (true, true) => Dns::All,
            (true, false) => Dns::Servers(servers(resolv_conf())?),
        };
        Ok(Options {
            outbound_port: self.outbound_port,
            inbound_port: self.inbound_port,
            tunnel_port: self.tunnel_port,
            uids: self.proxy_uid.0.clone(),
            gids: self.proxy_gid.0.clone(),
            mode: self.mode,
            inbound: self.include_inbound_ports.clone(),
            inbound_except: self.exclude_inbound_ports.0.clone(),
            outbound: self.include_ip_ranges.clone(),
            outbound_except: self.exclude_ip_ranges.clone(),
            outbound_ports: self.include_outbound_ports.0.clone(),
            outbound_ports_except: self.exclude_outbound_ports.0.clone(),
            groups,
            interfaces_except: self.exclude_interfaces.0.clone(),
            rerouted_interfaces: self.kube_virt_interfaces.0.clone(),
            dns,
            drop_invalid: self.drop_invalid,
            ..Options::default()
        })
    }
}

/// The servers that `resolv.conf` names.
fn servers(resolv_conf: io::Result<String>) -> Outcome<Vec<IpAddr>> {
    let none = |why: String| {
        Failure::new(format!("{RESOLV_CONF}: {why}"))
            .or("--capture-all-dns, to capture queries to any server")
    };
    let text = resolv_conf.map_err(|error| none(error.to_string()))?;
    let servers = named_servers(&text);
    if servers.is_empty() {
        return Err(none("no nameserver in it".to_owned()));
    }
    Ok(servers)
}

/// The servers that the lines of a `resolv.conf` name.
fn named_servers(text: &str) -> Vec<IpAddr> {
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver")?.split_whitespace().next())
        // What comes behind `%` is an interface.
        .filter_map(|server| server.split('%').next()?.parse().ok())
        .collect()
}

/// A list in one word.
#[derive(Clone, Debug)]
pub(super) struct List<T>(pub(super) Vec<T>);

/// Ports.
pub(super) fn ports(text: &str) -> Result<List<u16>, Wrong> {
    list(text, port).map(List)
}

/// Users, groups or interfaces.
fn names(text: &str) -> Result<List<Name>, Wrong> {
    list(text, str::parse).map(List)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: CaptureArgs,
    }

    const RESOLV: &str =
        "# a comment\nsearch a.example\nnameserver 10.96.0.10\nnameserver fe80::1%eth0\n";

    fn printed(words: &str) -> Result<String, String> {
        let words = ["capture", "print"].into_iter().chain(words.split_whitespace());
        let line = Line::try_parse_from(words).map_err(|error| error.to_string())?;
        let Verb::Print(print) = line.args.verb else { panic!("print alone is asked") };
        let options = print.what.options(|| Ok(RESOLV.to_owned())).map_err(|e| e.to_string())?;
        Ok(text(&options, print.family))
    }

    #[test]
    fn letters_and_names_of_istio_iptables_mean_the_same() {
        let short = printed(
            "-i * -x 10.0.0.0/8 -b 80,81 -q 22 -o 23 -d 82 -c eth1 -k vm0 -u 5 -g 6 -p 7 -z 8 -e 9 -m TPROXY",
        );
        let long = printed(
            "--istio-service-cidr * --istio-service-exclude-cidr 10.0.0.0/8 --istio-inbound-ports 80,81 \
             --istio-outbound-ports 22 --istio-local-outbound-ports-exclude 23 --istio-local-exclude-ports 82 \
             --istio-exclude-interfaces eth1 --kube-virt-interfaces vm0 --proxy-uid 5 --proxy-gid 6 \
             --envoy-port 7 --inbound-capture-port 8 --inbound-tunnel-port 9 --istio-inbound-interception-mode TPROXY",
        );
        assert_eq!(short, long);
        let text = short.expect("rules");
        let routing = "# ip -4 rule add fwmark 1337 lookup 133\n# ip -4 route replace local default dev lo table 133\n";
        let loaded = text.strip_prefix(routing).expect("what goes with TPROXY");
        assert!(loaded.starts_with("# iptables-restore --noflush\n*mangle\n"), "{text}");
        assert!(text.contains("# ip -6 rule add fwmark 1337 lookup 133\n"), "{text}");
        assert!(text.contains("# ip6tables-restore --noflush\n"), "{text}");
        let only = printed("--family ipv6").expect("rules");
        assert!(!only.contains("# iptables") && only.contains("::1/128"), "{only}");
    }

    #[test]
    fn what_injection_writes_is_read_as_it_was_meant() {
        let lines = [
            "",
            "-i * -x 10.0.0.0/8 -b 80,81 -q 22 -o 23 -d 82 -c eth1 -k vm0 -u 5 -g 6 -p 7 -z 8 -e 9 -m TPROXY --drop-invalid",
            "-i 10.0.0.1/24 -b * --include-owner-groups 7 --redirect-dns --capture-all-dns",
            "--exclude-owner-groups 7,8",
        ];
        for line in lines {
            let read = |words: &[String]| {
                let words = ["capture".to_owned(), "print".to_owned()]
                    .into_iter()
                    .chain(words.iter().cloned());
                let line = Line::try_parse_from(words).unwrap_or_else(|error| panic!("{error}"));
                let Verb::Print(print) = line.args.verb else { panic!("print") };
                print.what.options(|| Ok(RESOLV.to_owned())).expect("options")
            };
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            let options = read(&words);
            assert_eq!(read(&tidegate_capture::arguments(&options)), options, "{line}");
        }
    }

    #[test]
    fn queries_are_captured_by_the_servers_that_are_used() {
        let text = printed("--redirect-dns").expect("rules");
        assert!(text.contains("--dport 53 -d 10.96.0.10/32 -j REDIRECT"), "{text}");
        assert!(text.contains("--dport 53 -d fe80::1/128 -j REDIRECT"), "{text}");
        let all = printed("--redirect-dns --capture-all-dns").expect("rules");
        assert!(all.contains("-p udp --dport 53 -j REDIRECT --to-port 15053"), "{all}");
        let none = servers(Ok("options edns0\n".to_owned())).expect_err("nobody").to_string();
        assert!(none.contains(RESOLV_CONF) && none.contains("--capture-all-dns"), "{none}");
    }

    #[test]
    fn what_cannot_be_meant_is_refused_in_words() {
        for (words, told) in [
            ("-i 10.0.0.0/33", "range of addresses"),
            ("-x *", "nothing would be captured"),
            ("-b http", "a number from 1 to 65535"),
            ("-c eth0;reboot", "one word"),
            ("-m redirect", "REDIRECT or TPROXY"),
            ("--capture-all-dns", "--redirect-dns"),
            ("--include-owner-groups a --exclude-owner-groups b", "cannot be used with"),
        ] {
            let refused = printed(words).expect_err(words);
            assert!(refused.contains(told), "{words}: {refused}");
        }
    }
}
