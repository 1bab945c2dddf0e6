//! Which listener, filter chain, route configuration, virtual host, route, cluster and endpoints a request
//! takes, what is rewritten, and why nothing else took it.
//!
//! There is no second matcher: [`World`] gives objects to pilot's own compiler, what comes out to the proxy's
//! own configuration, and [`World::explain`] asks that for the filter chain and the route. What is added here is
//! only the way back: from each part of the answer, and from each candidate that lost, to the object, the file
//! and the line that it came from. No network is used.
//!
//! | file | subject |
//! |---|---|
//! | `question.rs`, `answer.rs` | what is asked and what is answered, free of words |
//! | `world.rs` | objects, compiled as a running gateway compiles them |
//! | `follow.rs`, `request.rs` | the way of a connection and of a request |
//! | `ports.rs` | which ports are open |
//! | `filters.rs` | what filters make of it: tokens, faults, other origins |
//! | `authorization.rs` | what AuthorizationPolicies make of it |
//! | `words.rs` | conditions in words |
//! | `destination.rs` | the clusters that it may be sent to, and whether it can arrive |
//! | `example.rs` | what the question leaves open, made up |
//! | `findings.rs` | what there is to say against an object, with no question asked |
//! | `force.rs` | what of the objects on the way is refused, and what is in force in its place |
//! | `limits.rs` | limits on the way, and who set them |
//! | `remedy.rs` | the ServiceEntries that would let out what was refused |
//! | `sidecar.rs` | what is different where a sidecar decides |
//! | `lost.rs`, `nearest.rs` | who else could have taken it, and what kept them from it |
//! | `text.rs` | the answer for a terminal |

mod answer;
mod authorization;
mod destination;
mod example;
mod filters;
mod findings;
mod follow;
mod force;
mod handshake;
mod limits;
mod lost;
mod nearest;
mod ports;
mod question;
pub mod remedy;
mod request;
mod sidecar;
mod text;
mod words;
mod world;

pub use answer::{
    Answer, Cluster, Cors, End, Error, Judged, Lost, NotInForce, Part, ProxyHeader, Retries, Sent,
    Source, Spoken, TokenJudged, UpstreamTls,
};
pub use findings::{Finding, Level, Said, Told};
pub use question::{Direction, Protocol, Question, Security};
pub use text::{Look, render};
pub use world::World;
