//! The first look at a new form of a listener: which of its chains are new.

use std::fmt;

use bytes::Bytes;
use tidegate_envoy::capability::Finding;
use tidegate_envoy::v3::listener::{FilterChain as ProtoChain, Listener as ProtoListener};
use tidegate_xds::Resource;

use super::judge::{Judged, examine, examine_named};
use super::listeners::{ChainsByForm, ServedChain};
use super::refusal::Refusal;
use super::split::{ListenerParts, split_listener};

/// A listener that can be served, as far as the capability table goes; transport sockets of chains may be at fault.
pub(super) struct ListenerForm {
    /// The listener without its chains.
    pub around: Judged<ProtoListener>,
    /// Its chains, at least one.
    pub entries: Vec<Entry>,
}

/// A chain.
pub(super) struct Entry {
    pub place: Place,
    /// As it is encoded.
    pub form: Bytes,
    pub look: Look,
}

/// Where a chain stands.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    /// Among `filter_chains`.
    Of(usize),
    /// `default_filter_chain`
    Default,
}

/// What a look at a chain shows.
pub(super) enum Look {
    /// It is served already. A large listener costs what changes in it.
    Same(ServedChain),
    New(Box<NewChain>),
}

/// A chain to compile.
pub(super) struct NewChain {
    pub proto: ProtoChain,
    /// Fields without effect.
    pub notices: Vec<Finding>,
    /// Fields of its transport socket that are not supported.
    pub unsupported: Vec<Refusal>,
}

impl ListenerForm {
    /// Reads an encoded listener; chains of a form that is `known` are not decoded.
    pub fn read(resource: &Resource, known: &ChainsByForm) -> Result<Self, Vec<Refusal>> {
        let ListenerParts { around, chains, default } =
            split_listener(&resource.bytes).map_err(|error| vec![Refusal::new(error)])?;
        let around = Resource::new(resource.kind, resource.name.clone(), around);
        let (around, mut refusals) = examine_named(&around, |proto: &ProtoListener| &proto.name)?;
        let default = default.map(|form| (Place::Default, form));
        let places = (0..).map(Place::Of).zip(chains).chain(default);
        let (mut entries, mut faults) = (Vec::new(), Vec::new());
        for (place, form) in places {
            let look = match known.get(&form).filter(|served| served.fits(place)) {
                Some(served) => Look::Same(served.clone()),
                None => match examine::<ProtoChain>(&form) {
                    Ok((Judged { message: proto, notices }, unsupported)) => {
                        let place = place.to_string();
                        let (of_socket, elsewhere): (Vec<_>, Vec<_>) =
                            unsupported.into_iter().partition(is_of_socket);
                        refusals.extend(elsewhere.into_iter().map(|each| each.within(&place)));
                        faults.extend(of_socket.iter().map(|each| each.clone().within(&place)));
                        Look::New(Box::new(NewChain { proto, notices, unsupported: of_socket }))
                    }
                    Err(found) => {
                        let place = place.to_string();
                        refusals.extend(found.into_iter().map(|each| each.within(&place)));
                        continue;
                    }
                },
            };
            entries.push(Entry { place, form, look });
        }
        if !refusals.is_empty() {
            refusals.extend(faults);
            return Err(refusals);
        }
        if entries.is_empty() {
            let reason = "must have an entry, or default_filter_chain must be set";
            return Err(vec![Refusal::of("filter_chains", reason)]);
        }
        Ok(Self { around, entries })
    }
}

/// Whether a field of a chain is its transport socket, or in it.
fn is_of_socket(refusal: &Refusal) -> bool {
    let rest = refusal.path.strip_prefix("transport_socket");
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Of(number) => write!(f, "filter_chains[{number}]"),
            Self::Default => f.write_str("default_filter_chain"),
        }
    }
}
