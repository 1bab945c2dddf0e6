//! One rule of an AuthorizationPolicy: what it asks of an operation as permissions, what of a source as principals.

use std::fmt;

use tidegate_api::istio::authorization_policy::{
    Action, Attribute, Condition, Operation, Rule, Source, has_template,
};
use tidegate_api::istio::is_field;
use tidegate_envoy::any;
use tidegate_envoy::types::envoy::extensions::path::r#match::uri_template::v3::UriTemplateMatchConfig;
use tidegate_envoy::v3::core::{CidrRange, TypedExtensionConfig};
use tidegate_envoy::v3::matcher::string_matcher::MatchPattern;
use tidegate_envoy::v3::matcher::{MetadataMatcher, PathMatcher, StringMatcher, path_matcher};
use tidegate_envoy::v3::rbac::permission::Rule as Permits;
use tidegate_envoy::v3::rbac::principal::{Authenticated, Identifier};
use tidegate_envoy::v3::rbac::{Permission, Policy, Principal, permission, principal};
use tidegate_envoy::v3::route::HeaderMatcher;
use tidegate_envoy::v3::route::header_matcher::HeaderMatchSpecifier;

use super::aliases;
use crate::compile::{claims, filter_chain, text};
use crate::model::subnet::Subnet;

/// What is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    /// Requests.
    Requests,
    /// Connections, of which nothing is known but addresses, server name and certificate.
    Connections,
}

/// What permissions and principals are made of.
pub(super) trait Term: Sized {
    /// Always holds.
    fn any() -> Self;
    /// All of them hold.
    fn all(terms: Vec<Self>) -> Self;
    /// One of them holds.
    fn one(terms: Vec<Self>) -> Self;
    /// It does not hold.
    fn not(term: Self) -> Self;
}

/// Why something cannot be asked.
enum Unfit {
    /// Connections have nothing of the kind.
    HttpOnly,
    /// No filter notes anything of the kind.
    Metadata,
    /// It is wrong.
    Wrong(String),
}

/// A condition of a rule: where it stands, and what it asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asks {
    /// The field: `rules[0].to[0].operation.methods`.
    pub path: String,
    /// What is looked at: the field's own name, or the attribute of a `when`.
    pub what: String,
    /// Values of which one is asked for, or, in a field whose name begins with `not`, none.
    pub values: Vec<String>,
}

/// The conditions of which a compiled rule was made, in its order: of each permission, and of each principal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// Of what is asked for.
    pub permissions: Vec<Vec<Asks>>,
    /// Of who asks.
    pub principals: Vec<Vec<Asks>>,
}

/// Terms, and the conditions that they were made from.
type Terms<T> = Vec<(T, Asks)>;

/// A rule that would allow and asks for something that cannot be asked: it is left out.
struct LeftOut;

struct Compiler<'a> {
    level: Level,
    /// Whether what cannot be asked drops the whole rule, as where it allows; otherwise the rule asks for the rest.
    allows: bool,
    /// The namespace of the policy.
    namespace: &'a str,
    /// The trust domain of the mesh and its aliases.
    domains: &'a [String],
    /// What is not in force as it is written.
    found: &'a mut Vec<String>,
}

/// Compiles a rule; `None` where it is left out.
pub(super) fn compile(
    rule: &Rule,
    number: usize,
    level: Level,
    action: Action,
    (namespace, domains): (&str, &[String]),
    found: &mut Vec<String>,
) -> Option<(Policy, Conditions)> {
    let allows = action == Action::Allow;
    let mut compiler = Compiler { level, allows, namespace, domains, found };
    compiler.rule(rule, &format!("rules[{number}]")).ok()
}

impl Compiler<'_> {
    fn rule(&mut self, rule: &Rule, place: &str) -> Result<(Policy, Conditions), LeftOut> {
        let (mut asked, mut asking) = (Terms::new(), Terms::new());
        for (number, condition) in rule.when.iter().enumerate() {
            let place = format!("{place}.when[{number}]");
            self.condition(condition, &place, &mut asked, &mut asking)?;
        }
        let operations = rule.to.iter().flatten().map(|to| to.operation.as_ref());
        let mut permissions = Vec::new();
        for (number, operation) in operations.enumerate() {
            let mut terms = Vec::new();
            if let Some(operation) = operation {
                self.operation(operation, &format!("{place}.to[{number}].operation"), &mut terms)?;
            }
            terms.extend(asked.iter().cloned());
            permissions.push(terms);
        }
        let sources = rule.from.iter().flatten().map(|from| from.source.as_ref());
        let mut principals = Vec::new();
        for (number, source) in sources.enumerate() {
            let mut terms = Vec::new();
            if let Some(source) = source {
                self.source(source, &format!("{place}.from[{number}].source"), &mut terms)?;
            }
            terms.extend(asking.iter().cloned());
            principals.push(terms);
        }
        if permissions.is_empty() {
            permissions.push(asked);
        }
        if principals.is_empty() {
            principals.push(asking);
        }
        let (permissions, of_permissions) = permissions.into_iter().map(together).unzip();
        let (principals, of_principals) = principals.into_iter().map(together).unzip();
        let conditions = Conditions { permissions: of_permissions, principals: of_principals };
        Ok((Policy { permissions, principals, ..Policy::default() }, conditions))
    }

    fn operation(
        &mut self,
        operation: &Operation,
        place: &str,
        terms: &mut Terms<Permission>,
    ) -> Result<(), LeftOut> {
        let Operation {
            hosts,
            not_hosts,
            ports,
            not_ports,
            methods,
            not_methods,
            paths,
            not_paths,
        } = operation;
        let http = |level| if level == Level::Requests { Ok(()) } else { Err(Unfit::HttpOnly) };
        let level = self.level;
        let host = |value: &str| {
            http(level)?;
            Ok(permits(Permits::Header(header(":authority", value, true))))
        };
        let method = |value: &str| {
            http(level)?;
            Ok(permits(Permits::Header(header(":method", value, false))))
        };
        let path = |value: &str| {
            http(level)?;
            path(value).map(permits)
        };
        self.both(place, ["hosts", "notHosts"], [hosts, not_hosts], host, terms)?;
        self.both(place, ["methods", "notMethods"], [methods, not_methods], method, terms)?;
        self.both(place, ["paths", "notPaths"], [paths, not_paths], path, terms)?;
        self.both(place, ["ports", "notPorts"], [ports, not_ports], port, terms)
    }

    fn source(
        &mut self,
        source: &Source,
        place: &str,
        terms: &mut Terms<Principal>,
    ) -> Result<(), LeftOut> {
        let (level, namespace, domains) = (self.level, self.namespace, self.domains);
        let identity = |value: &str| one_of(&aliases::of_identity(value, domains), identity);
        let trust_domain = |value: &str| one_of(&aliases::of_domain(value, domains), trust_domain);
        let token = |value: &str| request_principal(value, level);
        let account = |value: &str| Ok(certified(account(namespace, value)));
        let from = |value: &str| network(value).map(Identifier::DirectRemoteIp).map(is);
        let client = |value: &str| network(value).map(Identifier::RemoteIp).map(is);
        let s = source;
        let lists = [&s.principals, &s.not_principals];
        self.both(place, ["principals", "notPrincipals"], lists, identity, terms)?;
        let lists = [&s.request_principals, &s.not_request_principals];
        self.both(place, ["requestPrincipals", "notRequestPrincipals"], lists, token, terms)?;
        let lists = [&s.service_accounts, &s.not_service_accounts];
        self.both(place, ["serviceAccounts", "notServiceAccounts"], lists, account, terms)?;
        let lists = [&s.trust_domains, &s.not_trust_domains];
        self.both(place, ["trustDomains", "notTrustDomains"], lists, trust_domain, terms)?;
        let lists = [&s.namespaces, &s.not_namespaces];
        self.both(place, ["namespaces", "notNamespaces"], lists, of_namespace, terms)?;
        let lists = [&s.remote_ip_blocks, &s.not_remote_ip_blocks];
        self.both(place, ["remoteIpBlocks", "notRemoteIpBlocks"], lists, client, terms)?;
        let lists = [&s.ip_blocks, &s.not_ip_blocks];
        self.both(place, ["ipBlocks", "notIpBlocks"], lists, from, terms)
    }

    fn condition(
        &mut self,
        condition: &Condition,
        place: &str,
        asked: &mut Terms<Permission>,
        asking: &mut Terms<Principal>,
    ) -> Result<(), LeftOut> {
        let lists = [&condition.values, &condition.not_values];
        let (level, namespace, domains) = (self.level, self.namespace, self.domains);
        let identity = |value: &str| one_of(&aliases::of_identity(value, domains), identity);
        let trust_domain = |value: &str| one_of(&aliases::of_domain(value, domains), trust_domain);
        let attribute = match Attribute::parse(&condition.key) {
            Ok(attribute) => attribute,
            Err(message) => return self.unfit(&format!("{place}.key"), &Unfit::Wrong(message)),
        };
        let destination = |value: &str| network(value).map(Permits::DestinationIp).map(permits);
        let sni = |value: &str| Ok(permits(Permits::RequestedServerName(wildcard(value, false))));
        let noted = |_: &str| Err::<Permission, _>(Unfit::Metadata);
        let account = |value: &str| Ok(certified(account(namespace, value)));
        let from = |value: &str| network(value).map(Identifier::DirectRemoteIp).map(is);
        let client = |value: &str| network(value).map(Identifier::RemoteIp).map(is);
        let mut of_request = |make: &dyn Fn(&str) -> Result<Permission, Unfit>| {
            self.values(place, &condition.key, lists, make, asked)
        };
        match &attribute {
            Attribute::DestinationIp => return of_request(&destination),
            Attribute::DestinationPort => return of_request(&port),
            Attribute::Sni => return of_request(&sni),
            Attribute::FilterMetadata { .. } => return of_request(&noted),
            _ => {}
        }
        let named = |value: &str| of_header(&attribute, value, level);
        let make: &dyn Fn(&str) -> Result<Principal, Unfit> = match &attribute {
            Attribute::SourceIp => &from,
            Attribute::RemoteIp => &client,
            Attribute::SourceNamespace => &of_namespace,
            Attribute::SourceTrustDomain => &trust_domain,
            Attribute::SourceServiceAccount => &account,
            Attribute::SourcePrincipal => &identity,
            _ => &named,
        };
        self.values(place, &condition.key, lists, make, asking)
    }

    fn values<T: Term>(
        &mut self,
        place: &str,
        attribute: &str,
        lists: [&Vec<String>; 2],
        make: impl Fn(&str) -> Result<T, Unfit>,
        terms: &mut Terms<T>,
    ) -> Result<(), LeftOut> {
        let before = terms.len();
        self.both(place, ["values", "notValues"], lists, make, terms)?;
        for (_, asks) in terms.iter_mut().skip(before) {
            asks.what = attribute.to_owned();
        }
        Ok(())
    }

    /// Asks for one of the values of the first list, and for none of the second.
    fn both<T: Term>(
        &mut self,
        place: &str,
        names: [&str; 2],
        lists: [&Vec<String>; 2],
        make: impl Fn(&str) -> Result<T, Unfit>,
        terms: &mut Terms<T>,
    ) -> Result<(), LeftOut> {
        for (wanted, (name, list)) in [true, false].into_iter().zip(names.into_iter().zip(lists)) {
            if list.is_empty() {
                continue;
            }
            // With one value less a rule would match less, and so deny less: it asks for all of them or for none.
            match list.iter().map(|value| make(value)).collect::<Result<Vec<T>, _>>() {
                Ok(values) => {
                    let (path, what) = (format!("{place}.{name}"), name.to_owned());
                    let one = T::one(values);
                    let term = if wanted { one } else { T::not(one) };
                    terms.push((term, Asks { path, what, values: list.clone() }));
                }
                Err(unfit) => self.unfit(&format!("{place}.{name}"), &unfit)?,
            }
        }
        Ok(())
    }

    /// Something cannot be asked: the rule is left out if it allows, and asks for the rest if it does not.
    fn unfit(&mut self, place: &str, unfit: &Unfit) -> Result<(), LeftOut> {
        let so = if self.allows {
            "the rule allows nothing"
        } else {
            "the rule is as if it did not ask"
        };
        self.found.push(format!("{place}: {unfit}; {so}"));
        if self.allows { Err(LeftOut) } else { Ok(()) }
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HttpOnly => f.write_str("connections have nothing of the kind"),
            Self::Metadata => f.write_str("no filter notes anything of the kind"),
            Self::Wrong(message) => f.write_str(message),
        }
    }
}

impl Term for Permission {
    fn any() -> Self {
        permits(Permits::Any(true))
    }

    fn all(rules: Vec<Self>) -> Self {
        permits(Permits::AndRules(permission::Set { rules }))
    }

    fn one(rules: Vec<Self>) -> Self {
        permits(Permits::OrRules(permission::Set { rules }))
    }

    fn not(term: Self) -> Self {
        permits(Permits::NotRule(Box::new(term)))
    }
}

impl Term for Principal {
    fn any() -> Self {
        is(Identifier::Any(true))
    }

    fn all(ids: Vec<Self>) -> Self {
        is(Identifier::AndIds(principal::Set { ids }))
    }

    fn one(ids: Vec<Self>) -> Self {
        is(Identifier::OrIds(principal::Set { ids }))
    }

    fn not(term: Self) -> Self {
        is(Identifier::NotId(Box::new(term)))
    }
}

fn together<T: Term>(terms: Terms<T>) -> (T, Vec<Asks>) {
    let (mut terms, asked): (Vec<T>, Vec<Asks>) = terms.into_iter().unzip();
    if terms.is_empty() {
        terms.push(T::any());
    }
    (T::all(terms), asked)
}

fn permits(rule: Permits) -> Permission {
    Permission { rule: Some(rule) }
}

fn is(identifier: Identifier) -> Principal {
    Principal { identifier: Some(identifier) }
}

/// A peer whose certificate has such a name.
fn certified(name: StringMatcher) -> Principal {
    is(Identifier::Authenticated(Authenticated { principal_name: Some(name) }))
}

/// Whose verified token names this issuer and subject, `ISSUER/SUBJECT`: the last slash parts them, as an issuer may be a URL.
fn request_principal(value: &str, level: Level) -> Result<Principal, Unfit> {
    if level == Level::Connections {
        return Err(Unfit::HttpOnly);
    }
    let any = || text::matching(".+");
    let (issuer, subject) = match value.rsplit_once('/') {
        // A text that begins or ends with a star is that of both; what stands at the other side is exact.
        Some((issuer, subject)) if value.starts_with('*') => {
            (wildcard(issuer, false), text::exact(subject))
        }
        Some((issuer, subject)) if value.ends_with('*') => {
            (text::exact(issuer), wildcard(subject, false))
        }
        Some((issuer, subject)) => (text::exact(issuer), text::exact(subject)),
        None if value == "*" => (any(), any()),
        None if value.starts_with('*') => (any(), wildcard(value, false)),
        None if value.ends_with('*') => (wildcard(value, false), any()),
        None => (text::exact(value), text::exact("")),
    };
    let is = |claim, test| noted(claims::exactly(&[claim], test));
    Ok(Principal::all(vec![is("iss", issuer), is("sub", subject)]))
}

/// Whose verified token has such a claim, or one in a list.
fn claim(path: &[&str], value: &str) -> Principal {
    noted(claims::either(path, wildcard(value, false)))
}

#[allow(deprecated, reason = "Istio writes it so, and every Envoy reads it")]
fn noted(matcher: MetadataMatcher) -> Principal {
    is(Identifier::Metadata(matcher))
}

/// What only requests have: headers, and what their tokens say.
fn of_header(attribute: &Attribute, value: &str, level: Level) -> Result<Principal, Unfit> {
    match attribute {
        _ if level == Level::Connections => Err(Unfit::HttpOnly),
        Attribute::Header(name) if is_field(name) => {
            Ok(is(Identifier::Header(header(name, value, false))))
        }
        Attribute::Header(name) => Err(Unfit::Wrong(format!("{name:?} is no name of a header"))),
        Attribute::RequestPrincipal => request_principal(value, level),
        Attribute::RequestAudiences => Ok(claim(&["aud"], value)),
        Attribute::RequestPresenter => Ok(claim(&["azp"], value)),
        Attribute::RequestClaim(path) => {
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            Ok(claim(&path, value))
        }
        _ => Err(Unfit::Metadata),
    }
}

fn port(value: &str) -> Result<Permission, Unfit> {
    let port: u16 = value.parse().map_err(|_| Unfit::Wrong(format!("{value:?} is no port")))?;
    Ok(permits(Permits::DestinationPort(port.into())))
}

fn network(value: &str) -> Result<CidrRange, Unfit> {
    let subnet = Subnet::parse(value);
    let subnet = subnet.ok_or_else(|| Unfit::Wrong(format!("{value:?} is no address or range")))?;
    Ok(filter_chain::range(&subnet))
}

/// A header that is as the value says: exact, `prefix*`, `*suffix`, or there at all (`*`).
fn header(name: &str, value: &str, ignore_case: bool) -> HeaderMatcher {
    let specifier = match value {
        "*" => HeaderMatchSpecifier::PresentMatch(true),
        _ => HeaderMatchSpecifier::StringMatch(wildcard(value, ignore_case)),
    };
    HeaderMatcher {
        name: name.to_owned(),
        header_match_specifier: Some(specifier),
        ..HeaderMatcher::default()
    }
}

/// A path that is as the value says; in a template, `{*}` stands for a segment and `{**}` for any number of them.
fn path(value: &str) -> Result<Permits, Unfit> {
    if !has_template(value) {
        let rule = path_matcher::Rule::Path(wildcard(value, false));
        return Ok(Permits::UrlPath(PathMatcher { rule: Some(rule) }));
    }
    if !value.starts_with('/') {
        return Err(Unfit::Wrong(format!("the template {value:?} does not begin with a slash")));
    }
    let path_template = value.replace("{**}", "**").replace("{*}", "*");
    Ok(Permits::UriTemplate(TypedExtensionConfig {
        name: "uri-template".to_owned(),
        typed_config: Some(any(&UriTemplateMatchConfig { path_template })),
    }))
}

/// A text that is as the value says: exact, `prefix*`, `*suffix`, or not empty (`*`).
fn wildcard(value: &str, ignore_case: bool) -> StringMatcher {
    let pattern = match (value.strip_prefix('*'), value.strip_suffix('*')) {
        (Some(""), _) => return text::matching(".+"),
        (Some(suffix), _) => MatchPattern::Suffix(suffix.to_owned()),
        (None, Some(prefix)) => MatchPattern::Prefix(prefix.to_owned()),
        (None, None) => MatchPattern::Exact(value.to_owned()),
    };
    StringMatcher { match_pattern: Some(pattern), ignore_case }
}

/// A peer that one of these values fits.
fn one_of(
    values: &[String],
    make: impl Fn(&str) -> Result<Principal, Unfit>,
) -> Result<Principal, Unfit> {
    let mut peers = values.iter().map(|value| make(value)).collect::<Result<Vec<_>, _>>()?;
    match peers.pop() {
        Some(only) if peers.is_empty() => Ok(only),
        last => {
            peers.extend(last);
            Ok(Principal::one(peers))
        }
    }
}

/// How certificates of the mesh begin names.
const SPIFFE: &str = "spiffe://";

/// A peer of such an identity, `TRUSTDOMAIN/ns/NAMESPACE/sa/ACCOUNT`.
fn identity(value: &str) -> Result<Principal, Unfit> {
    let name = match value.strip_prefix('*') {
        Some("") => text::matching(".+"),
        Some(suffix) => text::matching(&format!("{SPIFFE}.*{}", text::quote(suffix))),
        None => wildcard(&format!("{SPIFFE}{value}"), false),
    };
    Ok(certified(name))
}

/// A peer of such a namespace; every `*` stands for any text.
fn of_namespace(value: &str) -> Result<Principal, Unfit> {
    let parts: Vec<String> = value.split('*').map(text::quote).collect();
    Ok(certified(text::matching(&format!(".*/ns/{}/.*", parts.join(".*")))))
}

/// A peer of such a trust domain.
fn trust_domain(value: &str) -> Result<Principal, Unfit> {
    let prefix = |prefix: String| text::of(MatchPattern::Prefix(prefix));
    let name = match value.split_once('*') {
        Some(("", "")) => prefix(SPIFFE.to_owned()),
        Some((before, after)) => {
            let (before, after) = (text::quote(before), text::quote(after));
            text::matching(&format!("{SPIFFE}{before}[^/]*{after}/.*"))
        }
        None => prefix(format!("{SPIFFE}{value}/")),
    };
    Ok(certified(name))
}

/// The identities of a service account: `NAMESPACE/NAME`, or one of the policy's own namespace.
fn account(namespace: &str, value: &str) -> StringMatcher {
    let (namespace, account) = value.split_once('/').unwrap_or((namespace, value));
    let (namespace, account) = (text::quote(namespace), text::quote(account));
    text::matching(&format!("{SPIFFE}.+/ns/{namespace}/(.+/|)sa/{account}(/.+)?"))
}
