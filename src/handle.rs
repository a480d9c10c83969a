//! The one place that locks a vhost.
//!
//! Every input takes the same way, [`VhostHandle::hold`]: lock, apply, drain, append, unlock, wake. The clock
//! is read before the lock and wakes follow after it; in between there is no await, no system call, no log line.
//!
//! Who waits for a vhost waits for that one alone: tasks fall asleep (see `lock`), what others tell it is left in
//! its inbox (see `inbox`), and what others read of it often, such as how much memory it takes, is published at
//! the end of each hold, or counted beside the lock.
//!
//! invariant: the lock order is vhost, then (inbox, outbox or log buffer). All are leaves.

mod inbox;
mod lock;
mod session;
mod state;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use self::inbox::{Inbox, Told};
use self::lock::{Guard, Lock};
pub(crate) use self::state::Peers;
use self::state::{Afterwards, Slot, State};
use crate::broker::access::Rights;
use crate::broker::connection::ConnectionInfo;
use crate::broker::error::{Checked, Fault};
use crate::broker::paging::{Page, PageOwner, PagedMessage};
use crate::broker::policy::PolicySet;
use crate::broker::record::{Lsn, Recovered};
use crate::broker::snapshot::BindingSnapshot;
use crate::broker::time::Time;
use crate::broker::vhost::{BindingVisit, BindingsOf, ConnectionId, LeftOut, Vhost, VhostSettings};
use crate::clock::Clock;
use crate::log_buffer::{DiskRoom, LogBuffer};
use crate::outbox::Outbox;

pub(crate) use inbox::{Chosen, MemoryLimits};
pub(crate) use session::{Applied, Batch, ConnectionPeer, OnClose, Session, WriteReceipts};

/// How many places whoever visits all objects of a kind looks at before others get the virtual host.
///
/// why: the time of some small batches of messages, so that nobody notices a visit, and far more than
/// taking the lock costs.
pub(crate) const PLACES_A_HOLD: usize = 1_000;

/// How often a task that has work of several holds lets others run before it takes the vhost again.
///
/// why: a task that sleeps needs some time to wake up, in which the next hold would begin.
const STEPS_BACK: usize = 1_000;

/// Access to a virtual host, for every part that has input for it. Cloning it copies a pointer.
#[derive(Clone)]
pub(crate) struct VhostHandle {
    shared: Arc<Shared>,
}

struct Shared {
    name: String,
    clock: Arc<dyn Clock>,
    state: Lock<State>,
    inbox: Inbox,
    log: LogBuffer,
    /// What messages took at the end of the last hold, in bytes.
    memory: AtomicU64,
    /// The open connections, to be found without the vhost.
    open: Mutex<BTreeMap<ConnectionId, Slot>>,
    /// Why publishers are blocked, while they are.
    alarm: watch::Sender<Option<String>>,
    /// How many pages have come from the store.
    pages: watch::Sender<u64>,
    /// How often work has had its turn.
    turns: watch::Sender<u64>,
    disk_is_full: AtomicBool,
    /// Whether a panic has ended it.
    has_failed: AtomicBool,
    /// Notified when the next deadline is earlier than the one that the timer sleeps for, or something is left
    /// in the inbox.
    timer: Notify,
}

impl VhostHandle {
    /// A virtual host with what its store found, and what of that made no sense.
    pub(crate) fn new(
        name: &str,
        clock: Arc<dyn Clock>,
        settings: &VhostSettings,
        recovered: Recovered,
    ) -> (Self, Vec<LeftOut>) {
        let handle = VhostHandle {
            shared: Arc::new(Shared {
                name: name.to_owned(),
                clock,
                state: Lock::new(State::new(Vhost::new(name, settings))),
                inbox: Inbox::default(),
                log: LogBuffer::default(),
                memory: AtomicU64::new(0),
                open: Mutex::default(),
                alarm: watch::Sender::new(None),
                pages: watch::Sender::new(0),
                turns: watch::Sender::new(0),
                disk_is_full: AtomicBool::new(false),
                has_failed: AtomicBool::new(false),
                timer: Notify::new(),
            }),
        };
        let left_out = handle.hold(|state, now| state.vhost.recover(now, recovered));
        (handle, left_out.unwrap_or_default())
    }

    /// Opens a connection. What it is to be sent goes to `outbox`, the open-ok first. `on_close` is
    /// called when it has ended, or is not let in.
    pub(crate) async fn open(
        &self,
        info: ConnectionInfo,
        peer: Arc<ConnectionPeer>,
        outbox: Arc<Outbox>,
        on_close: OnClose,
    ) -> Checked<Session> {
        let user = info.user.name.clone();
        let opening = self.hold_as_task(|state, now| {
            if state.is_stopping {
                return Err(Box::new(Fault::Shutdown));
            }
            let connection = state.vhost.handle_open(now, info);
            let slot = Slot { connection, outbox, peer };
            state.insert_slot(slot.clone());
            Ok(slot)
        });
        let slot = opening.await.unwrap_or_else(|| Err(self.down_fault(&user)))?;
        self.shared.open.lock().insert(slot.connection, slot.clone());
        Ok(Session::new(self.clone(), slot, on_close))
    }

    /// The store has everything up to `lsn` on disk.
    pub(crate) fn synced(&self, lsn: Lsn) {
        self.hold(|state, now| state.vhost.handle_synced(now, lsn));
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
        let pages = self.hold(|state, now| {
            input(&mut state.vhost, now);
            state.pages += 1;
            state.pages
        });
        if let Some(pages) = pages {
            self.shared.pages.send_replace(pages);
        }
    }

    /// The disk is full, or has room again.
    pub(crate) fn set_disk_full(&self, is_full: bool) {
        self.shared.disk_is_full.store(is_full, Ordering::Relaxed);
        self.hold(|state, now| {
            state.vhost.handle_disk_full(now, is_full);
            state.pressure.notify_one();
        });
    }

    /// Tells the store that room on the disk is short, or will soon be.
    pub(crate) fn tell_of_disk(&self, room: DiskRoom) {
        self.shared.log.tell_of_disk(room);
    }

    /// Whether the store waits for room on the disk.
    pub(crate) fn is_disk_full(&self) -> bool {
        self.shared.disk_is_full.load(Ordering::Relaxed)
    }

    /// How much memory may be taken here, and in all of the broker.
    pub(crate) fn set_memory_limits(&self, limits: MemoryLimits) {
        self.tell(|told| told.memory = Some(limits));
        if let Some(share) = limits.share {
            // why: what is on its way to the disk is in memory as well, twice while it is written.
            self.shared.log.set_limit(share.before_paging / 2);
        }
    }

    /// Sets what is notified when messages take more than the limit.
    pub(crate) fn watch_memory(&self, pressure: Arc<Notify>) {
        self.hold(|state, _| state.pressure = pressure);
    }

    /// About how much memory the virtual host takes, in bytes: for messages that wait, that are not
    /// acknowledged, that are on their way to a client or to the disk, and for what is defined.
    pub(crate) fn memory(&self) -> u64 {
        let open = self.shared.open.lock();
        let outboxes: u64 = open.values().map(|slot| slot.outbox.bytes()).sum();
        drop(open);
        let in_vhost = self.shared.memory.load(Ordering::Relaxed);
        in_vhost + outboxes + self.shared.log.bytes() as u64
    }

    /// The store failed: nothing more becomes durable.
    pub(crate) fn store_failed(&self) {
        self.hold(|state, now| state.vhost.handle_store_failed(now));
    }

    /// A deadline may have passed.
    pub(crate) async fn timeout(&self) {
        let turns = self.hold_as_task(|state, now| {
            let has_work = state.vhost.has_work();
            state.vhost.handle_timeout(now);
            state.turns += u64::from(has_work);
            has_work.then_some(state.turns)
        });
        if let Some(turns) = turns.await.flatten() {
            self.shared.turns.send_replace(turns);
        }
    }

    /// Lets those tasks have the vhost that wait for it, whoever asks.
    pub(crate) async fn step_back(&self) {
        for _ in 0..STEPS_BACK {
            tokio::task::yield_now().await;
            if !self.shared.state.is_wanted() {
                return;
            }
        }
    }

    /// Connections are to be closed, and told why.
    pub(crate) fn close(&self, reason: Fault, chosen: Chosen) {
        self.tell(|told| told.close.push((reason, chosen)));
    }

    /// An alarm is raised, with its reason, or all are over: publishers are blocked, or unblocked.
    pub(crate) fn set_alarm(&self, reason: Option<&str>) {
        self.tell(|told| told.alarm = Some(reason.map(str::to_owned)));
    }

    /// What users may do has changed.
    pub(crate) fn set_rights(&self, rights: BTreeMap<String, Arc<Rights>>) {
        self.tell(|told| told.rights.extend(rights));
    }

    /// The policies have changed.
    pub(crate) fn set_policies(&self, policies: Arc<PolicySet>) {
        self.tell(|told| told.policies = Some(policies));
    }

    /// How many queues there may be has changed.
    pub(crate) fn set_max_queues(&self, max: Option<u64>) {
        self.tell(|told| told.max_queues = Some(max));
    }

    /// Messages are traced from now on, by a node of this name, or are not any more.
    pub(crate) fn set_tracing(&self, node: Option<String>) {
        self.tell(|told| told.tracing = Some(node));
    }

    /// A part of it has failed that it cannot be without: it is out of service from now on.
    pub(crate) fn fail(&self, reason: &str) {
        let mut afterwards = Afterwards::default();
        let mut guard = self.shared.state.lock_blocking();
        guard.fail(&self.shared, reason.to_owned(), &mut afterwards);
        drop(guard);
        afterwards.run(&self.shared);
    }

    /// Whether it is out of service for good.
    pub(crate) fn has_failed(&self) -> bool {
        self.shared.has_failed.load(Ordering::Relaxed)
    }

    /// What clients that want to enter it are told when it has failed.
    pub(crate) fn down_fault(&self, user: &str) -> Box<Fault> {
        Box::new(Fault::VhostDown { vhost: self.shared.name.clone(), user: user.to_owned() })
    }

    /// A change whose result is waited for, on a thread that runs no tasks. Nothing when it has failed.
    pub(crate) fn write<T>(&self, write: impl FnOnce(&mut Vhost, Time) -> T) -> Option<T> {
        self.hold(|state, now| write(&mut state.vhost, now))
    }

    /// Reads what is there now, on a thread that runs no tasks.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&Vhost) -> T) -> T {
        self.read_from(self.shared.state.lock_blocking(), |state| read(&state.vhost))
    }

    /// The same in a task.
    pub(crate) async fn read_as_task<T>(&self, read: impl FnOnce(&Vhost) -> T) -> T {
        self.read_from(self.shared.state.lock().await, |state| read(&state.vhost))
    }

    /// Reads what is there now, and what is outside of the core about connections.
    pub(crate) fn read_with_peers<T>(&self, read: impl FnOnce(&Vhost, Peers<'_>) -> T) -> T {
        self.read_from(self.shared.state.lock_blocking(), |state| read(&state.vhost, Peers(state)))
    }

    /// The same in a task.
    pub(crate) async fn read_with_peers_as_task<T>(
        &self,
        read: impl FnOnce(&Vhost, Peers<'_>) -> T,
    ) -> T {
        self.read_from(self.shared.state.lock().await, |state| read(&state.vhost, Peers(state)))
    }

    /// The open connection of this name, as management shows it.
    pub(crate) fn connection(&self, name: &str) -> Option<ConnectionId> {
        let open = self.shared.open.lock();
        open.values().find(|slot| slot.peer.name == name).map(|slot| slot.connection)
    }

    /// Visits so many places of objects in steps. Others get the virtual host while `found` gets what was read at
    /// those of a step.
    ///
    /// why: what grows with the number of objects, such as a list of them, must not do so during a hold.
    pub(crate) fn visit_places<T>(
        &self,
        places: impl Fn(&Vhost) -> usize,
        read: impl Fn(&Vhost, Peers<'_>, usize) -> Option<T>,
        mut found: impl FnMut(T),
    ) {
        let (mut next, mut end) = (0, 1);
        let mut step = Vec::new();
        while next < end {
            self.read_with_peers(|vhost, peers| {
                end = places(vhost);
                let places = next..end.min(next + PLACES_A_HOLD);
                next += PLACES_A_HOLD;
                step.extend(places.filter_map(|place| read(vhost, peers, place)));
            });
            step.drain(..).for_each(&mut found);
        }
    }

    /// Visits bindings in steps. Others get the virtual host while `found` looks at those of a step.
    pub(crate) fn visit_bindings(&self, of: BindingsOf, mut found: impl FnMut(BindingSnapshot)) {
        let (mut visit, mut step) = (BindingVisit::new(of), Vec::new());
        let mut goes_on = true;
        while goes_on {
            goes_on = self.read(|vhost| {
                vhost.visit_bindings(&mut visit, PLACES_A_HOLD, &mut |binding| step.push(binding))
            });
            step.drain(..).for_each(&mut found);
        }
    }

    /// The records that wait to be logged.
    pub(crate) fn log(&self) -> &LogBuffer {
        &self.shared.log
    }

    /// When [`timeout`](VhostHandle::timeout) is due. Asked by the timer before it sleeps:
    /// [`wait_for_nearer_deadline`](VhostHandle::wait_for_nearer_deadline) returns when that was
    /// too late.
    pub(crate) async fn arm_timer(&self) -> Option<Time> {
        while self.shared.inbox.has_any() {
            self.hold_as_task(|_, _| ()).await;
            // why: what takes several holds must not keep others from the lock.
            self.step_back().await;
        }
        self.read_from(self.shared.state.lock().await, |state| {
            state.armed = state.vhost.next_deadline();
            state.armed
        })
    }

    /// Waits until a deadline came up before the one that [`arm_timer`](VhostHandle::arm_timer)
    /// gave last.
    pub(crate) async fn wait_for_nearer_deadline(&self) {
        self.shared.timer.notified().await;
    }

    /// The name of the virtual host.
    pub(crate) fn name(&self) -> &str {
        &self.shared.name
    }

    /// The clock that every input's `now` is read from.
    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.shared.clock
    }

    /// Leaves something in the inbox and applies it at once if nobody has the lock; who has it applies it
    /// otherwise.
    fn tell(&self, change: impl FnOnce(&mut Told)) {
        self.shared.inbox.put(change);
        self.apply_told();
    }

    fn apply_told(&self) {
        let now = self.shared.clock.now();
        let Some(guard) = self.shared.state.try_lock() else { return };
        self.apply(guard, now, |_, _| ());
        if self.shared.inbox.has_any() {
            self.shared.timer.notify_one();
        }
    }

    /// Applies an input, on a thread that runs no tasks.
    fn hold<T>(&self, input: impl FnOnce(&mut State, Time) -> T) -> Option<T> {
        let now = self.shared.clock.now();
        let result = self.apply(self.shared.state.lock_blocking(), now, input);
        self.after_hold();
        result
    }

    /// Applies an input, in a task.
    async fn hold_as_task<T>(&self, input: impl FnOnce(&mut State, Time) -> T) -> Option<T> {
        let now = self.shared.clock.now();
        let result = self.apply(self.shared.state.lock().await, now, input);
        self.after_hold();
        result
    }

    fn apply<T>(
        &self,
        mut guard: Guard<'_, State>,
        now: Time,
        input: impl FnOnce(&mut State, Time) -> T,
    ) -> Option<T> {
        let mut afterwards = Afterwards::default();
        let result = guard.apply(&self.shared, now, input, &mut afterwards);
        drop(guard);
        afterwards.run(&self.shared);
        result
    }

    fn read_from<T>(&self, mut guard: Guard<'_, State>, read: impl FnOnce(&mut State) -> T) -> T {
        let result = read(&mut guard);
        drop(guard);
        self.after_hold();
        result
    }

    /// Looks after what was told while the lock was held.
    fn after_hold(&self) {
        if self.shared.inbox.has_any() {
            self.apply_told();
        }
    }
}

impl Shared {
    /// What clients make the vhost keep by now, in bytes.
    fn publish_memory(&self, bytes: u64) {
        self.memory.store(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
pub(crate) mod tests;
