//! Secrets by name: what SDS delivers, and who waits for it.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::{ArcSwap, ArcSwapOption};

use super::identity::Identity;
use super::validation::Validation;

/// A secret.
#[derive(Debug, Clone)]
pub enum Secret {
    /// A certificate chain and its key.
    Identity(Arc<Identity>),
    /// What peers' certificates must be.
    Validation(Arc<Validation>),
}

/// A name that contexts point to. It outlives the secrets that fill it: a new one counts from the next
/// handshake on.
#[derive(Debug)]
pub struct SecretSlot {
    /// The secret's name.
    pub name: Arc<str>,
    held: ArcSwapOption<Held>,
    lacks: Lacks,
}

/// Why secrets are not there, by name, in the words of whoever would bring them. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Lacks(Arc<ArcSwap<HashMap<Arc<str>, Arc<str>>>>);

impl Lacks {
    /// Takes news of secrets: why they are not there; `None` where nobody asks for them any more. Costs a copy of all that
    /// is known: news are given together.
    pub fn learn(&self, news: impl IntoIterator<Item = (Arc<str>, Option<String>)>) {
        let before = self.0.load();
        let news = news.into_iter();
        let mut news =
            news.filter(|(name, why)| before.get(name).map(|w| &**w) != why.as_deref()).peekable();
        if news.peek().is_none() {
            return;
        }
        let mut now = HashMap::clone(&before);
        for (name, why) in news {
            match why {
                Some(why) => now.insert(name, why.into()),
                None => now.remove(&name),
            };
        }
        self.0.store(Arc::new(now));
    }
}

/// A secret, and what takes its place once that is valid.
#[derive(Debug)]
struct Held {
    secret: Secret,
    next: Option<Arc<Identity>>,
}

impl SecretSlot {
    /// A slot without a secret.
    #[must_use]
    pub fn empty(name: Arc<str>) -> Self {
        Self { name, held: ArcSwapOption::empty(), lacks: Lacks::default() }
    }

    /// The same, of whose absence these know why.
    #[must_use]
    pub fn explained_by(self, lacks: &Lacks) -> Self {
        Self { lacks: lacks.clone(), ..self }
    }

    /// What is said where the secret is needed and not there.
    fn missing(&self) -> Missing {
        let why = self.lacks.0.load().get(&self.name).map(Arc::clone);
        Missing { name: Arc::clone(&self.name), why }
    }

    /// Replaces the secret, and what was to take its place.
    pub fn store(&self, secret: Option<Secret>) {
        self.held.store(secret.map(|secret| Arc::new(Held { secret, next: None })));
    }

    /// Replaces the certificate `before` by `next` as soon as that is valid.
    pub fn store_for_later(&self, before: Arc<Identity>, next: Arc<Identity>) {
        let held = Held { secret: Secret::Identity(before), next: Some(next) };
        self.held.store(Some(Arc::new(held)));
    }

    /// Last moment of the validity of its certificate, or of the one that takes its place.
    #[must_use]
    pub fn expires(&self) -> Option<SystemTime> {
        match self.held.load().as_deref()? {
            Held { next: Some(next), .. } => Some(next.leaf.not_after),
            Held { secret: Secret::Identity(identity), .. } => Some(identity.leaf.not_after),
            Held { secret: Secret::Validation(_), .. } => None,
        }
    }

    /// Whether there is a secret.
    #[must_use]
    pub fn is_filled(&self) -> bool {
        self.held.load().is_some()
    }

    /// The chain and the key, if that is what it holds.
    #[must_use]
    pub fn identity(&self) -> Option<Arc<Identity>> {
        self.identity_at(SystemTime::now())
    }

    /// The same, as of `now`.
    #[must_use]
    pub fn identity_at(&self, now: SystemTime) -> Option<Arc<Identity>> {
        match self.held.load().as_deref()? {
            Held { next: Some(next), .. } if !next.is_early(now) => Some(Arc::clone(next)),
            Held { secret: Secret::Identity(identity), .. } => Some(Arc::clone(identity)),
            Held { secret: Secret::Validation(_), .. } => None,
        }
    }

    /// The validation context, if that is what it holds.
    #[must_use]
    pub fn validation(&self) -> Option<Arc<Validation>> {
        match &self.held.load().as_deref()?.secret {
            Secret::Validation(validation) => Some(Arc::clone(validation)),
            Secret::Identity(_) => None,
        }
    }
}

/// Where a chain and its key come from.
#[derive(Debug, Clone)]
pub enum IdentitySource {
    /// They stand in the context.
    Here(Arc<Identity>),
    /// A secret.
    Secret(Arc<SecretSlot>),
}

/// Where a validation context comes from: what stands in place, with what a secret adds.
#[derive(Debug, Clone, Default)]
pub struct ValidationSource {
    /// What stands in place.
    pub here: Option<Arc<Validation>>,
    /// The secret.
    pub secret: Option<Arc<SecretSlot>>,
}

/// The secrets of a context at one moment.
#[derive(Debug, Clone)]
pub(super) struct Secrets {
    pub identities: Vec<Arc<Identity>>,
    /// What the secret adds to the validation context.
    pub validation: Option<Arc<Validation>>,
}

/// A secret that is not there (yet).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Missing {
    /// Its name.
    pub name: Arc<str>,
    /// Why, in the words of whoever would bring it.
    pub why: Option<Arc<str>>,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.why {
            Some(why) => f.write_str(why),
            None => write!(f, "the secret {} is not there", self.name),
        }
    }
}

impl Secrets {
    /// The secrets that these sources have now.
    pub fn load(
        identities: &[IdentitySource],
        validation: &ValidationSource,
    ) -> Result<Self, Missing> {
        let identity = |source: &IdentitySource| match source {
            IdentitySource::Here(identity) => Ok(Arc::clone(identity)),
            IdentitySource::Secret(slot) => slot.identity().ok_or_else(|| slot.missing()),
        };
        let validation =
            validation.secret.as_ref().map(|slot| slot.validation().ok_or_else(|| slot.missing()));
        Ok(Self {
            identities: identities.iter().map(identity).collect::<Result<_, _>>()?,
            validation: validation.transpose()?,
        })
    }

    /// Whether these are the same secrets.
    pub fn is(&self, other: &Self) -> bool {
        self.identities.len() == other.identities.len()
            && self.identities.iter().zip(&other.identities).all(|(a, b)| Arc::ptr_eq(a, b))
            && self.validates_as(other)
    }

    /// Whether peers are looked at in the same way.
    pub fn validates_as(&self, other: &Self) -> bool {
        match (&self.validation, &other.validation) {
            (None, None) => true,
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}
