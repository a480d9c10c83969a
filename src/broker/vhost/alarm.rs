//! Alarms: while the broker is short of memory or disk, publishers are not read from.
//!
//! rabbitmq: a connection is blocked at its first publish after the alarm, all its channels with
//! it; one that does not publish notices nothing. That publish is routed once the alarm is over, and
//! before what the client has sent behind it; but it is routed at once when its body is empty, since
//! RabbitMQ stops reading behind the header of its content. Clients that announced the capability
//! are told with connection.blocked and connection.unblocked.

use leveret_codec::ShortString;
use leveret_codec::method::connection;

use super::Vhost;
use crate::broker::command::Command;
use crate::broker::ids::ConnectionId;
use crate::broker::time::Time;

impl Vhost {
    /// An alarm is raised, with its reason, or all are over.
    pub fn handle_alarm(&mut self, now: Time, reason: Option<&str>) {
        self.now = now;
        // A run of publishes knows nothing of it.
        self.batch.run.end();
        self.alarm = reason.map(|reason| ShortString::truncated(reason.as_bytes()));
        if reason.is_some() {
            return;
        }
        let blocked: Vec<_> =
            self.sessions.clients().filter(|(_, it)| it.blocked).map(|(id, _)| id).collect();
        for id in blocked {
            let Some(client) = self.sessions.client_mut(id) else { continue };
            client.blocked = false;
            if client.wants_blocked() {
                self.sessions.reply(id, 0, &connection::Unblocked {});
            }
        }
    }

    /// Whether a connection is not to be read from until the alarm is over.
    pub fn is_blocked(&self, connection: ConnectionId) -> bool {
        self.sessions.client(connection).is_some_and(|client| client.blocked)
    }

    /// Whether a command of an open connection waits for the end of the alarm. Blocks the connection when
    /// it is the first such command.
    pub(super) fn waits_for_alarm(&mut self, id: ConnectionId, command: &Command<'_>) -> bool {
        if self.alarm.is_none() {
            return false;
        }
        match command {
            // What ends the connection ends the wait as well.
            Command::Fault { .. } | Command::Abort => return false,
            Command::Publish { message, .. } if !message.body().is_empty() => self.block(id),
            _ => {}
        }
        self.is_blocked(id)
    }

    /// Blocks a connection that publishes, if an alarm is raised.
    pub(super) fn block(&mut self, id: ConnectionId) {
        let Some(reason) = self.alarm.clone() else { return };
        let Some(client) = self.sessions.client_mut(id) else { return };
        if !client.obeys_alarms() {
            return;
        }
        if !std::mem::replace(&mut client.blocked, true) && client.wants_blocked() {
            self.sessions.reply(id, 0, &connection::Blocked { reason: reason.as_short() });
        }
    }
}
