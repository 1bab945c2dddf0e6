//! The data plane: takes xDS resources and nothing else, moves traffic.
