//! What it costs to apply an update: a change must cost what it changes, not what is there.
//!
//! `cargo bench -p tidegate-proxy --bench config` prints microseconds per update, the best of several runs.

#![allow(missing_docs, reason = "a program, not an interface")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_envoy::any;
use tidegate_envoy::v3::cluster::Cluster;
use tidegate_envoy::v3::core::address;
use tidegate_envoy::v3::core::config_source::ConfigSourceSpecifier;
use tidegate_envoy::v3::core::socket_address::PortSpecifier;
use tidegate_envoy::v3::core::{
    Address, ConfigSource, SocketAddress, TransportSocket, transport_socket,
};
use tidegate_envoy::v3::hcm::http_connection_manager::RouteSpecifier;
use tidegate_envoy::v3::hcm::http_filter::ConfigType as HttpConfigType;
use tidegate_envoy::v3::hcm::{HttpConnectionManager, HttpFilter, Rds};
use tidegate_envoy::v3::listener::{Filter, FilterChain, FilterChainMatch, Listener, filter};
use tidegate_envoy::v3::route::route::Action;
use tidegate_envoy::v3::route::route_action::ClusterSpecifier;
use tidegate_envoy::v3::route::route_match::PathSpecifier;
use tidegate_envoy::v3::route::{Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost};
use tidegate_envoy::v3::router::Router;
use tidegate_envoy::v3::tls::{CommonTlsContext, DownstreamTlsContext, SdsSecretConfig};
use tidegate_proxy::config::Applier;
use tidegate_xds::{Resource, ResourceType, Update};

/// Time for one update where there are so many of everything.
type Measure = fn(usize) -> Duration;

const SIZES: [usize; 3] = [1, 100, 10_000];

fn main() {
    println!("{:<44}{:>12}{:>12}{:>12}", "microseconds per update", 1, 100, 10_000);
    let cases: [(&str, Measure); 6] = [
        ("all virtual hosts and clusters", all),
        ("one virtual host, a resource of its own", one_host),
        ("one virtual host inside its configuration", one_inside),
        ("one cluster", one_cluster),
        ("a listener with its filter chains", all_chains),
        ("one filter chain of a listener", one_chain),
    ];
    for (name, measure) in cases {
        let [a, b, c] = SIZES.map(|size| measure(size).as_secs_f64() * 1e6);
        println!("{name:<44}{a:>12.1}{b:>12.1}{c:>12.1}");
    }
}

fn host(number: usize, prefix: &str) -> VirtualHost {
    let action = RouteAction {
        cluster_specifier: Some(ClusterSpecifier::Cluster(format!("outbound|80||s{number}"))),
        ..RouteAction::default()
    };
    let route = Route {
        r#match: Some(RouteMatch {
            path_specifier: Some(PathSpecifier::Prefix(prefix.to_owned())),
            ..RouteMatch::default()
        }),
        action: Some(Action::Route(action)),
        ..Route::default()
    };
    VirtualHost {
        name: format!("host-{number}"),
        domains: vec![format!("host-{number}.example.com")],
        routes: vec![route],
        ..VirtualHost::default()
    }
}

fn own_host(number: usize, prefix: &str) -> Resource {
    let name = format!("r/host-{number}");
    Resource::encode(ResourceType::VirtualHost, name, &host(number, prefix))
}

fn table(hosts: Vec<VirtualHost>) -> Resource {
    let table = RouteConfiguration {
        name: "r".into(),
        virtual_hosts: hosts,
        ..RouteConfiguration::default()
    };
    Resource::encode(ResourceType::RouteConfiguration, "r", &table)
}

fn cluster(number: usize, buffer: u32) -> Resource {
    let name = format!("outbound|80||s{number}");
    let cluster = Cluster {
        name: name.clone(),
        per_connection_buffer_limit_bytes: Some(buffer),
        ..Cluster::default()
    };
    Resource::encode(ResourceType::Cluster, name, &cluster)
}

fn update(resources: impl IntoIterator<Item = Resource>) -> Update {
    Update { upsert: resources.into_iter().map(Arc::new).collect(), ..Update::default() }
}

fn everything(size: usize) -> Update {
    let clusters = (0..size).map(|number| cluster(number, 1));
    let hosts = (0..size).map(|number| own_host(number, "/"));
    update(clusters.chain([table(Vec::new())]).chain(hosts))
}

/// A listener that terminates TLS for so many names; one chain has another secret than the others.
fn listener(size: usize, secret: &str) -> Resource {
    let chain = |number: usize| {
        let secret = if number == size / 2 { secret } else { "s" };
        let secret = SdsSecretConfig { name: secret.to_owned(), ..SdsSecretConfig::default() };
        let context = DownstreamTlsContext {
            common_tls_context: Some(CommonTlsContext {
                tls_certificate_sds_secret_configs: vec![secret],
                ..CommonTlsContext::default()
            }),
            ..DownstreamTlsContext::default()
        };
        let manager = HttpConnectionManager {
            stat_prefix: "s".to_owned(),
            route_specifier: Some(RouteSpecifier::Rds(Rds {
                route_config_name: "r".to_owned(),
                config_source: Some(ConfigSource {
                    config_source_specifier: Some(ConfigSourceSpecifier::Ads(Default::default())),
                    ..ConfigSource::default()
                }),
            })),
            http_filters: vec![HttpFilter {
                name: "envoy.filters.http.router".to_owned(),
                config_type: Some(HttpConfigType::TypedConfig(any(&Router::default()))),
                ..HttpFilter::default()
            }],
            ..HttpConnectionManager::default()
        };
        FilterChain {
            filter_chain_match: Some(FilterChainMatch {
                server_names: vec![format!("host-{number}.example.com")],
                ..FilterChainMatch::default()
            }),
            filters: vec![Filter {
                name: "http".to_owned(),
                config_type: Some(filter::ConfigType::TypedConfig(any(&manager))),
            }],
            transport_socket: Some(TransportSocket {
                name: "tls".to_owned(),
                config_type: Some(transport_socket::ConfigType::TypedConfig(any(&context))),
            }),
            ..FilterChain::default()
        }
    };
    let socket = SocketAddress {
        address: "127.0.0.1".to_owned(),
        port_specifier: Some(PortSpecifier::PortValue(8443)),
        ..SocketAddress::default()
    };
    let listener = Listener {
        name: "l".to_owned(),
        address: Some(Address { address: Some(address::Address::SocketAddress(socket)) }),
        filter_chains: (0..size).map(chain).collect(),
        ..Listener::default()
    };
    Resource::encode(ResourceType::Listener, "l", &listener)
}

/// The best of several runs of `updates`, one after the other, on what `start` leaves.
fn best(start: &Update, updates: &[Update]) -> Duration {
    let mut applier = Applier::new(None);
    applier.apply(start);
    let mut best = Duration::MAX;
    for update in updates.iter().cycle().take(20) {
        let started = Instant::now();
        let applied = applier.apply(update);
        best = best.min(started.elapsed());
        assert!(applied.rejected.is_empty());
    }
    best
}

fn all(size: usize) -> Duration {
    at_start(&everything(size))
}

fn at_start(everything: &Update) -> Duration {
    let run = |_| {
        let mut applier = Applier::new(None);
        let started = Instant::now();
        let applied = applier.apply(everything);
        let taken = started.elapsed();
        assert!(applied.rejected.is_empty());
        taken
    };
    (0..3).map(run).min().unwrap_or_default()
}

fn one_host(size: usize) -> Duration {
    let forms = ["/a", "/b"].map(|prefix| update([own_host(size / 2, prefix)]));
    best(&everything(size), &forms)
}

fn one_inside(size: usize) -> Duration {
    let form = |prefix: &str| {
        let prefix = |number| if number == size / 2 { prefix } else { "/" };
        update([table((0..size).map(|number| host(number, prefix(number))).collect())])
    };
    best(&form("/"), &["/a", "/b"].map(form))
}

fn one_cluster(size: usize) -> Duration {
    best(&everything(size), &[2, 3].map(|buffer| update([cluster(size / 2, buffer)])))
}

fn all_chains(size: usize) -> Duration {
    at_start(&update([listener(size, "s")]))
}

fn one_chain(size: usize) -> Duration {
    best(&update([listener(size, "s")]), &["a", "b"].map(|secret| update([listener(size, secret)])))
}
