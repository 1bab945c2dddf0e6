//! HTTP/2 (RFC 9113) through the `h2` crate: towards clients in [`server`], towards endpoints in [`client`].

pub mod body;
pub mod client;
pub mod message;
pub mod server;
mod socket;
