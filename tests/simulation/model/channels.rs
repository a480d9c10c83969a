//! Channels: consumers, and what was delivered and is not settled.

use std::collections::{BTreeMap, BTreeSet};

use super::confirms::Published;
use super::{
    At, Consumer, Copy, Kind, Model, Outcome, PRECONDITION_FAILED, ReplyConsumer, Settlement,
    Transaction, kind,
};

#[derive(Default)]
pub(crate) struct Channel {
    pub(super) prefetch: u16,
    pub(super) global_prefetch: u16,
    pub(super) last_tag: u64,
    pub(crate) unacked: BTreeMap<u64, Unacked>,
    pub(crate) consumers: BTreeMap<String, Consumer>,
    pub(crate) replies: Option<ReplyConsumer>,
    pub(crate) confirming: bool,
    pub(crate) transaction: Option<Transaction>,
    pub(super) published: Vec<Published>,
    pub(super) answered: usize,
}

/// A delivery that is not settled.
pub(crate) struct Unacked {
    pub(super) queue: &'static str,
    pub(super) instance: u64,
    pub(super) copy: Copy,
    pub(super) consumer: Option<String>,
}

impl Channel {
    /// Whether its consumers share a window.
    pub(crate) fn shares_window(&self) -> bool {
        self.global_prefetch > 0
    }

    /// Whether one of its consumers is of such a queue.
    pub(crate) fn consumes_from(&self, is_such: impl Fn(&Kind) -> bool) -> bool {
        self.consumers.values().any(|consumer| is_such(kind(consumer.queue)))
    }

    /// All that was delivered, a settlement that is held or not.
    pub(super) fn unsettled(&self) -> impl Iterator<Item = &Unacked> {
        let held = self.transaction.iter().flat_map(|it| &it.settlements);
        let held = held.flat_map(|it| it.deliveries.iter().map(|(_, unacked)| unacked));
        self.unacked.values().chain(held)
    }

    /// As [`unsettled`](Channel::unsettled), to change.
    pub(super) fn unsettled_mut(&mut self) -> impl Iterator<Item = &mut Unacked> {
        let held = self.transaction.iter_mut().flat_map(|it| &mut it.settlements);
        let held = held.flat_map(|it| it.deliveries.iter_mut().map(|(_, unacked)| unacked));
        self.unacked.values_mut().chain(held)
    }

    /// How many of its deliveries went to consumers.
    pub(super) fn unacked_of_consumers(&self) -> usize {
        self.unsettled().filter(|it| it.consumer.is_some()).count()
    }
}

impl Model {
    pub(super) fn channel(&mut self, at: At) -> &mut Channel {
        self.channels.get_mut(&at).expect("it is open")
    }

    /// What was delivered from a queue and is not settled.
    pub(super) fn unacked_of(&self, name: &str, instance: u64) -> impl Iterator<Item = &Copy> {
        let unacked = self.channels.values().flat_map(Channel::unsettled);
        let of_queue = unacked.filter(move |it| it.queue == name && it.instance == instance);
        of_queue.map(|it| &it.copy)
    }

    pub(crate) fn unacked_count(&self, name: &str, instance: u64) -> usize {
        self.unacked_of(name, instance).count()
    }

    pub(super) fn qos(&mut self, at: At, count: u16, global: bool) {
        let channel = self.channel(at);
        if global {
            channel.global_prefetch = count;
        } else {
            (channel.prefetch, channel.global_prefetch) = (count, 0);
        }
    }

    /// Nobody may settle what is not delivered, or settled already.
    pub(super) fn check_tag(&self, at: At, settlement: &Settlement) -> Result<(), u16> {
        let Settlement { tag, multiple, .. } = *settlement;
        let is_known = self.channels[&at].unacked.contains_key(&tag) || multiple && tag == 0;
        if is_known { Ok(()) } else { Err(PRECONDITION_FAILED) }
    }

    /// Takes what a settlement covers out of what is not settled.
    pub(super) fn take_covered(&mut self, at: At, settlement: &Settlement) -> Vec<(u64, Unacked)> {
        let Settlement { tag, multiple, .. } = *settlement;
        let unacked = &mut self.channel(at).unacked;
        let covered = |it: u64| it == tag || multiple && (tag == 0 || it < tag);
        unacked.extract_if(.., |it, _| covered(*it)).collect()
    }

    /// Settles deliveries; what can be delivered then is.
    pub(super) fn settle(&mut self, at: At, deliveries: Vec<(u64, Unacked)>, outcome: Outcome) {
        let requeued = self.settle_each(at, deliveries, outcome);
        self.keep_limits(&requeued);
        self.serve_all();
    }

    /// All deliveries of a channel, for which no settlement is held.
    pub(super) fn take_unacked(&mut self, at: At) -> Vec<(u64, Unacked)> {
        std::mem::take(&mut self.channel(at).unacked).into_iter().collect()
    }

    fn keep_limits(&mut self, requeued: &BTreeSet<&'static str>) {
        for queue in requeued {
            self.keep_limit(queue);
        }
    }

    /// Settles deliveries; says to which queues some came back.
    fn settle_each(
        &mut self,
        at: At,
        deliveries: Vec<(u64, Unacked)>,
        outcome: Outcome,
    ) -> BTreeSet<&'static str> {
        let mut requeued = BTreeSet::new();
        let consumers = &mut self.channel(at).consumers;
        for tag in deliveries.iter().filter_map(|(_, unacked)| unacked.consumer.as_ref()) {
            // A consumer that was cancelled has no window any more.
            if let Some(consumer) = consumers.get_mut(tag) {
                consumer.unacked -= 1;
            }
        }
        for (_, unacked) in deliveries {
            let queue = self.queues.get_mut(unacked.queue);
            let Some(queue) = queue.filter(|it| it.instance == unacked.instance) else { continue };
            match outcome {
                Outcome::Done => {}
                Outcome::Refused => self.dead_letter(unacked.queue, &unacked.copy, "rejected"),
                Outcome::Requeued | Outcome::LeftBehind => {
                    match queue.put_back(unacked.copy, outcome == Outcome::Requeued) {
                        Ok(copy) => self.entered.entry(unacked.queue).or_default().push(copy),
                        Err(copy) => self.dead_letter(unacked.queue, &copy, "delivery_limit"),
                    }
                    requeued.insert(unacked.queue);
                }
            }
        }
        requeued
    }

    pub(super) fn close_channel(&mut self, at: At) {
        self.cancel_all(at);
        // One that is not transactional has nothing to roll back.
        _ = self.rollback(at);
        let unacked = self.take_unacked(at);
        self.settle(at, unacked, Outcome::LeftBehind);
        let channel = self.channels.remove(&at);
        self.leaving.extend(channel.map(|channel| (at, channel)));
    }

    fn cancel_all(&mut self, at: At) {
        for consumer in std::mem::take(&mut self.channel(at).consumers).into_values() {
            self.consumer_gone(consumer.queue);
        }
    }

    /// All consumers go before any delivery comes back, and all deliveries come back before any is
    /// sent again.
    pub(super) fn close_client(&mut self, client: u64) {
        let channels: Vec<At> = self.channels.keys().filter(|at| at.0 == client).copied().collect();
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
            _ = self.rollback(at);
            let unacked = self.take_unacked(at);
            requeued.extend(self.settle_each(at, unacked, Outcome::LeftBehind));
            self.channels.remove(&at);
        }
        self.keep_limits(&requeued);
        self.clients.remove(&client);
    }
}
