//! A connection as the virtual host sees it: its channels, its outputs, how far its life has come.
//!
//! ```text
//!   Open ──fault: close sent──► Closing ──close-ok, or time is up──► Ended
//!     └──close received: close-ok sent──► Closed ──time is up──► Ended
//! ```
//!
//! spec: 2.2.4 and the class `connection`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use leveret_codec::encode;
use leveret_codec::method::Encode;

use super::access::{Rights, User};
use super::command::Outgoing;
use super::connection_info::ConnectionInfo;
use super::ids::{ChannelId, ConsumerId, QueueId};
use super::limits;
use super::line::Line;

/// How far the life of a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientState {
    /// It is in use.
    Open,
    /// It was told to close; only the end of it counts, and nothing at all when it is `deaf`.
    Closing {
        /// Whether what it sends cannot be read any more.
        deaf: bool,
    },
    /// It asked for the close and was answered.
    Closed,
    /// The socket is about to be closed.
    Ended,
}

/// A connection of a virtual host.
#[derive(Debug)]
pub struct Client {
    info: ConnectionInfo,
    match_steps: usize,
    /// How far its life has come.
    pub state: ClientState,
    /// Its channels, by number.
    pub channels: BTreeMap<u16, ChannelId>,
    /// Queues that go with it.
    pub owned_queues: BTreeSet<QueueId>,
    /// Whether it has published since an alarm was raised: it is not read from, and what came of it waits.
    pub blocked: bool,
    /// Its consumers that wait for room in the outbox.
    pub line: Line<ConsumerId>,
    /// How many pieces of work it waits for before its next command.
    pub tasks: usize,
    /// Whether it is gone, and only what it leaves behind is still dealt with.
    pub is_gone: bool,
    outputs: Vec<Outgoing>,
    /// Bytes that were handed over and not reported as written yet.
    in_outbox: usize,
}

impl Client {
    /// A connection that was just let in.
    pub fn new(info: ConnectionInfo) -> Self {
        Client {
            match_steps: info.rights.match_steps(),
            info,
            state: ClientState::Open,
            channels: BTreeMap::new(),
            owned_queues: BTreeSet::new(),
            blocked: false,
            line: Line::default(),
            tasks: 0,
            is_gone: false,
            outputs: Vec::new(),
            in_outbox: 0,
        }
    }

    /// About how much memory it takes without channels, with its socket and its tasks, in bytes.
    pub fn weight(&self) -> u64 {
        const CLIENT_BYTES: usize = 10 * 1024;
        let properties = self.info.client_properties.as_table().as_bytes().len();
        (CLIENT_BYTES + properties) as u64
    }

    /// Who it is.
    pub fn user(&self) -> &User {
        &self.info.user
    }

    /// What it may do.
    pub fn rights(&self) -> &Rights {
        &self.info.rights
    }

    /// What it may do has changed.
    pub fn set_rights(&mut self, rights: Arc<Rights>) {
        self.match_steps = rights.match_steps();
        self.info.rights = rights;
    }

    /// How many steps it takes to look whether a command of it is allowed; for most clients none.
    pub fn match_steps(&self) -> usize {
        self.match_steps
    }

    /// What the handshake found out.
    pub fn info(&self) -> &ConnectionInfo {
        &self.info
    }

    /// Whether it wants to hear of consumers that end with their queue.
    pub fn wants_cancel_notify(&self) -> bool {
        self.info.consumer_cancel_notify
    }

    /// Whether it wants to hear that it is blocked.
    pub fn wants_blocked(&self) -> bool {
        self.info.connection_blocked
    }

    /// Whether an alarm blocks it when it publishes.
    pub fn obeys_alarms(&self) -> bool {
        self.info.obeys_alarms
    }

    /// Puts something at the end of what it gets; says whether that is the first of it.
    pub fn push(&mut self, outgoing: Outgoing) -> bool {
        let is_first = self.outputs.is_empty();
        self.in_outbox += outgoing.size();
        self.outputs.push(outgoing);
        is_first
    }

    /// Puts a method at the end of what it gets; says whether that is the first of it.
    pub fn push_method(&mut self, channel: u16, method: &impl Encode) -> bool {
        if let Some(Outgoing::Frames(frames)) = self.outputs.last_mut() {
            let before = frames.len();
            encode::method(frames, channel, method);
            self.in_outbox += frames.len() - before;
            return false;
        }
        let mut frames = Vec::new();
        encode::method(&mut frames, channel, method);
        self.push(Outgoing::Frames(frames))
    }

    /// What it is to get; emptied by whoever takes it.
    pub fn outputs_mut(&mut self) -> &mut Vec<Outgoing> {
        &mut self.outputs
    }

    /// Bytes of it were written, or thrown away; says whether consumers may get more for the first time.
    pub fn note_written(&mut self, bytes: usize) -> bool {
        let had_room = self.has_room();
        self.in_outbox = self.in_outbox.saturating_sub(bytes);
        !had_room && self.has_room()
    }

    /// Whether consumers of it may get more.
    pub fn has_room(&self) -> bool {
        self.in_outbox < limits::OUTBOX_OCTETS
    }

    /// Whether it may publish what comes back when no queue takes it.
    pub fn has_room_for_returns(&self) -> bool {
        self.in_outbox < limits::OUTBOX_RETURNS_OCTETS
    }

    /// Whether it may get answers of direct reply-to.
    pub fn has_room_for_replies(&self) -> bool {
        self.in_outbox < limits::OUTBOX_REPLIES_OCTETS
    }
}
