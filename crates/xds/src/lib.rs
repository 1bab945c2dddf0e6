//! The waist: named, versioned xDS resources, published by pilot and read by the proxy.
//!
//! A [`Snapshot`] is the current set of resources. Whoever compiles publishes a [`Change`]; whoever serves
//! subscribes and receives [`Update`]s: first everything, then only what differs. A slow subscriber gets
//! fewer, larger updates, never an unbounded queue: what waits for it is a set of names, at most one entry
//! per resource. Publishing costs what changed, whatever the size of the table.
//!
//! The way back is a [`Verdict`]: the generation that a subscriber serves, and what it refused. Status reads
//! all of them through [`Snapshot::verdicts`].
//!
//! Resources are held as encoded bytes; their structs live only while they are built. A route configuration
//! is held as a skeleton and one resource per virtual host, and [`assemble`] joins them for consumers that
//! want the whole (Envoy over ADS, a static bootstrap).

pub mod assemble;
pub mod bootstrap;
mod resource;
mod snapshot;
mod verdict;

pub use resource::{Change, Resource, ResourceType, Update};
pub use snapshot::{Snapshot, Subscription};
pub use verdict::{Doubtful, Rejection, SubscriberId, Unfetched, Verdict, Verdicts};
