//! Messages that an exchange of the type x-delayed-message holds back, and their release.

use leveret_codec::ShortString;
use smallvec::smallvec;

use super::Vhost;
use super::fan_out::{FanOut, Then};
use super::publish::Source;
use super::publish::without_bcc;
use crate::broker::arguments;
use crate::broker::exchange::Exchange;
use crate::broker::exchange::delayed::{Delayed, Held, delay_of, delayed_queue_arguments};
use crate::broker::expiry::Deadline;
use crate::broker::ids::{DurableQueueId, ExchangeId, Position};
use crate::broker::limits;
use crate::broker::message::Message;
use crate::broker::paging::Kept;
use crate::broker::record::{Placement, QueueDefinition, Record, RecoveredMessage};
use crate::broker::time::Time;

impl Vhost {
    /// Gives a durable exchange that delays messages its place in the store.
    pub(super) fn add_delayed_queue(&mut self, exchange: &mut Exchange) {
        let Some(delayed) = &mut exchange.delayed else { return };
        let id = self.new_delayed_queue_id();
        delayed.durable = Some(id);
        self.journal.record(Record::QueueDeclared(delayed_queue_definition(id, &exchange.name)));
    }

    /// Holds a message back in an exchange, as its header says. Says whether it was taken: what
    /// cannot be kept is refused.
    pub(super) fn delay(&mut self, id: ExchangeId, message: &Message) -> bool {
        let (now, failed) = (self.now, self.journal.has_failed());
        let Some(delayed) = self.delayed(id) else { return true };
        let Some((delay_ms, message)) = delay_of(message) else { return true };
        let due = now.plus_millis(delay_ms);
        let position = delayed.next_position();
        let delayed_queue = delayed.durable.filter(|_| message.is_persistent());
        if delayed_queue.is_some() && failed {
            return false;
        }
        let held = Held { message: message.clone(), recorded: delayed_queue.is_some() };
        let weight = held.weight();
        delayed.hold(due, position, held);
        self.memory.hold(weight);
        if let Some(queue) = delayed_queue {
            let placement = Placement { queue, position, expires_at: Some(due) };
            self.journal.record(Record::Enqueued { message, placements: smallvec![placement] });
        }
        self.arm_delayed(id);
        true
    }

    /// Routes what is due, in steps.
    pub(super) fn release_due(&mut self, id: ExchangeId) {
        let now = self.now;
        if let Some(delayed) = self.delayed(id) {
            delayed.note_alarm(now);
        }
        for _ in 0..limits::EXPIRED_A_TURN {
            if !self.finish_fan_outs() {
                break;
            }
            let Some(delayed) = self.delayed(id) else { return };
            let delayed_queue = delayed.durable;
            let Some((position, held)) = delayed.take_due(now) else { break };
            self.memory.release(held.weight());
            let queue = delayed_queue.filter(|_| held.recorded);
            let kept = queue.map(|queue| Kept::Recorded { queue, position });
            self.work.take(1);
            self.route_released(id, held.message, kept);
        }
        self.arm_delayed(id);
    }

    /// why: it leaves its place in the store only when its queues have it. Should the broker die in between,
    /// the message is there twice rather than lost.
    fn route_released(&mut self, id: ExchangeId, message: Message, kept: Option<Kept>) {
        let fields = message.properties().fields();
        // invariant: both were checked when it was published.
        let expiration_ms =
            fields.expiration.and_then(|it| arguments::expiration_ms(it.as_bytes()).ok());
        let copies = fields.headers.and_then(|headers| arguments::copy_keys(headers).ok());
        let copies = copies.unwrap_or_default();
        let blind = copies.has_bcc;
        let copies: Vec<_> = copies.keys.iter().map(|key| ShortString::truncated(key)).collect();
        let mut routes = self.route(Some(id), &message, &copies);
        if let Some(by) = routes.refused_by {
            self.note_refused(by);
        }
        let message = if blind { without_bcc(&message) } else { message };
        if routes.queues.len() > limits::AT_ONCE {
            let queues = std::mem::take(&mut routes.queues);
            let fan_out = FanOut::new(message, expiration_ms, queues, Then::Release(kept));
            self.add_fan_out(fan_out, None);
        } else {
            self.enqueue(message, expiration_ms, &routes.queues, Source::Broker);
            self.release_from_store(kept);
        }
        self.batch.keep_routes(routes);
    }

    /// What the store kept for a delayed exchange.
    pub(super) fn recover_delayed(
        &mut self,
        exchange: &[u8],
        delayed_queue: DurableQueueId,
        last_position: Position,
        messages: Vec<RecoveredMessage>,
    ) {
        let exchange = self.exchanges.find(exchange);
        let Some(id) = exchange.filter(|id| self.delayed(*id).is_some()) else {
            self.unclaimed_delayed_queues.push(delayed_queue);
            return;
        };
        let Some(delayed) = self.delayed(id) else { return };
        if let Some(earlier) = delayed.durable.replace(delayed_queue) {
            self.unclaimed_delayed_queues.push(earlier);
        }
        let Some(delayed) = self.delayed(id) else { return };
        delayed.reserve_positions(last_position);
        let before = delayed.weight();
        for message in messages {
            let due = message.expires_at.unwrap_or(Time::EPOCH);
            let held = Held { message: message.message, recorded: true };
            delayed.hold(due, message.position, held);
        }
        let more = delayed.weight() - before;
        self.memory.hold(more);
        self.arm_delayed(id);
    }

    /// Mends what a crash tore apart: a delayed_queue that keeps nothing goes, an exchange without one gets
    /// one.
    pub(super) fn mend_delayed_queues(&mut self) {
        for id in std::mem::take(&mut self.unclaimed_delayed_queues) {
            self.journal.record(Record::QueueDeleted { id });
        }
        let without: Vec<ExchangeId> = self
            .exchanges
            .iter()
            .filter(|(_, it)| it.durable && it.delayed.as_ref().is_some_and(Delayed::has_no_queue))
            .map(|(id, _)| id)
            .collect();
        for id in without {
            let delayed_queue = self.new_delayed_queue_id();
            if let Some(delayed) = self.delayed(id) {
                delayed.durable = Some(delayed_queue);
            }
            let name = self.exchanges.get(id).map(|it| it.name.clone()).unwrap_or_default();
            self.journal
                .record(Record::QueueDeclared(delayed_queue_definition(delayed_queue, &name)));
        }
    }

    fn new_delayed_queue_id(&mut self) -> DurableQueueId {
        self.journal.next_queue_id()
    }

    fn arm_delayed(&mut self, id: ExchangeId) {
        let Some((before, due)) = self.delayed(id).and_then(Delayed::take_alarm) else { return };
        if let Some(before) = before {
            self.deadlines.remove(before, Deadline::Exchange(id));
        }
        self.deadlines.add(due, Deadline::Exchange(id));
    }

    fn delayed(&mut self, id: ExchangeId) -> Option<&mut Delayed> {
        self.exchanges.get_mut(id)?.delayed.as_mut()
    }
}

/// The queue without a name that the store keeps for a delayed exchange.
fn delayed_queue_definition(id: DurableQueueId, exchange: &ShortString) -> QueueDefinition {
    QueueDefinition {
        id,
        name: ShortString::default(),
        auto_delete: false,
        arguments: delayed_queue_arguments(exchange.as_bytes()),
    }
}
