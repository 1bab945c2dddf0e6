//! What a rule does to requests beside sending them on: faults, answers to other origins, copies.

use std::collections::BTreeMap;
use std::time::Duration;

use tidegate_api::istio::virtual_service::{
    CorsPolicy, Destination, HttpFaultInjection, HttpRoute, UnmatchedPreflights,
};
use tidegate_api::scalar::Percent;
use tidegate_envoy::any;
use tidegate_envoy::prost_types::Any;
use tidegate_envoy::v3::base::FractionalPercent;
use tidegate_envoy::v3::base::fractional_percent::DenominatorType;
use tidegate_envoy::v3::common_fault::{FaultDelay, fault_delay::FaultDelaySecifier};
use tidegate_envoy::v3::core::RuntimeFractionalPercent;
use tidegate_envoy::v3::cors::{Cors, CorsPolicy as Policy};
use tidegate_envoy::v3::fault::fault_abort::ErrorType;
use tidegate_envoy::v3::fault::{FaultAbort, HttpFault};
use tidegate_envoy::v3::hcm::HttpFilter;
use tidegate_envoy::v3::route::route_action::RequestMirrorPolicy;

use super::{Context, duration, http_filter, text};

/// The name of the HTTP filter that makes faults.
pub const FAULT: &str = "envoy.filters.http.fault";
/// The name of the HTTP filter for requests from other origins.
pub const CORS: &str = "envoy.filters.http.cors";

/// The filters that do what [`overrides`] say, in Istio's order. They stand in every connection manager, so that what
/// routes say changes no listener.
#[must_use]
pub fn filters() -> [HttpFilter; 2] {
    [http_filter(FAULT, &HttpFault::default()), http_filter(CORS, &Cors {})]
}

/// What the route of a rule says to the filters.
#[must_use]
pub fn overrides(rule: &HttpRoute) -> BTreeMap<String, Any> {
    let fault = rule.fault.as_deref().and_then(faults);
    let fault = fault.map(|fault| (FAULT.to_owned(), any(&fault)));
    let cors = rule.cors_policy.as_deref().map(|policy| (CORS.to_owned(), any(&cors(policy))));
    fault.into_iter().chain(cors).collect()
}

/// Faults; `None` where they come to nothing.
fn faults(wanted: &HttpFaultInjection) -> Option<HttpFault> {
    let delay = wanted.delay.as_ref().and_then(|delay| {
        let time = Duration::from(delay.fixed_delay?);
        // Unlike a failure, a delay without a share is for nobody.
        let old = FractionalPercent {
            numerator: u32::try_from(delay.percent).unwrap_or(0),
            denominator: DenominatorType::Hundred.into(),
        };
        Some(FaultDelay {
            percentage: Some(delay.percentage.map_or(old, percent)),
            fault_delay_secifier: Some(FaultDelaySecifier::FixedDelay(duration(time))),
        })
    });
    let abort = wanted.abort.as_ref().and_then(|abort| {
        let status = abort.http_status.and_then(|status| u32::try_from(status).ok());
        let grpc = abort.grpc_code().map(ErrorType::GrpcStatus);
        Some(FaultAbort {
            // Without one Istio promises that all fail.
            percentage: Some(abort.percentage.map_or_else(all, percent)),
            error_type: Some(status.map(ErrorType::HttpStatus).or(grpc)?),
            ..FaultAbort::default()
        })
    });
    let some = delay.is_some() || abort.is_some();
    some.then(|| HttpFault { delay, abort, ..HttpFault::default() })
}

fn cors(wanted: &CorsPolicy) -> Policy {
    let mut origins: Vec<_> = wanted.allow_origins.iter().filter_map(text::matcher).collect();
    if wanted.allow_origins.is_empty() {
        origins = wanted.allow_origin.iter().map(|origin| text::exact(origin)).collect();
    }
    let max_age = wanted.max_age.map(|age| Duration::from(age).as_secs().to_string());
    Policy {
        allow_origin_string_match: origins,
        allow_methods: wanted.allow_methods.join(","),
        allow_headers: wanted.allow_headers.join(","),
        expose_headers: wanted.expose_headers.join(","),
        max_age: max_age.unwrap_or_default(),
        allow_credentials: wanted.allow_credentials,
        filter_enabled: Some(share(all())),
        forward_not_matching_preflights: Some(
            wanted.unmatched_preflights != UnmatchedPreflights::Ignore,
        ),
        ..Policy::default()
    }
}

/// The copies that a rule asks for, in its order: the field, where to, of which share. A share of nothing is no copy.
pub fn copies(rule: &HttpRoute) -> impl Iterator<Item = (String, &Destination, FractionalPercent)> {
    let old =
        |numerator| FractionalPercent { numerator, denominator: DenominatorType::Hundred.into() };
    let one = rule.mirror.as_deref().map(|destination| {
        let share = rule.mirror_percentage.map(percent).or(rule.mirror_percent.map(old));
        ("mirror".to_owned(), destination, share)
    });
    let more = rule.mirrors.iter().enumerate().map(|(m, mirror)| {
        (format!("mirrors[{m}]"), &mirror.destination, mirror.percentage.map(percent))
    });
    let all = one.into_iter().chain(more);
    let all = all.map(|(field, to, share)| (field, to, share.unwrap_or_else(self::all)));
    all.filter(|(.., share)| share.numerator > 0)
}

/// Copies of requests that a rule of `namespace` takes.
#[must_use]
pub fn mirrors(
    rule: &HttpRoute,
    namespace: &str,
    port: u16,
    context: &Context<'_>,
) -> Vec<RequestMirrorPolicy> {
    copies(rule)
        .map(|(_, destination, of)| RequestMirrorPolicy {
            cluster: context.cluster(destination, namespace, port),
            runtime_fraction: Some(share(of)),
            // As in Istio since 1.28: who is mirrored to is asked for the host that the request is for.
            disable_shadow_host_suffix_append: true,
            ..RequestMirrorPolicy::default()
        })
        .collect()
}

fn share(of: FractionalPercent) -> RuntimeFractionalPercent {
    RuntimeFractionalPercent { default_value: Some(of), ..RuntimeFractionalPercent::default() }
}

fn all() -> FractionalPercent {
    FractionalPercent { numerator: 100, denominator: DenominatorType::Hundred.into() }
}

/// A share as Envoy has it: of a million.
fn percent(share: Percent) -> FractionalPercent {
    FractionalPercent {
        // Validated to be between 0 and 100; fractions of a millionth are dropped, as in Istio.
        numerator: (share.value.clamp(0.0, 100.0) * 10_000.0) as u32,
        denominator: DenominatorType::Million.into(),
    }
}
