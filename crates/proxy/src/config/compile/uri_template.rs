//! Templates of paths (`envoy.extensions.path.match.uri_template.v3`): literal segments, `*` for one of any content, `**` for
//! any number of them, and both by a name (`{name}`, `{name=pattern}`), of which nothing is taken here.

use std::fmt::Write as _;

use tidegate_envoy::types::envoy::extensions::path::r#match::uri_template::v3::UriTemplateMatchConfig;
use tidegate_envoy::v3::core::TypedExtensionConfig;

use crate::config::refusal::{Refusal, Within as _};
use crate::route::{Pattern, TextMatch};

use super::value::present;
use super::{is, unpack};

/// Characters of a path that operators stand for, as a class of a regular expression.
const CLASS: &str = "a-zA-Z0-9._~%!$&'()+,;:@=-";
/// Most names that a template may have, and the longest of them, as Envoy allows.
const MOST_NAMES: usize = 5;
const LONGEST_NAME: usize = 16;

/// The test of a path that a template stands for.
pub(super) fn template(proto: &TypedExtensionConfig) -> Result<TextMatch, Refusal> {
    let any = present("typed_config", proto.typed_config.as_ref())?;
    if !is::<UriTemplateMatchConfig>(any) {
        return Err(Refusal::of("typed_config", "must be a UriTemplateMatchConfig"));
    }
    let config: UriTemplateMatchConfig = unpack(any).within("typed_config")?;
    let refused = |reason| Refusal::of("path_template", reason);
    let expression = expression(&config.path_template).map_err(refused);
    let pattern = expression.and_then(|expression| {
        Pattern::new(&expression).map_err(|error| Refusal::of("path_template", error))
    });
    pattern.map(TextMatch::Regex).within("typed_config")
}

/// What has been read of a template.
#[derive(Default)]
struct Reader<'t> {
    expression: String,
    names: Vec<&'t str>,
    /// Whether `**` has been read: no operator may follow it.
    ended: bool,
}

/// A template as a regular expression for a whole path.
fn expression(template: &str) -> Result<String, &'static str> {
    let Some(mut rest) = template.strip_prefix('/') else { return Err("must begin with a slash") };
    if !template.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("must consist of visible characters of ASCII");
    }
    let mut reader = Reader::default();
    reader.expression.push('/');
    while !rest.is_empty() {
        let operator = rest.starts_with(['*', '{']);
        rest = if rest.starts_with('{') { reader.name(rest)? } else { reader.part(rest)? };
        // What follows an operator within its segment ends the template.
        if operator && !rest.is_empty() && !rest.starts_with('/') {
            rest = reader.literal(rest)?;
            return if rest.is_empty() {
                Ok(reader.expression)
            } else {
                Err("goes on after a suffix")
            };
        }
        if let Some(after) = rest.strip_prefix('/') {
            reader.expression.push('/');
            rest = after;
        }
    }
    Ok(reader.expression)
}

impl<'t> Reader<'t> {
    /// An operator or a literal.
    fn part(&mut self, rest: &'t str) -> Result<&'t str, &'static str> {
        let Some(after) = rest.strip_prefix('*') else { return self.literal(rest) };
        if self.ended {
            return Err("has an operator after **");
        }
        let (after, times, slash) = match after.strip_prefix('*') {
            Some(after) => (after, '*', "/"),
            None => (after, '+', ""),
        };
        self.ended = times == '*';
        // Writing to a string does not fail.
        let _ = write!(self.expression, "[{slash}{CLASS}]{times}");
        Ok(after)
    }

    fn literal(&mut self, rest: &'t str) -> Result<&'t str, &'static str> {
        let (literal, after) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~%!$&'()+,;:@=".contains(&b);
        if literal.is_empty() || !literal.bytes().all(plain) {
            return Err("has a segment that is no plain text");
        }
        for character in literal.chars() {
            if matches!(character, '$' | '(' | ')' | '+' | '.') {
                self.expression.push('\\');
            }
            self.expression.push(character);
        }
        Ok(after)
    }

    /// `{name}`, which is `{name=*}`, or `{name=pattern}`.
    fn name(&mut self, rest: &'t str) -> Result<&'t str, &'static str> {
        let (inner, after) = rest
            .get(1..)
            .and_then(|rest| rest.split_once('}'))
            .ok_or("has a { that nothing closes")?;
        let (name, mut pattern) = inner.split_once('=').unwrap_or((inner, "*"));
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let begins = name.starts_with(|c: char| c.is_ascii_alphabetic());
        if !begins || name.len() > LONGEST_NAME || !name.bytes().all(word) {
            return Err("has a name that is none: letters, digits and _, 16 at most");
        }
        if self.names.contains(&name) || self.names.len() == MOST_NAMES {
            return Err("has a name twice, or more than 5 of them");
        }
        self.names.push(name);
        loop {
            pattern = self.part(pattern)?;
            match pattern.strip_prefix('/') {
                Some(more) => {
                    self.expression.push('/');
                    pattern = more;
                }
                None if pattern.is_empty() => return Ok(after),
                None => return Err("has a pattern that is none"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(template: &str, path: &str) -> bool {
        let pattern = Pattern::new(&expression(template).expect("a template")).expect("a pattern");
        TextMatch::Regex(pattern).matches(path.as_bytes())
    }

    #[test]
    fn operators() {
        for (template, yes, no) in [
            (
                "/a/*/c",
                &["/a/b/c", "/a/b=1/c"][..],
                &["/a//c", "/a/b/b/c", "/a/b/c/", "/a/b\"/c"][..],
            ),
            ("/a/**", &["/a/", "/a/b", "/a/b/c/"], &["/a", "/b/a/"]),
            ("/**/z.m", &["/a/b/z.m", "//z.m"], &["/z.m", "/a/zxm", "/a/z.m/"]),
            ("/{a}/{b=x/**}.js", &["/1/x/.js", "/1/x/y/z.js"], &["/x/.js", "/1/y/z.js"]),
            ("/", &["/"], &["", "//", "/a"]),
            ("/a/", &["/a/"], &["/a"]),
            ("/a(b)+$", &["/a(b)+$"], &["/abb"]),
        ] {
            for path in yes {
                assert!(matches(template, path), "{template} {path}");
            }
            for path in no {
                assert!(!matches(template, path), "{template} {path}");
            }
        }
    }

    #[test]
    fn what_is_no_template() {
        for bad in [
            "",
            "a",
            "/a//b",
            "/**/*",
            "/**/{a}",
            "/a b",
            "/{a",
            "/{1}",
            "/{a}/{a}",
            "/{a=}",
            "/*a/b",
            "/a*",
            "/{a=*b}",
            "/{a=b/}",
            "/{abcdefghijklmnopq}",
            "/{a}/{b}/{c}/{d}/{e}/{f}",
        ] {
            assert!(expression(bad).is_err(), "{bad}");
        }
    }
}
