//! What must survive a restart, as values: the core emits them in order, the store keeps them.
//!
//! A record names a queue by its [`DurableQueueId`], which is given once and never reused, and a
//! message in a queue by its [`Position`] there. Replaying records twice does no harm: each sets
//! or removes something that has an identity.

use leveret_codec::{ShortString, TableBuf};
use smallvec::SmallVec;

use super::exchange::delayed::delayed_exchange_of;
pub use super::ids::{DurableQueueId, Lsn, Position};
use super::message::Message;
use super::paging::Cold;
use super::time::Time;

/// A change to what is durable.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// A durable exchange was declared.
    ExchangeDeclared(ExchangeDefinition),
    /// A durable exchange was deleted; its bindings, from it and to it, went with it.
    ExchangeDeleted {
        /// The exchange.
        name: ShortString,
    },
    /// A durable queue was declared.
    QueueDeclared(QueueDefinition),
    /// A durable queue was deleted; its bindings and its messages went with it.
    QueueDeleted {
        /// The queue.
        id: DurableQueueId,
    },
    /// A binding between a durable exchange and something durable was made.
    Bound(BindingDefinition),
    /// Such a binding was removed.
    Unbound(BindingDefinition),
    /// A persistent message entered one or more durable queues.
    Enqueued {
        /// The message, once for all queues.
        message: Message,
        /// Where it went.
        placements: SmallVec<[Placement; 1]>,
    },
    /// All messages of a queue in a range of positions are done with: acknowledged, dropped,
    /// expired, dead-lettered or purged.
    Settled {
        /// The queue.
        queue: DurableQueueId,
        /// The first position.
        first: Position,
        /// The last position, itself included.
        last: Position,
        /// Whether a client took the messages, and no other record says what came of that: on a disk that has no
        /// room for the records in front of this one it may go first. Not kept.
        acknowledged: bool,
    },
    /// Messages of a queue up to a position have been sent to a consumer: after a restart those
    /// among them that are still there come back as redelivered.
    Delivered {
        /// The queue.
        queue: DurableQueueId,
        /// Which priority the statement is about; zero in a queue without priorities.
        priority: u8,
        /// The highest position delivered.
        position: Position,
    },
    /// Messages of a queue that counts were delivered and came back, all in the range that are still
    /// there.
    Returned {
        /// The queue.
        queue: DurableQueueId,
        /// The first position.
        first: Position,
        /// The last position, itself included.
        last: Position,
        /// How often each has come back by now.
        returns: u32,
    },
}

impl Record {
    /// Whether it says what there is, and not what becomes of messages.
    pub fn is_definition(&self) -> bool {
        match self {
            Record::ExchangeDeclared(_)
            | Record::ExchangeDeleted { .. }
            | Record::QueueDeclared(_)
            | Record::QueueDeleted { .. }
            | Record::Bound(_)
            | Record::Unbound(_) => true,
            Record::Enqueued { .. }
            | Record::Settled { .. }
            | Record::Delivered { .. }
            | Record::Returned { .. } => false,
        }
    }
}

/// One copy of a message in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The queue.
    pub queue: DurableQueueId,
    /// The message's place in it.
    pub position: Position,
    /// When it expires, if it does.
    pub expires_at: Option<Time>,
}

/// All that makes a durable exchange.
#[derive(Clone, Debug, PartialEq)]
pub struct ExchangeDefinition {
    /// Its name.
    pub name: ShortString,
    /// Its type, as clients write it: `direct`, `topic` …
    pub kind: ShortString,
    /// Whether it goes with its last binding.
    pub auto_delete: bool,
    /// Whether clients may not publish to it.
    pub internal: bool,
    /// The arguments of its declaration.
    pub arguments: TableBuf,
}

/// All that makes a durable queue.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueDefinition {
    /// Its identity in the store.
    pub id: DurableQueueId,
    /// Its name.
    pub name: ShortString,
    /// Whether it goes with its last consumer.
    pub auto_delete: bool,
    /// The arguments of its declaration.
    pub arguments: TableBuf,
}

impl QueueDefinition {
    /// Whether its messages are needed all at once and not by position: those of a queue with
    /// priorities, and those that a delayed exchange holds. No part of it is ever cold.
    pub fn is_kept_in_memory(&self) -> bool {
        // rabbitmq: with the highest priority zero there are none.
        let max_priority = self.arguments.as_table().find(b"x-max-priority");
        max_priority.is_some_and(|max| max.as_i64() != Some(0))
            || delayed_exchange_of(self.name.as_bytes(), &self.arguments).is_some()
    }
}

/// What a binding leads to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BoundTo {
    /// A queue.
    Queue(DurableQueueId),
    /// An exchange, by name.
    Exchange(ShortString),
}

/// All that makes a durable binding.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BindingDefinition {
    /// The exchange that routes.
    pub source: ShortString,
    /// What it routes to.
    pub destination: BoundTo,
    /// The routing key, or pattern.
    pub routing_key: ShortString,
    /// The arguments of the binding.
    pub arguments: TableBuf,
}

/// What a store found when it was opened: the durable part of a virtual host.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recovered {
    /// Durable exchanges, in the order of their declaration.
    pub exchanges: Vec<ExchangeDefinition>,
    /// Durable queues with their messages, in the order of their declaration.
    pub queues: Vec<RecoveredQueue>,
    /// Durable bindings, in the order they were made.
    pub bindings: Vec<BindingDefinition>,
    /// The last record that is kept; the next one follows it.
    pub last_lsn: Lsn,
    /// The highest [`DurableQueueId`] ever given, also to queues that are gone.
    pub last_queue_id: DurableQueueId,
}

/// A durable queue as the store found it.
#[derive(Clone, Debug, PartialEq)]
pub struct RecoveredQueue {
    /// What was declared.
    pub definition: QueueDefinition,
    /// The messages that were not settled, by position; without those of the cold part.
    pub messages: Vec<RecoveredMessage>,
    /// What is on the disk alone. Messages in memory may lie before it, behind it and inside of it.
    pub cold: Option<Cold>,
    /// How often messages have come back, as far as that was recorded (see [`Record::Returned`]), by
    /// position; also of messages in the cold part.
    pub returns: Vec<(Position, u32)>,
    /// The highest position ever given, as far as the store knows.
    pub last_position: Position,
    /// For each priority, up to which position messages were delivered (see
    /// [`Record::Delivered`]); sorted by priority.
    pub delivered: Vec<(u8, Position)>,
}

/// A message as the store found it.
#[derive(Clone, Debug, PartialEq)]
pub struct RecoveredMessage {
    /// Its place in the queue.
    pub position: Position,
    /// When it expires, if it does.
    pub expires_at: Option<Time>,
    /// The message.
    pub message: Message,
}
