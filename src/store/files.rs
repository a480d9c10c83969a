//! The disk with what every file of a store has in common.

use std::sync::Arc;

use super::Options;
use super::disk::{Disk, DiskFile};
use super::error::{During, StoreError};

/// The disk, the salt of all checksums and the sizes; errors say on what they happened.
#[derive(Clone)]
pub(super) struct Files {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) salt: u32,
    pub(super) options: Options,
}

impl Files {
    pub(super) fn open_append(&self, path: &str) -> Result<Box<dyn DiskFile>, StoreError> {
        self.disk.open_append(path).during("open", path)
    }

    pub(super) fn list(&self, directory: &str) -> Result<Vec<String>, StoreError> {
        self.disk.list(directory).during("list", directory)
    }

    pub(super) fn length(&self, path: &str) -> Result<Option<u64>, StoreError> {
        self.disk.length(path).during("examine", path)
    }

    pub(super) fn remove(&self, path: &str) -> Result<(), StoreError> {
        self.disk.remove(path).during("remove", path)
    }

    pub(super) fn remove_directory(&self, directory: &str) -> Result<(), StoreError> {
        self.disk.remove_directory(directory).during("remove", directory)
    }

    pub(super) fn truncate(&self, path: &str, length: u64) -> Result<(), StoreError> {
        self.disk.truncate(path, length).during("shorten", path)
    }

    pub(super) fn sync_directory(&self, directory: &str) -> Result<(), StoreError> {
        self.disk.sync_directory(directory).during("sync the directory", directory)
    }
}
