//! `POST`: a new object.

use http::StatusCode;
use serde_json::Value;

use super::admission::{Source, examine};
use super::{Writing, Written, metadata};
use crate::rest::ask::Ask;
use crate::rest::failure::Failure;
use crate::rest::reply::Reply;
use crate::rest::router::Target;
use crate::rest::{Api, body, managed};
use crate::store::Expect;

pub(crate) async fn create(api: &Api, target: &Target, ask: &Ask) -> Result<Reply, Failure> {
    if target.subresource.is_some()
        || target.served.info.scope == tidegate_api::Scope::Namespaced && target.namespace.is_none()
    {
        return Err(Failure::page_not_found());
    }
    let writing = Writing::new(api, target, ask, "CreateOptions")?;
    let mut written = body::object(ask, target.served.info.name)?;
    body::check_type(&mut written.value, &target.served, &ask.body)?;
    let written = writing.create(written.value, &written.duplicates).await?;
    writing.reply(StatusCode::CREATED, &written)
}

impl Writing<'_> {
    /// Stores a new object.
    pub(super) async fn create(
        &self,
        mut value: Value,
        duplicates: &[String],
    ) -> Result<Written, Failure> {
        let generates = value["metadata"]["name"].as_str().unwrap_or_default().is_empty();
        metadata::for_create(self, &mut value)?;
        let services = self.api.services.lock(self.target.served.info.kind).await;
        let mut admitted = examine(self, value, duplicates, None, Source::Whole)?;
        managed::created(&self.manager, self.target.served.info, &mut admitted.value);
        let name = admitted.value["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let written = self.store(self.key(&name), admitted, Expect::Absent).await;
        drop(services);
        match written {
            // A made-up name that is taken is bad luck, and the client's to try again.
            Err(failure) if generates && failure.reason == "AlreadyExists" => {
                Err(Failure::too_many_requests(format!("{}: try again", failure.message)))
            }
            other => other,
        }
    }
}
