//! Who else could have taken a connection or request, and what kept each from it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use tidegate_api::istio::gateway;
use tidegate_api::{Kind, ObjectKey, Spec};
use tidegate_pilot::model::gateway::Server;
use tidegate_pilot::model::host::Host;
use tidegate_pilot::model::names;
use tidegate_pilot::model::subnet::Part;
use tidegate_pilot::model::virtual_service::{Place, VirtualService};
use tidegate_pilot::origins::{ChainOrigin, HostOrigins, LeftOut, Origin, RouteOrigin};
use tidegate_pilot::status::{ConditionKind, Force, Standing};
use tidegate_proxy::config;
use tidegate_proxy::http::RequestHead;
use tidegate_proxy::route::{Condition, Mismatch, Route, RouteTable, VirtualHost};
use tidegate_xds::{Rejection, ResourceType};

use crate::answer::Lost;
use crate::follow::Connection;
use crate::question::{Question, Security};
use crate::request::{RANDOM, asks, domains, path_asked, shown};
use crate::{World, nearest, sidecar, words};

/// Listeners of other addresses and ports, and those whose port is not open.
pub(crate) fn listeners(world: &World, question: &Question) -> Vec<Lost> {
    let listeners = world.config.listeners.values().filter(|listener| listener.pipe.is_none());
    let lost = listeners.map(|listener| {
        let (ip, port) = (listener.address.ip(), listener.address.port());
        let refused = match (port == question.port, world.is_open(listener)) {
            (_, false) => format!("it is for port {port}, which is not open"),
            (true, true) => format!("it listens at address {ip} only"),
            (false, true) => format!("it listens on port {port}"),
        };
        Lost {
            at: "listener",
            name: listener.name.to_string(),
            refused,
            far: port != question.port,
            from: world.servers(&listener.name),
        }
    });
    lost.collect()
}

/// Servers of Gateways that are served here and have no listener, or whose listener the proxy refuses. Those near have
/// the port that was asked for.
pub(crate) fn silent_gateways(world: &World, port: u16) -> Vec<Lost> {
    let mut lost = Vec::new();
    for gateway in world.pilot.gateways() {
        let Some(server) = gateway.servers.first() else { continue };
        let here = gateway.servers.iter().any(|s| s.port == port || s.listen.contains(&port));
        let fault = fault(world, &server.key, ConditionKind::Reconciled);
        lost.extend(fault.map(|fault| Lost { far: !here, ..fault }));
    }
    lost.extend(
        (world.rejected.iter())
            .filter(|rejection| rejection.kind == ResourceType::Listener)
            // What is asked about comes over TCP.
            .filter(|rejection| names::beside_udp(&rejection.name).is_none())
            .map(|rejection| rejected(world, rejection, port)),
    );
    lost.extend(world.never_read(Kind::Gateway));
    lost.extend(unselected(world, port));
    lost
}

/// Gateways that are for other proxies.
fn unselected(world: &World, port: u16) -> impl Iterator<Item = Lost> + '_ {
    world.keys(Kind::Gateway).filter_map(move |key| match world.pilot.standing(key) {
        Some(Standing { force: Force::Nothing { reason, message }, .. })
            if *reason == "NotSelected" =>
        {
            let written = |server: &gateway::Server| server.port.number.get() == port;
            let here = match world.object(key).map(|object| &object.spec) {
                Some(Spec::Gateway(gateway)) => gateway.servers.iter().any(written),
                _ => false,
            };
            let from = world.source(&Origin::new(key.clone(), "selector"));
            Some(Lost { far: !here, ..Lost::object(from, message.clone()) })
        }
        _ => None,
    })
}

/// VirtualServices of the host that was asked for at a port where none of their rules applies, with what their status says.
pub(crate) fn unfit(world: &World, port: u16, question: &Question) -> Vec<Lost> {
    let asked = question.sni.as_deref().unwrap_or_else(|| without_port(&question.host));
    let asked = Host::new(asked);
    let servers = || world.pilot.gateways().flat_map(|gateway| &gateway.servers);
    let here = |service: &VirtualService| {
        servers().any(|s| {
            (s.port == port || s.listen.contains(&port))
                && service.binds(&s.gateway)
                && s.names().any(|name| asked.is_within(name))
        })
    };
    let services = world.pilot.virtual_services();
    let services = services.filter(|s| s.hosts.iter().any(|own| asked.is_within(own)) && here(s));
    let mut keys: Vec<&ObjectKey> = services.map(|service| &service.key).collect();
    keys.sort();
    keys.into_iter().filter_map(|key| fault(world, key, ConditionKind::Reconciled)).collect()
}

/// What got no place on a port, and to whom it lost.
pub(crate) fn displaced(world: &World, port: u16, question: &Question) -> Vec<Lost> {
    let displaced = world.pilot.displaced(port, question.sni.as_deref()).into_iter();
    displaced.map(|(origin, refused)| Lost::object(world.source(&origin), refused)).collect()
}

/// What the proxy refuses: a listener as a whole, or one filter chain of it, whose neighbours are served.
fn rejected(world: &World, rejection: &Rejection, port: u16) -> Lost {
    let refused = format!("the proxy refuses it: {}", rejection.reason);
    let name = rejection.name.to_string();
    let owners = || world.pilot.owners(rejection.kind, &rejection.name);
    let whole = || owners().into_iter().map(|key| world.whole(key)).collect();
    let Some(chain) = rejection.chain_alone() else {
        let plan = world.pilot.listener_plan(&name);
        let far = plan.is_some_and(|plan| plan.port != port);
        return Lost { at: "listener", name, refused, far, from: whole() };
    };
    let origin = world.pilot.chain_origins(&name).into_iter().nth(chain);
    let server = origin.and_then(|origin| origin.server);
    let from = match server {
        Some(server) => world.places(&[server]),
        None => whole(),
    };
    Lost {
        at: "filterChain",
        name,
        refused: format!("{refused}; the others of its listener serve"),
        far: true,
        from,
    }
}

/// Filter chains but the one that takes the connection.
pub(crate) fn chains(
    world: &World,
    listener: &str,
    local: SocketAddr,
    origins: &[ChainOrigin],
    taken: Option<usize>,
    question: &Question,
) -> Vec<Lost> {
    let nameless = world.pilot.nameless(listener);
    let others = origins.iter().enumerate().filter(|(number, _)| Some(*number) != taken);
    // Where chains are for ports, those for others are far.
    let by_port = origins.iter().any(|origin| origin.port.is_some());
    let of_port = origins.iter().any(|origin| origin.port == Some(question.port));
    let port = of_port.then_some(question.port);
    let lost = others.map(|(_, origin)| {
        if let Some(routes) = nameless.filter(|_| origin.server.is_none()) {
            return Lost {
                at: "filterChain",
                name: "without server name".to_owned(),
                refused: "it is for connections that name no server".to_owned(),
                far: false,
                from: world.places(&routes.servers),
            };
        }
        let names = asked(origin).unwrap_or_default();
        let here =
            origin.parts.is_empty() || origin.parts.iter().any(|part| part.contains(local.ip()));
        let refused = match (&question.sni, question.security) {
            _ if !here => {
                let asked = addresses(&origin.parts);
                let own = match question.address {
                    Some(own) => own.to_string(),
                    None => format!("any, such as {} (--address)", local.ip()),
                };
                format!("it asks for an {asked}; the client connects to {own}")
            }
            _ if by_port && origin.port == port && !names.is_empty() => {
                format!("it asks for {names}; the connection is {}", sidecar::shown(question))
            }
            _ if !origin.asks.is_empty() => format!("it asks for {names}"),
            _ if origin.names.is_empty() && !origin.parts.is_empty() => {
                "a chain for a narrower network goes first".to_owned()
            }
            _ if origin.names.is_empty() => "a chain that asks for more goes first".to_owned(),
            (_, Security::Plain) => format!("it asks for {names}; the connection is not TLS"),
            (None, Security::Tls) => format!("it asks for {names}; the ClientHello names none"),
            (Some(sni), Security::Tls) => {
                format!("it asks for {names}; the ClientHello names {sni}")
            }
        };
        let from: Vec<_> = origin.objects().map(|o| world.source(&o)).collect();
        // What nobody wrote has to be called something.
        let name = match (from.is_empty(), origin.port) {
            (false, _) => "",
            (true, Some(_)) => "for the sidecar's own port",
            (true, None) => "for every other connection",
        };
        let by_name = !origin.names.is_empty();
        let far = by_name && !question.sni.iter().any(|sni| is_near(origin, sni))
            || by_port && origin.port != port;
        Lost { at: "filterChain", name: name.to_owned(), refused, far, from }
    });
    lost.collect()
}

/// Whether one of the names that a chain asks for is the client's, or nearly so.
fn is_near(origin: &ChainOrigin, server_name: &str) -> bool {
    let host = Host::new(server_name);
    let mut names = origin.names.iter();
    names.any(|name| host.is_within(&Host::new(name)) || nearest::is_close(name, server_name))
}

/// `address in 10.0.0.0/8`.
pub(crate) fn addresses(parts: &BTreeSet<Part>) -> String {
    let parts: Vec<String> = parts.iter().map(ToString::to_string).collect();
    format!("address in {}", parts.join(", "))
}

/// What a chain asks of connections, in words; `None` where it takes all.
pub(crate) fn asked(origin: &ChainOrigin) -> Option<String> {
    let names = (!origin.names.is_empty()).then(|| server_names(&origin.names));
    let all: Vec<String> = names.into_iter().chain(origin.asks.iter().cloned()).collect();
    (!all.is_empty()).then(|| all.join(", "))
}

/// `server name a` or `one of the server names a, b`.
pub(crate) fn server_names(names: &BTreeSet<String>) -> String {
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    match all.as_slice() {
        [] => "any server name".to_owned(),
        [one] => format!("server name {one}"),
        several => format!("one of the server names {}", several.join(", ")),
    }
}

/// Virtual hosts of a table that does not have the one that was asked for.
pub(crate) fn hosts(world: &World, table_name: &str, table: &RouteTable, asked: &str) -> Vec<Lost> {
    let asked = without_port(asked);
    let lost = table.virtual_hosts().map(|host| {
        let name = tidegate_xds::assemble::virtual_host_name(table_name, &host.name);
        let owners = world.pilot.owners(ResourceType::VirtualHost, &name);
        Lost {
            at: "virtualHost",
            name: host.name.to_string(),
            refused: format!("its domains are {}", domains(host)),
            far: !host.domains.iter().any(|domain| nearest::is_close(domain, asked)),
            from: owners.into_iter().map(|key| world.hosts_of(key)).collect(),
        }
    });
    lost.collect()
}

/// The objects whose virtual hosts a table has, and none of whose hosts is the one that was asked for: why they did not
/// take the request is told with their virtual hosts.
pub(crate) fn told(world: &World, name: &str, table: &RouteTable, asked: &str) -> Vec<ObjectKey> {
    let host = Host::new(without_port(asked));
    let services = world.pilot.virtual_services();
    let having = services.filter(|service| service.hosts.iter().any(|own| host.is_within(own)));
    let having: BTreeSet<&ObjectKey> = having.map(|service| &service.key).collect();
    let names = table.virtual_hosts();
    let names = names.map(|host| tidegate_xds::assemble::virtual_host_name(name, &host.name));
    let owners = names.flat_map(|name| world.pilot.owners(ResourceType::VirtualHost, &name));
    let newer = |key: &ObjectKey| world.unread().contains_key(key);
    owners.filter(|key| !(having.contains(key) || newer(key))).collect()
}

/// What takes a request in a virtual host.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Taker<'a> {
    /// Nothing does.
    Nobody,
    /// Its route of that number.
    Route(usize),
    /// What goes before all of its routes, in words.
    Before(&'a str),
}

/// The routes of a virtual host but the one that takes the request, and what became no route there.
pub(crate) fn routes(
    world: &World,
    host: &VirtualHost,
    origins: &HostOrigins,
    taker: Taker<'_>,
    head: &RequestHead,
    random: u64,
) -> Vec<Lost> {
    let source = |number: usize| {
        let parts = origins.route(number).into_iter().flat_map(RouteOrigin::parts);
        parts.map(|o| world.source(o)).collect::<Vec<_>>()
    };
    let mut lost = Vec::new();
    for (number, route) in host.routes().iter().enumerate() {
        if matches!(taker, Taker::Route(taken) if taken == number) {
            continue;
        }
        let mismatch = route.matcher.mismatch(head, random);
        let refused = match (&mismatch, taker) {
            (Some(mismatch), _) => mismatched(mismatch, head),
            (None, Taker::Before(first)) => {
                format!("it would take the request ({}), and {first} goes first", asks(route))
            }
            (None, _) => format!("it would take the request ({}), and comes later", asks(route)),
        };
        let path = |path| !nearest::is_like(head.path(), path);
        let far = matches!(mismatch, Some(Mismatch::Path(asked)) if path(asked));
        if !is_own(route, origins, number) {
            let (name, from) = (route.name.to_string(), source(number));
            lost.push(Lost { at: "route", name, refused, far, from });
        }
    }
    lost.extend(idle(world, &origins.left_out, head));
    lost
}

/// Whether nobody wrote a route: it is the gateway's own answer for requests that no rule takes.
pub(crate) fn is_own(route: &Route, origins: &HostOrigins, number: usize) -> bool {
    route.name.is_empty() && origins.route(number).is_none()
}

/// What a route asks for and the request has not, in words.
fn mismatched(mismatch: &Mismatch<'_>, head: &RequestHead) -> String {
    let has = match mismatch {
        Mismatch::Path(path) => {
            let asked = path_asked(path);
            return format!("it asks for {asked}; the path is {}", shown(head.path()));
        }
        Mismatch::Condition(Condition::Header(header)) => {
            let values: Vec<String> =
                header.field.values(head).map(|value| format!("{:?}", shown(value))).collect();
            match values.as_slice() {
                [] => "the request has none".to_owned(),
                several => format!("the request has {}", several.join(", ")),
            }
        }
        Mismatch::Condition(Condition::Query(_)) => format!("the path is {}", shown(head.path())),
        Mismatch::Condition(Condition::Metadata(_)) => "nothing verified says so".to_owned(),
        Mismatch::Condition(_) => "the request is not one of those".to_owned(),
    };
    let asked = match mismatch {
        Mismatch::Condition(condition) => words::condition(condition),
        Mismatch::Path(path) => path_asked(path),
    };
    format!("it asks for {asked}; {has}")
}

/// VirtualServices that have no part in the virtual host that was asked: faults of their own, another gateway,
/// other hosts. `host` is the request's, as it was looked for; `taken` is the virtual host that it was found in.
pub(crate) fn objects(
    world: &World,
    connection: &Connection<'_>,
    part: &[ObjectKey],
    question: &Question,
    (host, taken, head): (&str, Option<&VirtualHost>, &RequestHead),
) -> Vec<Lost> {
    if world.pilot.options().workload().is_some() {
        return sidecar::objects(world, part, question, (host, head));
    }
    let part: BTreeSet<&ObjectKey> = part.iter().collect();
    let mut others: Vec<_> =
        world.pilot.virtual_services().filter(|s| !part.contains(&s.key)).collect();
    others.sort_by(|a, b| a.key.cmp(&b.key));
    let plan = world.pilot.listener_plan(&connection.listener.name);
    let servers = plan.map_or(&[][..], |plan| &plan.servers);
    let own = connection.origin.as_ref().and_then(|o| o.server.as_ref());
    let servers = own.map_or(servers, std::slice::from_ref);
    let asked = Host::new(without_port(host));
    let taken = taken.into_iter().flat_map(|taken| &taken.domains);
    let taken: Vec<Host> = taken.map(|domain| Host::new(without_port(domain))).collect();
    let mut lost: Vec<Lost> = world.never_read(Kind::VirtualService).collect();
    for service in others {
        let own = service.hosts.iter().find(|own| asked.is_within(own));
        let here: Vec<&Server> = servers
            .iter()
            .map(|server| &**server)
            .filter(|server| service.binds(&server.gateway))
            .collect();
        // What carries bytes on a port of its own takes no requests, whatever they say.
        let bytes = service.http.is_empty() && service.tls.is_empty() && !service.tcp.is_empty();
        let is_meant = |own| !here.is_empty() && narrower(own, &asked, &taken).is_none();
        if bytes && !own.is_some_and(is_meant) {
            continue;
        }
        let (path, refused) = match own {
            _ if world.unread().contains_key(&service.key) => {
                let errors = &world.unread()[&service.key];
                ("spec", format!("its newest form is refused: {}", errors.join("; ")))
            }
            None if service.hosts.is_empty() => {
                let refused = "it is a delegate, and nothing that leads to it is asked here";
                ("spec", refused.to_owned())
            }
            _ if here.is_empty() => ("spec.gateways", bound(world, &service.gateways)),
            None => {
                let hosts: Vec<&str> = service.hosts.iter().map(Host::as_str).collect();
                ("spec.hosts", format!("its hosts are {}", hosts.join(", ")))
            }
            Some(own) => match kept(world, (service, own), &here, &asked, &taken) {
                Some(refused) => refused,
                None => {
                    lost.extend(ruleless(world, service, &here, head));
                    continue;
                }
            },
        };
        let close = |own: &Host| nearest::is_close(own.as_str(), asked.as_str());
        let far = own.is_none() && !service.hosts.iter().any(close);
        let from = world.source(&Origin { key: service.key.clone(), path: path.to_owned() });
        lost.push(Lost { far, ..Lost::object(from, refused) });
    }
    lost
}

/// What is said of a VirtualService whose rules have no part in what they seem to be for: of each what it asks for; else
/// what its status says against it.
fn ruleless(
    world: &World,
    service: &VirtualService,
    here: &[&Server],
    head: &RequestHead,
) -> Vec<Lost> {
    let removed = world.pilot.removed(&service.key).into_iter();
    let removed: Vec<Lost> = removed
        .map(|(place, told)| Lost { at: "route", ..Lost::object(world.source(&place), told) })
        .collect();
    if !removed.is_empty() {
        return removed;
    }
    let place = here.first().map(|server| Place::of(server));
    let idle: Vec<Lost> = place.map_or_else(Vec::new, |place| {
        idle(world, &world.pilot.idle_at(&service.key, &place), head).collect()
    });
    if !idle.is_empty() {
        return idle;
    }
    let fault = fault(world, &service.key, ConditionKind::Reconciled);
    let none = || {
        let refused = "it has no rule for this host and port";
        Lost::object(world.whole(service.key.clone()), refused.to_owned())
    };
    vec![fault.unwrap_or_else(none)]
}

/// Rules that do not act somewhere, as candidates. Those for another path are far.
pub(crate) fn idle<'a>(
    world: &'a World,
    idle: &'a [LeftOut],
    head: &'a RequestHead,
) -> impl Iterator<Item = Lost> + 'a {
    idle.iter().map(|LeftOut { origin, reason, elsewhere }| {
        let matcher = elsewhere.as_ref().and_then(|asked| config::matcher(&asked.matched));
        let mismatch = matcher.as_ref().and_then(|matcher| matcher.mismatch(head, RANDOM));
        let path = |path| !nearest::is_like(head.path(), path);
        Lost {
            at: "route",
            name: String::new(),
            refused: reason.clone(),
            far: matches!(mismatch, Some(Mismatch::Path(asked)) if path(asked)),
            from: origin.parts().map(|o| world.source(o)).collect(),
        }
    })
}

/// To which gateways a VirtualService is bound, where that is not the one that was asked.
fn bound(world: &World, gateways: &[Arc<str>]) -> String {
    if gateways.is_empty() {
        return "it is bound to no gateway, only to the mesh".to_owned();
    }
    let known: BTreeSet<String> =
        world.keys(Kind::Gateway).map(|key| format!("{}/{}", key.namespace, key.name)).collect();
    let unread = world.unread().keys().filter(|key| key.kind == Kind::Gateway);
    let unread: BTreeSet<String> =
        unread.map(|key| format!("{}/{}", key.namespace, key.name)).collect();
    let named = gateways.iter().map(|gateway| {
        match (known.contains(&**gateway), unread.contains(&**gateway)) {
            (true, _) => gateway.to_string(),
            (false, true) => format!("{gateway}, whose form is refused"),
            (false, false) => format!("{gateway}, which is not there"),
        }
    });
    format!("it is bound to {}", named.collect::<Vec<_>>().join(", "))
}

/// What keeps a VirtualService that is bound here, and that has the host that was asked for among its own as `own`, from
/// taking the request: the field, and the reason.
fn kept(
    world: &World,
    (service, own): (&VirtualService, &Host),
    here: &[&Server],
    asked: &Host,
    taken: &[Host],
) -> Option<(&'static str, String)> {
    if service.order.is_none() {
        let namespace = &world.pilot.options().namespace;
        let refused = format!("its exportTo hides it from namespace {namespace} of the gateway");
        return Some(("spec.exportTo", refused));
    }
    let namespace = &service.key.namespace;
    if !here.iter().any(|server| server.hosts.overlaps(std::slice::from_ref(own), namespace)) {
        let listed = here.iter().flat_map(|server| server.hosts.iter());
        let listed = listed.map(|listed| match &listed.namespace {
            Some(namespace) => format!("{namespace}/{}", listed.host),
            None => listed.host.to_string(),
        });
        let listed: BTreeSet<String> = listed.collect();
        let listed: Vec<String> = listed.into_iter().collect();
        let gateways: BTreeSet<&str> = here.iter().map(|server| &*server.gateway).collect();
        let gateways: Vec<&str> = gateways.into_iter().collect();
        let refused = format!(
            "its Gateway {} lists {} here, not {own} of namespace {namespace}",
            gateways.join(", "),
            listed.join(", ")
        );
        return Some(("spec.hosts", refused));
    }
    if let Some(narrower) = narrower(own, asked, taken) {
        let refused = format!("requests for {narrower} go first, which is narrower than {own}");
        return Some(("spec.hosts", refused));
    }
    let connections = service.rules.is_empty() && service.routes_connections();
    let refused = "it has rules for connections (tls, tcp), and none for requests (http)";
    connections.then(|| ("spec", refused.to_owned()))
}

/// The host of a virtual host by which it takes the request, where that is narrower than another's.
fn narrower<'a>(own: &Host, asked: &Host, taken: &'a [Host]) -> Option<&'a Host> {
    taken.iter().find(|taken| asked.is_within(taken) && taken.is_narrower_than(own))
}

/// What an object's status says against it.
fn fault(world: &World, key: &ObjectKey, kind: ConditionKind) -> Option<Lost> {
    let told = world.pilot.told(key).iter().find(|c| !c.holds && c.kind == kind)?;
    Some(Lost::object(world.whole(key.clone()), format!("{}: {}", told.reason, told.message)))
}

/// A host without its port; IPv6 addresses keep their brackets.
pub(crate) fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !name.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}
