//! Content negotiation: in which encoding, and as which view, an answer is to be given.

use super::failure::Failure;

/// What a client asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    /// The object or list itself.
    Whole,
    /// Rows for people, made by the server; `v1beta1` as old clients ask for it.
    Table { version: &'static str },
    /// Only the metadata.
    Metadata { list: bool },
}

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Json,
    Yaml,
}

/// One alternative of an `Accept` header: a media type and its parameters.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Clause<'a> {
    pub media: &'a str,
    pub group: Option<&'a str>,
    pub version: Option<&'a str>,
    pub view: Option<&'a str>,
}

/// What a header asks for, in order of preference as written; Kubernetes clients send no weights.
pub(crate) fn clauses(accept: &str) -> impl Iterator<Item = Clause<'_>> {
    accept.split(',').map(|clause| {
        let mut parts = clause.split(';').map(str::trim);
        let mut parsed = Clause {
            media: parts.next().unwrap_or_default(),
            group: None,
            version: None,
            view: None,
        };
        for part in parts {
            match part.split_once('=') {
                Some(("g", value)) => parsed.group = Some(value),
                Some(("v", value)) => parsed.version = Some(value),
                Some(("as", value)) => parsed.view = Some(value),
                // `stream=watch`, `q=…`, `charset=…` change nothing here.
                _ => {}
            }
        }
        parsed
    })
}

/// The first alternative that can be served. Protobuf never is; clients that prefer it offer JSON too.
pub(crate) fn negotiate(accept: Option<&str>) -> Result<(Encoding, View), Failure> {
    let Some(accept) = accept.filter(|accept| !accept.trim().is_empty()) else {
        return Ok((Encoding::Json, View::Whole));
    };
    clauses(accept).find_map(|clause| choose(&clause)).ok_or_else(|| {
        Failure::not_acceptable(
            "only the following media types are accepted: application/json, application/yaml",
        )
    })
}

fn choose(clause: &Clause<'_>) -> Option<(Encoding, View)> {
    let encoding = match clause.media {
        "application/json" | "application/*" | "*/*" => Encoding::Json,
        "application/yaml" => Encoding::Yaml,
        _ => return None,
    };
    let Some(view) = clause.view else {
        return Some((encoding, View::Whole));
    };
    if clause.group != Some("meta.k8s.io") {
        return None;
    }
    let view = match (view, clause.version) {
        ("Table", Some("v1")) => View::Table { version: "v1" },
        ("Table", Some("v1beta1")) => View::Table { version: "v1beta1" },
        ("PartialObjectMetadata", Some("v1" | "v1beta1")) => View::Metadata { list: false },
        ("PartialObjectMetadataList", Some("v1" | "v1beta1")) => View::Metadata { list: true },
        _ => return None,
    };
    Some((encoding, view))
}

/// Which form of discovery a client asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DiscoveryForm {
    /// Everything at once, in this version of `apidiscovery.k8s.io`.
    Aggregated(&'static str),
    /// One list per path.
    Plain,
}

/// As [`negotiate`], for `/api` and `/apis`.
pub(crate) fn negotiate_discovery(accept: Option<&str>) -> Result<DiscoveryForm, Failure> {
    let Some(accept) = accept.filter(|accept| !accept.trim().is_empty()) else {
        return Ok(DiscoveryForm::Plain);
    };
    clauses(accept)
        .find_map(|clause| {
            let aggregated = clause.view == Some("APIGroupDiscoveryList")
                && clause.group == Some("apidiscovery.k8s.io");
            match (clause.media, clause.view, clause.version) {
                ("application/json", Some(_), Some("v2")) if aggregated => {
                    Some(DiscoveryForm::Aggregated("v2"))
                }
                ("application/json", Some(_), Some("v2beta1")) if aggregated => {
                    Some(DiscoveryForm::Aggregated("v2beta1"))
                }
                ("application/json" | "application/*" | "*/*", None, _) => {
                    Some(DiscoveryForm::Plain)
                }
                _ => None,
            }
        })
        .ok_or_else(|| {
            Failure::not_acceptable("only the following media types are accepted: application/json")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KUBECTL_TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,\
        application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";

    #[test]
    fn serves_the_first_alternative_that_it_can() {
        let whole = Some((Encoding::Json, View::Whole));
        for (accept, expected) in [
            (None, whole),
            (Some(""), whole),
            (Some("*/*"), whole),
            (Some("application/json, */*"), whole),
            (Some("application/json;stream=watch"), whole),
            (Some("application/vnd.kubernetes.protobuf,application/json"), whole),
            (Some("application/yaml"), Some((Encoding::Yaml, View::Whole))),
            (Some(KUBECTL_TABLE), Some((Encoding::Json, View::Table { version: "v1" }))),
            (
                Some("application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"),
                Some((Encoding::Json, View::Metadata { list: true })),
            ),
            (Some("application/vnd.kubernetes.protobuf"), None),
            (Some("text/html"), None),
            (Some("application/json;as=Table;v=v9;g=meta.k8s.io"), None),
            (Some("application/json;as=Nope;v=v1;g=meta.k8s.io"), None),
        ] {
            assert_eq!(negotiate(accept).ok(), expected, "{accept:?}");
        }
    }

    #[test]
    fn tells_forms_of_discovery_apart() {
        let v2 = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        let v2beta1 = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";
        for (accept, expected) in [
            (None, Some(DiscoveryForm::Plain)),
            (Some(v2), Some(DiscoveryForm::Aggregated("v2"))),
            (Some(v2beta1), Some(DiscoveryForm::Aggregated("v2beta1"))),
            (Some("application/json"), Some(DiscoveryForm::Plain)),
            (Some("text/html"), None),
        ] {
            assert_eq!(negotiate_discovery(accept).ok(), expected, "{accept:?}");
        }
    }
}
