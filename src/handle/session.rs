//! A connection's side of a virtual host: input from the tasks that read and write.
//!
//! All of it goes through [`VhostHandle`]: commands wait for the vhost as a task, everything else is left in its
//! inbox.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

use super::VhostHandle;
use super::state::Slot;
use crate::broker::command::{Command, Handled, Wait};
use crate::broker::time::Time;
use crate::broker::vhost::ConnectionId;
use crate::tls::Security;

/// One open connection's side of the handle.
///
/// invariant: the core gets the disconnect exactly once, however the connection's task ends: when
/// this is dropped.
pub(crate) struct Session {
    handle: VhostHandle,
    slot: Slot,
    _on_close: OnClose,
}

impl Session {
    pub(super) fn new(handle: VhostHandle, slot: Slot, on_close: OnClose) -> Self {
        Session { handle, slot, _on_close: on_close }
    }

    /// The virtual host that it is in.
    pub(crate) fn vhost(&self) -> &VhostHandle {
        &self.handle
    }

    /// Applies a batch of commands: under one lock, unless one of them has to wait for the disk or takes several
    /// turns. `batch` says how far that has come, and is to be given again where it is not done. A vhost that
    /// has failed applies none.
    pub(crate) async fn apply(&self, batch: &mut Batch<'_>) -> Applied {
        loop {
            let Some(stop) = self.apply_ready(batch).await else {
                return Applied::All { blocked: false };
            };
            match stop {
                Stop::End { blocked } => return Applied::All { blocked },
                Stop::Wait(Wait::Room, _) => return Applied::NoRoom,
                Stop::Wait(Wait::Alarm, _) => return Applied::Blocked,
                Stop::Wait(Wait::Page, seen) => self.wait_for_page(seen.pages).await,
                Stop::Wait(Wait::Work, seen) => self.wait_for_turn(seen.turns).await,
                // why: here other connections get the lock.
                Stop::Wait(Wait::Turn, _) => tokio::task::yield_now().await,
            }
        }
    }

    /// Applies commands up to the first that is not ready.
    async fn apply_ready(&self, batch: &mut Batch<'_>) -> Option<Stop> {
        let connection = self.slot.connection;
        let applying = self.handle.hold_as_task(|state, now| {
            while let Some(command) = batch.take_next() {
                let handled = state.vhost.handle_command(now, connection, command);
                if let Handled::Waits { command, wait } = handled {
                    batch.give_back(command);
                    let seen = Seen { pages: state.pages, turns: state.turns };
                    return Stop::Wait(wait, seen);
                }
            }
            Stop::End { blocked: state.vhost.is_blocked(connection) }
        });
        applying.await
    }

    /// Waits until the socket has taken some of what is in the outbox.
    pub(crate) async fn wait_for_room(&self) {
        self.slot.peer.room.notified().await;
    }

    /// Waits until more than so many pages have come.
    async fn wait_for_page(&self, pages: u64) {
        let mut come = self.handle.shared.pages.subscribe();
        // why: the sender lives as long as the virtual host, and every order for a page is answered.
        let _ = come.wait_for(|come| *come > pages).await;
    }

    /// Waits until work has had its turn more than so often.
    async fn wait_for_turn(&self, turns: u64) {
        let mut had = self.handle.shared.turns.subscribe();
        // why: the sender lives as long as the virtual host, and the timer goes on with work.
        let _ = had.wait_for(|had| *had > turns).await;
    }

    /// Waits until no alarm blocks publishers.
    pub(crate) async fn wait_until_unblocked(&self) {
        let mut alarm = self.handle.shared.alarm.subscribe();
        // why: the sender lives as long as the virtual host, so there is no end to wait for.
        let _ = alarm.wait_for(Option::is_none).await;
    }

    /// Whether the client is still blocked; one that is being closed is not.
    pub(crate) async fn is_blocked(&self) -> bool {
        self.handle.read_as_task(|vhost| vhost.is_blocked(self.slot.connection)).await
    }

    /// Whether the last frame to the client is in its outbox, be it written or not.
    pub(crate) fn has_ended(&self) -> bool {
        self.slot.outbox.has_ended()
    }

    /// Whether the end of the connection is expected, as a close was asked for or sent.
    pub(crate) async fn is_closing(&self) -> bool {
        self.handle.read_as_task(|vhost| vhost.is_closing(self.slot.connection)).await
    }

    /// Notes how many bytes the client has sent since the beginning.
    pub(crate) fn note_received(&self, bytes: u64) {
        self.slot.peer.received.store(bytes, Ordering::Relaxed);
    }

    /// Waits until the client may be read from as far as the disk is concerned: while too much is on its
    /// way there, no client is, except those that do not publish during an alarm.
    pub(crate) async fn wait_for_log(&self) {
        let shared = &self.handle.shared;
        if shared.log.has_room() {
            return;
        }
        let mut alarm = shared.alarm.subscribe();
        tokio::select! {
            () = shared.log.wait_for_room() => {}
            // why: acknowledgements make room, and what they write is little.
            _ = alarm.wait_for(Option::is_some) => {}
        }
    }

    /// For the connection's writer, to report to the core what is written.
    pub(crate) fn write_receipts(&self) -> WriteReceipts {
        let (handle, room) = (self.handle.clone(), self.slot.peer.room.clone());
        WriteReceipts { handle, connection: self.slot.connection, room }
    }
}

/// Commands that are applied one after the other.
pub(crate) struct Batch<'a> {
    commands: Vec<Command<'a>>,
    /// How many have been taken.
    taken: usize,
}

impl<'a> Batch<'a> {
    pub(crate) fn new(commands: Vec<Command<'a>>) -> Self {
        Batch { commands, taken: 0 }
    }

    /// Whether there is no command in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// Octets of the messages that wait in it to be published.
    pub(crate) fn waiting_octets(&self) -> usize {
        let octets = |command: &Command<'_>| match command {
            Command::Publish { message, .. } => message.as_bytes().len(),
            _ => 0,
        };
        self.commands[self.taken..].iter().map(octets).sum()
    }

    /// The list, for its memory.
    pub(crate) fn into_list(self) -> Vec<Command<'a>> {
        self.commands
    }

    fn take_next(&mut self) -> Option<Command<'a>> {
        let command = self.commands.get_mut(self.taken)?;
        self.taken += 1;
        Some(std::mem::replace(command, Command::Abort))
    }

    fn give_back(&mut self, command: Command<'a>) {
        self.taken -= 1;
        self.commands[self.taken] = command;
    }
}

/// How far a batch of commands came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Applied {
    /// To its end; while an alarm blocks the client, it is not to be read from before
    /// [`wait_until_unblocked`](Session::wait_until_unblocked).
    All {
        /// Whether that is so.
        blocked: bool,
    },
    /// To a command that waits for the end of an alarm: it goes on after
    /// [`wait_until_unblocked`](Session::wait_until_unblocked).
    Blocked,
    /// To a command whose answer has no room in the outbox: it goes on after
    /// [`wait_for_room`](Session::wait_for_room).
    NoRoom,
}

/// Why commands are not applied any further under this lock.
enum Stop {
    /// There are no more.
    End { blocked: bool },
    /// One has to wait, and what had come by then.
    Wait(Wait, Seen),
}

/// How many pages had come, and how often work had had its turn.
#[derive(Clone, Copy)]
struct Seen {
    pages: u64,
    turns: u64,
}

impl Drop for Session {
    fn drop(&mut self) {
        let connection = self.slot.connection;
        self.handle.shared.open.lock().remove(&connection);
        self.handle.tell(|told| told.ended.push_back(connection));
    }
}

/// Reports to the core what a connection's socket took. May outlive the [`Session`]; has no effect then.
pub(crate) struct WriteReceipts {
    handle: VhostHandle,
    connection: ConnectionId,
    room: Arc<Notify>,
}

impl WriteReceipts {
    /// So many bytes, counted by `Outgoing::size`, are written.
    pub(crate) fn written(&self, bytes: usize) {
        self.handle.tell(|told| *told.written.entry(self.connection).or_default() += bytes);
        self.room.notify_one();
    }
}

/// The other end of a connection.
#[derive(Debug)]
pub(crate) struct ConnectionPeer {
    /// The name that management knows the connection by: `client -> server`.
    pub(crate) name: String,
    /// The client's address.
    pub(crate) address: SocketAddr,
    /// The address it connected to.
    pub(crate) local: SocketAddr,
    /// When it was let in.
    pub(crate) connected_at: Time,
    /// The SASL mechanism it used.
    pub(crate) mechanism: &'static str,
    /// How it is secured, if it is.
    pub(crate) security: Option<Arc<Security>>,
    /// Bytes it has sent since the beginning.
    pub(crate) received: AtomicU64,
    /// Told when the socket has taken some of what is in the outbox.
    pub(crate) room: Arc<Notify>,
}

/// Something to be done when a connection has ended.
pub(crate) struct OnClose(Option<Box<dyn FnOnce() + Send + Sync>>);

impl OnClose {
    /// This is to be done.
    pub(crate) fn new(action: impl FnOnce() + Send + Sync + 'static) -> Self {
        OnClose(Some(Box::new(action)))
    }
}

impl Drop for OnClose {
    fn drop(&mut self) {
        if let Some(action) = self.0.take() {
            action();
        }
    }
}
