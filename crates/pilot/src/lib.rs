//! Resources in, xDS out: pure, incremental, no I/O.
