//! The rows, one file per area.

mod bootstrap;
mod cluster;
mod common;
mod filters;
mod http;
mod jwt;
mod listener;
mod rate_limit;
mod rbac;
mod route;
mod tls;

use std::collections::HashMap;
use std::sync::LazyLock;

use super::row::{CompiledRow, Row};

static TABLE: LazyLock<HashMap<&'static str, CompiledRow>> =
    LazyLock::new(|| rows().map(|row| (row.message, CompiledRow::new(row))).collect());

/// The row of a message, by full name.
pub(super) fn row(message: &str) -> Option<&'static CompiledRow> {
    TABLE.get(message)
}

/// All rows as they are written.
pub(super) fn rows() -> impl Iterator<Item = &'static Row> {
    [
        bootstrap::ROWS,
        listener::ROWS,
        filters::ROWS,
        http::ROWS,
        jwt::ROWS,
        rate_limit::ROWS,
        rbac::ROWS,
        route::ROWS,
        cluster::ROWS,
        common::ROWS,
        tls::ROWS,
    ]
    .into_iter()
    .flatten()
}
