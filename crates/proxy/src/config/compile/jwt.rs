//! The filter of tokens.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tidegate_envoy::v3::core::http_uri::HttpUpstreamType;
use tidegate_envoy::v3::core::{DataSource, HttpUri, RetryPolicy};
use tidegate_envoy::v3::jwt::jwt_provider::JwksSourceSpecifier;
use tidegate_envoy::v3::jwt::jwt_requirement::RequiresType;
use tidegate_envoy::v3::jwt::per_route_config::RequirementSpecifier;
use tidegate_envoy::v3::jwt::requirement_rule::RequirementType;
use tidegate_envoy::v3::jwt::{
    JwtAuthentication, JwtClaimToHeader, JwtProvider, JwtRequirement, PerRouteConfig, RemoteJwks,
    RequirementRule,
};

use crate::config::refusal::{Refusal, Within, each};
use crate::filter::jwt::remote::{Origin, Retries};
use crate::filter::jwt::{
    Audiences, Jwt, KeySet, Keys, Locations, OnRoute, Place, Provider, Requirement, Rule, Spare,
    Uses,
};

use super::header::writable;
use super::matching::{route_match, text};
use super::value::{data, header_name, header_value, positive, present, required};
use super::{Links, noted};

/// How far clocks may differ where nothing is said, as in Envoy.
const DEFAULT_SKEW: u64 = 60;
/// Tokens that a worker keeps where it is to keep some and not how many, and how long they may be, as in Envoy.
const DEFAULT_CACHE: (u32, u32) = (100, 4096);
/// Most tokens that a worker keeps of a provider.
const MAX_CACHE: u32 = 10_000;
/// Most bytes of keys in a file or in the message, before they are read.
const MAX_DATA: usize = 2 * 1024 * 1024;
/// How long fetched keys are good where nothing is said, and how long it takes until keys are fetched again that could not be,
/// as in Envoy.
const DEFAULT_KEEP: Duration = Duration::from_secs(600);
const DEFAULT_AGAIN: Duration = Duration::from_secs(1);
/// Keys are fetched no more often than this.
const LEAST_KEEP: Duration = Duration::from_secs(1);
/// The first pause before a fetch is attempted again where nothing is said, and how many times that the longest is, as in
/// Envoy.
const DEFAULT_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: u32 = 10;
/// Most attempts of a fetch after the first.
const MAX_RETRIES: u32 = 10;

/// The filter, in the connection manager with a prefix of statistics.
pub(super) fn jwt(
    proto: &JwtAuthentication,
    manager: &str,
    links: &mut impl Links,
) -> Result<Jwt, Refusal> {
    let names: Vec<&str> = proto.providers.keys().map(String::as_str).collect();
    let mut providers = Vec::with_capacity(names.len());
    let whole = proto;
    for (name, proto) in &proto.providers {
        let field = format!("providers[{name:?}]");
        let counted = (manager, whole.stat_prefix.as_str());
        providers.push(noted(links, &field, |links| provider(proto, counted, links))?);
    }
    let mut named = BTreeMap::new();
    for (name, proto) in &proto.requirement_map {
        let needs = requirement(proto, &names).within(&format!("requirement_map[{name:?}]"))?;
        named.insert(name.as_str().into(), needs);
    }
    let rules = each("rules", &proto.rules, |proto| rule(proto, &names, &named))?;
    Ok(Jwt {
        everywhere: Locations::all(providers.iter().map(|provider| &provider.locations)),
        providers,
        rules,
        named,
        bypass_preflight: proto.bypass_cors_preflight,
        silent: proto.strip_failure_response,
        stat_prefix: proto.stat_prefix.as_str().into(),
    })
}

fn rule(
    proto: &RequirementRule,
    providers: &[&str],
    named: &BTreeMap<Box<str>, Requirement>,
) -> Result<Rule, Refusal> {
    let of = present("match", proto.r#match.as_ref())?;
    if of.runtime_fraction.is_some() || !of.dynamic_metadata.is_empty() {
        return Err(Refusal::of(
            "match",
            "a rule asks for a path, headers and query parameters only",
        ));
    }
    let needs = match &proto.requirement_type {
        None => Requirement::Nothing,
        Some(RequirementType::Requires(proto)) => {
            requirement(proto, providers).within("requires")?
        }
        Some(RequirementType::RequirementName(name)) => {
            let found = named.get(name.as_str());
            let unknown = || {
                Refusal::of("requirement_name", format_args!("{name:?} is not in requirement_map"))
            };
            found.cloned().ok_or_else(unknown)?
        }
    };
    Ok(Rule { of: route_match(of).within("match")?, needs })
}

fn requirement(proto: &JwtRequirement, providers: &[&str]) -> Result<Requirement, Refusal> {
    let of = |field: &str, name: &str| {
        let number = providers.iter().position(|known| *known == name);
        number.ok_or_else(|| Refusal::of(field, format_args!("there is no provider {name:?}")))
    };
    let several = |field: &str, list: &[JwtRequirement]| {
        if list.len() < 2 {
            return Err(Refusal::of("requirements", "must have two entries at least"))
                .within(field);
        }
        each("requirements", list, |proto| requirement(proto, providers)).within(field)
    };
    Ok(match &proto.requires_type {
        None => Requirement::Nothing,
        Some(RequiresType::ProviderName(name)) => Requirement::Of(of("provider_name", name)?, None),
        Some(RequiresType::ProviderAndAudiences(proto)) => {
            let number =
                of("provider_name", &proto.provider_name).within("provider_and_audiences")?;
            let own = (!proto.audiences.is_empty()).then(|| audiences(&proto.audiences));
            Requirement::Of(number, own)
        }
        Some(RequiresType::RequiresAll(all)) => {
            Requirement::All(several("requires_all", &all.requirements)?)
        }
        Some(RequiresType::RequiresAny(any)) => any_of(several("requires_any", &any.requirements)?),
        Some(RequiresType::AllowMissing(())) => Requirement::Spared(Spare::Missing),
        Some(RequiresType::AllowMissingOrFailed(())) => Requirement::Spared(Spare::Failed),
        Some(RequiresType::ExtractOnlyWithoutValidation(_)) => {
            return Err(Refusal::of(
                "extract_only_without_validation",
                "what nobody has verified is not used; use allow_missing_or_failed",
            ));
        }
    })
}

/// What spares a request the others counts when none of them is met, wherever it stands among them.
fn any_of(parts: Vec<Requirement>) -> Requirement {
    let spared = |part: &Requirement| match part {
        Requirement::Spared(spare) => Some(*spare),
        _ => None,
    };
    let mut spares = parts.iter().filter_map(spared);
    let first = spares.next();
    let spare =
        if spares.any(|spare| spare == Spare::Failed) { Some(Spare::Failed) } else { first };
    let others: Vec<_> = parts.into_iter().filter(|part| spared(part).is_none()).collect();
    match spare {
        Some(spare) if others.is_empty() => Requirement::Spared(spare),
        spare => Requirement::Any(others, spare),
    }
}

fn audiences(names: &[String]) -> Audiences {
    Audiences::new(names.iter().map(String::as_str))
}

/// A provider. Its fetches count as those of a filter with two prefixes: of its connection manager, and its own.
fn provider(
    proto: &JwtProvider,
    counted: (&str, &str),
    links: &mut impl Links,
) -> Result<Provider, Refusal> {
    let longest = match &proto.max_lifetime {
        Some(_) => Some(positive("max_lifetime", proto.max_lifetime.as_ref(), Duration::MAX)?),
        None => proto.require_expiration.then_some(Duration::MAX),
    };
    let subjects = proto.subjects.as_ref().map(text).transpose().within("subjects")?;
    let keys = match &proto.jwks_source_specifier {
        Some(JwksSourceSpecifier::LocalJwks(source)) => {
            noted(links, "local_jwks", |links| local(source, links))?
        }
        Some(JwksSourceSpecifier::RemoteJwks(remote)) => {
            let origin = origin(remote).within("remote_jwks")?;
            Keys::Fetched(links.keys(origin).used_by(counted.0, counted.1))
        }
        None => return Err(Refusal::new("one of local_jwks and remote_jwks must be set")),
    };
    let cache = proto.jwt_cache_config.as_ref().map_or((0, 0), |cache| {
        let or = |set: u32, default| if set == 0 { default } else { set };
        let size = or(cache.jwt_cache_size, DEFAULT_CACHE.0).min(MAX_CACHE);
        (size as usize, or(cache.jwt_max_token_size, DEFAULT_CACHE.1) as usize)
    });
    Ok(Provider {
        issuer: proto.issuer.as_str().into(),
        audiences: audiences(&proto.audiences),
        subjects,
        longest,
        skew: match proto.clock_skew_seconds {
            0 => DEFAULT_SKEW,
            seconds => seconds.into(),
        },
        keys,
        locations: locations(proto)?,
        uses: uses(proto)?,
        cache,
    })
}

/// Keys of a set. What is wrong with it takes down the tokens of this issuer alone: it is told, and they are refused.
fn local(source: &DataSource, links: &mut impl Links) -> Result<Keys, Refusal> {
    let text = data(source, MAX_DATA)?;
    match KeySet::parse(&text) {
        Ok(set) => {
            for why in &set.left_out {
                links.notice(Refusal::new(format_args!("a key is left out: {why}")));
            }
            Ok(Keys::Here(Arc::new(set)))
        }
        Err(why) => {
            let reason =
                format_args!("this is no key set: {why}; tokens of this provider are refused");
            links.notice(Refusal::new(reason));
            Ok(Keys::None)
        }
    }
}

/// Where keys are fetched, and how.
fn origin(proto: &RemoteJwks) -> Result<Origin, Refusal> {
    let at = present("http_uri", proto.http_uri.as_ref())?;
    let keep = positive("cache_duration", proto.cache_duration.as_ref(), DEFAULT_KEEP)?;
    let again = |proto: &tidegate_envoy::v3::jwt::JwksAsyncFetch| {
        let set = proto.failed_refetch_duration.as_ref();
        positive("failed_refetch_duration", set, DEFAULT_AGAIN).within("async_fetch")
    };
    let (cluster, timeout) = reached(at).within("http_uri")?;
    Ok(Origin {
        uri: uri(&at.uri).map_err(|why| Refusal::of("http_uri.uri", why))?,
        cluster: cluster.into(),
        timeout,
        keep: keep.max(LEAST_KEEP),
        unasked: proto.async_fetch.as_ref().map(again).transpose()?,
        retries: retries(proto.retry_policy.as_ref()).within("retry_policy")?,
    })
}

/// The cluster that an address is asked for through, and how long that may take.
fn reached(proto: &HttpUri) -> Result<(&str, Duration), Refusal> {
    let Some(HttpUpstreamType::Cluster(cluster)) = &proto.http_upstream_type else {
        return Err(Refusal::of("cluster", "must be set"));
    };
    let limit = present("timeout", proto.timeout.as_ref())?;
    Ok((required("cluster", cluster)?, positive("timeout", Some(limit), Duration::MAX)?))
}

/// An address that keys can be at. One without a path is that of `/`.
fn uri(text: &str) -> Result<http::Uri, String> {
    let uri: http::Uri = text.parse().map_err(|error| format!("{text:?} is no URI: {error}"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(format!("{text:?} must begin with http:// or https://"));
    }
    match uri.authority() {
        Some(authority) if !authority.as_str().contains('@') => Ok(uri),
        _ => Err(format!("{text:?} must name a host, without a user")),
    }
}

fn retries(proto: Option<&RetryPolicy>) -> Result<Retries, Refusal> {
    let Some(proto) = proto else {
        let longest_pause = DEFAULT_PAUSE * LONGEST_PAUSE;
        return Ok(Retries { most: 0, pause: DEFAULT_PAUSE, longest_pause });
    };
    let back_off = proto.retry_back_off.unwrap_or_default();
    let pause = positive("base_interval", back_off.base_interval.as_ref(), DEFAULT_PAUSE);
    let pause = pause.within("retry_back_off")?;
    let longest = pause.saturating_mul(LONGEST_PAUSE);
    let longest = positive("max_interval", back_off.max_interval.as_ref(), longest);
    let longest_pause = longest.within("retry_back_off")?;
    if longest_pause < pause {
        let why = "must not be shorter than base_interval";
        return Err(Refusal::of("retry_back_off.max_interval", why));
    }
    let most = proto.num_retries.unwrap_or(1);
    if most > MAX_RETRIES {
        let why = format_args!("at most {MAX_RETRIES} attempts follow the first");
        return Err(Refusal::of("num_retries", why));
    }
    Ok(Retries { most, pause, longest_pause })
}

fn locations(proto: &JwtProvider) -> Result<Locations, Refusal> {
    let mut locations = Locations::default();
    let issuer = &proto.issuer;
    for header in each("from_headers", &proto.from_headers, |header| {
        let prefix = header_value("value_prefix", &header.value_prefix)?;
        Ok(Place::header(&header_name("name", &header.name)?, prefix))
    })? {
        locations.add(header, issuer);
    }
    let named = |name: &String| Ok(required("", name)?.into());
    for name in each("from_params", &proto.from_params, named)? {
        locations.add(Place::Parameter(name), issuer);
    }
    for name in each("from_cookies", &proto.from_cookies, named)? {
        locations.add(Place::Cookie(name), issuer);
    }
    if proto.from_headers.is_empty()
        && proto.from_params.is_empty()
        && proto.from_cookies.is_empty()
    {
        locations.add(Place::header("authorization", "Bearer "), issuer);
        locations.add(Place::Parameter("access_token".into()), issuer);
    }
    Ok(locations)
}

fn uses(proto: &JwtProvider) -> Result<Uses, Refusal> {
    let key = |text: &str| (!text.is_empty()).then(|| Arc::from(text));
    let payload_header = match proto.forward_payload_header.as_str() {
        "" => None,
        name => Some(written("forward_payload_header", name)?),
    };
    let lists = proto.normalize_payload_in_metadata.iter();
    let lists = lists.flat_map(|normalize| &normalize.space_delimited_claims);
    Ok(Uses {
        forward: proto.forward,
        payload_header,
        padded: proto.pad_forward_payload_header,
        claim_headers: each("claim_to_headers", &proto.claim_to_headers, claim_header)?,
        payload_note: key(&proto.payload_in_metadata),
        header_note: key(&proto.header_in_metadata),
        lists: lists.map(|name| name.as_str().into()).collect(),
        reroutes: proto.clear_route_cache,
    })
}

fn claim_header(proto: &JwtClaimToHeader) -> Result<(Box<str>, Vec<Box<str>>), Refusal> {
    let path = if proto.claim_path.is_empty() {
        required("claim_name", &proto.claim_name)?.split('.').map(Box::from).collect()
    } else {
        each("claim_path", &proto.claim_path, |segment| Ok(required("key", &segment.key)?.into()))?
    };
    Ok((written("header_name", &proto.header_name)?, path))
}

/// A header into which claims are written.
fn written(field: &str, name: &str) -> Result<Box<str>, Refusal> {
    let name = writable(field, name)?;
    Ok(String::from_utf8_lossy(&name).into())
}

/// What a route says instead of the filter's rules.
pub(super) fn jwt_per_route(proto: &PerRouteConfig) -> Result<OnRoute, Refusal> {
    match &proto.requirement_specifier {
        Some(RequirementSpecifier::Disabled(true)) => Ok(OnRoute::Off),
        Some(RequirementSpecifier::Disabled(false)) => {
            Err(Refusal::of("disabled", "must be true where it is set"))
        }
        Some(RequirementSpecifier::RequirementName(name)) => {
            Ok(OnRoute::Needs(required("requirement_name", name)?.into()))
        }
        None => Err(Refusal::new("one of disabled and requirement_name must be set")),
    }
}

#[cfg(test)]
mod tests;
