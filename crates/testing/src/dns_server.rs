//! A DNS server over UDP and TCP, with any records: it answers what it was told to, and remembers what it was asked.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use hickory_proto::op::ResponseCode;
use hickory_proto::op::{Message, OpCode};
pub use hickory_proto::rr::RecordType;
use hickory_proto::rr::rdata::CNAME;
use hickory_proto::rr::{Name, RData, Record};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;

/// A running server; it stops when dropped.
pub struct DnsServer {
    /// Where it listens, for both transports.
    pub address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    _tasks: JoinSet<()>,
}

/// What the server answers to a question.
#[derive(Debug, Clone)]
pub enum Reply {
    /// These records.
    Records(Vec<Record>),
    /// No record, with this code. `NoError` means that the name has no record of this type.
    Code(ResponseCode),
    /// Nothing at all.
    Silence,
}

/// A question that was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The name, in lower case, with the dot at its end.
    pub name: String,
    /// What of it.
    pub kind: RecordType,
    /// Whether over TCP.
    pub tcp: bool,
}

#[derive(Default)]
struct Zone {
    replies: HashMap<(String, RecordType), Reply>,
    truncate: bool,
    asked: Vec<Question>,
}

impl DnsServer {
    /// Starts a server on loopback that knows no name.
    ///
    /// # Panics
    /// There is no port.
    pub async fn start() -> Self {
        let (udp, tcp) = loop {
            let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a TCP port");
            // The same port may be taken for UDP.
            if let Ok(udp) = UdpSocket::bind(tcp.local_addr().expect("its address")).await {
                break (udp, tcp);
            }
        };
        Self::on(udp, tcp)
    }

    /// Serves on sockets of one address and port.
    ///
    /// # Panics
    /// The socket has no address.
    #[must_use]
    pub fn on(udp: UdpSocket, tcp: TcpListener) -> Self {
        let address = tcp.local_addr().expect("its address");
        let zone = Arc::<Mutex<Zone>>::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(serve_udp(udp, Arc::clone(&zone)));
        tasks.spawn(serve_tcp(tcp, Arc::clone(&zone)));
        Self { address, zone, _tasks: tasks }
    }

    /// Sets the answer to a question.
    pub fn reply(&self, name: &str, kind: RecordType, reply: Reply) {
        lock(&self.zone).replies.insert((name.to_owned(), kind), reply);
    }

    /// Gives `name` an address, with this TTL in seconds.
    pub fn address(&self, name: &str, ttl: u32, address: &str) {
        let record = address_record(name, ttl, address);
        self.reply(name, record.record_type(), Reply::Records(vec![record]));
    }

    /// Makes the server cut all answers short over UDP.
    pub fn truncate(&self) {
        lock(&self.zone).truncate = true;
    }

    /// What was asked since the last call.
    pub fn asked(&self) -> Vec<Question> {
        std::mem::take(&mut lock(&self.zone).asked)
    }
}

fn lock(zone: &Mutex<Zone>) -> MutexGuard<'_, Zone> {
    zone.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An A or AAAA record.
///
/// # Panics
/// It is no address, or no name.
#[must_use]
pub fn address_record(name: &str, ttl: u32, address: &str) -> Record {
    let data = match address.parse().expect("an address") {
        IpAddr::V4(address) => RData::A(address.into()),
        IpAddr::V6(address) => RData::AAAA(address.into()),
    };
    Record::from_rdata(Name::from_ascii(name).expect("a name"), ttl, data)
}

/// A CNAME record.
///
/// # Panics
/// One of them is no name.
#[must_use]
pub fn alias_record(name: &str, ttl: u32, target: &str) -> Record {
    let target = Name::from_ascii(target).expect("a name");
    Record::from_rdata(Name::from_ascii(name).expect("a name"), ttl, RData::CNAME(CNAME(target)))
}

async fn serve_udp(socket: UdpSocket, zone: Arc<Mutex<Zone>>) {
    let mut request = [0; 1500];
    while let Ok((length, peer)) = socket.recv_from(&mut request).await {
        if let Some(answer) = answer(&zone, &request[..length], false) {
            // A client that went away is its own business.
            let _ = socket.send_to(&answer, peer).await;
        }
    }
}

async fn serve_tcp(listener: TcpListener, zone: Arc<Mutex<Zone>>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve_connection(stream, Arc::clone(&zone)));
    }
}

async fn serve_connection(mut stream: TcpStream, zone: Arc<Mutex<Zone>>) {
    while let Ok(length) = stream.read_u16().await {
        let mut request = vec![0; length.into()];
        if stream.read_exact(&mut request).await.is_err() {
            return;
        }
        let Some(answer) = answer(&zone, &request, true) else { continue };
        let length = u16::try_from(answer.len()).expect("a short answer");
        if stream.write_u16(length).await.is_err() || stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}

fn answer(zone: &Mutex<Zone>, request: &[u8], tcp: bool) -> Option<Vec<u8>> {
    let request = Message::from_vec(request).expect("a query");
    let query = request.queries[0].clone();
    let (name, kind) = (query.name().to_string().to_ascii_lowercase(), query.query_type());
    let mut zone = lock(zone);
    zone.asked.push(Question { name: name.clone(), kind, tcp });
    let unknown = Reply::Code(ResponseCode::NXDomain);
    let mut response = Message::response(request.id, OpCode::Query);
    response.add_query(query);
    match zone.replies.get(&(name, kind)).unwrap_or(&unknown) {
        Reply::Silence => return None,
        Reply::Code(code) => response.metadata.response_code = *code,
        Reply::Records(_) if zone.truncate && !tcp => response.metadata.truncation = true,
        Reply::Records(records) => {
            response.add_answers(records.iter().cloned());
        }
    }
    Some(response.to_vec().expect("an answer"))
}
