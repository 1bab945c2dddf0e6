//! The cases, by theme.

mod answers;
mod bodies;
mod framing;
mod hash;
mod headers;
mod http2;
mod jwt;
mod limits;
mod mirrors;
mod pipes;
mod policy;
mod rbac;
mod requests;
mod retries;
mod routing;
mod upgrades;

use std::collections::HashSet;

use super::case::Case;

/// All cases.
pub fn all() -> Vec<Case> {
    let themes = [
        requests::cases(),
        routing::cases(),
        headers::cases(),
        bodies::cases(),
        framing::cases(),
        answers::cases(),
        upgrades::cases(),
        http2::cases(),
        rbac::cases(),
        jwt::cases(),
        policy::cases(),
        hash::cases(),
        retries::cases(),
        limits::cases(),
        mirrors::cases(),
        pipes::cases(),
    ];
    let all = themes.concat();
    let mut names = HashSet::new();
    assert!(all.iter().all(|case| names.insert(&case.name)), "two cases have one name");
    all
}
