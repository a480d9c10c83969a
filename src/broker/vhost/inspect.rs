//! A look at everything, as values: for management, tests and whoever embeds the broker.
//!
//! Nothing here costs more than a little for each object that is asked for. Whoever wants all of a kind visits
//! the places of that kind in steps, and lets others have the virtual host in between: what comes or goes
//! meanwhile may be missing or be there, but nothing is met twice, and each object is whole.

mod bindings;
mod clients;

use leveret_codec::{ShortString, TableBuf};

pub use self::bindings::{BindingVisit, BindingsOf};
use super::Vhost;
use crate::broker::exchange::Exchange;
use crate::broker::ids::{ExchangeId, QueueId};
use crate::broker::queue::Queue;
use crate::broker::snapshot::{ExchangeSnapshot, QueueSnapshot, VhostSnapshot};

impl Vhost {
    /// All queues as they are now, by name: for tests and embedding programs, as it takes as long as there are
    /// queues.
    pub fn queues(&self) -> Vec<QueueSnapshot> {
        let queues = self.queues.iter();
        let mut queues: Vec<_> = queues.map(|(_, queue)| self.queue_snapshot(queue)).collect();
        queues.sort_by(|a, b| a.name.cmp(&b.name));
        queues
    }

    /// One queue as it is now.
    pub fn queue(&self, name: &[u8]) -> Option<QueueSnapshot> {
        self.queue_by_id(self.queues.find(name)?)
    }

    /// One queue as it is now.
    pub fn queue_by_id(&self, id: QueueId) -> Option<QueueSnapshot> {
        self.queues.get(id).map(|queue| self.queue_snapshot(queue))
    }

    /// Whether there is a queue of this name.
    pub fn has_queue(&self, name: &[u8]) -> bool {
        self.queues.find(name).is_some()
    }

    /// The queue at a place and its name. Places are counted up to [`queue_places`](Vhost::queue_places); at
    /// many there may be nothing.
    pub fn queue_at(&self, place: usize) -> Option<(QueueId, &ShortString)> {
        self.queues.at(place).map(|(id, queue)| (id, &queue.name))
    }

    /// How many places there are for queues.
    pub fn queue_places(&self) -> usize {
        self.queues.end()
    }

    fn queue_snapshot(&self, queue: &Queue) -> QueueSnapshot {
        let tag = |id| self.sessions.consumer(id).map(|consumer| consumer.tag.to_string());
        QueueSnapshot {
            name: queue.name.to_string(),
            kind: queue.arguments.queue_type.name(),
            durable: queue.durable.is_some(),
            auto_delete: queue.auto_delete,
            exclusive: queue.owner.is_some(),
            owner: queue.owner,
            arguments: queue.declared.raw.clone(),
            policy: queue.policy.clone(),
            operator_policy: queue.operator_policy.clone(),
            messages_ready: queue.ready.len(),
            messages_unacknowledged: queue.unacknowledged,
            message_bytes_ready: queue.ready.octets(),
            message_bytes_unacknowledged: queue.unacknowledged_octets,
            consumers: queue.consumers.len(),
            exclusive_consumer: queue.consumers.exclusive().and_then(tag),
            single_active_consumer: queue.consumers.single_active().and_then(tag),
            head_message_timestamp: queue.ready.head_timestamp(),
            idle_since: queue.last_used,
            statistics: queue.statistics,
        }
    }

    /// One exchange as it is now; the empty name is the default exchange's.
    pub fn exchange(&self, name: &[u8]) -> Option<ExchangeSnapshot> {
        if name.is_empty() {
            return Some(self.default_exchange());
        }
        self.exchange_by_id(self.exchanges.find(name)?)
    }

    /// One exchange as it is now.
    pub fn exchange_by_id(&self, id: ExchangeId) -> Option<ExchangeSnapshot> {
        self.exchanges.get(id).map(exchange_snapshot)
    }

    /// The exchange at a place and its name, as [`queue_at`](Vhost::queue_at). The default exchange has no place.
    pub fn exchange_at(&self, place: usize) -> Option<(ExchangeId, &ShortString)> {
        let id = self.exchanges.at(place)?;
        self.exchanges.get(id).map(|exchange| (id, &exchange.name))
    }

    /// How many places there are for exchanges.
    pub fn exchange_places(&self) -> usize {
        self.exchanges.end()
    }

    fn default_exchange(&self) -> ExchangeSnapshot {
        ExchangeSnapshot {
            name: String::new(),
            kind: "direct",
            durable: true,
            auto_delete: false,
            internal: false,
            arguments: TableBuf::default(),
            policy: None,
            statistics: self.default_exchange_statistics,
        }
    }

    /// All exchanges as they are now, the default one first.
    pub fn exchanges(&self) -> Vec<ExchangeSnapshot> {
        let mut exchanges = vec![self.default_exchange()];
        exchanges.extend(self.exchanges.iter().map(|(_, exchange)| exchange_snapshot(exchange)));
        exchanges
    }

    /// How much of everything there is now.
    pub fn snapshot(&self) -> VhostSnapshot {
        let messages = self.queues.totals();
        VhostSnapshot {
            connections: self.sessions.client_count(),
            channels: self.sessions.channels().len(),
            exchanges: self.exchanges.len() + 1,
            queues: self.queues.len(),
            consumers: self.sessions.consumer_count(),
            messages_ready: messages.ready,
            messages_unacknowledged: messages.unacknowledged,
            statistics: self.statistics,
        }
    }
}

fn exchange_snapshot(exchange: &Exchange) -> ExchangeSnapshot {
    ExchangeSnapshot {
        name: exchange.name.to_string(),
        kind: exchange.kind.name(),
        durable: exchange.durable,
        auto_delete: exchange.auto_delete,
        internal: exchange.internal,
        arguments: exchange.arguments.raw.clone(),
        policy: exchange.policy.clone(),
        statistics: exchange.statistics,
    }
}
