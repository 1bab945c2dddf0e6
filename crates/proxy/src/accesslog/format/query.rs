//! The query of a path.

use std::borrow::Cow;

/// A path without its query, and the query if it has one.
pub(crate) fn split(path: &[u8]) -> (&[u8], Option<&[u8]>) {
    match path.iter().position(|byte| *byte == b'?') {
        Some(at) => (&path[..at], Some(&path[at + 1..])),
        None => (path, None),
    }
}

/// The first parameter of that name, decoded.
pub(crate) fn parameter<'a>(query: &'a [u8], name: &str) -> Option<Cow<'a, [u8]>> {
    let query = query.split(|byte| *byte == b'#').next().unwrap_or_default();
    query.split(|byte| *byte == b'&').find_map(|pair| {
        let at = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
        let value = pair.get(at + 1..).unwrap_or_default();
        (*percent_decode(&pair[..at]) == *name.as_bytes()).then(|| percent_decode(value))
    })
}

/// Decodes `%41`; what is no such sequence stays as it is.
fn percent_decode(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.contains(&b'%') {
        return Cow::Borrowed(text);
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        let digit = |byte: u8| (byte as char).to_digit(16);
        rest = match (first, tail) {
            (b'%', [high, low, after @ ..]) if digit(*high).is_some() && digit(*low).is_some() => {
                let value = digit(*high).unwrap_or_default() * 16 + digit(*low).unwrap_or_default();
                decoded.push(value as u8);
                after
            }
            _ => {
                decoded.push(*first);
                tail
            }
        };
    }
    Cow::Owned(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters() {
        let (path, query) = split(b"/stats?filter=a%2Bb+c&usedonly&x=%zz%4&filter=d#top");
        let query = query.unwrap();
        assert_eq!(path, b"/stats");
        assert_eq!(parameter(query, "filter").as_deref(), Some(&b"a+b+c"[..]));
        assert_eq!(parameter(query, "usedonly").as_deref(), Some(&b""[..]));
        assert_eq!(parameter(query, "x").as_deref(), Some(&b"%zz%4"[..]));
        assert_eq!(parameter(query, "top"), None);
        assert_eq!(split(b"/stats").1, None);
    }
}
