//! What routes do: forward, redirect, answer.

use std::sync::Arc;
use std::time::Duration;

use tidegate_envoy::mark;
use tidegate_envoy::v3::core::SubstitutionFormatString;
use tidegate_envoy::v3::core::substitution_format_string::Format;
use tidegate_envoy::v3::route::redirect_action::{
    PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier,
};
use tidegate_envoy::v3::route::route::Action as ProtoAction;
use tidegate_envoy::v3::route::route_action::hash_policy::{
    ConnectionProperties, Cookie, PolicySpecifier,
};
use tidegate_envoy::v3::route::route_action::{
    ClusterNotFoundResponseCode, ClusterSpecifier, HashPolicy as ProtoHashPolicy,
    HostRewriteSpecifier, UpgradeConfig,
};
use tidegate_envoy::v3::route::weighted_cluster::ClusterWeight;
use tidegate_envoy::v3::route::weighted_cluster::cluster_weight::HostRewriteSpecifier as TargetHost;
use tidegate_envoy::v3::route::{
    DirectResponseAction, RateLimit as ProtoRateLimit, RedirectAction, Route as ProtoRoute,
    RouteAction, WeightedCluster,
};

use crate::config::refusal::{Refusal, Within, each};
use crate::filter::Overrides;
use crate::route::rate_limit::{RateLimit, RateLimits};
use crate::route::{
    Action, Direct, Field, Forward, HashCookie, HashOf, HashPolicy, HostRewrite, Inherit, Mirror,
    Mirrors, MutationLevel, Mutations, PathMatch, PathRewrite, Redirect, RedirectPath, RetryPolicy,
    Route, Target, Template,
};
use crate::shares::Shares;

use super::filters::overrides;
use super::header::{Levels, Mutating as _};
use super::matching::{route_match, substitution};
use super::mirror::mirrors;
use super::rate_limit::{Whose, rate_limit};
use super::value::{data, enumeration, header_name, header_value, present, required, timeout};
use super::{Links, retry};

/// Envoy's default of `timeout`.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(15);

/// How much of a request's content is kept where nothing says it: Envoy's default of what a connection buffers.
const DEFAULT_KEEP: u64 = 1 << 20;

/// How much of it may wait for a copy where nothing says it. Other than in Envoy the request does not wait, so that there is more
/// to keep.
const DEFAULT_KEEP_FOR_COPIES: u64 = 8 << 20;

/// Longest format of bodies in a file, bytes.
const MAX_BODY_FORMAT: usize = 64 * 1024;

/// What routes inherit from the virtual host and the route configuration.
#[derive(Debug)]
pub(super) struct RouteLevel {
    /// Mutations of the virtual host, then of the route configuration.
    pub mutations: [Levels; 2],
    /// Whether the mutations of the most specific level apply last, so that they win.
    pub most_specific_wins: bool,
    /// Most bytes in the body of a direct response.
    pub max_body: usize,
    /// What both say instead of the filters' own configuration.
    pub filters: Overrides,
    /// The virtual host's retries, for routes without any.
    pub retry: Option<Arc<RetryPolicy>>,
    /// How much of a request's content is kept to be sent again.
    pub keep: Keep,
    /// The copies of requests of routes that ask for none.
    pub mirrors: Arc<[Mirror]>,
    /// What limits know the virtual host's requests by.
    pub rate_limits: Arc<[RateLimit]>,
}

/// How much of a request's content may be kept, as a route or a virtual host says: `request_body_buffer_limit` goes
/// before the older `per_request_buffer_limit_bytes`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Keep(Option<u64>);

impl Keep {
    /// What one level says.
    pub fn of(older: Option<u32>, limit: Option<u64>) -> Self {
        Self(limit.or(older.map(u64::from)))
    }

    /// What holds where this level says nothing.
    pub fn or(self, around: Self) -> Self {
        Self(self.0.or(around.0))
    }

    fn bytes(self) -> u64 {
        self.0.unwrap_or(DEFAULT_KEEP)
    }

    /// How much may wait for a copy of the request.
    fn for_copies(self) -> usize {
        usize::try_from(self.0.unwrap_or(DEFAULT_KEEP_FOR_COPIES)).unwrap_or(usize::MAX)
    }
}

/// A route.
#[allow(deprecated, reason = "one of two limits is what older control planes send")]
pub(super) fn route(
    proto: &ProtoRoute,
    level: &RouteLevel,
    links: &mut impl Links,
) -> Result<Arc<Route>, Refusal> {
    let matcher = route_match(present("match", proto.r#match.as_ref())?).within("match")?;
    let action = match &proto.action {
        Some(ProtoAction::Route(action)) => {
            let keep =
                Keep::of(proto.per_request_buffer_limit_bytes, proto.request_body_buffer_limit);
            let keep = keep.or(level.keep);
            let forward = forward(action, &matcher.path, level, keep, links);
            Action::Forward(Box::new(forward.within("route")?))
        }
        Some(ProtoAction::Redirect(action)) => {
            Action::Redirect(redirect(action, &matcher.path).within("redirect")?)
        }
        Some(ProtoAction::DirectResponse(action)) => {
            let direct = direct(action, level.max_body).within("direct_response")?;
            let denies = mark::denies_egress(proto.metadata.as_ref());
            let tunnel = mark::denied_tunnel(proto.metadata.as_ref()).map(Template::new);
            let tunnel = tunnel.transpose().map_err(Refusal::new)?;
            let bounded_by = mark::bounded_by(proto.metadata.as_ref()).map(Into::into);
            Action::Direct(Direct { denies, tunnel, bounded_by, ..direct })
        }
        Some(_) | None => {
            return Err(Refusal::new("one of route, redirect and direct_response must be set"));
        }
    };
    let own = proto.mutations()?;
    Ok(Arc::new(Route {
        name: proto.name.as_str().into(),
        matcher,
        action,
        request_headers: level.in_order(&own, |levels| &levels.request),
        response_headers: level.in_order(&own, |levels| &levels.response),
        filters: overrides(&proto.typed_per_filter_config)?.within(&level.filters),
    }))
}

impl RouteLevel {
    /// The route's mutations and the inherited ones, in the order in which they apply.
    fn in_order(&self, own: &Levels, pick: fn(&Levels) -> &Arc<MutationLevel>) -> Mutations {
        let [virtual_host, table] = &self.mutations;
        let specific_first = [own, virtual_host, table].map(|levels| Arc::clone(pick(levels)));
        if self.most_specific_wins {
            Mutations::new(specific_first.into_iter().rev())
        } else {
            Mutations::new(specific_first)
        }
    }
}

#[allow(deprecated, reason = "`include_vh_rate_limits` is what older control planes send")]
fn forward(
    proto: &RouteAction,
    path: &PathMatch,
    level: &RouteLevel,
    keep: Keep,
    links: &mut impl Links,
) -> Result<Forward, Refusal> {
    let cluster_not_found = match enumeration(
        "cluster_not_found_response_code",
        proto.cluster_not_found_response_code,
    )? {
        ClusterNotFoundResponseCode::ServiceUnavailable => 503,
        ClusterNotFoundResponseCode::NotFound => 404,
        ClusterNotFoundResponseCode::InternalServerError => 500,
    };
    let max_stream_duration = match &proto.max_stream_duration {
        None => Inherit::Inherited,
        Some(own) => inherited("max_stream_duration", own.max_stream_duration.as_ref())
            .within("max_stream_duration")?,
    };
    Ok(Forward {
        targets: targets(proto.cluster_specifier.as_ref(), links)?,
        cluster_not_found,
        path: path_rewrite(proto, path)?,
        host: host_rewrite(proto.host_rewrite_specifier.as_ref())?,
        append_forwarded_host: proto.append_x_forwarded_host,
        timeout: timeout("timeout", proto.timeout.as_ref(), DEFAULT_TIMEOUT)?,
        max_grpc_timeout: max_grpc_timeout(proto)?,
        idle_timeout: inherited("idle_timeout", proto.idle_timeout.as_ref())?,
        max_stream_duration,
        upgrades: upgrades(&proto.upgrade_configs)?,
        hash: each("hash_policy", &proto.hash_policy, hash_policy)?,
        retry: match &proto.retry_policy {
            Some(own) => Some(Arc::new(retry::policy(own).within("retry_policy")?)),
            None => level.retry.clone(),
        },
        keep: keep.bytes(),
        mirrors: Mirrors {
            all: mirrors(&proto.request_mirror_policies, &level.mirrors, links)?,
            keep: keep.for_copies(),
        },
        rate_limits: RateLimits {
            own: rate_limits(&proto.rate_limits)?,
            of_host: Arc::clone(&level.rate_limits),
            with_hosts: proto.include_vh_rate_limits.unwrap_or(false),
        },
    })
}

/// What limits know requests by.
pub(super) fn rate_limits(protos: &[ProtoRateLimit]) -> Result<Vec<RateLimit>, Refusal> {
    let limits = each("rate_limits", protos, |proto| rate_limit(proto, Whose::Route))?;
    Ok(limits.into_iter().flatten().collect())
}

/// As Envoy: a route that says how long streams may last counts no calls' time.
#[allow(deprecated, reason = "it is what Istio sends: its replacement counts from elsewhere")]
fn max_grpc_timeout(proto: &RouteAction) -> Result<Inherit<Option<Duration>>, Refusal> {
    let most = inherited("max_grpc_timeout", proto.max_grpc_timeout.as_ref())?;
    Ok(if proto.max_stream_duration.is_some() { Inherit::Inherited } else { most })
}

fn hash_policy(proto: &ProtoHashPolicy) -> Result<HashPolicy, Refusal> {
    let of = match &proto.policy_specifier {
        Some(PolicySpecifier::Header(header)) => {
            let name = header_name("header_name", &header.header_name).within("header")?;
            let rewrite = header.regex_rewrite.as_ref().map(substitution).transpose();
            HashOf::Header(Field::new(&name), rewrite.within("regex_rewrite").within("header")?)
        }
        Some(PolicySpecifier::Cookie(cookie)) => {
            HashOf::Cookie(hash_cookie(cookie).within("cookie")?)
        }
        Some(PolicySpecifier::ConnectionProperties(ConnectionProperties { source_ip: true })) => {
            HashOf::SourceAddress
        }
        Some(PolicySpecifier::QueryParameter(parameter)) => {
            let name = required("name", &parameter.name).within("query_parameter")?;
            HashOf::Parameter(name.as_bytes().into())
        }
        Some(PolicySpecifier::ConnectionProperties(_) | PolicySpecifier::FilterState(_)) | None => {
            return Err(Refusal::new(
                "one of header, cookie, connection_properties.source_ip and query_parameter must be set",
            ));
        }
    };
    Ok(HashPolicy { of, terminal: proto.terminal })
}

fn hash_cookie(proto: &Cookie) -> Result<HashCookie, Refusal> {
    let ttl = proto.ttl.as_ref().map(|_| timeout("ttl", proto.ttl.as_ref(), None)).transpose()?;
    let attributes = each("attributes", &proto.attributes, |attribute| {
        let name = header_value("name", required("name", &attribute.name)?)?;
        Ok((name.into(), header_value("value", &attribute.value)?.into()))
    })?;
    Ok(HashCookie {
        name: header_value("name", required("name", &proto.name)?)?.into(),
        ttl: ttl.map(|ttl| ttl.unwrap_or_default().as_secs()),
        path: header_value("path", &proto.path)?.into(),
        attributes,
    })
}

fn inherited(
    field: &str,
    value: Option<&prost_types::Duration>,
) -> Result<Inherit<Option<Duration>>, Refusal> {
    match value {
        None => Ok(Inherit::Inherited),
        Some(_) => Ok(Inherit::Own(timeout(field, value, None)?)),
    }
}

fn targets(
    specifier: Option<&ClusterSpecifier>,
    links: &mut impl Links,
) -> Result<Shares<Target>, Refusal> {
    match specifier {
        Some(ClusterSpecifier::Cluster(name)) => Ok(Shares::only(Target {
            cluster: links.cluster(required("cluster", name)?),
            request_headers: Mutations::default(),
            response_headers: Mutations::default(),
            host: None,
        })),
        Some(ClusterSpecifier::WeightedClusters(weighted)) => {
            weighted_targets(weighted, links).within("weighted_clusters")
        }
        Some(_) | None => Err(Refusal::new("one of cluster and weighted_clusters must be set")),
    }
}

fn weighted_targets(
    proto: &WeightedCluster,
    links: &mut impl Links,
) -> Result<Shares<Target>, Refusal> {
    let targets = each("clusters", &proto.clusters, |weight| weighted_target(weight, links))?;
    let total: u64 = targets.iter().map(|(_, weight)| u64::from(*weight)).sum();
    if total > u64::from(u32::MAX) {
        return Err(Refusal::of("clusters", "the sum of the weights must fit into 32 bits"));
    }
    let none = || Refusal::of("clusters", "the sum of the weights must be greater than zero");
    Shares::new(targets).ok_or_else(none)
}

fn weighted_target(
    proto: &ClusterWeight,
    links: &mut impl Links,
) -> Result<(Target, u32), Refusal> {
    let Levels { request, response } = proto.mutations()?;
    let host = match &proto.host_rewrite_specifier {
        Some(TargetHost::HostRewriteLiteral(host)) => {
            Some(header_value("host_rewrite_literal", host)?).filter(|host| !host.is_empty())
        }
        None => None,
    };
    if !overrides(&proto.typed_per_filter_config)?.is_empty() {
        let reason = "filters are overridden for a route as a whole: use the route's own";
        return Err(Refusal::of("typed_per_filter_config", reason));
    }
    let target = Target {
        cluster: links.cluster(required("name", &proto.name)?),
        request_headers: Mutations::new([request]),
        response_headers: Mutations::new([response]),
        host: host.map(Into::into),
    };
    Ok((target, proto.weight.unwrap_or_default()))
}

/// How many bytes of the path a prefix rewrite replaces; `None` for all of them.
fn matched(path: &PathMatch) -> Option<usize> {
    match path {
        PathMatch::Prefix(prefix) | PathMatch::SeparatedPrefix(prefix) => Some(prefix.len()),
        PathMatch::Exact(_) | PathMatch::Regex(_) | PathMatch::Connect => None,
    }
}

fn path_rewrite(proto: &RouteAction, path: &PathMatch) -> Result<PathRewrite, Refusal> {
    let prefix = header_value("prefix_rewrite", &proto.prefix_rewrite)?;
    match &proto.regex_rewrite {
        Some(_) if !prefix.is_empty() => {
            Err(Refusal::of("regex_rewrite", "prefix_rewrite and regex_rewrite cannot both be set"))
        }
        Some(regex) => Ok(PathRewrite::Regex(substitution(regex).within("regex_rewrite")?)),
        None if prefix.is_empty() => Ok(PathRewrite::Keep),
        None => Ok(PathRewrite::Prefix { matched: matched(path), with: prefix.as_bytes().into() }),
    }
}

fn host_rewrite(specifier: Option<&HostRewriteSpecifier>) -> Result<HostRewrite, Refusal> {
    Ok(match specifier {
        Some(HostRewriteSpecifier::HostRewriteLiteral(host)) if !host.is_empty() => {
            HostRewrite::Literal(header_value("host_rewrite_literal", host)?.into())
        }
        Some(HostRewriteSpecifier::HostRewriteHeader(name)) if !name.is_empty() => {
            HostRewrite::Header(Field::new(&header_name("host_rewrite_header", name)?))
        }
        Some(HostRewriteSpecifier::HostRewritePathRegex(regex)) => {
            HostRewrite::Path(substitution(regex).within("host_rewrite_path_regex")?)
        }
        Some(HostRewriteSpecifier::AutoHostRewrite(true)) => HostRewrite::Endpoint,
        Some(_) | None => HostRewrite::Keep,
    })
}

fn upgrades(configs: &[UpgradeConfig]) -> Result<Vec<(Box<str>, bool)>, Refusal> {
    let mut upgrades: Vec<(Box<str>, bool)> = Vec::with_capacity(configs.len());
    for (index, config) in configs.iter().enumerate() {
        let name =
            required("upgrade_type", &config.upgrade_type).within_item("upgrade_configs", index)?;
        let name = name.to_ascii_lowercase().into_boxed_str();
        if upgrades.iter().any(|(known, _)| *known == name) {
            let refusal = Refusal::of("upgrade_type", format_args!("{name} stands here twice"));
            return Err(refusal).within_item("upgrade_configs", index);
        }
        upgrades.push((name, config.enabled.unwrap_or(true)));
    }
    Ok(upgrades)
}

fn redirect(proto: &RedirectAction, path: &PathMatch) -> Result<Redirect, Refusal> {
    let scheme = match &proto.scheme_rewrite_specifier {
        Some(SchemeRewriteSpecifier::HttpsRedirect(true)) => "https",
        Some(SchemeRewriteSpecifier::SchemeRedirect(scheme)) => {
            header_value("scheme_redirect", scheme)?
        }
        Some(SchemeRewriteSpecifier::HttpsRedirect(false)) | None => "",
    };
    let status = match enumeration("response_code", proto.response_code)? {
        RedirectResponseCode::MovedPermanently => 301,
        RedirectResponseCode::Found => 302,
        RedirectResponseCode::SeeOther => 303,
        RedirectResponseCode::TemporaryRedirect => 307,
        RedirectResponseCode::PermanentRedirect => 308,
    };
    let set = |text: &str| Some(text).filter(|text| !text.is_empty()).map(Into::into);
    Ok(Redirect {
        status,
        scheme: set(scheme),
        host: set(header_value("host_redirect", &proto.host_redirect)?),
        port: port(proto.port_redirect)?,
        path: redirect_path(proto.path_rewrite_specifier.as_ref(), path)?,
        strip_query: proto.strip_query,
        keep_default_port: false,
    })
}

fn port(port: u32) -> Result<Option<u16>, Refusal> {
    let port =
        u16::try_from(port).map_err(|_| Refusal::of("port_redirect", "must be 65535 at most"))?;
    Ok(Some(port).filter(|port| *port != 0))
}

fn redirect_path(
    specifier: Option<&PathRewriteSpecifier>,
    path: &PathMatch,
) -> Result<RedirectPath, Refusal> {
    Ok(match specifier {
        Some(PathRewriteSpecifier::PathRedirect(new)) if !new.is_empty() => {
            RedirectPath::Replace(header_value("path_redirect", new)?.as_bytes().into())
        }
        Some(PathRewriteSpecifier::PrefixRewrite(with)) if !with.is_empty() => {
            RedirectPath::Prefix {
                matched: matched(path),
                with: header_value("prefix_rewrite", with)?.as_bytes().into(),
            }
        }
        Some(PathRewriteSpecifier::RegexRewrite(regex)) => {
            RedirectPath::Regex(substitution(regex).within("regex_rewrite")?)
        }
        Some(_) | None => RedirectPath::Keep,
    })
}

fn direct(proto: &DirectResponseAction, max_body: usize) -> Result<Direct, Refusal> {
    let status = u16::try_from(proto.status).ok().filter(|status| (200..600).contains(status));
    let Some(status) = status else {
        return Err(Refusal::of("status", "must be 200 to 599"));
    };
    let body = match &proto.body {
        Some(source) => data(source, max_body).within("body")?,
        None => Vec::new(),
    };
    let format = proto.body_format.as_ref().map(body_format).transpose().within("body_format")?;
    Ok(Direct { format, ..Direct::new(status, body) })
}

/// What makes the body of an answer for each request.
#[allow(deprecated, reason = "`text_format` is what everybody writes")]
fn body_format(proto: &SubstitutionFormatString) -> Result<Template, Refusal> {
    match &proto.format {
        Some(Format::TextFormat(text)) => {
            Template::new(text).map_err(|error| Refusal::of("text_format", error))
        }
        Some(Format::TextFormatSource(source)) => {
            let text = data(source, MAX_BODY_FORMAT).and_then(|text| {
                String::from_utf8(text).map_err(|_| Refusal::new("must be UTF-8"))
            });
            text.and_then(|text| Template::new(&text).map_err(Refusal::new))
                .within("text_format_source")
        }
        Some(Format::JsonFormat(_)) => {
            Err(Refusal::of("json_format", "use text_format: answers are plain text"))
        }
        None => Err(Refusal::of("text_format", "must be set")),
    }
}

#[cfg(test)]
mod tests;
