//! What is known of each request, and what may become of it.

use std::time::Duration;

/// What a route does about failures.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    /// What is tried again, in Envoy's words.
    pub(super) on: &'static str,
    pub(super) most: u32,
    pub(super) per_try: Option<Duration>,
    pub(super) timeout: Option<Duration>,
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
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// An endpoint's answer, by the number of the delivery.
    Answered(u16, usize),
    /// An answer of the proxy's own.
    Own(u16),
    /// An answer, or the connection before it, was cut.
    Cut,
    /// The client went away.
    Left,
}

/// One request of a client.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// Its client's.
    pub(super) port: u16,
    pub(super) method: &'static str,
    pub(super) size: usize,
    pub(super) terms: Terms,
    sent: u64,
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
        Self { port, method, size, terms, sent, deliveries: Vec::new(), outcome: None }
    }

    /// When its latest attempt began, at the earliest.
    pub(super) fn begun(&self) -> u64 {
        self.deliveries.last().map_or(self.sent, |delivery| delivery.when)
    }

    fn is_idempotent(&self) -> bool {
        self.method != "POST"
    }

    fn is_stale(&self, delivery: &Delivery) -> bool {
        self.is_idempotent() && delivery.reused && delivery.broken && !delivery.said
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
        let (answered, said, broken) = (None, false, false);
        self.deliveries.push(Delivery { when, reused, answered, said, broken });
        Ok(self.deliveries.len() - 1)
    }

    /// What became of it; or why that cannot be.
    pub(super) fn end(&mut self, outcome: Outcome) -> Result<(), &'static str> {
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
            }
            Outcome::Own(status) => {
                let given = last.is_some_and(|last| last.answered == Some(200) && !last.broken);
                if !matches!(status, 502..=504) {
                    return Err("has an answer of our own that it gave no reason for");
                }
                // At the same moment time may have been over.
                if given && status != 504 && self.terms.per_try.is_none() {
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
