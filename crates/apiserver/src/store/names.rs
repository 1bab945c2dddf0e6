//! How kinds are named in rows and objects.

use std::sync::Arc;

use tidegate_api::{Kind, KindInfo, ObjectKey};

/// The namespace that objects without one are said to be in, where one is needed.
pub(crate) const DEFAULT_NAMESPACE: &str = "default";

/// `apiVersion` of a kind's preferred version: what rows on disk carry.
pub(crate) fn storage_version(kind: Kind) -> String {
    let info = kind.info();
    KindInfo::api_version(info.group, info.versions[0])
}

pub(crate) fn namespace_key(namespace: &str) -> ObjectKey {
    ObjectKey::cluster(Kind::Namespace, namespace)
}

/// `<plural>.<group>/<namespace>/<name>`: no part holds a slash.
pub(super) fn row_key(key: &ObjectKey) -> String {
    let info = key.kind.info();
    format!("{}.{}/{}/{}", info.plural, info.group, key.namespace, key.name)
}

/// The object that a row is about; none when this version does not know the kind.
pub(super) fn parse_row_key(row: &str) -> Option<ObjectKey> {
    let mut parts = row.splitn(3, '/');
    let (plural, group) = parts.next()?.split_once('.')?;
    let (namespace, name) = (parts.next()?, parts.next()?);
    let kind = Kind::all().find(|kind| {
        let info = kind.info();
        info.plural == plural && info.group == group
    })?;
    Some(ObjectKey { kind, namespace: Arc::from(namespace), name: Arc::from(name) })
}
