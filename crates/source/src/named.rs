//! Files that objects name: certificates, keys and authorities.
//!
//! They are looked at a few times a second while any is named. That sees every way of replacing a file alike: written
//! in place, moved here, or behind symbolic links that a mounted Secret swaps.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// How often files are looked at.
const INTERVAL: Duration = Duration::from_millis(250);

/// Most bytes of a file.
const MAX_BYTES: u64 = 1024 * 1024;

/// What is in a file, or why it cannot be read.
pub type Content = Result<Arc<[u8]>, String>;

/// Files by the names that objects give them.
#[derive(Debug, Default)]
pub struct NamedFiles {
    files: BTreeMap<Arc<str>, State>,
}

#[derive(Debug, Default)]
struct State {
    /// How it looked when it was read last; `None` before that.
    read: Option<Look>,
    /// How it looked the last time, if it has changed since it was read.
    seen: Option<Look>,
    /// What was told of it.
    told: Option<Content>,
}

/// How a file looks from outside. Contents are the same while this is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Look {
    There { identity: (u64, u64, [i64; 2]), modified: Option<SystemTime>, bytes: u64 },
    Missing(String),
}

impl NamedFiles {
    /// Follows these files and no others.
    pub fn follow(&mut self, names: &BTreeSet<Arc<str>>) {
        self.files.retain(|name, _| names.contains(name));
        for name in names {
            self.files.entry(Arc::clone(name)).or_default();
        }
    }

    /// Looks at all files: what is new. A file that changes is told once it looks the same twice, so that it is whole.
    pub fn look(&mut self) -> Vec<(Arc<str>, Content)> {
        let mut news = Vec::new();
        for (name, state) in &mut self.files {
            let now = Look::of(name);
            if state.read.as_ref() == Some(&now) {
                state.seen = None;
                continue;
            }
            if state.read.is_some() && state.seen.as_ref() != Some(&now) {
                state.seen = Some(now);
                continue;
            }
            let content = read(name);
            (state.read, state.seen) = (Some(now), None);
            if state.told.as_ref() != Some(&content) {
                state.told = Some(content.clone());
                news.push((Arc::clone(name), content));
            }
        }
        news
    }

    /// Waits until files should be looked at again; forever where none is named.
    pub async fn due(&self) {
        if self.files.is_empty() {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

impl Look {
    fn of(name: &str) -> Self {
        match fs::metadata(Path::new(name)) {
            Ok(found) => Self::There {
                identity: identity(&found),
                modified: found.modified().ok(),
                bytes: found.len(),
            },
            Err(error) => Self::Missing(error.to_string()),
        }
    }
}

/// Which file it is, and when it was made to be so: who may read it, too.
#[cfg(unix)]
fn identity(found: &Metadata) -> (u64, u64, [i64; 2]) {
    use std::os::unix::fs::MetadataExt as _;
    (found.dev(), found.ino(), [found.ctime(), found.ctime_nsec()])
}

#[cfg(not(unix))]
fn identity(_: &Metadata) -> (u64, u64, [i64; 2]) {
    (0, 0, [0; 2])
}

fn read(name: &str) -> Content {
    let read = || -> io::Result<Vec<u8>> {
        let file = fs::File::open(name)?;
        // Whatever else has a name (a pipe, a device) could keep us waiting.
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is no file"));
        }
        let mut bytes = Vec::new();
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    match read() {
        Ok(bytes) if bytes.len() as u64 > MAX_BYTES => {
            Err(format!("it has more than {MAX_BYTES} bytes"))
        }
        Ok(bytes) => Ok(bytes.into()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(files: &mut NamedFiles) -> Vec<Result<String, String>> {
        let text = |bytes: Arc<[u8]>| String::from_utf8_lossy(&bytes).into_owned();
        files.look().into_iter().map(|(_, content)| content.map(text)).collect()
    }

    #[test]
    fn what_is_new_is_told_once_and_when_it_is_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tls.crt");
        let name: Arc<str> = path.display().to_string().into();
        let mut files = NamedFiles::default();
        files.follow(&BTreeSet::from([Arc::clone(&name)]));
        let missing = told(&mut files);
        assert!(matches!(&missing[..], [Err(why)] if why.contains("No such file")), "{missing:?}");
        assert!(told(&mut files).is_empty(), "told already");
        fs::write(&path, "one").expect("written");
        assert!(told(&mut files).is_empty(), "it may be in writing");
        assert_eq!(told(&mut files), [Ok("one".to_owned())]);
        // Behind a symbolic link that is swapped, as in a mounted Secret.
        let other = folder.path().join("other");
        fs::write(&other, "two").expect("written");
        fs::remove_file(&path).expect("removed");
        std::os::unix::fs::symlink(&other, &path).expect("a link");
        assert!(told(&mut files).is_empty());
        assert_eq!(told(&mut files), [Ok("two".to_owned())]);
        files.follow(&BTreeSet::new());
        fs::remove_file(&path).expect("removed");
        assert!(told(&mut files).is_empty(), "nobody names it any more");
    }

    #[test]
    fn devices_and_floods_are_refused() {
        let mut files = NamedFiles::default();
        files.follow(&BTreeSet::from(["/dev/zero".into()]));
        assert_eq!(told(&mut files), [Err("it is no file".to_owned())]);
    }
}
