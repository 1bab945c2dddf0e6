//! Feeding a target for a bounded time, and keeping the input that breaks it.

use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::Target;
use crate::mutate;

/// An input that takes longer than this is a failure. Generous, for debug builds on busy machines.
const TOO_SLOW: Duration = Duration::from_secs(10);

/// How long to feed a target.
#[derive(Clone, Copy, Debug)]
pub enum Budget {
    /// So many inputs: the same on every machine.
    Inputs(u64),
    /// As many inputs as fit.
    Time(Duration),
}

/// What came of it.
#[derive(Debug)]
pub struct Report {
    /// Inputs fed, mutated ones only.
    pub inputs: u64,
    /// What broke the target, and where the input is kept.
    pub failure: Option<String>,
}

/// Feeds all seeds, then mutated inputs until the budget is spent or the target breaks.
///
/// # Errors
/// The seeds cannot be read, or the failing input cannot be kept.
pub fn drive(target: &Target, seed: u64, budget: Budget) -> io::Result<Report> {
    let seeds = seeds(target)?;
    for input in &seeds {
        if let Some(failure) = feed(target, input)? {
            return Ok(Report { inputs: 0, failure: Some(failure) });
        }
    }
    let mut rng = Rng::with_seed(seed);
    let began = Instant::now();
    let mut inputs = 0;
    while match budget {
        Budget::Inputs(most) => inputs < most,
        Budget::Time(most) => began.elapsed() < most,
    } {
        let input = mutate::input(&mut rng, &seeds, target.words);
        inputs += 1;
        if let Some(failure) = feed(target, &input)? {
            return Ok(Report { inputs, failure: Some(failure) });
        }
    }
    Ok(Report { inputs, failure: None })
}

/// Feeds one input; a panic or a long time is told, and the input kept.
fn feed(target: &Target, input: &[u8]) -> io::Result<Option<String>> {
    let began = Instant::now();
    let panicked = catch_unwind(AssertUnwindSafe(|| target.run(input))).is_err();
    let what = if panicked {
        "panicked".to_owned()
    } else if began.elapsed() > TOO_SLOW {
        format!("took {:.1} s", began.elapsed().as_secs_f32())
    } else {
        return Ok(None);
    };
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/fuzz");
    fs::create_dir_all(&folder)?;
    let file = folder.join(format!("{}-failure", target.name));
    fs::write(&file, input)?;
    let file = file.canonicalize()?;
    Ok(Some(format!("{what}: cargo xtask fuzz {} --input {}", target.name, file.display())))
}

/// The inputs that mutation starts from: the files of the target's folder, in the order of their names.
///
/// # Errors
/// The folder is not there, or a file cannot be read.
pub fn seeds(target: &Target) -> io::Result<Vec<Vec<u8>>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target.name);
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder)?.map(|entry| entry.map(|e| e.path())).collect::<io::Result<_>>()?;
    files.sort();
    files.iter().map(fs::read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaks_on_ff(data: &[u8]) {
        assert!(!data.contains(&0xff), "found");
    }

    #[test]
    fn a_failure_is_found_and_its_input_kept() {
        let target = Target { name: "client_hello", body: breaks_on_ff, words: &[] };
        let report = drive(&target, 1, Budget::Inputs(100_000)).expect("seeds can be read");
        let failure = report.failure.expect("0xff is found");
        let file = failure.rsplit(' ').next().expect("a path");
        assert!(fs::read(file).expect("the input").contains(&0xff));
    }
}
