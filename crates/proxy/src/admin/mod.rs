//! The admin interface on port 15000, in the shapes of Envoy, and the health port 15021.
//!
//! It runs on the control runtime and asks whoever implements [`State`]; large answers are made piece by
//! piece while they are sent. It is for the operator of this machine: it has no authentication, so it
//! listens on loopback, refuses names that are not this machine's (DNS rebinding) and orders that a web
//! page of another site gives. Secrets are never shown.
//!
//! Not here: profilers, `/runtime`, `/reset_counters` (a metric has one writer, and that is not the admin
//! interface), `/init_dump`, and levels of single loggers.

mod answer;
mod certs;
mod clusters;
mod commands;
mod dump;
mod health;
mod origin;
mod server;
mod state;
mod views;

#[cfg(test)]
mod tests;

pub use answer::{Answer, Pieces};
pub use server::{Admin, Options};
pub use state::{
    About, Accepted, Cluster, Drain, Endpoint, Health, Lifecycle, Listener, Locality, Origin,
    Rejected, Resource, State, Thresholds,
};
