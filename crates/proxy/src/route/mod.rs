//! Routing: which virtual host and route take a request, and what the route does with it.
//!
//! Deciding is pure: [`RouteTable::decide`] looks at a request head and answers with references into the
//! table. Acting comes after: [`Forward`], [`Redirect`] and [`Direct`] carry the small functions that
//! rewrite a head or make an answer. `explain` uses the same types, so there is no second matcher.
//!
//! | file | subject |
//! |---|---|
//! | `table.rs` | the table of one route configuration, virtual hosts, the decision |
//! | `host.rs` | virtual host by domain |
//! | `succession.rs` | which route goes on from which one of the form before |
//! | `index.rs`, `index/`, `tree.rs` | route by path and conditions, first match first, at a cost that does not grow with the routes |
//! | `matcher.rs`, `condition.rs`, `text.rs` | what a route asks of a request |
//! | `hash.rs`, `grpc.rs` | what chooses an endpoint where the cluster hashes; the time that a gRPC call is given |
//! | `pattern.rs`, `literals.rs` | regular expressions: matching and substitution; what texts that match have in them |
//! | `action.rs`, `redirect.rs` | what a route does |
//! | `mirror.rs` | where copies of requests go |
//! | `rate_limit.rs` | what limits know requests by |
//! | `retry.rs` | which failures it answers with another attempt |
//! | `mutation.rs`, `template.rs` | header mutations and the `%VAR%` in their values |

mod action;
mod condition;
pub(crate) mod grpc;
pub(crate) mod hash;
mod host;
mod index;
mod literals;
mod matcher;
mod mirror;
mod mutation;
mod pattern;
pub mod rate_limit;
mod redirect;
mod retry;
mod succession;
mod table;
mod template;
mod text;
mod tree;

pub use action::{Action, Direct, Forward, HostRewrite, Inherit, PathRewrite, Route, Target};
pub(crate) use condition::parameters;
pub use condition::{
    CertificateTest, Condition, Field, Fraction, HeaderCondition, HeaderTest, ParameterTest,
    QueryCondition,
};
pub use hash::{HashCookie, HashOf, HashPolicy};
pub(crate) use matcher::without_query;
pub use matcher::{Mismatch, PathMatch, RouteMatch};
pub use mirror::{Mirror, MirrorHost, Mirrors};
pub use mutation::{AppendAction, Mutation, MutationLevel, Mutations};
pub use pattern::{Pattern, PatternError, Substitution};
pub use redirect::{Redirect, RedirectPath};
pub use retry::{RetryOn, RetryPolicy};
pub use table::{
    Attempts, Decision, DomainTaken, HostChange, RouteTable, TlsRequirement, VirtualHost,
};
pub use template::{Facts, Template, TemplateError};
pub use text::TextMatch;

#[cfg(test)]
mod tests;
