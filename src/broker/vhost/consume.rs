//! Subscriptions: basic.consume, basic.cancel, basic.qos.

use leveret_codec::method::basic;

use super::Vhost;
use super::reply_to::is_reply_to;
use super::sessions::ChannelRef;
use super::work::Task;
use crate::broker::access::Permission;
use crate::broker::arguments::ConsumeArguments;
use crate::broker::consumer::{Consumer, Member, Standing};
use crate::broker::error::{Checked, Fault, Resource};
use crate::broker::ids::{ConsumerId, QueueId};

impl Vhost {
    pub(super) fn qos(&mut self, via: ChannelRef, qos: basic::Qos) -> Checked<()> {
        if qos.prefetch_size != 0 {
            return Err(Fault::PrefetchSize(qos.prefetch_size).into());
        }
        if let Some(channel) = self.sessions.channel_mut(via.channel) {
            // rabbitmq: global false is for consumers to come, each with its own window; it also
            // ends a window that consumers share.
            if qos.global {
                channel.global_prefetch = qos.prefetch_count;
            } else {
                channel.prefetch = qos.prefetch_count;
                channel.global_prefetch = 0;
            }
        }
        self.sessions.reply(via.connection, via.number, &basic::QosOk {});
        self.start(Task::ResumeChannel(via.channel), None);
        Ok(())
    }

    pub(super) fn consume(&mut self, via: ChannelRef, consume: &basic::Consume<'_>) -> Checked<()> {
        let tag = consume.consumer_tag;
        self.check_tag_is_free(via, tag)?;
        let name = self.queue_name(via, consume.queue)?;
        if is_reply_to(name.as_bytes()) {
            return self.consume_replies(via, consume);
        }
        self.may_with_queue(via, Permission::Read, &name)?;
        let id = self.existing_queue(&name)?;
        self.check_access(id, via)?;
        let of = Resource::queue(&name, &self.name);
        let queue_type =
            self.queues.get(id).map(|queue| queue.arguments.queue_type).unwrap_or_default();
        let arguments = ConsumeArguments::parse(&of, queue_type, consume.arguments)?;
        self.check_exclusive_use(id, consume.exclusive)?;
        self.check_global_window(id, via)?;
        self.check_consumer_limit(via)?;
        self.check_may_define(consume.arguments)?;

        let tag = if tag.is_empty() { self.make_up_name("amq.ctag-") } else { tag.into() };
        let prefetch = self.sessions.channel(via.channel).map_or(0, |channel| channel.prefetch);
        let consumer = self.sessions.insert_consumer(Consumer {
            tag: tag.clone(),
            connection: via.connection,
            channel: via.channel,
            queue: id,
            no_ack: consume.no_ack,
            exclusive: consume.exclusive,
            priority: arguments.priority,
            arguments: consume.arguments.to_owned_table(),
            prefetch,
            unacknowledged: 0,
            standing: Standing::Idle,
            member: Member::default(),
        });
        let Some(consumer) = consumer else { return Ok(()) };
        if let Some(queue) = self.queues.get_mut(id) {
            let single = queue.arguments.single_active_consumer;
            let exclusive = consume.exclusive && !queue.is_quorum();
            let member = queue.consumers.subscribe(consumer, arguments.priority, exclusive, single);
            if let Some(consumer) = self.sessions.consumer_mut(consumer) {
                consumer.member = member;
            }
        }
        if !consume.nowait {
            let ok = basic::ConsumeOk { consumer_tag: tag.as_short() };
            self.sessions.reply(via.connection, via.number, &ok);
        }
        if let Some(queue) = self.resume(consumer) {
            self.evaluate(queue);
        }
        Ok(())
    }

    fn check_exclusive_use(&self, id: QueueId, exclusive: bool) -> Checked<()> {
        let Some(queue) = self.queues.get(id) else { return Ok(()) };
        let consumers = &queue.consumers;
        let single = queue.arguments.single_active_consumer;
        // rabbitmq: quorum queues take the flag and do not enforce it.
        if queue.is_quorum() {
            return Ok(());
        }
        if consumers.exclusive().is_some() || (exclusive && (single || !consumers.is_empty())) {
            return Err(Fault::ExclusiveUse(Resource::queue(&queue.name, &self.name)).into());
        }
        Ok(())
    }

    /// rabbitmq: quorum queues know no window that consumers share.
    fn check_global_window(&self, id: QueueId, via: ChannelRef) -> Checked<()> {
        let shared = self.sessions.channel(via.channel).is_some_and(|it| it.global_prefetch > 0);
        match self.queues.get(id) {
            Some(queue) if shared && queue.is_quorum() => {
                Err(Fault::GlobalPrefetch(Resource::queue(&queue.name, &self.name)).into())
            }
            _ => Ok(()),
        }
    }

    pub(super) fn cancel(&mut self, via: ChannelRef, cancel: &basic::Cancel<'_>) -> Checked<()> {
        let tag = cancel.consumer_tag;
        // rabbitmq: the consumer of replies alone, if another one has its tag too.
        let replies = self.cancel_replies(via.channel, Some(tag));
        let channel = self.sessions.channel(via.channel).filter(|_| !replies);
        let consumer = channel.and_then(|it| it.consumers.get(tag.as_bytes()).copied());
        // rabbitmq: a tag that nobody has is cancelled all the same.
        if !cancel.nowait {
            let ok = basic::CancelOk { consumer_tag: tag };
            self.sessions.reply(via.connection, via.number, &ok);
        }
        if let Some(consumer) = consumer {
            self.unsubscribe(consumer);
        }
        Ok(())
    }

    /// Ends a subscription. Its deliveries stay to be acknowledged.
    pub(super) fn unsubscribe(&mut self, id: ConsumerId) {
        let Some(consumer) = self.sessions.remove_consumer(id) else { return };
        let Some(queue) = self.queues.get_mut(consumer.queue) else { return };
        let successor = queue.consumers.unsubscribe(id, &consumer);
        let last = queue.consumers.is_empty();
        if last && queue.auto_delete {
            self.delete_queue(consumer.queue);
            return;
        }
        if last {
            self.note_used(consumer.queue);
        }
        if let Some(queue) = successor.and_then(|successor| self.resume(successor)) {
            self.evaluate(queue);
        }
    }
}
