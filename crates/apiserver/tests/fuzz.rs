//! What a client's bytes meet first, for a bounded time, with bytes from a seeded mutator.

use std::time::{Duration, Instant};

use fastrand::Rng;
use tidegate_apiserver::rest::fuzzing;

/// How long each target is tried.
const TIME: Duration = Duration::from_secs(2);
/// Inputs that are tried at least, however slow the machine is.
const AT_LEAST: usize = 2_000;

const BODIES: &[&[u8]] = &[
    br#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","labels":{"a":"b"}},"data":{"k":"v"}}"#,
    br#"{"spec":{"hosts":["a"],"hosts":["b"],"n":-1.5e3,"u":"\u00e9\ud83d\ude00","l":[1,[2,{}],null,true]}}"#,
    b"apiVersion: v1\nkind: Service\nspec:\n  ports:\n  - {port: 80, name: 'http'}\n  text: |\n    a\n    b\n",
    b"k8s\0\x0a\x0c\x0a\x02v1\x12\x06Secret\x12\x0d\x0a\x03\x0a\x01a\x12\x06\x0a\x01k\x12\x01v",
    b"k8s\0\x0a\x0d\x0a\x02v1\x12\x07Service\x12\x12\x0a\x03\x0a\x01a\x12\x0b\x0a\x09\x0a\x01p\x18\x50\x22\x02\x10\x63",
    b"k8s\0\x0a\x0b\x0a\x02v1\x12\x05Event\x12\x0c\x0a\x03\x0a\x01a\x52\x05\x08\x80\x80\x80\x01",
];

const PATCHES: &[&[u8]] = &[
    br#"{"metadata":{"labels":{"a":null}},"spec":{"ports":[{"port":80,"$patch":"delete"},{"port":1}]}}"#,
    br#"{"spec":{"$setElementOrder/ports":[{"port":81},{"port":80}],"$retainKeys":["ports"],"ports":[{"$patch":"replace"}]}}"#,
    br#"{"metadata":{"$deleteFromPrimitiveList/finalizers":["x"],"finalizers":["y"]}}"#,
    br#"[{"op":"add","path":"/spec/ports/-","value":1},{"op":"test","path":"/spec/ports/0/port","value":80}]"#,
    br#"{"f:spec":{".":{},"f:ports":{"k:{\"port\":80}":{"f:name":{}},"v:\"x\"":{}}}}"#,
];

const LINES: &[&[u8]] = &[
    b"/apis/networking.istio.io/v1/namespaces/a%2Fb/virtualservices/x/status?watch=true&limit=1",
    b"a=b,c!=d,e in (x,y),f notin (z),g,!h,n>1,m<2,k==",
    b"metadata.name=a,status.phase!=R\\,x,involvedObject.uid==1",
    b"application/json;as=Table;v=v1;g=meta.k8s.io,application/vnd.kubernetes.protobuf,*/*",
    b"application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
];

/// A corpus entry with a few changes: bits, bytes, pieces of other entries.
fn mutate(random: &mut Rng, corpus: &[&[u8]]) -> Vec<u8> {
    let mut data = corpus[random.usize(..corpus.len())].to_vec();
    for _ in 0..random.usize(0..6) {
        let at = random.usize(..=data.len());
        match random.u8(..6) {
            0 if at < data.len() => data[at] ^= 1 << random.u8(..8),
            1 => data.insert(at, random.u8(..)),
            2 if at < data.len() => drop(data.remove(at)),
            3 => data.truncate(at),
            4 => {
                let other = corpus[random.usize(..corpus.len())];
                let from = random.usize(..other.len());
                let to = random.usize(from..=other.len());
                data.splice(at..at, other[from..to].iter().copied());
            }
            _ => {
                let from = random.usize(..=at);
                let piece = data[from..at].to_vec();
                data.splice(at..at, piece);
            }
        }
    }
    data
}

fn run(seed: u64, corpus: &[&[u8]], target: fn(&[u8])) {
    let mut random = Rng::with_seed(seed);
    let start = Instant::now();
    for entry in corpus {
        target(entry);
    }
    let mut tried = 0;
    while tried < AT_LEAST || start.elapsed() < TIME {
        target(&mutate(&mut random, corpus));
        tried += 1;
    }
}

#[test]
fn bodies() {
    run(1, BODIES, fuzzing::body);
}

#[test]
fn patches() {
    run(2, PATCHES, fuzzing::patch);
}

#[test]
fn request_lines() {
    run(3, LINES, fuzzing::request_line);
}
