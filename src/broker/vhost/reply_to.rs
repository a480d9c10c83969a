//! Direct reply-to: answers go from a server's publish straight to the requesting channel.
//!
//! rabbitmq: a client consumes from the pseudo-queue `amq.rabbitmq.reply-to` and publishes its
//! requests with that as reply-to, on the same channel. The server sees an address in its place;
//! what it publishes to that address by the default exchange is delivered at once and never stored.

use std::iter;

use hashbrown::HashSet;
use leveret_codec::method::{basic, queue};
use leveret_codec::{ShortStr, ShortString};

use super::Vhost;
use super::sessions::ChannelRef;
use crate::broker::channel::ReplyConsumer;
use crate::broker::client::Client;
use crate::broker::command::{Delivery, Outgoing};
use crate::broker::error::{Checked, Fault, Resource};
use crate::broker::ids::ChannelId;
use crate::broker::message::{Message, with_properties};

/// The pseudo-queue.
const REPLY_TO: &[u8] = b"amq.rabbitmq.reply-to";
/// What every address starts with.
const ADDRESS: &[u8] = b"amq.rabbitmq.reply-to.";

/// Whether a name is the pseudo-queue's.
pub(super) fn is_reply_to(name: &[u8]) -> bool {
    name == REPLY_TO
}

/// Whether a name is an address, or looks like one.
pub(super) fn is_address(name: &[u8]) -> bool {
    name.starts_with(ADDRESS)
}

impl Vhost {
    /// basic.consume of the pseudo-queue.
    pub(super) fn consume_replies(
        &mut self,
        via: ChannelRef,
        consume: &basic::Consume<'_>,
    ) -> Checked<()> {
        let tag = match consume.consumer_tag {
            tag if tag.is_empty() => self.make_up_name("amq.ctag-"),
            tag => tag.into(),
        };
        let address = self.make_up_name("amq.rabbitmq.reply-to.g1h.");
        let Some(channel) = self.sessions.channel_mut(via.channel) else { return Ok(()) };
        if channel.reply_consumer.is_some() {
            return Err(Fault::SecondReplyConsumer.into());
        }
        if !consume.no_ack {
            return Err(Fault::AcknowledgingReplyConsumer.into());
        }
        channel.reply_consumer = Some(ReplyConsumer { tag: tag.clone(), address: address.clone() });
        self.sessions.insert_reply_address(address, via.channel);
        if !consume.nowait {
            let ok = basic::ConsumeOk { consumer_tag: tag.as_short() };
            self.sessions.reply(via.connection, via.number, &ok);
        }
        Ok(())
    }

    /// Ends the subscription to replies, if this is its tag, or whatever its tag is. Says whether it did.
    pub(super) fn cancel_replies(&mut self, id: ChannelId, tag: Option<ShortStr<'_>>) -> bool {
        let Some(channel) = self.sessions.channel_mut(id) else { return false };
        let named = |consumer: &mut ReplyConsumer| {
            tag.is_none_or(|tag| consumer.tag.as_bytes() == tag.as_bytes())
        };
        let Some(consumer) = channel.reply_consumer.take_if(named) else { return false };
        self.sessions.remove_reply_address(consumer.address.as_bytes());
        true
    }

    /// queue.declare of the pseudo-queue or an address: how servers find out whether a requester
    /// is still there.
    pub(super) fn declare_reply_queue(
        &mut self,
        via: ChannelRef,
        name: &ShortString,
        nowait: bool,
    ) -> Checked<()> {
        let there =
            is_reply_to(name.as_bytes()) || self.sessions.reply_channel(name.as_bytes()).is_some();
        if !there {
            return Err(Fault::NotFound(Resource::queue(name, &self.name)).into());
        }
        if let Some(channel) = self.sessions.channel_mut(via.channel) {
            channel.last_queue = Some(name.clone());
        }
        if !nowait {
            let queue = name.as_short();
            let ok = queue::DeclareOk { queue, message_count: 0, consumer_count: 1 };
            self.sessions.reply(via.connection, via.number, &ok);
        }
        Ok(())
    }

    /// The request with the channel's address as its reply-to.
    pub(super) fn with_reply_address(
        &self,
        via: ChannelRef,
        message: &Message,
    ) -> Checked<Message> {
        let consumer = self.sessions.channel(via.channel).and_then(|it| it.reply_consumer.as_ref());
        let Some(consumer) = consumer else {
            return Err(Fault::NoReplyConsumer.into());
        };
        let mut fields = message.properties().fields();
        fields.reply_to = Some(consumer.address.as_short());
        Ok(with_properties(message, &fields))
    }

    /// Delivers an answer to the default exchange, published or dead-lettered: to whoever is still there of those that its keys name, once to
    /// each.
    ///
    /// rabbitmq: it counts as routed nowhere, so a mandatory one comes back although it arrived.
    pub(super) fn deliver_replies(&mut self, message: &Message, copies: &[ShortString]) {
        // why: nearly every message.
        if copies.is_empty() && !is_address(message.routing_key().as_bytes()) {
            return;
        }
        let mut named = HashSet::new();
        let keys =
            iter::once(message.routing_key()).chain(copies.iter().map(ShortString::as_short));
        for key in keys.filter(|key| is_address(key.as_bytes())) {
            self.work.take(1);
            // why a set: a header has room for thousands of addresses.
            if named.insert(key.as_bytes()) {
                self.deliver_reply(message, key.as_bytes());
            }
        }
    }

    fn deliver_reply(&mut self, message: &Message, address: &[u8]) {
        let Some(id) = self.sessions.reply_channel(address) else { return };
        let Some(channel) = self.sessions.channel(id) else { return };
        let Some(consumer) = &channel.reply_consumer else { return };
        let delivery = Delivery {
            channel: channel.number,
            consumer_tag: consumer.tag.clone(),
            delivery_tag: channel.reply_delivery_tag(),
            redelivered: false,
            message: message.clone(),
        };
        let connection = channel.connection;
        // why: there is no queue that an answer could wait in; a client that does not read at all
        // loses it, as one that is gone does.
        if self.sessions.client(connection).is_some_and(Client::has_room_for_replies) {
            self.sessions.send(connection, Outgoing::Deliver(delivery));
        }
    }

    /// Whether a consumer tag is in use on a channel.
    ///
    /// rabbitmq: that of the consumer of replies is not.
    pub(super) fn check_tag_is_free(&self, via: ChannelRef, tag: ShortStr<'_>) -> Checked<()> {
        let Some(channel) = self.sessions.channel(via.channel) else { return Ok(()) };
        if channel.consumers.contains_key(tag.as_bytes()) {
            return Err(Fault::ConsumerTagInUse(tag.into()).into());
        }
        Ok(())
    }
}
