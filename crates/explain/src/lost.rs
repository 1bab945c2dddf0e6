//! Who else could have taken a connection or request, and what kept each from it.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use tidegate_api::{Kind, ObjectKey};
use tidegate_pilot::model::host::Host;
use tidegate_pilot::model::subnet::Part;
use tidegate_pilot::origins::{ChainOrigin, HostOrigins, Origin, RouteOrigin};
use tidegate_pilot::status::{ConditionKind, Force, Standing};
use tidegate_proxy::http::RequestHead;
use tidegate_proxy::route::{Condition, Mismatch, RouteTable, VirtualHost};
use tidegate_xds::{Rejection, ResourceType};

use crate::answer::Lost;
use crate::follow::Connection;
use crate::question::{Question, Security};
use crate::request::{asks, path_asked, shown};
use crate::{World, sidecar};

/// Listeners of other addresses and ports.
pub(crate) fn listeners(world: &World, question: &Question) -> Vec<Lost> {
    let listeners = world.config.listeners.values();
    let lost = listeners.map(|listener| {
        let refused = if listener.address.port() == question.port {
            format!("it listens on address {} only", listener.address.ip())
        } else {
            format!("it listens on port {}", listener.address.port())
        };
        Lost {
            at: "listener",
            name: listener.name.to_string(),
            refused,
            from: world.servers(&listener.name),
        }
    });
    lost.collect()
}

/// Servers of Gateways that are served here and have no listener, or whose listener the proxy refuses.
pub(crate) fn silent_gateways(world: &World) -> Vec<Lost> {
    let mut lost = Vec::new();
    for gateway in world.pilot.gateways() {
        let Some(server) = gateway.servers.first() else { continue };
        lost.extend(fault(world, &server.key, ConditionKind::Reconciled));
    }
    lost.extend(
        (world.rejected.iter())
            .filter(|rejection| rejection.kind == ResourceType::Listener)
            .map(|rejection| rejected(world, rejection)),
    );
    lost.extend(world.never_read(Kind::Gateway));
    lost.extend(unselected(world));
    lost
}

/// Gateways that are for other proxies.
fn unselected(world: &World) -> impl Iterator<Item = Lost> + '_ {
    world.keys(Kind::Gateway).filter_map(|key| match world.pilot.standing(key) {
        Some(Standing { force: Force::Nothing { reason, message }, .. })
            if *reason == "NotSelected" =>
        {
            let origin = Origin::new(key.clone(), "selector");
            Some(Lost {
                at: "object",
                name: String::new(),
                refused: message.clone(),
                from: vec![world.source(&origin)],
            })
        }
        _ => None,
    })
}

/// What got no place on a port, and to whom it lost.
pub(crate) fn displaced(world: &World, port: u16) -> Vec<Lost> {
    let displaced = world.pilot.displaced(port).into_iter();
    let lost = displaced.map(|(origin, refused)| Lost {
        at: "object",
        name: String::new(),
        refused,
        from: vec![world.source(&origin)],
    });
    lost.collect()
}

/// What the proxy refuses: a listener as a whole, or one filter chain of it, whose neighbours are served.
fn rejected(world: &World, rejection: &Rejection) -> Lost {
    let refused = format!("the proxy refuses it: {}", rejection.reason);
    let name = rejection.name.to_string();
    let owners = || world.pilot.owners(rejection.kind, &rejection.name);
    let whole = || owners().into_iter().map(|key| world.whole(key)).collect();
    let Some(chain) = rejection.chain_alone() else {
        return Lost { at: "listener", name, refused, from: whole() };
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
    let lost = others.map(|(_, origin)| {
        if let Some(routes) = nameless.filter(|_| origin.server.is_none()) {
            return Lost {
                at: "filterChain",
                name: "without server name".to_owned(),
                refused: "it is for connections that name no server".to_owned(),
                from: world.places(&routes.servers),
            };
        }
        let names = asked(origin).unwrap_or_default();
        let here =
            origin.parts.is_empty() || origin.parts.iter().any(|part| part.contains(local.ip()));
        let refused = match (&question.sni, question.security) {
            _ if !here => {
                let asked = addresses(&origin.parts);
                format!("it asks for an {asked}; the client connects to {}", local.ip())
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
        let name = if from.is_empty() { "for every other connection" } else { "" };
        Lost { at: "filterChain", name: name.to_owned(), refused, from }
    });
    lost.collect()
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
pub(crate) fn hosts(world: &World, table_name: &str, table: &RouteTable) -> Vec<Lost> {
    let lost = table.virtual_hosts().map(|host| {
        let name = tidegate_xds::assemble::virtual_host_name(table_name, &host.name);
        let owners = world.pilot.owners(ResourceType::VirtualHost, &name);
        Lost {
            at: "virtualHost",
            name: host.name.to_string(),
            refused: format!("its domains are {}", host.domains.join(", ")),
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

/// The routes of a virtual host but the one that takes the request, and what became no route there.
pub(crate) fn routes(
    world: &World,
    host: &VirtualHost,
    origins: &HostOrigins,
    taken: Option<usize>,
    head: &RequestHead,
    random: u64,
) -> Vec<Lost> {
    let source = |number: usize| {
        let parts = origins.routes.get(number).into_iter().flat_map(RouteOrigin::parts);
        parts.map(|o| world.source(o)).collect::<Vec<_>>()
    };
    let mut lost = Vec::new();
    for (number, route) in host.routes().iter().enumerate() {
        if Some(number) == taken {
            continue;
        }
        let refused = match route.matcher.mismatch(head, random) {
            Some(mismatch) => mismatched(&mismatch, head),
            None => format!("it would take the request ({}), and comes later", asks(route)),
        };
        let (name, from) = (route.name.to_string(), source(number));
        // What nobody wrote is the gateway's own answer for requests that no rule takes.
        if !(name.is_empty() && from.is_empty()) {
            lost.push(Lost { at: "route", name, refused, from });
        }
    }
    lost.extend(origins.left_out.iter().map(|(origin, reason)| Lost {
        at: "route",
        name: String::new(),
        refused: reason.clone(),
        from: origin.parts().map(|o| world.source(o)).collect(),
    }));
    lost
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
        Mismatch::Condition(_) => "the request is not one of those".to_owned(),
    };
    format!("it asks for {mismatch}; {has}")
}

/// VirtualServices that have no part in the virtual host that was asked: faults of their own, another gateway,
/// other hosts. `host` is the request's, as it was looked for.
pub(crate) fn objects(
    world: &World,
    connection: &Connection<'_>,
    part: &[ObjectKey],
    question: &Question,
    host: &str,
) -> Vec<Lost> {
    if world.pilot.options().workload().is_some() {
        return sidecar::objects(world, part, question.port, host);
    }
    let part: BTreeSet<&ObjectKey> = part.iter().collect();
    let mut others: Vec<_> =
        world.pilot.virtual_services().filter(|s| !part.contains(&s.key)).collect();
    others.sort_by(|a, b| a.key.cmp(&b.key));
    let plan = world.pilot.listener_plan(&connection.listener.name);
    let servers = plan.map_or(&[][..], |plan| &plan.servers);
    let own = connection.origin.as_ref().and_then(|o| o.server.clone());
    let here = |gateway: &str| match &own {
        Some(server) => *server.gateway == *gateway,
        None => servers.iter().any(|s| *s.gateway == *gateway),
    };
    let host = Host::new(without_port(host));
    let mut lost: Vec<Lost> = world.never_read(Kind::VirtualService).collect();
    for service in others {
        let (path, refused) = if let Some(errors) = world.unread().get(&service.key) {
            ("spec", format!("its newest form is refused: {}", errors.join("; ")))
        } else if service.hosts.is_empty() {
            let refused = "it is a delegate, and nothing that leads to it is asked here";
            ("spec", refused.to_owned())
        } else if !service.gateways.iter().any(|g| here(g)) {
            let bound = match service.gateways.as_slice() {
                [] => "no gateway, only to the mesh".to_owned(),
                several => several.join(", "),
            };
            let missing = world.pilot.told(&service.key).iter();
            let missing = missing.filter(|c| !c.holds).map(|c| format!(" ({})", c.message));
            ("spec.gateways", format!("it is bound to {bound}{}", missing.collect::<String>()))
        } else if !service.hosts.iter().any(|h| host.is_within(h)) {
            let hosts: Vec<&str> = service.hosts.iter().map(Host::as_str).collect();
            ("spec.hosts", format!("its hosts are {}", hosts.join(", ")))
        } else if let Some(fault) = fault(world, &service.key, ConditionKind::Reconciled) {
            lost.push(fault);
            continue;
        } else {
            let refused = "it has no rule for this host and port, or a narrower host goes first";
            ("spec.http", refused.to_owned())
        };
        let origin = Origin { key: service.key.clone(), path: path.to_owned() };
        lost.push(Lost {
            at: "object",
            name: String::new(),
            refused,
            from: vec![world.source(&origin)],
        });
    }
    lost
}

/// What an object's status says against it.
fn fault(world: &World, key: &ObjectKey, kind: ConditionKind) -> Option<Lost> {
    let told = world.pilot.told(key).iter().find(|c| !c.holds && c.kind == kind)?;
    Some(Lost {
        at: "object",
        name: String::new(),
        refused: format!("{}: {}", told.reason, told.message),
        from: vec![world.whole(key.clone())],
    })
}

/// A host without its port; IPv6 addresses keep their brackets.
pub(crate) fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !name.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}
