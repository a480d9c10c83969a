//! A disk in memory that can lose what was not synced.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Disk, DiskFile, DiskRead, directory_of};
use crate::store::kept_files::KeptFiles;

/// A disk in memory. Clones share its content; [`kill`](MemoryDisk::kill) and
/// [`crash`](MemoryDisk::crash) return what a restart would find, as a disk of its own.
#[derive(Clone, Default)]
pub struct MemoryDisk {
    tree: Arc<Mutex<Tree>>,
}

#[derive(Default)]
struct Tree {
    names: Names,
    /// The names as they were when their directories were synced.
    durable: Names,
    /// What was done to each directory since.
    changes: BTreeMap<String, Vec<Change>>,
    /// All directories, also empty ones.
    directories: BTreeSet<String>,
    /// How many bytes all files may have together, if that is bounded.
    capacity: Option<u64>,
    /// How many files there may be, if that is bounded.
    most_files: Option<usize>,
    /// How many of them may stay open, if that is bounded.
    most_kept_files: Option<usize>,
}

type Names = BTreeMap<String, Arc<Mutex<Content>>>;

#[derive(Clone, Default)]
struct Content {
    bytes: Vec<u8>,
    /// How many of the bytes are durable.
    synced: usize,
    /// How many bytes it may have without taking more of the disk.
    reserved: u64,
}

impl Content {
    /// How many bytes of the disk it takes.
    fn taken(&self) -> u64 {
        self.reserved.max(self.bytes.len() as u64)
    }
}

enum Change {
    Created(String, Arc<Mutex<Content>>),
    Renamed(String, String),
    Removed(String),
}

impl Change {
    fn apply(&self, names: &mut Names) {
        match self {
            Change::Created(path, content) => {
                names.insert(path.clone(), content.clone());
            }
            Change::Renamed(from, to) => {
                if let Some(content) = names.remove(from) {
                    names.insert(to.clone(), content);
                }
            }
            Change::Removed(path) => {
                names.remove(path);
            }
        }
    }
}

impl Tree {
    fn change(&mut self, change: Change, directory: &str) {
        change.apply(&mut self.names);
        self.changes.entry(directory.to_owned()).or_default().push(change);
    }

    fn total_bytes(&self) -> u64 {
        self.names.values().map(|content| content.lock().bytes.len() as u64).sum()
    }

    fn free(&self) -> u64 {
        let taken = self.names.values().map(|content| content.lock().taken()).sum();
        self.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(taken))
    }

    fn content(&self, path: &str) -> io::Result<Arc<Mutex<Content>>> {
        self.names.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// A disk with these names and of each file what survives.
    fn restarted(
        &self,
        names: &Names,
        mut survives: impl FnMut(&str, &Content) -> Content,
    ) -> MemoryDisk {
        let names: Names = names
            .iter()
            .map(|(path, content)| {
                let content = survives(path, &content.lock());
                (path.clone(), Arc::new(Mutex::new(content)))
            })
            .collect();
        let tree = Tree {
            durable: names.clone(),
            names,
            changes: BTreeMap::new(),
            directories: self.directories.clone(),
            capacity: self.capacity,
            most_files: self.most_files,
            most_kept_files: self.most_kept_files,
        };
        MemoryDisk { tree: Arc::new(Mutex::new(tree)) }
    }
}

impl MemoryDisk {
    /// What a restart finds after the process was killed: every byte written.
    pub fn kill(&self) -> MemoryDisk {
        let tree = self.tree.lock();
        tree.restarted(&tree.names, |_, content| content.clone())
    }

    /// What a restart finds after a power loss: what was synced, and of the rest as much as `keep`
    /// says, which is asked with a path and how much there is that may be lost.
    ///
    /// For a file that is the bytes appended since its last sync, of which a prefix stays; for a
    /// directory, whose path is given with a `/` at its end, the files created, renamed and
    /// removed since its last sync, of which the first so many happened.
    pub fn crash(&self, mut keep: impl FnMut(&str, usize) -> usize) -> MemoryDisk {
        let tree = self.tree.lock();
        let mut names = tree.durable.clone();
        for (directory, changes) in &tree.changes {
            let kept = keep(&format!("{directory}/"), changes.len());
            for change in changes.iter().take(kept) {
                change.apply(&mut names);
            }
        }
        tree.restarted(&names, |path, content| {
            let unsynced = content.bytes.len() - content.synced;
            let kept = keep(path, unsynced).min(unsynced);
            Content {
                reserved: 0,
                bytes: content.bytes[..content.synced + kept].to_vec(),
                synced: content.synced,
            }
        })
    }

    /// Changes a file's bytes behind the store's back, as decay or a meddling hand would.
    pub fn damage(&self, path: &str, change: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        let content = self.tree.lock().content(path)?;
        let mut content = content.lock();
        change(&mut content.bytes);
        content.synced = content.bytes.len();
        Ok(())
    }

    /// The paths of all files, sorted.
    pub fn paths(&self) -> Vec<String> {
        self.tree.lock().names.keys().cloned().collect()
    }

    /// How many bytes all files have together.
    pub fn total_bytes(&self) -> u64 {
        self.tree.lock().total_bytes()
    }

    /// Bounds how many bytes all files may have together; what would make them more fails as on a
    /// full disk.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.tree.lock().capacity = bytes;
    }

    /// Bounds how many files there may be, as a file system with so many inodes does.
    pub fn set_most_files(&self, count: Option<usize>) {
        self.tree.lock().most_files = count;
    }

    /// Bounds how many files a store that is opened from now on keeps open.
    pub fn set_most_kept_files(&self, count: Option<usize>) {
        self.tree.lock().most_kept_files = count;
    }

    /// How many files there are.
    pub fn count_files(&self) -> usize {
        self.tree.lock().names.len()
    }
}

impl Disk for MemoryDisk {
    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        let start = if directory.is_empty() { String::new() } else { format!("{directory}/") };
        let tree = self.tree.lock();
        let inside = |path: &String| {
            let rest = path.strip_prefix(&start)?;
            Some(rest.split('/').next().unwrap_or(rest).to_owned())
        };
        let from = start.clone()..;
        let files = tree.names.range(from.clone()).map_while(|(path, _)| inside(path));
        let directories = tree.directories.range(from).map_while(inside);
        let mut names: Vec<String> = files.chain(directories).collect();
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    fn length(&self, path: &str) -> io::Result<Option<u64>> {
        let tree = self.tree.lock();
        Ok(tree.names.get(path).map(|content| content.lock().bytes.len() as u64))
    }

    fn open_read(&self, path: &str) -> io::Result<Box<dyn DiskRead>> {
        let content = self.tree.lock().content(path)?;
        Ok(Box::new(MemoryRead { content }))
    }

    fn open_append(&self, path: &str) -> io::Result<Box<dyn DiskFile>> {
        let mut tree = self.tree.lock();
        if let Some(content) = tree.names.get(path) {
            let content = content.clone();
            return Ok(Box::new(MemoryFile { tree: self.tree.clone(), content }));
        }
        if tree.most_files.is_some_and(|most| tree.names.len() >= most) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        for (end, _) in path.match_indices('/') {
            tree.directories.insert(path[..end].to_owned());
        }
        let content = Arc::new(Mutex::new(Content::default()));
        tree.change(Change::Created(path.to_owned(), content.clone()), directory_of(path));
        Ok(Box::new(MemoryFile { tree: self.tree.clone(), content }))
    }

    fn truncate(&self, path: &str, length: u64) -> io::Result<()> {
        let content = self.tree.lock().content(path)?;
        let mut content = content.lock();
        content.bytes.truncate(length as usize);
        content.synced = content.bytes.len();
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        if directory_of(from) != directory_of(to) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let mut tree = self.tree.lock();
        tree.content(from)?;
        tree.change(Change::Renamed(from.to_owned(), to.to_owned()), directory_of(from));
        Ok(())
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let mut tree = self.tree.lock();
        tree.content(path)?;
        tree.change(Change::Removed(path.to_owned()), directory_of(path));
        Ok(())
    }

    fn remove_directory(&self, directory: &str) -> io::Result<()> {
        let start = format!("{directory}/");
        let mut tree = self.tree.lock();
        tree.names.retain(|path, _| !path.starts_with(&start));
        tree.durable.retain(|path, _| !path.starts_with(&start));
        tree.directories.retain(|path| path != directory && !path.starts_with(&start));
        tree.changes.retain(|changed, _| changed != directory && !changed.starts_with(&start));
        Ok(())
    }

    fn sync_directory(&self, directory: &str) -> io::Result<()> {
        let mut tree = self.tree.lock();
        for change in tree.changes.remove(directory).unwrap_or_default() {
            change.apply(&mut tree.durable);
        }
        Ok(())
    }

    fn free(&self) -> io::Result<u64> {
        Ok(self.tree.lock().free())
    }

    fn kept_files(&self) -> Arc<KeptFiles> {
        let most = self.tree.lock().most_kept_files.unwrap_or(usize::MAX);
        Arc::new(KeptFiles::new(most))
    }
}

struct MemoryRead {
    content: Arc<Mutex<Content>>,
}

impl DiskRead for MemoryRead {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let content = self.content.lock();
        let rest = content.bytes.get(offset as usize..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
}

struct MemoryFile {
    tree: Arc<Mutex<Tree>>,
    content: Arc<Mutex<Content>>,
}

impl DiskFile for MemoryFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let tree = self.tree.lock();
        let free = tree.free();
        let mut content = self.content.lock();
        let free = free.saturating_add(content.taken() - content.bytes.len() as u64);
        let taken = bytes.len().min(usize::try_from(free).unwrap_or(usize::MAX));
        content.bytes.extend_from_slice(&bytes[..taken]);
        if taken < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn reserve(&mut self, bytes: u64) -> io::Result<()> {
        let free = self.tree.lock().free();
        let mut content = self.content.lock();
        let reserved = content.bytes.len() as u64 + bytes;
        if reserved.saturating_sub(content.taken()) > free {
            return Err(io::ErrorKind::StorageFull.into());
        }
        content.reserved = reserved;
        Ok(())
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        let mut content = self.content.lock();
        content.reserved = 0;
        assert!(length >= content.synced as u64, "what is synced is not taken back");
        content.bytes.truncate(length as usize);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut content = self.content.lock();
        content.synced = content.bytes.len();
        Ok(())
    }

    fn length(&self) -> u64 {
        self.content.lock().bytes.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(disk: &MemoryDisk, path: &str) -> Option<String> {
        let content = disk.tree.lock().names.get(path).cloned()?;
        Some(String::from_utf8(content.lock().bytes.clone()).unwrap())
    }

    #[test]
    fn a_power_loss_takes_only_what_was_not_synced() {
        let disk = MemoryDisk::default();
        let mut file = disk.open_append("log/1").unwrap();
        file.append(b"abc").unwrap();
        file.sync().unwrap();
        disk.sync_directory("log").unwrap();
        file.append(b"def").unwrap();
        disk.open_append("log/2").unwrap().append(b"x").unwrap();
        disk.rename("log/1", "log/3").unwrap();

        let killed = disk.kill();
        assert_eq!(text(&killed, "log/3").unwrap(), "abcdef");
        assert_eq!(text(&killed, "log/2").unwrap(), "x");

        let lost = disk.crash(|_, _| 0);
        assert_eq!(lost.paths(), ["log/1"]);
        assert_eq!(text(&lost, "log/1").unwrap(), "abc");

        let torn = disk.crash(|_, count| count / 2);
        assert_eq!(torn.paths(), ["log/1", "log/2"]);
        assert_eq!(text(&torn, "log/1").unwrap(), "abcd");
        assert_eq!(text(&torn, "log/2").unwrap(), "");

        let whole = disk.crash(|_, count| count);
        assert_eq!(text(&whole, "log/3").unwrap(), "abcdef");
        drop(file);
    }

    #[test]
    fn a_full_disk_takes_what_there_is_room_for() {
        let disk = MemoryDisk::default();
        assert_eq!(disk.free().unwrap(), u64::MAX);
        disk.set_capacity(Some(5));
        let mut file = disk.open_append("log/1").unwrap();
        file.append(b"abc").unwrap();
        assert_eq!(disk.free().unwrap(), 2);
        assert_eq!(file.append(b"def").unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(text(&disk, "log/1").unwrap(), "abcde");
        disk.remove("log/1").unwrap();
        assert_eq!(disk.free().unwrap(), 5);
    }
}
