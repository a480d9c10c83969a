//! Connections, channels and consumers, as values.

use leveret_codec::ShortString;

use crate::broker::channel::Channel;
use crate::broker::client::{Client, ClientState};
use crate::broker::confirm::Confirms;
use crate::broker::ids::{ChannelId, ConnectionId, ConsumerId};
use crate::broker::snapshot::{ChannelSnapshot, ConnectionSnapshot, ConsumerSnapshot};
use crate::broker::vhost::Vhost;

impl Vhost {
    /// How many connections are open.
    pub fn connection_count(&self) -> usize {
        self.sessions.client_count()
    }

    /// All connections as they are now.
    pub fn connections(&self) -> Vec<ConnectionSnapshot> {
        self.sessions.clients().map(|(id, client)| connection_snapshot(id, client)).collect()
    }

    /// One connection as it is now.
    pub fn connection_by_id(&self, id: ConnectionId) -> Option<ConnectionSnapshot> {
        self.sessions.client(id).map(|client| connection_snapshot(id, client))
    }

    /// The connection at a place, as [`queue_at`](Vhost::queue_at).
    pub fn connection_at(&self, place: usize) -> Option<ConnectionId> {
        self.sessions.client_arena().at(place).map(|(id, _)| id)
    }

    /// How many places there are for connections.
    pub fn connection_places(&self) -> usize {
        self.sessions.client_arena().end()
    }

    /// How many channels a connection has.
    pub fn channel_count(&self, connection: ConnectionId) -> usize {
        self.sessions.client(connection).map_or(0, |client| client.channels.len())
    }

    /// The channel at a place, as [`queue_at`](Vhost::queue_at), with its connection and its number there.
    pub fn channel_at(&self, place: usize) -> Option<(ChannelId, ConnectionId, u16)> {
        let (id, channel) = self.sessions.channels().at(place)?;
        Some((id, channel.connection, channel.number))
    }

    /// How many places there are for channels.
    pub fn channel_places(&self) -> usize {
        self.sessions.channels().end()
    }

    /// The channels of a connection with their numbers, in the order of these.
    pub fn channels_of(&self, connection: ConnectionId) -> Vec<(ChannelId, u16)> {
        let client = self.sessions.client(connection);
        let channels = client.into_iter().flat_map(|client| &client.channels);
        channels.map(|(number, id)| (*id, *number)).collect()
    }

    /// One channel as it is now.
    pub fn channel_by_id(&self, id: ChannelId) -> Option<ChannelSnapshot> {
        let channel = self.sessions.channel(id)?;
        let user = self.sessions.user(channel.connection)?;
        Some(channel_snapshot(channel, &user.name))
    }

    /// The consumer at a place, as [`queue_at`](Vhost::queue_at).
    pub fn consumer_at(&self, place: usize) -> Option<ConsumerId> {
        self.sessions.consumer_arena().at(place).map(|(id, _)| id)
    }

    /// How many places there are for consumers.
    pub fn consumer_places(&self) -> usize {
        self.sessions.consumer_arena().end()
    }

    /// The consumers of a queue, in the order they subscribed.
    pub fn consumers_of_queue(&self, name: &[u8]) -> Vec<ConsumerId> {
        let queue = self.queues.find(name).and_then(|id| self.queues.get(id));
        queue.map(|queue| queue.consumers.members().collect()).unwrap_or_default()
    }

    /// The consumers of a channel, by their tags.
    pub fn consumers_of_channel(&self, id: ChannelId) -> Vec<ConsumerId> {
        let channel = self.sessions.channel(id);
        channel.map(|channel| channel.consumers.values().copied().collect()).unwrap_or_default()
    }

    /// The connection of a consumer and the name of its queue.
    pub fn ends_of_consumer(&self, id: ConsumerId) -> Option<(ConnectionId, &ShortString)> {
        let consumer = self.sessions.consumer(id)?;
        Some((consumer.connection, &self.queues.get(consumer.queue)?.name))
    }

    /// The channel of a connection by its number.
    pub fn channel_of(&self, connection: ConnectionId, number: u16) -> Option<ChannelId> {
        self.sessions.channel_ref(connection, number).map(|found| found.channel)
    }

    /// One consumer as it is now.
    pub fn consumer_by_id(&self, id: ConsumerId) -> Option<ConsumerSnapshot> {
        let consumer = self.sessions.consumer(id)?;
        let queue = self.queues.get(consumer.queue)?;
        Some(ConsumerSnapshot {
            tag: consumer.tag.to_string(),
            queue: queue.name.to_string(),
            connection: consumer.connection,
            channel: self.sessions.channel(consumer.channel)?.number,
            user: self.sessions.user(consumer.connection)?.name.clone(),
            no_ack: consumer.no_ack,
            exclusive: consumer.exclusive,
            prefetch: consumer.prefetch,
            active: queue.consumers.is_active(id),
            single_active: queue.consumers.single_active().is_some(),
            arguments: consumer.arguments.clone(),
        })
    }
}

fn channel_snapshot(channel: &Channel, user: &str) -> ChannelSnapshot {
    let confirms = channel.confirms.as_ref();
    let transaction = channel.transaction.as_ref();
    ChannelSnapshot {
        connection: channel.connection,
        number: channel.number,
        user: user.to_owned(),
        consumers: channel.consumers.len(),
        prefetch: channel.prefetch,
        global_prefetch: channel.global_prefetch,
        messages_unacknowledged: channel.unacked.len(),
        messages_unconfirmed: confirms.map_or(0, Confirms::unanswered),
        messages_uncommitted: transaction.map_or(0, |it| it.publishes.len()),
        acks_uncommitted: transaction.map_or(0, |it| it.settlements.len()),
        confirm: confirms.is_some(),
        transactional: transaction.is_some(),
        statistics: channel.statistics,
    }
}

fn connection_snapshot(id: ConnectionId, client: &Client) -> ConnectionSnapshot {
    let info = client.info();
    ConnectionSnapshot {
        id,
        user: info.user.name.clone(),
        running: client.state == ClientState::Open,
        channels: client.channels.len(),
        channel_max: info.channel_max,
        frame_max: info.frame_max,
        heartbeat_secs: info.heartbeat_secs,
        client_properties: info.client_properties.clone(),
    }
}
