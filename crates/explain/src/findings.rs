//! What there is to say against objects, whether or not a request is asked about: the material of `tidegate analyze`.

use serde::Serialize;
use tidegate_api::ObjectKey;
use tidegate_pilot::origins::Origin;
use tidegate_pilot::status::{
    Condition, ConditionKind, Force, INSECURE, INVALID, PROGRAMMED, SERVED, Standing,
};

use crate::answer::Source;
use crate::world::World;

/// How bad a finding is; worse ones are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Level {
    /// It works, and might be written better; or nothing here has to do with it.
    Info,
    /// A part of the object does nothing.
    Warning,
    /// Nothing of the object is in force, it was refused, or something that it names is not there.
    Error,
}

/// Something that there is to say against an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What it is, in one word of CamelCase: the reason of a condition.
    pub reason: String,
    /// The object, with file and line where it comes from a file.
    pub object: Source,
    /// The same in words.
    pub message: String,
}

/// What is said of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// The proxy has to do with it, and finds this; nothing where all is well.
    Here(Vec<Finding>),
    /// It is for other proxies.
    Elsewhere(Finding),
}

impl World {
    /// What conditions say against an object, whoever has written them; `None` where they say that it is for other proxies.
    #[must_use]
    pub fn findings(&self, key: &ObjectKey, told: &[Told<'_>]) -> Option<Vec<Finding>> {
        let found = judge(told)?.into_iter();
        Some(
            found
                .map(|(level, reason, message)| self.finding(key, level, reason, message))
                .collect(),
        )
    }

    fn finding(&self, key: &ObjectKey, level: Level, reason: &str, message: &str) -> Finding {
        let object = self.source(&Origin { key: key.clone(), path: String::new() });
        Finding { level, reason: reason.to_owned(), object, message: message.to_owned() }
    }

    /// What the proxy says of an object: all that its status would say, and what of it was refused.
    #[must_use]
    pub fn said_of(&self, key: &ObjectKey) -> Said {
        let conditions = self.pilot.told(key);
        let standing = self.pilot.standing(key);
        let unread = self.unread().get(key).map(|errors| errors.join("; "));
        if let (Some(Force::Nothing { reason, message }), true, None) =
            (standing.map(|standing| &standing.force), conditions.is_empty(), &unread)
        {
            return Said::Elsewhere(self.finding(key, Level::Info, reason, message));
        }
        let refused: Vec<String> = self
            .rejected
            .iter()
            .filter(|refused| self.pilot.owners(refused.kind, &refused.name).contains(key))
            .map(|refused| format!("{:?} {}: {}", refused.kind, refused.name, refused.reason))
            .collect();
        let unread = unread.iter().map(|errors| Told::refused(INVALID, errors));
        let refused = refused.iter().map(|why| Told::refused("Refused", why));
        let told: Vec<Told<'_>> = unread
            .chain(conditions.iter().map(Told::compiled))
            .chain(refused)
            .chain(standing.map(Told::programmed))
            .collect();
        Said::Here(self.findings(key, &told).unwrap_or_default())
    }

    /// What a sidecar makes of a VirtualService that is for sidecars, whatever else it is for; nothing of other objects.
    #[must_use]
    pub fn said_in_mesh(&self, key: &ObjectKey) -> Option<Vec<Finding>> {
        let (conditions, standing) = self.pilot.judged_in_mesh(key)?;
        let told = conditions.iter().map(Told::compiled);
        let told: Vec<Told<'_>> = told.chain([Told::programmed(&standing)]).collect();
        self.findings(key, &told)
    }
}

/// What a condition says, whether it is written down or was compiled here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told<'a> {
    /// Its `type`.
    pub kind: &'a str,
    /// Whether it holds, where that is known.
    pub holds: Option<bool>,
    /// Why, in one word.
    pub reason: &'a str,
    /// Why, in words.
    pub message: &'a str,
}

impl<'a> Told<'a> {
    /// Of a form, or of what was made of it, that was not taken.
    fn refused(reason: &'a str, message: &'a str) -> Self {
        Self { kind: "Taken", holds: Some(false), reason, message }
    }

    fn compiled(condition: &'a Condition) -> Self {
        let Condition { kind, holds, reason, message } = condition;
        Self { kind: kind.as_str(), holds: Some(*holds), reason, message }
    }

    /// What follows from a standing for [`PROGRAMMED`].
    fn programmed(standing: &'a Standing) -> Self {
        let told =
            |holds, reason, message| Self { kind: PROGRAMMED, holds: Some(holds), reason, message };
        match (&standing.force, &standing.fault) {
            (Force::Nothing { reason, message }, _) => told(false, *reason, message.as_str()),
            (Force::Whole | Force::Through(_), Some(fault)) => {
                told(true, "PartlyServed", fault.as_str())
            }
            (Force::Whole | Force::Through(_), None) => told(true, SERVED, ""),
        }
    }
}

/// What conditions say against an object, and how bad it is; `None` where they say that it is for other proxies. Why it is not in
/// force mostly follows from what else is said, and is told where nothing as bad is.
fn judge<'a>(told: &[Told<'a>]) -> Option<Vec<(Level, &'a str, &'a str)>> {
    if told.iter().any(|condition| condition.holds.is_none()) {
        return None;
    }
    let is_programmed = |condition: &&Told<'_>| condition.kind == PROGRAMMED;
    let mut programmed = told.iter().filter(is_programmed);
    let nothing = programmed.clone().any(|condition| condition.holds == Some(false));
    let mut found = Vec::new();
    for condition in told.iter().filter(|condition| !is_programmed(condition)) {
        let level = match (
            condition.holds,
            condition.kind == ConditionKind::Reconciled.as_str(),
            nothing,
        ) {
            (Some(false), true, false) => Level::Warning,
            (Some(false), ..) => Level::Error,
            _ if condition.message.is_empty() => continue,
            _ if condition.reason == INSECURE => Level::Warning,
            _ => Level::Info,
        };
        // A form that cannot be read is told by whoever reads it, and by its own condition.
        let is_known = |known: &(Level, &str, &str)| {
            (known.1, known.2) == (condition.reason, condition.message)
        };
        if !found.iter().any(is_known) {
            found.push((level, condition.reason, condition.message));
        }
    }
    let worst = found.iter().map(|(level, ..)| *level).max().unwrap_or(Level::Info);
    let level = if nothing { Level::Error } else { Level::Warning };
    let why = programmed.find(|condition| nothing || condition.reason != SERVED);
    found.extend(why.filter(|_| level > worst).map(|told| (level, told.reason, told.message)));
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(kind: &'static str, holds: bool, reason: &'static str) -> Told<'static> {
        Told { kind, holds: Some(holds), reason, message: if holds { "" } else { "words" } }
    }

    fn levels(told: &[Told<'_>]) -> Option<Vec<(Level, String)>> {
        let found = judge(told)?.into_iter();
        Some(found.map(|(level, reason, _)| (level, reason.to_owned())).collect())
    }

    #[test]
    fn how_bad_something_is_depends_on_what_is_left() {
        let is = |found: &[(Level, &str)]| {
            Some(
                found
                    .iter()
                    .map(|(level, reason)| (*level, (*reason).to_owned()))
                    .collect::<Vec<_>>(),
            )
        };
        let partly =
            [told("Reconciled", false, "NotServed"), told(PROGRAMMED, true, "PartlyServed")];
        assert_eq!(levels(&partly), is(&[(Level::Warning, "NotServed")]));
        let nothing =
            [told("Reconciled", false, "NotServed"), told(PROGRAMMED, false, "NotServed")];
        assert_eq!(levels(&nothing), is(&[(Level::Error, "NotServed")]));
        let unresolved =
            [told("ResolvedRefs", false, "RefNotFound"), told(PROGRAMMED, true, SERVED)];
        assert_eq!(levels(&unresolved), is(&[(Level::Error, "RefNotFound")]));
        let unread = [Told::refused(INVALID, "words"), told("Reconciled", false, INVALID)];
        assert_eq!(levels(&unread), is(&[(Level::Error, INVALID)]), "it is told once");
        // What nothing else explains.
        let closed = [
            told("Reconciled", true, "Reconciled"),
            told(PROGRAMMED, false, "GatewayNotProgrammed"),
        ];
        assert_eq!(levels(&closed), is(&[(Level::Error, "GatewayNotProgrammed")]));
        let lost = [told(PROGRAMMED, true, "PartlyServed")];
        assert_eq!(levels(&lost), is(&[(Level::Warning, "PartlyServed")]));
        assert_eq!(levels(&[told(PROGRAMMED, true, SERVED)]), is(&[]));
        let advice = Told { message: "better so", ..told("Reconciled", true, "Reconciled") };
        assert_eq!(levels(&[advice]), is(&[(Level::Info, "Reconciled")]));
        let insecure = Told { message: "not verified", ..told("Reconciled", true, INSECURE) };
        assert_eq!(levels(&[insecure]), is(&[(Level::Warning, INSECURE)]));
    }

    #[test]
    fn what_is_for_others_is_not_judged() {
        let unknown = Told { holds: None, ..told("Reconciled", true, "NotSelected") };
        assert_eq!(levels(&[unknown, told(PROGRAMMED, false, "NotSelected")]), None);
    }
}
