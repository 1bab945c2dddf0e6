//! What is told of VirtualServices that delegate, and of those that are delegated to.

mod common;

use common::{World, entry, gateway, host, manifest, object};
use serde_json::{Value, json};
use tidegate_pilot::status::ConditionKind::{Reconciled, ResolvedRefs};
use tidegate_pilot::{Input, Options};
use tidegate_xds::ResourceType;

/// A root in namespace `default` that leads to delegate `d`.
fn root(rule: &Value) -> Value {
    manifest(
        "VirtualService",
        "root",
        &json!({"hosts": ["a.com"], "gateways": ["g"], "http": [rule]}),
    )
}

fn delegate(spec: &Value) -> Value {
    manifest("VirtualService", "d", spec)
}

#[test]
fn delegates_apply_where_a_rule_leads_to_them() {
    let under = json!({
        "name": "team",
        "match": [{"uri": {"prefix": "/team"}, "headers": {"x-env": {"exact": "prod"}}}],
        "delegate": {"name": "d"},
        "headers": {"request": {"set": {"x-root": "1"}}},
    });
    let to = |path: &str| {
        json!({
            "name": "own",
            "match": [{"uri": {"prefix": path}}],
            "route": [{"destination": {"host": "backend.example.org"}}],
        })
    };
    let d = delegate(&json!({"http": [to("/team/a"), to("/other")]}));
    let mut world =
        World::with(Options::default(), &[gateway(), entry(&[80]), root(&under), d.clone()]);
    let routes = host(&world, "a.com")["routes"].clone();
    assert_eq!(routes.as_array().map(Vec::len), Some(1), "{routes:#}");
    assert_eq!(routes[0]["name"], "team-own");
    assert_eq!(routes[0]["match"]["prefix"], "/team/a");
    assert_eq!(routes[0]["match"]["headers"][0]["name"], "x-env");
    assert_eq!(routes[0]["request_headers_to_add"][0]["header"]["key"], "x-root");
    let metadata = routes[0]["metadata"]["filter_metadata"]["istio"].to_string();
    assert!(metadata.contains("virtual-service/root") && metadata.contains("virtual-service/d"));
    let owners = world.pilot.owners(ResourceType::VirtualHost, "http.80/a.com:80");
    let owners: Vec<String> = owners.iter().map(ToString::to_string).collect();
    assert_eq!(owners, ["VirtualService default/root", "VirtualService default/d"]);
    assert_eq!((world.idle(&root(&under)), world.idle(&d)), (None, None));

    let wanted = "Conflict: http[0].delegate: http[1] of default/d is left out, as match[0] uri asks for \
                  prefix /other, which is not within prefix /team; a delegate can only narrow what leads to it";
    assert_eq!(world.fault(&root(&under), Reconciled).as_deref(), Some(wanted));
    let fault = world.fault(&d, Reconciled).expect("it is told there, too");
    assert!(
        fault.starts_with("Conflict: VirtualService default/root: http[0].delegate: "),
        "{fault}"
    );
    let d = delegate(&json!({"http": [to("/team/a")]}));
    world.apply(&d);
    assert_eq!(world.fault(&root(&under), Reconciled), None);
    assert_eq!(world.fault(&d, Reconciled), None);
}

#[test]
fn what_is_no_delegate_is_told_on_both_sides() {
    let under = json!({"delegate": {"name": "d"}});
    let rule = json!({"route": [{"destination": {"host": "backend.example.org"}}]});
    let mut world = World::with(Options::default(), &[gateway(), entry(&[80]), root(&under)]);
    let missing = world.fault(&root(&under), ResolvedRefs).expect("nobody is there");
    assert_eq!(
        missing,
        "RefNotFound: http[0].delegate: there is no VirtualService d in namespace default; the rule \
         takes no requests"
    );
    assert!(world.idle(&root(&under)).is_some(), "it has no other rule");

    let mut hidden = delegate(&json!({"exportTo": ["elsewhere"], "http": [rule]}));
    world.apply(&hidden);
    let fault = world.fault(&root(&under), ResolvedRefs).expect("it is hidden");
    assert!(fault.contains("exportTo of VirtualService default/d hides it"), "{fault}");
    let fault = world.fault(&hidden, Reconciled).expect("it is hidden");
    assert!(fault.starts_with("Hidden: VirtualService default/root: "), "{fault}");
    hidden["spec"]["exportTo"] = json!(["."]);
    world.apply(&hidden);
    assert_eq!(world.fault(&root(&under), ResolvedRefs), None);
    assert_eq!((world.idle(&root(&under)), world.idle(&hidden)), (None, None));

    world.apply(&delegate(&json!({"hosts": ["d.com"], "gateways": ["g"], "http": [rule]})));
    let fault = world.fault(&root(&under), ResolvedRefs).expect("it is none");
    assert!(fault.contains("default/d has hosts of its own; a delegate has none"), "{fault}");

    world.apply(&hidden);
    world.delete(&root(&under));
    let alone = world.fault(&hidden, Reconciled).expect("nobody delegates to it");
    assert!(alone.starts_with("NotAttached: it has no hosts and so is a delegate"), "{alone}");
    assert!(world.idle(&hidden).is_some_and(|idle| idle.contains("no VirtualService delegates")));
    world.apply(&root(&under));
    assert_eq!(world.fault(&hidden, Reconciled), None);
    world.delete(&gateway());
    let idle = world.idle(&hidden).expect("its root is not in force");
    assert!(idle.contains("VirtualService default/root leads to it and is not in force"), "{idle}");
}

#[test]
fn a_delegate_that_is_refused_or_nearly_there_is_told_as_such() {
    let root = root(&json!({"delegate": {"name": "chained"}}));
    let mut world = World::with(Options::default(), &[gateway(), root.clone()]);
    let none = "RefNotFound: http[0].delegate: there is no VirtualService chained in namespace default; the rule takes no \
                requests";
    let told = |world: &World| world.fault(&root, ResolvedRefs);
    assert_eq!(told(&world).as_deref(), Some(none));
    let near = json!({"http": [{"route": [{"destination": {"host": "backend.example.org"}}]}]});
    let wrong = manifest("VirtualService", "chained", &near);
    let key = object(&wrong).key.clone();
    let errors = vec!["spec.http: it is wrong".to_owned()];
    world.give([Input::Invalid { key, generation: 1, errors, selector: None }]);
    let refused = told(&world).expect("it is not there either");
    assert!(refused.contains("the form of VirtualService default/chained is refused"), "{refused}");
    world.delete(&wrong);
    assert_eq!(told(&world).as_deref(), Some(none));
    world.apply(&manifest("VirtualService", "chaned", &near));
    assert!(told(&world).is_some_and(|told| told.ends_with("; did you mean default/chaned?")));
}

/// Whoever delegates to nobody is told of the one that is meant as long as it is there.
#[test]
fn the_delegate_that_is_meant_is_told_when_it_comes_and_goes() {
    let lost = root(&json!({"delegate": {"name": "teams"}}));
    let mut world = World::with(Options::default(), &[gateway(), lost.clone()]);
    let meant = |world: &World| {
        let fault = world.fault(&lost, ResolvedRefs).expect("there is no such delegate");
        fault.contains("did you mean default/team?")
    };
    assert!(!meant(&world));
    let team = json!({"http": [{"directResponse": {"status": 200}}]});
    let team = manifest("VirtualService", "team", &team);
    world.apply(&team);
    assert!(meant(&world));
    let mut with_hosts = team.clone();
    with_hosts["spec"]["hosts"] = json!(["team.example"]);
    world.apply(&with_hosts);
    assert!(!meant(&world), "it is no delegate any more");
    world.apply(&team);
    world.delete(&team);
    assert!(!meant(&world));
}
