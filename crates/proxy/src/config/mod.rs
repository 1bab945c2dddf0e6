//! xDS resources into runtime types.
//!
//! [`Applier`] takes the updates of a snapshot and keeps what is served; [`Bootstrap`] reads a static
//! configuration file. Both refuse what cannot be served with its path, and nothing is ignored in silence:
//! the capability table (`tidegate_envoy::capability`) says what is refused and what has no effect.
//!
//! | file | subject |
//! |---|---|
//! | `listener.rs`, `chains.rs` | runtime types of listeners; the choice of a filter chain |
//! | `applier.rs` | updates, one resource at a time |
//! | `clusters.rs`, `tables.rs`, `listeners.rs`, `listener_form.rs` | what is served of each kind, and its last good form |
//! | `slots.rs`, `leaving.rs` | names that outlive what fills them; chains that outlive their listener |
//! | `ports.rs` | sets of ports |
//! | `ask.rs` | what would become of a resource |
//! | `record.rs` | what `/config_dump` and verdicts tell of each resource |
//! | `judge.rs`, `split.rs`, `refusal.rs` | decoding, and how a refusal names its field |
//! | `compile/` | Envoy's messages into runtime types, without state |
//! | `bootstrap.rs`, `targets.rs` | a static configuration file, and the clusters that its routes name |

mod applier;
mod ask;
mod bootstrap;
pub mod chains;
mod clusters;
mod compile;
mod expiring;
mod judge;
mod leaving;
pub mod listener;
mod listener_form;
mod listeners;
pub mod ports;
mod record;
mod refusal;
mod slots;
mod split;
mod stand_in;
mod tables;
mod targets;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use applier::{Applied, Applier, Changed, Config, Delivered, Notice, Owner};
pub use ask::{matcher, would_take};
pub use bootstrap::{Bootstrap, BootstrapError};
pub use record::{Record, Records, Refused, Served};
pub use refusal::Refusal;
