use serde_json::{Value, json};

use crate::config::chains::Net;
use crate::config::slots::Slots;
use crate::config::testing::{proto, with};

use super::*;

const TCP: &str = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";

fn compile(filters: &Value) -> Result<Arc<FilterChain>, Refusal> {
    let chain = proto(&json!({"name": "chain", "filters": filters}));
    filter_chain(&chain, None, &mut Slots::default()).map(|(chain, _)| chain)
}

fn tcp(more: &Value) -> Result<Arc<TcpProxy>, Refusal> {
    let config = with(&json!({"@type": TCP, "stat_prefix": "s"}), more);
    match &compile(&json!([{"name": "tcp", "typed_config": config}]))?.filter {
        NetworkFilter::Tcp(proxy) => Ok(Arc::clone(proxy)),
        NetworkFilter::Http(_) => panic!("not a TCP proxy"),
    }
}

#[test]
fn tcp_proxy_defaults_and_settings() {
    let proxy = tcp(&json!({"cluster": "c"})).expect("valid");
    assert_eq!((&*proxy.stat_prefix, proxy.clusters.iter().len()), ("s", 1));
    assert_eq!(proxy.idle_timeout, Some(Duration::from_secs(3600)));
    assert_eq!((proxy.max_duration, proxy.connect_attempts), (None, 1));
    assert!(proxy.log.is_none());

    let clusters = json!([{"name": "a", "weight": 1}, {"name": "b", "weight": 2}]);
    let proxy = tcp(&json!({
        "weighted_clusters": {"clusters": clusters}, "idle_timeout": "0s", "max_connect_attempts": 3,
        "max_downstream_connection_duration": "5s",
    }))
    .expect("valid");
    let weights: Vec<_> =
        proxy.clusters.iter().map(|(slot, weight)| (slot.name.to_string(), weight)).collect();
    assert_eq!(weights, [("a".to_owned(), 1), ("b".to_owned(), 2)]);
    assert_eq!((proxy.idle_timeout, proxy.connect_attempts), (None, 3));
    assert_eq!(proxy.max_duration, Some(Duration::from_secs(5)));
}

#[test]
fn refusals_name_the_field() {
    let place = "filters[0].typed_config";
    let cases = [
        (json!({}), place.to_owned()),
        (json!({"cluster": ""}), format!("{place}.cluster")),
        (json!({"cluster": "c", "stat_prefix": ""}), format!("{place}.stat_prefix")),
        (
            json!({"cluster": "c", "max_connect_attempts": 0}),
            format!("{place}.max_connect_attempts"),
        ),
        (json!({"weighted_clusters": {}}), format!("{place}.weighted_clusters.clusters")),
        (
            json!({"weighted_clusters": {"clusters": [{"name": "a"}]}}),
            format!("{place}.weighted_clusters.clusters[0].weight"),
        ),
    ];
    for (more, expected) in cases {
        let refused = tcp(&more).map(|_| ()).expect_err(&expected);
        assert_eq!(refused.path, expected, "{refused}");
    }
    assert_eq!(compile(&json!([])).map(|_| ()).expect_err("no filter").path, "filters");
}

#[test]
fn criteria() {
    let criteria = |json: Value| chain_criteria(Some(&proto(&json)));
    assert_eq!(chain_criteria(None), Ok(ChainCriteria::default()));
    let found = criteria(json!({
        "destination_port": 443,
        "prefix_ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}],
        "server_names": ["a.test", "*.b.test"],
        "transport_protocol": "tls",
        "application_protocols": ["h2"],
        "direct_source_prefix_ranges": [{"address_prefix": "::", "prefix_len": 0}],
        "source_type": "EXTERNAL",
        "source_prefix_ranges": [{"address_prefix": "127.0.0.1", "prefix_len": 32}],
        "source_ports": [1],
    }));
    let expected = ChainCriteria {
        destination_port: Some(443),
        destination_nets: vec![Net::new([10, 0, 0, 0].into(), 8)],
        server_names: vec!["a.test".into(), "*.b.test".into()],
        tls: Some(true),
        application_protocols: vec![b"h2".as_slice().into()],
        direct_source_nets: vec![Net::new([0_u16; 8].into(), 0)],
        local_source: Some(false),
        source_nets: vec![Net::new([127, 0, 0, 1].into(), 32)],
        source_ports: vec![1],
    };
    assert_eq!(found, Ok(expected));
    assert_eq!(
        criteria(json!({"transport_protocol": "raw_buffer"})).map(|c| c.tls),
        Ok(Some(false))
    );
    for (json, expected) in [
        (json!({"destination_port": 65536}), "destination_port"),
        (json!({"prefix_ranges": [{"address_prefix": "x"}]}), "prefix_ranges[0].address_prefix"),
        (json!({"server_names": ["a", "*"]}), "server_names[1]"),
        (json!({"server_names": ["*."]}), "server_names[0]"),
        (json!({"server_names": ["a.*.b"]}), "server_names[0]"),
        (json!({"server_names": ["*a.b"]}), "server_names[0]"),
        (json!({"transport_protocol": "quic"}), "transport_protocol"),
        (json!({"source_ports": [1, 65536]}), "source_ports[1]"),
    ] {
        assert_eq!(criteria(json).map(|_| ()).expect_err(expected).path, expected);
    }
}
