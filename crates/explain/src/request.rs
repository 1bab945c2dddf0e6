//! The way of a request: virtual host, route, and what goes upstream.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

use tidegate_api::ObjectKey;
use tidegate_pilot::model::gateway::Server;
use tidegate_pilot::model::host::Host;
use tidegate_pilot::origins::{HostOrigins, Origin, RouteOrigin};
use tidegate_proxy::config::listener::HttpManager;
use tidegate_proxy::http::h1::parse::{self, BadMessage, HeadScanner};
use tidegate_proxy::http::local::LocalReply;
use tidegate_proxy::http::prepare::{self, Hop, Unfit};
use tidegate_proxy::http::{RequestHead, Scheme, Version};
use tidegate_proxy::random::Random;
use tidegate_proxy::route::{
    Action, Decision, Facts, Forward, PathMatch, RetryPolicy, Route, RouteTable, VirtualHost,
};
use tidegate_proxy::upstream::ClusterSlot;
use tidegate_xds::ResourceType;
use tidegate_xds::assemble::virtual_host_name;

use crate::answer::{Answer, End, Error, Part, Retries, Sent, Source};
use crate::filters::Stop;
use crate::follow::{Connection, Refusal};
use crate::lost::{Taker, without_port};
use crate::question::{Protocol, Question, Security};
use crate::{World, destination, example, lost, nearest, words};

/// Hosts of servers that are told in one line.
const MOST_NAMES: usize = 5;
/// The field of a server that sends clients to TLS.
pub(crate) const HTTPS_REDIRECT: &str = "tls.httpsRedirect";
/// Decisions that depend on a request's random number are told for this one; weights are told as shares.
pub(crate) const RANDOM: u64 = 0;

impl World {
    pub(crate) fn request(
        &self,
        manager: &HttpManager,
        connection: &Connection<'_>,
        question: &Question,
        answer: &mut Answer,
    ) -> Result<(), Refusal> {
        let mut request = Request::arrive(question, manager, connection)?;
        let asked = shown(request.head.authority());
        if let Some(name) = without_port(&question.host).strip_suffix('.').filter(|n| !n.is_empty())
            && without_port(&asked) == name
        {
            let note = format!("the dot at the end of the Host is cut off: {name}. is {name}");
            answer.notes.push(note);
        }
        let slot = manager.routes.slot();
        answer.route_configuration = Some(Part { name: slot.name.to_string(), ..Part::default() });
        let table = slot.table.load();
        let skeleton = [ResourceType::RouteConfiguration];
        answer.not_in_force.extend(self.refused_of(&skeleton, &slot.name));
        let (decision, passed) = self.pass((manager, &table), &mut request, answer);
        let head = &request.head;
        let (host, route) = match decision {
            Decision::NoVirtualHost => (None, None),
            Decision::NoRoute(host) => (Some(&**host), None),
            Decision::Route { virtual_host, route } => (Some(&**virtual_host), Some(route)),
        };
        let told = match host {
            Some(host) => {
                let listener = &*connection.listener.name;
                self.routes((listener, &slot.name, &asked), host, route, head, answer)
            }
            None => {
                answer.lost.extend(lost::hosts(self, &slot.name, &table, &asked));
                answer.nearest = nearest::host(&table, head.authority());
                lost::told(self, &slot.name, &table, &asked)
            }
        };
        answer.lost.extend(lost::objects(self, connection, &told, question, (&asked, host, head)));
        let listener = &*connection.listener.name;
        if let Some((route, host)) = route.zip(host) {
            answer.limits = self.limits(manager, route, (listener, &slot.name, host));
        }
        // Who may not ask is not told that there is nothing, either.
        match passed {
            Ok(()) => {}
            Err(Stop::Refused(refusal, nearest)) => {
                answer.nearest = nearest;
                return Err(refusal);
            }
            Err(Stop::Ended(end)) => {
                answer.end = end;
                return Ok(());
            }
        }
        let Some(host) = host else {
            return Err((Error::NoVirtualHost, Some(404), self.without_host(listener, &asked)));
        };
        let Some(route) = route else {
            let reason = match host.routes() {
                [] => self.emptied(&slot.name, host).unwrap_or_else(|| {
                    "no VirtualService has rules for the Gateways of this port".to_owned()
                }),
                _ => format!("no route of {} takes the request", host.name),
            };
            return Err((Error::NoRoute, Some(404), reason));
        };
        self.tell_lenience(listener, &told, answer);
        self.taken((manager, &table), (host, route), (request, &asked), answer)
    }

    /// What becomes of a request that a route takes, and that no filter stops.
    fn taken(
        &self,
        (manager, table): (&HttpManager, &RouteTable),
        (host, route): (&VirtualHost, &Arc<Route>),
        (request, asked): (Request<'_>, &str),
        answer: &mut Answer,
    ) -> Result<(), Refusal> {
        let listener = &*request.connection.listener.name;
        if answer.route.is_none() {
            self.tell_redirecting(listener, asked, answer);
        }
        let copies = self.asked_copies(&manager.routes.slot().name, host, route);
        self.act(route, (manager, table, host), request, answer)?;
        if let (Action::Forward(forward), Some(sent)) = (&route.action, &answer.sent) {
            answer.mirrors = self.mirrors(&forward.mirrors, &sent.host, &copies);
        }
        if let End::Redirected { location, .. } = &answer.end
            && answer.route.is_none()
        {
            answer.notes.extend(self.note_unreachable(location));
        }
        if answer.end == (End::Answered { status: 421 })
            && let Some((note, from)) = self.misdirected(listener, asked)
        {
            answer.notes.push(note);
            if let Some(route) = &mut answer.route {
                route.from = from;
            }
        }
        Ok(())
    }

    /// Tells of a virtual host's routes: the one that takes the request, and why the others do not. The objects that they were
    /// made from.
    fn routes(
        &self,
        (listener, table, asked): (&str, &str, &str),
        host: &VirtualHost,
        route: Option<&Arc<Route>>,
        head: &RequestHead,
        answer: &mut Answer,
    ) -> Vec<ObjectKey> {
        let (behind, origins) = self.virtual_host(table, host, answer);
        // What sends requests to TLS is nobody's route.
        let number =
            route.and_then(|route| host.routes().iter().position(|r| Arc::ptr_eq(r, route)));
        if let (Some(number), Some(route)) = (number, route) {
            answer.route = Some(behind.route_part(route, &origins, number));
        }
        let redirecting = self.redirecting(listener, asked).map(redirect_of).next();
        let redirect = redirecting.as_deref().unwrap_or("the redirect to TLS");
        let taker = match (route, number) {
            (None, _) => Taker::Nobody,
            (_, Some(number)) => Taker::Route(number),
            (Some(_), None) => Taker::Before(redirect),
        };
        answer.lost.extend(lost::routes(behind, host, &origins, taker, head, RANDOM));
        answer.nearest = match (route, number) {
            (None, _) => nearest::route(behind, host, &origins, head),
            (_, Some(taken)) => nearest::before(behind, host, &origins, taken, head),
            _ => None,
        };
        self.note_idle(&origins, number, answer);
        parts(&origins)
    }

    /// Which patches took all routes of a virtual host away, in words.
    fn emptied(&self, table: &str, host: &VirtualHost) -> Option<String> {
        let behind = self.behind(ResourceType::VirtualHost, &virtual_host_name(table, &host.name));
        let origins = behind.pilot.host_origins(table, &host.name)?;
        let patches: BTreeSet<&Origin> = origins.removed.iter().map(|(_, patch)| patch).collect();
        let patches = patches.into_iter().map(|patch| {
            let path = patch.path.trim_start_matches("spec.");
            format!("{} {path}", patch.key)
        });
        let patches: Vec<String> = patches.collect();
        (!patches.is_empty())
            .then(|| format!("the routes of {} are removed by {}", host.name, patches.join(", ")))
    }

    /// Where the objects ask for the copies of a route.
    fn asked_copies(&self, table: &str, host: &VirtualHost, route: &Arc<Route>) -> Vec<Source> {
        let behind = self.behind(ResourceType::VirtualHost, &virtual_host_name(table, &host.name));
        let origins = behind.pilot.host_origins(table, &host.name).unwrap_or_default();
        let number = host.routes().iter().position(|other| Arc::ptr_eq(other, route));
        let origin = number.and_then(|number| origins.route(number));
        origin.into_iter().flat_map(|origin| &origin.mirrors).map(|o| behind.source(o)).collect()
    }

    /// Tells which virtual host it is; what its routes were made from, in the world that they are from.
    fn virtual_host(
        &self,
        table: &str,
        host: &VirtualHost,
        answer: &mut Answer,
    ) -> (&Self, HostOrigins) {
        answer.not_in_force.extend(self.refused_host(table, host));
        let name = virtual_host_name(table, &host.name);
        let behind = self.behind(ResourceType::VirtualHost, &name);
        let owners = behind.pilot.owners(ResourceType::VirtualHost, &name);
        answer.virtual_host = Some(Part {
            name: host.name.to_string(),
            asks: format!("domains {}", domains(host)),
            from: owners.into_iter().map(|key| behind.whole(key)).collect(),
        });
        (behind, behind.pilot.host_origins(table, &host.name).unwrap_or_default())
    }

    fn route_part(&self, route: &Route, origins: &HostOrigins, number: usize) -> Part {
        Part {
            name: route.name.to_string(),
            asks: asks(route),
            from: origins
                .route(number)
                .into_iter()
                .flat_map(RouteOrigin::parts)
                .map(|o| self.source(o))
                .collect(),
        }
    }

    /// Why no virtual host of a listener has a host.
    fn without_host(&self, listener: &str, asked: &str) -> String {
        let host = Host::new(without_port(asked));
        let plan = self.pilot.listener_plan(listener);
        let servers = plan.map_or(&[][..], |plan| &plan.servers);
        let mut names = servers.iter().flat_map(|server| server.names());
        if servers.is_empty() || names.any(|name| host.is_within(name)) {
            return format!("no virtual host has {asked}");
        }
        let names: BTreeSet<&str> =
            servers.iter().flat_map(|server| server.names()).map(Host::as_str).collect();
        let several = names.len() > MOST_NAMES;
        let mut names: Vec<&str> = names.into_iter().take(MOST_NAMES).collect();
        names.extend(several.then_some("…"));
        format!("no server of a Gateway here is for {asked}, only for {}", names.join(", "))
    }

    /// Says where a host is served that Istio would not serve there.
    fn tell_lenience(&self, listener: &str, parts: &[ObjectKey], answer: &mut Answer) {
        let plan = self.pilot.listener_plan(listener);
        let servers = plan.into_iter().flat_map(|plan| &plan.servers);
        let gateways: Vec<&str> = servers.map(|server| &*server.gateway).collect();
        let parts: BTreeSet<&ObjectKey> = parts.iter().collect();
        let notes = parts.into_iter().filter_map(|key| self.pilot.lenience(key, &gateways));
        answer.notes.extend(notes);
    }

    /// The servers of a listener that answer a host over TLS only.
    fn redirecting(&self, listener: &str, host: &str) -> impl Iterator<Item = &Server> {
        let host = Host::new(without_port(host));
        let plan = self.pilot.listener_plan(listener);
        let servers = plan.into_iter().flat_map(|plan| &plan.servers).map(|server| &**server);
        servers.filter(move |server| {
            server.redirects_to_https() && server.names().any(|name| host.is_within(name))
        })
    }

    /// Says which servers of a listener answer a host over TLS only: what sends requests there is no rule's route.
    fn tell_redirecting(&self, listener: &str, host: &str, answer: &mut Answer) {
        for server in self.redirecting(listener, host) {
            let (place, gateway) = (server.place(), &server.gateway);
            let note = format!(
                "{place} of Gateway {gateway} sends plain requests to TLS (tls.httpsRedirect)"
            );
            answer.notes.push(note);
            if let Some(host) = &mut answer.virtual_host {
                let path = format!("{place}.{HTTPS_REDIRECT}");
                host.from.push(self.source(&Origin::new(server.key.clone(), path)));
            }
        }
    }

    /// Says what of the objects that a route was made from has no effect.
    fn note_idle(&self, origins: &HostOrigins, number: Option<usize>, answer: &mut Answer) {
        let origin = number.and_then(|number| origins.route(number));
        let keys: BTreeSet<_> =
            origin.into_iter().flat_map(RouteOrigin::parts).map(|origin| &origin.key).collect();
        for key in keys {
            let standing = self.pilot.standing(key);
            if let Some(fault) = standing.and_then(|standing| standing.fault.as_ref()) {
                answer.notes.push(format!("not all of {key} is in force: {fault}"));
            }
        }
    }

    /// An object as a whole.
    pub(crate) fn whole(&self, key: ObjectKey) -> Source {
        self.source(&Origin { key, path: "spec".to_owned() })
    }

    /// What the route does with the request.
    fn act(
        &self,
        route: &Route,
        (manager, table, host): (&HttpManager, &RouteTable, &VirtualHost),
        request: Request<'_>,
        answer: &mut Answer,
    ) -> Result<(), Refusal> {
        let head = &request.head;
        match &route.action {
            Action::Redirect(redirect) => {
                let location = shown(&redirect.location(head));
                answer.end = End::Redirected { status: redirect.status, location };
            }
            Action::Direct(direct) => {
                answer.end = End::Answered { status: direct.status };
                if direct.denies {
                    self.note_denied(request.question, answer);
                }
            }
            Action::Forward(forward) => {
                if request.upgrade && !prepare::may_upgrade(head, manager, forward) {
                    let reason = "it asks for a change of protocol, which is not allowed here";
                    return Err((Error::Denied, Some(403), reason.to_owned()));
                }
                let all = forward.targets.iter();
                let all: Vec<(&ClusterSlot, u32)> =
                    all.map(|(target, weight)| (&*target.cluster, weight)).collect();
                answer.timeout = forward.time_for(head).0.map(|time| format!("{time:?}"));
                answer.retries = forward.retry.as_deref().and_then(|policy| retries(policy, head));
                let question = request.question;
                let sent = |request| sent(route, forward, (manager, host), request);
                // What is made up shows where something else is.
                let other = request.connection.seen_by(self, &example::OTHER, question);
                let other = Request::arrive(question, manager, &other).map(|mut other| {
                    let _ = self.pass((manager, table), &mut other, &mut Answer::default());
                    sent(other)
                });
                let mut sent = sent(request);
                sent.examples = other.map_or_else(|_| Vec::new(), |other| sent.differing(&other));
                self.destinations(&all, Some(&sent.host), answer);
                destination::settle(answer, Some(forward.cluster_not_found), Some(503));
                answer.sent = Some(sent);
                self.note_elsewhere(question.port, answer);
            }
        }
        Ok(())
    }
}

/// What a server does with requests in plain text, in words.
fn redirect_of(server: &Server) -> String {
    format!("the redirect to TLS by {} of Gateway {}", server.place(), server.gateway)
}

/// The domains of a virtual host. Istio has one for those that nothing routes, whose name says nothing to people.
pub(crate) fn domains(host: &VirtualHost) -> String {
    let none = if host.routes().is_empty() { " (it has no routes)" } else { "" };
    format!("{}{none}", host.domains.join(", "))
}

/// A request on its way.
pub(crate) struct Request<'a> {
    pub(crate) question: &'a Question,
    pub(crate) connection: &'a Connection<'a>,
    pub(crate) head: RequestHead,
    /// Its header lines, as the client sent them.
    came: Vec<Line>,
    /// Whether it asks for another protocol on its connection.
    upgrade: bool,
    /// Whom it is from.
    pub(crate) client: SocketAddr,
}

impl<'a> Request<'a> {
    /// The request as it is before it is routed.
    fn arrive(
        question: &'a Question,
        manager: &HttpManager,
        connection: &'a Connection<'a>,
    ) -> Result<Self, Refusal> {
        let (mut head, upgrade) = head(question, manager).map_err(|reply| {
            let reason = format!("it cannot be read: {}", reply.details);
            (Error::BadRequest, Some(reply.status), reason)
        })?;
        let came = lines(&head);
        let tls = connection.settled.as_ref();
        let hop = Hop { peer: connection.client, local: connection.local, tls, upgrade };
        let random = Random::seeded(connection.example.seed);
        let client = prepare::arrive(&mut head, manager, hop, &random).map_err(|unfit| {
            let (what, reply) = match unfit {
                Unfit::Request(reply) => ("it", reply),
                Unfit::Path(reply) => ("the path", reply),
            };
            let reason = format!("{what} is refused: {}", reply.details);
            (Error::BadRequest, Some(reply.status), reason)
        })?;
        Ok(Self { question, connection, head, came, upgrade, client })
    }
}

/// The VirtualServices whose routes a virtual host has.
fn parts(origins: &HostOrigins) -> Vec<ObjectKey> {
    let routes = origins
        .routes
        .iter()
        .flatten()
        .chain(origins.left_out.iter().map(|left_out| &left_out.origin));
    routes.flat_map(RouteOrigin::parts).map(|origin| origin.key.clone()).collect()
}

/// The request's head as the proxy reads it, and whether it asks for another protocol on its connection.
fn head(question: &Question, manager: &HttpManager) -> Result<(RequestHead, bool), LocalReply> {
    let mut head = RequestHead::default();
    if question.protocol == Protocol::Http2 {
        head.version = Version::Http2;
        if question.security == Security::Tls {
            head.scheme = Scheme::Https;
        }
        head.set_method(question.method.as_bytes());
        head.set_authority(question.host.as_bytes());
        if question.method != "CONNECT" {
            head.set_path(question.path.as_bytes());
        }
        for (name, value) in &question.headers {
            head.headers.append(name.as_bytes(), value.as_bytes());
        }
        return Ok((head, false));
    }
    let target = if question.method == "CONNECT" { &question.host } else { &question.path };
    let mut bytes = format!("{} {target} HTTP/1.1\r\nHost: {}\r\n", question.method, question.host);
    for (name, value) in &question.headers {
        let _ = write!(bytes, "{name}: {value}\r\n");
    }
    bytes.push_str("\r\n");
    let end = HeadScanner::default().scan(bytes.as_bytes(), manager.max_head as usize);
    let read = end.and_then(|end| match end {
        Some(end) if end == bytes.len() => {
            parse::request(bytes.as_bytes(), manager.max_headers as usize, &mut head)
        }
        _ => Err(BadMessage::Malformed),
    });
    read.map(|carriage| (head, carriage.upgrade)).map_err(LocalReply::bad_message)
}

/// The status that HTTP/2's preface is answered with where it is read as a request of HTTP/1.
pub(crate) fn preface_refused() -> u16 {
    let preface = b"PRI * HTTP/2.0\r\n\r\n";
    let read = parse::request(preface, 1, &mut RequestHead::default());
    read.err().map_or(400, |bad| LocalReply::bad_message(bad).status)
}

/// What a route asks of a request, in words.
pub(crate) fn asks(route: &Route) -> String {
    let mut all = vec![path_asked(&route.matcher.path)];
    if route.matcher.ignore_case {
        all.push("in any case".to_owned());
    }
    all.extend(route.matcher.conditions.iter().map(words::condition));
    all.join(", ")
}

/// What is asked of the path, in words. Some of them begin with that word.
pub(crate) fn path_asked(asked: &PathMatch) -> String {
    let words = asked.to_string();
    if words.starts_with("path") { words } else { format!("path {words}") }
}

/// When and how often a request is sent again.
fn retries(policy: &RetryPolicy, head: &RequestHead) -> Option<Retries> {
    (policy.most > 0 && policy.concerns(head)).then(|| Retries {
        attempts: policy.most,
        retry_on: policy.on.names().collect(),
        statuses: policy.statuses.clone(),
        per_try_timeout: policy.per_try.map(|time| format!("{time:?}")),
        backoff: format!("{:?}", policy.pause),
        longest_backoff: format!("{:?}", policy.longest_pause),
        other_endpoints_first: policy.others_first,
    })
}

/// What goes upstream: the request as it came, with what the proxy itself and then the route changes.
fn sent(
    route: &Route,
    forward: &Forward,
    (manager, host): (&HttpManager, &VirtualHost),
    request: Request<'_>,
) -> Sent {
    let Request { question, connection, mut head, came, client, .. } = request;
    let tls = connection.settled.as_ref();
    let facts = Facts {
        client: Some(client),
        peer: Some(connection.client),
        local: Some(connection.local),
        server_name: question.sni.as_deref().filter(|_| tls.is_some()),
        tls,
        attempts: 1,
        ..Facts::default()
    };
    let target = forward.targets.at(RANDOM);
    if host.attempts.to_endpoint {
        prepare::tell_attempt(&mut head, 1);
    }
    let (time, grpc) = forward.time_for(&head);
    let per_try = forward.retry.as_ref().and_then(|policy| policy.per_try);
    let before = lines(&head);
    prepare::depart(&mut head, manager, (route, forward, target), &facts);
    let changed = lines(&head);
    prepare::tell_time(&mut head, manager, per_try.or(time), grpc);
    let after = lines(&head);
    let new = |lines: &[Line], old: &[Line]| -> Vec<Line> {
        lines.iter().filter(|line| !old.contains(line)).cloned().collect()
    };
    let mut own_headers = new(&before, &came);
    own_headers.retain(|line| after.contains(line));
    own_headers.extend(new(&after, &changed));
    let all = came.iter().chain(&before).map(|(name, _)| name);
    let gone = all.filter(|name| !after.iter().any(|(other, _)| other == *name));
    let removed: BTreeSet<&String> = gone.collect();
    Sent {
        method: shown(head.method()),
        host: shown(head.authority()),
        path: shown(head.path()),
        set_headers: new(&changed, &before),
        removed_headers: removed.into_iter().cloned().collect(),
        own_headers,
        examples: Vec::new(),
    }
}

impl Sent {
    /// The names of headers that have other values in another form of what is sent.
    fn differing(&self, other: &Self) -> Vec<String> {
        let theirs = || other.set_headers.iter().chain(&other.own_headers);
        let own = self.set_headers.iter().chain(&self.own_headers);
        let differing = own.filter(|line| !theirs().any(|other| other == *line));
        let names: BTreeSet<&String> = differing.map(|(name, _)| name).collect();
        names.into_iter().cloned().collect()
    }
}

type Line = (String, String);

fn lines(head: &RequestHead) -> Vec<Line> {
    let line = |name: &[u8], value: &[u8]| (shown(name).to_ascii_lowercase(), shown(value));
    head.headers.iter().map(|(_, name, value)| line(name, value)).collect()
}

/// Bytes as text.
pub(crate) fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
