//! From the parser's events to trees: anchors and aliases, merges, duplicate keys, limits.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Tag};

use crate::Limits;
use crate::diagnostic::Diagnostic;
use crate::scalar;
use crate::split::Part;
use crate::tree::{Document, Entry, Node, Position, Span, Value};

/// Reads the documents of one part: one, unless `...` stands between several.
pub(crate) fn parse(part: &Part<'_>, limits: &Limits) -> Vec<Result<Document, Diagnostic>> {
    let mut builder = Builder::new(part, limits);
    for event in Parser::new_from_str(part.text) {
        let outcome = match event {
            Ok((event, span)) => builder.event(event, span),
            Err(error) => {
                let place = builder.position(*error.marker());
                Err(builder.fault(place, error.info(), part.text))
            }
        };
        if let Err(fault) = outcome {
            builder.documents.push(Err(fault));
            break;
        }
    }
    builder.documents
}

/// The fault of a key that stands twice.
pub(crate) fn duplicate_key(key: &str, first: Span, second: Span) -> Diagnostic {
    Diagnostic::error(second, format!("the key {key:?} stands twice in one mapping"))
        .related(first, "first here")
        .help("remove one of the two; if both are meant, join their values under one key")
}

/// A node with what it would cost to repeat it.
#[derive(Clone)]
struct Built {
    node: Node,
    /// Nodes in it, itself included; long texts count as several.
    nodes: usize,
    /// Levels of it, itself included.
    height: usize,
}

impl Built {
    /// Bytes of text that weigh as much as a node.
    const BYTES_PER_NODE: usize = 64;

    fn leaf(value: Value, length: usize, span: Span) -> Self {
        let nodes = 1 + length / Self::BYTES_PER_NODE;
        Built { node: Node { value, span }, nodes, height: 1 }
    }
}

/// A mapping or list that is not complete yet.
struct Frame {
    open: Open,
    start: Position,
    anchor: usize,
    nodes: usize,
    height: usize,
}

enum Open {
    Sequence(Vec<Node>),
    Mapping { entries: Vec<Entry>, index: HashMap<String, Slot>, key: Option<Key> },
}

/// Where the value of a key stands in a mapping's entries, and whether a merge brought it.
struct Slot {
    at: usize,
    merged: bool,
}

/// A key whose value has not come yet.
enum Key {
    Plain { text: String, span: Span },
    Merge { span: Span },
}

struct Builder<'l> {
    limits: &'l Limits,
    /// Lines before the part.
    lines_before: usize,
    stack: Vec<Frame>,
    anchors: HashMap<usize, Built>,
    nodes: usize,
    repeated: usize,
    documents: Vec<Result<Document, Diagnostic>>,
}

impl<'l> Builder<'l> {
    fn new(part: &Part<'_>, limits: &'l Limits) -> Self {
        Builder {
            limits,
            lines_before: part.line - 1,
            stack: Vec::new(),
            anchors: HashMap::new(),
            nodes: 0,
            repeated: 0,
            documents: Vec::new(),
        }
    }

    fn position(&self, marker: saphyr_parser::Marker) -> Position {
        // The parser counts lines from 1 and columns from 0.
        Position::new(self.lines_before + marker.line().max(1), marker.col() + 1)
    }

    /// What is wrong at a place of the text. Past its end there is nothing to show: what was opened last and is not
    /// closed is at fault.
    fn fault(&self, place: Position, message: &str, text: &str) -> Diagnostic {
        let end = Position::after(text.trim_end());
        let end = Position::new(self.lines_before + end.line as usize, end.column as usize);
        let open = self.stack.last().map(|frame| frame.start).filter(|_| place >= end);
        match open.and_then(|start| Some((start, self.bracket(start, text)?))) {
            Some((start, bracket)) => {
                let message = format!("{message}: the {bracket:?} that stands here is not closed");
                Diagnostic::error(Span::at(start), message)
            }
            None => Diagnostic::error(Span::at(place), message.to_owned()),
        }
    }

    /// The bracket at a place of the text, if there is one.
    fn bracket(&self, place: Position, text: &str) -> Option<char> {
        let line = (place.line as usize).checked_sub(self.lines_before + 1)?;
        let character = text.lines().nth(line)?.chars().nth(place.column as usize - 1)?;
        matches!(character, '[' | '{').then_some(character)
    }

    fn event(&mut self, event: Event<'_>, span: saphyr_parser::Span) -> Result<(), Diagnostic> {
        let span = Span { start: self.position(span.start), end: self.position(span.end) };
        match event {
            Event::DocumentStart(_) => {
                self.anchors.clear();
                self.nodes = 0;
                self.repeated = 0;
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                let merge = style == ScalarStyle::Plain && tag.is_none() && text == "<<";
                let value = self.scalar(&text, style, tag.as_deref(), span)?;
                let leaf = Built::leaf(value, text.len(), span);
                self.count(leaf.nodes, span)?;
                self.complete(leaf, anchor, merge)
            }
            Event::Alias(anchor) => self.alias(anchor, span),
            Event::SequenceStart(anchor, _) => self.open(Open::Sequence(Vec::new()), anchor, span),
            Event::MappingStart(anchor, _) => {
                let (entries, index) = (Vec::new(), HashMap::new());
                self.open(Open::Mapping { entries, index, key: None }, anchor, span)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(span),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    fn scalar(
        &self,
        text: &str,
        style: ScalarStyle,
        tag: Option<&Tag>,
        span: Span,
    ) -> Result<Value, Diagnostic> {
        let resolved = || {
            scalar::resolve(text).map_err(|_| {
                Diagnostic::error(span, format!("{text} has no form in JSON, which the API speaks"))
                    .help("put it in quotes if it is meant as text")
            })
        };
        let Some(tag) = tag else {
            let plain = style == ScalarStyle::Plain;
            return if plain { resolved() } else { Ok(Value::String(text.to_owned())) };
        };
        if !tag.is_yaml_core_schema() {
            // Tags of others say nothing here: the text is what it is.
            return Ok(Value::String(text.to_owned()));
        }
        let value = resolved();
        match (tag.suffix.as_str(), value) {
            ("str" | "timestamp", _) => Ok(Value::String(text.to_owned())),
            ("int" | "float", Ok(value @ Value::Number(_)))
            | ("bool", Ok(value @ Value::Bool(_)))
            | ("null", Ok(value @ Value::Null)) => Ok(value),
            (suffix, _) => Err(Diagnostic::error(span, format!("{text:?} is no !!{suffix}"))
                .help("remove the tag, or write a value of that type")),
        }
    }

    fn open(&mut self, open: Open, anchor: usize, span: Span) -> Result<(), Diagnostic> {
        self.count(1, span)?;
        if self.stack.len() >= self.limits.depth {
            return Err(self.too_deep(span));
        }
        self.stack.push(Frame { open, start: span.start, anchor, nodes: 1, height: 0 });
        Ok(())
    }

    fn too_deep(&self, span: Span) -> Diagnostic {
        let message =
            format!("more than {} mappings and lists inside each other", self.limits.depth);
        Diagnostic::error(span, message)
    }

    fn close(&mut self, span: Span) -> Result<(), Diagnostic> {
        let Some(frame) = self.stack.pop() else { return Ok(()) };
        let value = match frame.open {
            Open::Sequence(items) => Value::Sequence(items),
            Open::Mapping { entries, .. } => Value::Mapping(entries),
        };
        let span = Span { start: frame.start, end: span.end };
        let node = Node { value, span };
        let built = Built { node, nodes: frame.nodes, height: frame.height + 1 };
        self.complete(built, frame.anchor, false)
    }

    /// Repeats what an anchor marked, within the budget.
    fn alias(&mut self, anchor: usize, span: Span) -> Result<(), Diagnostic> {
        let Some(built) = self.anchors.get(&anchor) else {
            let fault = Diagnostic::error(span, "the alias stands inside what it repeats");
            return Err(fault.help("write the value out"));
        };
        let (nodes, height) = (built.nodes, built.height);
        self.repeat(nodes, span)?;
        self.count(nodes, span)?;
        if self.stack.len() + height > self.limits.depth {
            return Err(self.too_deep(span));
        }
        match self.anchors.get(&anchor).cloned() {
            Some(built) => self.complete(built, 0, false),
            None => Ok(()),
        }
    }

    /// Takes from the budget for copies, which anchors keep and aliases make.
    fn repeat(&mut self, nodes: usize, span: Span) -> Result<(), Diagnostic> {
        self.repeated += nodes;
        if self.repeated > self.limits.repeated {
            let most = self.limits.repeated;
            let message = format!("aliases repeat more than {most} values in this document");
            return Err(Diagnostic::error(span, message).help("write the values out"));
        }
        Ok(())
    }

    fn count(&mut self, nodes: usize, span: Span) -> Result<(), Diagnostic> {
        self.nodes += nodes;
        if self.nodes > self.limits.nodes {
            let message = format!("the document has more than {} values", self.limits.nodes);
            return Err(Diagnostic::error(span, message).help("split it into several documents"));
        }
        Ok(())
    }

    /// Puts a complete node where it belongs: into the innermost mapping or list, or a document of its own.
    fn complete(&mut self, built: Built, anchor: usize, merge: bool) -> Result<(), Diagnostic> {
        if anchor > 0 {
            self.repeat(built.nodes, built.node.span)?;
            self.anchors.insert(anchor, built.clone());
        }
        let Some(frame) = self.stack.last_mut() else {
            if built.node.value != Value::Null {
                self.documents.push(Ok(Document { root: built.node }));
            }
            return Ok(());
        };
        frame.nodes += built.nodes;
        frame.height = frame.height.max(built.height);
        match &mut frame.open {
            Open::Sequence(items) => {
                items.push(built.node);
                Ok(())
            }
            Open::Mapping { entries, index, key } => match key.take() {
                None => {
                    *key = Some(read_key(built.node, merge)?);
                    Ok(())
                }
                Some(Key::Plain { text, span }) => insert(entries, index, text, span, built.node),
                Some(Key::Merge { span }) => merge_into(entries, index, built.node, span),
            },
        }
    }
}

/// A key as text; mappings, lists and null cannot be keys in JSON.
fn read_key(node: Node, merge: bool) -> Result<Key, Diagnostic> {
    let span = node.span;
    if merge {
        return Ok(Key::Merge { span });
    }
    let text = match node.value {
        Value::String(text) => text,
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => scalar::key(&number),
        Value::Null => {
            return Err(
                Diagnostic::error(span, "a key is missing or null").help("give the value a name")
            );
        }
        Value::Sequence(_) | Value::Mapping(_) => {
            return Err(Diagnostic::error(span, "a mapping or list cannot be a key")
                .help("if a template's braces stand here, put them in quotes"));
        }
    };
    Ok(Key::Plain { text, span })
}

fn insert(
    entries: &mut Vec<Entry>,
    index: &mut HashMap<String, Slot>,
    key: String,
    key_span: Span,
    value: Node,
) -> Result<(), Diagnostic> {
    if let Some(slot) = index.get_mut(&key) {
        if !slot.merged {
            return Err(duplicate_key(&key, entries[slot.at].key_span, key_span));
        }
        slot.merged = false;
        entries[slot.at] = Entry { key, key_span, value };
        return Ok(());
    }
    index.insert(key.clone(), Slot { at: entries.len(), merged: false });
    entries.push(Entry { key, key_span, value });
    Ok(())
}

/// Sets every key of the merged mapping; of several mappings, the first that has a key wins.
fn merge_into(
    entries: &mut Vec<Entry>,
    index: &mut HashMap<String, Slot>,
    value: Node,
    span: Span,
) -> Result<(), Diagnostic> {
    let fault = || {
        Diagnostic::error(span, "a merge (<<) takes a mapping or a list of mappings")
            .help("name one by its anchor: <<: *name")
    };
    let mappings = match value.value {
        Value::Mapping(merged) => vec![merged],
        Value::Sequence(items) => items
            .into_iter()
            .map(|item| match item.value {
                Value::Mapping(merged) => Ok(merged),
                _ => Err(fault()),
            })
            .collect::<Result<_, _>>()?,
        _ => return Err(fault()),
    };
    for entry in mappings.into_iter().rev().flatten() {
        match index.get(&entry.key) {
            Some(slot) => entries[slot.at].value = entry.value,
            None => {
                index.insert(entry.key.clone(), Slot { at: entries.len(), merged: true });
                entries.push(entry);
            }
        }
    }
    Ok(())
}
