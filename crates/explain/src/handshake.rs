//! What the handshake of a connection comes to, and why another server's host is answered 421.

use tidegate_proxy::config::listener::{FilterChain, NetworkFilter};

use crate::World;
use crate::answer::{Error, Source};
use crate::follow::Refusal;
use crate::lost::without_port;
use crate::question::{Question, Security};
use tidegate_pilot::model::host::{Host, HostSet};
use tidegate_pilot::origins::Origin;

/// Whether a filter chain and a client understand each other.
pub(crate) fn check(chain: &FilterChain, question: &Question) -> Result<(), Refusal> {
    let Some(tls) = &chain.tls else {
        return match (&chain.filter, question.security) {
            (NetworkFilter::Http(_), Security::Tls) => {
                let reason =
                    "the port speaks plain HTTP, and the client begins with a TLS handshake";
                Err((Error::ProtocolError, Some(400), reason.to_owned()))
            }
            _ => Ok(()),
        };
    };
    if question.security == Security::Plain {
        let reason = "the port speaks TLS, and the client begins in plain text".to_owned();
        return Err((Error::TlsError, None, reason));
    }
    if let Err(not_ready) = tls.configs() {
        return Err((Error::TlsError, None, format!("no handshake can be held: {not_ready}")));
    }
    if tls.require_client_certificate && !question.client_certificate {
        let reason = "the server demands a certificate of the client, and none is shown".to_owned();
        return Err((Error::MtlsError, None, reason));
    }
    Ok(())
}

impl World {
    /// The servers of a listener that a host belongs to, as places, where requests for it came to another: why
    /// they are answered 421.
    pub(crate) fn misdirected(&self, listener: &str, host: &str) -> Option<(String, Vec<Source>)> {
        let host = Host::new(without_port(host));
        let plan = self.pilot.listener_plan(listener)?;
        let all: HostSet = plan.servers.iter().flat_map(|s| s.names().cloned()).collect();
        let name = all.narrowest(&host)?;
        let owners = plan.servers.iter().filter(|server| server.names().any(|n| *n == name));
        let from: Vec<Source> = owners
            .map(|server| self.source(&Origin::new(server.key.clone(), server.place())))
            .collect();
        let note = format!(
            "host {host} belongs to a server with other TLS terms than this connection has (certificate, client \
             certificate or versions): the client is to connect anew, with {host} as server name"
        );
        Some((note, from))
    }
}
