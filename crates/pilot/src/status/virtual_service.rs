//! Status of VirtualServices: gateways and destinations that do not exist, hosts that no gateway serves,
//! server names that belong to others, and fields that are not served yet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidegate_api::istio::virtual_service::{
    Destination, HttpMatchRequest, HttpRoute, RouteDestination, without_share,
};
use tidegate_api::scalar::Port;
use tidegate_api::{Kind, ObjectKey};

use super::credentials::Lack;
use super::standing::{not_selected, this};
use super::{Findings, Force, View, delegate, gateway, reach, redirected};
use crate::Serves;
use crate::compile::claims;
use crate::compile::route::{is_final_status, redirect_status};
use crate::engine::RouteTable;
use crate::model::gateway::Gateway;
use crate::model::host::Host;
use crate::model::names;
use crate::model::rule::{Unmet, UnmetReason};
use crate::model::tls::client_credentials;
use crate::model::virtual_service::{VirtualService, is_served};

/// The reason of a condition where an EnvoyFilter takes routes away.
const REMOVED: &str = "Removed";

/// What is wrong with a VirtualService; `None` when no gateway of this process has to do with it.
pub(super) fn findings(key: &ObjectKey, view: View<'_>) -> Option<Findings> {
    let service = view.index.virtual_service(key)?;
    let mut findings = if service.hosts.is_empty() {
        delegate::findings(service, view)?
    } else {
        let mut findings = Findings::default();
        if !gateways(service, view, &mut findings) {
            return None;
        }
        unmet(service, view, &mut findings);
        findings
    };
    let lost: Vec<&str> = view.listeners.lost_by(key).collect();
    if findings.faults.is_empty() && findings.missing.is_empty() && lost.is_empty() {
        without_effect(service, view, &mut findings);
    }
    reach::tell(service, view, &mut findings);
    redirected::tell(service, view, &mut findings);
    let shadowed = view.shadows.of(key);
    for fault in shadowed.faults {
        findings.fault("Unreachable", fault);
    }
    for removed in view.patches.removals.of(key) {
        findings.fault(REMOVED, removed);
    }
    findings.advice.extend(shadowed.notes);
    destinations(service, view, &mut findings);
    for (number, rule) in service.http.iter().enumerate() {
        of_rule((number, rule), view, &mut findings);
        if let Some(fault) = no_action(rule, &service.hosts) {
            findings.fault("NotServed", format!("http[{number}]: {fault}"));
        }
    }
    without_shares(service, &mut findings);
    for lost in lost {
        findings.fault("Conflict", lost.to_owned());
    }
    Some(findings)
}

/// What a VirtualService sends to that is not there, has no endpoints, or is closed by a DestinationRule.
pub(super) fn destinations(service: &VirtualService, view: View<'_>, findings: &mut Findings) {
    let mut vacancies: Vec<(&str, Vec<String>)> = Vec::new();
    let mut shut: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (key, place, destination) in service.destinations() {
        let of = if *key == service.key { String::new() } else { format!("{key}: ") };
        if let Some(missing) = missing(&format!("{of}{place}"), destination, &key.namespace, view) {
            findings.missing.push(missing);
        } else if let Some(why) = vacant(destination, &key.namespace, view)
            && service.sends_to(destination)
        {
            // Said once, however many lead there.
            match vacancies.iter_mut().find(|(known, _)| *known == why) {
                Some((_, places)) => places.push(format!("{of}{place}")),
                None => vacancies.push((why, vec![format!("{of}{place}")])),
            }
        } else if let Some(why) = closed(destination, &key.namespace, view)
            && service.sends_to(destination)
        {
            shut.entry(why).or_default().push(format!("{of}{place}"));
        }
    }
    let shut = shut.into_iter();
    findings.closed.extend(
        shut.map(|(why, places)| {
            format!("{}: {why}; requests are answered 503", places.join(", "))
        }),
    );
    copies(service, view, findings);
    let told = vacancies.into_iter();
    findings.vacant.extend(
        told.map(|(why, places)| {
            format!("{}: {why}; requests are answered 503", places.join(", "))
        }),
    );
}

/// Tells of destinations without a weight beside others that have one.
pub(super) fn without_shares(service: &VirtualService, findings: &mut Findings) {
    let requests = service.http.iter().enumerate().map(|(r, rule)| {
        (format!("http[{r}]"), rule.route.iter().map(|to| to.weight).collect::<Vec<_>>())
    });
    let weights = |route: &[RouteDestination]| route.iter().map(|to| to.weight).collect::<Vec<_>>();
    let tls = service.tls.iter().enumerate();
    let tls = tls.map(|(r, rule)| (format!("tls[{r}]"), weights(&rule.route)));
    let tcp = service.tcp.iter().enumerate();
    let tcp = tcp.map(|(r, rule)| (format!("tcp[{r}]"), weights(&rule.route)));
    for (place, weights) in requests.chain(tls).chain(tcp) {
        findings.advice.extend(without_share(&weights).map(|number| {
            format!(
                "{place}.route[{number}]: there is no weight beside others that have one, and so it gets nothing, as with \
                 weight 0; write its weight"
            )
        }));
    }
}

/// What a rule for requests asks for and does not get.
pub(super) fn of_rule((r, rule): (usize, &HttpRoute), view: View<'_>, findings: &mut Findings) {
    for field in not_served(rule) {
        let fault = format!("http[{r}].{field} is not served yet; the rule acts without it");
        findings.fault("NotServed", fault);
    }
    for (path, fault) in rule.unfit() {
        let fault = format!("http[{r}].{path}: {fault}; requests are answered 500");
        findings.fault("NotServed", fault);
    }
    if let Some(wanted) = rule.redirect.as_ref()
        && redirect_status(wanted.redirect_code).is_none()
    {
        findings.fault("NotServed", format!(
            "http[{r}].redirect.redirectCode: {} is none of 301, 302, 303, 307 and 308; requests are \
             answered 500",
            wanted.redirect_code
        ));
    }
    if let Some(answer) = rule.direct_response.as_ref().filter(|a| !is_final_status(a.status)) {
        findings.fault("NotServed", format!(
            "http[{r}].directResponse.status: {} is no status of HTTP, which has 200 to 599; requests are answered 500",
            answer.status
        ));
    }
    for (m, condition) in rule.matches.iter().enumerate() {
        let place = format!("http[{r}].match[{m}]");
        if view.tokens.filter.is_none() {
            unknown_claims(&place, condition, findings);
        }
        if let Some((field, fault)) = condition.unfit() {
            let fault = format!("{place}.{field}: {fault}; the condition is never met");
            findings.fault("NotServed", fault);
        }
    }
}

/// Whether a VirtualService is in force: the listeners that it acts through, or why there is none.
pub(super) fn force(key: &ObjectKey, findings: Option<&Findings>, view: View<'_>) -> Force {
    let Some(service) = view.index.virtual_service(key) else { return Force::Whole };
    if service.hosts.is_empty() {
        return delegate::force(service, findings, view);
    }
    let through = listeners(service, view);
    if !through.is_empty() {
        if let Some(force) = redirected::force(service, view) {
            return force;
        }
        if view.shadows.hide(key) && !service.routes_connections() {
            let faults: Vec<String> = view.shadows.of(key).faults.into_iter().collect();
            let faults = faults.join("; ");
            return Force::nothing("Unreachable", format!("no rule gets a request: {faults}"));
        }
        let removed = view.patches.removals.of(key);
        if !removed.is_empty() && !view.shadows.leave(key) && !service.routes_connections() {
            let message = format!("no rule gets a request: {}", removed.join("; "));
            return Force::nothing(REMOVED, message);
        }
        return Force::Through(through);
    }
    if service.gateways.is_empty() {
        let message = "it names no Gateway, so that it is for sidecars, which serve it: a gateway that is to do so as well has to be \
                       named in gateways";
        return Force::nothing("NotSelected", message);
    }
    let missing: Vec<&Arc<str>> =
        service.gateways.iter().filter(|g| !view.index.knows_gateway(g)).collect();
    let selected = || service.gateways.iter().filter(|g| served(g, view).is_some());
    // Where none of its servers takes connections, the Gateway's own status says why.
    let closed: Vec<&Arc<str>> = selected().filter(|g| is_closed(g, view)).collect();
    if selected().count() > closed.len() {
        let faults = findings.map(|f| f.first_and_all().1).filter(|f| !f.is_empty());
        let message = faults.unwrap_or_else(|| {
            let gateways: Vec<&str> = selected().map(|g| &**g).collect();
            format!("none of its rules applies at a server of Gateway {}", gateways.join(", "))
        });
        Force::nothing("NotAttached", message)
    } else if let Some(first) = closed.first() {
        let message = format!("Gateway {first}: none of its servers is open; its status says why");
        Force::nothing("GatewayNotProgrammed", message)
    } else if let Some(why) = missing.iter().find_map(|gateway| refused(gateway, view)) {
        Force::nothing("GatewayNotProgrammed", why)
    } else if let Some(first) = missing.first() {
        Force::nothing("NoGateway", format!("there is no Gateway {first}"))
    } else {
        let gateways: Vec<&str> = service.gateways.iter().map(|g| &**g).collect();
        let message = format!("Gateway {}: {}", gateways.join(", "), not_selected(view));
        Force::nothing("NotSelected", message)
    }
}

/// The listeners that a VirtualService acts through.
pub(super) fn listeners(service: &VirtualService, view: View<'_>) -> Vec<Arc<str>> {
    let mut through = BTreeSet::new();
    for gateway in &service.gateways {
        for (table, listener) in view.listeners.tables_for(gateway, &service.hosts) {
            let table = view.tables.get(table).filter(|table| table.is_claimed_by(&service.key));
            let open =
                |table: &RouteTable| table.servers().iter().any(|s| gateway::accepts(s, view));
            if table.is_some_and(open) {
                through.insert(Arc::clone(listener));
            }
        }
        let carrying = view.listeners.plans_of(gateway);
        let carrying = carrying.filter(|plan| view.listeners.carries(&plan.name, &service.key));
        through.extend(carrying.map(|plan| Arc::clone(&plan.name)));
    }
    through.into_iter().collect()
}

/// Rules that no server of its gateways applies, where nothing else has been said about that.
fn without_effect(service: &VirtualService, view: View<'_>, findings: &mut Findings) {
    let served_here = |g: &Arc<str>| served(g, view).is_some();
    if service.in_mesh || !service.gateways.iter().all(served_here) {
        return; // Others may apply them.
    }
    let tables = || {
        let names = service.gateways.iter();
        let names = names.flat_map(|g| view.listeners.tables_for(g, &service.hosts).into_keys());
        names.filter_map(|name| view.tables.get(name))
    };
    let served = service.rules.iter().any(|rule| is_served(&rule.says, view.options));
    if served && !tables().any(|t| t.is_claimed_by(&service.key)) {
        findings.fault(
            "NotApplied",
            "http: none of the rules applies at a server that serves the hosts; it takes a server of \
             HTTP, or of HTTPS that is terminated, on the port and of the Gateway that the conditions name"
                .to_owned(),
        );
    }
    let carried = service.gateways.iter().any(|g| view.listeners.carry(g, &service.key));
    if service.routes_connections() && !carried {
        findings.fault(
            "NotApplied",
            "tls, tcp: none of the rules applies at a server that serves the hosts; tls rules take a server \
             with tls mode PASSTHROUGH, tcp rules one of TCP or of TLS that is terminated, on the port and of the Gateway that the conditions name"
                .to_owned(),
        );
    }
}

/// Tells of copies that go nowhere. What requests are answered depends on the route alone.
fn copies(service: &VirtualService, view: View<'_>, findings: &mut Findings) {
    for (key, place, destination) in service.mirrors() {
        let of = if *key == service.key { String::new() } else { format!("{key}: ") };
        let place = format!("{of}{place}");
        if let Some(missing) = missing(&place, destination, &key.namespace, view) {
            findings.missing.push(format!("{missing}; copies are dropped"));
        } else if let Some(why) = vacant(destination, &key.namespace, view) {
            findings.vacant.push(format!("{place}: {why}; copies are dropped"));
        } else if let Some(why) = closed(destination, &key.namespace, view) {
            findings.closed.push(format!("{place}: {why}; copies are dropped"));
        }
    }
}

/// Whether any gateway that it is bound to concerns this process.
pub(super) fn concerns(service: &VirtualService, view: View<'_>) -> bool {
    gateways(service, view, &mut Findings::default())
}

/// Tells of rules of delegates that do not apply.
pub(super) fn unmet(service: &VirtualService, view: View<'_>, findings: &mut Findings) {
    for unmet in &service.unmet {
        match unmet.reason {
            UnmetReason::Missing => findings.missing.push(missed(unmet, view)),
            UnmetReason::Hidden | UnmetReason::HasHosts => {
                findings.missing.push(unmet.to_string());
            }
            UnmetReason::Chained(_) | UnmetReason::Contradicts(..) => {
                findings.fault(delegate::reason(&unmet.reason), unmet.to_string());
            }
        }
    }
}

/// What is told of a delegate that there is not, or of which there never was a good form.
pub(crate) fn missed(unmet: &Unmet, view: View<'_>) -> String {
    let Unmet { number, delegate, .. } = unmet;
    if view.problems.contains_key(delegate) {
        return format!(
            "http[{number}].delegate: the form of {delegate} is refused, and there is none from before: its status says what is \
             wrong; the rule takes no requests"
        );
    }
    let meant = view.index.delegate_meant(delegate);
    let meant = meant.map_or_else(String::new, |meant| format!("; did you mean {meant}?"));
    format!("{unmet}{meant}")
}

/// Looks at the gateways that it is bound to, and answers whether any concerns this process: one that is
/// served here, or one that nobody has.
fn gateways(service: &VirtualService, view: View<'_>, findings: &mut Findings) -> bool {
    let mut concerned = false;
    for gateway in &service.gateways {
        let (namespace, name) = gateway.split_once('/').unwrap_or(("", gateway));
        if !view.index.knows_gateway(gateway) {
            concerned = true;
            let meant = || view.index.gateway_meant(gateway);
            let meant = || meant().map_or_else(String::new, |m| format!("; did you mean {m}?"));
            findings.missing.push(match refused(gateway, view) {
                Some(why) => format!("gateways: {why}"),
                None => format!("gateways: no Gateway {name} in namespace {namespace}{}", meant()),
            });
            continue;
        }
        let Some(served) = served(gateway, view) else { continue };
        concerned = true;
        if service.order.is_none() {
            let fault = format!(
                "exportTo hides this from namespace {}, where Gateway {gateway} is served",
                view.options.namespace
            );
            findings.fault("Hidden", fault);
            continue;
        }
        let own = &service.key.namespace;
        if !served.hosts.overlaps(&service.hosts, own) {
            let hosts: Vec<&str> = service.hosts.iter().map(Host::as_str).collect();
            let open: Vec<String> = served
                .servers
                .iter()
                .flat_map(|s| s.hosts.iter())
                .map(|h| match &h.namespace {
                    Some(namespace) => format!("{namespace}/{}", h.host),
                    None => h.host.to_string(),
                })
                .collect();
            let (hosts, open) = (hosts.join(", "), open.join(", "));
            if view.index.is_unlisted(service) {
                findings.advice.push(format!(
                    "hosts: Gateway {gateway} lists {open}, not {hosts}; as nothing else here has them for its own, they are \
                     answered at its servers of plain HTTP. Istio does not route them there: add them to its servers[].hosts"
                ));
                continue;
            }
            let keeper = view.index.keeper(service).map_or_else(String::new, |server| {
                format!(
                    "; {} of {} has them or one of them, and a rule has to name the Gateway that lists its host",
                    server.place(),
                    server.key
                )
            });
            findings.fault(
                "HostNotServed",
                format!(
                    "none of the hosts {hosts} is served by Gateway {gateway}, which serves {open}{keeper}"
                ),
            );
        }
    }
    concerned
}

/// What is told of a Gateway that there is, and of which there never was a good form.
fn refused(gateway: &str, view: View<'_>) -> Option<String> {
    let (namespace, name) = gateway.split_once('/')?;
    let key = ObjectKey::new(Kind::Gateway, namespace, name);
    view.problems.contains_key(&key).then(|| {
        format!("the form of {key} is refused, and there is none from before: its status says what is wrong")
    })
}

/// Whether no server of a Gateway has a listener, and certificates where it needs them.
fn is_closed(gateway: &str, view: View<'_>) -> bool {
    let mut servers = served(gateway, view).into_iter().flat_map(|gateway| &gateway.servers);
    view.listeners.plans_of(gateway).next().is_none()
        || !servers.any(|server| gateway::accepts(server, view))
}

/// A Gateway that this process serves, by `NAMESPACE/NAME`.
pub(super) fn served<'a>(gateway: &str, view: View<'a>) -> Option<&'a Gateway> {
    let (namespace, name) = gateway.split_once('/')?;
    view.index.gateway(&ObjectKey::new(Kind::Gateway, namespace, name))
}

/// Why a destination does not lead anywhere; `None` when it does.
fn missing(
    place: &str,
    destination: &Destination,
    namespace: &str,
    view: View<'_>,
) -> Option<String> {
    absent(destination, namespace, view).map(|why| format!("{place}: {why}"))
}

/// Why a destination that there is has no endpoints; `None` where it has some.
fn vacant<'a>(destination: &Destination, namespace: &str, view: View<'a>) -> Option<&'a str> {
    let Destination { host, subset, .. } = destination;
    let clusters = view.vacant.get(&**host)?;
    let port = port_of(destination, namespace, view)?;
    clusters.get(&*names::cluster(host, subset, port)).map(String::as_str)
}

/// Why no connection to a destination that there is can be made; `None` where one can, as far as is known here.
fn closed(destination: &Destination, namespace: &str, view: View<'_>) -> Option<String> {
    let Destination { host, subset, .. } = destination;
    let port = port_of(destination, namespace, view)?;
    let (definition, _) = view.registry.ports(host).remove(&port)?;
    let rules = view.rules.find(host, Some(&definition.key.namespace), view.options)?;
    let settings = rules.policy_for(port, rules.subset(subset)).tls?;
    let credentials = client_credentials(settings, view.options);
    let mut lacks = credentials.iter().filter_map(|credential| Lack::of(credential, view));
    let lack = lacks.find(|lack| lack.serves == Serves::Nothing)?;
    let (rule, path) = rules.place_of_tls(port, subset)?;
    Some(format!("no connection to host {host} is made, by {path} of {rule}: {}", lack.words))
}

/// The port of a destination that there is.
fn port_of(destination: &Destination, namespace: &str, view: View<'_>) -> Option<u16> {
    let written = destination.port_number().map(Port::get);
    written.or_else(|| {
        let found = view.registry.find(&destination.host, namespace)?;
        found.ports.first().map(|port| port.number)
    })
}

/// What there is not of a destination that a route of `namespace` names; `None` where all is there.
pub(crate) fn absent(destination: &Destination, namespace: &str, view: View<'_>) -> Option<String> {
    let host = &destination.host;
    let Some(found) = view.registry.find(host, namespace) else {
        return Some(format!("host {host} not found: {}", looked_for(host, view)));
    };
    let port = port_of(destination, namespace, view).and_then(|port| found.port(port));
    if let Some(help) = port.and_then(|port| found.kept_address(port)) {
        return Some(format!("{} for host {host}: {help}", found.key));
    }
    if !destination.subset.is_empty()
        && let Some(why) = missing_subset(destination, &found.key.namespace, view)
    {
        return Some(format!("subset {} of host {host} not found: {why}", destination.subset));
    }
    let ports = view.registry.ports(host);
    match destination.port_number() {
        Some(port) if !ports.contains_key(&port.get()) => {
            let has: Vec<String> = ports.keys().map(ToString::to_string).collect();
            let has = if has.is_empty() { "no port".to_owned() } else { has.join(", ") };
            Some(format!("host {host} has no port {port}; {} has {has}", found.key))
        }
        None if found.ports.is_empty() => {
            Some(format!("host {host} has no port; {} defines none", found.key))
        }
        None if found.ports.len() > 1 => {
            Some(format!("host {host} has several ports; say which in port.number"))
        }
        _ => None,
    }
}

/// Why a subset is not there, of a host that a service of `namespace` defines.
fn missing_subset(destination: &Destination, namespace: &str, view: View<'_>) -> Option<String> {
    let host = &destination.host;
    let Some(rules) = view.rules.find(host, Some(namespace), view.options) else {
        return Some(format!(
            "no DestinationRule that this {} sees is for {host}; one has to define it in subsets",
            this(view)
        ));
    };
    if rules.subset(&destination.subset).is_some() {
        return None;
    }
    let named: Vec<String> = rules.rules().map(|rule| rule.key.to_string()).collect();
    let there: Vec<&str> = rules.subsets().map(|subset| &*subset.name).collect();
    let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
    Some(format!("there is {there}, in {}", named.join(" and ")))
}

/// What was looked for in place of a host, and where.
fn looked_for(host: &str, view: View<'_>) -> String {
    let this = this(view);
    if let Some(hidden) = view.registry.hidden(host).next() {
        let own = &view.options.namespace;
        return format!(
            "{hidden} has it, and exportTo there hides it from namespace {own}, where the {this} is"
        );
    }
    if let Some(meant) = meant_service(host, view) {
        return meant;
    }
    let entry = format!("no ServiceEntry that this {this} sees has that host");
    let suffix = format!(".svc.{}", view.options.domain);
    match host.strip_suffix(&suffix).and_then(|rest| rest.split_once('.')) {
        Some((name, namespace)) => {
            format!("there is no Service {name} in namespace {namespace}, and {entry}")
        }
        None => entry,
    }
}

/// The Service that was most likely meant by a name that configuration takes as it stands.
pub(super) fn meant_service(host: &str, view: View<'_>) -> Option<String> {
    let full = names::lengthened(host, &view.options.domain)?;
    view.registry.definitions(&full).next()?;
    Some(format!("a name with a dot means itself, and not a Service: write {full} for the one"))
}

/// Claims of a JWT that a condition asks for, where nobody verifies any.
fn unknown_claims(place: &str, condition: &HttpMatchRequest, findings: &mut Findings) {
    for (wanted, name) in claims::asked(condition) {
        let (field, so) = match wanted {
            true => ("headers", "the condition never holds"),
            false => ("withoutHeaders", "this part always holds"),
        };
        findings.fault(
            "NotServed",
            format!(
                "{place}.{field}[{name}]: no RequestAuthentication for this gateway says whose JWTs are verified, so that no claim \
                 is known and {so}"
            ),
        );
    }
}

/// Fields of a rule that have no effect yet.
fn not_served(rule: &HttpRoute) -> impl Iterator<Item = &'static str> {
    let remote = rule.retries.as_ref().is_some_and(|r| r.retry_remote_localities == Some(true));
    let fields = [
        ("retries.retryRemoteLocalities", remote),
        ("match[].statPrefix", rule.matches.iter().any(|m| !m.stat_prefix.is_empty())),
    ];
    fields.into_iter().filter_map(|(name, used)| used.then_some(name))
}

/// Why a rule takes no requests at all at a gateway; in a sidecar it limits those that go to the service of its host.
fn no_action(rule: &HttpRoute, hosts: &[Host]) -> Option<String> {
    let known = hosts.iter().find(|host| !host.is_wildcard());
    let such = known.map_or_else(String::new, |host| {
        format!(", such as route: [{{destination: {{host: {host}}}}}]")
    });
    let help = || {
        format!("a gateway has no default route that the rule could limit; give it a route{such}")
    };
    rule.keeps_default_route().then(help)
}
