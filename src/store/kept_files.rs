//! How many files the stores on one disk keep open between two uses, all together.
//!
//! why: each store would keep some for each of its queues, and with many virtual hosts no open file would be left for
//! clients, or for the next log file. A store that gets no slot syncs and closes its file at once, or reads it anew.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The slots for open files of all stores on a disk.
#[derive(Debug)]
pub struct KeptFiles {
    most: AtomicUsize,
    taken: AtomicUsize,
}

impl KeptFiles {
    /// So many slots.
    pub fn new(most: usize) -> Self {
        KeptFiles { most: AtomicUsize::new(most), taken: AtomicUsize::new(0) }
    }

    /// Lets there be so many from now on; what is taken stays taken.
    pub fn set_most(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
    }

    /// How many are taken.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// Takes one, if there is one.
    pub(super) fn take(self: &Arc<Self>) -> Option<KeptFile> {
        let most = self.most.load(Ordering::Relaxed);
        let one_more = |taken| (taken < most).then_some(taken + 1);
        let taken = self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        taken.ok().map(|_| KeptFile(self.clone()))
    }
}

/// The right to keep one file open; given back when it is dropped.
#[derive(Debug)]
pub(super) struct KeptFile(Arc<KeptFiles>);

impl Drop for KeptFile {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_no_more_than_were_allowed() {
        let files = Arc::new(KeptFiles::new(2));
        let (one, two) = (files.take(), files.take());
        assert!(one.is_some() && two.is_some() && files.take().is_none());
        drop(one);
        assert!(files.take().is_some());
        files.set_most(0);
        assert!(files.take().is_none());
        assert_eq!(files.taken(), 1);
    }
}
