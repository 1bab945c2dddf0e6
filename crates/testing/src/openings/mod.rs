//! What clients of a TLS server begin with that are no clients: each has to end in its time, and harm nobody.

mod hello;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use self::hello::{
    ALPN, EARLY_DATA, GROUPS, Hello, KEY_SHARE, SERVER_NAME, SIGNATURES, VERSIONS, message, record,
    server_name,
};

/// The largest answer: a flight of a handshake, or an alert.
const ANSWER: usize = 16 * 1024;

/// The beginning of a connection.
#[derive(Clone, Debug)]
pub struct Opening {
    /// What it is, for messages.
    pub name: String,
    /// What is sent.
    pub bytes: Vec<u8>,
    /// Whether the client sends no more then, instead of waiting.
    pub finish: bool,
    /// Whether it is answered by a handshake: it is odd, but allowed.
    pub shakes: bool,
}

impl Opening {
    /// Opens a connection so; what came back to its end, which has to come in this time.
    async fn send(&self, address: SocketAddr, end: Duration) -> Vec<u8> {
        let stream = TcpStream::connect(address).await.expect("connected");
        stream.set_nodelay(true).expect("TCP_NODELAY");
        let (mut read, mut write) = stream.into_split();
        let send = async {
            // Who is refused early cannot send to the end.
            let _ = write.write_all(&self.bytes).await;
            if self.finish {
                let _ = write.shutdown().await;
            }
        };
        let mut answer = Vec::new();
        let receive = async {
            // A reset is an end as well.
            let _ = (&mut read).take(1 << 20).read_to_end(&mut answer).await;
        };
        let both = timeout(end, async { tokio::join!(send, receive) });
        both.await.unwrap_or_else(|_| panic!("{}: still open", self.name));
        answer
    }
}

/// Opens a connection in each of these ways, so many at a time; each ends within `end`, and is answered by a handshake just
/// where that is right. After each of them `others` is awaited, which is to see that others are served.
pub async fn play<F: Future<Output = ()>>(
    address: SocketAddr,
    openings: &[Arc<Opening>],
    abreast: usize,
    end: Duration,
    others: impl Fn() -> F,
) {
    let mut tasks = JoinSet::new();
    let places = Arc::new(Semaphore::new(abreast));
    for opening in openings {
        let (opening, places) = (Arc::clone(opening), Arc::clone(&places));
        tasks.spawn(async move {
            let _place = places.acquire().await;
            let answer = opening.send(address, end).await;
            assert!(answer.len() <= ANSWER, "{}: {} bytes", opening.name, answer.len());
            let shakes = answer.first() == Some(&0x16);
            (shakes != opening.shakes).then(|| format!("{}: {shakes}", opening.name))
        });
    }
    let mut unexpected = Vec::new();
    while let Some(done) = tasks.join_next().await {
        unexpected.extend(done.expect("an opening"));
        others().await;
    }
    assert!(unexpected.is_empty(), "answered by a handshake or not: {unexpected:#?}");
}

fn opening(name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Opening {
    Opening { name: name.into(), bytes: bytes.into(), finish: false, shakes: false }
}

fn shakes(name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Opening {
    Opening { shakes: true, ..opening(name, bytes) }
}

/// All of them, to a server of this name. `addresses`: whether one who gives an address as the server's name is served.
#[must_use]
pub fn all(name: &str, addresses: bool) -> Vec<Arc<Opening>> {
    let good = Hello::good(name);
    let all = [
        sizes(&good),
        lengths(&good),
        records(&good),
        fields(&good),
        extensions(&good),
        contents(&good, name, addresses),
        versions(&good),
        others(&good),
    ];
    all.concat().into_iter().map(Arc::new).collect()
}

/// Cut short, by a client that goes and by one that stays.
fn sizes(good: &Hello) -> Vec<Opening> {
    let bytes = good.bytes();
    let mut all = vec![opening("nothing", []), shakes("a good hello, and silence", bytes.clone())];
    for len in (0..bytes.len()).step_by(5) {
        let cut = opening(format!("cut at {len}"), &bytes[..len]);
        all.push(Opening { finish: true, ..cut });
    }
    for len in [1, 4, 5, 6, 9, 43, 80, bytes.len() - 1] {
        all.push(opening(format!("stalls at {len}"), &bytes[..len]));
    }
    // Larger than any that is let through, and than any that is told of.
    for size in [15_000, 17_000, 60_000] {
        let hello = good.clone().with(21, &vec![0; size]);
        let shakes = size < 16_000;
        all.push(Opening { shakes, ..opening(format!("padded by {size}"), hello.bytes()) });
    }
    let flood = record(22, 0x0301, &[0; 1 << 14]).repeat(64);
    all.push(opening("a megabyte of records", [message(1, &[]), flood].concat()));
    all
}

/// Every length says something else.
fn lengths(good: &Hello) -> Vec<Opening> {
    let bytes = good.bytes();
    // Of the record, of the message (three bytes), of the session id, of the suites, of the compressions.
    let suites = 5 + 4 + 2 + 32 + 1 + good.session_id.len();
    let compressions = suites + 2 + 2 * good.suites.len();
    let extensions = compressions + 1 + good.compressions.len();
    let places = [
        ("record", 3),
        ("record, low", 4),
        ("message, high", 6),
        ("message", 7),
        ("message, low", 8),
        ("session id", 43),
        ("suites", suites),
        ("suites, low", suites + 1),
        ("compressions", compressions),
        ("extensions", extensions),
        ("extensions, low", extensions + 1),
        ("first extension", extensions + 4),
        ("first extension, low", extensions + 5),
    ];
    let mut all = Vec::new();
    for (place, at) in places {
        for value in [0_u8, 1, 0x7f, 0xff] {
            let mut wrong = bytes.clone();
            if std::mem::replace(&mut wrong[at], value) != value {
                all.push(opening(format!("length of {place} says {value}"), wrong));
            }
        }
    }
    all
}

/// The same hello in other records.
fn records(good: &Hello) -> Vec<Opening> {
    let hello = good.message();
    let split = |size: usize| -> Vec<u8> {
        hello.chunks(size).flat_map(|part| record(22, 0x0301, part)).collect()
    };
    let empty = |kind: u8, times: usize| record(kind, 0x0303, &[]).repeat(times);
    vec![
        shakes("records of one byte", split(1)),
        shakes("records of seven bytes", split(7)),
        opening("an empty record, and silence", empty(22, 1)),
        opening("empty records before the hello", [empty(22, 3), good.bytes()].concat()),
        opening("a thousand empty records", empty(22, 1000)),
        opening("empty records without end", empty(22, 100_000)),
        opening("empty records of data without end", empty(23, 100_000)),
        opening("a record that is too long", record(22, 0x0301, &[1; 0xffff])),
        opening("a record of no known kind", record(99, 0x0303, &hello)),
        opening("a heartbeat", record(24, 0x0303, &[1, 0x40, 0])),
        opening("data first", record(23, 0x0303, b"GET / HTTP/1.1\r\n\r\n")),
        opening("a change of ciphers first", record(20, 0x0303, &[1])),
        opening("many changes of ciphers", record(20, 0x0303, &[1]).repeat(10_000)),
        opening("a good-bye first", record(21, 0x0303, &[1, 0])),
        opening("a fatal alert first", record(21, 0x0303, &[2, 40])),
        opening("many warnings", record(21, 0x0303, &[1, 90]).repeat(10_000)),
        opening("half an alert", record(21, 0x0303, &[2])),
    ]
}

fn fields(good: &Hello) -> Vec<Opening> {
    let with = |change: fn(&mut Hello)| {
        let mut hello = good.clone();
        change(&mut hello);
        hello.bytes()
    };
    vec![
        opening("a huge session id", with(|hello| hello.session_id = vec![1; 255])),
        opening("a session id of 33 bytes", with(|hello| hello.session_id = vec![1; 33])),
        shakes("no session id", with(|hello| hello.session_id.clear())),
        opening("no suites", with(|hello| hello.suites.clear())),
        opening("weak suites only", with(|hello| hello.suites = vec![0x0005, 0x000a, 0x002f])),
        opening("unknown suites only", with(|hello| hello.suites = vec![0x1a1a, 0xfefe])),
        shakes("ten thousand suites", with(|hello| hello.suites.extend([0x1a1a; 7000]))),
        opening("no compressions", with(|hello| hello.compressions.clear())),
        opening("only DEFLATE", with(|hello| hello.compressions = vec![1])),
        opening("no extensions", with(|hello| hello.extensions.clear())),
    ]
}

fn extensions(good: &Hello) -> Vec<Opening> {
    let mut all = Vec::new();
    for (kind, content) in &good.extensions {
        let mut twice = good.clone();
        twice.extensions.push((*kind, content.clone()));
        all.push(opening(format!("extension {kind} twice"), twice.bytes()));
        if !content.is_empty() {
            let cut = good.clone().with(*kind, &content[..content.len() - 1]);
            all.push(opening(format!("extension {kind} cut short"), cut.bytes()));
            let empty = good.clone().with(*kind, &[]);
            all.push(opening(format!("extension {kind} empty"), empty.bytes()));
        }
        let longer = good.clone().with(*kind, &[&content[..], &[0]].concat());
        all.push(opening(format!("extension {kind} with a byte more"), longer.bytes()));
    }
    let mut many = good.clone();
    many.extensions.extend((0x2000..0x2800).map(|kind| (kind, Vec::new())));
    all.push(shakes("two thousand extensions", many.bytes()));
    let mut early = good.clone();
    early.extensions.insert(0, (EARLY_DATA, Vec::new()));
    let early = [early.bytes(), record(23, 0x0303, &[0xaa; 1000])].concat();
    all.push(shakes("early data without a session", early));
    all
}

/// Names that are none, and offers of nothing that is known.
fn contents(good: &Hello, name: &str, addresses: bool) -> Vec<Opening> {
    let mut all = Vec::new();
    let two_names = [&server_name(name.as_bytes())[2..], &server_name(b"b.example")[2..]].concat();
    let two_names = [&(two_names.len() as u16).to_be_bytes()[..], &two_names].concat();
    let names: [(&str, &[u8]); 5] = [
        ("with NUL", b"a.example\0.b.example"),
        ("of one label of 64", &[b'x'; 64]),
        ("of 300 bytes", &[b'x'; 300]),
        ("that is no text", b"\xff\xfe"),
        ("with a slash", b"../../etc/passwd"),
    ];
    for (what, host) in names {
        let hello = good.clone().with(SERVER_NAME, &server_name(host));
        all.push(opening(format!("a server name {what}"), hello.bytes()));
    }
    let group = |hello: Hello, group: u16| {
        hello.with(GROUPS, &[&[0, 2], &group.to_be_bytes()[..]].concat())
    };
    all.extend([
        opening("two server names", good.clone().with(SERVER_NAME, &two_names).bytes()),
        opening("an empty protocol", good.clone().with(ALPN, &[0, 1, 0]).bytes()),
        opening("no list of protocols", good.clone().with(ALPN, &[0, 0]).bytes()),
        opening("a share of no known group", {
            let share = [&[0, 36, 0x7a, 0x7a, 0, 32], &[1; 32][..]].concat();
            group(good.clone(), 0x7a7a).with(KEY_SHARE, &share).bytes()
        }),
        opening(
            "a share that is too short",
            good.clone().with(KEY_SHARE, &[0, 5, 0, 0x1d, 0, 1, 1]).bytes(),
        ),
        // The answer goes out before the certificate is chosen.
        shakes(
            "unknown signatures only",
            good.clone().with(SIGNATURES, &[0, 2, 0xfe, 0xfe]).bytes(),
        ),
        // No name (RFC 6066, section 3), so that a handshake takes it for none.
        Opening {
            shakes: addresses,
            ..opening(
                "an address as server name",
                good.clone().with(SERVER_NAME, &server_name(b"127.0.0.1")).bytes(),
            )
        },
        shakes("no server name", good.clone().without(SERVER_NAME).bytes()),
    ]);
    all
}

fn versions(good: &Hello) -> Vec<Opening> {
    let mut all = Vec::new();
    for version in [0_u16, 0x0002, 0x0200, 0x0300, 0x0301, 0x0302, 0x0305, 0x7f1c, 0xffff] {
        let offered = [&[2][..], &version.to_be_bytes()].concat();
        let hello = good.clone().with(VERSIONS, &offered);
        all.push(opening(format!("only version {version:#06x}"), hello.bytes()));
        if version < 0x0303 {
            let hello = Hello { version, ..good.clone().without(VERSIONS) };
            all.push(opening(format!("version {version:#06x} as of old"), hello.bytes()));
        }
    }
    for version in [0_u16, 0x0200, 0x0400, 0xffff] {
        let hello = Hello { record_version: version, ..good.clone() };
        all.push(opening(format!("records of version {version:#06x}"), hello.bytes()));
    }
    // RFC 5246, appendix E.2.
    let old = b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10\x01\x00\x80\x02\x00\x80\x03\x00\x80\x04\x00\x80\
        \x05\x00\x80\x06\x00\x40\x07\x00\xc00123456789abcdef";
    all.push(opening("an SSL 2 hello", *old));
    let newer = b"\x80\x25\x01\x03\x03\x00\x0c\x00\x00\x00\x10\x00\x00\x2f\x00\x00\x35\x00\x00\x05\x00\x00\x0a\
        0123456789abcdef";
    all.push(opening("a TLS hello in the form of SSL 2", *newer));
    all
}

/// No hello at all, or more than one.
fn others(good: &Hello) -> Vec<Opening> {
    let mut all = vec![
        opening("plain HTTP", *b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"),
        opening("plain HTTP/2", *b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"),
        opening("SSH", *b"SSH-2.0-client\r\n"),
        opening("a PROXY header", *b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n"),
        opening("zeros", vec![0; 100_000]),
        opening("ones", vec![0xff; 100_000]),
        shakes("a hello and garbage", [good.bytes(), vec![0x55; 5000]].concat()),
        shakes("two hellos", good.bytes().repeat(2)),
        shakes("a hello and data", [good.bytes(), record(23, 0x0303, &[0; 64])].concat()),
        shakes("a hello and a good-bye", [good.bytes(), record(21, 0x0303, &[1, 0])].concat()),
    ];
    for kind in [0_u8, 2, 4, 8, 11, 12, 13, 14, 15, 16, 20, 22, 24, 67, 254, 255] {
        let bytes = record(22, 0x0303, &message(kind, &good.body()));
        all.push(opening(format!("a message of kind {kind} first"), bytes));
    }
    // Bytes that come of a fixed seed.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for number in 0..16 {
        let mut noise = good.bytes();
        for _ in 0..4 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // Behind the random and the session id, where a byte means something.
            let at = 76 + (state >> 33) as usize % (noise.len() - 76 - 60);
            noise[at] = 0xee;
        }
        noise.truncate(noise.len() - 1);
        all.push(opening(format!("noise {number}"), noise));
    }
    all
}

/// What comes in place of what a client says after its handshake.
#[must_use]
pub fn after_handshake() -> Vec<Opening> {
    vec![
        opening("data that is not encrypted", record(23, 0x0303, b"GET / HTTP/1.1\r\n\r\n")),
        opening("a hello that is not encrypted", Hello::good("a.example").bytes()),
        opening("an alert that is not encrypted", record(21, 0x0303, &[2, 40])),
        opening("a record that is too long", record(23, 0x0303, &[0; 0x4800])),
        opening("changes of ciphers", record(20, 0x0303, &[1]).repeat(1000)),
        opening("garbage", vec![0x33; 50_000]),
        opening("an empty record, and silence", record(23, 0x0303, &[])),
        opening("half a record, and silence", record(23, 0x0303, &[7; 64])[..20].to_vec()),
    ]
}
