//! Queues: what waits in them, and how it leaves them otherwise than to a client.

use std::cmp::Reverse;
use std::rc::Rc;

use super::{Binding, Content, Destination, Kind, Model, Routed, dead_letters_of, kind};

/// A message in a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Copy {
    /// Its place in the queue.
    pub(crate) sequence: u64,
    pub(crate) content: Rc<Content>,
    pub(crate) priority: u8,
    pub(crate) expires_at: Option<u64>,
    /// How often it came back.
    pub(crate) returns: u32,
    /// What of that is kept over a restart.
    pub(crate) returns_kept: u32,
    /// The place that it came back to, and as which number of those that did.
    pub(crate) turn: (u64, u64),
    /// Whether it was delivered before.
    pub(crate) delivered: bool,
    /// Whether the store has been told so.
    pub(crate) delivered_told: bool,
}

impl Copy {
    pub(crate) fn body(&self) -> &str {
        &self.content.body
    }
}

pub(crate) struct Queue {
    pub(crate) kind: &'static Kind,
    /// What it obeys: its declaration and policies.
    pub(super) rules: Kind,
    /// Another one each time the name is declared.
    pub(crate) instance: u64,
    pub(crate) owner: Option<u64>,
    /// The tag of the only consumer that it serves, if it serves one alone.
    pub(crate) active: Option<String>,
    /// In the order they are to be delivered.
    pub(crate) ready: Vec<Copy>,
    pub(super) next_sequence: u64,
    /// How many messages came back.
    returned: u64,
    pub(super) last_used: u64,
}

impl Queue {
    /// Puts messages to their places: by rank, then as they came.
    pub(super) fn sort(&mut self) {
        self.ready.sort_by_key(|it| (Reverse(it.priority), it.turn));
    }

    /// Puts a message that was delivered back, unless it came back too often. Gives it back either way.
    ///
    /// rabbitmq: what a client returns to a quorum queue without a delivery limit goes behind all others.
    pub(super) fn put_back(&mut self, mut copy: Copy, by_client: bool) -> Result<Copy, Copy> {
        let Kind { quorum, delivery_limit, .. } = self.rules;
        copy.returns += 1;
        if delivery_limit.is_some_and(|limit| copy.returns > limit) {
            return Err(copy);
        }
        if quorum || delivery_limit.is_some() {
            copy.returns_kept = copy.returns;
        }
        let goes_behind = by_client && quorum && delivery_limit.is_none();
        self.returned += 1;
        copy.turn = (if goes_behind { self.next_sequence } else { copy.sequence }, self.returned);
        self.ready.push(copy.clone());
        self.sort();
        Ok(copy)
    }
}

impl Model {
    pub(super) fn declare_queue(&mut self, client: u64, name: &'static str) {
        let kind = kind(name);
        self.next_instance += 1;
        let (now, instance) = (self.now, self.next_instance);
        let rules = self.rules_of(name);
        let queue = self.queues.entry(name).or_insert_with(|| Queue {
            kind,
            instance,
            rules,
            owner: kind.exclusive.then_some(client),
            active: None,
            ready: Vec::new(),
            next_sequence: 1,
            returned: 0,
            last_used: now,
        });
        queue.last_used = now;
    }

    pub(super) fn delete_queue(&mut self, name: &str) -> usize {
        let Some(queue) = self.queues.remove(name) else { return 0 };
        let to = |it: &Binding| matches!(it.destination, Destination::Queue(to) if to == name);
        self.remove_bindings(to);
        self.cancel_consumers_of(name);
        queue.ready.len()
    }

    pub(super) fn purge(&mut self, name: &str) -> usize {
        let queue = self.queues.get_mut(name).expect("it is there");
        std::mem::take(&mut queue.ready).len()
    }

    pub(super) fn note_used(&mut self, name: &str) {
        let now = self.now;
        self.queues.get_mut(name).expect("it is there").last_used = now;
    }

    /// Whether a full queue refuses what comes.
    pub(super) fn refuses(&self, name: &str) -> bool {
        let queue = &self.queues[name];
        queue.rules.rejects && queue.rules.max_length.is_some_and(|max| queue.ready.len() >= max)
    }

    /// A message enters queues.
    pub(super) fn enqueue(&mut self, names: &[&'static str], content: &Rc<Content>) {
        for name in names {
            self.put_in(name, content);
        }
        // One that enters an empty queue goes straight to a consumer, even if it expires at once.
        let is_alone = |model: &Model, name: &str| model.queues[name].ready.len() == 1;
        while names.iter().any(|name| is_alone(self, name) && self.hand_out(name)) {}
        for name in names {
            if is_alone(self, name) {
                self.let_expire(name);
            }
            // rabbitmq: an expired message that becomes the head expires then and there. Here that is
            // seen once a limit has taken what is too much, or at the end of the input.
            self.keep_limit(name);
        }
    }

    fn put_in(&mut self, name: &'static str, content: &Rc<Content>) {
        let now = self.now;
        let queue = self.queues.get_mut(name).expect("it was found");
        let ttls = [queue.rules.ttl_ms, content.expiration_ms];
        let highest = queue.kind.max_priority.unwrap_or(0);
        let copy = Copy {
            sequence: queue.next_sequence,
            content: content.clone(),
            priority: content.priority.unwrap_or(0).min(highest),
            expires_at: ttls.iter().flatten().min().map(|ttl| now + ttl),
            returns: 0,
            returns_kept: 0,
            turn: (queue.next_sequence, u64::MAX),
            delivered: false,
            delivered_told: false,
        };
        queue.next_sequence += 1;
        self.entered.entry(name).or_default().push(copy.clone());
        queue.ready.push(copy);
        queue.sort();
    }

    /// Drops from the head what is too much.
    ///
    /// rabbitmq: but a quorum queue gives its consumers what they can take before.
    pub(super) fn keep_limit(&mut self, name: &'static str) {
        if kind(name).quorum {
            self.serve(&[name]);
        }
        let Some(queue) = self.queues.get_mut(name) else { return };
        let (Some(max), false) = (queue.rules.max_length, queue.rules.rejects) else { return };
        let excess = queue.ready.len().saturating_sub(max);
        let dropped: Vec<_> = queue.ready.drain(..excess).collect();
        for copy in &dropped {
            self.dead_letter(name, copy, "maxlen");
        }
        if !dropped.is_empty() {
            self.let_expire(name);
        }
    }

    /// A message leaves a queue otherwise than to a client.
    pub(super) fn dead_letter(&mut self, name: &str, copy: &Copy, reason: &str) {
        let Some(to) = self.queues[name].rules.dead_letters else { return };
        // rabbitmq: an exchange that is not there loses the message.
        if !to.exchange.is_empty() && !self.exchanges.contains(to.exchange) {
            return;
        }
        let mut content = copy.content.died(name, reason);
        content.exchange = to.exchange.to_owned();
        if let Some(key) = to.key {
            content.key = key.to_owned();
            content.copies.clear();
        }
        let Routed { queues, delayed_by } = self.route(&content);
        for exchange in delayed_by {
            self.delay(exchange, &content);
        }
        self.enqueue(&queues, &Rc::new(content));
    }

    /// Lets what has expired at the head go.
    pub(super) fn let_expire(&mut self, name: &'static str) {
        let now = self.now;
        while let Some(queue) = self.queues.get_mut(name)
            && queue.ready.first().is_some_and(|it| it.expires_at.is_some_and(|at| at <= now))
        {
            let copy = queue.ready.remove(0);
            self.dead_letter(name, &copy, "expired");
        }
    }

    /// Does what time alone brings about.
    pub(crate) fn settle_time(&mut self) {
        let names: Vec<_> = self.queues.keys().copied().collect();
        for name in names {
            let queue = &self.queues[name];
            let is_idle = self.consumer_count(name) == 0;
            let gone = queue.rules.expires_ms.map(|ms| queue.last_used + ms);
            if is_idle && gone.is_some_and(|gone| gone <= self.now) {
                self.delete_queue(name);
            }
            self.let_expire(name);
        }
        self.release_due();
    }

    /// All queues, those that dead-letter before those that they dead-letter to.
    pub(crate) fn mortal_first(&self) -> Vec<&'static str> {
        let mut names: Vec<_> = self.queues.keys().copied().collect();
        names.sort_by_key(|name| dead_letters_of(name).is_none());
        names
    }
}
