//! A row of the table: what is done with the fields of one message.

use std::collections::HashMap;

/// A row as it is written. Fields that no list names are refused.
pub(super) struct Row {
    /// Full name of the message.
    pub(super) message: &'static str,
    /// Fields that the proxy does as Envoy does; [`ALL`] for every field and everything below.
    pub(super) honoured: &'static [&'static str],
    /// Fields accepted without effect, with the reason.
    pub(super) ignored: &'static [(&'static str, &'static str)],
    /// Fields refused with a better reason than that they are not supported: what to use instead.
    pub(super) refused: &'static [(&'static str, &'static str)],
    /// Honoured fields of which only some values are.
    pub(super) values: &'static [(&'static str, &'static [&'static str])],
    /// What an honoured `Any` may hold: full names of messages.
    pub(super) holds: &'static [(&'static str, &'static [&'static str])],
    /// The field that, when true, lets an `Any` of another type be skipped instead of refused.
    pub(super) optional: Option<&'static str>,
}

/// A row without fields, to fill in.
pub(super) const ROW: Row = Row {
    message: "",
    honoured: &[],
    ignored: &[],
    refused: &[],
    values: &[],
    holds: &[],
    optional: None,
};

/// Every field, and everything below it, is honoured.
pub(super) const ALL: &[&str] = &["*"];

/// Among what an `Any` may hold: nothing, where that means something.
pub(super) const NOTHING: &str = "";

/// A row of a message that is honoured with everything below it.
pub(super) const fn whole(message: &'static str) -> Row {
    Row { message, honoured: ALL, ..ROW }
}

/// What is done with a field.
#[derive(Debug)]
pub(super) enum Rule {
    /// As Envoy does.
    Honoured,
    /// Nothing, for a reason.
    Ignored(&'static str),
    /// Refused, for a reason.
    Refused(&'static str),
    /// In no list.
    Absent,
}

/// A row made ready for look-ups.
pub(super) struct CompiledRow {
    pub(super) whole: bool,
    pub(super) values: HashMap<&'static str, &'static [&'static str]>,
    pub(super) held: HashMap<&'static str, &'static [&'static str]>,
    pub(super) optional: Option<&'static str>,
    rules: HashMap<&'static str, Rule>,
}

impl CompiledRow {
    pub(super) fn new(row: &Row) -> Self {
        let honoured = row.honoured.iter().map(|name| (*name, Rule::Honoured));
        let ignored = row.ignored.iter().map(|(name, reason)| (*name, Rule::Ignored(reason)));
        let refused = row.refused.iter().map(|(name, reason)| (*name, Rule::Refused(reason)));
        Self {
            whole: row.honoured == ALL,
            values: row.values.iter().copied().collect(),
            held: row.holds.iter().copied().collect(),
            optional: row.optional,
            rules: honoured.chain(ignored).chain(refused).collect(),
        }
    }

    pub(super) fn rule(&self, field: &str) -> &Rule {
        self.rules.get(field).unwrap_or(&Rule::Absent)
    }
}
