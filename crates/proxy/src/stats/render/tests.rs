//! Both views of the same metrics, next to what Envoy 1.40 shows.

use std::sync::Arc;

use super::*;

fn registry() -> Arc<Registry> {
    Registry::new(2)
}

fn shown(registry: &Registry, output: Output, filter: &str, used_only: bool) -> String {
    let name = Some(Regex::new(filter).unwrap());
    let pieces: Vec<u8> = render(registry, output, Filter { name, used_only }).flatten().collect();
    String::from_utf8(pieces).unwrap()
}

fn text(registry: &Registry, filter: &str) -> String {
    shown(registry, Output::Text, filter, true)
}

#[test]
fn text_adds_up_workers_and_sorts_names() {
    let registry = registry();
    let stats: Vec<_> =
        (0..2).map(|index| registry.worker(index).cluster("outbound|80||httpbin.org")).collect();
    stats[0].upstream_rq.count(503);
    stats[1].upstream_rq.count(503);
    stats[1].upstream_rq.count(200);
    stats[0].upstream_cx_active.inc();
    stats[0].upstream_cx_active.dec();
    stats[1].upstream_rq_total.add(3);
    let control = registry.control().membership("outbound|80||httpbin.org");
    control.membership_healthy.set(1);
    assert_eq!(
        text(&registry, "^cluster\\."),
        "cluster.outbound|80||httpbin.org.membership_healthy: 1\n\
         cluster.outbound|80||httpbin.org.upstream_cx_active: 0\n\
         cluster.outbound|80||httpbin.org.upstream_rq_200: 1\n\
         cluster.outbound|80||httpbin.org.upstream_rq_2xx: 1\n\
         cluster.outbound|80||httpbin.org.upstream_rq_503: 2\n\
         cluster.outbound|80||httpbin.org.upstream_rq_5xx: 2\n\
         cluster.outbound|80||httpbin.org.upstream_rq_completed: 3\n\
         cluster.outbound|80||httpbin.org.upstream_rq_total: 3\n"
    );
    assert_eq!(registry.get("cluster.outbound|80||httpbin.org.upstream_rq_503"), Some(2));
    assert_eq!(registry.get("cluster.outbound|80||httpbin.org.update_failure"), Some(0));
    assert_eq!(registry.get("cluster.nope.update_failure"), None);
}

#[test]
fn listeners_show_workers_and_managers() {
    let registry = registry();
    let listener = registry.worker(1).listener("127.0.0.1:8080");
    listener.downstream_cx_total.inc();
    listener.downstream_cx_active.inc();
    let http = registry.worker(1).http("outbound_0.0.0.0_8080", "127.0.0.1:8080");
    let other = registry.worker(0).http("outbound_0.0.0.0_8080", "127.0.0.1:8081");
    http.downstream_rq.count(404);
    other.downstream_rq.count(404);
    assert_eq!(
        text(&registry, "^(listener|http)\\."),
        "http.outbound_0.0.0.0_8080.downstream_rq_4xx: 2\n\
         http.outbound_0.0.0.0_8080.downstream_rq_completed: 2\n\
         listener.127.0.0.1_8080.downstream_cx_active: 1\n\
         listener.127.0.0.1_8080.downstream_cx_total: 1\n\
         listener.127.0.0.1_8080.http.outbound_0.0.0.0_8080.downstream_rq_4xx: 1\n\
         listener.127.0.0.1_8080.http.outbound_0.0.0.0_8080.downstream_rq_completed: 1\n\
         listener.127.0.0.1_8080.worker_1.downstream_cx_active: 1\n\
         listener.127.0.0.1_8080.worker_1.downstream_cx_total: 1\n\
         listener.127.0.0.1_8081.http.outbound_0.0.0.0_8080.downstream_rq_4xx: 1\n\
         listener.127.0.0.1_8081.http.outbound_0.0.0.0_8080.downstream_rq_completed: 1\n"
    );
    assert_eq!(
        shown(&registry, Output::Prometheus, "rq_4xx", false),
        "# TYPE envoy_http_downstream_rq_xx counter\n\
         envoy_http_downstream_rq_xx{envoy_response_code_class=\"4\",\
         envoy_http_conn_manager_prefix=\"outbound_0.0.0.0_8080\"} 2\n\
         # TYPE envoy_listener_http_downstream_rq_xx counter\n\
         envoy_listener_http_downstream_rq_xx{envoy_response_code_class=\"4\",\
         envoy_http_conn_manager_prefix=\"outbound_0.0.0.0_8080\",envoy_listener_address=\"127.0.0.1_8080\"} 1\n\
         envoy_listener_http_downstream_rq_xx{envoy_response_code_class=\"4\",\
         envoy_http_conn_manager_prefix=\"outbound_0.0.0.0_8080\",envoy_listener_address=\"127.0.0.1_8081\"} 1\n"
    );
}

#[test]
fn all_names_are_sorted_whatever_begins_with_what() {
    let registry = registry();
    let names = ["a", "a.b", "a-b", "a.upstream_rq_time", "outbound|80||a.b", "b:1"];
    let control = registry.control();
    let _held: Vec<_> = names.iter().map(|name| control.cluster(name)).collect();
    let _tcp = control.tcp("outbound|443||www.google.com");
    let all = shown(&registry, Output::Text, "", false);
    let (numbers, histograms): (Vec<&str>, Vec<&str>) =
        all.lines().partition(|line| !line.ends_with("No recorded values"));
    assert!(numbers.is_sorted_by_key(|line| line.split(": ").next()), "{all}");
    assert!(histograms.is_sorted_by_key(|line| line.split(": ").next()));
    assert!(all.trim_end().ends_with(histograms[histograms.len() - 1]), "histograms come last");
    assert!(all.contains("cluster.b_1.upstream_rq_total: 0\n"));
    assert!(all.contains("cluster_manager.active_clusters: 0\n"));
    assert!(all.contains("\nserver.live: 0\n"));
}

#[test]
fn histograms_in_all_three_forms() {
    let registry = registry();
    let stats = registry.worker(0).cluster("dead");
    for value in [1, 42, 43, 45, 46] {
        stats.upstream_rq_time.record(value);
    }
    assert_eq!(
        text(&registry, "upstream_rq_time"),
        "cluster.dead.upstream_rq_time: P0(nan,1.05) P25(nan,42.5) P50(nan,43.5) P75(nan,45.5) \
         P90(nan,46.5) P95(nan,46.5) P99(nan,46.5) P99.5(nan,46.5) P99.9(nan,46.5) P100(nan,46.5)\n"
    );
    let prometheus = shown(&registry, Output::Prometheus, "upstream_rq_time$", true);
    assert!(prometheus.starts_with(
        "# TYPE envoy_cluster_upstream_rq_time histogram\n\
         envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name=\"dead\",le=\"0.5\"} 0\n\
         envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name=\"dead\",le=\"1\"} 1\n"
    ));
    assert!(prometheus.ends_with(
        "envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name=\"dead\",le=\"3600000\"} 5\n\
         envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name=\"dead\",le=\"+Inf\"} 5\n\
         envoy_cluster_upstream_rq_time_sum{envoy_cluster_name=\"dead\"} 177\n\
         envoy_cluster_upstream_rq_time_count{envoy_cluster_name=\"dead\"} 5\n"
    ));
    let json = shown(&registry, Output::Json, "upstream_rq_(time|total)", false);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["stats"][0]["name"], "cluster.dead.upstream_rq_timeout");
    assert_eq!(json["stats"][1]["value"], 0);
    let histograms = &json["stats"][2]["histograms"];
    assert_eq!(histograms["supported_quantiles"][7], 99.5);
    assert_eq!(histograms["computed_quantiles"][0]["values"][0]["cumulative"], 1.05);
}

#[test]
fn json_is_json_even_when_empty() {
    for filter in ["", "nothing matches this", "upstream_rq_time$"] {
        let json = shown(&registry(), Output::Json, filter, false);
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert!(json["stats"].is_array());
    }
}

#[test]
fn prometheus_is_well_formed() {
    let registry = registry();
    let control = registry.control();
    let _odd = control.cluster("a\"b\\c\nd");
    let _fine = (control.cluster("fine"), control.membership("fine"));
    control.server().live.set(1);
    let all = shown(&registry, Output::Prometheus, "", false);
    let mut family = "";
    let mut seen = std::collections::HashSet::new();
    for line in all.lines() {
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            family = kind.split(' ').next().unwrap();
            assert!(seen.insert(family), "{family} twice");
        } else {
            let (name, rest) = line.split_once('{').unwrap();
            assert!(name.starts_with(family), "{line} in {family}");
            let (_, value) = rest.rsplit_once("} ").unwrap();
            value.parse::<u64>().unwrap();
        }
    }
    assert!(all.contains("envoy_server_live{} 1\n"));
    assert!(
        all.contains("envoy_cluster_upstream_rq_total{envoy_cluster_name=\"a\\\"b\\\\c_d\"} 0\n")
    );
    assert!(all.contains("# TYPE envoy_cluster_circuit_breakers_default_cx_open gauge\n"));
}

#[test]
fn ten_thousand_clusters_come_in_pieces() {
    let registry = registry();
    let control = registry.control();
    let held: Vec<_> = (0..10_000).map(|index| control.cluster(&format!("c{index}"))).collect();
    for output in [Output::Text, Output::Json, Output::Prometheus] {
        let mut total = 0;
        for piece in render(&registry, output, Filter::default()) {
            assert!(piece.len() < 2 * PIECE, "{}", piece.len());
            total += piece.len();
        }
        assert!(total > 10_000_000, "{total}");
    }
    drop(held);
    assert!(registry.clusters.all().is_empty());
}

#[test]
fn certificates_secrets_and_rbac_have_envoys_names_and_labels() {
    let registry = registry();
    let control = registry.control();
    let of_listener = control.listener_certificate("0.0.0.0:443", "kubernetes://web");
    of_listener.expiration.set(7);
    let of_cluster = control.cluster_certificate("c", "unnamed_cert_e3b0c442");
    of_cluster.expiration.set(8);
    let sds = control.sds("kubernetes://web");
    sds.update_rejected.inc();
    let http = registry.worker(0).http_rbac("hh", "ru.");
    http.denied.inc();
    let network = registry.worker(0).network_rbac("tc");
    network.allowed.inc();
    let found = |name: &str| registry.get(name);
    let certificate = "ssl.certificate.kubernetes://web.expiration_unix_time_seconds";
    assert_eq!(found(&format!("listener.0.0.0.0_443.{certificate}")), Some(7));
    assert_eq!(found("sds.kubernetes_web.update_rejected"), Some(1));
    assert_eq!(found("http.hh.rbac.ru.denied"), Some(1));
    assert_eq!(found("tc.rbac.allowed"), Some(1));
    let shown = shown(&registry, Output::Prometheus, "certificate|sds|rbac", true);
    for line in [
        "envoy_listener_ssl_certificate_expiration_unix_time_seconds{\
         envoy_tls_certificate=\"kubernetes://web\",envoy_listener_address=\"0.0.0.0_443\"} 7",
        "envoy_cluster_ssl_certificate_expiration_unix_time_seconds{\
         envoy_tls_certificate=\"unnamed_cert_e3b0c442\",envoy_cluster_name=\"c\"} 8",
        "envoy_sds_update_rejected{envoy_xds_resource_name=\"kubernetes_web\"} 1",
        "envoy_http_rbac_denied{envoy_rbac_http_prefix=\"ru\",envoy_http_conn_manager_prefix=\"hh\"} 1",
        "envoy_rbac_allowed{envoy_rbac_prefix=\"tc\"} 1",
    ] {
        assert!(shown.lines().any(|found| found == line), "{line}\n{shown}");
    }
}
