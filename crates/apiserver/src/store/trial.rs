//! A store's file opened for a look: what is written while it is repaired stays in memory, and the file as it is.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

/// Bytes that are copied together.
const BLOCK: u64 = 4_096;

/// A file under what was written over it.
#[derive(Debug)]
pub(super) struct Trial {
    file: File,
    over: Mutex<Over>,
}

#[derive(Debug)]
struct Over {
    length: u64,
    /// How much of the file still shows.
    shown: u64,
    /// Blocks that are no longer as in the file, by their number.
    blocks: BTreeMap<u64, Box<[u8]>>,
}

impl Trial {
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        let over = Over { length, shown: length, blocks: BTreeMap::new() };
        Ok(Self { file, over: Mutex::new(over) })
    }

    fn over(&self) -> MutexGuard<'_, Over> {
        self.over.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A block of the file; beyond its end there are zeros.
    fn block(&self, number: u64, shown: u64) -> io::Result<Box<[u8]>> {
        let start = number * BLOCK;
        let mut block = vec![0; BLOCK as usize].into_boxed_slice();
        let there = shown.saturating_sub(start).min(BLOCK) as usize;
        self.file.read_exact_at(&mut block[..there], start)?;
        Ok(block)
    }
}

/// The parts of a range, by block: its number, where in it the part begins, and the part of a buffer.
fn parts(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let inside = (at % BLOCK) as usize;
        let part = (length - done).min(BLOCK as usize - inside);
        let range = done..done + part;
        done += part;
        (part > 0).then_some((at / BLOCK, inside, range))
    })
}

impl StorageBackend for Trial {
    fn len(&self) -> io::Result<u64> {
        Ok(self.over().length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let over = self.over();
        if offset.checked_add(out.len() as u64).is_none_or(|end| end > over.length) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (number, inside, range) in parts(offset, out.len()) {
            let part = &mut out[range];
            match over.blocks.get(&number) {
                Some(block) => part.copy_from_slice(&block[inside..inside + part.len()]),
                None => {
                    let block = self.block(number, over.shown)?;
                    part.copy_from_slice(&block[inside..inside + part.len()]);
                }
            }
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut over = self.over();
        over.length = length;
        over.shown = over.shown.min(length);
        let _beyond = over.blocks.split_off(&length.div_ceil(BLOCK));
        if let Some(last) = over.blocks.get_mut(&(length / BLOCK)) {
            last[(length % BLOCK) as usize..].fill(0);
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut over = self.over();
        if offset.checked_add(data.len() as u64).is_none_or(|end| end > over.length) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let shown = over.shown;
        for (number, inside, range) in parts(offset, data.len()) {
            let part = &data[range];
            let block = match over.blocks.entry(number) {
                Entry::Occupied(block) => block.into_mut(),
                Entry::Vacant(place) => place.insert(self.block(number, shown)?),
            };
            block[inside..inside + part.len()].copy_from_slice(part);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_as_a_file_does_and_writes_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, other) = (folder.path().join("a"), folder.path().join("b"));
        let mut random = fastrand::Rng::with_seed(7);
        let content: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(20_000).collect();
        std::fs::write(&path, &content).expect("written");
        std::fs::write(&other, &content).expect("written");
        let trial = Trial::of(&path).expect("opened");
        let real = File::options().read(true).write(true).open(&other).expect("opened");
        for _ in 0..2_000 {
            let length = trial.len().expect("a length");
            assert_eq!(length, real.metadata().expect("there").len());
            let start = random.u64(..=length);
            let size = random.u64(..=(length - start).min(9_000)) as usize;
            match random.u8(..8) {
                0 => {
                    let length = random.u64(..40_000);
                    trial.set_len(length).expect("set");
                    real.set_len(length).expect("set");
                }
                1..4 => {
                    let data: Vec<u8> =
                        std::iter::repeat_with(|| random.u8(..)).take(size).collect();
                    trial.write(start, &data).expect("written");
                    real.write_all_at(&data, start).expect("written");
                }
                _ => {
                    let (mut ours, mut theirs) = (vec![0; size], vec![0; size]);
                    trial.read(start, &mut ours).expect("read");
                    real.read_exact_at(&mut theirs, start).expect("read");
                    assert!(ours == theirs, "{size} bytes at {start} of {length}");
                }
            }
        }
        assert!(trial.read(trial.len().expect("a length"), &mut [0]).is_err());
        assert!(std::fs::read(&path).expect("there") == content, "the file was written");
    }
}
