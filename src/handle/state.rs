//! What the lock protects, and what one hold of it does: applies an input, moves what comes out to where it
//! goes, and leaves the rest for afterwards.
//!
//! invariant: after a panic nothing of what the core has half changed is in service. What comes out of the hold
//! goes nowhere, the core is replaced by an empty one that gets no input, and every client is told to go.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;

use smallvec::SmallVec;
use tokio::sync::Notify;

use super::inbox::{Chosen, MemoryLimits, Told};
use super::{ConnectionPeer, Shared};
use crate::broker::command::Outgoing;
use crate::broker::error::Fault;
use crate::broker::paging::PageOrder;
use crate::broker::record::Record;
use crate::broker::time::Time;
use crate::broker::vhost::{ConnectionId, Notice, Vhost, VhostSettings};
use crate::outbox::Outbox;
use crate::supervisor;

/// What the lock protects.
pub(super) struct State {
    pub(super) vhost: Vhost,
    /// What is outside of the core about each connection, by the index of its id.
    slots: Vec<Option<Slot>>,
    /// The `now` of the last input. Two inputs may read the clock in one order and get the lock in
    /// the other; for the core time stands still then, and does not run back.
    now: Time,
    /// What the timer sleeps for, as far as we know; it never sleeps longer.
    pub(super) armed: Option<Time>,
    /// Empty between inputs; kept for their memory.
    records: Vec<Record>,
    page_orders: Vec<PageOrder>,
    /// How much memory messages may take, and what is notified when they take more.
    memory_limit: u64,
    pub(super) pressure: Arc<Notify>,
    /// How many pages have come from the store.
    pub(super) pages: u64,
    /// How often work has had its turn.
    pub(super) turns: u64,
    pub(super) is_stopping: bool,
    /// Whether a panic has ended it.
    has_failed: bool,
}

/// What is outside of the core about a connection.
#[derive(Clone)]
pub(super) struct Slot {
    pub(super) connection: ConnectionId,
    pub(super) outbox: Arc<Outbox>,
    pub(super) peer: Arc<ConnectionPeer>,
}

/// What is outside of the core about connections, while the vhost is held.
#[derive(Clone, Copy)]
pub(crate) struct Peers<'a>(pub(super) &'a State);

impl<'a> Peers<'a> {
    /// The other end of a connection.
    pub(crate) fn get(self, id: ConnectionId) -> Option<&'a Arc<ConnectionPeer>> {
        self.0.slot(id).map(|slot| &slot.peer)
    }

    /// How many bytes a connection was sent.
    pub(crate) fn written(self, id: ConnectionId) -> u64 {
        self.0.slot(id).map_or(0, |slot| slot.outbox.written())
    }
}

/// What a hold of the lock leaves to be done when it is over.
#[derive(Default)]
pub(super) struct Afterwards {
    /// Writers that have something to write.
    writers: SmallVec<[Waker; 16]>,
    wakes_log: bool,
    wakes_timer: bool,
    notices: Vec<Notice>,
    /// Why publishers are blocked from now on, if they are.
    alarm: Option<Option<String>>,
    /// Slots that may be the last to hold a long list.
    ended: Vec<Slot>,
    failure: Option<Box<Failure>>,
}

/// The end of a vhost by a panic.
struct Failure {
    /// What was half changed.
    vhost: Vhost,
    reason: String,
}

impl State {
    pub(super) fn new(vhost: Vhost) -> Self {
        State {
            vhost,
            slots: Vec::new(),
            now: Time::EPOCH,
            armed: None,
            records: Vec::new(),
            page_orders: Vec::new(),
            memory_limit: u64::MAX,
            pressure: Arc::default(),
            pages: 0,
            turns: 0,
            is_stopping: false,
            has_failed: false,
        }
    }

    /// Applies what was told to the vhost, then one input, or one batch of them, and moves what comes out to
    /// where it goes. Nothing, if the vhost has failed, before or now.
    pub(super) fn apply<T>(
        &mut self,
        shared: &Shared,
        now: Time,
        input: impl FnOnce(&mut State, Time) -> T,
        afterwards: &mut Afterwards,
    ) -> Option<T> {
        if self.has_failed {
            shared.inbox.clear();
            return None;
        }
        // why: of what a panic leaves behind, nothing is used any more.
        let applied = catch_unwind(AssertUnwindSafe(|| {
            self.now = self.now.max(now);
            if shared.inbox.has_any() {
                self.apply_told(shared.inbox.take(), afterwards);
            }
            let result = input(self, self.now);
            self.finish(shared, afterwards);
            result
        }));
        match applied {
            Ok(result) => Some(result),
            Err(panic) => {
                self.fail(shared, supervisor::text_of(&*panic), afterwards);
                None
            }
        }
    }

    /// Ends the vhost for good: clients are told, and the store stops with what it has got.
    pub(super) fn fail(&mut self, shared: &Shared, reason: String, afterwards: &mut Afterwards) {
        if std::mem::replace(&mut self.has_failed, true) {
            return;
        }
        let empty = Vhost::new(self.vhost.name(), &VhostSettings::default());
        let vhost = std::mem::replace(&mut self.vhost, empty);
        self.records.clear();
        self.page_orders.clear();
        let close = Outgoing::Close { channel: 0, at_fault: Fault::VhostFailed.into() };
        for slot in std::mem::take(&mut self.slots).into_iter().flatten() {
            let mut last = vec![close.clone(), Outgoing::End];
            afterwards.writers.extend(slot.outbox.append(&mut last));
            afterwards.ended.push(slot);
        }
        shared.has_failed.store(true, Ordering::Relaxed);
        shared.publish_memory(0);
        shared.log.close();
        afterwards.failure = Some(Box::new(Failure { vhost, reason }));
    }

    fn finish(&mut self, shared: &Shared, afterwards: &mut Afterwards) {
        let State { vhost, slots, records, page_orders, .. } = self;
        vhost.finish_batch(self.now);
        vhost.drain_outputs(|connection, outgoing| match slots.get(connection.index()) {
            Some(Some(slot)) => afterwards.writers.extend(slot.outbox.append(outgoing)),
            _ => outgoing.clear(),
        });
        let awaited = vhost.take_records(records);
        vhost.take_page_orders(page_orders);
        afterwards.wakes_log = shared.log.append(records, page_orders, awaited);
        afterwards.notices = vhost.take_notices();
        let memory = vhost.memory();
        shared.publish_memory(memory);
        if memory > self.memory_limit {
            self.pressure.notify_one();
        }
        let nearer = is_nearer(vhost.next_deadline(), self.armed);
        if let Some(deadline) = nearer {
            self.armed = Some(deadline);
            afterwards.wakes_timer = true;
        }
    }

    /// Applies what others told the vhost while they could not wait for it.
    fn apply_told(&mut self, told: Told, afterwards: &mut Afterwards) {
        let (vhost, now) = (&mut self.vhost, self.now);
        if let Some(MemoryLimits { share, definitions, whole }) = told.memory {
            vhost.handle_memory_share(now, share);
            vhost.handle_max_definitions(now, definitions);
            self.memory_limit = whole;
        }
        if let Some(reason) = told.alarm {
            vhost.handle_alarm(now, reason.as_deref());
            afterwards.alarm = Some(reason);
        }
        if !told.rights.is_empty() {
            vhost.handle_all_rights(now, &told.rights);
        }
        if let Some(policies) = told.policies {
            vhost.handle_policies(now, policies);
        }
        if let Some(node) = told.tracing {
            vhost.handle_tracing(now, node);
        }
        if let Some(max) = told.max_queues {
            vhost.handle_max_queues(now, max);
        }
        for (reason, chosen) in told.close {
            match chosen {
                Chosen::All => {
                    self.is_stopping = true;
                    vhost.handle_shutdown(now, &reason);
                }
                Chosen::User(user) => {
                    vhost.handle_close_clients(now, &reason, |client| client.user == user);
                }
                Chosen::Connection(id) => {
                    vhost.handle_close_client(now, id, &reason);
                }
            }
        }
        for (connection, bytes) in told.written {
            // why: a writer may outlive its session, whose place another one has by now.
            let slot = self.slots.get(connection.index()).and_then(Option::as_ref);
            if slot.is_some_and(|slot| slot.connection == connection) {
                self.vhost.handle_written(now, connection, bytes);
            }
        }
        for connection in told.ended {
            self.vhost.handle_disconnect(now, connection);
            let slot = self.slots.get_mut(connection.index()).and_then(Option::take);
            afterwards.ended.extend(slot);
        }
    }

    /// Gives a connection its slot.
    pub(super) fn insert_slot(&mut self, slot: Slot) {
        let index = slot.connection.index();
        if self.slots.len() <= index {
            self.slots.resize_with(index + 1, || None);
        }
        self.slots[index] = Some(slot);
    }

    pub(super) fn slot(&self, connection: ConnectionId) -> Option<&Slot> {
        self.slots.get(connection.index())?.as_ref()
    }
}

impl Afterwards {
    /// Wakes who has something to do, and logs; the lock is free again.
    pub(super) fn run(self, shared: &Shared) {
        for writer in self.writers {
            writer.wake();
        }
        if self.wakes_log {
            shared.log.wake();
        }
        if self.wakes_timer {
            shared.timer.notify_one();
        }
        if let Some(alarm) = self.alarm {
            shared.alarm.send_replace(alarm);
        }
        self.notices.iter().for_each(log_notice);
        if let Some(failure) = self.failure {
            failure.end(shared);
        }
    }
}

impl Failure {
    fn end(self, shared: &Shared) {
        let Failure { vhost, reason } = self;
        tracing::error!(
            vhost = vhost.name(),
            reason,
            "a virtual host failed inside the broker and is out of service until the broker starts again; \
             please report this"
        );
        // Commands that wait for a page or for work go on, and find the vhost failed.
        shared.pages.send_replace(u64::MAX);
        shared.turns.send_replace(u64::MAX);
        // why: what is half changed may fail once more.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(vhost)));
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
        Notice::TooManyPatterns { exchange, messages } => tracing::warn!(
            exchange,
            messages,
            "dead-lettered or delayed messages met too many patterns of a topic exchange: these were dropped"
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
mod tests {
    use super::*;

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
