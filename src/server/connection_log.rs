//! What is logged of connections: who came and went, and what went wrong, in RabbitMQ's words.
//!
//! A line has what it takes to find the client: the connection's name, what the client calls it, user and virtual
//! host. What one client, or many that come and go, can cause has a bound a second.

use std::net::SocketAddr;
use std::sync::Arc;

use leveret_codec::{Method, Table};

use crate::broker::error::{AtFault, Fault};
use crate::log_limit::LogLimit;
use crate::log_text::printable;

/// Errors a second that are logged of one connection.
const ERRORS_OF_ONE: u32 = 10;
/// Errors a second that are logged of all connections.
const ERRORS: u32 = 100;
/// Handshakes a second that failed and are logged.
const HANDSHAKES: u32 = 100;
/// Connections a second that began or ended and are logged.
const CONNECTIONS: u32 = 400;

/// What bounds the lines of all connections.
#[derive(Debug)]
pub(super) struct ConnectionLogLimits {
    errors: LogLimit,
    pub(super) handshakes: LogLimit,
    connections: LogLimit,
}

impl Default for ConnectionLogLimits {
    fn default() -> Self {
        ConnectionLogLimits {
            errors: LogLimit::new("errors of clients", ERRORS),
            handshakes: LogLimit::new("failed handshakes", HANDSHAKES),
            connections: LogLimit::new("connections that began or ended", CONNECTIONS),
        }
    }
}

/// How an open connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// After a close, of the client's or the broker's.
    InOrder,
    /// The client is gone without a close.
    Vanished,
    /// The client was silent for too long.
    Silent,
    /// The client has not read what it is sent.
    Unread(Unread),
}

/// How it is known that a client does not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// Its socket has taken nothing for the send timeout.
    TimedOut,
    /// So many bytes of answers wait for it, and all connections together hold too much.
    TooMuch(u64),
}

/// One open connection, for the log.
#[derive(Debug)]
pub(super) struct ConnectionLog {
    /// `client -> server`, as management names it.
    connection: String,
    /// What the client calls it, if it does.
    client: Option<String>,
    user: String,
    vhost: String,
    limit: LogLimit,
    limits: Arc<ConnectionLogLimits>,
}

impl ConnectionLog {
    pub(super) fn new(
        limits: Arc<ConnectionLogLimits>,
        (peer, local): (SocketAddr, SocketAddr),
        client_properties: Table<'_>,
        user: &str,
        vhost: &str,
    ) -> Self {
        let client = client_properties.find(b"connection_name");
        let client = client.and_then(|name| name.as_bytes().map(String::from_utf8_lossy));
        ConnectionLog {
            connection: format!("{peer} -> {local}"),
            client: client.map(std::borrow::Cow::into_owned),
            user: user.to_owned(),
            vhost: vhost.to_owned(),
            limit: LogLimit::new("errors of this client", ERRORS_OF_ONE),
            limits,
        }
    }

    /// It is open.
    ///
    /// rabbitmq: two lines of these words, which some wait for.
    pub(super) fn opened(&self) {
        if self.limits.connections.allows() {
            let ConnectionLog { connection, client, user, vhost, .. } = self;
            let (name, place) = (printable(user), printable(vhost));
            tracing::info!(
                connection,
                client,
                user,
                vhost,
                "accepting AMQP connection: user '{name}' authenticated and granted access to vhost '{place}'"
            );
        }
    }

    /// The broker wants it not to be.
    pub(super) fn refused(&self, reason: &Fault) {
        if self.limits.handshakes.allows() {
            let ConnectionLog { connection, client, user, vhost, .. } = self;
            let reason = printable(&reason.to_string());
            tracing::warn!(connection, client, user, vhost, "open refused: {reason}");
        }
    }

    /// The client is told that a channel, or with channel 0 the connection, is closed.
    ///
    /// rabbitmq: `operation queue.declare caused a channel exception precondition_failed: inequivalent arg …`.
    pub(super) fn closes(&self, channel: u16, at_fault: &AtFault) {
        // The end of the broker is not said for each client.
        if matches!(*at_fault.fault, Fault::Shutdown)
            || !self.limit.allows()
            || !self.limits.errors.allows()
        {
            return;
        }
        let ConnectionLog { connection, client, user, vhost, .. } = self;
        let AtFault { fault, class_id, method_id } = at_fault;
        let method = Method::name_of(*class_id, *method_id).unwrap_or("none");
        let code = fault.code().name().to_ascii_lowercase();
        let text = printable(&fault.to_string());
        match channel {
            0 => tracing::error!(
                connection,
                client,
                user,
                vhost,
                "connection error: operation {method} caused a connection exception {code}: {text}"
            ),
            _ => tracing::error!(
                connection,
                client,
                user,
                vhost,
                channel,
                "channel error: operation {method} caused a channel exception {code}: {text}"
            ),
        }
    }

    /// It is over.
    pub(super) fn ended(&self, end: End, heartbeat_secs: u16) {
        self.limit.finish();
        if !self.limits.connections.allows() {
            return;
        }
        let ConnectionLog { connection, client, user, vhost, .. } = self;
        match end {
            End::InOrder => {
                tracing::info!(connection, client, user, vhost, "closing AMQP connection");
            }
            // rabbitmq: these words.
            End::Vanished => tracing::warn!(
                connection,
                client,
                user,
                vhost,
                "closing AMQP connection: client unexpectedly closed TCP connection"
            ),
            End::Unread(Unread::TimedOut) => tracing::warn!(
                connection,
                client,
                user,
                vhost,
                "closing AMQP connection: client read nothing of what it is sent (--send-timeout)"
            ),
            End::Unread(Unread::TooMuch(bytes)) => tracing::warn!(
                connection,
                client,
                user,
                vhost,
                "closing AMQP connection: client left {bytes} bytes of answers unread, and memory for these is short"
            ),
            End::Silent => tracing::warn!(
                connection,
                client,
                user,
                vhost,
                "closing AMQP connection: missed heartbeats from client, timeout: {heartbeat_secs}s"
            ),
        }
    }
}
