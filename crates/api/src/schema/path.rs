//! Places in an object, as Kubernetes writes them.

use std::fmt;

/// A place in an object, kept on the stack and written out only when there is something to say about it.
#[derive(Clone, Copy)]
pub(super) struct Path<'p> {
    parent: Option<&'p Path<'p>>,
    segment: Segment<'p>,
}

#[derive(Clone, Copy)]
enum Segment<'p> {
    Root,
    Field(&'p str),
    Key(&'p str),
    Index(usize),
    /// A key of a map, as rules name it.
    Entry(&'p str),
}

impl<'p> Path<'p> {
    pub(super) const ROOT: Path<'static> = Path { parent: None, segment: Segment::Root };

    pub(super) fn field(&'p self, name: &'p str) -> Path<'p> {
        Path { parent: Some(self), segment: Segment::Field(name) }
    }

    /// A key of a map, as faults of its shape name it.
    pub(super) fn key(&'p self, key: &'p str) -> Path<'p> {
        Path { parent: Some(self), segment: Segment::Key(key) }
    }

    /// A key of a map, as rules name it.
    pub(super) fn entry(&'p self, key: &'p str) -> Path<'p> {
        Path { parent: Some(self), segment: Segment::Entry(key) }
    }

    pub(super) fn index(&'p self, at: usize) -> Path<'p> {
        Path { parent: Some(self), segment: Segment::Index(at) }
    }

    pub(super) fn depth(&self) -> usize {
        self.parent.map_or(0, |parent| parent.depth() + 1)
    }

    /// The names of the fields that lead here, the first `skip` left out: how Go spells a place.
    pub(super) fn go_field(&self, skip: usize) -> String {
        let mut names = Vec::new();
        let mut at = Some(self);
        while let Some(path) = at {
            if let Segment::Field(name) = path.segment {
                names.push(name);
            }
            at = path.parent;
        }
        names.reverse();
        names.get(skip..).unwrap_or_default().join(".")
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(parent) = self.parent else {
            return Ok(());
        };
        parent.fmt(f)?;
        match self.segment {
            Segment::Root => Ok(()),
            Segment::Index(at) => write!(f, "[{at}]"),
            Segment::Entry(key) => write!(f, "[{key}]"),
            Segment::Field(name) | Segment::Key(name) => {
                let dot = if parent.parent.is_some() { "." } else { "" };
                write!(f, "{dot}{name}")
            }
        }
    }
}
