//! xDS resources into runtime types.

pub mod chains;
pub mod listener;
