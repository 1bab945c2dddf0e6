//! The library's state, and one step of it: what arrived is used, what is to be sent is sealed.

use std::fmt;
use std::rc::Rc;

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncryptError, UnbufferedStatus, WriteTraffic};
use rustls::{CommonState, Error};
use tokio::io::ReadBuf;

use crate::buffer::{self, Buffer, BufferPool};

/// Most plaintext in a record (RFC 8446, section 5.1).
pub(super) const FRAGMENT: usize = 16 * 1024;
/// Most that a record adds: header, explicit nonce, tag, content type.
const OVERHEAD: usize = 40;

/// One end of a connection.
pub(super) enum Session {
    Server(Box<UnbufferedServerConnection>),
    Client(Box<UnbufferedClientConnection>),
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Server(_) => "Server",
            Self::Client(_) => "Client",
        })
    }
}

/// What a step is to do once the session can.
#[derive(Debug, Clone, Copy)]
pub(super) enum Want<'a> {
    Nothing,
    Encrypt(&'a [u8]),
    Close,
}

/// What a step came to.
#[derive(Debug)]
pub(super) enum Turn {
    /// Something was done that is not the end of it.
    Again,
    /// Bytes were decrypted.
    Read,
    /// The peer said that it sends no more.
    PeerClosed,
    /// More must arrive.
    NeedMore,
    /// What was wanted is done, or nothing was wanted and the session can send.
    Done,
    Failed(Error),
}

/// Where decrypted bytes go.
pub(super) struct Plain<'a, 'b> {
    pub(super) room: Option<&'a mut ReadBuf<'b>>,
    pub(super) spill: &'a mut Vec<u8>,
}

impl Plain<'_, '_> {
    fn put(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        if let Some(room) = &mut self.room {
            let (now, later) = bytes.split_at(bytes.len().min(room.remaining()));
            room.put_slice(now);
            rest = later;
        }
        self.spill.extend_from_slice(rest);
    }
}

/// Where encrypted bytes go.
pub(super) struct Sealed<'a> {
    pub(super) out: &'a mut Option<Buffer>,
    pub(super) buffers: &'a Rc<BufferPool>,
}

impl Sealed<'_> {
    /// Lets `encode` write into a buffer that has room for `need` bytes. It may need more: then it is asked again
    /// with a large one.
    fn put(&mut self, need: usize, mut encode: impl FnMut(&mut [u8]) -> Option<usize>) -> Turn {
        let buffer = self.out.get_or_insert_with(|| match need <= buffer::SMALL {
            true => self.buffers.small(),
            false => self.buffers.large(),
        });
        make_room(buffer, need);
        let mut written = encode(buffer.room());
        if written.is_none() {
            buffer.enlarge();
            written = encode(buffer.room());
        }
        match written {
            Some(n) => {
                buffer.advance(n);
                Turn::Again
            }
            None => Turn::Failed(Error::General("no room for a record".to_owned())),
        }
    }

    /// Does what a session that can send is wanted to do.
    fn send<Data>(&mut self, mut traffic: WriteTraffic<'_, Data>, want: Want<'_>) -> Turn {
        match want {
            Want::Nothing => Turn::Done,
            Want::Encrypt(data) => {
                let mut full = None;
                let put = self.put(sealed(data.len()), |room| {
                    let encrypted = traffic.encrypt(data, room);
                    full = encrypted.as_ref().err().map(|error| match error {
                        EncryptError::EncryptExhausted => Error::EncryptError,
                        EncryptError::InsufficientSize(_) => {
                            Error::General("no room for a record".to_owned())
                        }
                    });
                    encrypted.ok()
                });
                match (full, put) {
                    (Some(error), _) => Turn::Failed(error),
                    (None, Turn::Again) => Turn::Done,
                    (None, failed) => failed,
                }
            }
            Want::Close => {
                self.put(OVERHEAD * 2, |room| traffic.queue_close_notify(room).ok());
                Turn::Done
            }
        }
    }
}

impl Session {
    /// What the handshake settled.
    pub(super) fn common(&self) -> &CommonState {
        match self {
            Self::Server(session) => session,
            Self::Client(session) => session,
        }
    }

    /// Takes one step. Tells how many bytes of what arrived are used.
    pub(super) fn step(
        &mut self,
        arrived: &mut [u8],
        want: Want<'_>,
        plain: &mut Plain<'_, '_>,
        sealed: &mut Sealed<'_>,
    ) -> (usize, Turn) {
        match self {
            Self::Server(session) => {
                take(session.process_tls_records(arrived), want, plain, sealed)
            }
            Self::Client(session) => {
                take(session.process_tls_records(arrived), want, plain, sealed)
            }
        }
    }
}

/// Bytes that `plain` bytes take when they are encrypted, at most.
pub(super) fn sealed(plain: usize) -> usize {
    plain + plain.div_ceil(FRAGMENT) * OVERHEAD
}

/// Whether a buffer has, or can be given, room for `need` more bytes.
pub(super) fn make_room(buffer: &mut Buffer, need: usize) -> bool {
    if buffer.room().len() < need {
        buffer.enlarge();
    }
    buffer.room().len() >= need
}

/// Handles what the library says. Tells how many bytes of what arrived are used.
fn take<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    want: Want<'_>,
    plain: &mut Plain<'_, '_>,
    sealed: &mut Sealed<'_>,
) -> (usize, Turn) {
    let UnbufferedStatus { mut discard, state } = status;
    let turn = match state {
        Err(error) => Turn::Failed(error),
        Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
            match traffic.next_record() {
                Some(Ok(record)) => {
                    plain.put(record.payload);
                    discard += record.discard;
                }
                Some(Err(error)) => break Turn::Failed(error),
                None => break Turn::Read,
            }
        },
        Ok(ConnectionState::EncodeTlsData(mut data)) => {
            sealed.put(buffer::SMALL / 4, |room| data.encode(room).ok())
        }
        Ok(ConnectionState::TransmitTlsData(data)) => {
            // What is encoded waits in `sealed`, and is written before anything is waited for.
            data.done();
            Turn::Again
        }
        Ok(ConnectionState::WriteTraffic(traffic)) => sealed.send(traffic, want),
        Ok(ConnectionState::PeerClosed) => Turn::PeerClosed,
        Ok(ConnectionState::BlockedHandshake) => Turn::NeedMore,
        // Nothing more comes; early data is never asked for.
        Ok(_) => Turn::Done,
    };
    (discard, turn)
}
