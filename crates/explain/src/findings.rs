//! What there is to say against objects, whether or not a request is asked about: the material of `tidegate analyze`.

use serde::Serialize;
use tidegate_api::ObjectKey;
use tidegate_pilot::origins::Origin;
use tidegate_pilot::status::{ConditionKind, Force};

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
    /// Something that somebody says against an object.
    #[must_use]
    pub fn finding(&self, key: &ObjectKey, level: Level, reason: &str, message: String) -> Finding {
        let object = self.source(&Origin { key: key.clone(), path: String::new() });
        Finding { level, reason: reason.to_owned(), object, message }
    }

    /// What the proxy says of an object: all that its status would say, and what of it was refused.
    #[must_use]
    pub fn said_of(&self, key: &ObjectKey) -> Said {
        let about = |level, reason: &str, message| self.finding(key, level, reason, message);
        let told = self.pilot.told(key);
        let standing = self.pilot.standing(key);
        let nothing = standing.and_then(|standing| match &standing.force {
            Force::Nothing { reason, message } => Some((*reason, message)),
            Force::Whole | Force::Through(_) => None,
        });
        let unread = self.unread().get(key);
        if let (Some((reason, message)), true, None) = (nothing, told.is_empty(), unread) {
            return Said::Elsewhere(about(Level::Info, reason, message.clone()));
        }
        let mut found: Vec<Finding> = Vec::new();
        if let Some(errors) = unread {
            found.push(about(Level::Error, tidegate_pilot::status::INVALID, errors.join("; ")));
        }
        for condition in told {
            let level = match (condition.holds, condition.kind, nothing) {
                (true, ..) if condition.message.is_empty() => continue,
                (true, ..) => Level::Info,
                (false, ConditionKind::Reconciled, None) => Level::Warning,
                (false, ..) => Level::Error,
            };
            found.push(about(level, condition.reason, condition.message.clone()));
        }
        for rejection in &self.rejected {
            if self.pilot.owners(rejection.kind, &rejection.name).contains(key) {
                let message =
                    format!("{:?} {}: {}", rejection.kind, rejection.name, rejection.reason);
                found.push(about(Level::Error, "Refused", message));
            }
        }
        // Why nothing of it is in force is mostly one of the faults above, or all of them.
        if let Some((reason, message)) = nothing
            && found.iter().all(|finding| finding.level < Level::Error)
        {
            found.push(about(Level::Error, reason, message.clone()));
        }
        Said::Here(found)
    }
}
