//! A ClientHello (RFC 8446, section 4.1.2) whose every part can be wrong.

/// The parts of a hello. Its lengths are true unless something is put over them.
#[derive(Clone, Debug)]
pub struct Hello {
    pub record_version: u16,
    pub version: u16,
    pub session_id: Vec<u8>,
    pub suites: Vec<u16>,
    pub compressions: Vec<u8>,
    pub extensions: Vec<(u16, Vec<u8>)>,
}

pub const SERVER_NAME: u16 = 0;
pub const GROUPS: u16 = 10;
pub const SIGNATURES: u16 = 13;
pub const ALPN: u16 = 16;
pub const EARLY_DATA: u16 = 42;
pub const VERSIONS: u16 = 43;
pub const KEY_SHARE: u16 = 51;

impl Hello {
    /// A good one: TLS 1.3 or 1.2, X25519, ECDSA with P-256. Its share of the key is any 32 bytes, so that a server
    /// answers and waits.
    pub fn good(name: &str) -> Self {
        let mut key_share = vec![0, 36, 0, 0x1d, 0, 32];
        key_share.extend([7; 32]);
        Self {
            record_version: 0x0301,
            version: 0x0303,
            session_id: vec![9; 32],
            suites: vec![0x1301, 0xc02b, 0xc023, 0x002f],
            compressions: vec![0],
            extensions: vec![
                (SERVER_NAME, server_name(name.as_bytes())),
                (23, Vec::new()),
                (0xff01, vec![0]),
                (GROUPS, vec![0, 2, 0, 0x1d]),
                (11, vec![1, 0]),
                (SIGNATURES, vec![0, 2, 4, 3]),
                (ALPN, b"\x00\x0c\x02h2\x08http/1.1"[..].into()),
                (VERSIONS, vec![4, 3, 4, 3, 3]),
                (KEY_SHARE, key_share),
                (45, vec![1, 1]),
            ],
        }
    }

    /// With other content of an extension.
    pub fn with(mut self, kind: u16, content: &[u8]) -> Self {
        match self.extensions.iter_mut().find(|(found, _)| *found == kind) {
            Some((_, there)) => *there = content.to_vec(),
            None => self.extensions.push((kind, content.to_vec())),
        }
        self
    }

    pub fn without(mut self, kind: u16) -> Self {
        self.extensions.retain(|(found, _)| *found != kind);
        self
    }

    /// What follows the type and the length of the handshake message.
    pub fn body(&self) -> Vec<u8> {
        let mut body = self.version.to_be_bytes().to_vec();
        body.extend([5; 32]);
        body.push(self.session_id.len() as u8);
        body.extend(&self.session_id);
        body.extend((self.suites.len() as u16 * 2).to_be_bytes());
        body.extend(self.suites.iter().flat_map(|suite| suite.to_be_bytes()));
        body.push(self.compressions.len() as u8);
        body.extend(&self.compressions);
        let mut extensions = Vec::new();
        for (kind, content) in &self.extensions {
            extensions.extend(kind.to_be_bytes());
            extensions.extend((content.len() as u16).to_be_bytes());
            extensions.extend(content);
        }
        body.extend((extensions.len() as u16).to_be_bytes());
        body.extend(extensions);
        body
    }

    /// The handshake message.
    pub fn message(&self) -> Vec<u8> {
        message(1, &self.body())
    }

    /// The message in one record, or in as many as it needs.
    pub fn bytes(&self) -> Vec<u8> {
        let records = self.message();
        let records = records.chunks(1 << 14);
        records.flat_map(|part| record(22, self.record_version, part)).collect()
    }
}

/// `server_name` with one host.
pub fn server_name(host: &[u8]) -> Vec<u8> {
    let len = host.len() as u16;
    let mut content = (len + 3).to_be_bytes().to_vec();
    content.push(0);
    content.extend(len.to_be_bytes());
    content.extend(host);
    content
}

/// A handshake message.
pub fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let len = (body.len() as u32).to_be_bytes();
    let mut message = vec![kind, len[1], len[2], len[3]];
    message.extend(body);
    message
}

/// A record.
pub fn record(kind: u8, version: u16, content: &[u8]) -> Vec<u8> {
    let mut record = vec![kind];
    record.extend(version.to_be_bytes());
    record.extend((content.len() as u16).to_be_bytes());
    record.extend(content);
    record
}
