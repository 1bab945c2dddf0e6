use super::*;

fn parse(text: &str) -> Result<(RequestHead, Carriage), BadMessage> {
    let mut scanner = HeadScanner::default();
    let len = scanner.scan(text.as_bytes(), 60 * 1024)?.ok_or(BadMessage::Malformed)?;
    let mut head = RequestHead::default();
    let carriage = request(&text.as_bytes()[..len], 100, &mut head)?;
    Ok((head, carriage))
}

fn refused(text: &str) -> BadMessage {
    match parse(text) {
        Err(reason) => reason,
        Ok((head, carriage)) => panic!("accepted {text:?}: {head:?} {carriage:?}"),
    }
}

#[test]
fn ambiguous_framing_is_refused() {
    let post = |lines: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
    let cases = [
        ("Content-Length: 1\r\nContent-Length: 1\r\n", BadMessage::Length),
        ("Content-Length: 1, 1\r\n", BadMessage::Length),
        ("Content-Length: +1\r\n", BadMessage::Length),
        ("Content-Length: 0x1\r\n", BadMessage::Length),
        ("Content-Length: \r\n", BadMessage::Length),
        ("Content-Length: 99999999999999999999\r\n", BadMessage::Length),
        ("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", BadMessage::Length),
        ("Transfer-Encoding: chunked\r\nContent-Length: 1\r\n", BadMessage::Length),
        ("Transfer-Encoding: gzip\r\nContent-Length: 1\r\n", BadMessage::Length),
        ("Transfer-Encoding: gzip, chunked\r\n", BadMessage::Coding),
        ("Transfer-Encoding: chunked, chunked\r\n", BadMessage::Coding),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", BadMessage::Coding),
        ("Transfer-Encoding: xchunked\r\n", BadMessage::Coding),
        ("Transfer-Encoding : chunked\r\n", BadMessage::Malformed),
        ("Content-Length : 1\r\n", BadMessage::Malformed),
        ("X: a\r\n b\r\n", BadMessage::Malformed),
        ("X: a\0b\r\n", BadMessage::Malformed),
        ("X: a\rb\r\n", BadMessage::Malformed),
        ("X: a\n", BadMessage::BareLf),
        (": a\r\n", BadMessage::Malformed),
    ];
    for (lines, reason) in cases {
        assert_eq!(refused(&post(lines)), reason, "{lines:?}");
    }
    let old = "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(refused(old), BadMessage::CodingOutOfPlace);
}

#[test]
fn start_lines_and_hosts() {
    for (text, reason) in [
        ("GET / HTTP/1.1\r\n\r\n", BadMessage::NoHost),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", BadMessage::Host),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", BadMessage::Host),
        ("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", BadMessage::Host),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", BadMessage::Host),
        ("GET /#x HTTP/1.1\r\nHost: a\r\n\r\n", BadMessage::Fragment),
        ("GET a HTTP/1.1\r\nHost: a\r\n\r\n", BadMessage::Target),
        ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", BadMessage::Target),
        ("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", BadMessage::Target),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", BadMessage::Version),
        ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", BadMessage::Version),
        ("GET /\r\n\r\n", BadMessage::Version),
        ("GET / http/1.1\r\nHost: a\r\n\r\n", BadMessage::Malformed),
        ("GET / HTTP/1.\r\nHost: a\r\n\r\n", BadMessage::Malformed),
        ("GET / HTTP/11.1\r\nHost: a\r\n\r\n", BadMessage::Malformed),
        ("GET / HTTP/2.0 x\r\nHost: a\r\n\r\n", BadMessage::Malformed),
        ("junk\r\n\r\n", BadMessage::Malformed),
        ("GET / HTTP/1.0\r\n\r\n", BadMessage::NoHost),
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: close, HOST\r\n\r\n", BadMessage::Nominated),
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: X-Forwarded-For\r\n\r\n", BadMessage::Nominated),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: a,b,c,d,e\r\nConnection: f,g,h,i,j\r\n\r\n",
            BadMessage::Nominated,
        ),
        ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", BadMessage::Malformed),
        ("GET / HTTP/1.1\nHost: a\n\n", BadMessage::BareLf),
    ] {
        assert_eq!(refused(text), reason, "{text:?}");
    }
    let (head, _) = parse("\r\nGET http://B.example:81?q HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!((head.authority(), head.path()), (&b"B.example:81"[..], &b"/?q"[..]));
    let (head, _) = parse("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(head.path(), b"*");
    let (head, carriage) = parse("CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!((head.authority(), head.path()), (&b"a:443"[..], &b""[..]));
    assert_eq!(carriage.framing, Framing::UntilClose);
    let (head, _) = parse("GET http://a/ HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!(head.authority(), b"a");
    let (head, _) = parse("GET https://a/ HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(head.scheme, Scheme::Https);
    let (_, carriage) = parse("GET / HTTP/1.0\r\nHost: a\r\n\r\n").unwrap();
    assert!(!carriage.keep_alive);
    let (_, carriage) = parse(
        "GET / HTTP/1.1\r\nHost: [::1]:80\r\nConnection: x, Upgrade\r\nUpgrade: websocket\r\n\r\n",
    )
    .unwrap();
    assert!(carriage.upgrade && carriage.keep_alive);
}

#[test]
fn a_head_is_found_however_it_arrives() {
    let text = b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\nrest";
    let mut scanner = HeadScanner::default();
    for end in 0..text.len() {
        let found = scanner.scan(&text[..end], 1024).unwrap();
        assert_eq!(found.is_some(), end >= text.len() - 4, "after {end} bytes");
        if let Some(len) = found {
            assert_eq!(len, text.len() - 4);
            break;
        }
    }
    let mut scanner = HeadScanner::default();
    assert_eq!(scanner.scan(&[b'a'; 65], 64), Err(BadMessage::TooLarge));
    assert_eq!(HeadScanner::default().scan(&b"\r\n".repeat(20), 64), Err(BadMessage::Malformed));
}

#[test]
fn responses_end_where_rfc_9112_says() {
    let framing = |text: &str, to_head| {
        let mut head = ResponseHead::default();
        response(text.as_bytes(), 100, to_head, false, &mut head).map(|carriage| carriage.framing)
    };
    let length = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
    assert_eq!(framing(length, false), Ok(Framing::Length(5)));
    assert_eq!(framing(length, true), Ok(Framing::None));
    assert_eq!(framing("HTTP/1.1 304\r\nContent-Length: 5\r\n\r\n", false), Ok(Framing::None));
    assert_eq!(framing("HTTP/1.1 204 No Content\r\n\r\n", false), Ok(Framing::None));
    let announced = "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n";
    assert_eq!(framing(announced, false), Err(BadMessage::Length));
    assert_eq!(
        framing("HTTP/1.1 103 E\r\nContent-Length: 2\r\n\r\n", false),
        Err(BadMessage::Length)
    );
    let coded = "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(framing(coded, false), Err(BadMessage::CodingOutOfPlace));
    let mut head = ResponseHead::default();
    let zero = b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n";
    response(zero, 100, false, false, &mut head).unwrap();
    assert!(head.headers.is_empty(), "a length of zero ends here");
    assert_eq!(framing("HTTP/1.0 200 OK\r\n\r\n", false), Ok(Framing::UntilClose));
    assert_eq!(framing("HTTP/1.1 101 S\r\nUpgrade: x\r\n\r\n", false), Ok(Framing::UntilClose));
    assert_eq!(
        framing(
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            false
        ),
        Err(BadMessage::Length)
    );
    assert_eq!(framing("HTTP/1.1 099 X\r\n\r\n", false), Err(BadMessage::Malformed));
}

#[test]
fn trailers_that_frame_are_dropped() {
    let mut seen = Vec::new();
    trailers(b"X-Sum: 1\r\nContent-Length: 3\r\nhost: b\r\n\r\n", 100, |name, value| {
        seen.push((name.to_vec(), value.to_vec()));
    })
    .unwrap();
    assert_eq!(seen, [(b"X-Sum".to_vec(), b"1".to_vec())]);
    assert_eq!(trailers(b"bad line\r\n\r\n", 100, |_, _| ()), Err(BadMessage::Chunk));
}
