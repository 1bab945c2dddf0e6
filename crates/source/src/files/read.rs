//! From the bytes of a file to objects, refusals and what is to be told. No I/O.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tidegate_api::admission::RULES_NOT_CHECKED;
use tidegate_api::istio::policy::selected;
use tidegate_api::kinds::{KINDS, by_api_version, split_api_version};
use tidegate_api::{
    FieldError, FieldValidation, Kind, KindInfo, Object, ObjectKey, Origin, Scope, Warning,
    WarningKind, admit, kube,
};
use tidegate_yaml::{Diagnostic, Document, Node, Span};

use super::{FileChange, Finding};

/// The namespace of objects that name none.
const DEFAULT_NAMESPACE: &str = "default";

/// What only a server says of an object: a manifest that was taken from one may carry it.
const SERVER_FIELDS: [&str; 6] =
    ["uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink"];

/// What a file holds.
#[derive(Debug)]
pub(super) struct Content {
    /// Objects that are good.
    pub(super) forms: BTreeMap<ObjectKey, Form>,
    /// Objects that are not.
    pub(super) refused: Vec<Refused>,
    /// What is to be told.
    pub(super) findings: Vec<Finding>,
    /// Documents of which nobody knows which object they are about.
    pub(super) doubts: Vec<Doubt>,
}

/// Why it is not known how an object stands.
#[derive(Debug)]
pub(super) struct Doubt {
    pub(super) line: u32,
    pub(super) reason: String,
}

/// An object in its good form.
#[derive(Clone, Debug)]
pub(super) struct Form {
    object: Arc<Object>,
    manifest: Map<String, Value>,
}

/// What is remembered of a form, to know it again: all that it says, in its shortest writing, and what was left out of it.
#[derive(Debug, PartialEq)]
pub(super) struct Known {
    pub(super) origin: Origin,
    unknown: Vec<String>,
    manifest: Box<str>,
}

/// An object in a form that is wrong.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) key: ObjectKey,
    origin: Origin,
    errors: Vec<String>,
    selector: Option<BTreeMap<String, String>>,
}

impl Form {
    pub(super) fn put(self) -> FileChange {
        FileChange::Put { object: self.object, manifest: self.manifest }
    }

    pub(super) fn known(&self) -> Known {
        let Object { origin, unknown, .. } = &*self.object;
        let manifest = json!(self.manifest).to_string().into();
        Known { origin: origin.clone(), unknown: unknown.clone(), manifest }
    }
}

impl Refused {
    pub(super) fn invalid(self) -> FileChange {
        let Self { key, origin, errors, selector } = self;
        FileChange::Invalid { key, origin, errors, selector }
    }
}

/// Tells of an object that its file held and may still hold: nobody can read it there.
pub(super) fn doubted(key: &ObjectKey, path: &Arc<Path>, doubts: &[Doubt]) -> FileChange {
    let place = path.display();
    let errors = doubts.iter().map(|Doubt { line, reason }| format!("{reason} ({place}:{line})"));
    let line = doubts.first().map_or(1, |doubt| doubt.line);
    let origin = Origin::File { path: Arc::clone(path), line };
    FileChange::Invalid { key: key.clone(), origin, errors: errors.collect(), selector: None }
}

/// Reads a file; its objects are all of one age.
pub(super) fn read(path: &Arc<Path>, bytes: &[u8], age: Timestamp) -> Content {
    let source: Arc<str> = String::from_utf8_lossy(bytes).into();
    let mut reader = Reader {
        path,
        source,
        age,
        content: Content {
            forms: BTreeMap::new(),
            refused: Vec::new(),
            findings: Vec::new(),
            doubts: Vec::new(),
        },
    };
    for document in tidegate_yaml::parse_bytes(bytes) {
        match document {
            Ok(document) => reader.document(&document),
            Err(fault) => reader.unknown(fault),
        }
    }
    reader.content
}

struct Reader<'a> {
    path: &'a Arc<Path>,
    source: Arc<str>,
    age: Timestamp,
    content: Content,
}

/// One object of a document: all of it, or an item of a list.
struct Place<'a> {
    document: &'a Document,
    /// Path of the object in the document, with a dot at its end; empty for the whole.
    within: String,
    node: &'a Node,
}

impl Place<'_> {
    fn locate(&self, field: &str) -> Span {
        let path = format!("{}{field}", self.within);
        self.document.locate(path.trim_end_matches('.'))
    }
}

impl Reader<'_> {
    fn document(&mut self, document: &Document) {
        let root = &document.root;
        let items = match root.get("items").map(|n| &n.value) {
            Some(tidegate_yaml::Value::Sequence(items)) if is_list(root) => items,
            _ => return self.object(&Place { document, within: String::new(), node: root }),
        };
        for (i, node) in items.iter().enumerate() {
            self.object(&Place { document, within: format!("items[{i}]."), node });
        }
    }

    fn object(&mut self, place: &Place<'_>) {
        match identify(place) {
            Identity::Known(info, key) => self.known(place, info, key),
            Identity::Foreign(warning) => self.tell(warning),
            Identity::Unknown(fault) => self.unknown(fault),
        }
    }

    fn known(&mut self, place: &Place<'_>, info: &'static KindInfo, key: ObjectKey) {
        let line = place.locate("").start.line;
        let origin = Origin::File { path: Arc::clone(self.path), line };
        let mut value = named(place.node.to_json(), &key);
        let written = value["apiVersion"].as_str().map(str::to_owned).unwrap_or_default();
        let group = split_api_version(&written).0;
        let told = match admit(info.kind, group, &mut value, FieldValidation::Warn, None) {
            Ok(told) => told,
            Err(mut errors) => {
                errors.retain(|error| error.path != RULES_NOT_CHECKED);
                return self.refuse(place, key, origin, &errors);
            }
        };
        strip(&mut value, info);
        kube::defaults(info.kind, &mut value);
        let version = info.versions[0];
        value["apiVersion"] = KindInfo::api_version(info.group, version).into();
        let examined = Object::examine(info.kind, version, &value, origin.clone());
        if let Some(why) = info.idle {
            let warning = format!("this {} is read, but {why}", info.name);
            self.tell(Diagnostic::warning(place.locate("kind"), warning));
        }
        let unknown = self.left_out(place, told.iter().chain(&examined.warnings));
        self.warn(place, told, examined.warnings);
        match (examined.object, value) {
            (Some(mut object), Value::Object(manifest)) if examined.errors.is_empty() => {
                object.created = self.age;
                object.unknown = unknown;
                let form = Form { object: Arc::new(object), manifest };
                self.accept(place, key, form);
            }
            _ => self.refuse(place, key, origin, &examined.errors),
        }
    }

    /// Takes an object in. The last of one name counts, as when they are applied one after the other.
    fn accept(&mut self, place: &Place<'_>, key: ObjectKey, form: Form) {
        let name = key.to_string();
        if let Some(first) = self.content.forms.insert(key, form)
            && let Origin::File { line, .. } = first.object.origin
        {
            let warning = format!("{name} stands in line {line} too; this one counts");
            self.tell(Diagnostic::warning(place.locate("metadata.name"), warning));
        }
    }

    fn refuse(&mut self, place: &Place<'_>, key: ObjectKey, origin: Origin, errors: &[FieldError]) {
        let mut lines = Vec::new();
        for error in errors {
            let span = place.locate(&error.path);
            lines.push(format!("{error} ({}:{})", self.path.display(), span.start.line));
            self.tell(Diagnostic::error(span, format!("{key}: {error}")));
        }
        self.content.forms.remove(&key);
        let selector = selected(key.kind, &place.node.to_json());
        self.content.refused.push(Refused { key, origin, errors: lines, selector });
    }

    /// The fields that no schema has, each once, with its line.
    fn left_out<'w>(
        &self,
        place: &Place<'_>,
        told: impl Iterator<Item = &'w Warning>,
    ) -> Vec<String> {
        let mut unknown: Vec<String> = Vec::new();
        for warning in told.filter(|warning| warning.kind == WarningKind::UnknownField) {
            let line = place.locate(&warning.path).start.line;
            let words = format!("{} ({}:{line})", warning.message, self.path.display());
            if !unknown.contains(&words) {
                unknown.push(words);
            }
        }
        unknown
    }

    fn warn(&mut self, place: &Place<'_>, told: Vec<Warning>, more: Vec<Warning>) {
        let new = more.into_iter().filter(|w| !told.contains(w)).collect::<Vec<_>>();
        for warning in told.into_iter().chain(new) {
            let span = place.locate(&warning.path);
            self.tell(Diagnostic::warning(span, warning.message));
        }
    }

    /// A document of which nobody knows which object it is about.
    fn unknown(&mut self, fault: Diagnostic) {
        let (line, reason) = (fault.span.start.line, fault.message.clone());
        self.content.doubts.push(Doubt { line, reason });
        self.tell(fault);
    }

    fn tell(&mut self, diagnostic: Diagnostic) {
        let finding = Finding::new(Arc::clone(self.path), diagnostic, Arc::clone(&self.source));
        self.content.findings.push(finding);
    }
}

/// Which object a manifest is about.
enum Identity {
    Known(&'static KindInfo, ObjectKey),
    /// None that is served here, and plainly so.
    Foreign(Diagnostic),
    /// It does not say, or says it wrongly.
    Unknown(Diagnostic),
}

fn identify(place: &Place<'_>) -> Identity {
    let text = |field: &str| place.node.get(field).and_then(Node::as_str).unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let unknown = |field: &str, message: String| {
        Identity::Unknown(Diagnostic::error(place.locate(field), message))
    };
    for (field, value) in [("apiVersion", api_version), ("kind", kind)] {
        if value.is_empty() {
            return unknown(field, format!("{field} is missing: this is no object"));
        }
    }
    let Some(info) = by_api_version(api_version, kind) else {
        let group = split_api_version(api_version).0;
        let served = KINDS.iter().any(|row| row.group == group && !group.is_empty());
        let message = format!("{kind} of {api_version} is not served here");
        if served {
            let kinds: Vec<&str> =
                KINDS.iter().filter(|row| row.group == group).map(|row| row.name).collect();
            return unknown(
                "kind",
                format!("{message}; of {group} there are {}", kinds.join(", ")),
            );
        }
        return Identity::Foreign(Diagnostic::warning(place.locate("kind"), message));
    };
    let metadata = |field: &str| {
        let metadata = place.node.get("metadata")?;
        metadata.get(field).and_then(Node::as_str).filter(|text| !text.is_empty())
    };
    let Some(name) = metadata("name") else {
        let written = place.node.get("metadata").and_then(|metadata| metadata.get("name"));
        let why = match written {
            Some(name) if name.as_str().is_none() => "is no text: quote it, if it is meant as one",
            _ => "is missing: files need whole names",
        };
        return unknown("metadata", format!("metadata.name {why}"));
    };
    let namespace = match info.scope {
        Scope::Namespaced => metadata("namespace").unwrap_or(DEFAULT_NAMESPACE),
        Scope::Cluster => "",
    };
    Identity::Known(info, ObjectKey::new(info.kind, namespace, name))
}

fn is_list(root: &Node) -> bool {
    root.get("kind").and_then(Node::as_str).is_some_and(|kind| kind.ends_with("List"))
}

/// The object with its namespace written out.
fn named(mut value: Value, key: &ObjectKey) -> Value {
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        if key.namespace.is_empty() {
            metadata.remove("namespace");
        } else {
            metadata.insert("namespace".to_owned(), json!(key.namespace));
        }
    }
    value
}

/// Takes away what only a server says. A Pod's status stays: no kubelet is here to write its address.
fn strip(value: &mut Value, info: &KindInfo) {
    let Some(object) = value.as_object_mut() else { return };
    if info.status_subresource && info.kind != Kind::Pod {
        object.remove("status");
    }
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        for field in SERVER_FIELDS {
            metadata.remove(field);
        }
    }
}
