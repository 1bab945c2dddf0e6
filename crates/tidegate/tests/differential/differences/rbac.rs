//! Differences in who may connect and ask.

use super::Listed;
use super::What::Lines;

/// The differences.
pub const LISTED: &[Listed] = &[Listed {
    cases: &["rbac/a connection that may not, over TLS"],
    what: Lines(&["< raw [\\x16]"], &["< raw [], cut"]),
    reason: "what addresses and the server name decide is decided when the chain is chosen: whoever may not \
                 connect gets no handshake, as where no chain matches; Envoy shakes hands and closes then",
}];
