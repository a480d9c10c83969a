//! The class `tx`.

use leveret_codec::method::tx;
use leveret_codec::{ReplyCode, ShortString};

use super::Vhost;
use super::client::Via;
use super::settle::without_tags;
use crate::broker::channel::ChannelId;
use crate::broker::error::{Checked, Fault};
use crate::broker::exchange::ExchangeId;
use crate::broker::message::Message;
use crate::broker::queue::QueueId;
use crate::broker::transaction::{HeldPublish, Transaction};

impl Vhost {
    pub(super) fn tx_select(&mut self, via: Via) -> Checked<()> {
        let Some(channel) = self.channels.get_mut(via.channel) else { return Ok(()) };
        if channel.confirms.is_some() {
            return Err(Fault::precondition_failed("cannot switch from confirm to tx mode"));
        }
        channel.transaction.get_or_insert_with(Transaction::default);
        self.reply(via.connection, via.number, &tx::SelectOk {});
        Ok(())
    }

    pub(super) fn is_transactional(&self, via: Via) -> bool {
        self.channels.get(via.channel).is_some_and(|channel| channel.transaction.is_some())
    }

    /// Keeps a publish until the commit.
    ///
    /// rabbitmq: bindings count as they are now, queues as they are at the commit; the default
    /// exchange binds every name there ever will be.
    pub(super) fn hold_publish(
        &mut self,
        via: Via,
        mandatory: bool,
        message: Message,
        holders: Vec<(ExchangeId, Message)>,
        expiration_ms: Option<u64>,
        copies: &[ShortString],
    ) {
        let queues = if message.exchange().is_empty() {
            let mut names = vec![ShortString::from(message.routing_key())];
            names.extend_from_slice(copies);
            names
        } else {
            let queues = self.routes.queues.iter().filter_map(|id| self.queues.get(*id));
            queues.map(|queue| queue.name.clone()).collect()
        };
        let transaction =
            self.channels.get_mut(via.channel).and_then(|channel| channel.transaction.as_mut());
        if let Some(transaction) = transaction {
            let publish = HeldPublish { message, mandatory, expiration_ms, queues, holders };
            self.held_back += publish.weight();
            transaction.publishes.push(publish);
        }
    }

    /// Publishes first, then settlements, as they came.
    pub(super) fn tx_commit(&mut self, via: Via) -> Checked<()> {
        let held = std::mem::take(self.transaction(via)?);
        let before = self.last_lsn;
        let mut accepted = true;
        for publish in held.publishes {
            self.held_back -= publish.weight();
            accepted &= self.commit_publish(via, publish);
        }
        self.work_off();
        // rabbitmq: the answer comes before what the settlements set going; what was published must
        // be safe before it is given.
        if accepted && self.last_lsn > before {
            let committing = Some(self.last_lsn);
            self.transaction(via)?.committing = committing;
            self.committing.push(via.channel);
            self.awaited += 1;
        } else if accepted {
            self.reply(via.connection, via.number, &tx::CommitOk {});
        }
        for settlement in held.settlements {
            let deliveries = without_tags(settlement.deliveries);
            self.settle_all(via.channel, deliveries, settlement.outcome);
        }
        if accepted { Ok(()) } else { Err(Fault::precondition_failed("partial tx completion")) }
    }

    fn commit_publish(&mut self, via: Via, publish: HeldPublish) -> bool {
        let names = publish.queues.iter();
        let mut queues: Vec<QueueId> =
            names.filter_map(|name| self.queue_names.get(name.as_bytes()).copied()).collect();
        queues.sort_unstable();
        queues.dedup();
        let HeldPublish { message, mandatory, expiration_ms, holders, .. } = publish;
        self.count_publish(via);
        self.pass_on(via, mandatory, message, holders, expiration_ms, &queues)
    }

    /// rabbitmq: held publishes are forgotten, held settlements too; the deliveries may be settled
    /// again.
    pub(super) fn tx_rollback(&mut self, via: Via) -> Checked<()> {
        self.transaction(via)?;
        self.drop_transaction(via.channel);
        self.reply(via.connection, via.number, &tx::RollbackOk {});
        Ok(())
    }

    /// Forgets held publishes and makes the deliveries whose settlement was held unacknowledged again.
    pub(super) fn drop_transaction(&mut self, id: ChannelId) {
        let Some(channel) = self.channels.get_mut(id) else { return };
        let Some(transaction) = &mut channel.transaction else { return };
        let publishes = std::mem::take(&mut transaction.publishes);
        self.held_back -= publishes.iter().map(HeldPublish::weight).sum::<u64>();
        let settlements = std::mem::take(&mut transaction.settlements);
        if !settlements.is_empty() {
            let deliveries = settlements.into_iter().flat_map(|settlement| settlement.deliveries);
            channel.unacked.put_back(deliveries);
        }
    }

    /// Answers the commits that a sync has made safe; those that never will be are refused.
    pub(super) fn answer_commits(&mut self) {
        for id in std::mem::take(&mut self.committing) {
            let Some(channel) = self.channels.get_mut(id) else { continue };
            let via = Via { connection: channel.connection, channel: id, number: channel.number };
            let Some(transaction) = &mut channel.transaction else { continue };
            match transaction.committing {
                Some(lsn) if lsn <= self.synced => {
                    transaction.committing = None;
                    self.reply(via.connection, via.number, &tx::CommitOk {});
                }
                Some(_) if self.store_failed => {
                    let fault = Fault::precondition_failed("partial tx completion");
                    self.close_channel(via, &fault, 90, 20);
                }
                Some(_) => self.committing.push(id),
                None => {}
            }
        }
    }

    /// rabbitmq: a client waits for the answer to its commit before it says anything else.
    pub(super) fn check_not_committing(&self, via: Via) -> Checked<()> {
        let transaction =
            self.channels.get(via.channel).and_then(|channel| channel.transaction.as_ref());
        if transaction.is_some_and(|transaction| transaction.committing.is_some()) {
            let text = "unexpected command while processing 'tx.commit'";
            return Err(Fault::new(ReplyCode::ChannelError, text));
        }
        Ok(())
    }

    fn transaction(&mut self, via: Via) -> Checked<&mut Transaction> {
        let channel = self.channels.get_mut(via.channel);
        channel
            .and_then(|channel| channel.transaction.as_mut())
            .ok_or_else(|| Fault::precondition_failed("channel is not transactional"))
    }
}
