//! The store: keeps what must survive a restart, as [`Record`]s come, and gives it back.
//!
//! It knows queues, positions and messages and nothing of what they mean. It has no thread, reads
//! no clock and logs nothing: another calls it, and what it finds it returns as a value. All it
//! asks of a disk is in [`disk`].
//!
//! # Files
//!
//! ```text
//! <data directory>/
//! ├── leveret, lock              which format this is; held while a process has it open
//! ├── catalog, catalog.copy      definitions; which segments there are and how long
//! ├── log/<number>.log           every record, in order; the last file grows
//! └── queues/<queue id>/
//!     ├── <position>.segment     messages that outlived their log file, from this position on
//!     └── <position>.settled     which of those are done with
//! ```
//!
//! Numbers in names are sixteen hexadecimal digits; integers in files are little-endian. A file is
//! a header and frames behind each other:
//!
//! ```text
//!   header   0           8         12         20         28         32
//!            ┌───────────┬─────────┬──────────┬──────────┬──────────┐   checksum: CRC-32 of
//!            │   magic   │ version │  number  │  number  │ checksum │   what is before it
//!            └───────────┴─────────┴──────────┴──────────┴──────────┘
//!   catalog   lvrt-cat       1      salt       frames
//!   log       lvrt-log       1      first Lsn  0
//!   segment   lvrt-seg       1      queue id   first position
//!
//!   frame    0         4          8          16
//!            ┌─────────┬──────────┬──────────┬─────────────────┐   length: of key and payload
//!            │ length  │ checksum │   key    │     payload     │   checksum: CRC-32 of them,
//!            └─────────┴──────────┴──────────┴─────────────────┘   begun with the salt
//!   catalog                         1, 2 …     a definition, as its record, or a queue's state
//!   log                             Lsn        a record: its tag, its fields
//!   segment                         position   expiry, lengths, message
//!
//!   settled  0          4          12         20                   back to back, no header
//!            ┌──────────┬──────────┬──────────┐
//!            │ checksum │  first   │   last   │
//!            └──────────┴──────────┴──────────┘
//! ```
//!
//! # How it works
//!
//! [`Store::write`] appends to the log and syncs; that is all that a confirm waits for. When there
//! are too many log files a checkpoint ([`Store::checkpoint_step`]) moves what still lives in the
//! oldest to segments, replaces the catalog and removes the file. A segment in which nothing lives
//! is removed as a whole. Memory holds ranges of positions, never messages.
//!
//! # Invariants
//!
//! - What is synced is what the state in memory says: records change it after their sync.
//! - Replacing the catalog is the only moment at which a checkpoint takes effect. Below the lengths
//!   that it names, segments and settlements never change; beyond them nothing counts. So a message
//!   is in a segment or in the log, never in both, whenever the crash comes.
//! - Nothing is removed before a catalog that does without it, or the record that its queue was
//!   deleted, is durable.
//! - Positions rise in a queue as records of it follow each other in the log. Queue ids, and the
//!   positions that a record named, are never given twice.
//! - After a failed write or sync the store takes nothing more.

use std::sync::Arc;

use crate::broker::record::{Lsn, Record, Recovered};

pub mod disk;

mod catalog;
mod checkpoint;
mod error;
mod files;
mod format;
mod framing;
mod log;
mod range_set;
mod recovery;
mod report;
mod segment;
mod state;
mod subdirectory;
#[cfg(test)]
mod tests;

pub use disk::{Disk, DiskFile, Fault, FaultyDisk, FileDisk, MemoryDisk, OpenError, Operation};
pub use error::StoreError;
pub use report::{Damage, Report};
pub use subdirectory::{Subdirectory, read_whole, replace_whole};

use checkpoint::{Checkpoint, Progress, STEP_FILES};
use files::Files;
use log::Log;
use recovery::Opened;
use state::State;

/// Sizes. They bound how much a start has to read and how much room the dead take up.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// A log file that is so long is followed by a new one.
    pub log_file_bytes: u64,
    /// Of more log files than this the oldest is checkpointed.
    pub log_files: usize,
    /// A segment takes no message that would make it longer, unless it is the only one.
    pub segment_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Options { log_file_bytes: 64 * 1024 * 1024, log_files: 4, segment_bytes: 8 * 1024 * 1024 }
    }
}

/// The durable part of a virtual host, on a disk.
pub struct Store {
    files: Files,
    state: State,
    log: Log,
    checkpoint: Option<Checkpoint>,
    /// Files that no catalog names any more, to be removed.
    dead_files: Vec<String>,
    poisoned: bool,
}

impl Store {
    /// Opens the store on `disk`, a new one if there is none, and tells what is in it.
    pub fn open(
        disk: Arc<dyn Disk>,
        options: Options,
    ) -> Result<(Store, Recovered, Report), StoreError> {
        let Opened { files, state, log, recovered, report } = recovery::open(disk, options)?;
        let store =
            Store { files, state, log, checkpoint: None, dead_files: Vec::new(), poisoned: false };
        Ok((store, recovered, report))
    }

    /// Appends records in order, the first as the one after [`last_lsn`](Store::last_lsn), and
    /// syncs them. Returns the number of the last.
    ///
    /// Any error poisons the store: some of the records may be there after a restart, and every
    /// later call returns [`StoreError::Poisoned`].
    pub fn write(&mut self, records: &[Record]) -> Result<Lsn, StoreError> {
        self.unless_poisoned(|store| {
            let log_file = store.log.write(&store.files, records)?;
            for record in records {
                store.state.apply(record, log_file);
            }
            Ok(store.log.last)
        })
    }

    /// Does one bounded step of what is due; true when there is more to do. Meant to be called
    /// between writes.
    pub fn checkpoint_step(&mut self) -> Result<bool, StoreError> {
        self.unless_poisoned(|store| {
            store.step()?;
            Ok(store.checkpoint_due())
        })
    }

    /// Whether [`checkpoint_step`](Store::checkpoint_step) has something to do.
    pub fn checkpoint_due(&self) -> bool {
        self.checkpoint.is_some()
            || !self.dead_files.is_empty()
            || !self.state.doomed.is_empty()
            || self.log_is_long()
            || self.much_is_dead()
    }

    /// The number of the last record synced.
    pub fn last_lsn(&self) -> Lsn {
        self.log.last
    }

    /// Ends the use of the store. Everything written is synced already; an unfinished checkpoint is
    /// given up, which the next start undoes.
    pub fn close(mut self) -> Result<(), StoreError> {
        self.unless_poisoned(|store| store.log.sync())
    }

    fn unless_poisoned<T>(
        &mut self,
        act: impl FnOnce(&mut Store) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if self.poisoned {
            return Err(StoreError::Poisoned);
        }
        let result = act(self);
        self.poisoned = result.is_err();
        result
    }

    fn step(&mut self) -> Result<(), StoreError> {
        if let Some(checkpoint) = &mut self.checkpoint {
            match checkpoint.step(&self.files, &mut self.state, &mut self.log)? {
                Progress::More => {}
                Progress::Committed(dead) => {
                    self.dead_files.extend(dead);
                    self.checkpoint = None;
                }
            }
        } else if !self.dead_files.is_empty() {
            let kept = self.dead_files.len().saturating_sub(STEP_FILES);
            for path in self.dead_files.drain(kept..) {
                self.files.remove(&path)?;
            }
        } else if let Some(id) = self.state.doomed.pop_first() {
            self.files.remove_directory(&segment::directory(id))?;
            self.state.directories.remove(&id);
        } else if self.log_is_long() || self.much_is_dead() {
            let oldest = if self.log_is_long() { self.log.oldest_full() } else { None };
            self.checkpoint = Some(Checkpoint::new(&self.files, &self.state, oldest));
        }
        Ok(())
    }

    fn log_is_long(&self) -> bool {
        self.log.files.len() > self.files.options.log_files.max(1)
    }

    /// Whether segments in which nothing lives take up as much as a log file.
    fn much_is_dead(&self) -> bool {
        self.state.dead_bytes >= self.files.options.log_file_bytes
    }
}
