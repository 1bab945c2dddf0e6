//! Reading one file whole: never waiting for a writer, never without an end.

use std::fs::{Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

use super::scan::Signature;

/// The largest file that is read: far above what anybody writes, far below what would exhaust memory.
const MOST: u64 = 64 << 20;

/// What a regular file holds, and how it looked after it was read: other than before, if it was written meanwhile.
///
/// # Errors
/// It cannot be read, is no regular file, or is too large.
pub(super) fn read(path: &Path) -> io::Result<(Vec<u8>, Signature)> {
    // What stands there now need not be what was found: opening a pipe would wait for somebody to write.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    regular(&file.metadata()?)?;
    let mut bytes = Vec::new();
    (&file).take(MOST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST {
        let reason = format!("larger than {} MiB: split it, or leave it out", MOST >> 20);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, reason));
    }
    Ok((bytes, Signature::of(&file.metadata()?)))
}

/// Refuses pipes, sockets and devices, which have no end or no content.
pub(super) fn regular(metadata: &Metadata) -> io::Result<()> {
    match metadata.is_file() {
        true => Ok(()),
        false => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a regular file (a pipe, a socket or a device): manifests are read from files",
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn what_is_too_large_is_not_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("large.yaml");
        // Sparse: it takes no room.
        File::create(&path).and_then(|file| file.set_len(MOST + 1)).expect("a file");
        let error = read(&path).expect_err("too large").to_string();
        assert!(error.contains("64 MiB"), "{error}");
        File::create(&path).expect("an empty file");
        assert_eq!(read(&path).expect("read").0, b"");
    }
}
