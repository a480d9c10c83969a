//! Subscriptions: basic.consume, basic.cancel, basic.qos.

use leveret_codec::method::basic;

use super::Vhost;
use super::reply_to::is_reply_to;
use super::sessions::ChannelRef;
use crate::broker::access::Permission;
use crate::broker::arguments::ConsumeArguments;
use crate::broker::channel::ChannelState;
use crate::broker::consumer::Consumer;
use crate::broker::error::{Checked, Fault};
use crate::broker::ids::{ChannelId, ConsumerId, QueueId};
use crate::broker::names;

impl Vhost {
    pub(super) fn qos(&mut self, via: ChannelRef, qos: basic::Qos) -> Checked<()> {
        if qos.prefetch_size != 0 {
            let size = qos.prefetch_size;
            return Err(Fault::not_implemented(format!("prefetch_size!=0 ({size})")));
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
        self.resume_channel(via.channel);
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
        let queue_type =
            self.queues.get(id).map(|queue| queue.arguments.queue_type).unwrap_or_default();
        let arguments =
            ConsumeArguments::parse(name.as_bytes(), &self.name, queue_type, consume.arguments)?;
        self.check_exclusive_use(id, consume.exclusive)?;
        self.check_global_window(id, via)?;

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
            waiting: false,
        });
        let Some(consumer) = consumer else { return Ok(()) };
        if let Some(queue) = self.queues.get_mut(id) {
            let single = queue.arguments.single_active_consumer;
            let exclusive = consume.exclusive && !queue.is_quorum();
            queue.consumers.subscribe(consumer, arguments.priority, exclusive, single);
        }
        if !consume.nowait {
            let ok = basic::ConsumeOk { consumer_tag: tag.as_short() };
            self.sessions.reply(via.connection, via.number, &ok);
        }
        if let Some(queue) = self.resume(consumer) {
            self.dispatch(queue);
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
            let phrase = names::queue_phrase(queue.name.as_bytes(), &self.name);
            return Err(Fault::access_refused(format!("{phrase} in exclusive use")));
        }
        Ok(())
    }

    /// rabbitmq: quorum queues know no window that consumers share.
    fn check_global_window(&self, id: QueueId, via: ChannelRef) -> Checked<()> {
        let shared = self.sessions.channel(via.channel).is_some_and(|it| it.global_prefetch > 0);
        match self.queues.get(id) {
            Some(queue) if shared && queue.is_quorum() => {
                let phrase = names::queue_phrase(queue.name.as_bytes(), &self.name);
                Err(Fault::not_implemented(format!("{phrase} does not support global qos")))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn cancel(&mut self, via: ChannelRef, cancel: &basic::Cancel<'_>) -> Checked<()> {
        let tag = cancel.consumer_tag;
        self.cancel_replies(via.channel, Some(tag));
        let consumer = self
            .sessions
            .channel_mut(via.channel)
            .and_then(|channel| channel.consumers.remove(tag.as_bytes()));
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

    /// Ends all subscriptions of channels that end.
    ///
    /// why: the channels are closed before, so that none of their consumers takes the place of
    /// another and is served.
    pub(super) fn cancel_all(&mut self, channels: &[ChannelId]) {
        for &id in channels {
            if let Some(channel) = self.sessions.channel_mut(id) {
                channel.state = ChannelState::Closing;
            }
        }
        for &id in channels {
            self.cancel_replies(id, None);
            let Some(channel) = self.sessions.channel_mut(id) else { continue };
            for consumer in std::mem::take(&mut channel.consumers).into_values() {
                self.unsubscribe(consumer);
            }
        }
    }

    /// Ends a subscription that its channel has forgotten. Its deliveries stay to be acknowledged.
    fn unsubscribe(&mut self, id: ConsumerId) {
        let Some(consumer) = self.sessions.remove_consumer(id) else { return };
        let Some(queue) = self.queues.get_mut(consumer.queue) else { return };
        let successor = queue.consumers.unsubscribe(id);
        let last = queue.consumers.is_empty();
        if last && queue.auto_delete {
            self.delete_queue(consumer.queue);
            return;
        }
        if last {
            self.note_used(consumer.queue);
        }
        if let Some(queue) = successor.and_then(|successor| self.resume(successor)) {
            self.dispatch(queue);
        }
    }

    /// The windows of a channel, or its connection's outbox, may have room again.
    pub(super) fn resume_channel(&mut self, id: ChannelId) {
        let Some(channel) = self.sessions.channel(id) else { return };
        let consumers: Vec<_> = channel.consumers.values().copied().collect();
        for consumer in consumers {
            if let Some(queue) = self.resume(consumer) {
                self.dispatch(queue);
            }
        }
    }
}
