//! A connection as the virtual host sees it: its channels, its outputs, its end.
//!
//! ```text
//!   Open ──fault: close sent──► Closing ──close-ok, or time is up──► Ended
//!     └──close received: close-ok sent──► Closed ──time is up──► Ended
//! ```
//!
//! spec: 2.2.4 and the class `connection`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use leveret_codec::method::{Encode, basic, channel, connection};
use leveret_codec::{Method, ShortStr, encode};

use super::Vhost;
use crate::broker::access::{Rights, User};
use crate::broker::channel::{Channel, ChannelId, ChannelState};
use crate::broker::command::{Command, Outgoing};
use crate::broker::confirm::Confirm;
use crate::broker::connection::ConnectionInfo;
use crate::broker::error::Fault;
use crate::broker::expiry::Deadline;
use crate::broker::handshake::encode_close;
use crate::broker::id::Id;
use crate::broker::limits;
use crate::broker::queue::QueueId;

/// Refers to a connection of a virtual host.
pub type ConnectionId = Id<Client>;

/// How far the life of a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientState {
    /// It is in use.
    Open,
    /// It was told to close; only the end of it counts, and nothing at all when it is `deaf`.
    Closing { deaf: bool },
    /// It said good-bye and was answered.
    Closed,
    /// The socket is about to be closed.
    Ended,
}

/// A connection of a virtual host.
#[derive(Debug)]
pub struct Client {
    info: ConnectionInfo,
    pub(super) state: ClientState,
    pub(super) channels: BTreeMap<u16, ChannelId>,
    /// Queues that go with it.
    pub(super) owned_queues: BTreeSet<QueueId>,
    /// Whether it has published since an alarm was raised, and so is not read from.
    pub(super) blocked: bool,
    outputs: Vec<Outgoing>,
    /// Octets that were handed over and not reported as written yet.
    in_outbox: usize,
}

impl Client {
    /// Who it is.
    pub fn user(&self) -> &User {
        &self.info.user
    }

    /// What it may do.
    pub(super) fn rights(&self) -> &Rights {
        &self.info.rights
    }

    pub(super) fn set_rights(&mut self, rights: Arc<Rights>) {
        self.info.rights = rights;
    }

    pub(super) fn info(&self) -> &ConnectionInfo {
        &self.info
    }

    /// Whether it wants to hear of consumers that end with their queue.
    pub(super) fn wants_cancel_notify(&self) -> bool {
        self.info.consumer_cancel_notify
    }

    /// Whether it wants to hear that it is blocked.
    pub(super) fn wants_blocked(&self) -> bool {
        self.info.connection_blocked
    }

    pub(super) fn outputs_mut(&mut self) -> &mut Vec<Outgoing> {
        &mut self.outputs
    }

    /// Whether it may get answers of direct reply-to.
    pub(super) fn has_room_for_replies(&self) -> bool {
        self.in_outbox < limits::OUTBOX_REPLIES_OCTETS
    }

    /// Octets that were handed over and not reported as written yet.
    pub(super) fn in_outbox(&self) -> u64 {
        self.in_outbox as u64
    }

    /// Whether consumers of it may get more.
    pub(super) fn has_room(&self) -> bool {
        self.in_outbox < limits::OUTBOX_OCTETS
    }
}

/// A channel of a client, found for a command.
#[derive(Clone, Copy, Debug)]
pub(super) struct Via {
    pub(super) connection: ConnectionId,
    pub(super) channel: ChannelId,
    pub(super) number: u16,
}

impl Vhost {
    pub(super) fn open_client(&mut self, info: ConnectionInfo) -> ConnectionId {
        let id = self.clients.insert(Client {
            info,
            state: ClientState::Open,
            channels: BTreeMap::new(),
            owned_queues: BTreeSet::new(),
            blocked: false,
            outputs: Vec::new(),
            in_outbox: 0,
        });
        self.reply(id, 0, &connection::OpenOk { known_hosts: ShortStr::EMPTY });
        id
    }

    /// Whether the last word to a connection is said.
    pub fn has_ended(&self, id: ConnectionId) -> bool {
        self.clients.get(id).is_none_or(|client| client.state == ClientState::Ended)
    }

    /// Puts something at the end of what a client gets.
    pub(super) fn send(&mut self, to: ConnectionId, outgoing: Outgoing) {
        let Some(client) = self.clients.get_mut(to) else { return };
        if client.outputs.is_empty() {
            self.dirty.push(to);
        }
        client.in_outbox += outgoing.size();
        client.outputs.push(outgoing);
    }

    /// Sends a method on a channel.
    pub(super) fn reply(&mut self, to: ConnectionId, channel: u16, method: &impl Encode) {
        let Some(client) = self.clients.get_mut(to) else { return };
        if let Some(Outgoing::Frames(frames)) = client.outputs.last_mut() {
            let before = frames.len();
            encode::method(frames, channel, method);
            client.in_outbox += frames.len() - before;
            return;
        }
        let mut frames = Vec::new();
        encode::method(&mut frames, channel, method);
        self.send(to, Outgoing::Frames(frames));
    }

    pub(super) fn reply_confirm(&mut self, to: ConnectionId, channel: u16, confirm: Confirm) {
        let Confirm { last: delivery_tag, multiple, accepted } = confirm;
        if accepted {
            self.reply(to, channel, &basic::Ack { delivery_tag, multiple });
        } else {
            self.reply(to, channel, &basic::Nack { delivery_tag, multiple, requeue: false });
        }
    }

    /// What a connection that is not open any more may still say.
    pub(super) fn handle_while_closing(&mut self, id: ConnectionId, command: &Command<'_>) {
        let Some(client) = self.clients.get(id) else { return };
        if matches!(client.state, ClientState::Closing { deaf: true } | ClientState::Ended) {
            return;
        }
        match command {
            Command::Method { channel: 0, method: Method::ConnectionClose(_) } => {
                self.reply(id, 0, &connection::CloseOk {});
            }
            Command::Method { channel: 0, method: Method::ConnectionCloseOk(_) }
            | Command::Abort => self.end_client(id),
            _ => {}
        }
    }

    /// The client said good-bye.
    pub(super) fn handle_close(&mut self, id: ConnectionId) {
        self.release_client(id);
        self.reply(id, 0, &connection::CloseOk {});
        if let Some(client) = self.clients.get_mut(id) {
            client.state = ClientState::Closed;
            self.deadlines.add(self.now.plus_millis(limits::CLOSE_TIMEOUT_MS), Deadline::Close(id));
        }
    }

    /// The client made a fault that costs it the connection, or the broker wants it to go.
    pub(super) fn close_client(
        &mut self,
        id: ConnectionId,
        fault: &Fault,
        class_id: u16,
        method_id: u16,
        deaf: bool,
    ) {
        let Some(client) = self.clients.get(id) else { return };
        if client.state != ClientState::Open {
            return;
        }
        let timeout_ms = match client.info.heartbeat_secs {
            _ if deaf => limits::REFUSAL_DELAY_MS,
            0 => limits::CLOSE_TIMEOUT_MS,
            seconds => limits::CLOSE_TIMEOUT_MS.min(u64::from(seconds) * 1000),
        };
        self.release_client(id);
        let mut frames = Vec::new();
        encode_close(&mut frames, fault, class_id, method_id);
        self.send(id, Outgoing::Frames(frames));
        if let Some(client) = self.clients.get_mut(id) {
            client.state = ClientState::Closing { deaf };
        }
        self.deadlines.add(self.now.plus_millis(timeout_ms), Deadline::Close(id));
    }

    /// Drops a client without a word.
    pub(super) fn end_client(&mut self, id: ConnectionId) {
        self.release_client(id);
        self.send(id, Outgoing::End);
        if let Some(client) = self.clients.get_mut(id) {
            client.state = ClientState::Ended;
        }
    }

    /// The time for an answer to a close is up.
    pub(super) fn close_deadline(&mut self, id: ConnectionId) {
        if self.clients.get(id).is_some_and(|client| client.state != ClientState::Ended) {
            self.end_client(id);
        }
    }

    /// Frees all that a client holds: subscriptions, deliveries, its own queues.
    ///
    /// why: all subscriptions go before any delivery is requeued, so that none of them is sent to
    /// the client that is leaving.
    pub(super) fn release_client(&mut self, id: ConnectionId) {
        let Some(client) = self.clients.get_mut(id) else { return };
        client.blocked = false;
        let channels = std::mem::take(&mut client.channels);
        let owned = std::mem::take(&mut client.owned_queues);
        let channels: Vec<ChannelId> = channels.into_values().collect();
        self.cancel_all(&channels);
        for queue in owned {
            self.delete_queue(queue);
        }
        self.requeue_all(&channels);
        for channel in channels {
            self.channels.remove(channel);
        }
    }

    pub(super) fn note_written(&mut self, id: ConnectionId, octets: usize) {
        let Some(client) = self.clients.get_mut(id) else { return };
        let had_room = client.has_room();
        client.in_outbox = client.in_outbox.saturating_sub(octets);
        if had_room || !client.has_room() {
            return;
        }
        let channels: Vec<_> = client.channels.values().copied().collect();
        for channel in channels {
            self.resume_channel(channel);
        }
    }

    /// spec: channel.open.
    pub(super) fn open_channel(&mut self, id: ConnectionId, number: u16) -> Result<(), Fault> {
        let Some(client) = self.clients.get(id) else { return Ok(()) };
        let (open, max) = (client.channels.len(), client.info.channel_max);
        if open >= usize::from(max) {
            let text = format!(
                "number of channels opened ({open}) has reached the negotiated channel_max ({max})"
            );
            return Err(Fault::new(leveret_codec::ReplyCode::NotAllowed, text));
        }
        if let Some(max) = client.info.rights.max_channels {
            let user = client.info.user.name.clone();
            let open: usize = self
                .clients
                .iter()
                .filter(|(_, other)| other.info.user.name == user)
                .map(|(_, other)| other.channels.len())
                .sum();
            if open as u64 >= max {
                let text = format!(
                    "number of channels opened for user '{user}' has reached the maximum allowed \
                     user limit of ({max})"
                );
                return Err(Fault::new(leveret_codec::ReplyCode::NotAllowed, text));
            }
        }
        let Some(client) = self.clients.get_mut(id) else { return Ok(()) };
        let channel = self.channels.insert(Channel::new(id, number));
        client.channels.insert(number, channel);
        self.reply(id, number, &channel::OpenOk { channel_id: b"" });
        Ok(())
    }

    /// A fault that costs the client the channel.
    pub(super) fn close_channel(&mut self, via: Via, fault: &Fault, class_id: u16, method_id: u16) {
        self.flush_confirms(via.channel);
        self.cancel_all(&[via.channel]);
        self.requeue_all(&[via.channel]);
        if let Some(channel) = self.channels.get_mut(via.channel) {
            // why: what is left of it only waits for close-ok.
            *channel = Channel::new(via.connection, via.number);
            channel.state = ChannelState::Closing;
        }
        let text = fault.reply_text();
        let close = channel::Close {
            reply_code: fault.code.code(),
            reply_text: ShortStr::truncated(&text),
            class_id,
            method_id,
        };
        self.reply(via.connection, via.number, &close);
    }

    /// The client ends the channel, or confirms its end.
    pub(super) fn remove_channel(&mut self, via: Via) {
        self.cancel_all(&[via.channel]);
        self.requeue_all(&[via.channel]);
        self.channels.remove(via.channel);
        if let Some(client) = self.clients.get_mut(via.connection) {
            client.channels.remove(&via.number);
        }
    }
}
