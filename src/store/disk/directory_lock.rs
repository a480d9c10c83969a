//! The lock of a data directory: it keeps other processes out, and other brokers of this one.
//!
//! A broker that is dropped is gone a moment later, when its tasks and threads have ended. Who opens the directory
//! meanwhile, in the same process, waits for that; a lock that another process holds is waited for by nobody.

use std::fs::{File, Metadata, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// How long a broker that was dropped may take to be gone.
///
/// why: its last sync may take a while on a slow disk.
const GOING: Duration = Duration::from_secs(30);

/// The locks that this process holds.
static HELD: Mutex<Vec<Arc<Held>>> = Mutex::new(Vec::new());
/// Notified when one of them is free again, or about to be.
static RELEASED: Condvar = Condvar::new();

/// Which file is locked.
#[derive(Debug)]
struct Held {
    device: u64,
    inode: u64,
    /// Whether it will be free soon.
    is_let_go: AtomicBool,
}

impl Held {
    fn is_of(&self, file: &File) -> bool {
        file.metadata().is_ok_and(|it| self.is(&it))
    }

    fn is(&self, file: &Metadata) -> bool {
        (file.dev(), file.ino()) == (self.device, self.inode)
    }
}

/// The lock, held while this value lives, whatever ends the process.
#[derive(Debug)]
pub(super) struct DirectoryLock {
    file: Option<File>,
    held: Arc<Held>,
}

impl DirectoryLock {
    /// Locks against everybody.
    pub(super) fn exclusive(file: File) -> Result<Self, TryLockError> {
        DirectoryLock::lock(file, File::try_lock)
    }

    /// Locks against those who want it for themselves.
    pub(super) fn shared(file: File) -> Result<Self, TryLockError> {
        DirectoryLock::lock(file, File::try_lock_shared)
    }

    fn lock(file: File, lock: fn(&File) -> Result<(), TryLockError>) -> Result<Self, TryLockError> {
        let mut held = HELD.lock();
        while let Err(error) = lock(&file) {
            let goes = |it: &Arc<Held>| it.is_of(&file) && it.is_let_go.load(Ordering::Relaxed);
            let is_waited_for = matches!(error, TryLockError::WouldBlock) && held.iter().any(goes);
            if !is_waited_for || RELEASED.wait_for(&mut held, GOING).timed_out() {
                return Err(error);
            }
        }
        let metadata = file.metadata().map_err(TryLockError::Error)?;
        let (device, inode) = (metadata.dev(), metadata.ino());
        let of_file = Arc::new(Held { device, inode, is_let_go: AtomicBool::new(false) });
        held.push(of_file.clone());
        Ok(DirectoryLock { file: Some(file), held: of_file })
    }

    /// Whether this is the file that is locked.
    pub(super) fn is_of(&self, file: &Metadata) -> bool {
        self.held.is(file)
    }

    /// It will be free soon: who wants it may wait.
    pub(super) fn let_go(&self) {
        self.held.is_let_go.store(true, Ordering::Relaxed);
    }
}

impl Drop for DirectoryLock {
    fn drop(&mut self) {
        let mut held = HELD.lock();
        // The system takes the lock back with the file.
        drop(self.file.take());
        held.retain(|it| !Arc::ptr_eq(it, &self.held));
        RELEASED.notify_all();
    }
}
