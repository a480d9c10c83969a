//! A segment: messages of one queue that outlived the log file they came with.
//!
//! It is two files: the messages, each a frame keyed by its position, and beside it the
//! settlements, which say of which positions nothing is left to deliver. Once that is all of them
//! both files are removed; nothing is ever taken out of the middle.
//!
//! invariant: the positions in a segment rise, and those of a queue's segments follow each other.

use crate::broker::record::{DurableQueueId, Position};
use crate::broker::time::Time;

use super::format::{Fields, put_expiry, put_u32, put_u64};
use super::framing::{HEADER_LENGTH, Header, checksum, frame_length, put_frame};
use super::range_set::RangeSet;

/// The first bytes of a segment.
pub(super) const MAGIC: [u8; 8] = *b"lvrt-seg";
/// The directory with one directory for each queue.
pub(super) const QUEUES: &str = "queues";
/// Length of an entry in a settlement file: a checksum, the first and the last position.
pub(super) const SETTLEMENT_LENGTH: usize = 20;
const MESSAGES_SUFFIX: &str = ".segment";
const SETTLED_SUFFIX: &str = ".settled";

/// What is kept in memory of a segment.
#[derive(Debug)]
pub(super) struct Segment {
    /// The position it begins with, which is its name.
    pub(super) first: Position,
    /// The last position in it.
    pub(super) last: Position,
    /// How long the file with the messages is.
    pub(super) length: u64,
    /// How long the settlement file is.
    pub(super) settled_length: u64,
    /// Which positions from the first to the last are not to be delivered: settled, or never in it.
    pub(super) gone: RangeSet,
    /// Which of them the settlement file does not have yet.
    pub(super) unwritten: Vec<(Position, Position)>,
    /// Takes no more messages: something is wrong with its file.
    pub(super) closed: bool,
}

impl Segment {
    /// A segment that begins with `first` and holds nothing but its header so far.
    pub(super) fn new(first: Position) -> Self {
        Segment {
            first,
            last: first,
            length: HEADER_LENGTH as u64,
            settled_length: 0,
            gone: RangeSet::default(),
            unwritten: Vec::new(),
            closed: false,
        }
    }

    /// How many of its messages are still to be delivered.
    pub(super) fn live(&self) -> u64 {
        self.last - self.first + 1 - self.gone.len()
    }

    /// Notes a message at the end of it.
    pub(super) fn appended(&mut self, position: Position, bytes: u64) {
        debug_assert!(position > self.last || position == self.first, "positions rise");
        if position > self.last + 1 {
            // What was settled before it could get here is as good as settled here.
            self.settle(self.last + 1, position - 1);
        }
        self.last = position;
        self.length += bytes;
    }

    /// Notes that positions are done with, as far as they are in it; returns how many were not.
    pub(super) fn settle(&mut self, first: Position, last: Position) -> u64 {
        let changed = self.gone.insert(first, last);
        if changed > 0 {
            match self.unwritten.last_mut() {
                Some((_, end)) if end.checked_add(1) == Some(first) => *end = last,
                _ => self.unwritten.push((first, last)),
            }
        }
        changed
    }

    /// The path of the file with the messages.
    pub(super) fn messages_path(&self, queue: DurableQueueId) -> String {
        format!("{}/{:016x}{MESSAGES_SUFFIX}", directory(queue), self.first)
    }

    /// The path of the file with the settlements.
    pub(super) fn settled_path(&self, queue: DurableQueueId) -> String {
        format!("{}/{:016x}{SETTLED_SUFFIX}", directory(queue), self.first)
    }
}

/// A queue's directory.
pub(super) fn directory(queue: DurableQueueId) -> String {
    format!("{QUEUES}/{:016x}", queue.0)
}

/// The number that a name of sixteen hexadecimal digits stands for.
pub(super) fn parse_name(digits: &str) -> Option<u64> {
    let is_number = digits.len() == 16 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_number.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
}

/// The first position of the segment that a file in a queue's directory belongs to.
pub(super) fn parse_file_name(name: &str) -> Option<Position> {
    let digits = name.strip_suffix(MESSAGES_SUFFIX).or(name.strip_suffix(SETTLED_SUFFIX))?;
    parse_name(digits)
}

/// Adds what a segment begins with.
pub(super) fn put_header(buffer: &mut Vec<u8>, queue: DurableQueueId, first: Position) {
    Header::new(MAGIC, [queue.0, first]).put(buffer);
}

/// Adds a message; `message` is as the log holds it.
pub(super) fn put_message(
    buffer: &mut Vec<u8>,
    salt: u32,
    position: Position,
    expires_at: Option<Time>,
    message: &[u8],
) {
    put_frame(buffer, salt, position, |out| {
        put_expiry(out, expires_at);
        out.extend_from_slice(message);
    });
}

/// The length of what [`put_message`] adds.
pub(super) fn message_length(expires_at: Option<Time>, message: &[u8]) -> u64 {
    let expiry = if expires_at.is_some() { 9 } else { 1 };
    frame_length(expiry + message.len())
}

/// Adds an entry of a settlement file.
pub(super) fn put_settlement(buffer: &mut Vec<u8>, salt: u32, first: Position, last: Position) {
    let start = buffer.len();
    put_u32(buffer, 0);
    put_u64(buffer, first);
    put_u64(buffer, last);
    let checksum = checksum(salt, &buffer[start + 4..]);
    buffer[start..start + 4].copy_from_slice(&checksum.to_le_bytes());
}

/// The range in an entry of a settlement file, `None` if it is damaged.
pub(super) fn parse_settlement(entry: &[u8], salt: u32) -> Option<(Position, Position)> {
    let mut fields = Fields(entry);
    let expected = fields.u32().ok()?;
    if checksum(salt, fields.0) != expected {
        return None;
    }
    let (first, last) = (fields.u64().ok()?, fields.u64().ok()?);
    fields.end().ok()?;
    (first <= last).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_and_settlements_add_up() {
        let mut segment = Segment::new(5);
        segment.appended(5, 100);
        segment.appended(6, 100);
        segment.appended(9, 100);
        assert_eq!((segment.live(), segment.length), (3, HEADER_LENGTH as u64 + 300));
        assert_eq!(segment.unwritten, [(7, 8)]);
        assert_eq!(segment.settle(5, 5), 1);
        assert_eq!(segment.settle(6, 6), 1);
        assert_eq!(segment.settle(5, 6), 0);
        assert_eq!(segment.unwritten, [(7, 8), (5, 6)]);
        segment.settle(9, 9);
        assert_eq!(segment.live(), 0);
    }

    #[test]
    fn settlements_come_back_unless_damaged() {
        let mut entry = Vec::new();
        put_settlement(&mut entry, 3, 7, 9);
        assert_eq!(entry.len(), SETTLEMENT_LENGTH);
        assert_eq!(parse_settlement(&entry, 3), Some((7, 9)));
        assert_eq!(parse_settlement(&entry, 4), None);
        entry[6] ^= 1;
        assert_eq!(parse_settlement(&entry, 3), None);
        assert_eq!(parse_settlement(&[0; SETTLEMENT_LENGTH], 3), None);
    }

    #[test]
    fn names_are_numbers() {
        let segment = Segment::new(255);
        let path = segment.settled_path(DurableQueueId(16));
        assert_eq!(path, "queues/0000000000000010/00000000000000ff.settled");
        assert_eq!(parse_file_name("00000000000000ff.segment"), Some(255));
        assert_eq!(parse_file_name("+0000000000000ff.segment"), None);
        assert_eq!(parse_file_name("notes.txt"), None);
    }
}
