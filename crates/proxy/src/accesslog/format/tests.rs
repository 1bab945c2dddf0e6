//! Lines of the guides, the table of operators, and what no input may do.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::*;
use crate::accesslog::{Field, Log, Protocol, ResponseFlags};
use crate::remote::Remote;

fn at(nanos: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(nanos)
}

fn endpoint(address: &str) -> Option<Remote> {
    Some(Remote::Ip(address.parse().expect("an address")))
}

fn gateway() -> Workload {
    Workload {
        namespace: "istio-system".into(),
        app: "istio-ingressgateway".into(),
        pod: "istio-ingressgateway-899f57d65-svpnt".into(),
        deployment: "istio-ingressgateway".into(),
    }
}

/// The request of guide 000: a teapot through the front proxy.
fn teapot() -> Record {
    let mut record = Record::new(Kind::Http, at(1_548_945_618_645_864_000), &Log::default());
    record.protocol = Some(Protocol::Http11);
    record.upstream_protocol = Some(Protocol::Http11);
    record.status = 418;
    record.attempts = 1;
    record.timing.end = Duration::from_nanos(187_003_904);
    record.timing.upstream_first_received = Some(Duration::from_micros(186_900));
    record.bytes.sent = 135;
    record.bytes.request_headers = 327;
    record.bytes.response_headers = 230;
    record.downstream_remote = "10.127.220.75:52077".parse().ok();
    record.downstream_local = "172.30.230.33:80".parse().ok();
    record.upstream_remote = endpoint("34.232.181.106:80");
    record.upstream_service_time = Some(Duration::from_micros(186_900));
    for (field, text) in [
        (Field::Method, "GET"),
        (Field::Path, "/status/418"),
        (Field::Authority, "httpbin.org"),
        (Field::Scheme, "http"),
        (Field::ForwardedFor, "10.127.220.75"),
        (Field::UserAgent, "curl/7.54.0"),
        (Field::RequestId, "28255618-6ca5-9d91-9634-c562694a3625"),
        (Field::Cluster, "outbound|80||httpbin.org"),
        (Field::Details, "via_upstream"),
    ] {
        record.set(field, text);
    }
    record
}

/// The connection of guide 000: Google's page through the front proxy, by its SNI.
fn passthrough(kind: Kind) -> Record {
    let mut record = Record::new(kind, at(1_548_942_011_076_000_000), &Log::default());
    record.downstream_remote = "10.127.220.75:49467".parse().ok();
    record.downstream_local = "172.30.230.33:443".parse().ok();
    record.upstream_remote = endpoint("172.217.31.132:443");
    record.upstream_local = "172.30.230.33:54508".parse().ok();
    record.set(Field::Cluster, "outbound|443||www.google.com");
    record.set(Field::ServerName, "www.google.com");
    if kind == Kind::TcpOpen {
        record.timing.end = Duration::from_nanos(233_958_000);
        record.bytes.received = 225;
    } else {
        record.timing.end = Duration::from_millis(1_644);
        record.bytes.received = 589;
        record.bytes.sent = 17_798;
    }
    record
}

fn render(format: &Format, record: &Record) -> String {
    let mut headers = Headers::default();
    format.headers(&mut headers);
    let mut out = Vec::new();
    format.render(record, &headers.into_plan().unwrap(), &mut out);
    String::from_utf8(out).unwrap()
}

fn named(name: &str, record: &Record) -> String {
    render(&Format::from_flag(name).unwrap(), record)
}

fn text(source: &str, record: &Record) -> String {
    render(&Format::text(source, false).unwrap(), record)
}

/// A record whose plan keeps what `format` asks for, filled from these headers.
fn with_headers(format: &Format, request: &[(&str, &str)], trailers: &[(&str, &str)]) -> Record {
    fn find<'a>(headers: &'a [(&str, &str)]) -> impl FnMut(&str) -> Option<&'a [u8]> {
        |name| headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_bytes())
    }
    let mut headers = Headers::default();
    format.headers(&mut headers);
    let plan = headers.into_plan().unwrap();
    let mut record = teapot();
    record.capture_request(&plan, find(request));
    record.capture_response(&plan, |_| None);
    record.capture_trailers(&plan, find(trailers));
    record
}

#[test]
fn guide_000_http() {
    assert_eq!(
        named("istio-1.1", &teapot()),
        "[2019-01-31T14:40:18.645Z] \"GET /status/418 HTTP/1.1\" 418 - 0 135 187 186 \"10.127.220.75\" \
         \"curl/7.54.0\" \"28255618-6ca5-9d91-9634-c562694a3625\" \"httpbin.org\" \"34.232.181.106:80\" \
         outbound|80||httpbin.org - 172.30.230.33:80 10.127.220.75:52077 -\n"
    );
}

#[test]
fn guide_000_tcp() {
    assert_eq!(
        named("istio-1.1", &passthrough(Kind::TcpClose)),
        "[2019-01-31T13:40:11.076Z] \"- - -\" 0 - 589 17798 1644 - \"-\" \"-\" \"-\" \"-\" \
         \"172.217.31.132:443\" outbound|443||www.google.com 172.30.230.33:54508 172.30.230.33:443 \
         10.127.220.75:49467 www.google.com\n"
    );
    assert_eq!(named("istio-1.1", &passthrough(Kind::TcpOpen)), "", "logged once, at its end");
}

#[test]
fn guide_004() {
    let mut record = Record::new(Kind::Http, at(1_533_814_378_171_000_000), &Log::default());
    record.protocol = Some(Protocol::Http11);
    record.status = 200;
    record.bytes.sent = 1050;
    record.timing.end = Duration::from_millis(264);
    record.upstream_service_time = Some(Duration::from_millis(264));
    record.upstream_remote = endpoint("172.217.20.74:443");
    for (field, text) in [
        (Field::Method, "GET"),
        (Field::Path, "/books/v1/volumes?q=isbn:0486424618"),
        (Field::Authority, "www.googleapis.com:443"),
        (Field::UserAgent, "Ruby"),
        (Field::RequestId, "b993bae7-4288-9241-81a5-4cde93b2e3a6"),
    ] {
        record.set(field, text);
    }
    assert_eq!(
        named("istio-1.0", &record),
        "[2018-08-09T11:32:58.171Z] \"GET /books/v1/volumes?q=isbn:0486424618 HTTP/1.1\" 200 - 0 1050 264 264 \
         \"-\" \"Ruby\" \"b993bae7-4288-9241-81a5-4cde93b2e3a6\" \"www.googleapis.com:443\" \
         \"172.217.20.74:443\"\n"
    );
}

#[test]
fn todays_istio() {
    let mut record = teapot();
    record.set(Field::Route, "default");
    assert_eq!(
        named("istio", &record),
        "[2019-01-31T14:40:18.645Z] \"GET /status/418 HTTP/1.1\" 418 - via_upstream - \"-\" 0 135 187 186 \
         \"10.127.220.75\" \"curl/7.54.0\" \"28255618-6ca5-9d91-9634-c562694a3625\" \"httpbin.org\" \
         \"34.232.181.106:80\" outbound|80||httpbin.org - 172.30.230.33:80 10.127.220.75:52077 - default\n"
    );
    record.flags = ResponseFlags::UPSTREAM_CONNECTION_FAILURE;
    record.set(Field::UpstreamFailure, "delayed connect error: Connection refused");
    assert!(
        named("istio", &record)
            .contains(" UF via_upstream - \"delayed_connect_error:_Connection_refused\" 0 135 ")
    );
}

#[test]
fn mixer_http() {
    assert_eq!(
        render(&Format::mixer(gateway()), &teapot()),
        concat!(
            r#"{"level":"info","time":"2019-01-31T14:40:18.645864Z","instance":"accesslog.logentry.istio-system","#,
            r#""apiClaims":"","apiKey":"","clientTraceId":"","connection_security_policy":"unknown","#,
            r#""destinationApp":"","destinationIp":"Iui1ag==","destinationName":"unknown","#,
            r#""destinationNamespace":"default","destinationOwner":"unknown","destinationPrincipal":"","#,
            r#""destinationServiceHost":"httpbin.org","destinationWorkload":"unknown","grpcMessage":"","#,
            r#""grpcStatus":"","httpAuthority":"httpbin.org","latency":"187.003904ms","method":"GET","#,
            r#""permissiveResponseCode":"none","permissiveResponsePolicyID":"none","protocol":"http","#,
            r#""receivedBytes":327,"referer":"","reporter":"source","#,
            r#""requestId":"28255618-6ca5-9d91-9634-c562694a3625","requestSize":0,"requestedServerName":"","#,
            r#""responseCode":418,"responseSize":135,"responseTimestamp":"2019-01-31T14:40:18.832867Z","#,
            r#""sentBytes":365,"sourceApp":"istio-ingressgateway","sourceIp":"AAAAAAAAAAAAAP//rB7mIQ==","#,
            r#""sourceName":"istio-ingressgateway-899f57d65-svpnt","sourceNamespace":"istio-system","#,
            r#""sourceOwner":"kubernetes://apis/apps/v1/namespaces/istio-system/deployments/istio-ingressgateway","#,
            r#""sourcePrincipal":"","sourceWorkload":"istio-ingressgateway","url":"/status/418","#,
            r#""userAgent":"curl/7.54.0","xForwardedFor":"10.127.220.75"}"#,
            "\n"
        )
    );
}

#[test]
fn mixer_tcp() {
    let format = Format::mixer(gateway());
    let open = render(&format, &passthrough(Kind::TcpOpen));
    assert_eq!(
        open,
        concat!(
            r#"{"level":"info","time":"2019-01-31T13:40:11.309958Z","instance":"tcpaccesslog.logentry.istio-system","#,
            r#""connectionDuration":"0s","connectionEvent":"open","connection_security_policy":"unknown","#,
            r#""destinationApp":"","destinationIp":"rNkfhA==","destinationName":"unknown","#,
            r#""destinationNamespace":"default","destinationOwner":"unknown","destinationPrincipal":"","#,
            r#""destinationServiceHost":"","destinationWorkload":"unknown","protocol":"tcp","receivedBytes":225,"#,
            r#""reporter":"source","requestedServerName":"www.google.com","sentBytes":0,"#,
            r#""sourceApp":"istio-ingressgateway","sourceIp":"Cn/cSw==","#,
            r#""sourceName":"istio-ingressgateway-899f57d65-svpnt","sourceNamespace":"istio-system","#,
            r#""sourceOwner":"kubernetes://apis/apps/v1/namespaces/istio-system/deployments/istio-ingressgateway","#,
            r#""sourcePrincipal":"","sourceWorkload":"istio-ingressgateway","totalReceivedBytes":225,"#,
            r#""totalSentBytes":0}"#,
            "\n"
        )
    );
    let close = render(&format, &passthrough(Kind::TcpClose));
    assert!(
        close.contains(r#""connectionDuration":"1.644s","connectionEvent":"close","#),
        "{close}"
    );
    assert!(close.contains(r#""totalReceivedBytes":589,"totalSentBytes":17798}"#), "{close}");
}

#[test]
fn every_named_format_parses_and_the_rest_is_refused_with_the_names() {
    for (name, _) in NAMED {
        assert!(Format::from_flag(name).is_ok(), "{name}");
    }
    assert_eq!(render(&Format::default(), &teapot()), named("envoy", &teapot()));
    let error = Format::from_flag("istio-0.8").unwrap_err().to_string();
    assert!(error.contains("istio-1.1") && error.contains("istio-0.8"), "{error}");
}

#[test]
fn operators() {
    let mut record = teapot();
    record.flags =
        ResponseFlags::UPSTREAM_CONNECTION_FAILURE | ResponseFlags::UPSTREAM_RETRY_LIMIT_EXCEEDED;
    record.connection_id = 7;
    record.upstream_local = "172.30.230.33:40000".parse().ok();
    record.timing.request_received = Some(Duration::from_micros(1_500));
    record.timing.upstream_first_sent = Some(Duration::from_millis(2));
    record.downstream_direct_remote = "[2001:db8::1]:9".parse().ok();
    record.set(Field::OriginalPath, "/old?a=1&b=x%20y%2&c");
    record.set(Field::ClusterAlias, "outbound|80||httpbin.org;");
    for (source, expected) in [
        ("", ""),
        ("plain", "plain"),
        ("100%% %%DURATION%%", "100% %DURATION%"),
        ("%START_TIME(%s.%3f)%", "1548945618.645"),
        ("%EMIT_TIME%", "2019-01-31T14:40:18.832Z"),
        ("%REQ(:METHOD)%|%%req%%", "GET|%req%"),
        ("%REQ(:PATH)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%", "/status/418 /old?a=1&b=x%20y%2&c"),
        ("%REQ(user-agent):4%", "curl"),
        ("%REQ(host)% %REQ(x-none?user-agent)% %REQ(x-none)%", "httpbin.org curl/7.54.0 -"),
        ("%RESP(:STATUS)% %RESP(X-Envoy-Upstream-Service-Time)%", "418 186"),
        ("%RESPONSE_CODE% %RESPONSE_FLAGS%", "418 URX,UF"),
        ("%RESPONSE_FLAGS_LONG%", "UpstreamRetryLimitExceeded,UpstreamConnectionFailure"),
        ("%DURATION% %REQUEST_DURATION% %RESPONSE_DURATION% %RESPONSE_TX_DURATION%", "187 1 186 0"),
        ("%REQUEST_TX_DURATION%", "-"),
        ("%COMMON_DURATION(DS_RX_BEG:DS_RX_END:us)%", "1500"),
        ("%COMMON_DURATION(US_TX_BEG:US_RX_BEG:ms)%", "184"),
        ("%COMMON_DURATION(DS_RX_BEG:US_TX_END:ms)%", "-"),
        ("%PROTOCOL% %UPSTREAM_PROTOCOL%", "HTTP/1.1 HTTP/1.1"),
        (
            "%UPSTREAM_CLUSTER% %UPSTREAM_CLUSTER_RAW%",
            "outbound|80||httpbin.org; outbound|80||httpbin.org",
        ),
        ("%UPSTREAM_HOST% %UPSTREAM_LOCAL_PORT%", "34.232.181.106:80 40000"),
        (
            "%UPSTREAM_HOST_NAME% %UPSTREAM_HOST_NAME_WITHOUT_PORT%",
            "34.232.181.106:80 34.232.181.106",
        ),
        ("%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%", "[2001:db8::1]:9"),
        ("%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%", "2001:db8::1"),
        ("%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%:%DOWNSTREAM_LOCAL_PORT%", "172.30.230.33:80"),
        ("%CONNECTION_ID% %ACCESS_LOG_TYPE%", "7 DownstreamEnd"),
        (
            "%PATH% %PATH(NQ)% %PATH(WQ:PATH)% %PATH(NQ:ORIG)%",
            "/old?a=1&b=x%20y%2&c /old /status/418 /old",
        ),
        ("%QUERY_PARAMS% %QUERY_PARAMS(PATH)%", "a=1&b=x%20y%2&c -"),
        ("%QUERY_PARAM(b)%|%QUERY_PARAM(c)%|%QUERY_PARAM(d)%|%QUERY_PARAM(b):1%", "x y%2||-|x"),
        ("%REQUESTED_SERVER_NAME% %REQUESTED_SERVER_NAME(SNI_FIRST)%", "- httpbin.org"),
        ("%GRPC_STATUS%", "-"),
        ("%ENVIRONMENT(NO_SUCH_VARIABLE_HERE)%", "-"),
    ] {
        assert_eq!(text(source, &record), expected, "{source}");
    }
}

#[test]
fn captured_headers_and_grpc() {
    let format =
        Format::text("%REQ(X-Foo)% %REQ(x-bar?x-foo):2% %TRAILER(x-t)% %RESP(x-r)%", false);
    let format = format.unwrap();
    let record = with_headers(&format, &[("x-foo", "f\"oo")], &[("x-t", "t")]);
    assert_eq!(render(&format, &record), "f\"oo f\" t -");
    let format = Format::text(
        "%GRPC_STATUS% %GRPC_STATUS(SNAKE_STRING)% %GRPC_STATUS(NUMBER)% %GRPC_STATUS_NUMBER%",
        false,
    )
    .unwrap();
    let grpc = ("content-type", "application/grpc+proto");
    let record = with_headers(&format, &[grpc], &[("grpc-status", "3")]);
    assert_eq!(render(&format, &record), "InvalidArgument INVALID_ARGUMENT 3 3");
    let mut record = with_headers(&format, &[grpc], &[]);
    record.status = 503;
    assert_eq!(render(&format, &record), "Unavailable UNAVAILABLE 14 14");
}

#[test]
fn unique_ids_are_stable_and_differ() {
    let (first, mut second) = (teapot(), teapot());
    second.connection_id = 1;
    let id = text("%UNIQUE_ID%", &first);
    assert_eq!(id, text("%UNIQUE_ID%", &first));
    assert_ne!(id, text("%UNIQUE_ID%", &second));
    assert_ne!(id, text("%STREAM_ID%", &first));
    let shape: String = id.chars().map(|c| if c == '-' { '-' } else { 'x' }).collect();
    assert_eq!(shape, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx");
    assert_eq!(id.as_bytes()[14], b'4');
}

#[test]
fn errors_name_operator_and_place() {
    for (source, place, word) in [
        ("%NOSUCH%", "byte 0", "%NOSUCH% is unknown"),
        ("abc %NOSUCH(X)% x", "byte 4", "%NOSUCH%"),
        ("é%NOSUCH%", "byte 2", "%NOSUCH%"),
        ("%REQ%", "byte 0", "needs an argument"),
        ("%REQ()%", "byte 0", "needs an argument"),
        ("%REQ(a?b?c)%", "byte 0", "one alternative"),
        ("%REQ(a):x%", "byte 0", "does not begin an operator"),
        ("%REQ(a):%", "byte 0", "does not begin an operator"),
        ("%DURATION(x)%", "byte 0", "takes no argument"),
        ("%DURATION:3%", "byte 0", "takes no length"),
        ("abc % def", "byte 4", "% def"),
        ("abc %", "byte 4", "%%"),
        ("%START_TIME(%Y%", "byte 0", "does not begin"),
        ("%START_TIME(%!)%", "byte 0", "time format"),
        ("%START_TIME(%n)%", "byte 0", "line breaks"),
        ("%RESP(a)", "byte 0", "does not begin"),
        ("%req(a)%", "byte 0", "does not begin"),
        ("%DYNAMIC_METADATA%", "byte 0", "needs an argument"),
        ("%FILTER_STATE(a)%", "byte 0", "not kept"),
        ("%COMMON_DURATION(DS_RX_BEG:FOO:us)%", "byte 0", "FOO"),
        ("%COMMON_DURATION(DS_RX_BEG:DS_TX_END:h)%", "byte 0", "unit h"),
        ("%GRPC_STATUS(WORDS)%", "byte 0", "WORDS"),
        ("%PATH(XX)%", "byte 0", "XX"),
    ] {
        let error = Format::text(source, false).unwrap_err().to_string();
        assert!(error.contains(place) && error.contains(word), "{source}: {error}");
    }
    let error = Format::json(&json!({"a": {"b": ["%DURATION%", "%NO%"]}}), false).unwrap_err();
    assert!(error.to_string().starts_with("a: b: [1]: byte 0: operator %NO%"), "{error}");
    assert!(Format::json(&json!("%DURATION%"), false).is_err());
    let deep = (0..40).fold(json!("x"), |inner, _| json!({"k": inner}));
    assert!(Format::json(&deep, false).unwrap_err().to_string().contains("nests at most"));
}

/// What Envoy 1.40 writes for this format and such a request.
#[test]
fn json_as_envoy_writes_it() {
    let source = json!({
        "b": "%DURATION%", "a": {"x": "%PROTOCOL% %RESPONSE_CODE%", "l": ["%RESPONSE_CODE%", "z"]},
        "n": 5.0, "half": 0.5, "bool": true, "null": null, "pct": "%%",
        "missing": "%REQ(x-none)%", "mix": "[%REQ(x-none)%]", "flags": "%RESPONSE_FLAGS%",
        "t": "%START_TIME%", "up": "%UPSTREAM_HOST%", "port": "%DOWNSTREAM_LOCAL_PORT%",
        "ua": "%REQ(USER-AGENT)%", "\"k": "%REQ(user-agent):2%",
    });
    let mut record = teapot();
    record.set(Field::UserAgent, "h\"é\\l\tlo<b>&");
    assert_eq!(
        render(&Format::json(&source, false).unwrap(), &record),
        concat!(
            r#"{"\"k":"h\"","a":{"l":[418,"z"],"x":"HTTP/1.1 418"},"b":187,"bool":true,"flags":"-","half":0.5,"#,
            r#""missing":null,"mix":"[-]","n":5,"null":null,"pct":"%","port":80,"#,
            r#""t":"2019-01-31T14:40:18.645Z","ua":"h\"é\\l\tlo<b>&","up":"34.232.181.106:80"}"#,
            "\n"
        )
    );
    let short = json!({"missing": "%REQ(x-none)%", "mix": "[%REQ(x-none)%]", "port": "%DOWNSTREAM_LOCAL_PORT%"});
    assert_eq!(
        render(&Format::json(&short, true).unwrap(), &record),
        "{\"mix\":\"[]\",\"port\":80}\n"
    );
}

/// What filters noted is JSON in JSON; in text a string has no quotes.
#[test]
fn notes_of_filters() {
    let path = |key: &str| format!("%DYNAMIC_METADATA(jwt:{key})%");
    let text =
        [path("sub"), path("more"), path("none"), "%DYNAMIC_METADATA(jwt:sub):2%".to_owned()];
    let text = Format::text(&text.join(" "), false).unwrap();
    let json = json!({"more": path("more"), "none": path("none"), "sub": path("sub")});
    let json = Format::json(&json, false).unwrap();
    let expected =
        [r#"a\x0ab {"n":5} - a\x0a"#, "{\"more\":{\"n\":5},\"none\":null,\"sub\":\"a\\nb\"}\n"];
    for (format, expected) in [text, json].into_iter().zip(expected) {
        let mut headers = Headers::default();
        format.headers(&mut headers);
        let plan = headers.into_plan().unwrap();
        let mut record = teapot();
        record.capture_metadata(&plan, |path| match path {
            "jwt:sub" => Some(r#""a\nb""#.to_owned()),
            "jwt:more" => Some(r#"{"n":5}"#.to_owned()),
            _ => None,
        });
        let mut line = Vec::new();
        format.render(&record, &plan, &mut line);
        assert_eq!(String::from_utf8(line).unwrap(), expected);
    }
}

/// Whatever bytes a peer sends: text stays on its line, JSON stays JSON with all its keys.
#[test]
fn no_input_breaks_a_line() {
    let mut random = fastrand::Rng::with_seed(1);
    let text = Format::text(
        "%REQ(:PATH)% %REQ(x-h)% %RESPONSE_CODE_DETAILS% %REQUESTED_SERVER_NAME% %QUERY_PARAM(q)%",
        false,
    )
    .unwrap();
    let json = Format::json(
        &json!({"p": "%REQ(:PATH)%", "m": "%REQ(x-h)%-%REQ(:AUTHORITY):3%", "q": "%QUERY_PARAM(q)%"}),
        false,
    )
    .unwrap();
    let mixer = Format::mixer(gateway());
    for _ in 0..2_000 {
        let mut record = teapot();
        let mut bytes = || -> Vec<u8> {
            let length = random.usize(..40);
            std::iter::repeat_with(|| match random.u8(..4) {
                0 => b"\n\r\"\\ {}%\t\0\x1b"[random.usize(..11)],
                _ => random.u8(..),
            })
            .take(length)
            .collect()
        };
        let mut path = b"/?q=%0a%0D%22".to_vec();
        path.extend(bytes());
        record.set(Field::Path, path);
        for field in [Field::Request(0), Field::Details, Field::ServerName, Field::Authority] {
            record.set(field, bytes());
        }
        let plan = {
            let mut headers = Headers::default();
            text.headers(&mut headers);
            headers.into_plan().unwrap()
        };
        let mut line = Vec::new();
        text.render(&record, &plan, &mut line);
        assert!(!line.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t'), "{line:?}");
        for (format, keys) in [(&json, 3), (&mixer, 43)] {
            let mut line = Vec::new();
            format.render(&record, &plan, &mut line);
            assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
            let parsed: serde_json::Value = serde_json::from_slice(&line).unwrap();
            assert_eq!(parsed.as_object().map(serde_json::Map::len), Some(keys));
        }
    }
}

/// As Envoy writes them: the path stands for both ends, and there is no port.
#[test]
fn ends_of_a_unix_socket_are_its_path() {
    let mut record = Record::new(Kind::Http, at(0), &Log::default());
    record.set(Field::Pipe, "/run/a.sock");
    let text = "%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% [%DOWNSTREAM_LOCAL_PORT%]";
    assert_eq!(self::text(text, &record), "/run/a.sock /run/a.sock []");
    // What `x-forwarded-for` says is known all the same.
    record.downstream_remote = "192.0.2.1:0".parse().ok();
    let text =
        "%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_REMOTE_PORT% %DOWNSTREAM_DIRECT_REMOTE_ADDRESS%";
    assert_eq!(self::text(text, &record), "192.0.2.1:0 0 /run/a.sock");
}
