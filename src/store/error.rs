//! What goes wrong with the store as a whole.

use std::io;

use super::disk::VERSION;

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
    /// An earlier write failed; what is on the disk since then is not known.
    #[error("the store takes no more after an earlier failure")]
    Poisoned,
}

/// Says what was going on when a disk refused.
pub(super) trait During<T> {
    fn during(self, action: &'static str, path: &str) -> Result<T, StoreError>;
}

impl<T> During<T> for io::Result<T> {
    fn during(self, action: &'static str, path: &str) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::Io { action, path: path.to_owned(), source })
    }
}
