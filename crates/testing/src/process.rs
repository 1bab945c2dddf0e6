//! Programs under test: short ones run to their end, long ones with their lines awaited.
//!
//! A program is only ever ended by the pid that it was started with, also when the test panics.

use std::fmt;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::PATIENCE;

/// A running program whose output is captured line by line. Killed when dropped.
pub struct Process {
    child: Child,
    pid: Pid,
    stdout: Lines,
    stderr: Lines,
}

impl Process {
    /// Starts `command`; its stdin is empty, its output goes to [`Process::stdout`] and
    /// [`Process::stderr`].
    #[must_use]
    pub fn spawn(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
        let pid = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        Self {
            pid: pid.expect("a process that was just started has a pid"),
            stdout: Lines::of(child.stdout.take().expect("a piped stdout")),
            stderr: Lines::of(child.stderr.take().expect("a piped stderr")),
            child,
        }
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// What it has written to stdout.
    #[must_use]
    pub fn stdout(&self) -> &Lines {
        &self.stdout
    }

    /// What it has written to stderr.
    #[must_use]
    pub fn stderr(&self) -> &Lines {
        &self.stderr
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        rustix::process::kill_process(self.pid, signal).expect("a signal to our own child");
    }

    /// Waits for its end; panics after `deadline`, with what it wrote.
    pub async fn wait(&mut self, deadline: Duration) -> ExitStatus {
        match timeout(deadline, self.child.wait()).await {
            Ok(status) => status.expect("the exit status of our own child"),
            Err(_) => panic!("still running after {deadline:?}; {self}"),
        }
    }

    /// Ends it with SIGKILL and waits until it is gone: no handler runs, as in a power cut.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("the end of our own child");
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stdout:\n{}\nstderr:\n{}", self.stdout.text(), self.stderr.text())
    }
}

/// The lines of one stream so far.
#[derive(Clone)]
pub struct Lines {
    seen: Arc<Mutex<Vec<String>>>,
    /// How many lines there are, and whether the stream has ended.
    progress: watch::Receiver<(usize, bool)>,
}

impl Lines {
    fn of(stream: impl AsyncRead + Unpin + Send + 'static) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (progress, receiver) = watch::channel((0, false));
        let sink = Arc::clone(&seen);
        tokio::spawn(async move {
            let mut reader = BufReader::new(stream);
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).await.is_ok_and(|length| length > 0) {
                let text = String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned();
                line.clear();
                let mut lines = lock(&sink);
                lines.push(text);
                progress.send_replace((lines.len(), false));
            }
            progress.send_modify(|(_, ended)| *ended = true);
        });
        Self { seen, progress: receiver }
    }

    /// All lines so far, joined.
    #[must_use]
    pub fn text(&self) -> String {
        lock(&self.seen).join("\n")
    }

    /// All lines, once the stream has ended. Panics when that takes longer than [`PATIENCE`].
    pub async fn whole(&self) -> String {
        let mut progress = self.progress.clone();
        let ended = timeout(PATIENCE, progress.wait_for(|(_, ended)| *ended)).await;
        assert!(ended.is_ok(), "the stream has not ended within {PATIENCE:?}:\n{}", self.text());
        self.text()
    }

    /// The first line, past or future, that `wanted` accepts. Panics after [`PATIENCE`] or when the
    /// stream ends without it, with everything that was written.
    pub async fn find(&self, wanted: impl Fn(&str) -> bool) -> String {
        let mut progress = self.progress.clone();
        let mut looked_at = 0;
        let search = async {
            loop {
                let (count, ended) = *progress.borrow_and_update();
                let found = lock(&self.seen)[looked_at..count].iter().find(|l| wanted(l)).cloned();
                if found.is_some() || ended {
                    return found;
                }
                looked_at = count;
                if progress.changed().await.is_err() {
                    return None;
                }
            }
        };
        match timeout(PATIENCE, search).await {
            Ok(Some(line)) => line,
            Ok(None) => panic!("the stream ended without the line:\n{}", self.text()),
            Err(_) => panic!("no such line within {PATIENCE:?}:\n{}", self.text()),
        }
    }

    /// The first line that contains `text`; otherwise as [`Lines::find`].
    pub async fn containing(&self, text: &str) -> String {
        self.find(|line| line.contains(text)).await
    }
}

fn lock(lines: &Mutex<Vec<String>>) -> MutexGuard<'_, Vec<String>> {
    lines.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a program left behind.
#[derive(Clone, Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// Its stdout; bytes that are no UTF-8 are replaced.
    pub stdout: String,
    /// Its stderr, likewise.
    pub stderr: String,
}

impl Output {
    /// stdout of a program that succeeded; panics with everything it said otherwise.
    #[must_use]
    #[track_caller]
    pub fn success(self) -> String {
        assert!(self.status.success(), "{}\n{}\n{}", self.status, self.stdout, self.stderr);
        self.stdout
    }
}

/// Runs `command` to its end with `input` as its stdin; panics when it takes longer than [`PATIENCE`].
pub async fn run(mut command: Command, input: &str) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
    let mut stdin = child.stdin.take().expect("a piped stdin");
    let input = input.to_owned();
    // A program need not read its input: a broken pipe is no failure.
    let feeding = tokio::spawn(async move { stdin.write_all(input.as_bytes()).await });
    let output = timeout(PATIENCE, child.wait_with_output()).await;
    feeding.abort();
    let output = output
        .unwrap_or_else(|_| panic!("{command:?} runs longer than {PATIENCE:?}"))
        .expect("the output of our own child");
    Output {
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn awaits_lines_and_the_end() {
        let mut process = Process::spawn(shell("echo one; echo two >&2; exit 3"));
        assert_eq!(process.stdout().containing("on").await, "one");
        assert_eq!(process.stderr().find(|line| line == "two").await, "two");
        assert_eq!(process.wait(PATIENCE).await.code(), Some(3));
    }

    #[tokio::test]
    async fn signals_reach_the_process_itself() {
        let mut process = Process::spawn(shell(
            "trap 'echo caught; exit 0' TERM; echo up; while :; do sleep 0.01; done",
        ));
        process.stdout().containing("up").await;
        process.signal(Signal::TERM);
        process.stdout().containing("caught").await;
        assert!(process.wait(PATIENCE).await.success());
    }

    #[tokio::test]
    async fn runs_to_the_end_with_input() {
        assert_eq!(run(shell("cat"), "tide\n").await.success(), "tide\n");
        let failed = run(shell("echo no >&2; exit 1"), "unread").await;
        assert_eq!((failed.status.code(), failed.stderr.as_str()), (Some(1), "no\n"));
    }

    #[tokio::test]
    #[should_panic(expected = "ended without the line")]
    async fn a_line_that_never_comes_is_told_with_what_came() {
        let process = Process::spawn(shell("echo other"));
        process.stdout().containing("wanted").await;
    }
}
