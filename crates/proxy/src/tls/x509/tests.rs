use tidegate_testing::ca::Ca;

use super::*;

#[test]
fn a_certificate_tells_its_names_and_times() {
    let identity = Ca::new("a root, of trust").issue(&["a.example", "127.0.0.1", "*.b.example"]);
    let certificate = Certificate::parse(&identity.certificate).expect("a certificate");
    assert_eq!(certificate.version, 3);
    assert_eq!(
        certificate.alt_names().collect::<Vec<_>>(),
        [
            AltName::Dns("a.example"),
            AltName::Ip([127, 0, 0, 1].into()),
            AltName::Dns("*.b.example")
        ]
    );
    assert!(certificate.subject_text().contains("CN=a.example"), "{}", certificate.subject_text());
    assert!(name(certificate.issuer).contains("CN=a root\\, of trust"));
    assert!(certificate.is_valid_at(SystemTime::now()));
    assert!(!certificate.is_valid_at(certificate.not_after + Duration::from_secs(1)));
    assert!(!certificate.serial_text().starts_with('0'));
}

#[test]
fn times_of_both_forms() {
    let cases: [(u8, &[u8], Option<i64>); 9] = [
        (UTC_TIME, b"700101000000Z", Some(0)),
        (UTC_TIME, b"240229123456Z", Some(1_709_210_096)),
        (UTC_TIME, b"491231235959Z", Some(2_524_607_999)),
        (UTC_TIME, b"500101000000Z", Some(-631_152_000)),
        (GENERALIZED_TIME, b"20500101000000Z", Some(2_524_608_000)),
        (GENERALIZED_TIME, b"99991231235959Z", Some(253_402_300_799)),
        (UTC_TIME, b"2402291234Z", None),
        (UTC_TIME, b"241301000000Z", None),
        (UTC_TIME, b"24+1+1000000Z", None),
    ];
    for (tag, content, expected) in cases {
        let found = time(Value { tag, content, whole: content }).map(|time| {
            time.duration_since(UNIX_EPOCH).map_or_else(
                |before| -(before.duration().as_secs() as i64),
                |after| after.as_secs() as i64,
            )
        });
        assert_eq!(found, expected, "{}", content.escape_ascii());
    }
}

#[test]
fn object_identifiers_have_dots() {
    let mut text = String::new();
    push_oid(&mut text, &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d]);
    assert_eq!(text, "1.2.840.113549");
}

#[test]
fn cut_and_changed_certificates_are_no_fault() {
    let identity = Ca::new("root").issue(&["a.example", "::1"]);
    let whole = identity.certificate.to_vec();
    for len in 0..whole.len() {
        assert!(Certificate::parse(&whole[..len]).is_none(), "{len} bytes");
    }
    for place in 0..whole.len() {
        for bit in 0..8 {
            let mut changed = whole.clone();
            changed[place] ^= 1 << bit;
            if let Some(certificate) = Certificate::parse(&changed) {
                let _ = (certificate.subject_text(), certificate.serial_text());
                assert!(certificate.alt_names().count() <= whole.len());
            }
        }
    }
}
