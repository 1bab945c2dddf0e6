//! Names of clusters that lead nowhere, and why.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::dns::LookupError;

/// Why names of a cluster lead nowhere: forms of the cluster that follow one another know it all.
#[derive(Debug, Default)]
pub struct Unresolved(Mutex<BTreeMap<Arc<str>, LookupError>>);

impl Unresolved {
    /// Notes why a name leads nowhere, or that it leads somewhere; whether that is news.
    pub fn note(&self, name: &Arc<str>, failure: Option<&LookupError>) -> bool {
        let mut all = self.all();
        if all.get(name) == failure {
            return false;
        }
        match failure {
            Some(failure) => drop(all.insert(Arc::clone(name), failure.clone())),
            None => drop(all.remove(name)),
        }
        true
    }

    /// Forgets all names but those for which `is_there` holds.
    pub fn retain(&self, is_there: impl Fn(&Arc<str>) -> bool) {
        self.all().retain(|name, _| is_there(name));
    }

    /// Which names lead nowhere, and why; `None` where none does.
    #[must_use]
    pub fn told(&self) -> Option<String> {
        let all = self.all();
        let told = all.iter().map(|(name, failure)| format!("{name} is not resolved: {failure}"));
        let told: Vec<String> = told.collect();
        (!told.is_empty()).then(|| told.join("; "))
    }

    /// Every change is whole, whoever panicked.
    fn all(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, LookupError>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
