//! The end of deliveries: basic.ack, basic.nack, basic.reject, basic.recover, and what a channel
//! leaves behind.

use leveret_codec::method::basic;
use smallvec::SmallVec;

use super::Vhost;
use super::sessions::ChannelRef;
use crate::broker::dead_letter::Reason;
use crate::broker::error::{Checked, Fault};
use crate::broker::ids::{ChannelId, ConsumerId, QueueId};
use crate::broker::transaction::{HeldSettlement, Outcome};
use crate::broker::unacked::Unacked;

/// Queues and consumers that a settlement may set going, each once, in order.
///
/// why small: most settlements are of one queue and one consumer, and may be of one message.
#[derive(Default)]
struct Touched {
    queues: SmallVec<[QueueId; 2]>,
    consumers: SmallVec<[ConsumerId; 2]>,
}

impl Vhost {
    pub(super) fn ack(&mut self, via: ChannelRef, tag: u64, multiple: bool) -> Checked<()> {
        self.settle(via, tag, multiple, Outcome::Done)
    }

    pub(super) fn nack(
        &mut self,
        via: ChannelRef,
        tag: u64,
        multiple: bool,
        requeue: bool,
    ) -> Checked<()> {
        let outcome = if requeue { Outcome::Returned } else { Outcome::Rejected };
        self.settle(via, tag, multiple, outcome)
    }

    fn settle(
        &mut self,
        via: ChannelRef,
        tag: u64,
        multiple: bool,
        outcome: Outcome,
    ) -> Checked<()> {
        let Some(channel) = self.sessions.channel_mut(via.channel) else { return Ok(()) };
        let unknown = || Fault::precondition_failed(format!("unknown delivery tag {tag}"));
        // spec: basic.ack, multiple with tag zero: all outstanding messages.
        let deliveries = match (multiple, tag) {
            (false, _) => {
                let delivery = channel.unacked.take(tag).ok_or_else(unknown)?;
                if channel.transaction.is_none() {
                    self.settle_all(via.channel, [delivery], outcome);
                    return Ok(());
                }
                vec![(tag, delivery)]
            }
            (true, 0) => channel.unacked.take_all(),
            (true, _) => channel.unacked.take_through(tag).ok_or_else(unknown)?,
        };
        match &mut channel.transaction {
            Some(transaction) => {
                transaction.settlements.push(HeldSettlement { deliveries, outcome });
            }
            None => self.settle_all(via.channel, without_tags(deliveries), outcome),
        }
        Ok(())
    }

    pub(super) fn recover_unacked(
        &mut self,
        via: ChannelRef,
        requeue: bool,
        answered: bool,
    ) -> Checked<()> {
        if !requeue {
            return Err(Fault::not_implemented("requeue=false"));
        }
        // rabbitmq: the answer comes before the redeliveries.
        if answered {
            self.sessions.reply(via.connection, via.number, &basic::RecoverOk {});
        }
        self.requeue_unacked(via.channel);
        Ok(())
    }

    /// Puts all deliveries of channels that end back into their queues.
    ///
    /// why: all of them before any is sent again, so that what one channel had does not overtake
    /// what another had before it.
    pub(super) fn requeue_all(&mut self, channels: &[ChannelId]) {
        let mut returned_to = SmallVec::new();
        for &id in channels {
            self.drop_transaction(id);
            returned_to.extend(self.end_purge(id).map(|purge| purge.queue));
            let Some(channel) = self.sessions.channel_mut(id) else { continue };
            channel.unacked_of_consumers = 0;
            for delivery in without_tags(channel.unacked.take_all()) {
                self.settle_one(delivery, Outcome::Returned, &mut returned_to);
            }
        }
        once_each(&mut returned_to);
        for &queue in &returned_to {
            self.drop_head(queue);
        }
        for queue in returned_to {
            self.dispatch(queue);
        }
    }

    fn requeue_unacked(&mut self, id: ChannelId) {
        let Some(channel) = self.sessions.channel_mut(id) else { return };
        let deliveries = channel.unacked.take_all();
        self.settle_all(id, without_tags(deliveries), Outcome::Returned);
    }

    pub(super) fn settle_all(
        &mut self,
        id: ChannelId,
        deliveries: impl IntoIterator<Item = Unacked>,
        outcome: Outcome,
    ) {
        let mut touched = Touched::default();
        let mut acknowledged = 0;
        for delivery in deliveries {
            if let Some(consumer) = delivery.consumer {
                self.give_credit(id, consumer);
                note(&mut touched.consumers, consumer);
            }
            self.settle_one(delivery, outcome, &mut touched.queues);
            acknowledged += u64::from(outcome == Outcome::Done);
        }
        if let Some(channel) = self.sessions.channel_mut(id) {
            channel.statistics.ack += acknowledged;
        }
        once_each(&mut touched.queues);
        once_each(&mut touched.consumers);
        for &queue in &touched.queues {
            self.drop_head(queue);
        }
        let shared_window =
            self.sessions.channel(id).is_some_and(|channel| channel.global_prefetch > 0);
        if shared_window && let Some(channel) = self.sessions.channel(id) {
            touched.consumers = channel.consumers.values().copied().collect();
        }
        for consumer in touched.consumers {
            if let Some(queue) = self.resume(consumer) {
                note(&mut touched.queues, queue);
            }
        }
        once_each(&mut touched.queues);
        for queue in touched.queues {
            self.dispatch(queue);
        }
    }

    fn give_credit(&mut self, channel: ChannelId, consumer: ConsumerId) {
        if let Some(channel) = self.sessions.channel_mut(channel) {
            channel.unacked_of_consumers -= 1;
        }
        if let Some(consumer) = self.sessions.consumer_mut(consumer) {
            consumer.unacknowledged -= 1;
        }
    }

    /// rabbitmq: deliveries of a queue that was deleted meanwhile are settled silently.
    fn settle_one(
        &mut self,
        delivery: Unacked,
        outcome: Outcome,
        returned_to: &mut SmallVec<[QueueId; 2]>,
    ) {
        let Unacked { queue: id, mut entry, .. } = delivery;
        let Some(queue) = self.queues.get_mut(id) else {
            self.memory.release(entry.weight());
            return;
        };
        queue.note_settled(&entry);
        match outcome {
            Outcome::Done => {
                queue.statistics.ack += 1;
                self.statistics.ack += 1;
                let kept = queue.kept(&entry);
                self.release_from_store(kept);
            }
            Outcome::Rejected => self.dead_letter_entry(id, entry, Reason::Rejected),
            Outcome::Returned => {
                entry.returns += 1;
                entry.redelivered = true;
                let limit = queue.arguments.delivery_limit;
                if limit.is_some_and(|limit| u64::from(entry.returns) > limit) {
                    self.dead_letter_entry(id, entry, Reason::DeliveryLimit);
                } else {
                    let counted =
                        queue.durable.filter(|_| entry.recorded && queue.counts_returns());
                    let (position, returns) = (entry.position, entry.returns);
                    queue.put_back(entry);
                    note(returned_to, id);
                    if let Some(queue) = counted {
                        self.journal.record_returned(queue, position, returns);
                    }
                }
            }
        }
    }
}

pub(super) fn without_tags(deliveries: Vec<(u64, Unacked)>) -> impl Iterator<Item = Unacked> {
    deliveries.into_iter().map(|(_, delivery)| delivery)
}

/// Adds an id to a list, which is made to have each once later.
///
/// why: many deliveries at once mostly come from the same queue and the same consumer.
fn note<T: PartialEq>(list: &mut SmallVec<[T; 2]>, id: T) {
    if list.last() != Some(&id) {
        list.push(id);
    }
}

/// Makes a list have each id once, in the order of ids.
fn once_each<T: Ord>(list: &mut SmallVec<[T; 2]>) {
    list.sort_unstable();
    list.dedup();
}
