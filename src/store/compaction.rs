//! Compaction: the few messages that live in a segment of mostly dead get a place elsewhere, and
//! the segment goes with the checkpoint's commit.
//!
//! why: what is settled is not taken out of a segment, so a few old messages under days of traffic
//! would otherwise each keep a file's length of dead ones.
//!
//! invariant: a message is dead in one segment and lives in the other from the same commit on.

use std::collections::VecDeque;

use crate::broker::paging::PageOwner;

use super::appending::{Arrival, Batch, FileKey};
use super::checkpoint::{Ground, STEP_BYTES};
use super::error::StoreError;
use super::files::Files;
use super::format::{Malformed, payload_body_length};
use super::segment::Kind;
use super::segment_reader::SegmentReader;
use super::state::State;

/// A compaction under way.
#[derive(Default)]
pub(super) struct Compaction {
    sparse: VecDeque<FileKey>,
    /// Reads the first of them.
    reader: Option<SegmentReader>,
}

impl Compaction {
    /// Chooses the segments that are not worth keeping.
    pub(super) fn new(state: &mut State) -> Self {
        let mut sparse = VecDeque::new();
        for (&id, queue) in &mut state.queues {
            if queue.segments.waste() == 0 {
                continue;
            }
            let chosen = queue.segments.close_sparse();
            sparse.extend(chosen.into_iter().map(|key| (id, key)));
        }
        Compaction { sparse, reader: None }
    }

    /// Rescues some; whether there is nothing more to do.
    pub(super) fn step(&mut self, ground: &mut Ground<'_>) -> Result<bool, StoreError> {
        let mut batch = Batch::new(ground.files);
        let mut read = 0;
        let mut result = Ok(());
        while read < STEP_BYTES && batch.bytes() < STEP_BYTES {
            let Some(&source) = self.sparse.front() else { break };
            match self.rescue_some(source, &mut batch, STEP_BYTES - read, ground) {
                Ok(bytes) => read += bytes,
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        if batch.bytes() == 0 {
            return result.map(|()| self.sparse.is_empty());
        }
        // What there is room for is written before it is said that there is no more.
        batch.write(ground.files, ground.state, ground.unsynced)?;
        Ok(self.sparse.is_empty())
    }

    /// Rescues messages from one segment until so many bytes of it are read or the step has written
    /// enough. Returns how many were read.
    fn rescue_some(
        &mut self,
        (id, key): FileKey,
        batch: &mut Batch,
        budget: u64,
        ground: &mut Ground<'_>,
    ) -> Result<u64, StoreError> {
        let Ground { files, state, damage, .. } = ground;
        if self.reader.is_none() {
            self.reader = open(files, state, (id, key));
        }
        let Some(reader) = &mut self.reader else {
            // Its queue was deleted, or all of it settled.
            self.sparse.pop_front();
            return Ok(0);
        };
        let begun = reader.offset();
        while reader.offset() - begun < budget && batch.bytes() < STEP_BYTES {
            let next = state.with_segment(id, key, |segment| reader.next(segment, 0, damage));
            let Some(found) = next.transpose()?.flatten() else {
                let read = reader.offset() - begun;
                self.reader = None;
                self.sparse.pop_front();
                return Ok(read);
            };
            let (position, mark, payload) = (found.position, found.mark, found.payload);
            match payload_body_length(payload) {
                Ok(octets) => {
                    let arrival = Arrival {
                        owner: PageOwner::Durable(id),
                        kind: Kind::Durable,
                        position,
                        length: payload.len(),
                        octets,
                        fill: |out: &mut Vec<u8>| out.extend_from_slice(payload),
                    };
                    if let Err(error) = batch.ask_room(files, arrival.bound()) {
                        reader.go_back(mark);
                        return Err(error);
                    }
                    batch.put(files, state, arrival);
                }
                Err(Malformed(what)) => damage.push(reader.damage_at(mark, what)),
            }
            state.with_segment(id, key, |segment| segment.settle(position, position));
        }
        Ok(reader.offset() - begun)
    }
}

fn open(files: &Files, state: &State, (id, key): FileKey) -> Option<SegmentReader> {
    let queue = state.queues.get(&id)?;
    let segment = queue.segments.find(key)?;
    Some(SegmentReader::new(files, PageOwner::Durable(id), &queue.name(), segment))
}
