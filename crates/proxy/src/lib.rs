//! The data plane: takes xDS resources and nothing else, moves traffic.

pub mod accesslog;
pub mod admin;
pub mod buffer;
pub mod clock;
pub mod config;
pub mod egress;
pub mod filter;
pub mod http;
pub mod io;
pub mod ledger;
pub mod listener;
pub mod metadata;
pub mod pipe;
pub mod proxy;
pub mod random;
pub mod rbac;
pub mod remote;
pub mod route;
pub mod sds;
pub mod shares;
pub mod stats;
pub mod surroundings;
pub mod tcp;
mod throttle;
pub mod timer;
pub mod tls;
pub mod upstream;
pub mod view;
pub mod worker;

pub use proxy::{Options, Outcome, Proxy};
