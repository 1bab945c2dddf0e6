//! What is answered of requests and connections, from objects to words.

mod alpn;
mod destinations;
mod egress_gateway;
mod every;
mod filters;
mod force;
mod http3;
mod https;
mod inbound;
mod json;
mod limits;
mod losers;
mod near;
mod policies;
mod redirects;
mod remedy;
mod requests;
mod settings;
mod sidecar;
mod support;
mod tokens;
