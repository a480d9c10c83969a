//! Records, and orders for pages, on their way from the core to the store: appended under the
//! vhost's lock, taken by the log thread.
//!
//! A leaf: its lock is held for a swap or an append and nothing else is locked meanwhile.
//!
//! A sync costs the same for one record and for many, so the log thread does not take too soon. Records
//! that no client waits for are left here for a moment. And when publishers wait for a few confirms each
//! before they go on, what they send next is waited for:
//!
//! ```text
//! ten in flight, taken at once      sync 1–5 │ sync 6–10 │ sync 1–5 │ sync 6–10 │
//! the rest waited for               sync 1–10 │ ··· │ sync 1–10 │ ··· │
//! ```
//!
//! why: taken at once, each half arrives while the disk is busy with the other, and so it stays.
//!
//! invariant: records leave in the order in which they came, which is the core's; so do orders, and
//! none leaves before a record that came before it, unless [`LogBuffer::take_orders`] is asked to. What
//! comes after [`LogBuffer::close`] is dropped:
//! by then no client is left to be confirmed anything.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::sync::Notify;

use crate::broker::paging::{PageOrder, PagedMessage};
use crate::broker::record::Record;

/// While more waits here, connections are not read from: publishers feel the speed of the disk
/// instead of filling the memory with what it has not taken yet.
const LIMIT_BYTES: usize = 64 * 1024 * 1024;
/// The same where memory is short.
const LEAST_LIMIT_BYTES: usize = 1024 * 1024;

/// About how long records that no client waits for may wait for others.
const UNAWAITED_DELAY: Duration = Duration::from_millis(50);
/// How many bytes of them may.
const UNAWAITED_BYTES: usize = LEAST_LIMIT_BYTES / 2;

/// About how long the rest of what is in flight is waited for: about what a client nearby takes to answer.
const GATHER_DELAY: Duration = Duration::from_micros(150);
/// Up to how many answers in flight. More than that keep the disk busy in halves as well.
const MOST_GATHERED: usize = 32;
/// After so many failed attempts in a row there is one in 2 to the power of that many opportunities.
const MOST_DOUBLINGS: u32 = 8;

/// What a record counts beside a message's own bytes: the value itself and its frame in the log.
const RECORD_BYTES: usize = 64;

/// Two lists that connections append to and the log thread takes from.
#[derive(Debug)]
pub(crate) struct LogBuffer {
    waiting: Mutex<Waiting>,
    /// The bytes of what waits, to be read without the lock.
    bytes: AtomicUsize,
    /// How many may be before connections wait.
    limit: AtomicUsize,
    /// Whether the store was told that room on the disk gets short.
    disk_news: AtomicBool,
    /// Whether a wait is to end for that. One does, so that nobody is kept awake who does not ask for the news.
    wakes_for_disk: AtomicBool,
    /// Whether the last news was that it is short already.
    disk_is_short: AtomicBool,
    appended: Condvar,
    room: Notify,
    /// [`UNAWAITED_DELAY`] and [`GATHER_DELAY`], but in tests.
    unawaited_delay: Duration,
    gather_delay: Duration,
}

#[derive(Debug, Default)]
struct Waiting {
    records: Vec<Record>,
    orders: Vec<PageOrder>,
    /// The bytes of the orders, with those that were taken and are not carried out.
    order_bytes: usize,
    /// How many answers wait for the records.
    awaited: usize,
    /// How many may without anything being due.
    tolerated: usize,
    /// How many waited for the records that were taken last.
    taken: usize,
    gather_backoff: GatherBackoff,
    closed: bool,
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.records.is_empty() && self.orders.is_empty()
    }
}

/// Makes attempts to wait for what is in flight rare while they fail.
#[derive(Debug, Default)]
struct GatherBackoff {
    /// How many attempts in a row failed.
    failures: u32,
    /// How many opportunities pass before the next attempt.
    passing: u32,
}

impl GatherBackoff {
    /// Called at each opportunity; whether to try.
    fn should_try(&mut self) -> bool {
        let should_try = self.passing == 0;
        self.passing = self.passing.saturating_sub(1);
        should_try
    }

    /// Whether an attempt succeeded.
    fn note(&mut self, success: bool) {
        self.failures = if success { 0 } else { (self.failures + 1).min(MOST_DOUBLINGS) };
        self.passing = (1 << self.failures) - 1;
    }
}

/// How much room there is on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DiskRoom {
    /// Little enough to be gone in a moment.
    NotPlenty,
    /// Too little: what is kept for nothing is to go.
    Short,
}

/// How long [`LogBuffer::take`] waits for something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Not at all.
    No,
    /// Until there is something, or nothing will come any more.
    ForAny,
    /// The same, but so long at most.
    AtMost(Duration),
    /// Until there is enough for a sync: something that a client waits for, or much, or something has
    /// waited for a moment, or nothing will come any more.
    ForEnough,
    /// The same, but so long at most while there is nothing.
    ForEnoughWithin(Duration),
}

impl Wait {
    fn is_for_enough(self) -> bool {
        matches!(self, Wait::ForEnough | Wait::ForEnoughWithin(_))
    }
}

/// What [`LogBuffer::take`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Something, or possibly nothing if it was told not to wait for ever.
    Open,
    /// Nothing, and nothing will come any more.
    Closed,
}

impl Default for LogBuffer {
    fn default() -> Self {
        LogBuffer {
            waiting: Mutex::default(),
            bytes: AtomicUsize::new(0),
            limit: AtomicUsize::new(LIMIT_BYTES),
            disk_news: AtomicBool::new(false),
            wakes_for_disk: AtomicBool::new(false),
            disk_is_short: AtomicBool::new(false),
            appended: Condvar::new(),
            room: Notify::new(),
            unawaited_delay: UNAWAITED_DELAY,
            gather_delay: GATHER_DELAY,
        }
    }
}

impl LogBuffer {
    /// Moves both lists here; so many answers wait for the records. Says whether
    /// [`wake`](LogBuffer::wake) is due.
    pub(crate) fn append(
        &self,
        records: &mut Vec<Record>,
        orders: &mut Vec<PageOrder>,
        awaited: usize,
    ) -> bool {
        if records.is_empty() && orders.is_empty() {
            return false;
        }
        let order_bytes = orders.iter().map(bytes_of_order).sum::<usize>();
        let bytes = records.iter().map(bytes_of).sum::<usize>() + order_bytes;
        // A definition counts as one that a client waits for: the client that made it goes on to use it.
        let definitions = records.iter().filter(|record| record.is_definition()).count();
        let mut waiting = self.waiting.lock();
        if waiting.closed {
            records.clear();
            orders.clear();
            return false;
        }
        let (was_empty, was_due) = (waiting.is_empty(), self.is_due(&waiting));
        let has_orders = !orders.is_empty();
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        waiting.awaited += awaited + definitions;
        waiting.orders.append(orders);
        waiting.order_bytes += order_bytes;
        if waiting.records.is_empty() {
            std::mem::swap(&mut waiting.records, records);
        } else {
            waiting.records.append(records);
        }
        // why: the log thread is asleep only while there is nothing, or nothing that is due, or while it
        // takes orders alone.
        was_empty || has_orders || !was_due && self.is_due(&waiting)
    }

    /// Whether what waits is to be taken at once.
    fn is_due(&self, waiting: &Waiting) -> bool {
        waiting.awaited > waiting.tolerated
            || !waiting.orders.is_empty()
            || self.bytes() >= UNAWAITED_BYTES
            || waiting.closed
    }

    /// Wakes the log thread; for after the vhost's lock.
    pub(crate) fn wake(&self) {
        self.appended.notify_one();
    }

    /// Takes everything into the two lists, which are empty; waits as it is told to for something. Orders count until
    /// they are [carried out](LogBuffer::note_carried_out).
    pub(crate) fn take(
        &self,
        records: &mut Vec<Record>,
        orders: &mut Vec<PageOrder>,
        wait: Wait,
    ) -> Taken {
        debug_assert!(records.is_empty() && orders.is_empty());
        let mut waiting = self.waiting.lock();
        // What was answered a moment ago is soon followed by as much again.
        let in_flight = waiting.taken + waiting.awaited;
        while wait != Wait::No && waiting.is_empty() && !waiting.closed {
            if self.wakes_for_disk.swap(false, Ordering::Relaxed) {
                break;
            }
            match wait {
                Wait::AtMost(time) | Wait::ForEnoughWithin(time) => {
                    if self.appended.wait_for(&mut waiting, time).timed_out() {
                        break;
                    }
                }
                _ => self.appended.wait(&mut waiting),
            }
        }
        if wait.is_for_enough() && !waiting.is_empty() {
            self.wait_until_due(&mut waiting, self.unawaited_delay);
            self.gather(&mut waiting, in_flight);
        }
        std::mem::swap(&mut waiting.records, records);
        std::mem::swap(&mut waiting.orders, orders);
        waiting.taken = std::mem::take(&mut waiting.awaited);
        let closed = waiting.closed;
        self.set_bytes(waiting);
        let is_empty = records.is_empty() && orders.is_empty();
        if is_empty && closed { Taken::Closed } else { Taken::Open }
    }

    /// Takes the records alone, without waiting.
    pub(crate) fn take_records(&self, records: &mut Vec<Record>) -> Taken {
        debug_assert!(records.is_empty());
        let mut waiting = self.waiting.lock();
        std::mem::swap(&mut waiting.records, records);
        waiting.taken = std::mem::take(&mut waiting.awaited);
        self.set_bytes(waiting);
        Taken::Open
    }

    /// Orders of so many bytes are carried out.
    pub(crate) fn note_carried_out(&self, bytes: usize) {
        let mut waiting = self.waiting.lock();
        waiting.order_bytes -= bytes;
        let before = self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        drop(waiting);
        if before > self.limit() {
            self.room.notify_waiters();
        }
    }

    /// The records were taken: what counts are orders.
    fn set_bytes(&self, waiting: MutexGuard<'_, Waiting>) {
        let before = self.bytes.swap(waiting.order_bytes, Ordering::Relaxed);
        drop(waiting);
        if before > self.limit() {
            self.room.notify_waiters();
        }
    }

    /// Waits until something is due, or for this long.
    fn wait_until_due(&self, waiting: &mut MutexGuard<'_, Waiting>, longest: Duration) {
        while !self.is_due(waiting) {
            if self.appended.wait_for(waiting, longest).timed_out() {
                break;
            }
        }
    }

    /// Waits for the rest of so many answers in flight, if some of them are here and waiting has helped before.
    fn gather(&self, waiting: &mut MutexGuard<'_, Waiting>, in_flight: usize) {
        if waiting.awaited == 0 || in_flight > MOST_GATHERED {
            return;
        }
        waiting.tolerated = in_flight.saturating_sub(1);
        if !self.is_due(waiting) && waiting.gather_backoff.should_try() {
            self.wait_until_due(waiting, self.gather_delay);
            let success = self.is_due(waiting);
            waiting.gather_backoff.note(success);
        }
        waiting.tolerated = 0;
    }

    /// Takes the orders alone, waiting a while for some: for when records cannot be written.
    pub(crate) fn take_orders(&self, orders: &mut Vec<PageOrder>, wait: Duration) -> Taken {
        let mut waiting = self.waiting.lock();
        if waiting.orders.is_empty() && !waiting.closed {
            self.appended.wait_for(&mut waiting, wait);
        }
        orders.append(&mut waiting.orders);
        if waiting.closed && orders.is_empty() { Taken::Closed } else { Taken::Open }
    }

    /// Tells the log thread that room on the disk is short, or will soon be.
    pub(crate) fn tell_of_disk(&self, room: DiskRoom) {
        // why: under the lock, so that the log thread is either awake or woken.
        let waiting = self.waiting.lock();
        self.disk_is_short.store(room == DiskRoom::Short, Ordering::Relaxed);
        self.disk_news.store(true, Ordering::Relaxed);
        self.wakes_for_disk.store(true, Ordering::Relaxed);
        drop(waiting);
        self.wake();
    }

    /// What was told of the disk since the last time.
    pub(crate) fn take_disk_news(&self) -> Option<DiskRoom> {
        if !self.disk_news.load(Ordering::Relaxed) || !self.disk_news.swap(false, Ordering::Relaxed)
        {
            return None;
        }
        let is_short = self.disk_is_short.load(Ordering::Relaxed);
        Some(if is_short { DiskRoom::Short } else { DiskRoom::NotPlenty })
    }

    /// Sets how much may wait before connections do, in bytes, within reason.
    pub(crate) fn set_limit(&self, bytes: u64) {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        let limit = bytes.clamp(LEAST_LIMIT_BYTES, LIMIT_BYTES);
        self.limit.store(limit, Ordering::Relaxed);
        self.room.notify_waiters();
    }

    /// What waits, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// Nothing more will come: once all is taken, [`take`](LogBuffer::take) says so.
    pub(crate) fn close(&self) {
        self.waiting.lock().closed = true;
        self.appended.notify_all();
    }

    /// Whether nothing more will come.
    pub(crate) fn is_closed(&self) -> bool {
        self.waiting.lock().closed
    }

    /// Whether a connection may be read from.
    pub(crate) fn has_room(&self) -> bool {
        self.bytes() <= self.limit()
    }

    /// Waits until [`has_room`](LogBuffer::has_room).
    pub(crate) async fn wait_for_room(&self) {
        while !self.has_room() {
            let room = self.room.notified();
            // why: looked at again after `notified`, which receives what is notified from its
            // creation on; a take between the two looks would be missed otherwise.
            if !self.has_room() {
                room.await;
            }
        }
    }
}

/// About what a record occupies, in bytes.
pub(crate) fn bytes_of(record: &Record) -> usize {
    match record {
        Record::Enqueued { message, .. } => RECORD_BYTES + message.as_bytes().len(),
        _ => RECORD_BYTES,
    }
}

/// About what an order occupies, in bytes.
pub(crate) fn bytes_of_order(order: &PageOrder) -> usize {
    let bytes_of = |paged: &PagedMessage| RECORD_BYTES + paged.message.as_bytes().len();
    match order {
        PageOrder::Out { messages, .. } => messages.iter().map(bytes_of).sum(),
        _ => RECORD_BYTES,
    }
}

#[cfg(test)]
mod tests;
