//! A kind as one path serves it: under which group and version.

use serde_json::Value;
use tidegate_api::{Kind, KindInfo, kube};

use crate::store::Entry;

/// One view of a kind.
#[derive(Clone, Debug)]
pub(crate) struct Served {
    pub info: &'static KindInfo,
    pub group: &'static str,
    pub version: &'static str,
    /// `group/version`, or `v1` in the core group.
    pub api_version: String,
}

impl Served {
    /// The kind that a path names, if it is served there.
    pub(crate) fn find(group: &str, version: &str, plural: &str) -> Option<Self> {
        let info = tidegate_api::kinds::by_plural(group, plural)?;
        let (group, version) = info.group_versions().find(|(g, v)| *g == group && *v == version)?;
        Some(Self { info, group, version, api_version: KindInfo::api_version(group, version) })
    }

    /// Whether fields are named differently here than in the stored form.
    fn renames(&self) -> bool {
        self.info.kind == Kind::Event && self.group == "events.k8s.io"
    }

    /// A stored form (with `apiVersion` of this view) as this view shows it.
    pub(crate) fn present(&self, mut object: Value) -> Value {
        if self.renames() {
            kube::event::to_view(&mut object);
        }
        object
    }

    /// An object as it was written to this view, in its stored form.
    pub(crate) fn store(&self, object: &mut Value) {
        if self.renames() {
            kube::event::from_view(object);
        }
    }

    /// Appends an object's JSON as this view shows it.
    pub(crate) fn write(&self, entry: &Entry, out: &mut Vec<u8>) {
        if self.renames() {
            let object = self.present(entry.manifest(&self.api_version).into());
            out.extend_from_slice(object.to_string().as_bytes());
        } else {
            entry.write_json(&self.api_version, out);
        }
    }
}
