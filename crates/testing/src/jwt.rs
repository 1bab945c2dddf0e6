//! Issuers of JSON Web Tokens: keys, and the tokens that they sign.

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING,
    ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair,
    KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256,
    RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding,
};
use base64::Engine as _;
use serde_json::{Value, json};

/// base64url without padding.
const BASE64URL: base64::engine::GeneralPurpose = base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Somebody who signs.
pub enum Signer {
    /// By RSA, of whichever form.
    Rsa(RsaKeyPair),
    /// By ECDSA, on a curve.
    Elliptic(EcdsaKeyPair, &'static str),
    /// By Ed25519.
    Edwards(Ed25519KeyPair),
    /// By a MAC with a secret.
    Secret(Vec<u8>),
}

impl Signer {
    /// A new key for an algorithm; for one of MACs always the same secret.
    ///
    /// # Panics
    /// No key can be made.
    #[must_use]
    pub fn new(algorithm: &str) -> Self {
        let curve = |form: &'static EcdsaSigningAlgorithm, curve| {
            Self::Elliptic(EcdsaKeyPair::generate(form).expect("a key"), curve)
        };
        match algorithm {
            "ES256" => curve(&ECDSA_P256_SHA256_FIXED_SIGNING, "P-256"),
            "ES384" => curve(&ECDSA_P384_SHA384_FIXED_SIGNING, "P-384"),
            "ES512" => curve(&ECDSA_P521_SHA512_FIXED_SIGNING, "P-521"),
            "EdDSA" => Self::Edwards(Ed25519KeyPair::generate().expect("a key")),
            "HS256" | "HS384" | "HS512" => Self::Secret((0..64).collect()),
            _ => Self::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).expect("a key")),
        }
    }

    /// Its public key, or the secret, as a JSON Web Key.
    #[must_use]
    pub fn key(&self) -> Value {
        let text = |bytes: &[u8]| BASE64URL.encode(bytes);
        match self {
            Self::Rsa(pair) => {
                // RSAPublicKey (RFC 8017, appendix A.1.1): two headers and a zero, the modulus, the exponent.
                let public = pair.public_key().as_ref();
                json!({"kty": "RSA", "n": text(&public[9..265]), "e": "AQAB"})
            }
            Self::Elliptic(pair, curve) => {
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                json!({"kty": "EC", "crv": curve, "x": text(x), "y": text(y)})
            }
            Self::Edwards(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": text(pair.public_key().as_ref())})
            }
            Self::Secret(secret) => json!({"kty": "oct", "k": text(secret)}),
        }
    }

    /// The set of this key alone.
    #[must_use]
    pub fn set(&self) -> String {
        json!({"keys": [self.key()]}).to_string()
    }

    /// A token with this header and these claims.
    ///
    /// # Panics
    /// As [`Self::sign`].
    #[must_use]
    pub fn token(&self, header: &Value, claims: &Value) -> String {
        let encode = |value: &Value| BASE64URL.encode(value.to_string());
        let signed = format!("{}.{}", encode(header), encode(claims));
        let algorithm = header["alg"].as_str().unwrap_or_default();
        let signature = BASE64URL.encode(self.sign(algorithm, signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    /// A signature; of another algorithm than the key's own it is one of the key's.
    ///
    /// # Panics
    /// The key cannot sign.
    #[must_use]
    pub fn sign(&self, algorithm: &str, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(pair) => {
                let form: &'static dyn RsaEncoding = match algorithm {
                    "RS384" => &RSA_PKCS1_SHA384,
                    "RS512" => &RSA_PKCS1_SHA512,
                    "PS256" => &RSA_PSS_SHA256,
                    "PS384" => &RSA_PSS_SHA384,
                    "PS512" => &RSA_PSS_SHA512,
                    _ => &RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(form, &random, message, &mut signature).expect("a signature");
                signature
            }
            Self::Elliptic(pair, _) => {
                pair.sign(&random, message).expect("a signature").as_ref().to_vec()
            }
            Self::Edwards(pair) => pair.sign(message).as_ref().to_vec(),
            Self::Secret(secret) => mac(secret, algorithm, message),
        }
    }
}

/// A MAC, with whatever bytes as its secret.
#[must_use]
pub fn mac(secret: &[u8], algorithm: &str, message: &[u8]) -> Vec<u8> {
    let form = match algorithm {
        "HS384" => hmac::HMAC_SHA384,
        "HS512" => hmac::HMAC_SHA512,
        _ => hmac::HMAC_SHA256,
    };
    hmac::sign(&hmac::Key::new(form, secret), message).as_ref().to_vec()
}
