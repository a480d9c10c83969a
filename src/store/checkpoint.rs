//! A checkpoint: moves what lives in the oldest log file to the segments of its queues, so that
//! the file can go, and rescues the few that live in segments of mostly dead.
//!
//! ```text
//!   Move ──► Compact ──► Sync ─────► Settle ──────► Persist ──────► Commit ──────► Copy
//!   live     live        segments    settlements    settlement      the new        its copy;
//!   messages messages    that were   since the      files, and      catalog: only  only then
//!   to       of sparse   appended    last time, to  directories     now does any   is anything
//!   segments segments    to          their files    with new names  of it count    removed
//! ```
//!
//! Each step does a bounded part, and records may be written and messages paged out between any two:
//! a message settled before it is reached is not moved, and one settled later has its record in a
//! later log file; one paged out before the moves end is synced with them, and one paged out later
//! has its record in a later log file too.
//!
//! invariant: before the copy nothing is removed, and before the commit nothing is written below
//! the lengths that the catalog on the disk names, so a crash at any point leaves the store as if
//! the checkpoint had not begun, or had ended.
//!
//! invariant: of a segment the catalog names no more than was synced before its settlements were
//! written. So the settlement file has every position in between that is not there.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use crate::broker::paging::PageOwner;
use crate::broker::record::{DurableQueueId, Lsn, Placement};

use super::appending::{self, Arrival, Batch, FileKey, Unsynced};
use super::catalog;
use super::compaction::Compaction;
use super::disk::DiskFile;
use super::error::{During, StoreError};
use super::files::{Files, Purpose};
use super::format::{RawEnqueued, body_length, parse_enqueued, put_expiry};
use super::framing::{FrameReader, Item};
use super::kept_files::KeptFile;
use super::log::{self, Log, LogFile};
use super::report::Damage;
use super::segment::{self, Kind, SETTLEMENT_LENGTH, expiry_length};
use super::state::State;

/// How many bytes of files a step reads, and about how many it appends to segments.
pub(super) const STEP_BYTES: u64 = 4 * 1024 * 1024;
/// How many files or directories a step writes settlements to, or removes.
pub(super) const STEP_FILES: usize = 64;
/// How many a step syncs.
///
/// why: confirms wait meanwhile.
const STEP_SYNCS: usize = 16;
/// How many queues get their messages from a log file in one pass over it.
///
/// why: their files stay open between the batches of a pass. With all queues at once each batch would open, sync and
/// close a file for each of them.
const PASS_QUEUES: usize = if cfg!(test) { 2 } else { 100 };
/// How many settlement files stay open between their first append and the sync at the end.
const OPEN_FILES: usize = 128;

/// What a step works on.
pub(super) struct Ground<'a> {
    pub(super) files: &'a Files,
    pub(super) state: &'a mut State,
    pub(super) log: &'a mut Log,
    pub(super) unsynced: &'a mut Unsynced,
    /// What turned out to be lost.
    pub(super) damage: &'a mut Vec<Damage>,
}

/// A checkpoint under way.
pub(super) struct Checkpoint {
    /// The log file that will go; none when only segments will.
    oldest: Option<LogFile>,
    /// Whether it rescues what lives in sparse segments.
    compacts: bool,
    /// Whether it ends where there is no room for what is to be moved, instead of waiting for some.
    may_give_up: bool,
    phase: Phase,
    settlements: SettlementFiles,
}

enum Phase {
    Move(Pass),
    Compact(Compaction),
    Sync(Vec<FileKey>),
    /// Up to which queue it is done.
    Settle(Option<DurableQueueId>),
    /// In which directories there are new names.
    Persist(BTreeSet<DurableQueueId>),
    Commit,
    /// The catalog that was written, and the files that can go once its copy is too.
    Copy {
        catalog: Vec<u8>,
        dead: Vec<String>,
    },
}

/// Whether a step was the last one.
pub(super) enum Outcome {
    More,
    /// Done; these files are not needed any more.
    Committed(Vec<String>),
    /// Ended for want of room, before anything of it counted.
    GivenUp,
}

impl Checkpoint {
    /// Begins one that removes the oldest log file, or only segments if `oldest` is none.
    pub(super) fn new(
        files: &Files,
        state: &mut State,
        oldest: Option<LogFile>,
        compacts: bool,
        may_give_up: bool,
    ) -> Self {
        let settlements = SettlementFiles::default();
        let phase = Phase::Sync(Vec::new());
        let mut checkpoint = Checkpoint { oldest, compacts, may_give_up, phase, settlements };
        checkpoint.phase = match oldest.and_then(|file| Pass::begin(files, state, file, None)) {
            Some(pass) => Phase::Move(pass),
            // why: most log files hold nothing that lives by then, and need not be read again.
            None => checkpoint.moved(state),
        };
        checkpoint
    }

    /// What comes behind a pass over the oldest log file.
    fn next_pass(
        &self,
        files: &Files,
        state: &mut State,
        after: Option<DurableQueueId>,
    ) -> Result<Phase, StoreError> {
        if let Some(pass) = self.oldest.and_then(|file| Pass::begin(files, state, file, after)) {
            return Ok(Phase::Move(pass));
        }
        self.nothing_may_be_left(state)?;
        Ok(self.moved(state))
    }

    /// Does a bounded part of it.
    pub(super) fn step(&mut self, ground: &mut Ground<'_>) -> Result<Outcome, StoreError> {
        let next = match &mut self.phase {
            Phase::Move(pass) => match pass.move_some(ground) {
                Ok(false) => None,
                Ok(true) => {
                    let after = pass.last;
                    Some(self.next_pass(ground.files, ground.state, Some(after))?)
                }
                Err(error) if error.is_shortage() && ground.state.has_dead_segments() => {
                    // why: what takes up the room may be what the commit would let go.
                    self.oldest = None;
                    Some(Phase::Sync(ground.unsynced.keys()))
                }
                Err(error) if error.is_shortage() && self.may_give_up => {
                    return Ok(Outcome::GivenUp);
                }
                Err(error) => return Err(error),
            },
            Phase::Compact(compaction) => match compaction.step(ground) {
                Ok(done) => done.then(|| Phase::Sync(ground.unsynced.keys())),
                // why: the commit may let go what takes up the room.
                Err(error) if error.is_shortage() => Some(Phase::Sync(ground.unsynced.keys())),
                Err(error) => return Err(error),
            },
            Phase::Sync(keys) => {
                let kept = keys.len().saturating_sub(STEP_SYNCS);
                for key in keys.drain(kept..) {
                    ground.unsynced.sync(ground.files, ground.state, key)?;
                }
                keys.is_empty().then_some(Phase::Settle(None))
            }
            Phase::Settle(after) => {
                let after = *after;
                let reached = self.settlements.write(ground, after)?;
                Some(match reached {
                    Some(id) => Phase::Settle(Some(id)),
                    None => Phase::Persist(ground.unsynced.take_new_names()),
                })
            }
            Phase::Persist(new_names) => {
                self.settlements.persist(ground, new_names)?.then_some(Phase::Commit)
            }
            Phase::Commit => Some(self.commit(ground)?),
            Phase::Copy { catalog, dead } => {
                catalog::write_copy(ground.files, catalog)?;
                return Ok(Outcome::Committed(std::mem::take(dead)));
            }
        };
        if let Some(phase) = next {
            self.phase = phase;
        }
        Ok(Outcome::More)
    }

    /// What comes when nothing is to be moved any more.
    fn moved(&self, state: &mut State) -> Phase {
        Phase::Compact(if self.compacts {
            Compaction::new(state, Kind::Durable)
        } else {
            Compaction::none()
        })
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

    fn commit(&mut self, ground: &mut Ground<'_>) -> Result<Phase, StoreError> {
        let Ground { files, state, log, unsynced, .. } = ground;
        let moved: Lsn = self.oldest.map_or(log.moved, |file| file.last);
        let catalog = catalog::encode(files.salt, state, log.last, moved);
        catalog::write_first(files, &catalog)?;
        log.moved = moved;
        let mut dead = Vec::new();
        for (id, segment) in state.take_dead_segments() {
            unsynced.forget_file((id, segment.key()));
            let owner = PageOwner::Durable(id);
            dead.push(segment.messages_path(files, owner));
            if segment.settled_length > 0 {
                dead.push(segment.settled_path(files, owner));
            }
        }
        if let Some(file) = self.oldest {
            state.forget_log_file(file.number);
            dead.extend(log.forget_oldest());
        }
        Ok(Phase::Copy { catalog, dead })
    }
}

/// One reading of a log file, for some of the queues that have messages in it.
struct Pass {
    reader: FrameReader,
    first: DurableQueueId,
    last: DurableQueueId,
}

impl Pass {
    /// A pass for the queues with messages in the file that come behind one, if there are any.
    fn begin(
        files: &Files,
        state: &State,
        file: LogFile,
        after: Option<DurableQueueId>,
    ) -> Option<Pass> {
        let mut queues = state.living_in(file.number, after).take(PASS_QUEUES);
        let first = queues.next()?;
        let last = queues.last().unwrap_or(first);
        Some(Pass { reader: file.reader(files), first, last })
    }

    /// Moves messages until there is enough for a step; whether that was the last of it.
    fn move_some(&mut self, ground: &mut Ground<'_>) -> Result<bool, StoreError> {
        let begun = (self.reader.offset(), self.reader.previous());
        let path = self.reader.path().to_owned();
        let queues = self.first..=self.last;
        let mut batch = Batch::new(ground.files);
        let mut result = Ok(false);
        while self.reader.offset() < begun.0 + STEP_BYTES && !batch.is_full() {
            let (offset, previous) = (self.reader.offset(), self.reader.previous());
            let payload = match self.reader.next().unless_short("read", &path)? {
                Item::Frame { payload, .. } => payload,
                // It was reported when the store was opened.
                Item::Damage(_) => continue,
                Item::End => {
                    result = Ok(true);
                    break;
                }
            };
            let Ok(Some(enqueued)) = parse_enqueued(payload) else { continue };
            match move_one(&enqueued, &queues, &mut batch, ground) {
                Ok(true) => {}
                // The rest of its placements are found again by still being live.
                Ok(false) => {
                    self.reader.go_back(offset, previous);
                    break;
                }
                Err(error) => {
                    self.reader.go_back(offset, previous);
                    result = Err(error);
                    break;
                }
            }
        }
        if batch.is_empty() {
            return result;
        }
        // What there is room for is written before it is said that there is no more.
        let written = batch.write(ground.files, ground.state, ground.unsynced, |_, _, _, _| ());
        if written.is_err() {
            self.reader.go_back(begun.0, begun.1);
        }
        written.map(|()| matches!(result, Ok(true)))
    }
}

/// Moves a message for each of the queues where it lives; false if that became too much.
fn move_one(
    enqueued: &RawEnqueued<'_>,
    queues: &RangeInclusive<DurableQueueId>,
    batch: &mut Batch,
    ground: &mut Ground<'_>,
) -> Result<bool, StoreError> {
    let message = enqueued.message;
    // A message that cannot be read was reported when the store was opened, and lives nowhere.
    let Ok(body_bytes) = body_length(message) else { return Ok(true) };
    for &Placement { queue: id, position, expires_at } in &enqueued.placements {
        let queue = ground.state.queues.get(&id).filter(|_| queues.contains(&id));
        if !queue.is_some_and(|queue| queue.live.contains(position)) {
            continue;
        }
        if batch.is_full() {
            return Ok(false);
        }
        let arrival = Arrival {
            owner: PageOwner::Durable(id),
            kind: Kind::Durable,
            position,
            length: expiry_length(expires_at) + message.len(),
            body_bytes,
            fill: |out: &mut Vec<u8>| {
                put_expiry(out, expires_at);
                out.extend_from_slice(message);
            },
        };
        batch.ask_room(ground.files, arrival.bound())?;
        batch.put(ground.files, ground.state, arrival);
    }
    Ok(true)
}

/// Settlement files that were appended to and not yet synced. A few stay open; beyond that, or without a slot for
/// it, one is synced early.
#[derive(Default)]
struct SettlementFiles {
    files: BTreeMap<String, (Box<dyn DiskFile>, Option<KeptFile>)>,
}

impl SettlementFiles {
    /// Writes what was settled since the last checkpoint, a number of files at a time, and sets what
    /// the catalog is to name. Returns the queue it came to, or none when it is through.
    fn write(
        &mut self,
        ground: &mut Ground<'_>,
        after: Option<DurableQueueId>,
    ) -> Result<Option<DurableQueueId>, StoreError> {
        let Ground { files, state, unsynced, .. } = ground;
        let mut written = 0;
        let start = after.map_or(0, |id| id.0 + 1);
        for (&id, queue) in state.queues.range_mut(DurableQueueId(start)..) {
            for segment in queue.segments.iter_mut() {
                // A segment in which nothing lives goes as a whole.
                if segment.live.is_empty() {
                    continue;
                }
                let bound = segment.unwritten.len() * SETTLEMENT_LENGTH;
                if bound > 0 {
                    files.ask_room(bound as u64, Purpose::Commit)?;
                }
                segment.named = segment.synced;
                if !segment.has_writable() {
                    continue;
                }
                let path = segment.settled_path(files, PageOwner::Durable(id));
                self.open(files, &path)?;
                let (first_length, writable) = (segment.settled_length, segment.take_writable());
                let mut bytes = Vec::with_capacity(writable.len() * SETTLEMENT_LENGTH);
                for &(first, last) in &writable {
                    segment::put_settlement(&mut bytes, files.salt, first, last);
                }
                if first_length == 0 {
                    unsynced.note_new_name(id);
                }
                if let Err(error) = self.append(&path, first_length, &bytes) {
                    segment.unwritten.splice(0..0, writable);
                    return Err(error);
                }
                segment.settled_length += bytes.len() as u64;
                written += 1;
            }
            if written >= STEP_FILES {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }

    fn open(&mut self, files: &Files, path: &str) -> Result<(), StoreError> {
        if !self.files.contains_key(path) {
            if self.files.len() >= OPEN_FILES {
                self.sync_one()?;
            }
            let slot = files.kept.take();
            if slot.is_none() {
                self.sync_one()?;
            }
            let slot = slot.or_else(|| files.kept.take());
            self.files.insert(path.to_owned(), (files.open_append(path)?, slot));
        }
        Ok(())
    }

    /// Appends to a file that is open; nothing where there is no room for it.
    fn append(&mut self, path: &str, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        let (file, slot) = self.files.get_mut(path).expect("invariant: it was opened");
        let appended = appending::append(&mut **file, path, offset, bytes);
        if appended.as_ref().is_err_and(StoreError::is_shortage) {
            file.cut(offset).during("shorten", path)?;
        }
        if slot.is_none()
            && let Some((mut file, _)) = self.files.remove(path)
        {
            file.sync().during("sync", path)?;
        }
        appended
    }

    /// Syncs some of the files, then some of the directories; whether all are.
    fn persist(
        &mut self,
        ground: &Ground<'_>,
        new_names: &mut BTreeSet<DurableQueueId>,
    ) -> Result<bool, StoreError> {
        for _ in 0..STEP_SYNCS {
            if self.sync_one()? {
                continue;
            }
            let Some(&id) = new_names.first() else { return Ok(true) };
            let owner = PageOwner::Durable(id);
            let directory = segment::directory(ground.files, owner, Kind::Durable);
            ground.files.sync_directory(&directory)?;
            new_names.remove(&id);
        }
        Ok(false)
    }

    /// Syncs and closes one; false if there is none.
    fn sync_one(&mut self) -> Result<bool, StoreError> {
        let Some((path, (mut file, _slot))) = self.files.pop_first() else { return Ok(false) };
        file.sync().during("sync", &path)?;
        Ok(true)
    }
}
