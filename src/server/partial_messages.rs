//! What all connections together hold of messages that have begun to come and are not whole.
//!
//! Each connection has a bound of its own in the core; this one is for many connections that
//! make use of it. When they hold too much, those that hold the most are closed, so that a client with
//! small messages is left alone whatever others do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use slab::Slab;
use tokio::sync::Notify;

/// The sum over all connections.
#[derive(Debug)]
pub(super) struct PartialMessages {
    bytes: AtomicUsize,
    max_bytes: usize,
    holders: Mutex<Slab<Arc<Holder>>>,
}

/// A connection.
#[derive(Debug, Default)]
struct Holder {
    bytes: AtomicUsize,
    /// Whether it is to give up what it holds, since that is too much.
    is_chosen: AtomicBool,
    chosen: Notify,
}

impl PartialMessages {
    pub(super) fn new(max_bytes: usize) -> Self {
        PartialMessages { bytes: AtomicUsize::new(0), max_bytes, holders: Mutex::default() }
    }

    /// Bytes that all connections hold now.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Chooses those that hold the most, until the others hold no more than they may.
    ///
    /// why: not just the one that asks for more. A few that hold much and ask for nothing would leave the
    /// others little, and all together hold far more than they may.
    fn choose(&self) {
        let holders = self.holders.lock();
        let bytes = |holder: &Arc<Holder>| holder.bytes.load(Ordering::Relaxed);
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
    partial_messages: Arc<PartialMessages>,
    holder: Arc<Holder>,
    key: usize,
}

/// Says when a connection holds too much.
pub(super) struct Chosen(Arc<Holder>);

impl ConnectionShare {
    pub(super) fn new(partial_messages: Arc<PartialMessages>) -> Self {
        let holder = Arc::new(Holder::default());
        let key = partial_messages.holders.lock().insert(holder.clone());
        ConnectionShare { partial_messages, holder, key }
    }

    /// The connection holds so many bytes now. Says whether it may; it is to hold none otherwise.
    pub(super) fn set(&self, bytes: usize) -> bool {
        let before = self.holder.bytes.swap(bytes, Ordering::Relaxed);
        let all = &self.partial_messages.bytes;
        if bytes > before {
            let all = all.fetch_add(bytes - before, Ordering::Relaxed) + (bytes - before);
            if all > self.partial_messages.max_bytes {
                self.partial_messages.choose();
            }
        } else if bytes < before {
            all.fetch_sub(before - bytes, Ordering::Relaxed);
        }
        !self.holder.is_chosen.load(Ordering::Relaxed)
    }

    /// The connection has given up what it held.
    pub(super) fn give_up(&self) {
        self.set(0);
        self.holder.is_chosen.store(false, Ordering::Relaxed);
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
        self.set(0);
        self.partial_messages.holders.lock().try_remove(self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares<const N: usize>(all: &Arc<PartialMessages>) -> [ConnectionShare; N] {
        [(); N].map(|()| ConnectionShare::new(all.clone()))
    }

    #[test]
    fn the_connection_that_holds_the_most_is_closed_when_there_is_too_much() {
        let all = Arc::new(PartialMessages::new(100));
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
        let all = Arc::new(PartialMessages::new(1000));
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
        let all = Arc::new(PartialMessages::new(100));
        let share = ConnectionShare::new(all.clone());
        share.set(70);
        share.set(30);
        assert_eq!((all.bytes(), all.holders.lock().len()), (30, 1));
        drop(share);
        assert_eq!((all.bytes(), all.holders.lock().len()), (0, 0));
    }
}
