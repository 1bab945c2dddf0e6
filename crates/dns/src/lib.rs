//! A DNS proxy: what a table has it answers itself, everything else it forwards to the machine's resolvers as it came.
//!
//! ```text
//!               ┌── Table: names → addresses, or another name
//! query ──► DnsProxy ──► Upstream ──► the resolvers of resolv.conf
//!               └── Led: address → the name that was asked for
//! ```
//!
//! - A name of the table has the addresses that stand there and no others: the other family is an empty answer, never
//!   "there is no such name", which only a resolver says.
//! - What is forwarded keeps every bit but its id: EDNS, the DO bit, upper and lower case, types that nobody here knows.
//! - An answer counts only from the server that was asked, at the port that asked, with its id and its question
//!   (RFC 5452); ids and ports are random.
//! - While no resolver answers, or all fail, the addresses that they told last are told for 30 s each time, for a day (RFC 8767).
//! - What a peer can grow is bounded: queries under way, connections, how long one idles, names and answers remembered.
//! - A query that this proxy sent itself is noticed when it comes back, as it does where its own traffic is redirected.
//!
//! It knows nothing of who fills the table, and starts nothing: [`Server::bind`] takes sockets, [`Server::serve`] runs on the
//! caller's runtime.
//!
//! Known gaps: zone transfers are refused, the table has no SOA record, so that
//! clients do not keep its empty answers.

mod led;
mod message;
mod proxy;
mod recent;
mod resolv_conf;
mod server;
mod stale;
mod table;
mod upstream;
mod watched;

pub use hickory_proto::rr::Name;

pub use self::proxy::{Counters, DnsProxy};
pub use self::resolv_conf::ResolvConf;
pub use self::server::{BindError, Server};
pub use self::table::{Host, InvalidName, Leads, host_name};
pub use self::upstream::Upstream;
pub use self::watched::Watched;

/// Entry points for fuzzing.
pub mod fuzzing {
    pub use crate::message::fuzzing::message as dns_message;
}
