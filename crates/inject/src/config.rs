//! Istio's `ProxyConfig`: of the mesh, and of a workload (`proxy.istio.io/config`).

use serde_json::{Map, Value};
use tidegate_yaml::Document;

use crate::Settings;

/// The annotation with a workload's own configuration of its proxy.
pub(crate) const ANNOTATION: &str = "proxy.istio.io/config";

/// Takes what a `MeshConfig` says about sidecars into the settings: its `defaultConfig`.
///
/// # Errors
/// In words: it is no mapping.
pub fn with_mesh_config(mesh: &Value, settings: &mut Settings) -> Result<(), String> {
    if !mesh.is_object() {
        return Err("a mapping is expected: MeshConfig with its fields".to_owned());
    }
    match mesh.get("defaultConfig") {
        None | Some(Value::Null) => Ok(()),
        Some(Value::Object(config)) => {
            read(config)?;
            lay_over(&mut settings.proxy_config, config);
            Ok(())
        }
        Some(_) => {
            Err("defaultConfig: a mapping is expected: ProxyConfig with its fields".to_owned())
        }
    }
}

/// The fields of a configuration that decide about injection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProxyConfig {
    pub interception_mode: Option<String>,
    pub holds_application: Option<bool>,
    pub status_port: Option<u16>,
    /// Names and values that the proxy finds in its environment.
    pub metadata: Vec<(String, String)>,
}

/// Reads those fields.
pub(crate) fn read(config: &Map<String, Value>) -> Result<ProxyConfig, String> {
    let field = |name: &str| config.get(name).filter(|value| !value.is_null());
    let wrong = |name: &str, wanted: &str| format!("{name}: {wanted} is expected");
    let mode = field("interceptionMode").map(|value| {
        let text =
            value.as_str().ok_or_else(|| wrong("interceptionMode", "REDIRECT, TPROXY or NONE"));
        text.map(str::to_owned)
    });
    let holds = field("holdApplicationUntilProxyStarts").map(|value| {
        value.as_bool().ok_or_else(|| wrong("holdApplicationUntilProxyStarts", "true or false"))
    });
    let status_port = field("statusPort").map(|value| {
        let port = value.as_u64().and_then(|port| u16::try_from(port).ok());
        port.ok_or_else(|| wrong("statusPort", "a number from 0 to 65535"))
    });
    let metadata = match field("proxyMetadata") {
        None => Vec::new(),
        Some(Value::Object(metadata)) => {
            let texts = metadata.iter().map(|(name, value)| {
                let text =
                    value.as_str().ok_or_else(|| wrong(&format!("proxyMetadata.{name}"), "a text"));
                text.map(|text| (name.clone(), text.to_owned()))
            });
            texts.collect::<Result<_, _>>()?
        }
        Some(_) => return Err(wrong("proxyMetadata", "a mapping of names to texts")),
    };
    Ok(ProxyConfig {
        interception_mode: mode.transpose()?,
        holds_application: holds.transpose()?,
        status_port: status_port.transpose()?,
        metadata,
    })
}

/// Reads the text of the annotation.
pub(crate) fn parse(text: &str) -> Result<Map<String, Value>, String> {
    let documents = tidegate_yaml::parse(text);
    let document: &Document = match documents.as_slice() {
        [] => return Ok(Map::new()),
        [Ok(document)] => document,
        [Err(fault), ..] => return Err(fault.to_string()),
        _ => return Err("one document is expected".to_owned()),
    };
    match document.to_json() {
        Value::Object(config) => read(&config).map(|_| config),
        Value::Null => Ok(Map::new()),
        _ => Err("a mapping is expected: ProxyConfig with its fields".to_owned()),
    }
}

/// Lays one configuration over another: field by field, and `proxyMetadata` name by name.
pub(crate) fn lay_over(base: &mut Map<String, Value>, over: &Map<String, Value>) {
    for (name, value) in over {
        match (base.get_mut(name), value) {
            (Some(Value::Object(below)), Value::Object(over)) if name == "proxyMetadata" => {
                below.extend(over.iter().map(|(name, value)| (name.clone(), value.clone())));
            }
            _ => {
                base.insert(name.clone(), value.clone());
            }
        }
    }
}
