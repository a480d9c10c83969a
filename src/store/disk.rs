//! The disk at the level of bytes: the few operations the store needs, and their durability.
//!
//! [`FileDisk`] is a directory, [`MemoryDisk`] the same in memory with a model of power loss, and
//! [`FaultyDisk`] makes any other fail on purpose. Names are paths relative to the data directory
//! with `/` between their parts.
//!
//! What is durable when, for every implementation:
//!
//! - bytes appended to a file: after [`DiskFile::sync`];
//! - a file's creation, renaming or removal: after [`Disk::sync_directory`] on its directory;
//! - a directory's creation or removal, and a truncation: when the call returns.
//!
//! Before that a crash may leave any prefix of the appended bytes, and any prefix of the changes
//! to a directory in the order they were made.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

mod directory_lock;
mod faulty;
mod memory;
mod overlay;

use self::directory_lock::DirectoryLock;
use super::kept_files::KeptFiles;

pub use faulty::{Fault, FaultyDisk, Operation};
pub use memory::MemoryDisk;
pub use overlay::Change;
pub(super) use overlay::OverlayDisk;

/// Where the store keeps its bytes.
pub trait Disk: Send + Sync + 'static {
    /// The names of files and directories in `directory`, sorted; none if it does not exist.
    fn list(&self, directory: &str) -> io::Result<Vec<String>>;

    /// The length of a file in bytes, `None` if there is no such file.
    fn length(&self, path: &str) -> io::Result<Option<u64>>;

    /// Opens a file to read from it. What is appended later can be read too.
    fn open_read(&self, path: &str) -> io::Result<Box<dyn DiskRead>>;

    /// Reads from a file once, as [`DiskRead::read`].
    fn read(&self, path: &str, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.open_read(path)?.read(offset, buffer)
    }

    /// Opens a file to append to it; creates it, and the directories above it, if needed.
    fn open_append(&self, path: &str) -> io::Result<Box<dyn DiskFile>>;

    /// Shortens a file, durably.
    fn truncate(&self, path: &str, length: u64) -> io::Result<()>;

    /// Renames a file within its directory, in place of any that had the new name.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, path: &str) -> io::Result<()>;

    /// Removes a directory with all that is in it, durably; no error if it does not exist.
    fn remove_directory(&self, directory: &str) -> io::Result<()>;

    /// Makes durable which files are in `directory`; `""` is the data directory itself.
    fn sync_directory(&self, directory: &str) -> io::Result<()>;

    /// How many more bytes there is room for.
    fn free(&self) -> io::Result<u64>;

    /// The slots for files that stay open; as many as anybody likes unless the disk says otherwise.
    fn kept_files(&self) -> Arc<KeptFiles> {
        Arc::new(KeptFiles::new(usize::MAX))
    }
}

/// A file open for reading.
pub trait DiskRead: Send {
    /// Fills `buffer` from `offset` as far as the file goes and returns how much that was.
    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
}

/// A file open for appending.
pub trait DiskFile: Send {
    /// Adds bytes at the end. After an error any part of them may be there.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes durable all that was appended, also through an earlier opening of the file.
    ///
    /// why: it may not be called again after an error: the system may have dropped the pages that
    /// it could not write and then answers that all is well.
    fn sync(&mut self) -> io::Result<()>;

    /// Takes back what was appended behind this length; for after an append that failed. What was synced may not
    /// be taken back.
    fn cut(&mut self, length: u64) -> io::Result<()>;

    /// Takes so many bytes of the disk for what is appended next, so that there is room for it when the disk is full.
    ///
    /// # Errors
    /// When the disk has no room for them, or cannot do so.
    fn reserve(&mut self, bytes: u64) -> io::Result<()>;

    /// How long the file is.
    fn length(&self) -> u64;
}

/// The directory part of a path, empty for a name at the top.
pub(super) fn directory_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(directory, _)| directory)
}

/// A data directory in the file system, locked against other processes while this value lives.
#[derive(Debug)]
pub struct FileDisk {
    root: PathBuf,
    lock: Option<DirectoryLock>,
    kept_files: Arc<KeptFiles>,
    /// Why no broker can have the directory, found by a look at it.
    obstacle: Option<OpenError>,
}

/// How many files the stores on a disk keep open at most, where the system allows more than enough.
pub(crate) const KEPT_FILES: usize = 256;

/// Why a directory cannot be the data directory. Each says it in one line.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Unusable {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The directory has other things in it.
    #[error("{} is not empty and is not a leveret data directory", path.display())]
    Foreign {
        /// The directory.
        path: PathBuf,
    },
    /// The marker file does not say what it should.
    #[error("{} does not name a format of leveret data: it holds {found:?}", path.display())]
    Marker {
        /// The marker file.
        path: PathBuf,
        /// The beginning of what is in it.
        found: String,
    },
    /// A later leveret wrote it.
    #[error(
        "{} has format version {found}, made by a newer leveret; this one knows version {VERSION}",
        path.display()
    )]
    Newer {
        /// The directory.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// An earlier leveret wrote it, in a format that was never released.
    #[error(
        "{} has format version {found}, made by an older leveret; this one knows version {VERSION}",
        path.display()
    )]
    Older {
        /// The directory.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// There is nothing in the directory.
    #[error("{} is empty: there is nothing to look at", path.display())]
    Empty {
        /// The directory.
        path: PathBuf,
    },
    /// Another process has it open.
    #[error("{} is in use by another leveret", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
}

/// The version of the format of everything in the data directory.
pub(super) const VERSION: u32 = 2;
const MARKER: &str = "leveret";
const MARKER_DRAFT: &str = "leveret.draft";
const MARKER_TITLE: &str = "leveret data directory, version ";
const LOCK: &str = "lock";

/// Nobody but the owner reads what is in messages, and the hashes of passwords.
const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;

impl FileDisk {
    /// Opens `directory` as a data directory, made new if it does not exist or is empty.
    pub fn open(directory: &Path) -> Result<FileDisk, OpenError> {
        let unusable = |action, path: &Path| {
            let path = path.to_owned();
            move |source| OpenError::Unusable { action, path, source }
        };
        create_directories(directory).map_err(unusable("create the data directory", directory))?;
        // why: looked at before the lock file is made, so that a foreign directory stays as it is.
        check_marker(directory)?;
        close_to_others(directory);
        let lock_path = directory.join(LOCK);
        check_lock_file(&lock_path).map_err(unusable("write", &lock_path))?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(FILE_MODE)
            .open(&lock_path)
            .map_err(unusable("write", &lock_path))?;
        let lock = check_lock(directory, &lock_path, DirectoryLock::exclusive(lock))?;
        let disk = FileDisk::at(directory, Some(lock));
        if !check_marker(directory)? {
            disk.write_marker().map_err(unusable("write in", directory))?;
        }
        Ok(disk)
    }

    /// Opens a data directory that is there to look at it: nothing in it is made or changed by this,
    /// and it may be one that cannot be written. No broker gets in meanwhile.
    ///
    /// Where there is no lock file, as in a copy, nothing is locked; see
    /// [`is_locked`](FileDisk::is_locked). Where something else has its name no broker can start; see
    /// [`obstacle`](FileDisk::obstacle).
    pub fn open_to_look(directory: &Path) -> Result<FileDisk, OpenError> {
        if !check_marker(directory)? {
            return Err(OpenError::Empty { path: directory.to_owned() });
        }
        let lock_path = directory.join(LOCK);
        if let Err(source) = check_lock_file(&lock_path) {
            let obstacle = Some(OpenError::Unusable { action: "write", path: lock_path, source });
            return Ok(FileDisk { obstacle, ..FileDisk::at(directory, None) });
        }
        let lock = match File::open(&lock_path) {
            Ok(lock) => Some(lock),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => {
                return Err(OpenError::Unusable { action: "read", path: lock_path, source });
            }
        };
        // why: shared, as for more than that the file had to be open for writing on some systems.
        let lock = lock.map(|lock| check_lock(directory, &lock_path, DirectoryLock::shared(lock)));
        let lock = lock.transpose()?;
        Ok(FileDisk::at(directory, lock))
    }

    fn at(directory: &Path, lock: Option<DirectoryLock>) -> Self {
        let kept_files = Arc::new(KeptFiles::new(KEPT_FILES));
        FileDisk { root: directory.to_owned(), lock, kept_files, obstacle: None }
    }

    /// Why no broker can have the directory, if that was found by [`open_to_look`](FileDisk::open_to_look).
    pub fn obstacle(&self) -> Option<&OpenError> {
        self.obstacle.as_ref()
    }

    /// Whether other processes are kept out.
    pub fn is_locked(&self) -> bool {
        self.lock.is_some()
    }

    /// It will be closed soon: who opens the directory in this process may wait for that.
    pub(crate) fn let_go(&self) {
        if let Some(lock) = &self.lock {
            lock.let_go();
        }
    }

    /// Whether the directory is still where it was opened, as far as that can be told.
    pub fn is_there(&self) -> bool {
        let Some(lock) = &self.lock else { return true };
        match fs::metadata(self.root.join(LOCK)) {
            Ok(found) => lock.is_of(&found),
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        }
    }

    /// The data directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// How many bytes the file system has left for an unprivileged process.
    pub fn free_bytes(&self) -> io::Result<u64> {
        let found = rustix::fs::statvfs(&self.root)?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }

    fn write_marker(&self) -> io::Result<()> {
        let draft = self.root.join(MARKER_DRAFT);
        let mut options = OpenOptions::new();
        let mut file =
            options.create(true).truncate(true).write(true).mode(FILE_MODE).open(&draft)?;
        file.write_all(format!("{MARKER_TITLE}{VERSION}\n").as_bytes())?;
        file.sync_data()?;
        fs::rename(&draft, self.root.join(MARKER))?;
        self.sync_directory("")
    }

    fn locate(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }
}

/// Whether what has the lock's name, if anything has, is a file.
///
/// why: asked before it is opened. A directory can be opened to be read, and a pipe is waited for.
fn check_lock_file(lock_path: &Path) -> io::Result<()> {
    match fs::metadata(lock_path) {
        Ok(found) if found.is_file() => Ok(()),
        Ok(found) if found.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        Ok(_) => Err(io::Error::other("it is not a file")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// What became of an attempt to lock a data directory.
fn check_lock(
    directory: &Path,
    lock_path: &Path,
    locked: Result<DirectoryLock, TryLockError>,
) -> Result<DirectoryLock, OpenError> {
    let path = lock_path.to_owned();
    locked.map_err(|error| match error {
        TryLockError::WouldBlock => OpenError::InUse { path: directory.to_owned() },
        TryLockError::Error(source) => OpenError::Unusable { action: "lock", path, source },
    })
}

/// Whether the directory has a marker with a version this program knows.
fn check_marker(directory: &Path) -> Result<bool, OpenError> {
    let path = directory.join(MARKER);
    let text = match fs::read(&path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return if is_vacant(directory)? {
                Ok(false)
            } else {
                Err(OpenError::Foreign { path: directory.to_owned() })
            };
        }
        Err(source) => return Err(OpenError::Unusable { action: "read", path, source }),
    };
    let version = text.strip_prefix(MARKER_TITLE).and_then(|rest| rest.trim_end().parse().ok());
    match version {
        Some(VERSION) => Ok(true),
        Some(found) if found > VERSION => {
            Err(OpenError::Newer { path: directory.to_owned(), found })
        }
        Some(found) => Err(OpenError::Older { path: directory.to_owned(), found }),
        _ => Err(OpenError::Marker { path, found: text.chars().take(40).collect() }),
    }
}

/// Whether there is nothing in the directory but what an interrupted first start leaves there, or
/// what a new file system brings along.
fn is_vacant(directory: &Path) -> Result<bool, OpenError> {
    let unusable =
        |source| OpenError::Unusable { action: "list", path: directory.to_owned(), source };
    for entry in fs::read_dir(directory).map_err(unusable)? {
        let name = entry.map_err(unusable)?.file_name();
        if ![LOCK, MARKER_DRAFT, "lost+found"].iter().any(|known| name == *known) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Creates a directory and what is missing above it, and makes their names durable.
fn create_directories(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let parent = match directory.parent() {
        None => return make_directory(directory),
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
    };
    create_directories(parent)?;
    let parent = File::open(parent)?;
    match make_directory(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => {}
        other => other?,
    }
    // why: one that is found later counts as durable.
    parent.sync_all().inspect_err(|_| drop(fs::remove_dir(directory)))
}

fn make_directory(directory: &Path) -> io::Result<()> {
    fs::DirBuilder::new().mode(DIRECTORY_MODE).create(directory)
}

/// Lets nobody but the owner into a data directory that was made with other rights, where that is possible.
fn close_to_others(directory: &Path) {
    let Ok(metadata) = fs::metadata(directory) else { return };
    let mut permissions = metadata.permissions();
    let mode = permissions.mode() & 0o7777;
    if mode & 0o077 != 0 {
        permissions.set_mode(mode & !0o077);
        // why: on a file system without rights, or in a directory of another user, it stays as it is.
        let _ = fs::set_permissions(directory, permissions);
    }
}

impl Disk for FileDisk {
    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(self.locate(directory)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        for entry in entries {
            // A name that is no UTF-8 is none of the store's.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn length(&self, path: &str) -> io::Result<Option<u64>> {
        match fs::metadata(self.locate(path)) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn open_read(&self, path: &str) -> io::Result<Box<dyn DiskRead>> {
        Ok(Box::new(File::open(self.locate(path))?))
    }

    fn open_append(&self, path: &str) -> io::Result<Box<dyn DiskFile>> {
        // why: a data directory that is gone must not come back with a part of what was in it.
        if !self.root.is_dir() {
            return Err(io::ErrorKind::NotFound.into());
        }
        create_directories(&self.locate(directory_of(path)))?;
        let file =
            OpenOptions::new().create(true).append(true).mode(FILE_MODE).open(self.locate(path))?;
        let length = file.metadata()?.len();
        Ok(Box::new(AppendedFile { file, length }))
    }

    fn truncate(&self, path: &str, length: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(self.locate(path))?;
        file.set_len(length)?;
        file.sync_all()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.locate(from), self.locate(to))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        fs::remove_file(self.locate(path))
    }

    fn remove_directory(&self, directory: &str) -> io::Result<()> {
        match fs::remove_dir_all(self.locate(directory)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(()) => self.sync_directory(directory_of(directory)),
        }
    }

    fn sync_directory(&self, directory: &str) -> io::Result<()> {
        File::open(self.locate(directory))?.sync_all()
    }

    fn free(&self) -> io::Result<u64> {
        self.free_bytes()
    }

    fn kept_files(&self) -> Arc<KeptFiles> {
        self.kept_files.clone()
    }
}

impl DiskRead for File {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read_at(&mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

/// Whether the system had no means to try, which says nothing about the file.
pub(super) fn is_want_of_means(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::MFILE, Errno::NFILE, Errno::NOMEM]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Whether the system has nothing left to try it with, or to put more on: files, memory, room, inodes, or what a
/// quota allows. It may have later.
pub(super) fn is_shortage(error: &io::Error) -> bool {
    let is_full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
    is_want_of_means(error) || is_full.contains(&error.kind())
}

struct AppendedFile {
    file: File,
    length: u64,
}

impl DiskFile for AppendedFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.file.set_len(length)?;
        self.length = length;
        Ok(())
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn reserve(&mut self, bytes: u64) -> io::Result<()> {
        use rustix::fs::{FallocateFlags, fallocate};
        Ok(fallocate(&self.file, FallocateFlags::KEEP_SIZE, self.length, bytes)?)
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fn reserve(&mut self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn length(&self) -> u64 {
        self.length
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(directory: &Path) -> String {
        FileDisk::open(directory).unwrap_err().to_string()
    }

    #[test]
    fn both_disks_do_the_same() {
        let home = tempfile::tempdir().unwrap();
        let disks: [Box<dyn Disk>; 2] = [
            Box::new(FileDisk::open(&home.path().join("a/b")).unwrap()),
            Box::new(MemoryDisk::default()),
        ];
        for disk in disks {
            assert!(disk.list("log").unwrap().is_empty());
            assert_eq!(disk.length("log/1").unwrap(), None);
            assert!(disk.remove("log/1").is_err());
            let mut file = disk.open_append("log/1").unwrap();
            file.append(b"abc").unwrap();
            drop(file);
            let mut file = disk.open_append("log/1").unwrap();
            assert_eq!(file.length(), 3);
            file.append(b"def").unwrap();
            file.sync().unwrap();
            assert_eq!(file.length(), 6);
            disk.sync_directory("log").unwrap();
            disk.open_append("queues/1/2").unwrap();
            assert_eq!(disk.list("queues").unwrap(), ["1"]);
            let mut buffer = [0; 4];
            assert_eq!(disk.read("log/1", 3, &mut buffer).unwrap(), 3);
            assert_eq!(&buffer[..3], b"def");
            let reader = disk.open_read("log/1").unwrap();
            file.append(b"ghi").unwrap();
            assert_eq!(reader.read(5, &mut buffer).unwrap(), 4);
            assert_eq!(&buffer, b"fghi");
            assert!(disk.free().unwrap() > 0);
            assert!(disk.open_read("log/7").is_err());
            disk.truncate("log/1", 2).unwrap();
            assert_eq!(disk.length("log/1").unwrap(), Some(2));
            disk.open_append("log/2").unwrap();
            disk.rename("log/1", "log/2").unwrap();
            assert_eq!(disk.list("log").unwrap(), ["2"]);
            assert_eq!(disk.length("log/2").unwrap(), Some(2));
            disk.remove("log/2").unwrap();
            assert!(disk.list("log").unwrap().is_empty());
            disk.remove_directory("queues/1").unwrap();
            disk.remove_directory("queues/1").unwrap();
            assert!(disk.list("queues").unwrap().is_empty());
        }
    }

    #[test]
    fn a_data_directory_is_opened_again_but_not_twice() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("data");
        let disk = FileDisk::open(&directory).unwrap();
        assert!(disk.free_bytes().unwrap() > 0);
        assert_eq!(
            refusal(&directory),
            format!("{} is in use by another leveret", directory.display())
        );
        drop(disk);
        FileDisk::open(&directory).unwrap();
    }

    #[test]
    fn a_data_directory_that_is_taken_away_is_missed_and_not_made_anew() {
        let home = tempfile::tempdir().unwrap();
        let [directory, elsewhere] = ["data", "elsewhere"].map(|name| home.path().join(name));
        let disk = FileDisk::open(&directory).unwrap();
        disk.open_append("log/1").unwrap();
        assert!(disk.is_there());
        fs::rename(&directory, &elsewhere).unwrap();
        assert!(!disk.is_there());
        assert_eq!(disk.open_append("log/2").err().unwrap().kind(), io::ErrorKind::NotFound);
        let other = FileDisk::open(&directory).unwrap();
        assert!(!disk.is_there() && other.is_there());
        drop(other);
        fs::remove_dir_all(&directory).unwrap();
        fs::rename(&elsewhere, &directory).unwrap();
        assert!(disk.is_there());
    }

    #[test]
    fn what_is_no_data_directory_is_refused_and_left_alone() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("letter"), "dear").unwrap();
        assert!(refusal(home.path()).ends_with("is not empty and is not a leveret data directory"));
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
        let below_a_file = home.path().join("letter/data");
        assert!(refusal(&below_a_file).starts_with("cannot create the data directory"));
    }

    #[test]
    fn another_version_is_refused() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join(MARKER), format!("{MARKER_TITLE}7\n")).unwrap();
        assert!(refusal(home.path()).contains("has format version 7, made by a newer leveret"));
        fs::write(home.path().join(MARKER), format!("{MARKER_TITLE}1\n")).unwrap();
        assert!(refusal(home.path()).contains("has format version 1, made by an older leveret"));
        fs::write(home.path().join(MARKER), "hello").unwrap();
        assert!(refusal(home.path()).contains("does not name a format of leveret data"));
    }
}
