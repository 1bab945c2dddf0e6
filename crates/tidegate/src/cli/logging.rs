//! `--log-level`: the program's own log, which goes to standard error.

use std::io::{self, IsTerminal};
use std::str::FromStr;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::{self, format};

/// What to log: a level, or directives such as `warn,tidegate_pilot=debug`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLevel(String);

/// The client of Kubernetes' API reports each failed attempt by itself, where `tidegate_source::cluster` tells an outage once.
const QUIET: &str = "kube_client=off";

impl FromStr for LogLevel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bare = matches!(text, "off" | "error" | "warn" | "info" | "debug" | "trace");
        if !bare && !text.contains('=') {
            return Err("expected error, warn, info, debug or trace, or directives such as \
                        warn,tidegate_pilot=debug"
                .to_owned());
        }
        EnvFilter::builder().parse(text).map_err(|error| error.to_string())?;
        Ok(Self(text.to_owned()))
    }
}

impl LogLevel {
    /// What a program tells that serves.
    pub fn info() -> Self {
        Self("info".to_owned())
    }

    /// What a program tells that shares its terminal with another one.
    pub fn warn() -> Self {
        Self("warn".to_owned())
    }

    /// Starts logging. Called once, before the first thread.
    pub fn start(&self) {
        let colours = io::stderr().is_terminal();
        // What is written out goes before it.
        let directives = format!("{QUIET},{}", self.0);
        let subscriber = fmt::Subscriber::builder()
            .with_env_filter(EnvFilter::builder().parse_lossy(directives))
            .with_writer(io::stderr)
            .with_ansi(colours)
            .with_timer(Clock)
            .with_target(false)
            // It would tell of a closed standard error by writing there, and panic.
            .log_internal_errors(false)
            .finish();
        // Fails only when a subscriber is set already, which then goes on logging.
        let _ = tracing::subscriber::set_global_default(subscriber);
    }
}

/// Time in UTC to the millisecond, as in the access log.
struct Clock;

impl FormatTime for Clock {
    fn format_time(&self, writer: &mut format::Writer<'_>) -> std::fmt::Result {
        write!(writer, "{}", jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_levels_and_directives() {
        assert!("info".parse::<LogLevel>().is_ok());
        assert!("warn,tidegate_pilot=debug".parse::<LogLevel>().is_ok());
        assert!("loud".parse::<LogLevel>().is_err());
        assert!("tidegate=loud".parse::<LogLevel>().is_err());
    }
}
