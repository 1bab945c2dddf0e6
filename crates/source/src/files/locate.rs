//! Where a field of an object stands in its file.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use tidegate_yaml::{Document, Value};

/// Places of fields in files, each of which is read once, on the calling thread, when it is first asked about.
#[derive(Debug, Default)]
pub struct Places {
    files: RefCell<HashMap<PathBuf, File>>,
}

#[derive(Debug, Default)]
struct File {
    documents: Vec<Document>,
    /// Objects by the line in which their first key stands: the document, and the item if it is a list.
    objects: HashMap<u32, (usize, Option<usize>)>,
}

impl Places {
    /// The 1-based line of a field (`spec.http[0].match[1]`) of the object whose first key stands in line
    /// `object`. A field that is not there is answered with what should hold it; `None` when the file cannot be
    /// read, or has no object in that line any more.
    #[must_use]
    pub fn line_of(&self, file: &Path, object: u32, field: &str) -> Option<u32> {
        let mut files = self.files.borrow_mut();
        let file = files.entry(file.to_owned()).or_insert_with(|| File::read(file));
        let (document, item) = file.objects.get(&object)?;
        let document = file.documents.get(*document)?;
        let place = match item {
            Some(item) => document.locate(&format!("items[{item}].{field}")),
            None => document.locate(field),
        };
        Some(place.start.line)
    }
}

impl File {
    fn read(path: &Path) -> Self {
        let Ok(bytes) = std::fs::read(path) else { return Self::default() };
        let documents: Vec<Document> =
            tidegate_yaml::parse_bytes(&bytes).into_iter().filter_map(Result::ok).collect();
        let mut objects = HashMap::new();
        for (number, document) in documents.iter().enumerate() {
            // A list's items first: its own first key may share a line with nothing else.
            if let Some(Value::Sequence(items)) = document.root.get("items").map(|n| &n.value) {
                for item in 0..items.len() {
                    let line = document.locate(&format!("items[{item}]")).start.line;
                    objects.entry(line).or_insert((number, Some(item)));
                }
            }
            objects.entry(document.locate("").start.line).or_insert((number, None));
        }
        Self { documents, objects }
    }
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
        let places = Places::default();
        let line = |object, field| places.line_of(&file, object, field);
        assert_eq!(line(1, "spec.x"), Some(3));
        assert_eq!(line(5, "spec.list[0].b"), Some(9));
        assert_eq!(line(5, "spec.list[0]"), Some(8));
        assert_eq!(line(13, "spec.z"), Some(15));
        assert_eq!(line(13, "spec.gone"), Some(14), "what should hold it");
        assert_eq!(line(2, "spec"), None, "nothing begins there");
        assert_eq!(places.line_of(&folder.path().join("b"), 1, "spec"), None);
    }
}
