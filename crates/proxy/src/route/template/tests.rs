use super::*;

fn render(template: &str, response: Option<&ResponseHead>) -> String {
    let request =
        RequestHead::get("example.com", "/a?b", &[("X-One", "first"), ("X-One", "second")]);
    let settled = settled();
    let facts = Facts {
        client: Some(([192, 0, 2, 1], 4000).into()),
        peer: Some(([127, 0, 0, 1], 5000).into()),
        local: Some(([127, 0, 0, 1], 80).into()),
        route: Some("r"),
        cluster: Some("c"),
        answered: true,
        connection: Some(7),
        tls: Some(&settled),
        ..Facts::default()
    };
    let scope = Scope { request: &request, response, facts: &facts };
    let template = Template::new(template).expect("a valid template");
    String::from_utf8_lossy(&template.render(scope)).into_owned()
}

fn settled() -> Settled {
    let leaf = crate::tls::identity::Leaf {
        serial: "0a".to_owned(),
        subject: "CN=me".to_owned(),
        dns_names: vec!["d".into()],
        uris: vec!["spiffe://a\r\nx: y".into(), "u:b".into()],
        not_before: UNIX_EPOCH,
        not_after: UNIX_EPOCH,
    };
    let peer = crate::tls::handshake::Peer {
        leaf,
        chain: vec![Vec::new().into()],
        verified: true,
        forwarded: Default::default(),
    };
    Settled {
        version: "TLSv1.3",
        cipher: "TLS_AES_128_GCM_SHA256",
        server_name: None,
        alpn: None,
        resumed: false,
        peer: Some(peer),
        local_uris: vec!["spiffe://us".into()],
    }
}

#[test]
fn the_beginning_of_a_request_is_told_in_any_form() {
    let request = RequestHead::default();
    let clock = Clock::default();
    let facts = Facts { started: Some((&clock, Instant::now())), ..Facts::default() };
    let scope = Scope { request: &request, response: None, facts: &facts };
    for (template, length) in
        [("%START_TIME%", 24), ("%START_TIME(%Y-%m-%d)%", 10), ("%START_TIME(%s.%3f)%", 14)]
    {
        let template = Template::new(template).expect("a valid template");
        assert_eq!(template.render(scope).len(), length, "{template:?}");
    }
}

/// Whoever writes header values asks that table which variables there are.
#[test]
fn the_table_of_names_is_what_is_parsed() {
    use tidegate_envoy::variables::{PLAIN, WITH_ARGUMENT};
    for name in PLAIN {
        assert!(Template::new(&format!("%{name}%")).is_ok(), "{name}");
    }
    for (name, _) in VARIABLES {
        assert!(PLAIN.contains(name), "{name}");
    }
    for (name, argument) in WITH_ARGUMENT {
        let text = ["a", "NQ"].into_iter().find(|text| argument.reads(text)).expect("one of them");
        assert!(Template::new(&format!("%{name}({text})%")).is_ok(), "{name}");
    }
}

/// What that table calls served is taken here: one value of another kind would cost its whole virtual host.
#[test]
fn what_the_table_serves_is_parsed() {
    use tidegate_envoy::variables::{self, WITH_ARGUMENT};
    let printable = || (b' '..=b'~').map(char::from);
    let mut arguments: Vec<String> =
        printable().flat_map(|a| printable().map(move |b| format!("%{a}{b}"))).collect();
    arguments.extend(printable().map(|a| format!("%E{a}S")));
    arguments.extend(["", "a", "a?b", "?b", "a?", "a?b?c", "(", "a(b)", "a(b"].map(str::to_owned));
    for query in ["", "WQ", "NQ", "XQ"] {
        arguments.extend(["", "ORIG", "PATH", "ORIG_OR_PATH", "X"].map(|s| format!("{query}:{s}")));
    }
    let mut served = 0;
    let names = WITH_ARGUMENT.iter().map(|(name, _)| *name).chain(["NOPE", "PROTOCOL"]);
    for (name, argument) in names.flat_map(|name| arguments.iter().map(move |a| (name, a))) {
        for behind in ["", ":7", ":", ":x", " ", "x", ":99999999999999999999"] {
            let value = format!("a %{name}({argument}){behind}% %% b");
            if variables::unserved(&value).is_none() {
                served += 1;
                let parsed = Template::new(&value);
                assert!(parsed.is_ok(), "{value}: {parsed:?}");
            }
        }
    }
    assert!(served > 1000, "{served}");
}

#[test]
fn variables_of_a_request() {
    let cases = [
        ("plain", "plain"),
        ("", ""),
        ("100%%", "100%"),
        ("%REQ(x-one)%", "first"),
        ("%REQ(X-None?:path)%!", "/a?b!"),
        ("%REQ(x-none)%", ""),
        ("%REQ(:AUTHORITY):7%", "example"),
        ("%REQ(host)%", "example.com"),
        ("%PROTOCOL%", "HTTP/1.1"),
        ("%DOWNSTREAM_REMOTE_ADDRESS%", "192.0.2.1:4000"),
        ("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "192.0.2.1"),
        ("%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%", "127.0.0.1"),
        ("<%DOWNSTREAM_LOCAL_PORT%>", "<80>"),
        ("%ROUTE_NAME%/%UPSTREAM_CLUSTER%", "r/c"),
        ("%UPSTREAM_HOST%", ""),
        ("%RESPONSE_CODE%", "0"),
        ("%RESPONSE_FLAGS_LONG%|%RESPONSE_CODE_DETAILS%|%BYTES_SENT%", "-||0"),
        ("%BYTES_RECEIVED%|%UPSTREAM_REQUEST_ATTEMPT_COUNT%|%ACCESS_LOG_TYPE%", "0|0|NotSet"),
        ("<%UPSTREAM_METADATA(a:b)%%TRAILER(a)%%TRACE_ID%%PER_REQUEST_STATE(k)%>", "<>"),
        ("%UPSTREAM_CLUSTER_RAW%", "c"),
        ("%CONNECTION_ID%", "7"),
        ("%PATH%|%PATH(NQ)%|%PATH(WQ:PATH):2%|%PATH(WQ:ORIG)%", "/a?b|/a|/a|"),
        ("%QUERY_PARAM(b)%|%QUERY_PARAM(none)%", "|"),
        ("%ENVIRONMENT(TIDEGATE_NOT_SET)%", "-"),
        ("%DYNAMIC_METADATA(a:b)%%FILTER_STATE(a)%", ""),
        ("%START_TIME(%Y)%|%START_TIME%", "|"),
        ("%DOWNSTREAM_TLS_VERSION% %DOWNSTREAM_TLS_CIPHER%", "TLSv1.3 TLS_AES_128_GCM_SHA256"),
        ("%DOWNSTREAM_PEER_SUBJECT%", "CN=me"),
        ("%DOWNSTREAM_PEER_URI_SAN%|%DOWNSTREAM_PEER_DNS_SAN%", "spiffe://ax: y,u:b|d"),
        ("%DOWNSTREAM_PEER_SERIAL%", "0a"),
        (
            "%DOWNSTREAM_PEER_FINGERPRINT_256%",
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        ),
        ("%DOWNSTREAM_LOCAL_URI_SAN%", "spiffe://us"),
    ];
    for (template, expected) in cases {
        assert_eq!(render(template, None), expected, "{template}");
    }
}

#[test]
fn variables_of_a_response() {
    let mut response = ResponseHead { status: 418, ..ResponseHead::default() };
    response.headers.append(b"Server", b"teapot");
    assert_eq!(render("%RESPONSE_CODE% %RESP(server)%", Some(&response)), "418 teapot");
    assert_eq!(render("%RESP(x?Server):3%", Some(&response)), "tea");
}

#[test]
fn what_is_not_known_yet_is_empty_a_dash_or_zero() {
    let request = RequestHead::default();
    let response = ResponseHead { status: 503, ..ResponseHead::default() };
    let scope = Scope { request: &request, response: Some(&response), facts: &Facts::default() };
    let template = Template::new("%RESPONSE_CODE%|%RESPONSE_FLAGS%|%UPSTREAM_HOST%|%ROUTE_NAME%");
    assert_eq!(&template.expect("valid").render(scope)[..], b"0|-||");
}

#[test]
fn an_endpoint_without_a_connection_is_a_host_but_no_remote_address() {
    let names = ["HOST", "REMOTE_ADDRESS", "REMOTE_ADDRESS_WITHOUT_PORT", "REMOTE_PORT"];
    let template = names.map(|name| format!("%UPSTREAM_{name}%")).join("|");
    let template = Template::new(&template).expect("valid");
    let request = RequestHead::default();
    let upstream = Some(Remote::Ip(([192, 0, 2, 1], 80).into()));
    for (connected, expected) in
        [(false, "192.0.2.1:80|||"), (true, "192.0.2.1:80|192.0.2.1:80|192.0.2.1|80")]
    {
        let facts = Facts { upstream: upstream.clone(), connected, ..Facts::default() };
        let scope = Scope { request: &request, response: None, facts: &facts };
        assert_eq!(String::from_utf8_lossy(&template.render(scope)), expected);
    }
}

#[test]
fn wrong_templates_are_refused() {
    let cases = [
        ("50%", "at byte 2"),
        ("%REQ(a", "at byte 0"),
        ("%NOPE%", "no variable"),
        ("%NOPE(x)%", "no variable"),
        ("%REQ()%", "not of the form"),
        ("%REQ(a?)%", "not of the form"),
        ("%REQ(a):x%", "not of the form"),
        ("%REQ(a)x%", "not of the form"),
        ("%PATH(XQ)%", "not of the form"),
        ("%QUERY_PARAM()%", "not of the form"),
        ("%ENVIRONMENT%", "no variable"),
    ];
    for (template, expected) in cases {
        let error = Template::new(template).expect_err(template).to_string();
        assert!(error.contains(expected), "{template}: {error}");
    }
}

#[test]
fn what_filters_noted_is_text_or_json_without_the_end_of_a_line() {
    use crate::metadata::{Fields, Value};
    let mut request = RequestHead::default();
    let token = Fields::from_json(br#"{"sub": "a\r\nb", "n": [1, true]}"#).expect("an object");
    request.noted.note("jwt", "payload".into(), Value::Map(token));
    let template = ["sub", "n", "none"].map(|key| format!("%DYNAMIC_METADATA(jwt:payload:{key})%"));
    let template = Template::new(&template.join("|")).expect("valid");
    let scope = Scope { request: &request, response: None, facts: &Facts::default() };
    assert_eq!(&template.render(scope)[..], b"ab|[1,true]|");
}
