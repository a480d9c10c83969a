//! What all connections together hold of messages that have begun to come and are not whole.
//!
//! Each connection has a bound of its own in the core; this one is for many connections that all
//! make use of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The sum over all connections.
#[derive(Debug)]
pub(super) struct Pending {
    octets: AtomicUsize,
    /// Connections that hold any.
    holders: AtomicUsize,
    max_octets: usize,
}

impl Pending {
    pub(super) fn new(max_octets: usize) -> Self {
        Pending { octets: AtomicUsize::new(0), holders: AtomicUsize::new(0), max_octets }
    }

    /// Octets that all connections hold now.
    pub(super) fn octets(&self) -> usize {
        self.octets.load(Ordering::Relaxed)
    }
}

/// What one connection holds of it; nothing any more once it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    pending: Arc<Pending>,
    octets: usize,
}

impl Share {
    pub(super) fn new(pending: Arc<Pending>) -> Self {
        Share { pending, octets: 0 }
    }

    /// The connection holds so many octets now. Says whether it may.
    ///
    /// why: when there is too much in all, those that hold more than an equal part go, as soon as
    /// they want more. If nobody does there is not too much, and a client with small messages is
    /// never among them.
    pub(super) fn set(&mut self, octets: usize) -> bool {
        let before = std::mem::replace(&mut self.octets, octets);
        if octets <= before {
            self.shrink(before);
            return true;
        }
        let Pending { octets: all, holders, max_octets } = &*self.pending;
        let all = all.fetch_add(octets - before, Ordering::Relaxed) + (octets - before);
        let holders = match before {
            0 => holders.fetch_add(1, Ordering::Relaxed) + 1,
            _ => holders.load(Ordering::Relaxed),
        };
        all <= *max_octets || octets <= max_octets / holders.max(1)
    }

    fn shrink(&self, before: usize) {
        if before == self.octets {
            return;
        }
        self.pending.octets.fetch_sub(before - self.octets, Ordering::Relaxed);
        if self.octets == 0 {
            self.pending.holders.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_holds_more_than_an_equal_part_goes_when_there_is_too_much() {
        let pending = Arc::new(Pending::new(100));
        let [mut large, mut small, mut other] = [(); 3].map(|()| Share::new(pending.clone()));
        assert!(large.set(90), "one may have it all");
        assert!(small.set(20), "an equal part is allowed");
        assert!(other.set(5));
        assert_eq!(pending.octets(), 115);
        assert!(!large.set(91));
        large.set(0);
        assert!(small.set(50), "there is room again");
        assert!(other.set(50));
        assert!(!other.set(51));
    }

    #[test]
    fn who_goes_leaves_nothing_behind() {
        let pending = Arc::new(Pending::new(100));
        let mut share = Share::new(pending.clone());
        share.set(70);
        share.set(30);
        assert_eq!((pending.octets(), pending.holders.load(Ordering::Relaxed)), (30, 1));
        drop(share);
        assert_eq!((pending.octets(), pending.holders.load(Ordering::Relaxed)), (0, 0));
    }
}
