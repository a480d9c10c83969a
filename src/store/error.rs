//! What goes wrong with the store as a whole.

use std::io;

use super::disk::{VERSION, is_shortage};

/// Why the store cannot be opened or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk refused.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or directory of the data directory.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// Too much is missing to say what there was.
    #[error("{path} is damaged: {what}")]
    Damaged {
        /// Which file.
        path: String,
        /// What is wrong with it.
        what: String,
    },
    /// A later leveret wrote it.
    #[error("{path} has format version {found}; this leveret knows version {VERSION}")]
    Newer {
        /// Which file.
        path: String,
        /// Its version.
        found: u32,
    },
    /// An earlier leveret wrote it, in a format that was never released.
    #[error(
        "{path} has format version {found}, of an older leveret; this one knows version {VERSION}"
    )]
    Older {
        /// Which file.
        path: String,
        /// Its version.
        found: u32,
    },
    /// There is no room on the disk for what was asked. Nothing was written and nothing has changed:
    /// the same can be asked again.
    #[error("the disk is full: {needed} bytes are needed where {free} are free, some in reserve")]
    NoRoom {
        /// How many bytes were to be written.
        needed: u64,
        /// How many the disk has, with those held in reserve.
        free: u64,
    },
    /// The system has no open file, no memory, no inode or no quota left for what was to be done. Nothing has
    /// changed: the same can be asked again.
    #[error("cannot {action} {path} now: {source}")]
    Short {
        /// What was tried.
        action: &'static str,
        /// On which file or directory of the data directory.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// An earlier write failed; what is on the disk since then is not known.
    #[error("the store takes no more after an earlier failure")]
    Poisoned,
}

impl StoreError {
    /// Whether nothing has changed and the same can be asked again when there is more of what is short.
    pub fn is_shortage(&self) -> bool {
        matches!(self, StoreError::NoRoom { .. } | StoreError::Short { .. })
    }

    /// What to say of a file of another format version than this program's.
    pub(super) fn other_version(path: &str, found: u32) -> StoreError {
        let path = path.to_owned();
        if found > VERSION {
            StoreError::Newer { path, found }
        } else {
            StoreError::Older { path, found }
        }
    }
}

/// Says what was going on when a disk refused.
pub(super) trait During<T> {
    /// For what may not be tried again.
    fn during(self, action: &'static str, path: &str) -> Result<T, StoreError>;

    /// For what changes nothing where the system is short of what it takes.
    fn unless_short(self, action: &'static str, path: &str) -> Result<T, StoreError>;
}

impl<T> During<T> for io::Result<T> {
    fn during(self, action: &'static str, path: &str) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::Io { action, path: path.to_owned(), source })
    }

    fn unless_short(self, action: &'static str, path: &str) -> Result<T, StoreError> {
        self.map_err(|source| {
            let path = path.to_owned();
            match is_shortage(&source) {
                true => StoreError::Short { action, path, source },
                false => StoreError::Io { action, path, source },
            }
        })
    }
}
