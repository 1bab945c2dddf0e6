//! Where a field of an object stands in its file.

use std::path::Path;

use tidegate_yaml::{Document, Value};

/// The 1-based line of a field (`spec.http[0].match[1]`) of the object whose first key stands in line
/// `object`. A field that is not there is answered with what should hold it; `None` when the file cannot be
/// read, or has no object in that line any more.
///
/// Reads the file on the calling thread.
#[must_use]
pub fn line_of(file: &Path, object: u32, field: &str) -> Option<u32> {
    let bytes = std::fs::read(file).ok()?;
    tidegate_yaml::parse_bytes(&bytes)
        .into_iter()
        .filter_map(Result::ok)
        .find_map(|document| line_in(&document, object, field))
}

fn line_in(document: &Document, object: u32, field: &str) -> Option<u32> {
    // A list's items first: its own first key may share a line with nothing else.
    if let Some(Value::Sequence(items)) = document.root.get("items").map(|n| &n.value) {
        let place = |i: usize| format!("items[{i}]");
        let item = (0..items.len()).find(|i| document.locate(&place(*i)).start.line == object);
        if let Some(item) = item {
            return Some(document.locate(&format!("{}.{field}", place(item))).start.line);
        }
    }
    (document.locate("").start.line == object).then(|| document.locate(field).start.line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_documents_and_of_items() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("a.yaml");
        let text = "kind: A\nspec:\n  x: 1\n---\nkind: B\nspec:\n  list:\n  - a: 1\n    b: 2\n---\n\
                    kind: List\nitems:\n- kind: C\n  spec:\n    z: 1\n";
        std::fs::write(&file, text).expect("written");
        let line = |object, field| line_of(&file, object, field);
        assert_eq!(line(1, "spec.x"), Some(3));
        assert_eq!(line(5, "spec.list[0].b"), Some(9));
        assert_eq!(line(5, "spec.list[0]"), Some(8));
        assert_eq!(line(13, "spec.z"), Some(15));
        assert_eq!(line(13, "spec.gone"), Some(14), "what should hold it");
        assert_eq!(line(2, "spec"), None, "nothing begins there");
        assert_eq!(line_of(&folder.path().join("b"), 1, "spec"), None);
    }
}
