//! What happens to endpoints, to their names and to what may not go out, for whoever tells people of it.

use std::fmt;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::dns::LookupError;
use super::outlier;
use super::wrong_tls::WrongTls;
use crate::egress::Denied;

/// Something happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Incident {
    /// To an endpoint.
    Endpoint(outlier::Event),
    /// To the name of endpoints.
    Name(NameEvent),
    /// To TLS that two sides mean differently.
    Tls(WrongTls),
    /// To what may not go out.
    Egress(Denied),
}

/// A name leads nowhere, or leads somewhere again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameEvent {
    /// The cluster that asked for it.
    pub cluster: Arc<str>,
    /// The name.
    pub name: Arc<str>,
    /// Why it has no address; nothing where it has one now.
    pub failure: Option<LookupError>,
}

/// Who is told.
pub type Listener = mpsc::UnboundedSender<Incident>;

impl fmt::Display for NameEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, failure, .. } = self;
        match failure {
            Some(why) => write!(f, "{name} is not resolved, so that it has no endpoints: {why}"),
            None => write!(f, "{name} is resolved"),
        }
    }
}
