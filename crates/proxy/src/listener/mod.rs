//! Listeners: accept, hand on, inspect, choose a filter chain.

mod acceptor;
pub mod bind;
mod bound_pipe;
mod hear;
mod listening;
pub mod local;
mod look;
mod terminate;

pub use acceptor::Acceptor;
pub use bind::{Binding, ListenerSocket, bind_all};
pub use bound_pipe::BoundPipe;
pub use listening::Listening;
pub use local::{LocalListener, Open};
