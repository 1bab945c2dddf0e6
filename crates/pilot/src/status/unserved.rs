//! Fields that are accepted and have no effect yet, so that each is told where it is used.
//!
//! What depends on more than the field itself (modes of TLS, rules of HTTP, DestinationRules) is told by the kind's
//! own file. The test below walks the schemas: a field is served or it is in one of the lists.

use tidegate_api::istio::envoy_filter::FilterClass;
use tidegate_api::istio::{EnvoyFilter, Gateway, VirtualService};
use tidegate_api::{Object, Spec};

/// What an object says in vain: reasons, each with words.
pub(crate) fn idle(object: &Object) -> Vec<(&'static str, String)> {
    let known = fields(&object.spec).into_iter().map(|field| ("NotServed", told(&field)));
    let unknown = object.unknown.iter().map(|words| {
        (
            "UnknownField",
            format!("{words}: it was left out, and the rest acts as if it were not there"),
        )
    });
    unknown.chain(known).collect()
}

/// The paths of the fields that an object uses in vain.
fn fields(spec: &Spec) -> Vec<String> {
    match spec {
        Spec::Gateway(gateway) => of_gateway(gateway),
        Spec::VirtualService(service) => of_virtual_service(service),
        Spec::EnvoyFilter(filter) => of_envoy_filter(filter),
        _ => Vec::new(),
    }
}

/// What is told of such a field.
fn told(field: &str) -> String {
    let of_source = ["sourceLabels", "sourceNamespace", "sourceSubnet"];
    if of_source.iter().any(|name| field.ends_with(name)) {
        return format!(
            "{field} is for sidecars: a gateway does not look at it in rules for connections, as in Istio; the rest acts \
             as if it were not there"
        );
    }
    format!("{field} is not served yet; the rest acts as if it were not there")
}

fn of_gateway(gateway: &Gateway) -> Vec<String> {
    let servers = gateway.servers.iter().enumerate();
    let used = servers.filter(|(_, server)| !server.default_endpoint.is_empty());
    used.map(|(s, _)| format!("servers[{s}].defaultEndpoint")).collect()
}

/// Where among Istio's own filters one is added, by a name that no filter here has; what Istio does not look at either.
fn of_envoy_filter(filter: &EnvoyFilter) -> Vec<String> {
    let patches = filter.config_patches.iter().enumerate();
    let used = patches.flat_map(|(number, patch)| {
        let class = patch.patch.as_ref().map(|patch| patch.filter_class).unwrap_or_default();
        let listener = patch.r#match.as_ref().and_then(|what| what.listener.as_ref());
        let port_name = listener.is_some_and(|listener| !listener.port_name.is_empty());
        let fields = [
            ("patch.filterClass", class != FilterClass::Unspecified),
            ("match.listener.portName", port_name),
        ];
        let used = fields.into_iter().filter(|(_, used)| *used);
        used.map(move |(field, _)| format!("configPatches[{number}].{field}"))
    });
    used.collect()
}

/// Conditions on connections: those on requests are told with their rules.
fn of_virtual_service(service: &VirtualService) -> Vec<String> {
    let mut used = Vec::new();
    let mut note = |place: String, fields: &[(&str, bool)]| {
        let given = fields.iter().filter(|(_, given)| *given);
        used.extend(given.map(|(field, _)| format!("{place}.{field}")));
    };
    for (r, rule) in service.tls.iter().enumerate() {
        for (m, condition) in rule.matches.iter().enumerate() {
            let fields = [
                ("sourceLabels", !condition.source_labels.is_empty()),
                ("sourceNamespace", !condition.source_namespace.is_empty()),
            ];
            note(format!("tls[{r}].match[{m}]"), &fields);
        }
    }
    for (r, rule) in service.tcp.iter().enumerate() {
        for (m, condition) in rule.matches.iter().enumerate() {
            let fields = [
                ("sourceLabels", !condition.source_labels.is_empty()),
                ("sourceNamespace", !condition.source_namespace.is_empty()),
                ("sourceSubnet", !condition.source_subnet.is_empty()),
            ];
            note(format!("tcp[{r}].match[{m}]"), &fields);
        }
    }
    used
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value, json};
    use tidegate_api::schema::{self, Node, Schema};
    use tidegate_api::{Kind, Origin};

    use super::*;

    /// Fields that decide what is served.
    const SERVED: [(Kind, &[&str]); 3] = [
        (
            Kind::Gateway,
            &[
                "selector.*",
                "servers[].bind",
                "servers[].hosts[]",
                "servers[].port.number",
                "servers[].port.protocol",
            ],
        ),
        (
            Kind::ServiceEntry,
            &[
                "endpoints[].address",
                "endpoints[].labels.*",
                "endpoints[].locality",
                "endpoints[].ports.*",
                "endpoints[].weight",
                "exportTo[]",
                "hosts[]",
                "location",
                "ports[].name",
                "ports[].number",
                "ports[].protocol",
                "ports[].targetPort",
                "subjectAltNames[]",
                "workloadSelector.labels.*",
            ],
        ),
        (
            Kind::VirtualService,
            &[
                "exportTo[]",
                "gateways[]",
                "hosts[]",
                "tcp[].match[].destinationSubnets[]",
                "tcp[].match[].gateways[]",
                "tcp[].match[].port",
                "tcp[].route[].destination.host",
                "tcp[].route[].destination.port.number",
                "tcp[].route[].destination.subset",
                "tcp[].route[].weight",
                "tls[].match[].destinationSubnets[]",
                "tls[].match[].gateways[]",
                "tls[].match[].port",
                "tls[].match[].sniHosts[]",
                "tls[].route[].destination.host",
                "tls[].route[].destination.port.number",
                "tls[].route[].destination.subset",
                "tls[].route[].weight",
            ],
        ),
    ];

    /// Fields that other files of this folder tell of, and the few of which there is nothing to tell.
    const ELSEWHERE: [(Kind, &[&str]); 3] = [
        // Names are labels; a target port is deprecated and Istio's gateways do not read it. Modes of TLS are told
        // as a whole, and PASSTHROUGH has no further settings.
        (
            Kind::Gateway,
            &[
                "servers[].name",
                "servers[].port.name",
                "servers[].port.targetPort",
                "servers[].tls.",
            ],
        ),
        // Addresses and accounts are for sidecars, which do not exist here; there is one network. Resolutions are told
        // by `service_entry.rs`.
        (
            Kind::ServiceEntry,
            &["addresses[]", "endpoints[].network", "endpoints[].serviceAccount", "resolution"],
        ),
        // Rules of HTTP are told by `virtual_service.rs`.
        (Kind::VirtualService, &["http[]"]),
    ];

    /// Each unserved field in use, by the path that its message names.
    fn used(kind: Kind) -> Value {
        match kind {
            Kind::Gateway => json!({
                "servers": [{
                    "port": { "number": 80, "name": "http", "protocol": "HTTP" },
                    "hosts": ["*"],
                    "defaultEndpoint": "127.0.0.1:80",
                }],
            }),
            Kind::ServiceEntry => json!({
                "hosts": ["a.example"],
                "ports": [{ "number": 80, "name": "http" }],
                "resolution": "DNS",
            }),
            _ => {
                let condition = json!({
                    "sourceLabels": { "app": "a" },
                    "sourceNamespace": "a",
                });
                let (mut tls, mut tcp) = (condition.clone(), condition);
                tls["sniHosts"] = json!(["a.example"]);
                tcp["sourceSubnet"] = json!("10.0.0.0/8");
                let route = json!([{ "destination": { "host": "a.example" } }]);
                json!({
                    "hosts": ["a.example"],
                    "tls": [{ "match": [tls], "route": route }],
                    "tcp": [{ "match": [tcp], "route": route }],
                })
            }
        }
    }

    fn fields_of(kind: Kind) -> BTreeSet<String> {
        let manifest = json!({
            "apiVersion": "networking.istio.io/v1",
            "kind": kind.name(),
            "metadata": { "name": "a", "namespace": "default" },
            "spec": used(kind),
        });
        let decoded = Object::decode(kind, "v1", &manifest, Origin::Api).expect("a valid object");
        fields(&decoded.object.spec).into_iter().map(|path| path.replace("[0]", "[]")).collect()
    }

    fn leaves(schema: &Schema, path: &str, into: &mut BTreeSet<String>) {
        match &schema.node {
            Node::Object(object) => {
                let current = object.fields.iter().filter(|(_, field)| field.dialect.is_none());
                for (name, field) in current {
                    let dot = if path.is_empty() { "" } else { "." };
                    leaves(&field.schema, &format!("{path}{dot}{name}"), into);
                }
            }
            Node::Array { items, .. } => leaves(items, &format!("{path}[]"), into),
            Node::Map { values, .. } => leaves(values, &format!("{path}.*"), into),
            _ => {
                into.insert(path.to_owned());
            }
        }
    }

    #[test]
    fn every_field_is_served_or_told() {
        for ((kind, served), (_, elsewhere)) in SERVED.into_iter().zip(ELSEWHERE) {
            let Node::Object(whole) = &schema::of(kind).node else { panic!("an object") };
            let mut all = BTreeSet::new();
            leaves(&whole.fields["spec"].schema, "", &mut all);
            let told = fields_of(kind);
            for list in [served, elsewhere] {
                for path in list {
                    assert!(
                        all.iter().any(|leaf| leaf.starts_with(path)),
                        "{kind:?} has no {path}"
                    );
                }
            }
            all.retain(|leaf| {
                let of = |path: &str| leaf.starts_with(path);
                !(served.contains(&leaf.as_str()) || elsewhere.iter().any(|p| of(p)))
            });
            // Below a told field (a map, a list) nothing has an effect either.
            all.retain(|leaf| !told.iter().any(|path| leaf.starts_with(path.as_str())));
            assert_eq!(all, BTreeSet::new(), "{kind:?}: neither served nor told");
        }
    }
}
