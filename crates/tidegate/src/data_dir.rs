//! The folder that holds state: its place, its permissions.

use std::env;
use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::failure::{Failure, Outcome};

/// Makes the folder and what is missing above it, open to its owner alone: it holds the API's token and
/// the keys of Secrets. A folder that is there keeps its permissions; the files in it look after themselves.
///
/// # Errors
/// No place for it is known, or it cannot be made.
pub fn prepare(given: Option<&Path>) -> Outcome<PathBuf> {
    let path = match given {
        Some(path) => path.to_owned(),
        None => usual().ok_or_else(|| {
            Failure::new("no place for state: neither XDG_DATA_HOME nor HOME is set")
                .or("--data-dir DIR")
        })?,
    };
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&path);
    // Absolute, as it is printed for shells elsewhere.
    made.and_then(|()| fs::canonicalize(&path)).map_err(|error| {
        Failure::new(format!("data folder {}: {error}", path.display()))
            .or("--data-dir DIR, a folder that this user may write")
    })
}

/// The folder that is used when none is named; `None` when no place for it is known.
pub fn usual() -> Option<PathBuf> {
    default(env::var_os("XDG_DATA_HOME"), env::var_os("HOME"))
}

fn default(xdg: Option<OsString>, home: Option<OsString>) -> Option<PathBuf> {
    let set = |value: &OsString| !value.is_empty();
    // The XDG base directory specification: a relative path is to be ignored.
    let xdg = xdg.map(PathBuf::from).filter(|path| path.is_absolute());
    let home = home.filter(set).map(|home| Path::new(&home).join(".local/share"));
    Some(xdg.or(home)?.join("tidegate"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_default_follows_xdg() {
        let home = || Some(OsString::from("/home/ada"));
        let of_home = Some(PathBuf::from("/home/ada/.local/share/tidegate"));
        assert_eq!(default(Some("/data".into()), home()), Some("/data/tidegate".into()));
        assert_eq!(default(Some("relative".into()), home()), of_home);
        assert_eq!(default(None, home()), of_home);
        assert_eq!(default(None, Some(OsString::new())), None);
    }

    #[test]
    fn the_folder_is_the_owner_s() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a/b");
        let made = prepare(Some(&path)).expect("the folder");
        let mode = fs::metadata(made).expect("its metadata").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);

        let file = folder.path().join("file");
        fs::write(&file, "").expect("a file");
        let failure = prepare(Some(&file)).expect_err("a file is no folder");
        assert!(failure.to_string().contains("--data-dir"), "{failure}");
    }
}
