use super::*;

fn cx() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

/// Reads what is there, at most `step` bytes at a time; `None` at the end.
fn read(intake: &mut Intake, step: usize) -> Result<Vec<u8>, RecvError> {
    let mut all = Vec::new();
    while let Poll::Ready(shown) = intake.poll_recv(&mut cx()) {
        let Recv::Data(data) = shown? else { break };
        let n = data.len().min(step);
        all.extend_from_slice(&data[..n]);
        intake.consume(n);
    }
    Ok(all)
}

fn pair(most: usize) -> (Rc<Room>, Rc<Feed>, Intake) {
    let room = Rc::new(Room::default());
    let (feed, intake) = feed(&room, most).expect("room");
    (room, feed, intake)
}

#[test]
fn content_comes_as_it_was_given_and_ends_as_it_ended() {
    let (room, feed, mut intake) = pair(8);
    for given in ["abc", "", "defgh"] {
        assert!(feed.give(given.as_bytes()));
        assert_eq!(room.bytes.get(), given.len());
        assert_eq!(read(&mut intake, 2).expect("content"), given.as_bytes());
    }
    assert!(intake.poll_over(&mut cx()).is_pending());
    let mut trailers = Headers::new();
    trailers.append(b"a", b"b");
    feed.end(Some(&trailers));
    feed.finish(feed.fed.borrow_mut(), End::Broken);
    assert!(intake.poll_over(&mut cx()).is_ready());
    assert!(matches!(intake.poll_recv(&mut cx()), Poll::Ready(Ok(Recv::End))));
    assert_eq!(intake.take_trailers().map(|trailers| trailers.len()), Some(1));
    assert_eq!((room.bytes.get(), room.copies.get()), (0, 1));
    drop(intake);
    assert_eq!(room.copies.get(), 0);
}

#[test]
fn who_falls_behind_further_than_the_bound_is_given_up() {
    let (room, feed, mut intake) = pair(4);
    assert!(feed.give(b"abcd"));
    // Taken over, and not sent.
    assert!(intake.poll_recv(&mut cx()).is_ready());
    assert!(!feed.give(b"e"));
    assert_eq!((feed.fed.borrow().bytes.capacity(), room.bytes.get()), (0, 0));
    assert!(matches!(read(&mut intake, 4), Err(RecvError::Truncated)));
    assert!(intake.is_given_up() && intake.taking.capacity() == 0);
}

#[test]
fn all_copies_share_a_bound() {
    let room = Rc::new(Room::default());
    let mut pairs: Vec<_> =
        (0..MOST_COPIES).map(|_| feed(&room, usize::MAX).expect("room")).collect();
    assert!(feed(&room, 1).is_none());
    let (second, first) = (pairs.pop().expect("one"), pairs.pop().expect("another"));
    assert!(first.0.give(&vec![0; MOST_BYTES - 1]));
    assert!(!second.0.give(b"ab") && second.1.is_given_up());
    drop(first);
    assert_eq!(room.bytes.get(), 0);
    let (fed, _intake) = feed(&room, usize::MAX).expect("room again");
    assert!(fed.give(b"ab"));
}

#[test]
fn nothing_is_kept_for_a_copy_that_is_over() {
    let (room, feed, intake) = pair(4);
    assert!(feed.give(b"ab"));
    drop(intake);
    assert!(!feed.give(b"cd"));
    assert_eq!((feed.fed.borrow().bytes.capacity(), room.bytes.get()), (0, 0));
}

#[test]
fn a_request_that_breaks_off_breaks_its_copies_off() {
    let (_room, feed, mut intake) = pair(4);
    feed.give(b"ab");
    drop(Copies::new(vec![feed]));
    assert!(matches!(read(&mut intake, 4), Err(RecvError::Truncated)));
    assert!(!intake.is_given_up());
}

#[test]
fn what_is_shown_twice_is_given_once() {
    let (_room, feed, mut intake) = pair(100);
    let mut copies = Copies::new(vec![feed]);
    copies.see(b"abc");
    copies.see(b"abcde");
    copies.shown -= 4;
    copies.see(b"ef");
    assert_eq!(read(&mut intake, 100).expect("content"), b"abcdef");
}
