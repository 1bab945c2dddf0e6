//! What a run makes in this namespace: an interface, rules, settings. It is written down before it is made, in a file that is locked
//! for as long as the process lives. One that is not locked is of a process that was killed, and the next start removes what it says.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::failure::{Failure, Outcome};
use crate::programs::{PATIENCE, run};

/// Where claims are.
const FOLDER: &str = "/run/tidegate";
/// The network namespace of this process, whose number tells it from others.
const NAMESPACE: &str = "/proc/self/ns/net";
/// Where the kernel says whether it forwards IPv4, and is told.
const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";
/// What names of claims begin with; the number of the process follows.
const PREFIX: &str = "run-";

/// What one process has made. Dropping it removes it.
#[derive(Debug)]
pub struct Claim {
    path: PathBuf,
    /// Locked.
    file: File,
    link: String,
    namespace: u64,
    rules: Vec<Rule>,
    /// Locked while the network is made.
    turn: Option<File>,
}

/// A rule of iptables in a chain of the system's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    program: String,
    table: String,
    chain: String,
    words: Vec<String>,
}

impl Rule {
    /// What comes from a network and leaves by another interface has this machine's address.
    pub fn masquerade(program: &str, network: &str, link: &str) -> Self {
        Self::new(
            program,
            "nat",
            "POSTROUTING",
            &["-s", network, "!", "-o", link, "-j", "MASQUERADE"],
        )
    }

    /// What comes and goes by an interface is forwarded, whatever the others are told.
    pub fn let_through(program: &str, link: &str) -> [Self; 2] {
        ["-i", "-o"]
            .map(|way| Self::new(program, "filter", "FORWARD", &[way, link, "-j", "ACCEPT"]))
    }

    fn new(program: &str, table: &str, chain: &str, words: &[&str]) -> Self {
        Self {
            program: program.to_owned(),
            table: table.to_owned(),
            chain: chain.to_owned(),
            words: words.iter().map(|&word| word.to_owned()).collect(),
        }
    }

    /// Inserts (`-I`) or deletes (`-D`) it.
    fn change(&self, how: &str) -> Outcome<()> {
        let mut words = vec!["-w", PATIENCE, "-t", &self.table, how, &self.chain];
        words.extend(self.words.iter().map(String::as_str));
        run(&self.program, &words, "").map(|_| ())
    }

    fn to_json(&self) -> Value {
        json!([self.program, self.table, self.chain, self.words])
    }

    /// A rule of a claim that another process wrote. Only what this program writes is done again, whatever the file says.
    fn of_json(value: &Value) -> Option<Self> {
        let text = |at: usize| value[at].as_str().map(str::to_owned);
        let words = value[3].as_array()?.iter().map(|word| word.as_str().map(str::to_owned));
        let rule = Self {
            program: text(0)?,
            table: text(1)?,
            chain: text(2)?,
            words: words.collect::<Option<_>>()?,
        };
        matches!(&*rule.program, "iptables" | "ip6tables").then_some(rule)
    }
}

impl Claim {
    /// An empty one, of this process. What earlier processes left behind is removed. Nobody else makes a network until it is
    /// settled.
    ///
    /// # Errors
    /// The folder of claims cannot be used.
    pub fn new() -> Outcome<Self> {
        let turn = turn()?;
        let own = fs::metadata(NAMESPACE);
        let namespace = own.map_err(|error| failed(Path::new(NAMESPACE), &error))?.ino();
        clear(namespace);
        let pid = std::process::id();
        let path = Path::new(FOLDER).join(format!("{PREFIX}{pid}.{namespace}"));
        let file = open(&path).and_then(|file| {
            file.lock()?;
            Ok(file)
        });
        let file = file.map_err(|error| failed(&path, &error))?;
        let link = format!("tg{pid}");
        let mut claim = Self { path, file, link, namespace, rules: Vec::new(), turn: Some(turn) };
        claim.write()?;
        Ok(claim)
    }

    /// All is made: others may make theirs.
    pub fn settle(&mut self) {
        self.turn = None;
    }

    /// The name of the interface in this namespace.
    pub fn link(&self) -> &str {
        &self.link
    }

    /// Adds rules.
    ///
    /// # Errors
    /// The system refuses one.
    pub fn add(&mut self, rules: impl IntoIterator<Item = Rule>) -> Outcome<()> {
        for rule in rules {
            self.rules.push(rule.clone());
            self.write()?;
            rule.change("-I")?;
        }
        Ok(())
    }

    /// Has this machine forward, if it does not, until the last network is gone.
    ///
    /// # Errors
    /// The system refuses it.
    pub fn forward(&self) -> Outcome<()> {
        if forwards() {
            return Ok(());
        }
        let note = note(self.namespace);
        fs::write(&note, "").map_err(|error| failed(&note, &error))?;
        fs::write(FORWARDING, "1").map_err(|error| {
            failed(Path::new(FORWARDING), &error)
                .or("--no-forwarding, to leave the command with this machine alone")
        })
    }

    fn write(&mut self) -> Outcome<()> {
        let rules: Vec<Value> = self.rules.iter().map(Rule::to_json).collect();
        let text = json!({"link": self.link, "rules": rules}).to_string();
        let mut write = || {
            self.file.set_len(0)?;
            self.file.rewind()?;
            self.file.write_all(text.as_bytes())
        };
        write().map_err(|error| failed(&self.path, &error))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let _turn = self.turn.take().or_else(|| turn().ok());
        undo(&self.link, &self.rules);
        let _ = fs::remove_file(&self.path);
        restore(self.namespace);
    }
}

/// Waits until nobody else makes a network or removes one, which lasts until the file is dropped.
fn turn() -> Outcome<File> {
    let path = Path::new(FOLDER).join("lock");
    let take = || -> io::Result<File> {
        fs::create_dir_all(FOLDER)?;
        let file = open(&path)?;
        file.lock()?;
        Ok(file)
    };
    take().map_err(|error| failed(&path, &error))
}

/// Removes what processes that were killed have left in a namespace.
fn clear(namespace: u64) {
    for path in claims(namespace) {
        let Ok(mut file) = File::open(&path) else { continue };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => continue,
        }
        let mut text = String::new();
        let _ = file.read_to_string(&mut text);
        let claim: Value = serde_json::from_str(&text).unwrap_or_default();
        let rules = claim["rules"].as_array().into_iter().flatten();
        let rules: Vec<Rule> = rules.filter_map(Rule::of_json).collect();
        tracing::info!("{}: what a process left behind that was killed is removed", path.display());
        undo(claim["link"].as_str().unwrap_or_default(), &rules);
        let _ = fs::remove_file(&path);
    }
    restore(namespace);
}

fn undo(link: &str, rules: &[Rule]) {
    for rule in rules.iter().rev() {
        if let Err(failure) = rule.change("-D") {
            tracing::debug!("{failure}");
        }
    }
    // It is gone already where the command's namespace is.
    if link.starts_with("tg") {
        let _ = run("ip", &["link", "del", link], "");
    }
}

/// Has the machine forward no more, if it did not before, once nobody needs that.
fn restore(namespace: u64) {
    let note = note(namespace);
    if claims(namespace).is_empty() && note.exists() {
        let _ = fs::write(FORWARDING, "0");
        let _ = fs::remove_file(note);
    }
}

/// Whether this machine forwards.
fn forwards() -> bool {
    fs::read_to_string(FORWARDING).is_ok_and(|text| text.trim() != "0")
}

/// The file that says that a machine did not forward.
fn note(namespace: u64) -> PathBuf {
    Path::new(FOLDER).join(format!("forwarding.{namespace}"))
}

/// The claims in a namespace, of processes that live or were killed.
fn claims(namespace: u64) -> Vec<PathBuf> {
    let end = format!(".{namespace}");
    let all = fs::read_dir(FOLDER).into_iter().flatten().flatten();
    let is = |name: &str| name.starts_with(PREFIX) && name.ends_with(&end);
    let own = all.filter(|entry| entry.file_name().to_str().is_some_and(is));
    own.map(|entry| entry.path()).collect()
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    Failure::new(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_read_as_it_was_written_and_nothing_else_is_one() {
        let rules = Rule::let_through("iptables", "tg1");
        let masquerade = Rule::masquerade("ip6tables", "fd00::/64", "tg1");
        for rule in rules.into_iter().chain([masquerade]) {
            assert_eq!(Rule::of_json(&rule.to_json()), Some(rule));
        }
        assert_eq!(Rule::of_json(&json!(["rm", "nat", "x", ["-rf"]])), None);
        assert_eq!(Rule::of_json(&json!({})), None);
    }
}
