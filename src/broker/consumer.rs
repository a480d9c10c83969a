//! Consumers, and whose turn it is.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use leveret_codec::{ShortString, TableBuf};

use super::ids::{ChannelId, ConnectionId, ConsumerId, QueueId};
use super::line::{Line, Place};

/// A subscription of a channel to a queue.
#[derive(Debug)]
pub struct Consumer {
    /// What the client knows it by.
    pub tag: ShortString,
    /// Its connection.
    pub connection: ConnectionId,
    /// Its channel.
    pub channel: ChannelId,
    /// Its queue.
    pub queue: QueueId,
    /// Whether its messages count as acknowledged when they are sent.
    pub no_ack: bool,
    /// Whether it wants the queue for itself.
    pub exclusive: bool,
    /// Higher ones are served first.
    pub priority: i32,
    /// The arguments of its subscription.
    pub arguments: TableBuf,
    /// How many unacknowledged messages it may have; zero means any number.
    pub prefetch: u16,
    /// How many it has.
    pub unacknowledged: usize,
    /// What it does between two deliveries.
    pub standing: Standing,
    /// Which member of its queue it is.
    pub member: Member,
}

impl Consumer {
    /// About how much memory it takes, with its places among others, in bytes.
    pub fn weight(&self) -> u64 {
        const CONSUMER_BYTES: usize = 320;
        let arguments = self.arguments.as_table().as_bytes().len();
        (CONSUMER_BYTES + 2 * self.tag.len() + arguments) as u64
    }
}

/// What a consumer does between two deliveries.
///
/// ```text
///           can take a message           its turn, and it cannot
///   Idle ───────────────────────► Ready ───────────────────────► Idle: its own window is full
///    ▲                              ▲                            BehindChannel: the shared window is
///    └── cancelled, channel closes  └── there is room again ──── BehindConnection: the outbox is
/// ```
///
/// why: whoever makes room finds those that wait for it in a line, and need not ask all consumers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing: it has no room, is not active, or is new.
    Idle,
    /// It stands in the round of its queue.
    Ready(Place),
    /// It stands in the line of its channel, for the window that consumers share.
    BehindChannel(Place),
    /// It stands in the line of its connection, for room in the outbox.
    BehindConnection(Place),
}

impl Consumer {
    /// Whether its own window has room.
    pub fn has_credit(&self) -> bool {
        self.no_ack || self.prefetch == 0 || self.unacknowledged < usize::from(self.prefetch)
    }
}

/// Which subscriber of a queue a consumer is, counted since the queue was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member(u64);

/// The consumers of a queue and the order in which they are served.
///
/// rabbitmq: the highest priority first, round robin among equals. One that cannot take a message
/// leaves the round and comes back at its end once it can, so that finding the next one costs the
/// same however many there are.
#[derive(Debug, Default)]
pub struct RoundRobin {
    /// All of them with their priority, in the order they subscribed.
    members: BTreeMap<Member, (ConsumerId, i32)>,
    last_member: u64,
    /// Those that may take a message, as far as is known. No line is empty.
    ready: BTreeMap<Reverse<i32>, Line<ConsumerId>>,
    /// The one that has the queue for itself, if it asked for that.
    exclusive: Option<ConsumerId>,
    /// The only one that is served, in a queue with a single active consumer.
    single_active: Option<ConsumerId>,
    /// The members in the order in which they take over from a single active consumer.
    succession: BTreeSet<(Reverse<i32>, Member)>,
}

impl RoundRobin {
    /// How many subscribed.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether none did.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// All of them, in the order they subscribed.
    pub fn members(&self) -> impl Iterator<Item = ConsumerId> {
        self.members.values().map(|(id, _)| *id)
    }

    /// The one that has the queue for itself.
    pub fn exclusive(&self) -> Option<ConsumerId> {
        self.exclusive
    }

    /// The only one that is served, in a queue with a single active consumer.
    pub fn single_active(&self) -> Option<ConsumerId> {
        self.single_active
    }

    /// Whether this one may be served at all, credit aside.
    pub fn is_active(&self, id: ConsumerId) -> bool {
        self.single_active.is_none_or(|active| active == id)
    }

    /// Adds a consumer; it does not stand in the round yet.
    pub fn subscribe(
        &mut self,
        id: ConsumerId,
        priority: i32,
        exclusive: bool,
        single: bool,
    ) -> Member {
        self.last_member += 1;
        let member = Member(self.last_member);
        self.members.insert(member, (id, priority));
        if exclusive {
            self.exclusive = Some(id);
        }
        if single {
            self.succession.insert((Reverse(priority), member));
            self.single_active.get_or_insert(id);
        }
        member
    }

    /// Removes a consumer, which is this one. In a queue with a single active consumer, names the one that
    /// takes over: that of the highest priority, among equals the oldest.
    pub fn unsubscribe(&mut self, id: ConsumerId, consumer: &Consumer) -> Option<ConsumerId> {
        if let Standing::Ready(place) = consumer.standing {
            self.leave(place, consumer.priority);
        }
        self.members.remove(&consumer.member);
        self.succession.remove(&(Reverse(consumer.priority), consumer.member));
        if self.exclusive == Some(id) {
            self.exclusive = None;
        }
        if self.single_active != Some(id) {
            return None;
        }
        let successor = self.succession.first().and_then(|(_, member)| self.members.get(member));
        self.single_active = successor.map(|(id, _)| *id);
        self.single_active
    }

    /// Puts a consumer at the end of the line of its priority.
    pub fn enter(&mut self, id: ConsumerId, priority: i32) -> Standing {
        Standing::Ready(self.ready.entry(Reverse(priority)).or_default().push_back(id))
    }

    /// The consumer whose turn it is.
    pub fn next(&self) -> Option<ConsumerId> {
        self.ready.first_key_value().and_then(|(_, line)| line.front())
    }

    /// Sends the consumer whose turn it was to the end of its line.
    pub fn rotate(&mut self) {
        if let Some(mut line) = self.ready.first_entry() {
            line.get_mut().rotate();
        }
    }

    /// Takes a consumer out of the round.
    pub fn leave(&mut self, place: Place, priority: i32) {
        if let Some(line) = self.ready.get_mut(&Reverse(priority)) {
            line.remove(place);
            if line.is_empty() {
                self.ready.remove(&Reverse(priority));
            }
        }
    }
}
