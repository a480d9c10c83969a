//! A file to which changes of something small are appended, each synced before it counts; who keeps it
//! replaces it by an empty one when it has a whole copy of what all of them led to.
//!
//! ```text
//!  header: magic, version, salt, number of the change before the first
//!  frames: length, checksum, number of the change, the change
//! ```

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::sync::Arc;

use super::disk::{Disk, DiskFile, VERSION};
use super::error::{During, StoreError};
use super::framing::{
    FrameReader, Gap, GapEnd, Header, Item, KEY_LENGTH, Keys, frame_length, put_frame,
};
use super::report::Damage;
use super::subdirectory::replace_whole;

const MAGIC: [u8; 8] = *b"lvrt-chg";

/// Such a file.
pub struct ChangeLog {
    disk: Arc<dyn Disk>,
    path: String,
    salt: u32,
    /// The number of the last change.
    last: u64,
    length: u64,
    file: Option<Box<dyn DiskFile>>,
}

/// What is in such a file.
pub struct FoundChanges {
    /// To append to it. A torn tail is cut off first, see [`ChangeLog::append`].
    pub log: ChangeLog,
    /// The number of the change before the first.
    pub before: u64,
    /// The changes, each with its number.
    pub changes: Vec<(u64, Vec<u8>)>,
    /// A torn tail: a change that was being appended and that nobody was told of.
    pub torn: Option<Damage>,
}

impl ChangeLog {
    /// Makes an empty one in place of what there is; the change `last` was the one before.
    pub fn create(disk: Arc<dyn Disk>, path: &str, last: u64) -> io::Result<Self> {
        // The standard library's hasher is seeded by the system: the only randomness needed here.
        let salt = RandomState::new().build_hasher().finish() as u32;
        let mut header = Vec::new();
        Header::new(MAGIC, [u64::from(salt), last]).put(&mut header);
        replace_whole(&*disk, path, &header)?;
        let length = header.len() as u64;
        Ok(ChangeLog { disk, path: path.to_owned(), salt, last, length, file: None })
    }

    /// Reads one, if it is there. Changes nothing.
    ///
    /// # Errors
    /// When it is damaged before its tail.
    pub fn read(disk: Arc<dyn Disk>, path: &str) -> Result<Option<FoundChanges>, StoreError> {
        let Some(end) = disk.length(path).during("read", path)? else { return Ok(None) };
        let damaged = |what: String| StoreError::Damaged { path: path.to_owned(), what };
        let header = Header::read(&*disk, path, MAGIC).during("read", path)?;
        let header = header.ok_or_else(|| damaged("its header is not whole".to_owned()))?;
        if header.version != VERSION {
            return Err(StoreError::other_version(path, header.version));
        }
        let [salt, before] = header.numbers;
        let salt = salt as u32;
        let mut log = ChangeLog {
            disk: disk.clone(),
            path: path.to_owned(),
            salt,
            last: before,
            length: end,
            file: None,
        };
        let (mut changes, mut torn) = (Vec::new(), None);
        let mut reader =
            FrameReader::new(disk, path.to_owned(), salt, Keys::Counted, Some(before), end);
        loop {
            match reader.next().during("read", path)? {
                Item::Frame { key, payload } => {
                    log.last = key;
                    changes.push((key, payload.to_vec()));
                }
                Item::Damage(gap) if is_one_frame(&*log.disk, path, &gap) => {
                    let what = format!("a torn end after change {}; cut off", log.last);
                    let (offset, bytes) = (gap.offset, gap.bytes);
                    torn = Some(Damage { path: path.to_owned(), offset, bytes, what });
                    log.length = gap.offset;
                }
                Item::Damage(gap) => {
                    let what =
                        format!("not whole after change {}, at byte {}", log.last, gap.offset);
                    return Err(damaged(what));
                }
                Item::End => return Ok(Some(FoundChanges { log, before, changes, torn })),
            }
        }
    }

    /// Appends a change and syncs it; gives back its number. After an error the file is not to be used any
    /// more: the change may be in it or not.
    pub fn append(&mut self, change: &[u8]) -> io::Result<u64> {
        let number = self.last + 1;
        let mut frame = Vec::new();
        put_frame(&mut frame, self.salt, number, |out| out.extend_from_slice(change));
        if self.file.is_none() && self.disk.length(&self.path)? != Some(self.length) {
            self.disk.truncate(&self.path, self.length)?;
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(self.disk.open_append(&self.path)?),
        };
        file.append(&frame)?;
        file.sync()?;
        self.length += frame.len() as u64;
        self.last = number;
        Ok(number)
    }

    /// How long it is, in bytes, with one more change of so many.
    pub fn length_with(&self, change: usize) -> u64 {
        self.length + frame_length(change)
    }

    /// The number of the last change.
    pub fn last(&self) -> u64 {
        self.last
    }
}

/// Whether what is not whole can be one change that was being appended.
///
/// why: each change is synced before the next one, so that more than one is damage.
fn is_one_frame(disk: &dyn Disk, path: &str, gap: &Gap) -> bool {
    if gap.end != GapEnd::File {
        return false;
    }
    let mut length = [0; 4];
    match disk.read(path, gap.offset, &mut length) {
        Ok(4) => {}
        // It is so short, or the next read fails as well.
        _ => return true,
    }
    let length = u32::from_le_bytes(length) as usize;
    // Zeros are room that the file system had given already.
    length == 0 || frame_length(length.saturating_sub(KEY_LENGTH)) >= gap.bytes
}
