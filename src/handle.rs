//! The one place that locks a vhost.
//!
//! Every input takes the same way, [`VhostHandle::with_vhost`]: lock, apply, drain, append,
//! unlock, wake. The clock is read before the lock and wakes follow after it; in between there is
//! no await, no system call, no log line.
//!
//! invariant: the lock order is vhost, then (outbox or log buffer). Both are leaves.

mod session;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;

use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::sync::{Notify, watch};

use crate::broker::connection::ConnectionInfo;
use crate::broker::error::Fault;
use crate::broker::handshake;
use crate::broker::paging::{MemoryShare, Page, PageOrder, PageOwner, PagedMessage};
use crate::broker::record::{Lsn, Record, Recovered};
use crate::broker::snapshot::ConnectionSnapshot;
use crate::broker::time::Time;
use crate::broker::vhost::{ConnectionId, LeftOut, Notice, Vhost, VhostSettings};
use crate::clock::Clock;
use crate::log_buffer::LogBuffer;
use crate::outbox::Outbox;

pub(crate) use session::{ConnectionPeer, OnClose, Session, WriteReceipts};

/// Access to a virtual host, for every part that has input for it. Cloning it copies a pointer.
#[derive(Clone)]
pub(crate) struct VhostHandle {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    log: LogBuffer,
    /// Why publishers are blocked, while they are.
    alarm: watch::Sender<Option<String>>,
    /// How many pages have come from the store.
    pages: watch::Sender<u64>,
    disk_is_full: AtomicBool,
    /// Notified when the next deadline is earlier than the one that the timer sleeps for.
    timer: Notify,
}

/// What the lock protects.
struct State {
    vhost: Vhost,
    /// What is outside of the core about each connection, by the index of its id.
    slots: Vec<Option<Slot>>,
    /// The `now` of the last input. Two inputs may read the clock in one order and get the lock in
    /// the other; for the core time stands still then, and does not run back.
    now: Time,
    /// What the timer sleeps for, as far as we know; it never sleeps longer.
    armed: Option<Time>,
    /// Empty between inputs; kept for their memory.
    records: Vec<Record>,
    page_orders: Vec<PageOrder>,
    /// How much memory messages may take, and what is notified when they take more.
    memory_limit: u64,
    pressure: Arc<Notify>,
    /// How many pages have come from the store.
    pages: u64,
    stopping: bool,
}

/// What is outside of the core about a connection.
struct Slot {
    connection: ConnectionId,
    outbox: Arc<Outbox>,
    peer: Arc<ConnectionPeer>,
}

impl VhostHandle {
    /// A virtual host with what its store found, and what of that made no sense.
    pub(crate) fn new(
        name: &str,
        clock: Arc<dyn Clock>,
        settings: &VhostSettings,
        recovered: Recovered,
    ) -> (Self, Vec<LeftOut>) {
        let state = State {
            vhost: Vhost::new(name, settings),
            slots: Vec::new(),
            now: Time::EPOCH,
            armed: None,
            records: Vec::new(),
            page_orders: Vec::new(),
            memory_limit: u64::MAX,
            pressure: Arc::default(),
            pages: 0,
            stopping: false,
        };
        let handle = VhostHandle {
            shared: Arc::new(Shared {
                clock,
                state: Mutex::new(state),
                log: LogBuffer::default(),
                alarm: watch::Sender::new(None),
                pages: watch::Sender::new(0),
                disk_is_full: AtomicBool::new(false),
                timer: Notify::new(),
            }),
        };
        let left_out = handle.with_vhost(|state, now| state.vhost.recover(now, recovered));
        (handle, left_out)
    }

    /// Opens a connection. What it is to be sent goes to `outbox`, the open-ok first. `on_close` is
    /// called when it has ended.
    pub(crate) fn open(
        &self,
        info: ConnectionInfo,
        peer: Arc<ConnectionPeer>,
        outbox: Arc<Outbox>,
        on_close: OnClose,
    ) -> Result<Session, Fault> {
        let connection = self.with_vhost(|state, now| {
            if state.stopping {
                return Err(handshake::shutdown_fault());
            }
            let connection = state.vhost.handle_open(now, info);
            let index = connection.index();
            if state.slots.len() <= index {
                state.slots.resize_with(index + 1, || None);
            }
            state.slots[index] = Some(Slot { connection, outbox, peer: peer.clone() });
            Ok(connection)
        })?;
        Ok(Session::new(self.clone(), connection, peer, on_close))
    }

    /// The store has everything up to `lsn` on disk.
    pub(crate) fn synced(&self, lsn: Lsn) {
        self.with_vhost(|state, now| state.vhost.handle_synced(now, lsn));
    }

    /// A page of messages has come from the store.
    pub(crate) fn page(&self, page: Page) {
        self.paged(|vhost, now| vhost.handle_page(now, page));
    }

    /// The store could not take what was paged out.
    pub(crate) fn page_refused(&self, owner: PageOwner, messages: Vec<PagedMessage>) {
        self.paged(|vhost, now| vhost.handle_page_refused(now, owner, messages));
    }

    fn paged(&self, input: impl FnOnce(&mut Vhost, Time)) {
        let pages = self.with_vhost(|state, now| {
            input(&mut state.vhost, now);
            state.pages += 1;
            state.pages
        });
        self.shared.pages.send_replace(pages);
    }

    /// The disk is full, or has room again.
    pub(crate) fn set_disk_full(&self, is_full: bool) {
        self.shared.disk_is_full.store(is_full, Ordering::Relaxed);
        self.with_vhost(|state, now| {
            state.vhost.handle_disk_full(now, is_full);
            state.pressure.notify_one();
        });
    }

    /// Whether the store waits for room on the disk.
    pub(crate) fn is_disk_full(&self) -> bool {
        self.shared.disk_is_full.load(Ordering::Relaxed)
    }

    /// How much memory messages may take here, if there is a disk for more, and in all of the broker,
    /// in bytes.
    pub(crate) fn set_memory_limit(&self, share: Option<MemoryShare>, whole: u64) {
        self.with_vhost(|state, now| {
            state.vhost.handle_memory_share(now, share);
            state.memory_limit = whole;
        });
        if let Some(share) = share {
            // why: what is on its way to the disk is in memory as well, twice while it is written.
            self.shared.log.set_limit(share.before_paging / 2);
        }
    }

    /// Sets what is notified when messages take more than the limit.
    pub(crate) fn watch_memory(&self, pressure: Arc<Notify>) {
        self.shared.state.lock().pressure = pressure;
    }

    /// About how much memory the virtual host takes, in bytes: for messages that wait, that are not
    /// acknowledged, that are on their way to a client or to the disk.
    pub(crate) fn memory(&self) -> u64 {
        let (messages, outboxes) = {
            let state = self.shared.state.lock();
            let outboxes = state.slots.iter().flatten().map(|slot| &slot.outbox);
            // why: what is written is reported to the core in portions, the last one perhaps never.
            let unreported: usize = outboxes.map(|outbox| outbox.unreported()).sum();
            let outboxes = state.vhost.outbox_memory().saturating_sub(unreported as u64);
            (state.vhost.message_memory(), outboxes)
        };
        messages + outboxes + self.shared.log.bytes() as u64
    }

    /// The store failed: nothing more becomes durable.
    pub(crate) fn store_failed(&self) {
        self.with_vhost(|state, now| state.vhost.handle_store_failed(now));
    }

    /// A deadline may have passed.
    pub(crate) fn timeout(&self) {
        self.with_vhost(|state, now| state.vhost.handle_timeout(now));
    }

    /// The virtual host stops: every client is told why, and no new one gets in.
    pub(crate) fn shutdown(&self, reason: &Fault) {
        self.with_vhost(|state, now| {
            state.stopping = true;
            state.vhost.handle_shutdown(now, reason);
        });
    }

    /// A change that is no command of a client: rights, policies, limits.
    pub(crate) fn write<T>(&self, write: impl FnOnce(&mut Vhost, Time) -> T) -> T {
        self.with_vhost(|state, now| write(&mut state.vhost, now))
    }

    /// An alarm is raised, with its reason, or all are over: publishers are blocked, or unblocked.
    pub(crate) fn set_alarm(&self, reason: Option<&str>) {
        self.with_vhost(|state, now| state.vhost.handle_alarm(now, reason));
        self.shared.alarm.send_replace(reason.map(str::to_owned));
    }

    /// Reads what is there now.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&Vhost) -> T) -> T {
        read(&self.shared.state.lock().vhost)
    }

    /// Every connection with its other end, as they are now.
    pub(crate) fn connections(&self) -> Vec<(ConnectionSnapshot, Arc<ConnectionPeer>, u64)> {
        let state = self.shared.state.lock();
        let slot = |id: ConnectionId| state.slots.get(id.index())?.as_ref();
        let connections = state.vhost.connections().into_iter();
        let with_peer = connections.filter_map(|connection| {
            let Slot { peer, outbox, .. } = slot(connection.id)?;
            Some((connection, peer.clone(), outbox.written()))
        });
        with_peer.collect()
    }

    /// The records that wait to be logged.
    pub(crate) fn log(&self) -> &LogBuffer {
        &self.shared.log
    }

    /// When [`timeout`](VhostHandle::timeout) is due. Asked by the timer before it sleeps:
    /// [`wait_for_nearer_deadline`](VhostHandle::wait_for_nearer_deadline) returns when that was
    /// too late.
    pub(crate) fn arm_timer(&self) -> Option<Time> {
        let mut state = self.shared.state.lock();
        state.armed = state.vhost.next_deadline();
        state.armed
    }

    /// Waits until a deadline came up before the one that [`arm_timer`](VhostHandle::arm_timer)
    /// gave last.
    pub(crate) async fn wait_for_nearer_deadline(&self) {
        self.shared.timer.notified().await;
    }

    /// The clock that every input's `now` is read from.
    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.shared.clock
    }

    /// Applies one input, or one batch of them, to the core and moves what comes out to where it
    /// goes.
    fn with_vhost<T>(&self, input: impl FnOnce(&mut State, Time) -> T) -> T {
        let now = self.shared.clock.now();
        let mut sleepers = SmallVec::<[Waker; 16]>::new();
        let mut guard = self.shared.state.lock();
        let state = &mut *guard;
        state.now = state.now.max(now);
        let result = input(state, state.now);

        let State { vhost, slots, records, page_orders, .. } = state;
        vhost.finish_batch(state.now);
        vhost.drain_outputs(|connection, outgoing| match slots.get(connection.index()) {
            Some(Some(slot)) => sleepers.extend(slot.outbox.append(outgoing)),
            _ => outgoing.clear(),
        });
        let awaited = vhost.take_records(records);
        vhost.take_page_orders(page_orders);
        let wakes_log = self.shared.log.append(records, page_orders, awaited);
        let notices = vhost.take_notices();
        if vhost.message_memory() > state.memory_limit {
            state.pressure.notify_one();
        }
        let nearer = is_nearer(vhost.next_deadline(), state.armed);
        if let Some(deadline) = nearer {
            state.armed = Some(deadline);
        }
        drop(guard);

        for sleeper in sleepers {
            sleeper.wake();
        }
        if wakes_log {
            self.shared.log.wake();
        }
        if nearer.is_some() {
            self.shared.timer.notify_one();
        }
        notices.iter().for_each(log_notice);
        result
    }
}

/// Logs what an operator should know.
fn log_notice(notice: &Notice) {
    match notice {
        Notice::UnknownArgument { queue, argument, meant: Some(meant) } => tracing::warn!(
            queue,
            argument,
            "this argument of a queue has no effect; was {meant} meant?"
        ),
        Notice::UnknownArgument { queue, argument, meant: None } => {
            tracing::warn!(queue, argument, "this argument of a queue has no effect");
        }
        Notice::DeadLetteringEnded { queue, messages } => tracing::warn!(
            queue,
            messages,
            "dead-lettering between queues multiplied messages without end: these were dropped"
        ),
        Notice::MessagesLost { queue, messages } => {
            tracing::error!(queue, messages, "messages that were on the disk cannot be read");
        }
    }
}

/// The deadline, if a timer that sleeps until `armed` would miss it.
fn is_nearer(deadline: Option<Time>, armed: Option<Time>) -> Option<Time> {
    deadline.filter(|deadline| armed.is_none_or(|armed| *deadline < armed))
}

#[cfg(test)]
pub(crate) mod tests;
