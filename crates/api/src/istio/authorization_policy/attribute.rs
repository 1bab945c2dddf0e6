//! What a condition of a rule looks at.

/// An attribute of a request or a connection, as `when[].key` names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Attribute {
    /// `request.headers[NAME]`
    Header(String),
    /// `source.ip`: where the connection comes from.
    SourceIp,
    /// `remote.ip`: the client, as X-Forwarded-For or the PROXY protocol tell it behind trusted proxies.
    RemoteIp,
    /// `source.namespace`
    SourceNamespace,
    /// `source.serviceAccount`
    SourceServiceAccount,
    /// `source.principal`
    SourcePrincipal,
    /// `source.trustDomain`
    SourceTrustDomain,
    /// `request.auth.principal`
    RequestPrincipal,
    /// `request.auth.audiences`
    RequestAudiences,
    /// `request.auth.presenter`
    RequestPresenter,
    /// `request.auth.claims[A][B]…`: the names on the way to a claim.
    RequestClaim(Vec<String>),
    /// `destination.ip`
    DestinationIp,
    /// `destination.port`
    DestinationPort,
    /// `connection.sni`
    Sni,
    /// `experimental.envoy.filters.NAME[KEY]`: what a filter of Envoy notes in its metadata.
    FilterMetadata {
        /// The filter, with `envoy.filters.` before its name.
        filter: String,
        /// The key of what it notes.
        key: String,
    },
}

impl Attribute {
    /// Reads a key.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(key: &str) -> Result<Self, String> {
        const FILTERS: &str = "experimental.";
        Ok(match key {
            "source.ip" => Self::SourceIp,
            "remote.ip" => Self::RemoteIp,
            "source.namespace" => Self::SourceNamespace,
            "source.serviceAccount" => Self::SourceServiceAccount,
            "source.principal" => Self::SourcePrincipal,
            "source.trustDomain" => Self::SourceTrustDomain,
            "request.auth.principal" => Self::RequestPrincipal,
            "request.auth.audiences" => Self::RequestAudiences,
            "request.auth.presenter" => Self::RequestPresenter,
            "destination.ip" => Self::DestinationIp,
            "destination.port" => Self::DestinationPort,
            "connection.sni" => Self::Sni,
            "destination.namespace" => {
                return Err("the policy's own namespace stands for destination.namespace".into());
            }
            "destination.name" | "destination.user" => {
                return Err(format!("{key} is no more; a selector picks workloads"));
            }
            _ if key.starts_with("destination.labels") => {
                return Err("the selector stands for destination.labels".into());
            }
            _ => match key.split_once('[') {
                Some(("request.headers", _)) => Self::Header(in_brackets(key)?.to_owned()),
                Some(("request.auth.claims", _)) => Self::RequestClaim(claims(in_brackets(key)?)),
                Some((filter, _)) if filter.starts_with("experimental.envoy.filters.") => {
                    let filter = filter[FILTERS.len()..].to_owned();
                    Self::FilterMetadata { filter, key: in_brackets(key)?.to_owned() }
                }
                _ => return Err(format!("unknown attribute {key:?}")),
            },
        })
    }

    /// Whether connections without HTTP have nothing of the kind.
    pub fn is_http(&self) -> bool {
        matches!(
            self,
            Self::Header(_)
                | Self::RequestPrincipal
                | Self::RequestAudiences
                | Self::RequestPresenter
                | Self::RequestClaim(_)
        )
    }
}

/// What stands between the first opening bracket and the closing one that ends the text.
fn in_brackets(key: &str) -> Result<&str, String> {
    let inner = key.split_once('[').and_then(|(_, rest)| rest.strip_suffix(']'));
    inner
        .filter(|inner| !inner.is_empty())
        .ok_or_else(|| format!("bad key {key:?}: expected the form a[b]"))
}

/// `a][b` is the claim `b` within `a`; anything else is one name.
fn claims(inner: &str) -> Vec<String> {
    let names: Vec<&str> = inner.split("][").collect();
    if names.iter().any(|name| name.contains(['[', ']'])) {
        return vec![inner.to_owned()];
    }
    names.into_iter().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        let header = |name: &str| Ok(Attribute::Header(name.to_owned()));
        assert_eq!(Attribute::parse("request.headers[:authority]"), header(":authority"));
        assert_eq!(Attribute::parse("request.headers[a[b]"), header("a[b"));
        let claim = |names: &[&str]| {
            Ok(Attribute::RequestClaim(names.iter().map(|n| (*n).to_owned()).collect()))
        };
        assert_eq!(Attribute::parse("request.auth.claims[a][b]"), claim(&["a", "b"]));
        assert_eq!(Attribute::parse("request.auth.claims[a]b]"), claim(&["a]b"]));
        assert_eq!(
            Attribute::parse("experimental.envoy.filters.a.b[c]"),
            Ok(Attribute::FilterMetadata {
                filter: "envoy.filters.a.b".to_owned(),
                key: "c".to_owned()
            })
        );
        for bad in [
            "",
            "key1",
            "request.headers",
            "request.headers[]",
            "request.headers[a",
            "request.auth.claims",
            "request.auth.claims[a]b",
            "destination.labels[a]",
            "destination.user",
            "experimental.envoy.filters.a",
            "experimental.other[a]",
        ] {
            assert!(Attribute::parse(bad).is_err(), "{bad}");
        }
    }
}
