//! What the terminal shows once everything listens: how to point kubectl here, the ports, what to try.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use super::ground::Running;
use crate::terminal;

/// What there is to tell.
#[derive(Clone, Debug)]
pub struct Greeting {
    /// The file that points kubectl here.
    pub kubeconfig: PathBuf,
    /// Where the API listens.
    pub api: SocketAddr,
    /// What else listens.
    pub listening: Listening,
    /// The demo's CA bundle, when the demo runs.
    pub demo_ca: Option<PathBuf>,
}

/// What there is to tell of a gateway whose objects come from an API server.
#[derive(Clone, Debug)]
pub struct Attached {
    /// The gateway's name and namespace, as `NAME.NAMESPACE`.
    pub gateway: String,
    /// Where objects come from.
    pub objects: String,
    /// What listens.
    pub listening: Listening,
}

/// What listens whatever objects come from.
#[derive(Clone, Debug)]
pub struct Listening {
    /// Where the admin interface listens.
    pub admin: SocketAddr,
    /// Where the health endpoint listens.
    pub health: SocketAddr,
    /// The address that Gateways' ports are bound at.
    pub listen: IpAddr,
    /// The address that clients on this machine use.
    pub reachable: IpAddr,
    /// Gateway ports and where each is bound, as settled at the start.
    pub ports: Vec<(u16, u16)>,
}

impl Listening {
    /// What a gateway listens at.
    pub fn of(running: &Running) -> Self {
        let Running { ports, addresses: [admin, health], .. } = running;
        Self {
            admin: *admin,
            health: *health,
            listen: ports.listen(),
            reachable: ports.reachable(),
            ports: ports.iter().collect(),
        }
    }

    fn bound(&self, port: u16) -> u16 {
        self.ports.iter().find(|(gateway, _)| *gateway == port).map_or(port, |(_, bound)| *bound)
    }

    fn gateway(&self) -> String {
        let mut ports = Vec::new();
        for (gateway, bound) in &self.ports {
            ports.push(match gateway == bound {
                true => format!("{gateway}"),
                false => format!("{gateway} at {bound}"),
            });
        }
        format!("{}: {}", host(self.listen), ports.join(", "))
    }
}

impl fmt::Display for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  gateway  {}, once a Gateway opens them", self.gateway())?;
        writeln!(f, "  admin    http://{}", self.admin)?;
        writeln!(f, "  health   http://{}/healthz/ready", self.health)
    }
}

impl fmt::Display for Attached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nTidegate {} is gateway {}.", env!("CARGO_PKG_VERSION"), self.gateway)?;
        writeln!(f, "Its objects come from the API of {}.", self.objects)?;
        write!(f, "\nIt listens on\n\n{}", self.listening)
    }
}

impl Greeting {
    fn exports(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let listening = &self.listening;
        let host = host(listening.reachable);
        writeln!(f, "  export KUBECONFIG={}", terminal::quoted(&self.kubeconfig))?;
        if let Some(bundle) = &self.demo_ca {
            writeln!(f, "  export CURL_CA_BUNDLE={}", terminal::quoted(bundle))?;
        }
        let (port, secure) = (listening.bound(80), listening.bound(443));
        writeln!(f, "  export INGRESS_HOST={host} INGRESS_PORT={port} SECURE_INGRESS_PORT={secure}")
    }
}

impl fmt::Display for Greeting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nTidegate {} is up. In another terminal:\n", env!("CARGO_PKG_VERSION"))?;
        self.exports(f)?;
        writeln!(f, "\nIt listens on\n")?;
        writeln!(f, "  API      https://{}", self.api)?;
        write!(f, "{}", self.listening)?;
        writeln!(f, "\nThree things to try\n")?;
        writeln!(f, "  kubectl apply -f examples/front-proxy")?;
        writeln!(f, "  curl $INGRESS_HOST:$INGRESS_PORT/status/418 -H host:httpbin.org")?;
        writeln!(f, "  kubectl logs -n istio-system -l istio=ingressgateway -c istio-proxy")
    }
}

/// An address as URLs have it, so that a port may follow.
fn host(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listening() -> Listening {
        Listening {
            admin: "127.0.0.1:15000".parse().expect("an address"),
            health: "0.0.0.0:15021".parse().expect("an address"),
            listen: "0.0.0.0".parse().expect("an address"),
            reachable: "127.0.0.1".parse().expect("an address"),
            ports: vec![(80, 8080), (443, 443)],
        }
    }

    #[test]
    fn can_be_pasted_into_a_shell() {
        let greeting = Greeting {
            kubeconfig: "/home/ada/my data/kubeconfig".into(),
            api: "127.0.0.1:6443".parse().expect("an address"),
            listening: listening(),
            demo_ca: Some("/d/demo-ca.pem".into()),
        }
        .to_string();
        for line in [
            "  export KUBECONFIG='/home/ada/my data/kubeconfig'\n",
            "  export CURL_CA_BUNDLE=/d/demo-ca.pem\n",
            "  export INGRESS_HOST=127.0.0.1 INGRESS_PORT=8080 SECURE_INGRESS_PORT=443\n",
            "  gateway  0.0.0.0: 80 at 8080, 443, once a Gateway opens them\n",
        ] {
            assert!(greeting.contains(line), "{line}\nis not in\n{greeting}");
        }
        assert_eq!(host("::".parse().expect("an address")), "[::]");
    }
}
