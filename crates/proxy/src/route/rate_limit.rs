//! What limits know a request by: descriptors, made from it as a route or its virtual host says (`rate_limits`).

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use crate::config::chains::Net;
use crate::http::RequestHead;

use super::condition::{Condition, Field, parameter};

/// One part of a descriptor, as the configuration has it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// What it is about.
    pub key: Box<str>,
    /// What it says.
    pub value: Box<[u8]>,
}

/// One part of a request's descriptor.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Part<'r> {
    /// What it is about.
    pub key: &'r str,
    /// What it says.
    pub value: Cow<'r, [u8]>,
}

impl Entry {
    /// The part of a descriptor that is always this.
    #[must_use]
    pub fn part(&self) -> Part<'_> {
        Part { key: &self.key, value: Cow::Borrowed(&self.value) }
    }
}

impl Part<'_> {
    /// The same, to be kept.
    #[must_use]
    pub fn entry(&self) -> Entry {
        Entry { key: self.key.into(), value: (*self.value).into() }
    }
}

/// What a request is known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor<'r> {
    /// Its parts, in the order of the actions that made them.
    pub parts: Vec<Part<'r>>,
    /// How many tokens the request takes.
    pub hits: u32,
    /// Whether the limit is told in headers; as the filter says where this says nothing.
    pub told: Option<bool>,
}

/// How a descriptor is made of a request.
#[derive(Clone, Debug)]
pub struct RateLimit {
    /// For which filters: those of this stage.
    pub stage: u32,
    /// What its parts are made of.
    pub actions: Vec<Action>,
    /// How many tokens the request takes.
    pub hits: u32,
    /// Whether the limit is told in headers; as the filter says where this says nothing.
    pub told: Option<bool>,
}

/// The limits that are set for a route.
#[derive(Clone, Debug, Default)]
pub struct RateLimits {
    /// By itself.
    pub own: Vec<RateLimit>,
    /// By its virtual host.
    pub of_host: Arc<[RateLimit]>,
    /// Whether those of the virtual host count whatever else is said (`include_vh_rate_limits`).
    pub with_hosts: bool,
}

/// What a part of a descriptor is made of.
#[derive(Clone, Debug)]
pub enum Action {
    /// Always the same.
    Fixed(Entry),
    /// The value of a header's first line, or of a pseudo header.
    Header {
        /// The header.
        field: Field,
        /// Key of the part.
        key: Box<str>,
        /// Whether the part is left out where the header is absent; else there is no descriptor.
        optional: bool,
    },
    /// The first value of a query parameter.
    Parameter {
        /// The parameter.
        name: Box<[u8]>,
        /// Key of the part.
        key: Box<str>,
        /// As for headers.
        optional: bool,
    },
    /// The client's address.
    Address,
    /// The network that the client's address is in, by the lengths of its prefix in both families.
    Network(u8, u8),
    /// Always the same, where all conditions hold, or where they do not.
    Matching {
        /// The part.
        entry: Entry,
        /// On the request.
        conditions: Vec<Condition>,
        /// Whether they must hold.
        wanted: bool,
    },
    /// Always the same, where the client's address is in one of the networks, or where it is not.
    From {
        /// The part.
        entry: Entry,
        /// The networks.
        networks: Vec<Net>,
        /// Whether it must be in none of them.
        invert: bool,
    },
}

/// What a part comes to.
enum Made<'r> {
    Is(Part<'r>),
    LeftOut,
    /// There is no descriptor.
    Missing,
}

impl RateLimit {
    /// The descriptor of a request from `client`; `None` where something that it is made of is absent.
    #[must_use]
    pub fn descriptor<'r>(
        &'r self,
        head: &'r RequestHead,
        client: IpAddr,
    ) -> Option<Descriptor<'r>> {
        let mut parts = Vec::with_capacity(self.actions.len());
        for action in &self.actions {
            match action.part(head, client) {
                Made::Is(part) => parts.push(part),
                Made::LeftOut => {}
                Made::Missing => return None,
            }
        }
        Some(Descriptor { parts, hits: self.hits, told: self.told })
    }
}

impl Action {
    fn part<'r>(&'r self, head: &'r RequestHead, client: IpAddr) -> Made<'r> {
        fn valued<'r>(key: &'r str, value: Option<&'r [u8]>, optional: bool) -> Made<'r> {
            match value {
                Some(value) => Made::Is(Part { key, value: value.into() }),
                None if optional => Made::LeftOut,
                None => Made::Missing,
            }
        }
        fn when(holds: bool, entry: &Entry) -> Made<'_> {
            if holds { Made::Is(entry.part()) } else { Made::Missing }
        }
        let shown = |key, shown: String| Made::Is(Part { key, value: shown.into_bytes().into() });
        match self {
            Self::Fixed(entry) => Made::Is(entry.part()),
            Self::Header { field, key, optional } => {
                valued(key, field.values(head).next(), *optional)
            }
            Self::Parameter { name, key, optional } => {
                valued(key, parameter(head.path(), name), *optional)
            }
            Self::Address => shown("remote_address", client.to_string()),
            Self::Network(v4, v6) => {
                let length = if client.is_ipv4() { *v4 } else { *v6 };
                shown("masked_remote_address", Net::new(client, length).to_string())
            }
            Self::Matching { entry, conditions, wanted } => {
                // A share of requests is no condition here, so that no random number is looked at.
                when(conditions.iter().all(|c| c.holds(head, 0)) == *wanted, entry)
            }
            Self::From { entry, networks, invert } => {
                when(networks.iter().any(|net| net.contains(client)) != *invert, entry)
            }
        }
    }
}
