//! A proxy that is only told of.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Value as Json, json};
use tidegate_envoy::json::from_json;
use tidegate_envoy::v3;
use tidegate_testing::ca::Ca;
use tidegate_xds::ResourceType;

use crate::egress::{Asked, Denied};
use crate::remote::Remote;
use crate::tls::inventory::{Inventory, Named};

use super::super::*;

/// A proxy that serves what the tests say.
pub(super) struct Fake {
    pub(super) lifecycle: Mutex<Lifecycle>,
    pub(super) serves_initial: bool,
    pub(super) orders: Mutex<Vec<String>>,
}

impl Fake {
    pub(super) fn new(lifecycle: Lifecycle) -> Arc<Self> {
        Arc::new(Self {
            lifecycle: Mutex::new(lifecycle),
            serves_initial: true,
            orders: Mutex::default(),
        })
    }

    fn note(&self, order: &str) {
        self.orders.lock().unwrap().push(order.to_owned());
    }
}

fn moment() -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(1_548_945_618_645)
}

fn encoded<T: prost::Name + Default>(json: &Json) -> Bytes {
    from_json::<T>(json).unwrap().encode_to_vec().into()
}

fn resource(name: &str, origin: Origin, bytes: Bytes) -> Resource {
    let accepted = Some(Accepted { version: "v7".to_owned(), updated: moment(), bytes });
    Resource { name: name.into(), origin, accepted, rejected: None, warming: false }
}

fn cluster(name: &str) -> Bytes {
    encoded::<v3::cluster::Cluster>(
        &json!({"name": name, "type": "STATIC", "connect_timeout": "1s"}),
    )
}

fn listener(name: &str) -> Bytes {
    encoded::<v3::listener::Listener>(&json!({
        "name": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 19080}},
    }))
}

fn host(name: &str) -> Bytes {
    encoded::<v3::route::VirtualHost>(&json!({"name": name, "domains": ["*"]}))
}

impl State for Fake {
    fn lifecycle(&self) -> Lifecycle {
        *self.lifecycle.lock().unwrap()
    }

    fn serves_initial_configuration(&self) -> bool {
        self.serves_initial
    }

    fn about(&self) -> About {
        About {
            version: "0.1.0".to_owned(),
            started: moment(),
            node: json!({"id": "n1", "cluster": "c1"}),
            options: json!({"concurrency": 2}),
        }
    }

    fn bootstrap(&self) -> Bytes {
        encoded::<v3::bootstrap::Bootstrap>(&json!({
            "node": {"id": "n1", "cluster": "c1"},
            "static_resources": {"secrets": [
                {"name": "s1", "tls_certificate": {"private_key": {"inline_string": "KEY"}}},
            ]},
        }))
    }

    fn resources(&self, kind: ResourceType) -> Vec<Resource> {
        match kind {
            ResourceType::Cluster => vec![
                resource(
                    "outbound|80||httpbin.org",
                    Origin::Dynamic,
                    cluster("outbound|80||httpbin.org"),
                ),
                resource("dead", Origin::Static, cluster("dead")),
                resource("edsc", Origin::Dynamic, cluster("edsc")),
            ],
            ResourceType::Listener => vec![
                resource("0.0.0.0_8080", Origin::Dynamic, listener("0.0.0.0_8080")),
                Resource {
                    accepted: None,
                    rejected: Some(Rejected {
                        version: "v8".to_owned(),
                        attempted: moment(),
                        reason: "no".to_owned(),
                        bytes: listener("bad"),
                    }),
                    ..resource("bad", Origin::Dynamic, Bytes::new())
                },
            ],
            ResourceType::RouteConfiguration => {
                let bytes = encoded::<v3::route::RouteConfiguration>(&json!({"name": "http.8080"}));
                vec![resource("http.8080", Origin::Dynamic, bytes)]
            }
            ResourceType::VirtualHost => vec![
                resource("http.8080/b:80", Origin::Dynamic, host("b:80")),
                resource("http.8080/a:80", Origin::Dynamic, host("a:80")),
                resource("http.9999/c:80", Origin::Dynamic, host("c:80")),
            ],
            ResourceType::Secret => {
                let bytes = encoded::<v3::tls::Secret>(&json!({
                    "name": "s1",
                    "tls_certificate": {
                        "certificate_chain": {"inline_string": "CERT"},
                        "private_key": {"inline_string": "KEY"},
                    },
                }));
                vec![resource("s1", Origin::Dynamic, bytes)]
            }
            ResourceType::Endpoints => Vec::new(),
        }
    }

    fn refresh_stats(&self) {}

    fn denied(&self) -> Vec<Denied> {
        vec![Denied {
            asked: Asked::Tls,
            at_gateway: false,
            bounded_by: None,
            host: Some("www.espn.com".into()),
            destination: "192.0.2.1:443".parse().unwrap(),
            source: "10.0.0.7".parse().unwrap(),
            count: 3,
            first: moment(),
            last: moment(),
        }]
    }

    fn clusters(&self) -> Vec<Cluster> {
        let endpoint = |address: &str, hostname: &str| Endpoint {
            address: address.parse::<SocketAddr>().unwrap().into(),
            hostname: hostname.to_owned(),
            health: Health::default(),
            success_rates: [None, None],
            weight: 1,
            locality: Locality::default(),
            priority: 0,
        };
        vec![
            Cluster {
                name: "outbound|80||httpbin.org".into(),
                alias: Some("outbound|80||httpbin.org;".into()),
                added_via_api: true,
                endpoints: vec![endpoint("127.0.0.1:19100", "127.0.0.1")],
                ..Cluster::default()
            },
            Cluster {
                name: "edsc".into(),
                added_via_api: true,
                endpoints: vec![Endpoint {
                    health: Health { failed_eds: true, ..Health::default() },
                    locality: Locality {
                        region: "r".to_owned(),
                        zone: "z".to_owned(),
                        sub_zone: String::new(),
                    },
                    ..endpoint("127.0.0.1:19100", "")
                }],
                ..Cluster::default()
            },
        ]
    }

    fn certificates(&self) -> Vec<Inventory> {
        let ca = Ca::new("root");
        let named = |name: &str, certificate| Named {
            name: name.into(),
            is_secret: name == "s",
            certificate,
        };
        let issued = ca.issue_with_uris(&["a.test", "10.0.0.1"], &["spiffe://a"]).certificate;
        let ca = CertificateDer::from_pem_slice(ca.pem().as_bytes()).unwrap();
        vec![Inventory { presented: vec![named("s", issued)], ca: Some(named("ca", ca)) }]
    }

    fn listeners(&self) -> Vec<Listener> {
        let listener = |name: &str, address: &str| Listener {
            name: name.into(),
            addresses: vec![Remote::Ip(address.parse().unwrap())],
        };
        vec![listener("tls", "[::1]:19443"), listener("0.0.0.0_8080", "127.0.0.1:19080")]
    }

    fn drain_listeners(&self, drain: Drain) {
        self.note(&format!("drain {} {}", drain.graceful, drain.inbound_only));
    }

    fn reopen_logs(&self) {
        self.note("reopen");
    }

    fn quit(&self) {
        self.note("quit");
    }
}
