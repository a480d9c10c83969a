//! A disk that keeps to itself what is written to it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Disk, DiskFile, DiskRead};

/// A disk over another, which it never changes: what is written to it is in memory and goes with it.
///
/// why: whatever opens a store mends it on the way. Over this, it says what it would mend.
///
/// A file that is opened for reading before it is changed here is read as it is below.
#[derive(Clone)]
pub(in crate::store) struct OverlayDisk {
    below: Arc<dyn Disk>,
    files: Arc<Mutex<Files>>,
}

/// What is different here, by path; none is a file that is no more.
type Files = BTreeMap<String, Option<Arc<Mutex<Content>>>>;

#[derive(Default)]
struct Content {
    /// A file below and how much of it still counts.
    below: Option<(String, u64)>,
    above: Vec<u8>,
}

/// Something that happened to a file, or would have on the disk below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was made shorter.
    Cut {
        /// Which file.
        path: String,
        /// How long it is then.
        length: u64,
        /// How many bytes go.
        bytes: u64,
    },
    /// It was removed.
    Removed {
        /// Which file.
        path: String,
        /// How long it was.
        bytes: u64,
    },
    /// Another was put in its place.
    Replaced {
        /// Which file.
        path: String,
    },
    /// It is new.
    Made {
        /// Which file.
        path: String,
    },
}

impl Change {
    /// Which file it is.
    pub fn path(&self) -> &str {
        match self {
            Change::Cut { path, .. }
            | Change::Removed { path, .. }
            | Change::Replaced { path }
            | Change::Made { path } => path,
        }
    }
}

/// In the infinitive, without the path: what a start would do.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Cut { length, bytes, .. } => {
                write!(f, "cut to {length} bytes, which takes off {bytes}")
            }
            Change::Removed { bytes, .. } => write!(f, "remove, {bytes} bytes"),
            Change::Replaced { .. } => f.write_str("write anew"),
            Change::Made { .. } => f.write_str("make"),
        }
    }
}

impl OverlayDisk {
    pub(in crate::store) fn new(below: Arc<dyn Disk>) -> Self {
        OverlayDisk { below, files: Arc::default() }
    }

    /// What would have happened on the disk below, by path.
    pub(in crate::store) fn changes(&self) -> io::Result<Vec<Change>> {
        let mut changes = Vec::new();
        for (path, content) in &*self.files.lock() {
            let path = path.clone();
            let Some(before) = self.below.length(&path)? else {
                changes.extend(content.as_ref().map(|_| Change::Made { path }));
                continue;
            };
            let content = content.as_ref().map(|content| content.lock());
            match content.as_deref() {
                None => changes.push(Change::Removed { path, bytes: before }),
                Some(Content { below: Some((same, kept)), above }) if *same == path => {
                    let (length, bytes) = (*kept, before.saturating_sub(*kept));
                    if bytes > 0 {
                        changes.push(Change::Cut { path, length, bytes });
                    } else if !above.is_empty() {
                        changes.push(Change::Replaced { path });
                    }
                }
                Some(_) => changes.push(Change::Replaced { path }),
            }
        }
        Ok(changes)
    }

    /// A file's content here, to be changed.
    fn content(&self, path: &str) -> io::Result<Option<Arc<Mutex<Content>>>> {
        let mut files = self.files.lock();
        if let Some(known) = files.get(path) {
            return Ok(known.clone());
        }
        let Some(length) = self.below.length(path)? else { return Ok(None) };
        let content = Content { below: Some((path.to_owned(), length)), above: Vec::new() };
        let content = Arc::new(Mutex::new(content));
        files.insert(path.to_owned(), Some(content.clone()));
        Ok(Some(content))
    }

    fn existing(&self, path: &str) -> io::Result<Arc<Mutex<Content>>> {
        self.content(path)?.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Content {
    fn length(&self) -> u64 {
        self.below.as_ref().map_or(0, |(_, kept)| *kept) + self.above.len() as u64
    }

    fn truncate(&mut self, length: u64) {
        let kept = self.below.as_ref().map_or(0, |(_, kept)| *kept);
        self.above.truncate(length.saturating_sub(kept) as usize);
        if let Some((_, kept)) = &mut self.below {
            *kept = length.min(*kept);
        }
    }

    fn read(&self, disk: &dyn Disk, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        let kept = self.below.as_ref().map_or(0, |(_, kept)| *kept);
        if let Some((path, kept)) = &self.below
            && offset < *kept
        {
            let count =
                usize::try_from(kept - offset).map_or(buffer.len(), |it| it.min(buffer.len()));
            filled = disk.read(path, offset, &mut buffer[..count])?;
            if filled < count {
                return Ok(filled);
            }
        }
        let from = (offset + filled as u64).saturating_sub(kept) as usize;
        let rest = self.above.get(from..).unwrap_or_default();
        let count = rest.len().min(buffer.len() - filled);
        buffer[filled..filled + count].copy_from_slice(&rest[..count]);
        Ok(filled + count)
    }
}

impl Disk for OverlayDisk {
    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        let mut names: BTreeSet<String> = self.below.list(directory)?.into_iter().collect();
        let start = if directory.is_empty() { String::new() } else { format!("{directory}/") };
        for (path, content) in &*self.files.lock() {
            let Some(rest) = path.strip_prefix(&start) else { continue };
            match (content, rest.split_once('/')) {
                (Some(_), Some((inner, _))) => drop(names.insert(inner.to_owned())),
                (Some(_), None) => drop(names.insert(rest.to_owned())),
                (None, None) => drop(names.remove(rest)),
                (None, Some(_)) => {}
            }
        }
        Ok(names.into_iter().collect())
    }

    fn length(&self, path: &str) -> io::Result<Option<u64>> {
        match self.files.lock().get(path) {
            Some(content) => Ok(content.as_ref().map(|content| content.lock().length())),
            None => self.below.length(path),
        }
    }

    fn open_read(&self, path: &str) -> io::Result<Box<dyn DiskRead>> {
        match self.files.lock().get(path) {
            None => self.below.open_read(path),
            Some(None) => Err(io::ErrorKind::NotFound.into()),
            Some(Some(content)) => {
                Ok(Box::new(OverlayFile { below: self.below.clone(), content: content.clone() }))
            }
        }
    }

    fn open_append(&self, path: &str) -> io::Result<Box<dyn DiskFile>> {
        let content = match self.content(path)? {
            Some(content) => content,
            None => {
                let content = Arc::<Mutex<Content>>::default();
                self.files.lock().insert(path.to_owned(), Some(content.clone()));
                content
            }
        };
        Ok(Box::new(OverlayFile { below: self.below.clone(), content }))
    }

    fn truncate(&self, path: &str, length: u64) -> io::Result<()> {
        self.existing(path)?.lock().truncate(length);
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let content = self.existing(from)?;
        let mut files = self.files.lock();
        files.insert(from.to_owned(), None);
        files.insert(to.to_owned(), Some(content));
        Ok(())
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.existing(path)?;
        self.files.lock().insert(path.to_owned(), None);
        Ok(())
    }

    /// Not to be had: no start removes one before it is done.
    fn remove_directory(&self, _: &str) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn sync_directory(&self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn free(&self) -> io::Result<u64> {
        self.below.free()
    }
}

struct OverlayFile {
    below: Arc<dyn Disk>,
    content: Arc<Mutex<Content>>,
}

impl DiskRead for OverlayFile {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.content.lock().read(&*self.below, offset, buffer)
    }
}

impl DiskFile for OverlayFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.content.lock().above.extend_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn reserve(&mut self, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.content.lock().truncate(length);
        Ok(())
    }

    fn length(&self) -> u64 {
        self.content.lock().length()
    }
}

#[cfg(test)]
mod tests {
    use super::super::MemoryDisk;
    use super::*;
    use crate::store::read_whole;

    fn put(disk: &dyn Disk, path: &str, bytes: &[u8]) {
        disk.open_append(path).unwrap().append(bytes).unwrap();
    }

    #[test]
    fn what_is_written_is_seen_here_alone() {
        let below = MemoryDisk::default();
        for path in ["a", "b", "d/c", "same"] {
            put(&below, path, b"012345");
        }
        let disk = OverlayDisk::new(Arc::new(below.clone()));
        disk.truncate("a", 4).unwrap();
        put(&disk, "a", b"xyz");
        let mut buffer = [0; 4];
        assert_eq!(disk.read("a", 2, &mut buffer).unwrap(), 4);
        assert_eq!(&buffer, b"23xy");
        assert_eq!(disk.read("a", 5, &mut buffer).unwrap(), 2);
        disk.truncate("a", 3).unwrap();
        assert_eq!(read_whole(&disk, "a").unwrap().unwrap(), b"012");
        disk.remove("d/c").unwrap();
        assert!(disk.list("d").unwrap().is_empty() && disk.open_read("d/c").is_err());
        put(&disk, "draft", b"new");
        disk.rename("draft", "b").unwrap();
        assert_eq!(read_whole(&disk, "b").unwrap().unwrap(), b"new");
        put(&disk, "e/f", b"new");
        drop(disk.open_append("same").unwrap());
        assert_eq!(disk.list("").unwrap(), ["a", "b", "d", "e", "same"]);
        let changes = [
            Change::Cut { path: "a".to_owned(), length: 3, bytes: 3 },
            Change::Replaced { path: "b".to_owned() },
            Change::Removed { path: "d/c".to_owned(), bytes: 6 },
            Change::Made { path: "e/f".to_owned() },
        ];
        assert_eq!(disk.changes().unwrap(), changes);
        assert_eq!(below.paths(), ["a", "b", "d/c", "same"]);
        for path in below.paths() {
            assert_eq!(read_whole(&below, &path).unwrap().unwrap(), b"012345");
        }
    }
}
