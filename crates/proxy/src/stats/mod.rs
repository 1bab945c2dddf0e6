//! Counters and gauges with names of Envoy.
