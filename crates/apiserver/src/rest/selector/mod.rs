//! Which objects of a kind a request is about.

mod field;
mod label;

use std::sync::Arc;

use tidegate_api::KindInfo;

use super::failure::Failure;
use super::query::Query;
use crate::store::Entry;

pub(crate) use field::FieldSelector;
pub(crate) use label::LabelSelector;

/// `labelSelector` and `fieldSelector` of a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selector {
    labels: LabelSelector,
    fields: FieldSelector,
}

impl Selector {
    pub(crate) fn parse(query: &Query, info: &KindInfo, version: &str) -> Result<Self, Failure> {
        let labels = query.get("labelSelector").unwrap_or_default();
        let fields = query.get("fieldSelector").unwrap_or_default();
        Ok(Self {
            labels: LabelSelector::parse(labels).map_err(Failure::bad_request)?,
            fields: FieldSelector::parse(fields, labels, info, version)
                .map_err(Failure::bad_request)?,
        })
    }

    /// The same, for one object only.
    pub(crate) fn with_name(mut self, name: &str) -> Self {
        self.fields = self.fields.with_name(name);
        self
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    pub(crate) fn matches(&self, entry: &Arc<Entry>) -> bool {
        (self.labels.is_empty() || self.labels.matches(|key| entry.labels().get(key)))
            && self.fields.matches(entry)
    }
}
