//! What the admin interface tells of the process itself, in Envoy's shapes.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::Path;

use serde_json::{Value, json};
use tidegate_envoy::json::{JsonError, from_json};
use tidegate_envoy::prost::Message;
use tidegate_envoy::v3::bootstrap::Bootstrap;
use tidegate_proxy::view::About;

use crate::lifecycle::GRACE;

/// What is told of a proxy whose resources are handed over in memory: `node` is its `envoy.config.core.v3.Node`, `admin` where
/// its admin interface is. The bootstrap is the one that an Envoy in its place would have.
///
/// # Errors
/// The node is none that an Envoy could be told: a mistake of who wrote it.
pub fn of_node(node: Value, workers: NonZeroUsize, admin: SocketAddr) -> Result<About, JsonError> {
    // Where resources come from is left out.
    let bootstrap: Bootstrap = from_json(&json!({
        "node": node,
        "admin": {"address": {"socket_address": {
            "address": admin.ip(),
            "port_value": admin.port(),
        }}},
    }))?;
    Ok(About {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        node,
        options: options(workers, None),
        bootstrap: bootstrap.encode_to_vec().into(),
        is_static: false,
    })
}

/// `command_line_options` of `/server_info`: what in them has a meaning here.
pub fn options(workers: NonZeroUsize, config: Option<&Path>) -> Value {
    let mut options = json!({
        "concurrency": workers,
        "mode": "Serve",
        "drain_time": format!("{}s", GRACE.as_secs()),
        "disable_hot_restart": true,
    });
    if let Some(config) = config {
        options["config_path"] = config.display().to_string().into();
    }
    options
}

#[cfg(test)]
mod tests {
    use tidegate_envoy::v3::admin::CommandLineOptions;

    use super::*;

    #[test]
    fn options_are_envoy_s() {
        let options = options(NonZeroUsize::MIN, Some(Path::new("envoy.yaml")));
        let options: CommandLineOptions = from_json(&options).expect("Envoy's options");
        assert_eq!((options.concurrency, &*options.config_path), (1, "envoy.yaml"));
        assert_eq!(options.drain_time.map(|time| time.seconds), Some(30));
    }
}
