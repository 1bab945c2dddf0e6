//! The answer for a terminal.

use std::fmt::Write as _;

use crate::answer::{
    Answer, Cluster, End, Lost, NotInForce, Part, Retries, Sent, Source, UpstreamTls,
};
use crate::question::{Protocol, Question, Security};

/// Candidates that are shown; the JSON form has all of them.
const MOST_LOST: usize = 20;
/// Width of the column with the names of the stations.
const WIDTH: usize = 20;

/// The answer as text, in colour if wanted.
#[must_use]
pub fn render(question: &Question, answer: &Answer, color: bool) -> String {
    let mut page = Page { text: String::new(), color };
    page.title(question, answer);
    page.part("listener", answer.listener.as_ref());
    page.part("filter chain", answer.filter_chain.as_ref());
    page.part("route configuration", answer.route_configuration.as_ref());
    page.part("virtual host", answer.virtual_host.as_ref());
    page.part("route", answer.route.as_ref());
    if let Some(timeout) = &answer.timeout {
        page.line("timeout", timeout);
    }
    if let Some(retries) = &answer.retries {
        page.retries(retries);
    }
    for cluster in &answer.clusters {
        page.cluster(cluster, answer.clusters.len() > 1);
    }
    if let Some(sent) = &answer.sent {
        page.sent(sent);
    }
    for refused in &answer.not_in_force {
        page.not_in_force(refused);
    }
    for note in &answer.notes {
        page.line("note", note);
    }
    if let Some(nearest) = &answer.nearest {
        page.line("nearest miss", nearest);
    }
    page.lost(&answer.lost);
    page.text
}

struct Page {
    text: String,
    color: bool,
}

impl Page {
    fn title(&mut self, question: &Question, answer: &Answer) {
        let asked = match question.protocol {
            Protocol::Tcp => format!("a connection to port {}", question.port),
            _ => {
                let scheme = if question.security == Security::Plain { "http" } else { "https" };
                format!("{} {scheme}://{}{}", question.method, question.host, question.path)
            }
        };
        let (color, end) = match &answer.end {
            End::Forwarded => {
                let names: Vec<String> = answer.clusters.iter().map(headline).collect();
                (32, format!("goes to {}", names.join(", ")))
            }
            End::Unavailable { status, reason } => {
                let how = match status {
                    Some(status) => format!("is answered {status}"),
                    None => "is closed".to_owned(),
                };
                (31, format!("{how}, as nothing can be sent to {reason}"))
            }
            End::Redirected { status, location } => {
                (33, format!("is answered {status}, to {location}"))
            }
            End::Answered { status } => {
                let who = if question.direction.is_some() { "sidecar" } else { "gateway" };
                (33, format!("is answered {status} by the {who} itself"))
            }
            End::Refused { error, status, reason } => {
                let how = match status {
                    Some(status) => format!("is answered {status}"),
                    None => "is closed".to_owned(),
                };
                (31, format!("{how}, {}: {reason}", error.as_str()))
            }
        };
        let asked = self.paint(1, &asked);
        let end = self.paint(color, &end);
        let _ = writeln!(self.text, "{asked}\n  {end}\n");
    }

    fn part(&mut self, station: &str, part: Option<&Part>) {
        let Some(part) = part else { return };
        let shown = match (part.name.as_str(), part.asks.as_str()) {
            ("", asks) => asks.to_owned(),
            (name, "") => name.to_owned(),
            (name, asks) => format!("{name}   {asks}"),
        };
        self.line(station, &shown);
        self.sources(&part.from);
    }

    fn cluster(&mut self, cluster: &Cluster, weighted: bool) {
        let share = if weighted { format!("   {}%", cluster.share) } else { String::new() };
        let missing = if cluster.exists { "" } else { "   (there is no such cluster)" };
        self.line("cluster", &format!("{}{share}{missing}", cluster.name));
        self.sources(&cluster.from);
        if let Some(tls) = &cluster.tls {
            self.upstream_tls(tls);
        }
        if !cluster.endpoints.is_empty() {
            self.line("endpoints", &cluster.endpoints.join(", "));
        }
    }

    fn upstream_tls(&mut self, tls: &UpstreamTls) {
        let asked = match tls.server_name.as_str() {
            "" => "no server name".to_owned(),
            name => format!("server name {name}"),
        };
        self.line("TLS", &format!("{}, {asked}", tls.mode));
        self.sources(&tls.from);
        let by = tls.authorities.as_deref().unwrap_or("nobody in particular");
        match (tls.verified, tls.names.as_slice()) {
            (false, _) => self.line("", "the server's certificate is not verified"),
            (true, []) => self.line("", &format!("verified by {by}, for any name")),
            (true, names) => {
                self.line("", &format!("verified by {by}, for {}", names.join(" or ")));
            }
        }
        if let Some(certificate) = &tls.certificate {
            self.line("", &format!("shows the certificate of {certificate}"));
        }
        if let Some(fault) = &tls.fault {
            let fault = self.paint(31, &format!("no handshake can be held: {fault}"));
            self.line("", &fault);
        }
    }

    fn retries(&mut self, retries: &Retries) {
        let times = if retries.attempts == 1 {
            "once".to_owned()
        } else {
            format!("up to {} times", retries.attempts)
        };
        let each = retries.per_try_timeout.as_ref();
        let each = each.map_or_else(String::new, |time| format!(", {time} for each attempt"));
        let statuses: Vec<String> = retries.statuses.iter().map(ToString::to_string).collect();
        let statuses =
            if statuses.is_empty() { String::new() } else { format!(" ({})", statuses.join(", ")) };
        self.line("retries", &format!("{times}{each}"));
        self.line("", &format!("on {}{statuses}", retries.retry_on.join(", ")));
    }

    fn sent(&mut self, sent: &Sent) {
        self.line("sent as", &format!("{} {}   host {}", sent.method, sent.path, sent.host));
        for (name, value) in &sent.set_headers {
            self.line("", &format!("+ {name}: {value}"));
        }
        for name in &sent.removed_headers {
            self.line("", &format!("- {name}"));
        }
        if !sent.own_headers.is_empty() {
            let own: Vec<&str> = sent.own_headers.iter().map(|(name, _)| &**name).collect();
            let own = self.paint(2, &format!("and of its own: {}", own.join(", ")));
            self.line("", &own);
        }
    }

    fn not_in_force(&mut self, form: &NotInForce) {
        let refused = self.paint(31, &form.refused);
        self.line("not in force", &refused);
        self.sources(&form.from);
        self.line(
            "",
            match form.instead {
                "lastGood" => "the last form that was good serves on in its place",
                _ => "nothing is in force in its place",
            },
        );
    }

    fn lost(&mut self, lost: &[Lost]) {
        if lost.is_empty() {
            return;
        }
        let title = self.paint(1, "Not taken");
        let _ = writeln!(self.text, "\n{title}");
        for lost in lost.iter().take(MOST_LOST) {
            let place = match lost.from.last() {
                Some(source) => place(source),
                None => lost.name.clone(),
            };
            let named = match lost.name.as_str() {
                "" => String::new(),
                name if lost.from.is_empty() && name == place => String::new(),
                name => format!(" {name}"),
            };
            let refused = self.paint(2, &lost.refused);
            let _ = writeln!(self.text, "  {}{named}  {place}\n      {refused}", station(lost.at));
        }
        if let Some(more) = lost.len().checked_sub(MOST_LOST).filter(|more| *more > 0) {
            let _ = writeln!(self.text, "  and {more} more; -o json has all of them");
        }
    }

    fn sources(&mut self, sources: &[Source]) {
        for source in sources {
            let shown = self.paint(2, &place(source));
            self.line("", &shown);
        }
    }

    fn line(&mut self, station: &str, text: &str) {
        let _ = writeln!(self.text, "  {station:WIDTH$} {text}");
    }

    fn paint(&self, code: u8, text: &str) -> String {
        if self.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// A cluster in the headline.
fn headline(cluster: &Cluster) -> String {
    let answered = match (&cluster.fault, cluster.status) {
        (None, _) => return cluster.name.clone(),
        (Some(_), Some(status)) => format!("is answered {status}"),
        (Some(_), None) => "is closed".to_owned(),
    };
    let fault = cluster.fault.as_deref().unwrap_or_default();
    format!("{} ({}% {answered}: {fault})", cluster.name, cluster.share)
}

fn station(at: &str) -> &str {
    match at {
        "filterChain" => "filter chain",
        "virtualHost" => "virtual host",
        other => other,
    }
}

/// `VirtualService default/v http[0].match[1], routes.yaml:12`.
fn place(source: &Source) -> String {
    let Source { kind, namespace, name, path, file, line, last_good } = source;
    let path = path.strip_prefix("spec").unwrap_or(path).trim_start_matches('.');
    let path = if path.is_empty() { String::new() } else { format!(" {path}") };
    let whose = if namespace.is_empty() { name.clone() } else { format!("{namespace}/{name}") };
    match (file, line) {
        (Some(file), Some(line)) => format!("{kind} {whose}{path}, {file}:{line}"),
        (Some(file), None) if !last_good => format!("{kind} {whose}{path}, {file}"),
        _ if *last_good => format!("{kind} {whose}{path}, in its last good form"),
        _ => format!("{kind} {whose}{path}"),
    }
}
