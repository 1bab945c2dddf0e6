//! Envoy's messages into runtime types, one file per area. Nothing here holds state: what a message points
//! to by name comes through [`Links`].
//!
//! The capability table has been consulted before: a field that it refuses does not get here, so what is
//! not read below is either without effect by that table or has its default.

mod access_log;
mod address;
mod cluster;
mod cors;
mod dynamic;
mod endpoint;
mod fault;
mod filter_chain;
mod filters;
mod header;
mod jwt;
mod listener;
mod local_rate_limit;
mod manager;
pub(super) mod matching;
mod metadata;
mod mirror;
mod outlier;
mod proxy_header;
mod rate_limit;
mod rbac;
mod retry;
mod route;
mod source;
mod tls;
mod uri_template;
mod value;
mod virtual_host;

pub(super) use address::socket_address;
pub(super) use cluster::cluster;
pub(super) use endpoint::{Assigned, assignment};
pub(super) use filter_chain::{chain_criteria, filter_chain, without_routes_name};
pub(super) use listener::{ListenerShell, listener};
pub(super) use tls::secret;
pub(super) use virtual_host::{TableLevel, table_level, virtual_host};

use std::sync::Arc;

use crate::accesslog::Logs;
use crate::filter::jwt::remote::{KeySource, Origin};
use crate::tls::secret::SecretSlot;
use crate::upstream::ClusterSlot;

use super::listener::RouteSlot;
use super::refusal::{Refusal, Within as _};

/// What messages point to by name.
pub(super) trait Links {
    /// The slot of a cluster, whether the cluster exists or not.
    fn cluster(&mut self, name: &str) -> Arc<ClusterSlot>;

    /// The slot of a route configuration that comes as a resource of its own.
    fn routes(&mut self, name: &str) -> Arc<RouteSlot>;

    /// The slot of a secret, whether the secret is there or not.
    fn secret(&mut self, name: &str) -> Arc<SecretSlot>;

    /// The slot of a secret that the server behind a cluster is asked for.
    fn secret_of(&mut self, cluster: &str, name: &str) -> Arc<SecretSlot>;

    /// The keys that are fetched so, for all that say the same.
    fn keys(&mut self, origin: Origin) -> Arc<KeySource>;

    /// Says something of what is being compiled that whoever made it should know. Callers add where that stands, with
    /// [`noted`].
    fn notice(&mut self, notice: Refusal);

    /// What was said so far of the resource that is being compiled.
    fn notices(&mut self) -> &mut [Refusal];

    /// The access logs of the process; `None` when nothing is to be written, as when configuration is only
    /// looked at.
    fn logs(&self) -> Option<&Logs>;
}

/// Compiles a field: what is refused in it, and what is said of it, has its name in front.
pub(super) fn noted<L: Links, T>(
    links: &mut L,
    field: &str,
    compile: impl FnOnce(&mut L) -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    let before = links.notices().len();
    let compiled = compile(links).within(field);
    for notice in links.notices().iter_mut().skip(before) {
        *notice = std::mem::replace(notice, Refusal::new("")).within(field);
    }
    compiled
}

/// Whether an `Any` holds a `T`.
fn is<T: prost::Name>(any: &prost_types::Any) -> bool {
    tidegate_envoy::type_name(&any.type_url) == T::full_name()
}

/// A message in an `Any`, whose type the capability table has let through.
fn unpack<T: prost::Name + Default>(any: &prost_types::Any) -> Result<T, Refusal> {
    tidegate_envoy::unpack(any).map_err(Refusal::new)
}
