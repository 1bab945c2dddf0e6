//! Copies of requests to other clusters, whose answers nobody waits for (`request_mirror_policies`).

use std::sync::Arc;

use crate::http::RequestHead;
use crate::upstream::ClusterSlot;

use super::condition::Fraction;

/// The copies that a route asks for.
#[derive(Clone, Debug, Default)]
pub struct Mirrors {
    /// Where to.
    pub all: Arc<[Mirror]>,
    /// Most bytes of a request's content that may wait for one copy.
    pub keep: usize,
}

/// Where copies of requests go.
#[derive(Debug)]
pub struct Mirror {
    /// The cluster; without it there is no copy.
    pub cluster: Arc<ClusterSlot>,
    /// Which share of requests; `None` for all.
    pub share: Option<Fraction>,
    /// The authority of copies.
    pub host: MirrorHost,
}

/// The authority of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MirrorHost {
    /// That of the request, its host with `-shadow` at the end.
    Shadow,
    /// That of the request.
    Same,
    /// This one.
    Literal(Box<str>),
}

impl Mirror {
    /// Whether a request with this random number is copied. All mirrors of a request are asked with the same one, as in
    /// Envoy: who is in the smaller share is in the larger one too.
    #[must_use]
    pub fn takes(&self, random: u64) -> bool {
        self.share.is_none_or(|share| share.holds(random))
    }

    /// Gives the head of a copy its authority.
    pub fn address(&self, head: &mut RequestHead) {
        match &self.host {
            MirrorHost::Same => {}
            MirrorHost::Literal(host) => head.set_authority(host.as_bytes()),
            MirrorHost::Shadow => {
                let host = shadow(head.authority());
                head.set_authority(&host);
            }
        }
    }
}

/// An authority whose host has `-shadow` at its end.
fn shadow(authority: &[u8]) -> Vec<u8> {
    let port = authority.iter().rposition(|byte| *byte == b':').filter(|colon| {
        let digits = authority.get(colon + 1..).unwrap_or_default();
        // A colon inside brackets, or one of several without them, is no port's.
        let host = authority.get(..*colon).unwrap_or_default();
        let whole = host.ends_with(b"]") || !host.contains(&b':');
        whole && digits.iter().all(u8::is_ascii_digit)
    });
    let (host, port) = authority.split_at(port.unwrap_or(authority.len()));
    [host, b"-shadow", port].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn copies_are_told_by_their_host() {
        for (authority, copy) in [
            ("a", "a-shadow"),
            ("a:80", "a-shadow:80"),
            ("[::1]", "[::1]-shadow"),
            ("[::1]:80", "[::1]-shadow:80"),
            ("::1", "::1-shadow"),
        ] {
            assert_eq!(shadow(authority.as_bytes()), copy.as_bytes());
        }
        let mirror = |host| Mirror {
            cluster: Arc::new(ClusterSlot::empty(0, "c".into())),
            share: None,
            host,
        };
        for (host, wanted) in [
            (MirrorHost::Same, "a:1"),
            (MirrorHost::Shadow, "a-shadow:1"),
            (MirrorHost::Literal("b".into()), "b"),
        ] {
            let mut head = RequestHead::get("a:1", "/", &[]);
            mirror(host).address(&mut head);
            assert_eq!(head.authority(), wanted.as_bytes());
        }
    }

    #[test]
    fn a_share_is_a_share() {
        let random = Random::seeded(7);
        for percent in [0, 1, 30, 100] {
            let share = Some(Fraction { numerator: percent * 10_000, denominator: 1_000_000 });
            let cluster = Arc::new(ClusterSlot::empty(0, "c".into()));
            let mirror = Mirror { cluster, share, host: MirrorHost::Same };
            let taken = (0..100_000).filter(|_| mirror.takes(random.next())).count();
            let wanted = percent as usize * 1000;
            assert!(
                taken.abs_diff(wanted) <= wanted.min(100_000 - wanted) / 20,
                "{percent} % {taken}"
            );
        }
    }
}
