//! VirtualService: where requests and connections for a host go.
//!
//! One file per layer: [`http`] with its conditions in [`mod@matches`] and actions in [`action`], TLS and TCP
//! in [`l4`].

use schemars::JsonSchema;
use serde::Deserialize;

use crate::scalar::Port;

pub mod action;
pub mod http;
pub mod l4;
pub mod matches;
mod unfit;
mod validate;
mod validate_http;

pub use action::{
    CorsPolicy, Delegate, DerivePort, DirectResponseBody, FaultAbort, FaultDelay, HeaderOperations,
    Headers, HttpDirectResponse, HttpFaultInjection, HttpRedirect, HttpRetry, HttpRewrite,
    RedirectPort, RegexRewrite, UnmatchedPreflights,
};
pub use http::{HttpMirrorPolicy, HttpRoute, HttpRouteDestination};
pub use l4::{L4MatchAttributes, RouteDestination, TcpRoute, TlsMatchAttributes, TlsRoute};
pub use matches::HttpMatchRequest;
pub use unfit::Unfit;
pub use validate::without_share;

/// Routes the traffic of one or more hosts: HTTP requests, TLS connections by SNI, TCP connections.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VirtualService {
    /// The hosts that are routed: names (short ones mean a service of the own namespace), names with a
    /// leading `*.`, IP addresses, or `*`. Without hosts the object is a delegate that others refer to.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Gateways that apply these routes, as `name` or `namespace/name`; `mesh` stands for all sidecars and
    /// is what an absent list means.
    #[serde(default)]
    pub gateways: Vec<String>,
    /// Rules for HTTP requests. The first that matches is used; one without conditions ends the list. At a
    /// gateway, where several VirtualServices have a host, the rules of the oldest come first, those without conditions last.
    #[serde(default)]
    pub http: Vec<HttpRoute>,
    /// Rules for TLS connections that are not terminated, by SNI. The first that matches is used.
    #[serde(default)]
    pub tls: Vec<TlsRoute>,
    /// Rules for opaque TCP connections. The first that matches is used.
    #[serde(default)]
    pub tcp: Vec<TcpRoute>,
    /// Namespaces that see these routes: names, `.` for the own one, `*` for all, `~` for none. All when absent. At a
    /// gateway, rules for its namespace alone come before those for namespaces by name, and these before those for all.
    #[serde(default)]
    pub export_to: Vec<String>,
}

/// A service to send traffic to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Destination {
    /// Name of the service, from the registry or a ServiceEntry. A short name means one of the
    /// VirtualService's own namespace.
    pub host: String,
    /// A subset that a DestinationRule defines for the host.
    #[serde(default)]
    pub subset: String,
    /// The service's port; needed when it has several.
    pub port: Option<PortSelector>,
}

/// A port of a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PortSelector {
    /// The port number, 1 to 65535. Validation refuses a selector without one.
    #[serde(default, deserialize_with = "crate::scalar::zero_is_no_port")]
    #[schemars(schema_with = "crate::scalar::port_or_zero")]
    pub number: Option<Port>,
}

impl Destination {
    /// The port that is asked for, if any.
    pub fn port_number(&self) -> Option<Port> {
        self.port.and_then(|selector| selector.number)
    }
}

#[cfg(test)]
mod tests;
