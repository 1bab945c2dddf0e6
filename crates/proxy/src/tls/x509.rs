//! What a proxy needs of a certificate (RFC 5280), read in place from its DER form.
//!
//! The TLS library verifies; this tells who a certificate is for, when it expires and whose key it holds. It
//! reads certificates of version 1 too, which `openssl x509 -req` makes by default and the library does not take.

use std::fmt::{self, Write as _};
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(super) const BOOLEAN: u8 = 0x01;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OID: u8 = 0x06;
pub(super) const UTC_TIME: u8 = 0x17;
pub(super) const GENERALIZED_TIME: u8 = 0x18;
const BMP_STRING: u8 = 0x1e;
pub(super) const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;

/// `rsaEncryption`.
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
/// `id-ce-subjectAltName`.
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];

/// A certificate, taken apart.
#[derive(Debug, Clone, Copy)]
pub struct Certificate<'a> {
    /// What the issuer signed.
    pub signed: &'a [u8],
    /// Version: 1, 2 or 3.
    pub version: u8,
    /// Serial number, big endian.
    pub serial: &'a [u8],
    /// Name of the issuer, DER.
    pub issuer: &'a [u8],
    /// Name of the subject, DER.
    pub subject: &'a [u8],
    /// First moment of validity.
    pub not_before: SystemTime,
    /// Last moment of validity.
    pub not_after: SystemTime,
    /// `SubjectPublicKeyInfo`, DER.
    pub key: &'a [u8],
    /// Algorithm of the key: the content of its `AlgorithmIdentifier`.
    pub key_algorithm: &'a [u8],
    /// The key alone.
    pub key_bits: &'a [u8],
    /// Content of the `subjectAltName` extension; empty when there is none.
    alt_names: &'a [u8],
    /// Algorithm of the signature: the content of its `AlgorithmIdentifier`.
    pub signature_algorithm: &'a [u8],
    /// The signature.
    pub signature: &'a [u8],
}

/// A name that a certificate is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AltName<'a> {
    /// A DNS name, perhaps with `*` as its first label.
    Dns(&'a str),
    /// A URI.
    Uri(&'a str),
    /// A mail address.
    Email(&'a str),
    /// An IP address.
    Ip(IpAddr),
}

impl fmt::Display for AltName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(text) | Self::Uri(text) | Self::Email(text) => f.write_str(text),
            Self::Ip(address) => address.fmt(f),
        }
    }
}

/// A place in DER: values are taken from its front.
#[derive(Debug, Clone, Copy)]
pub(super) struct Der<'a>(pub(super) &'a [u8]);

/// One value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Value<'a> {
    pub(super) tag: u8,
    pub(super) content: &'a [u8],
    /// Tag, length and content.
    pub(super) whole: &'a [u8],
}

impl<'a> Der<'a> {
    pub(super) fn next(&mut self) -> Option<Value<'a>> {
        let [tag, first, ..] = *self.0 else { return None };
        let (header, len) = match usize::from(first) {
            len @ 0..=0x7f => (2, len),
            long => {
                let count = long & 0x7f;
                let bytes = self.0.get(2..2 + count).filter(|_| (1..=4).contains(&count))?;
                (2 + count, bytes.iter().fold(0, |len, byte| len << 8 | usize::from(*byte)))
            }
        };
        let (whole, rest) = self.0.split_at_checked(header.checked_add(len)?)?;
        self.0 = rest;
        Some(Value { tag, content: whole.get(header..)?, whole })
    }

    /// The next value; `None` where it has another tag.
    pub(super) fn read(&mut self, tag: u8) -> Option<Value<'a>> {
        self.next().filter(|value| value.tag == tag)
    }

    /// The next value if it has this tag; else it stays.
    pub(super) fn optional(&mut self, tag: u8) -> Option<Value<'a>> {
        if self.0.first() == Some(&tag) { self.next() } else { None }
    }
}

/// The values of a sequence, as far as they can be read.
pub(super) fn values(content: &[u8]) -> impl Iterator<Item = Value<'_>> {
    let mut der = Der(content);
    std::iter::from_fn(move || der.next())
}

/// A bit string of whole bytes.
pub(super) fn bits(content: &[u8]) -> Option<&[u8]> {
    content.split_first().filter(|(unused, _)| **unused == 0).map(|(_, bits)| bits)
}

impl<'a> Certificate<'a> {
    /// Takes a certificate apart; `None` when it is none.
    #[must_use]
    pub fn parse(der: &'a [u8]) -> Option<Self> {
        let mut outer = Der(der);
        let whole = outer.read(SEQUENCE).filter(|_| outer.0.is_empty())?;
        let mut parts = Der(whole.content);
        let signed = parts.read(SEQUENCE)?;
        let signature_algorithm = parts.read(SEQUENCE)?.content;
        let signature = bits(parts.read(BIT_STRING)?.content)?;

        let mut fields = Der(signed.content);
        let version = match fields.optional(0xa0) {
            Some(version) => Der(version.content).read(INTEGER)?.content.last()?.checked_add(1)?,
            None => 1,
        };
        let serial = fields.read(INTEGER)?.content;
        fields.read(SEQUENCE)?;
        let issuer = fields.read(SEQUENCE)?.whole;
        let mut validity = Der(fields.read(SEQUENCE)?.content);
        let (not_before, not_after) = (time(validity.next()?)?, time(validity.next()?)?);
        let subject = fields.read(SEQUENCE)?.whole;
        let key = fields.read(SEQUENCE)?;
        let mut info = Der(key.content);
        let key_algorithm = info.read(SEQUENCE)?.content;
        let key_bits = bits(info.read(BIT_STRING)?.content)?;
        fields.optional(0x81);
        fields.optional(0x82);
        let alt_names = match fields.optional(0xa3) {
            Some(extensions) => alt_names(extensions.content)?,
            None => &[],
        };
        Some(Self {
            signed: signed.whole,
            version,
            serial,
            issuer,
            subject,
            not_before,
            not_after,
            key: key.whole,
            key_algorithm,
            key_bits,
            alt_names,
            signature_algorithm,
            signature,
        })
    }

    /// How many bits its RSA key has; `None` where its key is of another kind.
    #[must_use]
    pub fn rsa_bits(&self) -> Option<usize> {
        if Der(self.key_algorithm).read(OID)?.content != RSA {
            return None;
        }
        let mut key = Der(Der(self.key_bits).read(SEQUENCE)?.content);
        let modulus = key.read(INTEGER)?.content;
        let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
        let (first, rest) = modulus.get(zeros..)?.split_first()?;
        Some(rest.len() * 8 + 8 - first.leading_zeros() as usize)
    }

    /// The names that it is for. Kinds that nothing here matches are left out.
    pub fn alt_names(&self) -> impl Iterator<Item = AltName<'a>> + use<'a> {
        values(self.alt_names).filter_map(|value| {
            let text = || std::str::from_utf8(value.content).ok();
            Some(match value.tag {
                0x81 => AltName::Email(text()?),
                0x82 => AltName::Dns(text()?),
                0x86 => AltName::Uri(text()?),
                0x87 => AltName::Ip(match value.content.len() {
                    4 => <[u8; 4]>::try_from(value.content).ok()?.into(),
                    16 => <[u8; 16]>::try_from(value.content).ok()?.into(),
                    _ => return None,
                }),
                _ => return None,
            })
        })
    }

    /// The subject as text; see [`name`].
    #[must_use]
    pub fn subject_text(&self) -> String {
        name(self.subject)
    }

    /// The serial number in lower-case hexadecimal, without leading zeros.
    #[must_use]
    pub fn serial_text(&self) -> String {
        let digits = hex(self.serial);
        let trimmed = digits.trim_start_matches('0');
        if trimmed.is_empty() { "0".to_owned() } else { trimmed.to_owned() }
    }

    /// Whether it is valid at `now`.
    #[must_use]
    pub fn is_valid_at(&self, now: SystemTime) -> bool {
        self.not_before <= now && now <= self.not_after
    }
}

/// Bytes in lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The content of `subjectAltName` among the extensions; empty when it is not there.
fn alt_names(extensions: &[u8]) -> Option<&[u8]> {
    let list = Der(extensions).read(SEQUENCE)?.content;
    for extension in values(list) {
        let mut fields = Der(extension.content);
        if fields.read(OID)?.content == SUBJECT_ALT_NAME {
            fields.optional(BOOLEAN);
            let inner = fields.read(OCTET_STRING)?.content;
            return Der(inner).read(SEQUENCE).map(|names| names.content);
        }
    }
    Some(&[])
}

/// A moment (RFC 5280, section 4.1.2.5): `YYMMDDHHMMSSZ`, or with four digits of the year.
pub(super) fn time(value: Value<'_>) -> Option<SystemTime> {
    let text = value.content.strip_suffix(b"Z")?;
    let (year, rest) = text.split_at_checked(match value.tag {
        UTC_TIME => 2,
        GENERALIZED_TIME => 4,
        _ => return None,
    })?;
    let digits = |text: &[u8]| -> Option<i64> { std::str::from_utf8(text).ok()?.parse().ok() };
    let year = match digits(year)? {
        short @ 0..50 if value.tag == UTC_TIME => 2000 + short,
        short @ 50.. if value.tag == UTC_TIME => 1900 + short,
        year => year,
    };
    if rest.len() != 10 || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let mut fields = [0; 5];
    for (field, pair) in fields.iter_mut().zip(rest.chunks(2)) {
        *field = digits(pair)?;
    }
    let [month, day, hour, minute, second] = fields;
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 {
        return None;
    }
    // Days since 1970 in the Gregorian calendar, with years that begin in March.
    let shifted = if month > 2 { year } else { year - 1 };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let era = shifted.div_euclid(400);
    let year_of_era = shifted.rem_euclid(400);
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * 146_097 + day_of_era - 719_468;
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second;
    match u64::try_from(seconds) {
        Ok(after) => UNIX_EPOCH.checked_add(Duration::from_secs(after)),
        Err(_) => UNIX_EPOCH.checked_sub(Duration::from_secs(seconds.unsigned_abs())),
    }
}

/// A name as RFC 2253 writes it: the last part first.
#[must_use]
pub fn name(der: &[u8]) -> String {
    let Some(sequence) = Der(der).read(SEQUENCE) else { return String::new() };
    let sets: Vec<_> = values(sequence.content).filter(|value| value.tag == SET).collect();
    let mut text = String::new();
    for set in sets.iter().rev() {
        for (place, attribute) in values(set.content).enumerate() {
            if !text.is_empty() {
                text.push(if place == 0 { ',' } else { '+' });
            }
            push_attribute(&mut text, attribute.content);
        }
    }
    text
}

fn push_attribute(text: &mut String, attribute: &[u8]) {
    let mut fields = Der(attribute);
    let (Some(oid), Some(value)) = (fields.read(OID), fields.next()) else { return };
    match attribute_name(oid.content) {
        Some(name) => text.push_str(name),
        None => push_oid(text, oid.content),
    }
    text.push('=');
    let plain = match value.tag {
        BMP_STRING => {
            let units =
                value.content.as_chunks::<2>().0.iter().map(|pair| u16::from_be_bytes(*pair));
            char::decode_utf16(units).map(|unit| unit.unwrap_or('\u{fffd}')).collect()
        }
        _ => String::from_utf8_lossy(value.content),
    };
    let last = plain.chars().count().saturating_sub(1);
    for (place, char) in plain.chars().enumerate() {
        let edge = (place == 0 && matches!(char, ' ' | '#')) || (place == last && char == ' ');
        if char.is_control() {
            let _ = write!(text, "\\{:02X}", u32::from(char));
            continue;
        }
        if edge || matches!(char, ',' | '+' | '"' | '\\' | '<' | '>' | ';') {
            text.push('\\');
        }
        text.push(char);
    }
}

fn attribute_name(oid: &[u8]) -> Option<&'static str> {
    Some(match oid {
        [0x55, 0x04, 0x03] => "CN",
        [0x55, 0x04, 0x04] => "SN",
        [0x55, 0x04, 0x05] => "serialNumber",
        [0x55, 0x04, 0x06] => "C",
        [0x55, 0x04, 0x07] => "L",
        [0x55, 0x04, 0x08] => "ST",
        [0x55, 0x04, 0x09] => "street",
        [0x55, 0x04, 0x0a] => "O",
        [0x55, 0x04, 0x0b] => "OU",
        [0x55, 0x04, 0x0c] => "title",
        [0x55, 0x04, 0x2a] => "GN",
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x01] => "emailAddress",
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x01] => "UID",
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x19] => "DC",
        _ => return None,
    })
}

fn push_oid(text: &mut String, oid: &[u8]) {
    let mut number: u64 = 0;
    let mut first = true;
    for byte in oid {
        number = number.wrapping_shl(7) | u64::from(byte & 0x7f);
        if byte & 0x80 != 0 {
            continue;
        }
        if first {
            let root = (number / 40).min(2);
            let _ = write!(text, "{root}.{}", number - root * 40);
            first = false;
        } else {
            let _ = write!(text, ".{number}");
        }
        number = 0;
    }
}

#[cfg(test)]
mod tests;
