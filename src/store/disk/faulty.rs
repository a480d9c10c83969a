//! A disk that fails on purpose.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Disk, DiskFile, DiskRead};
use crate::store::kept_files::KeptFiles;

/// The operations that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Any that changes something.
    Change,
    /// [`DiskFile::append`].
    Append,
    /// [`DiskFile::sync`].
    Sync,
    /// Any read, of a file's bytes, length or directory, and the opening of a file to read it.
    Read,
}

/// One failure to come.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Which operations count.
    pub operation: Operation,
    /// Only those on paths that begin so count.
    pub below: String,
    /// How many of them succeed before one fails.
    pub after: u64,
    /// What that one answers. [`io::ErrorKind::StorageFull`] is a full disk.
    pub kind: io::ErrorKind,
    /// Of the bytes that a failing append was to write, how many reach the file.
    pub written: usize,
}

/// Another disk with failures of the caller's choice. Clones share them.
pub struct FaultyDisk<D> {
    disk: Arc<D>,
    plan: Arc<Plan>,
}

#[derive(Default)]
struct Plan {
    fault: Mutex<Option<Fault>>,
}

impl Plan {
    /// Counts an operation; the error and the bytes to write all the same if it is to fail.
    fn check(&self, operation: Operation, path: &str) -> Result<(), (io::Error, usize)> {
        let mut planned = self.fault.lock();
        let Some(fault) = planned.as_mut() else { return Ok(()) };
        let counts = fault.operation == operation
            || fault.operation == Operation::Change && operation != Operation::Read;
        if !counts || !path.starts_with(&fault.below) {
            return Ok(());
        }
        if fault.after > 0 {
            fault.after -= 1;
            return Ok(());
        }
        let error = io::Error::from(fault.kind);
        let written = fault.written;
        *planned = None;
        Err((error, written))
    }

    fn pass(&self, operation: Operation, path: &str) -> io::Result<()> {
        self.check(operation, path).map_err(|(error, _)| error)
    }
}

impl<D: Disk> FaultyDisk<D> {
    /// A disk that does what `disk` does, until told otherwise.
    pub fn new(disk: D) -> Self {
        FaultyDisk { disk: Arc::new(disk), plan: Arc::default() }
    }

    /// Arranges for one failure, in place of any that has not happened yet.
    pub fn fail(&self, fault: Fault) {
        *self.plan.fault.lock() = Some(fault);
    }

    /// Whether the failure last arranged for has happened.
    pub fn has_failed(&self) -> bool {
        self.plan.fault.lock().is_none()
    }
}

impl<D> Clone for FaultyDisk<D> {
    fn clone(&self) -> Self {
        FaultyDisk { disk: self.disk.clone(), plan: self.plan.clone() }
    }
}

impl<D: Disk> Disk for FaultyDisk<D> {
    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        self.plan.pass(Operation::Read, directory)?;
        self.disk.list(directory)
    }

    fn length(&self, path: &str) -> io::Result<Option<u64>> {
        self.plan.pass(Operation::Read, path)?;
        self.disk.length(path)
    }

    fn open_read(&self, path: &str) -> io::Result<Box<dyn DiskRead>> {
        self.plan.pass(Operation::Read, path)?;
        let file = self.disk.open_read(path)?;
        Ok(Box::new(FaultyRead { file, path: path.to_owned(), plan: self.plan.clone() }))
    }

    fn open_append(&self, path: &str) -> io::Result<Box<dyn DiskFile>> {
        self.plan.pass(Operation::Change, path)?;
        let file = self.disk.open_append(path)?;
        Ok(Box::new(FaultyFile { file, path: path.to_owned(), plan: self.plan.clone() }))
    }

    fn truncate(&self, path: &str, length: u64) -> io::Result<()> {
        self.plan.pass(Operation::Change, path)?;
        self.disk.truncate(path, length)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.plan.pass(Operation::Change, from)?;
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.plan.pass(Operation::Change, path)?;
        self.disk.remove(path)
    }

    fn remove_directory(&self, directory: &str) -> io::Result<()> {
        self.plan.pass(Operation::Change, directory)?;
        self.disk.remove_directory(directory)
    }

    fn sync_directory(&self, directory: &str) -> io::Result<()> {
        self.plan.pass(Operation::Change, directory)?;
        self.disk.sync_directory(directory)
    }

    fn free(&self) -> io::Result<u64> {
        self.disk.free()
    }

    fn kept_files(&self) -> Arc<KeptFiles> {
        self.disk.kept_files()
    }
}

struct FaultyRead {
    file: Box<dyn DiskRead>,
    path: String,
    plan: Arc<Plan>,
}

impl DiskRead for FaultyRead {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.plan.pass(Operation::Read, &self.path)?;
        self.file.read(offset, buffer)
    }
}

struct FaultyFile {
    file: Box<dyn DiskFile>,
    path: String,
    plan: Arc<Plan>,
}

impl DiskFile for FaultyFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.plan.check(Operation::Append, &self.path) {
            Ok(()) => self.file.append(bytes),
            Err((error, written)) => {
                self.file.append(&bytes[..written.min(bytes.len())])?;
                Err(error)
            }
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        self.plan.pass(Operation::Sync, &self.path)?;
        self.file.sync()
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.plan.pass(Operation::Change, &self.path)?;
        self.file.cut(length)
    }

    fn reserve(&mut self, bytes: u64) -> io::Result<()> {
        self.plan.pass(Operation::Change, &self.path)?;
        self.file.reserve(bytes)
    }

    fn length(&self) -> u64 {
        self.file.length()
    }
}

#[cfg(test)]
mod tests {
    use super::super::MemoryDisk;
    use super::*;

    #[test]
    fn the_chosen_operation_fails_once() {
        let memory = MemoryDisk::default();
        let disk = FaultyDisk::new(memory.clone());
        let mut file = disk.open_append("log/1").unwrap();
        disk.fail(Fault {
            operation: Operation::Append,
            below: "log/".to_owned(),
            after: 1,
            kind: io::ErrorKind::StorageFull,
            written: 2,
        });
        file.append(b"abc").unwrap();
        file.sync().unwrap();
        assert!(!disk.has_failed());
        assert_eq!(file.append(b"def").unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert!(disk.has_failed());
        assert_eq!(memory.length("log/1").unwrap(), Some(5));
        file.append(b"ghi").unwrap();
        assert_eq!(memory.length("log/1").unwrap(), Some(8));
    }
}
