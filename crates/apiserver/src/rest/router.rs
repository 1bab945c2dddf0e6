//! Which question a path asks.

use http::Method;

use super::failure::Failure;
use super::query::percent_decode;
use super::served::Served;

/// What a path names.
#[derive(Debug)]
pub(crate) enum Route {
    Root,
    Version,
    Health,
    /// Which forms of objects proved good.
    Forms,
    /// What workloads were not let out.
    Egress,
    /// What was asked, and what is kept.
    Metrics,
    /// `/api`
    CoreVersions,
    /// `/apis`
    Groups,
    /// `/apis/<group>`
    Group(String),
    /// `/api/v1`, `/apis/<group>/<version>`
    Resources {
        group: String,
        version: String,
    },
    /// `/openapi/v2`
    OldOpenApi,
    /// `/openapi/v3`
    OpenApiIndex,
    /// `/openapi/v3/<path>`
    OpenApi(String),
    /// `selfsubject…reviews` and their like: questions in the form of objects.
    Review {
        group: String,
        resource: String,
    },
    Resource(Box<Target>),
}

/// Objects of a kind, or one of them, or a part of one.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub served: Served,
    /// Absent for cluster scope and for requests across namespaces.
    pub namespace: Option<String>,
    pub name: Option<String>,
    pub subresource: Option<String>,
    /// The old form of a watch: `/api/v1/watch/…`.
    pub watch: bool,
}

/// Groups that only answer reviews.
pub(crate) const REVIEWS: &[(&str, &str, &str)] = &[
    ("authorization.k8s.io", "selfsubjectaccessreviews", "SelfSubjectAccessReview"),
    ("authorization.k8s.io", "selfsubjectrulesreviews", "SelfSubjectRulesReview"),
    ("authentication.k8s.io", "selfsubjectreviews", "SelfSubjectReview"),
];

pub(crate) fn route(path: &str) -> Result<Route, Failure> {
    let path = path.trim_end_matches('/');
    let segments: Vec<_> = path.split('/').skip(1).map(percent_decode).collect();
    let segments: Vec<&str> = segments.iter().map(AsRef::as_ref).collect();
    Ok(match segments.as_slice() {
        [] => Route::Root,
        ["version"] => Route::Version,
        ["healthz" | "livez" | "readyz", ..] => Route::Health,
        ["tidegate", "forms"] => Route::Forms,
        ["tidegate", "egress"] => Route::Egress,
        ["metrics"] => Route::Metrics,
        ["api"] => Route::CoreVersions,
        ["apis"] => Route::Groups,
        ["apis", group] => Route::Group((*group).into()),
        ["openapi", "v2"] => Route::OldOpenApi,
        ["openapi", "v3"] => Route::OpenApiIndex,
        ["openapi", "v3", rest @ ..] => Route::OpenApi(rest.join("/")),
        ["api", version] => resources("", version),
        ["api", version, rest @ ..] => resource("", version, rest)?,
        ["apis", group, version] => resources(group, version),
        ["apis", group, version, rest @ ..] => resource(group, version, rest)?,
        _ => return Err(Failure::page_not_found()),
    })
}

fn resources(group: &str, version: &str) -> Route {
    Route::Resources { group: group.into(), version: version.into() }
}

fn resource(group: &str, version: &str, path: &[&str]) -> Result<Route, Failure> {
    if let [resource] = path
        && version == "v1"
        && REVIEWS.iter().any(|(g, r, _)| (g, r) == (&group, resource))
    {
        return Ok(Route::Review { group: group.into(), resource: (*resource).into() });
    }
    let (watch, path) = match path {
        ["watch", rest @ ..] => (true, rest),
        path => (false, path),
    };
    // `namespaces/<name>` is a Namespace itself, `namespaces/<name>/<plural>` what is in it.
    let (namespace, path) = match path {
        ["namespaces", namespace, plural, ..] if !of_namespace(group, plural) => {
            (Some((*namespace).to_owned()), &path[2..])
        }
        path => (None, path),
    };
    let (plural, name, subresource) = match path {
        [plural] => (plural, None, None),
        [plural, name] => (plural, Some(name), None),
        [plural, name, sub] => (plural, Some(name), Some(sub)),
        _ => return Err(Failure::page_not_found()),
    };
    let served = Served::find(group, version, plural).ok_or_else(|| nobody_acts(group, plural))?;
    let namespaced = served.info.scope == tidegate_api::Scope::Namespaced;
    // One object needs its namespace; a kind of cluster scope has none.
    if namespaced && name.is_some() && namespace.is_none() || !namespaced && namespace.is_some() {
        return Err(Failure::page_not_found());
    }
    Ok(Route::Resource(Box::new(Target {
        served,
        namespace,
        name: name.map(|name| (*name).to_owned()),
        subresource: subresource.map(|sub| (*sub).to_owned()),
        watch,
    })))
}

/// Groups of Kubernetes' own whose kinds kubectl writes by verbs such as `autoscale`, and why there are none here.
const ELSEWHERE: &[(&str, &str)] = &[
    ("autoscaling", "nothing here runs pods, and so nothing scales them"),
    ("batch", "nothing here runs jobs"),
    ("networking.k8s.io", "an Istio Gateway and a VirtualService say what comes in"),
    ("policy", "nothing here runs pods, and so nothing evicts them"),
    ("rbac.authorization.k8s.io", "who may do what is named by --api-token-file"),
];

/// Why there is nothing of a kind that is not served.
fn nobody_acts(group: &str, plural: &str) -> Failure {
    match ELSEWHERE.iter().find(|(known, _)| *known == group) {
        Some((_, why)) => Failure::not_served(group, plural, why),
        None => Failure::page_not_found(),
    }
}

/// The sub-resources of a Namespace, which look like kinds in it.
fn of_namespace(group: &str, segment: &str) -> bool {
    group.is_empty() && matches!(segment, "status" | "finalize")
}

/// What is to be done with a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
}

impl Verb {
    /// As Kubernetes calls it, and whoever asks whether they may.
    const NAMES: [(&'static str, Self); 8] = [
        ("get", Self::Get),
        ("list", Self::List),
        ("watch", Self::Watch),
        ("create", Self::Create),
        ("update", Self::Update),
        ("patch", Self::Patch),
        ("delete", Self::Delete),
        ("deletecollection", Self::DeleteCollection),
    ];

    pub(crate) fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, verb)| *verb == self).map_or("", |(name, _)| name)
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, verb)| *verb)
    }
}

impl Target {
    /// The verb that a method means here.
    pub(crate) fn verb(&self, method: &Method, watch: bool) -> Result<Verb, Failure> {
        let named = self.name.is_some();
        Ok(match *method {
            Method::GET | Method::HEAD if self.watch => Verb::Watch,
            Method::GET | Method::HEAD if named => Verb::Get,
            Method::GET | Method::HEAD if watch => Verb::Watch,
            Method::GET | Method::HEAD => Verb::List,
            // Kubernetes ignores a name behind a create.
            Method::POST => Verb::Create,
            Method::PUT if named => Verb::Update,
            Method::PATCH if named => Verb::Patch,
            Method::DELETE if named => Verb::Delete,
            Method::DELETE => Verb::DeleteCollection,
            Method::PUT | Method::PATCH => {
                return Err(Failure::bad_request("name must be provided"));
            }
            _ => return Err(Failure::method_not_allowed()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a path names, in one line: plural, namespace, name, sub-resource, `watch`.
    fn target(path: &str) -> Option<String> {
        let Ok(Route::Resource(target)) = route(path) else { return None };
        let or_dash = |part: Option<String>| part.unwrap_or_else(|| "-".into());
        let parts = [
            target.served.info.plural.to_owned(),
            or_dash(target.namespace),
            or_dash(target.name),
            or_dash(target.subresource),
        ];
        Some(format!("{}{}", parts.join(" "), if target.watch { " watch" } else { "" }))
    }

    #[test]
    fn paths_of_objects() {
        let base = "/apis/networking.istio.io/v1";
        for (path, expected) in [
            (format!("{base}/virtualservices"), Some("virtualservices - - -")),
            (format!("{base}/namespaces/a/virtualservices"), Some("virtualservices a - -")),
            (
                format!("{base}/namespaces/a/virtualservices/x/status"),
                Some("virtualservices a x status"),
            ),
            (
                format!("{base}/watch/namespaces/a/virtualservices"),
                Some("virtualservices a - - watch"),
            ),
            (format!("{base}/virtualservices/x"), None),
            (format!("{base}/namespaces/a/nopes"), None),
            ("/apis/networking.istio.io/v9/virtualservices".into(), None),
            ("/api/v1/namespaces".into(), Some("namespaces - - -")),
            ("/api/v1/namespaces/a".into(), Some("namespaces - a -")),
            ("/api/v1/namespaces/a/status".into(), Some("namespaces - a status")),
            ("/api/v1/namespaces/a/pods/p%2Dq/log".into(), Some("pods a p-q log")),
            ("/apis/events.k8s.io/v1/namespaces/a/events".into(), Some("events a - -")),
        ] {
            assert_eq!(target(&path).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn other_paths() {
        assert!(matches!(route("/"), Ok(Route::Root)));
        assert!(matches!(route("/readyz/ping"), Ok(Route::Health)));
        assert!(matches!(route(super::super::FORMS_PATH), Ok(Route::Forms)));
        assert!(matches!(route(super::super::EGRESS_PATH), Ok(Route::Egress)));
        assert!(matches!(route("/apis"), Ok(Route::Groups)));
        assert!(
            matches!(route("/openapi/v3/api/v1"), Ok(Route::OpenApi(path)) if path == "api/v1")
        );
        let review = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        assert!(matches!(route(review), Ok(Route::Review { .. })));
        for path in ["/nope", "/openapi/v1", "/apis/nope.io/v1/x"] {
            assert!(route(path).is_err(), "{path}");
        }
    }
}
