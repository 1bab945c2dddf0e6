//! Listeners: accept, inspect, choose a filter chain.

pub mod bind;
pub mod local;

pub use bind::bind;
pub use local::LocalListener;
