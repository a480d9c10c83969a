//! How channels and connections begin and end.
//!
//! spec: 2.2.2 and 2.2.4.

use leveret_codec::method::{channel, connection};
use leveret_codec::{Method, ReplyCode, ShortStr};

use super::Vhost;
use super::sessions::ChannelRef;
use crate::broker::channel::{Channel, ChannelState};
use crate::broker::client::{Client, ClientState};
use crate::broker::command::{Command, Outgoing};
use crate::broker::connection::ConnectionInfo;
use crate::broker::error::Fault;
use crate::broker::expiry::Deadline;
use crate::broker::handshake::encode_close;
use crate::broker::ids::{ChannelId, ConnectionId};
use crate::broker::limits;

impl Vhost {
    pub(super) fn open_client(&mut self, info: ConnectionInfo) -> ConnectionId {
        let id = self.sessions.insert_client(Client::new(info));
        self.sessions.reply(id, 0, &connection::OpenOk { known_hosts: ShortStr::EMPTY });
        id
    }

    /// Whether the last word to a connection is said.
    pub fn has_ended(&self, id: ConnectionId) -> bool {
        self.sessions.client(id).is_none_or(|client| client.state == ClientState::Ended)
    }

    /// What a connection that is not open any more may still say.
    pub(super) fn handle_while_closing(&mut self, id: ConnectionId, command: &Command<'_>) {
        let Some(client) = self.sessions.client(id) else { return };
        if matches!(client.state, ClientState::Closing { deaf: true } | ClientState::Ended) {
            return;
        }
        match command {
            Command::Method { channel: 0, method: Method::ConnectionClose(_) } => {
                self.sessions.reply(id, 0, &connection::CloseOk {});
            }
            Command::Method { channel: 0, method: Method::ConnectionCloseOk(_) }
            | Command::Abort => self.end_client(id),
            _ => {}
        }
    }

    /// The client said good-bye.
    pub(super) fn handle_close(&mut self, id: ConnectionId) {
        self.release_client(id);
        self.sessions.reply(id, 0, &connection::CloseOk {});
        if let Some(client) = self.sessions.client_mut(id) {
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
        let Some(client) = self.sessions.client(id) else { return };
        if client.state != ClientState::Open {
            return;
        }
        let timeout_ms = match client.info().heartbeat_secs {
            _ if deaf => limits::REFUSAL_DELAY_MS,
            0 => limits::CLOSE_TIMEOUT_MS,
            seconds => limits::CLOSE_TIMEOUT_MS.min(u64::from(seconds) * 1000),
        };
        self.release_client(id);
        let mut frames = Vec::new();
        encode_close(&mut frames, fault, class_id, method_id);
        self.sessions.send(id, Outgoing::Frames(frames));
        if let Some(client) = self.sessions.client_mut(id) {
            client.state = ClientState::Closing { deaf };
        }
        self.deadlines.add(self.now.plus_millis(timeout_ms), Deadline::Close(id));
    }

    /// Drops a client without a word.
    pub(super) fn end_client(&mut self, id: ConnectionId) {
        self.release_client(id);
        self.sessions.send(id, Outgoing::End);
        if let Some(client) = self.sessions.client_mut(id) {
            client.state = ClientState::Ended;
        }
    }

    /// The time for an answer to a close is up.
    pub(super) fn close_deadline(&mut self, id: ConnectionId) {
        if self.sessions.client(id).is_some_and(|client| client.state != ClientState::Ended) {
            self.end_client(id);
        }
    }

    /// Frees all that a client holds: subscriptions, deliveries, its own queues.
    ///
    /// why: all subscriptions go before any delivery is requeued, so that none of them is sent to
    /// the client that is leaving.
    pub(super) fn release_client(&mut self, id: ConnectionId) {
        let Some(client) = self.sessions.client_mut(id) else { return };
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
            self.sessions.remove_channel(channel);
        }
    }

    pub(super) fn note_written(&mut self, id: ConnectionId, octets: usize) {
        let Some(client) = self.sessions.client_mut(id) else { return };
        if !client.note_written(octets) {
            return;
        }
        let channels: Vec<_> = client.channels.values().copied().collect();
        for channel in channels {
            self.resume_channel(channel);
        }
    }

    /// spec: channel.open.
    pub(super) fn open_channel(&mut self, id: ConnectionId, number: u16) -> Result<(), Fault> {
        let Some(client) = self.sessions.client(id) else { return Ok(()) };
        let (open, max) = (client.channels.len(), client.info().channel_max);
        if open >= usize::from(max) {
            let text = format!(
                "number of channels opened ({open}) has reached the negotiated channel_max ({max})"
            );
            return Err(Fault::new(ReplyCode::NotAllowed, text));
        }
        if let Some(max) = client.rights().max_channels {
            let user = client.user().name.clone();
            let open: usize = self
                .sessions
                .clients()
                .filter(|(_, other)| other.user().name == user)
                .map(|(_, other)| other.channels.len())
                .sum();
            if open as u64 >= max {
                let text = format!(
                    "number of channels opened for user '{user}' has reached the maximum allowed \
                     user limit of ({max})"
                );
                return Err(Fault::new(ReplyCode::NotAllowed, text));
            }
        }
        self.sessions.insert_channel(id, number);
        self.sessions.reply(id, number, &channel::OpenOk { channel_id: b"" });
        Ok(())
    }

    /// A fault that costs the client the channel.
    pub(super) fn close_channel(
        &mut self,
        via: ChannelRef,
        fault: &Fault,
        class_id: u16,
        method_id: u16,
    ) {
        self.flush_confirms(via.channel);
        self.cancel_all(&[via.channel]);
        self.requeue_all(&[via.channel]);
        if let Some(channel) = self.sessions.channel_mut(via.channel) {
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
        self.sessions.reply(via.connection, via.number, &close);
    }

    /// The client ends the channel, or confirms its end.
    pub(super) fn remove_channel(&mut self, via: ChannelRef) {
        self.cancel_all(&[via.channel]);
        self.requeue_all(&[via.channel]);
        self.sessions.remove_channel(via.channel);
        if let Some(client) = self.sessions.client_mut(via.connection) {
            client.channels.remove(&via.number);
        }
    }
}
