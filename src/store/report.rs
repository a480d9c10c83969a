//! What opening a store found, for the operator.

use std::fmt;

/// How far the opening of a store is. What there is to read becomes known as it goes, so the total
/// may rise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes read so far.
    pub done_bytes: u64,
    /// Bytes there are to read.
    pub total_bytes: u64,
}

/// What recovery read, cut off and found damaged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Log files read.
    pub log_files: u64,
    /// Records in them that were replayed.
    pub records: u64,
    /// Segments of queues in which messages live.
    pub segments: u64,
    /// Messages that live, counted once for each queue.
    pub messages: u64,
    /// Bytes of those messages; of those that stay on the disk, only of their bodies.
    pub message_bytes: u64,
    /// What was not whole, in the order it was found.
    pub cuts: Vec<Damage>,
}

/// A place where bytes are missing or not what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Which file or directory of the data directory.
    pub path: String,
    /// Where in it, in bytes.
    pub offset: u64,
    /// How many bytes.
    pub bytes: u64,
    /// What is the matter and what was done.
    pub what: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} bytes at offset {}: {}", self.path, self.bytes, self.offset, self.what)
    }
}

/// One line of what was read, and one for each place that was not whole.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "recovered {} messages ({} bytes) from {} segments and {} records in {} log files",
            self.messages, self.message_bytes, self.segments, self.records, self.log_files
        )?;
        self.cuts.iter().try_for_each(|damage| write!(f, "\n{damage}"))
    }
}
