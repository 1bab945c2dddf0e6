//! ClientHellos of real programs, recorded off the wire, and a builder for those that no program
//! sends.

/// `openssl s_client -servername WWW.Google.com -alpn h2,http/1.1`, OpenSSL 3.0.
pub(crate) const OPENSSL_TLS13: &str = "\
    160301014d0100014903030bbed848f7233935eb005456c1b05c72f2b8a146b213118456669502ffae022d205fc14fac\
    017e8dd01e5076e8d07b3d9f1f7a0cfcadd6ccc20057b32f5b5a5ed0003e130213031301c02cc030009fcca9cca8ccaa\
    c02bc02f009ec024c028006bc023c0270067c00ac0140039c009c0130033009d009c003d003c0035002f00ff010000c2\
    00000013001100000e5757572e476f6f676c652e636f6d000b000403000102000a00160014001d0017001e0019001801\
    000101010201030104002300000010000e000c02683208687474702f312e310016000000170000000d002a0028040305\
    030603080708080809080a080b080408050806040105010601030303010302040205020602002b000908030403030302\
    0301002d00020101003300260024001d0020a29024aa053ddbfb1b5a0888815a92a815285903369ea47e5604b993fccc\
    2f4b";

/// `openssl s_client -tls1_2 -noservername`, OpenSSL 3.0.
pub(crate) const OPENSSL_TLS12: &str = "\
    16030100b7010000b303031b572e596c0025458ec81a7cb3acaa4b9fa7436f1e610df3539ff4c02ed08fe7000038c02c\
    c030009fcca9cca8ccaac02bc02f009ec024c028006bc023c0270067c00ac0140039c009c0130033009d009c003d003c\
    0035002f00ff01000052000b000403000102000a000c000a001d0017001e00190018002300000016000000170000000d\
    002a0028040305030603080708080809080a080b080408050806040105010601030303010302040205020602";

/// `curl https://httpbin.org/`, curl 7.88 on OpenSSL 3.0; padded to 512 bytes (RFC 7685).
pub(crate) const CURL: &str = "\
    1603010200010001fc03036e636cb329f418c1ffdfba5533d3b98e394ebefe003748ca3cb5f7585494670f2009ffe330\
    21ee3f21984528c1fcfa37a750d9db47b58a753865d0eaebe3f01aad003e130213031301c02cc030009fcca9cca8ccaa\
    c02bc02f009ec024c028006bc023c0270067c00ac0140039c009c0130033009d009c003d003c0035002f00ff01000175\
    00000010000e00000b6874747062696e2e6f7267000b000403000102000a00160014001d0017001e0019001801000101\
    0102010301040010000e000c02683208687474702f312e31001600000017000000310000000d002a0028040305030603\
    080708080809080a080b080408050806040105010601030303010302040205020602002b000908030403030302030100\
    2d00020101003300260024001d002033e348ba4f92485808c5134dc368427a830fa70bfa0939ac4f0f970db082d74300\
    1500b2000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000\
    000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000\
    000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000\
    00000000000000000000000000000000000000000000000000000000000000000000000000";

/// The bytes of a fixture.
pub(crate) fn bytes(hex: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).expect("a hex digit") as u8;
    hex.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

/// What rustls, as this project uses it, sends for `name`.
pub(crate) fn rustls(name: &'static str, alpn: &[&[u8]]) -> Vec<u8> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let mut config = rustls::ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .expect("the provider supports the default versions")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    let name = name.try_into().expect("a server name");
    let mut client = rustls::ClientConnection::new(config.into(), name).expect("a client");
    let mut wire = Vec::new();
    client.write_tls(&mut wire).expect("writing to a vector");
    wire
}

/// A hello put together field by field.
#[derive(Clone)]
pub(crate) struct Builder {
    pub(crate) version: [u8; 2],
    pub(crate) session: Vec<u8>,
    pub(crate) suites: Vec<u8>,
    pub(crate) compression: Vec<u8>,
    /// `None`: the hello ends before the extension list.
    pub(crate) extensions: Option<Vec<(u16, Vec<u8>)>>,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            version: [3, 3],
            session: vec![7; 32],
            suites: vec![0x13, 0x01],
            compression: vec![0],
            extensions: Some(Vec::new()),
        }
    }
}

impl Builder {
    /// A hello for `host`.
    pub(crate) fn host(host: &str) -> Self {
        Self::default().extension(0, server_name(host.as_bytes()))
    }

    pub(crate) fn extension(mut self, kind: u16, value: Vec<u8>) -> Self {
        self.extensions.get_or_insert_default().push((kind, value));
        self
    }

    /// The handshake message, without a record around it.
    pub(crate) fn message(&self) -> Vec<u8> {
        let mut body = self.version.to_vec();
        body.extend([0x5a; 32]);
        body.extend(list8(&self.session));
        body.extend(list16(&self.suites));
        body.extend(list8(&self.compression));
        if let Some(extensions) = &self.extensions {
            let mut list = Vec::new();
            for (kind, value) in extensions {
                list.extend(kind.to_be_bytes());
                list.extend(list16(value));
            }
            body.extend(list16(&list));
        }
        let mut message = vec![1];
        message.extend(&(body.len() as u32).to_be_bytes()[1..]);
        message.extend(body);
        message
    }

    /// The message in one record.
    pub(crate) fn wire(&self) -> Vec<u8> {
        records(&self.message(), usize::MAX)
    }
}

/// `message` in handshake records of at most `fragment` bytes.
pub(crate) fn records(message: &[u8], fragment: usize) -> Vec<u8> {
    let record = |part: &[u8]| [&[22, 3, 1], &*list16(part)].concat();
    message.chunks(fragment.min(message.len())).flat_map(record).collect()
}

/// The value of a `server_name` extension.
pub(crate) fn server_name(host: &[u8]) -> Vec<u8> {
    list16(&[&[0], &*list16(host)].concat())
}

/// `value` after its length in one byte.
pub(crate) fn list8(value: &[u8]) -> Vec<u8> {
    [&[value.len() as u8], value].concat()
}

/// `value` after its length in two bytes.
pub(crate) fn list16(value: &[u8]) -> Vec<u8> {
    [&(value.len() as u16).to_be_bytes(), value].concat()
}
