//! Binding a listener's Unix socket: one that all workers accept on, as the kernel lets no two share a path.

use std::fs::Permissions;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use socket2::{Domain, SockAddr, Socket, Type};

use super::bind::BACKLOG;
use crate::pipe::{Pipe, socket_address};

/// A Unix socket that listens. Its file goes with it.
#[derive(Debug)]
pub struct BoundPipe {
    pipe: Pipe,
    socket: Socket,
    file: Option<Inode>,
}

/// Which file it is, whatever its name: its device and its number there.
type Inode = (u64, u64);

impl BoundPipe {
    /// Binds a path, and listens. The file that a dead process has left there goes first.
    ///
    /// # Errors
    /// Somebody listens there, or what is there is no socket: the words say so. The path is too long, its folder is not there, or
    /// no file may be made in it.
    pub fn bind(pipe: &Pipe) -> io::Result<Self> {
        let address = socket_address(&pipe.path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None)?;
        if pipe.abstract_name().is_none() {
            make_room(Path::new(&*pipe.path))?;
        }
        socket.bind(&address)?;
        let file = match pipe.abstract_name() {
            Some(_) => None,
            None => Some(inode(Path::new(&*pipe.path))?),
        };
        let mut bound = Self { pipe: Pipe { mode: 0, ..pipe.clone() }, socket, file };
        // Before anybody can connect.
        bound.set_mode(pipe.mode)?;
        bound.socket.listen(BACKLOG.into())?;
        Ok(bound)
    }

    /// Where it is.
    #[must_use]
    pub fn pipe(&self) -> &Pipe {
        &self.pipe
    }

    /// Lets those connect from now on that a mode says.
    ///
    /// # Errors
    /// The file is not there any more, or another user's.
    pub fn set_mode(&mut self, mode: u32) -> io::Result<()> {
        if mode != self.pipe.mode && mode != 0 && self.file.is_some() {
            std::fs::set_permissions(&*self.pipe.path, Permissions::from_mode(mode))?;
        }
        self.pipe.mode = mode;
        Ok(())
    }

    /// The same socket once more, for a worker to accept on.
    ///
    /// # Errors
    /// The process has no descriptor left.
    pub fn share(&self) -> io::Result<OwnedFd> {
        self.socket.try_clone().map(Into::into)
    }
}

impl Drop for BoundPipe {
    fn drop(&mut self) {
        let path = Path::new(&*self.pipe.path);
        // Not what somebody else has put there meanwhile.
        if let Some(own) = self.file
            && inode(path).is_ok_and(|there| there == own)
            && let Err(error) = std::fs::remove_file(path)
        {
            tracing::warn!(%error, path = &*self.pipe.path, "the file of a socket stays that nobody listens on any more");
        }
    }
}

fn inode(path: &Path) -> io::Result<Inode> {
    let file = path.symlink_metadata()?;
    Ok((file.dev(), file.ino()))
}

/// Removes the file of a socket that nobody listens on, which would be in the way for ever.
fn make_room(path: &Path) -> io::Result<()> {
    let file = match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        file => file?,
    };
    if !file.file_type().is_socket() {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "what is there is no socket, and is left alone",
        ));
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None)?;
    match probe.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)
        }
        // A full queue is somebody's, too: it is not waited for.
        Ok(()) => Err(io::ErrorKind::AddrInUse.into()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(io::ErrorKind::AddrInUse.into())
        }
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let why = "another user's socket is there, and whether it is in use cannot be told; remove it if nobody uses it";
            Err(io::Error::new(io::ErrorKind::AlreadyExists, why))
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    fn pipe(path: &Path, mode: u32) -> Pipe {
        Pipe { path: path.to_str().expect("a path in UTF-8").into(), mode }
    }

    fn mode(path: &Path) -> u32 {
        path.metadata().expect("a file").mode() & 0o777
    }

    #[test]
    fn the_file_has_its_mode_and_goes_with_the_socket() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.sock");
        let mut bound = BoundPipe::bind(&pipe(&path, 0o600)).expect("nobody is there");
        assert_eq!(mode(&path), 0o600);
        bound.set_mode(0o666).expect("it is ours");
        assert_eq!(mode(&path), 0o666);
        UnixStream::connect(&path).expect("it listens");
        drop(bound);
        assert!(!path.exists());
    }

    #[test]
    fn what_a_dead_process_left_goes_and_a_living_one_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.sock");
        let other = UnixListener::bind(&path).expect("a socket");
        let refused = BoundPipe::bind(&pipe(&path, 0)).expect_err("it is taken");
        assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
        UnixStream::connect(&path).expect("it still listens");
        drop(other);
        assert!(path.exists(), "as a dead process leaves it");
        let bound = BoundPipe::bind(&pipe(&path, 0)).expect("nobody listens there");
        UnixStream::connect(&path).expect("it listens");
        // One that has been put there meanwhile is somebody else's.
        std::fs::remove_file(&path).expect("a file");
        let other = UnixListener::bind(&path).expect("a socket");
        drop(bound);
        UnixStream::connect(&path).expect("it is there still");
        drop(other);
    }

    #[test]
    fn a_file_is_not_taken_for_a_socket() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notes");
        std::fs::write(&path, "dear diary").expect("a file");
        let refused = BoundPipe::bind(&pipe(&path, 0)).expect_err("it is a file");
        assert!(refused.to_string().contains("no socket"), "{refused}");
        assert_eq!(std::fs::read_to_string(&path).expect("it is there"), "dear diary");
    }

    #[test]
    fn a_name_in_the_abstract_namespace_has_no_file() {
        let name = format!("@tidegate-{}", std::process::id());
        let pipe = Pipe { path: name.as_str().into(), mode: 0 };
        let bound = BoundPipe::bind(&pipe).expect("nobody has the name");
        let taken = BoundPipe::bind(&pipe).expect_err("it is ours");
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
        assert!(!Path::new(&name).exists());
        drop(bound);
        BoundPipe::bind(&pipe).expect("it is free again");
    }
}
