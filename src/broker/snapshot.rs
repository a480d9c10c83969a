//! What a virtual host looks like at one moment, as plain values for management and tests.

/// A queue at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueSnapshot {
    /// Its name; octets that are no UTF-8 are replaced.
    pub name: String,
    /// Whether its definition survives a restart.
    pub durable: bool,
    /// Whether it goes with its last consumer.
    pub auto_delete: bool,
    /// Whether it belongs to one connection.
    pub exclusive: bool,
    /// Messages that wait to be delivered.
    pub messages_ready: usize,
    /// Messages that are delivered and not acknowledged yet.
    pub messages_unacknowledged: usize,
    /// Sum of the body sizes of the messages that wait, in octets.
    pub message_bytes_ready: u64,
    /// Consumers subscribed to it.
    pub consumers: usize,
}

/// How much of everything a virtual host holds at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VhostSnapshot {
    /// Open connections.
    pub connections: usize,
    /// Open channels.
    pub channels: usize,
    /// Exchanges, the predeclared ones included.
    pub exchanges: usize,
    /// Queues.
    pub queues: usize,
    /// Consumers.
    pub consumers: usize,
}
