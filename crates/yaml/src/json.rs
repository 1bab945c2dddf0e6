//! JSON (RFC 8259) into the same tree. Reading it as YAML would stumble over tabs and surrogate pairs.

use std::collections::HashMap;

use serde_json::Number;

use crate::Limits;
use crate::diagnostic::Diagnostic;
use crate::split::Part;
use crate::tree::{Document, Entry, Node, Position, Span, Value};

/// Why a text was not read.
pub(crate) enum Fault {
    /// It is no JSON; it may be YAML.
    NotJson,
    /// It is JSON so far, but wrong in a way that YAML would not mend.
    Fatal(Box<Diagnostic>),
}

/// Reads a text that holds one JSON value and nothing else.
pub(crate) fn parse(part: &Part<'_>, limits: &Limits) -> Result<Document, Fault> {
    let mut reader = Reader {
        rest: part.text,
        place: Position::new(part.line, 1),
        depth: limits.depth,
        nodes: limits.nodes,
    };
    let root = reader.value()?;
    reader.blanks();
    if reader.rest.is_empty() { Ok(Document { root }) } else { Err(Fault::NotJson) }
}

struct Reader<'s> {
    rest: &'s str,
    place: Position,
    /// Levels and nodes that may still follow.
    depth: usize,
    nodes: usize,
}

impl<'s> Reader<'s> {
    /// Moves past the first `length` bytes.
    fn skip(&mut self, length: usize) -> &'s str {
        let (skipped, rest) = self.rest.split_at(length);
        for character in skipped.chars() {
            match character {
                '\n' => self.place = Position { line: self.place.line + 1, column: 1 },
                _ => self.place.column += 1,
            }
        }
        self.rest = rest;
        skipped
    }

    fn blanks(&mut self) {
        let blank = self.rest.bytes().take_while(|b| b" \t\r\n".contains(b)).count();
        self.skip(blank);
    }

    /// Moves past a character, if it is the next one.
    fn take(&mut self, character: char) -> bool {
        let found = self.rest.starts_with(character);
        if found {
            self.skip(character.len_utf8());
        }
        found
    }

    fn value(&mut self) -> Result<Node, Fault> {
        self.blanks();
        let start = self.place;
        self.nodes = self.nodes.checked_sub(1).ok_or_else(|| self.too("many values"))?;
        let value = match self.rest.as_bytes().first() {
            Some(b'{') => self.nested(Self::mapping)?,
            Some(b'[') => self.nested(Self::sequence)?,
            Some(b'"') => Value::String(self.string()?),
            Some(b'-' | b'0'..=b'9') => Value::Number(self.number()?),
            _ => self.word()?,
        };
        Ok(Node { value, span: Span { start, end: self.place } })
    }

    fn nested(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<Value, Fault>,
    ) -> Result<Value, Fault> {
        self.depth = self.depth.checked_sub(1).ok_or_else(|| self.too("deep"))?;
        self.skip(1);
        self.blanks();
        let value = read(self)?;
        self.depth += 1;
        Ok(value)
    }

    fn too(&self, what: &str) -> Fault {
        let fault = Diagnostic::error(Span::at(self.place), format!("the document is too {what}"));
        Fault::Fatal(Box::new(fault.help("split it into smaller documents")))
    }

    fn mapping(&mut self) -> Result<Value, Fault> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut seen: HashMap<String, Span> = HashMap::new();
        if self.take('}') {
            return Ok(Value::Mapping(entries));
        }
        loop {
            self.blanks();
            let start = self.place;
            let key = self.string()?;
            let key_span = Span { start, end: self.place };
            self.blanks();
            if !self.take(':') {
                return Err(Fault::NotJson);
            }
            let value = self.value()?;
            if let Some(first) = seen.insert(key.clone(), key_span) {
                let fault = crate::build::duplicate_key(&key, first, key_span);
                return Err(Fault::Fatal(Box::new(fault)));
            }
            entries.push(Entry { key, key_span, value });
            self.blanks();
            if self.take('}') {
                return Ok(Value::Mapping(entries));
            }
            if !self.take(',') {
                return Err(Fault::NotJson);
            }
        }
    }

    fn sequence(&mut self) -> Result<Value, Fault> {
        let mut items = Vec::new();
        if self.take(']') {
            return Ok(Value::Sequence(items));
        }
        loop {
            items.push(self.value()?);
            self.blanks();
            if self.take(']') {
                return Ok(Value::Sequence(items));
            }
            if !self.take(',') {
                return Err(Fault::NotJson);
            }
        }
    }

    fn string(&mut self) -> Result<String, Fault> {
        if !self.rest.starts_with('"') {
            return Err(Fault::NotJson);
        }
        let mut escaped = false;
        let length = self.rest.bytes().skip(1).position(|byte| {
            let ends = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            ends
        });
        let raw = self.skip(length.ok_or(Fault::NotJson)? + 2);
        serde_json::from_str(raw).map_err(|_| Fault::NotJson)
    }

    fn number(&mut self) -> Result<Number, Fault> {
        let length = self.rest.bytes().take_while(|b| b"+-.eE0123456789".contains(b)).count();
        let raw = self.skip(length);
        serde_json::from_str(raw).map_err(|_| Fault::NotJson)
    }

    fn word(&mut self) -> Result<Value, Fault> {
        for (word, value) in
            [("null", Value::Null), ("true", Value::Bool(true)), ("false", Value::Bool(false))]
        {
            if self.rest.starts_with(word) {
                self.skip(word.len());
                return Ok(value);
            }
        }
        Err(Fault::NotJson)
    }
}
