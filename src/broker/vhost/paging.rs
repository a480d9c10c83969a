//! Which messages are in memory: a backlog goes to the disk, and comes back when its turn is near.
//!
//! Queues whose messages changed in a batch are weighed at its end. While all of them together weigh
//! more than they may, those that just grew page out what is not needed soon, then others in turn; and
//! a queue that nears its cold part asks for the next page.
//!
//! invariant: the sum of what queues weighed last is what the virtual host believes to hold.
//! invariant: a queue whose head is on the disk has asked for it, or stands among the starved, which
//! ask as soon as there is memory again.

use leveret_codec::{Method, ShortStr};

use super::client::Via;
use super::{ConnectionId, Notice, Vhost};
use crate::broker::access::Permission;
use crate::broker::channel::{ChannelId, ChannelState};
use crate::broker::command::Command;
use crate::broker::expiry::Deadline;
use crate::broker::limits;
use crate::broker::paging::{Kept, MemoryShare, Page, PageOrder, PageOwner, PagedMessage};
use crate::broker::queue::{Queue, QueueId};
use crate::broker::record::Position;
use crate::broker::time::Time;

/// What one order pages out at most, in octets: a step of the store's thread.
const ORDER_OCTETS: u64 = 4 * 1024 * 1024;
/// How much one batch pages out at most, in octets, and at how many queues it looks for that; the timer
/// goes on with the rest.
const BATCH_OCTETS: u64 = 8 * ORDER_OCTETS;
const LOOKS_A_BATCH: usize = 1_000;
/// How many queues that wait for memory one batch looks at.
const FED_A_BATCH: usize = 16;
/// A queue pages out no less than this, in octets, unless queues are too many for that.
const LEAST_OCTETS: u64 = 64 * 1024;
/// What a queue keeps in memory of its head, in octets, unless queues are too many for that.
const MOST_KEPT_OCTETS: u64 = 1024 * 1024;

/// Whether a command can be handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It can.
    Ready,
    /// Part of its work is done; it is to be given again at once, when others have had their turn.
    Again,
    /// It needs what is on the disk: it is to be given again after the next
    /// [`handle_page`](Vhost::handle_page).
    AfterPage,
}

/// Why a page is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    /// A client waits for it.
    Now,
    /// Consumers may get to it.
    Soon,
}

/// A purge that takes several turns.
#[derive(Clone, Copy, Debug)]
pub struct Purge {
    pub(super) queue: QueueId,
    /// How many are still to go.
    left: usize,
    /// How many are gone.
    pub(super) purged: u32,
}

impl Vhost {
    /// How much memory messages may take; `None` when there is no disk for more.
    pub fn handle_memory_share(&mut self, now: Time, share: Option<MemoryShare>) {
        self.now = now;
        self.memory_share = share;
    }

    /// What a queue asked for has come.
    pub fn handle_page(&mut self, now: Time, page: Page) {
        self.now = now;
        let Some(&id) = self.page_owners.get(&page.owner) else { return };
        let Some(queue) = self.queues.get_mut(id) else { return };
        let lost = queue.ready.take_page(page.messages, page.next);
        if lost > 0 {
            let queue = queue.name.to_string();
            self.notices.push(Notice::MessagesLost { queue, messages: lost });
        }
        self.touch(id);
        self.drop_head(id);
        self.dispatch(id);
        self.work_off();
    }

    /// The store cannot take what was paged out; it is in memory again.
    pub fn handle_page_refused(
        &mut self,
        now: Time,
        owner: PageOwner,
        messages: Vec<PagedMessage>,
    ) {
        self.now = now;
        let Some(&id) = self.page_owners.get(&owner) else { return };
        let Some(queue) = self.queues.get_mut(id) else { return };
        // Until somebody says that there is room.
        self.disk_is_full = true;
        queue.ready.take_back(messages);
        self.touch(id);
        self.dispatch(id);
        self.work_off();
    }

    /// The disk is full, or has room again: nothing goes there meanwhile.
    pub fn handle_disk_full(&mut self, now: Time, is_full: bool) {
        self.now = now;
        self.disk_is_full = is_full;
    }

    /// Appends what is asked of the store since the last time, in order.
    pub fn take_page_orders(&mut self, into: &mut Vec<PageOrder>) {
        into.append(&mut self.page_orders);
    }

    /// About how much memory messages take, in octets: those that wait, that are delivered and not
    /// acknowledged, that a transaction or a delayed exchange holds.
    pub fn message_memory(&self) -> u64 {
        self.held + self.held_back
    }

    /// About how much is on its way to clients, in octets.
    pub fn outbox_memory(&self) -> u64 {
        self.clients.iter().map(|(_, client)| client.in_outbox()).sum()
    }

    /// Whether a command can be handled now. Does part of the work of one that takes long.
    pub fn prepare(&mut self, now: Time, id: ConnectionId, command: &Command<'_>) -> Readiness {
        let Command::Method { channel, method } = command else { return Readiness::Ready };
        match method {
            Method::BasicGet(get) => {
                self.now = now;
                let Some(via) = self.open_via(id, *channel) else { return Readiness::Ready };
                let queue = self.readable_queue(via, get.queue);
                queue.map_or(Readiness::Ready, |queue| self.prepare_get(queue))
            }
            Method::QueuePurge(purge) => {
                self.now = now;
                let Some(via) = self.open_via(id, *channel) else { return Readiness::Ready };
                let queue = self.readable_queue(via, purge.queue);
                queue.map_or(Readiness::Ready, |queue| self.prepare_purge(via, queue))
            }
            _ => Readiness::Ready,
        }
    }

    fn open_via(&self, id: ConnectionId, number: u16) -> Option<Via> {
        let channel = self.clients.get(id)?.channels.get(&number).copied()?;
        let open = self.channels.get(channel)?.state == ChannelState::Open;
        open.then_some(Via { connection: id, channel, number })
    }

    /// The queue that a client means, if it may read from it; what is wrong is found out when the
    /// command is handled.
    fn readable_queue(&self, via: Via, name: ShortStr<'_>) -> Option<QueueId> {
        self.check_not_committing(via).ok()?;
        let name = self.queue_name(via, name).ok()?;
        let &queue = self.queue_names.get(name.as_bytes())?;
        self.may_with_queue(via, Permission::Read, &name).ok()?;
        self.check_access(queue, via).ok()?;
        Some(queue)
    }

    /// What to do while another purges the queue.
    fn wait_for_purge(queue: &Queue) -> Readiness {
        if queue.ready.awaits_page() { Readiness::AfterPage } else { Readiness::Again }
    }

    fn prepare_get(&mut self, id: QueueId) -> Readiness {
        self.expire_head(id, limits::EXPIRED_A_TURN);
        self.work_off();
        let Some(queue) = self.queues.get(id) else { return Readiness::Ready };
        if queue.purged_by.is_some() {
            return Vhost::wait_for_purge(queue);
        }
        if queue.ready.awaits_page() {
            self.ask_for_page(id, Need::Now);
            return Readiness::AfterPage;
        }
        let expired = queue.ready.front().is_some_and(|entry| entry.is_expired(self.now));
        if expired { Readiness::Again } else { Readiness::Ready }
    }

    /// Purges so many messages as were there when it began, in turns.
    fn prepare_purge(&mut self, via: Via, id: QueueId) -> Readiness {
        let Some(queue) = self.queues.get_mut(id) else { return Readiness::Ready };
        if *queue.purged_by.get_or_insert(via.channel) != via.channel {
            return Vhost::wait_for_purge(queue);
        }
        let Some(channel) = self.channels.get_mut(via.channel) else { return Readiness::Ready };
        let begun = channel.purge.filter(|purge| purge.queue == id);
        let mut purge = begun.unwrap_or(Purge { queue: id, left: queue.ready.len(), purged: 0 });
        let turn = purge.left.min(limits::PURGED_A_TURN);
        let mut taken = 0;
        while taken < turn {
            let Some(queue) = self.queues.get_mut(id) else { break };
            let Some(entry) = queue.ready.pop_front() else { break };
            let kept = queue.kept(&entry);
            self.let_go(kept);
            taken += 1;
        }
        purge.left -= taken;
        purge.purged += taken as u32;
        if let Some(channel) = self.channels.get_mut(via.channel) {
            channel.purge = Some(purge);
        }
        self.touch(id);
        if purge.left > 0 && self.queues.get(id).is_some_and(|it| it.ready.awaits_page()) {
            self.ask_for_page(id, Need::Now);
            return Readiness::AfterPage;
        }
        // What is not there any more was lost on the disk.
        if purge.left > 0 && taken > 0 { Readiness::Again } else { Readiness::Ready }
    }

    /// The purge of a channel is over, at its end or before: others may have the queue again. Says
    /// what it was.
    pub(super) fn end_purge(&mut self, id: ChannelId) -> Option<Purge> {
        let purge = self.channels.get_mut(id)?.purge.take()?;
        if let Some(queue) = self.queues.get_mut(purge.queue) {
            queue.purged_by = None;
        }
        Some(purge)
    }

    /// Tells the store that a message is done with, if it knows of it.
    pub(super) fn let_go(&mut self, kept: Option<Kept>) {
        match kept {
            None => {}
            Some(Kept::Recorded { queue, position }) => self.record_settled(queue, position),
            Some(Kept::Paged { owner, position }) => self.order_done(owner, position),
        }
    }

    /// As [`record_settled`](Vhost::record_settled): neighbours share an order.
    fn order_done(&mut self, owner: PageOwner, position: Position) {
        if let Some(PageOrder::Done { owner: last_owner, last, .. }) = self.page_orders.last_mut()
            && *last_owner == owner
            && *last + 1 == position
        {
            *last = position;
            return;
        }
        self.page_orders.push(PageOrder::Done { owner, first: position, last: position });
    }

    /// The messages of a queue have changed: it is to be weighed.
    pub(super) fn touch(&mut self, id: QueueId) {
        if let Some(queue) = self.queues.get_mut(id) {
            note_touched(queue, id, &mut self.touched);
        }
    }

    /// A queue is deleted: nothing of it is in memory, and its pages go.
    pub(super) fn forget_pages(&mut self, queue: &Queue) {
        self.held -= queue.weighed;
        // What is delivered stays until it is settled.
        self.held_back += queue.unacknowledged_weight();
        let Some(owner) = queue.pages else { return };
        if self.page_owners.remove(&owner).is_some()
            && let PageOwner::Transient(queue) = owner
        {
            self.page_orders.push(PageOrder::Forget { queue });
        }
    }

    /// Weighs what changed in a batch, asks for pages that are needed soon and makes room.
    pub(super) fn weigh_queues(&mut self) {
        let mut touched = std::mem::take(&mut self.touched);
        for &id in &touched {
            let Some(queue) = self.queues.get_mut(id) else { continue };
            queue.touched = false;
            self.weigh(id);
        }
        if let Some(share) = self.memory_share.filter(|share| self.held > share.before_paging) {
            self.page_out(share.before_paging, &touched);
        }
        for &id in &touched {
            self.ask_for_page(id, Need::Soon);
        }
        touched.clear();
        self.touched = touched;
        self.feed_starved();
    }

    fn weigh(&mut self, id: QueueId) {
        let Some(queue) = self.queues.get_mut(id) else { return };
        let weight = queue.weight();
        self.held = self.held + weight - queue.weighed;
        queue.weighed = weight;
    }

    /// Pages out until queues weigh no more than `limit`, or enough for one batch: those first that
    /// have just grown, then all in turn.
    fn page_out(&mut self, limit: u64, grown: &[QueueId]) {
        if self.store_failed || self.disk_is_full {
            return;
        }
        let mut paged = 0;
        for &id in grown {
            if self.held <= limit || paged >= BATCH_OCTETS {
                break;
            }
            paged += self.page_out_of(id, limit);
        }
        // why: after a round in which nothing could go, there is no use in another before something
        // has grown.
        if paged > 0 || self.held > self.held_in_vain + limit / 8 {
            self.looks_left = self.queues.len();
        }
        let looks = self.looks_left.min(LOOKS_A_BATCH);
        for _ in 0..looks {
            if self.held <= limit || paged >= BATCH_OCTETS {
                break;
            }
            let next = self.queues.next_from(self.page_hand);
            let Some(id) = next.or_else(|| self.queues.next_from(0)) else { break };
            self.page_hand = id.index() + 1;
            self.looks_left -= 1;
            let more = self.page_out_of(id, limit);
            if more > 0 {
                paged += more;
                self.looks_left = self.queues.len();
            }
        }
        if self.held <= limit {
            self.held_in_vain = 0;
        } else if self.looks_left == 0 {
            self.held_in_vain = self.held;
        } else {
            self.deadlines.add(self.now, Deadline::Memory);
        }
    }

    /// Pages out what a queue need not have in memory; how much that was, in octets.
    fn page_out_of(&mut self, id: QueueId, limit: u64) -> u64 {
        let average = limit / self.queues.len().max(1) as u64;
        let keep = (average / 4).min(MOST_KEPT_OCTETS);
        let least = (average / 2).clamp(1, LEAST_OCTETS);
        let Some(queue) = self.queues.get_mut(id) else { return 0 };
        let before = queue.weight();
        let messages = queue.ready.page_out(keep, least, ORDER_OCTETS);
        if messages.is_empty() {
            return 0;
        }
        let paged = before - queue.weight();
        let last_pages = &mut self.last_pages;
        let owner = *queue.pages.get_or_insert_with(|| {
            *last_pages += 1;
            PageOwner::Transient(*last_pages)
        });
        self.page_owners.insert(owner, id);
        self.page_orders.push(PageOrder::Out { owner, messages });
        self.weigh(id);
        paged
    }

    /// Asks for what a queue needs soon of its cold part.
    fn ask_for_page(&mut self, id: QueueId, need: Need) {
        let Some(queue) = self.queues.get_mut(id) else { return };
        let Some(owner) = queue.pages.filter(|_| queue.ready.cold_messages() > 0) else { return };
        let has_room = self.memory_share.is_none_or(|share| self.held < share.before_paging);
        // why: a client that acknowledges nothing must not pull a backlog into memory. Each queue may
        // have its consumers' part of what there is; it goes on when some of that is settled.
        let consumers = queue.consumers.len() as u64;
        let is_starved = need == Need::Soon
            && self.memory_share.is_some_and(|MemoryShare { before_starving: most, .. }| {
                let part = most / (self.consumers.len().max(1) as u64) * consumers.max(1);
                self.held > most && queue.unacknowledged_weight() > part
            });
        if is_starved {
            if !std::mem::replace(&mut queue.starved, true) {
                self.starved.push_back(id);
            }
            return;
        }
        let busy = consumers > 0;
        if let Some(wanted) = queue.ready.want_page(busy, has_room) {
            let (first, last, octets) = (wanted.first, wanted.last, wanted.octets);
            self.page_orders.push(PageOrder::In { owner, first, last, octets });
        }
    }

    /// Looks again at some of the queues that wait for memory.
    fn feed_starved(&mut self) {
        for _ in 0..self.starved.len().min(FED_A_BATCH) {
            let Some(id) = self.starved.pop_front() else { return };
            if let Some(queue) = self.queues.get_mut(id) {
                queue.starved = false;
                self.ask_for_page(id, Need::Soon);
            }
        }
    }
}

/// Adds a queue to those to be weighed, once.
pub(super) fn note_touched(queue: &mut Queue, id: QueueId, touched: &mut Vec<QueueId>) {
    if !std::mem::replace(&mut queue.touched, true) {
        touched.push(id);
    }
}
