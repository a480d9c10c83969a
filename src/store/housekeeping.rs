//! What is done between writes so that the disk holds what is needed and little else: checkpoints, compactions, and
//! the removal of files and directories, a bounded step at a time.
//!
//! ```text
//!   when               a checkpoint or compaction is due for
//!   usually            more log files than are meant, as many wasted bytes as a log file has, many dead segments
//!   idle (tidy)        any dead segment; the directories of queues that have none
//!   short (reclaim)    any log file but the one that grows, and that one too; few wasted bytes
//! ```

use crate::broker::paging::PageOwner;

use super::Store;
use super::checkpoint::{Checkpoint, Ground, Outcome, STEP_FILES};
use super::compaction::Compaction;
use super::error::StoreError;
use super::files::Files;
use super::segment::{self, Kind};

/// Whether checkpoints go on until little can be freed, since room on the disk is short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reclaim {
    No,
    /// The log file that grows is followed by a new one first, so that it can go as well.
    Begun,
    UnderWay,
}

/// What is reclaimed is worth a checkpoint when it is so large a part of a segment, one in so many.
const RECLAIMED_PARTS: u64 = 8;

/// So many segments in which nothing lives are worth a checkpoint, however short they are.
///
/// why: each is a file or two, and a disk may have few of them.
const DEAD_SEGMENTS: usize = 256;

/// So many directories of queues without segments are removed though the store is busy.
const EMPTIED: usize = 256;

impl Store {
    /// Makes [`checkpoint_step`](Store::checkpoint_step) free what the disk keeps for nothing: log files and
    /// segments whose messages are settled, which otherwise go when there is more of them. For when room on the
    /// disk is short.
    ///
    /// why: a log file in which messages live goes only when there is room to move them. It is tried with what
    /// room there is and given up then, as nobody waits for it.
    pub fn reclaim(&mut self) {
        self.reclaim = Reclaim::Begun;
    }

    /// Keeps room on the disk for settlements from now on. For when there is not plenty any more.
    pub fn keep_reserve(&mut self) {
        self.log.keep_reserve(&self.files);
    }

    /// Makes [`checkpoint_step`](Store::checkpoint_step) remove all files and directories in which nothing lives, but
    /// those of the log. For when there is nothing else to do.
    pub fn tidy(&mut self) {
        self.tidies = true;
    }

    /// Whether there are such.
    pub fn is_untidy(&self) -> bool {
        self.state.waste(Kind::Durable).dead > 0 || !self.state.emptied.is_empty()
    }

    /// Does one bounded step of what is due; true when there is more to do. Meant to be called
    /// between writes.
    ///
    /// A [shortage](StoreError::is_shortage) says that it cannot go on for now; it can be called again.
    pub fn checkpoint_step(&mut self) -> Result<bool, StoreError> {
        self.unless_poisoned(|store| {
            store.step()?;
            let is_due = store.checkpoint_due();
            if !is_due {
                store.reclaim = Reclaim::No;
                store.tidies = false;
            }
            Ok(is_due)
        })
    }

    /// Whether [`checkpoint_step`](Store::checkpoint_step) has something to do.
    pub fn checkpoint_due(&self) -> bool {
        self.checkpoint.is_some()
            || !self.dead_files.is_empty()
            || !self.dead_directories.is_empty()
            || !self.state.dead_pages.is_empty()
            || !self.state.forgotten.is_empty()
            || !self.state.doomed.is_empty()
            || self.compaction.is_some()
            || self.reclaim == Reclaim::Begun
            || self.log.is_overlong(&self.files)
            || self.log_is_long()
            || self.many_are_dead()
            || self.many_are_emptied()
            || self.much_is_wasted(Kind::Durable)
            || self.much_is_wasted(Kind::Transient)
    }

    fn step(&mut self) -> Result<(), StoreError> {
        if !self.state.dead_pages.is_empty() {
            self.cursors.close_removed(&mut self.state);
            let kept = self.state.dead_pages.len().saturating_sub(STEP_FILES);
            for (owner, number) in self.state.dead_pages.drain(kept..) {
                let path = segment::messages_path(&self.files, owner, Kind::Transient, number);
                self.files.remove(&path)?;
            }
        } else if self.checkpoint.is_some() {
            self.step_checkpoint()?;
        } else if !self.dead_files.is_empty() {
            self.cursors.close_removed(&mut self.state);
            let kept = self.dead_files.len().saturating_sub(STEP_FILES);
            for path in self.dead_files.drain(kept..) {
                self.files.remove(&path)?;
            }
        } else if let Some(directory) = self.dead_directories.last() {
            if self.files.clear_directory(directory, STEP_FILES)? {
                self.dead_directories.pop();
            }
        } else if let Some(owner) = self.state.forgotten.pop_first() {
            self.dead_directories.push(segment::directory(&self.files, owner, Kind::Transient));
        } else if let Some(&id) = self.state.doomed.first() {
            let directory = segment::directory(&self.files, PageOwner::Durable(id), Kind::Durable);
            if self.files.clear_directory(&directory, STEP_FILES)? {
                self.state.doomed.remove(&id);
                self.state.directories.remove(&id);
            }
        } else if let Some(mut compaction) = self.compaction.take() {
            // why: one that finds no room is given up, so that it does not stand in the way of a
            // checkpoint that makes some.
            match compaction.step(&mut self.ground().0) {
                Ok(true) => {}
                Ok(false) => self.compaction = Some(compaction),
                Err(error) if error.is_shortage() && self.is_reclaiming() => {
                    self.reclaim = Reclaim::No;
                }
                Err(error) => return Err(error),
            }
        } else if self.reclaim == Reclaim::Begun {
            self.reclaim = Reclaim::UnderWay;
            if self.log.current_length() >= self.least_reclaimed() {
                match self.log.rotate(&self.files) {
                    // What else there is may go without it.
                    Err(error) if error.is_shortage() => {}
                    rotated => rotated?,
                }
            }
        } else if self.many_are_emptied()
            && let Some((owner, kind)) = self.state.emptied.pop_first()
        {
            self.remove_empty_directory(owner, kind)?;
        } else if self.log_is_long() || self.many_are_dead() || self.much_is_wasted(Kind::Durable) {
            let oldest = if self.log_is_long() { self.log.oldest_full() } else { None };
            let compacts = self.much_is_wasted(Kind::Durable);
            let may_give_up = self.is_reclaiming();
            let checkpoint =
                Checkpoint::new(&self.files, &mut self.state, oldest, compacts, may_give_up);
            self.checkpoint = Some(checkpoint);
        } else if self.much_is_wasted(Kind::Transient) {
            self.compaction = Some(Compaction::new(&mut self.state, Kind::Transient));
        } else if self.log.is_overlong(&self.files) {
            // Where the last write found no file for it.
            self.log.rotate(&self.files)?;
        }
        Ok(())
    }

    /// Removes the directory of a queue that has no segments, unless it got some since.
    fn remove_empty_directory(&mut self, owner: PageOwner, kind: Kind) -> Result<(), StoreError> {
        let durable = match (owner, kind) {
            (PageOwner::Durable(id), Kind::Durable) => Some(id),
            _ => None,
        };
        // why: a file may be open that a batch was to be written to, and was not for want of something.
        let is_open = durable.is_some_and(|id| self.unsynced.has_files_of(id));
        if is_open || !self.state.is_empty(owner, kind) {
            return Ok(());
        }
        let directory = segment::directory(&self.files, owner, kind);
        let remove = |files: &Files| match files.list(&directory)?.is_empty() {
            true => files.clear_directory(&directory, 0),
            // What is in there is not the store's.
            false => Ok(false),
        };
        match (remove(&self.files), durable) {
            (Ok(true), Some(id)) => drop(self.state.directories.remove(&id)),
            (Ok(_), _) => {}
            // why: an empty directory is not worth waiting for; it goes when the queue has had segments again.
            (Err(error), _) if error.is_shortage() => {}
            (Err(error), _) => return Err(error),
        }
        Ok(())
    }

    fn step_checkpoint(&mut self) -> Result<(), StoreError> {
        let (mut ground, checkpoint) = self.ground();
        let Some(underway) = checkpoint else { return Ok(()) };
        match underway.step(&mut ground)? {
            Outcome::More => {}
            Outcome::Committed(dead) => {
                self.dead_files.extend(dead);
                self.checkpoint = None;
            }
            Outcome::GivenUp => {
                self.checkpoint = None;
                self.reclaim = Reclaim::No;
            }
        }
        Ok(())
    }

    /// What a step works on, and the checkpoint that may work on it.
    fn ground(&mut self) -> (Ground<'_>, Option<&mut Checkpoint>) {
        let ground = Ground {
            files: &self.files,
            state: &mut self.state,
            log: &mut self.log,
            unsynced: &mut self.unsynced,
            damage: &mut self.damage,
        };
        (ground, self.checkpoint.as_mut())
    }

    fn is_reclaiming(&self) -> bool {
        self.reclaim != Reclaim::No
    }

    /// How many bytes are worth a checkpoint when room is short.
    ///
    /// why: with every acknowledgement a little more could be freed, and each checkpoint writes a catalog.
    fn least_reclaimed(&self) -> u64 {
        self.files.options.segment_bytes / RECLAIMED_PARTS
    }

    /// Whether dead segments are worth a checkpoint by their number.
    fn many_are_dead(&self) -> bool {
        let most = if self.tidies || self.is_reclaiming() { 1 } else { DEAD_SEGMENTS };
        self.state.waste(Kind::Durable).dead >= most
    }

    fn many_are_emptied(&self) -> bool {
        let most = if self.tidies || self.is_reclaiming() { 1 } else { EMPTIED };
        self.state.emptied.len() >= most
    }

    fn log_is_long(&self) -> bool {
        let kept = if self.is_reclaiming() { 1 } else { self.files.options.log_files.max(1) };
        self.log.files.len() > kept
    }

    /// Whether segments take up as much as a log file for little or nothing, or enough to be reclaimed.
    fn much_is_wasted(&self, kind: Kind) -> bool {
        let most = self.files.options.log_file_bytes;
        let most = if self.is_reclaiming() { most.min(self.least_reclaimed()) } else { most };
        self.state.waste(kind).bytes >= most
    }
}
