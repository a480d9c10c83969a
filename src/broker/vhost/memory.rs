//! What messages take in memory, and which of them go to the disk for it.
//!
//! Queues that changed in a batch are measured at its end. While all of them together take more than
//! they may, those that just grew page out what is not needed soon, then others in turn: a clock hand goes
//! over the places of all queues. And a queue that nears its cold part asks for the next page.
//!
//! invariant: `queued` is the sum of what queues took when they were measured last.
//! invariant: a queue whose head is on the disk and is needed, or has to be read before it is known when
//! it expires, has asked for it, or waits until it may.

use std::collections::VecDeque;

use hashbrown::HashMap;

use crate::broker::ids::{Position, QueueId};
use crate::broker::paging::{MemoryShare, PageOrder, PageOwner};
use crate::broker::queue::Queue;
use crate::broker::queues::Queues;
use crate::broker::ready::{Entry, PageOut};
use crate::broker::time::Time;

/// What one order pages out at most, in bytes: a step of the store's thread.
const ORDER_BYTES: u64 = 4 * 1024 * 1024;
/// How much one batch pages out at most, in bytes, and at how many places it looks for that; the timer
/// goes on with the rest.
const BATCH_BYTES: u64 = 8 * ORDER_BYTES;
const PLACES_A_BATCH: usize = 1_000;
/// How many queues that wait until they may ask for a page one batch looks at.
const WAITING_A_BATCH: usize = 16;
/// While so many pages are due, none is asked for just to know when the head of a queue expires.
///
/// why: after a start that is not known of any queue, and all their heads at once may be more than there
/// is memory for.
const DUE_BEFORE_SURVEY: usize = 16;
/// A queue pages out no less than this, in bytes, unless queues are too many for that.
const LEAST_BYTES: u64 = 64 * 1024;
/// What a queue keeps in memory of its head, in bytes, unless queues are too many for that.
const MOST_KEPT_BYTES: u64 = 1024 * 1024;

/// Why a page is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// A client waits for it.
    Now,
    /// Consumers may get to it.
    Soon,
}

/// What messages take, and what the store is asked for beside records.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// What queues have in memory, in bytes, as they were measured last.
    queued: u64,
    /// What transactions, delayed exchanges and unacknowledged deliveries of deleted queues have in
    /// memory, in bytes.
    elsewhere: u64,
    /// How much of both is counted more than once, in bytes: messages that several queues have.
    repeated: i64,
    /// What is defined takes so much, in bytes.
    definitions: u64,
    /// How much queues may have, if there is a disk for more.
    share: Option<MemoryShare>,
    /// Whether nothing is to be paged out since the disk has no room for it.
    disk_is_full: bool,
    /// What the store is asked for, in order.
    orders: Vec<PageOrder>,
    /// The queues that have pages.
    owners: HashMap<PageOwner, QueueId>,
    /// The last number given to a queue for its pages.
    last_owner: u64,
    /// The clock hand: where among the places of queues to look next for something to page out.
    hand: usize,
    /// How many places are still to be looked at in this round.
    remaining: usize,
    /// What was queued when a round ended in which nothing could be paged out.
    exhausted_at: u64,
    /// Queues that want a page and must wait for memory, or for their turn.
    waiting: VecDeque<QueueId>,
    /// How many pages were asked for that have not come yet.
    due: usize,
}

impl Memory {
    pub(super) fn set_share(&mut self, share: Option<MemoryShare>) {
        self.share = share;
    }

    /// What exchanges, queues, bindings and clients take has changed, in bytes.
    pub(super) fn set_definitions(&mut self, bytes: u64) {
        self.definitions = bytes;
    }

    /// The share of queues beside what is defined.
    fn share(&self) -> Option<MemoryShare> {
        let MemoryShare { before_paging, before_consumers_wait, whole } = self.share?;
        let left = whole.saturating_sub(self.definitions);
        Some(MemoryShare {
            before_paging: before_paging.min(left / 2),
            before_consumers_wait: before_consumers_wait.min(left),
            whole,
        })
    }

    pub(super) fn set_disk_full(&mut self, is_full: bool) {
        self.disk_is_full = is_full;
    }

    /// About how much memory messages take, in bytes.
    pub(super) fn messages(&self) -> u64 {
        (self.queued + self.elsewhere).saturating_add_signed(-self.repeated)
    }

    /// What is held outside of queues, in bytes.
    pub(super) fn elsewhere(&self) -> u64 {
        self.elsewhere
    }

    /// Something outside of queues takes so many bytes more.
    pub(super) fn hold(&mut self, bytes: u64) {
        self.elsewhere += bytes;
    }

    /// Something outside of queues takes so many bytes less.
    pub(super) fn release(&mut self, bytes: u64) {
        self.elsewhere -= bytes;
    }

    /// How much of it is counted more than once, in bytes.
    pub(super) fn repeated(&self) -> i64 {
        self.repeated
    }

    /// So many bytes more are counted more than once.
    pub(super) fn note_repeated(&mut self, bytes: i64) {
        self.repeated += bytes;
    }

    /// A delivery of a queue that was deleted is settled.
    pub(super) fn release_delivery(&mut self, entry: &Entry) {
        self.elsewhere -= entry.weight();
        self.repeated -= entry.message.note_uncounted() as i64;
    }

    /// What queues have in memory, in bytes.
    fn taken(&self) -> u64 {
        self.queued.saturating_add_signed(-self.repeated)
    }

    /// The sum of what queues took when they were measured last, in bytes.
    pub(super) fn queued(&self) -> u64 {
        self.queued
    }

    /// The queue whose page has come.
    pub(super) fn owner(&self, owner: PageOwner) -> Option<QueueId> {
        self.owners.get(&owner).copied()
    }

    /// A queue has pages.
    pub(super) fn insert_owner(&mut self, owner: PageOwner, queue: QueueId) {
        self.owners.insert(owner, queue);
    }

    /// A message that was paged out and that no record speaks of is done with: neighbours share an order.
    pub(super) fn order_done(&mut self, owner: PageOwner, position: Position) {
        if let Some(PageOrder::Done { owner: last_owner, last, .. }) = self.orders.last_mut()
            && *last_owner == owner
            && *last + 1 == position
        {
            *last = position;
            return;
        }
        self.orders.push(PageOrder::Done { owner, first: position, last: position });
    }

    /// Appends what is asked of the store since the last time, in order.
    pub(super) fn take_orders(&mut self, into: &mut Vec<PageOrder>) {
        into.append(&mut self.orders);
    }

    /// A queue is deleted that took so much when it was measured last: nothing of it is in memory, and its
    /// pages go.
    pub(super) fn remove_queue(&mut self, queue: &mut Queue, measured: u64) {
        self.queued -= measured;
        self.repeated += queue.take_repeated();
        // What is delivered stays until it is settled.
        self.elsewhere += queue.unacknowledged_weight();
        let Some(owner) = queue.pages else { return };
        if self.owners.remove(&owner).is_some()
            && let PageOwner::Transient(queue) = owner
        {
            self.orders.push(PageOrder::Forget { queue });
        }
    }

    /// Measures the queues that changed in a batch, asks for pages that are needed soon and makes room,
    /// unless the store has failed. Says whether there is more to page out than one batch may.
    pub(super) fn finish_batch(
        &mut self,
        now: Time,
        queues: &mut Queues,
        consumers: usize,
        store_failed: bool,
    ) -> bool {
        let changed = queues.take_changed();
        for &id in &changed {
            self.measure(queues, id);
        }
        let mut is_unfinished = false;
        let may_page = !store_failed && !self.disk_is_full;
        let share = self.share().filter(|share| may_page && self.taken() > share.before_paging);
        if let Some(share) = share {
            is_unfinished = self.page_out(now, queues, share.before_paging, &changed);
        }
        for &id in &changed {
            self.ask_for_page(now, queues, consumers, id, Need::Soon);
        }
        self.measure_again(queues);
        queues.keep_list(changed);
        self.feed_waiting(now, queues, consumers);
        self.measure_again(queues);
        is_unfinished
    }

    /// What this very part changed is measured already, or takes what it took.
    fn measure_again(&mut self, queues: &mut Queues) {
        let changed = queues.take_changed();
        for &id in &changed {
            self.measure(queues, id);
        }
        queues.keep_list(changed);
    }

    fn measure(&mut self, queues: &mut Queues, id: QueueId) {
        if let Some(measured) = queues.measure(id) {
            self.queued = self.queued + measured.now - measured.before;
            self.repeated += measured.repeated;
        }
    }

    /// Pages out until queues take no more than `limit`, or enough for one batch: those first that
    /// have just grown, then all in turn. Says whether there is more to do.
    fn page_out(&mut self, now: Time, queues: &mut Queues, limit: u64, grown: &[QueueId]) -> bool {
        let mut paged = 0;
        for &id in grown {
            if self.taken() <= limit || paged >= BATCH_BYTES {
                break;
            }
            paged += self.page_out_of(now, queues, id, limit);
        }
        // why: after a round in which nothing could go, there is no use in another before something
        // has grown.
        if paged > 0 || self.taken() > self.exhausted_at + limit / 8 {
            self.remaining = queues.end();
        }
        for _ in 0..self.remaining.min(PLACES_A_BATCH) {
            if self.taken() <= limit || paged >= BATCH_BYTES {
                break;
            }
            let place = if self.hand < queues.end() { self.hand } else { 0 };
            self.hand = place + 1;
            self.remaining -= 1;
            let Some((id, _)) = queues.at(place) else { continue };
            let more = self.page_out_of(now, queues, id, limit);
            if more > 0 {
                paged += more;
                self.remaining = queues.end();
            }
        }
        if self.taken() <= limit {
            self.exhausted_at = 0;
            return false;
        }
        if self.remaining == 0 {
            self.exhausted_at = self.taken();
            return false;
        }
        true
    }

    /// Pages out what a queue need not have in memory; how much that was, in bytes.
    fn page_out_of(&mut self, now: Time, queues: &mut Queues, id: QueueId, limit: u64) -> u64 {
        let average = limit / queues.len().max(1) as u64;
        let keep = (average / 4).min(MOST_KEPT_BYTES);
        let least = (average / 2).clamp(1, LEAST_BYTES);
        if queues.get(id).is_none_or(|queue| queue.ready.is_empty()) {
            return 0;
        }
        let Some(queue) = queues.get_mut(id) else { return 0 };
        let before = queue.weight();
        let takes_head = !queue.needs_head(now);
        let wanted = PageOut { keep, least, at_most: ORDER_BYTES, takes_head };
        let messages = queue.ready.page_out(wanted);
        let mut paged = 0;
        if !messages.is_empty() {
            paged = before - queue.weight();
            let last_owner = &mut self.last_owner;
            let owner = *queue.pages.get_or_insert_with(|| {
                *last_owner += 1;
                PageOwner::Transient(*last_owner)
            });
            self.owners.insert(owner, id);
            self.orders.push(PageOrder::Out { owner, messages });
        }
        self.measure(queues, id);
        paged
    }

    /// Asks for what a queue needs soon of its cold part; `all_consumers` are those of all queues.
    pub(super) fn ask_for_page(
        &mut self,
        now: Time,
        queues: &mut Queues,
        all_consumers: usize,
        id: QueueId,
        need: Need,
    ) {
        if queues.get(id).is_none_or(|queue| queue.ready.cold_messages() == 0) {
            return;
        }
        let Some(queue) = queues.get_mut(id) else { return };
        let Some(owner) = queue.pages else { return };
        let has_room = self.share().is_none_or(|share| self.taken() < share.before_paging);
        // why: a client that acknowledges nothing must not pull a backlog into memory. Each queue may
        // have its consumers' part of what there is; it goes on when some of that is settled.
        let consumers = queue.consumers.len() as u64;
        let is_urgent = need == Need::Now || queue.must_lose_head(now);
        let must_wait = !is_urgent
            && self.share().is_some_and(|MemoryShare { before_consumers_wait: most, .. }| {
                let part = most / (all_consumers.max(1) as u64) * consumers.max(1);
                self.taken() > most && queue.unacknowledged_weight() > part
            });
        let needs_head = is_urgent || queue.needs_head(now);
        let is_survey = !needs_head && queue.ready.head_is_unknown();
        if must_wait || (is_survey && self.due >= DUE_BEFORE_SURVEY) {
            if !std::mem::replace(&mut queue.waits_for_memory, true) {
                self.waiting.push_back(id);
            }
            return;
        }
        if let Some(wanted) =
            queue.ready.want_page(needs_head || is_survey, consumers > 0, has_room)
        {
            let (first, last, octets) = (wanted.first, wanted.last, wanted.octets);
            self.orders.push(PageOrder::In { owner, first, last, octets });
            self.due += 1;
        }
    }

    /// A page has come.
    pub(super) fn note_page_came(&mut self) {
        self.due -= 1;
    }

    /// Looks again at some of the queues that wait until they may ask for a page.
    fn feed_waiting(&mut self, now: Time, queues: &mut Queues, consumers: usize) {
        for _ in 0..self.waiting.len().min(WAITING_A_BATCH) {
            let Some(id) = self.waiting.pop_front() else { return };
            if let Some(queue) = queues.get_mut(id) {
                queue.waits_for_memory = false;
                self.ask_for_page(now, queues, consumers, id, Need::Soon);
            }
        }
    }
}
