//! Why something could not be asked for, and whether that is news.
//!
//! What fails is tried again and again, at one endpoint or another: who reads of it wants to read of each reason once.

use std::fmt;
use std::sync::Arc;

use crate::remote::Remote;

/// Reasons that are told until things go well again. More than that are a peer's words.
const MOST: usize = 8;

/// Why something failed.
#[derive(Clone, Debug)]
pub struct Fault {
    /// The endpoint that was met, if one was.
    pub at: Option<Remote>,
    /// Why.
    pub why: String,
}

impl Fault {
    /// A failure of whatever was asked at an endpoint.
    #[must_use]
    pub fn at(endpoint: &Remote, why: impl fmt::Display) -> Self {
        Self { at: Some(endpoint.clone()), why: why.to_string() }
    }
}

impl<T: Into<String>> From<T> for Fault {
    fn from(why: T) -> Self {
        Self { at: None, why: why.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.at {
            Some(at) => write!(f, "{at}: {}", self.why),
            None => f.write_str(&self.why),
        }
    }
}

/// What was told of failures since things went well.
#[derive(Debug)]
pub struct Told {
    words: Arc<str>,
    reasons: Vec<String>,
}

impl Told {
    /// Of the first.
    #[must_use]
    pub fn new(first: Fault) -> Self {
        Self { words: first.to_string().into(), reasons: vec![first.why] }
    }

    /// What was told last.
    #[must_use]
    pub fn words(&self) -> &Arc<str> {
        &self.words
    }

    /// Takes in another failure; whether it is to be told. A reason is told once, whichever endpoints it is met at.
    pub fn hear(&mut self, fault: Fault) -> bool {
        let news = self.reasons.len() < MOST && !self.reasons.contains(&fault.why);
        if news {
            self.words = fault.to_string().into();
            self.reasons.push(fault.why);
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    #[test]
    fn a_reason_is_told_once_and_some_at_most() {
        let at = |port: u16| Remote::from(SocketAddr::from(([192, 0, 2, 1], port)));
        let mut told = Told::new(Fault::at(&at(1), "it is gone"));
        for port in 1..10 {
            assert!(!told.hear(Fault::at(&at(port), "it is gone")));
        }
        assert_eq!(&**told.words(), "192.0.2.1:1: it is gone");
        assert!(told.hear(Fault::from("nobody is there")));
        assert_eq!(&**told.words(), "nobody is there");
        assert!(!told.hear(Fault::at(&at(2), "it is gone")), "by turns");
        let others = (0..100).filter(|n| told.hear(Fault::from(n.to_string())));
        assert_eq!(others.count(), MOST - 2);
    }
}
