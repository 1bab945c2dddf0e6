//! By what a route can be found: what every request that it takes shows.

use xxhash_rust::xxh64::xxh64;

use super::super::action::Route;
use super::super::condition::{Condition, Field};
use super::super::literals::{Choices, Literal};
use super::super::matcher::PathMatch;
use super::super::text::TextMatch;

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    /// Whole values.
    Values(Source),
    /// The names of all headers.
    HeaderNames,
    /// The names of all query parameters.
    ParameterNames,
    /// Parts of values.
    Parts(Source),
}

/// Where values come from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    /// The path, without the query.
    Path,
    /// A header, each line a value.
    Field(Field),
    /// The first query parameter of a name.
    Parameter(Box<[u8]>),
}

/// Something that a request can show, as a number. Two may share one: those that need it are tried anyway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub hash: u64,
    pub shape: Shape,
}

/// What a token is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// A whole value or name.
    Whole,
    /// So many bytes at the start of a value.
    Start(u8),
    /// So many bytes at its end.
    End(u8),
    /// So many bytes anywhere in it.
    Within(u8),
}

/// For each alternative that a condition allows, the tokens that a request then shows. Every request that the route
/// takes shows all tokens of at least one alternative.
#[derive(Debug)]
pub(super) struct Handle(Vec<Vec<Token>>);

/// Longest part of a value that is looked up, bytes.
const LONGEST: usize = size_of::<u64>();

/// The handles of a route.
pub(super) fn handles(route: &Route) -> Vec<(Key, Handle)> {
    let mut handles = Vec::new();
    if let PathMatch::Regex(pattern) = &route.matcher.path {
        of_parts(&Source::Path, pattern.literals(), &mut handles);
    }
    for condition in &route.matcher.conditions {
        match condition {
            Condition::Header(header) => {
                let source = Source::Field(header.field.clone());
                of_text(source, header.exact(), header.text(), &mut handles);
                if let Field::Header(name) = &header.field
                    && header.needs_header()
                {
                    handles.push((Key::HeaderNames, Handle::of(Token::header(name))));
                }
            }
            Condition::Query(query) => {
                let source = Source::Parameter(query.name.clone());
                of_text(source, query.exact(), query.text(), &mut handles);
                if query.needs_parameter() {
                    let name = Token::whole(&query.name);
                    handles.push((Key::ParameterNames, Handle::of(name)));
                }
            }
            Condition::Fraction(_)
            | Condition::Grpc
            | Condition::Metadata(_)
            | Condition::Certificate(_) => {}
        }
    }
    handles
}

fn of_text(
    source: Source,
    exact: Option<&[u8]>,
    text: Option<&TextMatch>,
    handles: &mut Vec<(Key, Handle)>,
) {
    match (exact, text) {
        (Some(value), _) => {
            handles.push((Key::Values(source), Handle::of(Token::whole(value))));
        }
        (None, Some(text)) => of_parts(&source, &text.literals(), handles),
        (None, None) => {}
    }
}

/// Of each set one literal is there: those at the ends of a value first, which are found at once.
fn of_parts(source: &Source, sets: &[Choices], handles: &mut Vec<(Key, Handle)>) {
    let mut add = |tokens: fn(&Literal) -> Vec<Token>, set: &Choices| {
        handles.push((Key::Parts(source.clone()), Handle(set.iter().map(tokens).collect())));
    };
    for set in sets {
        if set.iter().all(|literal| literal.at_start) {
            add(|literal| vec![Token::start(&literal.bytes)], set);
        }
        if set.iter().all(|literal| literal.at_end) {
            add(|literal| vec![Token::end(&literal.bytes)], set);
        }
        add(|literal| windows(&literal.bytes), set);
    }
}

/// The parts of a literal of the length that is looked up for one of its length: a power of two.
fn windows(literal: &[u8]) -> Vec<Token> {
    let width = 1 << literal.len().clamp(1, LONGEST).ilog2();
    let window = |part: &[u8]| Token::part(Shape::Within(width as u8), packed(part));
    literal.windows(width).map(window).collect()
}

impl Handle {
    fn of(token: Token) -> Self {
        Self(vec![vec![token]])
    }

    pub fn alternatives(&self) -> &[Vec<Token>] {
        &self.0
    }

    pub fn tokens(&self) -> impl Iterator<Item = &Token> {
        self.0.iter().flatten()
    }
}

impl Token {
    /// Of a whole value, or of the name of a query parameter.
    pub fn whole(value: &[u8]) -> Self {
        Self { hash: xxh64(value, 0), shape: Shape::Whole }
    }

    /// Of a header's name, in any letter case.
    pub fn header(name: &[u8]) -> Self {
        // FNV-1a
        let hash = name.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte.to_ascii_lowercase())).wrapping_mul(0x0100_0000_01b3)
        });
        Self { hash: mixed(hash), shape: Shape::Whole }
    }

    /// Of the first bytes of a value.
    fn start(value: &[u8]) -> Self {
        let part = &value[..value.len().min(LONGEST)];
        Self::part(Shape::Start(part.len() as u8), packed(part))
    }

    /// Of the last bytes of a value.
    fn end(value: &[u8]) -> Self {
        let part = &value[value.len().saturating_sub(LONGEST)..];
        Self::part(Shape::End(part.len() as u8), packed(part))
    }

    /// Of bytes as [`packed`] makes them.
    fn part(shape: Shape, packed: u64) -> Self {
        let kind = match shape {
            Shape::Whole => 0,
            Shape::Start(width) => 0x100 | u64::from(width),
            Shape::End(width) => 0x200 | u64::from(width),
            Shape::Within(width) => 0x300 | u64::from(width),
        };
        // Any odd number keeps the kinds apart.
        Self { hash: mixed(packed ^ kind.wrapping_mul(0x9e37_79b9_7f4a_7c15)), shape }
    }
}

/// Which shapes of parts are looked up: a bit for each width from 1 to [`LONGEST`].
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shapes {
    start: Widths,
    end: Widths,
    within: Widths,
}

#[derive(Clone, Copy, Debug, Default)]
struct Widths(u8);

impl Widths {
    fn add(&mut self, width: u8) {
        self.0 |= 1 << (width - 1);
    }

    fn iter(self) -> impl Iterator<Item = usize> {
        (1..=LONGEST).filter(move |width| self.0 & 1 << (width - 1) != 0)
    }
}

impl Shapes {
    /// Looks up parts of a shape, too.
    pub fn add(&mut self, shape: Shape) {
        match shape {
            Shape::Whole => {}
            Shape::Start(width) => self.start.add(width),
            Shape::End(width) => self.end.add(width),
            Shape::Within(width) => self.within.add(width),
        }
    }

    /// The tokens of a value.
    pub fn each(self, value: &[u8], mut token: impl FnMut(Token)) {
        for width in self.start.iter() {
            if let Some(part) = value.get(..width) {
                token(Token::part(Shape::Start(width as u8), packed(part)));
            }
        }
        for width in self.end.iter() {
            if let Some(start) = value.len().checked_sub(width) {
                token(Token::part(Shape::End(width as u8), packed(&value[start..])));
            }
        }
        if self.within.0 == 0 {
            return;
        }
        let mut last = 0;
        for (at, byte) in value.iter().enumerate() {
            last = last << 8 | u64::from(byte.to_ascii_lowercase());
            for width in self.within.iter().take_while(|width| *width <= at + 1) {
                let part = last & (u64::MAX >> (8 * (LONGEST - width)));
                token(Token::part(Shape::Within(width as u8), part));
            }
        }
    }
}

/// Up to [`LONGEST`] bytes as a number, letters in lower case.
fn packed(part: &[u8]) -> u64 {
    part.iter().fold(0, |packed, byte| packed << 8 | u64::from(byte.to_ascii_lowercase()))
}

/// A number whose bits all depend on all bits of another (`MurmurHash3`'s last step).
fn mixed(mut number: u64) -> u64 {
    number = (number ^ number >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    number = (number ^ number >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    number ^ number >> 33
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_shows_the_tokens_of_every_literal_in_it() {
        for (text, literal, at_start, at_end) in [
            ("/api/v1/users", "/api", true, false),
            ("/api/v1/users", "/api/v1/users", true, true),
            ("/API/v1/Users", "1/users", false, true),
            ("/api/v1/users", "v1", false, false),
            ("/api/v1/users", "i", false, false),
            ("x", "x", true, true),
            ("\u{c9}\u{e9}", "\u{c9}\u{e9}", true, true),
        ] {
            let literal = Literal { bytes: literal.as_bytes().into(), at_start, at_end };
            let mut handles = Vec::new();
            of_parts(&Source::Path, &[[literal].into()], &mut handles);
            assert_eq!(handles.len(), 1 + usize::from(at_start) + usize::from(at_end));
            for (_, handle) in handles {
                let mut shapes = Shapes::default();
                handle.tokens().for_each(|token| shapes.add(token.shape));
                let mut shown = Vec::new();
                shapes.each(text.as_bytes(), |token| shown.push(token));
                assert!(handle.tokens().all(|token| shown.contains(token)), "{text} {handle:?}");
            }
        }
    }

    #[test]
    fn what_is_not_there_is_not_shown() {
        let wanted = [Token::start(b"abc"), Token::end(b"xyz"), windows(b"12345678")[0]];
        let mut shapes = Shapes::default();
        wanted.iter().for_each(|token| shapes.add(token.shape));
        for text in ["", "ab", "xabcx", "xyzx", "1234567", "1x2345678"] {
            shapes.each(text.as_bytes(), |token| assert!(!wanted.contains(&token), "{text}"));
        }
    }
}
