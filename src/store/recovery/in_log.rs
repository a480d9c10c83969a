//! The messages that a start finds in the log. What is too much for memory goes to segments, unsynced, as if it
//! had been paged out: the log has it until a checkpoint.

use std::collections::{BTreeMap, BTreeSet};

use crate::broker::paging::{PageOwner, PagedMessage};
use crate::broker::record::{DurableQueueId, Position, RecoveredMessage};

use super::super::appending::Unsynced;
use super::super::error::StoreError;
use super::super::files::Files;
use super::super::paging::page_out;
use super::super::state::State;
use super::queues;

/// How much of a queue is moved at once, in bytes.
const STEP_BYTES: u64 = 4 * 1024 * 1024;

/// What a message takes beside its own bytes, about: itself in its queue and the allocation's own.
const MESSAGE_BYTES: u64 = 160;

/// The messages that live in the log, by queue and position.
#[derive(Default)]
pub(in crate::store) struct MessagesInLog {
    queues: BTreeMap<DurableQueueId, InQueue>,
    /// What all of them take, in bytes; one that is in several queues counts in each.
    bytes: u64,
    /// How much they may take before those that can are moved, in bytes.
    most: u64,
    /// The queues whose directory has nothing but their segments.
    ///
    /// why: what an unfinished checkpoint left there may have the name of a segment that is begun now.
    cleared: BTreeSet<DurableQueueId>,
}

/// Those of a queue.
#[derive(Default)]
struct InQueue {
    messages: BTreeMap<Position, RecoveredMessage>,
    bytes: u64,
}

impl InQueue {
    /// Takes the first of them, about so many bytes.
    fn take_first(&mut self, bytes: u64) -> Vec<PagedMessage> {
        let mut taken = Vec::new();
        let before = self.bytes;
        while before - self.bytes < bytes
            && let Some((position, found)) = self.messages.pop_first()
        {
            self.bytes -= weight(&found);
            let RecoveredMessage { expires_at, message, .. } = found;
            taken.push(PagedMessage { position, expires_at, recorded: true, message });
        }
        taken
    }
}

impl MessagesInLog {
    /// None yet, and they may take about so many bytes.
    pub(super) fn new(most: u64) -> Self {
        MessagesInLog { most, ..MessagesInLog::default() }
    }

    pub(super) fn insert(&mut self, id: DurableQueueId, message: RecoveredMessage) {
        let queue = self.queues.entry(id).or_default();
        let weight = weight(&message);
        (queue.bytes, self.bytes) = (queue.bytes + weight, self.bytes + weight);
        if let Some(before) = queue.messages.insert(message.position, message) {
            self.count_out(id, [before]);
        }
    }

    /// Messages are settled.
    pub(super) fn settle(&mut self, id: DurableQueueId, first: Position, last: Position) {
        let Some(queue) = self.queues.get_mut(&id) else { return };
        let settled: Vec<_> =
            queue.messages.extract_if(first..=last, |_, _| true).map(|(_, it)| it).collect();
        self.count_out(id, settled);
    }

    fn count_out(&mut self, id: DurableQueueId, gone: impl IntoIterator<Item = RecoveredMessage>) {
        let weight: u64 = gone.into_iter().map(|message| weight(&message)).sum();
        self.bytes -= weight;
        if let Some(queue) = self.queues.get_mut(&id) {
            queue.bytes -= weight;
        }
    }

    /// Takes those of a queue, by position.
    pub(in crate::store) fn remove(&mut self, id: DurableQueueId) -> Vec<RecoveredMessage> {
        let Some(queue) = self.queues.remove(&id) else { return Vec::new() };
        self.bytes -= queue.bytes;
        queue.messages.into_values().collect()
    }

    /// Moves messages to segments if they take too much, those of the queues that have the most first, until
    /// half of what they may take is left. On a full disk they stay.
    pub(super) fn make_room(
        &mut self,
        files: &Files,
        state: &mut State,
        unsynced: &mut Unsynced,
    ) -> Result<(), StoreError> {
        if self.bytes <= self.most {
            return Ok(());
        }
        let can_move = |id: &DurableQueueId| {
            state.queues.get(id).is_some_and(|queue| !queue.definition.is_kept_in_memory())
        };
        let mut largest: Vec<_> = self
            .queues
            .iter()
            .filter(|(id, _)| can_move(id))
            .map(|(&id, queue)| (queue.bytes, id))
            .collect();
        largest.sort_unstable();
        while self.bytes > self.most / 2
            && let Some((_, id)) = largest.pop()
        {
            let Some(mut queue) = self.queues.remove(&id) else { continue };
            self.bytes -= queue.bytes;
            if self.cleared.insert(id) {
                queues::clear_directory(files, state, id)?;
            }
            while !queue.messages.is_empty() {
                let moved = queue.take_first(STEP_BYTES);
                match page_out(files, state, unsynced, PageOwner::Durable(id), &moved) {
                    Ok(()) => {}
                    Err(error) if error.is_shortage() => {
                        self.most = u64::MAX;
                        let kept = queue.messages.into_values().chain(moved.into_iter().map(back));
                        kept.for_each(|message| self.insert(id, message));
                        return Ok(());
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        // What is left has to stay; there is no use in another attempt before there is much more.
        self.most = self.most.max(2 * self.bytes);
        Ok(())
    }
}

fn weight(message: &RecoveredMessage) -> u64 {
    MESSAGE_BYTES + message.message.as_bytes().len() as u64
}

fn back(PagedMessage { position, expires_at, message, .. }: PagedMessage) -> RecoveredMessage {
    RecoveredMessage { position, expires_at, message }
}
