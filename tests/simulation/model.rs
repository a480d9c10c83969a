//! What a virtual host should hold and send, kept the simplest way.
//!
//! The model does not choose who gets a message: it says which messages may be delivered, in which
//! order, and who may take one, and checks what it is told was delivered.

use std::collections::{BTreeMap, BTreeSet};

use leveret::broker::limits::OUTBOX_OCTETS;

/// A queue that may be declared: the name stands for all the rest.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) durable: bool,
    pub(crate) exclusive: bool,
    pub(crate) auto_delete: bool,
    pub(crate) ttl_ms: Option<u64>,
    pub(crate) max_length: Option<usize>,
    pub(crate) rejects: bool,
    pub(crate) dead_letters_to: Option<&'static str>,
    pub(crate) max_priority: Option<u8>,
    pub(crate) expires_ms: Option<u64>,
}

const PLAIN: Kind = Kind {
    name: "",
    durable: true,
    exclusive: false,
    auto_delete: false,
    ttl_ms: None,
    max_length: None,
    rejects: false,
    dead_letters_to: None,
    max_priority: None,
    expires_ms: None,
};

/// All queues there may be. What dies in one goes to a queue of its own, so that the order is known.
pub(crate) const KINDS: [Kind; 13] = [
    Kind { name: "orders", ..PLAIN },
    Kind { name: "offers", ..PLAIN },
    Kind { name: "news", durable: false, ..PLAIN },
    Kind { name: "short-lived", ttl_ms: Some(500), dead_letters_to: Some("died old"), ..PLAIN },
    Kind { name: "died old", ..PLAIN },
    Kind { name: "short", max_length: Some(3), dead_letters_to: Some("pushed out"), ..PLAIN },
    Kind { name: "pushed out", ..PLAIN },
    Kind { name: "clipped", max_length: Some(2), ..PLAIN },
    Kind { name: "full", max_length: Some(3), rejects: true, ..PLAIN },
    Kind { name: "ranked", max_priority: Some(3), ..PLAIN },
    Kind { name: "own", durable: false, exclusive: true, ..PLAIN },
    Kind { name: "passing", auto_delete: true, ..PLAIN },
    Kind { name: "fading", expires_ms: Some(3000), ..PLAIN },
];

/// A message in a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Copy {
    /// Its place in the queue.
    pub(crate) sequence: u64,
    /// Unique among what clients publish.
    pub(crate) body: String,
    pub(crate) priority: u8,
    pub(crate) persistent: bool,
    pub(crate) expires_at: Option<u64>,
    /// Whether it was delivered before.
    pub(crate) delivered: bool,
    /// Whether the store has been told so.
    pub(crate) delivered_told: bool,
    /// Whether it was published in this very step.
    pub(crate) fresh: bool,
}

pub(crate) struct Queue {
    pub(crate) kind: &'static Kind,
    /// Another one each time the name is declared.
    pub(crate) instance: u64,
    pub(crate) owner: Option<u64>,
    /// In the order they are to be delivered.
    pub(crate) ready: Vec<Copy>,
    /// What a consumer that always has room has got, though we were not told yet.
    taken: Vec<Copy>,
    next_sequence: u64,
    last_used: u64,
}

#[derive(Default)]
pub(crate) struct Client {
    pub(crate) stalled: bool,
    /// Octets that it has not read.
    pub(crate) outbox: usize,
}

#[derive(Default)]
pub(crate) struct Channel {
    pub(crate) prefetch: u16,
    pub(crate) global_prefetch: u16,
    last_tag: u64,
    pub(crate) unacked: BTreeMap<u64, Unacked>,
    pub(crate) consumers: BTreeMap<String, Consumer>,
    pub(crate) confirming: bool,
    published: Vec<Published>,
    pub(crate) answered: usize,
}

pub(crate) struct Unacked {
    queue: &'static str,
    instance: u64,
    copy: Copy,
    consumer: Option<String>,
}

pub(crate) struct Consumer {
    pub(crate) queue: &'static str,
    pub(crate) no_ack: bool,
    prefetch: u16,
    unacked: usize,
}

/// A publish on a channel in confirm mode.
struct Published {
    accepted: bool,
    body: String,
    /// The queues that must keep it, and which of that name.
    keepers: Vec<(&'static str, u64)>,
}

/// What became of a delivery.
#[derive(Clone, core::marker::Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    Refused,
    Requeued,
}

/// What is to be published.
#[derive(Clone, Debug)]
pub(crate) struct Publish {
    pub(crate) exchange: &'static str,
    pub(crate) key: &'static str,
    pub(crate) body: String,
    pub(crate) persistent: bool,
    pub(crate) priority: Option<u8>,
    pub(crate) expiration_ms: Option<u64>,
}

/// A delivery that was seen.
pub(crate) struct Seen {
    pub(crate) client: u64,
    pub(crate) channel: u16,
    /// The consumer; none for a get.
    pub(crate) consumer: Option<String>,
    pub(crate) queue: &'static str,
    pub(crate) delivery_tag: u64,
    pub(crate) redelivered: bool,
    pub(crate) body: String,
}

/// What must be there after a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Durable {
    pub(crate) queues: BTreeMap<&'static str, Vec<Copy>>,
    pub(crate) exchanges: BTreeSet<&'static str>,
    pub(crate) bindings: BTreeSet<Binding>,
}

pub(crate) type Binding = (&'static str, &'static str, &'static str);

/// Exchanges there may be: whether durable, and whether fanout or else direct.
pub(crate) const EXCHANGES: [(&str, bool, bool); 3] =
    [("all", true, true), ("by key", true, false), ("for now", false, false)];
pub(crate) const KEYS: [&str; 2] = ["red", "blue"];

#[derive(Default)]
pub(crate) struct Model {
    pub(crate) now: u64,
    pub(crate) queues: BTreeMap<&'static str, Queue>,
    pub(crate) exchanges: BTreeSet<&'static str>,
    pub(crate) bindings: BTreeSet<Binding>,
    pub(crate) clients: BTreeMap<u64, Client>,
    pub(crate) channels: BTreeMap<(u64, u16), Channel>,
    /// What entered durable queues since it was asked last, gone again or not.
    pub(crate) entered: BTreeMap<&'static str, Vec<Copy>>,
    /// Those that were closed in this step; what was due to them before may still come.
    pub(crate) leaving: BTreeMap<(u64, u16), Channel>,
    pub(crate) next_instance: u64,
}

pub(crate) fn kind(name: &str) -> &'static Kind {
    KINDS.iter().find(|kind| kind.name == name).expect("a queue of ours")
}

impl Model {
    pub(crate) fn declare_queue(&mut self, client: u64, name: &'static str) {
        let kind = kind(name);
        self.next_instance += 1;
        let (now, instance) = (self.now, self.next_instance);
        let queue = self.queues.entry(name).or_insert_with(|| Queue {
            kind,
            instance,
            owner: kind.exclusive.then_some(client),
            ready: Vec::new(),
            taken: Vec::new(),
            next_sequence: 1,
            last_used: now,
        });
        queue.last_used = now;
    }

    pub(crate) fn delete_queue(&mut self, name: &str) -> usize {
        let Some(queue) = self.queues.remove(name) else { return 0 };
        self.bindings.retain(|(_, to, _)| *to != name);
        for channel in self.channels.values_mut() {
            channel.consumers.retain(|_, consumer| consumer.queue != name);
        }
        queue.ready.len()
    }

    pub(crate) fn purge(&mut self, name: &str) -> usize {
        let queue = self.queues.get_mut(name).expect("it is there");
        std::mem::take(&mut queue.ready).len()
    }

    pub(crate) fn delete_exchange(&mut self, name: &str) {
        self.exchanges.remove(name);
        self.bindings.retain(|(from, ..)| *from != name);
    }

    pub(crate) fn publish(&mut self, client: u64, channel: u16, publish: &Publish) {
        let queues: Vec<&'static str> = match publish.exchange {
            "" => self.queues.keys().filter(|name| **name == publish.key).copied().collect(),
            exchange => {
                let fanout = EXCHANGES.iter().any(|(name, _, fanout)| *name == exchange && *fanout);
                let bound = self
                    .bindings
                    .iter()
                    .filter(|(from, _, key)| *from == exchange && (fanout || *key == publish.key));
                bound.map(|(_, to, _)| *to).collect::<BTreeSet<_>>().into_iter().collect()
            }
        };
        let mut accepted = true;
        let mut keepers = Vec::new();
        for name in queues {
            let queue = &self.queues[name];
            if queue.kind.rejects && Some(queue.ready.len()) >= queue.kind.max_length {
                accepted = false;
                continue;
            }
            if queue.kind.durable && publish.persistent {
                keepers.push((name, queue.instance));
            }
            self.enqueue(name, publish);
        }
        let channel = self.channels.get_mut(&(client, channel)).expect("it is open");
        if channel.confirming {
            channel.published.push(Published { accepted, body: publish.body.clone(), keepers });
        }
    }

    fn enqueue(&mut self, name: &'static str, publish: &Publish) {
        let now = self.now;
        let Some(queue) = self.queues.get_mut(name) else { return };
        let ttls = [queue.kind.ttl_ms, publish.expiration_ms];
        let highest = queue.kind.max_priority.unwrap_or(0);
        let copy = Copy {
            sequence: queue.next_sequence,
            body: publish.body.clone(),
            priority: publish.priority.unwrap_or(0).min(highest),
            persistent: publish.persistent,
            expires_at: ttls.iter().flatten().min().map(|ttl| now + ttl),
            delivered: false,
            delivered_told: false,
            fresh: true,
        };
        queue.next_sequence += 1;
        self.entered.entry(name).or_default().push(copy.clone());
        queue.insert(copy);
        self.keep_limit(name);
    }

    /// Drops from the head what is too much; what is left goes to a consumer that always has room.
    fn keep_limit(&mut self, name: &'static str) {
        let greedy = self.has_greedy_consumer(name);
        let Some(queue) = self.queues.get_mut(name) else { return };
        let (Some(max), false) = (queue.kind.max_length, queue.kind.rejects) else { return };
        let excess = queue.ready.len().saturating_sub(max);
        let dropped: Vec<_> = queue.ready.drain(..excess).collect();
        for copy in dropped {
            self.bury(name, copy);
        }
        while greedy && let Some(copy) = self.pop_due(name) {
            if let Some(queue) = self.queues.get_mut(name) {
                queue.taken.push(copy);
            }
        }
    }

    /// Consumers of a queue with a limit do not acknowledge and always read, so that it is known
    /// when they take a message.
    fn has_greedy_consumer(&self, name: &str) -> bool {
        kind(name).max_length.is_some()
            && self
                .channels
                .values()
                .any(|channel| channel.consumers.values().any(|it| it.queue == name && it.no_ack))
    }

    /// A message leaves a queue otherwise than to a client.
    fn bury(&mut self, name: &str, copy: Copy) {
        if let Some(to) = kind(name).dead_letters_to {
            let publish = Publish {
                exchange: "",
                key: to,
                body: copy.body,
                persistent: copy.persistent,
                priority: None,
                expiration_ms: None,
            };
            self.enqueue(to, &publish);
        }
    }

    /// Lets what has expired at the head go.
    pub(crate) fn let_expire(&mut self, name: &'static str) {
        let now = self.now;
        while let Some(queue) = self.queues.get_mut(name)
            && queue.ready.first().is_some_and(|copy| copy.expires_at <= Some(now))
            && queue.ready[0].expires_at.is_some()
        {
            let copy = queue.ready.remove(0);
            self.bury(name, copy);
        }
    }

    /// Does what time alone brings about.
    pub(crate) fn settle_time(&mut self) {
        let fading: Vec<_> = self.queues.keys().copied().collect();
        for name in fading {
            let queue = &self.queues[name];
            let idle = self.consumer_count(name) == 0;
            let gone = queue.kind.expires_ms.map(|ms| queue.last_used + ms);
            if idle && gone.is_some_and(|gone| gone <= self.now) {
                self.delete_queue(name);
            }
            self.let_expire(name);
        }
        for queue in self.queues.values_mut() {
            for copy in &mut queue.ready {
                copy.fresh = false;
            }
        }
    }

    pub(crate) fn consumer_count(&self, name: &str) -> usize {
        let consumers = self.channels.values().flat_map(|channel| channel.consumers.values());
        consumers.filter(|consumer| consumer.queue == name).count()
    }

    pub(crate) fn unacked_count(&self, name: &str, instance: u64) -> usize {
        let unacked = self.channels.values().flat_map(|channel| channel.unacked.values());
        unacked.filter(|it| it.queue == name && it.instance == instance).count()
    }

    pub(crate) fn consume(&mut self, at: (u64, u16), queue: &'static str, tag: &str, no_ack: bool) {
        let channel = self.channels.get_mut(&at).expect("it is open");
        let prefetch = channel.prefetch;
        channel.consumers.insert(tag.to_owned(), Consumer { queue, no_ack, prefetch, unacked: 0 });
        self.keep_limit(queue);
    }

    pub(crate) fn cancel(&mut self, at: (u64, u16), tag: &str) {
        let channel = self.channels.get_mut(&at).expect("it is open");
        let consumer = channel.consumers.remove(tag).expect("it consumes");
        self.consumer_gone(consumer.queue);
    }

    fn consumer_gone(&mut self, name: &'static str) {
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

    pub(crate) fn note_used(&mut self, name: &str) {
        let now = self.now;
        self.queues.get_mut(name).expect("it is there").last_used = now;
    }

    pub(crate) fn settle(&mut self, at: (u64, u16), tags: &[u64], outcome: Outcome) {
        let requeued = self.settle_each(at, tags, outcome);
        self.keep_limits(requeued);
    }

    fn keep_limits(&mut self, requeued: BTreeSet<&'static str>) {
        for queue in requeued {
            self.keep_limit(queue);
        }
    }

    /// Settles deliveries; says to which queues some came back.
    fn settle_each(
        &mut self,
        at: (u64, u16),
        tags: &[u64],
        outcome: Outcome,
    ) -> BTreeSet<&'static str> {
        let mut requeued = BTreeSet::new();
        for tag in tags {
            let channel = self.channels.get_mut(&at).expect("it is open");
            let unacked = channel.unacked.remove(tag).expect("it is not settled");
            let consumer = unacked.consumer.and_then(|tag| channel.consumers.get_mut(&tag));
            if let Some(consumer) = consumer {
                consumer.unacked -= 1;
            }
            let queue = self.queues.get_mut(unacked.queue);
            let Some(queue) = queue.filter(|it| it.instance == unacked.instance) else { continue };
            match outcome {
                Outcome::Done => {}
                Outcome::Refused => self.bury(unacked.queue, unacked.copy),
                Outcome::Requeued => {
                    queue.insert(Copy { delivered: true, ..unacked.copy });
                    requeued.insert(unacked.queue);
                }
            }
        }
        requeued
    }

    pub(crate) fn close_channel(&mut self, at: (u64, u16)) {
        self.cancel_all(at);
        self.requeue_all(at);
        let channel = self.channels.remove(&at);
        self.leaving.extend(channel.map(|channel| (at, channel)));
    }

    fn cancel_all(&mut self, at: (u64, u16)) {
        let channel = self.channels.get_mut(&at).expect("it is open");
        for consumer in std::mem::take(&mut channel.consumers).into_values() {
            self.consumer_gone(consumer.queue);
        }
    }

    pub(crate) fn requeue_all(&mut self, at: (u64, u16)) {
        let tags: Vec<u64> = self.channels[&at].unacked.keys().copied().collect();
        self.settle(at, &tags, Outcome::Requeued);
    }

    pub(crate) fn close_client(&mut self, client: u64) {
        let channels: Vec<_> =
            self.channels.keys().filter(|(of, _)| *of == client).copied().collect();
        for &at in &channels {
            self.cancel_all(at);
        }
        let owned = self.queues.values().filter(|queue| queue.owner == Some(client));
        let owned: Vec<_> = owned.map(|queue| queue.kind.name).collect();
        for name in owned {
            self.delete_queue(name);
        }
        let mut requeued = BTreeSet::new();
        for at in channels {
            let tags: Vec<u64> = self.channels[&at].unacked.keys().copied().collect();
            requeued.extend(self.settle_each(at, &tags, Outcome::Requeued));
            self.channels.remove(&at);
        }
        self.keep_limits(requeued);
        self.clients.remove(&client);
    }

    /// Checks what was delivered in a step and takes it to its new places.
    pub(crate) fn deliver(&mut self, seen: Vec<Seen>) {
        if seen.is_empty() {
            return;
        }
        let mut counts: BTreeMap<&'static str, usize> = BTreeMap::new();
        for it in &seen {
            *counts.entry(it.queue).or_default() += 1;
        }
        let mut due: BTreeMap<&'static str, Vec<Copy>> = BTreeMap::new();
        // What dies in one queue may be delivered from another in the same step.
        for name in self.mortal_first() {
            let count = counts.remove(name).unwrap_or(0);
            due.insert(name, self.take_due(name, count));
            if kind(name).dead_letters_to.is_some() {
                self.let_expire(name);
            }
        }
        assert!(counts.is_empty(), "deliveries come from queues");
        let mut last_place: BTreeMap<(u64, &str), usize> = BTreeMap::new();
        let mut taken = BTreeSet::new();
        for seen in seen {
            let copies = &due[seen.queue];
            // A crash in the middle of a dead-lettering may leave a message twice.
            let mut places = copies.iter().enumerate().filter(|(_, copy)| copy.body == seen.body);
            let place = places.find(|(place, _)| taken.insert((seen.queue, *place)));
            let place = place.map(|(place, _)| place);
            let Some(place) = place else {
                panic!("{} was delivered from {} when {copies:?} were due", seen.body, seen.queue)
            };
            let before = last_place.insert((seen.client, seen.queue), place);
            assert!(before < Some(place), "{} was delivered out of order or twice", seen.body);
            let copy = copies[place].clone();
            self.take(&seen, copy);
        }
    }

    /// All queues, those that dead-letter before those that they dead-letter to.
    pub(crate) fn mortal_first(&self) -> Vec<&'static str> {
        let mut names: Vec<_> = self.queues.keys().copied().collect();
        names.sort_by_key(|name| kind(name).dead_letters_to.is_none());
        names
    }

    /// The messages that go when so many are delivered.
    fn take_due(&mut self, name: &'static str, count: usize) -> Vec<Copy> {
        let mut copies = Vec::new();
        for _ in 0..count {
            let queue = self.queues.get_mut(name).expect("deliveries come from queues");
            if !queue.taken.is_empty() {
                copies.push(queue.taken.remove(0));
                continue;
            }
            let copy = self.pop_due(name);
            copies.push(copy.unwrap_or_else(|| panic!("{name} delivered what it does not have")));
        }
        copies
    }

    /// Takes the message that goes next.
    fn pop_due(&mut self, name: &'static str) -> Option<Copy> {
        let queue = self.queues.get_mut(name)?;
        // One that expires at once may still go straight to a consumer.
        let straight = queue.ready.len() == 1 && queue.ready[0].fresh;
        if !straight {
            self.let_expire(name);
        }
        let queue = self.queues.get_mut(name)?;
        (!queue.ready.is_empty()).then(|| queue.ready.remove(0))
    }

    fn take(&mut self, seen: &Seen, copy: Copy) {
        let at = (seen.client, seen.channel);
        let instance = self.queues[seen.queue].instance;
        let channel = self.channels.get_mut(&at).expect("deliveries go to open channels");
        channel.last_tag += 1;
        assert_eq!(seen.delivery_tag, channel.last_tag, "delivery tags count");
        assert_eq!(seen.redelivered, copy.delivered, "redelivered of {}", copy.body);
        let of_consumers = channel.unacked.values().filter(|it| it.consumer.is_some()).count();
        let mut no_ack = false;
        if let Some(tag) = &seen.consumer {
            let consumer = channel.consumers.get_mut(tag).expect("deliveries go to consumers");
            assert_eq!(consumer.queue, seen.queue);
            no_ack = consumer.no_ack;
            if !no_ack {
                let (own, shared) = (consumer.prefetch, channel.global_prefetch);
                assert!(own == 0 || consumer.unacked < own.into(), "more than the prefetch");
                assert!(shared == 0 || of_consumers < shared.into(), "more than the channel's");
                consumer.unacked += 1;
            }
        }
        if !no_ack {
            let consumer = seen.consumer.clone();
            let copy = Copy { delivered: true, ..copy };
            let unacked = Unacked { queue: seen.queue, instance, copy, consumer };
            channel.unacked.insert(seen.delivery_tag, unacked);
        }
    }

    /// A delivery that needs no acknowledgement after all: a get without.
    pub(crate) fn forget(&mut self, at: (u64, u16), tag: u64) {
        self.channels.get_mut(&at).expect("it is open").unacked.remove(&tag);
    }

    /// Checks confirms up to `last`.
    pub(crate) fn confirm(
        &mut self,
        at: (u64, u16),
        last: u64,
        multiple: bool,
        accepted: bool,
        written: &BTreeSet<String>,
        disk_works: bool,
    ) {
        let channel = self.channels.get_mut(&at).or_else(|| self.leaving.get_mut(&at));
        let channel = channel.expect("confirms go to open channels");
        let (first, last) = (channel.answered, last as usize);
        assert!(first < last && last <= channel.published.len(), "confirms come in order");
        assert!(multiple || last == first + 1, "one confirm for one publish");
        channel.answered = last;
        let answered = self.channels.get(&at).unwrap_or_else(|| &self.leaving[&at]);
        for publish in &answered.published[first..last] {
            if accepted || disk_works {
                assert_eq!(publish.accepted, accepted, "confirm of {}", publish.body);
            }
            for (name, instance) in &publish.keepers {
                let here = self.holds(name, *instance, &publish.body);
                let safe = !accepted || !here || written.contains(&publish.body);
                assert!(safe, "{} was confirmed before it was written", publish.body);
            }
        }
    }

    fn holds(&self, name: &str, instance: u64, body: &str) -> bool {
        let Some(queue) = self.queues.get(name).filter(|it| it.instance == instance) else {
            return false;
        };
        let unacked = self.channels.values().flat_map(|channel| channel.unacked.values());
        let mut out = unacked.filter(|it| it.queue == name && it.instance == instance);
        queue.ready.iter().any(|copy| copy.body == body) || out.any(|it| it.copy.body == body)
    }

    /// Everything published is answered.
    pub(crate) fn check_answered(&self) {
        for (at, channel) in &self.channels {
            assert_eq!(channel.answered, channel.published.len(), "confirms of {at:?}");
        }
    }

    /// Nothing waits that somebody could take.
    pub(crate) fn check_nothing_waits(&self) {
        for (name, queue) in &self.queues {
            assert!(queue.taken.is_empty(), "{name} did not deliver to who always has room");
            if queue.ready.is_empty() {
                continue;
            }
            for (at, channel) in &self.channels {
                let client = &self.clients[&at.0];
                let has_room = client.outbox < OUTBOX_OCTETS;
                let out = channel.unacked.values().filter(|it| it.consumer.is_some()).count();
                let shared = channel.global_prefetch;
                for consumer in channel.consumers.values().filter(|it| it.queue == *name) {
                    let own = consumer.prefetch;
                    let credit = (own == 0 || consumer.unacked < own.into())
                        && (shared == 0 || out < shared.into());
                    let could = has_room && (consumer.no_ack || credit);
                    assert!(!could, "{name} has messages and {at:?} could take one");
                }
            }
        }
    }

    /// The store is being told what was delivered.
    pub(crate) fn tell_deliveries(&mut self) {
        let unacked = self.channels.values_mut().flat_map(|it| it.unacked.values_mut());
        let unacked = unacked.map(|unacked| &mut unacked.copy);
        let ready = self.queues.values_mut().flat_map(|queue| &mut queue.ready);
        for copy in unacked.chain(ready) {
            copy.delivered_told = copy.delivered;
        }
    }

    /// What must survive.
    pub(crate) fn durable(&self) -> Durable {
        let mut queues = BTreeMap::new();
        for (name, queue) in self.queues.iter().filter(|(_, queue)| queue.kind.durable) {
            let unacked = self.channels.values().flat_map(|channel| channel.unacked.values());
            let out = unacked.filter(|it| it.queue == *name && it.instance == queue.instance);
            let all = queue.ready.iter().chain(out.map(|it| &it.copy));
            let mut kept: Vec<Copy> = all.filter(|copy| copy.persistent).cloned().collect();
            kept.sort_by_key(|copy| copy.sequence);
            queues.insert(*name, kept);
        }
        let durable = |name: &str| EXCHANGES.iter().any(|(it, durable, _)| *it == name && *durable);
        let exchanges = self.exchanges.iter().copied().filter(|name| durable(name)).collect();
        let bindings = self.bindings.iter().copied();
        let bindings = bindings.filter(|(from, to, _)| durable(from) && kind(to).durable);
        Durable { queues, exchanges, bindings: bindings.collect() }
    }

    /// A restart: what was durable is there, and nothing else.
    pub(crate) fn restart(&mut self, durable: Durable) {
        let now = self.now;
        *self = Model { now, next_instance: self.next_instance, ..Model::default() };
        self.exchanges = durable.exchanges;
        self.bindings = durable.bindings;
        let names: Vec<_> = durable.queues.keys().copied().collect();
        for name in &names {
            self.declare_queue(0, name);
        }
        for (name, copies) in durable.queues {
            let queue = self.queues.get_mut(name).expect("it was declared");
            for copy in copies {
                queue.next_sequence = copy.sequence + 1;
                queue.insert(Copy { fresh: false, ..copy });
            }
        }
        for name in names {
            self.keep_limit(name);
        }
    }
}

impl Queue {
    /// Puts a message to its place: by rank, then as it came.
    fn insert(&mut self, copy: Copy) {
        let place = |it: &Copy| (std::cmp::Reverse(it.priority), it.sequence);
        let at = self.ready.partition_point(|it| place(it) < place(&copy));
        self.ready.insert(at, copy);
    }
}
