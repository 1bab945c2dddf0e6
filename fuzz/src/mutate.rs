//! A mutator without feedback: a seed, a few random changes. The same numbers give the same inputs.

use fastrand::Rng;

/// Inputs do not grow beyond this.
pub const MAX_LEN: usize = 64 * 1024;
/// Bytes and numbers at which code goes wrong.
const TELLING: &[&[u8]] = &[
    b"\0",
    b"\xff",
    b"\x7f",
    b"\x80",
    b"\r",
    b"\n",
    b"\r\n",
    b" ",
    b"\t",
    b":",
    b"/",
    b"%",
    b"\"",
    b"\\",
    b"\xff\xff",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"4294967295",
    b"18446744073709551616",
    b"-1",
];

/// Makes an input out of seeds and words.
pub fn input(rng: &mut Rng, seeds: &[Vec<u8>], words: &[&[u8]]) -> Vec<u8> {
    let mut data = match seeds {
        [] => Vec::new(),
        seeds => seeds[rng.usize(..seeds.len())].clone(),
    };
    for _ in 0..rng.usize(1..=8) {
        change(rng, &mut data, seeds, words);
    }
    data.truncate(MAX_LEN);
    data
}

fn change(rng: &mut Rng, data: &mut Vec<u8>, seeds: &[Vec<u8>], words: &[&[u8]]) {
    match rng.u8(..8) {
        0 if !data.is_empty() => {
            let at = rng.usize(..data.len());
            data[at] ^= 1 << rng.u8(..8);
        }
        1 if !data.is_empty() => {
            let at = rng.usize(..data.len());
            data[at] = rng.u8(..);
        }
        2 => put_one(rng, data, TELLING),
        3 if !words.is_empty() => put_one(rng, data, words),
        4 => {
            let range = range(rng, data.len());
            data.drain(range);
        }
        5 => {
            let piece = data[range(rng, data.len())].to_vec();
            for _ in 0..rng.usize(1..=4) {
                put(rng, data, &piece);
            }
        }
        6 if !seeds.is_empty() => {
            let other = &seeds[rng.usize(..seeds.len())];
            let piece = &other[range(rng, other.len())];
            put(rng, data, piece);
        }
        _ => data.truncate(rng.usize(..=data.len())),
    }
}

fn put_one(rng: &mut Rng, data: &mut Vec<u8>, pieces: &[&[u8]]) {
    let piece = pieces[rng.usize(..pieces.len())];
    put(rng, data, piece);
}

/// Inserts a piece somewhere, or writes it over what is there.
fn put(rng: &mut Rng, data: &mut Vec<u8>, piece: &[u8]) {
    let at = rng.usize(..=data.len());
    let over = if rng.bool() { piece.len().min(data.len() - at) } else { 0 };
    if data.len() + piece.len() <= MAX_LEN {
        data.splice(at..at + over, piece.iter().copied());
    }
}

/// A range within `len`, short ones more often.
fn range(rng: &mut Rng, len: usize) -> std::ops::Range<usize> {
    let start = rng.usize(..=len);
    let most = if rng.bool() { 16 } else { len };
    start..start + rng.usize(..=most.min(len - start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_inputs() {
        let seeds = [b"GET / HTTP/1.1\r\n\r\n".to_vec(), b"x".repeat(MAX_LEN)];
        let inputs = |seed| {
            let mut rng = Rng::with_seed(seed);
            (0..500).map(|_| input(&mut rng, &seeds, &[b"word"])).collect::<Vec<_>>()
        };
        assert!(inputs(1) == inputs(1));
        assert!(inputs(1) != inputs(2));
        assert!(inputs(3).iter().all(|input| input.len() <= MAX_LEN));
    }

    #[test]
    fn no_seeds_and_no_words_are_no_hindrance() {
        let mut rng = Rng::with_seed(0);
        assert!((0..100).any(|_| !input(&mut rng, &[], &[]).is_empty()));
    }
}
