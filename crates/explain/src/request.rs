//! The way of a request: virtual host, route, and what goes upstream.

use std::sync::Arc;

use tidegate_pilot::origins::{HostOrigins, Origin, RouteOrigin};
use tidegate_proxy::config::listener::HttpManager;
use tidegate_proxy::http::{RequestHead, Scheme, Version, forwarding, path};
use tidegate_proxy::random::Random;
use tidegate_proxy::route::{
    Action, Decision, Facts, Forward, PathMatch, Route, Targets, VirtualHost,
};
use tidegate_proxy::upstream::ClusterSlot;
use tidegate_xds::ResourceType;
use tidegate_xds::assemble::virtual_host_name;

use crate::answer::{Answer, End, Error, Part, Sent, Source};
use crate::follow::{Connection, Refusal};
use crate::question::{Protocol, Question, Security};
use crate::{World, destination, handshake, lost, nearest, sidecar};

/// Decisions that depend on a request's random number are told for this one; weights are told as shares.
const RANDOM: u64 = 0;

impl World {
    pub(crate) fn request(
        &self,
        manager: &HttpManager,
        connection: &Connection<'_>,
        question: &Question,
        answer: &mut Answer,
    ) -> Result<(), Refusal> {
        let mut head = head(question);
        let port = connection.listener.address.port();
        path::strip_trailing_dot(&mut head, manager);
        path::strip_port(&mut head, manager, port);
        if let Err(reply) = path::normalize(&mut head, manager.into()) {
            let reason = format!("the path is refused: {}", reply.details);
            return Err((Error::BadRequest, Some(reply.status), reason));
        }
        forwarding::request(&mut head, manager, Self::client(), None, false, &Random::seeded(0));
        let slot = manager.routes.slot();
        answer.route_configuration = Some(Part { name: slot.name.to_string(), ..Part::default() });
        let table = slot.table.load();
        let skeleton = [ResourceType::RouteConfiguration];
        answer.not_in_force.extend(self.refused_of(&skeleton, &slot.name));
        match table.decide(&head, RANDOM) {
            Decision::NoVirtualHost => {
                answer.lost.extend(lost::hosts(self, &slot.name, &table));
                answer.nearest = nearest::host(&table, head.authority());
                answer.lost.extend(lost::objects(self, connection, &[], question));
                let reason = format!("no virtual host has {}", shown(head.authority()));
                Err((Error::NoVirtualHost, Some(404), reason))
            }
            Decision::NoRoute(host) => {
                let (behind, origins) = self.virtual_host(&slot.name, host, answer);
                answer.lost.extend(lost::routes(behind, host, &origins, None, &head, RANDOM));
                answer.lost.extend(lost::objects(self, connection, &parts(&origins), question));
                answer.nearest = nearest::route(behind, host, &origins, &head, RANDOM);
                let reason = format!("no route of {} takes the request", host.name);
                Err((Error::NoRoute, Some(404), reason))
            }
            Decision::Route { virtual_host, route } => {
                let (behind, origins) = self.virtual_host(&slot.name, virtual_host, answer);
                let number = virtual_host.routes().iter().position(|r| Arc::ptr_eq(r, route));
                if let Some(number) = number {
                    answer.route = Some(behind.route_part(route, &origins, number));
                    let number = Some(number);
                    let lost = lost::routes(behind, virtual_host, &origins, number, &head, RANDOM);
                    answer.lost.extend(lost);
                }
                answer.lost.extend(lost::objects(self, connection, &parts(&origins), question));
                let local = connection.local;
                handshake::authorize(manager, Some(route), &head, question, local)?;
                self.act(route, manager, head, question, answer);
                if answer.end == (End::Answered { status: 421 })
                    && let Some((note, from)) =
                        self.misdirected(&connection.listener.name, &question.host)
                {
                    answer.notes.push(note);
                    if let Some(route) = &mut answer.route {
                        route.from = from;
                    }
                }
                Ok(())
            }
        }
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
            asks: format!("domains {}", host.domains.join(", ")),
            from: owners.into_iter().map(|key| behind.whole(key)).collect(),
        });
        (behind, behind.pilot.host_origins(table, &host.name).unwrap_or_default())
    }

    fn route_part(&self, route: &Route, origins: &HostOrigins, number: usize) -> Part {
        Part {
            name: route.name.to_string(),
            asks: asks(route),
            from: origins
                .routes
                .get(number)
                .into_iter()
                .flat_map(RouteOrigin::parts)
                .map(|o| self.source(o))
                .collect(),
        }
    }

    /// An object as a whole.
    pub(crate) fn whole(&self, key: tidegate_api::ObjectKey) -> Source {
        self.source(&Origin { key, path: "spec".to_owned() })
    }

    /// What the route does with the request.
    fn act(
        &self,
        route: &Route,
        manager: &HttpManager,
        head: RequestHead,
        question: &Question,
        answer: &mut Answer,
    ) {
        match &route.action {
            Action::Redirect(redirect) => {
                let location = shown(&redirect.location(&head));
                answer.end = End::Redirected { status: redirect.status, location };
            }
            Action::Direct(direct) => answer.end = End::Answered { status: direct.status },
            Action::Forward(forward) => {
                let all: Vec<(&ClusterSlot, u32)> = match &forward.targets {
                    Targets::One(target) => vec![(&target.cluster, 1)],
                    Targets::Weighted { targets, .. } => {
                        targets.iter().map(|(t, weight)| (&*t.cluster, *weight)).collect()
                    }
                };
                let sent = sent(route, forward, manager, head, question);
                self.destinations(&all, Some(&sent.host), answer);
                destination::settle(answer, Some(forward.cluster_not_found), Some(503));
                answer.sent = Some(sent);
                sidecar::note_elsewhere(answer);
            }
        }
    }
}

/// The VirtualServices whose routes a virtual host has.
fn parts(origins: &HostOrigins) -> Vec<tidegate_api::ObjectKey> {
    let routes = origins.routes.iter().chain(origins.left_out.iter().map(|(origin, _)| origin));
    routes.flat_map(RouteOrigin::parts).map(|origin| origin.key.clone()).collect()
}

/// The request's head as a client sends it.
fn head(question: &Question) -> RequestHead {
    let mut head = RequestHead::default();
    if question.protocol == Protocol::Http2 {
        head.version = Version::Http2;
    }
    if question.security == Security::Tls {
        head.scheme = Scheme::Https;
    }
    head.set_method(question.method.as_bytes());
    head.set_authority(question.host.as_bytes());
    head.set_path(question.path.as_bytes());
    for (name, value) in &question.headers {
        head.headers.append(name.as_bytes(), value.as_bytes());
    }
    head
}

/// What a route asks of a request, in words.
pub(crate) fn asks(route: &Route) -> String {
    let mut all = vec![path_asked(&route.matcher.path)];
    if route.matcher.ignore_case {
        all.push("in any case".to_owned());
    }
    all.extend(route.matcher.conditions.iter().map(ToString::to_string));
    all.join(", ")
}

/// What is asked of the path, in words. Some of them begin with that word.
pub(crate) fn path_asked(asked: &PathMatch) -> String {
    let words = asked.to_string();
    if words.starts_with("path") { words } else { format!("path {words}") }
}

/// What goes upstream after the proxy's own mutations and rewrites.
fn sent(
    route: &Route,
    forward: &Forward,
    manager: &HttpManager,
    mut head: RequestHead,
    question: &Question,
) -> Sent {
    let target = forward.targets.pick(RANDOM);
    let before = lines(&head);
    let facts = Facts {
        route: Some(&route.name),
        cluster: Some(&target.cluster.name),
        client: Some(World::client()),
        peer: Some(World::client()),
        server_name: question.sni.as_deref(),
        ..Facts::default()
    };
    target.request_headers.apply_to_request(&mut head, &facts);
    route.request_headers.apply_to_request(&mut head, &facts);
    forward.rewrite(&mut head, target, !manager.suppress_envoy_headers);
    let after = lines(&head);
    let gone = before.iter().filter(|(name, _)| !after.iter().any(|(other, _)| other == name));
    let mut removed_headers: Vec<String> = gone.map(|(name, _)| name.clone()).collect();
    removed_headers.dedup();
    Sent {
        method: shown(head.method()),
        host: shown(head.authority()),
        path: shown(head.path()),
        set_headers: after.iter().filter(|line| !before.contains(line)).cloned().collect(),
        removed_headers,
    }
}

fn lines(head: &RequestHead) -> Vec<(String, String)> {
    let line = |name: &[u8], value: &[u8]| (shown(name).to_ascii_lowercase(), shown(value));
    head.headers.iter().map(|(_, name, value)| line(name, value)).collect()
}

/// Bytes as text.
pub(crate) fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
