//! The commands: path, what it says in `/help`, and what it does.

use std::fmt::Write as _;

use http::StatusCode;
use regex::Regex;

use super::answer::{Answer, Pieces};
use super::server::Admin;
use super::state::{Drain, Lifecycle};
use super::{certs, clusters, dump, views};
use crate::accesslog::query;
use crate::stats::{self, Filter, Output};

/// One path of the admin interface.
pub(super) struct Command {
    pub(super) path: &'static str,
    /// Whether it changes anything, and so must be POSTed.
    pub(super) changes: bool,
    help: &'static str,
    /// Query parameters with their help.
    parameters: &'static [(&'static str, &'static str)],
    pub(super) run: fn(&Admin, Call<'_>) -> Answer,
}

/// What a command is called with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call<'a> {
    pub(super) query: &'a str,
}

impl Call<'_> {
    /// The value of a parameter; empty if it is there without one.
    pub(super) fn parameter(self, name: &str) -> Option<String> {
        let value = query::parameter(self.query.as_bytes(), name)?;
        Some(String::from_utf8_lossy(&value).into_owned())
    }

    /// Whether a parameter is there.
    pub(super) fn has(self, name: &str) -> bool {
        self.parameter(name).is_some()
    }

    /// A parameter that is a regular expression, matched anywhere.
    ///
    /// # Errors
    /// 400 with what is wrong with it.
    pub(super) fn pattern(self, name: &str) -> Result<Option<Regex>, Answer> {
        let Some(pattern) = self.parameter(name).filter(|pattern| !pattern.is_empty()) else {
            return Ok(None);
        };
        Regex::new(&pattern).map(Some).map_err(|error| {
            Answer::error(StatusCode::BAD_REQUEST, format!("Invalid regex: {error}\n"))
        })
    }
}

const FILTER: (&str, &str) = ("filter", "Regular expression that names must match somewhere");

/// All commands, sorted by path.
pub(super) const COMMANDS: &[Command] = &[
    Command {
        path: "/",
        changes: false,
        help: "Admin home page",
        parameters: &[],
        run: |_, _| home(),
    },
    Command {
        path: "/certs",
        changes: false,
        help: "print certs on machine",
        parameters: &[],
        run: |admin, _| certs::answer(admin),
    },
    Command {
        path: "/clusters",
        changes: false,
        help: "upstream cluster status",
        parameters: &[FILTER, ("format", "File format to use; One of (text, json)")],
        run: clusters::answer,
    },
    Command {
        path: "/config_dump",
        changes: false,
        help: "dump current configs",
        parameters: &[
            ("resource", "The list to dump, such as dynamic_listeners"),
            (
                "mask",
                "Paths of the fields to show, separated by commas; with resource, of its elements",
            ),
            ("name_regex", "Regular expression that names of resources must match somewhere"),
            ("include_eds", "Dump endpoints, too"),
        ],
        run: dump::answer,
    },
    Command {
        path: "/drain_listeners",
        changes: true,
        help: "drain listeners",
        parameters: &[
            ("graceful", "Tell clients first, and close when the drain time is over"),
            ("inboundonly", "Only listeners with traffic_direction INBOUND"),
            ("skip_exit", "Drain connections but never stop the listeners"),
        ],
        run: drain_listeners,
    },
    Command {
        path: "/egress/denied",
        changes: false,
        help: "print what was not let out as nothing describes it",
        parameters: &[],
        run: |admin, _| views::denied(admin),
    },
    Command {
        path: "/healthcheck/fail",
        changes: true,
        help: "cause the server to fail health checks",
        parameters: &[],
        run: |admin, _| set_failed(admin, true),
    },
    Command {
        path: "/healthcheck/ok",
        changes: true,
        help: "cause the server to pass health checks",
        parameters: &[],
        run: |admin, _| set_failed(admin, false),
    },
    Command {
        path: "/help",
        changes: false,
        help: "print out list of admin commands",
        parameters: &[],
        run: |_, _| Answer::text(help()),
    },
    Command {
        path: "/hot_restart_version",
        changes: false,
        help: "print the hot restart compatibility version",
        parameters: &[],
        run: |_, _| Answer::text("disabled\n"),
    },
    Command {
        path: "/listeners",
        changes: false,
        help: "print listener info",
        parameters: &[("format", "File format to use; One of (text, json)")],
        run: views::listeners,
    },
    Command {
        path: "/logging",
        changes: true,
        help: "query logging levels",
        parameters: &[],
        run: views::logging,
    },
    Command {
        path: "/memory",
        changes: false,
        help: "print current memory usage",
        parameters: &[],
        run: |_, _| views::memory_usage(),
    },
    Command {
        path: "/quitquitquit",
        changes: true,
        help: "exit the server",
        parameters: &[],
        run: |admin, _| quit(admin),
    },
    Command {
        path: "/ready",
        changes: false,
        help: "print server state, return 200 if LIVE, otherwise return 503",
        parameters: &[],
        run: |admin, _| ready(admin),
    },
    Command {
        path: "/reopen_logs",
        changes: true,
        help: "reopen access logs",
        parameters: &[],
        run: |admin, _| reopen_logs(admin),
    },
    Command {
        path: "/runtime",
        changes: false,
        help: "print runtime values",
        parameters: &[],
        // Layers of a bootstrap have no effect, so none is told of.
        run: |_, _| Answer::json(&serde_json::json!({"entries": {}, "layers": []})),
    },
    Command {
        path: "/server_info",
        changes: false,
        help: "print server version/status information",
        parameters: &[],
        run: |admin, _| views::server_info(admin),
    },
    Command {
        path: "/stats",
        changes: false,
        help: "print server stats",
        parameters: &[
            ("usedonly", "Only include stats that were ever counted or set"),
            FILTER,
            ("format", "Format to use; One of (json, prometheus, text)"),
        ],
        run: |admin, call| stats(admin, call, call.parameter("format").as_deref()),
    },
    Command {
        path: "/stats/prometheus",
        changes: false,
        help: "print server stats in prometheus format",
        parameters: &[("usedonly", "Only include stats that were ever counted or set"), FILTER],
        run: |admin, call| stats(admin, call, Some("prometheus")),
    },
];

/// The list of commands, in Envoy's words.
pub(super) fn help() -> String {
    let mut text = "admin commands are:\n".to_owned();
    for Command { path, changes, help, parameters, .. } in COMMANDS {
        let post = if *changes { " (POST)" } else { "" };
        let _ = writeln!(text, "  {path}{post}: {help}");
        for (name, help) in *parameters {
            let _ = writeln!(text, "      {name}: {help}");
        }
    }
    text
}

fn home() -> Answer {
    let mut html =
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head><title>Tidegate Admin</title></head>\n\
                    <body>\n<table>\n"
            .to_owned();
    for Command { path, changes, help, .. } in COMMANDS {
        let name = if *changes {
            format!("<form action=\"{path}\" method=\"post\"><button>{path}</button></form>")
        } else {
            format!("<a href=\"{path}\">{path}</a>")
        };
        let _ = writeln!(html, "<tr><td>{name}</td><td>{help}</td></tr>");
    }
    html.push_str("</table>\n</body>\n</html>\n");
    Answer::pieces(Answer::HTML, Pieces::one(html.into_bytes()))
}

fn stats(admin: &Admin, call: Call<'_>, format: Option<&str>) -> Answer {
    let (output, content_type) = match format {
        None | Some("" | "text") => (Output::Text, Answer::TEXT),
        Some("json") => (Output::Json, Answer::JSON),
        Some("prometheus") => (Output::Prometheus, Answer::TEXT),
        Some(_) => {
            let usage = "usage: /stats?format=(json|prometheus|text)\n\n";
            return Answer::error(StatusCode::BAD_REQUEST, usage);
        }
    };
    let name = match call.pattern("filter") {
        Ok(name) => name,
        Err(answer) => return answer,
    };
    admin.refresh_stats();
    let filter = Filter { name, used_only: call.has("usedonly") };
    Answer::pieces(content_type, Pieces::new(stats::render(&admin.registry, output, filter)))
}

fn ready(admin: &Admin) -> Answer {
    let lifecycle = admin.lifecycle();
    let status = match lifecycle {
        Lifecycle::Live => StatusCode::OK,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    Answer::error(status, format!("{}\n", lifecycle.as_str()))
}

fn set_failed(admin: &Admin, failed: bool) -> Answer {
    admin.set_failed(failed);
    Answer::text("OK\n")
}

fn drain_listeners(admin: &Admin, call: Call<'_>) -> Answer {
    let drain = Drain {
        graceful: call.has("graceful"),
        inbound_only: call.has("inboundonly"),
        skip_exit: call.has("skip_exit"),
    };
    if drain.skip_exit && !drain.graceful {
        let text = "skip_exit requires graceful\n";
        return Answer::error(StatusCode::BAD_REQUEST, text);
    }
    admin.state.drain_listeners(drain);
    Answer::text("OK\n")
}

fn reopen_logs(admin: &Admin) -> Answer {
    admin.state.reopen_logs();
    Answer::text("OK\n")
}

fn quit(admin: &Admin) -> Answer {
    if !admin.options.allow_quit {
        let text =
            "the process was started without permission to end it from here: send it SIGTERM\n";
        return Answer::error(StatusCode::FORBIDDEN, text);
    }
    admin.state.quit();
    Answer::text("OK\n")
}
