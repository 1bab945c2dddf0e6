//! The buckets of one limit: one for every request, and others for what descriptors say of it.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use tokio::time::Instant;

use super::bucket::{Fill, Level, TokenBucket};
use crate::route::rate_limit::{Descriptor, Entry, Part};

/// How many kept values share one list at most; more go into several.
const SHARD: usize = 32;

/// What a limit is made from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The bucket for every request.
    pub default: Option<Fill>,
    /// Those for descriptors.
    pub descriptors: Vec<Described>,
    /// How many values are kept of each descriptor that takes any.
    pub most_kept: u32,
    /// Whether a request that has a descriptor's bucket takes from that of every request as well.
    pub always_default: bool,
}

/// What it allows, in words.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.default {
            Some(Fill { max, per_interval, interval }) => {
                write!(f, "{max} at once, then {per_interval} per {interval:?}")?;
            }
            None => f.write_str("any number")?,
        }
        match self.descriptors.len() {
            0 => Ok(()),
            1 => f.write_str(", and what 1 descriptor allows"),
            more => write!(f, ", and what {more} descriptors allow"),
        }
    }
}

/// A descriptor with a bucket of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// What it asks for, entry by entry; an empty value is any, with a bucket for each.
    pub entries: Vec<Entry>,
    /// How its bucket is filled.
    pub fill: Fill,
    /// Whether an empty bucket is told, and nothing else.
    pub shadow: bool,
}

impl Described {
    fn takes(&self, parts: &[Part<'_>]) -> bool {
        let fits = |(own, asked): (&Entry, &Part<'_>)| {
            *own.key == *asked.key && (own.value.is_empty() || *own.value == *asked.value)
        };
        self.entries.len() == parts.len() && self.entries.iter().zip(parts).all(fits)
    }

    fn takes_any_value(&self) -> bool {
        self.entries.iter().any(|entry| entry.value.is_empty())
    }
}

/// The buckets.
#[derive(Debug)]
pub struct Limiter {
    default: Option<TokenBucket>,
    /// In the order of the plan; those for given values are found first.
    descriptors: Vec<(Described, Source)>,
    always_default: bool,
}

#[derive(Debug)]
enum Source {
    One(TokenBucket),
    Each(Kept),
}

/// The bucket of a request. One for a value is held until the request is judged, as it may give its place to another.
enum Bucket<'l> {
    One(&'l TokenBucket),
    Each(Arc<TokenBucket>),
}

impl Deref for Bucket<'_> {
    type Target = TokenBucket;

    fn deref(&self) -> &TokenBucket {
        match self {
            Self::One(bucket) => bucket,
            Self::Each(bucket) => bucket,
        }
    }
}

/// What a limit says of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// Whether it passes.
    pub allowed: bool,
    /// Whether it does only because the bucket that is empty is for show.
    pub shadow: bool,
    /// What the bucket that decided is like, where that is to be told.
    pub level: Option<Level>,
}

impl Limiter {
    /// Full buckets.
    #[must_use]
    pub fn new(plan: &Plan, now: Instant) -> Self {
        let source = |described: &Described| match described.takes_any_value() {
            true => Source::Each(Kept::new(plan.most_kept)),
            false => Source::One(TokenBucket::new(described.fill, now)),
        };
        let descriptors = plan.descriptors.iter();
        Self {
            default: plan.default.map(|fill| TokenBucket::new(fill, now)),
            descriptors: descriptors.map(|d| (d.clone(), source(d))).collect(),
            always_default: plan.always_default,
        }
    }

    /// Takes what a request needs. Of several descriptors the one whose bucket fills slowest comes first; where one has
    /// nothing left, the others give nothing. `told` is whether limits are told in headers, where a descriptor does not say.
    pub fn judge(&self, descriptors: &[Descriptor<'_>], told: bool, now: Instant) -> Judgement {
        let level = |bucket: &TokenBucket, own: Option<bool>| {
            own.unwrap_or(told).then(|| bucket.level(now))
        };
        let found = descriptors.iter().filter_map(|asked| {
            let (bucket, shadow) = self.bucket(&asked.parts, now)?;
            Some((bucket, shadow, asked))
        });
        let mut found: Vec<(Bucket<'_>, bool, &Descriptor<'_>)> = found.collect();
        found.sort_by(|(a, ..), (b, ..)| a.rate().total_cmp(&b.rate()));
        let mut emptied = None;
        for (number, (bucket, shadow, asked)) in found.iter().enumerate() {
            if bucket.take(asked.hits, now) {
                continue;
            }
            if !shadow {
                return Judgement { level: level(bucket, asked.told), ..Judgement::default() };
            }
            emptied.get_or_insert(number);
        }
        if let Some(default) =
            self.default.as_ref().filter(|_| found.is_empty() || self.always_default)
            && !default.take(1, now)
        {
            return Judgement { level: level(default, None), ..Judgement::default() };
        }
        let level = match found.get(emptied.unwrap_or(0)) {
            Some((bucket, _, asked)) => level(bucket, asked.told),
            None => self.default.as_ref().and_then(|default| level(default, None)),
        };
        Judgement { allowed: true, shadow: emptied.is_some(), level }
    }

    /// The bucket of a descriptor, and whether it is for show. One for given values comes before one for any.
    fn bucket(&self, parts: &[Part<'_>], now: Instant) -> Option<(Bucket<'_>, bool)> {
        let fitting = || self.descriptors.iter().filter(|(described, _)| described.takes(parts));
        let given = fitting().find_map(|(described, source)| match source {
            Source::One(bucket) => Some((Bucket::One(bucket), described.shadow)),
            Source::Each(_) => None,
        });
        given.or_else(|| {
            fitting().find_map(|(described, source)| match source {
                Source::One(_) => None,
                Source::Each(kept) => {
                    let bucket = kept.bucket(parts, described.fill, now);
                    Some((Bucket::Each(bucket), described.shadow))
                }
            })
        })
    }
}

/// Buckets of a descriptor that takes any value: one for each, up to a bound. The one that was asked for longest ago goes
/// where there is no place for a new one.
///
/// A known value is found without a lock. A new one replaces its list, which is short, as a whole: where two workers do so
/// at the same moment, both are in it.
#[derive(Debug)]
struct Kept {
    shards: Box<[ArcSwap<Vec<One>>]>,
    /// Most values of one shard.
    most: usize,
    hasher: std::hash::RandomState,
    /// Counts what is asked for, which is how it is known what was longest ago.
    turn: AtomicU64,
}

#[derive(Clone, Debug)]
struct One {
    entries: Arc<[Entry]>,
    bucket: Arc<TokenBucket>,
    asked: Arc<AtomicU64>,
}

impl One {
    fn is_of(&self, parts: &[Part<'_>]) -> bool {
        self.entries.iter().map(Entry::part).eq(parts.iter().cloned())
    }
}

impl Kept {
    fn new(most: u32) -> Self {
        let most = (most as usize).max(1);
        let shards = most.div_ceil(SHARD);
        Self {
            shards: (0..shards).map(|_| ArcSwap::default()).collect(),
            most: most / shards,
            hasher: std::hash::RandomState::new(),
            turn: AtomicU64::new(0),
        }
    }

    fn bucket(&self, parts: &[Part<'_>], fill: Fill, now: Instant) -> Arc<TokenBucket> {
        use std::hash::BuildHasher as _;
        let at = self.hasher.hash_one(parts) % self.shards.len() as u64;
        let new = || Arc::new(TokenBucket::new(fill, now));
        let Some(shard) = self.shards.get(usize::try_from(at).unwrap_or(0)) else { return new() };
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let known = |list: &[One]| list.iter().find(|one| one.is_of(parts)).cloned();
        let one = known(&shard.load()).unwrap_or_else(|| {
            let entries = parts.iter().map(Part::entry).collect();
            let new = One { entries, bucket: new(), asked: Arc::default() };
            new.asked.store(turn, Ordering::Relaxed);
            let mut chosen = new.clone();
            shard.rcu(|list| {
                if let Some(one) = known(list) {
                    chosen = one;
                    return Arc::clone(list);
                }
                chosen = new.clone();
                let mut list = Vec::clone(list);
                if list.len() >= self.most {
                    let asked = |one: &One| one.asked.load(Ordering::Relaxed);
                    let oldest = list.iter().enumerate().min_by_key(|(_, one)| asked(one));
                    if let Some((oldest, _)) = oldest {
                        list.swap_remove(oldest);
                    }
                }
                list.push(new.clone());
                Arc::new(list)
            });
            chosen
        });
        one.asked.store(turn, Ordering::Relaxed);
        one.bucket
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn fill(max: u32, seconds: u64) -> Fill {
        Fill { max, per_interval: 1, interval: Duration::from_secs(seconds) }
    }

    fn parts<'r>(list: &[(&'r str, &'r str)]) -> Vec<Part<'r>> {
        let part =
            |&(key, value): &(&'r str, &'r str)| Part { key, value: value.as_bytes().into() };
        list.iter().map(part).collect()
    }

    fn asked<'r>(list: &[(&'r str, &'r str)]) -> Descriptor<'r> {
        Descriptor { parts: parts(list), hits: 1, told: None }
    }

    fn described(list: &[(&str, &str)], fill: Fill) -> Described {
        Described { entries: parts(list).iter().map(Part::entry).collect(), fill, shadow: false }
    }

    fn plan(default: Fill, descriptors: Vec<Described>) -> Plan {
        Plan { default: Some(default), descriptors, most_kept: 20, always_default: true }
    }

    #[test]
    fn without_a_descriptor_the_default_decides() {
        let now = Instant::now();
        let limiter =
            Limiter::new(&plan(fill(1, 60), vec![described(&[("a", "x")], fill(9, 60))]), now);
        assert!(limiter.judge(&[asked(&[("a", "other")])], true, now).allowed);
        assert!(!limiter.judge(&[asked(&[("a", "x"), ("b", "y")])], true, now).allowed);
        let none = Limiter::new(&Plan::default(), now);
        assert!(none.judge(&[], true, now).allowed);
    }

    #[test]
    fn the_slowest_bucket_comes_first_and_spares_the_others() {
        let now = Instant::now();
        let quick = described(&[("a", "x")], fill(5, 1));
        let slow = described(&[("b", "y")], fill(1, 60));
        let limiter = Limiter::new(&plan(fill(10, 60), vec![quick, slow]), now);
        let both = [asked(&[("a", "x")]), asked(&[("b", "y")])];
        assert!(limiter.judge(&both, true, now).allowed);
        for _ in 0..3 {
            let judged = limiter.judge(&both, true, now);
            assert!(!judged.allowed);
            assert_eq!(judged.level.map(|level| level.max), Some(1));
        }
        // One of five went, and one of ten.
        let left = |asked: &[Descriptor<'_>]| {
            (0..20).filter(|_| limiter.judge(asked, true, now).allowed).count()
        };
        assert_eq!(left(&both[..1]), 4);
        assert_eq!(left(&[]), 5);
    }

    #[test]
    fn the_default_is_spared_where_it_is_told_so() {
        let now = Instant::now();
        let mut plan = plan(fill(1, 60), vec![described(&[("a", "x")], fill(3, 60))]);
        plan.always_default = false;
        let limiter = Limiter::new(&plan, now);
        let known = [asked(&[("a", "x")])];
        assert_eq!((0..9).filter(|_| limiter.judge(&known, true, now).allowed).count(), 3);
        assert!(limiter.judge(&[], true, now).allowed && !limiter.judge(&[], true, now).allowed);
    }

    #[test]
    fn what_is_for_show_passes_and_is_told() {
        let now = Instant::now();
        let show = Described { shadow: true, ..described(&[("a", "x")], fill(1, 60)) };
        let limiter = Limiter::new(&plan(fill(3, 60), vec![show]), now);
        let ask = || limiter.judge(&[asked(&[("a", "x")])], true, now);
        let said: Vec<_> = (0..4).map(|_| ask()).map(|said| (said.allowed, said.shadow)).collect();
        assert_eq!(said, [(true, false), (true, true), (true, true), (false, false)]);
    }

    #[test]
    fn each_value_has_a_bucket_and_their_number_a_bound() {
        let now = Instant::now();
        for most in [1, 3, 20, 100] {
            let mut plan = plan(fill(100_000, 1), vec![described(&[("a", "")], fill(2, 3600))]);
            plan.most_kept = most;
            let limiter = Limiter::new(&plan, now);
            let of = |value: &str| {
                (0..5)
                    .filter(|_| limiter.judge(&[asked(&[("a", value)])], true, now).allowed)
                    .count()
            };
            assert_eq!((of("x"), of("x")), (2, 0), "its own, and it is kept");
            for n in 0..1_000 {
                assert_eq!(of(&n.to_string()), 2);
            }
            let Some((_, Source::Each(kept))) = limiter.descriptors.first() else {
                panic!("one for each value")
            };
            let there: usize = kept.shards.iter().map(|shard| shard.load().len()).sum();
            assert!(there <= most as usize && there > 0, "{there} of {most}");
            assert_eq!(of("x"), 2, "forgotten");
        }
    }

    #[test]
    fn the_value_asked_for_longest_ago_goes() {
        let now = Instant::now();
        let mut plan = plan(fill(100, 1), vec![described(&[("a", "")], fill(1, 3600))]);
        plan.most_kept = 2;
        let limiter = Limiter::new(&plan, now);
        let ask = |value: &str| limiter.judge(&[asked(&[("a", value)])], true, now).allowed;
        assert!(ask("x") && ask("y") && !ask("x") && ask("z"));
        assert!(!ask("x"), "kept");
        assert!(ask("y"), "forgotten");
    }

    #[test]
    fn a_given_value_comes_before_any() {
        let now = Instant::now();
        let any = described(&[("a", "")], fill(5, 3600));
        let given = described(&[("a", "x")], fill(1, 3600));
        let limiter = Limiter::new(&plan(fill(100, 1), vec![any, given]), now);
        let of = |value: &str| {
            (0..9).filter(|_| limiter.judge(&[asked(&[("a", value)])], true, now).allowed).count()
        };
        assert_eq!((of("x"), of("y")), (1, 5));
    }
}
