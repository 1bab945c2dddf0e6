//! The user that a sidecar runs as. Rules of capture let the connections of one user and one group through; a sidecar of another
//! would have its own connections led back to it for ever.

use std::fs;
use std::io;
use std::path::Path;

use rustix::fs::{Access, access};
use rustix::process::{getegid, geteuid};
use rustix::thread::{Gid, Uid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use crate::cli::RunAs;
use crate::failure::{Failure, Outcome};

/// Where the system lists the threads of this process.
const THREADS: &str = "/proc/self/task";

/// Has this process run as a user and group, without a right that only root has. To be called before any thread is started.
///
/// # Errors
/// It is neither root nor of that user or group.
pub fn take(wanted: RunAs) -> Outcome<()> {
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    if (uid, gid) == (wanted.uid, wanted.gid) {
        return Ok(());
    }
    if uid != 0 {
        // One of the two is enough for the rules.
        return match uid == wanted.uid || gid == wanted.gid {
            true => Ok(()),
            false => Err(Failure::new(format!(
                "this is user {uid} of group {gid}, whose connections are captured: what the sidecar sends would come back to it"
            ))
            .or(format!("run it as root, and it goes on as {wanted}"))
            .or(format!("--run-as {uid}:{gid}, where capture apply had --proxy-uid {uid}"))),
        };
    }
    // A thread that was there before would keep all rights.
    let threads = fs::read_dir(THREADS).map_or(1, Iterator::count);
    if threads != 1 {
        return Err(Failure::new(format!(
            "{threads} threads run already, and all were to run as {wanted}: a defect of Tidegate"
        )));
    }
    become_of(wanted).map_err(|error| {
        Failure::new(format!("cannot go on as user {wanted}: {error}"))
            .or("--run-as with numbers that this user namespace has")
    })
}

/// Has the calling thread, and those that it starts, run as a user and group. There is no way back.
///
/// # Errors
/// The system refuses it.
pub fn become_of(RunAs { uid, gid }: RunAs) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    set_thread_groups(&[])?;
    // The user last: it takes along the right to change the group.
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)?;
    Ok(())
}

/// Whether this process may read a file or folder.
///
/// # Errors
/// It may not, for which there are remedies.
pub fn readable(path: &Path, user: RunAs) -> Outcome<()> {
    let wanted = if path.is_dir() { Access::READ_OK | Access::EXEC_OK } else { Access::READ_OK };
    access(path, wanted).map_err(|error| {
        Failure::new(format!("{}: user {user}, as which the sidecar runs: {error}", path.display()))
            .or("let that user read it, and the folders above it")
            .or(format!("--run-as 0:{}, to keep root's rights", user.gid))
    })
}
