//! What all connections together hold of messages that have begun to come and are not whole.
//!
//! Each connection has a bound of its own in the core; this one is for many connections that
//! make use of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The sum over all connections.
#[derive(Debug)]
pub(super) struct PartialMessages {
    bytes: AtomicUsize,
    /// Connections that hold any.
    holders: AtomicUsize,
    max_bytes: usize,
}

impl PartialMessages {
    pub(super) fn new(max_bytes: usize) -> Self {
        PartialMessages { bytes: AtomicUsize::new(0), holders: AtomicUsize::new(0), max_bytes }
    }

    /// Bytes that all connections hold now.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// What one connection holds of it; nothing any more once it is dropped.
#[derive(Debug)]
pub(super) struct ConnectionShare {
    partial_messages: Arc<PartialMessages>,
    bytes: usize,
}

impl ConnectionShare {
    pub(super) fn new(partial_messages: Arc<PartialMessages>) -> Self {
        ConnectionShare { partial_messages, bytes: 0 }
    }

    /// The connection holds so many bytes now. Says whether it may.
    ///
    /// why: when there is too much in all, a connection that holds more than an equal part is closed
    /// as soon as it needs more. If none does there is not too much, and a client with small messages
    /// is never closed.
    pub(super) fn set(&mut self, bytes: usize) -> bool {
        let before = std::mem::replace(&mut self.bytes, bytes);
        if bytes <= before {
            self.shrink(before);
            return true;
        }
        let PartialMessages { bytes: all, holders, max_bytes } = &*self.partial_messages;
        let all = all.fetch_add(bytes - before, Ordering::Relaxed) + (bytes - before);
        let holders = match before {
            0 => holders.fetch_add(1, Ordering::Relaxed) + 1,
            _ => holders.load(Ordering::Relaxed),
        };
        all <= *max_bytes || bytes <= max_bytes / holders.max(1)
    }

    fn shrink(&self, before: usize) {
        if before == self.bytes {
            return;
        }
        self.partial_messages.bytes.fetch_sub(before - self.bytes, Ordering::Relaxed);
        if self.bytes == 0 {
            self.partial_messages.holders.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for ConnectionShare {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_above_an_equal_part_is_closed_when_there_is_too_much() {
        let partial_messages = Arc::new(PartialMessages::new(100));
        let [mut large, mut small, mut other] =
            [(); 3].map(|()| ConnectionShare::new(partial_messages.clone()));
        assert!(large.set(90), "one may have it all");
        assert!(small.set(20), "an equal part is allowed");
        assert!(other.set(5));
        assert_eq!(partial_messages.bytes(), 115);
        assert!(!large.set(91));
        large.set(0);
        assert!(small.set(50), "there is room again");
        assert!(other.set(50));
        assert!(!other.set(51));
    }

    #[test]
    fn a_closed_connection_leaves_nothing_behind() {
        let partial_messages = Arc::new(PartialMessages::new(100));
        let mut share = ConnectionShare::new(partial_messages.clone());
        share.set(70);
        share.set(30);
        assert_eq!(
            (partial_messages.bytes(), partial_messages.holders.load(Ordering::Relaxed)),
            (30, 1)
        );
        drop(share);
        assert_eq!(
            (partial_messages.bytes(), partial_messages.holders.load(Ordering::Relaxed)),
            (0, 0)
        );
    }
}
