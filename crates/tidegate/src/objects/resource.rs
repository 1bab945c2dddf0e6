//! Which kind is meant, and where its objects are.

use http::Method;
use serde_json::Value;
use tidegate_api::kinds::{by_any_name, by_api_version, by_kind, split_api_version};
use tidegate_api::{KINDS, KindInfo, Scope};
use tidegate_source::cluster::{self, Ask};

use super::server::Server;
use crate::failure::{Failure, Outcome};

/// A kind in one of its versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    group: String,
    version: String,
    kind: String,
    plural: String,
    namespaced: bool,
}

impl Resource {
    fn of_row(row: &KindInfo, version: &str) -> Self {
        Self {
            group: row.group.to_owned(),
            version: version.to_owned(),
            kind: row.name.to_owned(),
            plural: row.plural.to_owned(),
            namespaced: row.scope == Scope::Namespaced,
        }
    }

    /// The kind that somebody types: in any letter case, singular, plural or short.
    ///
    /// # Errors
    /// Nobody knows it here.
    pub fn of_word(word: &str) -> Outcome<Self> {
        let row = by_any_name(word).ok_or_else(|| {
            let known: Vec<&str> = KINDS.iter().map(|row| row.plural).collect();
            Failure::new(format!("there is no kind {word:?} here"))
                .or(format!("one of {}", known.join(", ")))
        })?;
        Ok(Self::of_row(row, row.versions[0]))
    }

    /// The kind that a manifest names; the server is asked about one that is not known here.
    ///
    /// # Errors
    /// The server does not know it, or does not answer.
    pub async fn of_manifest(server: &Server, api_version: &str, kind: &str) -> Outcome<Self> {
        let (group, version) = split_api_version(api_version);
        if let Some(row) = by_api_version(api_version, kind) {
            return Ok(Self { group: group.to_owned(), ..Self::of_row(row, version) });
        }
        let path = match group {
            "" => format!("/api/{version}"),
            group => format!("/apis/{group}/{version}"),
        };
        let list = server.get(&path).await?.unwrap_or_default();
        let mut all = list["resources"].as_array().into_iter().flatten();
        // Sub-resources have a stroke in their name.
        let is = |row: &&Value| {
            row["kind"] == kind && row["name"].as_str().is_some_and(|name| !name.contains('/'))
        };
        let row = all.find(is).ok_or_else(|| {
            Failure::new(format!("the API server does not serve {kind} of {api_version}"))
        })?;
        Ok(Self {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: kind.to_owned(),
            plural: row["name"].as_str().unwrap_or_default().to_owned(),
            namespaced: row["namespaced"] == true,
        })
    }

    /// Whether objects of the kind have a namespace.
    pub fn namespaced(&self) -> bool {
        self.namespaced
    }

    /// The path of the kind's objects in a namespace, or of all.
    pub fn list(&self, namespace: Option<&str>) -> String {
        self.at(namespace, None)
    }

    /// The path of one object.
    pub fn path(&self, namespace: &str, name: &str) -> String {
        self.at(Some(namespace), Some(name))
    }

    fn at(&self, namespace: Option<&str>, name: Option<&str>) -> String {
        let namespace = namespace.filter(|_| self.namespaced);
        cluster::path((&self.group, &self.version), &self.plural, namespace, name)
    }

    /// The kind in the newest of its versions that the server serves; in the oldest where it serves none, which then says so.
    ///
    /// # Errors
    /// Nobody answers.
    pub async fn served(self, server: &Server) -> Outcome<Self> {
        let mut kind = self;
        while let Some(older) = kind.older() {
            let path = format!("{}?limit=1", kind.list(Some(server.namespace())));
            if !server.ask(Ask::new(Method::GET, &path)).await?.not_served() {
                break;
            }
            kind = older;
        }
        Ok(kind)
    }

    /// The kind in the version before this one, of those that it may be served in.
    fn older(&self) -> Option<Self> {
        let versions = by_kind(&self.group, &self.kind)?.versions.iter();
        let older = versions.skip_while(|version| **version != self.version).nth(1)?;
        Some(Self { version: (*older).to_owned(), ..self.clone() })
    }

    /// As kubectl names a kind in what it says: `serviceentry.networking.istio.io`, `service`.
    pub fn word(&self) -> String {
        let kind = self.kind.to_ascii_lowercase();
        match self.group.as_str() {
            "" => kind,
            group => format!("{kind}.{group}"),
        }
    }

    /// The kind's name.
    pub fn kind(&self) -> &str {
        &self.kind
    }
}

/// What arguments name: kinds, each with names, or with none where all are meant.
///
/// # Errors
/// There is no such kind, or they are mixed.
pub fn named(what: &[String]) -> Outcome<Vec<(Resource, Vec<String>)>> {
    let (first, rest) = what.split_first().ok_or_else(|| Failure::new("no kind is named"))?;
    if !first.contains('/') {
        let kinds = first.split(',').filter(|word| !word.is_empty());
        let named = kinds.map(|word| Ok((Resource::of_word(word)?, rest.to_vec())));
        return named.collect();
    }
    let pair = |word: &String| match word.split_once('/') {
        Some((kind, name)) if !name.is_empty() => {
            Ok((Resource::of_word(kind)?, vec![name.to_owned()]))
        }
        _ => Err(Failure::new(format!("{word:?} is not KIND/NAME, as what stands before it"))),
    };
    what.iter().map(pair).collect()
}

/// Kinds with names, each kind in a version that the server serves.
///
/// # Errors
/// Nobody answers.
pub async fn served(
    server: &Server,
    kinds: Vec<(Resource, Vec<String>)>,
) -> Outcome<Vec<(Resource, Vec<String>)>> {
    let mut served = Vec::with_capacity(kinds.len());
    for (kind, names) in kinds {
        served.push((kind.served(server).await?, names));
    }
    Ok(served)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn older_versions_are_known() {
        let gateway = Resource::of_word("gw").expect("a kind");
        let versions: Vec<String> = std::iter::successors(Some(gateway), Resource::older)
            .map(|kind| kind.version)
            .collect();
        assert_eq!(versions, ["v1", "v1beta1", "v1alpha3"]);
        assert_eq!(Resource::of_word("svc").expect("a kind").older(), None);
    }

    #[test]
    fn kinds_are_named_as_people_do() {
        for word in ["ServiceEntry", "serviceentries", "se", "serviceentry.networking.istio.io"] {
            let named = named(&words(&[word, "a", "b"])).expect("a kind");
            let [(resource, names)] = &named[..] else { panic!("{named:?}") };
            assert_eq!(resource.word(), "serviceentry.networking.istio.io");
            assert_eq!(*names, ["a", "b"]);
            let path = "/apis/networking.istio.io/v1/namespaces/x/serviceentries/a%2Fb";
            assert_eq!(resource.path("x", "a/b"), path);
        }
        let several = named(&words(&["gw/a", "svc/b"])).expect("two");
        assert_eq!(several.len(), 2);
        assert_eq!(several[1].0.path("x", "b"), "/api/v1/namespaces/x/services/b");
        assert_eq!(named(&words(&["gw,vs"])).expect("two").len(), 2);
        let unknown = named(&words(&["gatway"])).expect_err("unknown").to_string();
        assert!(unknown.contains("\"gatway\"") && unknown.contains("gateways"), "{unknown}");
        assert!(named(&words(&["gw/a", "b"])).is_err());
    }
}
