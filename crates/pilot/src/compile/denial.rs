//! What is done with what nothing describes, where only what is described may go out (`outboundTrafficPolicy: REGISTRY_ONLY`).
//!
//! Requests are answered 502 and connections closed, as by Istio's sidecars. All places where that is done bear a mark, by which
//! our data plane notes what was refused; it also looks into connections that come to such a chain, so that they are refused by their
//! server name, and requests get an answer on ports that nobody listens for.

use std::sync::Arc;

use tidegate_envoy::mark;
use tidegate_envoy::v3::core::data_source::Specifier;
use tidegate_envoy::v3::core::substitution_format_string::Format;
use tidegate_envoy::v3::core::{DataSource, Metadata, SubstitutionFormatString};
use tidegate_envoy::v3::listener::{FilterChain, FilterChainMatch};
use tidegate_envoy::v3::route::route::Action;
use tidegate_envoy::v3::route::{DirectResponseAction, Route, RouteConfiguration};

use super::sidecar::{REQUESTS, one_route};
use super::{Context, connection_manager, filter_chain};
use crate::OutboundPolicy;
use crate::sidecar::routes::{BLOCK_ALL, Onward};

/// The status for requests that nobody describes where they go.
const STATUS: u32 = 502;

/// What they are told where a Sidecar says what the workload sees.
const BOUNDED_BODY: &str = "egress to %REQ(:AUTHORITY)% on port %DOWNSTREAM_LOCAL_PORT% is denied: nothing that SIDECAR brings in \
                            describes it. A ServiceEntry for this host and port allows it, where spec.egress[].hosts of \
                            SIDECAR bring it in; `tidegate egress denied -o yaml` prints both.\n";

/// What they are told elsewhere.
const BODY: &str = "egress to %REQ(:AUTHORITY)% on port %DOWNSTREAM_LOCAL_PORT% is denied: no resource of the mesh \
                    describes it. A ServiceEntry for this host and port allows it; `tidegate egress denied -o yaml` \
                    prints one.\n";

/// What whoever asks for a tunnel is told.
const NO_TUNNEL: &str = "egress by a tunnel (CONNECT) to %REQ(:AUTHORITY)% on port %DOWNSTREAM_LOCAL_PORT% is denied: nothing \
                         would tell what is in it. Ask for the host itself, without a proxy; a ServiceEntry says whether it may \
                         be reached.\n";

/// The answer to requests that may not go out.
pub(super) fn answer(context: &Context<'_>) -> Action {
    saying(&body(context))
}

/// The same through a Unix socket, which is no port.
pub(super) fn answer_on_socket(context: &Context<'_>) -> Action {
    saying(&body(context).replace(" on port %DOWNSTREAM_LOCAL_PORT%", ""))
}

fn body(context: &Context<'_>) -> String {
    match &context.options.bounded_by {
        Some(sidecar) => BOUNDED_BODY.replace("SIDECAR", &sidecar.to_string()),
        None => BODY.to_owned(),
    }
}

fn saying(body: &str) -> Action {
    let text = DataSource {
        specifier: Some(Specifier::InlineString(body.to_owned())),
        ..DataSource::default()
    };
    Action::DirectResponse(DirectResponseAction {
        status: STATUS,
        body_format: Some(SubstitutionFormatString {
            format: Some(Format::TextFormatSource(text)),
            ..SubstitutionFormatString::default()
        }),
        ..DirectResponseAction::default()
    })
}

/// Marks a route that sends requests onward, if it refuses them.
pub(super) fn mark(route: &mut Route, onward: &Onward, context: &Context<'_>) {
    if matches!(onward, Onward::Elsewhere(OutboundPolicy::RegistryOnly)) {
        deny(&mut route.metadata, context);
        mark::deny_tunnels(&mut route.metadata, NO_TUNNEL.to_owned());
    }
}

/// Marks a place that lets nothing out.
fn deny(metadata: &mut Option<Metadata>, context: &Context<'_>) {
    mark::deny_egress(metadata);
    bound(metadata, context);
}

/// Marks who says what counts there.
fn bound(metadata: &mut Option<Metadata>, context: &Context<'_>) {
    if let Some(sidecar) = &context.options.bounded_by {
        mark::bound_by(metadata, sidecar.to_string());
    }
}

/// The chain for connections that may not go out.
pub(super) fn connections(name: &str, context: &Context<'_>) -> FilterChain {
    let mut chain = FilterChain {
        name: name.to_owned(),
        filters: vec![filter_chain::nowhere(context)],
        ..FilterChain::default()
    };
    deny(&mut chain.metadata, context);
    chain
}

/// Marks a chain for plain bytes whose clients are to have been led to where they dial by a name of these hosts.
pub(super) fn strangers(chain: &mut FilterChain, hosts: &[Arc<str>], context: &Context<'_>) {
    bound(&mut chain.metadata, context);
    mark::lead_by(&mut chain.metadata, hosts.iter().map(AsRef::as_ref));
}

/// Marks a chain of a gateway by which workloads go out: they know it by this port.
pub(super) fn lead_out(chain: &mut FilterChain, port: u16) {
    mark::lead_out(&mut chain.metadata, port);
}

/// The chain for requests among them. A listener without inspectors, which would hold up servers that speak first, gives it nothing
/// in Envoy.
pub(super) fn requests(name: &str, context: &Context<'_>) -> FilterChain {
    let onward = Onward::Elsewhere(OutboundPolicy::RegistryOnly);
    let action = answer(context);
    let host = one_route(BLOCK_ALL, vec!["*".to_owned()], BLOCK_ALL, action, &onward, context);
    let routes = RouteConfiguration {
        name: BLOCK_ALL.to_owned(),
        virtual_hosts: vec![host],
        ..RouteConfiguration::default()
    };
    let mut chain = FilterChain {
        name: name.to_owned(),
        filter_chain_match: Some(FilterChainMatch {
            transport_protocol: "raw_buffer".to_owned(),
            application_protocols: REQUESTS.map(str::to_owned).to_vec(),
            ..FilterChainMatch::default()
        }),
        filters: vec![connection_manager::refusing(BLOCK_ALL, routes, context)],
        ..FilterChain::default()
    };
    deny(&mut chain.metadata, context);
    chain
}
