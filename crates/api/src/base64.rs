//! Base64 as Kubernetes' own decoder reads it: the standard alphabet, padded, line breaks ignored.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The text is no base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("illegal base64 data at input byte {at}")]
pub struct Illegal {
    /// Offset of the first byte that is wrong.
    pub at: usize,
}

/// Decodes standard base64. Line breaks are skipped, as Go's decoder does.
///
/// # Errors
/// Where the text stops being base64, in the words of Go's decoder.
pub fn decode(text: &str) -> Result<Vec<u8>, Illegal> {
    let decoded = if text.contains(['\r', '\n']) {
        STANDARD.decode(text.replace(['\r', '\n'], ""))
    } else {
        STANDARD.decode(text)
    };
    decoded.map_err(|error| Illegal {
        at: match error {
            base64::DecodeError::InvalidByte(at, _) => at,
            base64::DecodeError::InvalidLastSymbol(at, _) => at,
            base64::DecodeError::InvalidLength(length) => length,
            base64::DecodeError::InvalidPadding => text.trim_end_matches('=').len(),
        },
    })
}

/// Encodes as standard base64, padded.
pub fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}
