//! The JSON form is what docs/explain.md says.

use serde_json::Value;
use tidegate_explain::{
    Answer, Cluster, Cors, End, Error, Judged, Lost, NotInForce, Part, ProxyHeader, Retries, Sent,
    Source, Spoken, TokenJudged, UpstreamTls,
};

const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/explain.md");

fn text() -> String {
    "x".to_owned()
}

fn source() -> Source {
    Source {
        kind: text(),
        namespace: text(),
        name: text(),
        path: text(),
        file: Some(text()),
        line: Some(1),
        last_good: true,
    }
}

fn part() -> Option<Part> {
    Some(Part { name: text(), asks: text(), from: vec![source()] })
}

fn cluster() -> Cluster {
    let tls = UpstreamTls {
        mode: "MUTUAL",
        server_name: text(),
        verified: true,
        names: vec![text()],
        authorities: Some(text()),
        certificate: Some(text()),
        fault: Some(text()),
        from: vec![source()],
    };
    Cluster {
        name: text(),
        share: 100.0,
        exists: true,
        endpoints: vec![text()],
        spoken: Some(Spoken { protocol: "HTTP/2", from: vec![source()] }),
        proxy_header: Some(ProxyHeader { version: "V2", from: vec![source()] }),
        tls: Some(tls),
        fault: Some(text()),
        status: Some(503),
        from: vec![source()],
    }
}

/// An answer in which no field is empty. None is left out here, so that a new one is not forgotten.
fn full(end: End) -> Answer {
    let retries = Retries {
        attempts: 1,
        retry_on: vec!["5xx"],
        statuses: vec![503],
        per_try_timeout: Some(text()),
        backoff: text(),
        longest_backoff: text(),
        other_endpoints_first: true,
    };
    let sent = Sent {
        method: text(),
        host: text(),
        path: text(),
        set_headers: vec![(text(), text())],
        removed_headers: vec![text()],
        own_headers: vec![(text(), text())],
        examples: vec![text()],
    };
    let from = || vec![source()];
    Answer {
        end,
        listener: part(),
        filter_chain: part(),
        route_configuration: part(),
        virtual_host: part(),
        route: part(),
        faults: part().into_iter().collect(),
        cors: Some(Cors {
            origin: text(),
            allowed: true,
            preflight: true,
            headers: vec![(text(), text())],
            from: from(),
        }),
        tokens: vec![TokenJudged { issuer: text(), verdict: text(), from: from() }],
        limits: part().into_iter().collect(),
        timeout: Some(text()),
        retries: Some(retries),
        clusters: vec![cluster()],
        mirrors: vec![cluster()],
        sent: Some(sent),
        not_in_force: vec![NotInForce { refused: text(), instead: "lastGood", from: from() }],
        policies: vec![Judged { verdict: "denies it", unmet: vec![text()], from: from() }],
        notes: vec![text()],
        lost: vec![Lost { at: "route", name: text(), refused: text(), far: true, from: from() }],
        nearest: Some(text()),
        remedy: Some(Value::Null),
    }
}

/// The rows of the page's table: what the first column names, and the names that are in the second.
fn rows() -> Vec<(Vec<String>, Vec<String>)> {
    let page = std::fs::read_to_string(DOCS).expect("the page");
    let (_, section) = page.split_once("## The JSON form").expect("its section");
    let quoted = |cell: &str| -> Vec<String> {
        cell.split('`').skip(1).step_by(2).map(|name| name.replace("[]", "")).collect()
    };
    let rows = section.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" | "));
    rows.map(|(first, second)| (quoted(first), quoted(second))).collect()
}

/// Checks that the fields of what stands at a path are in the row of that path, or have a row of their own.
fn check(rows: &[(Vec<String>, Vec<String>)], path: &str, value: &Value) {
    let is_of = |name: &String| name == path || path == "end" && name.starts_with("end.");
    let row =
        || rows.iter().filter(|(first, _)| first.iter().any(is_of)).flat_map(|(_, names)| names);
    let values: Vec<&Value> =
        value.as_array().map_or_else(|| vec![value], |items| items.iter().collect());
    for (field, value) in values.into_iter().filter_map(Value::as_object).flatten() {
        let own = if path.is_empty() { field.clone() } else { format!("{path}.{field}") };
        let begins = |name: &String| *name == own || name.starts_with(&format!("{own}."));
        let has_row = rows.iter().any(|(first, _)| first.iter().any(begins));
        assert!(has_row || row().any(|name| name == field), "docs/explain.md does not name {own}");
        check(rows, if field == "from" { "from" } else { &own }, value);
    }
}

#[test]
fn every_field_is_documented_where_it_stands() {
    let rows = rows();
    let ends = [
        End::Forwarded,
        End::Redirected { status: 301, location: text() },
        End::Answered { status: 200 },
        End::Unavailable { status: Some(503), reason: text() },
        End::Undecided { reason: text() },
        End::Refused { error: Error::NoRoute, status: Some(404), reason: text() },
    ];
    for end in ends {
        let json = serde_json::to_value(full(end)).expect("it is JSON");
        check(&rows, "", &json);
        let what = json["end"]["what"].as_str().expect("a name");
        let told = rows.iter().find(|(first, _)| first.iter().any(|name| name == "end.what"));
        assert!(told.is_some_and(|(_, names)| names.iter().any(|name| name == what)), "{what}");
    }
}
