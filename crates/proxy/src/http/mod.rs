//! HTTP: one request path for HTTP/1 and HTTP/2.

pub mod h1;
pub mod head;
pub mod known;

pub use head::{Headers, RequestHead, ResponseHead, Scheme, Version};
pub use known::Known;
