//! What is agreed on with a client before its connection is open, and what the edge has to do for that.

use std::sync::Arc;

use leveret_codec::TableBuf;

use super::access::{Credentials, Rights, User};
use super::limits;

/// What a connection offers and how much it takes.
#[derive(Clone, Debug)]
pub struct ConnectionSettings {
    /// Highest number of channels open at once.
    pub channel_max: u16,
    /// Largest frame, in octets, its header and end included.
    pub frame_max: u32,
    /// Heartbeat interval, in seconds; the client may choose another.
    pub heartbeat_secs: u16,
    /// Largest message body, in octets.
    pub max_message_size: u64,
    /// Whether the client may log in with EXTERNAL: the edge can say whom its certificate names.
    pub external: bool,
}

impl Default for ConnectionSettings {
    fn default() -> Self {
        ConnectionSettings {
            channel_max: limits::CHANNEL_MAX,
            frame_max: limits::FRAME_MAX,
            heartbeat_secs: limits::HEARTBEAT_SECS,
            max_message_size: limits::MESSAGE_SIZE,
            external: false,
        }
    }
}

/// What the handshake found out about a connection.
#[derive(Clone, Debug)]
pub struct ConnectionInfo {
    /// What the connection is called. The handshake leaves that open; whoever opens the virtual host says it.
    pub name: String,
    /// Who it is.
    pub user: User,
    /// Highest number of channels open at once.
    pub channel_max: u16,
    /// Largest frame, in octets.
    pub frame_max: u32,
    /// Heartbeat interval, in seconds; zero means none.
    pub heartbeat_secs: u16,
    /// Whether the client wants basic.cancel when a consumer's queue is deleted.
    pub consumer_cancel_notify: bool,
    /// Whether the client wants connection.blocked when it is not read from.
    pub connection_blocked: bool,
    /// Whether an alarm blocks it when it publishes.
    pub obeys_alarms: bool,
    /// All that the client said about itself.
    pub client_properties: TableBuf,
    /// What it may do. The handshake leaves that open; whoever opens the virtual host says it.
    pub rights: Arc<Rights>,
}

/// A client wants to enter a virtual host.
#[derive(Clone, Debug)]
pub struct OpenRequest {
    /// The virtual host's name.
    pub vhost: String,
    /// Who wants to.
    pub info: ConnectionInfo,
}

/// What has to happen before more input is taken.
#[derive(Debug)]
pub enum Progress {
    /// More octets are needed.
    More,
    /// The credentials are to be checked: `Connection::handle_authenticated` has to follow. With
    /// EXTERNAL the edge knows the user's name, which is left open here.
    Authenticate(Credentials),
    /// The virtual host is to be opened: `Connection::handle_opened` has to follow.
    Open(Box<OpenRequest>),
    /// The socket is to be closed once the output is written and this time has passed.
    End {
        /// How long to wait before closing, in milliseconds.
        delay_ms: u64,
    },
}
