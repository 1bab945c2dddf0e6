//! The answer for a terminal.

use std::fmt::Write as _;

use crate::answer::{
    Answer, Cluster, Cors, End, Lost, NotInForce, Part, Retries, Sent, Source, UpstreamTls,
};
use crate::question::{Protocol, Question, Security};
use crate::request::HTTPS_REDIRECT;

/// Candidates that are shown without being asked for; the JSON form has all of them.
const MOST_LOST: usize = 20;
/// So many are shown whether or not they are anywhere near.
const FEW: usize = 5;
/// Width of the column with the names of the stations.
const WIDTH: usize = 20;

/// How an answer is to look.
#[derive(Clone, Copy, Debug, Default)]
pub struct Look {
    /// In the colours of a terminal.
    pub color: bool,
    /// With all candidates that lost, those that are not near included.
    pub all: bool,
}

/// The answer as text.
#[must_use]
pub fn render(question: &Question, answer: &Answer, look: Look) -> String {
    let mut page = Page { text: String::new(), color: look.color };
    page.title(question, answer);
    page.part("listener", answer.listener.as_ref());
    page.part("filter chain", answer.filter_chain.as_ref());
    page.part("route configuration", answer.route_configuration.as_ref());
    page.part("virtual host", answer.virtual_host.as_ref());
    page.part("route", answer.route.as_ref());
    for token in &answer.tokens {
        page.line("token", &format!("{}   {}", token.issuer, token.verdict));
        page.sources(&token.from);
    }
    for fault in &answer.faults {
        page.line("fault", &format!("{}   {}", fault.name, fault.asks));
        page.sources(&fault.from);
    }
    if let Some(cors) = &answer.cors {
        page.cors(cors);
    }
    for limit in &answer.limits {
        page.part("limit", Some(limit));
    }
    if let Some(timeout) = &answer.timeout {
        page.line("timeout", timeout);
    }
    if let Some(retries) = &answer.retries {
        page.retries(retries);
    }
    for cluster in &answer.clusters {
        page.cluster(cluster, answer.clusters.len() > 1);
    }
    for mirror in &answer.mirrors {
        page.mirror(mirror);
    }
    if let Some(sent) = &answer.sent {
        page.sent(sent);
    }
    for policy in &answer.policies {
        page.line("policy", policy.verdict);
        page.sources(&policy.from);
        policy.unmet.iter().for_each(|unmet| page.line("", unmet));
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
    page.lost(&answer.lost, look.all);
    if let Some(remedy) = &answer.remedy {
        page.remedy(remedy);
    }
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
                let aborts = answer.faults.iter().find(|fault| fault.name == "abort");
                let but = aborts.map_or_else(String::new, |fault| format!("; {}", fault.asks));
                (32, format!("goes to {}{but}", names.join(", ")))
            }
            End::Undecided { reason } => (33, format!("cannot be told: {reason}")),
            End::Unavailable { status, reason } => {
                let how = match status {
                    Some(status) => format!("is answered {status}"),
                    None => "is closed".to_owned(),
                };
                (31, format!("{how}, as nothing can be sent to {reason}"))
            }
            End::Redirected { status, location } => {
                let asking =
                    redirecting(answer).map(|source| format!("; {} asks for it", place(source)));
                (33, format!("is answered {status}, to {location}{}", asking.unwrap_or_default()))
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

    fn cors(&mut self, cors: &Cors) {
        let may = if cors.allowed { "is allowed" } else { "is not allowed" };
        let asks = if cors.preflight { " (a browser asks first: preflight)" } else { "" };
        self.line("other origin", &format!("{} {may}{asks}", cors.origin));
        self.sources(&cors.from);
        if !cors.allowed && cors.headers.is_empty() {
            self.line("", "the answer names nobody who may read it, so that the browser keeps it");
        }
        for (name, value) in &cors.headers {
            self.line("", &format!("+ {name}: {value}   (in the answer)"));
        }
    }

    fn cluster(&mut self, cluster: &Cluster, weighted: bool) {
        let share = if weighted { format!("   {}%", cluster.share) } else { String::new() };
        let missing = if cluster.exists { "" } else { "   (there is no such cluster)" };
        self.line("cluster", &format!("{}{share}{missing}", cluster.name));
        self.sources(&cluster.from);
        if let Some(spoken) = cluster.spoken.as_ref().filter(|spoken| spoken.protocol != "HTTP/1.1")
        {
            let plain = if cluster.tls.is_none() { " without TLS" } else { " over TLS" };
            self.line("spoken to it", &format!("{}{plain}", spoken.protocol));
            self.sources(&spoken.from);
            if spoken.protocol == "HTTP/2" {
                self.line("", "an endpoint that speaks HTTP/1.1 only cannot answer (502)");
            }
        }
        if let Some(header) = &cluster.proxy_header {
            let told = "who the client is, and where it connected to";
            self.line("PROXY header", &format!("{}: {told}", header.version));
            self.sources(&header.from);
        }
        if let Some(tls) = &cluster.tls {
            self.upstream_tls(tls);
        }
        if !cluster.endpoints.is_empty() {
            self.line("endpoints", &cluster.endpoints.join(", "));
        }
    }

    fn mirror(&mut self, mirror: &Cluster) {
        let fault = mirror.fault.as_ref();
        let fault =
            fault.map_or_else(String::new, |fault| format!("   (nothing arrives: {fault})"));
        self.line("copied to", &format!("{}   {}%{fault}", mirror.name, mirror.share));
        self.sources(&mirror.from);
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
            let example = sent.examples.contains(name);
            let example = if example { self.paint(2, "   (an example)") } else { String::new() };
            self.line("", &format!("+ {name}: {value}{example}"));
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
        self.line(
            match form.instead {
                "itself" => "doubtful",
                "rest" => "not all in force",
                _ => "not in force",
            },
            &refused,
        );
        self.sources(&form.from);
        self.line(
            "",
            match form.instead {
                "lastGood" => "the last form that was good serves on in its place",
                "itself" => "it is in force all the same, as there is nothing better",
                "rest" => "what else it says is in force",
                "closed" => {
                    "nobody knows whom it would let in: until it is right or gone everything is refused"
                }
                _ => "nothing is in force in its place",
            },
        );
    }

    fn lost(&mut self, lost: &[Lost], all: bool) {
        if lost.is_empty() {
            return;
        }
        let title = self.paint(1, "Not taken");
        let _ = writeln!(self.text, "\n{title}");
        let most = if all { usize::MAX } else { MOST_LOST };
        let shown = |lost: &&Lost| all || !lost.far;
        let (shown, far): (Vec<&Lost>, Vec<&Lost>) = match lost.len() <= FEW {
            true => (lost.iter().collect(), Vec::new()),
            false => lost.iter().partition(shown),
        };
        for lost in shown.iter().take(most) {
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
        let more = shown.get(most.min(shown.len())..).unwrap_or_default();
        for (rest, what) in [(more, "more like these"), (&far, "for something else")] {
            if !rest.is_empty() {
                let _ = writeln!(self.text, "  and {} {what}; --all shows them", counted(rest));
            }
        }
    }

    fn sources(&mut self, sources: &[Source]) {
        for source in sources {
            let shown = self.paint(2, &place(source));
            self.line("", &shown);
        }
    }

    /// A manifest, apart from all else, so that it can be copied.
    fn remedy(&mut self, manifest: &serde_json::Value) {
        let text = tidegate_yaml::write(manifest);
        let _ = write!(self.text, "\nThis ServiceEntry would let it out:\n\n{text}");
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

/// The place that asks for a redirect which is no rule's: a server that sends requests to TLS.
fn redirecting(answer: &Answer) -> Option<&Source> {
    let host = answer.virtual_host.as_ref().filter(|_| answer.route.is_none())?;
    host.from.iter().find(|source| source.path.ends_with(HTTPS_REDIRECT))
}

/// `3 routes, 1 virtual host`.
fn counted(lost: &[&Lost]) -> String {
    let mut stations: Vec<(&str, usize)> = Vec::new();
    for lost in lost {
        match stations.iter_mut().find(|(at, _)| *at == lost.at) {
            Some((_, count)) => *count += 1,
            None => stations.push((lost.at, 1)),
        }
    }
    let counted = stations.into_iter().map(|(at, count)| {
        let plural = if count == 1 { "" } else { "s" };
        format!("{count} {}{plural}", station(at))
    });
    counted.collect::<Vec<_>>().join(", ")
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
