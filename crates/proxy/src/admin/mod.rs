//! The admin interface on port 15000, in the shapes of Envoy.
