//! A channel: what a client has going on in one conversation.
//!
//! ```text
//!                channel.open            fault: channel.close sent        close-ok
//!   (no entry) ──────────────► Open ─────────────────────────► Closing ──────────► (no entry)
//!        ▲                      │ channel.close received: close-ok
//!        └──────────────────────┘
//! ```
//!
//! spec: 2.2.2 and the class `channel`.

use std::collections::BTreeMap;

use leveret_codec::ShortString;

use super::confirm::Confirms;
use super::ids::{ConnectionId, ConsumerId, QueueId};
use super::line::Line;
use super::statistics::MessageStatistics;
use super::transaction::{Outcome, Transaction};
use super::unacked::{Unacked, UnackedList};

/// Whether a channel is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelState {
    /// It is.
    Open,
    /// The client made a fault and was told; everything but the end of the channel is ignored.
    Closing,
}

/// A subscription to the pseudo-queue of direct reply-to.
#[derive(Clone, Debug)]
pub struct ReplyConsumer {
    /// What the client knows it by.
    pub tag: ShortString,
    /// What answers are published to: `amq.rabbitmq.reply-to.` and something that nobody guesses.
    pub address: ShortString,
}

/// A purge that takes several turns.
#[derive(Clone, Copy, Debug)]
pub struct Purge {
    /// The queue.
    pub queue: QueueId,
    /// How many are still to go.
    pub left: usize,
    /// How many are gone.
    pub purged: u32,
}

/// A channel of a connection.
#[derive(Debug)]
pub struct Channel {
    /// The connection it is part of.
    pub connection: ConnectionId,
    /// Its number there.
    pub number: u16,
    /// Whether it is in use.
    pub state: ChannelState,
    /// Deliveries that are not acknowledged.
    pub unacked: UnackedList,
    /// How many of them went to consumers, which is what `global_prefetch` limits.
    pub unacked_of_consumers: usize,
    /// Its subscriptions, by tag.
    pub consumers: BTreeMap<ShortString, ConsumerId>,
    /// Its consumers that wait for the window that they share.
    pub line: Line<ConsumerId>,
    /// The window that consumers made from now on get; zero means none.
    pub prefetch: u16,
    /// The window that all consumers share; zero means none.
    pub global_prefetch: u16,
    /// Confirm mode, once selected.
    pub confirms: Option<Confirms>,
    /// Transactions, once selected.
    pub transaction: Option<Transaction>,
    /// Its subscription to the answers of direct reply-to.
    pub reply_consumer: Option<ReplyConsumer>,
    /// Whether it stands in the list of those whose confirms are to be looked at.
    pub confirms_listed: bool,
    /// What happened to the messages that went through it.
    pub statistics: MessageStatistics,
    /// A purge that takes several turns.
    pub purge: Option<Purge>,
    /// The queue of which a basic.get waits for what goes next.
    pub awaits_head_of: Option<QueueId>,
    /// The queue declared last, which an empty name stands for.
    pub last_queue: Option<ShortString>,
    last_delivery_tag: u64,
}

impl Channel {
    /// A channel that was just opened.
    pub fn new(connection: ConnectionId, number: u16) -> Self {
        Channel {
            connection,
            number,
            state: ChannelState::Open,
            unacked: UnackedList::default(),
            unacked_of_consumers: 0,
            consumers: BTreeMap::new(),
            line: Line::default(),
            prefetch: 0,
            global_prefetch: 0,
            confirms: None,
            transaction: None,
            reply_consumer: None,
            confirms_listed: false,
            statistics: MessageStatistics::default(),
            purge: None,
            awaits_head_of: None,
            last_queue: None,
            last_delivery_tag: 0,
        }
    }

    /// About how much memory one takes without what it has, with its places among others, in bytes.
    pub const BYTES: u64 = 600;

    /// A delivery is settled.
    pub fn note_settled(&mut self, delivery: &Unacked, outcome: Outcome) {
        self.unacked_of_consumers -= usize::from(delivery.consumer.is_some());
        self.statistics.ack += u64::from(matches!(outcome, Outcome::Done | Outcome::Committed));
    }

    /// The tag of the next delivery, counted from 1.
    pub fn next_delivery_tag(&mut self) -> u64 {
        self.last_delivery_tag += 1;
        self.last_delivery_tag
    }

    /// The tag of an answer to direct reply-to.
    ///
    /// rabbitmq: the tag that comes next, which is not used up by it.
    pub fn reply_delivery_tag(&self) -> u64 {
        self.last_delivery_tag + 1
    }

    /// Whether the window that its consumers share has room.
    pub fn has_credit(&self) -> bool {
        self.global_prefetch == 0 || self.unacked_of_consumers < usize::from(self.global_prefetch)
    }
}
