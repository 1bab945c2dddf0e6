//! What Istio's admission webhook takes and proxies refuse.
//!
//! Such a value costs more than its rule: Envoy refuses the whole virtual host for it, and with it what other objects say of
//! the host. So it is told where the object is given, and whoever compiles rules asks here before.

use tidegate_envoy::variables;

use super::{Headers, HttpMatchRequest, HttpRoute, HttpRouteDestination};
use crate::istio::StringMatch;
use crate::istio::rules::{self, headers};

/// Most bytes in the name of a query parameter that Envoy looks for.
const MAX_PARAMETER_NAME: usize = 1024;
/// Longest prefix that a rewrite to `/` takes away: it becomes a regular expression.
const MAX_PREFIX_TAKEN_AWAY: usize = 4096;

/// A value that proxies refuse: the field, by its path below the rule or the condition, and what is wrong with it.
pub type Unfit = (String, String);

impl HttpRoute {
    /// What proxies refuse of what the rule does; its conditions are asked by themselves.
    #[must_use]
    pub fn unfit(&self) -> Vec<Unfit> {
        let mut found = Vec::new();
        of_headers("headers", self.headers.as_deref(), &mut found);
        for (d, HttpRouteDestination { headers, .. }) in self.route.iter().enumerate() {
            of_headers(&format!("route[{d}].headers"), headers.as_deref(), &mut found);
        }
        let mut texts: Vec<(&str, &str)> = Vec::new();
        if let Some(rewrite) = &self.rewrite {
            texts.extend([
                ("rewrite.uri", rewrite.uri.as_str()),
                ("rewrite.authority", &rewrite.authority),
            ]);
            if let Some(regex) = &rewrite.uri_regex_rewrite {
                let field = "rewrite.uriRegexRewrite.rewrite";
                texts.push((field, &regex.rewrite));
                let fault = rules::substitution(&regex.pattern, &regex.rewrite);
                found.extend(fault.map(|fault| (field.to_owned(), fault)));
            }
            let long = self.matches.iter().any(|condition| {
                matches!(&condition.uri, Some(StringMatch::Prefix(p)) if p.len() > MAX_PREFIX_TAKEN_AWAY)
            });
            if rewrite.uri == "/" && long {
                let fault =
                    format!("a prefix above {MAX_PREFIX_TAKEN_AWAY} bytes cannot be taken away");
                found.push(("rewrite.uri".to_owned(), fault));
            }
        }
        if let Some(redirect) = &self.redirect {
            texts.extend([
                ("redirect.uri", redirect.uri.as_str()),
                ("redirect.authority", &redirect.authority),
                ("redirect.prefixRewrite", &redirect.prefix_rewrite),
            ]);
        }
        let abort = self.fault.as_ref().and_then(|fault| fault.abort.as_ref());
        if abort.and_then(|abort| abort.http_status) == Some(600) {
            let fault = "600 is no status of HTTP, which has 200 to 599";
            found.push(("fault.abort.httpStatus".to_owned(), fault.to_owned()));
        }
        let broken = texts.into_iter().filter(|(_, text)| text.contains(['\r', '\n', '\0']));
        found.extend(broken.map(|(field, _)| {
            (field.to_owned(), "a line break or NUL cannot stand in a head of HTTP".to_owned())
        }));
        found
    }
}

fn of_headers(path: &str, headers: Option<&Headers>, found: &mut Vec<Unfit>) {
    let both =
        headers.into_iter().flat_map(|h| [("request", &h.request), ("response", &h.response)]);
    for (direction, operations) in both.filter_map(|(name, o)| Some((name, o.as_ref()?))) {
        for (what, values) in [("set", &operations.set), ("add", &operations.add)] {
            found.extend(values.iter().filter_map(|(name, value)| {
                let fault = variables::unserved(value)?.to_string();
                Some((format!("{path}.{direction}.{what}[{name}]"), fault))
            }));
        }
        let set = operations.set.keys().map(|name| (format!("set[{name}]"), name));
        let add = operations.add.keys().map(|name| (format!("add[{name}]"), name));
        let framing = set.clone().chain(add.clone()).filter(|(_, name)| headers::frames(name));
        found.extend(framing.map(|(field, name)| {
            let fault = format!(
                "{name} says where a message ends, which the proxy alone decides: a wrong one would \
                 make a second message of what follows (RFC 9112, section 11.2)"
            );
            (format!("{path}.{direction}.{field}"), fault)
        }));
        let remove = operations.remove.iter().enumerate();
        let remove = remove.map(|(at, name)| (format!("remove[{at}]"), name));
        let wrong = set
            .chain(add)
            .chain(remove)
            .filter(|(_, name)| !headers::is_token(name) && !headers::is_authority(name));
        found.extend(wrong.map(|(field, name)| {
            let fault = format!("{name:?} is no name of a header (RFC 9110, section 5.6.2)");
            (format!("{path}.{direction}.{field}"), fault)
        }));
    }
}

impl HttpMatchRequest {
    /// What proxies refuse of the condition.
    #[must_use]
    pub fn unfit(&self) -> Option<Unfit> {
        let wrong = |name: &&String| name.is_empty() || name.len() > MAX_PARAMETER_NAME;
        let name = self.query_params.keys().find(wrong)?;
        let fault = match name.len() {
            0 => "a query parameter without a name cannot be asked for".to_owned(),
            _ => format!("the name of a query parameter has {MAX_PARAMETER_NAME} bytes at most"),
        };
        Some(("queryParams".to_owned(), fault))
    }
}
