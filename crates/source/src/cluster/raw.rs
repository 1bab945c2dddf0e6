//! An object as an API server writes it.

use std::borrow::Cow;

use kube::core::{ApiResource, DynamicResourceScope, ObjectMeta, Resource};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use tidegate_api::{Kind, KindInfo, ObjectKey, Scope};

/// An object as it was sent. Reading one fails for nothing but JSON that is none: who reads a list is not to lose all of it
/// for one strange item.
#[derive(Clone, Debug)]
pub(super) struct Raw {
    /// What tells the object from others.
    metadata: ObjectMeta,
    pub(super) value: Map<String, Value>,
}

impl Raw {
    /// Which object this is, if it says so.
    pub(super) fn key(&self, kind: Kind) -> Option<ObjectKey> {
        let name = self.metadata.name.as_deref()?;
        let namespace = match kind.info().scope {
            Scope::Namespaced => self.metadata.namespace.as_deref()?,
            Scope::Cluster => "",
        };
        Some(ObjectKey::new(kind, namespace, name))
    }

    pub(super) fn uid(&self) -> &str {
        self.metadata.uid.as_deref().unwrap_or_default()
    }

    /// `metadata.resourceVersion`, which nobody but the server understands.
    pub(super) fn version(&self) -> &str {
        self.metadata.resource_version.as_deref().unwrap_or_default()
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Map::deserialize(deserializer)?;
        let metadata = value.get("metadata");
        let text = |field: &str| Some(metadata?.get(field)?.as_str()?.to_owned());
        let metadata = ObjectMeta {
            name: text("name"),
            namespace: text("namespace"),
            uid: text("uid"),
            resource_version: text("resourceVersion"),
            ..ObjectMeta::default()
        };
        Ok(Self { metadata, value })
    }
}

impl Resource for Raw {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn kind(resource: &ApiResource) -> Cow<'_, str> {
        resource.kind.as_str().into()
    }

    fn group(resource: &ApiResource) -> Cow<'_, str> {
        resource.group.as_str().into()
    }

    fn version(resource: &ApiResource) -> Cow<'_, str> {
        resource.version.as_str().into()
    }

    fn plural(resource: &ApiResource) -> Cow<'_, str> {
        resource.plural.as_str().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// How a client asks for objects of a kind in one of its versions.
pub(super) fn resource(info: &KindInfo, version: &str) -> ApiResource {
    ApiResource {
        group: info.group.to_owned(),
        version: version.to_owned(),
        api_version: KindInfo::api_version(info.group, version),
        kind: info.name.to_owned(),
        plural: info.plural.to_owned(),
    }
}
