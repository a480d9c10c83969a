//! The disk with what every file of a store has in common.
//!
//! A full disk is found before a write fails: every writer asks for room first. What frees the disk in
//! the end may use what others must leave: messages that only change their place leave the most, the
//! log leaves what a checkpoint needs, records of what is done with go on for longer than others, and a checkpoint's
//! commit takes what there is.

use std::sync::Arc;

use super::Options;
use super::disk::{Disk, DiskFile, is_want_of_means};
use super::error::{During, StoreError};
use super::kept_files::KeptFiles;

/// What room is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Another place for messages: page-outs, the moves of a checkpoint.
    Move,
    /// Records.
    Log,
    /// Records of messages that are done with, alone.
    Settle,
    /// Settlements and the catalog, after which files can be removed.
    Commit,
}

/// The disk, the salt of all checksums and the sizes; errors say on what they happened.
#[derive(Clone)]
pub(super) struct Files {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) salt: u32,
    pub(super) options: Options,
    /// Which start of the store this is, as far as files left by earlier ones go.
    pub(super) run: u64,
    /// The slots for files that stay open.
    pub(super) kept: Arc<KeptFiles>,
}

impl Files {
    /// A store's disk.
    pub(super) fn new(disk: Arc<dyn Disk>, salt: u32, options: Options, run: u64) -> Self {
        let kept = disk.kept_files();
        Files { disk, salt, options, run, kept }
    }

    /// How many bytes may be written now.
    pub(super) fn room(&self, purpose: Purpose) -> u64 {
        // A disk that does not know its free room refuses the write itself.
        let free = self.disk.free().unwrap_or(u64::MAX);
        let reserve = match purpose {
            Purpose::Move => 2 * self.options.segment_bytes,
            Purpose::Log => self.options.segment_bytes,
            Purpose::Settle => self.options.segment_bytes / 2,
            Purpose::Commit => 0,
        };
        free.saturating_sub(reserve)
    }

    /// Whether there is room for so many bytes.
    pub(super) fn ask_room(&self, needed: u64, purpose: Purpose) -> Result<(), StoreError> {
        if needed <= self.room(purpose) { Ok(()) } else { Err(self.no_room(needed)) }
    }

    pub(super) fn no_room(&self, needed: u64) -> StoreError {
        StoreError::NoRoom { needed, free: self.disk.free().unwrap_or(u64::MAX) }
    }

    pub(super) fn open_append(&self, path: &str) -> Result<Box<dyn DiskFile>, StoreError> {
        self.disk.open_append(path).unless_short("open", path)
    }

    pub(super) fn list(&self, directory: &str) -> Result<Vec<String>, StoreError> {
        self.disk.list(directory).unless_short("list", directory)
    }

    pub(super) fn length(&self, path: &str) -> Result<Option<u64>, StoreError> {
        self.disk.length(path).during("examine", path)
    }

    pub(super) fn remove(&self, path: &str) -> Result<(), StoreError> {
        self.disk.remove(path).during("remove", path)
    }

    /// Removes some files of a directory, and it too once it is empty; whether it is gone.
    pub(super) fn clear_directory(
        &self,
        directory: &str,
        count: usize,
    ) -> Result<bool, StoreError> {
        let names = self.list(directory)?;
        for name in names.iter().take(count) {
            self.remove(&format!("{directory}/{name}"))?;
        }
        let is_empty = names.len() <= count;
        if is_empty {
            self.disk.remove_directory(directory).unless_short("remove", directory)?;
        }
        Ok(is_empty)
    }

    pub(super) fn truncate(&self, path: &str, length: u64) -> Result<(), StoreError> {
        self.disk.truncate(path, length).during("shorten", path)
    }

    /// A want of open files alone says nothing about the directory.
    pub(super) fn sync_directory(&self, directory: &str) -> Result<(), StoreError> {
        let action = "sync the directory";
        match self.disk.sync_directory(directory) {
            Err(error) if is_want_of_means(&error) => Err(error).unless_short(action, directory),
            other => other.during(action, directory),
        }
    }
}
