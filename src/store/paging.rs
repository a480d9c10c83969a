//! Paging: messages that the core holds no longer go to segments, and come back by position.
//!
//! A message that a record speaks of leaves the log for a durable segment, as a checkpoint would
//! move it later; others go to transient segments. What is wanted back is read from all segments
//! that may have it, merged by position; each queue keeps its place in them, so that a queue that
//! is drained is read once from end to end.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::sync::Arc;

use crate::broker::paging::{Page, PageOwner, PagedMessage};
use crate::broker::record::Position;

use super::appending::{Arrival, Batch, Unsynced};
use super::error::StoreError;
use super::files::{Files, Purpose};
use super::format::{Fields, Malformed, message_length, parse_message, put_expiry, put_message};
use super::framing::{HEADER_LENGTH, frame_length};
use super::kept_files::KeptFile;
use super::report::Damage;
use super::segment::{Kind, SegmentKey, expiry_length};
use super::segment_reader::{Mark, SegmentReader};
use super::segment_set::SegmentSet;
use super::state::State;

/// How many messages a page has at most.
const PAGE_MESSAGES: usize = 4096;
/// How many queues keep files open and a window of each in memory.
const AWAKE_QUEUES: usize = 16;
/// When a page has been read from more segments than this, those that are through are closed.
const OPEN_SOURCES: usize = 8;

/// Writes messages where they can be read again, unless they can be already or their queue is gone.
pub(super) fn page_out(
    files: &Files,
    state: &mut State,
    unsynced: &mut Unsynced,
    owner: PageOwner,
    messages: &[PagedMessage],
) -> Result<(), StoreError> {
    let bound = |message: &PagedMessage| {
        let payload = expiry_length(message.expires_at) + message_length(&message.message);
        frame_length(payload) + HEADER_LENGTH as u64
    };
    files.ask_room(messages.iter().map(bound).sum(), Purpose::Move)?;
    state.know_pages(owner);
    let (mut batch, mut written) = (Batch::new(files), Vec::new());
    let mut write = |batch: &mut Batch, state: &mut State| {
        let full = std::mem::replace(batch, Batch::new(files));
        let note = |_: &mut State, _, kind, position| written.push((kind, position));
        full.write(files, state, unsynced, note).inspect_err(|_| take_back(state, owner, &written))
    };
    for message in messages {
        if batch.is_full() {
            write(&mut batch, state)?;
        }
        let Some(kind) = wanted_in(state, owner, message) else { continue };
        let PagedMessage { position, expires_at, ref message, .. } = *message;
        let arrival = Arrival {
            owner,
            kind,
            position,
            length: expiry_length(expires_at) + message_length(message),
            body_bytes: message.body().len() as u64,
            fill: |out: &mut Vec<u8>| {
                put_expiry(out, expires_at);
                put_message(out, message);
            },
        };
        batch.put(files, state, arrival);
    }
    write(&mut batch, state)
}

/// Makes messages that were written live where they lived before: those of records in the log, the others nowhere.
fn take_back(state: &mut State, owner: PageOwner, written: &[(Kind, Position)]) {
    for &(kind, position) in written {
        state.with_segments(owner, kind, |set| set.settle(position, position));
        if let (Kind::Durable, PageOwner::Durable(id)) = (kind, owner) {
            state.return_to_log(id, position);
        }
    }
    state.bury_pages(owner);
}

/// The kind of segment that is to have a message; none if it is not to be written.
fn wanted_in(state: &mut State, owner: PageOwner, message: &PagedMessage) -> Option<Kind> {
    let position = message.position;
    match owner {
        PageOwner::Durable(id) if message.recorded => {
            let queue = state.queues.get(&id)?;
            queue.live.contains(position).then_some(Kind::Durable)
        }
        _ => {
            let known =
                state.with_segments(owner, Kind::Transient, |pages| pages.holds(position))?;
            (!known).then_some(Kind::Transient)
        }
    }
}

/// Where the queues are that are paged in.
#[derive(Default)]
pub(super) struct Cursors {
    cursors: BTreeMap<PageOwner, Cursor>,
    /// Those that keep files open, the latest last.
    awake: VecDeque<PageOwner>,
}

type Readers = BTreeMap<(Kind, SegmentKey), SegmentReader>;

/// Where a queue is.
#[derive(Default)]
struct Cursor {
    readers: Readers,
    /// The slots for the files that they keep open.
    slots: Vec<KeptFile>,
}

impl Cursor {
    /// Keeps its files open if there are slots for all of them.
    fn stay_awake(&mut self, files: &Files) {
        let open = self.readers.values().filter(|reader| reader.is_open()).count();
        self.slots.truncate(open);
        while self.slots.len() < open {
            match files.kept.take() {
                Some(slot) => self.slots.push(slot),
                None => return self.rest(),
            }
        }
    }

    fn rest(&mut self) {
        self.readers.values_mut().for_each(SegmentReader::rest);
        self.slots.clear();
    }
}

/// What is wanted back.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    pub(super) owner: PageOwner,
    pub(super) first: Position,
    pub(super) last: Position,
    pub(super) max_bytes: usize,
}

impl Cursors {
    /// Reads what lives from one position to another.
    pub(super) fn page_in(
        &mut self,
        files: &Files,
        state: &mut State,
        wanted: Wanted,
        damage: &mut Vec<Damage>,
    ) -> Result<Page, StoreError> {
        let owner = wanted.owner;
        let name = state.name(owner);
        let Cursor { readers, slots } = self.cursors.remove(&owner).unwrap_or_default();
        let mut merge = Merge {
            files,
            state,
            wanted,
            damage,
            name,
            readers,
            ahead: Vec::new(),
            sources: Vec::new(),
            order: BinaryHeap::new(),
        };
        merge.begin();
        let page = merge.page();
        let mut cursor = Cursor { readers: merge.into_readers(), slots };
        if cursor.readers.is_empty() {
            self.forget(owner);
        } else {
            cursor.stay_awake(files);
            self.cursors.insert(owner, cursor);
            self.stay_awake(owner);
        }
        page
    }

    /// Forgets the place of a queue that is deleted.
    pub(super) fn forget(&mut self, owner: PageOwner) {
        self.cursors.remove(&owner);
        self.awake.retain(|other| *other != owner);
    }

    /// Closes the files of segments that are not there any more.
    ///
    /// why: a file that is removed takes up the disk until the last that has it open lets it go, and
    /// a queue that was purged may never be read from again.
    pub(super) fn close_removed(&mut self, state: &mut State) {
        for &owner in &self.awake {
            let Some(cursor) = self.cursors.get_mut(&owner) else { continue };
            cursor.readers.retain(|&(kind, key), _| {
                let found = state.with_segments(owner, kind, |set| set.find(key).is_some());
                found.unwrap_or(false)
            });
        }
    }

    fn stay_awake(&mut self, owner: PageOwner) {
        if self.awake.back() == Some(&owner) {
            return;
        }
        self.awake.retain(|other| *other != owner);
        self.awake.push_back(owner);
        if self.awake.len() > AWAKE_QUEUES
            && let Some(tired) = self.awake.pop_front()
            && let Some(cursor) = self.cursors.get_mut(&tired)
        {
            cursor.rest();
        }
    }
}

/// One page under way.
struct Merge<'a> {
    files: &'a Files,
    state: &'a mut State,
    wanted: Wanted,
    damage: &'a mut Vec<Damage>,
    name: Arc<str>,
    /// Where the queue was.
    readers: Readers,
    /// For each kind the next segment that is no source yet, as it begins further on.
    ahead: Vec<(Kind, SegmentKey)>,
    sources: Vec<Source>,
    /// The sources by the lowest position that the next message of each can have.
    order: BinaryHeap<Reverse<(Position, usize)>>,
}

/// A segment that may have some of what is wanted.
struct Source {
    kind: Kind,
    key: SegmentKey,
    reader: Option<SegmentReader>,
    /// Its next message, and how to read it again.
    next: Option<(PagedMessage, Mark)>,
}

impl Merge<'_> {
    fn begin(&mut self) {
        let Wanted { owner, first, .. } = self.wanted;
        for kind in [Kind::Durable, Kind::Transient] {
            let around = self.state.with_segments(owner, kind, |set| set.around(first));
            for key in around.unwrap_or_default() {
                self.add_source(kind, key);
            }
            self.look_ahead(kind, (first, u64::MAX));
        }
    }

    fn look_ahead(&mut self, kind: Kind, key: SegmentKey) {
        let next = self.state.with_segments(self.wanted.owner, kind, |set| set.next_behind(key));
        let next = next.flatten().filter(|key| key.0 <= self.wanted.last);
        self.ahead.extend(next.map(|key| (kind, key)));
    }

    fn add_source(&mut self, kind: Kind, key: SegmentKey) {
        let first = self.wanted.first;
        // A reader that is beyond has to begin again.
        let reader = self.readers.remove(&(kind, key)).filter(|reader| reader.is_before(first));
        self.order.push(Reverse((first.max(key.0), self.sources.len())));
        self.sources.push(Source { kind, key, reader, next: None });
    }

    /// The source that may have the next message, and its lowest possible position.
    fn nearest(&mut self) -> Option<(Position, usize)> {
        loop {
            let top = self.order.peek().map(|Reverse((position, _))| *position);
            let is_due = |(_, key): &(Kind, SegmentKey)| top.is_none_or(|top| key.0 <= top);
            let Some(index) = self.ahead.iter().position(is_due) else { break };
            let (kind, key) = self.ahead.swap_remove(index);
            self.add_source(kind, key);
            self.look_ahead(kind, key);
        }
        self.order.pop().map(|Reverse(nearest)| nearest)
    }

    fn page(&mut self) -> Result<Page, StoreError> {
        let Wanted { owner, max_bytes, .. } = self.wanted;
        let mut page = Page { owner, messages: Vec::new(), next: None };
        let mut taken = 0;
        while let Some((position, index)) = self.nearest() {
            let source = &mut self.sources[index];
            let full = !page.messages.is_empty()
                && (taken >= max_bytes || page.messages.len() >= PAGE_MESSAGES);
            if source.next.is_none() {
                if let Some(position) = self.read_next(index)? {
                    self.order.push(Reverse((position, index)));
                }
            } else if full {
                page.next = Some(position);
                break;
            } else if let Some((message, _)) = source.next.take() {
                taken += message.message.as_bytes().len();
                page.messages.push(message);
                self.order.push(Reverse((position + 1, index)));
            }
        }
        Ok(page)
    }

    /// Reads the next message of a source and returns its position, if it is one that is wanted.
    fn read_next(&mut self, index: usize) -> Result<Option<Position>, StoreError> {
        let Merge { files, state, wanted, damage, name, sources, .. } = self;
        let is_many = sources.len() > OPEN_SOURCES;
        let Wanted { owner, first, last, .. } = *wanted;
        let Source { kind, key, reader, next } = &mut sources[index];
        let read = |set: &mut SegmentSet| {
            set.change(*key, |segment| {
                let reader =
                    reader.get_or_insert_with(|| SegmentReader::new(files, owner, name, segment));
                loop {
                    let Some(found) = reader.next(segment, first, damage)? else { return Ok(None) };
                    let (position, mark) = (found.position, found.mark);
                    if position > last {
                        reader.go_back(mark);
                        return Ok(None);
                    }
                    match parse(position, *kind, found.payload) {
                        Ok(message) => return Ok(Some((message, mark))),
                        Err(Malformed(what)) => {
                            segment.settle(position, position);
                            damage.push(reader.damage_at(mark, what));
                        }
                    }
                }
            })
        };
        *next = state.with_segments(owner, *kind, read).flatten().transpose()?.flatten();
        if is_many && next.is_none() {
            reader.iter_mut().for_each(SegmentReader::rest);
        }
        Ok(next.as_ref().map(|(message, _)| message.position))
    }

    fn into_readers(self) -> Readers {
        let mut readers = Readers::new();
        for Source { kind, key, reader, next } in self.sources {
            let Some(mut reader) = reader else { continue };
            if let Some((_, mark)) = next {
                reader.go_back(mark);
            }
            readers.insert((kind, key), reader);
        }
        readers
    }
}

/// The message in a frame of a segment.
fn parse(position: Position, kind: Kind, payload: &[u8]) -> Result<PagedMessage, Malformed> {
    let mut fields = Fields(payload);
    let expires_at = fields.expiry()?;
    let message = parse_message(fields.rest())?;
    Ok(PagedMessage { position, expires_at, recorded: kind == Kind::Durable, message })
}
