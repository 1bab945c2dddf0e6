//! What is done to a request's head on its way, in the one order in which it is done: before it is routed, and when it is
//! known where it goes. Whoever asks what would happen to a request asks these functions, too.

use std::net::SocketAddr;
use std::time::Duration;

use super::forwarding;
use super::h1::encode::Decimal;
use super::head::{ClientCertificate, RequestHead, Scheme, Version};
use super::known::Known;
use super::local::LocalReply;
use super::path;
use crate::config::listener::HttpManager;
use crate::random::Random;
use crate::route::{Facts, Forward, Route, Target, grpc};
use crate::tls::Settled;

/// The connection that a request came on.
#[derive(Clone, Copy, Debug)]
pub struct Hop<'a> {
    /// The peer's address.
    pub peer: SocketAddr,
    /// Our address.
    pub local: SocketAddr,
    /// What the handshake settled, when TLS is terminated here.
    pub tls: Option<&'a Settled>,
    /// Whether the request asks to change the protocol of the connection.
    pub upgrade: bool,
}

/// A request that is not routed, and what it is answered.
#[derive(Debug)]
pub enum Unfit {
    /// Its version or scheme is not served.
    Request(LocalReply),
    /// Its path is refused, or is to be asked for in another form.
    Path(LocalReply),
}

/// Refuses what is not served, normalises the authority and the path, and settles who the client is: its address, as far
/// as it can be believed.
///
/// # Errors
/// See [`Unfit`].
pub fn arrive(
    head: &mut RequestHead,
    manager: &HttpManager,
    hop: Hop<'_>,
    random: &Random,
) -> Result<SocketAddr, Unfit> {
    if head.version == Version::Http10 && !manager.accept_http_10 {
        return Err(Unfit::Request(LocalReply::upgrade_required()));
    }
    // In HTTP/2 the connection's scheme is taken, whatever a request says, as by Envoy.
    if hop.tls.is_some() {
        head.scheme = Scheme::Https;
    } else if head.scheme == Scheme::Https && head.version != Version::Http2 {
        return Err(Unfit::Request(LocalReply::wrong_scheme()));
    }
    head.certificate = match hop.tls.and_then(|tls| tls.peer.as_ref()) {
        None => ClientCertificate::None,
        Some(peer) if peer.verified => ClientCertificate::Verified,
        Some(_) => ClientCertificate::Presented,
    };
    path::strip_trailing_dot(head, manager);
    path::strip_port(head, manager, hop.local.port());
    path::normalize(head, manager.into()).map_err(Unfit::Path)?;
    Ok(forwarding::request(head, manager, hop.peer, hop.tls, hop.upgrade, random))
}

/// Whether the change of protocol that a request asks for is allowed where it goes.
#[must_use]
pub fn may_upgrade(head: &RequestHead, manager: &HttpManager, forward: &Forward) -> bool {
    let protocol = head.headers.get_known(Known::Upgrade).unwrap_or_default();
    forward.upgrade(protocol).unwrap_or_else(|| {
        let mut allowed = manager.upgrades.iter();
        allowed.any(|name| name.as_bytes().eq_ignore_ascii_case(protocol))
    })
}

/// Changes a request as the route and the target that were chosen for it say.
pub fn depart(
    head: &mut RequestHead,
    manager: &HttpManager,
    (route, forward, target): (&Route, &Forward, &Target),
    facts: &Facts<'_>,
) {
    let facts =
        Facts { route: Some(&route.name), cluster: Some(&target.cluster.name), ..facts.clone() };
    target.request_headers.apply_to_request(head, &facts);
    route.request_headers.apply_to_request(head, &facts);
    let tell = !manager.suppress_envoy_headers;
    forward.rewrite(head, target, tell);
    if let (true, Some(path)) = (tell, head.original_path()) {
        let path = path.to_vec();
        head.headers.set_known(Known::OriginalPath, &path);
    }
}

/// Tells the endpoint which attempt at the request this is.
pub fn tell_attempt(head: &mut RequestHead, number: u32) {
    head.headers.set(b"x-envoy-attempt-count", &Decimal::new(number.into()));
}

/// Tells the endpoint how long it has; `grpc` says that a call is told so in its own words too.
pub fn tell_time(
    head: &mut RequestHead,
    manager: &HttpManager,
    time: Option<Duration>,
    grpc: bool,
) {
    let Some(time) = time else { return };
    if !manager.suppress_envoy_headers {
        let milliseconds = Decimal::new(time.as_millis() as u64);
        head.headers.set(b"x-envoy-expected-rq-timeout-ms", &milliseconds);
    }
    if grpc {
        head.headers.set(grpc::TIMEOUT, grpc::written(time).as_bytes());
    }
}
