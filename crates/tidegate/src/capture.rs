//! `tidegate capture apply` and `remove`: rules of this network namespace are replaced as a whole, or stay as they were.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv6Addr};

use tidegate_capture::{Family, Mode, Options, State, tables};

use crate::failure::Outcome;
use crate::programs::{PATIENCE, run};

/// The routing table of packets whose addresses are left alone, as in Istio.
const ROUTES: &str = "133";
/// Where the kernel lists addresses of IPv6; absent where it has none.
const IPV6: &str = "/proc/net/if_inet6";
/// The address of loopback, as it is listed there.
const LOOPBACK: &str = "00000000000000000000000000000001 ";
/// What a sidecar sends from to its workload, which is not captured. Of IPv4 that is 127.0.0.6, which loopback has; of IPv6 it
/// has one address alone.
pub const SOURCE: IpAddr = IpAddr::V6(Ipv6Addr::from_bits(6));

/// The programs of one kind that change rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backend {
    /// What comes behind `iptables` in their names.
    suffix: &'static str,
}

/// Which programs change rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Choice {
    /// iptables-legacy where it has rules already, else iptables as the system has it
    Auto,
    /// iptables-nft
    Nft,
    /// iptables-legacy
    Legacy,
}

/// Captures what is asked for, in place of what was captured before.
///
/// # Errors
/// The rules cannot be changed; they are as they were then.
pub fn apply(options: &Options, choice: Choice) -> Outcome<String> {
    let backend = choice.settle();
    let families = families();
    let mut changes = Vec::new();
    for family in &families {
        let old = backend.state(*family)?;
        let new = State::of_tables(&tables(options, *family));
        backend.restore(*family, &old.replaced_by(&new), true)?;
        changes.push((*family, old, new));
    }
    let mark = match options.mode {
        Mode::Tproxy { mark } => Some(mark),
        Mode::Redirect => None,
    };
    let sourced = loopback_has_ipv6();
    if sourced {
        run("ip", &["-6", "address", "replace", &source(), "dev", "lo", "nodad"], "")?;
    }
    commit(backend, &changes, mark).inspect_err(|_| {
        let first = changes.iter().all(|(_, old, _)| old.is_empty());
        if sourced && first {
            forget_source();
        }
    })?;
    if mark.is_none() {
        // Of a capture before that left addresses alone.
        families.iter().copied().for_each(unroute);
    }
    // Rules that the other programs see would redirect a second time.
    for other in Backend::all().filter(|other| !other.is(backend)) {
        clear(other, &families)?;
    }
    let mut told = format!("captured in this network namespace, by {}\n", backend.name("iptables"));
    for (family, _, new) in &changes {
        let counts: Vec<String> =
            new.counts().map(|(table, count)| format!("{count} rules in {table}")).collect();
        let _ = writeln!(told, "  {}  {}", called(*family), counts.join(", "));
    }
    if families.len() == 1 {
        told.push_str("  IPv6  none: this system has none\n");
    }
    told.push_str("undo: tidegate capture remove\n");
    Ok(told)
}

/// Captures nothing any more.
///
/// # Errors
/// The rules cannot be changed.
pub fn remove() -> Outcome<String> {
    let families = families();
    let mut removed = 0;
    for backend in Backend::all() {
        removed += clear(backend, &families)?;
    }
    for family in &families {
        unroute(*family);
    }
    if removed > 0 && loopback_has_ipv6() {
        forget_source();
    }
    Ok(match removed {
        0 => "nothing is captured in this network namespace\n".to_owned(),
        some => format!("{some} rules removed: nothing is captured in this network namespace\n"),
    })
}

/// Has each family's new rules in place of the old; where one fails, those before it have their old ones again.
fn commit(backend: Backend, changes: &[(Family, State, State)], mark: Option<u32>) -> Outcome<()> {
    for (done, (family, old, new)) in changes.iter().enumerate() {
        let routed = mark.map_or(Ok(()), |mark| route(*family, mark));
        let changed = routed.and_then(|()| backend.restore(*family, &old.replaced_by(new), false));
        let Err(mut failure) = changed else { continue };
        for (family, old, new) in changes[..=done].iter().rev() {
            // A table that was changed before the failing one has the new rules, others the old ones.
            let now = backend.state(*family).unwrap_or_else(|_| new.clone());
            if let Err(undone) = backend.restore(*family, &now.replaced_by(old), false) {
                failure = failure.and(undone).or("tidegate capture remove");
            }
            if mark.is_some() && old.is_empty() {
                unroute(*family);
            }
        }
        return Err(failure);
    }
    Ok(())
}

/// Removes what is ours, and says how many rules that were.
fn clear(backend: Backend, families: &[Family]) -> Outcome<usize> {
    let mut removed = 0;
    for family in families {
        let old = backend.state(*family)?;
        if !old.is_empty() {
            backend.restore(*family, &old.replaced_by(&State::default()), false)?;
            removed += old.counts().map(|(_, count)| count).sum::<usize>();
        }
    }
    Ok(removed)
}

/// The families that this system has.
fn families() -> Vec<Family> {
    let v6 = std::path::Path::new(IPV6).exists();
    std::iter::once(Family::V4).chain(v6.then_some(Family::V6)).collect()
}

fn loopback_has_ipv6() -> bool {
    std::fs::read_to_string(IPV6).is_ok_and(|all| all.lines().any(|one| one.starts_with(LOOPBACK)))
}

/// Takes [`SOURCE`] away. Where it is not there, that is as well.
fn forget_source() {
    let _ = run("ip", &["-6", "address", "del", &source(), "dev", "lo"], "");
}

/// [`SOURCE`] as a network of its own.
fn source() -> String {
    format!("{SOURCE}/128")
}

const fn called(family: Family) -> &'static str {
    match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    }
}

impl Choice {
    fn settle(self) -> Backend {
        match self {
            Self::Nft => Backend { suffix: "-nft" },
            Self::Legacy => Backend { suffix: "-legacy" },
            Self::Auto => {
                let legacy = Backend { suffix: "-legacy" };
                let saved = run(&format!("{}-save", legacy.name("iptables")), &[], "");
                let used = saved.is_ok_and(|out| out.lines().any(|line| line.starts_with("-A ")));
                if used { legacy } else { Backend { suffix: "" } }
            }
        }
    }
}

impl Backend {
    /// Those that the system has, each once.
    fn all() -> impl Iterator<Item = Self> {
        let kinds = ["-nft", "-legacy"].map(|suffix| Self { suffix });
        let named: Vec<Self> = kinds.into_iter().filter(|kind| kind.version().is_some()).collect();
        // One that has no kind in its name is all that there is.
        let only = named.is_empty().then_some(Self { suffix: "" });
        named.into_iter().chain(only)
    }

    /// Whether both change the same rules.
    fn is(self, other: Self) -> bool {
        self.version() == other.version()
    }

    /// What it says that it is: `iptables v1.8.9 (nf_tables)`.
    fn version(self) -> Option<String> {
        run(&self.name("iptables"), &["--version"], "").ok()
    }

    /// The name of a program: `iptables-nft`, `ip6tables`.
    fn name(self, program: &str) -> String {
        format!("{program}{}", self.suffix)
    }

    fn program(self, family: Family) -> String {
        match family {
            Family::V4 => self.name("iptables"),
            Family::V6 => self.name("ip6tables"),
        }
    }

    /// What is ours now.
    fn state(self, family: Family) -> Outcome<State> {
        Ok(State::of_saved(&run(&format!("{}-save", self.program(family)), &[], "")?))
    }

    /// Changes rules, or only tries whether they could be.
    fn restore(self, family: Family, text: &str, try_only: bool) -> Outcome<()> {
        let test = try_only.then_some("--test");
        let arguments: Vec<&str> = ["--noflush", "-w", PATIENCE].into_iter().chain(test).collect();
        run(&format!("{}-restore", self.program(family)), &arguments, text).map(|_| ())
    }
}

/// Leads marked packets to this machine, whatever address they are for: the proxy takes them by that.
fn route(family: Family, mark: u32) -> Outcome<()> {
    let family = flag(family);
    let mark = mark.to_string();
    let rules = run("ip", &[family, "rule", "show"], "")?;
    let known = marks(&rules).any(|known| known == mark);
    if !known {
        run("ip", &[family, "rule", "add", "fwmark", &mark, "lookup", ROUTES], "")?;
    }
    let words = [family, "route", "replace", "local", "default", "dev", "lo", "table", ROUTES];
    run("ip", &words, "").map(|_| ())
}

/// Forgets what [`route`] did. What is not there needs not to be told.
fn unroute(family: Family) {
    let family = flag(family);
    let Ok(rules) = run("ip", &[family, "rule", "show"], "") else { return };
    let mut ours = false;
    for mark in marks(&rules) {
        ours = true;
        let _ = run("ip", &[family, "rule", "del", "fwmark", &mark, "lookup", ROUTES], "");
    }
    if ours {
        let _ = run("ip", &[family, "route", "flush", "table", ROUTES], "");
    }
}

const fn flag(family: Family) -> &'static str {
    match family {
        Family::V4 => "-4",
        Family::V6 => "-6",
    }
}

/// The marks whose packets a listing of rules leads to [`ROUTES`], in decimal.
fn marks(rules: &str) -> impl Iterator<Item = String> {
    let to = format!("lookup {ROUTES}");
    let ours = rules.lines().filter(move |line| line.trim_end().ends_with(&to));
    ours.filter_map(|line| {
        let mark = line.split_once("fwmark ")?.1.split([' ', '/']).next()?;
        let number = match mark.strip_prefix("0x") {
            Some(digits) => u32::from_str_radix(digits, 16).ok()?,
            None => mark.parse().ok()?,
        };
        Some(number.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_read_from_rules_in_either_notation() {
        let rules = "0:\tfrom all lookup local\n32765:\tfrom all fwmark 0x539 lookup 133\n\
                     32764:\tfrom all fwmark 0x10/0xff lookup 133\n32766:\tfrom all fwmark 7 lookup main\n";
        assert_eq!(marks(rules).collect::<Vec<_>>(), ["1337", "16"]);
    }
}
