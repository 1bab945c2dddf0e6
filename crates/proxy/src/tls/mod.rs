//! TLS: what a ClientHello says before anything is decrypted.
//!
//! [`client_hello`] is the parser, pure and synchronous. [`inspect()`] is the only I/O: it reads
//! the first bytes of a connection, asks the parser about them and hands both on. A passthrough
//! route needs no more of TLS than this.

pub mod client_hello;
pub mod fuzzing;
mod inspect;

pub use client_hello::{Alpn, ClientHello, Inspection, Malformed, Version, Versions};
pub use inspect::{Inspected, InspectorLimits, Verdict, inspect};
