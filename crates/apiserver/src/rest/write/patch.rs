//! `PATCH`: a part of an object.

use http::StatusCode;
use serde_json::Value;

use super::admission::Source;
use super::update::Attempt;
use super::{Writing, metadata};
use crate::rest::ask::Ask;
use crate::rest::failure::{Cause, Failure};
use crate::rest::patch::{PatchType, json, merge, strategic};
use crate::rest::reply::Reply;
use crate::rest::router::Target;
use crate::rest::{Api, body};
use crate::store::Entry;

pub(crate) async fn patch(api: &Api, target: &Target, ask: &Ask) -> Result<Reply, Failure> {
    let content_type = ask.content_type().unwrap_or_default();
    let kind = PatchType::of(content_type, target.served.info.built_in)
        .map_err(Failure::unsupported_media_type)?;
    let writing = Writing::new(api, target, ask, "PatchOptions")?;
    writing.check_subresource()?;
    if kind == PatchType::Apply {
        return super::apply::apply(&writing).await;
    }
    if ask.query.get("force").is_some() {
        let cause = Cause::forbidden("force", "may not be specified for non-apply patch");
        return Err(Failure::invalid_options("PatchOptions", vec![cause]));
    }
    let patch = body::patch(&ask.body)?;
    let key = writing.key(target.name.as_deref().unwrap_or_default());
    let attempt = || async {
        let old = writing.current(&key)?;
        let value = writing.patched(&old, kind, &patch.value)?;
        let shown = if target.served.info.built_in { &patch.value } else { &value };
        let attempt = Attempt {
            old: &old,
            value: value.clone(),
            duplicates: &patch.duplicates,
            source: Source::Patch(shown),
        };
        writing.replace(attempt).await
    };
    let written = writing.in_turn(&key, attempt).await?;
    writing.reply(StatusCode::OK, &written)
}

impl Writing<'_> {
    /// The object with the patch applied, as the view of the request shows it.
    fn patched(&self, old: &Entry, kind: PatchType, patch: &Value) -> Result<Value, Failure> {
        let served = &self.target.served;
        let mut value = served.present(old.manifest(&served.api_version).into());
        let uid = value["metadata"]["uid"].clone();
        match kind {
            PatchType::Merge | PatchType::Apply => merge::apply(&mut value, patch),
            PatchType::Json => json::apply(&mut value, patch)?,
            PatchType::Strategic => strategic::apply(&mut value, patch)?,
        }
        if !value.is_object() {
            return Err(Failure::bad_request("the patch leaves no object"));
        }
        body::check_type(&mut value, served, &self.ask.body)?;
        metadata::check_identity(self, &value)?;
        let name = &*old.key().name;
        let revision = &value["metadata"]["resourceVersion"];
        if !revision.is_null() && revision.as_str().map(str::parse) != Some(Ok(old.revision())) {
            return Err(Failure::modified(served.info, name));
        }
        let new_uid = &value["metadata"]["uid"];
        if !new_uid.is_null() && *new_uid != uid {
            let cause = Cause::invalid("metadata.uid", new_uid, "field is immutable");
            return Err(Failure::invalid(served.info, name, vec![cause]));
        }
        Ok(value)
    }
}
