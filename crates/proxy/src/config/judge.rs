//! The first look at a resource: does it decode, and does the capability table let it through?

use tidegate_envoy::capability::{self, Finding};
use tidegate_envoy::prost::{Message, Name};
use tidegate_xds::Resource;

use super::refusal::Refusal;

/// A message that the capability table lets through.
#[derive(Debug)]
pub(super) struct Judged<M> {
    pub message: M,
    /// Fields that have no effect here, and why.
    pub notices: Vec<Finding>,
}

/// Decodes bytes as `M`, the fields of which must all be supported.
pub(super) fn judge<M: Message + Name + Default>(bytes: &[u8]) -> Result<Judged<M>, Vec<Refusal>> {
    let (judged, unsupported) = examine(bytes)?;
    if unsupported.is_empty() { Ok(judged) } else { Err(unsupported) }
}

/// The same, with the fields that are not supported.
pub(super) fn examine<M: Message + Name + Default>(
    bytes: &[u8],
) -> Result<(Judged<M>, Vec<Refusal>), Vec<Refusal>> {
    let report = capability::check_bytes(&M::full_name(), bytes)
        .map_err(|error| vec![Refusal::new(error)])?;
    let refusal = |finding: Finding| Refusal { path: finding.path, reason: finding.reason };
    let unsupported = report.refusals.into_iter().map(refusal).collect();
    let message = M::decode(bytes).map_err(|error| vec![Refusal::new(error)])?;
    Ok((Judged { message, notices: report.notices }, unsupported))
}

/// As [`judge`] for a resource, whose name must be the one in the message.
pub(super) fn judge_named<M: Message + Name + Default>(
    resource: &Resource,
    name: impl FnOnce(&M) -> &str,
) -> Result<Judged<M>, Vec<Refusal>> {
    let (judged, unsupported) = examine_named(resource, name)?;
    if unsupported.is_empty() { Ok(judged) } else { Err(unsupported) }
}

/// The same, with the fields that are not supported, for those of which a part can be served without them.
pub(super) fn examine_named<M: Message + Name + Default>(
    resource: &Resource,
    name: impl FnOnce(&M) -> &str,
) -> Result<(Judged<M>, Vec<Refusal>), Vec<Refusal>> {
    let (judged, unsupported) = examine::<M>(&resource.bytes)?;
    let found = name(&judged.message);
    if found != &*resource.name {
        let reason = format!("{found:?} is not the name of the resource, {:?}", resource.name);
        return Err(vec![Refusal::of("name", reason)]);
    }
    Ok((judged, unsupported))
}
