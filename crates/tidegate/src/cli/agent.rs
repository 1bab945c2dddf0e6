//! What Istio's agent does beside the proxy: `pilot-agent request` and `pilot-agent wait`, which injected containers call when they
//! end and when they begin.

use std::ffi::OsString;
use std::time::Duration;

use bytes::Bytes;
use clap::{Parser, Subcommand};
use http::{Method, StatusCode, Uri};
use tokio::time::{Instant, sleep, timeout};

use super::proxy_config::fetch;
use crate::failure::{Failure, Outcome};
use crate::terminal;

/// The admin interface's port.
const ADMIN: u16 = 15000;
/// Ports of Istio's agent, which is one process with the proxy here.
const AGENTS: [u16; 2] = [15004, 15020];
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Parser)]
#[command(name = "pilot-agent", version, arg_required_else_help = true)]
#[command(about = "Verbs of Istio's agent; proxy sidecar and istio-iptables are there, too.")]
struct Agent {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Send a request to the sidecar's admin interface, and print the answer
    Request {
        /// The port; at those of Istio's agent, drain and quitquitquit are what the admin interface does by other names
        #[arg(long = "debug-port", value_name = "PORT", default_value_t = ADMIN)]
        port: u16,
        /// GET or POST
        method: Method,
        /// The path, such as stats
        path: String,
        /// What to send
        body: Option<String>,
    },
    /// Wait until the sidecar is ready
    Wait {
        /// How long, in seconds
        #[arg(long = "timeoutSeconds", value_name = "SECONDS", default_value_t = 60)]
        time: u64,
        /// How long an answer may take, in milliseconds
        #[arg(long = "requestTimeoutMillis", value_name = "MILLISECONDS", default_value_t = 500)]
        patience: u64,
        /// Between two attempts, in milliseconds
        #[arg(long = "periodMillis", value_name = "MILLISECONDS", default_value_t = 500)]
        period: u64,
        /// Where it says how it is
        #[arg(long, value_name = "URL", default_value = "http://localhost:15021/healthz/ready")]
        url: Uri,
    },
}

/// Parses the line of an agent, and does what it says.
///
/// # Errors
/// Nobody answers, or with a refusal.
pub fn run(line: Vec<OsString>) -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("no runtime: {error}")))?;
    runtime.block_on(async {
        match Agent::parse_from(line).verb {
            Verb::Request { port, method, path, body } => {
                let (port, path) = place(port, &path);
                request(port, method, &path, body.unwrap_or_default()).await
            }
            Verb::Wait { time, patience, period, url } => {
                let [time, period] = [Duration::from_secs(time), Duration::from_millis(period)];
                wait(&url, time, period, Duration::from_millis(patience)).await
            }
        }
    })
}

/// Where a request goes. What Istio's agent does at its own port, the admin interface does here.
fn place(port: u16, path: &str) -> (u16, String) {
    let path = path.trim_start_matches('/');
    match path {
        // As there: what comes in, and until the process ends.
        "drain" if AGENTS.contains(&port) => {
            (ADMIN, "/drain_listeners?inboundonly&graceful&skip_exit".to_owned())
        }
        "quitquitquit" if AGENTS.contains(&port) => (ADMIN, "/quitquitquit".to_owned()),
        _ => (port, format!("/{path}")),
    }
}

async fn request(port: u16, method: Method, path: &str, body: String) -> Outcome<()> {
    let asked = fetch::ask(method, ("localhost", port), path, Bytes::from(body));
    let failed = |why: String| Failure::new(format!("http://localhost:{port}{path}: {why}"));
    let answer = timeout(PATIENCE, asked).await;
    let (status, body) = answer.unwrap_or_else(|_| Err("no answer".to_owned())).map_err(failed)?;
    terminal::print(String::from_utf8_lossy(&body))?;
    match status.is_success() {
        true => Ok(()),
        false => Err(failed(format!("answered with {status}"))),
    }
}

async fn wait(url: &Uri, time: Duration, period: Duration, patience: Duration) -> Outcome<()> {
    let host = url.host().unwrap_or("localhost").trim_matches(['[', ']']).to_owned();
    let port = url.port_u16().unwrap_or(80);
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let end = Instant::now() + time;
    loop {
        let asked = fetch::ask(Method::GET, (host.as_str(), port), path, Bytes::new());
        let why = match timeout(patience, asked).await {
            Ok(Ok((StatusCode::OK, _))) => return Ok(()),
            Ok(Ok((status, _))) => format!("answered with {status}"),
            Ok(Err(why)) => why,
            Err(_) => "no answer".to_owned(),
        };
        if Instant::now() + period > end {
            let secs = time.as_secs();
            return Err(Failure::new(format!("{url}: not ready within {secs} s: {why}"))
                .or("the log of the container istio-proxy says what it waits for"));
        }
        sleep(period).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_agent_does_at_its_own_port_the_admin_interface_does() {
        let drain = (15000, "/drain_listeners?inboundonly&graceful&skip_exit".to_owned());
        assert_eq!(place(15020, "drain"), drain);
        assert_eq!(place(15004, "/quitquitquit"), (15000, "/quitquitquit".to_owned()));
        assert_eq!(place(15000, "stats"), (15000, "/stats".to_owned()));
        assert_eq!(place(15021, "healthz/ready"), (15021, "/healthz/ready".to_owned()));
    }
}
