//! Alarms: while the broker is short of memory or disk, publishers are not read from.
//!
//! rabbitmq: a connection is blocked at its first publish after the alarm, all its channels with
//! it; one that does not publish notices nothing. Clients that announced the capability are told
//! with connection.blocked and connection.unblocked.

use leveret_codec::ShortString;
use leveret_codec::method::connection;

use super::Vhost;
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

    /// Blocks a connection that has published.
    pub(super) fn block(&mut self, id: ConnectionId) {
        let Some(reason) = self.alarm.clone() else { return };
        let Some(client) = self.sessions.client_mut(id) else { return };
        if !std::mem::replace(&mut client.blocked, true) && client.wants_blocked() {
            self.sessions.reply(id, 0, &connection::Blocked { reason: reason.as_short() });
        }
    }
}
