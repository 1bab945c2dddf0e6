//! OCSP answers (RFC 6960) that stand beside a certificate: what they are for, and for how long.
//!
//! Clients verify them; here it is only made sure that none goes out that is for another certificate, or out of date.

use std::time::SystemTime;

use super::x509::{Der, INTEGER, OCTET_STRING, SEQUENCE, Value, time, values};

const ENUMERATED: u8 = 0x0a;
const OID: u8 = 0x06;
const GENERALIZED_TIME: u8 = 0x18;

/// Why an answer cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// It cannot be read.
    #[error("the OCSP response is malformed")]
    Malformed,
    /// It says that there is no answer.
    #[error("the OCSP response says that the responder has failed")]
    Failed,
    /// It is an answer about something else.
    #[error("the OCSP response is not for this certificate")]
    Foreign,
}

/// Until when an answer about the certificate of this serial number is good; `None` when it does not say, and then it
/// is not to be relied on.
///
/// # Errors
/// See [`Unusable`].
pub fn good_until(response: &[u8], serial: &[u8]) -> Result<Option<SystemTime>, Unusable> {
    let answers = answers(response)?.ok_or(Unusable::Failed)?;
    for answer in values(answers) {
        let (about, until) = single(answer).ok_or(Unusable::Malformed)?;
        if about == serial {
            return Ok(until);
        }
    }
    Err(Unusable::Foreign)
}

/// The content of `responses`; `None` without success.
fn answers(response: &[u8]) -> Result<Option<&[u8]>, Unusable> {
    let read = || {
        let mut response = Der(Der(response).read(SEQUENCE)?.content);
        if response.read(ENUMERATED)?.content != [0] {
            return Some(None);
        }
        let mut bytes = Der(Der(response.read(0xa0)?.content).read(SEQUENCE)?.content);
        bytes.read(OID)?;
        let basic = bytes.read(OCTET_STRING)?.content;
        let mut data = Der(Der(Der(basic).read(SEQUENCE)?.content).read(SEQUENCE)?.content);
        data.optional(0xa0);
        // Who answers: by name or by key.
        data.next().filter(|responder| matches!(responder.tag, 0xa1 | 0xa2))?;
        data.read(GENERALIZED_TIME)?;
        Some(Some(data.read(SEQUENCE)?.content))
    };
    read().ok_or(Unusable::Malformed)
}

/// The serial number that an answer is about, and its `nextUpdate`.
fn single(answer: Value<'_>) -> Option<(&[u8], Option<SystemTime>)> {
    let mut fields = Der(answer.content);
    let mut id = Der(fields.read(SEQUENCE)?.content);
    id.read(SEQUENCE)?;
    id.read(OCTET_STRING)?;
    id.read(OCTET_STRING)?;
    let serial = id.read(INTEGER)?.content;
    // Good, revoked or unknown: the client decides what follows from it.
    fields.next()?;
    time(fields.read(GENERALIZED_TIME)?)?;
    let until = match fields.optional(0xa0) {
        Some(next) => Some(time(Der(next.content).read(GENERALIZED_TIME)?)?),
        None => None,
    };
    Some((serial, until))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn der(tag: u8, content: &[u8]) -> Vec<u8> {
        let len = content.len() as u16;
        let mut der = vec![tag, 0x82];
        der.extend(len.to_be_bytes());
        der.extend(content);
        der
    }

    fn response(status: u8, serial: &[u8], next: Option<&str>) -> Vec<u8> {
        let moment = |text: &str| der(GENERALIZED_TIME, text.as_bytes());
        let hash = || der(OCTET_STRING, &[1; 20]);
        let id = [der(SEQUENCE, &[]), hash(), hash(), der(INTEGER, serial)].concat();
        let next = next.map(|next| der(0xa0, &moment(next))).unwrap_or_default();
        let single = [der(SEQUENCE, &id), vec![0x80, 0], moment("20200101000000Z"), next].concat();
        let list = der(SEQUENCE, &der(SEQUENCE, &single));
        let data = [der(0xa2, &hash()), moment("20200101000000Z"), list].concat();
        let basic = der(SEQUENCE, &der(SEQUENCE, &data));
        let bytes = [der(OID, &[0x2b]), der(OCTET_STRING, &basic)].concat();
        let bytes = der(0xa0, &der(SEQUENCE, &bytes));
        der(SEQUENCE, &[der(ENUMERATED, &[status]), bytes].concat())
    }

    #[test]
    fn what_an_answer_is_about_and_for_how_long() {
        let whole = response(0, &[1, 2], Some("20200102000000Z"));
        let until = UNIX_EPOCH + Duration::from_secs(1_577_923_200);
        assert_eq!(good_until(&whole, &[1, 2]), Ok(Some(until)));
        assert_eq!(good_until(&whole, &[1, 3]), Err(Unusable::Foreign));
        assert_eq!(good_until(&response(0, &[1], None), &[1]), Ok(None));
        assert_eq!(good_until(&response(6, &[1], None), &[1]), Err(Unusable::Failed));
        for end in 0..whole.len() {
            let cut = good_until(&whole[..end], &[1, 2]);
            assert_eq!(cut, Err(Unusable::Malformed), "cut at {end}");
        }
    }
}
