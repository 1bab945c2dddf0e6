//! Envoy's types, descriptor pool, protobuf JSON and the capability table. No logic.
