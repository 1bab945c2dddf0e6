//! Routes by what a request shows.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::super::condition::{parameter, parameters};
use super::candidates::Candidates;
use super::handles::{Key, Shapes, Source, Token};
use super::{Probe, Request, Step};

/// Most groups that one search collects: there are seldom more than two.
const MOST_FOUND: usize = 32;

/// Groups of routes by the tokens that lead to them.
#[derive(Debug)]
pub(super) struct Lookup {
    key: Key,
    shapes: Shapes,
    /// By the hash of a token, the place of the group.
    places: HashMap<u64, u32, AsIs>,
    /// Ascending by their lowest numbers.
    groups: Box<[Candidates]>,
    /// All routes in them, ascending.
    all: Box<[u32]>,
}

/// Tokens are hashes already.
pub(super) type AsIs = BuildHasherDefault<Identity>;

#[derive(Debug, Default)]
pub(super) struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(self.0 << 8 ^ u64::from(*byte));
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

impl Lookup {
    /// Of groups, ascending by their lowest numbers, and the hash of the tokens that lead to each.
    pub fn new(
        key: Key,
        shapes: Shapes,
        hashes: &[u64],
        groups: Box<[Candidates]>,
        all: Box<[u32]>,
    ) -> Self {
        let places = hashes.iter().copied().zip(0..).collect();
        Self { key, shapes, places, groups, all }
    }

    /// All routes, ascending.
    pub fn all(&self) -> &[u32] {
        &self.all
    }

    /// The lowest number below `best` of a route that takes the request, else `best`.
    pub fn first<P: Probe>(&self, request: &Request<'_, P>, mut best: u32) -> u32 {
        if self.all.first().is_none_or(|lowest| *lowest >= best) {
            return best;
        }
        request.probe.note(Step::Lookup(&self.key));
        let mut found = Found::default();
        self.each_token(request, |token| {
            request.probe.note(Step::Token);
            if let Some(place) = self.places.get(&token.hash) {
                found.add(*place);
            }
        });
        let Some(places) = found.ascending() else {
            request.probe.note(Step::All);
            return request.first_of(&self.all, best);
        };
        for place in places {
            let group = &self.groups[*place as usize];
            if group.lowest >= best {
                break;
            }
            best = group.first(request, best);
        }
        best
    }

    /// What the request shows of what is looked at.
    fn each_token<P>(&self, request: &Request<'_, P>, mut token: impl FnMut(Token)) {
        match &self.key {
            Key::Values(source) => source.each(request, |value| token(Token::whole(value))),
            Key::Parts(source) => {
                source.each(request, |value| self.shapes.each(value, &mut token));
            }
            Key::HeaderNames => {
                request.head.headers.iter().for_each(|(_, name, _)| token(Token::header(name)));
            }
            Key::ParameterNames => {
                parameters(request.head.path()).for_each(|(name, _)| token(Token::whole(name)));
            }
        }
    }
}

impl Source {
    /// The values in a request.
    fn each<P>(&self, request: &Request<'_, P>, mut value: impl FnMut(&[u8])) {
        match self {
            Self::Path => value(request.path),
            Self::Field(field) => field.values(request.head).for_each(value),
            Self::Parameter(name) => {
                parameter(request.head.path(), name).into_iter().for_each(value);
            }
        }
    }
}

/// Places of groups, each once, in memory that needs no allocation.
#[derive(Default)]
struct Found {
    places: [u32; MOST_FOUND],
    len: usize,
    /// Whether there are more.
    more: bool,
}

impl Found {
    fn add(&mut self, place: u32) {
        if self.places[..self.len].contains(&place) {
            return;
        }
        match self.places.get_mut(self.len) {
            Some(free) => {
                *free = place;
                self.len += 1;
            }
            None => self.more = true,
        }
    }

    /// The places, ascending; `None` when there are too many.
    fn ascending(&mut self) -> Option<&[u32]> {
        let places = &mut self.places[..self.len];
        places.sort_unstable();
        (!self.more).then_some(places)
    }
}
