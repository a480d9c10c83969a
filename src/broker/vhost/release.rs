//! What a channel or a connection leaves behind when it ends: subscriptions, queues of its own, deliveries.
//! Freed in steps.
//!
//! why: all subscriptions go before any delivery is requeued, so that none of them is sent to the client that
//! is leaving; and all deliveries are requeued before any is sent again, so that what one channel had does not
//! overtake what another had before it. The same goes for the consumer that takes over from a single active one:
//! its queue is held until it has got back what that one had.

use std::collections::{BTreeSet, VecDeque};

use leveret_codec::method::{channel, connection};

use super::Vhost;
use super::sessions::ChannelRef;
use super::settle::HeldQueues;
use super::work::Task;
use crate::broker::channel::{Channel, ChannelState};
use crate::broker::client::ClientState;
use crate::broker::command::Outgoing;
use crate::broker::error::AtFault;
use crate::broker::ids::{ChannelId, ConnectionId, ConsumerId, QueueId};
use crate::broker::transaction::Outcome;

/// Channels that end, and what is to be done then.
#[derive(Debug)]
pub(super) struct Release {
    connection: ConnectionId,
    channels: VecDeque<ChannelId>,
    /// How many of the channels have no subscription any more.
    unsubscribed: usize,
    /// Queues that go with the connection, if that ends.
    owned_queues: BTreeSet<QueueId>,
    /// Channels whose deliveries are requeued.
    requeued: Vec<ChannelId>,
    returned_to: HeldQueues,
    then: AfterRelease,
}

/// What is to be done when all is freed.
#[derive(Debug)]
pub(super) enum AfterRelease {
    /// The connection was closed by the broker, or is gone.
    End,
    /// The client closed the connection and is answered.
    CloseOk,
    /// The client closed a channel and is answered.
    ChannelCloseOk(ChannelRef),
    /// The client has confirmed the end of a channel.
    ChannelEnd(ChannelRef),
    /// A fault costs the client a channel.
    CloseChannel { via: ChannelRef, at_fault: AtFault },
}

impl Vhost {
    /// Frees all that a client holds.
    pub(super) fn release_client(&mut self, id: ConnectionId, then: AfterRelease) {
        let Some(client) = self.sessions.client_mut(id) else { return };
        client.blocked = false;
        let owned_queues = std::mem::take(&mut client.owned_queues);
        let channels = self.sessions.take_channels(id);
        self.release(id, channels, owned_queues, then);
    }

    /// Frees all that a channel holds.
    pub(super) fn release_channel(&mut self, via: ChannelRef, then: AfterRelease) {
        let channels = VecDeque::from([via.channel]);
        self.release(via.connection, channels, BTreeSet::new(), then);
    }

    /// why: the channels are closed before, so that none of their consumers takes the place of
    /// another and is served.
    fn release(
        &mut self,
        connection: ConnectionId,
        channels: VecDeque<ChannelId>,
        owned_queues: BTreeSet<QueueId>,
        then: AfterRelease,
    ) {
        for &id in &channels {
            if let Some(channel) = self.sessions.channel_mut(id) {
                channel.state = ChannelState::Closing;
            }
            self.cancel_replies(id, None);
        }
        let (unsubscribed, requeued) = (0, Vec::new());
        let returned_to = HeldQueues::default();
        let release = Release {
            connection,
            channels,
            unsubscribed,
            owned_queues,
            requeued,
            returned_to,
            then,
        };
        self.start(Task::Release(Box::new(release)), Some(connection));
    }

    /// Goes on as far as the steps reach; gives back the rest.
    pub(super) fn release_on(&mut self, mut release: Box<Release>) -> Option<Box<Release>> {
        let is_done = self.unsubscribe_all(&mut release)
            && self.delete_owned(&mut release)
            && self.requeue_all(&mut release);
        if !is_done {
            return Some(release);
        }
        for queue in self.release_held(&mut release.returned_to) {
            self.evaluate(queue);
        }
        let Release { connection, requeued, then, .. } = *release;
        self.end_release(connection, requeued, then);
        None
    }

    fn unsubscribe_all(&mut self, release: &mut Release) -> bool {
        while let Some(&id) = release.channels.get(release.unsubscribed) {
            let first = self.sessions.channel(id).and_then(|it| it.consumers.values().next());
            match first.copied() {
                Some(_) if self.work.is_exhausted() => return false,
                Some(consumer) => {
                    let single = self.single_active_queue_of(consumer);
                    self.hold(&mut release.returned_to, single);
                    self.unsubscribe(consumer);
                }
                None => release.unsubscribed += 1,
            }
            self.work.take(1);
        }
        true
    }

    /// The queue of a consumer, if it serves a single active one.
    fn single_active_queue_of(&self, consumer: ConsumerId) -> Option<QueueId> {
        let id = self.sessions.consumer(consumer)?.queue;
        self.queues.get(id)?.consumers.single_active().map(|_| id)
    }

    fn delete_owned(&mut self, release: &mut Release) -> bool {
        while !release.owned_queues.is_empty() {
            if self.work.is_exhausted() {
                return false;
            }
            if let Some(queue) = release.owned_queues.pop_first() {
                self.delete_queue(queue);
                self.work.take(1);
            }
        }
        true
    }

    fn requeue_all(&mut self, release: &mut Release) -> bool {
        while let Some(&id) = release.channels.front() {
            self.drop_transaction(id);
            self.end_wait_for_head(id);
            let purged = self.end_purge(id).map(|purge| purge.queue);
            self.hold(&mut release.returned_to, purged);
            while let Some(channel) = self.sessions.channel_mut(id)
                && !channel.unacked.is_empty()
            {
                if self.work.is_exhausted() {
                    return false;
                }
                let Some((_, delivery)) = channel.unacked.pop_front() else { break };
                channel.unacked_of_consumers -= usize::from(delivery.consumer.is_some());
                let returned_to = self.settle_in_queue(delivery, Outcome::LeftBehind);
                self.hold(&mut release.returned_to, returned_to);
                self.work.take(1);
            }
            release.requeued.extend(release.channels.pop_front());
        }
        true
    }

    fn end_release(&mut self, id: ConnectionId, channels: Vec<ChannelId>, then: AfterRelease) {
        let state = self.sessions.client(id).map(|client| client.state);
        match then {
            AfterRelease::CloseOk => self.sessions.reply(id, 0, &connection::CloseOk {}),
            // why: nothing follows the close of the connection, which came in between.
            AfterRelease::CloseChannel { via, at_fault } if state == Some(ClientState::Open) => {
                self.send_channel_close(via, at_fault);
                return;
            }
            AfterRelease::ChannelCloseOk(via) => {
                self.sessions.forget_channel_number(via);
                if state == Some(ClientState::Open) {
                    self.sessions.reply(via.connection, via.number, &channel::CloseOk {});
                }
            }
            AfterRelease::ChannelEnd(via) => self.sessions.forget_channel_number(via),
            AfterRelease::End | AfterRelease::CloseChannel { .. } => {}
        }
        for channel in channels {
            self.sessions.remove_channel(channel);
        }
        if self.sessions.client(id).is_some_and(|client| client.is_gone) {
            self.sessions.remove_client(id);
        }
    }

    fn send_channel_close(&mut self, via: ChannelRef, at_fault: AtFault) {
        let Some(channel) = self.sessions.channel_mut(via.channel) else { return };
        // why: what is left of it only waits for close-ok.
        *channel = Channel::new(via.connection, via.number);
        channel.state = ChannelState::Closing;
        self.sessions.send(via.connection, Outgoing::Close { channel: via.number, at_fault });
    }
}
