//! From a publish to the queues: checks, routing, limits, and where the dead go.

use leveret_codec::{Properties, ShortString};
use smallvec::SmallVec;

use super::Vhost;
use super::fan_out::{FanOut, Then};
use super::publish_run::DELIVERY_MODE_FLAG;
use super::reply_to::is_reply_to;
use super::sessions::ChannelRef;
use crate::broker::access::Permission;
use crate::broker::arguments::{self, Overflow};
use crate::broker::client::Client;
use crate::broker::command::Outgoing;
use crate::broker::dead_letter::Reason;
use crate::broker::error::{Checked, Fault, Resource};
use crate::broker::exchange::{Routed, Routes};
use crate::broker::ids::{ConsumerId, ExchangeId, Lsn, QueueId};
use crate::broker::limits;
use crate::broker::message::Message;
use crate::broker::notice::Notice;
use crate::broker::ready::Entry;
use crate::broker::record::{Placement, Record};
use crate::broker::time::Time;

/// Who sends a message to queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// A client publishes it.
    Client,
    /// The broker routes it by itself: a dead letter, what was delayed, a copy of the firehose.
    Broker,
}

/// What the properties of a publish ask for.
#[derive(Default)]
struct PublishOptions {
    /// Whether there can be none.
    is_plain: bool,
    expiration_ms: Option<u64>,
    /// Further routing keys, from the headers CC and BCC.
    copies: Vec<ShortString>,
    /// Whether answers are to come back directly.
    replies: bool,
    /// Whether the header BCC is there, which nobody may see.
    blind: bool,
}

impl Vhost {
    pub(super) fn publish(
        &mut self,
        via: ChannelRef,
        mandatory: bool,
        immediate: bool,
        message: Message,
    ) -> Checked<()> {
        if immediate {
            return Err(Fault::Immediate.into());
        }
        self.may_with_exchange(via, Permission::Write, message.exchange().as_bytes())?;
        let exchange = self.publish_target(&message)?;
        if let Some(exchange) = exchange {
            self.may_with_topic(via, Permission::Write, exchange, message.routing_key())?;
        }
        let properties = message.properties();
        // why: most messages have no properties, or just a delivery mode.
        let options = match properties.flags() & !DELIVERY_MODE_FLAG {
            0 => PublishOptions { is_plain: true, ..PublishOptions::default() },
            _ => self.read_options(via, properties)?,
        };
        if let Some(exchange) = exchange {
            let steps = self.sessions.client(via.connection).map_or(0, Client::match_steps);
            self.work.take(steps * options.copies.len());
            // rabbitmq: from 4.x on these keys are asked for as well.
            for key in &options.copies {
                self.may_with_topic(via, Permission::Write, exchange, key.as_short())?;
            }
        }
        check_delivery_mode(properties)?;
        let message =
            if options.replies { self.with_reply_address(via, &message)? } else { message };

        let before = self.journal.last();
        let mut routes = self.route(exchange, &message, &options.copies);
        if let Some(by) = routes.refused_by {
            self.batch.keep_routes(routes);
            return Err(self.too_many_patterns(by).into());
        }
        // why: what is delayed keeps its BCC, whose keys count when the time is up.
        let delayed_by =
            routes.delaying.iter().map(|exchange| (*exchange, message.clone())).collect();
        let message = if options.blind { without_bcc(&message) } else { message };
        if exchange.is_none() {
            self.deliver_replies(&message, &options.copies);
        }
        if self.is_transactional(via) {
            self.batch.keep_routes(routes);
            let expiration_ms = options.expiration_ms;
            self.hold_publish(via, mandatory, message, delayed_by, expiration_ms, &options.copies);
            return Ok(());
        }
        self.note_routed(exchange, routes.queues.len());
        if let (None, true, &[queue]) = (exchange, options.is_plain, &routes.queues[..])
            && !self.trace.is_on()
        {
            self.batch.run.begin(via, &message, queue);
        }
        let expiration_ms = options.expiration_ms;
        if routes.queues.len() > limits::AT_ONCE {
            let queues = std::mem::take(&mut routes.queues);
            self.batch.keep_routes(routes);
            self.publish_to_many(via, message, delayed_by, expiration_ms, queues);
            return Ok(());
        }
        let accepted =
            self.pass_on(via, mandatory, message, delayed_by, expiration_ms, &routes.queues);
        self.batch.keep_routes(routes);
        self.note_published(via, accepted, self.journal.since(before));
        Ok(())
    }

    /// One more message of a run.
    pub(super) fn publish_on(&mut self, via: ChannelRef, queue: QueueId, message: Message) {
        let before = self.journal.last();
        self.note_routed(None, 1);
        let accepted = self.enqueue_in_one(queue, message, None, Source::Client);
        self.note_published(via, accepted, self.journal.since(before));
    }

    /// A message goes to so many queues that others are to have their turn meanwhile.
    fn publish_to_many(
        &mut self,
        via: ChannelRef,
        message: Message,
        delayed_by: Vec<(ExchangeId, Message)>,
        expiration_ms: Option<u64>,
        queues: Vec<QueueId>,
    ) {
        if self.trace.is_on() {
            self.trace_publish((via.connection, via.number), &message, &queues);
        }
        let before = self.journal.last();
        let mut accepted = true;
        for (exchange, whole) in delayed_by {
            accepted &= self.delay(exchange, &whole);
        }
        let mut fan_out = FanOut::new(message, expiration_ms, queues, Then::Published(via));
        fan_out.note(accepted, self.journal.since(before));
        self.add_fan_out(fan_out, Some(via.connection));
    }

    /// The exchange of a publish; none for the default one.
    fn publish_target(&self, message: &Message) -> Checked<Option<ExchangeId>> {
        let name = message.exchange();
        if name.is_empty() {
            return Ok(None);
        }
        let found = self.exchanges.find(name.as_bytes());
        let Some((id, exchange)) = found.and_then(|id| Some((id, self.exchanges.get(id)?))) else {
            return Err(Fault::NotFound(Resource::exchange(&name.into(), &self.name)).into());
        };
        if exchange.internal {
            let exchange = Resource::exchange(&exchange.name, &self.name);
            return Err(Fault::InternalExchange(exchange).into());
        }
        Ok(Some(id))
    }

    /// rabbitmq: in its order: reply-to, user-id, expiration, CC and BCC.
    fn read_options(&self, via: ChannelRef, properties: Properties<'_>) -> Checked<PublishOptions> {
        let fields = properties.fields();
        let replies = fields.reply_to.is_some_and(|it| is_reply_to(it.as_bytes()));
        if replies
            && self.sessions.channel(via.channel).is_none_or(|it| it.reply_consumer.is_none())
        {
            return Err(Fault::NoReplyConsumer.into());
        }
        if let Some(user_id) = fields.user_id
            && let Some(user) = self.sessions.user(via.connection)
            && user_id.as_bytes() != user.name.as_bytes()
            && !user.is_impersonator()
        {
            let user = user.name.clone();
            return Err(Fault::ForeignUserId { user_id: user_id.into(), user }.into());
        }
        let mut options = PublishOptions { replies, ..PublishOptions::default() };
        if let Some(expiration) = fields.expiration {
            options.expiration_ms = Some(arguments::expiration_ms(expiration.as_bytes())?);
        }
        if let Some(headers) = fields.headers {
            let copies = arguments::copy_keys(headers)?;
            options.copies = copies.keys.iter().map(|key| ShortString::truncated(key)).collect();
            options.blind = copies.has_bcc;
        }
        Ok(options)
    }

    /// A message that was published, or is committed, goes where it was routed. Says whether all of
    /// them took it.
    pub(super) fn pass_on(
        &mut self,
        via: ChannelRef,
        mandatory: bool,
        message: Message,
        delayed_by: Vec<(ExchangeId, Message)>,
        expiration_ms: Option<u64>,
        queues: &[QueueId],
    ) -> bool {
        if self.trace.is_on() {
            self.trace_publish((via.connection, via.number), &message, queues);
        }
        // rabbitmq: what is delayed has no queue yet, so a mandatory one comes back.
        if queues.is_empty() && (mandatory || delayed_by.is_empty()) {
            self.unroutable(via, mandatory, &message);
        }
        let mut accepted = true;
        for (exchange, whole) in delayed_by {
            accepted &= self.delay(exchange, &whole);
        }
        accepted & self.enqueue(message, expiration_ms, queues, Source::Client)
    }

    /// Where a message goes, each queue once. The answer is to be put back into `routes`.
    pub(super) fn route(
        &mut self,
        exchange: Option<ExchangeId>,
        message: &Message,
        copies: &[ShortString],
    ) -> Routes {
        let mut routes = std::mem::take(&mut self.batch.routes);
        routes.clear();
        let key = message.routing_key();
        let key = key.as_bytes();
        match exchange {
            // why: nearly every publish to the default exchange.
            None if copies.is_empty() => routes.queues.extend(self.queues.find(key)),
            None => {
                let keys = std::iter::once(key).chain(copies.iter().map(ShortString::as_bytes));
                routes.queues.extend(keys.filter_map(|key| self.queues.find(key)));
            }
            Some(exchange) => {
                let properties = message.properties();
                let chance = self.chance.number();
                let routed = Routed { key, copies, properties, now: self.now, chance };
                let steps = self.exchanges.route(exchange, routed, &mut routes);
                self.work.take(steps);
                if self.work.is_pending() {
                    // why: bindings of a queue that is gone may be there still.
                    routes.queues.retain(|id| self.queues.contains(*id));
                }
            }
        }
        if routes.queues.len() > 1 {
            routes.queues.sort_unstable();
            routes.queues.dedup();
        }
        routes
    }

    fn too_many_patterns(&self, refused_by: ExchangeId) -> Fault {
        let name = self.exchanges.get(refused_by).map(|it| it.name.clone()).unwrap_or_default();
        Fault::TooManyPatterns {
            exchange: Resource::exchange(&name, &self.name),
            max: limits::TOPIC_NODES,
        }
    }

    /// A message that the broker routes by itself goes nowhere, since a topic exchange refuses it.
    pub(super) fn note_refused(&mut self, refused_by: ExchangeId) {
        let Some(exchange) = self.exchanges.get(refused_by) else { return };
        self.work.refused.add(&exchange.name);
        if let Some((exchange, messages)) = self.work.refused.due(self.now) {
            self.batch.notice(Notice::TooManyPatterns { exchange, messages });
        }
    }

    pub(super) fn count_publish(&mut self, via: ChannelRef) {
        self.statistics.publish += 1;
        if let Some(channel) = self.sessions.channel_mut(via.channel) {
            channel.statistics.publish += 1;
        }
    }

    /// Counts what an exchange did with a message.
    fn note_routed(&mut self, exchange: Option<ExchangeId>, copies: usize) {
        let statistics = match exchange {
            None => &mut self.default_exchange_statistics,
            Some(id) => match self.exchanges.get_mut(id) {
                Some(exchange) => &mut exchange.statistics,
                None => return,
            },
        };
        statistics.publish_in += 1;
        statistics.publish_out += copies as u64;
    }

    /// No queue takes a message: it comes back, or nobody hears of it.
    pub(super) fn unroutable(&mut self, via: ChannelRef, mandatory: bool, message: &Message) {
        let Some(channel) = self.sessions.channel_mut(via.channel) else { return };
        for statistics in [&mut channel.statistics, &mut self.statistics] {
            if mandatory {
                statistics.return_unroutable += 1;
            } else {
                statistics.drop_unroutable += 1;
            }
        }
        if mandatory {
            let returned = Outgoing::Return { channel: via.number, message: message.clone() };
            self.sessions.send(via.connection, returned);
        }
    }

    /// Counts a publish, whose confirm waits for a record, if there is one.
    pub(super) fn note_published(&mut self, via: ChannelRef, accepted: bool, record: Option<Lsn>) {
        self.count_publish(via);
        let Some(channel) = self.sessions.channel_mut(via.channel) else { return };
        let Some(confirms) = &mut channel.confirms else { return };
        confirms.note_published(accepted, record);
        if record.is_some() {
            self.journal.note_awaited();
        }
        if !channel.confirms_listed {
            channel.confirms_listed = true;
            self.batch.confirming.push(via.channel);
        }
    }

    /// Puts a message into queues. Says whether all of them took it.
    pub(super) fn enqueue(
        &mut self,
        message: Message,
        expiration_ms: Option<u64>,
        queues: &[QueueId],
        source: Source,
    ) -> bool {
        match queues {
            [] => true,
            // why: nearly every message, so without lists.
            [id] => self.enqueue_in_one(*id, message, expiration_ms, source),
            _ => self.enqueue_in_many(&message, expiration_ms, queues, source),
        }
    }

    fn enqueue_in_one(
        &mut self,
        id: QueueId,
        message: Message,
        expiration_ms: Option<u64>,
        source: Source,
    ) -> bool {
        if self.refuses(id, &message, source) {
            return false;
        }
        let taker = self.taker(id);
        // why: a message that goes straight to a consumer that does not acknowledge is done with
        // before it could be recorded.
        let gone_at_once = taker
            .and_then(|taker| self.sessions.consumer(taker))
            .is_some_and(|consumer| consumer.no_ack);
        let Some(queue) = self.queues.get_mut(id) else { return true };
        let mut entry = queue.enter(self.now, message, expiration_ms);
        entry.recorded &= !gone_at_once;
        if let Some(placement) = queue.placement(&entry) {
            if self.journal.has_failed() {
                // why: what cannot be kept is refused; the confirm says so.
                return false;
            }
            let (message, placements) = (entry.message.clone(), SmallVec::from_buf([placement]));
            self.journal.record(Record::Enqueued { message, placements });
        }
        self.admit(id, taker, entry);
        true
    }

    fn enqueue_in_many(
        &mut self,
        message: &Message,
        expiration_ms: Option<u64>,
        queues: &[QueueId],
        source: Source,
    ) -> bool {
        self.work.take(queues.len());
        self.work.dead_letters.set_width(queues.len());
        message.share();
        let mut accepted = true;
        let mut placements = SmallVec::<[Placement; 1]>::new();
        let mut entries = SmallVec::<[(QueueId, Entry); 8]>::new();
        for &id in queues {
            if self.refuses(id, message, source) {
                accepted = false;
                continue;
            }
            let Some(queue) = self.queues.get_mut(id) else { continue };
            // why: which of them hand it over at once is not known before it is in the others.
            let entry = queue.enter(self.now, message.clone(), expiration_ms);
            placements.extend(queue.placement(&entry));
            entries.push((id, entry));
        }
        if !placements.is_empty() {
            if self.journal.has_failed() {
                // As in one queue.
                self.work.dead_letters.set_width(1);
                return false;
            }
            self.journal.record(Record::Enqueued { message: message.clone(), placements });
        }
        for (id, entry) in entries {
            let taker = self.taker(id);
            self.admit(id, taker, entry);
        }
        self.work.dead_letters.set_width(1);
        accepted
    }

    /// Whether a full queue refuses a message; one that dead-letters what it refuses does so.
    ///
    /// rabbitmq: a quorum queue refuses what a channel publishes, and takes what the broker sends it.
    fn refuses(&mut self, id: QueueId, message: &Message, source: Source) -> bool {
        let Some(queue) = self.queues.get(id) else { return false };
        if source == Source::Broker && queue.is_quorum() {
            return false;
        }
        let overflow = queue.overflow();
        if overflow == Overflow::DropHead || !queue.is_full_for(message.body().len()) {
            return false;
        }
        if overflow == Overflow::RejectPublishDlx {
            self.dead_letter_message(id, message.clone(), Reason::MaxLength, None);
        }
        true
    }

    /// The consumer to which the next message of a queue goes at once.
    fn taker(&mut self, id: QueueId) -> Option<ConsumerId> {
        let queue = self.queues.get(id)?;
        if !queue.ready.is_empty() || queue.is_held() {
            return None;
        }
        self.next_consumer(id)
    }

    /// Takes a message in: to the consumer that waits for it, or to the others that wait.
    fn admit(&mut self, id: QueueId, taker: Option<ConsumerId>, entry: Entry) {
        if let Some(consumer) = taker {
            self.deliver(id, consumer, entry);
            return;
        }
        let Some(queue) = self.queues.get_mut(id) else { return };
        if entry.is_expired(self.now) && queue.ready.is_empty() && !queue.is_held() {
            // rabbitmq: the limit is looked at first.
            let has_no_room = queue.overflow() == Overflow::DropHead
                && queue.is_full_for(entry.message.body().len());
            let reason = if has_no_room { Reason::MaxLength } else { Reason::Expired };
            self.dead_letter_entry(id, entry, reason);
            return;
        }
        let may_expire = entry.expires_at != Time::NEVER;
        queue.ready.push_back(entry);
        if queue.is_over_full() {
            self.evaluate(id);
        } else if may_expire {
            self.arm(id);
        }
    }
}

fn check_delivery_mode(properties: Properties<'_>) -> Checked<()> {
    match properties.delivery_mode() {
        None | Some(1 | 2) => Ok(()),
        Some(other) => Err(Fault::UnknownDeliveryMode(other).into()),
    }
}

/// The same message without its header BCC.
pub(super) fn without_bcc(message: &Message) -> Message {
    let properties = arguments::without_header(message.properties(), b"BCC");
    Message::new(
        message.exchange(),
        message.routing_key(),
        Properties::from_checked(&properties),
        message.body(),
    )
}
