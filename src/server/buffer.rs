//! The bytes that were read and not used up yet: small for a connection that says little, large
//! for one that sends fast.

use bytes::{Buf, BytesMut};

/// Enough for what an idle connection sends; thousands of them cost little.
const SMALLEST: usize = 4 * 1024;

/// A read that fills this is a batch large enough to make the cost of a lock and a wake vanish,
/// and small enough not to hold the lock for long.
const LARGEST: usize = 256 * 1024;

/// A buffer that is read into at its end and used up from its front.
pub(super) struct ReadBuffer {
    bytes: BytesMut,
    /// How much it holds before it grows.
    size: usize,
    /// How much it may come to hold.
    largest: usize,
    /// How much memory it has; what was used up in front is not seen in the capacity.
    allocated: usize,
    /// How much there was before the read that goes on.
    before: usize,
}

impl ReadBuffer {
    /// One that stays small, however fast its client sends: the client has not logged in yet.
    pub(super) fn new() -> Self {
        let bytes = BytesMut::with_capacity(SMALLEST);
        let (size, largest, allocated) = (SMALLEST, SMALLEST, SMALLEST);
        ReadBuffer { bytes, size, largest, allocated, before: 0 }
    }

    /// From now on it grows with its client.
    pub(super) fn may_grow(&mut self) {
        self.largest = LARGEST;
    }

    /// What has been read and not used up.
    pub(super) fn filled(&self) -> &[u8] {
        &self.bytes
    }

    /// The first `bytes` of what is filled are done with.
    pub(super) fn consume(&mut self, bytes: usize) {
        self.bytes.advance(bytes);
    }

    /// Where to read to, behind what is filled; it has room.
    ///
    /// A part of a frame that is left over may move to the front. How much that is, is bounded: the
    /// decoder refuses a frame above `frame_max` by its header.
    pub(super) fn space(&mut self) -> &mut BytesMut {
        self.before = self.bytes.len();
        let room = self.size.saturating_sub(self.before).max(SMALLEST);
        self.bytes.reserve(room);
        self.allocated = self.allocated.max(self.bytes.capacity());
        &mut self.bytes
    }

    /// Something was read to [`space`](ReadBuffer::space): how much. Grows when it left nothing
    /// free: there is more where it came from.
    pub(super) fn fill(&mut self) -> usize {
        if self.bytes.len() == self.bytes.capacity() && self.size < self.largest {
            self.size *= 2;
        }
        self.bytes.len() - self.before
    }

    /// Gives back the memory of faster times, but for what is in it: a part of a frame at most.
    pub(super) fn shrink(&mut self) {
        self.size = SMALLEST;
        if self.allocated <= 2 * SMALLEST.max(self.bytes.len()) {
            return;
        }
        self.allocated = SMALLEST.max(self.bytes.len());
        let mut bytes = BytesMut::with_capacity(self.allocated);
        bytes.extend_from_slice(&self.bytes);
        self.bytes = bytes;
    }
}

#[cfg(test)]
mod tests {
    use bytes::BufMut;

    use super::*;

    /// As a socket does that has more than fits.
    fn read(buffer: &mut ReadBuffer, byte: u8) -> usize {
        let space = buffer.space();
        let room = space.capacity() - space.len();
        space.put_bytes(byte, room);
        assert_eq!(buffer.fill(), room);
        room
    }

    #[test]
    fn it_grows_while_reads_fill_it_and_shrinks_when_told() {
        let mut buffer = ReadBuffer::new();
        buffer.may_grow();
        assert!(buffer.space().capacity() < 2 * SMALLEST);
        for _ in 0..20 {
            let length = read(&mut buffer, 1);
            assert_eq!(buffer.filled().len(), length);
            buffer.consume(length);
        }
        let capacity = buffer.space().capacity();
        assert!((LARGEST..2 * LARGEST).contains(&capacity), "{capacity}");
        buffer.shrink();
        assert!(buffer.space().capacity() < 2 * SMALLEST);
    }

    #[test]
    fn a_part_of_a_frame_does_not_keep_it_large() {
        let mut buffer = ReadBuffer::new();
        buffer.may_grow();
        for _ in 0..20 {
            read(&mut buffer, 1);
            let length = buffer.filled().len();
            buffer.consume(length - 3);
        }
        assert!(buffer.allocated >= LARGEST);
        buffer.shrink();
        assert_eq!(buffer.filled(), [1, 1, 1]);
        assert!(buffer.bytes.capacity() < 2 * SMALLEST);
    }

    #[test]
    fn it_stays_small_before_the_login() {
        let mut buffer = ReadBuffer::new();
        for _ in 0..100 {
            read(&mut buffer, 1);
            let length = buffer.filled().len();
            buffer.consume(length - 3);
        }
        assert!(buffer.allocated <= 3 * SMALLEST);
    }

    #[test]
    fn what_is_left_over_comes_before_what_is_read_next() {
        let mut buffer = ReadBuffer::new();
        let length = read(&mut buffer, 1);
        buffer.consume(length - 3);
        buffer.shrink();
        buffer.space().put_bytes(2, 2);
        assert_eq!(buffer.fill(), 2);
        assert_eq!(buffer.filled(), [1, 1, 1, 2, 2]);
    }

    #[test]
    fn there_is_room_while_nothing_is_used_up() {
        let mut buffer = ReadBuffer::new();
        while buffer.filled().len() <= LARGEST {
            assert!(read(&mut buffer, 1) > 0);
        }
        let length = buffer.filled().len();
        buffer.consume(length);
        assert!(buffer.filled().is_empty());
    }
}
