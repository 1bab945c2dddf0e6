//! Literals that a text must have in it to pass a test, so that many tests are told apart without trying each.
//!
//! The idea is that of RE2's `FilteredRE2`: a pattern that matches at all matches around its literals. Case is
//! folded on both sides, so that what is found here is necessary for a match and never enough.

use std::borrow::Cow;

use regex_syntax::hir::{Class, ClassBytesRange, ClassUnicodeRange, Hir, HirKind};

/// Longest literal in one piece, bytes; a longer one becomes several.
const LONGEST: usize = 64;
/// Most literals of which one is there.
const MOST_CHOICES: usize = 16;
/// Most sets of a pattern.
const MOST_SETS: usize = 16;
/// Largest character class that is taken apart, with cases folded.
const MOST_OF_CLASS: usize = 4;

/// A part of a text, its ASCII letters in lower case; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Literal {
    pub bytes: Box<[u8]>,
    /// Whether the text begins with it.
    pub at_start: bool,
    /// Whether the text ends with it.
    pub at_end: bool,
}

/// Literals of which every text that passes has at least one.
pub(super) type Choices = Box<[Literal]>;

/// The sets of a pattern that must match the whole text.
pub(super) fn of_pattern(hir: &Hir) -> Box<[Choices]> {
    let mut reader = Reader::new(true);
    reader.read(hir);
    reader.end_run(true);
    reader.sets.into()
}

/// The sets of a part that the text must have.
pub(super) fn of_part<'a>(part: &[u8], at_start: bool, at_end: bool) -> Cow<'a, [Choices]> {
    let last = part.len().div_ceil(LONGEST).saturating_sub(1);
    let pieces = part.chunks(LONGEST).take(MOST_SETS).enumerate().map(|(place, piece)| {
        let (at_start, at_end) = (at_start && place == 0, at_end && place == last);
        Choices::from([Literal { bytes: piece.to_ascii_lowercase().into(), at_start, at_end }])
    });
    pieces.collect::<Vec<_>>().into()
}

/// Reads a pattern from its beginning to its end.
struct Reader {
    sets: Vec<Choices>,
    /// What stands side by side, up to where the reader is: one of these.
    run: Vec<Vec<u8>>,
    /// Whether the run begins where the text does.
    at_start: bool,
    /// Whether all that was read is in the run.
    whole: bool,
}

impl Reader {
    fn new(at_start: bool) -> Self {
        Self { sets: Vec::new(), run: vec![Vec::new()], at_start, whole: true }
    }

    /// Visits each part once. The parser bounds how deep they are nested.
    fn read(&mut self, hir: &Hir) {
        match hir.kind() {
            HirKind::Empty | HirKind::Look(_) => {}
            HirKind::Literal(literal) => {
                for piece in literal.0.chunks(LONGEST) {
                    self.append(&[piece.to_ascii_lowercase()]);
                }
            }
            HirKind::Class(class) => match of_class(class) {
                Some(choices) => self.append(&choices),
                None => self.skip(),
            },
            HirKind::Repetition(repetition) => {
                if repetition.min > 0 {
                    self.read(&repetition.sub);
                }
                if (repetition.min, repetition.max) != (1, Some(1)) {
                    self.skip();
                }
            }
            HirKind::Capture(capture) => self.read(&capture.sub),
            HirKind::Concat(parts) => parts.iter().for_each(|part| self.read(part)),
            HirKind::Alternation(branches) => self.read_one_of(branches),
        }
    }

    fn read_one_of(&mut self, branches: &[Hir]) {
        let mut readers = Vec::with_capacity(branches.len());
        for branch in branches {
            let mut reader = Self::new(false);
            reader.read(branch);
            readers.push(reader);
        }
        if readers.iter().all(|reader| reader.whole) {
            let choices = readers.iter().flat_map(|reader| reader.run.iter().cloned()).collect();
            let choices = distinct(choices);
            if choices.len() <= MOST_CHOICES {
                return self.append(&choices);
            }
        }
        self.skip();
        let best: Option<Vec<_>> = readers.into_iter().map(Self::best).collect();
        self.keep(best.unwrap_or_default().into_iter().flatten().collect());
    }

    /// Goes on with one of `choices`, none of which is longer than [`LONGEST`].
    fn append(&mut self, choices: &[Vec<u8>]) {
        let longest = |texts: &[Vec<u8>]| texts.iter().map(Vec::len).max().unwrap_or_default();
        let many = self.run.len() * choices.len() > MOST_CHOICES;
        if many || longest(&self.run) + longest(choices) > LONGEST {
            self.skip();
        }
        let longer = self
            .run
            .iter()
            .flat_map(|run| choices.iter().map(|choice| [run.as_slice(), choice].concat()));
        self.run = distinct(longer.collect());
    }

    /// Goes on behind something that is not known.
    fn skip(&mut self) {
        self.end_run(false);
        (self.at_start, self.whole) = (false, false);
    }

    fn end_run(&mut self, at_end: bool) {
        let at_start = self.at_start;
        let run = std::mem::replace(&mut self.run, vec![Vec::new()]);
        let literal = |bytes: Vec<u8>| Literal { bytes: bytes.into(), at_start, at_end };
        self.keep(run.into_iter().map(literal).collect());
    }

    fn keep(&mut self, choices: Choices) {
        let telling = !choices.is_empty() && choices.iter().all(|each| !each.bytes.is_empty());
        if telling && choices.len() <= MOST_CHOICES && self.sets.len() < MOST_SETS {
            self.sets.push(choices);
        }
    }

    /// The set of one branch that tells most: that whose shortest literal is the longest.
    fn best(mut self) -> Option<Choices> {
        self.end_run(false);
        let shortest =
            |set: &Choices| set.iter().map(|each| each.bytes.len()).min().unwrap_or_default();
        let without_place =
            |literal: Literal| Literal { at_start: false, at_end: false, ..literal };
        let best = self.sets.into_iter().max_by_key(shortest)?;
        Some(best.into_iter().map(without_place).collect())
    }
}

/// The characters of a small class.
fn of_class(class: &Class) -> Option<Vec<Vec<u8>>> {
    let (len, all): (usize, Box<dyn Iterator<Item = Vec<u8>> + '_>) = match class {
        Class::Bytes(class) => {
            let bytes = class.iter().flat_map(|range| range.start()..=range.end());
            (class.iter().map(ClassBytesRange::len).sum(), Box::new(bytes.map(|byte| vec![byte])))
        }
        Class::Unicode(class) => {
            let characters = class.iter().flat_map(|range| range.start()..=range.end());
            let bytes = characters.map(|character| character.to_string().into_bytes());
            (class.iter().map(ClassUnicodeRange::len).sum(), Box::new(bytes))
        }
    };
    // Both cases of each are in it, where case does not count.
    if len > 2 * MOST_OF_CLASS {
        return None;
    }
    let all = distinct(all.map(|bytes| bytes.to_ascii_lowercase()).collect());
    (1..=MOST_OF_CLASS).contains(&all.len()).then_some(all)
}

fn distinct(mut texts: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    texts.sort_unstable();
    texts.dedup();
    texts
}

#[cfg(test)]
mod tests {
    use super::super::pattern::Pattern;

    use super::*;

    /// A set as `^one|two$`: what begins or ends the text is marked.
    fn written(sets: &[Choices]) -> Vec<String> {
        let literal = |literal: &Literal| {
            let (start, end) =
                (if literal.at_start { "^" } else { "" }, if literal.at_end { "$" } else { "" });
            format!("{start}{}{end}", String::from_utf8_lossy(&literal.bytes))
        };
        sets.iter().map(|set| set.iter().map(literal).collect::<Vec<_>>().join("|")).collect()
    }

    #[test]
    fn literals_of_patterns() {
        let cases: &[(&str, &[&str])] = &[
            ("/a", &["^/a$"]),
            (".*/foo/1", &["/foo/1$"]),
            ("/api/[^/]+/1", &["^/api/", "/1$"]),
            ("(/api)/[0-9]+(/x)+/y", &["^/api/", "/x", "/y$"]),
            ("/[a-z]+/(one|two)-3", &["^/", "/one-3$|/two-3$"]),
            (".*(one[0-9]|[0-9]two).*", &["one|two"]),
            (".*(one|[0-9]+).*", &[]),
            ("(?i).*/Foo/[kx]", &["/foo/k$|/foo/x$"]),
            (".*(a|b|)x", &["ax$|bx$|x$"]),
            (".*(a|)", &[]),
            ("a?b*", &[]),
            ("(ab){2}c", &["^ab", "c$"]),
            ("^/a$", &["^/a$"]),
            (".*É[é]", &["Éé$"]),
            (r"[^\s\S]x", &["x$"]),
            ("(?:((a+)+)+)+", &["^a"]),
            (".*", &[]),
            ("", &[]),
        ];
        for (source, expected) in cases {
            let pattern = Pattern::new(source).expect("valid");
            assert_eq!(written(pattern.literals()), *expected, "{source}");
        }
    }

    #[test]
    fn what_is_long_or_manifold_stays_bounded() {
        let long = "x".repeat(1_000);
        for source in [
            long.clone(),
            format!("(a|b|c|d){{1}}{}", "[ab]".repeat(100)),
            format!(".*({})", (0..500).map(|n| n.to_string()).collect::<Vec<_>>().join("|")),
            "[ab]+x".repeat(100),
        ] {
            let pattern = Pattern::new(&source).expect("valid");
            assert!(pattern.literals().len() <= MOST_SETS, "{source}");
            for set in pattern.literals() {
                assert!((1..=MOST_CHOICES).contains(&set.len()), "{source}");
                assert!(set.iter().all(|each| (1..=LONGEST).contains(&each.bytes.len())));
            }
        }
        let part = of_part(long.as_bytes(), true, true);
        assert_eq!((part.len(), part[0][0].at_start, part[15][0].at_end), (16, true, true));
        assert!(of_part(b"", true, true).is_empty());
    }
}
