//! What the store is told, in order, how far it has come, and who waits for that.
//!
//! invariant: once the store has failed, nothing more is told.

use crate::broker::ids::{ChannelId, DurableQueueId, Lsn, Position};
use crate::broker::record::Record;

/// The records of a virtual host on their way to the store.
#[derive(Debug, Default)]
pub(super) struct Journal {
    /// Those that were not taken yet.
    records: Vec<Record>,
    /// How many confirms and commits wait for them.
    awaited: usize,
    last: Lsn,
    synced: Lsn,
    has_failed: bool,
    last_queue_id: DurableQueueId,
    /// Channels that have confirms waiting for the store.
    confirming: Vec<ChannelId>,
    /// Channels whose commit waits for the store.
    committing: Vec<ChannelId>,
}

impl Journal {
    /// Goes on behind what a restart found.
    pub(super) fn restore(&mut self, last: Lsn, last_queue_id: DurableQueueId) {
        // why: taking up what is in the store already is no change.
        self.records.clear();
        (self.last, self.synced, self.last_queue_id) = (last, last, last_queue_id);
    }

    /// Tells the store something.
    pub(super) fn record(&mut self, record: Record) {
        if !self.has_failed {
            self.last.0 += 1;
            self.records.push(record);
        }
    }

    /// Tells the store that a message is done with; neighbours share a record.
    pub(super) fn record_settled(
        &mut self,
        queue: DurableQueueId,
        position: Position,
        acknowledged: bool,
    ) {
        if let Some(Record::Settled { queue: last_queue, last, acknowledged: same, .. }) =
            self.records.last_mut()
            && *last_queue == queue
            && *same == acknowledged
            && *last + 1 == position
        {
            *last = position;
            return;
        }
        self.record(Record::Settled { queue, first: position, last: position, acknowledged });
    }

    /// Tells the store that a message came back; neighbours that came back as often share a record.
    pub(super) fn record_returned(
        &mut self,
        queue: DurableQueueId,
        position: Position,
        returns: u32,
    ) {
        if let Some(Record::Returned { queue: last_queue, last, returns: same, .. }) =
            self.records.last_mut()
            && *last_queue == queue
            && *same == returns
            && *last + 1 == position
        {
            *last = position;
            return;
        }
        self.record(Record::Returned { queue, first: position, last: position, returns });
    }

    /// The place of the last record.
    pub(super) fn last(&self) -> Lsn {
        self.last
    }

    /// The place of the last record, if there is one behind `before`.
    pub(super) fn since(&self, before: Lsn) -> Option<Lsn> {
        (self.last > before).then_some(self.last)
    }

    /// Up to where everything is on the disk.
    pub(super) fn synced(&self) -> Lsn {
        self.synced
    }

    /// Everything up to this record is on the disk.
    pub(super) fn note_synced(&mut self, lsn: Lsn) {
        self.synced = self.synced.max(lsn);
    }

    /// The store has failed and will not come back.
    pub(super) fn fail(&mut self) {
        self.has_failed = true;
        self.records.clear();
    }

    /// Whether the store has failed.
    pub(super) fn has_failed(&self) -> bool {
        self.has_failed
    }

    /// The identity of one more durable queue.
    pub(super) fn next_queue_id(&mut self) -> DurableQueueId {
        self.last_queue_id.0 += 1;
        self.last_queue_id
    }

    /// One more answer waits for the records made so far.
    pub(super) fn note_awaited(&mut self) {
        self.awaited += 1;
    }

    /// Confirms of a channel wait for the store. The caller sees to it that it is listed once.
    pub(super) fn list_confirming(&mut self, channel: ChannelId) {
        self.confirming.push(channel);
    }

    /// The commit of a channel waits for the store. The caller sees to it that it is listed once.
    pub(super) fn list_committing(&mut self, channel: ChannelId) {
        self.committing.push(channel);
    }

    /// Takes the list of channels whose confirms wait.
    pub(super) fn take_confirming(&mut self) -> Vec<ChannelId> {
        std::mem::take(&mut self.confirming)
    }

    /// Takes the list of channels whose commit waits.
    pub(super) fn take_committing(&mut self) -> Vec<ChannelId> {
        std::mem::take(&mut self.committing)
    }

    /// Appends the records made since the last time, in order, and says how many answers wait for them.
    pub(super) fn take_records(&mut self, into: &mut Vec<Record>) -> usize {
        into.append(&mut self.records);
        std::mem::take(&mut self.awaited)
    }
}
