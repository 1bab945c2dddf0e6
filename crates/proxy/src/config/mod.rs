//! xDS resources into runtime types.
