//! A queue: messages that wait, in order, and whom they wait for.
//!
//! A queue knows nothing of channels, exchanges or other queues. What happens to a message that
//! leaves it otherwise than to a consumer (expired, dropped, rejected) is the virtual host's
//! business: the queue hands the message out and says nothing more.
//!
//! invariant: within a priority, everything returned lies before everything never delivered,
//! because deliveries are taken from the front. So a requeued message goes back to its original
//! place by its position alone.

use std::collections::{BTreeMap, VecDeque};

use leveret_codec::{ShortString, Value};

use super::arguments::{Overflow, QueueArguments, QueueType};
use super::consumer::Rotation;
use super::exchange::BindingSet;
use super::id::Id;
use super::message::{Message, with_header};
use super::record::{DurableQueueId, Position};
use super::statistics::MessageStatistics;
use super::time::Time;
use super::vhost::ConnectionId;

/// Refers to a queue of a virtual host.
pub type QueueId = Id<Queue>;

/// A message in a queue.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The message.
    pub message: Message,
    /// Its place in the queue.
    pub position: Position,
    /// When it expires; [`Time::NEVER`] when it does not.
    pub expires_at: Time,
    /// How often it was delivered and came back.
    pub returns: u32,
    /// Its rank in a queue with priorities, zero elsewhere.
    pub priority: u8,
    /// Whether it may have been delivered before.
    pub redelivered: bool,
    /// Whether the store knows of it and must be told when it is done with.
    pub recorded: bool,
}

impl Entry {
    /// Whether its time has come.
    pub fn is_expired(&self, now: Time) -> bool {
        self.expires_at <= now
    }
}

/// Messages of one priority that wait.
#[derive(Debug, Default)]
struct Lane {
    /// Those that came back, by position.
    returned: BTreeMap<Position, Entry>,
    /// Those never delivered, by position.
    fresh: VecDeque<Entry>,
    /// The highest position delivered, and whether the store has been told so.
    delivered: Position,
    delivered_recorded: Position,
}

impl Lane {
    fn front(&self) -> Option<&Entry> {
        self.returned.first_key_value().map(|(_, entry)| entry).or_else(|| self.fresh.front())
    }

    fn pop_front(&mut self) -> Option<Entry> {
        match self.returned.pop_first() {
            Some((_, entry)) => Some(entry),
            None => self.fresh.pop_front(),
        }
    }

    fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.returned.values().chain(&self.fresh)
    }
}

/// The messages of a queue that wait, highest priority first, then by position.
#[derive(Debug)]
pub struct Ready {
    /// One for each priority, lowest first; a queue without priorities has one.
    lanes: Vec<Lane>,
    messages: usize,
    octets: u64,
}

impl Ready {
    fn new(max_priority: u8) -> Self {
        let lanes = (0..=max_priority).map(|_| Lane::default()).collect();
        Ready { lanes, messages: 0, octets: 0 }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.messages
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.messages == 0
    }

    /// Sum of the body sizes, in octets.
    pub fn octets(&self) -> u64 {
        self.octets
    }

    /// The one that goes next.
    pub fn front(&self) -> Option<&Entry> {
        if self.messages == 0 {
            return None;
        }
        self.lanes.iter().rev().find_map(Lane::front)
    }

    /// Takes the one that goes next.
    pub fn pop_front(&mut self) -> Option<Entry> {
        if self.messages == 0 {
            return None;
        }
        let entry = self.lanes.iter_mut().rev().find_map(Lane::pop_front)?;
        self.messages -= 1;
        self.octets -= entry.message.body().len() as u64;
        Some(entry)
    }

    /// Adds one that was never delivered, behind all others of its priority.
    pub fn push_back(&mut self, entry: Entry) {
        self.add(&entry);
        self.lane(entry.priority).fresh.push_back(entry);
    }

    /// Puts one that was delivered back to its place.
    pub fn put_back(&mut self, entry: Entry) {
        self.add(&entry);
        self.lane(entry.priority).returned.insert(entry.position, entry);
    }

    /// All of them, highest priority first.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.lanes.iter().rev().flat_map(Lane::entries)
    }

    fn add(&mut self, entry: &Entry) {
        self.messages += 1;
        self.octets += entry.message.body().len() as u64;
    }

    fn lane(&mut self, priority: u8) -> &mut Lane {
        let highest = self.lanes.len() - 1;
        &mut self.lanes[usize::from(priority).min(highest)]
    }
}

/// A queue.
#[derive(Debug)]
pub struct Queue {
    /// Its name.
    pub name: ShortString,
    /// Its identity in the store, if its definition survives a restart.
    pub durable: Option<DurableQueueId>,
    /// The connection it belongs to and goes with, if it is exclusive.
    pub owner: Option<ConnectionId>,
    /// Whether it goes with its last consumer.
    pub auto_delete: bool,
    /// What its declaration asked for.
    pub declared: QueueArguments,
    /// What applies: its declaration and the policies that match it.
    pub arguments: QueueArguments,
    /// The name of the policy that applies to it.
    pub policy: Option<String>,
    /// The name of the operator policy that applies to it.
    pub operator_policy: Option<String>,
    /// Messages that wait.
    pub ready: Ready,
    /// Messages that are delivered and not settled.
    pub unacknowledged: usize,
    /// Sum of their body sizes, in octets.
    pub unacknowledged_octets: u64,
    /// Who gets the messages.
    pub consumers: Rotation,
    /// What is bound to it, as the exchanges see it.
    pub bindings: BindingSet,
    /// When it was last used, as far as `x-expires` is concerned.
    pub last_used: Time,
    /// The earliest deadline that the timer holds for it.
    pub armed: Time,
    /// What happened to its messages.
    pub statistics: MessageStatistics,
    next_position: Position,
    /// Whether it has delivered something that the store is to be told of.
    delivering: bool,
}

impl Queue {
    /// A queue without messages, consumers or bindings.
    pub fn new(
        name: ShortString,
        durable: Option<DurableQueueId>,
        owner: Option<ConnectionId>,
        auto_delete: bool,
        arguments: QueueArguments,
        now: Time,
    ) -> Self {
        Queue {
            name,
            durable,
            owner,
            auto_delete,
            ready: Ready::new(arguments.max_priority.unwrap_or(0)),
            declared: arguments.clone(),
            arguments,
            policy: None,
            operator_policy: None,
            unacknowledged: 0,
            unacknowledged_octets: 0,
            consumers: Rotation::default(),
            bindings: BindingSet::default(),
            last_used: now,
            armed: Time::NEVER,
            statistics: MessageStatistics::default(),
            next_position: 1,
            delivering: false,
        }
    }

    /// Gives the next message its place.
    pub fn next_position(&mut self) -> Position {
        let position = self.next_position;
        self.next_position += 1;
        position
    }

    /// Nothing up to `last` is given again: what a restart found.
    pub fn reserve_positions(&mut self, last: Position) {
        self.next_position = self.next_position.max(last + 1);
    }

    /// The rank a message has here.
    ///
    /// rabbitmq: a higher priority than the queue's highest counts as that, an absent one as zero.
    pub fn priority_of(&self, message: &Message) -> u8 {
        match self.arguments.max_priority {
            None => 0,
            Some(max) => message.properties().priority().unwrap_or(0).min(max),
        }
    }

    /// When a message that enters now expires: the earlier of what the queue and the message say.
    pub fn expiry_of(&self, now: Time, expiration_ms: Option<u64>) -> Time {
        match (self.arguments.message_ttl_ms, expiration_ms) {
            (None, None) => Time::NEVER,
            (Some(ttl), None) | (None, Some(ttl)) => now.plus_millis(ttl),
            (Some(queue), Some(message)) => now.plus_millis(queue.min(message)),
        }
    }

    /// Whether it is a quorum queue.
    pub fn is_quorum(&self) -> bool {
        self.arguments.queue_type == QueueType::Quorum
    }

    /// Whether what it holds is kept whatever a message's delivery mode says.
    pub fn keeps(&self, message: &Message) -> bool {
        self.durable.is_some() && (self.is_quorum() || message.is_persistent())
    }

    /// Puts a message that was delivered back.
    ///
    /// rabbitmq: to its original place; in a quorum queue without a delivery limit behind all
    /// others.
    pub fn put_back(&mut self, entry: Entry) {
        if self.is_quorum() && self.arguments.delivery_limit.is_none() {
            self.ready.push_back(entry);
        } else {
            self.ready.put_back(entry);
        }
    }

    /// The message as a client gets it.
    ///
    /// rabbitmq: a quorum queue says in the header x-delivery-count how often it came back; on
    /// delivery only if it did, in the answer to a get always.
    pub fn message_for_client(&self, entry: &Entry, by_get: bool) -> Message {
        self.counted(entry, by_get).unwrap_or_else(|| entry.message.clone())
    }

    /// As [`message_for_client`](Queue::message_for_client), on delivery of one that nobody keeps.
    pub fn into_message_for_client(&self, entry: Entry) -> Message {
        self.counted(&entry, false).unwrap_or(entry.message)
    }

    fn counted(&self, entry: &Entry, by_get: bool) -> Option<Message> {
        let counted = self.is_quorum() && (by_get || entry.returns > 0);
        let returns = Value::I64(i64::from(entry.returns));
        counted.then(|| with_header(&entry.message, b"x-delivery-count", &returns))
    }

    /// What happens when it is full.
    ///
    /// rabbitmq: a quorum queue takes reject-publish-dlx for drop-head.
    pub fn overflow(&self) -> Overflow {
        match self.arguments.overflow {
            Overflow::RejectPublishDlx if self.is_quorum() => Overflow::DropHead,
            overflow => overflow,
        }
    }

    /// Whether one more message of this size would break a limit of the queue.
    pub fn is_full_for(&self, octets: usize) -> bool {
        let arguments = &self.arguments;
        let too_many = arguments.max_length.is_some_and(|max| self.ready.len() as u64 + 1 > max);
        let too_large =
            arguments.max_length_bytes.is_some_and(|max| self.ready.octets() + octets as u64 > max);
        too_many || too_large
    }

    /// Whether what waits breaks a limit of the queue.
    pub fn is_over_full(&self) -> bool {
        let arguments = &self.arguments;
        arguments.max_length.is_some_and(|max| self.ready.len() as u64 > max)
            || arguments.max_length_bytes.is_some_and(|max| self.ready.octets() > max)
    }

    /// Notes that a message is on its way to a client that will settle it.
    pub fn note_delivered(&mut self, entry: &Entry) {
        self.unacknowledged += 1;
        self.unacknowledged_octets += entry.message.body().len() as u64;
        if self.durable.is_some() {
            let lane = self.ready.lane(entry.priority);
            lane.delivered = lane.delivered.max(entry.position);
        }
    }

    /// Notes that a message that was delivered is settled.
    pub fn note_settled(&mut self, entry: &Entry) {
        self.unacknowledged -= 1;
        self.unacknowledged_octets -= entry.message.body().len() as u64;
    }

    /// Whether this is the first delivery since the store was told of deliveries.
    pub fn note_delivering(&mut self) -> bool {
        !std::mem::replace(&mut self.delivering, true)
    }

    /// What the store is to be told about deliveries since it was asked last.
    pub fn take_delivered(&mut self) -> impl Iterator<Item = (u8, Position)> {
        self.delivering = false;
        let news = self.ready.lanes.iter_mut().enumerate();
        news.filter(|(_, lane)| lane.delivered > lane.delivered_recorded).map(|(index, lane)| {
            lane.delivered_recorded = lane.delivered;
            (index as u8, lane.delivered)
        })
    }

    /// What a restart found out about deliveries of before.
    pub fn restore_delivered(&mut self, priority: u8, position: Position) {
        let lane = self.ready.lane(priority);
        lane.delivered = position;
        lane.delivered_recorded = position;
    }

    /// Whether it is unused in the sense of `x-expires` and for how long, at `now`.
    ///
    /// rabbitmq: a consumer is use; a declare, active or passive, and a get are.
    pub fn unused_since(&self) -> Option<Time> {
        self.consumers.is_empty().then_some(self.last_used)
    }
}
