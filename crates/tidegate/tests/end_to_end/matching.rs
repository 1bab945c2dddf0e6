//! Conditions of VirtualServices, each met and missed by little; redirects; and the protocols whose servers route by them.

use serde_json::{Value, json};
use tidegate_testing::client::{Client, Response};
use tidegate_testing::origin::{Origin, echo};

use crate::support::{Api, Gateway, NETWORKING, WEB, objects};

const HOST: &str = "a.example";

/// A rule that answers with its own name.
fn answers(name: &str, condition: &Value) -> Value {
    json!({
        "match": [condition],
        "directResponse": { "status": 200, "body": { "string": name } },
    })
}

/// A gateway with these rules for [`HOST`].
async fn with(rules: &Value) -> Gateway {
    let gateway = Gateway::start(&[]).await;
    let mut api = Api::of(&gateway).await;
    api.create("gateways", &objects::gateway("web", 80, &["*"])).await;
    api.create("virtualservices", &objects::rules("a", "web", HOST, rules)).await;
    for path in [WEB, &format!("{NETWORKING}/virtualservices/a")] {
        api.wait_for(path, &[("Reconciled", "True"), ("Programmed", "True")]).await;
    }
    gateway
}

/// Asks for a path with these headers.
async fn ask(gateway: &Gateway, host: &str, target: &str, headers: &[(&str, &str)]) -> Response {
    let headers: String =
        headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n");
    Client::connect(gateway.http).await.request(request).await
}

/// A request that one of the rules takes, or none: target, headers, and the rule.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);

#[tokio::test]
async fn requests_go_where_the_first_rule_sends_them_whose_conditions_they_meet() {
    let gateway = with(&json!([
        answers("exact, any case", &json!({ "uri": { "exact": "/Exact" }, "ignoreUriCase": true })),
        answers("prefix, any case", &json!({ "uri": { "prefix": "/Pre" }, "ignoreUriCase": true })),
        // As in Istio, it says nothing of expressions.
        answers("regex", &json!({ "uri": { "regex": "/r[0-9]+" }, "ignoreUriCase": true })),
        answers("this case", &json!({ "uri": { "exact": "/Case" } })),
        answers("header is there", &json!({ "uri": { "exact": "/h" }, "headers": { "x-there": {} } })),
        answers(
            "header",
            &json!({ "uri": { "exact": "/h" }, "headers": { "x-one": { "regex": "v[0-9]" } } }),
        ),
        answers(
            "without both",
            &json!({ "uri": { "exact": "/w" }, "withoutHeaders": { "x-a": {}, "x-b": { "exact": "1" } } }),
        ),
        answers(
            "authority as a header",
            &json!({ "uri": { "exact": "/a" }, "headers": { ":authority": { "prefix": "a.ex" } } }),
        ),
        answers(
            "no such authority",
            &json!({ "uri": { "exact": "/b" }, "headers": { ":authority": { "exact": "b.example" } } }),
        ),
        answers(
            "method as a header",
            &json!({ "uri": { "exact": "/b" }, "headers": { ":method": { "exact": "GET" } } }),
        ),
        answers("q=1", &json!({ "uri": { "exact": "/q" }, "queryParams": { "q": { "exact": "1" } } })),
        answers(
            "q=2…",
            &json!({ "uri": { "exact": "/q" }, "queryParams": { "q": { "prefix": "2" } } }),
        ),
        answers(
            "q=v.",
            &json!({ "uri": { "exact": "/q" }, "queryParams": { "q": { "regex": "v[0-9]" } } }),
        ),
        answers("p and q", &json!({ "uri": { "exact": "/q" }, "queryParams": { "p": {}, "q": {} } })),
        answers("q", &json!({ "uri": { "exact": "/q" }, "queryParams": { "q": {} } })),
    ]))
    .await;
    let cases: [Case<'_>; 35] = [
        ("/eXACT", &[], "exact, any case"),
        ("/exact?q", &[], "exact, any case"),
        ("/exact/", &[], ""),
        ("/PREfix", &[], "prefix, any case"),
        ("/pr", &[], ""),
        ("/r12", &[], "regex"),
        ("/R12", &[], ""),
        ("/r12x", &[], ""),
        ("/Case", &[], "this case"),
        ("/case", &[], ""),
        ("/h", &[("X-There", "any")], "header is there"),
        ("/h", &[("x-there", "")], "header is there"),
        ("/h", &[("X-One", "v1")], "header"),
        ("/h", &[("X-One", "v12")], ""),
        ("/h", &[("X-One", "V1")], ""),
        ("/h", &[], ""),
        ("/w", &[], "without both"),
        ("/w", &[("x-b", "2")], "without both"),
        ("/w", &[("x-b", "1")], ""),
        ("/w", &[("x-a", "2")], ""),
        ("/w", &[("x-a", "")], ""),
        ("/a", &[], "authority as a header"),
        ("/b", &[], "method as a header"),
        ("/q?q=1", &[], "q=1"),
        ("/q?p&q=1", &[], "q=1"),
        ("/q?q=22", &[], "q=2…"),
        ("/q?q=v1", &[], "q=v."),
        ("/q?q=v12", &[], "q"),
        ("/q?Q=1", &[], ""),
        ("/q?q", &[], "q"),
        ("/q?q=", &[], "q"),
        ("/q?q=3&p=", &[], "p and q"),
        ("/q?p=1", &[], ""),
        // The first of two counts.
        ("/q?q=3&q=1", &[], "q"),
        ("/q?q=1&q=3", &[], "q=1"),
    ];
    for (target, headers, rule) in cases {
        let answer = ask(&gateway, HOST, target, headers).await;
        let expected = if rule.is_empty() { (404, "") } else { (200, rule) };
        assert_eq!((answer.status, &*answer.text()), expected, "{target} {headers:?}");
    }
}

#[tokio::test]
async fn redirects_replace_the_prefix_or_the_whole_path() {
    let redirect = |condition: Value, to: Value| json!({ "match": [condition], "redirect": to });
    let gateway = with(&json!([
        redirect(json!({ "uri": { "prefix": "/old/" } }), json!({ "prefixRewrite": "/new/" })),
        redirect(
            json!({ "uri": { "prefix": "/gone" } }),
            json!({ "prefixRewrite": "/", "authority": "b.example", "redirectCode": 308 }),
        ),
        redirect(
            json!({ "uri": { "prefix": "/whole" } }),
            json!({ "uri": "/all", "scheme": "https", "port": 8443 }),
        ),
        // Whatever the path is, its first sign is the prefix.
        redirect(json!({ "method": { "exact": "GET" } }), json!({ "prefixRewrite": "/all/" })),
    ]))
    .await;
    for (target, status, location) in [
        ("/old/a?b=c", 301, "http://a.example/new/a?b=c"),
        ("/old", 301, "http://a.example/all/old"),
        ("/old/", 301, "http://a.example/new/"),
        ("/gone", 308, "http://b.example/"),
        ("/gone?x", 308, "http://b.example/?x"),
        ("/one?x=y", 301, "http://a.example/all/one?x=y"),
        ("/whole/path", 301, "https://a.example:8443/all"),
    ] {
        let answer = ask(&gateway, HOST, target, &[]).await;
        assert_eq!(
            (answer.status, answer.header("location")),
            (status, Some(location)),
            "{target}"
        );
    }
}

/// Whatever name HTTP has at a server, its routes are those of HTTP, and both versions are spoken.
#[tokio::test]
async fn servers_of_every_name_of_http_route_alike() {
    let origin = Origin::start().http(echo).await;
    for protocol in ["HTTP", "HTTP2", "GRPC", "GRPC-WEB", "grpc-web"] {
        let gateway = Gateway::start(&[]).await;
        let mut api = Api::of(&gateway).await;
        let mut web = objects::gateway("web", 80, &["*"]);
        web["spec"]["servers"][0]["port"]["protocol"] = json!(protocol);
        api.create("gateways", &web).await;
        api.create("serviceentries", &objects::host("o", "o.internal", origin.address())).await;
        api.create("virtualservices", &objects::route("a", "web", HOST, "o.internal")).await;
        gateway.answers(HOST, "/x", 200).await;
        let stream = tokio::net::TcpStream::connect(gateway.http).await.expect("connected");
        let (mut send, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
        let connection = tokio::spawn(connection);
        let request = http::Request::get("http://a.example/x").body(()).expect("a request");
        let answer = send.send_request(request, true).expect("sent").0.await.expect("an answer");
        assert_eq!(answer.status(), 200, "{protocol}");
        connection.abort();
        api.wait_for(WEB, &[("Reconciled", "True"), ("Programmed", "True")]).await;
    }
}
