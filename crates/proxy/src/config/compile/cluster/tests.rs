use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use crate::config::slots::Slots;
use crate::config::testing::{proto, with};

use super::http::HTTP_OPTIONS;
use super::*;
use crate::http::head::Version;
use crate::remote::Remote;
use crate::upstream::cluster::ProxyHeader::V2;
use crate::upstream::cluster::{
    Balancing, HashKey, HttpConnections, Locality, Place, Probe, SlowStart, UpstreamProtocol,
};
use crate::upstream::source::Source;

const SECOND: Duration = Duration::from_secs(1);

fn endpoint(host: &str) -> Value {
    json!({"endpoint": {"address": {"socket_address": {"address": host, "port_value": 80}}}})
}

fn listing(hosts: &[&str]) -> Value {
    let endpoints: Vec<_> = hosts.iter().map(|host| endpoint(host)).collect();
    json!({"cluster_name": "c", "endpoints": [{"lb_endpoints": endpoints}]})
}

fn minimal() -> Value {
    json!({"name": "c", "load_assignment": listing(&["127.0.0.1"])})
}

fn compile(json: &Value) -> Result<Cluster, Refusal> {
    cluster(&proto(json), None, |_| None, &mut Slots::default())
}

fn good(more: &Value) -> Cluster {
    compile(&with(&minimal(), more)).unwrap_or_else(|refusal| panic!("{refusal} in {more}"))
}

fn http(options: &Value) -> Value {
    let any = json!({"@type": format!("type.googleapis.com/{HTTP_OPTIONS}")});
    json!({"typed_extension_protocol_options": {HTTP_OPTIONS: with(&any, options)}})
}

#[test]
fn defaults_are_envoys() {
    let cluster = good(&json!({}));
    assert_eq!((&*cluster.name, &*cluster.stat_name), ("c", "c"));
    assert_eq!(cluster.discovery, Discovery::Static);
    assert_eq!(cluster.connect_timeout, 5 * SECOND);
    assert_eq!(cluster.sharing.balancing, Balancing::RoundRobin);
    assert_eq!(cluster.http.protocol, Some(UpstreamProtocol::Http1));
    assert_eq!(
        cluster.limits,
        Limits {
            connections: 1024,
            pending_requests: 1024,
            requests: 1024,
            retries: 3,
            retry_budget: None
        }
    );
    assert_eq!(cluster.http.idle_timeout, Some(3600 * SECOND));
    assert_eq!(cluster.http.max_requests, None);
    assert_eq!(cluster.http.max_streams, 1024);
    assert_eq!(cluster.buffer_limit, 1024 * 1024);
    assert_eq!(cluster.keepalive, None);
    let dns = DnsPolicy { family: DnsFamily::Auto, refresh: 5 * SECOND, respect_ttl: false };
    assert_eq!(cluster.dns, dns);
    let endpoints = cluster.endpoints.load();
    assert_eq!((endpoints.ready, endpoints.endpoints.len()), (true, 1));
}

#[test]
fn a_static_cluster_may_have_no_endpoints() {
    let endpoints = compile(&json!({"name": "c"})).expect("valid").endpoints.load_full();
    assert!(endpoints.ready && endpoints.endpoints.is_empty());
}

#[test]
fn settings_are_read() {
    let cluster = good(&with(
        &json!({
            "alt_stat_name": "other",
            "connect_timeout": "0.25s",
            "lb_policy": "LEAST_REQUEST",
            "per_connection_buffer_limit_bytes": 7,
            "circuit_breakers": {"thresholds": [
                {"max_connections": 1, "max_requests": 3, "max_retries": 0,
                    "retry_budget": {"budget_percent": {"value": 12.5}, "budget_interval": "3s", "min_retry_concurrency": 2}},
                {"priority": "HIGH", "max_connections": 9},
                {"max_connections": 8, "max_pending_requests": 8},
            ]},
            "upstream_connection_options": {"tcp_keepalive": {"keepalive_probes": 2, "keepalive_time": 3}},
        }),
        &http(&json!({
            "common_http_protocol_options": {"idle_timeout": "0s", "max_requests_per_connection": 10,
                "max_connection_duration": "60s"},
            "explicit_http_config": {"http2_protocol_options": {"max_concurrent_streams": 5,
                "connection_keepalive": {"interval": "3s", "timeout": "1s"}}},
        })),
    ));
    assert_eq!(&*cluster.stat_name, "other");
    assert_eq!(cluster.connect_timeout, SECOND / 4);
    assert_eq!(cluster.sharing.balancing, Balancing::LeastRequest);
    assert_eq!(cluster.buffer_limit, 7);
    assert_eq!(
        cluster.limits,
        Limits {
            connections: 1,
            pending_requests: 1024,
            requests: 3,
            retries: 0,
            retry_budget: Some(RetryBudget { share: 12_500, least: 2, interval: Some(3 * SECOND) }),
        }
    );
    let beside = [0, 17, 100].map(|requests| cluster.limits.retries_beside(requests));
    assert_eq!(beside, [2, 2, 12]);
    assert_eq!(Limits::default().retries_beside(1000), 3);
    let keepalive = Keepalive { probes: Some(2), idle: Some(3 * SECOND), interval: None };
    assert_eq!(cluster.keepalive, Some(keepalive));
    assert_eq!((cluster.http.idle_timeout, cluster.http.max_requests), (None, Some(10)));
    assert_eq!(cluster.http.protocol, Some(UpstreamProtocol::Http2));
    assert_eq!(cluster.http.max_streams, 5);
    assert_eq!(cluster.http.max_duration, Some(60 * SECOND));
    let probe = Probe { interval: 3 * SECOND, jitter: 0.15, timeout: SECOND };
    assert_eq!(cluster.http.probe, Some(probe));
}

#[test]
fn a_cluster_may_speak_what_its_clients_speak() {
    let keepalive = json!({"interval": "3s", "timeout": "1s", "interval_jitter": {"value": 0}});
    let options = json!({"use_downstream_protocol_config": {
        "http2_protocol_options": {"max_concurrent_streams": 5, "connection_keepalive": keepalive}}});
    let HttpConnections { protocol, max_streams, probe, .. } = good(&http(&options)).http;
    assert_eq!((protocol, max_streams), (None, 5));
    assert_eq!(probe, Some(Probe { interval: 3 * SECOND, jitter: 0.0, timeout: SECOND }));
    let plain = good(&http(&json!({"use_downstream_protocol_config": {}}))).http;
    for (client, spoken) in [
        (Version::Http10, UpstreamProtocol::Http1),
        (Version::Http11, UpstreamProtocol::Http1),
        (Version::Http2, UpstreamProtocol::Http2),
    ] {
        assert_eq!(plain.protocol_for(client), spoken);
        assert_eq!(HttpConnections::default().protocol_for(client), UpstreamProtocol::Http1);
    }
}

#[test]
fn balancing_by_policy() {
    for (name, expected) in [
        ("round_robin.v3.RoundRobin", Balancing::RoundRobin),
        ("least_request.v3.LeastRequest", Balancing::LeastRequest),
        ("random.v3.Random", Balancing::Random),
    ] {
        let url = format!("type.googleapis.com/envoy.extensions.load_balancing_policies.{name}");
        let config = json!({"name": "x", "typed_config": {"@type": url}});
        let policy =
            json!({"load_balancing_policy": {"policies": [{"typed_extension_config": config}]}});
        assert_eq!(good(&policy).sharing.balancing, expected, "{name}");
    }
}

#[test]
fn clusters_that_hash() {
    let key = HashKey::Address;
    let ring = |least, most| Balancing::RingHash { least, most, key };
    let typed = |name: &str, more: Value| {
        let url = format!("type.googleapis.com/envoy.extensions.load_balancing_policies.{name}");
        let config = json!({"name": "x", "typed_config": with(&json!({"@type": url}), &more)});
        json!({"load_balancing_policy": {"policies": [{"typed_extension_config": config}]}})
    };
    let by_name = json!({"consistent_hashing_lb_config": {"use_hostname_for_hashing": true}});
    let cases = [
        (json!({"lb_policy": "RING_HASH"}), ring(1024, 8_388_608)),
        (
            json!({"lb_policy": "RING_HASH",
                "ring_hash_lb_config": {"minimum_ring_size": 7, "maximum_ring_size": 9}}),
            ring(7, 9),
        ),
        (json!({"lb_policy": "MAGLEV"}), Balancing::Maglev { size: 65_537, key }),
        (
            json!({"lb_policy": "MAGLEV", "maglev_lb_config": {"table_size": 11},
                "common_lb_config": by_name}),
            Balancing::Maglev { size: 11, key: HashKey::Hostname },
        ),
        (
            typed("ring_hash.v3.RingHash", with(&json!({"minimum_ring_size": 5}), &by_name)),
            Balancing::RingHash { least: 5, most: 8_388_608, key: HashKey::Hostname },
        ),
        (typed("maglev.v3.Maglev", json!({"table_size": 13})), Balancing::Maglev { size: 13, key }),
    ];
    for (more, expected) in cases {
        let cluster = good(&with(&more, &json!({"load_assignment": listing(&["127.0.0.1"])})));
        assert_eq!(cluster.sharing.balancing, expected, "{more}");
        let set = cluster.endpoints.load();
        let placed = set.groups().next().is_some_and(|group| group.placement.is_some());
        assert!(placed, "it is placed: {more}");
    }
    let ring = |config: Value| json!({"lb_policy": "RING_HASH", "ring_hash_lb_config": config});
    let maglev =
        |size: u64| json!({"lb_policy": "MAGLEV", "maglev_lb_config": {"table_size": size}});
    for (more, expected) in [
        (ring(json!({"minimum_ring_size": 9, "maximum_ring_size": 7})), "minimum_ring_size"),
        (ring(json!({"minimum_ring_size": 8_388_609})), "minimum_ring_size"),
        (ring(json!({"maximum_ring_size": 0})), "maximum_ring_size"),
        (maglev(8), "table_size"),
        (maglev(1), "table_size"),
        (maglev(5_000_021), "table_size"),
    ] {
        let refused = compile(&with(&minimal(), &more)).map(|_| ()).expect_err(expected);
        assert!(refused.path.ends_with(expected), "{more}: {refused}");
    }
}

#[test]
fn names_are_left_to_dns() {
    let name =
        |host: &str| DnsName { host: host.into(), port: 80, weight: 1, place: Default::default() };
    let listed = |hosts: &[&str]| json!({"load_assignment": listing(hosts)});
    let policy = json!({
        "dns_lookup_family": "V4_PREFERRED", "dns_refresh_rate": "9s", "respect_dns_ttl": true,
    });
    let expected =
        DnsPolicy { family: DnsFamily::V4Preferred, refresh: 9 * SECOND, respect_ttl: true };

    let strict =
        with(&with(&json!({"type": "STRICT_DNS"}), &policy), &listed(&["a.test", "b.test"]));
    let strict = good(&strict);
    assert_eq!(strict.discovery, Discovery::StrictDns(vec![name("a.test"), name("b.test")]));
    assert_eq!((strict.dns, strict.endpoints.load().ready), (expected, false));

    let logical = good(&with(&json!({"type": "LOGICAL_DNS"}), &listed(&["a.test"])));
    assert_eq!(logical.discovery, Discovery::LogicalDns(name("a.test")));

    let typed = with(
        &json!({"@type": "type.googleapis.com/envoy.extensions.clusters.dns.v3.DnsCluster"}),
        &policy,
    );
    let custom = |more: &Value| {
        let kind = json!({"cluster_type": {"name": "envoy.clusters.dns", "typed_config": with(&typed, more)}});
        good(&with(&kind, &listed(&["a.test"])))
    };
    assert_eq!(custom(&json!({})).discovery, Discovery::StrictDns(vec![name("a.test")]));
    assert_eq!(custom(&json!({})).dns, expected);
    let single = custom(&json!({"all_addresses_in_single_endpoint": true}));
    assert_eq!(single.discovery, Discovery::LogicalDns(name("a.test")));
}

#[test]
fn eds_clusters_take_what_is_assigned() {
    let json =
        json!({"name": "c", "type": "EDS", "eds_cluster_config": {"eds_config": {"ads": {}}}});
    let unassigned = compile(&json).expect("valid");
    assert_eq!(unassigned.discovery, Discovery::Eds("c".into()));
    assert!(!unassigned.endpoints.load().ready);

    let json = with(&json, &json!({"eds_cluster_config": {"service_name": "s"}}));
    let assigned = assignment(&proto(&listing(&["127.0.0.1"]))).expect("valid");
    let cluster = cluster(
        &proto(&json),
        None,
        |service| (service == "s").then_some(assigned),
        &mut Slots::default(),
    );
    assert_eq!(cluster.expect("valid").endpoints.load().endpoints.len(), 1);
}

#[test]
fn a_new_form_keeps_the_endpoints_that_are_found_in_the_same_way() {
    let dns =
        with(&minimal(), &json!({"type": "STRICT_DNS", "load_assignment": listing(&["a.test"])}));
    let before = compile(&dns).expect("valid");
    let found = assignment(&proto(&listing(&["127.0.0.1"]))).expect("valid");
    before.set_endpoints(found.endpoints(&EndpointSet::default()));

    let again = |json: &Value| {
        cluster(&proto(json), Some(&before), |_| None, &mut Slots::default()).expect("valid")
    };
    let kept = again(&with(&dns, &json!({"connect_timeout": "1s"})));
    before.usage.requests.store(7, Ordering::Relaxed);
    assert_eq!(kept.usage.requests.load(Ordering::Relaxed), 7, "what is in use of its limits");
    assert!(kept.endpoints.load().ready);
    assert!(Arc::ptr_eq(
        &kept.endpoints.load().endpoints[0],
        &before.endpoints.load().endpoints[0]
    ));
    let other = again(&with(&dns, &json!({"load_assignment": listing(&["b.test"])})));
    assert!(!other.endpoints.load().ready);
}

#[test]
fn refusals_name_the_field() {
    let key = format!("typed_extension_protocol_options[\"{HTTP_OPTIONS}\"]");
    let explicit = |more: &Value| {
        http(&with(&json!({"explicit_http_config": {"http_protocol_options": {}}}), more))
    };
    let cases = [
        (json!({"name": ""}), "name".to_owned()),
        (json!({"connect_timeout": "0s"}), "connect_timeout".to_owned()),
        (
            json!({"load_assignment": listing(&["a.test"])}),
            "load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.address"
                .to_owned(),
        ),
        (
            json!({"type": "LOGICAL_DNS", "load_assignment": listing(&["a.test", "b.test"])}),
            "load_assignment".to_owned(),
        ),
        (json!({"type": "EDS"}), "eds_cluster_config".to_owned()),
        (
            json!({"type": "EDS", "eds_cluster_config": {}}),
            "eds_cluster_config.eds_config".to_owned(),
        ),
        (
            json!({"eds_cluster_config": {"eds_config": {"ads": {}}}}),
            "eds_cluster_config".to_owned(),
        ),
        (json!({"type": "STRICT_DNS", "dns_refresh_rate": "0s"}), "dns_refresh_rate".to_owned()),
        (json!({"lb_policy": "LOAD_BALANCING_POLICY_CONFIG"}), "load_balancing_policy".to_owned()),
        (json!({"load_balancing_policy": {}}), "load_balancing_policy.policies".to_owned()),
        (http(&json!({})), key.clone()),
        (
            http(
                &json!({"explicit_http_config": {"http2_protocol_options": {"connection_keepalive": {"interval": "1s"}}}}),
            ),
            format!(
                "{key}.explicit_http_config.http2_protocol_options.connection_keepalive.timeout"
            ),
        ),
        (http(&json!({"explicit_http_config": {}})), format!("{key}.explicit_http_config")),
        (
            explicit(&json!({"common_http_protocol_options": {"max_headers_count": 1}})),
            format!("{key}.common_http_protocol_options.max_headers_count"),
        ),
        (
            explicit(&json!({"common_http_protocol_options": {"max_stream_duration": "1s"}})),
            format!("{key}.common_http_protocol_options.max_stream_duration"),
        ),
        (
            http(
                &json!({"explicit_http_config": {"http2_protocol_options": {"max_concurrent_streams": 0}}}),
            ),
            format!("{key}.explicit_http_config.http2_protocol_options.max_concurrent_streams"),
        ),
        (
            http(
                &json!({"explicit_http_config": {"http2_protocol_options": {"initial_stream_window_size": 70000}}}),
            ),
            format!("{key}.explicit_http_config.http2_protocol_options.initial_stream_window_size"),
        ),
    ];
    for (more, expected) in cases {
        let refused = compile(&with(&minimal(), &more)).map(|_| ()).expect_err(&expected);
        assert_eq!(refused.path, expected, "{more}: {refused}");
    }
}

#[test]
fn refusals_of_what_is_missing_or_foreign() {
    let other = json!({"typed_extension_protocol_options": {"x": {"@type": format!("type.googleapis.com/{HTTP_OPTIONS}")}}});
    let refused = compile(&with(&minimal(), &other)).map(|_| ()).expect_err("another key");
    assert_eq!(refused.path, "typed_extension_protocol_options[\"x\"]");
    let nothing = compile(&json!({"name": "c", "type": "STRICT_DNS"})).map(|_| ());
    assert_eq!(nothing.expect_err("no names").path, "load_assignment");
}

#[test]
fn localities_priorities_and_slow_start() {
    let place = |zone: &str, more: Value| {
        let locality = json!({"locality": {"zone": zone}, "lb_endpoints": [endpoint("10.0.0.1")]});
        with(&locality, &more)
    };
    let assigned = json!({
        "cluster_name": "c",
        "policy": {"overprovisioning_factor": 200},
        "endpoints": [place("a", json!({"load_balancing_weight": 3})), place("b", json!({"priority": 1}))],
    });
    let weighted = json!({"locality_weighted_lb_config": {}});
    let cluster = good(&json!({"load_assignment": assigned, "common_lb_config": weighted}));
    assert!(cluster.sharing.by_locality);
    let set = cluster.endpoints.load();
    let found: Vec<Place> = set.with_places().map(|(_, place)| Place::clone(place)).collect();
    let wanted = [("a", 0, 3), ("b", 1, 0)].map(|(zone, priority, weight)| Place {
        priority,
        locality: Locality { zone: zone.into(), ..Locality::default() },
        weight,
        overprovisioning: 200,
    });
    assert_eq!(found, wanted);
    assert_eq!(set.count(), 1, "the second priority has nothing to do");

    let config = json!({"slow_start_window": "60s", "aggression": {"default_value": 2.0,
        "runtime_key": "x"}, "min_weight_percent": {"value": 20.0}});
    let wanted = SlowStart { window: 60 * SECOND, aggression: 2.0, least: 0.2 };
    let typed = |name: &str, config: Value| {
        let url = format!("type.googleapis.com/envoy.extensions.load_balancing_policies.{name}");
        let config = with(&json!({"@type": url}), &config);
        json!({"load_balancing_policy": {"policies":
            [{"typed_extension_config": {"name": "x", "typed_config": config}}]}})
    };
    let by_locality = json!({"locality_weighted_lb_config": {}});
    let both = json!({"slow_start_config": config, "locality_lb_config": by_locality});
    for (policy, slow_start, by_locality) in [
        (json!({"round_robin_lb_config": {"slow_start_config": config}}), Some(wanted), false),
        (
            json!({"lb_policy": "LEAST_REQUEST", "least_request_lb_config": {"slow_start_config": config}}),
            Some(wanted),
            false,
        ),
        (
            json!({"lb_policy": "RANDOM", "round_robin_lb_config": {"slow_start_config": config}}),
            None,
            false,
        ),
        (json!({"round_robin_lb_config": {"slow_start_config": {}}}), None, false),
        (typed("round_robin.v3.RoundRobin", both.clone()), Some(wanted), true),
        (typed("least_request.v3.LeastRequest", both), Some(wanted), true),
        (typed("random.v3.Random", json!({"locality_lb_config": by_locality})), None, true),
        (typed("maglev.v3.Maglev", by_locality.clone()), None, true),
        (typed("ring_hash.v3.RingHash", by_locality), None, true),
    ] {
        let sharing = good(&policy).sharing;
        assert_eq!(
            (sharing.slow_start, sharing.by_locality),
            (slow_start, by_locality),
            "{policy}"
        );
    }
    let refused = |field: &str, value: Value| {
        let config = json!({"slow_start_window": "1s", field: value});
        let more = json!({"round_robin_lb_config": {"slow_start_config": config}});
        compile(&with(&minimal(), &more)).expect_err("refused").path
    };
    let path = |field: &str| format!("round_robin_lb_config.slow_start_config.{field}");
    assert_eq!(refused("aggression", json!({"default_value": 0})), path("aggression"));
    let over = json!({"value": 101});
    assert_eq!(refused("min_weight_percent", over), path("min_weight_percent"));
}

#[test]
fn connections_may_come_from_addresses_of_their_own() {
    let address = |ip: &str| json!({"address": ip, "port_value": 0});
    let bound = |first: &str, others: &[&str]| {
        let others: Vec<_> = others.iter().map(|ip| json!({"address": address(ip)})).collect();
        let config = json!({"source_address": address(first), "extra_source_addresses": others});
        compile(&with(&minimal(), &json!({"upstream_bind_config": config})))
    };
    let both = bound("127.0.0.6", &["::6"]).expect("valid").sources;
    let remote = |ip: &str| Remote::Ip(SocketAddr::new(ip.parse().expect("an address"), 80));
    let own = |ip: &str| Some(Source::Own(SocketAddr::new(ip.parse().expect("an address"), 0)));
    assert_eq!(both.of(&remote("10.0.0.1")), own("127.0.0.6"));
    assert_eq!(both.of(&remote("::1")), own("::6"));
    assert_eq!(both.of(&Remote::Pipe("/s".into())), None);
    let one = bound("127.0.0.6", &[]).expect("valid").sources;
    assert_eq!(one.of(&remote("::")), own("127.0.0.6"), "it then fails");
    assert_eq!(good(&json!({})).sources.of(&remote("10.0.0.1")), None);
    for (first, others, path) in [
        ("a", &[][..], "source_address.address"),
        ("127.0.0.6", &["b"], "extra_source_addresses[0].address.address"),
        ("127.0.0.6", &["127.0.0.7"], "extra_source_addresses"),
        ("127.0.0.6", &["::6", "::7"], "extra_source_addresses"),
    ] {
        let refused = bound(first, others).expect_err("it is refused");
        assert_eq!(refused.path, format!("upstream_bind_config.{path}"));
    }
    let none = compile(&with(&minimal(), &json!({"upstream_bind_config": {}})));
    assert_eq!(none.expect_err("refused").path, "upstream_bind_config.source_address");
}

#[test]
fn requests_may_say_where_they_go() {
    let with_config = |config: &Value| {
        let dialled = json!({"name": "c", "type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED"});
        compile(&with(&dialled, &json!({"original_dst_lb_config": config})))
    };
    let named = |config: &Value| match with_config(config).expect("valid").discovery {
        Discovery::Dialled { named, .. } => *named.expect("something"),
        other => panic!("{other:?}"),
    };
    assert_eq!(named(&json!({})), Named::default());
    assert_eq!(named(&json!({"use_http_header": true})).header, Some(Field::new(HEADER)));
    let own = json!({"use_http_header": true, "http_header_name": ":authority",
        "upstream_port_override": 8080,
        "metadata_key": {"key": "f", "path": [{"key": "a"}, {"key": "b"}]}});
    let path = ["a".into(), "b".into()].into();
    let noted = Some(Noted { of: "f".into(), path });
    let wanted = Named { noted, header: Some(Field::Authority), port: Some(8080) };
    assert_eq!(named(&own), wanted);
    for (config, path) in [
        (json!({"http_header_name": "x"}), "http_header_name"),
        (json!({"upstream_port_override": 65536}), "upstream_port_override"),
        (json!({"metadata_key": {"key": "f"}}), "metadata_key.path"),
        (json!({"metadata_key": {"path": [{"key": "a"}]}}), "metadata_key.key"),
    ] {
        let refused = with_config(&config).expect_err("it is refused");
        assert_eq!(refused.path, format!("original_dst_lb_config.{path}"));
    }
}

#[test]
fn clusters_may_send_to_where_clients_dialled() {
    let dialled = json!({"name": "c", "type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED"});
    let cluster = compile(&dialled).expect("valid");
    assert_eq!(cluster.discovery, Discovery::Dialled { cleanup: 5 * SECOND, named: None });
    assert!(cluster.endpoints.load().ready, "nobody waits for endpoints");
    let often = compile(&with(&dialled, &json!({"cleanup_interval": "1s"}))).expect("valid");
    assert_eq!(often.discovery, Discovery::Dialled { cleanup: SECOND, named: None });
    let cases = [
        (json!({"lb_policy": "ROUND_ROBIN"}), "lb_policy"),
        (json!({"load_assignment": listing(&["127.0.0.1"])}), "load_assignment"),
        (json!({"cleanup_interval": "0s"}), "cleanup_interval"),
    ];
    for (more, field) in cases {
        let refused = compile(&with(&dialled, &more)).map(|_| ()).expect_err(field);
        assert_eq!(refused.path, field, "{refused}");
    }
    let mut slots = Slots::default();
    let watched = with(&dialled, &json!({"outlier_detection": {}}));
    cluster_of(&watched, &mut slots).expect("valid");
    let told: Vec<_> = slots.take_notices().into_iter().map(|notice| notice.path).collect();
    assert_eq!(told, ["outlier_detection"]);
    cluster_of(&with(&minimal(), &json!({"cleanup_interval": "1s"})), &mut slots).expect("valid");
    let told: Vec<_> = slots.take_notices().into_iter().map(|notice| notice.path).collect();
    assert_eq!(told, ["cleanup_interval"]);
}

fn cluster_of(json: &Value, slots: &mut Slots) -> Result<Cluster, Refusal> {
    cluster(&proto(json), None, |_| None, slots)
}

fn around(config: &Value, inner: &Value) -> Value {
    let typed = |name: &str, more: &Value| {
        let kind = format!("type.googleapis.com/envoy.extensions.transport_sockets.{name}");
        json!({"name": name, "typed_config": with(&json!({"@type": kind}), more)})
    };
    let inner = inner.as_str().map_or(json!({}), |kind| {
        let kind = typed(kind, &json!({}));
        json!({"transport_socket": kind})
    });
    let config = with(&json!({"config": config}), &inner);
    let socket = typed("proxy_protocol.v3.ProxyProtocolUpstreamTransport", &config);
    with(&minimal(), &json!({"transport_socket": socket}))
}

#[test]
fn connections_may_begin_with_who_the_client_is() {
    let plain = json!("raw_buffer.v3.RawBuffer");
    let mut slots = Slots::default();
    let mut header = |config: &Value| {
        let cluster = cluster_of(&around(config, &plain), &mut slots).expect("valid");
        let told: Vec<_> = slots.take_notices().into_iter().map(|notice| notice.path).collect();
        assert!(cluster.tls.is_none());
        (cluster.proxy_header.expect("a header"), told)
    };
    let added = json!([{"type": 5, "value": "YWJj"}, {"type": 255, "value": "AA=="}]);
    assert_eq!(header(&json!({})), (ProxyHeader::V1, vec![]));
    let V2 { added: none } = header(&json!({"version": "V2"})).0 else { panic!("version 2") };
    assert!(none.is_empty());
    let V2 { added: all } = header(&json!({"version": "V2", "added_tlvs": added})).0 else {
        panic!("version 2")
    };
    assert_eq!(*all, *b"\x05\0\x03abc\xff\0\x01\0");
    let (unused, told) = header(&json!({"added_tlvs": added}));
    assert_eq!(unused, ProxyHeader::V1);
    assert_eq!(told, ["transport_socket.typed_config.config.added_tlvs"]);
    let tls = around(&json!({"version": "V2"}), &json!("tls.v3.UpstreamTlsContext"));
    let tls = compile(&tls).expect("valid");
    assert!(tls.tls.is_some() && tls.proxy_header.is_some());
    assert_eq!(good(&json!({})).proxy_header, None);
}

#[test]
fn refusals_of_what_connections_begin_with_name_the_field() {
    let plain = json!("raw_buffer.v3.RawBuffer");
    let long = |len: usize| "A".repeat(len / 3 * 4);
    let two = json!([{"value": long(60_000)}, {"value": long(6_000)}]);
    for (config, inner, path) in [
        (
            json!({"added_tlvs": [{"type": 256, "value": "AA=="}]}),
            &plain,
            "config.added_tlvs[0].type",
        ),
        (json!({"added_tlvs": [{"type": 1}]}), &plain, "config.added_tlvs[0].value"),
        (json!({"added_tlvs": two}), &plain, "config.added_tlvs[1].value"),
        (json!({"version": 2}), &plain, "config.version"),
        (json!({}), &json!(null), "transport_socket"),
        (
            json!({}),
            &json!("proxy_protocol.v3.ProxyProtocolUpstreamTransport"),
            "transport_socket.typed_config",
        ),
        (json!({}), &json!("tls.v3.DownstreamTlsContext"), "transport_socket.typed_config"),
    ] {
        let refused = compile(&around(&config, inner)).map(|_| ()).expect_err(path);
        assert_eq!(refused.path, format!("transport_socket.typed_config.{path}"), "{refused}");
    }
}
