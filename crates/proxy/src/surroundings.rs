//! Why a listener's address could not be bound, and what to do about it.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::remote::Remote;

/// What a proxy has to know of the process around it to say who has a port, and how to take another one.
/// Clones are the same.
#[derive(Clone)]
pub struct Surroundings {
    own: Arc<Mutex<Vec<(SocketAddr, String)>>>,
    remedy: Arc<dyn Fn(u16) -> String + Send + Sync>,
}

impl Surroundings {
    /// `remedy` says in the imperative how a listener at this port gets another one.
    pub fn new(remedy: impl Fn(u16) -> String + Send + Sync + 'static) -> Self {
        Self { own: Arc::default(), remedy: Arc::new(remedy) }
    }

    /// Says that the process itself listens there, beside the proxy's listeners: `what`, as in
    /// `the admin interface of this process`.
    pub fn add(&self, address: SocketAddr, what: impl Into<String>) {
        self.own.lock().unwrap_or_else(PoisonError::into_inner).push((address, what.into()));
    }

    /// Why `address` could not be bound; `listeners` are those that the proxy has open.
    pub(crate) fn why_unbound<'a>(
        &self,
        address: &Remote,
        error: &io::Error,
        listeners: impl IntoIterator<Item = (&'a Arc<str>, &'a SocketAddr)>,
    ) -> String {
        let address = match address {
            Remote::Ip(address) => *address,
            Remote::Pipe(path) => return why_no_socket(path, error),
        };
        let remedy = || (self.remedy)(address.port());
        match error.kind() {
            io::ErrorKind::AddrInUse => match self.holder(address, listeners) {
                Some(own) => {
                    format!("cannot listen on {address}: {own} has the port; {}", remedy())
                }
                None => format!(
                    "cannot listen on {address}: another process has the port; stop it, or {}",
                    remedy()
                ),
            },
            io::ErrorKind::PermissionDenied => format!(
                "cannot listen on {address}: ports below 1024 need root or CAP_NET_BIND_SERVICE; {}",
                remedy()
            ),
            io::ErrorKind::AddrNotAvailable => {
                format!("cannot listen on {address}: this machine does not have that address")
            }
            _ => format!("cannot listen on {address}: {error}"),
        }
    }

    /// Which listener of this very process has an address.
    fn holder<'a>(
        &self,
        address: SocketAddr,
        listeners: impl IntoIterator<Item = (&'a Arc<str>, &'a SocketAddr)>,
    ) -> Option<String> {
        let own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        let known = own.iter().find(|(other, _)| clash(*other, address));
        if let Some((_, what)) = known {
            return Some(what.clone());
        }
        let mut listeners = listeners.into_iter();
        let (name, _) = listeners.find(|(_, other)| clash(**other, address))?;
        Some(format!("the listener {name} of this process"))
    }
}

/// Why a Unix socket could not be bound.
fn why_no_socket(path: &str, error: &io::Error) -> String {
    let folder = Path::new(path).parent().unwrap_or(Path::new("/")).display();
    let why = match error.kind() {
        io::ErrorKind::AddrInUse => {
            "somebody listens there already; stop that, or give the listener another path"
                .to_owned()
        }
        io::ErrorKind::NotFound => format!("there is no folder {folder}; make it"),
        io::ErrorKind::PermissionDenied => format!(
            "user {} may not make a socket in {folder}; let that one write there, or give the listener another path",
            rustix::process::geteuid().as_raw()
        ),
        _ => error.to_string(),
    };
    format!("cannot listen on {path}: {why}")
}

/// Whether two sockets that do not share cannot both listen.
fn clash(a: SocketAddr, b: SocketAddr) -> bool {
    let any = a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && (any || a.ip() == b.ip())
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surroundings").field("own", &self.own).finish_non_exhaustive()
    }
}

/// A process that has nothing else open and no way to map ports.
impl Default for Surroundings {
    fn default() -> Self {
        Self::new(|_| "give the listener another port".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(surroundings: &Surroundings, address: &str, kind: io::ErrorKind) -> String {
        let address = Remote::Ip(address.parse().expect("an address"));
        let listener = (Arc::from("web"), "192.0.2.1:8080".parse().expect("an address"));
        surroundings.why_unbound(&address, &kind.into(), [(&listener.0, &listener.1)])
    }

    #[test]
    fn says_who_has_the_port_and_how_to_take_another() {
        let surroundings = Surroundings::new(|port| format!("move {port}"));
        let admin = "127.0.0.1:15000".parse().expect("an address");
        surroundings.clone().add(admin, "the admin interface");
        let taken = io::ErrorKind::AddrInUse;
        let cases = [
            ("0.0.0.0:15000", "the admin interface has the port; move 15000"),
            ("127.0.0.2:15000", "another process has the port; stop it, or move 15000"),
            ("0.0.0.0:8080", "the listener web of this process has the port; move 8080"),
            ("0.0.0.0:80", "another process has the port; stop it, or move 80"),
        ];
        for (address, expected) in cases {
            let told = said(&surroundings, address, taken);
            assert_eq!(told, format!("cannot listen on {address}: {expected}"));
        }
        let denied = said(&surroundings, "0.0.0.0:80", io::ErrorKind::PermissionDenied);
        assert!(denied.contains("CAP_NET_BIND_SERVICE; move 80"), "{denied}");
    }
}
