//! What all connections together hold that clients could give back: messages that have begun to come and are
//! not whole, and answers that their clients have not read.
//!
//! Each connection has bounds of its own, in the core and in its outbox; this one is for many connections that
//! make use of them. When they hold too much, those that hold the most are closed, so that a client with
//! small messages, and one that reads, is left alone whatever others do. What is delivered is not counted: it
//! belongs to its queue, and a client that does not read it is closed by the send timeout.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use slab::Slab;
use tokio::sync::Notify;

use crate::outbox::Outbox;

/// The sum over all connections.
#[derive(Debug)]
pub(super) struct ConnectionMemory {
    /// As counted last: what clients have read since then is still in it.
    bytes: AtomicUsize,
    max_bytes: usize,
    holders: Mutex<Slab<Arc<Holder>>>,
}

/// A connection.
#[derive(Debug)]
struct Holder {
    /// Bytes of messages that are not whole.
    partial: AtomicUsize,
    /// Bytes of it that are in the sum.
    counted: AtomicUsize,
    outbox: Arc<Outbox>,
    /// Whether it is to give up what it holds, since that is too much.
    is_chosen: AtomicBool,
    chosen: Notify,
}

impl Holder {
    /// Bytes that it holds now.
    fn bytes(&self) -> usize {
        self.partial.load(Ordering::Relaxed) + self.answers()
    }

    fn answers(&self) -> usize {
        self.outbox.answer_bytes() as usize
    }
}

impl ConnectionMemory {
    pub(super) fn new(max_bytes: usize) -> Self {
        ConnectionMemory { bytes: AtomicUsize::new(0), max_bytes, holders: Mutex::default() }
    }

    /// Bytes that all connections hold now.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Counts what a connection holds now. Says whether all together are within their bound.
    fn count(&self, holder: &Holder, bytes: usize) -> bool {
        let before = holder.counted.swap(bytes, Ordering::Relaxed);
        if bytes <= before {
            self.bytes.fetch_sub(before - bytes, Ordering::Relaxed);
            return true;
        }
        let all = self.bytes.fetch_add(bytes - before, Ordering::Relaxed) + (bytes - before);
        all <= self.max_bytes
    }

    /// Chooses those that hold the most, until the others hold no more than they may.
    ///
    /// why: not just the one that asks for more. A few that hold much and ask for nothing would leave the
    /// others little, and all together hold far more than they may.
    fn choose(&self) {
        let holders = self.holders.lock();
        // why: a client that reads gives back what it holds, and does not say so.
        for (_, holder) in &*holders {
            self.count(holder, holder.bytes());
        }
        let bytes = |holder: &Arc<Holder>| holder.counted.load(Ordering::Relaxed);
        let is_left = |holder: &&Arc<Holder>| !holder.is_chosen.load(Ordering::Relaxed);
        let left = || holders.iter().map(|(_, holder)| holder).filter(is_left);
        let mut held: usize = left().map(bytes).sum();
        while held > self.max_bytes {
            let Some(largest) = left().max_by_key(|holder| bytes(holder)) else { return };
            held = held.saturating_sub(bytes(largest));
            largest.is_chosen.store(true, Ordering::Relaxed);
            largest.chosen.notify_one();
        }
    }
}

/// What one connection holds of it; nothing any more once it is dropped.
#[derive(Debug)]
pub(super) struct ConnectionShare {
    all: Arc<ConnectionMemory>,
    holder: Arc<Holder>,
    key: usize,
}

/// Says when a connection holds too much.
pub(super) struct Chosen(Arc<Holder>);

impl ConnectionShare {
    /// Of a connection whose answers wait in this outbox.
    pub(super) fn new(all: Arc<ConnectionMemory>, outbox: Arc<Outbox>) -> Self {
        let holder = Arc::new(Holder {
            partial: AtomicUsize::new(0),
            counted: AtomicUsize::new(0),
            outbox,
            is_chosen: AtomicBool::new(false),
            chosen: Notify::new(),
        });
        let key = all.holders.lock().insert(holder.clone());
        ConnectionShare { all, holder, key }
    }

    /// The connection holds so many bytes of messages that are not whole now. Says whether it may hold these and
    /// its answers; it is to hold none otherwise.
    pub(super) fn set(&self, partial: usize) -> bool {
        self.holder.partial.store(partial, Ordering::Relaxed);
        if !self.all.count(&self.holder, self.holder.bytes()) {
            self.all.choose();
        }
        !self.holder.is_chosen.load(Ordering::Relaxed)
    }

    /// How many bytes of answers it holds, if these are more than its messages that are not whole.
    pub(super) fn is_mostly_answers(&self) -> Option<u64> {
        let answers = self.holder.answers();
        (answers > self.holder.partial.load(Ordering::Relaxed)).then_some(answers as u64)
    }

    /// The connection has given up the messages that it held.
    pub(super) fn give_up(&self) {
        self.holder.is_chosen.store(false, Ordering::Relaxed);
        self.set(0);
    }

    /// To be waited for beside whatever the connection waits for.
    pub(super) fn chosen(&self) -> Chosen {
        Chosen(self.holder.clone())
    }
}

impl Chosen {
    /// Waits until the connection is to give up what it holds.
    pub(super) async fn wait(&self) {
        while !self.0.is_chosen.load(Ordering::Relaxed) {
            self.0.chosen.notified().await;
        }
    }
}

impl Drop for ConnectionShare {
    fn drop(&mut self) {
        self.all.holders.lock().try_remove(self.key);
        self.all.count(&self.holder, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::command::Outgoing;
    use crate::outbox::Size;

    fn shares<const N: usize>(all: &Arc<ConnectionMemory>) -> [ConnectionShare; N] {
        [(); N].map(|()| ConnectionShare::new(all.clone(), Arc::default()))
    }

    #[test]
    fn the_connection_that_holds_the_most_is_closed_when_there_is_too_much() {
        let all = Arc::new(ConnectionMemory::new(100));
        let [large, small, other] = shares(&all);
        assert!(large.set(90), "one may have it all");
        assert!(small.set(10));
        assert!(other.set(5), "it is not the largest");
        assert!(!large.set(90), "that one is");
        assert!(other.set(6), "one was chosen already");
        large.give_up();
        assert_eq!(all.bytes(), 16);
        assert!(large.set(50) && small.set(40), "there is room again");
        assert!(large.set(54), "as much as they may");
        assert!(!large.set(55));
    }

    #[test]
    fn however_many_connections_there_are_they_hold_no_more_than_they_may() {
        let all = Arc::new(ConnectionMemory::new(1000));
        let shares: [ConnectionShare; 100] = shares(&all);
        for bytes in 1..300 {
            for share in &shares {
                if !share.set(bytes) {
                    share.give_up();
                }
                // One that was chosen and has not been asked yet may hold something.
                assert!(all.bytes() <= 1000 + bytes, "{} of {bytes}", all.bytes());
            }
        }
    }

    #[test]
    fn a_closed_connection_leaves_nothing_behind() {
        let all = Arc::new(ConnectionMemory::new(100));
        let share = ConnectionShare::new(all.clone(), Arc::default());
        share.set(70);
        share.set(30);
        assert_eq!((all.bytes(), all.holders.lock().len()), (30, 1));
        drop(share);
        assert_eq!((all.bytes(), all.holders.lock().len()), (0, 0));
    }

    #[test]
    fn answers_count_until_they_are_read() {
        let all = Arc::new(ConnectionMemory::new(100));
        let answers = |bytes| vec![Outgoing::Frames(vec![0; bytes])];
        let [outbox, other] = [(); 2].map(|()| Arc::new(Outbox::default()));
        let share = ConnectionShare::new(all.clone(), outbox.clone());
        let reads = ConnectionShare::new(all.clone(), other.clone());
        other.append(&mut answers(90));
        assert!(reads.set(0));
        other.note_written(90, Size { all: 90, answers: 90 });
        outbox.append(&mut answers(60));
        assert!(share.set(30), "what the other has read counts no more");
        assert_eq!(all.bytes(), 90);
        outbox.append(&mut answers(60));
        assert!(!share.set(30) && reads.set(10));
        assert_eq!(share.is_mostly_answers(), Some(120));
        assert_eq!(reads.is_mostly_answers(), None);
        drop(share);
        assert_eq!(all.bytes(), 10);
    }
}
