//! A look at everything, as values: for management, tests and whoever embeds the broker.

use leveret_codec::TableBuf;

use super::Vhost;
use crate::broker::client::{Client, ClientState};
use crate::broker::confirm::Confirms;
use crate::broker::exchange::{Destination, Exchange};
use crate::broker::ids::{ConnectionId, QueueId};
use crate::broker::queue::Queue;
use crate::broker::snapshot::{
    BindingSnapshot, ChannelSnapshot, ConnectionSnapshot, ConsumerSnapshot, ExchangeSnapshot,
    QueueSnapshot, VhostSnapshot,
};

impl Vhost {
    /// All queues as they are now, by name.
    pub fn queues(&self) -> Vec<QueueSnapshot> {
        let queues = self.queues.iter();
        let mut queues: Vec<_> = queues.map(|(_, queue)| self.queue_snapshot(queue)).collect();
        queues.sort_by(|a, b| a.name.cmp(&b.name));
        queues
    }

    /// One queue as it is now.
    pub fn queue(&self, name: &[u8]) -> Option<QueueSnapshot> {
        let id = self.queues.find(name)?;
        self.queues.get(id).map(|queue| self.queue_snapshot(queue))
    }

    /// Whether there is a queue of this name.
    pub fn has_queue(&self, name: &[u8]) -> bool {
        self.queues.find(name).is_some()
    }

    fn queue_snapshot(&self, queue: &Queue) -> QueueSnapshot {
        let tag = |id| self.sessions.consumer(id).map(|consumer| consumer.tag.to_string());
        QueueSnapshot {
            name: queue.name.to_string(),
            kind: queue.arguments.queue_type.name(),
            durable: queue.durable.is_some(),
            auto_delete: queue.auto_delete,
            exclusive: queue.owner.is_some(),
            owner: queue.owner,
            arguments: queue.declared.raw.clone(),
            policy: queue.policy.clone(),
            operator_policy: queue.operator_policy.clone(),
            messages_ready: queue.ready.len(),
            messages_unacknowledged: queue.unacknowledged,
            message_bytes_ready: queue.ready.octets(),
            message_bytes_unacknowledged: queue.unacknowledged_octets,
            consumers: queue.consumers.len(),
            exclusive_consumer: queue.consumers.exclusive().and_then(tag),
            single_active_consumer: queue.consumers.single_active().and_then(tag),
            head_message_timestamp: queue.ready.head_timestamp(),
            idle_since: queue.last_used,
            statistics: queue.statistics,
        }
    }

    /// All exchanges as they are now, by name, the default one first.
    pub fn exchanges(&self) -> Vec<ExchangeSnapshot> {
        let mut exchanges: Vec<_> =
            self.exchanges.iter().map(|(_, exchange)| exchange_snapshot(exchange)).collect();
        exchanges.push(self.default_exchange());
        exchanges.sort_by(|a, b| a.name.cmp(&b.name));
        exchanges
    }

    /// One exchange as it is now; the empty name is the default exchange's.
    pub fn exchange(&self, name: &[u8]) -> Option<ExchangeSnapshot> {
        if name.is_empty() {
            return Some(self.default_exchange());
        }
        self.exchanges.get(self.exchanges.find(name)?).map(exchange_snapshot)
    }

    fn default_exchange(&self) -> ExchangeSnapshot {
        ExchangeSnapshot {
            name: String::new(),
            kind: "direct",
            durable: true,
            auto_delete: false,
            internal: false,
            arguments: TableBuf::default(),
            policy: None,
            statistics: self.default_exchange_statistics,
        }
    }

    /// All bindings, those of the default exchange to every queue first.
    pub fn bindings(&self) -> Vec<BindingSnapshot> {
        let mut queues: Vec<_> =
            self.queues.iter().map(|(_, queue)| queue.name.to_string()).collect();
        queues.sort_unstable();
        let implicit = queues.into_iter().map(|name| BindingSnapshot {
            source: String::new(),
            destination: name.clone(),
            to_queue: true,
            routing_key: name,
            arguments: TableBuf::default(),
        });
        let mut made = Vec::new();
        for (_, exchange) in self.exchanges.iter() {
            for binding in exchange.bindings() {
                let Some((destination, to_queue)) = self.destination_name(binding.destination)
                else {
                    continue;
                };
                made.push(BindingSnapshot {
                    source: exchange.name.to_string(),
                    destination,
                    to_queue,
                    routing_key: binding.key.to_string(),
                    arguments: binding.arguments.clone(),
                });
            }
        }
        made.sort_by(|a, b| {
            (&a.source, &a.destination, &a.routing_key).cmp(&(
                &b.source,
                &b.destination,
                &b.routing_key,
            ))
        });
        implicit.chain(made).collect()
    }

    fn destination_name(&self, destination: Destination) -> Option<(String, bool)> {
        match destination {
            Destination::Queue(id) => Some((self.queues.get(id)?.name.to_string(), true)),
            Destination::Exchange(id) => Some((self.exchanges.get(id)?.name.to_string(), false)),
        }
    }

    /// How many connections are open.
    pub fn connection_count(&self) -> usize {
        self.sessions.client_count()
    }

    /// All connections as they are now.
    pub fn connections(&self) -> Vec<ConnectionSnapshot> {
        self.sessions.clients().map(|(id, client)| connection_snapshot(id, client)).collect()
    }

    /// All open channels as they are now, by connection and number.
    pub fn channels(&self) -> Vec<ChannelSnapshot> {
        let mut channels = Vec::new();
        for (connection, client) in self.sessions.clients() {
            for (&number, &id) in &client.channels {
                let Some(channel) = self.sessions.channel(id) else { continue };
                let confirms = channel.confirms.as_ref();
                let transaction = channel.transaction.as_ref();
                channels.push(ChannelSnapshot {
                    connection,
                    number,
                    user: client.user().name.clone(),
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
                });
            }
        }
        channels
    }

    /// All consumers as they are now, by queue in the order they subscribed.
    pub fn consumers(&self) -> Vec<ConsumerSnapshot> {
        let mut queues: Vec<(QueueId, &Queue)> = self.queues.iter().collect();
        queues.sort_by(|(_, a), (_, b)| a.name.cmp(&b.name));
        queues.into_iter().flat_map(|(_, queue)| self.consumers_of(queue)).collect()
    }

    /// The consumers of one queue as they are now, in the order they subscribed.
    pub fn consumers_of_queue(&self, name: &[u8]) -> Vec<ConsumerSnapshot> {
        let queue = self.queues.find(name).and_then(|id| self.queues.get(id));
        queue.map(|queue| self.consumers_of(queue)).unwrap_or_default()
    }

    fn consumers_of(&self, queue: &Queue) -> Vec<ConsumerSnapshot> {
        let snapshot = |id| {
            let consumer = self.sessions.consumer(id)?;
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
                arguments: consumer.arguments.clone(),
            })
        };
        queue.consumers.members().filter_map(snapshot).collect()
    }

    /// How much of everything there is now.
    pub fn snapshot(&self) -> VhostSnapshot {
        let queues = || self.queues.iter().map(|(_, queue)| queue);
        VhostSnapshot {
            connections: self.sessions.client_count(),
            channels: self.sessions.channels().len(),
            exchanges: self.exchanges.len() + 1,
            queues: self.queues.len(),
            consumers: self.sessions.consumer_count(),
            messages_ready: queues().map(|queue| queue.ready.len()).sum(),
            messages_unacknowledged: queues().map(|queue| queue.unacknowledged).sum(),
            statistics: self.statistics,
        }
    }
}

fn exchange_snapshot(exchange: &Exchange) -> ExchangeSnapshot {
    ExchangeSnapshot {
        name: exchange.name.to_string(),
        kind: exchange.kind.name(),
        durable: exchange.durable,
        auto_delete: exchange.auto_delete,
        internal: exchange.internal,
        arguments: exchange.arguments.raw.clone(),
        policy: exchange.policy.clone(),
        statistics: exchange.statistics,
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
