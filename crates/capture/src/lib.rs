//! Transparent capture: which connections of a network namespace are redirected to the sidecar in it, as rules of iptables.
//!
//! [`Options`] are those of istio-iptables, as typed values. [`tables`] turns them into the rules of one address family, without
//! touching anything; [`restore`] writes rules down as `iptables-restore` reads them, and [`arguments`] the options as istio-iptables
//! reads them. The names of chains are Istio's, so that who knows one knows the other, and both are found and removed alike.

mod arguments;
mod options;
mod rules;
mod state;
mod text;

pub use arguments::arguments;
pub use options::{
    Dns, Family, Groups, Mode, Name, Options, Ports, Ranges, Wrong, list, port, range, some_ranges,
};
pub use rules::{Table, tables};
pub use state::{COMMENT, State};
pub use text::restore;
