//! Listeners: accept, hand on, inspect, choose a filter chain.

pub mod bind;
mod hear;
mod listening;
pub mod local;
mod look;
mod terminate;

pub use bind::{Binding, ListenerSocket, bind_all};
pub use listening::Listening;
pub use local::{LocalListener, Open};
