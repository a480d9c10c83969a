//! Consumers, and whose turn it is.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};

use leveret_codec::{ShortString, TableBuf};

use super::ids::{ChannelId, ConnectionId, ConsumerId, QueueId};

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
    /// Whether it stands in the rotation of its queue.
    pub waiting: bool,
}

impl Consumer {
    /// Whether its own window has room.
    pub fn has_credit(&self) -> bool {
        self.no_ack || self.prefetch == 0 || self.unacknowledged < usize::from(self.prefetch)
    }
}

/// The consumers of a queue and the order in which they are served.
///
/// rabbitmq: the highest priority first, round robin among equals. One that cannot take a message
/// leaves the round and comes back at its end once it can, so that finding the next one costs the
/// same however many there are.
#[derive(Debug, Default)]
pub struct Rotation {
    /// All of them with their priority, in the order they subscribed.
    members: Vec<(ConsumerId, i32)>,
    /// Those that may take a message, as far as is known. No line is empty.
    waiting: BTreeMap<Reverse<i32>, VecDeque<ConsumerId>>,
    /// The one that has the queue for itself, if it asked for that.
    exclusive: Option<ConsumerId>,
    /// The only one that is served, in a queue with a single active consumer.
    single_active: Option<ConsumerId>,
}

impl Rotation {
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
        self.members.iter().map(|(id, _)| *id)
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

    /// Adds a consumer; it does not wait for messages yet.
    pub fn subscribe(&mut self, id: ConsumerId, priority: i32, exclusive: bool, single: bool) {
        self.members.push((id, priority));
        if exclusive {
            self.exclusive = Some(id);
        }
        if single && self.single_active.is_none() {
            self.single_active = Some(id);
        }
    }

    /// Removes a consumer. In a queue with a single active consumer, names the one that takes
    /// over: that of the highest priority, among equals the oldest.
    pub fn unsubscribe(&mut self, id: ConsumerId) -> Option<ConsumerId> {
        self.members.retain(|(member, _)| *member != id);
        self.waiting.retain(|_, line| {
            line.retain(|member| *member != id);
            !line.is_empty()
        });
        if self.exclusive == Some(id) {
            self.exclusive = None;
        }
        if self.single_active != Some(id) {
            return None;
        }
        let successor = self.members.iter().rev().max_by_key(|(_, priority)| *priority);
        self.single_active = successor.map(|(id, _)| *id);
        self.single_active
    }

    /// Puts a consumer at the end of the line of its priority.
    pub fn wait(&mut self, id: ConsumerId, priority: i32) {
        self.waiting.entry(Reverse(priority)).or_default().push_back(id);
    }

    /// The consumer whose turn it is.
    pub fn next(&self) -> Option<ConsumerId> {
        self.waiting.first_key_value().and_then(|(_, line)| line.front().copied())
    }

    /// Sends the consumer whose turn it was to the end of its line.
    pub fn rotate(&mut self) {
        if let Some(mut line) = self.waiting.first_entry()
            && line.get().len() > 1
        {
            line.get_mut().rotate_left(1);
        }
    }

    /// Takes the consumer whose turn it was out of the line.
    pub fn leave(&mut self) {
        if let Some(mut line) = self.waiting.first_entry() {
            line.get_mut().pop_front();
            if line.get().is_empty() {
                line.remove();
            }
        }
    }
}
