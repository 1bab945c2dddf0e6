//! A proxy from a bootstrap, and the parts of one.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;

use serde_json::{Value, json};
use tidegate_proxy::admin::State as _;
use tidegate_proxy::config::Bootstrap;
use tidegate_proxy::stats::{self, Filter, Output};
use tidegate_proxy::{Options, Outcome as Applied, Proxy};
use tidegate_testing::ca::Identity;
use tidegate_testing::client::{self, Client};
use tidegate_testing::{PATIENCE, eventually};
use tidegate_xds::{Resource, ResourceType, Update};
use tokio::runtime::Handle;

/// A running proxy with a listener named `tls`.
pub struct Running {
    pub proxy: Proxy,
    pub address: SocketAddr,
    generation: u64,
}

impl Running {
    pub async fn start(bootstrap: &Value) -> Self {
        Self::start_with(bootstrap, 1).await
    }

    /// The same with so many workers.
    pub async fn start_with(bootstrap: &Value, workers: usize) -> Self {
        let bootstrap = Bootstrap::load(bootstrap).unwrap_or_else(|error| panic!("{error}"));
        let options = Options {
            workers: NonZeroUsize::new(workers).expect("a worker"),
            dns: Default::default(),
            logs: Default::default(),
            about: Default::default(),
            surroundings: Default::default(),
            incidents: None,
            dns_proxy: None,
        };
        let mut proxy = Proxy::start(options, Handle::current()).expect("a worker");
        let outcome = proxy.apply(&bootstrap.update).await;
        assert!(outcome.rejected.is_empty(), "{:?}", outcome.rejected);
        let address = proxy.addresses().find(|(name, _)| &***name == "tls").expect("it listens").1;
        Self { proxy, address, generation: 1 }
    }

    /// Puts one more secret, or another form of one.
    pub async fn put_secret(&mut self, secret: &Value) -> Applied {
        let message: tidegate_envoy::v3::tls::Secret =
            tidegate_envoy::json::from_json(secret).unwrap_or_else(|error| panic!("{error}"));
        let resource = Resource::encode(ResourceType::Secret, message.name.clone(), &message);
        self.apply(vec![resource.into()], Vec::new()).await
    }

    /// Puts and removes resources; done when every worker serves them.
    pub async fn apply(
        &mut self,
        upsert: Vec<Arc<Resource>>,
        remove: Vec<(ResourceType, Arc<str>)>,
    ) -> Applied {
        self.generation += 1;
        let update = Update { generation: self.generation, upsert, remove };
        self.proxy.apply(&update).await
    }

    /// Awaits that a statistic of the whole process is `value`: it may be counted after the client has seen the
    /// effect.
    #[track_caller]
    pub fn counts(&self, name: &str, value: u64) -> impl Future<Output = ()> {
        eventually(PATIENCE, move || async move {
            let now = self.stat(name);
            if now == value { Ok(()) } else { Err(format!("{name}: {now}")) }
        })
    }

    fn stat(&self, name: &str) -> u64 {
        self.proxy.view().refresh_stats();
        let pieces = stats::render(self.proxy.view().registry(), Output::Text, Filter::default());
        let text = String::from_utf8(pieces.flatten().collect()).expect("text");
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
        line.and_then(|value| value.parse().ok()).unwrap_or(0)
    }

    /// One answer over TLS, asked as a client of `config` that wants `name`.
    pub async fn get(
        &self,
        name: &str,
        config: Arc<rustls::ClientConfig>,
    ) -> std::io::Result<client::Response> {
        let stream = client::tls(self.address, name, config).await?;
        let mut client = Client::over(stream);
        client.send(format!("GET /x HTTP/1.1\r\nHost: {name}\r\n\r\n")).await;
        client.read(false).await
    }
}

/// A bootstrap with a listener named `tls`, these chains, clusters and secrets.
pub fn bootstrap(chains: &[Value], clusters: &[Value], secrets: &[Value]) -> Value {
    json!({"static_resources": {
        "listeners": [{
            "name": "tls",
            "stat_prefix": "tls",
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
            "listener_filters": [{
                "name": "tls_inspector",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector",
                },
            }],
            "filter_chains": chains,
        }],
        "clusters": clusters,
        "secrets": secrets,
    }})
}

/// A chain for these server names (any when empty) that answers with `body`, or what the manager's `more` says.
pub fn http_chain(names: &[&str], tls: &Value, body: &str) -> Value {
    http_chain_to(
        names,
        tls,
        &json!({"direct_response": {"status": 200, "body": {"inline_string": body}}}),
    )
}

/// The same with the route's action.
pub fn http_chain_to(names: &[&str], tls: &Value, action: &Value) -> Value {
    let mut route = action.clone();
    route["match"] = json!({"prefix": "/"});
    json!({
        "filter_chain_match": {"server_names": names},
        "transport_socket": socket("Downstream", tls),
        "filters": [{"name": "hcm", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "hcm",
            "use_remote_address": true,
            "route_config": {"name": "r", "virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [route]}]},
            "http_filters": [{"name": "router", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
            }}],
        }}],
    })
}

/// A chain that relays to a cluster.
pub fn tcp_chain(tls: &Value, cluster: &str) -> Value {
    json!({
        "transport_socket": socket("Downstream", tls),
        "filters": [{"name": "tcp", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
            "stat_prefix": "tcp",
            "cluster": cluster,
        }}],
    })
}

/// A transport socket of a role, `Downstream` or `Upstream`.
pub fn socket(role: &str, context: &Value) -> Value {
    let mut typed = context.clone();
    typed["@type"] = json!(format!(
        "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.{role}TlsContext"
    ));
    json!({"name": "envoy.transport_sockets.tls", "typed_config": typed})
}

/// A cluster of one endpoint.
pub fn cluster(name: &str, address: SocketAddr) -> Value {
    let at = json!({"socket_address": {
        "address": address.ip().to_string(), "port_value": address.port(),
    }});
    json!({
        "name": name,
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": at}}]}],
        },
    })
}

/// `TlsCertificate` of an identity.
pub fn certificate(identity: &Identity) -> Value {
    json!({
        "certificate_chain": {"inline_string": identity.certificate_pem},
        "private_key": {"inline_string": identity.key_pem},
    })
}

/// A server's context with this certificate; both versions of HTTP.
pub fn serving(identity: &Identity) -> Value {
    json!({"common_tls_context": {
        "tls_certificates": [certificate(identity)],
        "alpn_protocols": ["h2", "http/1.1"],
    }})
}

/// A server's context with the certificate of a secret.
pub fn serving_secret(name: &str) -> Value {
    json!({"common_tls_context": {
        "tls_certificate_sds_secret_configs": [{"name": name}],
        "alpn_protocols": ["h2", "http/1.1"],
    }})
}
