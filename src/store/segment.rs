//! A segment: messages of one queue in a file of their own.
//!
//! A durable one holds messages that outlived the log file they came with, or were paged out of
//! memory; beside the messages, each a frame keyed by its position, it has a file of settlements,
//! which say of which positions between the first and the last nothing is left to deliver here. A
//! transient one holds messages that no record speaks of, and goes with the process.
//!
//! Once nothing lives in a segment its files are removed; nothing is ever taken out of the middle.
//!
//! invariant: the positions in a segment rise. The spans of a queue's segments may overlap, but
//! every position lives in one of them at most.

use crate::broker::paging::PageOwner;
use crate::broker::record::{DurableQueueId, Position};
use crate::broker::time::Time;

use super::files::Files;
use super::format::{Fields, put_u32, put_u64};
use super::framing::{FrameReader, HEADER_LENGTH, Header, Keys, checksum};
use crate::broker::range_set::RangeSet;

/// The directory with one directory for each durable queue.
pub(super) const QUEUES: &str = "queues";
/// The directory with the directories of transient segments.
pub(super) const PAGES: &str = "pages";
/// Length of an entry in a settlement file: a checksum, the first and the last position.
pub(super) const SETTLEMENT_LENGTH: usize = 20;
const MESSAGES_SUFFIX: &str = ".segment";
const SETTLED_SUFFIX: &str = ".settled";
const PAGE_SUFFIX: &str = ".page";
/// Of a segment in which less than one message in so many lives, the dead count as a waste.
const WORTH_KEEPING: u64 = 4;

/// How long the messages in a segment are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Until they are settled.
    Durable,
    /// Until the process ends.
    Transient,
}

/// What is kept in memory of a segment.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) kind: Kind,
    /// Its place among all segments that the queue ever had, which is its name.
    pub(super) number: u64,
    /// The position it begins with.
    pub(super) first: Position,
    /// All that was appended.
    pub(super) whole: Extent,
    /// As much of it as is durable.
    pub(super) synced: Extent,
    /// As much of it as the next catalog may name.
    pub(super) named: Extent,
    /// How long the settlement file is.
    pub(super) settled_length: u64,
    /// The positions that are in it and not settled.
    pub(super) live: RangeSet,
    /// Positions that do not live in it of which the settlement file does not say so yet.
    pub(super) unwritten: Vec<(Position, Position)>,
    /// Reading it failed. What lives in it stays for another start.
    pub(super) unreadable: bool,
    /// Its file is shorter than it was, so that nothing can be put behind what was in it.
    pub(super) is_short: bool,
    /// The highest position in it and all segments before it in its set.
    pub(super) reach: Position,
}

/// A segment up to some message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extent {
    /// The last position.
    pub(super) last: Position,
    /// How long the file is.
    pub(super) length: u64,
    /// How many messages were appended.
    pub(super) messages: u64,
    /// How many bytes their bodies have together.
    pub(super) body_bytes: u64,
}

/// What finds a segment in its set: neither number ever changes.
pub(super) type SegmentKey = (Position, u64);

impl Segment {
    /// A segment that will begin with `first` and holds nothing yet.
    pub(super) fn new(kind: Kind, number: u64, first: Position) -> Self {
        let whole = Extent { last: first, length: HEADER_LENGTH as u64, ..Extent::default() };
        Segment {
            kind,
            number,
            first,
            whole,
            synced: Extent::default(),
            named: Extent::default(),
            settled_length: 0,
            live: RangeSet::default(),
            unwritten: Vec::new(),
            unreadable: false,
            is_short: false,
            reach: first,
        }
    }

    /// A durable segment as a catalog names it; everything in it lives until the settlements say
    /// otherwise.
    pub(super) fn recovered(number: u64, first: Position, extent: Extent) -> Self {
        Segment {
            whole: extent,
            synced: extent,
            named: extent,
            ..Segment::new(Kind::Durable, number, first)
        }
    }

    pub(super) fn key(&self) -> SegmentKey {
        (self.first, self.number)
    }

    /// Whether nothing in it was settled or lost.
    pub(super) fn is_whole(&self) -> bool {
        self.live.len() == self.whole.messages
    }

    /// How many bytes are taken up for little or nothing.
    pub(super) fn waste(&self) -> u64 {
        let (live, messages) = (self.live.len(), self.whole.messages);
        if live == 0 {
            self.whole.length + self.settled_length
        } else if live * WORTH_KEEPING < messages && !self.unreadable {
            (self.whole.length / messages) * (messages - live)
        } else {
            0
        }
    }

    /// Notes a message at the end of it.
    pub(super) fn appended(&mut self, position: Position, bytes: u64, body_bytes: u64) {
        let whole = &mut self.whole;
        debug_assert!(position > whole.last || whole.messages == 0, "positions rise");
        let before = std::mem::replace(&mut whole.last, position);
        whole.length += bytes;
        whole.body_bytes += body_bytes;
        whole.messages += 1;
        if whole.messages > 1 && position > before + 1 {
            self.note_unwritten(before + 1, position - 1);
        }
        self.live.insert(position, position);
    }

    /// Notes that positions do not live in it any more, as far as they did; returns how many that
    /// were.
    pub(super) fn settle(&mut self, first: Position, last: Position) -> u64 {
        let (first, last) = (first.max(self.first), last.min(self.whole.last));
        let changed = self.live.remove(first, last);
        if changed > 0 {
            self.note_unwritten(first, last);
        }
        changed
    }

    fn note_unwritten(&mut self, first: Position, last: Position) {
        if self.kind == Kind::Transient {
            return;
        }
        match self.unwritten.last_mut() {
            Some((_, end)) if end.checked_add(1) == Some(first) => *end = last,
            _ => self.unwritten.push((first, last)),
        }
    }

    /// Whether there is something that the settlement file can be given.
    pub(super) fn has_writable(&self) -> bool {
        let end = self.synced.last;
        self.synced.messages > 0 && self.unwritten.iter().any(|&(first, _)| first <= end)
    }

    /// Takes out what the settlement file can be given: what is about durable messages.
    ///
    /// why: beyond them the file could still be cut by a crash, and other messages with positions
    /// in between be appended then, which must not count as settled.
    pub(super) fn take_writable(&mut self) -> Vec<(Position, Position)> {
        if self.synced.messages == 0 {
            return Vec::new();
        }
        let end = self.synced.last;
        let mut later = Vec::new();
        let mut writable = std::mem::take(&mut self.unwritten);
        writable.retain_mut(|(first, last)| {
            if *last > end {
                later.push(((*first).max(end + 1), *last));
                *last = end;
            }
            first <= last
        });
        self.unwritten = later;
        writable
    }

    /// Reads the frames in it, whatever lives of them.
    pub(super) fn frames(&self, files: &Files, owner: PageOwner) -> FrameReader {
        FrameReader::new(
            files.disk.clone(),
            self.messages_path(files, owner),
            files.salt,
            Keys::RisingTo(self.whole.last),
            self.first.checked_sub(1),
            self.whole.length,
        )
    }

    /// The path of the file with the messages.
    pub(super) fn messages_path(&self, files: &Files, owner: PageOwner) -> String {
        messages_path(files, owner, self.kind, self.number)
    }

    /// The path of the file with the settlements.
    pub(super) fn settled_path(&self, files: &Files, owner: PageOwner) -> String {
        let directory = directory(files, owner, self.kind);
        format!("{directory}/{:016x}{SETTLED_SUFFIX}", self.number)
    }
}

/// The path of the file with the messages of a segment.
pub(super) fn messages_path(files: &Files, owner: PageOwner, kind: Kind, number: u64) -> String {
    let suffix = match kind {
        Kind::Durable => MESSAGES_SUFFIX,
        Kind::Transient => PAGE_SUFFIX,
    };
    format!("{}/{number:016x}{suffix}", directory(files, owner, kind))
}

/// Where a queue has its segments of a kind.
pub(super) fn directory(files: &Files, owner: PageOwner, kind: Kind) -> String {
    match (kind, owner) {
        (Kind::Durable, PageOwner::Durable(id)) => format!("{QUEUES}/{:016x}", id.0),
        (_, PageOwner::Durable(id)) => format!("{PAGES}/{:016x}.queue.{:016x}", files.run, id.0),
        (_, PageOwner::Transient(number)) => {
            format!("{PAGES}/{:016x}.transient.{number:016x}", files.run)
        }
    }
}

/// Which start of the store a directory of transient segments comes from.
pub(super) fn parse_run(name: &str) -> Option<u64> {
    parse_name(name.split('.').next()?)
}

/// The number that a name of sixteen hexadecimal digits stands for.
pub(super) fn parse_name(digits: &str) -> Option<u64> {
    let is_number = digits.len() == 16 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_number.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
}

/// The number of the segment that a file in a durable queue's directory belongs to.
pub(super) fn parse_file_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(MESSAGES_SUFFIX).or(name.strip_suffix(SETTLED_SUFFIX))?;
    parse_name(digits)
}

/// What the file of a segment begins with.
pub(super) fn header(owner: PageOwner, kind: Kind, number: u64) -> Header {
    let magic = match kind {
        Kind::Durable => *b"lvrt-seg",
        Kind::Transient => *b"lvrt-pag",
    };
    let (PageOwner::Durable(DurableQueueId(queue)) | PageOwner::Transient(queue)) = owner;
    Header::new(magic, [queue, number])
}

/// How long a point in time is that may be none.
pub(super) fn expiry_length(expires_at: Option<Time>) -> usize {
    if expires_at.is_some() { 9 } else { 1 }
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
        let mut segment = Segment::new(Kind::Durable, 1, 5);
        for position in [5, 6, 9] {
            segment.appended(position, 100, 60);
        }
        let end =
            Extent { last: 9, length: HEADER_LENGTH as u64 + 300, messages: 3, body_bytes: 180 };
        assert_eq!((segment.live.len(), segment.whole), (3, end));
        assert_eq!(segment.unwritten, [(7, 8)]);
        assert_eq!(segment.settle(5, 5), 1);
        assert_eq!(segment.settle(0, 6), 1);
        assert_eq!(segment.settle(5, 8), 0);
        assert_eq!(segment.unwritten, [(7, 8), (5, 5), (5, 6)]);
        assert_eq!(segment.settle(9, 20), 1);
        assert_eq!((segment.live.len(), segment.waste()), (0, end.length));
    }

    #[test]
    fn what_is_settled_beyond_the_durable_end_waits() {
        let mut segment = Segment::new(Kind::Durable, 1, 1);
        for position in [1, 2, 5, 6] {
            segment.appended(position, 10, 1);
        }
        segment.synced = Extent { last: 5, ..segment.whole };
        segment.settle(5, 6);
        segment.settle(1, 1);
        assert_eq!(segment.take_writable(), [(3, 5), (1, 1)]);
        assert_eq!(segment.unwritten, [(6, 6)]);
        segment.synced = segment.whole;
        assert_eq!(segment.take_writable(), [(6, 6)]);
        assert_eq!(segment.take_writable(), []);
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
        assert_eq!(parse_file_name("00000000000000ff.segment"), Some(255));
        assert_eq!(parse_file_name("00000000000000ff.settled"), Some(255));
        assert_eq!(parse_file_name("+0000000000000ff.segment"), None);
        assert_eq!(parse_file_name("notes.txt"), None);
        assert_eq!(parse_run("0000000000000003.queue.0000000000000001"), Some(3));
    }
}
