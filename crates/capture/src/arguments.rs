//! Options as the command line of istio-iptables, which `tidegate capture` reads, too.

use std::fmt::Display;

use crate::options::{Dns, Groups, Mode, Options, Ports, Ranges};

/// The arguments that mean these options: those of every call, which istio-init's are recognised by, and of the others those that
/// differ from their defaults. What no flag can say is left out: another mark, loopback range or DNS port.
pub fn arguments(options: &Options) -> Vec<String> {
    let defaults = Options::default();
    let mut flags: Vec<(&str, String)> = vec![
        ("-p", options.outbound_port.to_string()),
        ("-z", options.inbound_port.to_string()),
        ("-u", joined(&options.uids)),
        ("-m", mode(options.mode).to_owned()),
        ("-i", ranges(&options.outbound)),
        ("-x", ranges(&options.outbound_except)),
        ("-b", ports(&options.inbound)),
        ("-d", joined(&options.inbound_except)),
    ];
    if options.gids != defaults.gids {
        flags.push(("-g", joined(&options.gids)));
    }
    if options.tunnel_port != defaults.tunnel_port {
        flags.push(("-e", options.tunnel_port.to_string()));
    }
    let lists: [(&str, String); 4] = [
        ("-q", joined(&options.outbound_ports)),
        ("-o", joined(&options.outbound_ports_except)),
        ("-k", joined(&options.rerouted_interfaces)),
        ("-c", joined(&options.interfaces_except)),
    ];
    flags.extend(lists.into_iter().filter(|(_, list)| !list.is_empty()));
    match &options.groups {
        Groups::Only(groups) => flags.push(("--include-owner-groups", joined(groups))),
        Groups::AllBut(groups) if groups.is_empty() => {}
        Groups::AllBut(groups) => flags.push(("--exclude-owner-groups", joined(groups))),
    }
    let mut words: Vec<String> =
        flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect();
    words.extend(switches(options).into_iter().map(str::to_owned));
    words
}

/// Flags without a value.
fn switches(options: &Options) -> Vec<&'static str> {
    let mut switches = match options.dns {
        Dns::None => vec![],
        // Which servers, is read where the rules are made.
        Dns::Servers(_) => vec!["--redirect-dns"],
        Dns::All => vec!["--redirect-dns", "--capture-all-dns"],
    };
    if options.drop_invalid {
        switches.push("--drop-invalid");
    }
    switches
}

fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Redirect => "REDIRECT",
        Mode::Tproxy { .. } => "TPROXY",
    }
}

fn ports(ports: &Ports) -> String {
    match ports {
        Ports::All => "*".to_owned(),
        Ports::Only(ports) => joined(ports),
    }
}

fn ranges(ranges: &Ranges) -> String {
    match ranges {
        Ranges::All => "*".to_owned(),
        Ranges::Only(ranges) => joined(ranges),
    }
}

fn joined<T: Display>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_asked_for_is_not_written() {
        let words = arguments(&Options::default()).join(" ");
        assert_eq!(words, "-p 15001 -z 15006 -u 1337 -m REDIRECT -i  -x  -b  -d ");
    }

    #[test]
    fn ranges_keep_the_bits_behind_their_mask() {
        let outbound = "10.0.0.1/24,127.0.0.1/24".parse().expect("ranges");
        let words = arguments(&Options { outbound, ..Options::default() });
        assert!(words.contains(&"10.0.0.1/24,127.0.0.1/24".to_owned()), "{words:?}");
    }
}
