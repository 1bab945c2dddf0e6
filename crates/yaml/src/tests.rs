//! Whole sources: documents, anchors, merges, faults, limits; and a seeded mutator over all of it.

use serde_json::{Value as Json, json};

use super::*;

fn read(source: &str) -> Vec<Json> {
    parse(source).into_iter().map(|outcome| outcome.expect(source).to_json()).collect()
}

fn fault(source: &str) -> String {
    let fault = parse(source).into_iter().find_map(Result::err);
    fault.map(|fault| fault.to_string()).unwrap_or_default()
}

#[test]
fn documents_scalars_and_styles() {
    assert_eq!(
        read(
            "# only a comment\n---\nkind: Gateway\nspec:\n  ports: [80, '443', yes, \"no\", 0644]\n---\nb: ~\n"
        ),
        [
            json!({"kind": "Gateway", "spec": {"ports": [80, "443", true, "no", 420]}}),
            json!({"b": null})
        ]
    );
    assert_eq!(
        read("text: |\n  one\n  two\nfolded: >-\n  a\n  b\n1: x\nyes: z\n"),
        [json!({"text": "one\ntwo\n", "folded": "a b", "1": "x", "true": "z"})]
    );
    assert_eq!(
        read("a: !!str 1\nb: !!int 2\nc: !custom 3\nd: !!null\n"),
        [json!({"a": "1", "b": 2, "c": "3", "d": null})]
    );
    assert_eq!(read("a: 1\r\nb:\r\n  - c\r\n"), [json!({"a": 1, "b": ["c"]})]);
    assert_eq!(read("a: 1\n...\nb: 2\n"), [json!({"a": 1}), json!({"b": 2})]);
    assert_eq!(read(""), [] as [Json; 0]);
}

#[test]
fn json_is_read_as_json() {
    let source = "{\n\t\"a\": \"\\ud83d\\ude00\\/\",\n\t\"b\": [1, 2.50, -0, 1e3, null, true]\n}\n";
    assert_eq!(read(source), [serde_json::from_str::<Json>(source).expect("JSON")]);
    assert_eq!(read("{a: 1, b: [x, z]}"), [json!({"a": 1, "b": ["x", "z"]})]);
    assert_eq!(read("{\"a\": 1}\n---\n{\"b\": 2}\n"), [json!({"a": 1}), json!({"b": 2})]);
    assert_eq!(
        fault("{\"a\": 1,\n \"a\": 2}"),
        "line 2, column 2: the key \"a\" stands twice in one mapping (first here: line 1, column 2); remove \
         one of the two; if both are meant, join their values under one key"
    );
}

#[test]
fn anchors_and_merges_as_kubectl_reads_them() {
    assert_eq!(
        read("base: &base {a: 1, b: 2}\nuse:\n  <<: *base\n  b: 3\nagain: *base\n"),
        [json!({"base": {"a": 1, "b": 2}, "use": {"a": 1, "b": 3}, "again": {"a": 1, "b": 2}})]
    );
    let list = "x: &x {a: 1}\ny: &y {a: 2, c: 3}\nz:\n  <<: [*x, *y]\n";
    assert_eq!(read(list)[0]["z"], json!({"a": 1, "c": 3}));
    assert_eq!(read("x: &x {a: 1}\nz:\n  a: 0\n  <<: *x\n")[0]["z"], json!({"a": 1}));
    assert_eq!(read("a: '<<'\n'<<': 1\n"), [json!({"a": "<<", "<<": 1})]);
    assert!(fault("z:\n  <<: 1\n").contains("takes a mapping"));
}

#[test]
fn faults_name_their_place() {
    assert_eq!(
        fault("spec:\n  ports: 1\n  größe: 2\n  ports: 3\n"),
        "line 4, column 3: the key \"ports\" stands twice in one mapping (first here: line 2, column 3); \
         remove one of the two; if both are meant, join their values under one key"
    );
    assert!(fault("a: 1\n---\nb: [1, 2\nc: 3\n").starts_with("line "));
    assert!(fault("a: *nowhere\n").contains("line 1"));
    assert!(fault("a: &x [*x]\n").contains("inside what it repeats"));
    assert!(fault("{{ template }}: 1\n").contains("cannot be a key"));
    assert!(fault("a: .inf\n").contains("no form in JSON"));
    assert!(fault("a: !!int x\n").contains("is no !!int"));
    assert!(fault("a:\n\tb: 1\n").starts_with("line 2"));
    let bytes = parse_bytes(b"a: 1\nb: \xff\n");
    let error = bytes[0].as_ref().expect_err("not UTF-8");
    assert!(error.to_string().starts_with("line 2, column 4: the source is not UTF-8"));
}

#[test]
fn a_broken_document_leaves_its_neighbours_whole() {
    let outcomes = parse("a: 1\n---\nb: [\n---\nc: 3\n");
    let shape: Vec<bool> = outcomes.iter().map(Result::is_ok).collect();
    assert_eq!(shape, [true, false, true]);
    let last = outcomes[2].as_ref().expect("whole");
    assert_eq!((last.to_json(), last.line()), (json!({"c": 3}), 5));
    let fault = outcomes[1].as_ref().expect_err("broken");
    assert!((3..=4).contains(&fault.span.start.line), "{fault}");
}

#[test]
fn limits_hold() {
    let bomb = (1..10).fold("a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned(), |text, level| {
        let below = format!("*a{}, ", level - 1).repeat(9);
        format!("{text}a{level}: &a{level} [{}]\n", below.trim_end_matches(", "))
    });
    assert!(fault(&bomb).contains("aliases repeat more than"), "{}", fault(&bomb));
    let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(64_000), "*a, ".repeat(200));
    assert!(fault(&long).contains("aliases repeat more than"), "{}", fault(&long));
    let chains = |count| format!("- {}1{}\n", "&a [".repeat(90), "]".repeat(90)).repeat(count);
    assert_eq!(fault(&chains(2)), "");
    assert!(fault(&chains(50)).contains("aliases repeat more than"), "{}", fault(&chains(50)));
    let deep = format!("a: {}{}", "[".repeat(101), "]".repeat(101));
    assert!(fault(&deep).contains("inside each other"), "{}", fault(&deep));
    let deep = format!("{}1{}", "{\"a\":".repeat(101), "}".repeat(101));
    assert!(fault(&deep).contains("too deep"), "{}", fault(&deep));
    let small = Limits { bytes: 4, ..Limits::default() };
    assert!(parse_within("a: 12", &small)[0].is_err());
    let few = Limits { nodes: 3, ..Limits::default() };
    assert!(parse_within("[1, 2, 3]", &few)[0].is_err());
    assert!(parse_within("{\"a\": [1, 2, 3]}", &few)[0].is_err());
}

#[test]
fn fields_are_found_by_their_path() {
    let source = "\
kind: VirtualService
metadata:
  labels: {app.kubernetes.io/name: x}
spec:
  http:
  - match:
    - uri:
        prefix: /
    timeout: 3s
  - timeout: 5s
data:
  tls.key: abc
";
    let document = parse(source).remove(0).expect("well-formed");
    let place = |path: &str| {
        let start = document.locate(path).start;
        (start.line, start.column)
    };
    assert_eq!(place("spec.http[0].timeout"), (9, 5));
    assert_eq!(place("spec.http[1].timeout"), (10, 5));
    assert_eq!(place("spec.http[0].match[0].uri.prefix"), (8, 9));
    assert_eq!(place("spec.http[1]"), (10, 5));
    assert_eq!(place("metadata.labels.app.kubernetes.io/name"), (3, 12));
    assert_eq!(place("data[tls.key]"), (12, 3));
    assert_eq!(place("spec.http[0].route"), (6, 5), "what is missing is shown at its parent");
    assert_eq!(place("spec.hosts"), (4, 1));
    assert_eq!(place("nowhere"), (1, 1));
    assert_eq!(place(""), (1, 1));
    assert_eq!(document.line(), 1);
}

/// A small generator of numbers (xorshift64*), seeded so that a failure repeats.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16) as usize % bound.max(1)
    }

    fn json(&mut self, depth: usize) -> Json {
        const TEXTS: [&str; 10] =
            ["", "a", "yes", "0644", "\"\\\u{7f}", "é\u{1F600}", "<<", "a: b", "\n\t", "- x"];
        match self.below(if depth == 0 { 5 } else { 7 }) {
            0 => Json::Null,
            1 => json!(self.below(2) == 0),
            2 => json!(self.below(1 << 40) as i64 - (1 << 39)),
            3 => json!(self.below(1 << 30) as f64 / 1024.0 + 0.5),
            4 => json!(TEXTS[self.below(TEXTS.len())]),
            5 => (0..self.below(5)).map(|_| self.json(depth - 1)).collect(),
            _ => {
                let fields = (0..self.below(5)).map(|n| {
                    let key = format!("{}{n}", TEXTS[self.below(TEXTS.len())]);
                    (key, self.json(depth - 1))
                });
                Json::Object(fields.collect())
            }
        }
    }
}

#[test]
fn what_is_open_at_the_end_is_shown_where_it_began() {
    let fault = |source| parse(source).into_iter().find_map(Result::err).expect("a fault");
    let cases = [
        ("a: 1\nb: [\n", Position { line: 2, column: 4 }, '['),
        ("a: 1\nb: [c, {d: e\n\n", Position { line: 2, column: 8 }, '{'),
        ("---\na: 1\n---\nb: 2\nc: [d,\n  e\n", Position { line: 5, column: 4 }, '['),
    ];
    for (source, place, bracket) in cases {
        let fault = fault(source);
        let words = format!("the {bracket:?} that stands here is not closed");
        assert!(fault.message.ends_with(&words), "{source:?}: {fault}");
        assert_eq!(fault.span.start, place, "{source:?}: {fault}");
    }
    // Elsewhere it is where it is.
    let fault = fault("a: [1]\nb: ]\nc: 1\n");
    assert_eq!(
        (fault.span.start.line, fault.message.contains("not closed")),
        (2, false),
        "{fault}"
    );
}

#[test]
fn json_input_reads_as_serde_json_reads_it() {
    let mut random = Random(0x6a73_6f6e);
    for _ in 0..2000 {
        let value = json!({"root": random.json(5)});
        for text in [value.to_string(), serde_json::to_string_pretty(&value).expect("JSON")] {
            assert_eq!(read(&text), std::slice::from_ref(&value), "{text}");
        }
    }
}

/// Sources that reach the corners of the parser, to begin mutation with.
const SEEDS: [&str; 8] = [
    "apiVersion: v1\nkind: Gateway\nmetadata:\n  name: a\nspec:\n  servers:\n  - port: {number: 80}\n",
    "{\"a\": [1, 2, {\"b\": \"\\u00e9\"}], \"c\": null}",
    "a: &x {b: 1}\nc: {<<: *x, d: [*x, *x]}\n---\ne: |\n  text\n  more\n...\nf: >-\n  folded\n",
    "? complex\n: value\n? [a]\n: b\n",
    "- !!str 1\n- !!int '2'\n- !t 3\n- 'it''s'\n- \"\\x41\\n\"\n",
    "%YAML 1.1\n---\na: 0x1f\nb: 1_0\nc: .5\nd: 2001-01-01\n",
    "key: [a, b, {c: d, e: }, \"f\",]\nother:   # comment\n   - x\n   -\n",
    "\u{feff}a: 'multi\n  line'\nb: \"é\u{1F600}\"\r\nc: ~\n",
];

#[test]
fn mutated_sources_do_no_harm() {
    const BITS: [&[u8]; 16] = [
        b"\n", b": ", b"- ", b"[", b"]", b"{", b"}", b"&x ", b"*x", b"<<: ", b"---\n", b"\"", b"'",
        b"|\n", b"\t", b"\xff",
    ];
    let mut random = Random(0x7961_6d6c);
    for round in 0..6000 {
        let mut data = SEEDS[random.below(SEEDS.len())].as_bytes().to_vec();
        for _ in 0..=random.below(6) {
            let at = random.below(data.len() + 1);
            match random.below(4) {
                0 if at < data.len() => data[at] = random.below(256) as u8,
                1 => {
                    let bit = BITS[random.below(BITS.len())];
                    data.splice(at..at, bit.iter().copied());
                }
                2 => data.truncate(at),
                _ => {
                    let from = random.below(data.len() + 1).min(at);
                    let piece = data[from..at].to_vec();
                    data.splice(from..from, piece);
                }
            }
        }
        let outcome = std::panic::catch_unwind(|| fuzzing::fuzz(&data));
        assert!(outcome.is_ok(), "round {round}: {:?}", String::from_utf8_lossy(&data));
    }
}
