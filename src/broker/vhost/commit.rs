//! tx.commit, in steps.
//!
//! why held: a commit is one. What it needs more than one hold for becomes visible when all of it is there.

use leveret_codec::method::tx;

use super::Vhost;
use super::fan_out::{FanOut, Then};
use super::sessions::ChannelRef;
use super::settle::{HeldQueues, Settlement};
use super::work::Task;
use crate::broker::error::{AtFault, Checked, Fault};
use crate::broker::ids::{ChannelId, Lsn, QueueId};
use crate::broker::limits;
use crate::broker::transaction::{HeldPublish, HeldSettlement, Transaction};
use crate::broker::unacked::UnackedList;

/// A transaction that is committed.
#[derive(Debug)]
pub(super) struct Commit {
    via: ChannelRef,
    publishes: std::vec::IntoIter<HeldPublish>,
    /// The publish at hand, when it goes to many queues.
    fan_out: Option<FanOut>,
    settlements: std::vec::IntoIter<HeldSettlement>,
    settling: Option<Settlement>,
    accepted: bool,
    /// The last record that speaks of it.
    record: Option<Lsn>,
    is_answered: bool,
    /// The queues that got messages of it, if it takes more than one hold.
    held: Option<HeldQueues>,
}

impl Commit {
    /// The deliveries that are not settled yet, and their channel.
    pub(super) fn deliveries(&self) -> Vec<(ChannelId, &UnackedList)> {
        let channel = self.via.channel;
        let held = self.settlements.as_slice().iter().map(|it| (channel, &it.deliveries));
        held.chain(self.settling.as_ref().map(Settlement::deliveries)).collect()
    }

    /// What the publishes weigh that are not published yet, in bytes.
    pub(super) fn weight(&self) -> u64 {
        self.publishes.as_slice().iter().map(HeldPublish::weight).sum()
    }
}

impl Vhost {
    /// Publishes first, then settlements, as they came.
    pub(super) fn tx_commit(&mut self, via: ChannelRef) -> Checked<()> {
        let Transaction { publishes, settlements, .. } = std::mem::take(self.transaction(via)?);
        let copies: usize = publishes.iter().map(|publish| publish.queues.len()).sum();
        let settled: usize = settlements.iter().map(|it| it.deliveries.len()).sum();
        let steps = publishes.len() + copies + settled;
        let is_long = steps > self.work.left().min(limits::AT_ONCE);
        let commit = Commit {
            via,
            publishes: publishes.into_iter(),
            fan_out: None,
            settlements: settlements.into_iter(),
            settling: None,
            accepted: true,
            record: None,
            is_answered: false,
            held: is_long.then(HeldQueues::default),
        };
        self.start(Task::Commit(Box::new(commit)), Some(via.connection));
        Ok(())
    }

    /// Goes on with a commit as far as the steps reach; gives back the rest.
    pub(super) fn commit_on(&mut self, mut commit: Box<Commit>) -> Option<Box<Commit>> {
        let via = commit.via;
        loop {
            // A short one is done as a whole, whatever else there was in this hold.
            if commit.held.is_some() && self.work.is_exhausted() {
                return Some(commit);
            }
            if let Some(fan_out) = commit.fan_out.take() {
                self.commit_fan_out(&mut commit, fan_out);
            } else if let Some(publish) = commit.publishes.next() {
                self.work.take(1);
                self.commit_publish(&mut commit, publish);
            } else if !commit.is_answered {
                self.answer_commit(&mut commit);
            } else if let Some(settlement) = commit.settling.take() {
                commit.settling = self.settle_on(settlement);
            } else if let Some(settlement) = commit.settlements.next() {
                let HeldSettlement { deliveries, outcome } = settlement;
                commit.settling = Some(Settlement::new(via.channel, deliveries, outcome));
            } else {
                break;
            }
        }
        if let Some(held) = &mut commit.held {
            for queue in self.release_held(held) {
                self.evaluate(queue);
            }
        }
        if !commit.accepted {
            self.close_channel(via, AtFault::new(Fault::PartialCommit, COMMIT));
        }
        None
    }

    fn commit_publish(&mut self, commit: &mut Commit, publish: HeldPublish) {
        self.memory.release(publish.weight());
        let names = publish.queues.iter();
        let mut queues: Vec<QueueId> =
            names.filter_map(|name| self.queues.find(name.as_bytes())).collect();
        queues.sort_unstable();
        queues.dedup();
        let HeldPublish { message, mandatory, expiration_ms, delayed_by, .. } = publish;
        self.count_publish(commit.via);
        if let Some(held) = &mut commit.held {
            self.hold(held, queues.iter().copied());
        }
        let before = self.journal.last();
        let via = commit.via;
        if queues.len() > limits::AT_ONCE {
            for (exchange, whole) in delayed_by {
                commit.accepted &= self.delay(exchange, &whole);
            }
            let then = Then::Release(None);
            commit.fan_out = Some(FanOut::new(message, expiration_ms, queues, then));
        } else {
            commit.accepted &=
                self.pass_on(via, mandatory, message, delayed_by, expiration_ms, &queues);
        }
        commit.record = self.journal.since(before).or(commit.record);
    }

    fn commit_fan_out(&mut self, commit: &mut Commit, mut fan_out: FanOut) {
        if !self.fan_out_on(&mut fan_out) {
            commit.fan_out = Some(fan_out);
            return;
        }
        commit.accepted &= fan_out.is_accepted();
        commit.record = fan_out.record().or(commit.record);
    }

    /// rabbitmq: the answer comes before what the settlements set going; what was published must
    /// be safe before it is given.
    fn answer_commit(&mut self, commit: &mut Commit) {
        let via = commit.via;
        commit.is_answered = true;
        self.process_dead_letters();
        if !commit.accepted {
            return;
        }
        match commit.record {
            Some(record) if record > self.journal.synced() => {
                let Ok(transaction) = self.transaction(via) else { return };
                transaction.committing = Some(record);
                self.journal.list_committing(via.channel);
                self.journal.note_awaited();
            }
            _ => self.sessions.reply(via.connection, via.number, &tx::CommitOk {}),
        }
    }
}

/// Class and method of tx.commit.
const COMMIT: (u16, u16) = (90, 20);
