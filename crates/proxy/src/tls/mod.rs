//! TLS: passed through by what its ClientHello says, or terminated and originated.
//!
//! | file | subject |
//! |---|---|
//! | `client_hello/`, `inspect.rs` | the first bytes of a connection, before anything is decrypted |
//! | `pem.rs`, `x509.rs`, `identity.rs` | certificates: what they say; ours with their keys |
//! | `ocsp.rs` | what an authority says of our certificate |
//! | `validation.rs`, `verify.rs` | what peers' certificates must be |
//! | `secret.rs`, `context.rs` | secrets by name; contexts made ready for handshakes |
//! | `inventory.rs` | the certificates that are in force, and when they expire |
//! | `handshake.rs`, `stream.rs` | shaking hands; a connection after it |
//! | `suites.rs`, `crypto.rs` | names of suites and versions; the cryptography provider |
//! | `system_roots.rs` | whom this machine trusts |
//!
//! [`client_hello`] is pure and synchronous, [`inspect()`] reads the first bytes, asks it about them and hands
//! both on. A passthrough route needs no more of TLS than this.

pub mod client_hello;
pub mod context;
mod crl;
pub mod crypto;
#[cfg(test)]
pub(crate) mod fixtures;
pub mod fuzzing;
pub mod handshake;
pub mod identity;
mod inspect;
pub mod inventory;
pub mod ocsp;
pub mod pem;
pub mod secret;
mod stream;
pub mod suites;
pub mod system_roots;
pub mod validation;
mod verify;
pub mod x509;

pub use client_hello::{Alpn, ClientHello, Inspection, Malformed, Version, Versions};
pub use context::{ClientTls, ServerTls};
pub(crate) use handshake::verify_host;
pub use handshake::{Asks, Refused, Settled, accept, connect};
pub use inspect::{Inspected, InspectorLimits, Verdict, inspect};
pub use secret::Lacks;
pub use stream::{About, Distrust, Failure, TlsStream};
pub use verify::{Unverifiable, Verifier, in_words, mismatch};
