//! Secrets that servers of their own send, and keys that are fetched.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate_envoy::prost::{Message as _, Name as _};
use tidegate_envoy::prost_types::Any;
use tidegate_envoy::v3::tls::Secret as ProtoSecret;
use tidegate_xds::{Rejection, Resource, ResourceType};

use super::{Applier, Notice, Step};
use crate::config::judge::judge;
use crate::filter::jwt::remote::KeySource;
use crate::sds::Wanted;

/// What secrets from a server came to.
#[derive(Debug, Default)]
pub struct Delivered {
    /// Names of secrets that came, and whether they were taken. Those that were there already are left out.
    pub secrets: Vec<(Arc<str>, bool)>,
    /// What is wrong with those that were refused; what was there before serves on.
    pub faults: Vec<String>,
    /// What is served although somebody should do something about it.
    pub warnings: Vec<Notice>,
}

impl Applier {
    /// What servers of secrets are to be asked for now; the names of secrets that are not needed any more are pushed to `gone`.
    pub fn wanted(&mut self, gone: &mut Vec<Arc<str>>) -> BTreeMap<Arc<str>, Wanted> {
        let before = gone.len();
        let wanted = self.slots.wanted(gone);
        for name in gone.iter().skip(before) {
            self.records.remove(ResourceType::Secret, name);
        }
        wanted
    }

    /// The keys of tokens that are to be fetched now.
    pub fn key_sources(&mut self) -> Vec<Arc<KeySource>> {
        self.slots.sources()
    }

    /// Fills what the server behind a cluster sent. What it was not asked for is left alone.
    pub fn deliver(&mut self, server: &str, secrets: &[Any]) -> Delivered {
        let mut step = Step::default();
        let mut faults = Vec::new();
        for any in secrets {
            if tidegate_envoy::type_name(&any.type_url) != ProtoSecret::full_name() {
                faults.push(format!("{} is no secret", any.type_url));
                continue;
            }
            let name = match ProtoSecret::decode(&*any.value) {
                Ok(secret) => secret.name,
                Err(error) => {
                    faults.push(format!("a secret does not decode: {error}"));
                    continue;
                }
            };
            let Some(slot) = self.slots.asked(server, &name).cloned() else { continue };
            let bytes = any.value.clone().into();
            let resource =
                Arc::new(Resource::new(ResourceType::Secret, Arc::clone(&slot.name), bytes));
            if self.records.is_served(&resource) {
                continue;
            }
            self.fill_slot(&resource, judge(&resource.bytes), &slot, &mut step);
            let record = self.records.get(resource.kind, &resource.name);
            let refused = record.iter().flat_map(|record| &record.refused);
            let refusals = refused.flat_map(|refused| &refused.refusals);
            faults.extend(refusals.map(|refusal| format!("{name}: {refusal}")));
        }
        Delivered { secrets: step.secrets, faults, warnings: step.warnings }
    }

    /// A refusal for each secret that has never come from a server, which says why.
    pub fn missing(&self, server: &str, why: &str) -> Vec<Rejection> {
        let rejection = |name: &Arc<str>| Rejection {
            kind: ResourceType::Secret,
            name: Arc::clone(name),
            path: String::new(),
            serves_on: false,
            reason: format!("it has not come from its server, {server}: {why}"),
        };
        self.slots.missing(server).map(|slot| rejection(&slot.name)).collect()
    }
}
