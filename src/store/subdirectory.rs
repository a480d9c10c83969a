//! A part of a disk that is a disk of its own, so that several stores share one data directory.

use std::io;
use std::sync::Arc;

use super::disk::{Disk, DiskFile, DiskRead};
use super::kept_files::KeptFiles;

/// A directory of another disk.
#[derive(Clone)]
pub struct Subdirectory {
    disk: Arc<dyn Disk>,
    prefix: String,
}

impl Subdirectory {
    /// The directory of this name.
    pub fn new(disk: Arc<dyn Disk>, directory: &str) -> Self {
        Subdirectory { disk, prefix: directory.to_owned() }
    }

    fn path(&self, path: &str) -> String {
        if path.is_empty() { self.prefix.clone() } else { format!("{}/{path}", self.prefix) }
    }
}

impl Disk for Subdirectory {
    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        self.disk.list(&self.path(directory))
    }

    fn length(&self, path: &str) -> io::Result<Option<u64>> {
        self.disk.length(&self.path(path))
    }

    fn open_read(&self, path: &str) -> io::Result<Box<dyn DiskRead>> {
        self.disk.open_read(&self.path(path))
    }

    fn open_append(&self, path: &str) -> io::Result<Box<dyn DiskFile>> {
        self.disk.open_append(&self.path(path))
    }

    fn truncate(&self, path: &str, length: u64) -> io::Result<()> {
        self.disk.truncate(&self.path(path), length)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(&self.path(from), &self.path(to))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.disk.remove(&self.path(path))
    }

    fn remove_directory(&self, directory: &str) -> io::Result<()> {
        self.disk.remove_directory(&self.path(directory))
    }

    fn sync_directory(&self, directory: &str) -> io::Result<()> {
        self.disk.sync_directory(&self.path(directory))
    }

    fn free(&self) -> io::Result<u64> {
        self.disk.free()
    }

    fn kept_files(&self) -> Arc<KeptFiles> {
        self.disk.kept_files()
    }
}

/// Reads a whole small file; none if it is not there.
pub fn read_whole(disk: &dyn Disk, path: &str) -> io::Result<Option<Vec<u8>>> {
    let Some(length) = disk.length(path)? else { return Ok(None) };
    let mut content = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    let read = disk.read(path, 0, &mut content)?;
    content.truncate(read);
    Ok(Some(content))
}

/// Replaces a small file: a crash leaves the old content or the new, never a part.
pub fn replace_whole(disk: &dyn Disk, path: &str, content: &[u8]) -> io::Result<()> {
    let fresh = format!("{path}.new");
    if disk.length(&fresh)?.is_some() {
        disk.remove(&fresh)?;
    }
    let mut file = disk.open_append(&fresh)?;
    file.append(content)?;
    file.sync()?;
    drop(file);
    disk.rename(&fresh, path)?;
    disk.sync_directory(path.rsplit_once('/').map_or("", |(directory, _)| directory))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryDisk;

    #[test]
    fn two_subdirectories_do_not_meet() {
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::default());
        let [one, two] = ["a", "b"].map(|name| Subdirectory::new(disk.clone(), name));
        replace_whole(&one, "file", b"one").expect("a memory disk takes it");
        replace_whole(&two, "x/file", b"two").expect("a memory disk takes it");
        replace_whole(&one, "file", b"1").expect("a memory disk takes it");
        assert_eq!(read_whole(&one, "file").expect("read"), Some(b"1".to_vec()));
        assert_eq!(read_whole(&one, "x/file").expect("read"), None);
        assert_eq!(read_whole(&*disk, "b/x/file").expect("read"), Some(b"two".to_vec()));
        assert_eq!(one.list("").expect("list"), ["file"]);
    }
}
