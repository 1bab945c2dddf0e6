//! What the admin interface tells of the process itself, in Envoy's shapes.

use std::num::NonZeroUsize;
use std::path::Path;

use serde_json::{Value, json};

use crate::lifecycle::GRACE;

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
    use tidegate_envoy::json::from_json;
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
