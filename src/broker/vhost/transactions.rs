//! The class `tx`.

use leveret_codec::ShortString;
use leveret_codec::method::tx;

use super::Vhost;
use super::sessions::ChannelRef;
use super::work::Task;
use crate::broker::error::{AtFault, Checked, Fault};
use crate::broker::ids::{ChannelId, ExchangeId};
use crate::broker::message::Message;
use crate::broker::transaction::{HeldPublish, Transaction};

/// How many names of queues that a publish goes to are kept in a step.
const NAMES_A_STEP: usize = 8;

impl Vhost {
    pub(super) fn tx_select(&mut self, via: ChannelRef) -> Checked<()> {
        let Some(channel) = self.sessions.channel_mut(via.channel) else { return Ok(()) };
        if channel.confirms.is_some() {
            return Err(Fault::ConfirmToTx.into());
        }
        channel.transaction.get_or_insert_with(Transaction::default);
        self.sessions.reply(via.connection, via.number, &tx::SelectOk {});
        Ok(())
    }

    pub(super) fn is_transactional(&self, via: ChannelRef) -> bool {
        self.sessions.channel(via.channel).is_some_and(|channel| channel.transaction.is_some())
    }

    /// Keeps a publish until the commit.
    ///
    /// rabbitmq: bindings count as they are now, queues as they are at the commit; the default
    /// exchange binds every name there ever will be.
    pub(super) fn hold_publish(
        &mut self,
        via: ChannelRef,
        mandatory: bool,
        message: Message,
        delayed_by: Vec<(ExchangeId, Message)>,
        expiration_ms: Option<u64>,
        copies: &[ShortString],
    ) {
        let queues = if message.exchange().is_empty() {
            let mut names = vec![ShortString::from(message.routing_key())];
            names.extend_from_slice(copies);
            names
        } else {
            let queues = self.batch.routes.queues.iter().filter_map(|id| self.queues.get(*id));
            queues.map(|queue| queue.name.clone()).collect()
        };
        let transaction =
            self.sessions.channel_mut(via.channel).and_then(|channel| channel.transaction.as_mut());
        if let Some(transaction) = transaction {
            let publish = HeldPublish { message, mandatory, expiration_ms, queues, delayed_by };
            self.memory.hold(publish.weight());
            self.work.take(publish.queues.len() / NAMES_A_STEP);
            transaction.publishes.push(publish);
        }
    }

    /// rabbitmq: held publishes are forgotten, held settlements too; the deliveries may be settled
    /// again.
    pub(super) fn tx_rollback(&mut self, via: ChannelRef) -> Checked<()> {
        self.transaction(via)?;
        self.drop_transaction(via.channel);
        self.sessions.reply(via.connection, via.number, &tx::RollbackOk {});
        Ok(())
    }

    /// Forgets held publishes and makes the deliveries whose settlement was held unacknowledged again.
    pub(super) fn drop_transaction(&mut self, id: ChannelId) {
        let Some(channel) = self.sessions.channel_mut(id) else { return };
        let Some(transaction) = &mut channel.transaction else { return };
        let publishes = std::mem::take(&mut transaction.publishes);
        let settlements = std::mem::take(&mut transaction.settlements);
        self.work.take(settlements.len());
        // why: the last first, so that each goes before those that are there already.
        for settlement in settlements.into_iter().rev() {
            channel.unacked.put_back(settlement.deliveries);
        }
        if !publishes.is_empty() {
            self.start(Task::Forget(publishes), None);
        }
    }

    /// Frees publishes that were held, as far as the steps reach; gives back the rest.
    pub(super) fn forget_on(
        &mut self,
        mut publishes: Vec<HeldPublish>,
    ) -> Option<Vec<HeldPublish>> {
        while !self.work.is_exhausted() {
            let publish = publishes.pop()?;
            self.memory.release(publish.weight());
            self.work.take(1);
        }
        (!publishes.is_empty()).then_some(publishes)
    }

    /// Answers the commits that a sync has made safe; those that never will be are refused.
    pub(super) fn answer_commits(&mut self) {
        for id in self.journal.take_committing() {
            let Some(channel) = self.sessions.channel_mut(id) else { continue };
            let via =
                ChannelRef { connection: channel.connection, channel: id, number: channel.number };
            let Some(transaction) = &mut channel.transaction else { continue };
            match transaction.committing {
                Some(lsn) if lsn <= self.journal.synced() => {
                    transaction.committing = None;
                    self.sessions.reply(via.connection, via.number, &tx::CommitOk {});
                }
                Some(_) if self.journal.has_failed() => {
                    self.close_channel(via, AtFault::new(Fault::PartialCommit, (90, 20)));
                }
                Some(_) => self.journal.list_committing(id),
                None => {}
            }
        }
    }

    /// rabbitmq: a client waits for the answer to its commit before it says anything else.
    pub(super) fn check_not_committing(&self, via: ChannelRef) -> Checked<()> {
        let transaction =
            self.sessions.channel(via.channel).and_then(|channel| channel.transaction.as_ref());
        if transaction.is_some_and(|transaction| transaction.committing.is_some()) {
            return Err(Fault::CommitPending.into());
        }
        Ok(())
    }

    pub(super) fn transaction(&mut self, via: ChannelRef) -> Checked<&mut Transaction> {
        let channel = self.sessions.channel_mut(via.channel);
        channel
            .and_then(|channel| channel.transaction.as_mut())
            .ok_or_else(|| Fault::NotTransactional.into())
    }
}
