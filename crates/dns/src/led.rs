//! Which name led a client to which address.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::recent::Recent;

/// How many addresses are remembered; of more, those that were answered longest ago are forgotten.
const MAX: usize = 16_384;
/// How many names are remembered of an address; many lead to those of a content network.
const MAX_NAMES: usize = 8;
/// How long an address has its name at least: clients keep answers for longer than these say.
const FLOOR: Duration = Duration::from_secs(60);
/// How long at most.
const CEILING: Duration = Duration::from_secs(3600);

/// The names by the addresses that were answered for them.
#[derive(Debug)]
pub(crate) struct Led(Mutex<Recent<IpAddr, Vec<Entry>>>);

/// A name that led to an address.
#[derive(Debug)]
struct Entry {
    name: Arc<str>,
    until: Instant,
}

impl Default for Led {
    fn default() -> Self {
        Self(Mutex::new(Recent::new(MAX)))
    }
}

impl Led {
    /// A client was told that a name has an address, for so long.
    pub(crate) fn remember(&self, name: &Arc<str>, address: IpAddr, ttl: Duration) {
        let until = Instant::now() + ttl.clamp(FLOOR, CEILING);
        let mut all = self.names();
        // The one that was asked for last is the last.
        let mut names = all.remove(&address).unwrap_or_default();
        names.retain(|entry| entry.name != *name);
        if names.len() >= MAX_NAMES {
            names.remove(0);
        }
        names.push(Entry { name: Arc::clone(name), until });
        all.put(address, names);
    }

    /// Whether a name that fits led to an address, however long ago: clients may keep what they were told.
    pub(crate) fn was_by(&self, address: IpAddr, fits: impl Fn(&str) -> bool) -> bool {
        let (all, address) = (self.names(), address.to_canonical());
        all.get(&address).is_some_and(|names| names.iter().any(|entry| fits(&entry.name)))
    }

    /// The name that was asked for last of those that led to an address.
    pub(crate) fn name_of(&self, address: IpAddr) -> Option<Arc<str>> {
        let (all, address) = (self.names(), address.to_canonical());
        let entry = all.get(&address)?.last()?;
        (entry.until > Instant::now()).then(|| Arc::clone(&entry.name))
    }

    fn names(&self) -> MutexGuard<'_, Recent<IpAddr, Vec<Entry>>> {
        // It is whole between any two statements that could panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
        for (name, was) in [("a.example", true), ("b.example", true), ("c.example", false)] {
            assert_eq!(led.was_by(address, |of| of == name), was, "{name}");
        }
    }

    #[tokio::test]
    async fn of_many_names_of_an_address_the_latest_are_remembered() {
        let led = Led::default();
        let address = IpAddr::from([192, 0, 2, 1]);
        let ask = |name: usize| led.remember(&format!("{name}.example").into(), address, FLOOR);
        (0..MAX_NAMES).for_each(ask);
        ask(0);
        ask(MAX_NAMES);
        let was = |name: usize| led.was_by(address, |of| *of == format!("{name}.example"));
        assert_eq!([0, 1, 2, MAX_NAMES].map(was), [true, false, true, true]);
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
        assert_eq!(led.names().len(), MAX);
    }
}
