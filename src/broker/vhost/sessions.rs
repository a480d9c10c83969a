//! Who is connected: clients, their channels and consumers, and what each client is to get.
//!
//! invariant: a client stands among those with outputs exactly when it has some.

use hashbrown::HashMap;
use leveret_codec::ShortString;
use leveret_codec::method::{Encode, basic};

use crate::broker::access::User;
use crate::broker::arena::Arena;
use crate::broker::channel::{Channel, ChannelState};
use crate::broker::client::Client;
use crate::broker::command::Outgoing;
use crate::broker::confirm::Confirm;
use crate::broker::consumer::Consumer;
use crate::broker::ids::{ChannelId, ConnectionId, ConsumerId, kind};

/// The clients of a virtual host with all that is theirs.
#[derive(Default)]
pub(super) struct Sessions {
    clients: Arena<kind::Connection, Client>,
    channels: Arena<kind::Channel, Channel>,
    consumers: Arena<kind::Consumer, Consumer>,
    /// Clients that have something to fetch.
    with_outputs: Vec<ConnectionId>,
    /// Where answers to direct reply-to go, by their address.
    reply_addresses: HashMap<ShortString, ChannelId>,
}

/// A channel of a client, found for a command.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChannelRef {
    pub(super) connection: ConnectionId,
    pub(super) channel: ChannelId,
    pub(super) number: u16,
}

impl Sessions {
    pub(super) fn insert_client(&mut self, client: Client) -> ConnectionId {
        self.clients.insert(client)
    }

    pub(super) fn remove_client(&mut self, id: ConnectionId) {
        self.clients.remove(id);
    }

    pub(super) fn client(&self, id: ConnectionId) -> Option<&Client> {
        self.clients.get(id)
    }

    pub(super) fn client_mut(&mut self, id: ConnectionId) -> Option<&mut Client> {
        self.clients.get_mut(id)
    }

    pub(super) fn clients(&self) -> impl Iterator<Item = (ConnectionId, &Client)> {
        self.clients.iter()
    }

    pub(super) fn client_count(&self) -> usize {
        self.clients.len()
    }

    /// The user behind a connection.
    pub(super) fn user(&self, id: ConnectionId) -> Option<&User> {
        self.clients.get(id).map(Client::user)
    }

    /// Opens a channel that the client has not opened yet.
    pub(super) fn insert_channel(&mut self, connection: ConnectionId, number: u16) {
        let Some(client) = self.clients.get_mut(connection) else { return };
        let channel = self.channels.insert(Channel::new(connection, number));
        client.channels.insert(number, channel);
    }

    pub(super) fn remove_channel(&mut self, id: ChannelId) -> Option<Channel> {
        self.channels.remove(id)
    }

    pub(super) fn channel(&self, id: ChannelId) -> Option<&Channel> {
        self.channels.get(id)
    }

    pub(super) fn channel_mut(&mut self, id: ChannelId) -> Option<&mut Channel> {
        self.channels.get_mut(id)
    }

    pub(super) fn channels(&self) -> &Arena<kind::Channel, Channel> {
        &self.channels
    }

    /// The channel of a client by its number, open or closing.
    pub(super) fn channel_ref(&self, connection: ConnectionId, number: u16) -> Option<ChannelRef> {
        let channel = self.clients.get(connection)?.channels.get(&number).copied()?;
        Some(ChannelRef { connection, channel, number })
    }

    /// The channel of a client by its number, if it is open.
    pub(super) fn open_channel(&self, connection: ConnectionId, number: u16) -> Option<ChannelRef> {
        let found = self.channel_ref(connection, number)?;
        let is_open = self.channels.get(found.channel)?.state == ChannelState::Open;
        is_open.then_some(found)
    }

    /// Adds a consumer to its channel.
    pub(super) fn insert_consumer(&mut self, consumer: Consumer) -> Option<ConsumerId> {
        let channel = self.channels.get_mut(consumer.channel)?;
        let tag = consumer.tag.clone();
        let id = self.consumers.insert(consumer);
        channel.consumers.insert(tag, id);
        Some(id)
    }

    /// Takes a consumer out; its channel knows it no longer.
    pub(super) fn remove_consumer(&mut self, id: ConsumerId) -> Option<Consumer> {
        let consumer = self.consumers.remove(id)?;
        if let Some(channel) = self.channels.get_mut(consumer.channel) {
            channel.consumers.remove(consumer.tag.as_bytes());
        }
        Some(consumer)
    }

    pub(super) fn consumer(&self, id: ConsumerId) -> Option<&Consumer> {
        self.consumers.get(id)
    }

    pub(super) fn consumer_mut(&mut self, id: ConsumerId) -> Option<&mut Consumer> {
        self.consumers.get_mut(id)
    }

    /// A consumer and its channel, both to change.
    pub(super) fn consumer_and_channel(
        &mut self,
        id: ConsumerId,
    ) -> Option<(&mut Consumer, &mut Channel)> {
        let consumer = self.consumers.get_mut(id)?;
        let channel = self.channels.get_mut(consumer.channel)?;
        Some((consumer, channel))
    }

    pub(super) fn consumers(&self) -> impl Iterator<Item = (ConsumerId, &Consumer)> {
        self.consumers.iter()
    }

    pub(super) fn consumer_count(&self) -> usize {
        self.consumers.len()
    }

    pub(super) fn insert_reply_address(&mut self, address: ShortString, channel: ChannelId) {
        self.reply_addresses.insert(address, channel);
    }

    pub(super) fn remove_reply_address(&mut self, address: &[u8]) {
        self.reply_addresses.remove(address);
    }

    /// The channel that gets what is published to an address of direct reply-to.
    pub(super) fn reply_channel(&self, address: &[u8]) -> Option<ChannelId> {
        self.reply_addresses.get(address).copied()
    }

    /// Puts something at the end of what a client gets.
    pub(super) fn send(&mut self, to: ConnectionId, outgoing: Outgoing) {
        if let Some(client) = self.clients.get_mut(to)
            && client.push(outgoing)
        {
            self.with_outputs.push(to);
        }
    }

    /// Sends a method on a channel.
    pub(super) fn reply(&mut self, to: ConnectionId, channel: u16, method: &impl Encode) {
        if let Some(client) = self.clients.get_mut(to)
            && client.push_method(channel, method)
        {
            self.with_outputs.push(to);
        }
    }

    pub(super) fn reply_confirm(&mut self, to: ConnectionId, channel: u16, confirm: Confirm) {
        let Confirm { last: delivery_tag, multiple, accepted } = confirm;
        if accepted {
            self.reply(to, channel, &basic::Ack { delivery_tag, multiple });
        } else {
            self.reply(to, channel, &basic::Nack { delivery_tag, multiple, requeue: false });
        }
    }

    /// Hands over what clients are to get, each list in its order. `sink` empties the list.
    pub(super) fn drain_outputs(&mut self, mut sink: impl FnMut(ConnectionId, &mut Vec<Outgoing>)) {
        for id in self.with_outputs.drain(..) {
            if let Some(client) = self.clients.get_mut(id) {
                sink(id, client.outputs_mut());
                client.outputs_mut().clear();
            }
        }
    }
}
