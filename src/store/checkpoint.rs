//! A checkpoint: moves what lives in the oldest log file to the segments of its queues, so that
//! the file can go.
//!
//! ```text
//!   Move ─────────► Settle ──────────► Sync ────────► Commit ───────────► Copy
//!   live messages   settlements since  all files and  the new catalog:    its copy; only
//!   to segments     the last time to   directories    only now does any   then is anything
//!                   settlement files   touched        of it count         removed
//! ```
//!
//! Each step does a bounded part, and records may be written between any two: a message settled
//! before it is reached is not moved, and one settled later has its record in a later log file.
//!
//! invariant: before the copy nothing is removed, and before the commit nothing is written below
//! the lengths that the catalog on the disk names, so a crash at any point leaves the store as if
//! the checkpoint had not begun, or had ended.

use std::collections::{BTreeMap, BTreeSet};

use crate::broker::record::{DurableQueueId, Lsn, Placement};

use super::catalog;
use super::disk::DiskFile;
use super::error::{During, StoreError};
use super::files::Files;
use super::format::{RawEnqueued, parse_enqueued};
use super::framing::{FrameReader, Item};
use super::log::{self, Log, LogFile};
use super::segment::{self, Segment};
use super::state::{Queue, State};

/// How many bytes of the log a step reads, and about how many it appends to segments.
const STEP_BYTES: u64 = 4 * 1024 * 1024;
/// How many files or directories a step syncs, writes settlements to, or removes.
pub(super) const STEP_FILES: usize = 64;
/// How many files stay open between their first append and the sync at the end.
const OPEN_FILES: usize = 128;

/// A checkpoint under way.
pub(super) struct Checkpoint {
    /// The log file that will go; none when only dead segments will.
    oldest: Option<LogFile>,
    phase: Phase,
    open: OpenFiles,
    /// Queues in whose directory there are new files.
    new_names: BTreeSet<DurableQueueId>,
}

enum Phase {
    Move(FrameReader),
    /// Up to which queue it is done.
    Settle(Option<DurableQueueId>),
    Sync,
    Commit,
    /// The catalog that was written, and the files that can go once its copy is too.
    Copy {
        catalog: Vec<u8>,
        dead: Vec<String>,
    },
}

/// Whether a step was the last one.
pub(super) enum Progress {
    More,
    /// Done; these files are not needed any more.
    Committed(Vec<String>),
}

impl Checkpoint {
    /// Begins one that removes the oldest log file, or only dead segments if `oldest` is none.
    pub(super) fn new(files: &Files, state: &State, oldest: Option<LogFile>) -> Self {
        let phase = match oldest {
            Some(file) if state.lives_in(file.number) => Phase::Move(file.reader(files)),
            // why: most log files hold nothing that lives by then, and need not be read again.
            Some(_) => Phase::Settle(None),
            None => Phase::Commit,
        };
        Checkpoint { oldest, phase, open: OpenFiles::default(), new_names: BTreeSet::new() }
    }

    /// Does a bounded part of it.
    pub(super) fn step(
        &mut self,
        files: &Files,
        state: &mut State,
        log: &mut Log,
    ) -> Result<Progress, StoreError> {
        let next = match &mut self.phase {
            Phase::Move(reader) => {
                let mut batch = Batch::default();
                let done = batch.fill(reader, files, state)?;
                self.append(files, state, batch)?;
                if done {
                    self.nothing_may_be_left(state)?;
                }
                done.then_some(Phase::Settle(None))
            }
            Phase::Settle(after) => {
                let after = *after;
                let reached = self.write_settlements(files, state, after)?;
                Some(reached.map_or(Phase::Sync, |id| Phase::Settle(Some(id))))
            }
            Phase::Sync => self.sync(files)?.then_some(Phase::Commit),
            Phase::Commit => Some(self.commit(files, state, log)?),
            Phase::Copy { catalog, dead } => {
                catalog::write_copy(files, catalog)?;
                return Ok(Progress::Committed(std::mem::take(dead)));
            }
        };
        if let Some(phase) = next {
            self.phase = phase;
        }
        Ok(Progress::More)
    }

    fn append(&mut self, files: &Files, state: &mut State, batch: Batch) -> Result<(), StoreError> {
        for ((id, first), part) in batch.parts {
            let path = Segment::new(first).messages_path(id);
            if part.starts_file {
                self.new_names.insert(id);
                state.directories.insert(id);
            }
            self.open.append(files, &path, part.offset, &part.bytes)?;
        }
        Ok(())
    }

    /// why: a file that could be read when the store was opened may have decayed since; better to
    /// stop than to remove what may still be read another day.
    fn nothing_may_be_left(&self, state: &State) -> Result<(), StoreError> {
        match self.oldest {
            Some(file) if state.lives_in(file.number) => {
                let what = "messages that live in it can no longer be found".to_owned();
                Err(StoreError::Damaged { path: log::path(file.number), what })
            }
            _ => Ok(()),
        }
    }

    /// Writes what was settled since the last checkpoint, a number of files at a time; returns the
    /// queue it came to, or none when it is through.
    fn write_settlements(
        &mut self,
        files: &Files,
        state: &mut State,
        after: Option<DurableQueueId>,
    ) -> Result<Option<DurableQueueId>, StoreError> {
        let mut written = 0;
        let start = after.map_or(0, |id| id.0 + 1);
        for (&id, queue) in state.queues.range_mut(DurableQueueId(start)..) {
            for segment in &mut queue.segments {
                // A segment in which nothing lives goes as a whole.
                if segment.unwritten.is_empty() || segment.live() == 0 {
                    continue;
                }
                let mut bytes = Vec::new();
                for (first, last) in segment.unwritten.drain(..) {
                    segment::put_settlement(&mut bytes, files.salt, first, last);
                }
                if segment.settled_length == 0 {
                    self.new_names.insert(id);
                }
                let path = segment.settled_path(id);
                self.open.append(files, &path, segment.settled_length, &bytes)?;
                segment.settled_length += bytes.len() as u64;
                written += 1;
            }
            if written >= STEP_FILES {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }

    /// Syncs some of the files, then some of the directories; whether all are.
    fn sync(&mut self, files: &Files) -> Result<bool, StoreError> {
        for _ in 0..STEP_FILES {
            if self.open.sync_one()? {
                continue;
            }
            let Some(id) = self.new_names.pop_first() else { return Ok(true) };
            files.sync_directory(&segment::directory(id))?;
        }
        Ok(false)
    }

    fn commit(
        &mut self,
        files: &Files,
        state: &mut State,
        log: &mut Log,
    ) -> Result<Phase, StoreError> {
        let mut dead = state.take_dead_segments();
        let moved: Lsn = self.oldest.map_or(log.moved, |file| file.last);
        let catalog = catalog::encode(files.salt, state, log.last, moved);
        catalog::write_first(files, &catalog)?;
        log.moved = moved;
        if let Some(file) = self.oldest {
            state.forget_log_file(file.number);
            dead.extend(log.forget_oldest());
        }
        Ok(Phase::Copy { catalog, dead })
    }
}

/// What one step appends to segments.
#[derive(Default)]
struct Batch {
    parts: BTreeMap<(DurableQueueId, u64), Part>,
    bytes: u64,
}

/// What it appends to one.
struct Part {
    /// How long the file is before.
    offset: u64,
    starts_file: bool,
    bytes: Vec<u8>,
}

impl Batch {
    /// Takes live messages from the log file until there is enough for a step; whether that was
    /// the last of it.
    fn fill(
        &mut self,
        reader: &mut FrameReader,
        files: &Files,
        state: &mut State,
    ) -> Result<bool, StoreError> {
        let until = reader.offset() + STEP_BYTES;
        let path = reader.path().to_owned();
        while reader.offset() < until {
            let (offset, previous) = (reader.offset(), reader.previous());
            let payload = match reader.next().during("read", &path)? {
                Item::Frame { payload, .. } => payload,
                // It was reported when the store was opened.
                Item::Damage(_) => continue,
                Item::End => return Ok(true),
            };
            let Ok(Some(enqueued)) = parse_enqueued(payload) else { continue };
            if !self.take(&enqueued, files, state) {
                // The rest of its placements are found again by still being live.
                reader.go_back(offset, previous);
                break;
            }
        }
        Ok(false)
    }

    /// Takes a message for each queue where it lives; false if that became too much.
    fn take(&mut self, enqueued: &RawEnqueued<'_>, files: &Files, state: &mut State) -> bool {
        for placement in &enqueued.placements {
            let Some(queue) = state.queues.get_mut(&placement.queue) else { continue };
            if !queue.live.contains(placement.position) {
                continue;
            }
            if self.bytes >= STEP_BYTES {
                return false;
            }
            queue.live.remove(placement.position, placement.position);
            self.put(placement, enqueued.message, queue, files);
        }
        true
    }

    fn put(&mut self, placement: &Placement, message: &[u8], queue: &mut Queue, files: &Files) {
        let &Placement { queue: id, position, expires_at } = placement;
        let length = segment::message_length(expires_at, message);
        let limit = files.options.segment_bytes;
        let starts_file = match queue.segments.back() {
            Some(segment) => segment.closed || segment.length + length > limit,
            None => true,
        };
        if starts_file {
            queue.segments.push_back(Segment::new(position));
        }
        let segment = queue.segments.back_mut().expect("invariant: it was just put there");
        let part = self.parts.entry((id, segment.first)).or_insert_with(|| Part {
            offset: if starts_file { 0 } else { segment.length },
            starts_file,
            bytes: Vec::new(),
        });
        if starts_file {
            segment::put_header(&mut part.bytes, id, position);
        }
        segment::put_message(&mut part.bytes, files.salt, position, expires_at, message);
        segment.appended(position, length);
        self.bytes += length;
    }
}

/// Files that were appended to and not yet synced. A few stay open; beyond that one of them
/// is synced early.
#[derive(Default)]
struct OpenFiles {
    files: BTreeMap<String, Box<dyn DiskFile>>,
}

impl OpenFiles {
    /// Appends to a file that is so long.
    fn append(
        &mut self,
        files: &Files,
        path: &str,
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), StoreError> {
        if !self.files.contains_key(path) {
            if self.files.len() >= OPEN_FILES {
                self.sync_one()?;
            }
            self.files.insert(path.to_owned(), files.open_append(path)?);
        }
        let file = self.files.get_mut(path).expect("invariant: it was just put there");
        if file.length() != offset {
            let what = format!("{} bytes long where {offset} were written", file.length());
            return Err(StoreError::Damaged { path: path.to_owned(), what });
        }
        file.append(bytes).during("write", path)
    }

    /// Syncs and closes one; false if there is none.
    fn sync_one(&mut self) -> Result<bool, StoreError> {
        let Some((path, mut file)) = self.files.pop_first() else { return Ok(false) };
        file.sync().during("sync", &path)?;
        Ok(true)
    }
}
