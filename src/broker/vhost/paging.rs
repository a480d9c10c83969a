//! Messages between memory and disk: what goes out of a queue's head and comes back, and what waits for it.

use hashbrown::HashSet;
use leveret_codec::{Method, ShortStr};

use super::memory::Need;
use super::sessions::ChannelRef;
use super::{Notice, Vhost};
use crate::broker::access::Permission;
use crate::broker::channel::Purge;
use crate::broker::command::{Command, Wait};
use crate::broker::ids::{ChannelId, ConnectionId, QueueId};
use crate::broker::limits;
use crate::broker::paging::{Kept, MemoryShare, Page, PageOwner, PagedMessage};
use crate::broker::queue::Queue;
use crate::broker::ready::Entry;
use crate::broker::time::Time;
use crate::broker::unacked::UnackedList;

impl Vhost {
    /// How much memory messages may take; `None` when there is no disk for more.
    pub fn handle_memory_share(&mut self, now: Time, share: Option<MemoryShare>) {
        self.now = now;
        self.memory.set_share(share);
    }

    /// What a queue asked for has come.
    pub fn handle_page(&mut self, now: Time, page: Page) {
        self.now = now;
        self.memory.note_page_came();
        let Some(id) = self.memory.owner(page.owner) else { return };
        let Some(queue) = self.queues.get_mut(id) else { return };
        let lost = queue.ready.take_page(page.messages, page.next);
        if lost > 0 {
            let queue = queue.name.to_string();
            self.batch.notice(Notice::MessagesLost { queue, messages: lost });
        }
        self.evaluate(id);
        self.process_dead_letters();
    }

    /// The store cannot take what was paged out; it is in memory again.
    pub fn handle_page_refused(
        &mut self,
        now: Time,
        owner: PageOwner,
        messages: Vec<PagedMessage>,
    ) {
        self.now = now;
        let Some(id) = self.memory.owner(owner) else { return };
        let Some(queue) = self.queues.get_mut(id) else { return };
        // Until somebody says that there is room.
        self.memory.set_disk_full(true);
        queue.ready.take_back(messages);
        self.evaluate(id);
        self.process_dead_letters();
    }

    /// The disk is full, or has room again: nothing goes there meanwhile.
    pub fn handle_disk_full(&mut self, now: Time, is_full: bool) {
        self.now = now;
        self.memory.set_disk_full(is_full);
    }

    /// About how much memory messages take, in octets: those that wait, that are delivered and not
    /// acknowledged, that a transaction or a delayed exchange holds.
    pub fn message_memory(&self) -> u64 {
        self.memory.messages() + self.work.weight()
    }

    /// What a command has to wait for before it is handled. Does part of the work of one that takes long.
    pub(super) fn prepare(&mut self, id: ConnectionId, command: &Command<'_>) -> Option<Wait> {
        match command {
            Command::Publish { mandatory: true, .. } => {
                let has_room = self.sessions.client(id)?.has_room_for_returns();
                (!has_room).then_some(Wait::Room)
            }
            Command::Method { channel, method: Method::BasicGet(get) } => {
                let via = self.sessions.open_channel(id, *channel)?;
                self.end_wait_for_head(via.channel);
                if !self.sessions.client(id)?.has_room() {
                    return Some(Wait::Room);
                }
                let queue = self.readable_queue(via, get.queue)?;
                self.prepare_get(via, queue)
            }
            Command::Method { channel, method: Method::QueuePurge(purge) } => {
                let via = self.sessions.open_channel(id, *channel)?;
                let queue = self.readable_queue(via, purge.queue)?;
                self.prepare_purge(via, queue)
            }
            _ => None,
        }
    }

    /// Asks for what a client waits for.
    fn ask_for_page(&mut self, id: QueueId) {
        let consumers = self.sessions.consumer_count();
        self.memory.ask_for_page(self.now, &mut self.queues, consumers, id, Need::Now);
    }

    /// The queue that a client means, if it may read from it; what is wrong is found out when the
    /// command is handled.
    fn readable_queue(&self, via: ChannelRef, name: ShortStr<'_>) -> Option<QueueId> {
        self.check_not_committing(via).ok()?;
        let name = self.queue_name(via, name).ok()?;
        let queue = self.queues.find(name.as_bytes())?;
        self.may_with_queue(via, Permission::Read, &name).ok()?;
        self.check_access(queue, via).ok()?;
        Some(queue)
    }

    /// What to wait for while a queue is held; whoever purges it has asked for the page that it waits for.
    fn wait_for_release(queue: &Queue) -> Wait {
        match queue.ready.awaits_page() {
            _ if queue.is_held_by_work() => Wait::Work,
            true => Wait::Page,
            false => Wait::Turn,
        }
    }

    fn prepare_get(&mut self, via: ChannelRef, id: QueueId) -> Option<Wait> {
        self.expire_head(id, limits::EXPIRED_A_TURN);
        let queue = self.queues.get(id)?;
        if queue.is_held() {
            return Some(Vhost::wait_for_release(queue));
        }
        if queue.ready.awaits_page() {
            self.ask_for_page(id);
            self.begin_wait_for_head(via.channel, id);
            return Some(Wait::Page);
        }
        let expired = queue.ready.front().is_some_and(|entry| entry.is_expired(self.now));
        expired.then_some(Wait::Turn)
    }

    /// A basic.get waits for what goes next: it stays in memory until the get has been given again.
    fn begin_wait_for_head(&mut self, channel: ChannelId, id: QueueId) {
        let Some(queue) = self.queues.get_mut(id) else { return };
        let Some(state) = self.sessions.channel_mut(channel) else { return };
        if *queue.awaited_by.get_or_insert(channel) == channel {
            state.awaits_head_of = Some(id);
        }
    }

    /// The basic.get that waited was given again, or never will be.
    pub(super) fn end_wait_for_head(&mut self, channel: ChannelId) {
        let awaited = self.sessions.channel_mut(channel).and_then(|it| it.awaits_head_of.take());
        if let Some(queue) = awaited.and_then(|id| self.queues.get_mut(id)) {
            queue.awaited_by = None;
        }
    }

    /// Purges so many messages as were there when it began, in turns.
    fn prepare_purge(&mut self, via: ChannelRef, id: QueueId) -> Option<Wait> {
        let queue = self.queues.get_mut(id)?;
        let is_other = queue.purged_by.is_some_and(|other| other != via.channel);
        if is_other || queue.is_held_by_work() {
            return Some(Vhost::wait_for_release(queue));
        }
        queue.purged_by = Some(via.channel);
        let channel = self.sessions.channel_mut(via.channel)?;
        let begun = channel.purge.filter(|purge| purge.queue == id);
        let mut purge = begun.unwrap_or(Purge { queue: id, left: queue.ready.len(), purged: 0 });
        let turn = purge.left.min(limits::PURGED_A_TURN);
        let mut taken = 0;
        while taken < turn {
            let Some(queue) = self.queues.get_mut(id) else { break };
            let Some(entry) = queue.ready.pop_front() else { break };
            let kept = queue.kept(&entry);
            self.release_acknowledged(kept);
            taken += 1;
        }
        self.work.take(taken);
        purge.left -= taken;
        purge.purged += taken as u32;
        if let Some(channel) = self.sessions.channel_mut(via.channel) {
            channel.purge = Some(purge);
        }
        if purge.left > 0 && self.queues.get(id).is_some_and(|it| it.ready.awaits_page()) {
            self.ask_for_page(id);
            return Some(Wait::Page);
        }
        // What is not there any more was lost on the disk.
        (purge.left > 0 && taken > 0).then_some(Wait::Turn)
    }

    /// The purge of a channel is over, at its end or before: others may have the queue again. Says
    /// what it was.
    pub(super) fn end_purge(&mut self, id: ChannelId) -> Option<Purge> {
        let purge = self.sessions.channel_mut(id)?.purge.take()?;
        if let Some(queue) = self.queues.get_mut(purge.queue) {
            queue.purged_by = None;
        }
        Some(purge)
    }

    /// Tells the store that a message is done with, if it knows of it, after what was made of the message.
    pub(super) fn release_from_store(&mut self, kept: Option<Kept>) {
        self.record_release(kept, false);
    }

    /// Tells the store that a message is done with, if it knows of it. A client has taken or purged it, and nothing
    /// else was made of it.
    pub(super) fn release_acknowledged(&mut self, kept: Option<Kept>) {
        self.record_release(kept, true);
    }

    fn record_release(&mut self, kept: Option<Kept>, acknowledged: bool) {
        match kept {
            None => {}
            Some(Kept::Recorded { queue, position }) => {
                self.journal.record_settled(queue, position, acknowledged);
            }
            Some(Kept::Paged { owner, position }) => self.memory.order_done(owner, position),
        }
    }

    /// How many bytes of messages are counted more than once, counted again: for tests.
    pub(super) fn repeated(&self) -> i64 {
        let mut seen = HashSet::new();
        let mut repeated = 0;
        let mut see = |entry: &Entry| {
            let bytes = entry.message.as_bytes();
            repeated += if seen.insert(bytes.as_ptr()) { 0 } else { bytes.len() as i64 };
        };
        for ready in self.queues.iter().map(|(_, it)| &it.ready).chain(self.work.discarded()) {
            ready.iter().for_each(&mut see);
        }
        let mut see_all =
            |list: &UnackedList| list.iter().for_each(|(_, unacked)| see(&unacked.entry));
        for (_, channel) in self.sessions.channels().iter() {
            see_all(&channel.unacked);
            let held = channel.transaction.iter().flat_map(|it| &it.settlements);
            held.for_each(|settlement| see_all(&settlement.deliveries));
        }
        self.work.deliveries().for_each(|(_, list)| see_all(list));
        repeated
    }
}
