//! Status of delegates: VirtualServices without hosts, whose rules apply where others lead to them.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::virtual_service::{self, listeners};
use super::{Findings, Force, View, redirected};
use crate::model::rule::UnmetReason;
use crate::model::virtual_service::VirtualService;

/// What is wrong with a delegate; `None` when everyone who leads to it is for other proxies.
pub(super) fn findings(delegate: &VirtualService, view: View<'_>) -> Option<Findings> {
    let mut findings = Findings::default();
    let mut alone = true;
    let mut concerned = false;
    for root in roots(delegate, view) {
        alone = false;
        concerned |= virtual_service::concerns(root, view);
        for unmet in root.unmet.iter().filter(|unmet| unmet.delegate == delegate.key) {
            findings.fault(reason(&unmet.reason), format!("{}: {unmet}", root.key));
        }
    }
    if alone {
        findings.fault("NotAttached", NOBODY.to_owned());
    }
    (alone || concerned).then_some(findings)
}

/// Whether rules of a delegate are in force: through which listeners, or why through none.
pub(super) fn force(
    delegate: &VirtualService,
    findings: Option<&Findings>,
    view: View<'_>,
) -> Force {
    let applied: Vec<&Arc<VirtualService>> = roots(delegate, view)
        .filter(|root| root.rules.iter().any(|rule| rule.key == delegate.key))
        .collect();
    let serving = applied.iter().filter(|root| redirected::force(root, view).is_none());
    let through: BTreeSet<_> = serving.flat_map(|root| listeners(root, view)).collect();
    if !through.is_empty() {
        return Force::Through(through.into_iter().collect());
    }
    let message = match applied.as_slice() {
        [] => {
            let faults = findings.map(|f| f.first_and_all().1).filter(|f| !f.is_empty());
            faults.unwrap_or_else(|| NOBODY.to_owned())
        }
        several => {
            let several: Vec<String> = several.iter().map(|root| root.key.to_string()).collect();
            format!(
                "{} leads to it and is not in force; the status there says why",
                several.join(", ")
            )
        }
    };
    Force::nothing("NotAttached", message)
}

/// The reason of a condition for rules of a delegate that do not apply.
pub(super) fn reason(unmet: &UnmetReason) -> &'static str {
    match unmet {
        UnmetReason::Missing => "RefNotFound",
        UnmetReason::Hidden => "Hidden",
        UnmetReason::HasHosts | UnmetReason::Chained(_) => "NotADelegate",
        UnmetReason::Contradicts(..) => "Conflict",
    }
}

const NOBODY: &str = "it has no hosts and so is a delegate, and no VirtualService delegates to it; name it in \
                      http[].delegate of one, or give it hosts and gateways";

fn roots<'a>(
    delegate: &VirtualService,
    view: View<'a>,
) -> impl Iterator<Item = &'a Arc<VirtualService>> {
    view.index.roots_of(&delegate.key).filter_map(move |root| view.index.virtual_service(root))
}
