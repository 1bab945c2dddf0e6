//! The binary as its users see it: real processes, real kubectl, curl and openssl. One test binary, since
//! linking is most of what a test costs.

mod active;
mod analyze;
mod api_alone;
mod broken_certificates;
mod busy_api;
mod capture;
mod cluster;
mod cluster_status;
mod command_line;
mod deploy;
mod durability;
mod egress_gateway;
mod examples;
mod expand;
mod failover;
mod flags;
mod gateways;
#[path = "../../../../tests/guides/guide_000.rs"]
mod guide_000;
#[path = "../../../../tests/guides/guide_001.rs"]
mod guide_001;
#[path = "../../../../tests/guides/guide_002.rs"]
mod guide_002;
#[path = "../../../../tests/guides/guide_003.rs"]
mod guide_003;
#[path = "../../../../tests/guides/guide_004.rs"]
mod guide_004;
mod hardened;
mod image;
mod in_pod;
mod inject;
mod injected;
mod kubeconfigs;
mod limits;
mod live_change;
mod many_changes;
mod matching;
mod mesh;
mod mirrors;
mod names;
mod objects;
mod orders;
mod partition;
mod proxy_headers;
mod readme;
mod revocation;
mod rotation;
mod run;
mod run_pod;
mod secret_server;
mod secrets;
mod sidecar;
mod sidecar_api;
mod soak;
mod support;
mod terms;
mod tokens;
mod trusted_proxies;
mod webhook;
