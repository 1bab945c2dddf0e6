//! Tokens: JSON Web Tokens (RFC 7519) in the compact form of JWS (RFC 7515, section 7.1), as they are read before anything
//! in them is believed.
//!
//! Stricter than Envoy: there are two dots and no more, no white space in base64url, no name twice in an object, and
//! no extension that has to be understood. Padding is taken, as some issuers write it.

use std::sync::{Arc, OnceLock};

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::fault::Fault;
use crate::metadata::{Fields, Value};

/// Most bytes of a token.
pub const MAX_TOKEN: usize = 64 * 1024;

/// base64url (RFC 4648, section 5), with padding or without it; bits that mean nothing must be zero.
pub(super) const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// How a token is signed (RFC 7518, section 3.1; RFC 8037). `none` is none of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "these are the names that the standards give")]
pub enum Algorithm {
    Hs256,
    Hs384,
    Hs512,
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    Es512,
    EdDsa,
}

impl Algorithm {
    /// The algorithm of a name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Some(match name {
            "HS256" => Self::Hs256,
            "HS384" => Self::Hs384,
            "HS512" => Self::Hs512,
            "RS256" => Self::Rs256,
            "RS384" => Self::Rs384,
            "RS512" => Self::Rs512,
            "PS256" => Self::Ps256,
            "PS384" => Self::Ps384,
            "PS512" => Self::Ps512,
            "ES256" => Self::Es256,
            "ES384" => Self::Es384,
            "ES512" => Self::Es512,
            "EdDSA" => Self::EdDsa,
            _ => return None,
        })
    }
}

/// A token that was read. Nothing in it is to be believed before its signature is verified.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    /// Its header.
    pub header: Arc<Fields>,
    /// Its claims.
    pub payload: Arc<Fields>,
    /// Its claims as they stand in it, in base64url.
    pub written_payload: Box<str>,
    /// How it is signed.
    pub algorithm: Algorithm,
    /// The key's name (`kid`); empty when it has none.
    pub key: Box<str>,
    /// Who issued it (`iss`); empty when it does not say.
    pub issuer: Box<str>,
    /// Whom it is about (`sub`); empty when it does not say.
    pub subject: Box<str>,
    /// Whom it is for (`aud`).
    pub audiences: Vec<Box<str>>,
    /// From when on it is valid (`nbf`), in seconds since 1970.
    pub not_before: Option<u64>,
    /// Until when it is valid (`exp`), in seconds since 1970.
    pub expires: Option<u64>,
    /// Its signature.
    pub signature: Vec<u8>,
    /// Its claims as its provider has them noted, once that was asked for: the same for each request that it comes with.
    pub noted: OnceLock<Arc<Fields>>,
}

impl Token {
    /// Reads a token.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(text: &[u8]) -> Result<Self, Fault> {
        let (header, payload, signature) = parts(text).ok_or(Fault::Format)?;
        let decode = |part, fault| BASE64URL.decode(part).map_err(|_| fault);
        let signed = decode(header, Fault::HeaderEncoding)?;
        let header = Fields::from_json(&signed).map_err(|_| Fault::HeaderJson)?;
        let algorithm = match header.get("alg") {
            Some(Value::Text(name)) => Algorithm::of_name(name).ok_or(Fault::Algorithm)?,
            _ => return Err(Fault::NoAlgorithm),
        };
        let key = text_of(&header, "kid").map_err(|_| Fault::KeyName)?;
        if header.get("crit").is_some() {
            return Err(Fault::Critical);
        }
        // What base64url is made of is ASCII.
        let written_payload = String::from_utf8_lossy(payload).into();
        let claims = decode(payload, Fault::PayloadEncoding)?;
        let payload = Fields::from_json(&claims).map_err(|_| Fault::PayloadJson)?;
        let issuer = text_of(&payload, "iss")?;
        let subject = text_of(&payload, "sub")?;
        time_of(&payload, "iat")?;
        let not_before = time_of(&payload, "nbf")?;
        let expires = time_of(&payload, "exp")?;
        text_of(&payload, "jti")?;
        let audiences = audiences(&payload)?;
        let signature = decode(signature, Fault::SignatureEncoding)?;
        Ok(Self {
            header,
            payload,
            written_payload,
            algorithm,
            key,
            issuer,
            subject,
            audiences,
            not_before,
            expires,
            signature,
            noted: OnceLock::new(),
        })
    }
}

/// What of a token its signature is of: all before its last dot.
#[must_use]
pub fn signed(text: &[u8]) -> &[u8] {
    memchr::memrchr(b'.', text).map_or(&[], |dot| &text[..dot])
}

/// The three parts of a token, none of them empty.
fn parts(text: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    if text.len() > MAX_TOKEN {
        return None;
    }
    let mut parts = text.split(|byte| *byte == b'.');
    let (header, payload, signature) = (parts.next()?, parts.next()?, parts.next()?);
    let whole = ![header, payload, signature].iter().any(|part| part.is_empty());
    (whole && parts.next().is_none()).then_some((header, payload, signature))
}

/// A text, empty when it is not there.
fn text_of(fields: &Fields, name: &'static str) -> Result<Box<str>, Fault> {
    match fields.get(name) {
        None => Ok(Box::default()),
        Some(Value::Text(text)) => Ok(text.clone()),
        Some(_) => Err(Fault::NotText(name)),
    }
}

/// A time in seconds; parts of one do not count.
fn time_of(fields: &Fields, name: &'static str) -> Result<Option<u64>, Fault> {
    match fields.get(name) {
        None => Ok(None),
        Some(Value::Number(number)) if (0.0..u64::MAX as f64).contains(number) => {
            Ok(Some(*number as u64))
        }
        Some(Value::Number(_)) => Err(Fault::OutOfRange(name)),
        Some(_) => Err(Fault::NotNumber(name)),
    }
}

fn audiences(payload: &Fields) -> Result<Vec<Box<str>>, Fault> {
    match payload.get("aud") {
        None => Ok(Vec::new()),
        Some(Value::Text(one)) => Ok(vec![one.clone()]),
        Some(Value::List(list)) => {
            let text = |value: &Value| value.as_text().map(Box::from).ok_or(Fault::Audiences);
            list.iter().map(text).collect()
        }
        Some(_) => Err(Fault::Audiences),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(header: &str, payload: &str) -> String {
        let encode = |text: &str| BASE64URL.encode(text);
        format!("{}.{}.{}", encode(header), encode(payload), encode("sig"))
    }

    fn refused(header: &str, payload: &str) -> String {
        Token::parse(written(header, payload).as_bytes()).expect_err(payload).to_string()
    }

    #[test]
    fn what_a_token_says() {
        let payload =
            r#"{"iss":"i","sub":"s","aud":["a","b"],"nbf":1.9,"exp":20,"iat":0,"jti":"j","x":{}}"#;
        let text = written(r#"{"alg":"ES256","kid":"k"}"#, payload);
        let token = Token::parse(text.as_bytes()).expect("valid");
        assert_eq!((token.algorithm, &*token.key), (Algorithm::Es256, "k"));
        assert_eq!((&*token.issuer, &*token.subject), ("i", "s"));
        assert_eq!(token.audiences, ["a".into(), "b".into()]);
        assert_eq!((token.not_before, token.expires), (Some(1), Some(20)));
        assert_eq!(token.signature, b"sig");
        assert_eq!(
            BASE64URL.decode(token.written_payload.as_bytes()).expect("valid"),
            payload.as_bytes()
        );
        assert_eq!(signed(text.as_bytes()).len(), text.len() - 5);
        let bare = Token::parse(written(r#"{"alg":"HS256"}"#, r#"{"aud":"a"}"#).as_bytes());
        let bare = bare.expect("valid");
        assert_eq!((&*bare.key, &*bare.issuer, bare.expires), ("", "", None));
        assert_eq!(bare.audiences, ["a".into()]);
    }

    #[test]
    fn what_is_no_token_is_told_in_envoys_words() {
        let header = r#"{"alg":"RS256"}"#;
        for (header, payload, words) in [
            ("[]", "{}", "header is an invalid JSON"),
            (r#"{"alg":"RS256","alg":"none"}"#, "{}", "header is an invalid JSON"),
            ("{}", "{}", "[alg] field is required"),
            (r#"{"alg":1}"#, "{}", "[alg] field is required"),
            (r#"{"alg":"none"}"#, "{}", "[alg] is not supported"),
            (r#"{"alg":"rs256"}"#, "{}", "[alg] is not supported"),
            (r#"{"alg":"RS256","kid":1}"#, "{}", "[kid] field is not a string"),
            (r#"{"alg":"RS256","crit":["b64"],"b64":false}"#, "{}", "[crit]"),
            (header, "{", "payload is an invalid JSON"),
            (header, r#"{"iss":1}"#, "[iss] field is not a string"),
            (header, r#"{"sub":[]}"#, "[sub] field is not a string"),
            (header, r#"{"jti":null}"#, "[jti] field is not a string"),
            (header, r#"{"exp":"1"}"#, "[exp] field is not an integer"),
            (header, r#"{"nbf":-1}"#, "[nbf] field is not a positive"),
            (header, r#"{"iat":1e30}"#, "[iat] field is not a positive"),
            (header, r#"{"aud":1}"#, "[aud] field is not a string or"),
            (header, r#"{"aud":["a",1]}"#, "[aud] field is not a string or"),
        ] {
            let refused = refused(header, payload);
            assert!(refused.contains(words), "{header} {payload}: {refused}");
        }
    }

    #[test]
    fn parts_are_three_and_in_base64url() {
        let good = written(r#"{"alg":"RS256"}"#, "{}");
        let [header, payload, signature] =
            [0, 1, 2].map(|at| good.split('.').nth(at).expect("a part"));
        assert!(Token::parse(format!("{header}==.{payload}=.{signature}").as_bytes()).is_err());
        assert!(Token::parse(format!("{header}.{payload}=.{signature}").as_bytes()).is_ok());
        for (text, fault) in [
            (String::new(), Fault::Format),
            ("a".into(), Fault::Format),
            (format!("{header}.{payload}"), Fault::Format),
            (format!("{header}.{payload}."), Fault::Format),
            (format!(".{payload}.{signature}"), Fault::Format),
            (format!("{good}.x"), Fault::Format),
            (format!("{header}..{payload}.{signature}"), Fault::Format),
            (format!("{good}{}", "A".repeat(MAX_TOKEN)), Fault::Format),
            (format!(" {good}"), Fault::HeaderEncoding),
            (format!("+{good}"), Fault::HeaderEncoding),
            (format!("{header}.{payload}/.{signature}"), Fault::PayloadEncoding),
            (format!("{good}\u{e9}"), Fault::SignatureEncoding),
            (format!("{good} "), Fault::SignatureEncoding),
            // The last bits mean nothing, and are not zero.
            (format!("{header}.{payload}.AB"), Fault::SignatureEncoding),
        ] {
            assert_eq!(Token::parse(text.as_bytes()), Err(fault), "{text:.60}");
        }
    }
}
