//! The way back: what subscribers serve and what they refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ResourceType;

/// Names one subscription for as long as the snapshot lives; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriberId(pub(crate) u64);

/// What a subscriber says about a generation once it serves it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// The generation that is served now.
    pub generation: u64,
    /// Resources that were refused; their last good form serves on.
    pub rejected: Vec<Rejection>,
    /// Resources that are served although something is wrong with them, as there is nothing better.
    pub doubtful: Vec<Doubtful>,
    /// Keys of tokens whose last fetch failed.
    pub unfetched: Vec<Unfetched>,
}

/// Keys of tokens whose last fetch failed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Unfetched {
    /// Where they are, as the filter says it.
    pub uri: String,
    /// Why there are none.
    pub reason: String,
    /// Whether those of before serve on.
    pub serves_on: bool,
}

/// A resource that is served although something is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Doubtful {
    /// Type of the resource.
    pub kind: ResourceType,
    /// Name of the resource.
    pub name: Arc<str>,
    /// Path of the field inside the resource.
    pub path: String,
    /// What is wrong.
    pub reason: String,
}

/// One refused resource, as a NACK names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rejection {
    /// Type of the resource.
    pub kind: ResourceType,
    /// Name of the resource.
    pub name: Arc<str>,
    /// Path of the field inside the resource, such as `filter_chains[0].filters[1].typed_config`; empty when
    /// the whole is meant.
    pub path: String,
    /// What is wrong and what would be accepted.
    pub reason: String,
    /// Whether an earlier form of the resource serves on.
    pub serves_on: bool,
}

impl Rejection {
    /// The number of the filter chain that is meant alone: its listener serves, and the others of its chains do. A fault in
    /// a chain's TLS is such a one.
    #[must_use]
    pub fn chain_alone(&self) -> Option<usize> {
        let rest = self.path.strip_prefix("filter_chains[")?;
        let (chain, rest) = rest.split_once(']')?;
        let alone = self.kind == ResourceType::Listener && rest.starts_with(".transport_socket");
        chain.parse().ok().filter(|_| alone)
    }

    /// The number of the route that is meant alone: the others of its virtual host are served, and so is the route but for
    /// what it does. A fault in what it takes, or asks of requests, is none of these.
    #[must_use]
    pub fn route_alone(&self) -> Option<usize> {
        let rest = self.path.strip_prefix("routes[")?;
        let (route, rest) = rest.split_once(']')?;
        let whole = [".match", ".typed_per_filter_config"].iter().any(|f| rest.starts_with(f));
        route.parse().ok().filter(|_| self.kind == ResourceType::VirtualHost && !whole)
    }
}

/// The last verdict of every live subscriber.
#[derive(Clone, Debug, Default)]
pub struct Verdicts {
    pub(crate) subscribers: BTreeMap<SubscriberId, Option<Verdict>>,
}

impl Verdicts {
    /// The generation that every subscriber serves at least; `None` while there is no subscriber or one of
    /// them has not reported yet.
    #[must_use]
    pub fn served(&self) -> Option<u64> {
        let reported = self.subscribers.values().map(|v| v.as_ref().map(|v| v.generation));
        reported.min().flatten()
    }

    /// How many subscribers there are, and how many of them serve `generation` or a later one.
    #[must_use]
    pub fn progress(&self, generation: u64) -> (usize, usize) {
        let serving = self.subscribers.values().flatten().filter(|v| v.generation >= generation);
        (self.subscribers.len(), serving.count())
    }

    /// Every refusal that stands, with who refused. Workers of one process refuse alike, so expect repeats.
    pub fn rejections(&self) -> impl Iterator<Item = (SubscriberId, &Rejection)> {
        self.subscribers.iter().flat_map(|(id, v)| {
            v.iter().flat_map(move |v| v.rejected.iter().map(move |r| (*id, r)))
        })
    }

    /// Everything that is served although something is wrong with it; of subscribers that agree, once for each.
    pub fn doubtful(&self) -> impl Iterator<Item = &Doubtful> {
        self.subscribers.values().flatten().flat_map(|verdict| &verdict.doubtful)
    }

    /// All keys of tokens whose last fetch failed; of subscribers that agree, once for each.
    pub fn unfetched(&self) -> impl Iterator<Item = &Unfetched> {
        self.subscribers.values().flatten().flat_map(|verdict| &verdict.unfetched)
    }
}
