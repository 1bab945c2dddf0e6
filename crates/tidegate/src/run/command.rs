//! The command: as whom it runs, its signals, its status.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{self, ExitStatus};
use std::{env, fs, thread};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use rustix::thread::{Gid, Uid, set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};
use tokio::sync::oneshot;

use super::base_name;
use crate::cli::RunAs;
use crate::failure::{Failure, Outcome};
use crate::programs;
use crate::terminal;

/// A command that is to be run.
#[derive(Debug)]
pub struct Command {
    program: OsString,
    arguments: Vec<OsString>,
    name: String,
    invoker: Option<Invoker>,
}

/// Who ran `sudo`.
#[derive(Debug)]
struct Invoker {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
    name: String,
    home: Option<String>,
}

impl Command {
    /// The command that words name, to be run as whoever asked for it.
    ///
    /// # Errors
    /// There are no words.
    pub fn new(words: &[OsString]) -> Outcome<Self> {
        let Some((program, arguments)) = words.split_first() else {
            return Err(Failure::new("no command to run").or("tidegate run … -- COMMAND"));
        };
        Ok(Self {
            name: base_name(Path::new(program)),
            program: program.clone(),
            arguments: arguments.to_vec(),
            invoker: Invoker::of_sudo(),
        })
    }

    /// What the workload is called where nothing else is said.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is to run as this user, or in this group.
    pub fn is_of(&self, user: RunAs) -> bool {
        self.invoker.as_ref().is_some_and(|own| own.uid == user.uid || own.gid == user.gid)
    }

    /// Starts it in the namespaces of the calling thread, which is of the command's user from then on.
    ///
    /// # Errors
    /// What it is to end as where it cannot be started, which is told.
    pub fn start(&self) -> Result<Running, Ended> {
        let started = self.try_start();
        started.map_err(|error| {
            let program = self.program.to_string_lossy();
            terminal::say(Failure::new(format!("{program}: {error}")));
            Ended::Status(if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 })
        })
    }

    fn try_start(&self) -> io::Result<Running> {
        let mut command = process::Command::new(&self.program);
        command.args(&self.arguments);
        if let Some(invoker) = &self.invoker {
            invoker.take_over()?;
            command.env("USER", &invoker.name).env("LOGNAME", &invoker.name);
            command.envs(invoker.home.iter().map(|home| ("HOME", home)));
            for name in ["SUDO_UID", "SUDO_GID", "SUDO_USER", "SUDO_COMMAND"] {
                command.env_remove(name);
            }
        }
        let mut child = command.spawn()?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("no number of a process"))?;
        let handle = pidfd_open(pid, PidfdFlags::empty())?;
        let (sender, ended) = oneshot::channel();
        thread::Builder::new().name("command".to_owned()).spawn(move || {
            let _ = sender.send(child.wait());
        })?;
        Ok(Running { handle, ended })
    }
}

impl Invoker {
    fn of_sudo() -> Option<Self> {
        let number = |name: &str| -> Option<u32> { env::var(name).ok()?.parse().ok() };
        let (Some(uid), Some(gid)) = (number("SUDO_UID"), number("SUDO_GID")) else {
            return None;
        };
        let name = env::var("SUDO_USER").unwrap_or_else(|_| uid.to_string());
        // Of one who has no name the only group that is known is the first.
        let groups = programs::run("id", &["-G", &name], "").unwrap_or_else(|_| gid.to_string());
        let groups = groups.split_whitespace().filter_map(|group| group.parse().ok()).collect();
        let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
        Some(Self { uid, gid, groups, home: home(&users, &name), name })
    }

    /// Has the calling thread be this user.
    fn take_over(&self) -> io::Result<()> {
        let groups: Vec<Gid> = self.groups.iter().copied().map(Gid::from_raw).collect();
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        set_thread_groups(&groups)?;
        set_thread_res_gid(gid, gid, gid)?;
        set_thread_res_uid(uid, uid, uid)?;
        Ok(())
    }
}

/// The home of a user in the lines of `/etc/passwd`.
fn home(users: &str, name: &str) -> Option<String> {
    let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
    line.split(':').nth(5).filter(|home| !home.is_empty()).map(str::to_owned)
}

/// A command that has been started.
#[derive(Debug)]
pub struct Running {
    /// Stands for it and no other process, also once it has ended.
    handle: OwnedFd,
    ended: oneshot::Receiver<io::Result<ExitStatus>>,
}

impl Running {
    /// Waits for its end. Safe to cancel; call it no more once it has resolved.
    pub async fn ended(&mut self) -> Ended {
        match (&mut self.ended).await {
            Ok(Ok(status)) => Ended::of(status),
            // It cannot be waited for, which a child of ours can.
            _ => Ended::Status(super::FAILED),
        }
    }

    /// Passes on a signal that this process was sent.
    pub fn pass_on(&self, signal: Passed) {
        if let Some(signal) = Signal::from_named_raw(signal.number) {
            // It may have ended meanwhile.
            let _ = pidfd_send_signal(&self.handle, signal);
        }
    }

    /// Ends it.
    pub fn kill(&self) {
        let _ = pidfd_send_signal(&self.handle, Signal::KILL);
    }
}

/// How the command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With this status.
    Status(u8),
    /// By this signal.
    Signal(i32),
}

impl Ended {
    fn of(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Status(u8::try_from(code).unwrap_or(u8::MAX)),
            (None, Some(signal)) => Self::Signal(signal),
            (None, None) => Self::Status(super::FAILED),
        }
    }

    /// By a signal that came before it was started.
    pub const fn by(signal: Passed) -> Self {
        Self::Signal(signal.number)
    }

    /// The status of a process that stands for it, as shells have it.
    pub fn status(self) -> u8 {
        match self {
            Self::Status(status) => status,
            Self::Signal(signal) => u8::try_from(128 + signal).unwrap_or(u8::MAX),
        }
    }
}

/// A signal to be passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    number: i32,
}

/// Signals for the command.
#[derive(Debug)]
pub struct Signals(Vec<(i32, Stream)>);

impl Signals {
    /// Listens from now on. Needs a runtime.
    ///
    /// # Errors
    /// A handler cannot be installed.
    pub fn listen() -> Outcome<Self> {
        let kinds = [
            SignalKind::terminate(),
            SignalKind::interrupt(),
            SignalKind::hangup(),
            SignalKind::quit(),
            SignalKind::user_defined1(),
            SignalKind::user_defined2(),
        ];
        let listen = |kind: SignalKind| Ok((kind.as_raw_value(), signal(kind)?));
        let all = kinds.into_iter().map(listen).collect::<io::Result<Vec<_>>>();
        all.map(Self).map_err(|error| Failure::new(format!("signals cannot be handled: {error}")))
    }

    /// The next signal that the command has not been sent already. Safe to cancel.
    pub async fn next(&mut self) -> Passed {
        std::future::poll_fn(|cx| {
            for (number, stream) in &mut self.0 {
                while stream.poll_recv(cx).is_ready() {
                    if !by_terminal(*number) {
                        return std::task::Poll::Ready(Passed { number: *number });
                    }
                }
            }
            std::task::Poll::Pending
        })
        .await
    }
}

/// Whether a signal comes from the keys of a terminal, which sends it to the command as well.
fn by_terminal(number: i32) -> bool {
    let keys = [SignalKind::interrupt(), SignalKind::quit(), SignalKind::hangup()];
    let from_keys = keys.iter().any(|kind| kind.as_raw_value() == number);
    from_keys && io::IsTerminal::is_terminal(&io::stdin())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_told_by_the_status_that_shells_have() {
        assert_eq!(Ended::of(ExitStatus::from_raw(3 << 8)).status(), 3);
        assert_eq!(Ended::of(ExitStatus::from_raw(9)).status(), 137);
    }

    #[test]
    fn homes_are_those_of_the_very_user() {
        let users = "root:x:0:0:root:/root:/bin/sh\nada:x:1:1::/home/ada:/bin/sh\nnone:x:2:2:::\n";
        assert_eq!(home(users, "ada").as_deref(), Some("/home/ada"));
        assert_eq!(home(users, "ad"), None);
        assert_eq!(home(users, "none"), None);
    }
}
