//! What is known of each request, and what may become of it.

use std::time::Duration;

use tokio::time::Instant;

/// What a route does about failures.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    /// What is tried again, in Envoy's words.
    pub(super) on: &'static str,
    pub(super) most: u32,
    pub(super) per_try: Option<Duration>,
    pub(super) timeout: Option<Duration>,
    /// Bytes of content that are kept for another attempt.
    pub(super) keep: usize,
}

impl Terms {
    fn repeats_answer(&self, status: u16) -> bool {
        match self.on {
            "5xx" => status >= 500,
            "gateway-error" => (502..=504).contains(&status),
            "retriable-status-codes" => status == 500,
            _ => false,
        }
    }

    /// Whether a request is sent again that has been sent and not answered.
    fn repeats_unanswered(&self) -> bool {
        matches!(self.on, "5xx" | "gateway-error" | "reset")
    }
}

/// A request that has come to an endpoint.
#[derive(Clone, Debug)]
pub(super) struct Delivery {
    when: u64,
    /// Whether its connection had carried another before.
    reused: bool,
    /// The status of the answer, once it is sent.
    pub(super) answered: Option<u16>,
    /// Whether a piece of an answer was sent that is none.
    pub(super) said: bool,
    /// Whether the endpoint broke off.
    pub(super) broken: bool,
    /// Whether it said that it had not looked at it.
    pub(super) refused: bool,
    /// Whether it was answered before it was over.
    pub(super) early: bool,
}

/// What befell requests since one was sent, as far as the world knows.
pub(super) struct Since<'s> {
    /// Whether this may have befallen it.
    pub(super) befell: &'s dyn Fn(Why) -> bool,
    /// Whether each of its attempts came to an endpoint, and nothing but its own terms could keep it from another.
    pub(super) is_calm: bool,
    /// Whether all connections that it could be on carry one request after the other, and none died that had carried none.
    pub(super) is_settled: bool,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// An endpoint's answer, by the number of the delivery.
    Answered(u16, usize),
    /// An answer of the proxy's own, and why it says that it gave it.
    Own(u16, Why),
    /// An answer, or the connection before it, was cut.
    Cut,
    /// The client went away.
    Left,
}

/// Why there is no answer of an endpoint's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// A limit is reached.
    Overflow,
    /// No endpoint takes requests.
    Nobody,
    /// The endpoint took no connection, or not in time.
    Refused,
    Silent,
    /// It broke off, or said something else.
    Broken,
    /// It reset the stream, or refused it.
    Reset,
    Unread,
    Nonsense,
    /// Time was over.
    Late,
}

impl Why {
    /// As the answer's content says.
    pub(super) fn of(content: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(content).ok()?;
        Some(match text.rsplit(": ").next()? {
            "overflow" => Self::Overflow,
            "no healthy upstream" => Self::Nobody,
            "remote connection failure" => Self::Refused,
            "connection timeout" => Self::Silent,
            "connection termination" => Self::Broken,
            "remote reset" => Self::Reset,
            "remote refused stream reset" => Self::Unread,
            "protocol error" => Self::Nonsense,
            "upstream request timeout" => Self::Late,
            _ => return None,
        })
    }

    fn status(self) -> u16 {
        match self {
            Self::Nonsense => 502,
            Self::Late => 504,
            _ => 503,
        }
    }
}

/// One request of a client.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// Its client's.
    pub(super) port: u16,
    pub(super) method: &'static str,
    pub(super) size: usize,
    pub(super) terms: Terms,
    /// When it was sent, in the order of what happens and on the clock.
    pub(super) sent: u64,
    at: Instant,
    pub(super) deliveries: Vec<Delivery>,
    pub(super) outcome: Option<Outcome>,
}

impl Asked {
    pub(super) fn new(
        port: u16,
        method: &'static str,
        size: usize,
        terms: Terms,
        sent: u64,
    ) -> Self {
        let (deliveries, outcome, at) = (Vec::new(), None, Instant::now());
        Self { port, method, size, terms, sent, at, deliveries, outcome }
    }

    /// When its latest attempt began, at the earliest.
    pub(super) fn begun(&self) -> u64 {
        self.deliveries.last().map_or(self.sent, |delivery| delivery.when)
    }

    fn is_idempotent(&self) -> bool {
        self.method != "POST"
    }

    fn is_stale(&self, delivery: &Delivery) -> bool {
        let dead = delivery.reused && delivery.broken && !delivery.said;
        delivery.refused || self.is_idempotent() && dead
    }

    /// It comes to an endpoint; or why it must not.
    pub(super) fn deliver(&mut self, when: u64, reused: bool) -> Result<usize, &'static str> {
        if self.outcome.is_some_and(|outcome| outcome != Outcome::Left) {
            return Err("is sent after its client was told");
        }
        if let Some(before) = self.deliveries.last() {
            let answer = before.answered.is_some_and(|status| self.terms.repeats_answer(status));
            // Time may have been over before the answer that is sent had come.
            let silent =
                (before.broken || self.terms.per_try.is_some()) && self.terms.repeats_unanswered();
            if !answer && !silent && !self.is_stale(before) {
                return Err("is sent again, and nothing says so");
            }
        }
        let stale = self.deliveries.iter().filter(|delivery| self.is_stale(delivery)).count();
        if self.deliveries.len() > self.terms.most as usize + stale {
            return Err("is sent more often than it may");
        }
        let (answered, said, broken, refused, early) = (None, false, false, false, false);
        self.deliveries.push(Delivery { when, reused, answered, said, broken, refused, early });
        Ok(self.deliveries.len() - 1)
    }

    /// Whether it is at an endpoint for certain: whoever sent it there has heard of no end of it, nor given it up.
    pub(super) fn is_under_way(&self) -> bool {
        let is_open = |last: &Delivery| {
            last.answered.is_none() && !last.said && !last.broken && !last.refused
        };
        let is_late = self.terms.timeout.is_some_and(|time| self.at.elapsed() >= time);
        self.outcome.is_none()
            && self.terms.per_try.is_none()
            && !is_late
            && self.deliveries.last().is_some_and(is_open)
    }

    /// Whether it should have been sent again in place of an answer with this status.
    fn is_owed_another(&self, status: u16) -> bool {
        let left = self.deliveries.len() <= self.terms.most as usize;
        let early = self.deliveries.iter().any(|delivery| delivery.early);
        left && !early && self.size <= self.terms.keep && self.terms.repeats_answer(status)
    }

    /// Whether it went to a connection that had carried others and ended without a word, and can be sent again unasked.
    fn was_on_a_dead_one(&self) -> bool {
        let dead = self
            .deliveries
            .last()
            .is_none_or(|last| last.answered.is_some() || last.reused && last.broken && !last.said);
        self.is_idempotent() && self.size == 0 && dead
    }

    /// What became of it; or why that cannot be.
    pub(super) fn end(&mut self, outcome: Outcome, since: &Since<'_>) -> Result<(), &'static str> {
        let befell = since.befell;
        if self.outcome.replace(outcome).is_some() {
            return Err("has two outcomes");
        }
        let last = self.deliveries.last();
        match outcome {
            Outcome::Answered(status, delivery) => {
                if delivery + 1 != self.deliveries.len() {
                    return Err("is answered by an endpoint that it had left");
                }
                if last.is_none_or(|last| last.answered != Some(status)) {
                    return Err("has an answer that nobody gave");
                }
                if since.is_calm && self.is_owed_another(status) {
                    return Err("was to be sent again, and is not");
                }
            }
            Outcome::Own(status, why) => {
                let given = last.is_some_and(|last| last.answered == Some(200) && !last.broken);
                let broken = last.is_some_and(|last| last.broken);
                let times = self.terms.timeout.into_iter().chain(self.terms.per_try);
                let late = || times.min().is_some_and(|time| self.at.elapsed() >= time);
                let is_so = match why {
                    Why::Nonsense => last.is_some_and(|last| last.said || last.broken),
                    Why::Late => late(),
                    Why::Broken => broken || befell(why),
                    Why::Reset => broken,
                    _ => befell(why),
                };
                if status != why.status() || !is_so {
                    return Err("has an answer of our own that it gave no reason for");
                }
                if why == Why::Broken && since.is_settled && self.was_on_a_dead_one() {
                    return Err("is lost with a connection that was idle");
                }
                // At the same moment time may have been over.
                if given && why != Why::Late && self.terms.per_try.is_none() {
                    return Err("has lost its answer");
                }
            }
            Outcome::Cut => {
                let timed = self.terms.timeout.is_some() || self.terms.per_try.is_some();
                let answered = last.is_some_and(|last| last.answered.is_some());
                if !answered || !timed && last.is_some_and(|last| !last.broken) {
                    return Err("is cut, and nobody did that");
                }
            }
            Outcome::Left => {}
        }
        Ok(())
    }
}
