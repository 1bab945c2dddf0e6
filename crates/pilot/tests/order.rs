//! In which order the rules of several VirtualServices of one host are tried.

mod common;

use common::{World, gateway, host, manifest};
use serde_json::{Value, json};
use tidegate_pilot::Options;

/// A VirtualService for `a.com`, made in a year; its rule takes paths that begin with its name.
fn service(name: &str, year: u16, export_to: &[&str]) -> Value {
    let rule = json!({
        "name": name,
        "match": [{"uri": {"prefix": format!("/{name}")}}],
        "redirect": {"uri": "/"},
    });
    let spec = json!({
        "hosts": ["a.com"], "gateways": ["default/g"], "http": [rule], "exportTo": export_to,
    });
    let mut service = manifest("VirtualService", name, &spec);
    service["metadata"]["creationTimestamp"] = json!(format!("{year}-01-01T00:00:00Z"));
    service
}

fn order(world: &World) -> Vec<String> {
    let host = host(world, "a.com");
    let routes = host["routes"].as_array().into_iter().flatten();
    routes.filter_map(|route| Some(route["name"].as_str()?.to_owned())).collect()
}

/// The closer to the gateway's namespace an object is kept, the earlier its rules are tried; then the older goes first.
#[test]
fn who_names_the_gateways_namespace_goes_before_who_is_older() {
    let in_namespace = |mut service: Value| {
        service["metadata"]["namespace"] = json!("istio-system");
        service
    };
    let public = service("public", 2020, &[]);
    let also_public = service("also-public", 2021, &["*"]);
    let named = service("named", 2022, &["istio-system"]);
    let kept = in_namespace(service("kept", 2023, &["."]));
    let elsewhere = service("elsewhere", 2019, &["other"]);
    let objects = [gateway(), also_public, elsewhere, public, kept.clone(), named];
    let mut world = World::with(Options::default(), &objects);
    assert_eq!(order(&world), ["kept", "named", "public", "also-public"]);

    // Shown to everyone, it is by its age again.
    world.apply(&service("named", 2022, &["*"]));
    assert_eq!(order(&world), ["kept", "public", "also-public", "named"]);
    world.apply(&service("named", 2018, &["*"]));
    assert_eq!(order(&world), ["kept", "named", "public", "also-public"]);
    world.delete(&kept);
    world.apply(&service("elsewhere", 2019, &["other", "istio-system"]));
    assert_eq!(order(&world), ["elsewhere", "named", "public", "also-public"]);
}
