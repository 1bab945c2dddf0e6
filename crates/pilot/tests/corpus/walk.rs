//! Where a request goes, read off the emitted resources: listener, filter chain, virtual host, route,
//! cluster. It knows as much of Envoy's matching as the cases ask for (no headers, no query).

use serde_json::Value;
use tidegate_xds::ResourceType;

use crate::common::World;

/// One call of a case.
pub struct Call<'a> {
    pub port: u64,
    pub http: bool,
    pub tls: bool,
    pub host: &'a str,
    pub sni: Option<&'a str>,
    pub path: &'a str,
}

/// What a call met, as far as it came.
#[derive(Debug, Default)]
pub struct Way {
    pub listener: String,
    pub route_config: String,
    pub virtual_host: String,
    pub route: String,
    pub cluster: String,
    pub error: &'static str,
}

impl Way {
    fn ends(self, error: &'static str) -> Self {
        Self { error, ..self }
    }
}

/// Follows a call through everything that was emitted.
pub fn follow(world: &World, call: &Call<'_>) -> Way {
    let mut way = Way::default();
    let listeners = world.names(ResourceType::Listener).into_iter();
    let mut listeners = listeners.map(|name| world.json(ResourceType::Listener, &name));
    let at = |l: &Value| l["address"]["socket_address"]["port_value"] == call.port;
    let Some(listener) = listeners.find(at) else { return way.ends("NoListener") };
    way.listener = text(&listener["name"]);
    let Some(chain) = chain(&listener, call) else { return way.ends("NoFilterChain") };
    let filter = &chain["filters"][0]["typed_config"];
    if let Some(cluster) = filter["cluster"].as_str() {
        cluster.clone_into(&mut way.cluster);
        return way;
    }
    if call.tls || !call.http {
        return way.ends("ProtocolError");
    }
    way.route_config = text(&filter["rds"]["route_config_name"]);
    requested(world, call, way)
}

/// The rest of the way for a request that a connection manager reads.
fn requested(world: &World, call: &Call<'_>, mut way: Way) -> Way {
    let prefix = format!("{}/", way.route_config);
    let hosts = world.names(ResourceType::VirtualHost).into_iter();
    let hosts = hosts.filter(|name| name.starts_with(&prefix));
    let hosts: Vec<Value> =
        hosts.map(|name| world.json(ResourceType::VirtualHost, &name)).collect();
    let named = call.host.split(':').next().unwrap_or_default();
    let best = hosts
        .iter()
        .filter_map(|host| Some((narrowest(&host["domains"], named)?, host)))
        .max_by_key(|(length, _)| *length);
    let Some((_, host)) = best else { return way.ends("NoVirtualHost") };
    way.virtual_host = text(&host["name"]);
    if host["require_tls"] == "ALL" && !call.tls {
        return way.ends("TLSRedirect");
    }
    let mut routes = host["routes"].as_array().into_iter().flatten();
    let Some(route) = routes.find(|route| matches(&route["match"], call.path)) else {
        return way.ends("NoRoute");
    };
    way.route = text(&route["name"]);
    way.cluster = text(&route["route"]["cluster"]);
    way
}

/// The chain with the narrowest server name, else one that takes every connection.
fn chain<'a>(listener: &'a Value, call: &Call<'_>) -> Option<&'a Value> {
    let chains = listener["filter_chains"].as_array()?.iter();
    let suited = chains.filter_map(|chain| {
        let names = &chain["filter_chain_match"]["server_names"];
        let fit = match (names.is_array(), call.sni.filter(|_| call.tls)) {
            (false, _) => 0,
            (true, Some(sni)) => 1 + narrowest(names, sni)?,
            (true, None) => return None,
        };
        Some((fit, chain))
    });
    suited.max_by_key(|(fit, _)| *fit).map(|(_, chain)| chain)
}

/// How narrow the narrowest pattern is that holds a name.
fn narrowest(patterns: &Value, name: &str) -> Option<usize> {
    let patterns = patterns.as_array()?.iter().filter_map(Value::as_str);
    let fit = patterns.filter_map(|pattern| match pattern.strip_prefix('*') {
        None => (pattern == name).then_some(usize::MAX - 1),
        Some(suffix) => name.ends_with(suffix).then_some(pattern.len()),
    });
    fit.max()
}

fn matches(matched: &Value, path: &str) -> bool {
    if let Some(exact) = matched["path"].as_str() {
        return exact == path;
    }
    if let Some(regex) = matched["safe_regex"]["regex"].as_str() {
        let whole = regex::Regex::new(&format!("^(?:{regex})$")).expect("a valid expression");
        return whole.is_match(path);
    }
    matched["prefix"].as_str().is_some_and(|prefix| path.starts_with(prefix))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
