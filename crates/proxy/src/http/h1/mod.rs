//! HTTP/1.1 (RFC 9112), both roles: pure parsing and framing here, sockets in [`conn`].

pub mod body;
pub mod conn;
pub mod encode;
pub mod parse;
pub mod server;

pub use body::{BodyDecoder, Decoded};
pub use conn::Conn;
pub use parse::{BadMessage, Carriage, Framing};
