//! The store: keeps what must survive a restart, as [`Record`]s come, and gives it back; and keeps
//! the messages that the core has no room for, until it wants them back.
//!
//! It knows queues, positions and messages and nothing of what they mean. It has no thread, reads
//! no clock and logs nothing: the log thread calls it, and what it finds it returns as a value. All it
//! asks of a disk is in [`disk`].
//!
//! # Files
//!
//! ```text
//! <data directory>/
//! ├── leveret, lock              which format this is; held while a process has it open
//! ├── catalog, catalog.copy      definitions; which durable segments there are and how long
//! ├── inventory                  which log file is the newest, and how far the log went at least
//! ├── log/<number>.log           every record, in order; the last file grows
//! ├── queues/<queue id>/
//! │   ├── <number>.segment       messages that outlived their log file, or were paged out
//! │   └── <number>.settled       which positions in its span do not live in it
//! └── pages/<start>.<queue>/
//!     └── <number>.page          messages that no record speaks of: gone with the process
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
//!   catalog   lvrt-cat       2      salt       frames
//!   log       lvrt-log       2      first Lsn  0
//!   segment   lvrt-seg       2      queue id   number of the segment
//!   page      lvrt-pag       2      queue      number of the segment
//!   inventory lvrt-inv       2      log file   last record
//!
//!   frame    0         4          8          16
//!            ┌─────────┬──────────┬──────────┬─────────────────┐   length: of key and payload
//!            │ length  │ checksum │   key    │     payload     │   checksum: CRC-32 of them,
//!            └─────────┴──────────┴──────────┴─────────────────┘   begun with the salt
//!   catalog                         1, 2 …     a definition, as its record, or a queue's state
//!   log                             Lsn        a record: its tag, its fields
//!   segment, page                   position   expiry, lengths, message
//!
//!   settled  0          4          12         20                   back to back, no header
//!            ┌──────────┬──────────┬──────────┐
//!            │ checksum │  first   │   last   │
//!            └──────────┴──────────┴──────────┘
//! ```
//!
//! # How it works
//!
//! ```text
//!   write ───► log ─── checkpoint: what lives in the oldest file ──┐
//!               │                                                  ▼
//!   page_out ───┴─ what a record speaks of ────────────────► durable segments ──┐
//!       └───────── what none does ──► transient segments ───────────────────────┴──► page_in
//! ```
//!
//! [`Store::write`] appends to the log and syncs; that is all that a confirm waits for. When there
//! are too many log files a checkpoint ([`Store::checkpoint_step`]) moves what still lives in the
//! oldest to segments, replaces the catalog and removes the file. [`Store::page_out`] moves some of
//! it early, without a sync: the log has it too until a checkpoint. A segment in which nothing lives
//! is removed as a whole; when much is taken up by segments in which little lives, a checkpoint
//! gives that another place. Memory holds sets of positions and never messages: a bit or less for
//! each position.
//!
//! The segments of a queue may overlap in their spans. What lives is read from them in one merge.
//!
//! # Invariants
//!
//! - What is synced is what the state in memory says: records change it after their sync.
//! - Every position that lives, lives in one place: in the log, or in one segment. A log file that
//!   outlives what was paged out from it has it still, and replaying passes over what a segment has.
//! - Replacing the catalog is the only moment at which a checkpoint takes effect. Below the lengths
//!   that it names, segments and settlements never change; beyond them nothing counts. It names only
//!   what is synced, and of a segment no more than its settlement file knows the gaps of.
//! - A log file goes only with a catalog that names all that lives in it, whatever moved it.
//! - Nothing is removed before a catalog that does without it, or the record that its queue was
//!   deleted, is durable. What is transient no catalog names.
//! - Positions rise in a queue as records of it follow each other in the log. Queue ids, and the
//!   positions that a record named, are never given twice.
//! - After a failed sync, or a write that failed by more than a shortage, the store takes nothing more, and can
//!   only be read. What there is no room, no inode, no open file for leaves everything as it was.

use std::sync::Arc;

use crate::broker::paging::{Page, PageOwner, PagedMessage};
use crate::broker::record::{Lsn, Position, Record, Recovered};

pub mod disk;

mod appending;
mod catalog;
mod change_log;
mod check;
mod checkpoint;
mod compaction;
mod error;
mod files;
mod format;
mod framing;
mod housekeeping;
mod inventory;
mod kept_files;
mod log;
mod paging;
mod recovery;
mod report;
mod segment;
mod segment_reader;
mod segment_set;
mod state;
mod subdirectory;
#[cfg(test)]
mod tests;

pub use change_log::{ChangeLog, FoundChanges};
pub use check::{Check, QueueCheck, check};
pub use disk::Change;
pub(crate) use disk::KEPT_FILES;
pub use disk::{Disk, DiskFile, DiskRead, Fault, FaultyDisk, FileDisk};
pub use disk::{MemoryDisk, OpenError, Operation};
pub use error::StoreError;
pub use inventory::INVENTORY;
pub use kept_files::KeptFiles;
pub use report::{Damage, Progress, Report};
pub use subdirectory::{Subdirectory, read_whole, replace_whole};

/// A disk over another, which it never changes: what is written to it is in memory and goes with it.
pub(crate) fn unchanged(disk: Arc<dyn Disk>) -> Arc<dyn Disk> {
    Arc::new(disk::OverlayDisk::new(disk))
}

use appending::Unsynced;
use checkpoint::Checkpoint;
use compaction::Compaction;
use files::{Files, Purpose};
use housekeeping::Reclaim;
use log::Log;
use paging::{Cursors, Wanted};
use recovery::Opened;
use segment::Kind;
use state::State;

/// Sizes. They bound how much a start has to read and how much room the dead take up.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// A log file that is so long is followed by a new one.
    pub log_file_bytes: u64,
    /// Of more log files than this the oldest is checkpointed.
    pub log_files: usize,
    /// A segment takes no message that would make it longer, unless it is the only one. So much is
    /// held in reserve on the disk too, and twice as much from what only moves messages.
    pub segment_bytes: u64,
    /// Of the messages that a start finds in the log it holds about so many bytes at once; what is more goes to
    /// segments while it reads, but for queues that want all of theirs in memory.
    pub start_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            log_file_bytes: 64 * 1024 * 1024,
            log_files: 4,
            segment_bytes: 8 * 1024 * 1024,
            start_bytes: u64::MAX,
        }
    }
}

/// The durable part of a virtual host, on a disk.
pub struct Store {
    files: Files,
    state: State,
    log: Log,
    checkpoint: Option<Checkpoint>,
    /// A compaction of transient segments.
    compaction: Option<Compaction>,
    unsynced: Unsynced,
    cursors: Cursors,
    /// Files that no catalog names any more, to be removed.
    dead_files: Vec<String>,
    /// Directories that are to be removed with all that is in them.
    dead_directories: Vec<String>,
    reclaim: Reclaim,
    /// Whether the next steps remove all that is empty.
    tidies: bool,
    damage: Vec<Damage>,
    poisoned: bool,
}

impl Store {
    /// Opens the store on `disk`, a new one if there is none, and returns what is in it.
    pub fn open(
        disk: Arc<dyn Disk>,
        options: Options,
    ) -> Result<(Store, Recovered, Report), StoreError> {
        Store::open_with(disk, options, &mut |_| {})
    }

    /// Opens the store, as [`open`](Store::open), and says every now and then how far it is.
    pub fn open_with(
        disk: Arc<dyn Disk>,
        options: Options,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(Store, Recovered, Report), StoreError> {
        let Opened { files, state, log, unsynced, leftovers, recovered, report } =
            recovery::open(disk, options, progress)?;
        let store = Store {
            files,
            state,
            log,
            checkpoint: None,
            compaction: None,
            unsynced,
            cursors: Cursors::default(),
            dead_files: Vec::new(),
            dead_directories: leftovers,
            reclaim: Reclaim::No,
            tidies: false,
            damage: Vec::new(),
            poisoned: false,
        };
        Ok((store, recovered, report))
    }

    /// How many of these records, from the first, are to be written together: one at least.
    ///
    /// why: between two writes there may be steps of a checkpoint, which keep the log short.
    pub fn one_write(&self, records: &[Record]) -> usize {
        Log::one_write(&self.files, records)
    }

    /// Appends records in order, the first as the one after [`last_lsn`](Store::last_lsn), and
    /// syncs them. Returns the number of the last.
    ///
    /// Any error but a [shortage](StoreError::is_shortage) poisons the store: some of the records may be there
    /// after a restart, and every later call returns [`StoreError::Poisoned`].
    pub fn write(&mut self, records: &[Record]) -> Result<Lsn, StoreError> {
        self.unless_poisoned(|store| {
            let log_file = store.log.write(&store.files, records)?;
            for record in records {
                store.state.apply(record, log_file);
                if let Record::QueueDeleted { id } = record {
                    store.unsynced.forget_queue(*id);
                    store.cursors.forget(PageOwner::Durable(*id));
                }
            }
            Ok(store.log.last)
        })
    }

    /// Writes messages where [`page_in`](Store::page_in) finds them. Those that are there already
    /// are passed over, and so are those that records settled or whose queue they deleted.
    ///
    /// Nothing is synced: what must survive a crash, the log has until a checkpoint. Any error but
    /// a [shortage](StoreError::is_shortage) poisons the store, as with [`write`](Store::write).
    pub fn page_out(
        &mut self,
        owner: PageOwner,
        messages: &[PagedMessage],
    ) -> Result<(), StoreError> {
        self.unless_poisoned(|store| {
            paging::page_out(&store.files, &mut store.state, &mut store.unsynced, owner, messages)
        })
    }

    /// Reads the messages of a queue that live in segments from `first` to `last`, themselves
    /// included: one at least, if there is one, until there are about `max_bytes` of them.
    ///
    /// It works on a poisoned store too. What turns out to be lost is left out and can be asked for
    /// with [`take_damage`](Store::take_damage). An error changes nothing; the same can be asked
    /// again.
    pub fn page_in(
        &mut self,
        owner: PageOwner,
        first: Position,
        last: Position,
        max_bytes: usize,
    ) -> Result<Page, StoreError> {
        let wanted = Wanted { owner, first, last, max_bytes };
        let page = self.cursors.page_in(&self.files, &mut self.state, wanted, &mut self.damage);
        self.state.bury_pages(owner);
        page
    }

    /// Notes that messages that no record speaks of are done with, all from `first` to `last`.
    pub fn pages_done(&mut self, owner: PageOwner, first: Position, last: Position) {
        self.state.with_segments(owner, Kind::Transient, |pages| pages.settle(first, last));
        self.state.bury_pages(owner);
    }

    /// Forgets the messages of a queue that was not durable.
    pub fn forget_pages(&mut self, queue: u64) {
        self.state.forget_pages(queue);
        self.cursors.forget(PageOwner::Transient(queue));
    }

    /// What was found damaged since it was last asked for.
    pub fn take_damage(&mut self) -> Vec<Damage> {
        std::mem::take(&mut self.damage)
    }

    /// Whether there is room for more than the next few steps.
    pub fn has_room(&self) -> bool {
        self.files.room(Purpose::Move) >= 4 * self.files.options.segment_bytes
            && !self.log.is_overlong(&self.files)
    }

    /// Whether the log is much longer than it should be: writes come faster than they are checkpointed.
    ///
    /// why: a start replays all of the log.
    pub fn is_behind(&self) -> bool {
        self.log.files.len() > self.files.options.log_files.max(1) + 1
    }

    /// The number of the last record synced.
    pub fn last_lsn(&self) -> Lsn {
        self.log.last
    }

    /// Ends the use of the store. Everything written is synced already; an unfinished checkpoint is
    /// given up, which the next start undoes.
    pub fn close(mut self) -> Result<(), StoreError> {
        self.unless_poisoned(|store| store.log.close(&store.files))
    }

    fn unless_poisoned<T>(
        &mut self,
        act: impl FnOnce(&mut Store) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if self.poisoned {
            return Err(StoreError::Poisoned);
        }
        let result = act(self);
        self.poisoned = matches!(&result, Err(error) if !error.is_shortage());
        result
    }
}
