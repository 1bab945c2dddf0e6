//! Telling requests from other bytes.

use super::super::opening::{LONGEST, Progress, Told, tell};

/// Tells what `data` begins with, and checks what must hold for any input:
///
/// - a decision is final: bytes that arrive later do not change it;
/// - it does not depend on the pieces that they arrive in;
/// - a decision is taken within the bound;
/// - what is told to be a request of HTTP/1 has a whole request line.
///
/// # Panics
/// When one of these does not hold.
pub fn opening(data: &[u8]) {
    let whole = tell(data);
    assert!(whole != Told::NeedMore || data.len() < LONGEST, "undecided beyond the bound");
    if let Told::Request(_) = whole {
        assert!(data.contains(&b'\n'), "a request without the end of its line");
    }
    let (mut decided, mut progress) = (None, Progress::default());
    for end in 0..=data.len().min(512) {
        let told = tell(&data[..end]);
        if decided.is_none() {
            assert_eq!(progress.tell(&data[..end]), told, "in pieces, after {end} bytes");
        }
        match decided {
            Some(decided) => assert_eq!(told, decided, "changed its mind after {end} bytes"),
            None if told != Told::NeedMore => decided = Some(told),
            None => {}
        }
    }
    assert!(decided.is_none_or(|decided| decided == whole), "changed its mind at the end");
}
