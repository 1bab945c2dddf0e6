//! HTTP rules: which requests, and what happens to them.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    CorsPolicy, Delegate, Destination, Headers, HttpDirectResponse, HttpFaultInjection,
    HttpMatchRequest, HttpRedirect, HttpRetry, HttpRewrite,
};
use crate::scalar::{GoDuration, Percent};

/// One HTTP rule: conditions, and what happens to the requests that meet them.
///
/// A rule with a `timeout` or `retries` but nothing that says where to go is a dialect of guide 001: the
/// requests go where they would go without it, under that limit. A gateway has no such way: there the rule takes none.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "HTTPRoute")]
pub struct HttpRoute {
    /// Name of the rule, shown in logs together with the name of the condition that matched.
    #[serde(default)]
    pub name: String,
    /// Conditions, any one of which is enough. None means every request.
    #[serde(default, rename = "match")]
    pub matches: Vec<HttpMatchRequest>,
    /// Destinations, chosen by weight.
    #[serde(default)]
    pub route: Vec<HttpRouteDestination>,
    /// Answer with a redirect instead of forwarding.
    pub redirect: Option<Box<HttpRedirect>>,
    /// Answer with a fixed status and body instead of forwarding.
    pub direct_response: Option<Box<HttpDirectResponse>>,
    /// Go on with the rules of another VirtualService.
    pub delegate: Option<Box<Delegate>>,
    /// Change path or host before forwarding.
    pub rewrite: Option<Box<HttpRewrite>>,
    /// Limit for the whole request, retries included. None when absent or 0s.
    #[serde(default)]
    #[schemars(schema_with = "crate::scalar::duration_or_zero")]
    pub timeout: Option<GoDuration>,
    /// When and how often a failed request is tried again.
    pub retries: Option<Box<HttpRetry>>,
    /// Delay or fail requests on purpose.
    pub fault: Option<Box<HttpFaultInjection>>,
    /// Send a copy of each request to this destination too; its answer is dropped.
    pub mirror: Option<Box<Destination>>,
    /// Send copies to several destinations.
    #[serde(default)]
    pub mirrors: Vec<HttpMirrorPolicy>,
    /// Deprecated: share of requests that `mirror` copies, a whole number of percent.
    #[schemars(extend("nullable" = true))]
    pub mirror_percent: Option<u32>,
    /// Share of requests that `mirror` copies; all when absent.
    pub mirror_percentage: Option<Percent>,
    /// Cross-origin resource sharing, handled at the proxy.
    pub cors_policy: Option<Box<CorsPolicy>>,
    /// Changes to headers of requests and responses.
    pub headers: Option<Box<Headers>>,
}

impl HttpRoute {
    /// Whether the rule only limits requests and leaves their way as it is (the dialect of guide 001).
    pub fn keeps_default_route(&self) -> bool {
        self.route.is_empty()
            && self.redirect.is_none()
            && self.direct_response.is_none()
            && self.delegate.is_none()
            && (self.timeout.is_some() || self.retries.is_some())
    }
}

/// One destination of an HTTP rule.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "HTTPRouteDestination")]
pub struct HttpRouteDestination {
    /// Where requests go.
    pub destination: Destination,
    /// Share of the requests relative to the other destinations' weights; 0 beside others sends nothing. One destination
    /// alone gets every request, whatever its weight.
    pub weight: Option<i32>,
    /// Changes to headers for this destination only.
    pub headers: Option<Box<Headers>>,
}

impl HttpRouteDestination {
    /// Its weight; 0 where none is written.
    pub fn share(&self) -> i32 {
        self.weight.unwrap_or(0)
    }
}

/// A destination that gets copies of requests.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "HTTPMirrorPolicy")]
pub struct HttpMirrorPolicy {
    /// Where copies go.
    pub destination: Destination,
    /// Share of requests that are copied; all when absent.
    pub percentage: Option<Percent>,
}
