//! Tokens: which are taken, from where, and what is done with them.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tidegate_testing::jwt::Signer;

use super::super::bootstrap::SIGNERS;
use super::super::case::{Case, Request2};

pub fn cases() -> Vec<Case> {
    [claims(), malformed(), algorithms(), places(), requirements(), judged(), others()].concat()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn signer(algorithm: &str) -> &'static Signer {
    &SIGNERS.iter().find(|(of, _)| *of == algorithm).expect("a signer").1
}

/// A token of the issuer `iss-a` with some claims changed, signed by the first key.
fn token(changes: Value) -> String {
    signed(&json!({"alg": "HS256", "kid": "HS256"}), changes)
}

fn signed(header: &Value, changes: Value) -> String {
    let mut claims = json!({
        "iss": "iss-a", "aud": "us", "sub": "s-1", "exp": now() + 600, "scope": "read  write", "n": 5, "f": -1.5,
        "t": true, "l": ["admin"], "m": {"k": "v"}, "z": null,
    });
    if let (Some(claims), Value::Object(changes)) = (claims.as_object_mut(), changes) {
        for (name, value) in changes {
            if value == json!("(without)") {
                claims.remove(&name)
            } else {
                claims.insert(name, value)
            };
        }
    }
    signer(header["kid"].as_str().filter(|kid| *kid != "other").unwrap_or("HS256"))
        .token(header, &claims)
}

fn ask(name: &str, path: &str, headers: &str) -> Case {
    let bytes =
        format!("GET {path} HTTP/1.1\r\nX-Case: {{id}}\r\nHost: jwt.example\r\n{headers}\r\n");
    Case::new(&format!("jwt/{name}"), bytes).at("jwt")
}

fn bearer(name: &str, path: &str, token: &str) -> Case {
    ask(name, path, &format!("Authorization: Bearer {token}\r\n"))
}

fn claims() -> Vec<Case> {
    let without = "(without)";
    let asked = [
        ("good", "/a/", json!({})),
        ("issuer", "/a/", json!({"iss": "iss-b"})),
        ("no issuer", "/a/", json!({"iss": without})),
        ("audience", "/a/", json!({"aud": "x"})),
        ("audience with a scheme", "/a/", json!({"aud": "http://us/"})),
        ("one of several audiences", "/a/", json!({"aud": ["x", "them"]})),
        ("no audience", "/a/", json!({"aud": without})),
        ("own audience", "/aud/", json!({"aud": "own"})),
        ("the provider's audience", "/aud/", json!({})),
        ("expired", "/a/", json!({"exp": now() - 100})),
        ("expired a moment ago", "/a/", json!({"exp": now() - 30})),
        ("no end", "/a/", json!({"exp": without})),
        ("an end with parts", "/a/", json!({"exp": (now() + 600) as f64 + 0.5})),
        ("not yet valid", "/a/", json!({"nbf": now() + 100})),
        ("valid in a moment", "/a/", json!({"nbf": now() + 30})),
        ("an end is needed", "/c/", json!({"iss": "iss-c", "exp": without})),
        ("an end is there", "/c/", json!({"iss": "iss-c"})),
        ("a near end", "/d/", json!({"iss": "iss-d"})),
        ("a far end", "/d/", json!({"iss": "iss-d", "exp": now() + 2000})),
        ("less skew", "/d/", json!({"iss": "iss-d", "exp": now() - 30})),
        ("a subject", "/e/", json!({"iss": "iss-e"})),
        ("another subject", "/e/", json!({"iss": "iss-e", "sub": "t"})),
        ("no subject", "/e/", json!({"iss": "iss-e", "sub": without})),
        ("numbers", "/a/", json!({"n": 18446744073709551615_u64, "f": 2.5})),
        ("negative", "/a/", json!({"n": -5, "f": 1e21})),
        ("a map of two levels", "/a/", json!({"m": {"k": {"k": [1, "\u{e9}", null]}}})),
        ("an empty text", "/a/", json!({"sub": ""})),
        ("text that is no ASCII", "/a/", json!({"sub": "\u{e9}"})),
    ];
    asked
        .into_iter()
        .map(|(name, path, changes)| bearer(&format!("claims {name}"), path, &token(changes)))
        .collect()
}

fn malformed() -> Vec<Case> {
    let good = token(json!({}));
    let parts: Vec<&str> = good.split('.').collect();
    let [header, payload, signature] = [parts[0], parts[1], parts[2]];
    let of = |header: Value, payload: Value| signer("HS256").token(&header, &payload);
    let with = |claims: Value| of(json!({"alg": "HS256"}), claims);
    let asked = [
        ("nothing", String::new()),
        ("one part", "abc".into()),
        ("two parts", format!("{header}.{payload}")),
        ("no signature", format!("{header}.{payload}.")),
        ("four parts", format!("{good}.x")),
        ("no base64 in the header", format!("!{good}")),
        ("no base64 in the payload", format!("{header}.!{payload}.{signature}")),
        ("no base64 in the signature", format!("{header}.{payload}.!{signature}")),
        ("another signature", format!("{header}.{payload}.AAAA")),
        ("no JSON in the header", format!("AAAA.{payload}.{signature}")),
        ("no JSON in the payload", format!("{header}.AAAA.{signature}")),
        ("a list for a header", of(json!([]), json!({}))),
        ("a list for a payload", with(json!([]))),
        ("no algorithm", of(json!({}), json!({}))),
        ("alg none", of(json!({"alg": "none"}), json!({"iss": "iss-a"}))),
        ("alg None", of(json!({"alg": "None"}), json!({"iss": "iss-a"}))),
        ("alg a number", of(json!({"alg": 1}), json!({}))),
        ("kid a number", of(json!({"alg": "HS256", "kid": 1}), json!({}))),
        ("iss a number", with(json!({"iss": 1}))),
        ("sub a list", with(json!({"sub": []}))),
        ("aud a number", with(json!({"aud": 1}))),
        ("aud with a number", with(json!({"aud": ["us", 1]}))),
        ("exp a text", with(json!({"exp": "1"}))),
        ("exp negative", with(json!({"exp": -1}))),
        ("nbf a list", with(json!({"nbf": [1]}))),
        ("iat null", with(json!({"iat": null}))),
        ("jti a number", with(json!({"jti": 1}))),
        ("unknown key", signed(&json!({"alg": "HS256", "kid": "other"}), json!({}))),
        ("another key", signed(&json!({"alg": "HS256", "kid": "HS512"}), json!({}))),
        ("no kid", signed(&json!({"alg": "HS256"}), json!({}))),
        ("padded", format!("{header}.{payload}.{signature}=")),
        ("unsigned", format!("{}.{payload}.", header.replace("HS256", "none"))),
    ];
    asked
        .into_iter()
        .map(|(name, text)| bearer(&format!("malformed {name}"), "/a/", &text))
        .collect()
}

fn algorithms() -> Vec<Case> {
    let mut cases = Vec::new();
    for (algorithm, _) in SIGNERS.iter() {
        let named = signed(&json!({"alg": algorithm, "kid": algorithm}), json!({}));
        cases.push(bearer(&format!("algorithms {algorithm}"), "/a/", &named));
        let bare = signer(algorithm).token(&json!({"alg": algorithm}), &json!({"n": 1}));
        cases.push(ask(
            &format!("algorithms {algorithm} without names"),
            "/b/",
            &format!("X-Token: {bare}\r\n"),
        ));
        // What is signed is not what it says it is.
        let other = if *algorithm == "HS256" { "RS256" } else { "HS256" };
        let confused = signer(algorithm)
            .token(&json!({"alg": other, "kid": algorithm}), &json!({"iss": "iss-a"}));
        cases.push(bearer(&format!("algorithms {algorithm} as {other}"), "/a/", &confused));
    }
    cases
}

fn places() -> Vec<Case> {
    let good = token(json!({}));
    let of_b = signer("ES256").token(&json!({"alg": "ES256"}), &json!({"n": 1}));
    let forged =
        "x-payload: forged\r\nX-Sub: forged\r\nx-missing: forged\r\nx-payload-b: forged\r\n";
    vec![
        ask("places none", "/a/", ""),
        ask(
            "places a scheme in small letters",
            "/a/",
            &format!("Authorization: bearer {good}\r\n"),
        ),
        ask("places another scheme", "/a/", "Authorization: Basic abc\r\n"),
        ask("places more white space", "/a/", &format!("Authorization: Bearer    {good}\r\n")),
        ask("places parameter", &format!("/a/?access_token={good}"), ""),
        ask("places parameter among others", &format!("/a/?x=1&access_token={good}"), ""),
        ask("places another parameter", &format!("/a/?token={good}"), ""),
        ask(
            "places both",
            &format!("/a/?access_token={good}"),
            &format!("Authorization: Bearer {good}\r\n"),
        ),
        ask(
            "places one bad",
            &format!("/a/?access_token=x{good}"),
            &format!("Authorization: Bearer {good}\r\n"),
        ),
        ask("places header", "/b/", &format!("X-Token: {of_b}\r\n")),
        ask("places header with a prefix", "/b/", &format!("X-Prefixed: Token {of_b}\r\n")),
        ask("places header without its prefix", "/b/", &format!("X-Prefixed: {of_b}\r\n")),
        ask("places own parameter", &format!("/b/?tok={of_b}"), ""),
        ask("places cookie", "/b/", &format!("Cookie: a=b; ctok={of_b}; c=d\r\n")),
        ask("places cookie in quotes", "/b/", &format!("Cookie: ctok=\"{of_b}\"\r\n")),
        ask(
            "places two headers",
            "/b/",
            &format!("X-Token: {of_b}\r\nX-Prefixed: Token {of_b}\r\n"),
        ),
        ask("places two lines", "/b/", &format!("X-Token: {of_b}\r\nX-Token: bad\r\n")),
        ask("places not the default one", "/b/", &format!("Authorization: Bearer {of_b}\r\n")),
        ask("places forged headers", "/a/", &format!("Authorization: Bearer {good}\r\n{forged}")),
    ]
}

fn requirements() -> Vec<Case> {
    let of_a = token(json!({}));
    let of_c = token(json!({"iss": "iss-c"}));
    let forged = format!("{}A", &of_a[..of_a.len() - 6]);
    let other = token(json!({"iss": "iss-q"}));
    let of_b = signer("ES256").token(&json!({"alg": "ES256"}), &json!({"n": 1}));
    let mut cases = Vec::new();
    for path in ["/any/", "/optional/", "/whatever/", "/missing/", "/failed/", "/istio/", "/none/"]
    {
        for (name, text) in [("a", &of_a), ("c", &of_c), ("forged", &forged), ("other", &other)] {
            cases.push(bearer(&format!("requirements {path} {name}"), path, text));
        }
        cases.push(ask(&format!("requirements {path} without"), path, ""));
        cases.push(bearer(&format!("requirements {path} junk"), path, "junk"));
    }
    let both = format!("Authorization: Bearer {of_a}\r\nX-Token: {of_b}\r\n");
    cases.extend([
        ask("requirements both", "/all/", &both),
        bearer("requirements one of both", "/all/", &of_a),
        ask("requirements the other of both", "/all/", &format!("X-Token: {of_b}\r\n")),
        ask("requirements none of both", "/all/", ""),
        bearer("requirements by name", "/by/", &of_a),
        ask(
            "requirements by name, asked",
            "/by/",
            &format!("X-By: 1\r\nAuthorization: Bearer {of_a}\r\n"),
        ),
        ask(
            "requirements by name, met",
            "/by/",
            &format!("X-By: 1\r\nAuthorization: Bearer {of_c}\r\n"),
        ),
        ask("requirements off", "/a/off", ""),
        bearer("requirements of the route", "/a/named", &of_a),
        bearer("requirements of the route, met", "/a/named", &of_c),
        bearer("requirements of the route, wrong", "/a/wrong", &of_a),
    ]);
    cases
}

/// What the filter behind makes of what tokens say.
fn judged() -> Vec<Case> {
    let paths = [
        "sub", "issued", "group", "either", "scope", "nested", "number", "range", "true", "null",
        "there", "absent", "not", "header", "sourced", "nobody",
    ];
    let tokens = [
        ("one", token(json!({}))),
        (
            "another",
            signed(
                &json!({"alg": "HS512", "kid": "HS512"}),
                json!({
            "sub": "s-2", "scope": "read", "n": 6, "f": 0, "t": false, "l": "admin", "m": "k", "z": 0}),
            ),
        ),
    ];
    let mut cases = Vec::new();
    for path in paths {
        let at = format!("/claims/{path}");
        cases.push(ask(&format!("claims of nobody {path}"), &at, ""));
        for (name, text) in &tokens {
            cases.push(bearer(&format!("claims of {name} {path}"), &at, text));
        }
    }
    for (name, text) in &tokens {
        cases.push(bearer(&format!("routed {name}"), "/routed/x", text));
    }
    cases.push(ask("routed nobody", "/routed/x", ""));
    cases.push(ask("routed by what the client says", "/routed/x", "X-Sub: s-1\r\n"));
    cases
}

fn others() -> Vec<Case> {
    let raw = |name: &str, head: &str| {
        Case::new(
            &format!("jwt/{name}"),
            format!("{head}\r\nX-Case: {{id}}\r\nHost: jwt.example\r\n\r\n"),
        )
        .at("jwt")
    };
    let preflight =
        "OPTIONS /a/ HTTP/1.1\r\nOrigin: http://x\r\nAccess-Control-Request-Method: GET";
    let long = "a".repeat(300);
    let over_http2 = |name: &str, headers: Vec<(&'static str, String)>| {
        let request = Request2 {
            method: "GET",
            uri: "http://jwt.example/a/",
            headers,
            ..Request2::default()
        };
        Case::http2(&format!("jwt/{name}"), request).at("jwt")
    };
    vec![
        raw("HEAD", "HEAD /a/ HTTP/1.1"),
        raw("preflight", preflight),
        raw("OPTIONS that is no preflight", "OPTIONS /a/ HTTP/1.1\r\nOrigin: http://x"),
        raw("a long path", &format!("GET /a/{long}?q HTTP/1.1")),
        raw("direct, for everybody", "GET /direct/ HTTP/1.1"),
        over_http2("HTTP/2 without", Vec::new()),
        over_http2("HTTP/2 with", vec![("authorization", format!("Bearer {}", token(json!({}))))]),
    ]
}
