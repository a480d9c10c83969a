//! Compaction: the few messages that live in a segment of mostly dead get a place elsewhere, so that
//! the segment can go: a durable one with the commit of the checkpoint that this is a part of, a
//! transient one when it is written.
//!
//! why: what is settled is not taken out of a segment, so a few old messages under days of traffic
//! would otherwise each keep a file's length of dead ones.
//!
//! invariant: a durable message is dead in one segment and lives in the other from the same commit
//! on.

use std::collections::{BTreeMap, VecDeque};

use crate::broker::paging::PageOwner;
use crate::broker::record::Position;

use super::appending::{Arrival, Batch};
use super::checkpoint::{Ground, STEP_BYTES};
use super::error::StoreError;
use super::files::Files;
use super::format::{Malformed, payload_body_length};
use super::segment::{Kind, Segment, SegmentKey};
use super::segment_reader::SegmentReader;
use super::state::State;

/// A compaction under way.
pub(super) struct Compaction {
    sparse: VecDeque<(PageOwner, SegmentKey)>,
    kind: Kind,
    /// Reads the first of them.
    reader: Option<SegmentReader>,
}

impl Compaction {
    /// One of nothing.
    pub(super) fn none() -> Self {
        Compaction { sparse: VecDeque::new(), kind: Kind::Durable, reader: None }
    }

    /// Chooses the segments that are not worth keeping.
    pub(super) fn new(state: &mut State, kind: Kind) -> Self {
        Compaction { sparse: state.close_sparse(kind).into(), kind, reader: None }
    }

    /// Rescues some; whether there is nothing more to do.
    pub(super) fn step(&mut self, ground: &mut Ground<'_>) -> Result<bool, StoreError> {
        let mut batch = Batch::new(ground.files);
        let mut rescued = BTreeMap::new();
        let mut read = 0;
        let mut result = Ok(());
        while read < STEP_BYTES && !batch.is_full() {
            let Some(&source) = self.sparse.front() else { break };
            let budget = STEP_BYTES - read;
            match self.rescue_some(source, &mut batch, &mut rescued, budget, ground) {
                Ok(bytes) => read += bytes,
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        // What there is room for is written before it is said that there is no more.
        let Ground { files, state, unsynced, .. } = ground;
        let has_moved = !batch.is_empty();
        batch.write(files, state, unsynced, |state, owner, kind, position| {
            if let Some(&key) = rescued.get(&(owner, position)) {
                state.with_segment(owner, kind, key, |it| it.settle(position, position));
            }
            if kind == Kind::Transient {
                state.bury_pages(owner);
            }
        })?;
        if has_moved { Ok(self.sparse.is_empty()) } else { result.map(|()| self.sparse.is_empty()) }
    }

    /// Rescues messages from one segment until so many bytes of it are read or the step has written
    /// enough. Returns how many were read.
    fn rescue_some(
        &mut self,
        (owner, key): (PageOwner, SegmentKey),
        batch: &mut Batch,
        rescued: &mut BTreeMap<(PageOwner, Position), SegmentKey>,
        budget: u64,
        ground: &mut Ground<'_>,
    ) -> Result<u64, StoreError> {
        let Ground { files, state, damage, .. } = ground;
        let kind = self.kind;
        if self.reader.is_none() {
            self.reader = open(files, state, owner, kind, key);
        }
        let Some(reader) = &mut self.reader else {
            // Its queue was deleted, or all of it settled.
            self.sparse.pop_front();
            return Ok(0);
        };
        let begun = reader.offset();
        while reader.offset() - begun < budget && !batch.is_full() {
            let next =
                state.with_segment(owner, kind, key, |segment| reader.next(segment, 0, damage));
            let Some(found) = next.transpose()?.flatten() else {
                let read = reader.offset() - begun;
                self.reader = None;
                self.sparse.pop_front();
                return Ok(read);
            };
            let (position, mark, payload) = (found.position, found.mark, found.payload);
            match payload_body_length(payload) {
                Ok(body_bytes) => {
                    let arrival = Arrival {
                        owner,
                        kind,
                        position,
                        length: payload.len(),
                        body_bytes,
                        fill: |out: &mut Vec<u8>| out.extend_from_slice(payload),
                    };
                    if let Err(error) = batch.ask_room(files, arrival.bound()) {
                        reader.go_back(mark);
                        return Err(error);
                    }
                    batch.put(files, state, arrival);
                    rescued.insert((owner, position), key);
                }
                Err(Malformed(what)) => {
                    damage.push(reader.damage_at(mark, what));
                    let lost = |segment: &mut Segment| segment.settle(position, position);
                    state.with_segment(owner, kind, key, lost);
                }
            }
        }
        Ok(reader.offset() - begun)
    }
}

fn open(
    files: &Files,
    state: &mut State,
    owner: PageOwner,
    kind: Kind,
    key: SegmentKey,
) -> Option<SegmentReader> {
    let name = state.name(owner);
    let open = |segment: &mut Segment| SegmentReader::new(files, owner, &name, segment);
    state.with_segment(owner, kind, key, open)
}
