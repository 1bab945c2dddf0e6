use super::fixtures::{self, Builder, list8, list16};
use super::*;
use crate::tls::fuzzing;

fn hello(wire: &[u8]) -> ClientHello {
    match parse(wire, DEFAULT_MAX_BYTES) {
        Inspection::Hello(hello) => hello,
        other => panic!("no hello: {other:?}"),
    }
}

fn malformed(wire: &[u8]) -> Malformed {
    match parse(wire, DEFAULT_MAX_BYTES) {
        Inspection::Malformed(why) => why,
        other => panic!("not malformed: {other:?}"),
    }
}

/// One hello of each program, in one record.
fn programs() -> Vec<Vec<u8>> {
    vec![
        fixtures::bytes(fixtures::OPENSSL_TLS13),
        fixtures::bytes(fixtures::OPENSSL_TLS12),
        fixtures::bytes(fixtures::CURL),
        fixtures::rustls("api.example.com", &[b"h2"]),
    ]
}

fn protocols(hello: &ClientHello) -> Vec<&str> {
    hello.alpn.iter().map(|name| str::from_utf8(name).unwrap()).collect()
}

#[test]
fn real_programs_are_understood() {
    let [openssl13, openssl12, curl, rustls] = programs().try_into().unwrap();

    let openssl13 = hello(&openssl13);
    assert_eq!(openssl13.server_name.as_deref(), Some("www.google.com"));
    assert_eq!(protocols(&openssl13), ["h2", "http/1.1"]);
    assert_eq!(openssl13.versions.highest(), Some(Version::Tls13));
    assert!(openssl13.versions.contains(Version::Tls10));

    let openssl12 = hello(&openssl12);
    assert_eq!(openssl12.server_name, None);
    assert!(openssl12.alpn.is_empty());
    assert_eq!(openssl12.versions.highest(), Some(Version::Tls12));

    let curl = hello(&curl);
    assert_eq!(curl.server_name.as_deref(), Some("httpbin.org"));
    assert!(curl.alpn.contains(b"h2") && !curl.alpn.contains(b"h3"));

    let rustls = hello(&rustls);
    assert_eq!(rustls.server_name.as_deref(), Some("api.example.com"));
    assert_eq!(protocols(&rustls), ["h2"]);
    assert!(!rustls.versions.contains(Version::Tls11));
    assert!(![openssl13, openssl12, curl, rustls].iter().any(|hello| hello.prefers_chacha));
}

#[test]
fn a_client_without_hardware_for_aes_names_chacha_first() {
    let prefers = |suites: &[u8]| {
        let wire = Builder { suites: suites.to_vec(), ..Builder::default() }.wire();
        hello(&wire).prefers_chacha
    };
    assert!(prefers(&[0x13, 0x03, 0x13, 0x01]));
    assert!(prefers(&[0x0a, 0x0a, 0xcc, 0xa9, 0x13, 0x01]), "GREASE is no preference");
    assert!(!prefers(&[0x13, 0x02, 0x13, 0x03]));
    assert!(!prefers(&[0x0a, 0x0a]));
}

#[test]
fn every_truncation_asks_for_more() {
    for wire in programs() {
        for end in 0..wire.len() {
            assert_eq!(parse(&wire[..end], DEFAULT_MAX_BYTES), Inspection::NeedMore, "{end}");
        }
    }
}

#[test]
fn what_follows_the_hello_does_not_matter() {
    for mut wire in programs() {
        let alone = hello(&wire);
        wire.extend([0xff; 40]);
        assert_eq!(hello(&wire), alone);
    }
}

#[test]
fn a_hello_may_be_split_over_records_anywhere() {
    let message = Builder::host("split.example.com").message();
    for fragment in 1..=message.len() {
        let wire = fixtures::records(&message, fragment);
        assert_eq!(hello(&wire).server_name.as_deref(), Some("split.example.com"), "{fragment}");
        for end in 0..wire.len() {
            assert_eq!(parse(&wire[..end], DEFAULT_MAX_BYTES), Inspection::NeedMore);
        }
    }
}

#[test]
fn other_protocols_are_told_from_tls_by_their_first_bytes() {
    let cases: [&[u8]; 7] = [
        b"GET / HTTP/1.1\r\n",
        b"PRI * HTTP/2.0\r\n",
        b"SSH-2.0-x",
        b"\x00",
        b"\x80\x2e\x01\x03\x01", // SSLv2 framing
        b"\x15\x03\x01\x00\x02", // a TLS alert
        b"\x16\x04",
    ];
    for bytes in cases {
        assert_eq!(parse(bytes, DEFAULT_MAX_BYTES), Inspection::NotTls, "{bytes:?}");
    }
}

#[test]
fn faults_of_the_record_layer_are_named_as_soon_as_they_show() {
    let cases: [(&[u8], Malformed); 6] = [
        (&[22, 3, 1, 0, 0], Malformed::EmptyRecord),
        (&[22, 3, 1, 0x40, 1], Malformed::RecordTooLong(16385)),
        (&[22, 3, 1, 0, 9, 2], Malformed::NotClientHello(2)),
        (&[22, 3, 1, 0, 9, 1, 1, 0, 0], Malformed::TooLarge(DEFAULT_MAX_BYTES)),
        (&[22, 3, 1, 0, 1, 1, 23], Malformed::UnexpectedRecord),
        (&[22, 3, 1, 0, 1, 1, 22, 9], Malformed::UnexpectedRecord),
    ];
    for (wire, why) in cases {
        assert_eq!(malformed(wire), why, "{wire:?}");
        let early = parse(&wire[..wire.len() - 1], DEFAULT_MAX_BYTES);
        assert_eq!(early, Inspection::NeedMore, "{wire:?}");
    }
}

#[test]
fn the_limit_counts_record_headers_too() {
    let message = Builder::host("a.example").message();
    for fragment in [usize::MAX, 10, 1] {
        let wire = fixtures::records(&message, fragment);
        assert!(matches!(parse(&wire, wire.len()), Inspection::Hello(_)));
        let limit = wire.len() - 1;
        let too_large = Inspection::Malformed(Malformed::TooLarge(limit));
        assert_eq!(parse(&wire, limit), too_large);
        assert_eq!(parse(&wire[..limit], limit), too_large);
    }
}

#[test]
fn bodies_that_do_not_fit_their_lengths_are_refused() {
    let hello = Builder::host("a.example");
    let cases = [
        (Builder { session: vec![0; 33], ..hello.clone() }, "session id"),
        (Builder { suites: vec![], ..hello.clone() }, "cipher suite list"),
        (Builder { suites: vec![1], ..hello.clone() }, "cipher suite list"),
        (Builder { compression: vec![], ..hello.clone() }, "compression method list"),
        (hello.clone().extension(16, vec![]), "ALPN extension"),
        (hello.clone().extension(16, list16(&[])), "ALPN list"),
        (hello.clone().extension(16, list16(&[0])), "ALPN protocol"),
        (hello.clone().extension(16, list16(&[3, b'h'])), "ALPN protocol"),
        (hello.clone().extension(43, vec![3, 3, 3, 3]), "version list"),
        (hello.clone().extension(43, vec![2, 3, 3, 3]), "supported_versions extension"),
        (
            Builder::default().extension(0, [list16(&[0, 0, 1, b'a']), vec![0]].concat()),
            "server_name extension",
        ),
        (
            Builder::default().extension(0, list16(&[0, 0, 1, b'a', 0, 0, 1, b'b'])),
            "server name list",
        ),
    ];
    for (hello, field) in cases {
        assert_eq!(malformed(&hello.wire()), Malformed::Length(field));
    }
}

#[test]
fn every_cut_of_the_body_is_refused() {
    let bare = Builder { extensions: None, ..Builder::default() }.message().len();
    let whole = Builder::host("a.example").extension(16, list16(&list8(b"h2"))).message();
    for end in 4..whole.len() {
        let mut cut = whole[..end].to_vec();
        cut[1..4].copy_from_slice(&((end - 4) as u32).to_be_bytes()[1..]);
        match parse(&fixtures::records(&cut, usize::MAX), DEFAULT_MAX_BYTES) {
            Inspection::Malformed(Malformed::Length(_)) => {}
            // A hello may end before the extension list.
            Inspection::Hello(hello) => assert_eq!((hello.server_name, end), (None, bare)),
            other => panic!("{end}: {other:?}"),
        }
    }
}

#[test]
fn extensions_that_are_read_may_occur_once() {
    for kind in [0, 16, 43] {
        let value = match kind {
            0 => fixtures::server_name(b"a.example"),
            16 => list16(&list8(b"h2")),
            _ => list8(&[3, 3]),
        };
        let twice = Builder::default().extension(kind, value.clone()).extension(kind, value);
        assert!(matches!(malformed(&twice.wire()), Malformed::Duplicate(_)));
    }
}

#[test]
fn server_names_are_host_names_in_lower_case() {
    let long = format!("{}.example", "a".repeat(63));
    let good = [
        ("A.Example", "a.example"),
        ("a.example.", "a.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("_sip.a.example", "_sip.a.example"),
        ("localhost", "localhost"),
        (&long, &long),
    ];
    for (sent, read) in good {
        assert_eq!(hello(&Builder::host(sent).wire()).server_name.as_deref(), Some(read));
    }
    let label = "a".repeat(64);
    let name = ["a".repeat(63).as_str(); 4].join(".");
    for bad in
        ["", ".", "a..b", ".a", "a b", "a\0", "::1", "a/b", "bücher.example", "*.a", &label, &name]
    {
        assert_eq!(malformed(&Builder::host(bad).wire()), Malformed::ServerName, "{bad}");
    }
    let other_type = Builder::default().extension(0, list16(&[1, 0, 1, b'a']));
    assert_eq!(malformed(&other_type.wire()), Malformed::ServerName);
}

#[test]
fn grease_is_ignored_and_encrypted_hellos_show_their_outer_name() {
    let offered = [&list8(&[0x5a, 0x5a]), &*list8(b"http/1.1")].concat();
    let wire = Builder::default()
        .extension(0x1a1a, vec![])
        .extension(0xfe0d, vec![0; 40])
        .extension(16, list16(&offered))
        .extension(43, list8(&[0x7a, 0x7a, 3, 4, 3, 3]))
        .extension(0, fixtures::server_name(b"outer.example"))
        .wire();
    let hello = hello(&wire);
    assert_eq!(hello.server_name.as_deref(), Some("outer.example"));
    assert_eq!(protocols(&hello), ["http/1.1"]);
    assert_eq!(format!("{:?}", hello.versions), "{Tls12, Tls13}");
    assert!(hello.encrypted);
}

#[test]
fn without_supported_versions_the_legacy_version_is_the_highest() {
    for (wire, highest) in [
        ([3, 0], None),
        ([3, 1], Some(Version::Tls10)),
        ([3, 3], Some(Version::Tls12)),
        ([3, 4], Some(Version::Tls12)),
    ] {
        let builder = Builder { version: wire, extensions: None, ..Builder::default() };
        assert_eq!(hello(&builder.wire()).versions.highest(), highest);
    }
}

/// The fuzz body on mutations of real hellos: a fixed seed and a fixed number of rounds, so that a
/// failure repeats.
#[test]
fn mutated_hellos_hold_the_invariants() {
    let mut corpus = programs();
    corpus.push(fixtures::records(&Builder::host("split.example.com").message(), 7));
    let mut random = fastrand::Rng::with_seed(0x7469_6465);
    for _ in 0..20_000 {
        let mut bytes = corpus[random.usize(..corpus.len())].clone();
        for _ in 0..random.usize(1..6) {
            mutate(&mut bytes, &mut random);
        }
        fuzzing::client_hello(&bytes);
    }
}

fn mutate(bytes: &mut Vec<u8>, random: &mut fastrand::Rng) {
    if bytes.is_empty() {
        bytes.push(22);
    }
    // Near the start, where the lengths are, as often as anywhere.
    let reach = if random.bool() { bytes.len().min(80) } else { bytes.len() };
    let at = random.usize(..reach);
    match random.u8(..6) {
        0 => bytes[at] ^= 1 << random.u8(..8),
        1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][random.usize(..5)],
        2 => bytes.truncate(at),
        3 => bytes.insert(at, random.u8(..)),
        4 => drop(bytes.remove(at)),
        _ => {
            let part = bytes[at..(at + random.usize(1..40)).min(bytes.len())].to_vec();
            let to = random.usize(..bytes.len());
            bytes.splice(to..to, part);
        }
    }
}

/// What was looked at is not looked at again: a hello in as many pieces as it has bytes costs what it costs in one.
#[test]
fn a_hello_in_pieces_is_looked_at_once() {
    const IN_RECORD: usize = 20;
    let wire = fixtures::records(&Builder::host("slow.example.com").message(), IN_RECORD);
    let mut progress = Progress::default();
    for end in 1..wire.len() {
        // Had the records before this one been looked at again, it would be no hello.
        let mut piece = wire[..end].to_vec();
        let before = (end - 1) / (5 + IN_RECORD) * (5 + IN_RECORD);
        piece[..before].fill(0);
        assert_eq!(progress.parse(&piece, DEFAULT_MAX_BYTES), Inspection::NeedMore, "{end}");
    }
    let Inspection::Hello(hello) = progress.parse(&wire, DEFAULT_MAX_BYTES) else {
        panic!("a hello")
    };
    assert_eq!(hello.server_name.as_deref(), Some("slow.example.com"));
}
