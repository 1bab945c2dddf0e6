//! What is answered of requests and connections, from objects to words.

mod destinations;
mod force;
mod https;
mod json;
mod redirects;
mod requests;
mod sidecar;
mod support;
