//! Which object a resource was made from, in the words of Istio's tools.

use tidegate_api::ObjectKey;
use tidegate_envoy::prost_types::{Struct, Value, value};
use tidegate_envoy::v3::core::Metadata;

/// The filter whose name stands for Istio itself.
const ISTIO: &str = "istio";

/// `filter_metadata.istio.config` of a route: the path of the VirtualService `key`. The version in it is what Istio's tools look
/// for, whichever version the object was written in. Istio names no delegates; here `delegate` is the path of the one
/// that the rule is written in.
#[must_use]
pub fn of_route(key: &ObjectKey, delegate: Option<&ObjectKey>) -> Metadata {
    let keys = [("config", Some(key)), ("delegate", delegate)].into_iter();
    let fields = keys.filter_map(|(name, key)| {
        let key = key?;
        let path = format!(
            "/apis/networking.istio.io/v1alpha3/namespaces/{}/virtual-service/{}",
            key.namespace, key.name
        );
        Some((name.to_owned(), Value { kind: Some(value::Kind::StringValue(path)) }))
    });
    let fields = Struct { fields: fields.collect() };
    Metadata { filter_metadata: [(ISTIO.to_owned(), fields)].into(), ..Metadata::default() }
}
