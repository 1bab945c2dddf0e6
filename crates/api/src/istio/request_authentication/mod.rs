//! RequestAuthentication: which JWTs are taken, and where they are looked for.

mod jwks;

use schemars::JsonSchema;
use serde::Deserialize;

pub use jwks::JwksUri;

use super::policy::{self, ATTACHMENT, PolicySelector, TargetReference};
use super::rules;
use crate::Object;
use crate::scalar::GoDuration;
use crate::schema::rules::says;
use crate::validation::Report;

/// Says which JWTs requests may carry. A request whose token is bad is refused; one without a token is let through: an
/// AuthorizationPolicy asks for one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = ATTACHMENT))]
pub struct RequestAuthentication {
    /// The workloads that this is about; every one of the namespace when absent, and of the mesh if the namespace is the root.
    pub selector: Option<PolicySelector>,
    /// One resource that this is about; `targetRefs` takes its place.
    pub target_ref: Option<TargetReference>,
    /// The resources that this is about, in place of a selector: Gateways of the Gateway API, at whose proxies alone this holds.
    /// Others are for waypoints, which are not served.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub target_refs: Vec<TargetReference>,
    /// The tokens that are taken.
    #[serde(default)]
    #[schemars(length(max = 4096))]
    pub jwt_rules: Vec<JwtRule>,
}

/// Tokens of one issuer: where they are, and with which keys they are verified.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(rename = "JWTRule", extend("x-kubernetes-validations" = [says(
    "!(has(self.jwks) && has(self.jwksUri))",
    "only one of jwks or jwksUri can be set",
)]))]
pub struct JwtRule {
    /// Who issues the tokens: their claim `iss` (RFC 7519, section 4.1.1).
    #[schemars(length(min = 1))]
    pub issuer: String,
    /// Audiences of which a token has to name one in its claim `aud`; any when absent.
    #[schemars(inner(length(min = 1)))]
    pub audiences: Vec<String>,
    /// Where the issuer's keys are fetched (http or https). When absent they are found through the issuer's OpenID discovery.
    #[schemars(length(min = 1, max = 2048), extend("x-kubernetes-validations" = [says(
        "self.matches('^(?i)https?://')",
        jwks::SCHEME,
    )]))]
    pub jwks_uri: String,
    /// The issuer's keys themselves, as a JSON Web Key Set (RFC 7517).
    pub jwks: String,
    /// Headers in which a token may be. With no place named, `Authorization: Bearer` and the query parameter `access_token`.
    pub from_headers: Vec<JwtHeader>,
    /// Query parameters in which a token may be.
    #[schemars(inner(length(min = 1)))]
    pub from_params: Vec<String>,
    /// Cookies in which a token may be.
    #[schemars(inner(length(min = 1)))]
    pub from_cookies: Vec<String>,
    /// Header in which the upstream gets the payload of a verified token, as base64url.
    pub output_payload_to_header: String,
    /// Whether the upstream gets the token itself, too.
    pub forward_original_token: bool,
    /// Claims that the upstream gets in headers of their own.
    pub output_claim_to_headers: Vec<ClaimToHeader>,
    /// How long fetching the keys may take; 5 s when absent.
    pub timeout: Option<GoDuration>,
    /// Claims whose text is a list, separated by spaces, besides `scope` and `permission`.
    #[schemars(length(max = 64), inner(length(min = 1)))]
    pub space_delimited_claims: Vec<String>,
    /// Whether a request has to carry a token of this issuer.
    pub presence: Presence,
}

/// A header in which a token may be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[schemars(rename = "JWTHeader")]
pub struct JwtHeader {
    /// The header's name.
    #[schemars(length(min = 1))]
    pub name: String,
    /// What stands before the token, such as `Bearer ` with its space.
    #[serde(default)]
    pub prefix: String,
}

/// A claim that is copied into a header.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct ClaimToHeader {
    /// The header's name.
    #[schemars(length(min = 1), regex(pattern = "^[-_A-Za-z0-9]+$"))]
    pub header: String,
    /// The claim; nested ones with dots between the names.
    #[schemars(length(min = 1))]
    pub claim: String,
}

/// Whether a token has to be there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Presence {
    /// A request without a token is let through.
    #[default]
    Optional,
    /// A request without a token is refused.
    Required,
}

impl RequestAuthentication {
    /// Checks what the object says; the shape is right already.
    pub(crate) fn validate(&self, object: &Object, report: &mut Report) {
        policy::refuse_dry_run(report, object);
        report.field("spec", |report| {
            policy::validate_attachment(
                report,
                self.selector.as_ref(),
                self.target_ref.as_ref(),
                &self.target_refs,
            );
            report.each("jwtRules", &self.jwt_rules, |report, rule| rule.validate(report));
        });
    }
}

impl JwtRule {
    fn validate(&self, report: &mut Report) {
        if self.issuer.is_empty() && self.jwks_uri.is_empty() {
            report.required("issuer or jwksUri must be non-empty string");
        }
        match JwksUri::parse(&self.jwks_uri) {
            // Of the scheme the schema has a rule.
            Err(why) if why != jwks::SCHEME => {
                report.field("jwksUri", |r| r.invalid(self.jwks_uri.as_str(), why));
            }
            _ => {}
        }
        if !self.jwks.is_empty() {
            report.field("jwks", |report| jwks::validate(report, &self.jwks));
        }
        report.each("fromHeaders", &self.from_headers, |report, place| {
            report.field("name", |r| header(r, &place.name));
        });
        report.each("outputClaimToHeaders", &self.output_claim_to_headers, |report, copy| {
            report.field("header", |r| header(r, &copy.header));
        });
        if !self.output_payload_to_header.is_empty() {
            report.field("outputPayloadToHeader", |r| header(r, &self.output_payload_to_header));
        }
        rules::duration(report, "timeout", self.timeout);
    }
}

fn header(report: &mut Report, name: &str) {
    if !rules::headers::is_token(name) {
        report.invalid(name, "not a valid header name");
    }
}

#[cfg(test)]
mod tests;
