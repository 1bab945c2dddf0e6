//! Keys that tokens are verified with: JSON Web Key Sets (RFC 7517).
//!
//! A key knows which algorithms it is for, by its type, its curve and its own `alg`; a token whose header names another
//! one is not tried with it. So no public key can ever be taken for the secret of a MAC.
//!
//! Stricter than Envoy: a key for something else (`use`, `key_ops`) is left out, as are RSA keys and secrets that are too short
//! for what they are used for (RFC 7518, sections 3.2 to 3.5).

use std::fmt;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519,
    ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384,
    RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents, VerificationAlgorithm,
};
use base64::Engine as _;

use super::fault::Fault;
use super::token::{Algorithm, BASE64URL, Token, signed};
use crate::metadata::{Fields, Value};

/// Most bytes of a key set.
pub const MAX_SET: usize = 1024 * 1024;
/// Most keys of a set: a token that names none is tried with all of them.
pub const MAX_KEYS: usize = 100;

/// The keys of an issuer.
#[derive(Debug)]
pub struct KeySet {
    keys: Vec<Key>,
    /// Why keys of the set are left out, for whoever wrote it.
    pub left_out: Vec<String>,
}

#[derive(Debug)]
struct Key {
    /// Its name (`kid`); empty when it has none.
    name: Box<str>,
    /// The one algorithm that it is for, if it says so.
    only: Option<Algorithm>,
    verifiers: Vec<(Algorithm, Verifier)>,
}

enum Verifier {
    Public(ParsedPublicKey),
    Secret(Box<hmac::Key>),
}

/// Secrets are not written anywhere.
impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Public(_) => "Public",
            Self::Secret(_) => "Secret",
        })
    }
}

impl KeySet {
    /// Reads a set. Keys in it that cannot be used are left out.
    ///
    /// # Errors
    /// It is no set, has too many keys, or none that can be used.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        if text.len() > MAX_SET {
            return Err(format!("it has {} bytes, and at most {MAX_SET} are read", text.len()));
        }
        let set = Fields::from_json(text).map_err(|error| format!("it is no JSON: {error}"))?;
        let keys = match set.get("keys") {
            Some(Value::List(keys)) => keys,
            Some(_) => return Err("`keys` is no list".to_owned()),
            None => return Err("it has no list `keys`".to_owned()),
        };
        if keys.len() > MAX_KEYS {
            return Err(format!("it has {} keys, and at most {MAX_KEYS} are taken", keys.len()));
        }
        let mut set = Self { keys: Vec::new(), left_out: Vec::new() };
        for (at, key) in keys.iter().enumerate() {
            let Value::Map(key) = key else {
                set.left_out.push(format!("keys[{at}]: it is no object"));
                continue;
            };
            match Key::read(key) {
                Ok(key) => set.keys.push(key),
                Err(why) => set.left_out.push(format!("keys[{at}]: {why}")),
            }
        }
        if set.keys.is_empty() {
            let why = set.left_out.first().map(|why| format!(" ({why})")).unwrap_or_default();
            return Err(format!("it has no key that can be used{why}"));
        }
        Ok(set)
    }

    /// Verifies the signature of a token that was read from `text`.
    ///
    /// # Errors
    /// No key of this set has signed it.
    pub fn verify(&self, token: &Token, text: &[u8]) -> Result<(), Fault> {
        let mut fitting = false;
        for key in &self.keys {
            let other = !token.key.is_empty() && !key.name.is_empty() && token.key != key.name;
            if other || key.only.is_some_and(|only| only != token.algorithm) {
                continue;
            }
            fitting = true;
            let verifier = key.verifiers.iter().find(|(of, _)| *of == token.algorithm);
            if verifier
                .is_some_and(|(_, verifier)| verifier.accepts(signed(text), &token.signature))
            {
                return Ok(());
            }
        }
        Err(if fitting { Fault::Verification } else { Fault::NoSuchKey })
    }
}

impl Verifier {
    fn accepts(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Public(key) => key.verify_sig(message, signature).is_ok(),
            Self::Secret(key) => hmac::verify(key, message, signature).is_ok(),
        }
    }
}

impl Key {
    fn read(key: &Fields) -> Result<Self, String> {
        let optional = |name| match key.get(name) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(&**text)),
            Some(_) => Err(format!("`{name}` is no text")),
        };
        if let Some(other) = optional("use")?.filter(|purpose| *purpose != "sig") {
            return Err(format!("it is for {other:?}, not for signatures"));
        }
        if let Some(Value::List(purposes)) = key.get("key_ops")
            && !purposes.iter().any(|purpose| purpose.as_text() == Some("verify"))
        {
            return Err("its `key_ops` do not have \"verify\"".to_owned());
        }
        let name = optional("kid")?.unwrap_or_default().into();
        let only = match optional("alg")? {
            None => None,
            Some(name) => {
                let known = Algorithm::of_name(name);
                Some(known.ok_or_else(|| format!("alg {name:?} is none of signatures"))?)
            }
        };
        let mut verifiers = match optional("kty")? {
            Some("RSA") => rsa(key)?,
            Some("EC") => elliptic(key, only)?,
            Some("OKP") => edwards(key)?,
            Some("oct") => secret(key)?,
            Some(other) => return Err(format!("kty {other:?} is not known")),
            None => return Err("`kty` is missing".to_owned()),
        };
        verifiers.retain(|(of, _)| only.is_none_or(|only| only == *of));
        if verifiers.is_empty() {
            return Err("its `alg` is not for such a key".to_owned());
        }
        Ok(Self { name, only, verifiers })
    }
}

/// A number, or other bytes, in base64url.
fn bytes(key: &Fields, name: &str) -> Result<Vec<u8>, String> {
    let text =
        key.get(name).and_then(Value::as_text).ok_or_else(|| format!("`{name}` is missing"))?;
    BASE64URL.decode(text).map_err(|_| format!("`{name}` is no base64url"))
}

/// RFC 7518, sections 3.3, 3.5 and 6.3.
fn rsa(key: &Fields) -> Result<Vec<(Algorithm, Verifier)>, String> {
    let number = |name| {
        let bytes = bytes(key, name)?;
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        Ok::<_, String>(bytes[zeros..].to_vec())
    };
    let (n, e) = (number("n")?, number("e")?);
    if !(256..=1024).contains(&n.len()) || (n.len() == 256 && n[0] < 0x80) {
        return Err("an RSA key must have 2048 to 8192 bits".to_owned());
    }
    if e != [3] && e != [1, 0, 1] {
        return Err("the exponent `e` must be 3 or 65537".to_owned());
    }
    const FORMS: [(Algorithm, &RsaParameters); 6] = [
        (Algorithm::Rs256, &RSA_PKCS1_2048_8192_SHA256),
        (Algorithm::Rs384, &RSA_PKCS1_2048_8192_SHA384),
        (Algorithm::Rs512, &RSA_PKCS1_2048_8192_SHA512),
        (Algorithm::Ps256, &RSA_PSS_2048_8192_SHA256),
        (Algorithm::Ps384, &RSA_PSS_2048_8192_SHA384),
        (Algorithm::Ps512, &RSA_PSS_2048_8192_SHA512),
    ];
    let key = RsaPublicKeyComponents { n, e };
    let form = |(of, form)| {
        let parsed = key.to_parsed_public_key(form);
        parsed.map(|parsed| (of, Verifier::Public(parsed))).map_err(|error| error.to_string())
    };
    FORMS.into_iter().map(form).collect()
}

/// RFC 7518, sections 3.4 and 6.2. The curve follows from the algorithm where it is not named.
fn elliptic(key: &Fields, only: Option<Algorithm>) -> Result<Vec<(Algorithm, Verifier)>, String> {
    let curve = match (key.get("crv"), only) {
        (Some(Value::Text(curve)), _) => &**curve,
        (Some(_), _) => return Err("`crv` is no text".to_owned()),
        (None, Some(Algorithm::Es384)) => "P-384",
        (None, Some(Algorithm::Es512)) => "P-521",
        (None, _) => "P-256",
    };
    let (of, form, length): (_, &'static dyn VerificationAlgorithm, _) = match curve {
        "P-256" => (Algorithm::Es256, &ECDSA_P256_SHA256_FIXED, 32),
        "P-384" => (Algorithm::Es384, &ECDSA_P384_SHA384_FIXED, 48),
        "P-521" => (Algorithm::Es512, &ECDSA_P521_SHA512_FIXED, 66),
        other => return Err(format!("crv {other:?} is not known")),
    };
    let mut point = vec![4];
    for name in ["x", "y"] {
        let number = bytes(key, name)?;
        let zeros = length - number.len().min(length);
        if number.len() > length {
            return Err(format!("`{name}` is too long for {curve}"));
        }
        point.extend(std::iter::repeat_n(0, zeros));
        point.extend(number);
    }
    let parsed =
        ParsedPublicKey::new(form, point).map_err(|_| format!("it is no point on {curve}"))?;
    Ok(vec![(of, Verifier::Public(parsed))])
}

/// RFC 8037, section 2.
fn edwards(key: &Fields) -> Result<Vec<(Algorithm, Verifier)>, String> {
    match key.get("crv").and_then(Value::as_text) {
        Some("Ed25519") => {}
        other => return Err(format!("crv {:?} is not known", other.unwrap_or_default())),
    }
    let point = bytes(key, "x")?;
    // The library takes encodings around the point, too; here only the point is meant.
    if point.len() != 32 {
        return Err("`x` must have 32 bytes".to_owned());
    }
    let parsed = ParsedPublicKey::new(&ED25519, point).map_err(|error| error.to_string())?;
    Ok(vec![(Algorithm::EdDsa, Verifier::Public(parsed))])
}

/// RFC 7518, sections 3.2 and 6.4: a secret has at least the size of the hash.
fn secret(key: &Fields) -> Result<Vec<(Algorithm, Verifier)>, String> {
    let secret = bytes(key, "k")?;
    let forms = [
        (Algorithm::Hs256, hmac::HMAC_SHA256, 32),
        (Algorithm::Hs384, hmac::HMAC_SHA384, 48),
        (Algorithm::Hs512, hmac::HMAC_SHA512, 64),
    ];
    let long_enough = forms.into_iter().filter(|(_, _, least)| secret.len() >= *least);
    let verifiers: Vec<_> = long_enough
        .map(|(of, form, _)| (of, Verifier::Secret(Box::new(hmac::Key::new(form, &secret)))))
        .collect();
    if verifiers.is_empty() {
        return Err("a secret must have 32 bytes at least".to_owned());
    }
    Ok(verifiers)
}

#[cfg(test)]
mod tests;
