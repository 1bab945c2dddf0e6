//! Listeners: accept, inspect, choose a filter chain.

pub mod bind;
pub mod local;
mod terminate;

pub use bind::bind;
pub use local::{LocalListener, Open};
