//! Random numbers and request ids of one worker: quick, not secret.

use std::cell::RefCell;

/// A worker's generator.
#[derive(Debug)]
pub struct Random(RefCell<fastrand::Rng>);

impl Default for Random {
    fn default() -> Self {
        Self(RefCell::new(fastrand::Rng::new()))
    }
}

impl Random {
    /// A generator that gives the same numbers each time.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(RefCell::new(fastrand::Rng::with_seed(seed)))
    }

    /// A uniform number.
    pub fn next(&self) -> u64 {
        self.0.borrow_mut().u64(..)
    }

    /// A random UUID (RFC 9562 version 4) as text.
    pub fn uuid(&self) -> [u8; 36] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let bits = (u128::from(self.next()) << 64) | u128::from(self.next());
        let bits = bits & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
        let mut text = [b'-'; 36];
        let mut shift = 128;
        for (at, byte) in text.iter_mut().enumerate() {
            if !matches!(at, 8 | 13 | 18 | 23) {
                shift -= 4;
                *byte = DIGITS[(bits >> shift) as usize & 0xf];
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::Random;

    #[test]
    fn a_uuid_looks_like_one() {
        let random = Random::seeded(1);
        let text = String::from_utf8(random.uuid().to_vec()).unwrap();
        let parts: Vec<_> = text.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12]);
        assert_eq!(text.as_bytes()[14], b'4');
        assert!(matches!(text.as_bytes()[19], b'8' | b'9' | b'a' | b'b'));
        assert_ne!(random.uuid(), random.uuid());
    }
}
