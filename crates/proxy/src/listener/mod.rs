//! Listeners: accept, inspect, choose a filter chain.
