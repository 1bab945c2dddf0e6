//! What an HTTP rule may say.

use super::action::{
    CorsPolicy, FaultAbort, FaultDelay, HttpDirectResponse, HttpFaultInjection, HttpRedirect,
    HttpRetry, HttpRewrite,
};
use super::validate::validate_weights;
use super::{HttpMatchRequest, HttpRoute, HttpRouteDestination};
use crate::istio::StringMatch;
use crate::istio::rules::{self, headers, hosts};
use crate::metadata::validate_labels;
use crate::validation::Report;

/// Largest body of a fixed answer, in bytes, and the size from which it is worth a warning.
const MAX_BODY: usize = 1024 * 1024;
const LARGE_BODY: usize = 100 * 1024;

/// Conditions of `retryOn` besides numbers: Envoy's `x-envoy-retry-on` and `x-envoy-retry-grpc-on`.
const RETRY_ON: [&str; 16] = [
    "5xx",
    "gateway-error",
    "reset",
    "reset-before-request",
    "connect-failure",
    "retriable-4xx",
    "refused-stream",
    "retriable-status-codes",
    "retriable-headers",
    "envoy-ratelimited",
    "http3-post-connect-failure",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
];

/// Names of gRPC's statuses, in the order of their numbers.
const GRPC_STATUSES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

const METHODS: [&str; 10] =
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE", "*"];

impl HttpRoute {
    /// Checks one rule; `delegate` says that it belongs to a VirtualService without hosts.
    pub(super) fn validate(&self, delegate: bool, report: &mut Report) {
        self.validate_action(delegate, report);
        report.each("match", &self.matches, |report, condition| {
            condition.validate(report);
        });
        headers::changes(report, self.headers.as_deref());
        report.each("route", &self.route, |report, target| {
            target.validate(report);
        });
        let weights: Vec<Option<i32>> = self.route.iter().map(|target| target.weight).collect();
        validate_weights(&weights, report);
        report.optional("corsPolicy", self.cors_policy.as_ref(), |r, cors| {
            cors.validate(r);
        });
        report.optional("fault", self.fault.as_ref(), |r, fault| fault.validate(r));
        report.optional("redirect", self.redirect.as_ref(), |r, redirect| {
            redirect.validate(&self.matches, r);
        });
        report.optional("directResponse", self.direct_response.as_ref(), |r, answer| {
            answer.validate(r);
        });
        report.optional("retries", self.retries.as_ref(), |r, retries| {
            retries.validate(r);
        });
        report.optional("rewrite", self.rewrite.as_ref(), |r, rewrite| {
            rewrite.validate(r);
        });
        self.advise_on_path(delegate, report);
        self.validate_one_authority(report);
        self.validate_mirrors(report);
        rules::duration_or_zero(report, "timeout", self.timeout);
    }

    /// Tells what proxies refuse of one rule of an object that is in effect.
    pub(super) fn advise_unfit(&self, report: &mut Report) {
        for (field, fault) in self.unfit() {
            let advice = format!(
                "{fault}; proxies refuse it, and requests that the rule takes are answered 500"
            );
            report.field(&field, |r| r.advise(advice));
        }
    }

    /// A rule forwards, redirects, answers or delegates: one of them, and with what goes with it.
    fn validate_action(&self, delegate: bool, report: &mut Report) {
        let given = [
            ("redirect", self.redirect.is_some()),
            ("directResponse", self.direct_response.is_some()),
            ("route", !self.route.is_empty()),
            ("fault", self.fault.is_some()),
            ("rewrite", self.rewrite.is_some()),
        ];
        let clash = |report: &mut Report, with: &str, fields: &[&str]| {
            for (field, _) in given.iter().filter(|(f, given)| *given && fields.contains(f)) {
                report.wrong(format!("HTTP route cannot contain both {field} and {with}"));
            }
        };
        if self.delegate.is_some() && delegate {
            report.wrong("delegate HTTP route cannot contain delegate");
        } else if self.delegate.is_some() {
            clash(report, "delegate", &["redirect", "route", "directResponse"]);
        } else if self.redirect.is_some() {
            clash(report, "redirect", &["route", "directResponse", "fault", "rewrite"]);
        } else if self.direct_response.is_some() {
            clash(report, "directResponse", &["route", "fault", "rewrite"]);
        } else if self.keeps_default_route() {
            report.dialect(
                "names no route, so that requests keep the way they have without this rule; write the \
                 destination under route",
            );
        } else if self.route.is_empty() {
            report.field("route", |r| {
                r.required("HTTP route, redirect or direct_response is required");
            });
        }
    }

    /// Without a condition on the path, a rewrite has but the first slash to take the place of. Which conditions there are is
    /// known of rules that stand alone.
    fn advise_on_path(&self, delegate: bool, report: &mut Report) {
        let Some(rewrite) = self.rewrite.as_ref().filter(|_| !delegate && self.delegate.is_none())
        else {
            return;
        };
        let anywhere = self.matches.is_empty() || self.matches.iter().any(|m| m.uri.is_none());
        if anywhere && !rewrite.uri.is_empty() && !rewrite.uri.ends_with('/') {
            let uri = &rewrite.uri;
            let advice = format!(
                "where a condition asks for no uri, it takes the place of the first slash alone: /a becomes {uri}a; end it with \
                 a slash, or write uriRegexRewrite for the whole path"
            );
            report.field("rewrite", |r| r.field("uri", |r| r.advise(advice)));
        }
    }

    /// The host of a request may be rewritten in one place only.
    fn validate_one_authority(&self, report: &mut Report) {
        let rewrite = self.rewrite.as_ref().is_some_and(|rewrite| !rewrite.authority.is_empty());
        let request = self.headers.as_ref().and_then(|headers| headers.request.as_ref());
        let names = request.into_iter().flat_map(|ops| ops.set.keys().chain(ops.add.keys()));
        let headers = names.filter(|name| headers::is_authority(name)).count();
        if headers + usize::from(rewrite) > 1 {
            report.wrong("authority header cannot be set multiple times");
        }
    }

    fn validate_mirrors(&self, report: &mut Report) {
        if self.mirror.is_some() && !self.mirrors.is_empty() {
            report.wrong("HTTP route cannot contain both mirror and mirrors");
        }
        report.optional("mirror", self.mirror.as_ref(), |r, destination| {
            destination.validate(r);
        });
        if let Some(percent) = self.mirror_percent {
            report.field("mirrorPercent", |report| {
                report.advise("is deprecated, use mirrorPercentage instead");
                if percent > 100 {
                    report.invalid(percent, "must have a max value of 100");
                }
            });
        }
        rules::percent_up_to_all(report, "mirrorPercentage", self.mirror_percentage);
        report.each("mirrors", &self.mirrors, |report, mirror| {
            report.field("destination", |r| mirror.destination.validate(r));
            rules::percent_up_to_all(report, "percentage", mirror.percentage);
        });
    }
}

impl HttpRouteDestination {
    fn validate(&self, report: &mut Report) {
        report.field("destination", |r| self.destination.validate(r));
        rules::not_negative(report, "weight", self.share());
        headers::changes(report, self.headers.as_deref());
    }
}

impl HttpMatchRequest {
    fn validate(&self, report: &mut Report) {
        // An empty prefix of a path is Envoy's "everything"; other texts have to say something.
        report.optional("uri", self.uri.as_ref(), |report, uri| {
            rules::string_match_regex(report, uri);
            advise_on_uri(uri, report);
        });
        report.optional("scheme", self.scheme.as_ref(), rules::string_match);
        report.optional("method", self.method.as_ref(), rules::string_match);
        report.optional("authority", self.authority.as_ref(), rules::string_match);
        report.entries("headers", &self.headers, |report, name, condition| {
            report.check(name, headers::matchable(name));
            rules::string_match(report, condition);
        });
        report.entries("withoutHeaders", &self.without_headers, |report, name, condition| {
            report.check(name, headers::matchable(name));
            // Here `*` is no expression but means "the header is there".
            if *condition != StringMatch::Regex("*".to_owned()) {
                rules::string_match(report, condition);
            }
        });
        report.entries("queryParams", &self.query_params, |report, _, condition| {
            rules::string_match(report, condition);
        });
        validate_labels("sourceLabels", &self.source_labels, report);
        rules::gateway_names(report, &self.gateways);
        if !self.source_namespace.is_empty() && !hosts::is_label(&self.source_namespace) {
            report.field("sourceNamespace", |r| {
                r.invalid(self.source_namespace.as_str(), "must be the name of a namespace");
            });
        }
        if let Some((field, fault)) = self.unfit() {
            let advice = format!("{fault}; proxies refuse it, so that the condition is never met");
            report.field(&field, |r| r.advise(advice));
        }
    }
}

/// What no path, or hardly any, can be.
fn advise_on_uri(uri: &StringMatch, report: &mut Report) {
    let (StringMatch::Exact(text) | StringMatch::Prefix(text)) = uri else { return };
    // `OPTIONS *` asks for the server as a whole.
    if text.is_empty() || text == "*" {
        return;
    }
    if !text.starts_with('/') {
        report.advise(format!("a path begins with a slash, so that {text:?} is never met"));
    } else if let Some(before) = text.strip_suffix('*') {
        report.advise(format!(
            "the asterisk stands for itself: prefix {before:?} takes every path that begins so"
        ));
    }
}

impl HttpRedirect {
    fn validate(&self, matches: &[HttpMatchRequest], report: &mut Report) {
        if !self.uri.is_empty() && !self.prefix_rewrite.is_empty() {
            report.wrong("redirect may only specify one of uri or prefixRewrite");
        }
        let other = |condition: &HttpMatchRequest| {
            condition.uri.as_ref().is_some_and(|uri| !matches!(uri, StringMatch::Prefix(_)))
        };
        if !self.prefix_rewrite.is_empty() && matches.iter().any(other) {
            report.field("prefixRewrite", |r| {
                r.invalid(self.prefix_rewrite.as_str(), "requires all URI matches to use prefix");
            });
        }
        let texts = [&self.uri, &self.prefix_rewrite, &self.authority, &self.scheme];
        let port = self.port.is_some() || self.derive_port.is_some();
        if texts.iter().all(|text| text.is_empty()) && !port {
            report.wrong("redirect must specify URI, authority, scheme, or port");
        }
        if self.redirect_code != 0 && !(300..=399).contains(&self.redirect_code) {
            report.field("redirectCode", |r| {
                r.invalid(self.redirect_code, "is not a valid redirect code, must be 3xx");
            });
        }
        if !matches!(self.scheme.as_str(), "" | "http" | "https") {
            report.field("scheme", |r| {
                r.not_supported(self.scheme.as_str(), &["http", "https"]);
            });
        }
    }
}

impl HttpDirectResponse {
    fn validate(&self, report: &mut Report) {
        if !(200..=600).contains(&self.status) {
            report.field("status", |r| {
                r.invalid(self.status, "must be in range 200-600");
            });
        }
        let size = self.body.as_ref().map_or(0, |body| body.as_bytes().len());
        if size > MAX_BODY {
            report.field("body", |r| {
                r.too_long(format!("must be at most {MAX_BODY} bytes"));
            });
        } else if size > LARGE_BODY {
            report.field("body", |r| {
                r.advise("is large and goes to every gateway with the routes");
            });
        }
    }
}

impl HttpRetry {
    fn validate(&self, report: &mut Report) {
        rules::not_negative(report, "attempts", self.attempts);
        let configured = self.per_try_timeout.is_some()
            || !self.retry_on.is_empty()
            || self.retry_remote_localities.is_some();
        if self.attempts == 0 && configured {
            report.wrong("http retry policy configured when attempts are set to 0 (disabled)");
        }
        rules::duration(report, "perTryTimeout", self.per_try_timeout);
        rules::duration(report, "backoff", self.backoff);
        report.field("retryOn", |report| {
            let words = self.retry_on.split(',').filter(|_| !self.retry_on.is_empty());
            for word in words {
                let status = word.parse().is_ok_and(is_status);
                if !status && !RETRY_ON.contains(&word) {
                    report.invalid(word, unknown_condition(word));
                }
            }
        });
    }
}

/// What is wrong with a word of `retryOn`, and what may stand there.
fn unknown_condition(word: &str) -> String {
    let trimmed = word.trim();
    let spaces =
        trimmed != word && (RETRY_ON.contains(&trimmed) || trimmed.parse().is_ok_and(is_status));
    let remedy = match spaces {
        true => "write the list without spaces".to_owned(),
        false => format!("use statuses such as 503, and {}", RETRY_ON.join(", ")),
    };
    format!("is not a valid retryOn policy: {remedy}")
}

/// Whether HTTP has a status of that number (IANA's registry, as Go's library knows it).
fn is_status(code: u16) -> bool {
    matches!(code,
        100..=103 | 200..=208 | 226 | 300..=305 | 307 | 308 | 400..=418 | 421..=426 | 428 | 429 | 431
        | 451 | 500..=508 | 510 | 511)
}

impl HttpRewrite {
    fn validate(&self, report: &mut Report) {
        if !self.uri.is_empty() && self.uri_regex_rewrite.is_some() {
            report.wrong("rewrite may only contain one of uri or uriRegexRewrite");
        }
        if self.uri.is_empty() && self.uri_regex_rewrite.is_none() && self.authority.is_empty() {
            report.wrong("rewrite must specify at least one of uri, uriRegexRewrite, or authority");
        }
        report.optional("uriRegexRewrite", self.uri_regex_rewrite.as_ref(), |report, rewrite| {
            report.field("match", |r| rules::regex(r, &rewrite.pattern));
            if rewrite.rewrite.is_empty() {
                report.field("rewrite", |r| {
                    r.required("say what to put in place of the match");
                });
            }
        });
    }
}

impl HttpFaultInjection {
    fn validate(&self, report: &mut Report) {
        if self.abort.is_none() && self.delay.is_none() {
            report.wrong("HTTP fault injection must have an abort and/or a delay");
        }
        report.optional("abort", self.abort.as_ref(), |r, abort| abort.validate(r));
        report.optional("delay", self.delay.as_ref(), |r, delay| delay.validate(r));
    }
}

impl FaultAbort {
    /// The number of the gRPC status.
    #[must_use]
    pub fn grpc_code(&self) -> Option<u32> {
        let name = self.grpc_status.as_deref()?;
        (0..).zip(GRPC_STATUSES).find(|(_, status)| *status == name).map(|(code, _)| code)
    }

    fn validate(&self, report: &mut Report) {
        rules::percent(report, "percentage", self.percentage);
        if let Some(status) = self.http_status.filter(|status| !(200..=600).contains(status)) {
            report.field("httpStatus", |r| {
                r.invalid(status, "must be in range 200-600");
            });
        }
        if let Some(status) = self.grpc_status.as_deref().filter(|s| !GRPC_STATUSES.contains(s)) {
            report.field("grpcStatus", |r| r.not_supported(status, &GRPC_STATUSES));
        }
        if self.http2_error.is_some() {
            report.field("http2Error", |r| {
                r.forbidden("HTTP/2 abort fault injection is not supported");
            });
        }
        if self.http_status.is_none() && self.grpc_status.is_none() && self.http2_error.is_none() {
            report.advise("has no effect without httpStatus or grpcStatus");
        }
    }
}

impl FaultDelay {
    fn validate(&self, report: &mut Report) {
        if self.percentage.is_none() && self.percent == 0 {
            report.advise("delays nothing without percentage: write percentage.value, up to 100");
        }
        rules::percent(report, "percentage", self.percentage);
        rules::duration(report, "fixedDelay", self.fixed_delay);
        if self.exponential_delay.is_some() {
            report.field("exponentialDelay", |r| {
                r.forbidden("exponentialDelay is not supported");
            });
        }
    }
}

impl CorsPolicy {
    fn validate(&self, report: &mut Report) {
        report.each("allowOrigins", &self.allow_origins, |report, origin| match origin {
            StringMatch::Exact(text) | StringMatch::Prefix(text) if text.is_empty() => {
                report.wrong("an empty text is not a valid match for CORS allow origins");
            }
            StringMatch::Present => {
                report.required("one of exact, prefix and regex has to be given");
            }
            origin => rules::string_match_regex(report, origin),
        });
        report.each("allowMethods", &self.allow_methods, |report, method| {
            if !METHODS.contains(&method.as_str()) {
                report.not_supported(method.as_str(), &METHODS);
            }
        });
        for (field, names) in
            [("allowHeaders", &self.allow_headers), ("exposeHeaders", &self.expose_headers)]
        {
            report.each(field, names, |r, name| {
                r.check(name.as_str(), headers::cors(name));
            });
        }
        rules::duration(report, "maxAge", self.max_age);
        if self.max_age.is_some_and(|age| age.get().subsec_nanos() > 0) {
            report.field("maxAge", |r| {
                r.wrong("is accurate only to seconds precision");
            });
        }
    }
}
