//! `exportTo`: which namespaces see an object.

/// How a namespace comes to see an object. Routes of the closer relation come first on a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Visibility {
    /// The object is kept to its own namespace, which is this one.
    Private,
    /// The object names this namespace.
    Named,
    /// The object is for everyone.
    Public,
}

/// How `viewer` sees an object of namespace `own`; `None` when it does not.
///
/// `export_to` holds namespaces, `.` for the own one, `*` for all and `~` for none; empty means all.
#[must_use]
pub fn visibility(export_to: &[String], own: &str, viewer: &str) -> Option<Visibility> {
    if export_to.is_empty() || export_to.iter().any(|e| e == "*") {
        return Some(Visibility::Public);
    }
    if own == viewer && export_to.iter().any(|e| e == "." || e == own) {
        return Some(Visibility::Private);
    }
    export_to.iter().any(|e| e == viewer).then_some(Visibility::Named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_sees_what() {
        let seen = |export_to: &[&str], own, viewer| {
            let list: Vec<String> = export_to.iter().map(ToString::to_string).collect();
            visibility(&list, own, viewer)
        };
        assert_eq!(seen(&[], "a", "b"), Some(Visibility::Public));
        assert_eq!(seen(&["*"], "a", "b"), Some(Visibility::Public));
        assert_eq!(seen(&["."], "a", "a"), Some(Visibility::Private));
        assert_eq!(seen(&["a"], "a", "a"), Some(Visibility::Private));
        assert_eq!(seen(&["."], "a", "b"), None);
        assert_eq!(seen(&["b"], "a", "b"), Some(Visibility::Named));
        assert_eq!(seen(&["~"], "a", "a"), None);
    }
}
