//! What a virtual host looks like at one moment, as plain values for management and tests.
//!
//! Names are shown as text, in which octets that are no UTF-8 are replaced; those of bindings are left as they
//! are, since there may be a million of them.

use leveret_codec::{ShortString, TableBuf};

use super::ids::ConnectionId;
use super::statistics::{ExchangeStatistics, MessageStatistics};
use super::time::Time;

/// A queue at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueSnapshot {
    /// Its name.
    pub name: String,
    /// Its type: `classic` or `quorum`.
    pub kind: &'static str,
    /// Whether its definition survives a restart.
    pub durable: bool,
    /// Whether it goes with its last consumer.
    pub auto_delete: bool,
    /// Whether it belongs to one connection.
    pub exclusive: bool,
    /// The connection it belongs to.
    pub owner: Option<ConnectionId>,
    /// The arguments of its declaration.
    pub arguments: TableBuf,
    /// The policy that applies to it.
    pub policy: Option<String>,
    /// The operator policy that applies to it.
    pub operator_policy: Option<String>,
    /// Messages that wait to be delivered.
    pub messages_ready: usize,
    /// Messages that are delivered and not acknowledged yet.
    pub messages_unacknowledged: usize,
    /// Sum of the body sizes of the messages that wait, in octets.
    pub message_bytes_ready: u64,
    /// Sum of the body sizes of the messages that are delivered and not acknowledged, in octets.
    pub message_bytes_unacknowledged: u64,
    /// Consumers subscribed to it.
    pub consumers: usize,
    /// The tag of the consumer that has it for itself.
    pub exclusive_consumer: Option<String>,
    /// The tag of the consumer that is served, in a queue with a single active consumer.
    pub single_active_consumer: Option<String>,
    /// The timestamp property of the message that goes next, in seconds.
    pub head_message_timestamp: Option<u64>,
    /// Since when nothing has happened to it, if nothing waits and nobody consumes.
    pub idle_since: Time,
    /// What happened to its messages.
    pub statistics: MessageStatistics,
}

/// An exchange at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExchangeSnapshot {
    /// Its name, empty for the default exchange.
    pub name: String,
    /// Its type.
    pub kind: &'static str,
    /// Whether it survives a restart.
    pub durable: bool,
    /// Whether it goes with its last binding.
    pub auto_delete: bool,
    /// Whether clients may not publish to it.
    pub internal: bool,
    /// The arguments of its declaration.
    pub arguments: TableBuf,
    /// The policy that applies to it.
    pub policy: Option<String>,
    /// What went through it.
    pub statistics: ExchangeStatistics,
}

/// A binding. Its parts are shared with the virtual host; they stand in the order in which lists of bindings are
/// sorted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BindingSnapshot {
    /// The exchange it leads from, empty for the default exchange.
    pub source: ShortString,
    /// What it leads to.
    pub destination: DestinationName,
    /// The routing key, or pattern.
    pub routing_key: ShortString,
    /// Its arguments.
    pub arguments: TableBuf,
}

/// What a binding leads to, by its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DestinationName {
    /// An exchange.
    Exchange(ShortString),
    /// A queue.
    Queue(ShortString),
}

impl DestinationName {
    /// The name alone.
    pub fn name(&self) -> &ShortString {
        match self {
            DestinationName::Exchange(name) | DestinationName::Queue(name) => name,
        }
    }

    /// Whether it is a queue.
    pub fn is_queue(&self) -> bool {
        matches!(self, DestinationName::Queue(_))
    }
}

/// A connection at one moment, as far as a virtual host knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionSnapshot {
    /// Which one.
    pub id: ConnectionId,
    /// Who it is.
    pub user: String,
    /// Whether it is in use; on its way to its end otherwise.
    pub running: bool,
    /// Open channels.
    pub channels: usize,
    /// Highest number of channels open at once.
    pub channel_max: u16,
    /// Largest frame, in octets.
    pub frame_max: u32,
    /// Heartbeat interval, in seconds.
    pub heartbeat_secs: u16,
    /// What the client said about itself.
    pub client_properties: TableBuf,
}

/// A channel at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelSnapshot {
    /// Its connection.
    pub connection: ConnectionId,
    /// Its number there.
    pub number: u16,
    /// Who it is.
    pub user: String,
    /// Subscriptions.
    pub consumers: usize,
    /// The window that consumers made from now on get.
    pub prefetch: u16,
    /// The window that its consumers share.
    pub global_prefetch: u16,
    /// Deliveries that are not acknowledged.
    pub messages_unacknowledged: usize,
    /// Publishes that are not confirmed.
    pub messages_unconfirmed: u64,
    /// Publishes that a transaction holds.
    pub messages_uncommitted: usize,
    /// Acknowledgements that a transaction holds.
    pub acks_uncommitted: usize,
    /// Whether it is in confirm mode.
    pub confirm: bool,
    /// Whether it is transactional.
    pub transactional: bool,
    /// What happened to the messages that went through it.
    pub statistics: MessageStatistics,
}

/// A consumer at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerSnapshot {
    /// What the client knows it by.
    pub tag: String,
    /// Its queue.
    pub queue: String,
    /// Its connection.
    pub connection: ConnectionId,
    /// The number of its channel.
    pub channel: u16,
    /// Who it is.
    pub user: String,
    /// Whether its messages count as acknowledged when they are sent.
    pub no_ack: bool,
    /// Whether it has the queue for itself.
    pub exclusive: bool,
    /// Its own window.
    pub prefetch: u16,
    /// Whether it is served; it waits for its turn as the single active one otherwise.
    pub active: bool,
    /// Whether its queue serves one consumer alone.
    pub single_active: bool,
    /// The arguments of its subscription.
    pub arguments: TableBuf,
}

/// How much of everything a virtual host holds at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VhostSnapshot {
    /// Open connections.
    pub connections: usize,
    /// Open channels.
    pub channels: usize,
    /// Exchanges, the default one included.
    pub exchanges: usize,
    /// Queues.
    pub queues: usize,
    /// Consumers.
    pub consumers: usize,
    /// Messages that wait in queues.
    pub messages_ready: usize,
    /// Messages that are delivered and not acknowledged.
    pub messages_unacknowledged: usize,
    /// What happened to messages since the broker started.
    pub statistics: MessageStatistics,
}
