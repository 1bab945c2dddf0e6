//! Origins of their own, for cases in which what a connection has carried before matters, or its frames.

use super::frames::{Frame, Say, Script};

/// An origin with a cluster and a route of its own, `/own/NAME/`.
#[derive(Clone, Copy, Debug)]
pub enum Own {
    /// HTTP/1: answers the first request of each connection and closes when the second comes.
    Stale,
    /// HTTP/2.
    Frames(Script),
    /// HTTP/2; it answers before the request's content has come.
    Early(Script),
}

fn ok(stream: u32) -> Vec<Say> {
    vec![head(stream, &[(":status", "200")]), data(stream, "ok", true)]
}

fn head(stream: u32, fields: &[(&str, &str)]) -> Say {
    Say::Frame(Frame::head(stream, fields, false))
}

fn data(stream: u32, content: &str, end: bool) -> Say {
    Say::Frame(Frame::data(stream, content, end))
}

fn away(last: u32, reason: u32) -> Say {
    Say::Frame(Frame::away(last, reason))
}

fn reset(stream: u32, reason: u32) -> Say {
    Say::Frame(Frame::reset(stream, reason))
}

/// An answer with these fields and the content "ok".
fn with(stream: u32, fields: &[(&str, &str)]) -> Vec<Say> {
    vec![head(stream, fields), data(stream, "ok", true)]
}

/// The first request of a connection is answered; what becomes of the others.
fn first(nth: usize, stream: u32, others: Vec<Say>) -> Vec<Say> {
    if nth == 0 { ok(stream) } else { others }
}

/// All of them, by name.
pub const OWN: &[(&str, Own)] = &[
    ("stale-get", Own::Stale),
    ("stale-head", Own::Stale),
    ("stale-put", Own::Stale),
    ("stale-post", Own::Stale),
    ("stale-post-empty", Own::Stale),
    ("away-after", Own::Frames(|_, id| [ok(id), vec![away(id, 0)]].concat())),
    (
        "away-running",
        Own::Frames(|_, id| {
            let start = vec![head(id, &[(":status", "200")]), data(id, "pa", false), away(id, 0)];
            [start, vec![Say::Pause, data(id, "rt", true)]].concat()
        }),
    ),
    ("away-before-answer", Own::Frames(|_, id| [vec![away(id, 0), Say::Pause], ok(id)].concat())),
    ("away-unseen", Own::Frames(|nth, id| first(nth, id, vec![away(1, 0), Say::Close]))),
    ("away-unseen-post", Own::Frames(|nth, id| first(nth, id, vec![away(1, 0), Say::Close]))),
    ("away-error", Own::Frames(|nth, id| first(nth, id, vec![away(id, 11), Say::Close]))),
    (
        "away-error-running",
        Own::Frames(|_, id| {
            let start = vec![head(id, &[(":status", "200")]), data(id, "pa", false)];
            [start, vec![Say::Pause, away(id, 2), Say::Close]].concat()
        }),
    ),
    ("close-unseen", Own::Frames(|nth, id| first(nth, id, vec![Say::Close]))),
    (
        "close-running",
        Own::Frames(|_, id| {
            vec![head(id, &[(":status", "200")]), data(id, "pa", false), Say::Pause, Say::Close]
        }),
    ),
    (
        "refuses-second",
        Own::Frames(|nth, id| if nth % 2 == 1 { vec![reset(id, 7)] } else { ok(id) }),
    ),
    (
        "refuses-second-post",
        Own::Frames(|nth, id| if nth % 2 == 1 { vec![reset(id, 7)] } else { ok(id) }),
    ),
    ("refuses-always", Own::Frames(|_, id| vec![reset(id, 7)])),
    ("reset-after-answer", Own::Frames(|_, id| [ok(id), vec![reset(id, 0)]].concat())),
    ("early-answer", Own::Early(|_, id| [ok(id), vec![reset(id, 0)]].concat())),
    ("upper", Own::Frames(|_, id| with(id, &[(":status", "200"), ("X-Upper", "1")]))),
    ("connection", Own::Frames(|_, id| with(id, &[(":status", "200"), ("connection", "close")]))),
    (
        "coding",
        Own::Frames(|_, id| with(id, &[(":status", "200"), ("transfer-encoding", "chunked")])),
    ),
    ("no-status", Own::Frames(|_, id| with(id, &[("x-a", "1")]))),
    ("two-status", Own::Frames(|_, id| with(id, &[(":status", "200"), (":status", "204")]))),
    ("letters", Own::Frames(|_, id| with(id, &[(":status", "abc")]))),
    ("status-101", Own::Frames(|_, id| with(id, &[(":status", "101")]))),
    ("status-204", Own::Frames(|_, id| with(id, &[(":status", "204")]))),
    ("status-304", Own::Frames(|_, id| with(id, &[(":status", "304")]))),
    ("head-data", Own::Frames(|_, id| with(id, &[(":status", "200")]))),
    (
        "head-length",
        Own::Frames(|_, id| {
            let fields = [(":status", "200"), ("content-length", "5")];
            vec![Say::Frame(Frame::head(id, &fields, true))]
        }),
    ),
    ("short", Own::Frames(|_, id| with(id, &[(":status", "200"), ("content-length", "5")]))),
    ("long", Own::Frames(|_, id| with(id, &[(":status", "200"), ("content-length", "1")]))),
    ("control", Own::Frames(|_, id| with(id, &[(":status", "200"), ("x-a", "a\nb")]))),
    ("data-first", Own::Frames(|_, id| vec![data(id, "ok", true)])),
    (
        "hints",
        Own::Frames(|_, id| {
            [vec![head(id, &[(":status", "103"), ("link", "</a>")])], ok(id)].concat()
        }),
    ),
    (
        "hints-end",
        Own::Frames(|_, id| vec![Say::Frame(Frame::head(id, &[(":status", "103")], true))]),
    ),
    (
        "pseudo-trailer",
        Own::Frames(|_, id| {
            let end = Say::Frame(Frame::head(id, &[(":status", "200")], true));
            vec![head(id, &[(":status", "200")]), data(id, "ok", false), end]
        }),
    ),
    (
        "big-head",
        Own::Frames(|_, id| {
            let long = "a".repeat(200 << 10);
            let fields = [(":status", "200"), ("x-long", &long)];
            Frame::long_head(id, &fields).into_iter().map(Say::Frame).collect()
        }),
    ),
];
