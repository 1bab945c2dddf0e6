//! The user that a sidecar runs as. Rules of capture let the connections of one user and one group through; a sidecar of another
//! would have its own connections led back to it for ever.

use std::fs;
use std::io;
use std::path::Path;

use rustix::fs::{Access, access};
use rustix::process::{getegid, geteuid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, Gid, Uid, capabilities, set_capabilities, set_keep_capabilities,
    set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};
use tidegate_capture::Mode;

use crate::cli::RunAs;
use crate::failure::{Failure, Outcome};

/// Where the system lists the threads of this process.
const THREADS: &str = "/proc/self/task";

/// As whom a proxy carries connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user and group.
    pub user: RunAs,
    /// Whether it takes connections, and sends, with addresses that are not this machine's: the one right of root's that is kept then.
    pub transparent: bool,
}

impl Identity {
    /// That of `user`, or of whom rules of capture let through where inbound connections are led to the proxy in this way.
    pub fn new(user: Option<RunAs>, mode: Mode) -> Self {
        let transparent = matches!(mode, Mode::Tproxy { .. });
        // As in Istio: what comes from a client's own address is let through by the group alone. By the user it would be taken for
        // what the proxy sends to the workload by another name, and led back.
        let uid = if transparent { 0 } else { PROXY.uid };
        Self { user: user.unwrap_or(RunAs { uid, ..PROXY }), transparent }
    }
}

/// Whom rules of capture let through, unless they are told otherwise.
pub const PROXY: RunAs = RunAs { uid: 1337, gid: 1337 };

/// Has this process run as a user and group, without a right that only root has, but for what [`Identity::transparent`] says. To be
/// called before any thread is started.
///
/// # Errors
/// It is neither root nor of that user or group, or lacks the right.
pub fn take(wanted: Identity) -> Outcome<()> {
    change(wanted)?;
    match wanted.transparent && !has_right() {
        false => Ok(()),
        true => Err(Failure::new(
            "clients' own addresses (--interception-mode TPROXY) take CAP_NET_ADMIN, which this process does not have",
        )
        .or("run it as root; in a container, capabilities: {add: [NET_ADMIN]}")
        .or("--interception-mode REDIRECT, and capture apply -m REDIRECT")),
    }
}

fn has_right() -> bool {
    capabilities(None).is_ok_and(|own| own.effective.contains(CapabilitySet::NET_ADMIN))
}

fn change(identity: Identity) -> Outcome<()> {
    let wanted = identity.user;
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
    become_of(identity).map_err(|error| {
        Failure::new(format!("cannot go on as user {wanted}: {error}"))
            .or("--run-as with numbers that this user namespace has")
    })
}

/// Has the calling thread, and those that it starts, run as a user and group. There is no way back.
///
/// # Errors
/// The system refuses it.
pub fn become_of(Identity { user: RunAs { uid, gid }, transparent }: Identity) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    set_thread_groups(&[])?;
    // Another user than root would lose all of them.
    set_keep_capabilities(transparent)?;
    // The user last: it takes along the right to change the group.
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)?;
    if transparent {
        let kept = CapabilitySet::NET_ADMIN;
        let sets = CapabilitySets {
            effective: kept,
            permitted: kept,
            inheritable: CapabilitySet::empty(),
        };
        set_capabilities(None, sets)?;
    }
    Ok(())
}

/// Whether this process may read a file or folder.
///
/// # Errors
/// It may not, for which there are remedies.
pub fn readable(path: &Path, identity: Identity) -> Outcome<()> {
    let Identity { user, transparent } = identity;
    let wanted = if path.is_dir() { Access::READ_OK | Access::EXEC_OK } else { Access::READ_OK };
    access(path, wanted).map_err(|error| {
        let place = path.display();
        let denied =
            Failure::new(format!("{place}: user {user}, as which the sidecar runs: {error}"))
                .or("let that user read it, and the folders above it");
        match transparent {
            true => denied,
            false => denied.or(format!("--run-as 0:{}, to keep root's rights", user.gid)),
        }
    })
}
