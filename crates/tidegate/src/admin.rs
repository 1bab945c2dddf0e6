//! The proxy's admin interface and health endpoint, on the control runtime.

use std::net::TcpListener;
use std::sync::Arc;

use tidegate_proxy::admin::{Admin, Options, State};
use tidegate_proxy::view::View;

use crate::failure::{Failure, Outcome};

/// Serves what is told of a proxy at these (non-blocking) listeners until the process ends, and hands out who
/// answers there. Needs a runtime.
///
/// # Errors
/// A listener cannot be watched.
pub fn serve(
    view: &Arc<View>,
    admin: Option<TcpListener>,
    health: Option<TcpListener>,
) -> Outcome<Arc<Admin>> {
    let state: Arc<dyn State> = Arc::clone(view) as _;
    // As in Envoy, whoever reaches the interface may end the process; other sites' pages do not reach it.
    let options = Options { allow_quit: true, ..Options::default() };
    let interface = Admin::new(state, Arc::clone(view.registry()), options);
    if let Some(listener) = admin {
        tokio::spawn(Arc::clone(&interface).serve(watched(listener)?));
    }
    if let Some(listener) = health {
        tokio::spawn(Arc::clone(&interface).serve_health(watched(listener)?));
    }
    Ok(interface)
}

fn watched(listener: TcpListener) -> Outcome<tokio::net::TcpListener> {
    tokio::net::TcpListener::from_std(listener)
        .map_err(|error| Failure::new(format!("a listener cannot be watched: {error}")))
}
