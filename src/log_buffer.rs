//! Records, and orders for pages, on their way from the core to the store: appended under the
//! vhost's lock, taken by the log thread.
//!
//! A leaf: its lock is held for a swap or an append and nothing else is locked meanwhile.
//!
//! A sync costs the same for one record and for many, so whoever takes does not take too soon. Records
//! that nobody waits for are left here for a moment. And when publishers wait for a few confirms each
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

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::sync::Notify;

use crate::broker::paging::{PageOrder, PagedMessage};
use crate::broker::record::Record;

/// While more waits here, connections are not read from: publishers feel the speed of the disk
/// instead of filling the memory with what it has not taken yet.
const LIMIT_OCTETS: usize = 64 * 1024 * 1024;
/// The same where memory is short.
const LEAST_LIMIT_OCTETS: usize = 1024 * 1024;

/// About how long records that nobody waits for may wait for others.
const LEISURE: Duration = Duration::from_millis(50);
/// How many octets of them may.
const LEISURE_OCTETS: usize = LEAST_LIMIT_OCTETS / 2;

/// About how long the rest of what is in flight is waited for: about what a client nearby takes to answer.
const GATHERING: Duration = Duration::from_micros(150);
/// Up to how many answers in flight. More than that keep the disk busy in halves as well.
const MOST_GATHERED: usize = 32;
/// After so many attempts in vain in a row there is one in 2 to the power of that many occasions.
const MOST_DOUBLINGS: u32 = 8;

/// What a record counts beside a message's own octets: the value itself and its frame in the log.
const RECORD_OCTETS: usize = 64;

/// Two lists that many append to and one takes from.
#[derive(Debug)]
pub(crate) struct LogBuffer {
    waiting: Mutex<Waiting>,
    /// The octets of what waits, to be read without the lock.
    octets: AtomicUsize,
    /// How many may be before connections wait.
    limit: AtomicUsize,
    appended: Condvar,
    room: Notify,
    leisure: Duration,
    gathering: Duration,
}

#[derive(Debug, Default)]
struct Waiting {
    records: Vec<Record>,
    orders: Vec<PageOrder>,
    /// How many answers wait for the records.
    awaited: usize,
    /// How many may without anything being due.
    tolerated: usize,
    /// How many waited for the records that were taken last.
    taken: usize,
    patience: Patience,
    closed: bool,
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.records.is_empty() && self.orders.is_empty()
    }
}

/// Learns whether waiting for what is in flight pays.
#[derive(Debug, Default)]
struct Patience {
    /// How many attempts in a row were in vain.
    failures: u32,
    /// How many occasions pass before the next attempt.
    passing: u32,
}

impl Patience {
    /// There is an occasion; whether to try.
    fn tries(&mut self) -> bool {
        let tries = self.passing == 0;
        self.passing = self.passing.saturating_sub(1);
        tries
    }

    /// What became of an attempt.
    fn note(&mut self, success: bool) {
        self.failures = if success { 0 } else { (self.failures + 1).min(MOST_DOUBLINGS) };
        self.passing = (1 << self.failures) - 1;
    }
}

/// How long [`LogBuffer::take`] waits for something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Not at all.
    No,
    /// Until there is something, or nothing will come any more.
    ForAny,
    /// Until there is enough for a sync: something that somebody waits for, or much, or something has
    /// waited for a moment, or nothing will come any more.
    ForEnough,
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
            octets: AtomicUsize::new(0),
            limit: AtomicUsize::new(LIMIT_OCTETS),
            appended: Condvar::new(),
            room: Notify::new(),
            leisure: LEISURE,
            gathering: GATHERING,
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
        let octets: usize = records.iter().map(octets_of).sum::<usize>()
            + orders.iter().map(octets_of_order).sum::<usize>();
        // A definition counts as one that somebody waits for: whoever made it goes on to use it.
        let definitions = records.iter().filter(|record| record.is_definition()).count();
        let mut waiting = self.waiting.lock();
        if waiting.closed {
            records.clear();
            orders.clear();
            return false;
        }
        let (was_empty, was_due) = (waiting.is_empty(), self.is_due(&waiting));
        let has_orders = !orders.is_empty();
        self.octets.fetch_add(octets, Ordering::Relaxed);
        waiting.awaited += awaited + definitions;
        waiting.orders.append(orders);
        if waiting.records.is_empty() {
            std::mem::swap(&mut waiting.records, records);
        } else {
            waiting.records.append(records);
        }
        // why: whoever takes is asleep only while there is nothing, or nothing that is due, or while it
        // takes orders alone.
        was_empty || has_orders || !was_due && self.is_due(&waiting)
    }

    /// Whether what waits is to be taken at once.
    fn is_due(&self, waiting: &Waiting) -> bool {
        waiting.awaited > waiting.tolerated
            || !waiting.orders.is_empty()
            || self.octets() >= LEISURE_OCTETS
            || waiting.closed
    }

    /// Wakes the log thread; for after the vhost's lock.
    pub(crate) fn wake(&self) {
        self.appended.notify_one();
    }

    /// Takes everything into the two lists, which are empty; waits as it is told to for something.
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
            self.appended.wait(&mut waiting);
        }
        if wait == Wait::ForEnough {
            self.wait_until_due(&mut waiting, self.leisure);
            self.gather(&mut waiting, in_flight);
        }
        std::mem::swap(&mut waiting.records, records);
        std::mem::swap(&mut waiting.orders, orders);
        waiting.taken = std::mem::take(&mut waiting.awaited);
        let before = self.octets.swap(0, Ordering::Relaxed);
        let closed = waiting.closed;
        drop(waiting);
        if before > self.limit() {
            self.room.notify_waiters();
        }
        let is_empty = records.is_empty() && orders.is_empty();
        if is_empty && closed { Taken::Closed } else { Taken::Open }
    }

    /// Waits until something is due, or so long.
    fn wait_until_due(&self, waiting: &mut MutexGuard<'_, Waiting>, longest: Duration) {
        while !self.is_due(waiting) {
            if self.appended.wait_for(waiting, longest).timed_out() {
                break;
            }
        }
    }

    /// Waits for the rest of so many answers in flight, if some of them are here and that has paid.
    fn gather(&self, waiting: &mut MutexGuard<'_, Waiting>, in_flight: usize) {
        if waiting.awaited == 0 || in_flight > MOST_GATHERED {
            return;
        }
        waiting.tolerated = in_flight.saturating_sub(1);
        if !self.is_due(waiting) && waiting.patience.tries() {
            self.wait_until_due(waiting, self.gathering);
            let success = self.is_due(waiting);
            waiting.patience.note(success);
        }
        waiting.tolerated = 0;
    }

    /// Takes the orders alone, waiting a while for some: for when records cannot be written.
    pub(crate) fn take_orders(&self, orders: &mut Vec<PageOrder>, wait: Duration) -> Taken {
        let mut waiting = self.waiting.lock();
        if waiting.orders.is_empty() && !waiting.closed {
            self.appended.wait_for(&mut waiting, wait);
        }
        let octets = waiting.orders.iter().map(octets_of_order).sum();
        self.octets.fetch_sub(octets, Ordering::Relaxed);
        self.room.notify_waiters();
        orders.append(&mut waiting.orders);
        if waiting.closed && orders.is_empty() { Taken::Closed } else { Taken::Open }
    }

    /// Sets how much may wait before connections do, in octets, within reason.
    pub(crate) fn set_limit(&self, octets: u64) {
        let octets = usize::try_from(octets).unwrap_or(usize::MAX);
        let limit = octets.clamp(LEAST_LIMIT_OCTETS, LIMIT_OCTETS);
        self.limit.store(limit, Ordering::Relaxed);
        self.room.notify_waiters();
    }

    /// What waits, in octets.
    pub(crate) fn octets(&self) -> usize {
        self.octets.load(Ordering::Relaxed)
    }

    fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// Nothing more will come: once all is taken, [`take`](LogBuffer::take) says so.
    pub(crate) fn close(&self) {
        self.waiting.lock().closed = true;
        self.appended.notify_all();
    }

    /// Whether a connection may be read from.
    pub(crate) fn has_room(&self) -> bool {
        self.octets() <= self.limit()
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

/// About what a record occupies, in octets.
fn octets_of(record: &Record) -> usize {
    match record {
        Record::Enqueued { message, .. } => RECORD_OCTETS + message.as_bytes().len(),
        _ => RECORD_OCTETS,
    }
}

/// About what an order occupies, in octets.
fn octets_of_order(order: &PageOrder) -> usize {
    let octets_of = |paged: &PagedMessage| RECORD_OCTETS + paged.message.as_bytes().len();
    match order {
        PageOrder::Out { messages, .. } => messages.iter().map(octets_of).sum(),
        _ => RECORD_OCTETS,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::Poll;

    use super::*;
    use crate::broker::record::{DurableQueueId, Record};

    /// Longer than any test.
    const LONG: Duration = Duration::from_secs(3600);

    fn record(number: u64) -> Record {
        Record::Delivered { queue: DurableQueueId(number), priority: 0, position: 1 }
    }

    fn append(buffer: &LogBuffer, records: &mut Vec<Record>) -> bool {
        buffer.append(records, &mut Vec::new(), 1)
    }

    fn take(buffer: &LogBuffer, wait: Wait) -> (Taken, Vec<Record>) {
        let mut records = Vec::new();
        let taken = buffer.take(&mut records, &mut Vec::new(), wait);
        (taken, records)
    }

    #[test]
    fn records_leave_in_the_order_in_which_they_came() {
        let buffer = LogBuffer::default();
        assert!(!append(&buffer, &mut Vec::new()));
        let mut batch = vec![record(1), record(2)];
        assert!(append(&buffer, &mut batch));
        assert!(batch.is_empty());
        append(&buffer, &mut vec![record(3)]);

        let (taken, records) = take(&buffer, Wait::ForEnough);
        assert_eq!((taken, records), (Taken::Open, vec![record(1), record(2), record(3)]));
        assert_eq!(take(&buffer, Wait::No), (Taken::Open, Vec::new()));
    }

    #[test]
    fn an_order_alone_is_something() {
        let buffer = LogBuffer::default();
        let mut orders = vec![PageOrder::Forget { queue: 1 }];
        assert!(buffer.append(&mut Vec::new(), &mut orders, 0));
        let mut taken = Vec::new();
        assert_eq!(buffer.take(&mut Vec::new(), &mut taken, Wait::ForEnough), Taken::Open);
        assert_eq!((orders, taken), (vec![], vec![PageOrder::Forget { queue: 1 }]));
    }

    #[test]
    fn an_order_wakes_whoever_leaves_the_records() {
        let buffer = LogBuffer::default();
        append(&buffer, &mut vec![record(1)]);
        assert!(buffer.append(&mut Vec::new(), &mut vec![PageOrder::Forget { queue: 1 }], 0));
        let mut orders = Vec::new();
        buffer.take_orders(&mut orders, Duration::ZERO);
        assert_eq!(orders, [PageOrder::Forget { queue: 1 }]);
        assert_eq!(take(&buffer, Wait::No).1, [record(1)]);
    }

    #[test]
    fn a_closed_buffer_gives_what_it_has_and_then_says_so() {
        let buffer = LogBuffer::default();
        append(&buffer, &mut vec![record(1)]);
        buffer.close();
        assert!(!append(&buffer, &mut vec![record(2)]));
        assert_eq!(take(&buffer, Wait::ForEnough), (Taken::Open, vec![record(1)]));
        assert_eq!(take(&buffer, Wait::ForEnough), (Taken::Closed, Vec::new()));
    }

    #[test]
    fn the_taker_waits_for_records_and_is_woken() {
        let buffer = Arc::new(LogBuffer::default());
        let taker = std::thread::spawn({
            let buffer = buffer.clone();
            move || take(&buffer, Wait::ForEnough).1
        });
        if append(&buffer, &mut vec![record(1)]) {
            buffer.wake();
        }
        assert_eq!(taker.join().unwrap(), [record(1)]);
    }

    #[test]
    fn what_nobody_waits_for_is_taken_with_what_somebody_does() {
        let buffer = Arc::new(LogBuffer { leisure: LONG, ..LogBuffer::default() });
        let low = |number| buffer.append(&mut vec![record(number)], &mut Vec::new(), 0);
        assert!(low(1), "whoever takes has to know from when on");
        let taker = std::thread::spawn({
            let buffer = buffer.clone();
            move || take(&buffer, Wait::ForEnough).1
        });
        assert!(!low(2));
        assert!(append(&buffer, &mut vec![record(3)]));
        buffer.wake();
        assert_eq!(taker.join().unwrap(), [record(1), record(2), record(3)]);
    }

    #[test]
    fn what_nobody_waits_for_is_taken_after_a_while_and_not_before() {
        let buffer = LogBuffer { leisure: Duration::from_millis(1), ..LogBuffer::default() };
        buffer.append(&mut vec![record(1)], &mut Vec::new(), 0);
        assert_eq!(take(&buffer, Wait::ForEnough).1, [record(1)]);

        let buffer = Arc::new(LogBuffer { leisure: LONG, ..LogBuffer::default() });
        buffer.append(&mut vec![record(1)], &mut Vec::new(), 0);
        let taker = std::thread::spawn({
            let buffer = buffer.clone();
            move || take(&buffer, Wait::ForEnough).1
        });
        // why: a taker that waits passes however slow the machine is; one that does not is seen soon.
        std::thread::sleep(Duration::from_millis(20));
        assert!(!taker.is_finished());
        buffer.close();
        assert_eq!(taker.join().unwrap(), [record(1)]);
    }

    #[test]
    fn whoever_wants_anything_waits_for_no_company() {
        let buffer = LogBuffer { leisure: LONG, gathering: LONG, ..LogBuffer::default() };
        for number in 1..=2 {
            buffer.append(&mut vec![record(number)], &mut Vec::new(), 0);
            assert_eq!(take(&buffer, Wait::ForAny).1, [record(number)]);
            append(&buffer, &mut vec![record(number)]);
            assert_eq!(take(&buffer, Wait::ForAny).1, [record(number)]);
        }
    }

    #[test]
    fn a_definition_is_due() {
        let buffer = LogBuffer { leisure: LONG, ..LogBuffer::default() };
        let definition = Record::QueueDeleted { id: DurableQueueId(1) };
        buffer.append(&mut vec![definition.clone()], &mut Vec::new(), 0);
        assert_eq!(take(&buffer, Wait::ForEnough).1, [definition]);
    }

    #[test]
    fn much_that_nobody_waits_for_is_due() {
        let buffer = LogBuffer::default();
        let low = |count| buffer.append(&mut vec![record(0); count], &mut Vec::new(), 0);
        assert!(low(1));
        assert!(!low(1));
        assert!(low(LEISURE_OCTETS / RECORD_OCTETS));
        assert!(!low(1), "whoever takes is awake");
    }

    #[test]
    fn what_is_in_flight_is_taken_together() {
        let buffer = Arc::new(LogBuffer { gathering: LONG, ..LogBuffer::default() });
        append(&buffer, &mut vec![record(1)]);
        take(&buffer, Wait::ForEnough);
        // One was answered and one waits: two are in flight.
        append(&buffer, &mut vec![record(2)]);
        let taker = std::thread::spawn({
            let buffer = buffer.clone();
            move || take(&buffer, Wait::ForEnough).1
        });
        while buffer.waiting.lock().tolerated == 0 {
            assert!(!taker.is_finished(), "nothing was waited for");
            std::thread::yield_now();
        }
        assert!(append(&buffer, &mut vec![record(3)]));
        buffer.wake();
        assert_eq!(taker.join().unwrap(), [record(2), record(3)]);
    }

    #[test]
    fn what_is_not_in_flight_after_all_is_not_waited_for_long() {
        let buffer = LogBuffer::default();
        for number in 1..=3 {
            append(&buffer, &mut vec![record(number)]);
            assert_eq!(take(&buffer, Wait::ForEnough).1, [record(number)]);
        }
        assert_eq!(buffer.waiting.lock().patience.failures, 1, "one of two was tried");
    }

    #[test]
    fn patience_is_lost_by_failures_and_won_back_by_a_success() {
        let mut patience = Patience::default();
        let attempts_among = |patience: &mut Patience, occasions, success| {
            let tried = |_: &u32| {
                let tries = patience.tries();
                if tries {
                    patience.note(success);
                }
                tries
            };
            (0..occasions).filter(tried).count()
        };
        assert_eq!(attempts_among(&mut patience, 10, true), 10);
        assert_eq!(attempts_among(&mut patience, 1 + 2 + 4 + 8, false), 4);
        let occasions = 1000 << MOST_DOUBLINGS;
        assert!((1000..=1004).contains(&attempts_among(&mut patience, occasions, false)));
        while !patience.tries() {}
        patience.note(true);
        assert_eq!(attempts_among(&mut patience, 10, true), 10);
    }

    #[tokio::test]
    async fn a_full_buffer_makes_connections_wait_until_it_is_taken() {
        let buffer = LogBuffer::default();
        buffer.wait_for_room().await;
        append(&buffer, &mut vec![record(0); LIMIT_OCTETS / RECORD_OCTETS + 1]);
        assert!(!buffer.has_room());

        let mut waiting = std::pin::pin!(buffer.wait_for_room());
        assert_eq!(futures::poll!(waiting.as_mut()), Poll::Pending);
        take(&buffer, Wait::No);
        assert_eq!(futures::poll!(waiting.as_mut()), Poll::Ready(()));
    }

    #[tokio::test]
    async fn a_higher_limit_lets_those_who_wait_go_on() {
        let buffer = LogBuffer::default();
        buffer.set_limit(0);
        append(&buffer, &mut vec![record(0); LEAST_LIMIT_OCTETS / RECORD_OCTETS + 1]);
        let mut waiting = std::pin::pin!(buffer.wait_for_room());
        assert_eq!(futures::poll!(waiting.as_mut()), Poll::Pending);
        buffer.set_limit(u64::MAX);
        assert_eq!(futures::poll!(waiting.as_mut()), Poll::Ready(()));
    }
}
