//! `tidegate up` as a process of its own, and what talks to it.

mod api;
mod api_server;
mod attached;
pub mod captured;
pub mod egress_guide;
pub mod entries;
mod gateway;
pub mod handshakes;
mod load;
pub mod objects;
mod shell;

pub use api::{Api, NETWORKING, SECRETS, WEB};
pub use api_server::ApiServer;
pub use attached::{Attached, Way};
pub use gateway::{GATEWAY_TOKEN, Gateway, Place, WORKLOAD_TOKEN, of_user};
pub use load::{Load, Progress};
pub use shell::Shell;
pub use tidegate_testing::HeldPort;
