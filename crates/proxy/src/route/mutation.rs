//! Header mutations (`HeaderValueOption` and the names to remove).
//!
//! Known difference: a value appended to a header that is there is always a line of its own. Envoy joins it
//! to the line that is there for the dozen names that it keeps as one, such as `user-agent`.

use std::sync::Arc;

use crate::http::{Headers, RequestHead, ResponseHead};

use super::template::{Facts, Scope, Template};

/// What a mutation does with lines that are already there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AppendAction {
    /// Adds a line beside them.
    #[default]
    Append,
    /// Adds a line only when there is none.
    AddIfAbsent,
    /// Replaces them, or adds a line.
    Overwrite,
    /// Replaces them; adds nothing when there is none.
    OverwriteIfPresent,
}

/// One header set or added.
#[derive(Clone, Debug)]
pub struct Mutation {
    /// The header's name, in lower case.
    pub name: Box<[u8]>,
    /// Its value.
    pub value: Template,
    /// What happens to lines that are there.
    pub action: AppendAction,
    /// Whether an empty value is written; otherwise it is as if the mutation were not there.
    pub keep_empty: bool,
}

/// The mutations that one level (route configuration, virtual host, route, weighted cluster) asks for.
#[derive(Clone, Debug, Default)]
pub struct MutationLevel {
    /// Names to remove, before anything is added.
    pub remove: Vec<Box<[u8]>>,
    /// Headers to set or add, in order.
    pub add: Vec<Mutation>,
}

/// The mutations of all levels that concern a route, in the order in which they apply.
#[derive(Clone, Debug, Default)]
pub struct Mutations {
    levels: Vec<Arc<MutationLevel>>,
}

impl MutationLevel {
    fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.add.is_empty()
    }

    fn remove_from(&self, headers: &mut Headers) {
        for name in &self.remove {
            headers.remove(name);
        }
    }

    /// The values of all mutations that take effect, from the headers before any of them did.
    fn evaluate<'m>(&'m self, headers: &Headers, scope: Scope<'_>) -> Vec<(&'m Mutation, Vec<u8>)> {
        self.add
            .iter()
            .filter(|mutation| match mutation.action {
                AppendAction::Append | AppendAction::Overwrite => true,
                AppendAction::AddIfAbsent => headers.get(&mutation.name).is_none(),
                AppendAction::OverwriteIfPresent => headers.get(&mutation.name).is_some(),
            })
            .map(|mutation| (mutation, mutation.value.render(scope).into_owned()))
            .filter(|(mutation, value)| mutation.keep_empty || !value.is_empty())
            .collect()
    }
}

/// Writes values: first those that replace, then those that add, as Envoy does.
fn write(headers: &mut Headers, values: &[(&Mutation, Vec<u8>)]) {
    let replaces = |mutation: &Mutation| {
        matches!(mutation.action, AppendAction::Overwrite | AppendAction::OverwriteIfPresent)
    };
    for (mutation, value) in values.iter().filter(|(mutation, _)| replaces(mutation)) {
        headers.set(&mutation.name, value);
    }
    for (mutation, value) in values.iter().filter(|(mutation, _)| !replaces(mutation)) {
        headers.append(&mutation.name, value);
    }
}

impl Mutations {
    /// Mutations of these levels, the one that applies first in front.
    #[must_use]
    pub fn new(levels: impl IntoIterator<Item = Arc<MutationLevel>>) -> Self {
        Self { levels: levels.into_iter().filter(|level| !level.is_empty()).collect() }
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.levels.is_empty()
    }

    /// Changes the headers of a request.
    pub fn apply_to_request(&self, head: &mut RequestHead, facts: &Facts<'_>) {
        for level in &self.levels {
            level.remove_from(&mut head.headers);
            let scope = Scope { request: head, response: None, facts };
            let values = level.evaluate(&head.headers, scope);
            write(&mut head.headers, &values);
        }
    }

    /// Changes the headers of a response to `request`.
    pub fn apply_to_response(
        &self,
        head: &mut ResponseHead,
        request: &RequestHead,
        facts: &Facts<'_>,
    ) {
        for level in &self.levels {
            level.remove_from(&mut head.headers);
            let scope = Scope { request, response: Some(head), facts };
            let values = level.evaluate(&head.headers, scope);
            write(&mut head.headers, &values);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mutation(name: &str, value: &str, action: AppendAction) -> Mutation {
        Mutation {
            name: name.as_bytes().into(),
            value: Template::new(value).expect("valid"),
            action,
            keep_empty: false,
        }
    }

    fn level(remove: &[&str], add: Vec<Mutation>) -> Arc<MutationLevel> {
        let remove = remove.iter().map(|name| name.as_bytes().into()).collect();
        Arc::new(MutationLevel { remove, add })
    }

    fn request() -> RequestHead {
        RequestHead::get("", "/p", &[("x-a", "1"), ("x-a", "2"), ("x-b", "3")])
    }

    fn lines(headers: &Headers) -> Vec<String> {
        headers
            .iter()
            .map(|(_, name, value)| {
                format!("{}: {}", String::from_utf8_lossy(name), String::from_utf8_lossy(value))
            })
            .collect()
    }

    #[test]
    fn each_action_with_and_without_lines_there() {
        let cases: &[(AppendAction, &str, &[&str])] = &[
            (AppendAction::Append, "x-b", &["x-a: 1", "x-a: 2", "x-b: 3", "x-b: new"]),
            (AppendAction::AddIfAbsent, "x-b", &["x-a: 1", "x-a: 2", "x-b: 3"]),
            (AppendAction::AddIfAbsent, "x-c", &["x-a: 1", "x-a: 2", "x-b: 3", "x-c: new"]),
            (AppendAction::Overwrite, "x-a", &["x-a: new", "x-b: 3"]),
            (AppendAction::Overwrite, "x-c", &["x-a: 1", "x-a: 2", "x-b: 3", "x-c: new"]),
            (AppendAction::OverwriteIfPresent, "x-a", &["x-a: new", "x-b: 3"]),
            (AppendAction::OverwriteIfPresent, "x-c", &["x-a: 1", "x-a: 2", "x-b: 3"]),
        ];
        for (action, name, expected) in cases {
            let mut head = request();
            let mutations = Mutations::new([level(&[], vec![mutation(name, "new", *action)])]);
            mutations.apply_to_request(&mut head, &Facts::default());
            assert_eq!(lines(&head.headers), *expected, "{action:?} {name}");
        }
    }

    #[test]
    fn removal_comes_first_and_values_see_the_level_before() {
        let first = level(
            &["x-a"],
            vec![
                mutation("x-b", "%REQ(:path)%", AppendAction::Overwrite),
                mutation("x-c", "%REQ(x-b)%", AppendAction::Append),
            ],
        );
        let second = level(&[], vec![mutation("x-d", "%REQ(x-b)%", AppendAction::Append)]);
        let mut head = request();
        Mutations::new([first, second]).apply_to_request(&mut head, &Facts::default());
        assert_eq!(lines(&head.headers), ["x-b: /p", "x-c: 3", "x-d: /p"]);
    }

    #[test]
    fn an_empty_value_is_dropped_unless_kept() {
        let mut kept = mutation("x-kept", "%REQ(x-none)%", AppendAction::Append);
        kept.keep_empty = true;
        let dropped = mutation("x-dropped", "%REQ(x-none)%", AppendAction::Overwrite);
        let mut response = ResponseHead::default();
        Mutations::new([level(&[], vec![kept, dropped])]).apply_to_response(
            &mut response,
            &request(),
            &Facts::default(),
        );
        assert_eq!(lines(&response.headers), ["x-kept: "]);
        assert!(Mutations::new([level(&[], Vec::new())]).is_empty());
    }
}
