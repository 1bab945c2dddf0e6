//! What stands in for a virtual host that is refused.
//!
//! No request is served that the newest form would not let in: which domains it has and what it asks of requests on them
//! (client certificates, TLS) holds at once, whatever is wrong with its routes. Within that, what was good before serves on:
//!
//! * A route that is refused, but says which requests it takes, costs itself alone. Its last good form serves on; where
//!   there is none, these requests are answered 500.
//! * Where not even that is known, all the routes of the last good form serve on.
//! * Where these cannot stand for the newest form, its domains are closed (503) rather than left to an old form, or to a
//!   wider domain of another virtual host, that asks less.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use tidegate_envoy::prost::{DecodeError, Message, Name as _};
use tidegate_envoy::type_name;
use tidegate_envoy::v3::cors::CorsPolicy;
use tidegate_envoy::v3::fault::HttpFault;
use tidegate_envoy::v3::route::route::Action;
use tidegate_envoy::v3::route::{DirectResponseAction, Route, VirtualHost as Proto};

use crate::route::VirtualHost;

use super::refusal::Refusal;
use super::split::{join_virtual_host, split_virtual_host};

/// Status of requests for a virtual host none of whose forms can be served.
const CLOSED: u16 = 503;
/// Status of requests for a route none of whose forms can be served.
const BROKEN: u32 = 500;

/// What [`mended`] makes of a virtual host: the form that can be served, and what is wrong with the one that came.
pub(super) type Mended = (Bytes, Vec<Refusal>);

/// A virtual host that `refusals` were said of, with something that can be served in place of each route that is refused.
///
/// # Errors
/// More than single routes is wrong: what decides that.
pub(super) fn mended(
    newest: &Bytes,
    good: Option<&Bytes>,
    refusals: Vec<Refusal>,
    mut compile: impl FnMut(&Bytes) -> Result<(), Vec<Refusal>>,
) -> Result<Mended, Vec<Refusal>> {
    let Ok((around, routes)) = split_virtual_host(newest) else { return Err(refusals) };
    let old = good.and_then(|good| by_match(good).ok()).unwrap_or_default();
    let mut kept = Vec::with_capacity(routes.len());
    let mut faults = Vec::new();
    for (number, form) in routes.into_iter().enumerate() {
        let mut alone =
            |form: &Bytes| compile(&join_virtual_host(&around, std::slice::from_ref(form)));
        let Err(refused) = alone(&form) else {
            kept.push(form);
            continue;
        };
        let refused: Vec<_> =
            refused.into_iter().map(|refusal| renumbered(refusal, number)).collect();
        let instead = Route::decode(form).ok().and_then(|route| {
            let before = old.get(&requests_of(&route)).filter(|_| asks_nothing(&route)).cloned();
            let answer = Bytes::from(broken(route).encode_to_vec());
            before.into_iter().chain([answer]).find(|form| alone(form).is_ok())
        });
        let Some(instead) = instead else { return Err(refused) };
        kept.push(instead);
        faults.extend(refused);
    }
    if faults.is_empty() { Err(refusals) } else { Ok((join_virtual_host(&around, &kept), faults)) }
}

/// The routes of a good form, by which requests they take and for whom. Those that ask something of requests themselves are
/// not among them: a newer form may ask more.
fn by_match(good: &Bytes) -> Result<HashMap<Vec<u8>, Bytes>, DecodeError> {
    let (_, routes) = split_virtual_host(good)?;
    let mut old = HashMap::with_capacity(routes.len());
    for form in routes {
        let route = Route::decode(form.clone())?;
        if asks_nothing(&route) {
            old.insert(requests_of(&route), form);
        }
    }
    Ok(old)
}

/// Which requests a route takes, and for whom.
fn requests_of(route: &Route) -> Vec<u8> {
    let (r#match, metadata) = (route.r#match.clone(), route.metadata.clone());
    Route { r#match, metadata, ..Route::default() }.encode_to_vec()
}

/// Whether a route lets in whom the hosts around it let in. Faults, and whose scripts may read answers, keep nobody out.
fn asks_nothing(route: &Route) -> bool {
    let harmless = [HttpFault::full_name(), CorsPolicy::full_name()];
    let mut own = route.typed_per_filter_config.values();
    own.all(|any| harmless.iter().any(|name| type_name(&any.type_url) == name))
}

/// A route for the same requests that answers all of them.
fn broken(route: Route) -> Route {
    Route {
        name: route.name,
        r#match: route.r#match,
        metadata: route.metadata,
        typed_per_filter_config: route.typed_per_filter_config,
        action: Some(Action::DirectResponse(DirectResponseAction {
            status: BROKEN,
            ..DirectResponseAction::default()
        })),
        ..Route::default()
    }
}

/// A refusal of a virtual host's only route, as that of the one with this number.
fn renumbered(refusal: Refusal, number: usize) -> Refusal {
    match refusal.path.strip_prefix("routes[0]") {
        Some(rest) => Refusal { path: format!("routes[{number}]{rest}"), ..refusal },
        None => refusal,
    }
}

/// The newest form of a virtual host with the routes of the last good one. `None` where these do not stand for it: for
/// domains that are new to them, and where routes ask something of requests themselves. A form that does not even decode
/// asks for nothing: the last good one serves on.
pub(super) fn old_routes(newest: &Bytes, good: &Bytes) -> Option<Bytes> {
    let Ok(new) = Proto::decode(newest.clone()) else { return Some(good.clone()) };
    let old = Proto::decode(good.clone()).ok()?;
    let known: HashSet<Box<str>> = domains(&old).collect();
    let mut routes = new.routes.iter().chain(&old.routes);
    if !domains(&new).all(|domain| known.contains(&domain)) || !routes.all(asks_nothing) {
        return None;
    }
    let (around, _) = split_virtual_host(newest).ok()?;
    let (_, routes) = split_virtual_host(good).ok()?;
    Some(join_virtual_host(&around, &routes))
}

/// The domains of a virtual host, closed; `None` where it does not even say which these are.
pub(super) fn closed(newest: &Bytes) -> Option<Arc<VirtualHost>> {
    let proto = Proto::decode(newest.clone()).ok()?;
    let mut known = HashSet::new();
    let domains: Vec<_> = domains(&proto).filter(|domain| known.insert(domain.clone())).collect();
    let host = VirtualHost::answering(proto.name.as_str().into(), domains, CLOSED);
    (!host.domains.is_empty()).then(|| Arc::new(host))
}

fn domains(proto: &Proto) -> impl Iterator<Item = Box<str>> {
    proto.domains.iter().map(|domain| domain.to_ascii_lowercase().into_boxed_str())
}
