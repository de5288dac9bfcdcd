//! Read buffers that exist only while they hold something.

use std::cell::RefCell;

/// As many free buffers as this are kept per worker; more, and larger ones, go back to the allocator.
const KEEP: usize = 64;
const KEEP_SIZE: usize = 64 * 1024;

thread_local! {
    static FREE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Bytes read and not yet consumed.
#[derive(Default)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Buffer {
    pub(crate) fn data(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    pub(crate) fn len(&self) -> usize {
        self.end - self.start
    }

    /// Forgets the first `n` bytes.
    pub(crate) fn consume(&mut self, n: usize) {
        self.start += n;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Room to read into: a buffer of `capacity` bytes is taken, moved together or doubled as needed.
    pub(crate) fn room(&mut self, capacity: usize) -> &mut [u8] {
        if self.bytes.len() < capacity && self.is_empty() {
            self.park();
            self.bytes = take(capacity);
        } else if self.end == self.bytes.len() {
            if self.start > 0 {
                self.bytes.copy_within(self.start..self.end, 0);
                (self.start, self.end) = (0, self.end - self.start);
            } else {
                let doubled = (self.bytes.len() * 2).max(capacity);
                self.bytes.resize(doubled, 0);
            }
        }
        &mut self.bytes[self.end..]
    }

    /// `n` bytes were read into the room.
    pub(crate) fn filled(&mut self, n: usize) {
        self.end += n;
    }

    /// Gives the memory back if nothing is in it.
    pub(crate) fn park(&mut self) {
        if self.is_empty() && !self.bytes.is_empty() {
            let bytes = std::mem::take(&mut self.bytes);
            // Fails only while the thread ends, when nobody reads any more.
            let _ = FREE.try_with(|free| {
                let mut free = free.borrow_mut();
                if free.len() < KEEP && bytes.len() <= KEEP_SIZE {
                    free.push(bytes);
                }
            });
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        (self.start, self.end) = (0, 0);
        self.park();
    }
}

fn take(capacity: usize) -> Vec<u8> {
    let free = FREE.with_borrow_mut(|free| {
        let at = free.iter().rposition(|bytes| bytes.len() == capacity)?;
        Some(free.swap_remove(at))
    });
    free.unwrap_or_else(|| vec![0; capacity])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(buffer: &mut Buffer, bytes: &[u8], capacity: usize) {
        buffer.room(capacity)[..bytes.len()].copy_from_slice(bytes);
        buffer.filled(bytes.len());
    }

    #[test]
    fn a_buffer_grows_moves_together_and_is_parked() {
        let mut buffer = Buffer::default();
        read(&mut buffer, b"abcd", 4);
        read(&mut buffer, b"efgh", 4);
        assert_eq!(buffer.data(), b"abcdefgh");
        buffer.consume(6);
        read(&mut buffer, b"ij", 4);
        assert_eq!(buffer.data(), b"ghij");
        buffer.park();
        assert_eq!(buffer.data(), b"ghij", "what is unread is never parked");
        buffer.consume(4);
        buffer.park();
        assert!(buffer.bytes.is_empty());
        assert_eq!(FREE.with_borrow(Vec::len), 1);
        read(&mut buffer, b"k", 8);
        assert_eq!(FREE.with_borrow(Vec::len), 0, "the parked buffer of that size is used again");
    }
}
