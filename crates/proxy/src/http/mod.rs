//! HTTP: one request path for HTTP/1 and HTTP/2.
