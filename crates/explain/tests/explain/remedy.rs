//! What was refused is let out by the ServiceEntry that is printed for it, and nothing else is.

use std::net::IpAddr;

use serde_json::Value;
use tidegate_explain::remedy::{Refused, Wire, service_entries};
use tidegate_explain::{Answer, Direction, End, Protocol, Question, Security, World};
use tidegate_pilot::model::auto_address::AutoAddresses;
use tidegate_pilot::{Options, OutboundPolicy, ProxyKind, Workload};

use crate::support::object;

fn world(manifests: &[Value]) -> World {
    let addresses = vec![IpAddr::from([10, 0, 9, 9]), "fd00::9".parse().expect("an address")];
    let options = Options {
        proxy: ProxyKind::Sidecar(Workload { addresses }),
        namespace: "own".to_owned(),
        outbound_policy: OutboundPolicy::RegistryOnly,
        ..Options::default()
    };
    let world = World::new(options, manifests.iter().map(object));
    assert!(world.rejected().is_empty(), "{:?}", world.rejected());
    world
}

fn refused(wire: Wire, host: Option<&str>, address: &str, port: u16) -> Refused {
    let address = Some(address.parse().expect("an address"));
    Refused { wire, host: host.map(str::to_owned), address, port, gateway: None }
}

/// What the client asked for when it was refused.
fn question(refused: &Refused) -> Question {
    let named = refused.host.clone().unwrap_or_default();
    let of_address = refused.address.map(|address| match address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    });
    let by_name = Question {
        direction: Some(Direction::Outbound),
        address: refused.address,
        port: refused.port,
        ..Question::default()
    };
    match refused.wire {
        Wire::Http => {
            let host = refused.host.clone().or(of_address).unwrap_or_default();
            Question { host, ..by_name }
        }
        Wire::Tls => Question {
            security: Security::Tls,
            sni: refused.host.clone(),
            host: named,
            protocol: Protocol::Tcp,
            ..by_name
        },
        Wire::Tcp => Question { protocol: Protocol::Tcp, ..by_name },
    }
}

/// Whether it is let out.
fn goes_out(answer: &Answer) -> bool {
    let denied = matches!(answer.end, End::Answered { status: 502 } | End::Unavailable { .. });
    !denied && answer.clusters.iter().any(|cluster| cluster.name.starts_with("outbound|"))
}

#[test]
fn what_was_refused_goes_out_with_the_printed_entry_and_nothing_else_does() {
    let all = [
        refused(Wire::Http, Some("www.espn.com"), "192.0.2.1", 80),
        refused(Wire::Http, Some("www.espn.com"), "192.0.2.1", 8080),
        refused(Wire::Tls, Some("www.espn.com"), "192.0.2.1", 443),
        refused(Wire::Tls, Some("db_1.example.com"), "192.0.2.2", 8443),
        refused(Wire::Tcp, None, "192.0.2.4", 3306),
        refused(Wire::Tls, None, "192.0.2.5", 443),
        refused(Wire::Http, None, "192.0.2.6", 80),
        refused(Wire::Tcp, None, "2001:db8::7", 5432),
        refused(Wire::Http, Some("v6.example.com"), "2001:db8::8", 80),
    ];
    let closed = world(&[]);
    for one in &all {
        let answer = closed.explain(&question(one));
        assert!(!goes_out(&answer), "{one:?}: {answer:#?}");
        let unsaid = answer.lost.iter().find(|lost| lost.refused.starts_with("it asks for ;"));
        assert_eq!(unsaid, None, "it asks for nothing");
        let entries = service_entries(std::slice::from_ref(one), "own");
        assert_eq!(entries.len(), 1);
        let open = world(&entries);
        let answer = open.explain(&question(one));
        assert!(goes_out(&answer), "{one:?}: {answer:#?}\n{entries:#?}");
        for other in all.iter().filter(|other| other.address != one.address) {
            let answer = open.explain(&question(other));
            assert!(!goes_out(&answer), "{one:?} opens {other:?}: {answer:#?}");
        }
    }
    let open = world(&service_entries(&all, "own"));
    for one in &all {
        assert!(goes_out(&open.explain(&question(one))), "{one:?}");
    }
}

/// Whoever knows the name of plain bytes answers the workload's queries: the host has an address of its own then, whichever it has by
/// itself, and whatever else is asked of it.
#[test]
fn a_host_has_one_entry_whatever_was_asked_of_it() {
    let host = Some("db.example.com");
    let all = [
        refused(Wire::Http, host, "192.0.2.1", 80),
        refused(Wire::Tls, host, "192.0.2.2", 443),
        refused(Wire::Tcp, host, "192.0.2.1", 9000),
        refused(Wire::Tcp, host, "192.0.2.2", 9000),
        refused(Wire::Tcp, host, "240.240.3.7", 9001),
        refused(Wire::Tcp, Some("other.example.com"), "192.0.2.1", 9000),
    ];
    let entries = service_entries(&all, "own");
    assert_eq!(entries.len(), 2, "{entries:#?}");
    let spec = &entries[0]["spec"];
    assert_eq!(spec["hosts"], serde_json::json!(["db.example.com"]));
    assert_eq!((spec["resolution"].as_str(), spec.get("addresses")), (Some("DNS"), None));
    let ports = spec["ports"].as_array().expect("ports").iter();
    let ports: Vec<_> = ports.map(|port| (&port["number"], &port["protocol"])).collect();
    let expected = [(80, "HTTP"), (443, "TLS"), (9000, "TCP"), (9001, "TCP")];
    let expected = expected.map(|(port, protocol)| (Value::from(port), Value::from(protocol)));
    assert_eq!(ports, expected.each_ref().map(|(port, protocol)| (port, protocol)));

    let options = Options {
        proxy: ProxyKind::Sidecar(Workload { addresses: vec![[10, 0, 9, 9].into()] }),
        namespace: "own".to_owned(),
        outbound_policy: OutboundPolicy::RegistryOnly,
        captures_dns: true,
        ..Options::default()
    };
    let open = World::new(options, entries.iter().map(object));
    let mut given = AutoAddresses::default();
    for (host, is_out) in [("db.example.com", true), ("stranger.example.com", false)] {
        let [address, _] = given.take(&"own".into(), &host.into()).expect("an address");
        let asked = refused(Wire::Tcp, None, &address.to_string(), 9000);
        assert_eq!(goes_out(&open.explain(&question(&asked))), is_out, "{host}");
    }
    for one in &all[..2] {
        assert!(goes_out(&open.explain(&question(one))), "{one:?}");
    }
}

#[test]
fn a_port_on_which_requests_and_tls_were_refused_is_looked_into() {
    let all = [
        refused(Wire::Http, Some("mixed.example.com"), "192.0.2.1", 8080),
        refused(Wire::Tls, Some("mixed.example.com"), "192.0.2.1", 8080),
    ];
    let entries = service_entries(&all, "own");
    assert_eq!(entries.len(), 1);
    let open = world(&entries);
    for one in &all {
        let answer = open.explain(&question(one));
        assert!(goes_out(&answer), "{one:?}: {answer:#?}");
    }
}
