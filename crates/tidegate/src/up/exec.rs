//! Commands that can be run in the gateway's own Pod: those by which people ask its admin interface, as
//! `curl localhost:15000/stats`. No process is started and no shell is there: the words are read, and the interface is
//! asked within this process, of nothing that changes anything.

use http::{Request, Uri};
use tidegate_apiserver::CommandOutput;
use tidegate_proxy::admin::Admin;

/// Where the admin interface listens in a Pod of Istio's, wherever it listens here.
const PORT: u16 = 15000;

const USAGE: &str = "No command is run in this Pod, which is a process without a container. What its admin interface says \
    can be asked: curl [-s] [-S] [-f] localhost:15000/PATH, or pilot-agent request GET PATH (/help lists the paths).\n";

/// As a shell of a command that is not there, curl of an option that it does not know, and curl -f of an error.
const NOT_FOUND: u8 = 127;
const BAD_OPTION: u8 = 2;
const REFUSED: u8 = 22;

/// Runs a command.
pub fn run(admin: &Admin, command: &[String]) -> CommandOutput {
    match Question::read(command) {
        Ok(question) => question.ask(admin),
        Err((status, text)) => failed(status, text),
    }
}

fn failed(status: u8, text: String) -> CommandOutput {
    CommandOutput { stderr: text.into(), status, ..CommandOutput::default() }
}

/// What a command asks.
#[derive(Debug, PartialEq, Eq)]
struct Question {
    /// Path and query.
    target: String,
    /// Whether an error is told by the status alone (`curl -f`).
    fails: bool,
}

impl Question {
    /// Reads a command, or says why it cannot be run, with the status that it would have ended with.
    fn read(command: &[String]) -> Result<Self, (u8, String)> {
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["curl", arguments @ ..] => Self::of_curl(arguments),
            ["pilot-agent", "request", "GET", path] => {
                Ok(Self { target: format!("/{}", path.trim_start_matches('/')), fails: false })
            }
            _ => Err((NOT_FOUND, USAGE.to_owned())),
        }
    }

    fn of_curl(arguments: &[&str]) -> Result<Self, (u8, String)> {
        let bad = |text: String| (BAD_OPTION, format!("curl: {text}\n{USAGE}"));
        let (mut address, mut fails) = (None, false);
        for argument in arguments {
            match *argument {
                "-s" | "-S" | "-sS" | "-Ss" | "--silent" | "--show-error" => {}
                "-f" | "--fail" | "-sf" | "-fs" | "-fsS" | "-sSf" => fails = true,
                option if option.starts_with('-') => {
                    return Err(bad(format!("option {option} is not known here")));
                }
                text if address.is_none() => address = Some(text),
                _ => return Err(bad("one address at a time".to_owned())),
            }
        }
        let address = address.ok_or_else(|| bad("no address".to_owned()))?;
        let target = target(address).ok_or_else(|| {
            let interface = format!("the admin interface at localhost:{PORT}");
            bad(format!("{address} is not {interface}, which alone can be asked"))
        })?;
        Ok(Self { target, fails })
    }

    fn ask(&self, admin: &Admin) -> CommandOutput {
        let request = Request::get(self.target.as_str()).header("host", "localhost").body(());
        let Ok(request) = request else {
            return failed(BAD_OPTION, format!("{:?} is no path\n", self.target));
        };
        let answer = admin.answer(&request);
        let status = answer.status.as_u16();
        if self.fails && status >= 400 {
            return failed(
                REFUSED,
                format!("curl: (22) The requested URL returned error: {status}\n"),
            );
        }
        let stdout: Vec<u8> = answer.body.flatten().collect();
        CommandOutput { stdout: stdout.into(), ..CommandOutput::default() }
    }
}

/// Path and query of an address, if it is the admin interface's.
fn target(address: &str) -> Option<String> {
    let rest = address.strip_prefix("http://").unwrap_or(address);
    let uri: Uri = format!("http://{rest}").parse().ok()?;
    let local = matches!(uri.host()?, "localhost" | "127.0.0.1" | "[::1]");
    let asked = local && uri.port_u16() == Some(PORT);
    asked.then(|| uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(command: &str) -> Result<Question, (u8, String)> {
        let words: Vec<String> = command.split(' ').map(str::to_owned).collect();
        Question::read(&words)
    }

    #[test]
    fn what_people_type_is_understood() {
        for (command, target, fails) in [
            ("curl localhost:15000/stats", "/stats", false),
            ("curl -s http://127.0.0.1:15000/stats?filter=http", "/stats?filter=http", false),
            ("curl -fsS [::1]:15000", "/", true),
            ("pilot-agent request GET config_dump", "/config_dump", false),
        ] {
            assert_eq!(
                read(command),
                Ok(Question { target: target.to_owned(), fails }),
                "{command}"
            );
        }
    }

    #[test]
    fn nothing_else_runs() {
        for (command, status, why) in [
            ("sh -c curl", NOT_FOUND, "No command is run"),
            ("pilot-agent request POST quitquitquit", NOT_FOUND, "No command is run"),
            ("curl -X POST localhost:15000/quitquitquit", BAD_OPTION, "option -X"),
            ("curl example.com", BAD_OPTION, "example.com is not"),
            ("curl localhost:15001/stats", BAD_OPTION, "localhost:15001/stats is not"),
            ("curl file:///etc/passwd", BAD_OPTION, "file:///etc/passwd is not"),
            ("curl localhost:15000/ localhost:15000/", BAD_OPTION, "one address"),
            ("curl", BAD_OPTION, "no address"),
        ] {
            let (said, text) = read(command).expect_err(command);
            assert_eq!(said, status, "{command}");
            assert!(text.contains(why), "{command}: {text}");
        }
    }
}
