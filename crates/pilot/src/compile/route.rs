//! One HTTP rule under one of its conditions: a route.

use tidegate_api::istio::virtual_service::{
    DerivePort, DirectResponseBody, HttpDirectResponse, HttpMatchRequest, HttpRedirect, HttpRoute,
    HttpRouteDestination, RedirectPort,
};
use tidegate_envoy::v3::core::DataSource;
use tidegate_envoy::v3::core::data_source::Specifier;
use tidegate_envoy::v3::matcher::RegexMatchAndSubstitute;
use tidegate_envoy::v3::route::redirect_action::{
    PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier,
};
use tidegate_envoy::v3::route::route::Action;
use tidegate_envoy::v3::route::route_action::{
    ClusterNotFoundResponseCode, ClusterSpecifier, HostRewriteSpecifier,
};
use tidegate_envoy::v3::route::route_match::PathSpecifier;
use tidegate_envoy::v3::route::weighted_cluster::{
    ClusterWeight, cluster_weight::HostRewriteSpecifier as WeightHostRewrite,
};
use tidegate_envoy::v3::route::{
    DirectResponseAction, RedirectAction, RetryPolicy, Route, RouteAction, RouteMatch,
    WeightedCluster,
};

use super::headers::Operations;
use super::{
    Context, balancing, cluster, denial, duration, http3, matches, metadata, retry, sidecar, text,
    traffic,
};
use crate::model::rule::Rule;
use crate::model::service::Service;
use crate::model::virtual_service::{Place, Semantics, VirtualService};
use crate::sidecar::routes::Onward;
use crate::{Options, ProxyKind};

/// The route of a rule of the VirtualService `root` under a condition (`None`: the rule has none) at a place, and where requests go
/// onward that it only limits.
#[must_use]
pub fn route(
    rule: &Rule,
    condition: Option<&HttpMatchRequest>,
    (root, onward): (&VirtualService, Option<&Onward>),
    place: &Place,
    context: &Context<'_>,
) -> Route {
    let Rule { says: rule, key, .. } = rule;
    let by_segment = root.semantics != Semantics::Plain;
    let matched = condition.map_or_else(matches::any, |c| matches::of_condition(c, by_segment));
    // What was asked for was not to be left out, and it must not cost other rules.
    if !rule.unfit().is_empty() {
        return Route {
            name: name(rule, condition),
            r#match: Some(matched),
            metadata: Some(metadata::of_route(&root.key, (*key != root.key).then_some(key))),
            action: Some(out_of_order()),
            ..Route::default()
        };
    }
    let operations = Operations::of(rule.headers.as_deref());
    let mut route = Route {
        name: name(rule, condition),
        stat_prefix: condition.map(|c| c.stat_prefix.clone()).unwrap_or_default(),
        metadata: Some(metadata::of_route(&root.key, (*key != root.key).then_some(key))),
        request_headers_to_add: operations.request_add,
        request_headers_to_remove: operations.request_remove,
        response_headers_to_add: operations.response_add,
        response_headers_to_remove: operations.response_remove,
        ..Route::default()
    };
    route.action = Some(if let Some(wanted) = &rule.redirect {
        redirect(wanted, root, place, context.options)
    } else if let Some(answer) = &rule.direct_response {
        Action::DirectResponse(direct_response(answer))
    } else {
        let mut action = forward(rule, &matched, operations.authority, context.options);
        if root.semantics == Semantics::Gateway {
            action.cluster_not_found_response_code =
                ClusterNotFoundResponseCode::InternalServerError.into();
        }
        action.request_mirror_policies =
            traffic::mirrors(rule, &key.namespace, place.port, context);
        match onward.filter(|_| rule.keeps_default_route()) {
            Some(onward) => {
                denial::mark(&mut route, onward, context);
                sidecar::onward(onward, place.port, action, rule.retries.as_deref(), context)
            }
            None => {
                destinations(&rule.route, &mut action, &mut route, &key.namespace, place, context);
                action.retry_policy = retries(rule, &key.namespace, context);
                Action::Route(action)
            }
        }
    });
    route.response_headers_to_add.extend(place.http3.then(|| http3::alternative(place.port)));
    route.r#match = Some(matched);
    route.typed_per_filter_config = traffic::overrides(rule);
    route
}

/// The name of the route of a rule under a condition: empty where the rule has none, as the condition has.
#[must_use]
pub fn name(rule: &HttpRoute, condition: Option<&HttpMatchRequest>) -> String {
    match condition {
        Some(condition) if !condition.name.is_empty() => {
            format!("{}.{}", rule.name, condition.name)
        }
        _ => rule.name.clone(),
    }
}

/// What holds for every destination: timeout, path and host.
#[allow(
    deprecated,
    reason = "Istio bounds grpc-timeout here: its replacement counts from elsewhere"
)]
fn forward(
    rule: &HttpRoute,
    matched: &RouteMatch,
    authority: Option<String>,
    options: &Options,
) -> RouteAction {
    // Envoy's own default is 15 seconds; Istio's is none.
    let timeout = duration(rule.timeout.map(Into::into).unwrap_or_default());
    let mut action = RouteAction {
        timeout: Some(timeout),
        max_grpc_timeout: Some(timeout),
        append_x_forwarded_host: options.forwarded_host && rule.rewrite.is_some(),
        ..RouteAction::default()
    };
    let mut authority = authority;
    if let Some(rewrite) = &rule.rewrite {
        if let Some(regex) = &rewrite.uri_regex_rewrite {
            action.regex_rewrite = Some(substitute(&regex.pattern, &regex.rewrite));
        } else if !rewrite.uri.is_empty() {
            rewrite_path(&mut action, &rewrite.uri, matched);
        }
        if !rewrite.authority.is_empty() {
            authority = Some(rewrite.authority.clone());
        }
    }
    action.host_rewrite_specifier = authority.map(HostRewriteSpecifier::HostRewriteLiteral);
    action
}

/// Replaces the matched prefix, or the whole path.
///
/// `/` for a prefix takes the prefix away: `/api/users` becomes `/users`. Plain replacement would leave two
/// slashes, which is what Istio sends for a VirtualService; guide 002 promises one.
fn rewrite_path(action: &mut RouteAction, uri: &str, matched: &RouteMatch) {
    match &matched.path_specifier {
        Some(PathSpecifier::Prefix(prefix) | PathSpecifier::PathSeparatedPrefix(prefix))
            if uri == "/" && !prefix.ends_with('/') =>
        {
            let case = if matched.case_sensitive == Some(false) { "(?i)" } else { "" };
            let pattern = format!("{case}^{}(/?)(.*)", text::quote(prefix));
            action.regex_rewrite = Some(substitute(&pattern, "/\\2"));
        }
        _ => uri.clone_into(&mut action.prefix_rewrite),
    }
}

fn substitute(pattern: &str, substitution: &str) -> RegexMatchAndSubstitute {
    RegexMatchAndSubstitute {
        pattern: Some(text::regex(pattern)),
        substitution: substitution.to_owned(),
    }
}

fn destinations(
    all: &[HttpRouteDestination],
    action: &mut RouteAction,
    route: &mut Route,
    namespace: &str,
    place: &Place,
    context: &Context<'_>,
) {
    let cluster =
        |d: &HttpRouteDestination| match context.alias(&d.destination, namespace, place.port) {
            Some((service, port)) if d.destination.subset.is_empty() => {
                cluster::for_requests(service, port, context)
            }
            _ => context.cluster(&d.destination, namespace, place.port),
        };
    let is_called = action.host_rewrite_specifier.is_some();
    // What a name stands for need not know the Host that clients have.
    let authority = |d: &HttpRouteDestination, written: Option<String>| {
        let (service, port) =
            context.alias(&d.destination, namespace, place.port).filter(|_| !is_called).unzip();
        let alias = service.and_then(Service::alias_of).zip(port);
        written.or_else(|| alias.map(|(alias, port)| sidecar::called(alias, port)))
    };
    // Of several destinations those without a share say nothing, as below.
    let chosen = all.iter().filter(|d| d.share() > 0 || all.len() == 1);
    action.hash_policy = chosen
        .filter_map(|d| {
            let rules = context.rules_for(&d.destination.host, namespace)?;
            balancing::hash_policy(rules.hash(&d.destination)?)
        })
        .collect();
    if let [only] = all {
        let operations = Operations::of(only.headers.as_deref());
        route.request_headers_to_add.extend(operations.request_add);
        route.request_headers_to_remove.extend(operations.request_remove);
        route.response_headers_to_add.extend(operations.response_add);
        route.response_headers_to_remove.extend(operations.response_remove);
        if action.host_rewrite_specifier.is_none() {
            action.host_rewrite_specifier =
                authority(only, operations.authority).map(HostRewriteSpecifier::HostRewriteLiteral);
        }
        action.cluster_specifier = Some(ClusterSpecifier::Cluster(cluster(only)));
        return;
    }
    let weighted = all.iter().filter(|d| d.share() > 0).map(|destination| {
        let operations = Operations::of(destination.headers.as_deref());
        ClusterWeight {
            name: cluster(destination),
            weight: u32::try_from(destination.share()).ok(),
            request_headers_to_add: operations.request_add,
            request_headers_to_remove: operations.request_remove,
            response_headers_to_add: operations.response_add,
            response_headers_to_remove: operations.response_remove,
            host_rewrite_specifier: authority(destination, operations.authority)
                .map(WeightHostRewrite::HostRewriteLiteral),
            ..ClusterWeight::default()
        }
    });
    action.cluster_specifier = Some(ClusterSpecifier::WeightedClusters(WeightedCluster {
        clusters: weighted.collect(),
        ..WeightedCluster::default()
    }));
}

/// As in Istio, a rule's hash counts here only if all its requests go to one destination.
fn retries(rule: &HttpRoute, namespace: &str, context: &Context<'_>) -> Option<RetryPolicy> {
    let hashed = match rule.route.as_slice() {
        [only] => context
            .rules_for(&only.destination.host, namespace)
            .is_some_and(|rules| rules.hash(&only.destination).is_some()),
        _ => false,
    };
    let own = rule.retries.as_deref().or(context.options.default_retries.as_ref());
    retry::policy(own, hashed)
}

/// The status of a redirect that Envoy has; `None` for others of 3xx.
#[must_use]
pub fn redirect_status(code: u32) -> Option<RedirectResponseCode> {
    Some(match code {
        0 | 301 => RedirectResponseCode::MovedPermanently,
        302 => RedirectResponseCode::Found,
        303 => RedirectResponseCode::SeeOther,
        307 => RedirectResponseCode::TemporaryRedirect,
        308 => RedirectResponseCode::PermanentRedirect,
        _ => return None,
    })
}

/// What a rule answers that cannot be served as it is written.
fn out_of_order() -> Action {
    Action::DirectResponse(DirectResponseAction { status: 500, ..Default::default() })
}

/// A redirect. One with a status that there is not is answered 500: what another status would mean to
/// clients was not asked for.
fn redirect(
    wanted: &HttpRedirect,
    root: &VirtualService,
    place: &Place,
    options: &Options,
) -> Action {
    let Some(status) = redirect_status(wanted.redirect_code) else {
        return out_of_order();
    };
    let path = if wanted.prefix_rewrite.is_empty() {
        PathRewriteSpecifier::PathRedirect(wanted.uri.clone())
    } else {
        PathRewriteSpecifier::PrefixRewrite(wanted.prefix_rewrite.clone())
    };
    let (host, port) = redirected_to(wanted, root, place, options);
    Action::Redirect(RedirectAction {
        host_redirect: host.to_owned(),
        port_redirect: port.into(),
        response_code: status.into(),
        scheme_rewrite_specifier: (!wanted.scheme.is_empty())
            .then(|| SchemeRewriteSpecifier::SchemeRedirect(wanted.scheme.clone())),
        path_rewrite_specifier: Some(path),
        ..RedirectAction::default()
    })
}

/// The host and the port of a redirect: empty where the client's own stays, 0 where none is spelled out.
///
/// Without a port of its own, the data plane keeps the one that the client wrote into `Host`. Istio asks for none in place
/// of a scheme's own, so that `app:8080` is sent to `https://app:8080` by `port: 443`; here the port is the one that is
/// asked for. It is spelled out only where the host that goes with it is not known.
fn redirected_to<'a>(
    wanted: &'a HttpRedirect,
    root: &'a VirtualService,
    place: &Place,
    options: &Options,
) -> (&'a str, u16) {
    let tls = if wanted.scheme.is_empty() { place.tls } else { wanted.scheme == "https" };
    let implied = if tls { 443 } else { 80 };
    let port = match wanted.port_choice() {
        None => return (&wanted.authority, 0),
        Some(RedirectPort::Fixed(port)) => port.get(),
        Some(RedirectPort::Derived(DerivePort::FromProtocolDefault)) => implied,
        // What the client wrote is the port of the request, whichever way it came here.
        Some(RedirectPort::Derived(DerivePort::FromRequestPort)) if place.port == implied => {
            return (&wanted.authority, 0);
        }
        Some(RedirectPort::Derived(DerivePort::FromRequestPort)) => place.port,
    };
    if port != implied {
        return (&wanted.authority, port);
    }
    match (wanted.authority.as_str(), only_host(root, options)) {
        ("", Some(host)) => (host, 0),
        ("", None) => ("", port),
        (authority, _) => (authority, 0),
    }
}

/// The host of every request that a VirtualService takes at a gateway, if there is just one. Sidecars are asked for one
/// host by several names.
fn only_host<'a>(service: &'a VirtualService, options: &Options) -> Option<&'a str> {
    match service.hosts.as_slice() {
        [host] if options.proxy == ProxyKind::Gateway && !host.is_wildcard() => Some(host.as_str()),
        _ => None,
    }
}

/// Whether HTTP has a final status of that number, so that Envoy answers with it. Istio lets 600 through, which there is not.
#[must_use]
pub fn is_final_status(code: u32) -> bool {
    (200..600).contains(&code)
}

/// An answer. One with a status that there is not is a 500.
fn direct_response(answer: &HttpDirectResponse) -> DirectResponseAction {
    if !is_final_status(answer.status) {
        return DirectResponseAction { status: 500, ..DirectResponseAction::default() };
    }
    let body = answer.body.as_ref().and_then(|body| match body {
        DirectResponseBody::Empty => None,
        DirectResponseBody::Text(text) => Some(Specifier::InlineString(text.clone())),
        DirectResponseBody::Bytes(bytes) => Some(Specifier::InlineBytes(bytes.clone())),
    });
    DirectResponseAction {
        status: answer.status,
        body: body.map(|b| DataSource { specifier: Some(b), ..DataSource::default() }),
        ..DirectResponseAction::default()
    }
}
