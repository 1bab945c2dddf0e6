//! Connections that the proxy dials and that are redirected to it: they would go round until nothing is left to dial with.
//!
//! A connection has the same two addresses for who dials and for who finds out where it was dialled to. So what is dialled
//! is noted, by our port, and what comes in is looked up. A place may be taken by another connection of ours from the same port to
//! somewhere else, and what another worker has just dialled may come in before it is noted: then a circle is found a round later.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::io::Errno;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::TcpStream;

use crate::config::listener::canonical;
use crate::upstream::source::Source;

/// By our port: 0, or the passes in the lowest byte and what tells the two addresses above. One for the process, as its
/// addresses are. Made when something is noted first.
static DIALLED: OnceLock<Box<[AtomicU64]>> = OnceLock::new();

const PORTS: usize = 1 << 16;

/// How often the proxy has dialled `to` for a connection that comes from `from`.
pub(super) fn passes(from: SocketAddr, to: SocketAddr) -> u8 {
    let Some(place) = DIALLED.get().and_then(|places| places.get(usize::from(from.port()))) else {
        return 0;
    };
    let noted = place.load(Ordering::Relaxed);
    let passes = (noted & 0xff) as u8;
    if noted == note(from, to, passes) { passes } else { 0 }
}

fn note(from: SocketAddr, to: SocketAddr, passes: u8) -> u64 {
    let mut hasher = DefaultHasher::new();
    (canonical(from), canonical(to)).hash(&mut hasher);
    hasher.finish() << 8 | u64::from(passes)
}

/// A connection of ours is noted, until this is dropped.
#[derive(Debug)]
pub struct Passing {
    place: &'static AtomicU64,
    note: u64,
}

impl Passing {
    fn begin(from: SocketAddr, to: SocketAddr, passes: u8) -> Option<Self> {
        let places = DIALLED.get_or_init(|| (0..PORTS).map(|_| AtomicU64::new(0)).collect());
        let place = places.get(usize::from(from.port()))?;
        let note = note(from, to, passes);
        place.store(note, Ordering::Relaxed);
        Some(Self { place, note })
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        // Another connection may have taken the place.
        let _ = self.place.compare_exchange(self.note, 0, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// Dials `to`, from `source` where that is given, for a connection that has passed so often. Our address is noted before the other
/// end can answer, which [`TcpStream::connect`] does not let anybody do.
pub(in crate::upstream) async fn dial(
    to: SocketAddr,
    source: Option<Source>,
    passes: u8,
) -> io::Result<(TcpStream, Option<Passing>)> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    if let Some(source) = source {
        source.bind(&SockRef::from(&socket))?;
    }
    match socket.connect(&to.into()) {
        Err(error) if error.raw_os_error() != Some(Errno::INPROGRESS.raw_os_error()) => {
            return Err(error);
        }
        _ => {}
    }
    let from = socket.local_addr()?.as_socket();
    let passing = from.and_then(|from| Passing::begin(from, to, passes));
    let io = TcpStream::from_std(socket.into())?;
    io.writable().await?;
    match io.take_error()? {
        Some(error) => Err(error),
        None => Ok((io, passing)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_dialled_is_known_until_it_is_closed() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let to = listener.local_addr().expect("an address");
        let (io, passing) = dial(to, None, 2).await.expect("a connection");
        let from = io.local_addr().expect("an address");
        assert_eq!(listener.accept().await.expect("a connection").1, from);
        assert_eq!(passes(from, to), 2);
        let elsewhere = SocketAddr::new(to.ip(), to.port() ^ 1);
        assert_eq!(passes(from, elsewhere), 0);
        assert_eq!(passes(to, from), 0);
        drop(passing);
        assert_eq!(passes(from, to), 0);
    }

    #[tokio::test]
    async fn who_is_not_there_is_told() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let to = listener.local_addr().expect("an address");
        drop(listener);
        let error = dial(to, None, 1).await.expect_err("nobody is there");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
