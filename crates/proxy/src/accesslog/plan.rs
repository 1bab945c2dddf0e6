//! What a listener logs, and what must therefore be kept of a request.

use std::sync::Arc;

/// Which headers a format asks for beyond those that every [`Record`](super::Record) keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CapturePlan {
    request: Vec<Box<str>>,
    response: Vec<Box<str>>,
    trailer: Vec<Box<str>>,
}

impl CapturePlan {
    /// Request headers to keep, in lower case; the index is what
    /// [`Field::Request`](super::Field::Request) takes.
    pub fn request(&self) -> &[Box<str>] {
        &self.request
    }

    /// Response headers to keep; the index is what [`Field::Response`](super::Field::Response) takes.
    pub fn response(&self) -> &[Box<str>] {
        &self.response
    }

    /// Response trailers to keep; the index is what [`Field::Trailer`](super::Field::Trailer) takes.
    pub fn trailer(&self) -> &[Box<str>] {
        &self.trailer
    }
}

/// What one connection manager, TCP proxy or listener logs. Each worker should hold an `Arc` of its own, as
/// every record counts a reference.
#[derive(Clone, Debug, Default)]
pub struct AccessLog {
    plan: Arc<CapturePlan>,
}

impl AccessLog {
    /// What must be kept of each request.
    pub fn plan(&self) -> &CapturePlan {
        &self.plan
    }
}
