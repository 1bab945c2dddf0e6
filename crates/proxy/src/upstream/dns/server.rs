//! A DNS server for tests, over UDP and TCP: it answers what it was told to, and remembers what it
//! was asked.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
use hickory_resolver::proto::rr::rdata::CNAME;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;

/// A running server; it stops when dropped.
pub(crate) struct DnsServer {
    /// Where it listens, for both transports.
    pub(crate) address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    _tasks: JoinSet<()>,
}

/// What the server answers to a question.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// These records.
    Records(Vec<Record>),
    /// No record, with this code. `NoError` means that the name has no record of this type.
    Code(ResponseCode),
    /// Nothing at all.
    Silence,
}

/// A question that was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) name: String,
    pub(crate) kind: RecordType,
    pub(crate) tcp: bool,
}

#[derive(Default)]
struct Zone {
    replies: HashMap<(String, RecordType), Reply>,
    truncate: bool,
    asked: Vec<Question>,
}

impl DnsServer {
    /// Starts a server that knows no name.
    pub(crate) async fn start() -> Self {
        let (udp, tcp) = loop {
            let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
            // The same port may be taken for UDP.
            if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()).await {
                break (udp, tcp);
            }
        };
        let address = tcp.local_addr().unwrap();
        let zone = Arc::<Mutex<Zone>>::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(serve_udp(udp, Arc::clone(&zone)));
        tasks.spawn(serve_tcp(tcp, Arc::clone(&zone)));
        Self { address, zone, _tasks: tasks }
    }

    /// Sets the answer to a question.
    pub(crate) fn reply(&self, name: &str, kind: RecordType, reply: Reply) {
        self.zone.lock().unwrap().replies.insert((name.to_owned(), kind), reply);
    }

    /// Gives `name` an address, with this TTL in seconds.
    pub(crate) fn address(&self, name: &str, ttl: u32, address: &str) {
        let record = address_record(name, ttl, address);
        self.reply(name, record.record_type(), Reply::Records(vec![record]));
    }

    /// Makes the server cut all answers short over UDP.
    pub(crate) fn truncate(&self) {
        self.zone.lock().unwrap().truncate = true;
    }

    /// What was asked since the last call.
    pub(crate) fn asked(&self) -> Vec<Question> {
        std::mem::take(&mut self.zone.lock().unwrap().asked)
    }
}

/// An A or AAAA record.
pub(crate) fn address_record(name: &str, ttl: u32, address: &str) -> Record {
    let data = match address.parse().unwrap() {
        IpAddr::V4(address) => RData::A(address.into()),
        IpAddr::V6(address) => RData::AAAA(address.into()),
    };
    Record::from_rdata(Name::from_ascii(name).unwrap(), ttl, data)
}

/// A CNAME record.
pub(crate) fn alias_record(name: &str, ttl: u32, target: &str) -> Record {
    let target = Name::from_ascii(target).unwrap();
    Record::from_rdata(Name::from_ascii(name).unwrap(), ttl, RData::CNAME(CNAME(target)))
}

async fn serve_udp(socket: UdpSocket, zone: Arc<Mutex<Zone>>) {
    let mut request = [0; 1500];
    while let Ok((length, peer)) = socket.recv_from(&mut request).await {
        if let Some(answer) = answer(&zone, &request[..length], false) {
            socket.send_to(&answer, peer).await.unwrap();
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
        stream.read_exact(&mut request).await.unwrap();
        if let Some(answer) = answer(&zone, &request, true) {
            stream.write_u16(answer.len().try_into().unwrap()).await.unwrap();
            stream.write_all(&answer).await.unwrap();
        }
    }
}

fn answer(zone: &Mutex<Zone>, request: &[u8], tcp: bool) -> Option<Vec<u8>> {
    let request = Message::from_vec(request).unwrap();
    let query = request.queries[0].clone();
    let (name, kind) = (query.name().to_string().to_ascii_lowercase(), query.query_type());
    let mut zone = zone.lock().unwrap();
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
    Some(response.to_vec().unwrap())
}
