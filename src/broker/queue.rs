//! A queue: messages that wait, in order, and whom they wait for.
//!
//! A queue knows nothing of channels, exchanges or other queues. What happens to a message that
//! leaves it otherwise than to a consumer (expired, dropped, rejected) is the virtual host's
//! business: the queue hands the message out and says nothing more.

use leveret_codec::{ShortString, Value};

use super::arguments::{Overflow, QueueArguments, QueueType};
use super::consumer::RoundRobin;
use super::exchange::BindingSet;
use super::ids::{ChannelId, ConnectionId, DurableQueueId, Position};
use super::message::{Message, with_header};
use super::paging::{Kept, PageOwner};
use super::ready::{Entry, Ready};
use super::record::Placement;
use super::statistics::MessageStatistics;
use super::time::Time;
use super::weight::Weight;

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
    pub consumers: RoundRobin,
    /// What is bound to it, as the exchanges see it.
    pub bindings: BindingSet,
    /// When it was last used, as far as `x-expires` is concerned.
    pub last_used: Time,
    /// The earliest deadline that the timer holds for it.
    pub armed: Time,
    /// What happened to its messages.
    pub statistics: MessageStatistics,
    /// What its pages are known by, once there are any or if it is durable.
    pub pages: Option<PageOwner>,
    /// Whether it stands among those that wait until they may ask for a page.
    pub waits_for_memory: bool,
    /// A channel whose basic.get waits for what goes next, which is kept for it when it has come.
    pub awaited_by: Option<ChannelId>,
    /// The channel that purges it, while that takes several turns: nothing else leaves it meanwhile.
    pub purged_by: Option<ChannelId>,
    /// How many pieces of work hold it: nothing leaves it meanwhile.
    holds: usize,
    unacknowledged_weight: Weight,
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
            consumers: RoundRobin::default(),
            bindings: BindingSet::default(),
            last_used: now,
            armed: Time::NEVER,
            statistics: MessageStatistics::default(),
            pages: durable.map(PageOwner::Durable),
            waits_for_memory: false,
            awaited_by: None,
            purged_by: None,
            holds: 0,
            unacknowledged_weight: Weight::default(),
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

    /// Makes a place for a message that enters now. Whether it is done with before a record of it could
    /// be made, the caller knows better.
    pub fn enter(&mut self, now: Time, message: Message, expiration_ms: Option<u64>) -> Entry {
        self.statistics.publish += 1;
        Entry {
            position: self.next_position(),
            expires_at: self.expiry_of(now, expiration_ms),
            returns: 0,
            priority: self.priority_of(&message),
            redelivered: false,
            recorded: self.keeps(&message),
            paged: false,
            message,
        }
    }

    /// What a record of the message's entry says about its place here, if there is to be one.
    pub fn placement(&self, entry: &Entry) -> Option<Placement> {
        let queue = self.durable.filter(|_| entry.recorded)?;
        let expires_at = (entry.expires_at != Time::NEVER).then_some(entry.expires_at);
        Some(Placement { queue, position: entry.position, expires_at })
    }

    /// A piece of work holds it: nothing is to leave it before [`let_go`](Queue::let_go).
    pub fn hold(&mut self) {
        self.holds += 1;
    }

    /// A piece of work holds it no longer. It is to be evaluated then.
    pub fn let_go(&mut self) {
        self.holds -= 1;
    }

    /// Whether work other than a purge holds it.
    pub fn is_held_by_work(&self) -> bool {
        self.holds > 0
    }

    /// Whether nothing may leave it, since it is purged or in the midst of other work.
    pub fn is_held(&self) -> bool {
        self.holds > 0 || self.purged_by.is_some()
    }

    /// Whether it is a quorum queue.
    pub fn is_quorum(&self) -> bool {
        self.arguments.queue_type == QueueType::Quorum
    }

    /// Whether what it holds is kept whatever a message's delivery mode says.
    pub fn keeps(&self, message: &Message) -> bool {
        self.durable.is_some() && (self.is_quorum() || message.is_persistent())
    }

    /// Puts a message that was delivered back; says `by_client` whether its client wants that, or has left it
    /// behind.
    ///
    /// rabbitmq: to its original place; in a quorum queue without a delivery limit what clients return goes behind
    /// all others.
    pub fn put_back(&mut self, entry: Entry, by_client: bool) {
        if by_client && self.is_quorum() && self.arguments.delivery_limit.is_none() {
            self.ready.put_behind(self.next_position, entry);
        } else {
            self.ready.put_back(entry);
        }
    }

    /// Where the store keeps a message, to be told when it is done with.
    pub fn kept(&self, entry: &Entry) -> Option<Kept> {
        let position = entry.position;
        match (entry.recorded, entry.paged) {
            (true, _) => self.durable.map(|queue| Kept::Recorded { queue, position }),
            (false, true) => self.pages.map(|owner| Kept::Paged { owner, position }),
            (false, false) => None,
        }
    }

    /// About how much memory it takes without messages, in bytes: it, its places among others, and what the
    /// store keeps of it.
    pub fn definition_weight(&self) -> u64 {
        const QUEUE_BYTES: usize = 1_600;
        let arguments = self.declared.raw.as_table().as_bytes().len();
        (QUEUE_BYTES + self.name.len() + arguments) as u64
    }

    /// About how much memory its messages take, in octets.
    pub fn weight(&self) -> u64 {
        self.ready.weight() + self.unacknowledged_weight()
    }

    /// About how much memory those take that are delivered and not settled, in octets.
    pub fn unacknowledged_weight(&self) -> u64 {
        self.unacknowledged_weight.octets()
    }

    /// How many bytes more of its messages are counted by other queues too than when they were taken last.
    pub fn repeated(&self) -> i64 {
        self.ready.repeated() + self.unacknowledged_weight.repeated()
    }

    /// The same, and they are known now.
    pub fn take_repeated(&mut self) -> i64 {
        self.ready.take_repeated() + self.unacknowledged_weight.take_repeated()
    }

    /// Whether it counts how often a message came back, also over a restart.
    pub fn counts_returns(&self) -> bool {
        self.is_quorum() || self.arguments.delivery_limit.is_some()
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

    /// Whether something is to be done with what goes next: a consumer can take it, a client has asked
    /// for it, it has to expire or to make room.
    pub fn needs_head(&self, now: Time) -> bool {
        self.consumers.next().is_some()
            || self.awaited_by.is_some()
            || self.purged_by.is_some()
            || self.must_lose_head(now)
    }

    /// Whether what goes next is to leave without a client: it has expired, or there is too much.
    pub fn must_lose_head(&self, now: Time) -> bool {
        self.ready.head_expires_at() <= now
            || self.overflow() == Overflow::DropHead && self.is_over_full()
    }

    /// Notes that a message is on its way to a client that will settle it.
    pub fn note_delivered(&mut self, entry: &Entry) {
        self.unacknowledged += 1;
        self.unacknowledged_octets += entry.message.body().len() as u64;
        self.unacknowledged_weight.add(&entry.message);
        self.ready.note_delivered(entry.priority, entry.position);
    }

    /// Notes that a message that was delivered is settled.
    pub fn note_settled(&mut self, entry: &Entry) {
        self.unacknowledged -= 1;
        self.unacknowledged_octets -= entry.message.body().len() as u64;
        self.unacknowledged_weight.remove(&entry.message);
    }

    /// Whether this is the first delivery since the store was told of deliveries.
    pub fn note_delivering(&mut self) -> bool {
        !std::mem::replace(&mut self.delivering, true)
    }

    /// What the store is to be told about deliveries since it was asked last.
    pub fn take_delivered(&mut self) -> impl Iterator<Item = (u8, Position)> {
        self.delivering = false;
        self.ready.take_delivered()
    }

    /// Whether it is unused in the sense of `x-expires` and for how long, at `now`.
    ///
    /// rabbitmq: a consumer is use; a declare, active or passive, and a get are.
    pub fn unused_since(&self) -> Option<Time> {
        self.consumers.is_empty().then_some(self.last_used)
    }
}
