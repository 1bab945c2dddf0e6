//! What tests share. Nothing here is part of the product, and everything here panics with words when a
//! test's own footing gives way: that is how a test fails.
//!
//! | module | what it gives |
//! |---|---|
//! | [`origin`] | back ends on loopback: HTTP/1, HTTP/2, TLS, raw bytes, well-behaved or not |
//! | [`client`] | an HTTP/1 client that sends the bytes it is given and reads framing strictly |
//! | [`ca`] | a throwaway certificate authority |
//! | [`dns`] | a UDP name server that answers what the test says, and counts |
//! | [`dns_server`] | the same over TCP too, with records of any type |
//! | [`Gate`] | where requests wait in an origin until the test lets them pass |
//! | [`grpc`] | a server of one gRPC stream, whose messages the test reads and writes |
//! | [`jwt`] | issuers of tokens |
//! | [`Link`] | the way to a server, which the test cuts, holds and mends |
//! | [`namespace`] | a test in a network namespace of its own |
//! | [`openings`] | what clients of a TLS server begin with that are none |
//! | [`proxied`] | origins that read a PROXY header first |
//! | [`process`] | a binary under test: its lines awaited, its life ended by its own pid |
//! | [`scan`] | what a scanner of TLS servers finds |
//! | [`tools`] | where kubectl, envoy, curl and openssl are, and words when they are not |
//! | [`HeldPort`] | a port that is known before the program under test binds it |
//! | [`eventually`] | polling with a deadline |
//!
//! Every server binds port 0 on loopback, so that tests run side by side; deadlines are generous because
//! a busy machine is not a defect of the code under test.

pub mod ca;
pub mod client;
pub mod dns;
pub mod dns_server;
mod eventually;
mod gate;
pub mod grpc;
mod held;
pub mod jwt;
mod link;
pub mod namespace;
pub mod openings;
pub mod origin;
pub mod process;
pub mod proxied;
pub mod scan;
pub mod tools;

use std::time::Duration;

pub use eventually::{Outcome, eventually};
pub use gate::{Gate, Inside};
pub use held::HeldPort;
pub use link::Link;

/// How long a test waits for what should take milliseconds.
pub const PATIENCE: Duration = Duration::from_secs(30);
