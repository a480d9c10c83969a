//! The log: every record first, in the core's order, in a few files of which the last grows.
//!
//! A file is its number in the name, a header with the number of its first record, and one frame
//! a record, keyed by its [`Lsn`]. Nothing is confirmed from it before a sync; what follows the
//! last sync after a crash is kept as far as it is whole.

use std::collections::VecDeque;
use std::io;

use crate::broker::record::{Lsn, Record};

use super::catalog;
use super::disk::{DiskFile, is_shortage};
use super::error::{During, StoreError};
use super::files::{Files, Purpose};
use super::format::{put_record, record_bound};
use super::framing::{FrameReader, HEADER_LENGTH, Header, Keys, frame_length, put_frame};
use super::inventory::Inventory;
use super::segment::parse_name;

/// The first bytes of a log file.
pub(super) const MAGIC: [u8; 8] = *b"lvrt-log";
/// The directory of the log files.
pub(super) const LOG: &str = "log";
const SUFFIX: &str = ".log";
/// How many bytes are put together before they are written, unless one record is longer.
const BUFFER_BYTES: usize = 1024 * 1024;

/// The longest write is one part of a file in so many, unless one record is longer.
const WRITES_OF_A_FILE: u64 = 4;

/// The log files and the end of the last one.
pub(super) struct Log {
    /// From the oldest to the one that grows. invariant: never empty.
    pub(super) files: VecDeque<LogFile>,
    current: Box<dyn DiskFile>,
    /// The last record synced.
    pub(super) last: Lsn,
    /// The last record of the log files that were checkpointed.
    pub(super) moved: Lsn,
    buffer: Vec<u8>,
    reserve: Reserve,
}

/// Room on the disk that is kept for settlements, behind the end of the file that grows.
///
/// why: another program may take all that is left of a disk at once; what clients have acknowledged is to be known all
/// the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reserve {
    /// None is kept: there is plenty, or the disk cannot do it.
    No,
    /// It is to be kept as soon as there is a record, and room for it.
    Wanted,
    /// It is kept up to this length of the file.
    UpTo(u64),
}

/// How large the reserve is: such a part of a segment, one in so many.
const RESERVE_PARTS: u64 = 32;

/// One log file.
#[derive(Clone, Copy, Debug)]
pub(super) struct LogFile {
    pub(super) number: u64,
    /// The record before its first.
    pub(super) before: Lsn,
    /// Its last record; meaningless for the file that grows.
    pub(super) last: Lsn,
    /// Its length; meaningless for the file that grows.
    pub(super) length: u64,
}

impl LogFile {
    /// Reads its records.
    pub(super) fn reader(&self, files: &Files) -> FrameReader {
        FrameReader::new(
            files.disk.clone(),
            path(self.number),
            files.salt,
            Keys::Counted,
            Some(self.before.0),
            self.length,
        )
    }
}

/// A log file's path.
pub(super) fn path(number: u64) -> String {
    format!("{LOG}/{number:016x}{SUFFIX}")
}

/// The number of the log file with this name.
pub(super) fn parse_file_name(name: &str) -> Option<u64> {
    parse_name(name.strip_suffix(SUFFIX)?)
}

impl Log {
    /// Goes on with the files that recovery found, of which the last is good to append to.
    pub(super) fn resume(
        files: &Files,
        found: VecDeque<LogFile>,
        last: Lsn,
        moved: Lsn,
    ) -> Result<Log, StoreError> {
        let file = found.back().expect("invariant: there is a file to go on with");
        let current = reopen(files, file)?;
        Ok(Log { files: found, current, last, moved, buffer: Vec::new(), reserve: Reserve::No })
    }

    /// Starts a new file behind those that recovery found.
    pub(super) fn begin(
        files: &Files,
        mut found: VecDeque<LogFile>,
        number: u64,
        last: Lsn,
        moved: Lsn,
    ) -> Result<Log, StoreError> {
        if let Some(file) = found.back() {
            reopen(files, file)?;
        }
        let current = create(files, number, last)?;
        found.push_back(LogFile { number, before: last, last, length: 0 });
        Ok(Log { files: found, current, last, moved, buffer: Vec::new(), reserve: Reserve::No })
    }

    /// The number of the file that grows.
    pub(super) fn current_number(&self) -> u64 {
        self.files.back().expect("invariant: there is always a file that grows").number
    }

    /// How many of these records are one write: one at least, and no more than a part of a file.
    ///
    /// why: a file is followed by a new one between two writes, so that a longer one would make the
    /// file, and with it a start, longer than it is meant to be.
    pub(super) fn one_write(files: &Files, records: &[Record]) -> usize {
        let mut left = files.options.log_file_bytes / WRITES_OF_A_FILE;
        let fits = |record: &&Record| {
            let length = frame_length(record_bound(record));
            let fits = length <= left;
            left = left.saturating_sub(length);
            fits
        };
        records.iter().take_while(fits).count().max(1)
    }

    /// Writes and syncs records; returns the number of the file they are in.
    pub(super) fn write(&mut self, files: &Files, records: &[Record]) -> Result<u64, StoreError> {
        let bound: u64 = records.iter().map(|record| frame_length(record_bound(record))).sum();
        let settles = records.iter().all(|record| matches!(record, Record::Settled { .. }));
        let purpose = if settles { Purpose::Settle } else { Purpose::Log };
        let has_reserve = match self.reserve {
            Reserve::UpTo(end) => settles && self.current.length() + bound <= end,
            Reserve::No | Reserve::Wanted => false,
        };
        if !has_reserve {
            files.ask_room(bound + HEADER_LENGTH as u64, purpose)?;
        }
        if self.is_overlong(files) {
            match self.rotate(files) {
                // why: acknowledgements go on where there are no files to be had, as they make some.
                Err(error) if error.is_shortage() => {}
                rotated => rotated?,
            }
        }
        let number = self.current_number();
        let (path, length) = (path(number), self.current.length());
        if let Err(source) = self.append(files, records) {
            // why: nothing of it is synced, so that it can be taken back where there was no room for all of it.
            if is_shortage(&source) {
                self.current.cut(length).during("shorten", &path)?;
                // It goes with the rest.
                self.reserve = Reserve::Wanted;
            }
            return Err(source).unless_short("write", &path);
        }
        self.current.sync().during("sync", &path)?;
        self.last.0 += records.len() as u64;
        let half = files.options.segment_bytes / RESERVE_PARTS / 2;
        match self.reserve {
            Reserve::UpTo(end) if end >= self.current.length() + half => {}
            Reserve::UpTo(_) | Reserve::Wanted => self.keep_reserve(files),
            Reserve::No => {}
        }
        Ok(number)
    }

    /// Keeps room on the disk for settlements from now on, if there is so much.
    pub(super) fn keep_reserve(&mut self, files: &Files) {
        let bytes = files.options.segment_bytes / RESERVE_PARTS;
        let is_used = self.current.length() > HEADER_LENGTH as u64;
        if !is_used || files.room(Purpose::Log) < bytes {
            // What there is of it stays.
            if self.reserve == Reserve::No {
                self.reserve = Reserve::Wanted;
            }
            return;
        }
        self.reserve = match self.current.reserve(bytes) {
            Ok(()) => Reserve::UpTo(self.current.length() + bytes),
            Err(_) => Reserve::No,
        };
    }

    fn append(&mut self, files: &Files, records: &[Record]) -> io::Result<()> {
        let mut number = self.last.0;
        self.buffer.clear();
        for record in records {
            number += 1;
            put_frame(&mut self.buffer, files.salt, number, |out| put_record(out, record));
            if self.buffer.len() >= BUFFER_BYTES {
                self.current.append(&self.buffer)?;
                self.buffer.clear();
                // One huge record must not hold its memory for ever.
                self.buffer.shrink_to(2 * BUFFER_BYTES);
            }
        }
        if self.buffer.is_empty() { Ok(()) } else { self.current.append(&self.buffer) }
    }

    /// Whether the file that grows is to be followed by a new one.
    pub(super) fn is_overlong(&self, files: &Files) -> bool {
        let length = self.current.length();
        length > HEADER_LENGTH as u64 && length >= files.options.log_file_bytes
    }

    /// How long the file that grows is.
    pub(super) fn current_length(&self) -> u64 {
        self.current.length()
    }

    /// Begins a new file.
    pub(super) fn rotate(&mut self, files: &Files) -> Result<(), StoreError> {
        files.ask_room(HEADER_LENGTH as u64, Purpose::Commit)?;
        let number = self.current_number() + 1;
        let next = create(files, number, self.last)?;
        let full = std::mem::replace(&mut self.current, next);
        if self.reserve != Reserve::No {
            self.reserve = Reserve::Wanted;
        }
        let file = self.files.back_mut().expect("invariant: there is always a file that grows");
        file.last = self.last;
        file.length = full.length();
        self.files.push_back(LogFile { number, before: self.last, last: self.last, length: 0 });
        self.note_inventory(files);
        catalog::keep_draft(files);
        Ok(())
    }

    /// Notes which file is the newest, and how far the log has come.
    ///
    /// why: an error is no failure of a write. Without the note a loss would not be noticed, and that is all.
    fn note_inventory(&self, files: &Files) {
        let inventory = Inventory { log_file: self.current_number(), last: self.last };
        let _ = inventory.write(&*files.disk);
    }

    /// The oldest file if it no longer grows.
    pub(super) fn oldest_full(&self) -> Option<LogFile> {
        (self.files.len() > 1).then(|| self.files.front().copied()).flatten()
    }

    /// Forgets the oldest file, which no longer grows, and returns its path.
    pub(super) fn forget_oldest(&mut self) -> Option<String> {
        let file = self.oldest_full()?;
        self.files.pop_front();
        Some(path(file.number))
    }

    /// Ends its use.
    pub(super) fn close(&mut self, files: &Files) -> Result<(), StoreError> {
        self.current.sync().during("sync", &path(self.current_number()))?;
        self.note_inventory(files);
        Ok(())
    }
}

/// Opens a file that recovery found. What a killed process wrote to it may not be synced yet, and
/// from here on it counts.
fn reopen(files: &Files, file: &LogFile) -> Result<Box<dyn DiskFile>, StoreError> {
    let path = path(file.number);
    let mut reopened = files.open_append(&path)?;
    reopened.sync().during("sync", &path)?;
    files.sync_directory(LOG)?;
    Ok(reopened)
}

/// Creates a file whose first record will follow `before`. Durable when this returns, so that no
/// record is synced into a file that a crash takes away.
fn create(files: &Files, number: u64, before: Lsn) -> Result<Box<dyn DiskFile>, StoreError> {
    let path = path(number);
    let mut header = Vec::new();
    Header::new(MAGIC, [before.0 + 1, 0]).put(&mut header);
    let mut file = files.open_append(&path)?;
    if file.length() > 0 {
        return Err(StoreError::Damaged { path, what: "there already".to_owned() });
    }
    let begun = file.append(&header).unless_short("write", &path).and_then(|()| {
        file.sync().during("sync", &path)?;
        files.sync_directory(LOG)
    });
    match begun {
        Ok(()) => Ok(file),
        Err(error) => {
            if error.is_shortage() {
                files.remove(&path)?;
            }
            Err(error)
        }
    }
}
