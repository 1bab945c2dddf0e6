//! Copies of requests to other clusters.

use std::sync::Arc;

use tidegate_envoy::v3::route::route_action::RequestMirrorPolicy;

use crate::config::refusal::{Refusal, each};
use crate::route::{Fraction, Mirror, MirrorHost};

use super::Links;
use super::matching::share;
use super::value::{header_value, required};

/// A copy, as a route, a virtual host or a route configuration asks for it.
#[derive(Clone, Debug)]
pub(super) struct Policy {
    cluster: String,
    share: Option<Fraction>,
    host: MirrorHost,
}

/// The copies that one level asks for.
pub(super) fn policies(protos: &[RequestMirrorPolicy]) -> Result<Vec<Policy>, Refusal> {
    each("request_mirror_policies", protos, |proto| {
        let host = header_value("host_rewrite_literal", &proto.host_rewrite_literal)?;
        Ok(Policy {
            cluster: required("cluster", &proto.cluster)?.to_owned(),
            share: share("runtime_fraction", proto.runtime_fraction.as_ref())?,
            host: match host {
                "" if proto.disable_shadow_host_suffix_append => MirrorHost::Same,
                "" => MirrorHost::Shadow,
                host => MirrorHost::Literal(host.into()),
            },
        })
    })
}

/// The copies, with the clusters that they go to.
pub(super) fn linked(policies: &[Policy], links: &mut impl Links) -> Arc<[Mirror]> {
    let mirror = |policy: &Policy| Mirror {
        cluster: links.cluster(&policy.cluster),
        share: policy.share,
        host: policy.host.clone(),
    };
    policies.iter().map(mirror).collect()
}

/// The copies that hold at a level: its own, or without any those around it.
pub(super) fn mirrors(
    own: &[RequestMirrorPolicy],
    around: &Arc<[Mirror]>,
    links: &mut impl Links,
) -> Result<Arc<[Mirror]>, Refusal> {
    Ok(if own.is_empty() { Arc::clone(around) } else { linked(&policies(own)?, links) })
}
