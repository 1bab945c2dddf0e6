//! Rows of each table, read out of Envoy's dumps.
//!
//! Dumps come from a process of any version, so what is absent or of another shape is left blank rather
//! than refused.

use serde_json::Value;

use super::conditions;
use super::table::Table;

/// The message of a dump whose type ends so.
pub fn section<'a>(dump: &'a Value, kind: &str) -> Option<&'a Value> {
    let of_kind = |config: &&Value| text(&config["@type"]).ends_with(&format!(".{kind}"));
    list(&dump["configs"]).find(of_kind)
}

/// `ADDRESSES PORT MATCH DESTINATION`: a row for each filter chain, and one for each listener that is not open, with the reason.
pub fn listeners(dump: &Value) -> Table {
    let dump = section(dump, "ListenersConfigDump").unwrap_or(&Value::Null);
    let fixed = list(&dump["static_listeners"]).map(|entry| &entry["listener"]);
    let dynamic = list(&dump["dynamic_listeners"]).map(|entry| &entry["active_state"]["listener"]);
    let mut rows = Vec::new();
    for listener in fixed.chain(dynamic) {
        let socket = &listener["address"]["socket_address"];
        let chains =
            list(&listener["filter_chains"]).chain(some(&listener["default_filter_chain"]));
        for chain in chains {
            let address = text(&socket["address"]).to_owned();
            rows.push(vec![
                address,
                number(&socket["port_value"]),
                condition(chain),
                destination(chain),
            ]);
        }
    }
    for entry in list(&dump["dynamic_listeners"]).chain(list(&dump["static_listeners"])) {
        let open = [&entry["active_state"], &entry["warming_state"], &entry["listener"]];
        let error = &entry["error_state"];
        if error.is_object() && open.iter().all(|state| state.is_null()) {
            let socket = &error["failed_configuration"]["address"]["socket_address"];
            rows.push(vec![
                text(&socket["address"]).to_owned(),
                number(&socket["port_value"]),
                "-".to_owned(),
                format!("not open: {}", text(&error["details"])),
            ]);
        }
    }
    rows.sort_by_key(|row| (row[1].parse::<u16>().unwrap_or(0), row[0].clone()));
    Table::new(&["ADDRESSES", "PORT", "MATCH", "DESTINATION"], rows)
}

fn condition(chain: &Value) -> String {
    let condition = &chain["filter_chain_match"];
    let mut parts = Vec::new();
    for (name, field) in [("SNI", "server_names"), ("App", "application_protocols")] {
        let values: Vec<&str> = list(&condition[field]).map(text).collect();
        if !values.is_empty() {
            parts.push(format!("{name}: {}", values.join(",")));
        }
    }
    if let Some(transport) = condition["transport_protocol"].as_str() {
        parts.push(format!("Trans: {transport}"));
    }
    if parts.is_empty() { "ALL".to_owned() } else { parts.join("; ") }
}

fn destination(chain: &Value) -> String {
    let last = list(&chain["filters"]).last().unwrap_or(&Value::Null);
    let config = &last["typed_config"];
    if let Some(route) = config["rds"]["route_config_name"].as_str() {
        return format!("Route: {route}");
    }
    if config["route_config"].is_object() {
        return format!("Inline Route: {}", text(&config["route_config"]["name"]));
    }
    match config["cluster"].as_str() {
        Some(cluster) => format!("Cluster: {cluster}"),
        None => text(&last["name"]).to_owned(),
    }
}

/// `NAME VHOST DOMAINS MATCH DESTINATION VIRTUAL SERVICE`: a row for each route; a virtual host that has none answers
/// 404 to all.
pub fn routes(dump: &Value) -> Table {
    let dump = section(dump, "RoutesConfigDump").unwrap_or(&Value::Null);
    let fixed = list(&dump["static_route_configs"]);
    let configs = fixed.chain(list(&dump["dynamic_route_configs"]));
    let mut rows = Vec::new();
    for config in configs.map(|entry| &entry["route_config"]) {
        for host in list(&config["virtual_hosts"]) {
            let domains: Vec<&str> = list(&host["domains"]).map(text).collect();
            let mut row = |asked: String, action: String, from: String| {
                let [name, host] = [config, host].map(|part| text(&part["name"]).to_owned());
                rows.push(vec![name, host, domains.join(", "), asked, action, from]);
            };
            for route in list(&host["routes"]) {
                row(conditions::told(&route["match"]), action(route), virtual_service(route));
            }
            if list(&host["routes"]).next().is_none() {
                row("/*".to_owned(), "404".to_owned(), String::new());
            }
        }
    }
    let heading = &["NAME", "VHOST", "DOMAINS", "MATCH", "DESTINATION", "VIRTUAL SERVICE"];
    Table::new(heading, rows)
}

fn action(route: &Value) -> String {
    if let Some(status) = route["direct_response"]["status"].as_u64() {
        return status.to_string();
    }
    if route["redirect"].is_object() {
        return "redirect".to_owned();
    }
    let action = &route["route"];
    match action["cluster"].as_str() {
        Some(cluster) => cluster.to_owned(),
        None => {
            let clusters = list(&action["weighted_clusters"]["clusters"]);
            let weighed = |c: &Value| format!("{} {}", number(&c["weight"]), text(&c["name"]));
            clusters.map(weighed).collect::<Vec<_>>().join(", ")
        }
    }
}

/// `NAME.NAMESPACE`, from the path that Istio writes into a route's metadata.
fn virtual_service(route: &Value) -> String {
    let path = text(&route["metadata"]["filter_metadata"]["istio"]["config"]);
    let mut parts = path.rsplit('/');
    match (parts.next(), parts.nth(1)) {
        (Some(name), Some(namespace)) if !name.is_empty() => format!("{name}.{namespace}"),
        _ => String::new(),
    }
}

/// `SERVICE FQDN PORT SUBSET DIRECTION TYPE`: a row for each cluster.
pub fn clusters(dump: &Value) -> Table {
    let dump = section(dump, "ClustersConfigDump").unwrap_or(&Value::Null);
    let fixed = list(&dump["static_clusters"]);
    let all = fixed.chain(list(&dump["dynamic_active_clusters"]));
    // A cluster of which no form was accepted stands in the dump without one.
    let accepted = all.map(|entry| &entry["cluster"]).filter(|cluster| cluster.is_object());
    let rows = accepted.map(|cluster| {
        let name = text(&cluster["name"]);
        let kind = cluster["type"].as_str().unwrap_or("STATIC").to_owned();
        // DIRECTION|PORT|SUBSET|HOST, when it is one of Istio's.
        let [direction, port, subset, host] = match name.split('|').collect::<Vec<_>>()[..] {
            [direction, port, subset, host] => [direction, port, subset, host],
            _ => ["-", "-", "-", name],
        };
        let subset = if subset.is_empty() { "-" } else { subset };
        let cells = [host, port, subset, direction].map(str::to_owned);
        cells.into_iter().chain([kind]).collect::<Vec<_>>()
    });
    let mut rows: Vec<Vec<String>> = rows.collect();
    rows.sort();
    Table::new(&["SERVICE FQDN", "PORT", "SUBSET", "DIRECTION", "TYPE"], rows)
}

/// `ENDPOINT STATUS OUTLIER CHECK CLUSTER`: a row for each endpoint of `/clusters?format=json`.
pub fn endpoints(clusters: &Value) -> Table {
    let mut rows = Vec::new();
    for cluster in list(&clusters["cluster_statuses"]) {
        for host in list(&cluster["host_statuses"]) {
            let socket = &host["address"]["socket_address"];
            let health = &host["health_status"];
            let failed = health["failed_outlier_check"].as_bool() == Some(true);
            rows.push(vec![
                format!("{}:{}", text(&socket["address"]), number(&socket["port_value"])),
                health["eds_health_status"].as_str().unwrap_or("UNKNOWN").to_owned(),
                if failed { "FAILED" } else { "OK" }.to_owned(),
                text(&cluster["name"]).to_owned(),
            ]);
        }
    }
    Table::new(&["ENDPOINT", "STATUS", "OUTLIER CHECK", "CLUSTER"], rows)
}

pub(super) fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn some(value: &Value) -> Option<&Value> {
    Some(value).filter(|value| !value.is_null())
}

pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn number(value: &Value) -> String {
    value.as_u64().map_or(String::new(), |number| number.to_string())
}
