//! Which object a resource was made from, in the words of Istio's tools.

use tidegate_api::ObjectKey;
use tidegate_envoy::prost_types::{Struct, Value, value};
use tidegate_envoy::v3::core::Metadata;

/// The filter whose name stands for Istio itself.
const ISTIO: &str = "istio";

/// `filter_metadata.istio.config` of a route: the path of the VirtualService `key`. The version in it is what Istio's tools look
/// for, whichever version the object was written in.
#[must_use]
pub fn of_route(key: &ObjectKey) -> Metadata {
    let path = format!(
        "/apis/networking.istio.io/v1alpha3/namespaces/{}/virtual-service/{}",
        key.namespace, key.name
    );
    let config = Value { kind: Some(value::Kind::StringValue(path)) };
    let fields = Struct { fields: [("config".to_owned(), config)].into() };
    Metadata { filter_metadata: [(ISTIO.to_owned(), fields)].into(), ..Metadata::default() }
}
