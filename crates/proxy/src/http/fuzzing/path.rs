//! Path normalisation, against rules that are too slow and too plain to be wrong.

use super::super::h1::encode::{self, ConnectionHeader};
use super::super::h1::parse::{self, MAX_LINES};
use super::super::head::RequestHead;
use super::super::path::{self, Rules};
use crate::config::listener::EscapedSlashes;

/// Normalises the path of `data`, a request target, under the rules that its first byte chooses:
///
/// - what is normal stays as it is;
/// - no segment leads upwards, however it is escaped, and the query is never touched;
/// - the outcome can stand in a request line, and reads back as the same;
/// - it is what RFC 3986 gives, step by step.
///
/// # Panics
/// When one of these does not hold.
pub fn path(data: &[u8]) {
    let Some((&choice, target)) = data.split_first() else { return };
    let rules = rules(choice);
    let Some(mut head) = read(target) else { return };
    let before = head.path().to_vec();
    let expected = model(&before, rules);
    match path::normalize(&mut head, rules) {
        Ok(()) => assert_eq!(Ok(head.path().to_vec()), expected, "{}", before.escape_ascii()),
        Err(reply) => match &reply.location {
            Some(location) => assert!(expected.is_ok_and(|model| model == *location)),
            None => {
                assert_eq!((reply.status, reply.close), (400, true));
                assert!(expected.is_err(), "{}", before.escape_ascii());
                return;
            }
        },
    }
    let Ok(normal) = model(&before, rules) else { return };
    if before.starts_with(b"/") {
        settled(&before, &normal, rules);
    }
}

fn rules(choice: u8) -> Rules {
    Rules {
        normalize: choice & 1 != 0,
        merge_slashes: choice & 2 != 0,
        escaped_slashes: match choice >> 2 & 3 {
            0 => EscapedSlashes::Keep,
            1 => EscapedSlashes::Reject,
            2 => EscapedSlashes::UnescapeAndRedirect,
            _ => EscapedSlashes::UnescapeAndForward,
        },
    }
}

/// A head with this target, as a client sends it; `None` if none can have it.
fn read(target: &[u8]) -> Option<RequestHead> {
    let bytes = [b"GET ", target, b" HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
    let mut head = RequestHead::default();
    parse::request(&bytes, MAX_LINES, &mut head).ok()?;
    Some(head)
}

/// What holds of every path that was normalised.
fn settled(before: &[u8], normal: &[u8], rules: Rules) {
    let shown = normal.escape_ascii();
    assert!(normal.starts_with(b"/"), "{shown}");
    let mut head = read(normal).unwrap_or_else(|| panic!("cannot be sent: {shown}"));
    assert_eq!(head.path(), normal);
    let again = path::normalize(&mut head, rules);
    assert!(again.is_ok(), "refused when it comes again: {shown}");
    assert_eq!(head.path(), normal, "changes again");
    let mut out = Vec::new();
    encode::request(&mut out, &head, false, false, ConnectionHeader::None);
    assert!(parse::request(&out, MAX_LINES, &mut RequestHead::default()).is_ok());

    let query =
        |target: &[u8]| target.iter().position(|&b| b == b'?').map(|at| target[at..].to_vec());
    assert_eq!(query(normal), query(before), "the query");
    let path = normal.split(|&byte| byte == b'?').next().unwrap_or_default();
    if rules.normalize {
        let decoded = percent_decoded(path);
        let mut segments = decoded.split(|&byte| byte == b'/');
        let kept_slash = rules.escaped_slashes == EscapedSlashes::Keep;
        let dots = |segment: &[u8]| segment == b"." || segment == b"..";
        assert!(kept_slash || !segments.any(dots), "leads upwards: {shown}");
        assert!(!path.split(|&byte| byte == b'/').any(dots), "leads upwards: {shown}");
    }
    if rules.merge_slashes {
        assert!(!path.windows(2).any(|two| two == b"//"), "{shown}");
    }
}

/// What an origin makes of a path that decodes every escape once.
fn percent_decoded(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < path.len() {
        match escape_at(path, at) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(path[at]);
                at += 1;
            }
        }
    }
    out
}

fn escape_at(path: &[u8], at: usize) -> Option<u8> {
    let digits = path.get(at + 1..at + 3).filter(|_| path[at] == b'%')?;
    let hex = |byte: u8| (byte as char).to_digit(16);
    hex(digits[0]).zip(hex(digits[1])).map(|(high, low)| (high * 16 + low) as u8)
}

/// The outcome by the rules' text; an error where the request is refused.
fn model(target: &[u8], rules: Rules) -> Result<Vec<u8>, ()> {
    if !target.starts_with(b"/") {
        return Ok(target.to_vec());
    }
    let at = target.iter().position(|&byte| byte == b'?').unwrap_or(target.len());
    let (path, query) = target.split_at(at);
    let mut path = path.to_vec();
    if rules.escaped_slashes != EscapedSlashes::Keep {
        let mut at = 0;
        while at < path.len() {
            if let Some(slash @ (b'/' | b'\\')) = escape_at(&path, at) {
                if rules.escaped_slashes == EscapedSlashes::Reject {
                    return Err(());
                }
                path.splice(at..at + 3, [slash]);
            }
            at += 1;
        }
    }
    if rules.normalize {
        if path.windows(3).any(|three| three == b"%00") {
            return Err(());
        }
        path = rfc_3986_dots(&canonical(&path));
    }
    while rules.merge_slashes
        && let Some(at) = path.windows(2).position(|two| two == b"//")
    {
        path.remove(at);
    }
    Ok([&path, query].concat())
}

/// Each character in its one spelling. What is decoded may not become part of another escape: the `%` before it is
/// then escaped itself.
fn canonical(path: &[u8]) -> Vec<u8> {
    let mut out: Vec<Vec<u8>> = Vec::new();
    let mut at = 0;
    while at < path.len() {
        let escape = escape_at(path, at);
        out.push(match (escape, path[at]) {
            (Some(b), _) if b.is_ascii_alphanumeric() || b"-._~".contains(&b) => vec![b],
            (Some(_), _) => path[at..at + 3].to_vec(),
            (None, b'\\') => vec![b'/'],
            (None, byte) if b"\"<>^`{|}".contains(&byte) => format!("%{byte:02X}").into_bytes(),
            (None, byte) => vec![byte],
        });
        at += if escape.is_some() { 3 } else { 1 };
    }
    for at in 0..out.len() {
        let next: Vec<u8> = out[at..].iter().take(3).flatten().copied().collect();
        if out[at] == b"%" && escape_at(&next, 0).is_some() {
            out[at] = b"%25".to_vec();
        }
    }
    out.concat()
}

/// RFC 3986 section 5.2.4, to the letter.
fn rfc_3986_dots(path: &[u8]) -> Vec<u8> {
    let mut input = path.to_vec();
    let mut output: Vec<u8> = Vec::new();
    while !input.is_empty() {
        if input.starts_with(b"/./") {
            input.drain(..2);
        } else if input == b"/." {
            input = b"/".to_vec();
        } else if input.starts_with(b"/../") || input == b"/.." {
            input.drain(..3);
            if input.is_empty() {
                input.push(b'/');
            }
            output.truncate(output.iter().rposition(|&byte| byte == b'/').unwrap_or(0));
        } else {
            let end =
                input[1..].iter().position(|&byte| byte == b'/').map_or(input.len(), |at| at + 1);
            output.extend(input.drain(..end));
        }
    }
    output
}
