//! What a workload's DNS queries are answered with, while objects change.

mod common;

use std::collections::BTreeMap;

use common::{manifest, object};
use serde_json::{Value, json};
use tidegate_pilot::sidecar::name_table::Leads;
use tidegate_pilot::{Input, Options, Pilot, ProxyKind, Workload};

/// A pilot, and the table that its changes come to.
struct Table {
    pilot: Pilot,
    entries: BTreeMap<String, String>,
    /// How many changes the last batch brought.
    changes: usize,
}

impl Table {
    fn new(manifests: &[Value]) -> Self {
        Self::of(vec![[10, 0, 9, 9].into()], manifests)
    }

    fn of(addresses: Vec<std::net::IpAddr>, manifests: &[Value]) -> Self {
        let proxy = ProxyKind::Sidecar(Workload { addresses });
        let namespace = "default".to_owned();
        let options = Options { proxy, captures_dns: true, namespace, ..Options::default() };
        let (pilot, entries) = (Pilot::new(options), BTreeMap::new());
        let mut table = Self { pilot, entries, changes: 0 };
        table.apply_all(manifests.iter().map(|manifest| Input::Apply(object(manifest))));
        table
    }

    fn apply(&mut self, manifest: &Value) {
        self.apply_all([Input::Apply(object(manifest))]);
    }

    fn delete(&mut self, manifest: &Value) {
        self.apply_all([Input::Delete(object(manifest).key.clone())]);
    }

    fn apply_all(&mut self, inputs: impl IntoIterator<Item = Input>) {
        let names = self.pilot.apply(inputs).names;
        self.changes = names.len();
        for change in names {
            let Some(entry) = change.entry else {
                assert!(self.entries.remove(&*change.name).is_some(), "{} was there", change.name);
                continue;
            };
            let mut words = match &entry.leads {
                Leads::To(addresses) => {
                    let words: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                    words.join(" ")
                }
                Leads::Alias(name) => format!("= {name}"),
            };
            let short = entry.short("default");
            if !short.is_empty() {
                words = format!("{words} ({})", short.join(" "));
            }
            self.entries.insert(change.name.to_string(), words);
        }
    }

    fn said(&self, name: &str) -> &str {
        self.entries.get(name).map_or("-", String::as_str)
    }
}

fn service(namespace: &str, name: &str, spec: &Value) -> Value {
    let metadata = json!({"name": name, "namespace": namespace});
    json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})
}

fn entry(name: &str, hosts: &[&str], addresses: &[&str]) -> Value {
    let ports = json!([{"number": 443, "name": "tls", "protocol": "TLS"}]);
    let spec = json!({
        "hosts": hosts, "addresses": addresses, "ports": ports, "resolution": "STATIC",
        "endpoints": [{"address": "10.9.9.9"}],
    });
    manifest("ServiceEntry", name, &spec)
}

fn slice(service: &str, endpoints: &Value) -> Value {
    let labels = json!({"kubernetes.io/service-name": service});
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": format!("{service}-1"), "namespace": "default", "labels": labels},
        "ports": [{"name": "", "port": 3306}], "endpoints": endpoints,
    })
}

const PORT: &str = r#"[{"port": 80}]"#;

fn ports() -> Value {
    serde_json::from_str(PORT).expect("JSON")
}

#[test]
fn services_have_their_addresses_and_short_names() {
    let table = Table::new(&[
        service("default", "a", &json!({"clusterIP": "10.1.0.1", "ports": ports()})),
        service("other", "b", &json!({"clusterIP": "10.1.0.2", "ports": ports()})),
        service("default", "six", &json!({"clusterIP": "fd00::1", "ports": ports()})),
    ]);
    let a = "10.1.0.1 (a.default a.default.svc a)";
    assert_eq!(table.said("a.default.svc.cluster.local"), a);
    assert_eq!(table.said("b.other.svc.cluster.local"), "10.1.0.2 (b.other b.other.svc)");
    assert_eq!(table.said("six.default.svc.cluster.local"), "-", "the workload has no IPv6");
    assert_eq!(table.entries.len(), 2);
}

#[test]
fn an_external_name_is_an_alias() {
    let spec = json!({"type": "ExternalName", "externalName": "httpbin.org", "ports": ports()});
    let httpbin = service("default", "httpbin", &spec);
    let mut table = Table::new(std::slice::from_ref(&httpbin));
    let name = "httpbin.default.svc.cluster.local";
    let alias = "= httpbin.org (httpbin.default httpbin.default.svc httpbin)";
    assert_eq!(table.said(name), alias);
    // A ServiceEntry for the target gives that an address, and leaves the alias what it is.
    table.apply(&entry("target", &["httpbin.org"], &[]));
    assert_eq!((table.said(name), table.changes), (alias, 1));
    assert!(table.said("httpbin.org").starts_with("240.240."));
    table.delete(&httpbin);
    assert_eq!((table.said(name), table.changes), ("-", 1));
}

#[test]
fn headless_services_and_their_pods_have_names() {
    let spec = json!({"clusterIP": "None", "ports": [{"port": 3306}]});
    let endpoints = json!([
        {"addresses": ["10.2.0.1"], "hostname": "mysql-0"},
        {"addresses": ["10.2.0.2"], "hostname": "mysql-1"},
        {"addresses": ["10.2.0.3"], "hostname": "mysql-2", "conditions": {"ready": false}},
    ]);
    let mut table = Table::new(&[service("default", "mysql", &spec), slice("mysql", &endpoints)]);
    let host = "mysql.default.svc.cluster.local";
    let all = "(mysql.default mysql.default.svc mysql)";
    assert_eq!(table.said(host), format!("10.2.0.1 10.2.0.2 {all}"));
    let pod = "10.2.0.2 (mysql-1.mysql.default mysql-1.mysql.default.svc mysql-1.mysql)";
    assert_eq!(table.said(&format!("mysql-1.{host}")), pod);
    assert_eq!(table.entries.len(), 3);

    table.apply(&slice("mysql", &json!([{"addresses": ["10.2.0.1"], "hostname": "mysql-0"}])));
    assert_eq!(table.said(host), format!("10.2.0.1 {all}"));
    assert_eq!(table.said(&format!("mysql-1.{host}")), "-");
    assert_eq!(table.changes, 2);
}

/// Nobody else would say where it is.
#[test]
fn a_service_without_an_address_leads_to_its_endpoints() {
    let spec = json!({"ports": [{"port": 80}]});
    let endpoints = json!([{"addresses": ["10.2.0.1"]}]);
    let table = Table::new(&[service("default", "web", &spec), slice("web", &endpoints)]);
    let expected = "10.2.0.1 (web.default web.default.svc web)";
    assert_eq!(table.said("web.default.svc.cluster.local"), expected);
}

#[test]
fn hosts_of_service_entries_have_addresses_written_or_given() {
    let mut table = Table::new(&[
        entry("a", &["a.example"], &["192.0.2.1", "10.0.0.0/8", "fd00::1"]),
        entry("also-a", &["a.example"], &["192.0.2.2"]),
        entry("b", &["b.example"], &[]),
        entry("wide", &["*.wide.example"], &["192.0.2.3"]),
        entry("wider", &["*.wider.example"], &[]),
    ]);
    assert_eq!(table.said("a.example"), "192.0.2.1 192.0.2.2");
    assert!(table.said("b.example").starts_with("240.240."));
    assert_eq!(table.said("*.wide.example"), "192.0.2.3");
    assert_eq!(table.entries.len(), 3);
    table.delete(&entry("a", &["a.example"], &[]));
    assert_eq!((table.said("a.example"), table.changes), ("192.0.2.2", 1));

    let both = Table::of(
        vec![[10, 0, 9, 9].into(), "fd00::9".parse().expect("an address")],
        &[entry("b", &["b.example"], &[])],
    );
    assert!(both.said("b.example").contains(" 2001:2::f0f0:"), "{}", both.said("b.example"));
}

/// A Service comes before what ServiceEntries say of its name.
#[test]
fn kubernetes_says_what_its_names_mean() {
    let host = "a.default.svc.cluster.local";
    let own = service("default", "a", &json!({"clusterIP": "10.1.0.1", "ports": ports()}));
    let mut table = Table::new(&[entry("a", &[host], &["192.0.2.1"]), own.clone()]);
    assert_eq!(table.said(host), "10.1.0.1 (a.default a.default.svc a)");
    table.delete(&own);
    assert_eq!(table.said(host), "192.0.2.1");
}

#[test]
fn what_a_workload_does_not_see_has_no_name() {
    let mut hidden = entry("hidden", &["hidden.example"], &["192.0.2.1"]);
    hidden["metadata"]["namespace"] = json!("other");
    hidden["spec"]["exportTo"] = json!(["."]);
    let mut table = Table::new(&[
        hidden,
        entry("a", &["a.example"], &["192.0.2.2"]),
        service("other", "b", &json!({"clusterIP": "10.1.0.2", "ports": ports()})),
    ]);
    assert_eq!(table.entries.len(), 2);
    let sidecar = manifest("Sidecar", "own", &json!({"egress": [{"hosts": ["./*"]}]}));
    table.apply(&sidecar);
    assert_eq!(table.said("b.other.svc.cluster.local"), "-");
    assert_eq!((table.said("a.example"), table.changes), ("192.0.2.2", 1));
    table.delete(&sidecar);
    assert_eq!((table.entries.len(), table.changes), (2, 1));
}

#[test]
fn a_change_is_one_change_among_a_thousand_names() {
    let host = |n: usize| format!("host-{n}.example");
    let spec = |hosts: Vec<String>| {
        let ports = json!([{"number": 443, "name": "tls", "protocol": "TLS"}]);
        json!({"hosts": hosts, "ports": ports, "resolution": "DNS"})
    };
    let all: Vec<Value> = (0..10)
        .map(|part| {
            let hosts = (part * 100..(part + 1) * 100).map(host).collect();
            manifest("ServiceEntry", &format!("part-{part}"), &spec(hosts))
        })
        .collect();
    let mut table = Table::new(&all);
    assert_eq!((table.entries.len(), table.changes), (1000, 1000));
    let one = entry("one", &["one.example"], &["192.0.2.1"]);
    table.apply(&one);
    assert_eq!(table.changes, 1);
    table.apply(&one);
    assert_eq!(table.changes, 0, "it is as it was");
    table.delete(&one);
    assert_eq!((table.entries.len(), table.changes), (1000, 1));
}

#[test]
fn nothing_is_told_to_whom_nobody_asks() {
    let proxy = ProxyKind::Sidecar(Workload { addresses: vec![[10, 0, 9, 9].into()] });
    let mut pilot = Pilot::new(Options { proxy, ..Options::default() });
    let manifest = entry("a", &["a.example"], &["192.0.2.1"]);
    assert!(pilot.apply([Input::Apply(object(&manifest))]).names.is_empty());
}
