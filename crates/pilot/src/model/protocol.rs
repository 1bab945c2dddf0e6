//! What a Kubernetes Service port speaks.

use tidegate_api::istio::Protocol;

/// Ports whose server speaks first: bytes of an unnamed protocol there are never looked into.
pub const SERVER_SPEAKS_FIRST: [u16; 4] = [25, 53, 3306, 27017];

/// The protocol of a Service port: its `appProtocol`, else what its name begins with.
///
/// `None` when neither says: Istio would detect it from the bytes.
#[must_use]
pub fn of_service_port(port: u16, name: &str, app_protocol: Option<&str>) -> Option<Protocol> {
    match app_protocol {
        Some("kubernetes.io/h2c") => return Some(Protocol::Http2),
        Some("kubernetes.io/ws") => return Some(Protocol::Http),
        Some("kubernetes.io/wss") => return Some(Protocol::Https),
        _ => {}
    }
    let name = app_protocol.unwrap_or(name);
    // The one protocol with a hyphen in its own name.
    if name.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("grpc-web")) {
        return Some(Protocol::GrpcWeb);
    }
    let first = name.split_once('-').map_or(name, |(first, _)| first);
    match first.parse() {
        Ok(protocol) => Some(protocol),
        Err(_) => SERVER_SPEAKS_FIRST.contains(&port).then_some(Protocol::Tcp),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn app_protocol_then_name_then_known_ports() {
        assert_eq!(of_service_port(80, "http-web", None), Some(Protocol::Http));
        assert_eq!(of_service_port(80, "http-web", Some("https")), Some(Protocol::Https));
        assert_eq!(of_service_port(80, "grpc-web-x", None), Some(Protocol::GrpcWeb));
        assert_eq!(of_service_port(80, "grpcweb-x", None), None);
        assert_eq!(of_service_port(3306, "db", None), Some(Protocol::Tcp));
        assert_eq!(of_service_port(3306, "db", Some("kubernetes.io/h2c")), Some(Protocol::Http2));
        assert_eq!(of_service_port(80, "", None), None);
    }
}
