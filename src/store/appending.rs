//! Appending to segments: what is moved, paged out or rescued is put together in memory first, a
//! part for each file, and then written.
//!
//! invariant: nothing is known of a batch before all of it is written. So what cannot be written for want of open
//! files, inodes or room leaves everything as it was.
//! invariant: a durable segment that was appended to is among the [`Unsynced`] until it is synced,
//! and only what was synced is ever named by a catalog.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use crate::broker::paging::PageOwner;
use crate::broker::record::{DurableQueueId, Position};

use super::disk::DiskFile;
use super::error::{During, StoreError};
use super::files::{Files, Purpose};
use super::framing::{HEADER_LENGTH, frame_length, put_frame};
use super::kept_files::KeptFile;
use super::segment::{self, Extent, Kind, SegmentKey};
use super::segment_set::{OpenSegments, SegmentSet};
use super::state::State;

/// How many files stay open between their first append and their sync. One more, and another is
/// synced early.
///
/// why: a file that is closed and opened again may not tell that writing it back failed meanwhile.
const OPEN_FILES: usize = if cfg!(test) { 2 } else { 128 };

/// About how many bytes are in a batch at most.
const BATCH_BYTES: u64 = 4 * 1024 * 1024;
/// For how many queues a batch has messages at most.
const BATCH_QUEUES: usize = 128;

/// What is to be appended.
pub(super) struct Batch {
    queues: BTreeMap<(PageOwner, Kind), QueueBatch>,
    bytes: u64,
    /// How many bytes the disk had room for.
    room: u64,
    /// How many bytes of that were given away at most.
    promised: u64,
}

/// What is to be appended to the segments of a queue.
struct QueueBatch {
    /// Where its next message will go.
    plan: OpenSegments,
    parts: BTreeMap<SegmentKey, Part>,
    /// In the order in which they got their places.
    placed: Vec<Placed>,
}

/// What is to be appended to one file.
struct Part {
    /// How long the file is before.
    offset: u64,
    bytes: Vec<u8>,
}

/// A message that has a place, of which nobody knows yet.
struct Placed {
    position: Position,
    /// How long its frame is.
    length: u64,
    body_bytes: u64,
}

/// A message on its way into a segment.
pub(super) struct Arrival<F> {
    pub(super) owner: PageOwner,
    pub(super) kind: Kind,
    pub(super) position: Position,
    /// The length of what `fill` adds.
    pub(super) length: usize,
    /// How long the body in it is.
    pub(super) body_bytes: u64,
    /// Writes the payload of its frame: expiry and message.
    pub(super) fill: F,
}

impl<F> Arrival<F> {
    /// How much longer it makes a file, with the header of a new one.
    pub(super) fn bound(&self) -> u64 {
        frame_length(self.length) + HEADER_LENGTH as u64
    }
}

impl Batch {
    pub(super) fn new(files: &Files) -> Self {
        Batch { queues: BTreeMap::new(), bytes: 0, room: files.room(Purpose::Move), promised: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    /// Whether it is to be written before more is put into it.
    pub(super) fn is_full(&self) -> bool {
        self.bytes >= BATCH_BYTES || self.queues.len() >= BATCH_QUEUES
    }

    /// Whether there is room for so many bytes more; for before they are put into it.
    pub(super) fn ask_room(&mut self, files: &Files, needed: u64) -> Result<(), StoreError> {
        let promised = self.promised + needed;
        if promised > self.room {
            return Err(files.no_room(needed));
        }
        self.promised = promised;
        Ok(())
    }

    /// Gives a message its place; false if its queue is not there any more.
    pub(super) fn put<F>(&mut self, files: &Files, state: &mut State, arrival: Arrival<F>) -> bool
    where
        F: FnOnce(&mut Vec<u8>),
    {
        let Arrival { owner, kind, position, length, body_bytes, fill } = arrival;
        let (length, limit) = (frame_length(length), files.options.segment_bytes);
        let queue = match self.queues.entry((owner, kind)) {
            Entry::Occupied(queue) => queue.into_mut(),
            Entry::Vacant(place) => {
                let Some(plan) = state.with_segments(owner, kind, |set| set.plan()) else {
                    return false;
                };
                place.insert(QueueBatch { plan, parts: BTreeMap::new(), placed: Vec::new() })
            }
        };
        let appended = queue.plan.place(position, length, limit);
        let part = queue.parts.entry(appended.key).or_insert_with(|| {
            let mut bytes = Vec::new();
            if appended.starts_file {
                segment::header(owner, kind, appended.key.1).put(&mut bytes);
            }
            let offset = if appended.starts_file { 0 } else { appended.offset };
            Part { offset, bytes }
        });
        put_frame(&mut part.bytes, files.salt, position, fill);
        debug_assert_eq!(part.offset + part.bytes.len() as u64, appended.end(length));
        queue.placed.push(Placed { position, length, body_bytes });
        self.bytes += length;
        true
    }

    /// Writes it, queue by queue. `written` is told of each message once it lives where it was put. Where the system
    /// is short of something, the queue that it happened at and those behind it are as they were.
    pub(super) fn write(
        self,
        files: &Files,
        state: &mut State,
        unsynced: &mut Unsynced,
        mut written: impl FnMut(&mut State, PageOwner, Kind, Position),
    ) -> Result<(), StoreError> {
        for ((owner, kind), queue) in self.queues {
            queue.write(files, state, unsynced, (owner, kind))?;
            for Placed { position, length, body_bytes } in queue.placed {
                let limit = files.options.segment_bytes;
                let append = |set: &mut SegmentSet| set.append(position, length, body_bytes, limit);
                state.with_segments(owner, kind, append);
                if let (Kind::Durable, PageOwner::Durable(id)) = (kind, owner) {
                    state.leave_log(id, position);
                }
                written(state, owner, kind, position);
            }
            if let (Kind::Durable, PageOwner::Durable(id)) = (kind, owner) {
                for &key in queue.parts.keys() {
                    unsynced.note_written(files, state, (id, key))?;
                }
            }
        }
        Ok(())
    }
}

impl QueueBatch {
    /// Appends all parts, or none where the system is short of something.
    fn write(
        &self,
        files: &Files,
        state: &mut State,
        unsynced: &mut Unsynced,
        (owner, kind): (PageOwner, Kind),
    ) -> Result<(), StoreError> {
        let path = |key: &SegmentKey| segment::messages_path(files, owner, kind, key.1);
        let durable = match (kind, owner) {
            (Kind::Durable, PageOwner::Durable(id)) => Some(id),
            _ => None,
        };
        let mut opened = Opened { durable, unsynced, transient: BTreeMap::new() };
        for &key in self.parts.keys() {
            match durable {
                Some(id) => opened.unsynced.open(files, state, (id, key), &self.parts)?,
                None => drop(opened.transient.insert(key, files.open_append(&path(&key))?)),
            }
        }
        for (&key, part) in &self.parts {
            let appended = append(opened.file(key), &path(&key), part.offset, &part.bytes);
            if appended.as_ref().is_err_and(StoreError::is_shortage) {
                for (&key, part) in self.parts.range(..=key) {
                    opened.file(key).cut(part.offset).during("shorten", &path(&key))?;
                }
            }
            appended?;
        }
        Ok(())
    }
}

/// The files of a queue that are appended to, all of them open.
struct Opened<'a> {
    /// The queue, if that is durable.
    durable: Option<DurableQueueId>,
    unsynced: &'a mut Unsynced,
    transient: BTreeMap<SegmentKey, Box<dyn DiskFile>>,
}

impl Opened<'_> {
    fn file(&mut self, key: SegmentKey) -> &mut dyn DiskFile {
        let file = match self.durable {
            Some(id) => self.unsynced.files.get_mut(&(id, key)).map(|dirty| &mut dirty.file),
            None => self.transient.get_mut(&key),
        };
        &mut **file.expect("invariant: all of them are open")
    }
}

/// Appends to a file that is so long. Where there is no room a part may be there.
pub(super) fn append(
    file: &mut dyn DiskFile,
    path: &str,
    offset: u64,
    bytes: &[u8],
) -> Result<(), StoreError> {
    if file.length() != offset {
        let what = format!("{} bytes long where {offset} were written", file.length());
        return Err(StoreError::Damaged { path: path.to_owned(), what });
    }
    file.append(bytes).unless_short("write", path)
}

/// What finds a durable segment.
pub(super) type FileKey = (DurableQueueId, SegmentKey);

/// The durable segments that were appended to since they were last synced.
#[derive(Default)]
pub(super) struct Unsynced {
    files: BTreeMap<FileKey, Dirty>,
    /// Queues in whose directory there are new files.
    new_names: BTreeSet<DurableQueueId>,
}

struct Dirty {
    file: Box<dyn DiskFile>,
    slot: Option<KeptFile>,
    /// As far as it is written.
    extent: Extent,
}

impl Unsynced {
    /// Opens a file to append to it, unless it is open. If there are too many then, one is synced that is not among
    /// the `needed` of its queue.
    fn open<T>(
        &mut self,
        files: &Files,
        state: &mut State,
        (id, key): FileKey,
        needed: &BTreeMap<SegmentKey, T>,
    ) -> Result<(), StoreError> {
        if self.files.contains_key(&(id, key)) {
            return Ok(());
        }
        let is_needed = |other: &&FileKey| other.0 == id && needed.contains_key(&other.1);
        if self.files.len() >= OPEN_FILES
            && let Some(&other) = self.files.keys().find(|key| !is_needed(key))
        {
            self.sync(files, state, other)?;
        }
        let owner = PageOwner::Durable(id);
        let file =
            files.open_append(&segment::messages_path(files, owner, Kind::Durable, key.1))?;
        // A segment that is not known yet is new, or will be.
        let known = state.with_segment(owner, Kind::Durable, key, |segment| segment.whole);
        if known.is_none() {
            self.new_names.insert(id);
            state.directories.insert(id);
        }
        let extent = known.unwrap_or_default();
        self.files.insert((id, key), Dirty { file, slot: None, extent });
        Ok(())
    }

    /// Notes how far a file is written. One that gets no slot to stay open is synced.
    fn note_written(
        &mut self,
        files: &Files,
        state: &mut State,
        (id, key): FileKey,
    ) -> Result<(), StoreError> {
        let Some(dirty) = self.files.get_mut(&(id, key)) else { return Ok(()) };
        let owner = PageOwner::Durable(id);
        let extent = state.with_segment(owner, Kind::Durable, key, |segment| segment.whole);
        dirty.extent = extent.expect("invariant: what was written to is there");
        dirty.slot = dirty.slot.take().or_else(|| files.kept.take());
        if dirty.slot.is_none() {
            self.sync(files, state, (id, key))?;
        }
        Ok(())
    }

    /// What is to be synced now.
    pub(super) fn keys(&self) -> Vec<FileKey> {
        self.files.keys().copied().collect()
    }

    /// Syncs one, if it still is to be.
    pub(super) fn sync(
        &mut self,
        files: &Files,
        state: &mut State,
        (id, key): FileKey,
    ) -> Result<(), StoreError> {
        let Some(Dirty { mut file, extent, slot: _slot }) = self.files.remove(&(id, key)) else {
            return Ok(());
        };
        let owner = PageOwner::Durable(id);
        let path = segment::messages_path(files, owner, Kind::Durable, key.1);
        file.sync().during("sync", &path)?;
        state.with_segment(owner, Kind::Durable, key, |segment| segment.synced = extent);
        Ok(())
    }

    pub(super) fn note_new_name(&mut self, id: DurableQueueId) {
        self.new_names.insert(id);
    }

    /// The queues in whose directory there are new files, which are known to be synced next.
    pub(super) fn take_new_names(&mut self) -> BTreeSet<DurableQueueId> {
        std::mem::take(&mut self.new_names)
    }

    /// Whether files of a queue are open.
    pub(super) fn has_files_of(&self, id: DurableQueueId) -> bool {
        let first = (id, (Position::MIN, u64::MIN));
        self.files.range(first..).next().is_some_and(|((found, _), _)| *found == id)
    }

    /// Forgets a file that is to be removed.
    pub(super) fn forget_file(&mut self, key: FileKey) {
        self.files.remove(&key);
    }

    /// Forgets the files of a queue that is deleted.
    pub(super) fn forget_queue(&mut self, id: DurableQueueId) {
        self.files.retain(|(other, _), _| *other != id);
        self.new_names.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use leveret_codec::{ShortString, TableBuf};

    use crate::broker::record::{QueueDefinition, Record};

    use super::super::Options;
    use super::super::disk::{Disk, MemoryDisk};
    use super::*;

    #[test]
    fn a_sync_speaks_of_no_more_than_was_written_before_it() {
        let disk = MemoryDisk::default();
        let options = Options::default();
        let files = Files::new(Arc::new(disk.clone()), 5, options, 1);
        let (mut state, mut unsynced) = (State::default(), Unsynced::default());
        let put = |batch: &mut Batch, state: &mut State, queue: u64, position| {
            let owner = PageOwner::Durable(DurableQueueId(queue));
            let fill = |out: &mut Vec<u8>| out.extend_from_slice(&[0; 10]);
            let arrival =
                Arrival { owner, kind: Kind::Durable, position, length: 10, body_bytes: 3, fill };
            assert!(batch.put(&files, state, arrival));
        };
        for id in (1..=5).map(DurableQueueId) {
            let definition = QueueDefinition {
                id,
                name: ShortString::new(b"queue").unwrap(),
                auto_delete: false,
                arguments: TableBuf::default(),
            };
            state.apply(&Record::QueueDeclared(definition), 1);
        }
        // Each batch appends to more files than stay open, the later ones of which are open.
        for (position, queues) in [(1, 4..=5), (2, 1..=5), (3, 3..=5), (4, 1..=5)] {
            let mut batch = Batch::new(&files);
            queues.for_each(|queue| put(&mut batch, &mut state, queue, position));
            batch.write(&files, &mut state, &mut unsynced, |_, _, _, _| ()).unwrap();
            let lost = disk.crash(|path, most| if path.ends_with('/') { most } else { 0 });
            for queue in state.queues.values() {
                let owner = PageOwner::Durable(queue.definition.id);
                for segment in queue.segments.iter() {
                    let path = segment.messages_path(&files, owner);
                    let durable = lost.length(&path).unwrap().unwrap_or(0);
                    assert!(segment.synced.length <= durable, "{path}");
                }
            }
        }
    }
}
