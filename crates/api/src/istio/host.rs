//! Host names with a leading wildcard: which names a pattern covers, and which patterns meet.
//!
//! A pattern is an exact name, `*`, or a `*` followed by a suffix that begins anywhere (`*.example.com`,
//! `*example.com`), as in Istio. Comparison is by bytes; callers that match traffic lower the case first.

/// Whether the name begins with a wildcard.
pub fn is_wildcard(host: &str) -> bool {
    host.starts_with('*')
}

/// Whether some name falls under both patterns.
pub fn overlap(a: &str, b: &str) -> bool {
    match (a.strip_prefix('*'), b.strip_prefix('*')) {
        (Some(a), Some(b)) => a.ends_with(b) || b.ends_with(a),
        (Some(suffix), None) => b.ends_with(suffix),
        (None, Some(suffix)) => a.ends_with(suffix),
        (None, None) => a == b,
    }
}

/// Whether every name that falls under `inner` falls under `outer` too.
pub fn is_subset(inner: &str, outer: &str) -> bool {
    match (inner.strip_prefix('*'), outer.strip_prefix('*')) {
        (Some(inner), Some(outer)) => inner.ends_with(outer),
        (Some(_), None) => false,
        (None, Some(suffix)) => inner.ends_with(suffix),
        (None, None) => inner == outer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_meet() {
        for (a, b) in [
            ("foo.com", "foo.com"),
            ("*", "foo.com"),
            ("*.com", "foo.com"),
            ("*.com", "*.foo.com"),
            ("*foo.com", "foo.com"),
            ("*", "*"),
        ] {
            assert!(overlap(a, b) && overlap(b, a), "{a} {b}");
        }
        for (a, b) in [("foo.com", "bar.com"), ("*.foo.com", "foo.com"), ("*.foo.com", "*.bar.com")]
        {
            assert!(!overlap(a, b) && !overlap(b, a), "{a} {b}");
        }
    }

    #[test]
    fn patterns_hold_others() {
        for (inner, outer) in
            [("foo.com", "*"), ("a.foo.com", "*.foo.com"), ("*.foo.com", "*.com"), ("*", "*")]
        {
            assert!(is_subset(inner, outer), "{inner} {outer}");
        }
        for (inner, outer) in [("*", "*.com"), ("*.com", "foo.com"), ("foo.com", "*.foo.com")] {
            assert!(!is_subset(inner, outer), "{inner} {outer}");
        }
    }
}
