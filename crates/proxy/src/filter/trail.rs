//! What filters leave with a request until it is over.

use std::borrow::Cow;

use crate::http::head::ResponseHead;

use super::fault::ActiveFault;

/// What filters leave with a request: one word for requests with which they leave nothing.
#[derive(Debug, Default)]
pub struct Trail(Option<Box<Left>>);

#[derive(Debug, Default)]
struct Left {
    changes: Vec<AnswerChange>,
    fault: Option<ActiveFault>,
}

/// A change of the answer's head, whoever gives the answer. It applies after the changes of routes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnswerChange {
    /// The header of this name, in lower case, has this value alone.
    Set(&'static str, Cow<'static, [u8]>),
    /// The header of this name, in lower case, has a line more.
    Add(&'static str, Cow<'static, [u8]>),
}

impl Trail {
    /// Has the answer changed.
    pub fn change(&mut self, change: AnswerChange) {
        self.0.get_or_insert_default().changes.push(change);
    }

    /// Whether a fault is under way.
    #[must_use]
    pub fn has_fault(&self) -> bool {
        self.0.as_ref().is_some_and(|left| left.fault.is_some())
    }

    /// Counts a fault as under way until the request is over.
    pub fn hold_fault(&mut self, fault: ActiveFault) {
        self.0.get_or_insert_default().fault = Some(fault);
    }

    /// Changes the head of the answer; what was said last comes first, as the filters see the answer in the opposite
    /// order.
    pub fn apply(&self, head: &mut ResponseHead) {
        let Some(left) = &self.0 else { return };
        for change in left.changes.iter().rev() {
            match change {
                AnswerChange::Set(name, value) => head.headers.set(name.as_bytes(), value),
                AnswerChange::Add(name, value) => head.headers.append(name.as_bytes(), value),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_filter_has_the_last_word() {
        let (mut trail, mut head) = (Trail::default(), ResponseHead::default());
        head.headers.append(b"X-A", b"endpoint");
        trail.apply(&mut head);
        assert_eq!(head.headers.get(b"x-a"), Some(&b"endpoint"[..]));
        for value in ["first", "second"] {
            trail.change(AnswerChange::Set("x-a", value.as_bytes().into()));
        }
        trail.apply(&mut head);
        let values: Vec<_> = head.headers.get_all(b"x-a").collect();
        assert_eq!(values, [b"first"]);
    }
}
