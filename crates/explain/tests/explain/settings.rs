//! Settings of DestinationRules: which hold for a cluster, and what has another protocol spoken to it.

use tidegate_explain::{Cluster, End, Look, Source, render};

use crate::support::{Case, question};

const MANIFESTS: &str = r#"apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: hosts, namespace: default}
spec:
  hosts: [a.org]
  ports:
  - {number: 80, name: http, protocol: HTTP}
  - {number: 81, name: calls, protocol: GRPC}
  resolution: STATIC
  endpoints: [{address: 10.0.0.1, labels: {version: v1}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: settings, namespace: default}
spec:
  host: a.org
  trafficPolicy:
    outlierDetection: {consecutive5xxErrors: 3}
    connectionPool: {tcp: {maxConnections: 5}}
    portLevelSettings:
    - {port: {number: 81}, connectionPool: {http: {http2MaxRequests: 7}}}
  subsets:
  - {name: other, labels: {version: v2}}
  - name: v1
    labels: {version: v1}
    trafficPolicy:
      connectionPool: {http: {h2UpgradePolicy: UPGRADE}}
      proxyProtocol: {version: V2}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: app, namespace: default}
spec:
  hosts: [a.example]
  gateways: [gw]
  http:
  - match: [{uri: {prefix: /v1}}]
    route: [{destination: {host: a.org, subset: v1, port: {number: 80}}}]
  - match: [{uri: {prefix: /calls}}]
    route: [{destination: {host: a.org, port: {number: 81}}}]
  - route: [{destination: {host: a.org, port: {number: 80}}}]
"#;

fn places(from: &[Source]) -> Vec<String> {
    let place =
        |from: &Source| format!("{} {} {}", from.kind, from.path, from.line.expect("a line"));
    from.iter().map(place).collect()
}

#[test]
fn clusters_name_the_settings_that_hold_and_what_has_http2_spoken() {
    let case = Case::behind_gateway(MANIFESTS);
    let cluster = |path: &str| -> Cluster {
        let answer = case.ask("a.example", path, &[]);
        assert_eq!(answer.end, End::Forwarded, "{answer:#?}");
        answer.clusters.into_iter().next().expect("a cluster")
    };
    let (entry, outlier) =
        ("ServiceEntry spec 11", "DestinationRule spec.trafficPolicy.outlierDetection 25");
    let plain = cluster("/");
    let pool = "DestinationRule spec.trafficPolicy.connectionPool 26";
    assert_eq!(places(&plain.from), [entry, pool, outlier]);
    let spoken = |cluster: &Cluster| {
        let spoken = cluster.spoken.clone().expect("it is HTTP");
        (spoken.protocol, places(&spoken.from))
    };
    assert_eq!(spoken(&plain), ("HTTP/1.1", Vec::new()));

    let subset = cluster("/v1");
    let pool = "DestinationRule spec.subsets[1].trafficPolicy.connectionPool 34";
    let own = "DestinationRule spec.subsets[1] 31";
    let introduces = "DestinationRule spec.subsets[1].trafficPolicy.proxyProtocol 35";
    assert_eq!(places(&subset.from), [entry, own, outlier, pool, introduces]);
    let header = subset.proxy_header.clone().expect("a header");
    assert_eq!((header.version, &*places(&header.from)), ("V2", &[introduces.to_owned()][..]));
    assert_eq!(plain.proxy_header, None);
    let upgrade =
        "DestinationRule spec.subsets[1].trafficPolicy.connectionPool.http.h2UpgradePolicy 34";
    assert_eq!(spoken(&subset), ("HTTP/2", vec![upgrade.to_owned()]));
    let asked = question("a.example", "/v1");
    let page = render(&asked, &case.world.explain(&asked), Look::default());
    assert!(page.contains("spoken to it         HTTP/2 without TLS"), "{page}");
    assert!(page.contains("PROXY header         V2: who the client is"), "{page}");
    // Who is out is known to the process alone.
    assert!(page.contains("which of them are is not known here"), "{page}");

    let calls = cluster("/calls");
    let pool = "DestinationRule spec.trafficPolicy.portLevelSettings[0].connectionPool 28";
    assert_eq!(places(&calls.from), [entry, pool]);
    assert_eq!(spoken(&calls), ("HTTP/2", vec!["ServiceEntry spec.ports[1] 15".to_owned()]));
}

#[test]
fn endpoints_that_are_out_are_named_where_a_process_says_which() {
    const CLUSTER: &str = "outbound|80||a.org";
    let told = |case: Case| {
        let notes = case.ask("a.example", "/", &[]).notes;
        notes.into_iter().find(|note| note.contains("outlierDetection")).expect("a note")
    };
    let knowing = |out: &[(&str, [u8; 4])]| {
        let Case { world, .. } = Case::behind_gateway(MANIFESTS);
        let out = out.iter().map(|(cluster, ip)| ((*cluster).to_owned(), vec![(*ip, 80).into()]));
        told(Case::of(world.with_ejected(Some(out.collect()))))
    };
    assert!(told(Case::behind_gateway(MANIFESTS)).contains("is not known here"));
    assert!(
        knowing(&[(CLUSTER, [10, 0, 0, 1])]).ends_with("of outbound|80||a.org now: 10.0.0.1:80")
    );
    let none = knowing(&[("outbound|80||b.org", [10, 0, 0, 1])]);
    assert!(none.starts_with("no endpoint of outbound|80||a.org is out now"), "{none}");
}

/// What another rule for the host has first is told where requests go to it, and not elsewhere.
#[test]
fn a_subset_that_an_older_rule_has_is_no_part_of_the_cluster_and_told() {
    const SECOND: &str = "---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: the-second, namespace: default}
spec:
  host: a.org
  subsets: [{name: v1, labels: {version: v9}}]
";
    let case = Case::behind_gateway(&format!("{MANIFESTS}{SECOND}"));
    let told = |path: &str| -> Vec<(String, String)> {
        let answer = case.ask("a.example", path, &[]);
        let of_rule = |from: &Source| from.name == "the-second";
        assert!(!answer.clusters[0].from.iter().any(of_rule), "{answer:?}");
        let lost = answer.lost.iter().filter(|lost| lost.from.iter().any(of_rule));
        lost.map(|lost| (lost.from[0].path.clone(), lost.refused.clone())).collect()
    };
    let of_subset = told("/v1");
    let [(place, why)] = of_subset.as_slice() else { panic!("once: {of_subset:?}") };
    assert_eq!(place, "spec.subsets[0]");
    assert!(why.contains("DestinationRule default/settings has a subset v1"), "{why}");
    assert_eq!(told("/calls"), [], "nothing goes to the subset");
}
