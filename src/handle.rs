//! The one place that locks a vhost.
//!
//! Every input takes the same way, [`VhostHandle::with_vhost`]: lock, apply, drain, append,
//! unlock, wake. The clock is read before the lock and wakes are paid after it; in between there is
//! no await, no system call, no log line.
//!
//! invariant: the lock order is vhost, then (outbox or log buffer). Both are leaves.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Waker;

use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::sync::{Notify, watch};

use crate::broker::command::Command;
use crate::broker::connection::ConnectionInfo;
use crate::broker::error::Fault;
use crate::broker::handshake;
use crate::broker::paging::{MemoryShare, Page, PageOrder, PageOwner, PagedMessage};
use crate::broker::record::{Lsn, Record, Recovered};
use crate::broker::snapshot::ConnectionSnapshot;
use crate::broker::time::Time;
use crate::broker::vhost::{ConnectionId, LeftOut, Notice, Readiness, Vhost, VhostSettings};
use crate::clock::Clock;
use crate::log_buffer::LogBuffer;
use crate::outbox::Outbox;
use crate::tls::Security;

/// The way to a virtual host, for whoever has input for it. Cloning it copies a pointer.
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
    /// Told when the next deadline moved nearer than what the timer sleeps for.
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
    /// How much memory messages may take, and whom to tell when they take more.
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
    peer: Arc<Peer>,
}

/// The other end of a connection.
#[derive(Debug)]
pub(crate) struct Peer {
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
    /// Octets it has sent since the beginning.
    pub(crate) received: AtomicU64,
}

/// Something to be done when a connection has ended.
pub(crate) struct Farewell(Option<Box<dyn FnOnce() + Send + Sync>>);

impl Farewell {
    /// This is to be done.
    pub(crate) fn new(deed: impl FnOnce() + Send + Sync + 'static) -> Self {
        Farewell(Some(Box::new(deed)))
    }
}

impl Drop for Farewell {
    fn drop(&mut self) {
        if let Some(deed) = self.0.take() {
            deed();
        }
    }
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

    /// Opens a connection. What it is to be sent goes to `outbox`, the open-ok first. `farewell` is
    /// called when it has ended.
    pub(crate) fn open(
        &self,
        info: ConnectionInfo,
        peer: Arc<Peer>,
        outbox: Arc<Outbox>,
        farewell: Farewell,
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
        Ok(Session { handle: self.clone(), connection, peer, _farewell: farewell })
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
    /// in octets.
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

    /// Whom to tell when messages take more than the limit.
    pub(crate) fn watch_memory(&self, pressure: Arc<Notify>) {
        self.shared.state.lock().pressure = pressure;
    }

    /// About how much memory the virtual host takes, in octets: for messages that wait, that are not
    /// acknowledged, that are on their way to a client or to the disk.
    pub(crate) fn memory(&self) -> u64 {
        let (messages, outboxes) = {
            let state = self.shared.state.lock();
            (state.vhost.message_memory(), state.vhost.outbox_memory())
        };
        messages + outboxes + self.shared.log.octets() as u64
    }

    /// The store failed: nothing more becomes durable.
    pub(crate) fn store_failed(&self) {
        self.with_vhost(|state, now| state.vhost.handle_store_failed(now));
    }

    /// A deadline may have passed.
    pub(crate) fn timeout(&self) {
        self.with_vhost(|state, now| state.vhost.handle_timeout(now));
    }

    /// The virtual host stops: every client is told why, and nobody else gets in.
    pub(crate) fn shutdown(&self, reason: &Fault) {
        self.with_vhost(|state, now| {
            state.stopping = true;
            state.vhost.handle_shutdown(now, reason);
        });
    }

    /// A change that is no command of a client: rights, policies, limits.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Vhost, Time) -> T) -> T {
        self.with_vhost(|state, now| change(&mut state.vhost, now))
    }

    /// An alarm is raised, with its reason, or all are over: publishers are blocked, or unblocked.
    pub(crate) fn set_alarm(&self, reason: Option<&str>) {
        self.with_vhost(|state, now| state.vhost.handle_alarm(now, reason));
        self.shared.alarm.send_replace(reason.map(str::to_owned));
    }

    /// Looks at what is there now.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Vhost) -> T) -> T {
        look(&self.shared.state.lock().vhost)
    }

    /// Every connection with its other end, as they are now.
    pub(crate) fn connections(&self) -> Vec<(ConnectionSnapshot, Arc<Peer>, u64)> {
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
        notices.iter().for_each(tell);
        result
    }
}

/// Logs what an operator should hear of.
fn tell(notice: &Notice) {
    match notice {
        Notice::UnknownArgument { queue, argument, meant: Some(meant) } => tracing::warn!(
            queue,
            argument,
            "nobody obeys this argument of a queue; was {meant} meant?"
        ),
        Notice::UnknownArgument { queue, argument, meant: None } => {
            tracing::warn!(queue, argument, "nobody obeys this argument of a queue");
        }
        Notice::MessagesLost { queue, messages } => {
            tracing::error!(queue, messages, "messages that were on the disk cannot be read");
        }
    }
}

/// The deadline, if whoever sleeps for `armed` would miss it.
fn is_nearer(deadline: Option<Time>, armed: Option<Time>) -> Option<Time> {
    deadline.filter(|deadline| armed.is_none_or(|armed| *deadline < armed))
}

/// One open connection's side of the handle.
///
/// invariant: the core hears of the disconnect exactly once, whatever becomes of the connection's
/// task: when this is dropped.
pub(crate) struct Session {
    handle: VhostHandle,
    connection: ConnectionId,
    peer: Arc<Peer>,
    _farewell: Farewell,
}

impl Session {
    /// The virtual host that it is in.
    pub(crate) fn vhost(&self) -> &VhostHandle {
        &self.handle
    }

    /// Applies a batch of commands, and leaves the list empty: under one lock, unless one of them has
    /// to wait for the disk or takes several turns.
    ///
    /// Says whether the client is blocked: not to be read from before
    /// [`wait_until_unblocked`](Session::wait_until_unblocked).
    pub(crate) async fn apply(&self, commands: &mut Vec<Command<'_>>) -> bool {
        loop {
            match self.apply_ready(commands) {
                Applied::All { blocked } => return blocked,
                Applied::Waiting { pages } => self.wait_for_page(pages).await,
                // why: this is where others get their turn.
                Applied::Again => tokio::task::yield_now().await,
            }
        }
    }

    /// Applies commands up to the first that is not ready, which stays in the list with those behind
    /// it.
    fn apply_ready(&self, commands: &mut Vec<Command<'_>>) -> Applied {
        self.handle.with_vhost(|state, now| {
            let mut rest = commands.drain(..);
            while let Some(command) = rest.next() {
                let applied = match state.vhost.prepare(now, self.connection, &command) {
                    Readiness::Ready => {
                        state.vhost.handle_command(now, self.connection, command);
                        continue;
                    }
                    Readiness::Again => Applied::Again,
                    Readiness::AfterPage => Applied::Waiting { pages: state.pages },
                };
                let unapplied = std::iter::once(command).chain(rest).collect();
                *commands = unapplied;
                return applied;
            }
            drop(rest);
            Applied::All { blocked: state.vhost.is_blocked(self.connection) }
        })
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

    /// Whether the client is blocked still; one that is on its way to its end is not.
    pub(crate) fn is_blocked(&self) -> bool {
        self.handle.look(|vhost| vhost.is_blocked(self.connection))
    }

    /// Whether the last word to the client is said, be it written or not.
    pub(crate) fn has_ended(&self) -> bool {
        self.handle.look(|vhost| vhost.has_ended(self.connection))
    }

    /// Notes how many octets the client has sent since the beginning.
    pub(crate) fn note_received(&self, octets: u64) {
        self.peer.received.store(octets, Ordering::Relaxed);
    }

    /// Waits until the client may be read from as far as the disk is concerned: while too much is on its
    /// way there, nobody is, but for those who do not publish during an alarm.
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

    /// What the connection's writer tells the core through.
    pub(crate) fn receipts(&self) -> Receipts {
        Receipts { handle: self.handle.clone(), connection: self.connection }
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
        let slot = self.handle.with_vhost(|state, now| {
            state.vhost.handle_disconnect(now, self.connection);
            state.slots.get_mut(self.connection.index()).and_then(Option::take)
        });
        // why: here, after the lock; it may be the last one that holds a long list.
        drop(slot);
    }
}

/// Tells the core what a connection's socket took. May outlive the [`Session`]; has no effect then.
pub(crate) struct Receipts {
    handle: VhostHandle,
    connection: ConnectionId,
}

impl Receipts {
    /// So many octets, counted by `Outgoing::size`, are written.
    pub(crate) fn written(&self, octets: usize) {
        self.handle.with_vhost(|state, now| {
            let current = state.slots.get(self.connection.index()).and_then(Option::as_ref);
            if current.is_some_and(|slot| slot.connection == self.connection) {
                state.vhost.handle_written(now, self.connection, octets);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use leveret_codec::{Method, ReplyCode, TableBuf, method::channel};

    use super::*;
    use crate::auth::User;
    use crate::broker::command::Outgoing;
    use crate::clock::ManualClock;

    fn handle() -> VhostHandle {
        let clock = Arc::new(ManualClock::new(Time::from_millis(1_000)));
        VhostHandle::new("/", clock, &VhostSettings::default(), Recovered::default()).0
    }

    fn client() -> ConnectionInfo {
        ConnectionInfo {
            user: User::new("guest"),
            channel_max: 10,
            frame_max: 4096,
            heartbeat_secs: 0,
            consumer_cancel_notify: true,
            connection_blocked: true,
            client_properties: TableBuf::default(),
            rights: Arc::default(),
        }
    }

    fn open(handle: &VhostHandle, outbox: Arc<Outbox>) -> Result<Session, Fault> {
        let address = "127.0.0.1:1".parse().unwrap();
        let peer = Peer {
            name: "test".to_owned(),
            address,
            local: address,
            connected_at: Time::EPOCH,
            mechanism: "PLAIN",
            security: None,
            received: AtomicU64::new(0),
        };
        handle.open(client(), Arc::new(peer), outbox, Farewell::new(|| ()))
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
        let first_session = open(&handle, first.clone()).unwrap();
        let _second_session = open(&handle, second.clone()).unwrap();
        let (open_ok, _) = taken(&first).await;
        assert_eq!(taken(&second).await.0, open_ok);

        let method = Method::ChannelOpen(channel::Open::default());
        let mut commands = vec![Command::Method { channel: 1, method }];
        first_session.apply(&mut commands).await;
        assert!(commands.is_empty());
        let (frames, end) = taken(&first).await;
        assert_eq!(frames[..11], [1, 0, 1, 0, 0, 0, 8, 0, 20, 0, 11], "channel.open-ok");
        assert!(!end);
        second.close();
        assert_eq!(taken(&second).await, (Vec::new(), false));
    }

    #[tokio::test]
    async fn nobody_enters_a_broker_that_stops() {
        let handle = handle();
        let outbox = Arc::new(Outbox::default());
        let _session = open(&handle, outbox.clone()).unwrap();
        taken(&outbox).await;
        handle.shutdown(&handshake::shutdown_fault());
        assert_eq!(taken(&outbox).await.0[7..13], [0, 10, 0, 50, 1, 64], "connection.close 320");
        let refused = open(&handle, Arc::default()).err().unwrap();
        assert_eq!(refused.code, ReplyCode::ConnectionForced);
    }

    #[test]
    fn a_session_that_is_dropped_leaves_the_vhost() {
        let handle = handle();
        let session = open(&handle, Arc::default()).unwrap();
        let receipts = session.receipts();
        let connections = || handle.shared.state.lock().vhost.snapshot().connections;
        assert_eq!(connections(), 1);
        drop(session);
        assert_eq!(connections(), 0);

        // The next one gets the same place, and nothing of what the first one's writer says.
        let _session = open(&handle, Arc::default()).unwrap();
        receipts.written(1);
        assert_eq!(connections(), 1);
    }

    #[tokio::test]
    async fn an_alarm_blocks_publishers_until_it_is_over() {
        use leveret_codec::{Properties, ShortStr};

        let handle = handle();
        let outbox = Arc::new(Outbox::default());
        let session = open(&handle, outbox.clone()).unwrap();
        handle.set_alarm(Some("low on memory"));
        let method = Method::ChannelOpen(channel::Open::default());
        assert!(!session.apply(&mut vec![Command::Method { channel: 1, method }]).await);
        let message = crate::broker::message::Message::new(
            ShortStr::EMPTY,
            ShortStr::EMPTY,
            Properties::EMPTY,
            b"",
        );
        let publish = Command::Publish { channel: 1, mandatory: false, immediate: false, message };
        assert!(session.apply(&mut vec![publish]).await, "blocked at the first publish");
        assert!(taken(&outbox).await.0.windows(13).any(|it| it == b"low on memory"));
        let mut waiting = Box::pin(session.wait_until_unblocked());
        assert!(futures::poll!(waiting.as_mut()).is_pending());
        handle.set_alarm(None);
        waiting.await;
        assert!(!session.apply(&mut Vec::new()).await);
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
