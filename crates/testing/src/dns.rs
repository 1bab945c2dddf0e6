//! A name server over UDP that answers what the test says, and counts what it was asked.
//!
//! It knows A and AAAA records, empty answers, NXDOMAIN, SERVFAIL and silence: what a resolver meets.
//! No TCP, no EDNS, no compression in questions, as no resolver here needs them.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// What the server says about a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// These addresses (A or AAAA, by what was asked), each with this time to live in seconds.
    Addresses {
        /// Addresses of either family.
        addresses: Vec<IpAddr>,
        /// Time to live of each record, in seconds.
        ttl: u32,
    },
    /// The name does not exist (NXDOMAIN), which is also said of every name not told of.
    NoSuchName,
    /// The server failed (SERVFAIL).
    Failure,
    /// No answer at all: the resolver has to time out.
    Silence,
}

impl Answer {
    /// One address with a time to live in seconds.
    #[must_use]
    pub fn address(address: impl Into<IpAddr>, ttl: u32) -> Self {
        Self::Addresses { addresses: vec![address.into()], ttl }
    }
}

#[derive(Default)]
struct Zone {
    answers: HashMap<String, Answer>,
    asked: HashMap<String, usize>,
}

/// A name server on loopback; ends when dropped.
pub struct Dns {
    address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    task: JoinHandle<()>,
}

impl Dns {
    /// A server that knows no name yet.
    pub async fn start() -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a UDP port");
        let address = socket.local_addr().expect("its address");
        let zone = Arc::new(Mutex::new(Zone::default()));
        let task = tokio::spawn(serve(socket, Arc::clone(&zone)));
        Self { address, zone, task }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What `name` means from now on; letter case is ignored, as in DNS.
    pub fn set(&self, name: &str, answer: Answer) {
        lock(&self.zone).answers.insert(name.to_ascii_lowercase(), answer);
    }

    /// How many questions about `name` have come in, A and AAAA together.
    #[must_use]
    pub fn asked(&self, name: &str) -> usize {
        lock(&self.zone).asked.get(&name.to_ascii_lowercase()).copied().unwrap_or(0)
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(zone: &Mutex<Zone>) -> MutexGuard<'_, Zone> {
    zone.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(socket: UdpSocket, zone: Arc<Mutex<Zone>>) {
    let mut buffer = [0_u8; 1500];
    while let Ok((length, peer)) = socket.recv_from(&mut buffer).await {
        let Some(reply) = reply(&buffer[..length], &zone) else {
            continue;
        };
        // A resolver that went away is its own business.
        let _ = socket.send_to(&reply, peer).await;
    }
}

const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;
const HEADER: usize = 12;

/// The reply to one message (RFC 1035, section 4); none when it is no question or silence is wanted.
fn reply(message: &[u8], zone: &Mutex<Zone>) -> Option<Vec<u8>> {
    let (name, after_name) = question_name(message)?;
    let asked_type = u16::from_be_bytes([*message.get(after_name)?, *message.get(after_name + 1)?]);
    let question = message.get(HEADER..after_name + 4)?;

    let answer = {
        let mut zone = lock(zone);
        *zone.asked.entry(name.clone()).or_default() += 1;
        zone.answers.get(&name).cloned().unwrap_or(Answer::NoSuchName)
    };
    let (code, records, ttl) = match answer {
        Answer::Silence => return None,
        Answer::Failure => (2, Vec::new(), 0),
        Answer::NoSuchName => (3, Vec::new(), 0),
        Answer::Addresses { addresses, ttl } => (0, of_type(&addresses, asked_type), ttl),
    };

    let mut reply = Vec::with_capacity(512);
    reply.extend_from_slice(message.get(..2)?);
    // Response, recursion desired and available; the code in the low four bits.
    reply.extend_from_slice(&[0x81, 0x80 | code]);
    reply.extend_from_slice(&1_u16.to_be_bytes());
    reply.extend_from_slice(&u16::try_from(records.len()).ok()?.to_be_bytes());
    reply.extend_from_slice(&[0; 4]);
    reply.extend_from_slice(question);
    for address in records {
        reply.extend_from_slice(&[0xC0, 0x0C]); // the name of the question
        reply.extend_from_slice(&asked_type.to_be_bytes());
        reply.extend_from_slice(&1_u16.to_be_bytes());
        reply.extend_from_slice(&ttl.to_be_bytes());
        let octets = match address {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        };
        reply.extend_from_slice(&u16::try_from(octets.len()).ok()?.to_be_bytes());
        reply.extend_from_slice(&octets);
    }
    Some(reply)
}

/// The first question's name in lower case without the final dot, and where its type stands.
fn question_name(message: &[u8]) -> Option<(String, usize)> {
    let mut labels = Vec::new();
    let mut at = HEADER;
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels.join("."), at));
        }
        let label = message.get(at..at + length)?;
        labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
        at += length;
    }
}

fn of_type(addresses: &[IpAddr], asked: u16) -> Vec<IpAddr> {
    let wanted = |address: &&IpAddr| match address {
        IpAddr::V4(_) => asked == TYPE_A,
        IpAddr::V6(_) => asked == TYPE_AAAA,
    };
    addresses.iter().filter(wanted).copied().collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::PATIENCE;

    fn question(name: &str, kind: u16) -> Vec<u8> {
        let mut message = vec![0xAB, 0xCD, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            message.push(u8::try_from(label.len()).expect("a short label"));
            message.extend_from_slice(label.as_bytes());
        }
        message.push(0);
        message.extend_from_slice(&kind.to_be_bytes());
        message.extend_from_slice(&[0, 1]);
        message
    }

    async fn ask(dns: &Dns, message: &[u8], patience: Duration) -> Option<Vec<u8>> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a UDP port");
        socket.send_to(message, dns.address()).await.expect("sent");
        let mut buffer = [0; 512];
        let length = tokio::time::timeout(patience, socket.recv(&mut buffer)).await.ok()?.ok()?;
        Some(buffer[..length].to_vec())
    }

    #[tokio::test]
    async fn answers_addresses_of_the_family_asked_for() {
        let dns = Dns::start().await;
        dns.set("A.example", Answer::address(Ipv4Addr::new(192, 0, 2, 7), 5));
        let reply = ask(&dns, &question("a.EXAMPLE", TYPE_A), PATIENCE).await.expect("a reply");
        assert_eq!(reply[..2], [0xAB, 0xCD]);
        assert_eq!(reply[3] & 0x0F, 0);
        assert!(reply.ends_with(&[0, 0, 0, 5, 0, 4, 192, 0, 2, 7]));

        let reply = ask(&dns, &question("a.example", TYPE_AAAA), PATIENCE).await.expect("a reply");
        assert_eq!(reply[6..8], [0, 0], "no record of the other family");
        assert_eq!(dns.asked("a.example"), 2);
    }

    #[tokio::test]
    async fn says_that_it_failed_or_knows_nothing_or_says_nothing() {
        let dns = Dns::start().await;
        dns.set("down.example", Answer::Failure);
        dns.set("mute.example", Answer::Silence);
        let code = |reply: Option<Vec<u8>>| reply.map(|bytes| bytes[3] & 0x0F);
        assert_eq!(code(ask(&dns, &question("down.example", TYPE_A), PATIENCE).await), Some(2));
        assert_eq!(code(ask(&dns, &question("x.example", TYPE_A), PATIENCE).await), Some(3));
        let brief = Duration::from_millis(50);
        assert_eq!(ask(&dns, &question("mute.example", TYPE_A), brief).await, None);
        assert_eq!(dns.asked("mute.example"), 1);
    }
}
