//! Secrets of xDS that look alike: each credential has its own, or one that means the same.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::{World, entry, manifest, object};
use serde_json::{Value, json};
use tidegate_pilot::status::{Force, INVALID, SecretUse};
use tidegate_pilot::{FaultySecret, Input, Options, Serves};
use tidegate_xds::ResourceType;

fn secret(name: &str, keys: &[&str]) -> Value {
    let data: BTreeMap<&str, &str> = keys.iter().map(|key| (*key, name)).collect();
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": "istio-system"},
        "stringData": data,
    })
}

/// A Gateway with one HTTPS server on these terms.
fn gateway(name: &str, tls: &Value) -> Value {
    let port = json!({"number": 443, "name": "https", "protocol": "HTTPS"});
    let host = format!("{name}.example.com");
    let server = json!({"port": port, "hosts": [host], "tls": tls});
    manifest("Gateway", name, &json!({"servers": [server]}))
}

fn mutual() -> Value {
    gateway("mutual", &json!({"mode": "MUTUAL", "credentialName": "foo"}))
}

fn rule(credential: &str) -> Value {
    let tls = json!({"mode": "SIMPLE", "credentialName": credential});
    let spec = json!({"host": "backend.example.org", "trafficPolicy": {"tls": tls}});
    manifest("DestinationRule", "r", &spec)
}

/// The authorities in a secret of xDS, in base64.
fn roots(world: &World, name: &str) -> Option<Value> {
    world.snapshot.get(ResourceType::Secret, name)?;
    let secret = world.json(ResourceType::Secret, name);
    Some(secret["validation_context"]["trusted_ca"]["inline_bytes"].clone())
}

/// As [`roots`], of the Secret of that name.
fn of(secret: &str) -> Option<Value> {
    let encoded = match secret {
        "foo" => "Zm9v",
        "foo-cacert" => "Zm9vLWNhY2VydA==",
        other => panic!("{other}"),
    };
    Some(json!(encoded))
}

const SERVERS: &str = "kubernetes://foo-cacert";

#[test]
fn who_else_named_the_authorities_takes_them_away_from_nobody() {
    let (pair, ca) = (secret("foo", &["tls.crt", "tls.key"]), secret("foo-cacert", &["ca.crt"]));
    for other in [
        rule("foo-cacert"),
        gateway(
            "other",
            &json!({"mode": "MUTUAL", "credentialName": "c", "caCertCredentialName": "foo-cacert"}),
        ),
        gateway("other", &json!({"mode": "SIMPLE", "credentialName": "foo-cacert"})),
        gateway("other", &json!({"mode": "MUTUAL", "credentialName": "foo-cacert"})),
        rule("foo"),
    ] {
        let objects = [mutual(), pair.clone(), ca.clone(), entry(&[80])];
        let mut world = World::with(Options::default(), &objects);
        let before = world.bytes();
        assert_eq!(roots(&world, SERVERS), of("foo-cacert"));
        world.apply(&other);
        assert_eq!(roots(&world, SERVERS), of("foo-cacert"), "{other}");
        world.delete(&other);
        assert_eq!(world.bytes(), before, "{other}");
    }
}

#[test]
fn authorities_that_are_not_there_are_not_those_of_another() {
    let own = secret("foo", &["tls.crt", "tls.key", "ca.crt"]);
    let other = rule("foo-cacert");
    let objects = [mutual(), own.clone(), entry(&[80])];
    let mut world = World::with(Options::default(), &objects);
    world.apply(&other);
    assert_eq!(roots(&world, SERVERS), of("foo"), "the server's stay");
    assert!(world.idle(&other).is_some(), "the rule has none");
    let together = World::with(Options::default(), &[mutual(), own, entry(&[80]), other.clone()]);
    assert!(together.idle(&other).is_some());
    assert_eq!(together.bytes(), world.bytes());
}

#[test]
fn nothing_is_guessed_for_who_names_authorities() {
    let (pair, guess) = (secret("foo", &["tls.crt", "tls.key"]), secret("clients", &["ca.crt"]));
    let mut world = World::with(Options::default(), &[mutual(), pair, guess, entry(&[80])]);
    assert!(roots(&world, SERVERS).is_some(), "the only ones there are");
    world.apply(&rule("foo"));
    assert_eq!(roots(&world, SERVERS), None, "they are not what the rule names");
    let idle = world.idle(&mutual()).expect("it verifies nobody");
    assert!(idle.contains("Secret istio-system/foo has no authorities"), "{idle}");
    world.delete(&rule("foo"));
    assert!(roots(&world, SERVERS).is_some());
    assert_eq!(world.idle(&mutual()), None);
}

#[test]
fn a_file_named_system_is_not_what_the_system_trusts() {
    let options = Options::default();
    let server = gateway(
        "files",
        &json!({
            "mode": "MUTUAL",
            "serverCertificate": "/chain.pem",
            "privateKey": "/key.pem",
            "caCertificates": "system",
        }),
    );
    let simple =
        json!({"host": "backend.example.org", "trafficPolicy": {"tls": {"mode": "SIMPLE"}}});
    let rule = manifest("DestinationRule", "r", &simple);
    let mut world = World::with(options, &[entry(&[80]), rule.clone()]);
    let give = |world: &mut World, files: &[&str]| {
        let content = |name: &&str| Input::File {
            name: Arc::from(*name),
            content: Ok(name.as_bytes().into()),
        };
        world.give(files.iter().map(content));
    };
    let system: Vec<Arc<str>> = world.pilot.files().into_iter().collect();
    give(&mut world, &system.iter().map(|name| &**name).collect::<Vec<_>>());
    assert_eq!(world.names(ResourceType::Secret), ["file-root:system"]);
    give(&mut world, &["/chain.pem", "/key.pem"]);
    world.apply(&server);
    assert!(world.pilot.files().contains("system"));
    let names = world.names(ResourceType::Secret);
    assert_eq!(names, ["file-cert:/chain.pem~/key.pem", "file-root:system"]);
    let listeners = world.dump()["Listener"].to_string();
    assert!(!listeners.contains("file-root:system"), "the server trusts none of them");
    world.delete(&server);
    assert_eq!(world.names(ResourceType::Secret), ["file-root:system"]);
    assert_eq!(world.idle(&rule), None);
}

#[test]
fn a_secret_may_be_named_with_its_scheme() {
    let tls = |pair: &str, authorities: &str| json!({"mode": "MUTUAL", "credentialName": pair, "caCertCredentialName": authorities});
    let plain = gateway("web", &tls("foo", "clients"));
    let schemed = gateway("web", &tls("kubernetes://foo", "kubernetes://clients"));
    let (pair, ca) = (secret("foo", &["tls.crt", "tls.key"]), secret("clients", &["ca.crt"]));
    let of = |gateway: &Value, secrets: &[&Value]| {
        let objects: Vec<Value> =
            [gateway].into_iter().chain(secrets.iter().copied()).cloned().collect();
        World::with(Options::default(), &objects)
    };
    let world = of(&schemed, &[&pair, &ca]);
    let names = ["kubernetes://clients-cacert", "kubernetes://foo"];
    assert_eq!(world.names(ResourceType::Secret), names);
    assert_eq!(world.idle(&schemed), None);
    assert_eq!(world.bytes(), of(&plain, &[&pair, &ca]).bytes());
    for (secrets, missing) in [([&pair], "clients"), ([&ca], "foo")] {
        let idle = of(&schemed, &secrets).idle(&schemed).expect("it lacks one");
        assert!(idle.contains(&format!("there is no Secret {missing} in namespace")), "{idle}");
        assert_eq!(Some(idle), of(&plain, &secrets).idle(&plain));
    }
    // Several of them, too.
    let both =
        |names: &[&str]| gateway("web", &json!({"mode": "SIMPLE", "credentialNames": names}));
    let other = secret("bar", &["tls.crt", "tls.key"]);
    let world = of(&both(&["kubernetes://foo", "kubernetes://bar"]), &[&pair, &other]);
    assert_eq!(world.bytes(), of(&both(&["foo", "bar"]), &[&pair, &other]).bytes());
    assert_eq!(world.names(ResourceType::Secret), ["kubernetes://bar", "kubernetes://foo"]);
}

/// A form that could not be read is told, and so is its end, also of a kind that has no other status.
#[test]
fn a_secret_that_can_be_read_again_is_told_so() {
    let good = secret("foo", &["tls.crt", "tls.key"]);
    let key = object(&good).key.clone();
    let invalid = |generation| {
        let errors = vec!["data: not base64".to_owned()];
        Input::Invalid { key: key.clone(), generation, errors, selector: None }
    };
    for earlier in [false, true] {
        let mut world = World::with(Options::default(), &[]);
        if earlier {
            assert_eq!(world.apply(&good).status, [], "there is nothing to say");
        }
        world.give([invalid(2)]);
        assert_eq!(world.status[&key][0].reason, INVALID);
        let told = world.apply(&good).status;
        let told: Vec<_> = told.iter().map(|t| (&t.key, t.conditions.len())).collect();
        assert_eq!(told, [(&key, 0)], "it was wrong after a good form: {earlier}");
        assert_eq!(world.apply(&good).status, [], "and is not told again");
    }
}

/// The secrets of xDS that the chain for connections without a server name takes.
fn nameless(world: &World) -> Vec<String> {
    let listeners = world.dump()["Listener"].clone();
    let listener = listeners.as_object().and_then(|all| all.values().next()).expect("a listener");
    let chain = listener["default_filter_chain"].to_string();
    let secrets = ["one", "two", "two-cacert"].map(|name| format!("kubernetes://{name}"));
    secrets.into_iter().filter(|name| chain.contains(&format!("\"{name}\""))).collect()
}

/// What the proxy refuses, if anything, beside what it takes of all the rest.
fn refused(name: &str, serves_on: bool) -> Input {
    let (path, reason) = ("tls_certificate.private_key".to_owned(), "no PEM".to_owned());
    let serves = if serves_on { Serves::Before } else { Serves::Nothing };
    let refused = FaultySecret { path, reason, serves };
    Input::Faulty(BTreeMap::from([(format!("kubernetes://{name}").into(), refused)]))
}

#[test]
fn a_certificate_that_the_proxy_never_took_leaves_nameless_connections_to_the_next() {
    let simple = |name: &str| gateway(name, &json!({"mode": "SIMPLE", "credentialName": name}));
    let pairs = ["one", "two"].map(|name| secret(name, &["tls.crt", "tls.key"]));
    let [one, two] = pairs;
    let mut world = World::with(Options::default(), &[simple("one"), simple("two"), one, two]);
    let whole = world.bytes();
    assert_eq!(nameless(&world), ["kubernetes://one"]);
    world.give([refused("one", false)]);
    assert_eq!(nameless(&world), ["kubernetes://two"]);
    let listener = world.names(ResourceType::Listener).remove(0);
    let routes = world.pilot.nameless(&listener).expect("they are served");
    assert_eq!(routes.servers[0].key, object(&simple("two")).key, "and said to be so");
    // It serves in the form before, or is mended.
    for mended in [refused("one", true), Input::Faulty(BTreeMap::new())] {
        world.give([refused("one", false)]);
        assert_ne!(world.bytes(), whole);
        world.give([mended]);
        assert_eq!(world.bytes(), whole);
    }
}

#[test]
fn authorities_that_the_proxy_never_took_are_not_asked_for_of_those_who_name_no_server() {
    let simple = gateway("simple", &json!({"mode": "SIMPLE", "credentialName": "two"}));
    let mutual = gateway("mutual", &json!({"mode": "MUTUAL", "credentialName": "two"}));
    let pair = secret("two", &["tls.crt", "tls.key", "ca.crt"]);
    let mut world = World::with(Options::default(), &[simple, mutual, pair]);
    let both = ["kubernetes://two", "kubernetes://two-cacert"];
    assert_eq!(nameless(&world), both);
    world.give([refused("two-cacert", false)]);
    assert_eq!(nameless(&world), ["kubernetes://two"]);
    world.give([refused("two-cacert", true)]);
    assert_eq!(nameless(&world), both, "the ones before serve on");
    world.give([Input::Faulty(BTreeMap::new())]);
    assert_eq!(nameless(&world), both);
}

/// A server for every name that has no certificate takes no connections from those who can be served, whatever is in its TLS.
#[test]
fn a_server_for_every_name_without_its_certificate_takes_nothing_from_others() {
    let simple = gateway("one", &json!({"mode": "SIMPLE", "credentialName": "one"}));
    let server = json!({
        "port": {"number": 443, "name": "tls", "protocol": "TLS"},
        "hosts": ["*"],
        "tls": {"mode": "SIMPLE", "credentialName": "two"},
    });
    let bytes = manifest("Gateway", "bytes", &json!({"servers": [server]}));
    let route = json!([{"destination": {"host": "backend.example.org", "port": {"number": 80}}}]);
    let spec = json!({"hosts": ["*"], "gateways": ["bytes"], "tcp": [{"route": route}]});
    let rules = manifest("VirtualService", "rules", &spec);
    let [one, two] = ["one", "two"].map(|name| secret(name, &["tls.crt", "tls.key"]));
    let mut world =
        World::with(Options::default(), &[bytes, simple, one, rules.clone(), entry(&[80])]);
    let takes_all = |world: &World| {
        let listeners = world.dump()["Listener"].clone();
        let listener = listeners.as_object().and_then(|all| all.values().next()).expect("one");
        let chains = listener["filter_chains"].as_array().expect("chains").clone();
        chains.iter().any(|chain| chain["filter_chain_match"].is_null())
    };
    assert_eq!(nameless(&world), ["kubernetes://one"]);
    assert!(!takes_all(&world), "connections without a name come to the other");
    let standing = world.pilot.standing(&object(&rules).key).expect("it is known");
    assert!(matches!(standing.force, Force::Through(_)), "{standing:?}");
    world.apply(&two);
    assert!(takes_all(&world));
    world.delete(&two);
    assert!(!takes_all(&world));
}

#[test]
fn a_secret_that_cannot_be_used_is_so_to_those_who_take_it() {
    let web = gateway("web", &json!({"mode": "SIMPLE", "credentialName": "foo"}));
    let (broken, good) = (secret("foo", &["tls.crt"]), secret("foo", &["tls.crt", "tls.key"]));
    let key = object(&good).key.clone();
    let mut world = World::with(Options::default(), &[]);
    assert!(!world.apply(&broken).secrets.contains(&key), "it is nothing to anybody");
    assert_eq!(world.pilot.secret_use(&key), SecretUse::Nobody);
    assert!(world.apply(&web).secrets.contains(&key), "it is, to the first who takes it");
    let SecretUse::Unusable(why) = world.pilot.secret_use(&key) else { panic!("it has no key") };
    assert!(why.contains("istio-system/foo has no certificate with a key"), "{why}");
    assert!(world.delete(&web).secrets.contains(&key));
    assert_eq!(world.pilot.secret_use(&key), SecretUse::Nobody, "not usable for that");
    world.apply(&web);
    assert!(world.apply(&good).secrets.contains(&key));
    assert_eq!(world.pilot.secret_use(&key), SecretUse::Usable);
    assert!(world.give([refused("foo", false)]).secrets.contains(&key));
    assert!(matches!(world.pilot.secret_use(&key), SecretUse::Unusable(_)));
    assert!(world.give([Input::Faulty(BTreeMap::new())]).secrets.contains(&key));
    assert_eq!(world.pilot.secret_use(&key), SecretUse::Usable);
}

/// Domains of the hosts that a route configuration answers by itself, by how: `404` where nothing is routed.
fn fixed(world: &World, table: &str, name: &str) -> Vec<String> {
    let all = world.snapshot.list(ResourceType::VirtualHost);
    let own = all.iter().find(|r| r.name.starts_with(&format!("{table}/{name}:")));
    let host = own.map(|r| world.json(ResourceType::VirtualHost, &r.name)).unwrap_or_default();
    let domains = host["domains"].as_array().into_iter().flatten();
    domains.map(|domain| domain.as_str().expect("a text").to_owned()).collect()
}

/// The route configuration of connections that name no server.
fn nameless_table(world: &World) -> String {
    let listener = world.names(ResourceType::Listener).remove(0);
    let routes = world.pilot.nameless(&listener).expect("they are served");
    routes.name.to_string()
}

#[test]
fn who_lacks_a_certificate_changes_nothing_for_those_who_name_no_server() {
    let simple = gateway("simple", &json!({"mode": "SIMPLE", "credentialName": "two"}));
    let mutual = gateway("mutual", &json!({"mode": "MUTUAL", "credentialName": "two"}));
    let pair = secret("two", &["tls.crt", "tls.key", "ca.crt"]);
    let mut world = World::with(Options::default(), &[simple, mutual, pair]);
    let (chain, table) = (nameless(&world), nameless_table(&world));
    assert_eq!(chain, ["kubernetes://two", "kubernetes://two-cacert"]);
    assert_eq!(fixed(&world, &table, "misdirected"), [""; 0]);

    // Another tenant's, whose Secret is not there; of all names or of one.
    for host in ["other.example.com", "*"] {
        let mut other = gateway("other", &json!({"mode": "SIMPLE", "credentialName": "one"}));
        other["spec"]["servers"][0]["hosts"] = json!([host]);
        world.apply(&other);
        assert_eq!((nameless(&world), nameless_table(&world)), (chain.clone(), table.clone()));
        assert_eq!(fixed(&world, &table, "misdirected"), [host], "its own hosts are closed");
        let listener = world.names(ResourceType::Listener).remove(0);
        let chains = world.json(ResourceType::Listener, &listener)["filter_chains"].clone();
        let chains = chains.as_array().expect("chains").iter();
        let every = chains.filter(|chain| chain.get("filter_chain_match").is_none());
        assert_eq!(every.count(), 0, "none takes what the others can serve");
        let before = world.bytes();

        // It comes, and goes again.
        let one = secret("one", &["tls.crt", "tls.key"]);
        world.apply(&one);
        assert_ne!(world.bytes(), before);
        world.delete(&one);
        assert_eq!(world.bytes(), before);
        world.delete(&other);
    }
}

#[test]
fn authorities_that_are_not_there_close_their_own_servers_alone() {
    let mutual = |name: &str| {
        let tls = json!({"mode": "MUTUAL", "credentialName": "two", "caCertCredentialName": name});
        gateway(name, &tls)
    };
    let pair = secret("two", &["tls.crt", "tls.key"]);
    let clients = secret("there", &["ca.crt"]);
    let objects = [mutual("missing"), mutual("there"), pair, clients];
    let world = World::with(Options::default(), &objects);
    let listener = world.names(ResourceType::Listener).remove(0);
    let routes = world.pilot.nameless(&listener).expect("they are served");
    let servers: Vec<_> = routes.servers.iter().map(|server| &*server.gateway).collect();
    assert_eq!(servers, ["default/there"], "though the other goes first");
}

#[test]
fn a_host_without_routes_is_not_answered_as_one_that_demands_certificates() {
    let mut simple = gateway("simple", &json!({"mode": "SIMPLE", "credentialName": "two"}));
    simple["spec"]["servers"][0]["hosts"] = json!(["a.example.com", "b.example.com"]);
    let mut mutual = gateway("mutual", &json!({"mode": "MUTUAL", "credentialName": "two"}));
    mutual["spec"]["servers"][0]["hosts"] = json!(["*.example.com"]);
    let pair = secret("two", &["tls.crt", "tls.key", "ca.crt"]);
    let rule = json!({"directResponse": {"status": 200}});
    let service = manifest(
        "VirtualService",
        "a",
        &json!({"hosts": ["a.example.com"], "gateways": ["simple"], "http": [rule]}),
    );
    let mut world = World::with(Options::default(), &[simple, mutual, pair, service.clone()]);
    let table = nameless_table(&world);
    assert_eq!(fixed(&world, &table, "blackhole"), ["b.example.com"]);
    world.delete(&service);
    assert_eq!(fixed(&world, &table, "blackhole"), ["a.example.com", "b.example.com"]);
    world.apply(&service);
    assert_eq!(fixed(&world, &table, "blackhole"), ["b.example.com"]);
}
