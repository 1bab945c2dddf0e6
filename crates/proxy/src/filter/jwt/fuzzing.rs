//! What must hold for any bytes in place of a token or of a key set.

use base64::Engine as _;

use super::keys::KeySet;
use super::token::{BASE64URL, MAX_TOKEN, Token, signed};

/// A token that is read is what was written: three parts of which the last is signed for by the other two. Bytes are taken
/// as a token, and as lines that its parts are the encoding of.
///
/// # Panics
/// That does not hold.
pub fn token(data: &[u8]) {
    check(data);
    let parts = data.splitn(3, |byte| *byte == b'\n').map(|part| BASE64URL.encode(part));
    check(parts.collect::<Vec<_>>().join(".").as_bytes());
}

fn check(data: &[u8]) {
    let Ok(token) = Token::parse(data) else { return };
    assert!(data.len() <= MAX_TOKEN && data.iter().filter(|byte| **byte == b'.').count() == 2);
    let rest = &data[signed(data).len()..];
    assert!(rest.len() > 1 && rest[0] == b'.');
    let payload = token.written_payload.as_bytes();
    assert!(signed(data).ends_with(payload) && !payload.is_empty());
    assert_eq!(Token::parse(data).as_ref(), Ok(&token), "reading has no memory");
    // Nobody has signed it.
    static OTHER: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    let keys = KeySet::parse(OTHER.as_bytes()).unwrap_or_else(|why| panic!("{why}"));
    assert!(keys.verify(&token, data).is_err());
}

/// A key set that is read has keys.
///
/// # Panics
/// That does not hold.
pub fn keys(data: &[u8]) {
    if let Err(why) = KeySet::parse(data) {
        assert!(!why.is_empty());
    }
}
