//! A connection's side of a virtual host: input from the tasks that read and write.
//!
//! All of it goes through [`VhostHandle`]: commands wait for the vhost as a task, everything else is left in its
//! inbox.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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

    /// Applies a batch of commands, and leaves the list empty: under one lock, unless one of them has
    /// to wait for the disk or takes several turns. A vhost that has failed applies none.
    ///
    /// Says whether the client is blocked: not to be read from before
    /// [`wait_until_unblocked`](Session::wait_until_unblocked).
    pub(crate) async fn apply(&self, commands: &mut Vec<Command<'_>>) -> bool {
        loop {
            match self.apply_ready(commands).await {
                Some(Applied::All { blocked }) => return blocked,
                Some(Applied::Waiting { pages }) => self.wait_for_page(pages).await,
                // why: here other connections get the lock.
                Some(Applied::Again) => tokio::task::yield_now().await,
                None => {
                    commands.clear();
                    return false;
                }
            }
        }
    }

    /// Applies commands up to the first that is not ready, which stays in the list with those behind
    /// it.
    async fn apply_ready(&self, commands: &mut Vec<Command<'_>>) -> Option<Applied> {
        let connection = self.slot.connection;
        let applying = self.handle.hold_as_task(|state, now| {
            let mut rest = commands.drain(..);
            while let Some(command) = rest.next() {
                let handled = state.vhost.handle_command(now, connection, command);
                let Handled::Waits { command, wait } = handled else { continue };
                let applied = match wait {
                    Wait::Turn => Applied::Again,
                    Wait::Page => Applied::Waiting { pages: state.pages },
                };
                let unapplied = std::iter::once(command).chain(rest).collect();
                *commands = unapplied;
                return applied;
            }
            drop(rest);
            Applied::All { blocked: state.vhost.is_blocked(connection) }
        });
        applying.await
    }

    /// Waits until more than so many pages have come.
    async fn wait_for_page(&self, pages: u64) {
        let mut come = self.handle.shared.pages.subscribe();
        // why: the sender lives as long as the virtual host, and every order for a page is answered.
        let _ = come.wait_for(|come| *come > pages).await;
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
        WriteReceipts { handle: self.handle.clone(), connection: self.slot.connection }
    }
}

/// How far a batch of commands came.
enum Applied {
    /// To its end.
    All { blocked: bool },
    /// To a command that takes several turns.
    Again,
    /// To one that needs a page, when so many had come.
    Waiting { pages: u64 },
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
}

impl WriteReceipts {
    /// So many bytes, counted by `Outgoing::size`, are written.
    pub(crate) fn written(&self, bytes: usize) {
        self.handle.tell(|told| *told.written.entry(self.connection).or_default() += bytes);
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
