//! Patches of things that stand in a list: filter chains, filters, routes.

use tidegate_api::istio::envoy_filter::{ApplyTo, Operation};
use tidegate_envoy::prost_reflect::{DynamicMessage, Value};

use super::Made;
use super::merge::{Lists, merge, socket_alone};
use crate::model::envoy_filter::{Patch, Refused};

/// What is asked of a patch about the things of a list.
pub(super) struct Aim<'a> {
    /// Whether it is for this one.
    pub fits: &'a dyn Fn(&Patch, &DynamicMessage) -> bool,
    /// Whether it names one at all.
    pub names_one: &'a dyn Fn(&Patch) -> bool,
    /// Whether what comes first does so only where the thing is that it names, as with routes.
    pub first_beside: bool,
}

/// Changes and removes things of a list as patches say, `deeper` looks into each that stays, and then things are added: so it is
/// with filter chains and routes.
pub(super) fn patch_list(
    list: &mut Vec<Value>,
    patches: &[&Patch],
    aim: &Aim<'_>,
    made: &mut Made,
    mut deeper: impl FnMut(&mut DynamicMessage, &mut Made) -> Result<(), Refused>,
) -> Result<(), Refused> {
    let mut kept = Vec::with_capacity(list.len());
    'things: for mut value in std::mem::take(list) {
        let Value::Message(thing) = &mut value else { continue };
        for patch in patches.iter().filter(|patch| changes(patch.operation)) {
            if (aim.fits)(patch, thing) && !change(thing, patch, made)? {
                continue 'things;
            }
        }
        deeper(thing, made)?;
        kept.push(value);
    }
    *list = kept;
    for patch in patches.iter().filter(|patch| !changes(patch.operation)) {
        add(list, patch, aim, made);
    }
    Ok(())
}

/// Adds, replaces and removes things of a list in the order of the patches, so that one may stand beside what a later one removes;
/// then merges, also into what was added, and `deeper` looks into each: so it is with filters. Only what is named is removed.
pub(super) fn patch_filters(
    list: &mut Vec<Value>,
    patches: &[&Patch],
    aim: &Aim<'_>,
    made: &mut Made,
    mut deeper: impl FnMut(&mut DynamicMessage, &mut Made) -> Result<(), Refused>,
) -> Result<(), Refused> {
    for patch in patches {
        match patch.operation {
            Operation::Merge | Operation::MergeAndReplaceList => {}
            Operation::Remove if !(aim.names_one)(patch) => {}
            Operation::Remove => {
                let before = list.len();
                list.retain(|value| !fits(value, patch, aim));
                if list.len() < before {
                    made.note(patch);
                }
            }
            _ => add(list, patch, aim, made),
        }
    }
    let merges = |patch: &&&Patch| changes(patch.operation) && patch.operation != Operation::Remove;
    for thing in list.iter_mut().filter_map(Value::as_message_mut) {
        for patch in patches.iter().filter(merges) {
            if (aim.fits)(patch, thing) {
                change(thing, patch, made)?;
            }
        }
        deeper(thing, made)?;
    }
    Ok(())
}

fn fits(value: &Value, patch: &Patch, aim: &Aim<'_>) -> bool {
    value.as_message().is_some_and(|thing| (aim.fits)(patch, thing))
}

/// Whether an operation changes what is there; else it adds.
const fn changes(operation: Operation) -> bool {
    matches!(operation, Operation::Merge | Operation::MergeAndReplaceList | Operation::Remove)
}

/// Changes a thing, or puts another in its place; whether it stays.
pub(super) fn change(
    thing: &mut DynamicMessage,
    patch: &Patch,
    made: &mut Made,
) -> Result<bool, Refused> {
    let lists = match patch.operation {
        Operation::Merge => Lists::Grow,
        Operation::MergeAndReplaceList => Lists::Replace,
        Operation::Remove => {
            made.remove(patch, thing);
            return Ok(false);
        }
        Operation::Replace => {
            if let Some(value) = &patch.value {
                thing.clone_from(value);
                made.note(patch);
            }
            return Ok(true);
        }
        _ => return Ok(true),
    };
    if let Some(value) = &patch.value {
        let alone =
            Some(value).filter(|_| patch.apply_to == ApplyTo::Cluster).and_then(socket_alone);
        let value = alone.as_ref().map_or(value, |(socket, _)| socket);
        merge(thing, value, lists).map_err(|reason| Refused {
            patch: patch.number,
            reason: format!(".patch.value.{reason}"),
        })?;
        made.note(patch);
    }
    Ok(true)
}

fn add(list: &mut Vec<Value>, patch: &Patch, aim: &Aim<'_>, made: &mut Made) {
    let Some(value) = patch.value.clone().map(Value::Message) else { return };
    let names_one = (aim.names_one)(patch);
    let found = || list.iter().position(|value| fits(value, patch, aim)).filter(|_| names_one);
    let at = match patch.operation {
        Operation::Add => Some(list.len()),
        Operation::InsertFirst if aim.first_beside && names_one => found().map(|_| 0),
        Operation::InsertFirst => Some(0),
        Operation::InsertBefore if !names_one => Some(0),
        Operation::InsertAfter if !names_one => Some(list.len()),
        Operation::InsertBefore => found(),
        Operation::InsertAfter => found().map(|at| at + 1),
        Operation::Replace => {
            if let Some(there) = found().and_then(|at| list.get_mut(at)) {
                *there = value;
                made.note(patch);
            }
            return;
        }
        Operation::Merge | Operation::MergeAndReplaceList | Operation::Remove => None,
    };
    if let Some(at) = at {
        list.insert(at, value);
        made.note(patch);
    }
}
