//! RequestAuthentications as a filter that verifies tokens, as Istio writes it.
//!
//! One filter for all of them, before those of AuthorizationPolicies, which ask what it notes. A token that is there must be
//! good; one that is not there is for AuthorizationPolicies to ask for, but for issuers whose `presence` is `REQUIRED`.
//!
//! Keys are written out, or fetched (`keys.rs`): from where the rule says, or else its issuer (OpenID discovery), who is asked by whoever
//! feeds the pilot. Whose keys are not known has no good tokens: a key takes their place that nobody has.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidegate_api::ObjectKey;
use tidegate_api::istio::frames;
use tidegate_api::istio::request_authentication::{JwksUri, JwtRule, Presence};
use tidegate_envoy::v3::cluster::Cluster;
use tidegate_envoy::v3::core::DataSource;
use tidegate_envoy::v3::core::data_source::Specifier;
use tidegate_envoy::v3::hcm::HttpFilter;
use tidegate_envoy::v3::jwt::jwt_provider::{JwksSourceSpecifier, NormalizePayload};
use tidegate_envoy::v3::jwt::jwt_requirement::RequiresType;
use tidegate_envoy::v3::jwt::requirement_rule::RequirementType;
use tidegate_envoy::v3::jwt::{
    JwtAuthentication, JwtCacheConfig, JwtClaimToHeader, JwtHeader, JwtProvider, JwtRequirement,
    JwtRequirementAndList, JwtRequirementOrList, RequirementRule,
};
use tidegate_envoy::v3::route::RouteMatch;
use tidegate_envoy::v3::route::route_match::PathSpecifier;

use super::claims::{FILTER, PAYLOAD};
use super::{Context, http_filter, keys};
use crate::model::authentication::TokenPolicies;
use crate::model::tls::Credential;
use crate::origins::Origin;

/// Claims that are lists of words wherever they stand, as in Istio.
const LISTS: [&str; 2] = ["permission", "scope"];

/// A set of one key that nobody has: a point of P-256 whose first coordinate is a hash (SHA-256 of
/// `tidegate: nobody has this key 2`), so that nobody knows its private part, and nobody can sign with it.
const NOBODYS_KEY: &str = r#"{"keys":[{"kty":"EC","crv":"P-256","alg":"ES256","kid":"nobody","x":"TDRw8aVrF8x1Ran3MERZrbf-SKAVre1zANdVefYx41c","y":"IoBgGwp1rUNOKwDgYjx8qeUzJucM9ibnOREmgFVNHsQ"}]}"#;

/// What issuers say of where their keys are, by their addresses; or why they do not.
pub type Discovered = BTreeMap<Arc<str>, Result<String, String>>;

/// What the RequestAuthentications of a gateway come to.
#[derive(Debug, Default, PartialEq)]
pub struct Tokens {
    /// What verifies tokens; `None` where nobody says which are taken.
    pub filter: Option<HttpFilter>,
    /// What is not in force as it is written, in words.
    pub faults: BTreeMap<ObjectKey, Vec<String>>,
    /// Clusters that keys are fetched through, besides those of services.
    pub clusters: BTreeMap<Arc<str>, KeysCluster>,
    /// Hosts that keys are at: what the registry and DestinationRules say of them counts.
    pub hosts: BTreeSet<Arc<str>>,
    /// The addresses that keys are fetched from, and for whom.
    pub fetched: BTreeSet<(String, ObjectKey)>,
    /// The issuers that are asked where their keys are.
    pub issuers: BTreeSet<Arc<str>>,
    /// What fetches take for handshakes, and for whom.
    pub credentials: BTreeSet<(Credential, ObjectKey)>,
}

/// A cluster that keys are fetched through.
#[derive(Clone, Debug, PartialEq)]
pub struct KeysCluster {
    /// The cluster.
    pub cluster: Cluster,
    /// The RequestAuthentications whose keys these are.
    pub owners: BTreeSet<ObjectKey>,
}

impl Tokens {
    /// Takes what fetching takes besides the filter; answers where the keys come from.
    fn fetch(&mut self, fetched: keys::Fetched, key: &ObjectKey) -> JwksSourceSpecifier {
        self.hosts.insert(fetched.host);
        if let Some(cluster) = fetched.cluster {
            let name: Arc<str> = cluster.name.as_str().into();
            let owners = BTreeSet::new();
            let shared = self.clusters.entry(name).or_insert(KeysCluster { cluster, owners });
            shared.owners.insert(key.clone());
        }
        if let Some(uri) = &fetched.remote.http_uri {
            self.fetched.insert((uri.uri.clone(), key.clone()));
        }
        let credentials = fetched.credentials.into_iter();
        self.credentials.extend(credentials.map(|credential| (credential, key.clone())));
        JwksSourceSpecifier::RemoteJwks(fetched.remote)
    }
}

/// Compiles all RequestAuthentications that hold.
#[must_use]
pub fn compile(policies: &TokenPolicies, discovered: &Discovered, context: &Context<'_>) -> Tokens {
    let mut rules = Vec::new();
    for policy in policies.here() {
        for (number, rule) in policy.spec.jwt_rules.iter().enumerate() {
            rules.push((&policy.key, number, rule));
        }
    }
    if rules.is_empty() {
        return Tokens::default();
    }
    rules.sort_by(|a, b| a.2.issuer.cmp(&b.2.issuer));
    let mut tokens = Tokens::default();
    let mut providers = BTreeMap::new();
    let mut named = Vec::with_capacity(rules.len());
    for (key, number, rule) in rules {
        let mut found = Vec::new();
        let name = name(key, number);
        let source = match keys(rule, discovered, context, &mut tokens, key) {
            Ok(source) => source,
            Err((field, why)) => {
                found.push(format!("jwtRules[{number}].{field}: {why}"));
                written(NOBODYS_KEY.to_owned())
            }
        };
        providers.insert(name.clone(), provider(rule, number, source, &mut found));
        named.push((name, rule.presence));
        if !found.is_empty() {
            tokens.faults.entry(key.clone()).or_default().extend(found);
        }
    }
    let everywhere = RouteMatch {
        path_specifier: Some(PathSpecifier::Prefix("/".to_owned())),
        ..RouteMatch::default()
    };
    let filter = JwtAuthentication {
        providers,
        rules: vec![RequirementRule {
            r#match: Some(everywhere),
            requirement_type: Some(RequirementType::Requires(needs(&named))),
        }],
        bypass_cors_preflight: true,
        ..JwtAuthentication::default()
    };
    tokens.filter = Some(http_filter(FILTER, &filter));
    tokens
}

/// The rules that the filter's providers were made from, in the order of the providers' names, which is the proxy's.
#[must_use]
pub fn origins(policies: &TokenPolicies) -> Vec<Origin> {
    let rules = policies.here().flat_map(|policy| {
        let numbers = 0..policy.spec.jwt_rules.len();
        numbers.map(|number| {
            let origin = Origin::new(policy.key.clone(), format_args!("jwtRules[{number}]"));
            (name(&policy.key, number), origin)
        })
    });
    let rules: BTreeMap<String, Origin> = rules.collect();
    rules.into_values().collect()
}

/// The name of the provider of a rule.
fn name(key: &ObjectKey, number: usize) -> String {
    format!("ns[{}]-policy[{}]-rule[{number}]", key.namespace, key.name)
}

/// What requests need of providers: each of those whose tokens must be there; else a token that is there must be good for
/// one of them, or, where each has places of its own, for all.
fn needs(named: &[(String, Presence)]) -> JwtRequirement {
    let of = |name: &String| is(RequiresType::ProviderName(name.clone()));
    let required = named.iter().filter(|(_, presence)| *presence == Presence::Required);
    let required: Vec<JwtRequirement> = required.map(|(name, _)| of(name)).collect();
    if !required.is_empty() {
        return all(required);
    }
    let optional = |name| any_of(vec![of(name), is(RequiresType::AllowMissing(()))]);
    let each = all(named.iter().map(|(name, _)| optional(name)).collect());
    if named.len() == 1 {
        return each;
    }
    any_of(named.iter().map(|(name, _)| of(name)).chain([each]).collect())
}

fn is(kind: RequiresType) -> JwtRequirement {
    JwtRequirement { requires_type: Some(kind) }
}

fn any_of(requirements: Vec<JwtRequirement>) -> JwtRequirement {
    is(RequiresType::RequiresAny(JwtRequirementOrList { requirements }))
}

/// All of some; one alone as it is.
fn all(mut requirements: Vec<JwtRequirement>) -> JwtRequirement {
    match requirements.pop() {
        Some(only) if requirements.is_empty() => only,
        last => {
            requirements.extend(last);
            is(RequiresType::RequiresAll(JwtRequirementAndList { requirements }))
        }
    }
}

fn provider(
    rule: &JwtRule,
    number: usize,
    source: JwksSourceSpecifier,
    found: &mut Vec<String>,
) -> JwtProvider {
    let mut lists: Vec<&str> = rule.space_delimited_claims.iter().map(String::as_str).collect();
    lists.extend(LISTS);
    lists.sort_unstable();
    lists.dedup();
    // A claim changes neither where the proxy routes to nor where a message ends.
    let mut writable = |place: String, name: &str| {
        let own = name.eq_ignore_ascii_case("host") || frames(name);
        if own {
            found.push(format!(
                "jwtRules[{number}].{place}: `{name}` is not written; take another name"
            ));
        }
        !own
    };
    let payload_header = Some(rule.output_payload_to_header.clone())
        .filter(|name| writable("outputPayloadToHeader".to_owned(), name));
    let copies = rule.output_claim_to_headers.iter().enumerate();
    let copies = copies
        .filter(|(at, copy)| writable(format!("outputClaimToHeaders[{at}].header"), &copy.header))
        .map(|(_, copy)| JwtClaimToHeader {
            header_name: copy.header.clone(),
            claim_name: copy.claim.clone(),
            ..JwtClaimToHeader::default()
        })
        .collect();
    let place = |header: &tidegate_api::istio::request_authentication::JwtHeader| JwtHeader {
        name: header.name.clone(),
        value_prefix: header.prefix.clone(),
    };
    JwtProvider {
        issuer: rule.issuer.clone(),
        audiences: rule.audiences.clone(),
        forward: rule.forward_original_token,
        from_headers: rule.from_headers.iter().map(place).collect(),
        from_params: rule.from_params.clone(),
        from_cookies: rule.from_cookies.clone(),
        forward_payload_header: payload_header.unwrap_or_default(),
        claim_to_headers: copies,
        payload_in_metadata: PAYLOAD.to_owned(),
        normalize_payload_in_metadata: Some(NormalizePayload {
            space_delimited_claims: lists.into_iter().map(str::to_owned).collect(),
        }),
        // Routes may ask for claims.
        clear_route_cache: true,
        jwt_cache_config: Some(JwtCacheConfig::default()),
        jwks_source_specifier: Some(source),
        ..JwtProvider::default()
    }
}

/// Where the keys of an issuer come from; else the field for which there are none, and why.
fn keys(
    rule: &JwtRule,
    discovered: &Discovered,
    context: &Context<'_>,
    tokens: &mut Tokens,
    key: &ObjectKey,
) -> Result<JwksSourceSpecifier, (&'static str, String)> {
    if !rule.jwks.is_empty() {
        return Ok(written(as_set(&rule.jwks)));
    }
    let (field, address) = match rule.jwks_uri.as_str() {
        "" => ("issuer", said(&rule.issuer, discovered, tokens).map_err(|why| ("issuer", why))?),
        address => ("jwksUri", address),
    };
    let fetched = keys::fetched(address, rule.timeout, context);
    let fetched = fetched
        .map_err(|why| (field, format!("{why}, so that every token of this issuer is refused")))?;
    Ok(tokens.fetch(fetched, key))
}

/// Where an issuer says that its keys are; else why that is not known. It is asked from now on.
fn said<'d>(
    issuer: &str,
    discovered: &'d Discovered,
    tokens: &mut Tokens,
) -> Result<&'d str, String> {
    if JwksUri::parse(issuer).is_err() || issuer.contains(['?', '#']) {
        let why = "it is no address that could be asked where its keys are, so that every token of this issuer is refused; write \
                   jwksUri or jwks";
        return Err(why.to_owned());
    }
    let issuer: Arc<str> = issuer.into();
    tokens.issuers.insert(Arc::clone(&issuer));
    match discovered.get(&issuer) {
        Some(Ok(address)) => Ok(address),
        Some(Err(why)) => Err(format!(
            "where its keys are is not known: {why}; every token of this issuer is refused until it says so, or jwksUri does"
        )),
        None => Err("it is being asked where its keys are; until it says so every token of this issuer is refused".to_owned()),
    }
}

/// Keys that are written out.
fn written(keys: String) -> JwksSourceSpecifier {
    JwksSourceSpecifier::LocalJwks(DataSource {
        specifier: Some(Specifier::InlineString(keys)),
        ..DataSource::default()
    })
}

/// A set of keys. One that stands alone is a set of one.
fn as_set(jwks: &str) -> String {
    let is_set = serde_json::from_str::<serde_json::Value>(jwks)
        .is_ok_and(|value| value.get("keys").is_some());
    if is_set { jwks.to_owned() } else { format!("{{\"keys\":[{jwks}]}}") }
}

#[cfg(test)]
mod tests;
