//! From the path of a field, as Kubernetes writes it, to its place in the source.

use crate::tree::{Document, Node, Span, Value};

impl Document {
    /// The place of a field: of its key, or of the value for entries of a list. Paths are Kubernetes' own:
    /// `spec.http[0].timeout`, `data[tls.key]`. Where the field does not exist, since it is missing or the
    /// path names something else, the place of what should hold it.
    pub fn locate(&self, path: &str) -> Span {
        let mut node = &self.root;
        // The whole document would be underlined for its whole length: its first key stands for it.
        let mut span = match &self.root.value {
            Value::Mapping(entries) if !entries.is_empty() => entries[0].key_span,
            _ => self.root.span,
        };
        let mut rest = path;
        while let Some((next, place, remaining)) = step(node, rest) {
            (node, span, rest) = (next, place, remaining);
        }
        span
    }
}

/// Takes one step along the path: the node it leads to, that node's place, and the path from there on.
fn step<'n, 'p>(node: &'n Node, path: &'p str) -> Option<(&'n Node, Span, &'p str)> {
    let path = path.strip_prefix('.').unwrap_or(path);
    if path.is_empty() {
        return None;
    }
    match &node.value {
        Value::Sequence(items) => {
            let (index, rest) = path.strip_prefix('[')?.split_once(']')?;
            let item = items.get(index.parse::<usize>().ok()?)?;
            Some((item, first_line(item), rest))
        }
        Value::Mapping(entries) => {
            // A key may hold dots, so that the path alone does not say where it ends: the longest wins.
            let ends = |rest: &str| rest.is_empty() || rest.starts_with(['.', '[']);
            let plain = entries.iter().filter_map(|entry| {
                let rest = path.strip_prefix(entry.key.as_str())?;
                (ends(rest) && !entry.key.is_empty()).then_some((entry, rest))
            });
            let bracketed = entries.iter().filter_map(|entry| {
                let rest = path.strip_prefix('[')?.strip_prefix(entry.key.as_str())?;
                Some((entry, rest.strip_prefix(']')?))
            });
            let (entry, rest) = plain.chain(bracketed).min_by_key(|(_, rest)| rest.len())?;
            Some((&entry.value, entry.key_span, rest))
        }
        _ => None,
    }
}

/// The place of an entry of a list. An entry that is a mapping goes on for many lines; its first key is
/// what a reader looks for.
fn first_line(item: &Node) -> Span {
    match &item.value {
        Value::Mapping(entries) if !entries.is_empty() => entries[0].key_span,
        _ => item.span,
    }
}
