//! The class `tx`.

use leveret_codec::method::tx;
use leveret_codec::{ReplyCode, ShortString};

use super::Vhost;
use super::sessions::ChannelRef;
use super::settle::without_tags;
use crate::broker::error::{Checked, Fault};
use crate::broker::ids::{ChannelId, ExchangeId, QueueId};
use crate::broker::message::Message;
use crate::broker::transaction::{HeldPublish, Transaction};

impl Vhost {
    pub(super) fn tx_select(&mut self, via: ChannelRef) -> Checked<()> {
        let Some(channel) = self.sessions.channel_mut(via.channel) else { return Ok(()) };
        if channel.confirms.is_some() {
            return Err(Fault::precondition_failed("cannot switch from confirm to tx mode"));
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
            transaction.publishes.push(publish);
        }
    }

    /// Publishes first, then settlements, as they came.
    pub(super) fn tx_commit(&mut self, via: ChannelRef) -> Checked<()> {
        let held = std::mem::take(self.transaction(via)?);
        let before = self.journal.last();
        let mut accepted = true;
        for publish in held.publishes {
            self.memory.release(publish.weight());
            accepted &= self.commit_publish(via, publish);
        }
        self.process_dead_letters();
        // rabbitmq: the answer comes before what the settlements set going; what was published must
        // be safe before it is given.
        if accepted && self.journal.last() > before {
            let committing = Some(self.journal.last());
            self.transaction(via)?.committing = committing;
            self.journal.list_committing(via.channel);
            self.journal.note_awaited();
        } else if accepted {
            self.sessions.reply(via.connection, via.number, &tx::CommitOk {});
        }
        for settlement in held.settlements {
            let deliveries = without_tags(settlement.deliveries);
            self.settle_all(via.channel, deliveries, settlement.outcome);
        }
        if accepted { Ok(()) } else { Err(Fault::precondition_failed("partial tx completion")) }
    }

    fn commit_publish(&mut self, via: ChannelRef, publish: HeldPublish) -> bool {
        let names = publish.queues.iter();
        let mut queues: Vec<QueueId> =
            names.filter_map(|name| self.queues.find(name.as_bytes())).collect();
        queues.sort_unstable();
        queues.dedup();
        let HeldPublish { message, mandatory, expiration_ms, delayed_by, .. } = publish;
        self.count_publish(via);
        self.pass_on(via, mandatory, message, delayed_by, expiration_ms, &queues)
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
        self.memory.release(publishes.iter().map(HeldPublish::weight).sum::<u64>());
        let settlements = std::mem::take(&mut transaction.settlements);
        if !settlements.is_empty() {
            let deliveries = settlements.into_iter().flat_map(|settlement| settlement.deliveries);
            channel.unacked.put_back(deliveries);
        }
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
                    let fault = Fault::precondition_failed("partial tx completion");
                    self.close_channel(via, &fault, 90, 20);
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
            let text = "unexpected command while processing 'tx.commit'";
            return Err(Fault::new(ReplyCode::ChannelError, text));
        }
        Ok(())
    }

    fn transaction(&mut self, via: ChannelRef) -> Checked<&mut Transaction> {
        let channel = self.sessions.channel_mut(via.channel);
        channel
            .and_then(|channel| channel.transaction.as_mut())
            .ok_or_else(|| Fault::precondition_failed("channel is not transactional"))
    }
}
