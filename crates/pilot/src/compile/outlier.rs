//! When endpoints of a destination are taken out (`outlierDetection`).
//!
//! Only failures in a row are judged, as in Istio: success rates are Envoy's default, and switched off.

use tidegate_api::istio::destination_rule::OutlierDetection as Settings;
use tidegate_envoy::types::envoy::config::common::matcher::v3::match_predicate::{MatchSet, Rule};
use tidegate_envoy::types::envoy::config::common::matcher::v3::{HttpHeadersMatch, MatchPredicate};
use tidegate_envoy::v3::base::Percent;
use tidegate_envoy::v3::cluster::{Cluster, OutlierDetection};
use tidegate_envoy::v3::route::HeaderMatcher;
use tidegate_envoy::v3::route::header_matcher::HeaderMatchSpecifier;

use super::cluster::HttpOptions;
use super::{duration, positive, text};

/// Writes when endpoints are taken out into a cluster.
pub fn apply(settings: &Settings, http: &mut HttpOptions, cluster: &mut Cluster) {
    cluster.outlier_detection = Some(detection(settings));
    http.errors = errors(&settings.outlier_detection_http_error_codes);
    // Envoy's default of 50 percent would bring endpoints back where a service has few.
    if settings.min_health_percent >= 0 {
        let value = settings.min_health_percent.into();
        let common = cluster.common_lb_config.get_or_insert_default();
        common.healthy_panic_threshold = Some(Percent { value });
    }
}

fn detection(settings: &Settings) -> OutlierDetection {
    let mut detection = OutlierDetection {
        enforcing_success_rate: Some(0),
        interval: settings.interval.map(|interval| duration(interval.get())),
        base_ejection_time: settings.base_ejection_time.map(|time| duration(time.get())),
        max_ejection_percent: positive(settings.max_ejection_percent),
        split_external_local_origin_errors: settings.split_external_local_origin_errors,
        ..OutlierDetection::default()
    };
    // What is deprecated counts gateway errors, and no others.
    if let Some(errors) = positive(settings.consecutive_errors) {
        detection.enforcing_consecutive_5xx = Some(0);
        detection.consecutive_gateway_failure = Some(errors);
        detection.enforcing_consecutive_gateway_failure = Some(100);
    }
    let enforced = |errors: u32| Some(if errors > 0 { 100 } else { 0 });
    if let Some(errors) = settings.consecutive_5xx_errors {
        detection.consecutive_5xx = Some(errors);
        detection.enforcing_consecutive_5xx = enforced(errors);
    }
    if let Some(errors) = settings.consecutive_gateway_errors {
        detection.consecutive_gateway_failure = Some(errors);
        detection.enforcing_consecutive_gateway_failure = enforced(errors);
    }
    if settings.split_external_local_origin_errors {
        let failures = settings.consecutive_local_origin_failures.filter(|failures| *failures > 0);
        detection.consecutive_local_origin_failure = failures;
        detection.enforcing_consecutive_local_origin_failure = failures.map(|_| 100);
        detection.enforcing_local_origin_success_rate = Some(0);
    }
    detection
}

/// What matches answers with one of these statuses; `None` where none is given.
fn errors(codes: &[u32]) -> Option<MatchPredicate> {
    let mut rules: Vec<_> = codes.iter().map(|code| has_status(*code)).collect();
    if rules.len() > 1 {
        return Some(MatchPredicate { rule: Some(Rule::OrMatch(MatchSet { rules })) });
    }
    rules.pop()
}

fn has_status(code: u32) -> MatchPredicate {
    let exact = text::exact(&code.to_string());
    let status = HeaderMatcher {
        name: ":status".to_owned(),
        header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(exact)),
        ..HeaderMatcher::default()
    };
    let headers = HttpHeadersMatch { headers: vec![status] };
    MatchPredicate { rule: Some(Rule::HttpResponseHeadersMatch(headers)) }
}
