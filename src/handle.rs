//! The one place that locks a vhost.
//!
//! Every input takes the same way, [`BrokerHandle::with_vhost`]: lock, apply, drain, append,
//! unlock, wake. The clock is read before the lock and wakes are paid after it; in between there is
//! no await, no system call, no log line.
//!
//! invariant: the lock order is vhost, then (outbox or log buffer). Both are leaves.

use std::sync::Arc;
use std::task::Waker;

use leveret_codec::ReplyCode;
use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::sync::Notify;

use crate::broker::command::Command;
use crate::broker::connection::ConnectionInfo;
use crate::broker::error::Fault;
use crate::broker::record::{Lsn, Record, Recovered};
use crate::broker::snapshot::QueueSnapshot;
use crate::broker::time::Time;
use crate::broker::vhost::{ConnectionId, Vhost, VhostSettings};
use crate::clock::Clock;
use crate::log_buffer::LogBuffer;
use crate::outbox::Outbox;

/// The one virtual host there is so far.
const VHOST: &str = "/";

/// The way to the broker's core, for whoever has input for it. Cloning it copies a pointer.
#[derive(Clone)]
pub(crate) struct BrokerHandle {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    log: LogBuffer,
    /// Told when the next deadline moved nearer than what the timer sleeps for.
    timer: Notify,
}

/// What the lock protects.
struct State {
    vhost: Vhost,
    /// By the index of the connection's id.
    outboxes: Vec<Option<(ConnectionId, Arc<Outbox>)>>,
    /// The `now` of the last input. Two inputs may read the clock in one order and get the lock in
    /// the other; for the core time stands still then, and does not run back.
    now: Time,
    /// What the timer sleeps for, as far as we know; it never sleeps longer.
    armed: Option<Time>,
    /// Empty between inputs; kept for its memory.
    records: Vec<Record>,
    stopping: bool,
}

impl BrokerHandle {
    /// A broker with what a store found.
    pub(crate) fn new(
        clock: Arc<dyn Clock>,
        settings: &VhostSettings,
        recovered: Recovered,
    ) -> Self {
        let state = State {
            vhost: Vhost::new(VHOST, settings),
            outboxes: Vec::new(),
            now: Time::EPOCH,
            armed: None,
            records: Vec::new(),
            stopping: false,
        };
        let handle = BrokerHandle {
            shared: Arc::new(Shared {
                clock,
                state: Mutex::new(state),
                log: LogBuffer::default(),
                timer: Notify::new(),
            }),
        };
        handle.with_vhost(|state, now| state.vhost.recover(now, recovered));
        handle
    }

    /// Opens a connection to a virtual host. What it is to be sent goes to `outbox`, the open-ok
    /// first.
    pub(crate) fn open(
        &self,
        vhost: &str,
        peer: ConnectionInfo,
        outbox: Arc<Outbox>,
    ) -> Result<Session, Fault> {
        if vhost != VHOST {
            return Err(Fault::new(ReplyCode::NotAllowed, format!("vhost {vhost} not found")));
        }
        let connection = self.with_vhost(|state, now| {
            if state.stopping {
                return Err(Fault::new(ReplyCode::ConnectionForced, SHUTDOWN));
            }
            let connection = state.vhost.handle_open(now, peer);
            let index = connection.index();
            if state.outboxes.len() <= index {
                state.outboxes.resize_with(index + 1, || None);
            }
            state.outboxes[index] = Some((connection, outbox));
            Ok(connection)
        })?;
        Ok(Session { handle: self.clone(), connection })
    }

    /// The store has everything up to `lsn` on disk.
    pub(crate) fn synced(&self, lsn: Lsn) {
        self.with_vhost(|state, now| state.vhost.handle_synced(now, lsn));
    }

    /// The store failed: nothing more becomes durable.
    pub(crate) fn store_failed(&self) {
        self.with_vhost(|state, now| state.vhost.handle_store_failed(now));
    }

    /// A deadline may have passed.
    pub(crate) fn timeout(&self) {
        self.with_vhost(|state, now| state.vhost.handle_timeout(now));
    }

    /// The broker stops: every client is told, and nobody else gets in.
    pub(crate) fn shutdown(&self) {
        self.with_vhost(|state, now| {
            state.stopping = true;
            state.vhost.handle_shutdown(now);
        });
    }

    /// The queues as they are now.
    pub(crate) fn queues(&self) -> Vec<QueueSnapshot> {
        self.shared.state.lock().vhost.queues()
    }

    /// The records that wait to be logged.
    pub(crate) fn log(&self) -> &LogBuffer {
        &self.shared.log
    }

    /// When [`timeout`](BrokerHandle::timeout) is due. Asked by the timer before it sleeps:
    /// [`wait_for_nearer_deadline`](BrokerHandle::wait_for_nearer_deadline) returns when that was
    /// too late.
    pub(crate) fn arm_timer(&self) -> Option<Time> {
        let mut state = self.shared.state.lock();
        state.armed = state.vhost.next_deadline();
        state.armed
    }

    /// Waits until a deadline came up before the one that [`arm_timer`](BrokerHandle::arm_timer)
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

        let State { vhost, outboxes, records, .. } = state;
        vhost.finish_batch(state.now);
        vhost.drain_outputs(|connection, outgoing| match outboxes.get(connection.index()) {
            Some(Some((_, outbox))) => sleepers.extend(outbox.append(outgoing)),
            _ => outgoing.clear(),
        });
        vhost.take_records(records);
        let logged = self.shared.log.append(records);
        let nearer = is_nearer(vhost.next_deadline(), state.armed);
        if let Some(deadline) = nearer {
            state.armed = Some(deadline);
        }
        drop(guard);

        for sleeper in sleepers {
            sleeper.wake();
        }
        if logged {
            self.shared.log.wake();
        }
        if nearer.is_some() {
            self.shared.timer.notify_one();
        }
        result
    }
}

/// The reason that clients are given when the broker stops.
const SHUTDOWN: &str = "broker forced connection closure with reason 'shutdown'";

/// The deadline, if whoever sleeps for `armed` would miss it.
fn is_nearer(deadline: Option<Time>, armed: Option<Time>) -> Option<Time> {
    deadline.filter(|deadline| armed.is_none_or(|armed| *deadline < armed))
}

/// One open connection's side of the handle.
///
/// invariant: the core hears of the disconnect exactly once, whatever becomes of the connection's
/// task: when this is dropped.
pub(crate) struct Session {
    handle: BrokerHandle,
    connection: ConnectionId,
}

impl Session {
    /// Applies a batch of commands under one lock, and leaves the list empty.
    pub(crate) fn apply(&self, commands: &mut Vec<Command<'_>>) {
        self.handle.with_vhost(|state, now| {
            for command in commands.drain(..) {
                state.vhost.handle_command(now, self.connection, command);
            }
        });
    }

    /// What the connection's writer tells the core through.
    pub(crate) fn receipts(&self) -> Receipts {
        Receipts { handle: self.handle.clone(), connection: self.connection }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let outbox = self.handle.with_vhost(|state, now| {
            state.vhost.handle_disconnect(now, self.connection);
            state.outboxes.get_mut(self.connection.index()).and_then(Option::take)
        });
        // why: here, after the lock; it may be the last one that holds a long list.
        drop(outbox);
    }
}

/// Tells the core what a connection's socket took. May outlive the [`Session`]; has no effect then.
pub(crate) struct Receipts {
    handle: BrokerHandle,
    connection: ConnectionId,
}

impl Receipts {
    /// So many octets, counted by `Outgoing::size`, are written.
    pub(crate) fn written(&self, octets: usize) {
        self.handle.with_vhost(|state, now| {
            let current = state.outboxes.get(self.connection.index()).and_then(Option::as_ref);
            if current.is_some_and(|(connection, _)| *connection == self.connection) {
                state.vhost.handle_written(now, self.connection, octets);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use leveret_codec::{Method, TableBuf, method::channel};

    use super::*;
    use crate::auth::User;
    use crate::broker::command::Outgoing;
    use crate::clock::ManualClock;

    fn handle() -> BrokerHandle {
        let clock = Arc::new(ManualClock::new(Time::from_millis(1_000)));
        BrokerHandle::new(clock, &VhostSettings::default(), Recovered::default())
    }

    fn client() -> ConnectionInfo {
        ConnectionInfo {
            user: User { name: "guest".to_owned() },
            channel_max: 10,
            frame_max: 4096,
            heartbeat_secs: 0,
            consumer_cancel_notify: true,
            client_properties: TableBuf::default(),
        }
    }

    /// The frames that wait in an outbox, and whether the core has said its last word.
    async fn taken(outbox: &Outbox) -> (Vec<u8>, bool) {
        let (mut outgoing, mut frames) = (Vec::new(), Vec::new());
        outbox.take(&mut outgoing).await;
        outgoing.iter().for_each(|item| item.encode(&mut frames, 4096));
        (frames, outgoing.iter().any(Outgoing::is_end))
    }

    #[tokio::test]
    async fn answers_come_to_the_outbox_of_who_asked() {
        let handle = handle();
        let (first, second) = (Arc::new(Outbox::default()), Arc::new(Outbox::default()));
        let first_session = handle.open("/", client(), first.clone()).unwrap();
        let _second_session = handle.open("/", client(), second.clone()).unwrap();
        let (open_ok, _) = taken(&first).await;
        assert_eq!(taken(&second).await.0, open_ok);

        let method = Method::ChannelOpen(channel::Open::default());
        let mut commands = vec![Command::Method { channel: 1, method }];
        first_session.apply(&mut commands);
        assert!(commands.is_empty());
        let (frames, end) = taken(&first).await;
        assert_eq!(frames[..11], [1, 0, 1, 0, 0, 0, 8, 0, 20, 0, 11], "channel.open-ok");
        assert!(!end);
        second.close();
        assert_eq!(taken(&second).await, (Vec::new(), false));
    }

    #[test]
    fn an_unknown_vhost_is_not_entered() {
        let refused = handle().open("lost", client(), Arc::default()).err().unwrap();
        assert_eq!(refused, Fault::new(ReplyCode::NotAllowed, "vhost lost not found"));
    }

    #[tokio::test]
    async fn nobody_enters_a_broker_that_stops() {
        let handle = handle();
        let outbox = Arc::new(Outbox::default());
        let _session = handle.open("/", client(), outbox.clone()).unwrap();
        taken(&outbox).await;
        handle.shutdown();
        assert_eq!(taken(&outbox).await.0[7..13], [0, 10, 0, 50, 1, 64], "connection.close 320");
        let refused = handle.open("/", client(), Arc::default()).err().unwrap();
        assert_eq!(refused.code, ReplyCode::ConnectionForced);
    }

    #[test]
    fn a_session_that_is_dropped_leaves_the_vhost() {
        let handle = handle();
        let session = handle.open("/", client(), Arc::default()).unwrap();
        let receipts = session.receipts();
        let connections = || handle.shared.state.lock().vhost.snapshot().connections;
        assert_eq!(connections(), 1);
        drop(session);
        assert_eq!(connections(), 0);

        // The next one gets the same place, and nothing of what the first one's writer says.
        let _session = handle.open("/", client(), Arc::default()).unwrap();
        receipts.written(1);
        assert_eq!(connections(), 1);
    }

    #[test]
    fn the_timer_is_woken_for_nearer_deadlines_alone() {
        let [none, early, late] = [None, Some(Time::from_millis(1)), Some(Time::from_millis(2))];
        for (deadline, armed, nearer) in [
            (none, none, none),
            (none, early, none),
            (early, none, early),
            (early, early, none),
            (late, early, none),
            (early, late, early),
        ] {
            assert_eq!(is_nearer(deadline, armed), nearer, "{deadline:?} {armed:?}");
        }
    }
}
