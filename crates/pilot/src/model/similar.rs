//! Names that somebody may have meant.

/// Edits by which a name may differ from the one that is meant, at most.
const MOST_EDITS: usize = 2;
/// Characters of a name for each such edit: short names are alike without being meant.
const LENGTH_OF_EDIT: usize = 3;

/// Of `NAMESPACE/NAME`s, the one that was most likely meant by another, which there is not: the same name in another namespace,
/// or a name with a slip of the pen in the same one; of several the first.
#[must_use]
pub fn meant<'n>(asked: &str, there: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let (namespace, name) = asked.split_once('/')?;
    let near = there.filter_map(|other| {
        let (its_namespace, its_name) = other.split_once('/')?;
        match its_namespace == namespace {
            true => Some((slips(name, its_name)?, other)),
            false => (its_name == name).then_some((0, other)),
        }
    });
    near.min().map(|(_, other)| other)
}

/// By how many slips of the pen another name may have been meant by this one; `None` where they differ by more.
#[must_use]
pub fn slips(asked: &str, other: &str) -> Option<usize> {
    let most = MOST_EDITS.min(asked.chars().count() / LENGTH_OF_EDIT);
    // A name that is so much longer has more.
    let fits = asked.len().abs_diff(other.len()) <= most * char::MAX.len_utf8();
    fits.then(|| edits(asked, other)).filter(|edits| *edits <= most)
}

/// How many characters are to be put, taken or changed to make one text of another (Levenshtein).
#[must_use]
pub fn edits(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (l, left) in left.chars().enumerate() {
        let mut diagonal = l;
        let mut before = l + 1;
        for (slot, right) in row[1..].iter_mut().zip(&right) {
            let change = diagonal + usize::from(left != *right);
            diagonal = *slot;
            *slot = change.min(diagonal + 1).min(before + 1);
            before = *slot;
        }
        row[0] = l + 1;
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_pen_and_other_namespaces_are_meant() {
        let there = ["a/gateway", "a/web", "b/httpbin-gateway", "b/web"];
        let is = |asked: &str| meant(asked, there.into_iter());
        assert_eq!(is("a/gatway"), Some("a/gateway"));
        assert_eq!(is("a/gtaeway"), Some("a/gateway"));
        assert_eq!(is("a/httpbin-gateway"), Some("b/httpbin-gateway"));
        assert_eq!(is("c/web"), Some("a/web"), "the first of several");
        assert_eq!(is("a/gate"), None);
        assert_eq!(is("b/wob"), Some("b/web"));
        assert_eq!(is("b/gatway"), None, "both at once is too far");
        assert_eq!(is("a/xy"), None);
    }

    #[test]
    fn slips_are_counted_up_to_what_may_be_one() {
        assert_eq!(slips("web-cert", "web-crt"), Some(1));
        assert_eq!(slips("wéb", "web"), Some(1));
        assert_eq!(slips("web", "website"), None);
        assert_eq!((edits("", "abc"), edits("kitten", "sitting")), (3, 3));
    }
}
