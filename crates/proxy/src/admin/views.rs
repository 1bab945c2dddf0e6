//! The small answers: listeners, server, memory, log levels.

use std::net::SocketAddr;

use serde_json::{Map, Value as Json, json};
use tracing::level_filters::LevelFilter;

use super::answer::{Answer, Pieces};
use super::commands::Call;
use super::server::Admin;
use crate::egress::Denied;
use crate::remote::Remote;

/// `/listeners`
pub(super) fn listeners(admin: &Admin, call: Call<'_>) -> Answer {
    let mut listeners = admin.state.listeners();
    listeners.sort_by(|a, b| a.name.cmp(&b.name));
    if call.parameter("format").as_deref() == Some("json") {
        let statuses: Vec<Json> = listeners
            .iter()
            .map(|listener| {
                let mut addresses = listener.addresses.iter().map(remote);
                let mut status = json!({"name": *listener.name, "local_address": addresses.next()});
                let more: Vec<Json> = addresses.collect();
                if !more.is_empty() {
                    status["additional_local_addresses"] = more.into();
                }
                status
            })
            .collect();
        return Answer::json(&json!({"listener_statuses": statuses}));
    }
    let lines = listeners.into_iter().flat_map(|listener| {
        let line = |address: &Remote| format!("{}::{address}\n", listener.name);
        listener.addresses.iter().map(line).collect::<Vec<_>>()
    });
    Answer::pieces(Answer::TEXT, Pieces::gathered(lines))
}

/// `/egress/denied`, which Envoy has not.
pub(super) fn denied(admin: &Admin) -> Answer {
    let about = admin.state.about();
    let denied: Vec<Json> = admin.state.denied().iter().map(Denied::json).collect();
    let unlisted = admin.registry.unlisted();
    Answer::json(&json!({"node": about.node, "denied": denied, "unlisted": unlisted}))
}

/// `envoy.config.core.v3.Address`
pub(super) fn socket_address(address: SocketAddr) -> Json {
    json!({"socket_address": {"address": address.ip(), "port_value": address.port()}})
}

/// The same of an endpoint.
pub(super) fn remote(remote: &Remote) -> Json {
    match remote {
        Remote::Ip(address) => socket_address(*address),
        Remote::Pipe(path) => json!({"pipe": {"path": **path}}),
    }
}

/// `/server_info`: `envoy.admin.v3.ServerInfo`
pub(super) fn server_info(admin: &Admin) -> Answer {
    let about = admin.state.about();
    let uptime = format!("{}s", admin.uptime());
    let mut info = Map::new();
    info.insert("version".into(), about.version.into());
    info.insert("state".into(), admin.lifecycle().as_str().into());
    info.insert("uptime_current_epoch".into(), uptime.clone().into());
    info.insert("uptime_all_epochs".into(), uptime.into());
    info.insert("hot_restart_version".into(), "disabled".into());
    info.insert("command_line_options".into(), about.options);
    if !about.node.is_null() {
        info.insert("node".into(), about.node);
    }
    Answer::json(&info.into())
}

/// `/logging`: the one level that all loggers have. It is set at start.
pub(super) fn logging(_: &Admin, _: Call<'_>) -> Answer {
    let level = LevelFilter::current().to_string().to_lowercase();
    Answer::text(format!("active loggers:\n  tidegate: {level}\n"))
}

/// Memory of the process, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Memory {
    /// In RAM.
    pub(super) resident: u64,
    /// In RAM and no file's.
    anonymous: u64,
    /// Reserved for data.
    data: u64,
}

/// What the kernel says (proc(5), `/proc/PID/status`); `None` where there is no such file.
pub(super) fn memory() -> Option<Memory> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        kib.checked_mul(1024)
    };
    Some(Memory {
        resident: bytes("VmRSS:")?,
        anonymous: bytes("RssAnon:")?,
        data: bytes("VmData:")?,
    })
}

/// `/memory`: `envoy.admin.v3.Memory`. The allocator keeps no account, so the kernel's figures stand in:
/// anonymous memory for what is allocated, reserved data for the heap.
pub(super) fn memory_usage() -> Answer {
    let memory = memory().unwrap_or(Memory { resident: 0, anonymous: 0, data: 0 });
    Answer::json(&json!({
        "allocated": memory.anonymous.to_string(),
        "heap_size": memory.data.to_string(),
        "total_physical_bytes": memory.resident.to_string(),
    }))
}
