//! Records on their way from the core to the log: appended under the vhost's lock, taken by the
//! log thread.
//!
//! A leaf: its lock is held for a swap or an append and nothing else is locked meanwhile.
//!
//! invariant: records leave in the order in which they came, which is the core's. What comes after
//! [`LogBuffer::close`] is dropped: by then no client is left to be confirmed anything.

use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

use crate::broker::record::Record;

/// While more waits here, connections are not read from: publishers feel the speed of the disk
/// instead of filling the memory with what it has not taken yet.
const LIMIT_OCTETS: usize = 64 * 1024 * 1024;

/// What a record counts beside a message's own octets: the value itself and its frame in the log.
const RECORD_OCTETS: usize = 64;

/// A list of records that many append to and one takes from.
#[derive(Debug, Default)]
pub(crate) struct LogBuffer {
    waiting: Mutex<Waiting>,
    /// The octets of what waits, to be read without the lock.
    octets: AtomicUsize,
    appended: Condvar,
    room: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    records: Vec<Record>,
    closed: bool,
}

/// What [`LogBuffer::take`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Records, possibly none if it was told not to wait.
    Open,
    /// Nothing, and nothing will come any more.
    Closed,
}

impl LogBuffer {
    /// Moves `records` here. Says whether there were any, and so [`wake`](LogBuffer::wake) is due.
    pub(crate) fn append(&self, records: &mut Vec<Record>) -> bool {
        if records.is_empty() {
            return false;
        }
        let octets: usize = records.iter().map(octets_of).sum();
        let mut waiting = self.waiting.lock();
        if waiting.closed {
            records.clear();
            return false;
        }
        self.octets.fetch_add(octets, Ordering::Relaxed);
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

    /// Takes all records into `into`, which is empty; with `wait`, waits for some.
    pub(crate) fn take(&self, into: &mut Vec<Record>, wait: bool) -> Taken {
        debug_assert!(into.is_empty());
        let mut waiting = self.waiting.lock();
        while wait && waiting.records.is_empty() && !waiting.closed {
            self.appended.wait(&mut waiting);
        }
        std::mem::swap(&mut waiting.records, into);
        let before = self.octets.swap(0, Ordering::Relaxed);
        let closed = waiting.closed;
        drop(waiting);
        if before > LIMIT_OCTETS {
            self.room.notify_waiters();
        }
        if into.is_empty() && closed { Taken::Closed } else { Taken::Open }
    }

    /// Nothing more will come: once all is taken, [`take`](LogBuffer::take) says so.
    pub(crate) fn close(&self) {
        self.waiting.lock().closed = true;
        self.appended.notify_all();
    }

    /// Whether a connection may be read from.
    pub(crate) fn has_room(&self) -> bool {
        self.octets.load(Ordering::Relaxed) <= LIMIT_OCTETS
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::Poll;

    use super::*;
    use crate::broker::record::{DurableQueueId, Record};

    fn record(number: u64) -> Record {
        Record::QueueDeleted { id: DurableQueueId(number) }
    }

    #[test]
    fn records_leave_in_the_order_in_which_they_came() {
        let buffer = LogBuffer::default();
        assert!(!buffer.append(&mut Vec::new()));
        let mut batch = vec![record(1), record(2)];
        assert!(buffer.append(&mut batch));
        assert!(batch.is_empty());
        buffer.append(&mut vec![record(3)]);

        let mut taken = Vec::new();
        assert_eq!(buffer.take(&mut taken, true), Taken::Open);
        assert_eq!(taken, [record(1), record(2), record(3)]);
        taken.clear();
        assert_eq!(buffer.take(&mut taken, false), Taken::Open);
        assert!(taken.is_empty());
    }

    #[test]
    fn a_closed_buffer_gives_what_it_has_and_then_says_so() {
        let buffer = LogBuffer::default();
        buffer.append(&mut vec![record(1)]);
        buffer.close();
        assert!(!buffer.append(&mut vec![record(2)]));
        let mut taken = Vec::new();
        assert_eq!(buffer.take(&mut taken, true), Taken::Open);
        assert_eq!(taken, [record(1)]);
        taken.clear();
        assert_eq!(buffer.take(&mut taken, true), Taken::Closed);
    }

    #[test]
    fn the_taker_waits_for_records_and_is_woken() {
        let buffer = Arc::new(LogBuffer::default());
        let taker = std::thread::spawn({
            let buffer = buffer.clone();
            move || {
                let mut taken = Vec::new();
                buffer.take(&mut taken, true);
                taken
            }
        });
        if buffer.append(&mut vec![record(1)]) {
            buffer.wake();
        }
        assert_eq!(taker.join().unwrap(), [record(1)]);
    }

    #[tokio::test]
    async fn a_full_buffer_makes_connections_wait_until_it_is_taken() {
        let buffer = LogBuffer::default();
        buffer.wait_for_room().await;
        buffer.append(&mut vec![record(0); LIMIT_OCTETS / RECORD_OCTETS + 1]);
        assert!(!buffer.has_room());

        let mut waiting = std::pin::pin!(buffer.wait_for_room());
        assert_eq!(futures::poll!(waiting.as_mut()), Poll::Pending);
        buffer.take(&mut Vec::new(), false);
        assert_eq!(futures::poll!(waiting.as_mut()), Poll::Ready(()));
    }
}
