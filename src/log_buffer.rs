//! Records, and orders for pages, on their way from the core to the store: appended under the
//! vhost's lock, taken by the log thread.
//!
//! A leaf: its lock is held for a swap or an append and nothing else is locked meanwhile.
//!
//! invariant: records leave in the order in which they came, which is the core's; so do orders, and
//! none leaves before a record that came before it. What comes after [`LogBuffer::close`] is dropped:
//! by then no client is left to be confirmed anything.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

use crate::broker::paging::{PageOrder, PagedMessage};
use crate::broker::record::Record;

/// While more waits here, connections are not read from: publishers feel the speed of the disk
/// instead of filling the memory with what it has not taken yet.
const LIMIT_OCTETS: usize = 64 * 1024 * 1024;
/// The same where memory is short.
const LEAST_LIMIT_OCTETS: usize = 1024 * 1024;

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
}

#[derive(Debug, Default)]
struct Waiting {
    records: Vec<Record>,
    orders: Vec<PageOrder>,
    closed: bool,
}

/// How long [`LogBuffer::take`] waits for something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Not at all.
    No,
    /// Until there is something or nothing will come any more.
    Forever,
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
        }
    }
}

impl LogBuffer {
    /// Moves both lists here. Says whether there was anything, and so [`wake`](LogBuffer::wake) is
    /// due.
    pub(crate) fn append(&self, records: &mut Vec<Record>, orders: &mut Vec<PageOrder>) -> bool {
        if records.is_empty() && orders.is_empty() {
            return false;
        }
        let octets: usize = records.iter().map(octets_of).sum::<usize>()
            + orders.iter().map(octets_of_order).sum::<usize>();
        let mut waiting = self.waiting.lock();
        if waiting.closed {
            records.clear();
            orders.clear();
            return false;
        }
        self.octets.fetch_add(octets, Ordering::Relaxed);
        waiting.orders.append(orders);
        if waiting.records.is_empty() {
            std::mem::swap(&mut waiting.records, records);
        } else {
            waiting.records.append(records);
        }
        true
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
        while waiting.records.is_empty() && waiting.orders.is_empty() && !waiting.closed {
            match wait {
                Wait::No => break,
                Wait::Forever => self.appended.wait(&mut waiting),
            }
        }
        std::mem::swap(&mut waiting.records, records);
        std::mem::swap(&mut waiting.orders, orders);
        let before = self.octets.swap(0, Ordering::Relaxed);
        let closed = waiting.closed;
        drop(waiting);
        if before > self.limit() {
            self.room.notify_waiters();
        }
        let is_empty = records.is_empty() && orders.is_empty();
        if is_empty && closed { Taken::Closed } else { Taken::Open }
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

    fn record(number: u64) -> Record {
        Record::QueueDeleted { id: DurableQueueId(number) }
    }

    fn append(buffer: &LogBuffer, records: &mut Vec<Record>) -> bool {
        buffer.append(records, &mut Vec::new())
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

        let (taken, records) = take(&buffer, Wait::Forever);
        assert_eq!((taken, records), (Taken::Open, vec![record(1), record(2), record(3)]));
        assert_eq!(take(&buffer, Wait::No), (Taken::Open, Vec::new()));
    }

    #[test]
    fn an_order_alone_is_something() {
        let buffer = LogBuffer::default();
        let mut orders = vec![PageOrder::Forget { queue: 1 }];
        assert!(buffer.append(&mut Vec::new(), &mut orders));
        let mut taken = Vec::new();
        assert_eq!(buffer.take(&mut Vec::new(), &mut taken, Wait::Forever), Taken::Open);
        assert_eq!((orders, taken), (vec![], vec![PageOrder::Forget { queue: 1 }]));
    }

    #[test]
    fn a_closed_buffer_gives_what_it_has_and_then_says_so() {
        let buffer = LogBuffer::default();
        append(&buffer, &mut vec![record(1)]);
        buffer.close();
        assert!(!append(&buffer, &mut vec![record(2)]));
        assert_eq!(take(&buffer, Wait::Forever), (Taken::Open, vec![record(1)]));
        assert_eq!(take(&buffer, Wait::Forever), (Taken::Closed, Vec::new()));
    }

    #[test]
    fn the_taker_waits_for_records_and_is_woken() {
        let buffer = Arc::new(LogBuffer::default());
        let taker = std::thread::spawn({
            let buffer = buffer.clone();
            move || take(&buffer, Wait::Forever).1
        });
        if append(&buffer, &mut vec![record(1)]) {
            buffer.wake();
        }
        assert_eq!(taker.join().unwrap(), [record(1)]);
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
