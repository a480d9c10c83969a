//! The end of deliveries: basic.ack, basic.nack, basic.reject, basic.recover, and what a channel
//! leaves behind.

use std::collections::BTreeSet;

use leveret_codec::method::basic;
use smallvec::SmallVec;

use super::Vhost;
use super::sessions::ChannelRef;
use super::work::Task;
use crate::broker::dead_letter::Reason;
use crate::broker::error::{Checked, Fault};
use crate::broker::ids::{ChannelId, ConsumerId, QueueId};
use crate::broker::limits;
use crate::broker::transaction::{HeldSettlement, Outcome};
use crate::broker::unacked::{Unacked, UnackedList};

/// Deliveries of a channel that are settled in steps.
///
/// why: they are its own, so that they are settled as they were to be, whatever becomes of the channel.
#[derive(Debug)]
pub(super) struct Settlement {
    channel: ChannelId,
    deliveries: UnackedList,
    outcome: Outcome,
    /// The queues that got messages back. They are held until all have.
    returned_to: HeldQueues,
}

impl Settlement {
    pub(super) fn new(channel: ChannelId, deliveries: UnackedList, outcome: Outcome) -> Self {
        Settlement { channel, deliveries, outcome, returned_to: HeldQueues::default() }
    }

    /// Those that are not settled yet, and their channel.
    pub(super) fn deliveries(&self) -> (ChannelId, &UnackedList) {
        (self.channel, &self.deliveries)
    }
}

/// Queues that a piece of work holds, so that nothing leaves them before all of it is done.
#[derive(Debug, Default)]
pub(super) struct HeldQueues(BTreeSet<QueueId>);

/// Queues and consumers that settlements may set going, each once, in order.
///
/// why small: most settlements are of one queue and one consumer, and may be of one message.
#[derive(Default)]
struct SetGoing {
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
        let unknown = || Fault::UnknownDeliveryTag(tag);
        // spec: basic.ack, multiple with tag zero: all outstanding messages.
        let deliveries = match (multiple, tag) {
            (false, _) => {
                let delivery = channel.unacked.take(tag).ok_or_else(unknown)?;
                if channel.transaction.is_none() {
                    self.settle_now(via.channel, [delivery], outcome);
                    return Ok(());
                }
                UnackedList::of(tag, delivery)
            }
            (true, _) => {
                let (through, count) = match tag {
                    0 => (channel.unacked.last_tag().unwrap_or(0), channel.unacked.len()),
                    _ => (tag, channel.unacked.count_through(tag).ok_or_else(unknown)?),
                };
                if channel.transaction.is_none() && count <= limits::AT_ONCE {
                    self.settle_through(via.channel, through, outcome);
                    return Ok(());
                }
                match tag {
                    0 => channel.unacked.take_all(),
                    _ => channel.unacked.take_through(tag).ok_or_else(unknown)?,
                }
            }
        };
        match &mut channel.transaction {
            Some(transaction) => {
                let outcome = if outcome == Outcome::Done { Outcome::Committed } else { outcome };
                transaction.settlements.push(HeldSettlement { deliveries, outcome });
            }
            None => self.settle_all(via, deliveries, outcome),
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
            return Err(Fault::RecoverToSame.into());
        }
        // rabbitmq: the answer comes before the redeliveries.
        if answered {
            self.sessions.reply(via.connection, via.number, &basic::RecoverOk {});
        }
        let Some(channel) = self.sessions.channel_mut(via.channel) else { return Ok(()) };
        let deliveries = channel.unacked.take_all();
        self.settle_all(via, deliveries, Outcome::Returned);
        Ok(())
    }

    /// Settles deliveries that their channel does not list any more.
    fn settle_all(&mut self, via: ChannelRef, mut deliveries: UnackedList, outcome: Outcome) {
        if deliveries.len() <= limits::AT_ONCE {
            let all = std::iter::from_fn(|| deliveries.pop_front()).map(|(_, delivery)| delivery);
            self.settle_now(via.channel, all, outcome);
        } else {
            let settlement = Settlement::new(via.channel, deliveries, outcome);
            self.start(Task::Settle(settlement), Some(via.connection));
        }
    }

    /// Settles the few deliveries of a channel up to a tag.
    // why: not taken out all at once before, which would move each once more.
    fn settle_through(&mut self, id: ChannelId, tag: u64, outcome: Outcome) {
        let mut going = SetGoing::default();
        let mut steps = 0;
        while let Some(channel) = self.sessions.channel_mut(id)
            && let Some(delivery) = channel.unacked.pop_through(tag)
        {
            channel.note_settled(&delivery, outcome);
            self.settle_delivery(delivery, outcome, &mut going);
            steps += 1;
        }
        self.work.take(steps);
        self.set_going(id, going);
    }

    /// Goes on with a settlement as far as the steps reach; gives back the rest.
    pub(super) fn settle_on(&mut self, mut settlement: Settlement) -> Option<Settlement> {
        let Settlement { channel, outcome, .. } = settlement;
        let mut going = SetGoing::default();
        let deliveries = &mut settlement.deliveries;
        while !self.work.is_exhausted()
            && let Some((_, delivery)) = deliveries.pop_front()
        {
            self.settle_one(channel, delivery, outcome, &mut going);
            self.work.take(1);
        }
        let is_done = settlement.deliveries.is_empty();
        let returned_to = std::mem::take(&mut going.queues);
        self.hold(&mut settlement.returned_to, returned_to);
        if is_done {
            going.queues.extend(self.release_held(&mut settlement.returned_to));
        }
        self.set_going(channel, going);
        (!is_done).then_some(settlement)
    }

    fn settle_now(
        &mut self,
        id: ChannelId,
        deliveries: impl IntoIterator<Item = Unacked>,
        outcome: Outcome,
    ) {
        let mut going = SetGoing::default();
        let mut steps = 0;
        for delivery in deliveries {
            self.settle_one(id, delivery, outcome, &mut going);
            steps += 1;
        }
        self.work.take(steps);
        self.set_going(id, going);
    }

    /// Consumers and queues of a channel go on after settlements.
    fn set_going(&mut self, id: ChannelId, mut going: SetGoing) {
        once_each(&mut going.consumers);
        for consumer in going.consumers {
            if let Some(queue) = self.resume(consumer) {
                note(&mut going.queues, queue);
            }
        }
        once_each(&mut going.queues);
        for queue in going.queues {
            self.evaluate(queue);
        }
        if self.sessions.channel(id).is_some_and(|channel| !channel.line.is_empty()) {
            self.start(Task::ResumeChannel(id), None);
        }
    }

    fn settle_one(
        &mut self,
        id: ChannelId,
        delivery: Unacked,
        outcome: Outcome,
        going: &mut SetGoing,
    ) {
        if let Some(channel) = self.sessions.channel_mut(id) {
            channel.note_settled(&delivery, outcome);
        }
        self.settle_delivery(delivery, outcome, going);
    }

    /// Settles a delivery that its channel counts no more.
    fn settle_delivery(&mut self, delivery: Unacked, outcome: Outcome, going: &mut SetGoing) {
        if let Some((id, consumer)) =
            delivery.consumer.and_then(|id| Some((id, self.sessions.consumer_mut(id)?)))
        {
            consumer.unacknowledged -= 1;
            note(&mut going.consumers, id);
        }
        if let Some(queue) = self.settle_in_queue(delivery, outcome) {
            note(&mut going.queues, queue);
        }
    }

    /// Settles a delivery in its queue, which is named if it got the message back.
    ///
    /// rabbitmq: deliveries of a queue that was deleted meanwhile are settled silently.
    pub(super) fn settle_in_queue(
        &mut self,
        delivery: Unacked,
        outcome: Outcome,
    ) -> Option<QueueId> {
        let Unacked { queue: id, mut entry, .. } = delivery;
        let Some(queue) = self.queues.get_mut(id) else {
            self.memory.release_delivery(&entry);
            return None;
        };
        queue.note_settled(&entry);
        match outcome {
            Outcome::Done | Outcome::Committed => {
                queue.statistics.ack += 1;
                self.statistics.ack += 1;
                let kept = queue.kept(&entry);
                match outcome {
                    Outcome::Done => self.release_acknowledged(kept),
                    _ => self.release_from_store(kept),
                }
                None
            }
            Outcome::Rejected => {
                self.dead_letter_entry(id, entry, Reason::Rejected);
                None
            }
            Outcome::Returned | Outcome::LeftBehind => {
                entry.returns += 1;
                entry.redelivered = true;
                let limit = queue.arguments.delivery_limit;
                if limit.is_some_and(|limit| u64::from(entry.returns) > limit) {
                    self.dead_letter_entry(id, entry, Reason::DeliveryLimit);
                    return None;
                }
                let counted = queue.durable.filter(|_| entry.recorded && queue.counts_returns());
                let (position, returns) = (entry.position, entry.returns);
                queue.put_back(entry, outcome == Outcome::Returned);
                if let Some(queue) = counted {
                    self.journal.record_returned(queue, position, returns);
                }
                Some(id)
            }
        }
    }

    /// Holds queues that are not held by this piece of work yet.
    pub(super) fn hold(
        &mut self,
        held: &mut HeldQueues,
        queues: impl IntoIterator<Item = QueueId>,
    ) {
        for id in queues {
            if held.0.insert(id)
                && let Some(queue) = self.queues.get_mut(id)
            {
                queue.hold();
            }
        }
    }

    /// Lets go of queues, which are to be evaluated then.
    pub(super) fn release_held(&mut self, held: &mut HeldQueues) -> Vec<QueueId> {
        let held = Vec::from_iter(std::mem::take(&mut held.0));
        for &id in &held {
            if let Some(queue) = self.queues.get_mut(id) {
                queue.let_go();
            }
        }
        held
    }
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
