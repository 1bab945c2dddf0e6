//! Words for the person at the terminal. A terminal that is gone is no reason to stop serving.

use std::fmt::Display;
use std::io::{self, Write};
use std::path::Path;

use crate::failure::{Failure, Outcome};

/// Says something on standard error; nobody may be there to read it.
pub fn say(text: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Prints a result on standard output. A reader who has seen enough (`| head`) is no error.
///
/// # Errors
/// The output cannot be written.
pub fn print(text: impl Display) -> Outcome<()> {
    let mut stdout = io::stdout().lock();
    match write!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(format!("standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// A path for a shell: as it is when it is harmless, else in single quotes.
#[must_use]
pub fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let harmless = |c: char| c.is_ascii_alphanumeric() || "/._-+@:".contains(c);
    if text.chars().all(harmless) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}
