//! `tidegate explain`: one decision, from manifests or from the running process.
//!
//! Either way the objects are compiled here, by the code that a running gateway compiles them with; a running
//! process is only asked for its objects, among them those that say how it was started, and which forms of them proved good.

pub mod live;
pub mod proxies;

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::net::IpAddr;
use std::sync::Arc;

use tidegate_api::{Kind, Object, ObjectKey, Spec};
use tidegate_explain::{Answer, End, Error, Look, Question, World, render};
use tidegate_pilot::Options;

use crate::cli::{ExplainArgs, ExplainDirection as Direction, ExplainOutput, Labels, ProxyKind};
use crate::failure::{Failure, Outcome};
use crate::{manifests, mesh, terminal};
use live::Live;

/// Explains and prints.
///
/// # Errors
/// The objects cannot be had.
pub fn run(args: &ExplainArgs) -> Outcome<()> {
    let mut question = args.question()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("no runtime: {error}")))?;
    let live = args.files.is_empty();
    let found = if live {
        runtime.block_on(live::ask(&args.access))?
    } else {
        let manifests = runtime.block_on(manifests::read(args.files.clone()))?;
        let objects = manifests.into_iter().map(|manifest| manifest.object).collect();
        Live { objects, ..Live::default() }
    };
    let ejected = live::ejected(&found);
    let Live { objects, later, unserved, partly, mesh, shown, .. } = found;
    let mut options = options(args, &objects);
    let given = args.mesh_config.as_deref().map(mesh::read).transpose()?;
    mesh::apply(given.or(mesh).as_ref(), &mut options)?;
    if let Some(address) = listening_at(&options, args, &objects, &shown) {
        options.address = address;
    }
    let note = through_service(&mut question, &options);
    let open = open_ports(&options, args, &shown);
    let world = match live {
        true => {
            let world = World::of_process(options, objects, later);
            world.with_open_ports(open).with_ejected(ejected)
        }
        false => World::new(options, objects),
    };
    let note = note.or_else(|| looked_up(args.dialled_host(), &mut question, &world));
    let mut answer = world.explain(&question);
    answer.notes.extend(note);
    note_unserved(&unserved, question.port, &world, &mut answer);
    note_closed(&partly, question.port, &mut answer);
    terminal::print(match args.output {
        ExplainOutput::Text => {
            let look = Look { color: std::io::stdout().is_terminal(), all: args.all };
            render(&question, &answer, look)
        }
        ExplainOutput::Json => {
            let answer = serde_json::to_value(&answer);
            let answer = answer.map_err(|error| Failure::new(format!("the answer: {error}")))?;
            format!("{answer:#}\n")
        }
    })
}

/// Says of the objects on the way what the process says against them, where the answer has no reason of its own. What
/// concerns other ports of a Gateway than the one that was asked for does not belong here.
fn note_unserved(unserved: &[(ObjectKey, String)], port: u16, world: &World, answer: &mut Answer) {
    let ports: BTreeSet<u16> = world.ports().collect();
    for (key, why) in unserved {
        let mut told = answer.not_in_force.iter().flat_map(|form| &form.from);
        let elsewhere = key.kind == Kind::Gateway && is_about_others(why, port, &ports);
        let here = answer.sources().any(|place| place.is_in(key)) && !elsewhere;
        if here && !told.any(|place| place.is_in(key)) {
            let note = format!("the process says of {key} that it is not in force: {why}");
            answer.notes.push(note);
        }
    }
}

/// Says why the port that was asked for is not open, where the process serves the rest of a Gateway.
fn note_closed(partly: &[(ObjectKey, String)], port: u16, answer: &mut Answer) {
    if !matches!(answer.end, End::Refused { error: Error::NoListener, .. }) {
        return;
    }
    let gateways = partly.iter().filter(|(key, _)| key.kind == Kind::Gateway);
    for (key, why) in gateways.filter(|(_, why)| numbers(why).any(|number| number == port)) {
        answer.notes.push(format!("the process says of {key}: {why}"));
    }
}

/// Whether what is said names other ones of these ports than a certain one.
fn is_about_others(said: &str, port: u16, ports: &BTreeSet<u16>) -> bool {
    let named: BTreeSet<u16> = numbers(said).filter(|number| ports.contains(number)).collect();
    !named.is_empty() && !named.contains(&port)
}

/// The numbers in what is said that may be ports.
fn numbers(said: &str) -> impl Iterator<Item = u16> {
    said.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok())
}

/// The proxy that the flags name.
fn options(args: &ExplainArgs, objects: &[Arc<Object>]) -> Options {
    let any = Options {
        workload_certificates: args.workload_certs.as_deref().map(mesh::folder),
        ..proxies::any(args.namespace())
    };
    match args.proxy {
        ProxyKind::Sidecar => {
            let labels = args.labels.clone().map(|labels| labels.0).unwrap_or_default();
            // What comes in is dialled to the workload itself.
            let given = args.address.filter(|_| args.direction == Some(Direction::Inbound));
            let sidecar = proxies::sidecar(any, labels, given, objects);
            Options { captures_dns: args.dns_capture, ..sidecar }
        }
        ProxyKind::Gateway => proxies::gateway(any, args.labels.as_ref(), objects),
    }
}

/// The ports that the running process has open for the gateway, or holds for it: the targets of the Service by which it shows
/// itself. Nothing where that is no Service of its own.
fn open_ports(
    options: &Options,
    args: &ExplainArgs,
    shown: &BTreeSet<ObjectKey>,
) -> Option<BTreeSet<u16>> {
    let name = Labels(options.labels.clone()).gateway_name();
    let front = ObjectKey::new(Kind::Service, args.namespace(), &*name);
    let service = options.services.first().filter(|_| shown.contains(&front))?;
    Some(service.ports.values().copied().collect())
}

/// The address that the running process binds the gateway's ports at, as the Pod by which it shows itself says. Nothing where
/// that is no Pod of its own.
fn listening_at(
    options: &Options,
    args: &ExplainArgs,
    objects: &[Arc<Object>],
    shown: &BTreeSet<ObjectKey>,
) -> Option<IpAddr> {
    let name = Labels(options.labels.clone()).gateway_name();
    let own = ObjectKey::new(Kind::Pod, args.namespace(), &*name);
    let own = objects.iter().filter(|_| shown.contains(&own)).find(|object| object.key == own)?;
    let Spec::Pod(pod) = &own.spec else { return None };
    let mut ports = pod.spec.containers.iter().flat_map(|container| &container.ports);
    ports.find_map(|port| port.host_ip.parse().ok())
}

/// Clients connect to the Service; what is listened on is its target port.
fn through_service(question: &mut Question, options: &Options) -> Option<String> {
    let target = options.services.iter().find_map(|s| s.ports.get(&question.port).copied())?;
    let port = std::mem::replace(&mut question.port, target);
    (port != target).then(|| format!("port {port} of the gateway's Service is bound at {target}"))
}

/// A workload dials the address that its resolver has for a name.
fn looked_up(host: &str, question: &mut Question, world: &World) -> Option<String> {
    if question.direction != Some(tidegate_explain::Direction::Outbound)
        || question.address.is_some()
    {
        return None;
    }
    question.address = world.address_of(host);
    let note = match question.address {
        Some(address) => format!(
            "{host} is dialled at {address}, its address in the objects; --address says otherwise"
        ),
        None => format!(
            "no object has an address for {host}, so it is dialled at one that is nobody's; --address says otherwise"
        ),
    };
    Some(note)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_of_other_ports_are_not_those_of_this_one() {
        let ports = BTreeSet::from([80, 8090]);
        let about = |said| is_about_others(said, 80, &ports);
        let taken = "cannot listen on 0.0.0.0:8090: stop it, or start with --port-map 8090=18090";
        assert!(about(taken));
        assert!(!about("cannot listen on 0.0.0.0:80; see 8090"), "this one, too");
        assert!(!about("servers[1] is not served"), "no port at all");
        assert!(!is_about_others(taken, 8090, &ports));
    }
}
