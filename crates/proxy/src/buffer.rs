//! Read buffers, pooled per worker: an idle connection holds none.

use std::cell::RefCell;
use std::rc::Rc;

/// Size of an ordinary buffer: most messages fit with head and body.
pub const SMALL: usize = 16 * 1024;
/// Size of a buffer for long bodies: fewer system calls per byte.
pub const LARGE: usize = 128 * 1024;

/// Size of the largest buffer: it holds the largest head that may be allowed, 8 MiB, and what came with it.
pub const MOST: usize = 16 * 1024 * 1024;

/// Most buffers of each size that a worker keeps when they are not in use.
const KEEP_SMALL: usize = 256;
const KEEP_LARGE: usize = 32;

/// Free buffers of one worker.
#[derive(Debug, Default)]
pub struct BufferPool {
    small: RefCell<Vec<Box<[u8]>>>,
    large: RefCell<Vec<Box<[u8]>>>,
    output: RefCell<Vec<Vec<u8>>>,
}

impl BufferPool {
    /// An empty vector to write messages into.
    #[must_use]
    pub fn output(&self) -> Vec<u8> {
        self.output.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes a vector back; one that has grown large is freed.
    pub fn give_output(&self, mut output: Vec<u8>) {
        let mut free = self.output.borrow_mut();
        if output.capacity() > 0 && output.capacity() <= LARGE && free.len() < KEEP_SMALL {
            output.clear();
            free.push(output);
        }
    }

    /// A buffer of [`SMALL`] bytes.
    #[must_use]
    pub fn small(self: &Rc<Self>) -> Buffer {
        let bytes = self.small.borrow_mut().pop();
        Buffer::new(bytes.unwrap_or_else(|| vec![0; SMALL].into()), self)
    }

    /// A buffer of [`LARGE`] bytes.
    #[must_use]
    pub fn large(self: &Rc<Self>) -> Buffer {
        let bytes = self.large.borrow_mut().pop();
        Buffer::new(bytes.unwrap_or_else(|| vec![0; LARGE].into()), self)
    }

    fn give_back(&self, bytes: Box<[u8]>) {
        let (free, keep) = match bytes.len() {
            SMALL => (&self.small, KEEP_SMALL),
            LARGE => (&self.large, KEEP_LARGE),
            _ => return,
        };
        let mut free = free.borrow_mut();
        if free.len() < keep {
            free.push(bytes);
        }
    }
}

/// Bytes that were read and not yet used: filled at the end, used from the start.
#[derive(Debug)]
pub struct Buffer {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
    pool: Rc<BufferPool>,
}

impl Buffer {
    fn new(bytes: Box<[u8]>, pool: &Rc<BufferPool>) -> Self {
        Self { bytes, start: 0, end: 0, pool: Rc::clone(pool) }
    }

    /// The bytes that wait.
    #[must_use]
    pub fn filled(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// The bytes that wait, to be changed in place.
    pub fn filled_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.end]
    }

    /// Whether none wait.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// How many bytes it can hold in all.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.bytes.len()
    }

    /// Room behind the bytes that wait; they are moved to the front when that makes room.
    pub fn room(&mut self) -> &mut [u8] {
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        } else if self.end == self.bytes.len() && self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        &mut self.bytes[self.end..]
    }

    /// Says that `n` bytes of [`Buffer::room`] are filled now.
    pub fn advance(&mut self, n: usize) {
        self.end = (self.end + n).min(self.bytes.len());
    }

    /// Drops `n` bytes from the front.
    pub fn consume(&mut self, n: usize) {
        self.start = self.start.saturating_add(n).min(self.end);
    }

    /// Moves what waits into a buffer of [`LARGE`] bytes, then twice that and so on up to [`MOST`]; for heads that
    /// outgrow this one. Whoever reads them knows their limit.
    pub fn enlarge(&mut self) {
        let mut large = match self.bytes.len() {
            ..LARGE => self.pool.large(),
            MOST.. => return,
            now => Self::new(vec![0; (2 * now).min(MOST)].into(), &self.pool),
        };
        let waiting = self.filled().len();
        large.bytes[..waiting].copy_from_slice(self.filled());
        large.end = waiting;
        *self = large;
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.pool.give_back(std::mem::take(&mut self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_makes_room_and_goes_back() {
        let pool = Rc::new(BufferPool::default());
        let mut buffer = pool.small();
        assert_eq!(buffer.room().len(), SMALL);
        buffer.advance(SMALL);
        buffer.consume(SMALL - 2);
        assert_eq!(buffer.room().len(), SMALL - 2);
        assert_eq!(buffer.filled().len(), 2);
        buffer.enlarge();
        assert_eq!((buffer.filled().len(), buffer.capacity()), (2, LARGE));
        drop(buffer);
        assert_eq!((pool.small.borrow().len(), pool.large.borrow().len()), (1, 1));

        let mut buffer = pool.large();
        buffer.room()[0] = b'x';
        buffer.advance(LARGE);
        buffer.enlarge();
        assert_eq!((buffer.filled().len(), buffer.capacity()), (LARGE, 2 * LARGE));
        assert_eq!(buffer.filled()[0], b'x');
        while buffer.capacity() < MOST {
            buffer.enlarge();
        }
        buffer.enlarge();
        assert_eq!(buffer.capacity(), MOST);
        drop(buffer);
        assert_eq!(pool.large.borrow().len(), 1, "only ordinary sizes are kept");
    }
}
