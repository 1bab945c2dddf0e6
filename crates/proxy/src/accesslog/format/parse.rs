//! Format strings: text with operators between percent signs.

use super::operator::{Kept, Operator};
use super::value::Value;
use super::{FormatError, View};
use crate::accesslog::plan::Headers;

/// A parsed format string.
#[derive(Clone, Debug)]
pub(super) struct Template(Vec<Piece>);

#[derive(Clone, Debug)]
enum Piece {
    Literal(Box<str>),
    Operator(Operator, Option<usize>),
}

impl Template {
    /// Parses Envoy's format strings: `%OPERATOR%`, `%OPERATOR(ARGUMENT)%`, `%OPERATOR(ARGUMENT):LENGTH%`, and
    /// `%%` for a percent sign.
    ///
    /// # Errors
    /// Names the operator and its place.
    pub(super) fn parse(source: &str) -> Result<Self, FormatError> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = source;
        while let Some(percent) = rest.find('%') {
            literal.push_str(&rest[..percent]);
            let at = source.len() - rest.len() + percent;
            rest = &rest[percent + 1..];
            if let Some(after) = rest.strip_prefix('%') {
                literal.push('%');
                rest = after;
                continue;
            }
            let command = Command::parse(rest).ok_or_else(|| FormatError::syntax(source, at))?;
            rest = &rest[command.used..];
            if !literal.is_empty() {
                pieces.push(Piece::Literal(std::mem::take(&mut literal).into()));
            }
            pieces.push(command.into_piece(at)?);
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal.into()));
        }
        Ok(Self(pieces))
    }

    /// Appends the line; `absent` stands for what is not known.
    pub(super) fn write(&self, view: View<'_>, absent: &str, out: &mut Vec<u8>) {
        for piece in &self.0 {
            match piece {
                Piece::Literal(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Operator(operator, limit) => {
                    cut(operator.value(view), *limit).write_text(absent, out);
                }
            }
        }
    }

    /// The value if the template is a single operator: JSON shows it with its own type.
    pub(super) fn single<'a>(&'a self, view: View<'a>) -> Option<Value<'a>> {
        match &self.0[..] {
            [Piece::Operator(operator, limit)] => Some(cut(operator.value(view), *limit)),
            _ => None,
        }
    }

    /// Adds the headers that the operators ask for.
    pub(super) fn headers(&self, headers: &mut Headers) {
        for piece in &self.0 {
            if let Piece::Operator(operator, _) = piece {
                operator.headers(headers);
            }
        }
    }
}

fn cut(value: Value<'_>, limit: Option<usize>) -> Value<'_> {
    match limit {
        Some(limit) => value.cut(limit),
        None => value,
    }
}

/// What stands between two percent signs.
struct Command<'a> {
    name: &'a str,
    argument: Option<&'a str>,
    length: Option<&'a str>,
    /// Bytes up to and with the closing percent sign.
    used: usize,
}

impl<'a> Command<'a> {
    /// Parses what follows an opening percent sign.
    fn parse(source: &'a str) -> Option<Self> {
        let letters = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        let end = source.find(|c| !letters(c))?;
        let (name, mut rest) = source.split_at(end);
        let mut argument = None;
        if let Some(inside) = rest.strip_prefix('(') {
            let (text, after) = inside.split_once(')')?;
            argument = Some(text);
            rest = after;
        }
        let mut length = None;
        if let Some(digits) = rest.strip_prefix(':') {
            let end = digits.find(|c: char| !c.is_ascii_digit())?;
            length = Some(&digits[..end]);
            rest = &digits[end..];
        }
        rest = rest.strip_prefix('%')?;
        let well_formed = !name.is_empty() && length != Some("");
        well_formed.then_some(Self { name, argument, length, used: source.len() - rest.len() })
    }

    fn into_piece(self, at: usize) -> Result<Piece, FormatError> {
        let operator = Operator::new(self.name, self.argument)
            .map_err(|reason| FormatError::operator(self.name, at, &reason))?;
        let Some(length) = self.length else {
            return Ok(Piece::Operator(operator, None));
        };
        if operator.kept() != Kept::Text {
            return Err(FormatError::operator(self.name, at, "takes no length"));
        }
        // More digits than a number holds cut nothing.
        Ok(Piece::Operator(operator, Some(length.parse().unwrap_or(usize::MAX))))
    }
}
