//! The octets that were read and not used up yet: small for a connection that says little, large
//! for one that sends fast.

use std::ops::Range;

/// Enough for what an idle connection sends; thousands of them cost little.
const SMALLEST: usize = 4 * 1024;

/// A read that fills this is a batch large enough to make the cost of a lock and a wake vanish,
/// and small enough not to hold the lock for long.
const LARGEST: usize = 256 * 1024;

/// A buffer that is read into at its end and used up from its front.
pub(super) struct ReadBuffer {
    /// All of it initialized, so that reading into it needs no unsafe code.
    octets: Vec<u8>,
    /// The part that is filled.
    filled: Range<usize>,
}

impl ReadBuffer {
    pub(super) fn new() -> Self {
        ReadBuffer { octets: vec![0; SMALLEST], filled: 0..0 }
    }

    /// What has been read and not used up.
    pub(super) fn filled(&self) -> &[u8] {
        &self.octets[self.filled.clone()]
    }

    /// The first `octets` of what is filled are done with.
    pub(super) fn consume(&mut self, octets: usize) {
        self.filled.start += octets;
        debug_assert!(self.filled.start <= self.filled.end);
        if self.filled.is_empty() {
            self.filled = 0..0;
        }
    }

    /// Where to read to; never empty.
    ///
    /// A part of a frame that is left over moves to the front. There is always room behind it: the
    /// decoder refuses a frame above `frame_max` by its header, so what is left over is bounded.
    pub(super) fn space(&mut self) -> &mut [u8] {
        if self.filled.start > 0 {
            self.octets.copy_within(self.filled.clone(), 0);
            self.filled = 0..self.filled.len();
        }
        if self.filled.end == self.octets.len() {
            self.octets.resize(2 * self.octets.len(), 0);
        }
        &mut self.octets[self.filled.end..]
    }

    /// So many octets were read to [`space`](ReadBuffer::space). Grows when they left nothing free:
    /// there is more where they came from.
    pub(super) fn fill(&mut self, octets: usize) {
        self.filled.end += octets;
        if self.filled.end == self.octets.len() && self.octets.len() < LARGEST {
            self.octets.resize(2 * self.octets.len(), 0);
        }
    }

    /// Gives back the memory of faster times, when nothing is in it.
    pub(super) fn shrink(&mut self) {
        if self.filled.is_empty() && self.octets.len() > SMALLEST {
            *self = ReadBuffer::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a socket does that has more than fits.
    fn read(buffer: &mut ReadBuffer, octet: u8) -> usize {
        let space = buffer.space();
        let length = space.len();
        space.fill(octet);
        buffer.fill(length);
        length
    }

    #[test]
    fn it_grows_while_reads_fill_it_and_shrinks_when_told() {
        let mut buffer = ReadBuffer::new();
        for _ in 0..20 {
            let length = read(&mut buffer, 1);
            assert_eq!(buffer.filled().len(), length);
            buffer.consume(length);
        }
        assert_eq!(buffer.space().len(), LARGEST);
        buffer.shrink();
        assert_eq!(buffer.space().len(), SMALLEST);
    }

    #[test]
    fn what_is_left_over_comes_before_what_is_read_next() {
        let mut buffer = ReadBuffer::new();
        let length = read(&mut buffer, 1);
        buffer.consume(length - 3);
        buffer.shrink();
        buffer.space()[..2].fill(2);
        buffer.fill(2);
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
