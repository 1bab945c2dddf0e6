//! The binary: verbs, wiring, signals.

fn main() {}
