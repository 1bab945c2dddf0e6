//! Delegates: rules of a VirtualService without hosts, applied under a rule of another that leads to them.
//!
//! What both say is combined as Istio combines it: conditions pairwise, where the delegate's may only narrow the
//! root's; of everything else the delegate's own word counts, and the root's where it has none.

use std::collections::BTreeMap;
use std::fmt;

use tidegate_api::istio::StringMatch;
use tidegate_api::istio::virtual_service::{HttpMatchRequest, HttpRoute};

/// A rule of a delegate under the root's rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Merged {
    /// What both say together.
    pub rule: HttpRoute,
    /// Where each of its conditions comes from.
    pub conditions: Vec<ConditionOrigin>,
}

/// Numbers of the conditions that one condition was made from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ConditionOrigin {
    /// Among those of the rule itself.
    pub own: Option<usize>,
    /// Among those of the root's rule that leads to it.
    pub root: Option<usize>,
}

/// A condition of a delegate contradicts every condition of the root's rule, so that its rule is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contradiction {
    /// Number of the delegate's condition.
    pub condition: usize,
    /// In what it contradicts each of the root's conditions.
    pub with: Vec<Conflict>,
}

/// A field in which a delegate's condition is not within the root's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The field, as in `headers[x-version]`.
    pub field: String,
    /// What the root asks for.
    pub root: String,
    /// What the delegate asks for.
    pub own: String,
}

/// Combines a rule of a delegate with the root's rule that leads to it.
///
/// # Errors
/// A condition of the delegate contradicts all conditions of the root.
pub fn merge(root: &HttpRoute, own: &HttpRoute) -> Result<Merged, Contradiction> {
    let (matches, conditions) = conditions(&root.matches, &own.matches)?;
    let mut rule = HttpRoute { matches, delegate: None, ..own.clone() };
    rule.name = joined(&root.name, &own.name);
    or(&mut rule.rewrite, &root.rewrite);
    or(&mut rule.direct_response, &root.direct_response);
    or(&mut rule.timeout, &root.timeout);
    or(&mut rule.retries, &root.retries);
    or(&mut rule.fault, &root.fault);
    or(&mut rule.mirror, &root.mirror);
    or(&mut rule.mirror_percent, &root.mirror_percent);
    or(&mut rule.mirror_percentage, &root.mirror_percentage);
    or(&mut rule.cors_policy, &root.cors_policy);
    or(&mut rule.headers, &root.headers);
    if rule.mirrors.is_empty() {
        rule.mirrors.clone_from(&root.mirrors);
    }
    Ok(Merged { rule, conditions })
}

/// The first field in which a delegate's condition is not within the root's; `None` when it is.
#[must_use]
pub fn conflict(root: &HttpMatchRequest, own: &HttpMatchRequest) -> Option<Conflict> {
    let texts = [
        ("uri", &root.uri, &own.uri),
        ("scheme", &root.scheme, &own.scheme),
        ("method", &root.method, &own.method),
        ("authority", &root.authority, &own.authority),
    ];
    for (field, root, own) in texts {
        if let (Some(root), Some(own)) = (root, own)
            && !is_within(own, root)
        {
            return Some(Conflict::new(field, text(root), text(own)));
        }
    }
    let maps = [
        ("headers", &root.headers, &own.headers),
        ("withoutHeaders", &root.without_headers, &own.without_headers),
        ("queryParams", &root.query_params, &own.query_params),
    ];
    for (field, root, own) in maps {
        for (name, own) in own {
            if let Some(root) = root.get(name).filter(|root| !is_within(own, root)) {
                return Some(Conflict::new(&format!("{field}[{name}]"), text(root), text(own)));
            }
        }
    }
    place_conflict(root, own)
}

/// As [`conflict`], of what is not asked of the request itself.
fn place_conflict(root: &HttpMatchRequest, own: &HttpMatchRequest) -> Option<Conflict> {
    if root.ignore_uri_case != own.ignore_uri_case {
        let (root, own) = (root.ignore_uri_case.to_string(), own.ignore_uri_case.to_string());
        return Some(Conflict::new("ignoreUriCase", root, own));
    }
    if let (Some(root), Some(own)) = (root.port, own.port)
        && root != own
    {
        return Some(Conflict::new("port", root.to_string(), own.to_string()));
    }
    if !root.source_namespace.is_empty() && root.source_namespace != own.source_namespace {
        let (root, own) = (root.source_namespace.clone(), own.source_namespace.clone());
        return Some(Conflict::new("sourceNamespace", root, own));
    }
    for (name, own) in &own.source_labels {
        if let Some(root) = root.source_labels.get(name).filter(|root| *root != own) {
            let field = format!("sourceLabels[{name}]");
            return Some(Conflict::new(&field, root.clone(), own.clone()));
        }
    }
    let both = !root.gateways.is_empty() && !own.gateways.is_empty();
    let within = own.gateways.iter().all(|gateway| root.gateways.contains(gateway));
    (both && !within)
        .then(|| Conflict::new("gateways", root.gateways.join(", "), own.gateways.join(", ")))
}

type Conditions = (Vec<HttpMatchRequest>, Vec<ConditionOrigin>);

fn conditions(
    root: &[HttpMatchRequest],
    own: &[HttpMatchRequest],
) -> Result<Conditions, Contradiction> {
    if own.is_empty() {
        let origins = (0..root.len()).map(|r| ConditionOrigin { own: None, root: Some(r) });
        return Ok((root.to_vec(), origins.collect()));
    }
    if root.is_empty() {
        let origins = (0..own.len()).map(|o| ConditionOrigin { own: Some(o), root: None });
        return Ok((own.to_vec(), origins.collect()));
    }
    let (mut all, mut origins) = Conditions::default();
    for (o, own) in own.iter().enumerate() {
        let mut with = Vec::new();
        for (r, root) in root.iter().enumerate() {
            match conflict(root, own) {
                Some(conflict) => with.push(conflict),
                None => {
                    all.push(both(root, own));
                    origins.push(ConditionOrigin { own: Some(o), root: Some(r) });
                }
            }
        }
        if with.len() == root.len() {
            return Err(Contradiction { condition: o, with });
        }
    }
    Ok((all, origins))
}

/// Two conditions that do not contradict each other as one.
fn both(root: &HttpMatchRequest, own: &HttpMatchRequest) -> HttpMatchRequest {
    let mut all = own.clone();
    all.name = joined(&root.name, &own.name);
    or(&mut all.uri, &root.uri);
    or(&mut all.scheme, &root.scheme);
    or(&mut all.method, &root.method);
    or(&mut all.authority, &root.authority);
    or(&mut all.port, &root.port);
    and(&mut all.headers, &root.headers);
    and(&mut all.without_headers, &root.without_headers);
    and(&mut all.query_params, &root.query_params);
    and(&mut all.source_labels, &root.source_labels);
    for (own, root) in [
        (&mut all.source_namespace, &root.source_namespace),
        (&mut all.stat_prefix, &root.stat_prefix),
    ] {
        if own.is_empty() {
            own.clone_from(root);
        }
    }
    if all.gateways.is_empty() {
        all.gateways.clone_from(&root.gateways);
    }
    all
}

/// Whether every text that `own` takes is one that `root` takes, as Istio judges it: patterns are not within
/// anything, not even within themselves.
fn is_within(own: &StringMatch, root: &StringMatch) -> bool {
    match (root, own) {
        (StringMatch::Exact(root), StringMatch::Exact(own)) => own == root,
        (StringMatch::Prefix(root), StringMatch::Exact(own) | StringMatch::Prefix(own)) => {
            own.starts_with(root.as_str())
        }
        _ => false,
    }
}

fn joined(root: &str, own: &str) -> String {
    match (root, own) {
        ("", only) | (only, "") => only.to_owned(),
        (root, own) => format!("{root}-{own}"),
    }
}

fn or<T: Clone>(own: &mut Option<T>, root: &Option<T>) {
    if own.is_none() {
        own.clone_from(root);
    }
}

fn and<T: Clone>(own: &mut BTreeMap<String, T>, root: &BTreeMap<String, T>) {
    for (name, condition) in root {
        own.entry(name.clone()).or_insert_with(|| condition.clone());
    }
}

fn text(condition: &StringMatch) -> String {
    match condition {
        StringMatch::Present => "to be there".to_owned(),
        StringMatch::Exact(text) => format!("exact {text}"),
        StringMatch::Prefix(text) => format!("prefix {text}"),
        StringMatch::Regex(text) => format!("regex {text}"),
    }
}

// === impl Conflict ===

impl Conflict {
    fn new(field: &str, root: String, own: String) -> Self {
        Self { field: field.to_owned(), root, own }
    }
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word =
            |text: &str| if text.is_empty() { "nothing".to_owned() } else { text.to_owned() };
        let (own, root) = (word(&self.own), word(&self.root));
        write!(f, "{} asks for {own}, which is not within {root}", self.field)
    }
}
