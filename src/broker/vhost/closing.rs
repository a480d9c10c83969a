//! How channels and connections begin and end.
//!
//! spec: 2.2.2 and 2.2.4.

use leveret_codec::method::{channel, connection};
use leveret_codec::{Method, ShortStr};

use super::Vhost;
use super::release::AfterRelease;
use super::sessions::ChannelRef;
use super::work::Task;
use crate::broker::client::{Client, ClientState};
use crate::broker::command::{Command, Outgoing};
use crate::broker::connection::ConnectionInfo;
use crate::broker::error::{AtFault, Checked, Fault};
use crate::broker::expiry::Deadline;
use crate::broker::ids::ConnectionId;
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

    /// Whether a close was asked for or sent, so that the end of the connection is expected.
    pub fn is_closing(&self, id: ConnectionId) -> bool {
        self.sessions.client(id).is_none_or(|client| client.state != ClientState::Open)
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

    /// The client ends the connection.
    pub(super) fn handle_close(&mut self, id: ConnectionId) {
        if let Some(client) = self.sessions.client_mut(id) {
            client.state = ClientState::Closed;
            self.deadlines.add(self.now.plus_millis(limits::CLOSE_TIMEOUT_MS), Deadline::Close(id));
        }
        self.release_client(id, AfterRelease::CloseOk);
    }

    /// The client made a fault that costs it the connection, or the broker wants it to go.
    pub(super) fn close_client(&mut self, id: ConnectionId, at_fault: AtFault, deaf: bool) {
        let Some(client) = self.sessions.client(id) else { return };
        if client.state != ClientState::Open {
            return;
        }
        let timeout_ms = match client.info().heartbeat_secs {
            _ if deaf => limits::REFUSAL_DELAY_MS,
            0 => limits::CLOSE_TIMEOUT_MS,
            seconds => limits::CLOSE_TIMEOUT_MS.min(u64::from(seconds) * 1000),
        };
        self.sessions.send(id, Outgoing::Close { channel: 0, at_fault });
        if let Some(client) = self.sessions.client_mut(id) {
            client.state = ClientState::Closing { deaf };
        }
        self.release_client(id, AfterRelease::End);
        self.deadlines.add(self.now.plus_millis(timeout_ms), Deadline::Close(id));
    }

    /// Drops a client without a word.
    pub(super) fn end_client(&mut self, id: ConnectionId) {
        self.sessions.send(id, Outgoing::End);
        if let Some(client) = self.sessions.client_mut(id) {
            client.state = ClientState::Ended;
        }
        self.release_client(id, AfterRelease::End);
    }

    /// The time for an answer to a close is up.
    pub(super) fn close_deadline(&mut self, id: ConnectionId) {
        if self.sessions.client(id).is_some_and(|client| client.state != ClientState::Ended) {
            self.end_client(id);
        }
    }

    /// The client is gone; what it leaves behind may still take a while.
    pub(super) fn remove_client(&mut self, id: ConnectionId) {
        if let Some(client) = self.sessions.client_mut(id) {
            client.state = ClientState::Ended;
            client.is_gone = true;
        }
        self.release_client(id, AfterRelease::End);
    }

    pub(super) fn note_written(&mut self, id: ConnectionId, octets: usize) {
        let has_room =
            self.sessions.client_mut(id).is_some_and(|client| client.note_written(octets));
        if has_room {
            self.start(Task::ResumeConnection(id), None);
        }
    }

    /// spec: channel.open.
    pub(super) fn open_channel(&mut self, id: ConnectionId, number: u16) -> Checked<()> {
        let Some(client) = self.sessions.client(id) else { return Ok(()) };
        let (open, max) = (client.channels.len(), client.info().channel_max);
        if open >= usize::from(max) {
            return Err(Fault::ChannelLimit { open, max }.into());
        }
        if let Some(max) = client.rights().max_channels {
            let user = &client.user().name;
            let open = self.sessions.channels_of_user(user);
            if open as u64 >= max {
                return Err(Fault::UserChannelLimit { user: user.clone(), max }.into());
            }
        }
        self.check_may_open_channel()?;
        self.sessions.insert_channel(id, number);
        self.sessions.reply(id, number, &channel::OpenOk { channel_id: b"" });
        Ok(())
    }

    /// A fault that costs the client the channel.
    pub(super) fn close_channel(&mut self, via: ChannelRef, at_fault: AtFault) {
        self.flush_confirms(via.channel);
        self.release_channel(via, AfterRelease::CloseChannel { via, at_fault });
    }
}
