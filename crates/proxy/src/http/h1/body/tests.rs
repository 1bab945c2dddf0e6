use super::*;

/// Feeds `bytes` in pieces of `step` and collects the content; `Ok` with what is left over.
fn run(framing: Framing, bytes: &[u8], step: usize) -> Result<(Vec<u8>, usize), BadMessage> {
    let mut decoder = BodyDecoder::from(framing);
    let (mut content, mut buffer, mut fed) = (Vec::new(), Vec::new(), 0);
    loop {
        match decoder.decode(&buffer)? {
            Decoded::Data { skip, len } => {
                let take = len.min(step);
                content.extend_from_slice(&buffer[skip..skip + take]);
                buffer.drain(..skip + take);
                decoder.consumed(take);
            }
            Decoded::End { skip, .. } => {
                return Ok((content, bytes.len() - fed + buffer.len() - skip));
            }
            Decoded::More { skip } => {
                buffer.drain(..skip);
                if fed == bytes.len() {
                    return Ok((content, usize::MAX));
                }
                let end = (fed + step).min(bytes.len());
                buffer.extend_from_slice(&bytes[fed..end]);
                fed = end;
            }
        }
    }
}

#[test]
fn content_is_the_same_however_it_arrives() {
    let chunked = b"5\r\nhello\r\n1;x=\"y\"\r\n \r\n00A\r\n0123456789\r\n0\r\nA: b\r\n\r\nNEXT";
    for step in 1..chunked.len() {
        let (content, left) = run(Framing::Chunked, chunked, step).unwrap();
        assert_eq!(content, b"hello 0123456789");
        assert_eq!(left, 4, "step {step}");
    }
    assert_eq!(run(Framing::Length(3), b"abcdef", 2).unwrap(), (b"abc".to_vec(), 3));
    assert_eq!(run(Framing::UntilClose, b"abc", 2).unwrap(), (b"abc".to_vec(), usize::MAX));
    assert_eq!(run(Framing::None, b"abc", 2).unwrap(), (Vec::new(), 3));
}

#[test]
fn broken_chunks_are_refused() {
    for bytes in [
        &b"x\r\n"[..],
        b"\r\n",
        b"5\nhello\r\n",
        b"5\r\nhelloX\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"-1\r\n",
        b"5 \r\nhello\r\n",
        b"5 x\r\nhello\r\n",
        b"1000000000000000\r\n",
        b"0\r\nA: b\n\r\n",
        b"5;\x01\r\nhello\r\n",
    ] {
        for step in [1, 64] {
            assert_eq!(run(Framing::Chunked, bytes, step), Err(BadMessage::Chunk), "{bytes:?}");
        }
    }
    let long = [b"5;".to_vec(), vec![b'a'; MAX_CHUNK_LINE + 1]].concat();
    assert_eq!(run(Framing::Chunked, &long, 100), Err(BadMessage::TooLarge));
}
