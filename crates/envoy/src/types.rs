//! Every message and enum of the files in `protos.txt`, in modules named as their packages. Maps are
//! `BTreeMap`s, so that equal messages have equal bytes.
//!
//! Envoy's documentation of each: the v3 API reference. The generated code carries no comments.

#![allow(
    missing_docs,
    unused_qualifications,
    clippy::all,
    clippy::pedantic,
    rustdoc::all,
    reason = "generated"
)]

include!(concat!(env!("OUT_DIR"), "/types.rs"));
