//! What a channel in a transaction holds back until it is committed.
//!
//! spec: the class `tx`. rabbitmq: faults of a publish or an unknown delivery tag are told at once;
//! what is held is where a message goes and which deliveries are settled how.

use leveret_codec::ShortString;

use super::ids::{ExchangeId, Lsn};
use super::message::Message;
use super::unacked::UnackedList;

/// What becomes of a message that was delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is done with.
    Done,
    /// It is done with, together with the rest of a transaction.
    Committed,
    /// The client refused it for good.
    Rejected,
    /// The client wants it to go back to the queue.
    Returned,
    /// The client has left it behind: its channel has ended.
    LeftBehind,
}

/// A publish that is held back.
#[derive(Debug)]
pub struct HeldPublish {
    /// The message.
    pub message: Message,
    /// Whether it is to come back when no queue takes it.
    pub mandatory: bool,
    /// What its expiration says, in milliseconds.
    pub expiration_ms: Option<u64>,
    /// Where it goes, as far as these queues are there when it is committed.
    pub queues: Vec<ShortString>,
    /// The exchanges that delay it from the commit on, each with the message as it was published.
    pub delayed_by: Vec<(ExchangeId, Message)>,
}

impl HeldPublish {
    /// About how much memory it takes, in octets.
    pub fn weight(&self) -> u64 {
        let queues = self.queues.len() * size_of::<ShortString>();
        let delayed_by = self.delayed_by.len() * size_of::<(ExchangeId, Message)>();
        HELD_OCTETS + (self.message.as_bytes().len() + queues + delayed_by) as u64
    }
}

/// What a publish that is held back occupies beside the octets of its message and its lists.
const HELD_OCTETS: u64 = 160;

/// Deliveries whose settlement is held back.
#[derive(Debug)]
pub struct HeldSettlement {
    /// The deliveries.
    pub deliveries: UnackedList,
    /// What becomes of them.
    pub outcome: Outcome,
}

/// The transaction of a channel. It never ends: with a commit or a rollback the next one begins.
#[derive(Debug, Default)]
pub struct Transaction {
    /// Publishes, in order.
    pub publishes: Vec<HeldPublish>,
    /// Settlements, in order.
    pub settlements: Vec<HeldSettlement>,
    /// While a commit waits for the store: the record that must be synced before it is answered.
    pub committing: Option<Lsn>,
}
