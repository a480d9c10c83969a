//! Who is connected: clients, their channels and consumers, and what each client is to get.
//!
//! invariant: a client stands among those with outputs exactly when it has some.

use std::collections::VecDeque;

use hashbrown::HashMap;
use leveret_codec::ShortString;
use leveret_codec::method::{Encode, basic};

use crate::broker::access::User;
use crate::broker::arena::Arena;
use crate::broker::channel::{Channel, ChannelState};
use crate::broker::client::Client;
use crate::broker::command::Outgoing;
use crate::broker::confirm::Confirm;
use crate::broker::consumer::{Consumer, Standing};
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
    /// How many channels each user has open, those that have any.
    channels_of_users: HashMap<String, usize>,
    /// What clients, channels and consumers take without messages, in bytes.
    definitions: u64,
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
        self.definitions += client.weight();
        self.clients.insert(client)
    }

    pub(super) fn remove_client(&mut self, id: ConnectionId) {
        if let Some(client) = self.clients.remove(id) {
            self.definitions -= client.weight();
        }
    }

    /// What clients, channels and consumers take without messages, in bytes.
    pub(super) fn definition_weight(&self) -> u64 {
        self.definitions
    }

    /// The same, counted again: for tests.
    pub(super) fn counted_definition_weight(&self) -> u64 {
        let clients = self.clients.iter().map(|(_, client)| client.weight());
        let consumers = self.consumers.iter().map(|(_, consumer)| consumer.weight());
        clients.chain(consumers).sum::<u64>() + self.channels.len() as u64 * Channel::BYTES
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

    /// The same by their places.
    pub(super) fn client_arena(&self) -> &Arena<kind::Connection, Client> {
        &self.clients
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
        self.definitions += Channel::BYTES;
        client.channels.insert(number, channel);
        match self.channels_of_users.get_mut(&client.user().name) {
            Some(channels) => *channels += 1,
            None => {
                self.channels_of_users.insert(client.user().name.clone(), 1);
            }
        }
    }

    /// The client knows a channel no longer.
    pub(super) fn forget_channel_number(&mut self, via: ChannelRef) {
        let Some(client) = self.clients.get_mut(via.connection) else { return };
        if client.channels.get(&via.number) == Some(&via.channel) {
            client.channels.remove(&via.number);
            self.count_out(via.connection, 1);
        }
    }

    /// Takes all channels of a client, by number.
    pub(super) fn take_channels(&mut self, id: ConnectionId) -> VecDeque<ChannelId> {
        let Some(client) = self.clients.get_mut(id) else { return VecDeque::new() };
        let channels: VecDeque<_> = std::mem::take(&mut client.channels).into_values().collect();
        self.count_out(id, channels.len());
        channels
    }

    /// How many channels a user has open.
    pub(super) fn channels_of_user(&self, user: &str) -> usize {
        self.channels_of_users.get(user).copied().unwrap_or(0)
    }

    fn count_out(&mut self, id: ConnectionId, channels: usize) {
        let Some(user) = self.clients.get(id).map(|client| &client.user().name) else { return };
        if let Some(open) = self.channels_of_users.get_mut(user) {
            *open -= channels;
            if *open == 0 {
                self.channels_of_users.remove(user);
            }
        }
    }

    pub(super) fn remove_channel(&mut self, id: ChannelId) -> Option<Channel> {
        let channel = self.channels.remove(id)?;
        self.definitions -= Channel::BYTES;
        Some(channel)
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
        self.definitions += consumer.weight();
        let id = self.consumers.insert(consumer);
        channel.consumers.insert(tag, id);
        Some(id)
    }

    /// Takes a consumer out; its channel knows it no longer.
    pub(super) fn remove_consumer(&mut self, id: ConsumerId) -> Option<Consumer> {
        let consumer = self.consumers.remove(id)?;
        self.definitions -= consumer.weight();
        if let Some(channel) = self.channels.get_mut(consumer.channel) {
            channel.consumers.remove(consumer.tag.as_bytes());
            if let Standing::BehindChannel(place) = consumer.standing {
                channel.line.remove(place);
            }
        }
        if let Standing::BehindConnection(place) = consumer.standing
            && let Some(client) = self.clients.get_mut(consumer.connection)
        {
            client.line.remove(place);
        }
        Some(consumer)
    }

    /// A consumer waits for the window that it shares with others of its channel.
    pub(super) fn stand_behind_channel(&mut self, id: ConsumerId) {
        if let Some((consumer, channel)) = self.consumer_and_channel(id) {
            consumer.standing = Standing::BehindChannel(channel.line.push_back(id));
        }
    }

    /// A consumer waits for the outbox of its connection.
    pub(super) fn stand_behind_connection(&mut self, id: ConsumerId) {
        let Some(consumer) = self.consumers.get_mut(id) else { return };
        if let Some(client) = self.clients.get_mut(consumer.connection) {
            consumer.standing = Standing::BehindConnection(client.line.push_back(id));
        }
    }

    /// Takes the first consumer that waits for a channel's shared window.
    pub(super) fn next_behind_channel(&mut self, id: ChannelId) -> Option<ConsumerId> {
        let consumer = self.channels.get_mut(id)?.line.pop_front()?;
        self.consumers.get_mut(consumer)?.standing = Standing::Idle;
        Some(consumer)
    }

    /// Takes the first consumer that waits for a connection's outbox.
    pub(super) fn next_behind_connection(&mut self, id: ConnectionId) -> Option<ConsumerId> {
        let consumer = self.clients.get_mut(id)?.line.pop_front()?;
        self.consumers.get_mut(consumer)?.standing = Standing::Idle;
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

    /// The same by their places.
    pub(super) fn consumer_arena(&self) -> &Arena<kind::Consumer, Consumer> {
        &self.consumers
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
