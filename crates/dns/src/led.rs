//! Which name led a client to which address.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How many addresses are remembered; of more, those that were answered longest ago are forgotten.
const MAX: usize = 16_384;
/// How long an address is remembered at least: clients keep answers for longer than these say.
const FLOOR: Duration = Duration::from_secs(60);
/// How long at most.
const CEILING: Duration = Duration::from_secs(3600);

/// The names by the addresses that were answered for them.
#[derive(Debug, Default)]
pub(crate) struct Led {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    by_address: HashMap<IpAddr, Entry>,
    /// Addresses by when they were answered last.
    by_turn: BTreeMap<u64, IpAddr>,
    turns: u64,
}

#[derive(Debug)]
struct Entry {
    name: Arc<str>,
    until: Instant,
    turn: u64,
}

impl Led {
    /// A client was told that a name has an address, for so long.
    pub(crate) fn remember(&self, name: &Arc<str>, address: IpAddr, ttl: Duration) {
        let mut inner = self.inner();
        let until = Instant::now() + ttl.clamp(FLOOR, CEILING);
        inner.turns += 1;
        let turn = inner.turns;
        let entry = Entry { name: Arc::clone(name), until, turn };
        if let Some(before) = inner.by_address.insert(address, entry) {
            inner.by_turn.remove(&before.turn);
        }
        inner.by_turn.insert(turn, address);
        if inner.by_address.len() > MAX
            && let Some((_, oldest)) = inner.by_turn.pop_first()
        {
            inner.by_address.remove(&oldest);
        }
    }

    /// The name that was asked for last of those that led to an address.
    pub(crate) fn name_of(&self, address: IpAddr) -> Option<Arc<str>> {
        let mut inner = self.inner();
        let entry = inner.by_address.get(&address.to_canonical())?;
        if entry.until > Instant::now() {
            return Some(Arc::clone(&entry.name));
        }
        let turn = entry.turn;
        inner.by_turn.remove(&turn);
        inner.by_address.remove(&address.to_canonical());
        None
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // It is whole between any two statements that could panic.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_last_name_is_remembered_for_as_long_as_it_is_good() {
        let led = Led::default();
        let address = IpAddr::from([192, 0, 2, 1]);
        led.remember(&"a.example".into(), address, Duration::from_secs(300));
        led.remember(&"b.example".into(), address, Duration::from_secs(5));
        assert_eq!(led.name_of(address).as_deref(), Some("b.example"));
        assert_eq!(led.name_of("::ffff:192.0.2.1".parse().unwrap()).as_deref(), Some("b.example"));
        tokio::time::advance(FLOOR - Duration::from_secs(1)).await;
        assert!(led.name_of(address).is_some());
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(led.name_of(address), None);
        assert!(led.inner().by_turn.is_empty());
    }

    #[tokio::test]
    async fn what_was_answered_longest_ago_is_forgotten_first() {
        let led = Led::default();
        let address = |number: usize| IpAddr::from((number as u128).to_be_bytes());
        let name = "a.example".into();
        (0..MAX).for_each(|number| led.remember(&name, address(number), CEILING));
        led.remember(&name, address(0), CEILING);
        led.remember(&name, address(MAX), CEILING);
        assert!(led.name_of(address(0)).is_some() && led.name_of(address(MAX)).is_some());
        assert_eq!(led.name_of(address(1)), None);
        let inner = led.inner();
        assert_eq!((inner.by_address.len(), inner.by_turn.len()), (MAX, MAX));
    }
}
