//! A listener with many filter chains costs what changes in it.

use crate::config::listeners::{Listeners, Put};
use crate::config::slots::Slots;
use tidegate_envoy::prost::Message;
use tidegate_envoy::v3::listener::FilterChain as ProtoChain;

use super::*;

const MANY: usize = 1_000;

/// A chain that terminates TLS.
fn secure(number: usize, secret: &str) -> Value {
    let context = json!({
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {"tls_certificate_sds_secret_configs": [{"name": secret}]},
    });
    let name = format!("host-{number}.example.com");
    let socket = json!({"name": "tls", "typed_config": context});
    with(&chain(&name, &[&name], "s"), &json!({"transport_socket": socket}))
}

fn listener_of(chains: &[ProtoChain], default: Option<ProtoChain>) -> Resource {
    let around = listener("l", &[]);
    let mut proto: Listener = Message::decode(&*around.bytes).expect("ours");
    proto.filter_chains = chains.to_vec();
    proto.default_filter_chain = default;
    Resource::encode(ResourceType::Listener, "l", &proto)
}

fn put(listeners: &mut Listeners, slots: &mut Slots, resource: &Resource) -> Put {
    listeners.put(resource, slots).expect("good")
}

fn kept(before: &Put, after: &Put) -> usize {
    let chains = before.listener.chains.chains.iter();
    let after = &after.listener.chains.chains;
    chains.filter(|chain| after.iter().any(|other| Arc::ptr_eq(chain, other))).count()
}

#[test]
fn of_many_chains_those_that_change_are_compiled() {
    let (mut listeners, mut slots) = (Listeners::default(), Slots::default());
    let mut chains: Vec<ProtoChain> =
        (0..MANY).map(|number| proto(&secure(number, "old"))).collect();
    let first = put(&mut listeners, &mut slots, &listener_of(&chains, None));
    assert_eq!(first.compiled, MANY);

    // Another certificate for one.
    chains[MANY / 2] = proto(&secure(MANY / 2, "new"));
    let second = put(&mut listeners, &mut slots, &listener_of(&chains, None));
    assert_eq!((second.compiled, kept(&first, &second)), (1, MANY - 1));
    assert_eq!(second.before.retired.len(), 1);

    // One goes, one comes, and all others move up.
    chains.remove(0);
    chains.push(proto(&secure(MANY, "old")));
    let third = put(&mut listeners, &mut slots, &listener_of(&chains, None));
    assert_eq!((third.compiled, kept(&second, &third)), (1, MANY - 1));

    // Only what stands around them.
    let mut around = listener_of(&chains, None);
    let mut proto: Listener = Message::decode(&*around.bytes).expect("ours");
    proto.stat_prefix = "other".to_owned();
    around = Resource::encode(ResourceType::Listener, "l", &proto);
    let fourth = put(&mut listeners, &mut slots, &around);
    assert_eq!((fourth.compiled, kept(&third, &fourth)), (0, MANY));
    assert_eq!(&*fourth.listener.stat_prefix, "other");
    assert!(fourth.before.retired.is_empty());
}

#[test]
fn chains_that_were_not_looked_at_again_are_found_and_told_of() {
    let (mut listeners, mut slots) = (Listeners::default(), Slots::default());
    let quiet: ProtoChain = proto(&chain("a", &["a.example.com"], "s"));
    let mut told = chain("b", &["b.example.com"], "s");
    told["filters"][0]["typed_config"]["hash_policy"] = json!([{"source_ip": {}}]);
    let both = [quiet.clone(), proto(&told)];
    let resource = listener_of(&both, Some(quiet));
    let first = put(&mut listeners, &mut slots, &resource);
    let second = put(&mut listeners, &mut slots, &resource);
    // The default chain looks like another and is that one, from the second time on.
    assert_eq!((first.compiled, second.compiled, kept(&first, &second)), (3, 0, 2));
    let told: Vec<_> = second.notices.iter().map(|notice| &*notice.path).collect();
    let path = "filter_chains[1].filters[0].typed_config.hash_policy";
    assert_eq!((&first.notices, &*told), (&second.notices, &[path][..]));
    for put in [&first, &second] {
        let chains = &put.listener.chains;
        assert!(chains.needs_inspection);
        let found = |server_name| {
            let facts = chains::ConnectionFacts {
                destination: ([127, 0, 0, 1], 443).into(),
                source: ([127, 0, 0, 2], 5555).into(),
                server_name: Some(server_name),
                tls: true,
                application_protocols: &[],
            };
            chains.find(&facts).map(|chain| &*chain.name)
        };
        assert_eq!(found("a.example.com"), Some("a"));
        assert_eq!(found("b.example.com"), Some("b"));
        assert_eq!(found("c.example.com"), Some("a"));
    }
    // What two chains ask for is still compared.
    let twice = [both[0].clone(), both[0].clone()];
    let refused = listeners.put(&listener_of(&twice, None), &mut slots).expect_err("refused");
    assert_eq!(refused[0].path, "filter_chains[1].filter_chain_match");
    let refused = listeners.put(&listener_of(&[], None), &mut slots).expect_err("refused");
    assert_eq!(refused[0].path, "filter_chains");
}
