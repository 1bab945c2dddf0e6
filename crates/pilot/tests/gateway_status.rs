//! What is told of Gateways.

mod common;

use common::{World, manifest, object};
use serde_json::json;
use tidegate_pilot::Options;

#[test]
fn a_gateway_without_virtual_services_is_told() {
    let http = json!({"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]});
    let gateway = manifest("Gateway", "g", &json!({"servers": [http]}));
    let service = manifest(
        "VirtualService",
        "v",
        &json!({"hosts": ["a.com"], "gateways": ["g"], "http": [{"redirect": {"uri": "/"}}]}),
    );
    let mut world = World::with(Options::default(), std::slice::from_ref(&gateway));
    let key = object(&gateway).key.clone();
    let advice = |world: &World| world.status[&key][0].message.clone();
    assert!(advice(&world).starts_with("no VirtualService names it: "), "{}", advice(&world));
    assert!(world.status[&key][0].holds, "it acts as it is written");
    world.apply(&service);
    assert_eq!(advice(&world), "");
    world.delete(&service);
    assert!(advice(&world).contains("404 until one has default/g in its gateways"));
}
