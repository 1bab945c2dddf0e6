//! Which routes of a virtual host can never take a request, because an earlier one takes all that they ask for.
//!
//! Not every such route is found: an earlier one counts where it asks for the same, or for nothing but a path that
//! takes in the later one's. That costs no more than the routes' own length, however many there are.

use std::collections::HashMap;

use tidegate_envoy::prost::Message;
use tidegate_envoy::v3::route::RouteMatch;
use tidegate_envoy::v3::route::route_match::PathSpecifier;

/// The routes that were looked at, by what they take.
#[derive(Debug, Default)]
pub struct Taken {
    /// By everything that they ask for.
    same: HashMap<Vec<u8>, usize>,
    /// Those that ask for a path only, by that path; whether letter case counts.
    prefixes: HashMap<(String, bool), usize>,
    segments: HashMap<(String, bool), usize>,
    paths: HashMap<(String, bool), usize>,
    /// The first that takes every path.
    every: Option<usize>,
}

impl Taken {
    /// Enters the next route; answers the number of an earlier one that leaves it nothing.
    pub fn add(&mut self, number: usize, route: &RouteMatch) -> Option<usize> {
        let cased = route.case_sensitive.unwrap_or(true);
        let normal = RouteMatch { case_sensitive: Some(cased), ..route.clone() };
        let whole = normal.encode_to_vec();
        let before = self.before(&whole, route, cased);
        if before.is_none() {
            self.same.insert(whole, number);
            if is_plain(route) {
                self.enter(number, route, cased);
            }
        }
        before
    }

    fn before(&self, whole: &Vec<u8>, route: &RouteMatch, cased: bool) -> Option<usize> {
        let same = self.same.get(whole).or(self.every.as_ref()).copied();
        same.or_else(|| match route.path_specifier.as_ref()? {
            PathSpecifier::Path(path) => self.takes(path, cased, true),
            PathSpecifier::Prefix(path) | PathSpecifier::PathSeparatedPrefix(path) => {
                self.takes(path, cased, false)
            }
            _ => None,
        })
    }

    /// The route that takes a path (`whole`), or every path that begins so.
    fn takes(&self, path: &str, cased: bool, whole: bool) -> Option<usize> {
        let lower = path.to_ascii_lowercase();
        // One that ignores case takes any; one that does not takes only what asks for its very letters.
        let forms = [(lower.as_str(), false), (path, true)];
        forms.into_iter().filter(|(_, form)| cased || !form).find_map(|(path, form)| {
            let key = |end: usize| (path[..end].to_owned(), form);
            let ends = path.char_indices().map(|(at, c)| at + c.len_utf8());
            let exact = whole.then(|| self.paths.get(&key(path.len()))).flatten();
            let mut found = exact.into_iter().chain(ends.filter_map(|end| {
                let at_slash = path[end..].starts_with('/') || (whole && end == path.len());
                let segment = at_slash.then(|| self.segments.get(&key(end))).flatten();
                self.prefixes.get(&key(end)).or(segment)
            }));
            found.next().copied()
        })
    }

    fn enter(&mut self, number: usize, route: &RouteMatch, cased: bool) {
        let form =
            |path: &str| (if cased { path.to_owned() } else { path.to_ascii_lowercase() }, cased);
        match &route.path_specifier {
            Some(PathSpecifier::Prefix(path)) if matches!(path.as_str(), "" | "/") => {
                self.every.get_or_insert(number);
            }
            Some(PathSpecifier::SafeRegex(regex)) if regex.regex == ".*" => {
                self.every.get_or_insert(number);
            }
            Some(PathSpecifier::Prefix(path)) => _ = self.prefixes.insert(form(path), number),
            Some(PathSpecifier::Path(path)) => _ = self.paths.insert(form(path), number),
            Some(PathSpecifier::PathSeparatedPrefix(path)) => {
                self.segments.insert(form(path), number);
            }
            _ => {}
        }
    }
}

/// Whether a route asks for a path only.
fn is_plain(route: &RouteMatch) -> bool {
    route.headers.is_empty()
        && route.query_parameters.is_empty()
        && route.dynamic_metadata.is_empty()
        && route.grpc.is_none()
        && route.runtime_fraction.is_none()
}

#[cfg(test)]
mod tests {
    use tidegate_envoy::v3::route::HeaderMatcher;

    use super::*;

    /// `^/a` is a prefix, `=/a` a path, `|/a` a prefix that ends at a slash; `i` behind it ignores case, and a word
    /// after a space is a header that has to be there.
    fn route(text: &str) -> RouteMatch {
        let mut words = text.split(' ');
        let path = words.next().unwrap_or_default();
        let (kind, path) = path.split_at(1);
        let (path, cased) = match path.strip_suffix('i') {
            Some(path) => (path.to_owned(), false),
            None => (path.to_owned(), true),
        };
        let header = |name: &str| HeaderMatcher { name: name.to_owned(), ..Default::default() };
        RouteMatch {
            path_specifier: Some(match kind {
                "=" => PathSpecifier::Path(path),
                "|" => PathSpecifier::PathSeparatedPrefix(path),
                _ => PathSpecifier::Prefix(path),
            }),
            case_sensitive: Some(cased),
            headers: words.map(header).collect(),
            ..RouteMatch::default()
        }
    }

    #[test]
    fn what_is_left_nothing_is_found() {
        let cases: [(&[&str], &str, Option<usize>); 20] = [
            (&["^/a"], "^/a", Some(0)),
            (&["^/a"], "^/a/b", Some(0)),
            (&["^/a"], "=/a", Some(0)),
            (&["^/a"], "|/a", Some(0)),
            (&["^/a"], "=/ab x", Some(0)),
            (&["^/a x"], "^/a", None),
            (&["^/a x"], "^/a x", Some(0)),
            (&["^/a x"], "^/a y", None),
            (&["^/a/b"], "^/a", None),
            (&["^/"], "=/b", Some(0)),
            (&["=/b", "^/"], "=/b x", Some(1)),
            (&["=/a"], "^/a", None),
            (&["|/a"], "=/a", Some(0)),
            (&["|/a"], "^/a/b", Some(0)),
            (&["|/a"], "^/a", None),
            (&["|/a"], "=/ab", None),
            (&["^/Ai"], "^/ab", Some(0)),
            (&["^/A"], "^/Ai", None),
            (&["^/Ai"], "=/aBi", Some(0)),
            (&["^/x", "^/é"], "=/éa", Some(1)),
        ];
        for (earlier, later, wanted) in cases {
            let mut taken = Taken::default();
            for (number, text) in earlier.iter().enumerate() {
                assert_eq!(taken.add(number, &route(text)), None, "{earlier:?}");
            }
            assert_eq!(taken.add(9, &route(later)), wanted, "{later} after {earlier:?}");
        }
    }
}
