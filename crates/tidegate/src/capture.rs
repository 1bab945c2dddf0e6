//! `tidegate capture apply` and `remove`: rules of this network namespace are replaced as a whole, or stay as they were.

use std::fmt::Write as _;
use std::fs::File;
use std::net::{IpAddr, Ipv6Addr};

use tidegate_capture::{Family, Mode, Options, State, tables};

use crate::failure::{Failure, Outcome};
use crate::programs::{PATIENCE, run};

/// The routing table of packets whose addresses are left alone, as in Istio.
const ROUTES: &str = "133";
/// The network namespace of the calling thread.
const NAMESPACE: &str = "/proc/thread-self/ns/net";
/// Where the kernel lists addresses of IPv6; absent where it has none.
const IPV6: &str = "/proc/net/if_inet6";
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

/// What becomes of one family's rules by one kind of programs.
struct Change {
    backend: Backend,
    family: Family,
    old: State,
    new: State,
}

/// Captures what is asked for, in place of what was captured before.
///
/// # Errors
/// The rules cannot be changed; they are as they were then.
pub fn apply(options: &Options, choice: Choice) -> Outcome<String> {
    let _turn = turn()?;
    let backend = choice.settle();
    let families = families();
    let wanted = |family: &Family| State::of_tables(&tables(options, *family));
    let mut changes = families
        .iter()
        .map(|family| Change::to(wanted(family), backend, *family))
        .collect::<Outcome<Vec<_>>>()?;
    // Rules that the other programs see would redirect a second time.
    changes.extend(removals(Backend::all().filter(|other| !other.is(backend)), &families)?);
    changes.iter().try_for_each(Change::rehearse)?;
    let before = Surroundings::now(&families);
    surround(options.mode, &families)
        .and_then(|()| commit(&changes))
        .inspect_err(|_| before.restore(&families))?;
    if options.mode == Mode::Redirect {
        // Of a capture before that left addresses alone.
        families.iter().for_each(|family| unroute(*family, &[]));
    }
    let mut told = format!("captured in this network namespace, by {}\n", backend.name("iptables"));
    for Change { family, new, .. } in changes.iter().take(families.len()) {
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
/// The rules cannot be changed; they are as they were then.
pub fn remove() -> Outcome<String> {
    let _turn = turn()?;
    let families = families();
    let changes = removals(Backend::all(), &families)?;
    changes.iter().try_for_each(Change::rehearse)?;
    commit(&changes)?;
    families.iter().for_each(|family| unroute(*family, &[]));
    if !changes.is_empty() {
        forget_source();
    }
    let counts = changes.iter().flat_map(|change| change.old.counts());
    Ok(match counts.map(|(_, count)| count).sum::<usize>() {
        0 => "nothing is captured in this network namespace\n".to_owned(),
        some => format!("{some} rules removed: nothing is captured in this network namespace\n"),
    })
}

/// Waits until nobody else changes what is captured in this network namespace, and keeps others waiting until it is dropped: what one
/// has read, another may not change before it is written. The namespace itself is what is locked, so that nothing is left behind.
fn turn() -> Outcome<File> {
    let locked = File::open(NAMESPACE).and_then(|file| file.lock().map(|()| file));
    locked.map_err(|error| Failure::new(format!("{NAMESPACE} cannot be locked: {error}")))
}

/// What takes away all that is ours, where something is.
fn removals(backends: impl Iterator<Item = Backend>, families: &[Family]) -> Outcome<Vec<Change>> {
    let places = backends.flat_map(|one| families.iter().map(move |family| (one, *family)));
    let changes = places.map(|(backend, family)| Change::to(State::default(), backend, family));
    let mut changes = changes.collect::<Outcome<Vec<_>>>()?;
    changes.retain(|change| !change.old.is_empty());
    Ok(changes)
}

/// Makes one change after the other; where one fails, those before it are undone.
fn commit(changes: &[Change]) -> Outcome<()> {
    for (done, change) in changes.iter().enumerate() {
        let Err(failure) = change.make() else { continue };
        let undone = changes[..=done].iter().rev().map(Change::undo);
        return Err(undone
            .filter_map(Result::err)
            .fold(failure, |failure, undone| failure.and(undone).or("tidegate capture remove")));
    }
    Ok(())
}

impl Change {
    fn to(new: State, backend: Backend, family: Family) -> Outcome<Self> {
        Ok(Self { backend, family, old: backend.state(family)?, new })
    }

    /// Only tries whether it could be made.
    fn rehearse(&self) -> Outcome<()> {
        self.backend.restore(self.family, &self.old.replaced_by(&self.new), true)
    }

    fn make(&self) -> Outcome<()> {
        self.backend.restore(self.family, &self.old.replaced_by(&self.new), false)
    }

    fn undo(&self) -> Outcome<()> {
        // A table that was changed before a failing one has the new rules, others the old ones.
        let now = self.backend.state(self.family).unwrap_or_else(|_| self.new.clone());
        if now == self.old {
            return Ok(());
        }
        self.backend.restore(self.family, &now.replaced_by(&self.old), false)
    }
}

/// What a capture changes beside rules: where marked packets go, and the addresses of loopback.
struct Surroundings {
    /// Of each family, the marks whose packets are led to [`ROUTES`].
    marks: Vec<Vec<String>>,
    has_source: bool,
}

impl Surroundings {
    fn now(families: &[Family]) -> Self {
        let marks = families.iter().map(|family| marks(*family).unwrap_or_default()).collect();
        Self { marks, has_source: loopback_has(SOURCE) }
    }

    /// Takes away what was not there.
    fn restore(&self, families: &[Family]) {
        families.iter().zip(&self.marks).for_each(|(family, kept)| unroute(*family, kept));
        if !self.has_source {
            forget_source();
        }
    }
}

/// Has around the rules what they count on.
fn surround(mode: Mode, families: &[Family]) -> Outcome<()> {
    if loopback_has(IpAddr::V6(Ipv6Addr::LOCALHOST)) {
        run("ip", &["-6", "address", "replace", &source(), "dev", "lo", "nodad"], "")?;
    }
    match mode {
        Mode::Redirect => Ok(()),
        Mode::Tproxy { mark } => families.iter().try_for_each(|family| route(*family, mark)),
    }
}

/// The families that this system has.
fn families() -> Vec<Family> {
    let v6 = std::path::Path::new(IPV6).exists();
    std::iter::once(Family::V4).chain(v6.then_some(Family::V6)).collect()
}

/// Whether loopback has this address of IPv6.
fn loopback_has(address: IpAddr) -> bool {
    let IpAddr::V6(address) = address else { return false };
    let listed = format!("{:032x} ", address.to_bits());
    let is_it = |line: &str| line.starts_with(&listed) && line.trim_end().ends_with(" lo");
    std::fs::read_to_string(IPV6).is_ok_and(|all| all.lines().any(is_it))
}

/// Takes [`SOURCE`] away.
fn forget_source() {
    if !loopback_has(SOURCE) {
        return;
    }
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

/// The arguments of `ip` that lead marked packets to this machine, whatever address they are for: the proxy takes them by that. A
/// rule that is there already is not to be added a second time.
pub fn routing(family: Family, mark: u32) -> [Vec<String>; 2] {
    let words = |words: &str| words.split(' ').map(str::to_owned).collect();
    let family = flag(family);
    [
        words(&format!("{family} rule add fwmark {mark} lookup {ROUTES}")),
        words(&format!("{family} route replace local default dev lo table {ROUTES}")),
    ]
}

/// Leads marked packets to this machine.
fn route(family: Family, mark: u32) -> Outcome<()> {
    let known = marks(family)?.contains(&mark.to_string());
    for words in routing(family, mark).iter().skip(usize::from(known)) {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        run("ip", &words, "")?;
    }
    Ok(())
}

/// Forgets what [`route`] did, but for packets of these marks. What is not there needs not to be told.
fn unroute(family: Family, kept: &[String]) {
    let marks = marks(family).unwrap_or_default();
    let family = flag(family);
    let gone: Vec<_> = marks.iter().filter(|mark| !kept.contains(mark)).collect();
    for mark in &gone {
        let _ = run("ip", &[family, "rule", "del", "fwmark", mark, "lookup", ROUTES], "");
    }
    if kept.is_empty() && !gone.is_empty() {
        let _ = run("ip", &[family, "route", "flush", "table", ROUTES], "");
    }
}

/// The marks whose packets are led to [`ROUTES`].
fn marks(family: Family) -> Outcome<Vec<String>> {
    let rules = run("ip", &[flag(family), "rule", "show"], "")?;
    Ok(marks_of(&rules).collect())
}

const fn flag(family: Family) -> &'static str {
    match family {
        Family::V4 => "-4",
        Family::V6 => "-6",
    }
}

/// The marks whose packets a listing of rules leads to [`ROUTES`], in decimal.
fn marks_of(rules: &str) -> impl Iterator<Item = String> {
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
        assert_eq!(marks_of(rules).collect::<Vec<_>>(), ["1337", "16"]);
    }
}
