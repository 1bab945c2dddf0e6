//! Words for the person at the terminal. A terminal that is gone is no reason to stop serving.

use std::fmt::Display;
use std::io::{self, Write};

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
