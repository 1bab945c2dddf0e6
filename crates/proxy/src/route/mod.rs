//! Which virtual host and route takes a request.
