//! Consumers: who may take a message, and whose turn it is.

use leveret::broker::limits::OUTBOX_OCTETS;

use super::{ACCESS_REFUSED, At, Channel, Kind, Model, Notice, Seen, Subscription, kind};

pub(crate) struct Consumer {
    pub(super) queue: &'static str,
    pub(super) no_ack: bool,
    pub(super) exclusive: bool,
    pub(super) priority: i32,
    pub(super) prefetch: u16,
    pub(super) unacked: usize,
    /// Which number it is of all that ever subscribed.
    since: u64,
    /// Whether the window of its channel, or the outbox of its client, was full at the end of the deed
    /// before.
    held_up: bool,
    /// What [`Model::served`] was when it got a message last, and when it had no room last.
    served: u64,
    full: u64,
}

impl Model {
    /// All consumers of a queue, each with its channel.
    fn consumers_of<'a>(
        &'a self,
        name: &'a str,
    ) -> impl Iterator<Item = (At, &'a Channel, &'a String, &'a Consumer)> {
        self.channels.iter().flat_map(move |(at, channel)| {
            let consumers = channel.consumers.iter().filter(move |(_, it)| it.queue == name);
            consumers.map(move |(tag, consumer)| (*at, channel, tag, consumer))
        })
    }

    pub(crate) fn consumer_count(&self, name: &str) -> usize {
        self.consumers_of(name).count()
    }

    pub(super) fn consume(&mut self, at: At, it: &Subscription) -> Result<(), u16> {
        let Kind { single_active, quorum, .. } = kind(it.queue);
        // rabbitmq: a quorum queue takes the flag and does not enforce it.
        let exclusive = it.exclusive && !quorum;
        let wants_alone = exclusive && (*single_active || self.consumer_count(it.queue) > 0);
        if wants_alone || self.consumers_of(it.queue).any(|(.., other)| other.exclusive) {
            return Err(ACCESS_REFUSED);
        }
        self.next_consumer += 1;
        let (since, full) = (self.next_consumer, self.served);
        let channel = self.channel(at);
        let consumer = Consumer {
            queue: it.queue,
            no_ack: it.no_ack,
            exclusive,
            priority: it.priority,
            prefetch: channel.prefetch,
            unacked: 0,
            since,
            held_up: false,
            served: 0,
            full,
        };
        channel.consumers.insert(it.tag.clone(), consumer);
        self.choose_active(it.queue);
        Ok(())
    }

    pub(super) fn cancel(&mut self, at: At, tag: &str) {
        let consumer = self.channel(at).consumers.remove(tag).expect("it consumes");
        self.consumer_gone(consumer.queue);
    }

    pub(super) fn consumer_gone(&mut self, name: &'static str) {
        self.choose_active(name);
        if self.consumer_count(name) > 0 {
            return;
        }
        let now = self.now;
        let Some(queue) = self.queues.get_mut(name) else { return };
        queue.last_used = now;
        if queue.kind.auto_delete {
            self.delete_queue(name);
        }
    }

    /// In a queue with a single active consumer another one takes over when it is gone: that of the
    /// highest priority, among equals the oldest.
    fn choose_active(&mut self, name: &'static str) {
        let Some(queue) = self.queues.get(name).filter(|it| it.kind.single_active) else { return };
        let is_active = |tag: &String| queue.active.as_ref() == Some(tag);
        if self.consumers_of(name).any(|(_, _, tag, _)| is_active(tag)) {
            return;
        }
        let next = self.consumers_of(name).min_by_key(|(.., it)| (-it.priority, it.since));
        let next = next.map(|(_, _, tag, _)| tag.clone());
        self.queues.get_mut(name).expect("it is there").active = next;
    }

    /// Ends the consumers of a queue that is gone.
    pub(super) fn cancel_consumers_of(&mut self, name: &str) {
        for (at, channel) in &mut self.channels {
            for (tag, _) in channel.consumers.extract_if(.., |_, it| it.queue == name) {
                self.notices.push((*at, Notice::Cancelled(tag)));
            }
        }
    }

    /// Whether the consumer that was seen to get a message may have one more.
    pub(super) fn may_take(&self, seen: &Seen) -> bool {
        let channel = &self.channels[&seen.at];
        let Some(tag) = &seen.consumer else { return false };
        let Some(consumer) = channel.consumers.get(tag) else { return false };
        let has_room = seen.outbox < OUTBOX_OCTETS;
        has_room && self.is_served(tag, consumer) && has_credit(channel, consumer, 0)
    }

    /// Whether a queue serves a consumer at all.
    fn is_served(&self, tag: &str, consumer: &Consumer) -> bool {
        let queue = &self.queues[consumer.queue];
        !queue.kind.single_active || queue.active.as_deref() == Some(tag)
    }

    /// Checks that it is the turn of the consumer that gets a message, and notes that it got it.
    pub(super) fn note_turn(&mut self, name: &'static str, seen: &Seen) {
        let tag = seen.consumer.as_ref().expect("a consumer gets it");
        let taker = &self.channels[&seen.at].consumers[tag];
        let body = &seen.content.body;
        for (at, channel, other_tag, other) in self.consumers_of(name) {
            if other.since == taker.since || !self.is_served(other_tag, other) {
                continue;
            }
            if !self.had_room(at, channel, other) {
                continue;
            }
            let comes_first = other.priority > taker.priority;
            assert!(!comes_first, "{body} went to {tag}, and {other_tag} comes before it");
            // Of two with room all the time none gets two messages while the other gets none.
            let waited = other.full < taker.served && other.served < taker.served;
            let is_equal = other.priority == taker.priority;
            assert!(!(waited && is_equal), "{body} went to {tag} when it was {other_tag}'s turn");
        }
        self.served += 1;
        let served = self.served;
        let channel = self.channel(seen.at);
        let consumer = channel.consumers.get_mut(tag).expect("it consumes");
        consumer.served = served;
        consumer.unacked += usize::from(!consumer.no_ack);
    }

    /// Whether a consumer certainly had room when another one of its queue got a message: it has even
    /// now that everything was delivered, but for what comes from its own queue.
    ///
    /// rabbitmq: a queue hears later than of all else that a channel's window or a client has room again.
    fn had_room(&self, at: At, channel: &Channel, consumer: &Consumer) -> bool {
        let is_other = |seen: &&Seen| {
            let consumers = seen.consumer.iter().filter_map(|tag| channel.consumers.get(tag));
            consumers.clone().any(|it| it.queue != consumer.queue && !it.no_ack)
        };
        let others = self.seen.get(&at).map_or(0, |seen| seen.iter().filter(is_other).count());
        let reads = self.clients[&at.0].outbox < OUTBOX_OCTETS;
        reads && !consumer.held_up && has_credit(channel, consumer, others)
    }

    /// Notes which consumers have no room.
    pub(super) fn note_full(&mut self) {
        let served = self.served;
        let clients = &self.clients;
        for (at, channel) in &mut self.channels {
            let reads = clients[&at.0].outbox < OUTBOX_OCTETS;
            let shared = channel.shared_has_room(0);
            for consumer in channel.consumers.values_mut() {
                let was_held_up = consumer.held_up;
                consumer.held_up = !reads || !shared;
                let is_full = consumer.held_up || !consumer.no_ack && !consumer.own_has_room();
                if was_held_up || is_full {
                    consumer.full = served;
                }
            }
        }
    }

    /// Nothing waits that somebody could take.
    pub(crate) fn check_nothing_waits(&self) {
        let waiting = self.queues.iter().filter(|(_, queue)| !queue.ready.is_empty());
        for (name, _) in waiting {
            for (at, channel, tag, consumer) in self.consumers_of(name) {
                let could = self.is_served(tag, consumer)
                    && self.clients[&at.0].outbox < OUTBOX_OCTETS
                    && has_credit(channel, consumer, 0);
                assert!(!could, "{name} has messages and {tag} could take one");
            }
        }
    }
}

impl Consumer {
    fn own_has_room(&self) -> bool {
        self.prefetch == 0 || self.unacked < usize::from(self.prefetch)
    }
}

impl Channel {
    /// Whether the window that its consumers share has room for one more, and for `others` before.
    fn shared_has_room(&self, others: usize) -> bool {
        let shared = usize::from(self.global_prefetch);
        shared == 0 || self.unacked_of_consumers() + others < shared
    }
}

/// Whether the windows of a consumer have room, even if its channel gets `others` before.
fn has_credit(channel: &Channel, consumer: &Consumer, others: usize) -> bool {
    (consumer.no_ack || consumer.own_has_room()) && channel.shared_has_room(others)
}
