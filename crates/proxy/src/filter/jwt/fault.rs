//! Why a request is not let through for its tokens, in Envoy's words.

use std::fmt;

/// Why a token, or the absence of one, does not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// There is none.
    Missing,
    /// `nbf` is in the future.
    NotYetValid,
    /// `exp` is in the past.
    Expired,
    /// It has not three parts (RFC 7515, section 7.1), or is larger than any.
    Format,
    /// Its first part is no base64url.
    HeaderEncoding,
    /// … no object of JSON.
    HeaderJson,
    /// … without an algorithm.
    NoAlgorithm,
    /// … with one that is not known; `none` is such a one.
    Algorithm,
    /// … with a key's name that is no text.
    KeyName,
    /// … with an extension that has to be understood (`crit`); none is.
    Critical,
    /// Its second part is no base64url.
    PayloadEncoding,
    /// … no object of JSON.
    PayloadJson,
    /// A claim is no text.
    NotText(&'static str),
    /// A claim is no number.
    NotNumber(&'static str),
    /// A claim is a number that is no time.
    OutOfRange(&'static str),
    /// `aud` is neither a text nor a list of texts.
    Audiences,
    /// Its third part is no base64url.
    SignatureEncoding,
    /// Nobody takes tokens of this issuer there.
    Issuer,
    /// It is for others.
    Audience,
    /// The signature, or what is demanded of the subject or of the time that is left, does not hold.
    Verification,
    /// There are more of them than are looked at.
    TooMany,
    /// No key of the issuer is for such a token.
    NoSuchKey,
    /// The issuer has no key that can be used.
    NoKeys,
    /// The issuer's keys could not be fetched.
    Fetch,
}

impl Fault {
    /// The status that it is answered with: 403 for a token that is good, and for others.
    #[must_use]
    pub fn status(self) -> u16 {
        if self == Self::Audience { 403 } else { 401 }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "Jwt is missing",
            Self::NotYetValid => "Jwt not yet valid",
            Self::Expired => "Jwt is expired",
            Self::Format => {
                "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections"
            }
            Self::HeaderEncoding => "Jwt header is an invalid Base64url encoded",
            Self::HeaderJson => "Jwt header is an invalid JSON",
            Self::NoAlgorithm => "Jwt header [alg] field is required and must be a string",
            Self::Algorithm => "Jwt header [alg] is not supported",
            Self::KeyName => "Jwt header [kid] field is not a string",
            Self::Critical => "Jwt header [crit] asks for what is not supported",
            Self::PayloadEncoding => "Jwt payload is an invalid Base64url encoded",
            Self::PayloadJson => "Jwt payload is an invalid JSON",
            Self::NotText(claim) => {
                return write!(f, "Jwt payload [{claim}] field is not a string");
            }
            Self::NotNumber(claim) => {
                return write!(f, "Jwt payload [{claim}] field is not an integer");
            }
            Self::OutOfRange(claim) => {
                return write!(f, "Jwt payload [{claim}] field is not a positive 64 bit integer");
            }
            Self::Audiences => "Jwt payload [aud] field is not a string or string list",
            Self::SignatureEncoding => "Jwt signature is an invalid Base64url encoded",
            Self::Issuer => "Jwt issuer is not configured",
            Self::Audience => "Audiences in Jwt are not allowed",
            Self::Verification => "Jwt verification fails",
            Self::TooMany => "Found multiple Jwt tokens",
            Self::NoSuchKey => "Jwks doesn't have key to match kid or alg from Jwt",
            Self::NoKeys => "Jwks doesn't have any valid public key",
            Self::Fetch => "Jwks remote fetch is failed",
        })
    }
}
