//! The class tx: what is held back until the commit.

use std::collections::VecDeque;

use super::channels::Unacked;
use super::confirms::KeptIn;
use super::{At, Model, Outcome, PRECONDITION_FAILED, Publish, Reply, Routed, Settlement};

/// What a transactional channel holds back.
#[derive(Default)]
pub(crate) struct Transaction {
    publishes: Vec<HeldPublish>,
    pub(super) settlements: VecDeque<HeldSettlement>,
    /// What was committed and is not answered.
    committing: Option<Vec<(String, Vec<KeptIn>)>>,
}

/// A publish and the queues it goes to, as far as they are there when it is committed.
struct HeldPublish {
    publish: Publish,
    queues: Vec<String>,
    delayed_by: Vec<KeptIn>,
}

pub(super) struct HeldSettlement {
    pub(super) deliveries: Vec<(u64, Unacked)>,
    outcome: Outcome,
}

impl Transaction {
    /// Whether its client waits for the answer to a commit.
    pub(crate) fn is_committing(&self) -> bool {
        self.committing.is_some()
    }
}

impl Model {
    pub(super) fn select_transactions(&mut self, at: At) -> Result<(), u16> {
        let channel = self.channel(at);
        if channel.confirming {
            return Err(PRECONDITION_FAILED);
        }
        channel.transaction.get_or_insert_default();
        Ok(())
    }

    fn transaction(&mut self, at: At) -> Result<&mut Transaction, u16> {
        self.channel(at).transaction.as_mut().ok_or(PRECONDITION_FAILED)
    }

    /// Keeps a publish until the commit.
    ///
    /// rabbitmq: bindings count as they are now; the default exchange binds all names there will be.
    pub(super) fn hold_publish(&mut self, at: At, publish: &Publish) {
        let content = &publish.content;
        let Routed { queues, delayed_by } = self.route(content);
        let queues = if content.exchange.is_empty() {
            content.keys().map(str::to_owned).collect()
        } else {
            queues.into_iter().map(str::to_owned).collect()
        };
        let held = HeldPublish { publish: publish.clone(), queues, delayed_by };
        self.transaction(at).expect("it is transactional").publishes.push(held);
    }

    /// Keeps a settlement until the commit: what it covers cannot be settled again.
    pub(super) fn hold_settlement(&mut self, at: At, settlement: &Settlement) {
        let deliveries = self.take_covered(at, settlement);
        let held = HeldSettlement { deliveries, outcome: settlement.outcome };
        self.transaction(at).expect("it is transactional").settlements.push_back(held);
    }

    /// Publishes first, then settlements, each as if it came now.
    pub(super) fn commit(&mut self, at: At) -> Result<(), u16> {
        let publishes = std::mem::take(&mut self.transaction(at)?.publishes);
        let mut accepted = true;
        let mut committed = Vec::new();
        for HeldPublish { publish, queues, delayed_by } in publishes {
            let there = self.queues.keys().copied();
            let there = there.filter(|name| queues.iter().any(|it| it == name)).collect();
            let routed = Routed { queues: there, delayed_by };
            let (taken, kept_in) = self.put(at, &publish, &routed);
            accepted &= taken;
            committed.push((publish.content.body.clone(), kept_in));
        }
        // What is not settled yet counts in the windows.
        self.note_full();
        while let Some(held) = self.transaction(at)?.settlements.pop_front() {
            self.settle(at, held.deliveries, held.outcome);
            self.note_full();
        }
        if !accepted {
            return Err(PRECONDITION_FAILED);
        }
        self.transaction(at)?.committing = Some(committed);
        Ok(())
    }

    pub(super) fn rollback(&mut self, at: At) -> Result<(), u16> {
        let Transaction { settlements, .. } = std::mem::take(self.transaction(at)?);
        let held = settlements.into_iter().flat_map(|held| held.deliveries);
        self.channel(at).unacked.extend(held);
        Ok(())
    }

    /// Checks the answer to a commit.
    pub(crate) fn check_committed(&mut self, at: At, is_written: impl Fn(&str) -> bool) {
        let transaction = self.transaction(at).expect("a commit was sent");
        let committed = transaction.committing.take().expect("a commit was sent");
        for (body, kept_in) in &committed {
            let safe = is_written(body) || !self.holds_any(body, kept_in);
            assert!(safe, "{body} was committed before it was written");
        }
    }

    /// The store has failed: what was committed and is not answered never will be safe.
    pub(super) fn fail_commits(&mut self) -> Vec<(At, Reply)> {
        let is_committing = |at: &At| {
            self.channels[at].transaction.as_ref().is_some_and(Transaction::is_committing)
        };
        let failed: Vec<At> = self.channels.keys().copied().filter(is_committing).collect();
        for at in &failed {
            self.close_channel(*at);
        }
        failed.into_iter().map(|at| (at, Reply::ChannelClosed(PRECONDITION_FAILED))).collect()
    }
}
