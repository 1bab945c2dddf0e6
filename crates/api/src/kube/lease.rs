//! Lease: who of several processes does what only one may do. It is stored and shown; those who hold it give it its meaning.

use schemars::JsonSchema;

/// Says who holds something, and since when.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Lease {
    /// Who holds it.
    pub spec: Option<LeaseSpec>,
}

/// What a Lease is.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LeaseSpec {
    /// The holder; empty where there is none.
    pub holder_identity: Option<String>,
    /// How long others wait after the last renewal before they take it, in seconds.
    pub lease_duration_seconds: Option<i32>,
    /// When the holder has got it, to the microsecond.
    pub acquire_time: Option<String>,
    /// When the holder has last renewed it, to the microsecond.
    pub renew_time: Option<String>,
    /// How often it has gone from one holder to another.
    pub lease_transitions: Option<i32>,
    /// How the holder is chosen, where candidates apply for it.
    pub strategy: Option<String>,
    /// To whom the holder should give it, where candidates apply for it.
    pub preferred_holder: Option<String>,
}
