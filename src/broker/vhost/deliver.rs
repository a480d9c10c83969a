//! From a queue to the clients: basic.deliver and basic.get-ok.

use leveret_codec::method::basic;
use leveret_codec::{ReplyCode, ShortStr};

use super::Vhost;
use super::sessions::ChannelRef;
use crate::broker::access::Permission;
use crate::broker::channel::ChannelState;
use crate::broker::client::Client;
use crate::broker::command::{Delivery, Outgoing};
use crate::broker::error::{Checked, Fault};
use crate::broker::ids::{ConsumerId, QueueId};
use crate::broker::limits;
use crate::broker::names;
use crate::broker::ready::Entry;
use crate::broker::unacked::Unacked;

impl Vhost {
    /// Gives the messages of a queue to the consumers that can take them.
    pub(super) fn dispatch(&mut self, id: QueueId) {
        loop {
            self.expire_head(id, limits::EXPIRED_A_TURN);
            let front = self.queues.get(id).and_then(|queue| queue.ready.front());
            let Some(front) = front else { return };
            if self.queues.get(id).is_some_and(|queue| queue.purged_by.is_some()) {
                return;
            }
            if front.is_expired(self.now) {
                // why: the timer goes on with them in its next turn, and with this queue then.
                break;
            }
            let Some(consumer) = self.next_consumer(id) else { break };
            let Some(queue) = self.queues.get_mut(id) else { break };
            let Some(entry) = queue.ready.pop_front() else { break };
            self.deliver(id, consumer, entry);
        }
        self.arm(id);
    }

    /// The consumer of a queue whose turn it is; those that cannot take a message leave the line.
    pub(super) fn next_consumer(&mut self, id: QueueId) -> Option<ConsumerId> {
        loop {
            let line = &self.queues.get(id)?.consumers;
            let consumer = line.next()?;
            if line.is_active(consumer) && self.has_room(consumer) {
                return Some(consumer);
            }
            self.queues.get_mut(id)?.consumers.leave();
            if let Some(consumer) = self.sessions.consumer_mut(consumer) {
                consumer.waiting = false;
            }
        }
    }

    /// Whether a consumer may get a message now, if its queue serves it: its windows have room, and so
    /// has its connection's outbox.
    fn has_room(&self, id: ConsumerId) -> bool {
        let Some(consumer) = self.sessions.consumer(id) else { return false };
        let has_room = || self.sessions.client(consumer.connection).is_some_and(Client::has_room);
        let has_credit = || {
            self.sessions.channel(consumer.channel).is_some_and(|channel| {
                channel.state == ChannelState::Open && (consumer.no_ack || channel.has_credit())
            })
        };
        consumer.has_credit() && has_credit() && has_room()
    }

    /// Lets a consumer stand in line again if it can take a message. Says whether its queue is to
    /// be looked at.
    pub(super) fn resume(&mut self, id: ConsumerId) -> Option<QueueId> {
        let has_room = self.has_room(id);
        let consumer = self.sessions.consumer_mut(id)?;
        let queue = self.queues.get_mut(consumer.queue)?;
        if consumer.waiting || !has_room || !queue.consumers.is_active(id) {
            return None;
        }
        consumer.waiting = true;
        queue.consumers.wait(id, consumer.priority);
        (!queue.ready.is_empty()).then_some(consumer.queue)
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
        self.release_from_store(kept);
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
    }

    /// rabbitmq: a quorum queue with a single active consumer is for that one alone.
    fn check_get(&self, id: QueueId) -> Checked<()> {
        match self.queues.get(id) {
            Some(queue) if queue.is_quorum() && queue.arguments.single_active_consumer => {
                let phrase = names::queue_phrase(queue.name.as_bytes(), &self.name);
                Err(Fault::new(
                    ReplyCode::ResourceLocked,
                    format!(
                        "cannot obtain access to locked {phrase}. basic.get operations are not \
                         supported by quorum queues with single active consumer"
                    ),
                ))
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
            self.release_from_store(kept);
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
        let ok = Outgoing::GetOk { channel, delivery_tag, redelivered, message_count, message };
        self.sessions.send(via.connection, ok);
        self.arm(id);
        Ok(())
    }
}
