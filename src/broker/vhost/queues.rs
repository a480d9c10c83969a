//! The class `queue`.

use std::collections::VecDeque;

use leveret_codec::method::{basic, queue};
use leveret_codec::{ShortStr, ShortString};

use super::exchanges::{check_same_flags, clean, not_the_default};
use super::reply_to::{is_address, is_reply_to};
use super::sessions::ChannelRef;
use super::unbind::Unbinding;
use super::work::Task;
use super::{Notice, Vhost};
use crate::broker::access::Permission;
use crate::broker::arguments::{QueueArguments, QueueType, check_server_named, unknown_arguments};
use crate::broker::client::Client;
use crate::broker::error::{Checked, Fault, Resource, ResourceKind};
use crate::broker::exchange::Destination;
use crate::broker::expiry::Deadline;
use crate::broker::ids::{ConnectionId, ConsumerId, QueueId};
use crate::broker::names;
use crate::broker::queue::Queue;
use crate::broker::record::Record;

impl Vhost {
    pub(super) fn queue_declare(
        &mut self,
        via: ChannelRef,
        declare: &queue::Declare<'_>,
    ) -> Checked<()> {
        let name = clean(declare.queue);
        if is_reply_to(name.as_bytes()) || is_address(name.as_bytes()) {
            return self.declare_reply_queue(via, &name, declare.nowait);
        }
        let id = if declare.passive {
            let id = self.existing_queue(&name)?;
            self.check_access(id, via)?;
            id
        } else {
            self.declare_queue(via, name, declare)?
        };
        let Some(queue) = self.queues.get_mut(id) else { return Ok(()) };
        queue.last_used = self.now;
        let name = queue.name.clone();
        // rabbitmq: messages that are delivered and not settled are not counted.
        let message_count = queue.ready.len() as u32;
        let consumer_count = queue.consumers.len() as u32;
        if let Some(channel) = self.sessions.channel_mut(via.channel) {
            channel.last_queue = Some(name.clone());
        }
        if !declare.nowait {
            let ok = queue::DeclareOk { queue: name.as_short(), message_count, consumer_count };
            self.sessions.reply(via.connection, via.number, &ok);
        }
        Ok(())
    }

    fn declare_queue(
        &mut self,
        via: ChannelRef,
        name: ShortString,
        declare: &queue::Declare<'_>,
    ) -> Checked<QueueId> {
        let server_named = name.is_empty();
        let arguments = declare.arguments.to_owned_table();
        if server_named {
            check_server_named(&arguments)?;
        }
        if names::is_reserved(name.as_bytes()) {
            return Err(Fault::ReservedName(ResourceKind::Queue, name).into());
        }
        // rabbitmq: an exclusive queue goes with its connection and is never durable.
        let durable = declare.durable && !declare.exclusive;
        let name = if server_named { self.make_up_name("amq.gen-") } else { name };
        self.may_with_queue(via, Permission::Configure, &name)?;
        if let Some(id) = self.queues.find(name.as_bytes()) {
            self.check_same_queue(id, via, durable, declare)?;
            return Ok(id);
        }
        self.check_queue_limit(&name)?;
        let of = Resource::queue(&name, &self.name);
        // rabbitmq: who may dead-letter is asked before the other arguments are looked at.
        let dead_letter_exchange = QueueArguments::parse_dead_letter_exchange(&of, &arguments)?;
        if let Some(exchange) = dead_letter_exchange {
            self.may_with_queue(via, Permission::Read, &name)?;
            self.may_with_exchange(via, Permission::Write, exchange.as_bytes())?;
        }
        let arguments = QueueArguments::parse(&of, &arguments)?;
        arguments.check_new(&of)?;
        let owner = declare.exclusive.then_some(via.connection);
        self.make_queue(name, durable, owner, declare.auto_delete, arguments)
    }

    /// Makes a queue that is not there.
    pub(super) fn make_queue(
        &mut self,
        name: ShortString,
        durable: bool,
        owner: Option<ConnectionId>,
        auto_delete: bool,
        arguments: QueueArguments,
    ) -> Checked<QueueId> {
        let exclusive = owner.is_some();
        self.check_may_define(arguments.raw.as_table())?;
        let of = Resource::queue(&name, &self.name);
        arguments.check_properties(&of, durable, exclusive, auto_delete)?;
        if arguments.queue_type == QueueType::Stream {
            return Err(Fault::Streams.into());
        }
        let durable_id = durable.then(|| self.journal.next_queue_id());
        let queue = Queue::new(name, durable_id, owner, auto_delete, arguments, self.now);
        if let Some(definition) = Vhost::queue_definition(&queue) {
            self.journal.record(Record::QueueDeclared(definition));
        }
        self.notice_arguments(&queue);
        let id = self.add_queue(queue);
        if let Some(client) = owner.and_then(|owner| self.sessions.client_mut(owner)) {
            client.owned_queues.insert(id);
        }
        Ok(id)
    }

    /// Whether there may be one more queue.
    ///
    /// rabbitmq: looked at before its arguments; names that are there already still pass.
    pub(super) fn check_queue_limit(&self, name: &ShortString) -> Checked<()> {
        match self.max_queues {
            Some(max) if self.queues.len() as u64 >= max => {
                let (name, vhost) = (name.clone(), self.name.clone());
                Err(Fault::QueueLimit { name, vhost, max }.into())
            }
            _ => Ok(()),
        }
    }

    /// rabbitmq: takes arguments that it does not know, silently.
    fn notice_arguments(&mut self, queue: &Queue) {
        for (argument, meant) in unknown_arguments(&queue.declared.raw) {
            if !self.batch.is_argument_due(self.now, &queue.name, argument) {
                continue;
            }
            self.batch.notice(Notice::UnknownArgument {
                queue: queue.name.to_string(),
                argument: argument.to_string(),
                meant,
            });
        }
    }

    pub(super) fn add_queue(&mut self, queue: Queue) -> QueueId {
        let id = self.queues.insert(queue);
        self.apply_queue_policy(id);
        id
    }

    fn check_same_queue(
        &self,
        id: QueueId,
        via: ChannelRef,
        durable: bool,
        declare: &queue::Declare<'_>,
    ) -> Checked<()> {
        let Some(queue) = self.queues.get(id) else { return Ok(()) };
        if queue.owner != declare.exclusive.then_some(via.connection) {
            return Err(self.locked(queue));
        }
        let of = Resource::queue(&queue.name, &self.name);
        let flags = [
            ("durable", durable, queue.durable.is_some()),
            ("auto_delete", declare.auto_delete, queue.auto_delete),
        ];
        check_same_flags(&of, &flags)?;
        let received = declare.arguments.to_owned_table();
        queue.declared.check_equivalent(&of, &received)
    }

    pub(super) fn queue_delete(
        &mut self,
        via: ChannelRef,
        delete: &queue::Delete<'_>,
    ) -> Checked<()> {
        let name = self.queue_name(via, delete.queue)?;
        self.may_with_queue(via, Permission::Configure, &name)?;
        // rabbitmq: deleting what is not there is no fault.
        let id = self.queues.find(name.as_bytes());
        let mut message_count = 0;
        if let Some((id, queue)) = id.and_then(|id| Some((id, self.queues.get(id)?))) {
            self.check_access(id, via)?;
            let of = || Resource::queue(&queue.name, &self.name);
            for (flag, set) in [("if-unused", delete.if_unused), ("if-empty", delete.if_empty)] {
                if set && queue.is_quorum() {
                    return Err(Fault::ConditionalDelete { of: of(), flag }.into());
                }
            }
            if delete.if_empty && !queue.ready.is_empty() {
                return Err(Fault::NotEmpty(of()).into());
            }
            if delete.if_unused && !queue.consumers.is_empty() {
                return Err(Fault::InUse(of()).into());
            }
            message_count = queue.ready.len() as u32;
        }
        // rabbitmq: a consumer on this very channel hears of its end after the delete is answered.
        if !delete.nowait {
            self.sessions.reply(via.connection, via.number, &queue::DeleteOk { message_count });
        }
        if let Some(id) = id {
            self.delete_queue(id);
        }
        Ok(())
    }

    /// Deletes a queue with its messages and bindings; its consumers are told.
    pub(super) fn delete_queue(&mut self, id: QueueId) {
        let Some((mut queue, measured)) = self.queues.remove(id) else { return };
        self.batch.run.end();
        self.deadlines.remove(queue.armed, Deadline::Queue(id));
        self.memory.remove_queue(&mut queue, measured);
        if let Some(id) = queue.durable {
            self.journal.record(Record::QueueDeleted { id });
        }
        if let Some(client) = queue.owner.and_then(|owner| self.sessions.client_mut(owner)) {
            client.owned_queues.remove(&id);
        }
        let Queue { consumers, bindings, ready, .. } = queue;
        self.start(Task::CancelConsumers(consumers.members().collect()), None);
        self.start(Task::Unbind(Unbinding::new(id, bindings)), None);
        self.work.add_weight(ready.weight());
        self.start(Task::Discard(Box::new(ready)), None);
    }

    /// Tells consumers, as far as the steps reach, that their queue was deleted; gives back the rest.
    pub(super) fn cancel_on(
        &mut self,
        mut consumers: VecDeque<ConsumerId>,
    ) -> Option<VecDeque<ConsumerId>> {
        while !self.work.is_exhausted() {
            self.cancel_by_broker(consumers.pop_front()?);
            self.work.take(1);
        }
        (!consumers.is_empty()).then_some(consumers)
    }

    /// rabbitmq: a client that announced consumer_cancel_notify is told with basic.cancel.
    fn cancel_by_broker(&mut self, id: ConsumerId) {
        let Some(consumer) = self.sessions.remove_consumer(id) else { return };
        let Some(channel) = self.sessions.channel(consumer.channel) else { return };
        let number = channel.number;
        let told =
            self.sessions.client(consumer.connection).is_some_and(Client::wants_cancel_notify);
        if told {
            let cancel = basic::Cancel { consumer_tag: consumer.tag.as_short(), nowait: true };
            self.sessions.reply(consumer.connection, number, &cancel);
        }
    }

    pub(super) fn queue_purge(&mut self, via: ChannelRef, purge: &queue::Purge<'_>) -> Checked<()> {
        let name = self.queue_name(via, purge.queue)?;
        self.may_with_queue(via, Permission::Read, &name)?;
        let id = self.existing_queue(&name)?;
        self.check_access(id, via)?;
        // The work was done in turns, by `prepare`.
        let message_count = self.end_purge(via.channel).map_or(0, |done| done.purged);
        if !purge.nowait {
            self.sessions.reply(via.connection, via.number, &queue::PurgeOk { message_count });
        }
        self.evaluate(id);
        Ok(())
    }

    pub(super) fn queue_bind(&mut self, via: ChannelRef, bind: &queue::Bind<'_>) -> Checked<()> {
        let name = self.queue_name(via, bind.queue)?;
        let exchange = clean(bind.exchange);
        self.may_with_queue(via, Permission::Write, &name)?;
        not_the_default(&exchange)?;
        self.may_with_exchange(via, Permission::Read, exchange.as_bytes())?;
        let source = self.existing_exchange(&exchange)?;
        let key = expanded_key(bind.queue, bind.routing_key, &name);
        self.may_with_topic(via, Permission::Read, source, key)?;
        let queue = self.existing_queue(&name)?;
        self.check_access(queue, via)?;
        self.check_may_define(bind.arguments)?;
        self.bind(source, Destination::Queue(queue), key, bind.arguments)?;
        if !bind.nowait {
            self.sessions.reply(via.connection, via.number, &queue::BindOk {});
        }
        Ok(())
    }

    pub(super) fn queue_unbind(
        &mut self,
        via: ChannelRef,
        unbind: &queue::Unbind<'_>,
    ) -> Checked<()> {
        let name = self.queue_name(via, unbind.queue)?;
        let exchange = clean(unbind.exchange);
        self.may_with_queue(via, Permission::Write, &name)?;
        not_the_default(&exchange)?;
        self.may_with_exchange(via, Permission::Read, exchange.as_bytes())?;
        let source = self.exchanges.find(exchange.as_bytes());
        let key = expanded_key(unbind.queue, unbind.routing_key, &name);
        if let Some(source) = source {
            self.may_with_topic(via, Permission::Read, source, key)?;
        }
        let queue = self.queues.find(name.as_bytes());
        // rabbitmq: unbinding what is not there is no fault.
        if let (Some(source), Some(queue)) = (source, queue) {
            self.check_access(queue, via)?;
            self.unbind(source, Destination::Queue(queue), key, unbind.arguments);
        }
        self.sessions.reply(via.connection, via.number, &queue::UnbindOk {});
        Ok(())
    }

    /// The queue a client means: an empty name stands for the one declared last on the channel.
    ///
    /// spec: queue.bind and others, rule queue-known.
    pub(super) fn queue_name(&self, via: ChannelRef, name: ShortStr<'_>) -> Checked<ShortString> {
        if !name.is_empty() {
            let name = clean(name);
            return Ok(name);
        }
        let channel = self.sessions.channel(via.channel);
        channel
            .and_then(|channel| channel.last_queue.clone())
            .ok_or_else(|| Fault::NoLastQueue.into())
    }

    pub(super) fn existing_queue(&self, name: &ShortString) -> Checked<QueueId> {
        let missing = || Fault::NotFound(Resource::queue(name, &self.name)).into();
        self.queues.find(name.as_bytes()).ok_or_else(missing)
    }

    /// An exclusive queue is for its own connection alone.
    pub(super) fn check_access(&self, id: QueueId, via: ChannelRef) -> Checked<()> {
        match self.queues.get(id) {
            Some(queue) if queue.owner.is_some_and(|owner| owner != via.connection) => {
                Err(self.locked(queue))
            }
            _ => Ok(()),
        }
    }

    fn locked(&self, queue: &Queue) -> Box<Fault> {
        Fault::Locked(Resource::queue(&queue.name, &self.name)).into()
    }

    /// A consumer or another use of a queue has ended: its time for `x-expires` starts now.
    pub(super) fn note_used(&mut self, id: QueueId) {
        if let Some(queue) = self.queues.get_mut(id) {
            queue.last_used = self.now;
            // why: a deadline that is set already may lie too early, which is harmless: it sets the
            // next one. One more for each use would pile up.
            self.arm(id);
        }
    }
}

/// rabbitmq: an empty queue name and an empty key together stand for the queue's name twice.
fn expanded_key<'a>(queue: ShortStr<'_>, key: ShortStr<'a>, name: &'a ShortString) -> ShortStr<'a> {
    if queue.is_empty() && key.is_empty() { name.as_short() } else { key }
}
