//! Virtual hosts: the routes that one or more hosts share.

use std::collections::{BTreeMap, HashSet};

use bytes::{Bytes, BytesMut};
use tidegate_envoy::prost::Message;
use tidegate_envoy::v3::route::route::Action;
use tidegate_envoy::v3::route::route_match::TlsContextMatchOptions;
use tidegate_envoy::v3::route::virtual_host::TlsRequirementType;
use tidegate_envoy::v3::route::{
    DirectResponseAction, Route, RouteConfiguration, RouteMatch, VirtualHost,
};

use super::{Context, matches, rbac, route};
use crate::model::merge::Uncertified;
use crate::model::virtual_service::{Place, VirtualService, applies, is_served};
use crate::sidecar::routes::Onward;

/// Field number of `routes` in `envoy.config.route.v3.VirtualHost`.
const ROUTES: u32 = 3;

/// `MaxDirectResponseBodySizeBytes` of Istio: 1 MiB, where Envoy's default is 4 KiB.
const MAX_DIRECT_RESPONSE_BODY: u32 = 1 << 20;

/// A route, encoded, with what its place in the virtual host depends on.
#[derive(Debug)]
pub struct EncodedRoute {
    bytes: Vec<u8>,
    catch_all: bool,
    /// Which requests it takes.
    pub matched: RouteMatch,
    /// Which of the rules that apply it is.
    pub rule: usize,
    /// Under which of the rule's conditions; `None` for a rule without any.
    pub condition: Option<usize>,
}

impl EncodedRoute {
    /// Whether it takes every request. Such routes are tried last.
    #[must_use]
    pub fn is_catch_all(&self) -> bool {
        self.catch_all
    }
}

/// The routes that a VirtualService has at a place, in its own order; rules that only limit requests send them `onward`. What follows a rule that takes every request can never be reached, and is left out.
#[must_use]
pub fn routes(
    service: &VirtualService,
    place: &Place,
    onward: Option<&Onward>,
    context: &Context<'_>,
) -> Vec<EncodedRoute> {
    let mut routes = Vec::new();
    for (r, rule) in
        service.rules.iter().enumerate().filter(|(_, rule)| is_served(&rule.says, context.options))
    {
        let conditions = rule.conditions();
        for (number, condition) in
            conditions.filter(|(_, c)| c.is_none_or(|c| applies(c, place, context.options)))
        {
            let route = route::route(rule, condition, (service, onward), place, context);
            let bytes = route.encode_to_vec();
            let matched = route.r#match.unwrap_or_default();
            let catch_all = matches::is_catch_all(&matched);
            routes.push(EncodedRoute { bytes, catch_all, matched, rule: r, condition: number });
            if catch_all {
                return routes;
            }
        }
    }
    routes
}

/// The rules of a VirtualService, and their conditions, that apply at a place and are none of its `routes` there.
#[must_use]
pub fn unreached(
    service: &VirtualService,
    place: &Place,
    routes: &[EncodedRoute],
    context: &Context<'_>,
) -> Vec<(usize, Option<usize>)> {
    let there: HashSet<_> = routes.iter().map(|r| (r.rule, r.condition)).collect();
    let served =
        service.rules.iter().enumerate().filter(|(_, rule)| is_served(&rule.says, context.options));
    let all = served.flat_map(|(r, rule)| rule.conditions().map(move |(n, c)| ((r, n), c)));
    let here = all.filter(|(_, c)| c.is_none_or(|c| applies(c, place, context.options)));
    here.map(|(at, _)| at).filter(|at| !there.contains(at)).collect()
}

/// What is asked of requests before they are routed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Demands {
    /// Requests in plain text are redirected to https.
    pub tls: bool,
    /// A verified client certificate: how requests without one are answered.
    pub client_certificate: Option<Uncertified>,
}

impl Demands {
    /// How many routes that nobody wrote stand before all others.
    #[must_use]
    pub fn routes_before(&self) -> usize {
        usize::from(self.client_certificate == Some(Uncertified::Misdirected))
    }
}

/// A virtual host: `domains` go to `routes`, those that take every request last.
#[must_use]
pub fn virtual_host(
    name: &str,
    domains: Vec<String>,
    demands: Demands,
    routes: &[&EncodedRoute],
) -> Bytes {
    let require_tls = if demands.tls { TlsRequirementType::All } else { TlsRequirementType::None };
    let host = VirtualHost {
        name: name.to_owned(),
        domains,
        require_tls: require_tls.into(),
        include_request_attempt_count: true,
        typed_per_filter_config: match demands.client_certificate {
            Some(_) => rbac::with_certificate(),
            None => BTreeMap::new(),
        },
        ..VirtualHost::default()
    };
    let mut bytes = BytesMut::from(&*host.encode_to_vec());
    if demands.client_certificate == Some(Uncertified::Misdirected) {
        tidegate_xds::assemble::append_message(ROUTES, &elsewhere(), &mut bytes);
    }
    for catch_all in [false, true] {
        for route in routes.iter().filter(|r| r.catch_all == catch_all) {
            tidegate_xds::assemble::append_message(ROUTES, &route.bytes, &mut bytes);
        }
    }
    if demands.client_certificate.is_some() {
        let last = answer_without_certificate(404);
        tidegate_xds::assemble::append_message(ROUTES, &last.encode_to_vec(), &mut bytes);
    }
    bytes.freeze()
}

/// The first route of a host that demands a certificate, where connections come that name another server and were not asked for
/// one: their clients are sent to connect anew. Who names no server would be asked no more there, and is turned away by the
/// route's rules.
fn elsewhere() -> Vec<u8> {
    let route = answer_without_certificate(421);
    Route { typed_per_filter_config: rbac::with_name(), ..route }.encode_to_vec()
}

/// A route for clients that show no certificate. As the last one of a host that demands one, it has who shows none turned away
/// also where no other route takes the request, since what is asked of clients is asked on routes. Who shows one is answered as
/// everywhere: there is no route.
fn answer_without_certificate(status: u16) -> Route {
    let asked = TlsContextMatchOptions { presented: Some(false), validated: None };
    let condition = RouteMatch { tls_context: Some(asked), ..matches::any() };
    Route { r#match: Some(condition), ..answer(status) }
}

/// A virtual host that answers every request with a status. Without routes that is 404.
#[must_use]
pub fn fixed(name: &str, domains: Vec<String>, status: u16) -> VirtualHost {
    VirtualHost {
        name: name.to_owned(),
        domains,
        routes: if status == 404 { Vec::new() } else { vec![answer(status)] },
        ..VirtualHost::default()
    }
}

/// A route that answers every request with a status.
fn answer(status: u16) -> Route {
    Route {
        r#match: Some(matches::any()),
        action: Some(Action::DirectResponse(DirectResponseAction {
            status: status.into(),
            ..DirectResponseAction::default()
        })),
        ..Route::default()
    }
}

/// A route configuration without its virtual hosts.
#[must_use]
pub fn skeleton(name: &str) -> RouteConfiguration {
    RouteConfiguration {
        name: name.to_owned(),
        ignore_port_in_host_matching: true,
        max_direct_response_body_size_bytes: Some(MAX_DIRECT_RESPONSE_BODY),
        ..RouteConfiguration::default()
    }
}
