//! Deliveries: which message goes next, and who may take one.

use std::collections::VecDeque;

use super::channels::Unacked;
use super::{At, Channel, Content, Copy, Model, RESOURCE_LOCKED, Reply, kind};

/// A delivery that was seen.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) at: At,
    /// The consumer; none for the answer to a get.
    pub(crate) consumer: Option<String>,
    pub(crate) delivery_tag: u64,
    pub(crate) redelivered: bool,
    pub(crate) content: Content,
    /// The header x-delivery-count.
    pub(crate) delivery_count: Option<i64>,
    /// Octets that the client had not read before.
    pub(crate) outbox: usize,
}

impl Model {
    /// Shows what the broker delivered; it is then to be explained.
    pub(crate) fn show(&mut self, deliveries: Vec<Seen>) {
        for seen in deliveries {
            let Some(seen) = self.take_reply(seen) else { continue };
            self.seen.entry(seen.at).or_default().push_back(seen);
        }
    }

    /// Serves all queues.
    ///
    /// # Panics
    /// When something was delivered that did not go next anywhere.
    pub(crate) fn explain(&mut self) {
        self.serve_all();
        let mut unexplained = self.seen.iter().filter_map(|(at, all)| Some((at, all.front()?)));
        if let Some((at, seen)) = unexplained.next() {
            let (tag, body) = (&seen.consumer, &seen.content.body);
            let queue = self.queue_of(*at, seen).and_then(|name| self.queues.get(name));
            let next = queue.map(|queue| queue.ready.iter().map(Copy::body).take(3));
            let next: Option<Vec<_>> = next.map(Iterator::collect);
            let may_take = queue.is_some() && self.may_take(seen);
            panic!("{body} to {tag:?} of {at:?}, which may take one: {may_take}, of {next:?}");
        }
        assert!(self.seen_replies.is_empty(), "nobody was asked: {:?}", self.seen_replies);
        self.seen.clear();
        self.note_full();
    }

    pub(super) fn serve_all(&mut self) {
        let names: Vec<_> = self.queues.keys().copied().collect();
        self.serve(&names);
    }

    /// Lets messages of these queues go to the consumers that were seen to get them.
    pub(super) fn serve(&mut self, names: &[&'static str]) {
        let serve_one = |model: &mut Model, name| {
            model.let_expire(name);
            model.hand_out(name)
        };
        while names.iter().any(|name| serve_one(self, name)) {}
    }

    /// The message that goes next goes, if it was seen to come next on a channel.
    pub(super) fn hand_out(&mut self, name: &'static str) -> bool {
        let Some(head) = self.queues.get(name).and_then(|queue| queue.ready.first()) else {
            return false;
        };
        let comes = |at: &At, seen: &Seen| {
            self.queue_of(*at, seen) == Some(name)
                && seen.content.body == head.body()
                && self.may_take(seen)
        };
        let next = self.seen.iter().find(|(at, all)| all.front().is_some_and(|it| comes(at, it)));
        let Some(at) = next.map(|(at, _)| *at) else { return false };
        let seen = self.seen.get_mut(&at).and_then(VecDeque::pop_front);
        let queue = self.queues.get_mut(name);
        let (Some(seen), Some(queue)) = (seen, queue) else { return false };
        let copy = queue.ready.remove(0);
        self.take(name, &seen, copy);
        true
    }

    /// The queue that a consumer was served from; none for the answer to a get.
    fn queue_of(&self, at: At, seen: &Seen) -> Option<&'static str> {
        let channel = self.channels.get(&at)?;
        Some(channel.consumers.get(seen.consumer.as_ref()?)?.queue)
    }

    /// A consumer gets a message.
    fn take(&mut self, name: &'static str, seen: &Seen, copy: Copy) {
        self.note_turn(name, seen);
        let tag = seen.consumer.as_ref().expect("a consumer gets it");
        let no_ack = self.channels[&seen.at].consumers[tag].no_ack;
        self.note_taken(name, seen, copy, no_ack);
    }

    /// Checks what a client got; it is to be settled, unless it counts as acknowledged.
    fn note_taken(&mut self, name: &'static str, seen: &Seen, copy: Copy, no_ack: bool) {
        let queue = &self.queues[name];
        let instance = queue.instance;
        // rabbitmq: what a quorum queue delivers for the first time is not counted, the answer to a
        // get always is.
        let is_counted = queue.kind.quorum && (copy.returns > 0 || seen.consumer.is_none());
        let count = is_counted.then_some(i64::from(copy.returns));
        assert_eq!(seen.delivery_count, count, "x-delivery-count of {}", copy.body());
        let content = self.with_known_address(&seen.content, &copy.content);
        assert_eq!(content, *copy.content, "what was delivered");
        let channel = self.channel(seen.at);
        channel.last_tag += 1;
        assert_eq!(seen.delivery_tag, channel.last_tag, "delivery tags count");
        assert_eq!(seen.redelivered, copy.delivered, "redelivered of {}", copy.body());
        if !no_ack {
            let consumer = seen.consumer.clone();
            let copy = Copy { delivered: true, ..copy };
            let unacked = Unacked { queue: name, instance, copy, consumer };
            channel.unacked.insert(seen.delivery_tag, unacked);
        }
    }

    /// What basic.get finds.
    pub(super) fn get(&mut self, at: At, name: &'static str, no_ack: bool) -> Result<Reply, u16> {
        if !kind(name).allows_get() {
            return Err(RESOURCE_LOCKED);
        }
        self.note_used(name);
        self.let_expire(name);
        let queue = self.queues.get_mut(name).expect("it is there");
        let seen =
            self.seen.get_mut(&at).and_then(|all| all.pop_front_if(|it| it.consumer.is_none()));
        let Some(seen) = seen else {
            assert!(queue.ready.is_empty(), "{name} says it is empty");
            return Ok(Reply::Empty);
        };
        assert!(!queue.ready.is_empty(), "{} comes from an empty queue", seen.content.body);
        let copy = queue.ready.remove(0);
        self.note_taken(name, &seen, copy, no_ack);
        self.let_expire(name);
        Ok(Reply::Got(self.queues[name].ready.len()))
    }

    /// The store is being told what was delivered.
    pub(crate) fn tell_deliveries(&mut self) {
        let unacked = self.channels.values_mut().flat_map(Channel::unsettled_mut);
        let unacked = unacked.map(|unacked| &mut unacked.copy);
        let ready = self.queues.values_mut().flat_map(|queue| &mut queue.ready);
        for copy in unacked.chain(ready) {
            copy.delivered_told = copy.delivered;
        }
    }
}
