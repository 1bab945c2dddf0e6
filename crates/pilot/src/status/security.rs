//! Status of the kinds of the security API.

use tidegate_api::istio::authorization_policy::Action;
use tidegate_api::{Kind, ObjectKey};

use super::credentials::unusable;
use super::{Findings, Force, View, standing};
use crate::model::authentication::TokenPolicy;
use crate::model::authorization::{Policy, Reach};
use crate::model::target::why_not;

/// What a gateway says of a PeerAuthentication.
pub(super) const PEERS: &str = "it is about workloads with sidecars: what a gateway takes from its clients stands in its \
                                Gateway, as in Istio";

/// What is told of a policy that cannot be read.
pub(crate) const CLOSED: &str = "nobody knows what it asks for: until it is right or gone the gateway refuses every request and connection";

/// What becomes of what a policy of the action AUDIT matches.
const AUDITED: &str = "what its rules match passes, is counted (rbac.logged), and noted for access logs whose format asks for it: %DYNAMIC_METADATA(envoy.common:access_log_hint)%";

/// What is told of a policy that cannot be read, and is about others all the same.
const ELSEWHERE: &str = "it is about other workloads: this gateway serves as if it were not there";

/// What follows from it that an object never had a form that could be read.
pub(super) fn of_unreadable(key: &ObjectKey, view: View<'_>) -> &'static str {
    match key.kind {
        _ if view.policies.is_unreadable(key) => CLOSED,
        Kind::AuthorizationPolicy | Kind::RequestAuthentication => ELSEWHERE,
        _ => "",
    }
}

/// What is wrong with an AuthorizationPolicy; `None` where it is for other workloads.
pub(super) fn authorization_policy(policy: &Policy, view: View<'_>) -> Option<Findings> {
    let mut findings = Findings::default();
    match policy.reach {
        Reach::Namespace | Reach::Labels | Reach::Targets => return None,
        Reach::Here => {
            if policy.spec.action == Action::Custom {
                let message = "action CUSTOM is not served yet, as nobody can be asked: what its rules match is refused";
                findings.fault("NotServed", message.to_owned());
            }
            for fault in view.authorization.faults.get(&policy.key).into_iter().flatten() {
                findings.fault("NotServed", fault.clone());
            }
            if policy.spec.action == Action::Audit && !policy.dry_run {
                findings.advice.push(AUDITED.to_owned());
            }
            if policy.dry_run {
                let message = "it is tried out (istio.io/dry-run): what it would do is counted, and nothing is done";
                findings.advice.push(message.to_owned());
            }
        }
    }
    Some(findings)
}

/// How far a policy that reaches so far is in force.
pub(super) fn force(reach: Reach, view: View<'_>) -> Force {
    match reach {
        Reach::Here => Force::Whole,
        Reach::Targets => {
            Force::nothing("NotSelected", why_not("selector.matchLabels", view.options))
        }
        Reach::Labels => Force::nothing("NotSelected", standing::not_selected(view)),
        Reach::Namespace => {
            let (own, root) = (&view.options.namespace, &view.options.root_namespace);
            let both = if own == root { own.clone() } else { format!("{own} or {root}") };
            let this = standing::this(view);
            let message = format!(
                "it is about workloads of its own namespace: for this {this} it has to be in {both}"
            );
            Force::nothing("NotSelected", message)
        }
    }
}

/// What is wrong with a RequestAuthentication; `None` where it is for other workloads.
pub(super) fn request_authentication(policy: &TokenPolicy, view: View<'_>) -> Option<Findings> {
    let mut findings = Findings::default();
    match policy.reach {
        Reach::Namespace | Reach::Labels | Reach::Targets => return None,
        Reach::Here => {
            for fault in view.tokens.faults.get(&policy.key).into_iter().flatten() {
                findings.fault("NotServed", fault.clone());
            }
            let taken = view.tokens.credentials.iter().filter(|(_, key)| *key == policy.key);
            for why in taken.filter_map(|(credential, _)| unusable(credential, view)) {
                findings.fault("NotServed", format!("jwksUri: keys cannot be fetched: {why}"));
            }
            let fetched = view.tokens.fetched.iter().filter(|(_, key)| *key == policy.key);
            let failed = fetched.filter_map(|(uri, _)| view.unfetched.0.get(uri).map(|w| (uri, w)));
            let told = failed.map(|(uri, why)| format!("keys of {uri} cannot be fetched: {why}"));
            findings.unfetched.extend(told);
        }
    }
    Some(findings)
}
