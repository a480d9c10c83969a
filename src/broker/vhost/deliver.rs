//! From a queue to the clients: basic.deliver and basic.get-ok.

use leveret_codec::ShortStr;
use leveret_codec::method::basic;

use super::Vhost;
use super::sessions::ChannelRef;
use crate::broker::access::Permission;
use crate::broker::arguments::Overflow;
use crate::broker::channel::{Channel, ChannelState};
use crate::broker::client::Client;
use crate::broker::command::{Delivery, Outgoing};
use crate::broker::consumer::Standing;
use crate::broker::dead_letter::Reason;
use crate::broker::error::{Checked, Fault, Resource};
use crate::broker::ids::{ChannelId, ConnectionId, ConsumerId, QueueId};
use crate::broker::limits;
use crate::broker::queue::Queue;
use crate::broker::ready::Entry;
use crate::broker::unacked::Unacked;

/// Why a consumer cannot take a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Obstacle {
    /// Its own window is full, its queue serves another one, or its channel is not open.
    Own,
    /// The window that the consumers of its channel share is full.
    Window,
    /// The outbox of its connection is.
    Outbox,
}

impl Vhost {
    /// Brings a queue to rest after a deed: what is too old or too much for its limits leaves it, messages go to
    /// the consumers that can take them, and the timer is told when to look again.
    ///
    /// invariant: the one place where limits are obeyed. What the steps of this hold do not reach goes on
    /// with the next one; a queue that is held is evaluated by who lets go of it.
    pub(super) fn evaluate(&mut self, id: QueueId) {
        if self.queues.get(id).is_none_or(Queue::is_held) {
            return;
        }
        // rabbitmq: what comes back to a quorum queue that is full goes to a consumer first, and what is
        // too much then is dropped; a classic queue drops first.
        let delivers_first = self.queues.get(id).is_some_and(Queue::is_quorum);
        let is_done = match delivers_first {
            true => self.deliver_ready(id) && self.drop_head(id),
            false => self.drop_head(id) && self.deliver_ready(id),
        };
        if !is_done {
            self.postpone(id);
        }
        self.arm(id);
    }

    /// Drops messages from the head of a queue until it keeps its limits. Says whether it does.
    fn drop_head(&mut self, id: QueueId) -> bool {
        loop {
            let Some(queue) = self.queues.get(id) else { return true };
            if !queue.is_over_full() || queue.overflow() != Overflow::DropHead {
                return true;
            }
            if self.work.is_exhausted() {
                return false;
            }
            let Some(queue) = self.queues.get_mut(id) else { return true };
            let Some(entry) = queue.ready.pop_front() else { return true };
            self.work.take(1);
            self.dead_letter_entry(id, entry, Reason::MaxLength);
        }
    }

    /// Gives the messages of a queue to the consumers that can take them. Says whether that is all for now.
    fn deliver_ready(&mut self, id: QueueId) -> bool {
        loop {
            match self.has_expired_head(id) {
                None => return true,
                Some(false) => {}
                Some(true) => {
                    self.expire_head(id, limits::EXPIRED_A_TURN);
                    if self.has_expired_head(id) != Some(false) {
                        // why: the timer goes on with them in its next turn, and with this queue then.
                        return true;
                    }
                }
            }
            let Some(consumer) = self.next_consumer(id) else { return true };
            if self.work.is_exhausted() {
                return false;
            }
            let Some(queue) = self.queues.get_mut(id) else { return true };
            let Some(entry) = queue.ready.pop_front() else { return true };
            self.work.take(1);
            self.deliver(id, consumer, entry);
        }
    }

    /// Whether the message that goes next has expired, if there is one.
    fn has_expired_head(&self, id: QueueId) -> Option<bool> {
        self.queues.get(id)?.ready.front().map(|front| front.is_expired(self.now))
    }

    /// The consumer of a queue whose turn it is; those that cannot take a message leave the round.
    pub(super) fn next_consumer(&mut self, id: QueueId) -> Option<ConsumerId> {
        loop {
            let consumers = &self.queues.get(id)?.consumers;
            let next = consumers.next()?;
            let is_active = consumers.is_active(next);
            let Some(obstacle) = self.obstacle(next, is_active) else { return Some(next) };
            self.work.take(1);
            self.leave_round(id, next);
            self.step_aside(next, obstacle);
        }
    }

    /// Why a consumer cannot take a message now, if it cannot; whether its queue serves it is known.
    fn obstacle(&self, id: ConsumerId, is_active: bool) -> Option<Obstacle> {
        let Some(consumer) = self.sessions.consumer(id) else { return Some(Obstacle::Own) };
        let Some(channel) = self.sessions.channel(consumer.channel) else {
            return Some(Obstacle::Own);
        };
        if !is_active || !consumer.has_credit() || channel.state != ChannelState::Open {
            return Some(Obstacle::Own);
        }
        // rabbitmq: for one that acknowledges nothing, too, which takes none of it.
        if !channel.has_credit() {
            return Some(Obstacle::Window);
        }
        let has_room = self.sessions.client(consumer.connection).is_some_and(Client::has_room);
        (!has_room).then_some(Obstacle::Outbox)
    }

    fn leave_round(&mut self, queue: QueueId, id: ConsumerId) {
        let Some(consumer) = self.sessions.consumer_mut(id) else { return };
        if let Standing::Ready(place) = consumer.standing {
            consumer.standing = Standing::Idle;
            if let Some(queue) = self.queues.get_mut(queue) {
                queue.consumers.leave(place, consumer.priority);
            }
        }
    }

    /// Puts a consumer where it is found when its obstacle is gone.
    fn step_aside(&mut self, id: ConsumerId, obstacle: Obstacle) {
        match obstacle {
            // Who gives it credit, or the queue to it, resumes it.
            Obstacle::Own => {}
            Obstacle::Window => self.sessions.stand_behind_channel(id),
            Obstacle::Outbox => self.sessions.stand_behind_connection(id),
        }
    }

    /// Lets a consumer stand in the round of its queue if it can take a message, and where it is found
    /// later if not. Says whether its queue is to be evaluated.
    pub(super) fn resume(&mut self, id: ConsumerId) -> Option<QueueId> {
        let consumer = self.sessions.consumer(id)?;
        if consumer.standing != Standing::Idle {
            return None;
        }
        let queue = self.queues.get(consumer.queue);
        let is_active = queue.is_some_and(|queue| queue.consumers.is_active(id));
        if let Some(obstacle) = self.obstacle(id, is_active) {
            self.step_aside(id, obstacle);
            return None;
        }
        let consumer = self.sessions.consumer_mut(id)?;
        let queue = self.queues.get_mut(consumer.queue)?;
        consumer.standing = queue.consumers.enter(id, consumer.priority);
        (!queue.ready.is_empty()).then_some(consumer.queue)
    }

    /// The window that the consumers of a channel share may have room: as many of them as it has room for
    /// go on. Says whether there are more than the steps reach.
    pub(super) fn resume_channel_line(&mut self, id: ChannelId) -> bool {
        while self.sessions.channel(id).is_some_and(Channel::has_credit) {
            let Some(consumer) = self.sessions.next_behind_channel(id) else { return false };
            if !self.resume_and_evaluate(consumer) {
                return true;
            }
        }
        false
    }

    /// The outbox of a connection may have room: as many of its consumers as it has room for go on. Says
    /// whether there are more than the steps reach.
    pub(super) fn resume_connection_line(&mut self, id: ConnectionId) -> bool {
        while self.sessions.client(id).is_some_and(Client::has_room) {
            let Some(consumer) = self.sessions.next_behind_connection(id) else { return false };
            if !self.resume_and_evaluate(consumer) {
                return true;
            }
        }
        false
    }

    /// Says whether there are steps left.
    fn resume_and_evaluate(&mut self, consumer: ConsumerId) -> bool {
        if let Some(queue) = self.resume(consumer) {
            self.evaluate(queue);
        }
        self.work.step()
    }

    /// Sends a message to a consumer that can take it.
    pub(super) fn deliver(&mut self, id: QueueId, consumer_id: ConsumerId, entry: Entry) {
        let found = self.sessions.consumer_and_channel(consumer_id);
        let Some((consumer, channel)) = found else { return };
        let Some(queue) = self.queues.get_mut(id) else { return };
        queue.consumers.rotate();
        let delivery_tag = channel.next_delivery_tag();
        let (connection, channel_number) = (consumer.connection, channel.number);
        let consumer_tag = consumer.tag.clone();
        let redelivered = entry.redelivered;
        let others_wait = !channel.line.is_empty();
        for statistics in [&mut queue.statistics, &mut channel.statistics, &mut self.statistics] {
            statistics.note_delivered(consumer.no_ack, redelivered);
        }
        let mut kept = None;
        let message = if consumer.no_ack {
            kept = queue.kept(&entry);
            queue.into_message_for_client(entry)
        } else {
            let message = queue.message_for_client(&entry, false);
            consumer.unacknowledged += 1;
            channel.unacked_of_consumers += 1;
            queue.note_delivered(&entry);
            let listed = entry.recorded && queue.note_delivering();
            let consumer = Some(consumer_id);
            let delivered_at = self.now;
            channel
                .unacked
                .push(delivery_tag, Unacked { queue: id, consumer, entry, delivered_at });
            if listed {
                self.batch.delivering.push(id);
            }
            self.watch_unacked();
            message
        };
        self.release_acknowledged(kept);
        if self.trace.is_on() {
            self.trace_delivery((connection, channel_number), id, redelivered, &message);
        }
        self.sessions.send(
            connection,
            Outgoing::Deliver(Delivery {
                channel: channel_number,
                consumer_tag,
                delivery_tag,
                redelivered,
                message,
            }),
        );
        if others_wait {
            // rabbitmq: those that share a window get what it has room for in turn.
            self.leave_round(id, consumer_id);
            self.sessions.stand_behind_channel(consumer_id);
        }
    }

    /// rabbitmq: a quorum queue with a single active consumer is for that one alone.
    fn check_get(&self, id: QueueId) -> Checked<()> {
        match self.queues.get(id) {
            Some(queue) if queue.is_quorum() && queue.arguments.single_active_consumer => {
                let queue = Resource::queue(&queue.name, &self.name);
                Err(Fault::GetBesideSingleActive(queue).into())
            }
            _ => Ok(()),
        }
    }

    /// spec: basic.get.
    pub(super) fn get(&mut self, via: ChannelRef, get: &basic::Get<'_>) -> Checked<()> {
        let name = self.queue_name(via, get.queue)?;
        self.may_with_queue(via, Permission::Read, &name)?;
        let id = self.existing_queue(&name)?;
        self.check_access(id, via)?;
        self.check_get(id)?;
        self.note_used(id);
        let Some(queue) = self.queues.get_mut(id) else { return Ok(()) };
        // Those that expired went before (see `prepare`).
        let Some(entry) = queue.ready.pop_front() else {
            queue.statistics.get_empty += 1;
            self.statistics.get_empty += 1;
            let empty = basic::GetEmpty { cluster_id: ShortStr::EMPTY };
            self.sessions.reply(via.connection, via.number, &empty);
            return Ok(());
        };
        // why: the count is of what is left once those that have expired by now are gone.
        self.expire_head(id, limits::EXPIRED_A_TURN);
        let Some(queue) = self.queues.get_mut(id) else { return Ok(()) };
        let message_count = queue.ready.len() as u32;
        let Some(channel) = self.sessions.channel_mut(via.channel) else { return Ok(()) };
        let delivery_tag = channel.next_delivery_tag();
        let message = queue.message_for_client(&entry, true);
        let redelivered = entry.redelivered;
        for statistics in [&mut queue.statistics, &mut channel.statistics, &mut self.statistics] {
            statistics.note_got(get.no_ack, redelivered);
        }
        if get.no_ack {
            let kept = queue.kept(&entry);
            self.release_acknowledged(kept);
        } else {
            queue.note_delivered(&entry);
            if entry.recorded && queue.note_delivering() {
                self.batch.delivering.push(id);
            }
            let delivered_at = self.now;
            let unacked = Unacked { queue: id, consumer: None, entry, delivered_at };
            channel.unacked.push(delivery_tag, unacked);
            self.watch_unacked();
        }
        let channel = via.number;
        if self.trace.is_on() {
            self.trace_delivery((via.connection, channel), id, redelivered, &message);
        }
        let ok = Outgoing::GetOk { channel, delivery_tag, redelivered, message_count, message };
        self.sessions.send(via.connection, ok);
        self.arm(id);
        Ok(())
    }
}
