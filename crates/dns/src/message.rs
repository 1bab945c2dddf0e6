//! Messages: what is read of a query, and what is written as an answer (RFC 1035 section 4, RFC 6891).

use std::net::IpAddr;

use hickory_proto::op::{
    Edns, Header, Message, MessageType, Metadata, OpCode, Query, ResponseCode,
};
use hickory_proto::rr::rdata::{CNAME, PTR};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};

/// How long answers from the table are good for, in seconds, as in Istio: a name that changes is followed soon.
pub(crate) const TTL: u32 = 30;
/// What every client takes over UDP.
const MIN_UDP: u16 = 512;
/// What is said to be taken over UDP here: it fits into any packet (<https://www.dnsflagday.net/2020/>).
const OWN_UDP: u16 = 1232;
/// Header of a message.
const HEADER: usize = 12;

/// What a message comes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Udp,
    Tcp,
}

/// A query: its one question, and how it wants the answer.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    metadata: Metadata,
    query: Query,
    edns: Option<Edns>,
    transport: Transport,
}

/// Bytes that are no query.
#[derive(Debug)]
pub(crate) enum Malformed {
    /// Nothing that an answer could be written to.
    Nothing,
    /// A query that is not understood; this says so.
    Query(Vec<u8>),
}

impl Request {
    /// Reads a query.
    pub(crate) fn read(bytes: &[u8], transport: Transport) -> Result<Self, Malformed> {
        let header = Header::read(&mut BinDecoder::new(bytes)).map_err(|_| Malformed::Nothing)?;
        // Nothing is ever said to an answer: two servers would go on for ever.
        if header.metadata.message_type != MessageType::Query {
            return Err(Malformed::Nothing);
        }
        let refused = || Malformed::Query(format_error(&header.metadata));
        let Message { metadata, mut queries, edns, .. } =
            Message::from_vec(bytes).map_err(|_| refused())?;
        let (Some(query), true) = (queries.pop(), queries.is_empty()) else {
            return Err(refused());
        };
        Ok(Self { metadata, query, edns, transport })
    }

    pub(crate) fn id(&self) -> u16 {
        self.metadata.id
    }

    pub(crate) fn transport(&self) -> Transport {
        self.transport
    }

    pub(crate) fn name(&self) -> &Name {
        self.query.name()
    }

    pub(crate) fn kind(&self) -> RecordType {
        self.query.query_type()
    }

    /// Whether it asks for what a name has on the Internet, as against anything else that a message may ask for.
    pub(crate) fn is_lookup(&self) -> bool {
        self.metadata.op_code == OpCode::Query && self.query.query_class() == DNSClass::IN
    }

    /// Whether it asks for a whole zone, which is answered in many messages.
    pub(crate) fn is_transfer(&self) -> bool {
        matches!(self.kind(), RecordType::AXFR | RecordType::IXFR)
    }

    /// The address whose names it asks for (RFC 1035 section 3.5, RFC 3596 section 2.5), if it asks for that.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        if !self.is_lookup() || self.kind() != RecordType::PTR {
            return None;
        }
        let net = self.name().parse_arpa_name().ok()?;
        (net.prefix_len() == net.max_prefix_len()).then(|| net.addr())
    }

    /// The longest answer that the client takes.
    pub(crate) fn limit(&self) -> usize {
        match (self.transport, &self.edns) {
            (Transport::Tcp, _) => u16::MAX.into(),
            (Transport::Udp, None) => MIN_UDP.into(),
            (Transport::Udp, Some(edns)) => edns.max_payload().max(MIN_UDP).into(),
        }
    }

    /// The same question about another name, with the options of this one, as a resolver is asked it.
    pub(crate) fn about(&self, name: &Name) -> Option<(Self, Vec<u8>)> {
        let mut request = self.clone();
        request.query.set_name(name.clone());
        let mut message = Message::query();
        message.metadata = request.metadata;
        message.add_query(request.query.clone());
        message.edns = request.edns.clone();
        Some((request, message.to_vec().ok()?))
    }

    /// Whether a message is the answer to this query, sent under another id.
    pub(crate) fn is_answered_by(&self, answer: &[u8], id: u16) -> bool {
        let mut decoder = BinDecoder::new(answer);
        let Ok(Header { metadata, counts }) = Header::read(&mut decoder) else { return false };
        let answers = metadata.id == id
            && metadata.message_type == MessageType::Response
            && metadata.op_code == self.metadata.op_code;
        // A server that does not understand a query may leave the question out (RFC 6891 section 7).
        let bare = matches!(metadata.response_code, ResponseCode::FormErr | ResponseCode::NotImp);
        answers
            && match counts.queries {
                0 => bare,
                1 => Query::read(&mut decoder).is_ok_and(|query| query == self.query),
                _ => false,
            }
    }

    /// An answer without records.
    pub(crate) fn code(&self, code: ResponseCode) -> Vec<u8> {
        self.written(Answer { code, ..Answer::default() })
    }

    /// Writes an answer, cut to what the client takes.
    pub(crate) fn written(&self, answer: Answer) -> Vec<u8> {
        let mut message = Message::response(self.id(), self.metadata.op_code);
        message.metadata = Metadata::response_from_request(&self.metadata);
        message.metadata.recursion_available = true;
        message.metadata.authoritative = answer.authoritative;
        message.metadata.truncation = answer.cut;
        message.metadata.response_code = answer.code;
        message.add_query(self.query.clone());
        message.answers = answer.records;
        message.authorities = answer.authorities;
        message.edns = self.edns.as_ref().map(|asked| {
            let mut edns = Edns::new();
            edns.set_max_payload(OWN_UDP).set_dnssec_ok(asked.flags().dnssec_ok);
            edns
        });
        cut(message, self.limit()).unwrap_or_else(|| format_error(&self.metadata))
    }
}

/// What is answered.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) code: ResponseCode,
    pub(crate) authoritative: bool,
    /// Whether there is more than `records` hold.
    pub(crate) cut: bool,
    pub(crate) records: Vec<Record>,
    pub(crate) authorities: Vec<Record>,
}

/// Each name is an alias of the next, the last one of `end`.
pub(crate) fn aliases(names: &[Name], end: &Name) -> Vec<Record> {
    let targets = names.iter().skip(1).chain([end]);
    let pairs = names.iter().zip(targets);
    pairs
        .map(|(name, target)| {
            Record::from_rdata(name.clone(), TTL, RData::CNAME(CNAME(target.clone())))
        })
        .collect()
}

/// A record with an address.
pub(crate) fn address(name: &Name, address: IpAddr) -> Record {
    let data = match address {
        IpAddr::V4(address) => RData::A(address.into()),
        IpAddr::V6(address) => RData::AAAA(address.into()),
    };
    Record::from_rdata(name.clone(), TTL, data)
}

/// A record with the name of an address.
pub(crate) fn pointer(asked: &Name, name: &Name) -> Record {
    Record::from_rdata(asked.clone(), TTL, RData::PTR(PTR(name.clone())))
}

/// The bytes of a message, without the records at its end that would make it too long.
fn cut(mut message: Message, limit: usize) -> Option<Vec<u8>> {
    loop {
        let bytes = message.to_vec().ok()?;
        let Some(excess) = bytes.len().checked_sub(limit).filter(|excess| *excess > 0) else {
            return Some(bytes);
        };
        message.metadata.truncation = true;
        message.authorities.clear();
        // An address takes 28 bytes at most behind a compressed name; what is too long still is cut again.
        let drop = excess.div_ceil(28).min(message.answers.len());
        if drop == 0 {
            return None;
        }
        message.answers.truncate(message.answers.len() - drop);
    }
}

fn format_error(metadata: &Metadata) -> Vec<u8> {
    let [high, low] = metadata.id.to_be_bytes();
    let recursion = u8::from(metadata.recursion_desired);
    let operation = u8::from(metadata.op_code) << 3;
    let mut bytes = vec![high, low, 0x80 | operation | recursion, 0x80 | 1];
    bytes.resize(HEADER, 0);
    bytes
}

/// Puts another id in a message.
pub(crate) fn set_id(message: &mut [u8], id: u16) {
    if let Some(place) = message.get_mut(..2) {
        place.copy_from_slice(&id.to_be_bytes());
    }
}

/// Whether a message says that it was cut short.
pub(crate) fn is_cut(message: &[u8]) -> bool {
    message.get(2).is_some_and(|flags| flags & 0x02 != 0)
}

/// What a server says of how it went.
pub(crate) fn code_of(message: &[u8]) -> ResponseCode {
    ResponseCode::from(0, message.get(3).map_or(0, |flags| flags & 0x0f))
}

/// Says of a name that is known not to exist for others that it exists, without what was asked for.
pub(crate) fn exists(message: &mut [u8]) {
    if code_of(message) == ResponseCode::NXDomain
        && let Some(flags) = message.get_mut(3)
    {
        *flags &= 0xf0;
    }
}

/// What holds for any bytes.
pub(crate) mod fuzzing {
    use super::*;

    /// Reads bytes as a query and as an answer; what is written is read again.
    ///
    /// # Panics
    /// Something does not hold.
    pub fn message(data: &[u8]) {
        for transport in [Transport::Udp, Transport::Tcp] {
            let request = match Request::read(data, transport) {
                Ok(request) => request,
                Err(Malformed::Nothing) => continue,
                Err(Malformed::Query(answer)) => {
                    assert_eq!((answer.len(), answer[..2] == data[..2]), (HEADER, true));
                    continue;
                }
            };
            let many = (0..400_u32).map(|n| address(request.name(), IpAddr::from(n.to_be_bytes())));
            let records = aliases(&[request.name().clone()], request.name());
            let records = records.into_iter().chain(many).collect();
            let written = request.written(Answer { records, ..Answer::default() });
            assert!(written.len() <= request.limit().max(MIN_UDP.into()));
            Message::from_vec(&written).expect("what is written is read");
            let bare = written.len() == HEADER;
            assert!(bare || request.is_answered_by(&written, request.id()));
            assert!(!request.is_answered_by(&written, !request.id()));
            let _ = request.address();
            if let Some((other, bytes)) = request.about(&Name::root()) {
                let read = Request::read(&bytes, transport).expect("a query");
                assert_eq!((read.name(), read.kind()), (other.name(), request.kind()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn query(name: &str, kind: RecordType, payload: Option<u16>) -> Vec<u8> {
        let mut message = Message::query();
        message.metadata.id = 7;
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        message.edns = payload.map(|payload| {
            let mut edns = Edns::new();
            edns.set_max_payload(payload).set_dnssec_ok(true);
            edns
        });
        message.to_vec().unwrap()
    }

    fn addresses(count: u8) -> Vec<Record> {
        let name = Name::from_ascii("many.example.").unwrap();
        (0..count).map(|n| address(&name, IpAddr::from([192, 0, 2, n]))).collect()
    }

    #[test]
    fn answers_are_cut_to_what_a_client_takes() {
        for (payload, transport, whole) in [
            (None, Transport::Udp, false),
            (Some(100), Transport::Udp, false),
            (Some(8192), Transport::Udp, true),
            (None, Transport::Tcp, true),
        ] {
            let bytes = query("many.example.", RecordType::A, payload);
            let request = Request::read(&bytes, transport).unwrap();
            let written = request.written(Answer { records: addresses(200), ..Answer::default() });
            let read = Message::from_vec(&written).unwrap();
            assert_eq!((read.metadata.id, is_cut(&written)), (7, !whole), "{payload:?}");
            assert_eq!(read.answers.len() == 200, whole);
            assert!(written.len() <= request.limit() && read.answers.len() > 20);
            assert_eq!(read.edns.map(|edns| edns.flags().dnssec_ok), payload.map(|_| true));
        }
    }

    #[test]
    fn an_answer_has_the_id_and_the_question_of_its_query() {
        let request =
            |name| Request::read(&query(name, RecordType::A, None), Transport::Udp).unwrap();
        let asked = request("a.Example.");
        let good = request("A.example.").code(ResponseCode::NoError);
        assert!(asked.is_answered_by(&good, 7));
        assert!(!asked.is_answered_by(&good, 8), "another id");
        assert!(!asked.is_answered_by(&request("b.example.").code(ResponseCode::NoError), 7));
        let kind = Request::read(&query("a.example.", RecordType::AAAA, None), Transport::Udp);
        assert!(!asked.is_answered_by(&kind.unwrap().code(ResponseCode::NoError), 7));
        assert!(!asked.is_answered_by(&query("a.example.", RecordType::A, None), 7), "a query");
        let mut bare = format_error(&asked.metadata);
        assert!(asked.is_answered_by(&bare, 7), "it was not understood");
        bare[3] = 0x80;
        assert!(!asked.is_answered_by(&bare, 7), "no question, and yet an answer");
    }

    #[test]
    fn what_is_no_query_gets_a_format_error_or_nothing() {
        let good = query("a.example.", RecordType::A, None);
        let read = |bytes: &[u8]| Request::read(bytes, Transport::Udp);
        assert!(matches!(read(&good[..11]), Err(Malformed::Nothing)));
        let mut response = good.clone();
        response[2] |= 0x80;
        assert!(matches!(read(&response), Err(Malformed::Nothing)));
        for (at, value) in [(5, 0), (5, 2), (11, 1)] {
            let mut bad = good.clone();
            bad[at] = value;
            let Err(Malformed::Query(answer)) = read(&bad) else { panic!("{bad:?}") };
            assert_eq!(answer, [0, 7, 0x81, 0x81, 0, 0, 0, 0, 0, 0, 0, 0]);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_a_fault(data in proptest::collection::vec(any::<u8>(), 0..600)) {
            fuzzing::message(&data);
        }

        /// Bytes that look like a query go further in.
        #[test]
        fn no_changed_query_is_a_fault(
            at in 0_usize..60, value in any::<u8>(), more in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            let mut data = query("www.host.example.", RecordType::A, Some(1232));
            data.extend(more);
            if let Some(byte) = data.get_mut(at) { *byte = value; }
            fuzzing::message(&data);
        }
    }
}
