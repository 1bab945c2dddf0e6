//! Short names for the packages that are used most: `v3::cluster::Cluster`,
//! `v3::core::Address`, `v3::hcm::HttpConnectionManager`.

pub use crate::types::envoy::admin::v3 as admin;
pub use crate::types::envoy::config::accesslog::v3 as accesslog;
pub use crate::types::envoy::config::bootstrap::v3 as bootstrap;
pub use crate::types::envoy::config::cluster::v3 as cluster;
pub use crate::types::envoy::config::core::v3 as core;
pub use crate::types::envoy::config::endpoint::v3 as endpoint;
pub use crate::types::envoy::config::listener::v3 as listener;
pub use crate::types::envoy::config::rbac::v3 as rbac;
pub use crate::types::envoy::config::route::v3 as route;
pub use crate::types::envoy::extensions::access_loggers::file::v3 as file_access_log;
pub use crate::types::envoy::extensions::access_loggers::stream::v3 as stream_access_log;
pub use crate::types::envoy::extensions::clusters::dns::v3 as dns_cluster;
pub use crate::types::envoy::extensions::filters::common::fault::v3 as common_fault;
pub use crate::types::envoy::extensions::filters::http::cors::v3 as cors;
pub use crate::types::envoy::extensions::filters::http::fault::v3 as fault;
pub use crate::types::envoy::extensions::filters::http::jwt_authn::v3 as jwt;
pub use crate::types::envoy::extensions::filters::http::local_ratelimit::v3 as local_ratelimit;
pub use crate::types::envoy::extensions::filters::http::rbac::v3 as http_rbac;
pub use crate::types::envoy::extensions::filters::http::router::v3 as router;
pub use crate::types::envoy::extensions::filters::listener::http_inspector::v3 as http_inspector;
pub use crate::types::envoy::extensions::filters::listener::original_dst::v3 as original_dst;
pub use crate::types::envoy::extensions::filters::listener::tls_inspector::v3 as tls_inspector;
pub use crate::types::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
pub use crate::types::envoy::extensions::filters::network::rbac::v3 as network_rbac;
pub use crate::types::envoy::extensions::filters::network::tcp_proxy::v3 as tcp_proxy;
pub use crate::types::envoy::extensions::retry::host::previous_hosts::v3 as previous_hosts;
pub use crate::types::envoy::extensions::transport_sockets::proxy_protocol::v3 as proxy_protocol;
pub use crate::types::envoy::extensions::transport_sockets::quic::v3 as quic;
pub use crate::types::envoy::extensions::transport_sockets::raw_buffer::v3 as raw_buffer;
pub use crate::types::envoy::extensions::transport_sockets::tls::v3 as tls;
pub use crate::types::envoy::extensions::upstreams::http::v3 as http_options;
pub use crate::types::envoy::service::discovery::v3 as discovery;
pub use crate::types::envoy::r#type::matcher::v3 as matcher;
pub use crate::types::envoy::r#type::v3 as base;
