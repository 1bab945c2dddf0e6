//! `/healthz/ready` on its own port, for load balancers and kubelets: open to everybody, telling nothing else.

use http::{Method, Request, StatusCode};

use super::answer::Answer;
use super::server::Admin;
use super::state::Lifecycle;

/// 200 once every worker serves what was configured at start, 503 before and while the process drains.
pub(super) fn answer<B>(admin: &Admin, request: &Request<B>) -> Answer {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Answer::error(StatusCode::METHOD_NOT_ALLOWED, "");
    }
    if request.uri().path() != "/healthz/ready" {
        return Answer::error(StatusCode::NOT_FOUND, "");
    }
    let ready = admin.lifecycle() == Lifecycle::Live && admin.state.serves_initial_configuration();
    Answer::error(if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, "")
}
