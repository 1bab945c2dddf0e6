//! Which name led a client to which address.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::recent::Recent;

/// How many addresses are remembered; of more, those that were answered longest ago are forgotten.
const MAX: usize = 16_384;
/// How long an address is remembered at least: clients keep answers for longer than these say.
const FLOOR: Duration = Duration::from_secs(60);
/// How long at most.
const CEILING: Duration = Duration::from_secs(3600);

/// The names by the addresses that were answered for them.
#[derive(Debug)]
pub(crate) struct Led(Mutex<Recent<IpAddr, Entry>>);

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
        self.names().put(address, Entry { name: Arc::clone(name), until });
    }

    /// The name that was asked for last of those that led to an address.
    pub(crate) fn name_of(&self, address: IpAddr) -> Option<Arc<str>> {
        let (mut names, address) = (self.names(), address.to_canonical());
        let entry = names.get(&address)?;
        if entry.until > Instant::now() {
            return Some(Arc::clone(&entry.name));
        }
        names.remove(&address);
        None
    }

    fn names(&self) -> MutexGuard<'_, Recent<IpAddr, Entry>> {
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
        assert_eq!(led.names().len(), 0);
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
