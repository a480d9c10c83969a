//! How many clients a listener may have, and which one is closed when there are too many.
//!
//! For AMQP two limits: sockets, of which there are as many as the limit of open files allows when some are
//! left for the store, and open connections, which an operator may limit. If there is no room, the
//! client whose handshake has taken longest is closed to make room. For HTTP a connection is open while a
//! request of a user is answered, and the one that has waited longest for the next request, or for a login,
//! is closed to make room.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rustix::process::{Resource, getrlimit};
use tokio::sync::Notify;
use tokio::time::Instant;

/// Most handshakes at once.
///
/// why: each needs some 10 KiB before its user is known; they must not fill the memory where
/// open files have no limit.
const HANDSHAKES: usize = 16 * 1024;

/// How many sockets there may be above the limit, while those that were told to close still do so.
const LEAVING: usize = 16;

/// Open files that are always left for something else than clients and stores: listeners, the registry, what the
/// runtime needs.
const RESERVED_FILES: usize = 64;

/// Open files that each virtual host needs: its log, the next file of it, one that is replaced, one that is read or
/// appended to.
const VHOST_FILES: usize = 4;

/// The share of the allowed open files that the stores keep between two uses, one in so many, within reason.
const KEPT_SHARE: usize = 8;

/// How long nothing is logged of further refusals once one was logged.
const SILENCE: Duration = Duration::from_secs(10);

/// The slots that clients take.
#[derive(Debug)]
pub(crate) struct ConnectionSlots {
    /// Sockets, and the open files of virtual hosts.
    max_sockets: usize,
    /// The open files of virtual hosts.
    vhost_files: AtomicUsize,
    /// Connections that are open.
    max_open: Option<usize>,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    sockets: usize,
    open: usize,
    last_id: u64,
    /// Those that are not open, the oldest first, each with what tells it to close.
    handshakes: BTreeMap<u64, Arc<Notify>>,
    refused: LimitedLog,
    slow: LimitedLog,
}

impl ConnectionSlots {
    /// As many sockets as the process may have when so many open files are kept for others, and so
    /// many open connections.
    pub(crate) fn new(max_open: Option<usize>, kept_files: usize) -> Self {
        let files = getrlimit(Resource::Nofile).current;
        let files = files.map(|files| usize::try_from(files).unwrap_or(usize::MAX));
        let max_sockets = files.map_or(usize::MAX, |files| sockets_of(files, kept_files));
        if let Some(max) = max_open
            && max > max_sockets
        {
            tracing::warn!(
                max_sockets,
                "the limit of open files allows fewer connections than are asked for"
            );
        }
        ConnectionSlots::of(max_sockets, max_open)
    }

    /// So many sockets, and so many open connections.
    pub(crate) fn of(max_sockets: usize, max_open: Option<usize>) -> Self {
        let vhost_files = AtomicUsize::new(0);
        ConnectionSlots { max_sockets, vhost_files, max_open, taken: Mutex::default() }
    }

    /// Leaves open files to so many virtual hosts.
    pub(crate) fn leave_to_vhosts(&self, count: usize) {
        self.vhost_files.store(count.saturating_mul(VHOST_FILES), Ordering::Relaxed);
    }

    fn max_sockets(&self) -> usize {
        self.max_sockets.saturating_sub(self.vhost_files.load(Ordering::Relaxed)).max(1)
    }

    /// How many sockets, and how many open connections, there may be.
    pub(crate) fn limits(&self) -> (usize, Option<usize>) {
        (self.max_sockets(), self.max_open)
    }

    /// How many connections are open.
    pub(crate) fn open_count(&self) -> usize {
        self.taken.lock().open
    }

    /// A client has connected; none when there is no room for it.
    pub(crate) fn take(self: &Arc<Self>) -> Option<ConnectionSlot> {
        let max_sockets = self.max_sockets();
        let mut taken = self.taken.lock();
        let has_room = taken.sockets < max_sockets && taken.handshakes.len() < HANDSHAKES;
        if !has_room {
            let makes_room = taken.sockets < max_sockets.saturating_add(LEAVING);
            let oldest = makes_room.then(|| taken.handshakes.pop_first()).flatten();
            if let Some(refused) = taken.refused.note() {
                tracing::warn!(
                    max_sockets,
                    refused,
                    "too many clients: those that are not open are closed, or new ones"
                );
            }
            oldest?.1.notify_one();
        }
        taken.sockets += 1;
        taken.last_id += 1;
        let (id, leave) = (taken.last_id, Arc::new(Notify::new()));
        taken.handshakes.insert(id, leave.clone());
        drop(taken);
        Some(ConnectionSlot { slots: self.clone(), id, leave, is_open: false })
    }
}

/// How many sockets a process that may have so many open files has for clients.
///
/// rabbitmq: nine tenths.
fn sockets_of(files: usize, kept_files: usize) -> usize {
    (files - files / 10).saturating_sub(RESERVED_FILES + kept_files).max(1)
}

/// How many files the stores of a process may keep open between two uses, of at most so many.
pub(crate) fn files_kept_by_stores(most: usize) -> usize {
    let files = getrlimit(Resource::Nofile).current;
    let files = files.map_or(usize::MAX, |files| usize::try_from(files).unwrap_or(usize::MAX));
    most.min(files / KEPT_SHARE)
}

/// One client's slot, free again once it is dropped.
#[derive(Debug)]
pub(crate) struct ConnectionSlot {
    slots: Arc<ConnectionSlots>,
    id: u64,
    leave: Arc<Notify>,
    is_open: bool,
}

impl ConnectionSlot {
    /// What is notified when another client needs the slot.
    pub(crate) fn leave(&self) -> Arc<Notify> {
        self.leave.clone()
    }

    /// The connection is about to be open: no other client takes its slot any more.
    ///
    /// # Errors
    /// The limit of open connections, when there are as many.
    pub(crate) fn open(&mut self) -> Result<(), usize> {
        let ConnectionSlots { max_open, taken, .. } = &*self.slots;
        let mut taken = taken.lock();
        if let Some(max) = *max_open
            && taken.open >= max
        {
            if let Some(refused) = taken.refused.note() {
                tracing::warn!(max, refused, "node connection limit is reached, clients refused");
            }
            return Err(max);
        }
        taken.open += 1;
        taken.handshakes.remove(&self.id);
        self.is_open = true;
        Ok(())
    }

    /// The handshake took too long: how many did since the last time, if that is to be logged.
    pub(crate) fn note_slow(&self) -> Option<u64> {
        self.slots.taken.lock().slow.note()
    }

    /// Whether no other client may take it.
    pub(crate) fn is_open(&self) -> bool {
        self.is_open
    }

    /// The connection is not open any more, and is the last of those that make room for others.
    pub(crate) fn set_idle(&mut self) {
        let mut taken = self.slots.taken.lock();
        taken.last_id += 1;
        self.id = taken.last_id;
        drop(taken);
        self.close();
    }

    /// The connection did not become open after all.
    pub(crate) fn close(&mut self) {
        let mut taken = self.slots.taken.lock();
        taken.open -= usize::from(std::mem::take(&mut self.is_open));
        taken.handshakes.insert(self.id, self.leave.clone());
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        let mut taken = self.slots.taken.lock();
        taken.sockets -= 1;
        taken.open -= usize::from(self.is_open);
        taken.handshakes.remove(&self.id);
    }
}

/// Counts what a client can cause without a login, and says when it is to be logged.
#[derive(Debug, Default)]
struct LimitedLog {
    count: u64,
    logged: Option<Instant>,
}

impl LimitedLog {
    /// One more; how many there are since the last time, if that is to be logged.
    fn note(&mut self) -> Option<u64> {
        self.count += 1;
        let now = Instant::now();
        if self.logged.is_some_and(|logged| now - logged < SILENCE) {
            return None;
        }
        self.logged = Some(now);
        Some(std::mem::take(&mut self.count))
    }
}

#[cfg(test)]
mod tests {
    use futures::poll;

    use super::*;

    #[test]
    fn some_files_are_left_for_the_store() {
        assert_eq!(sockets_of(1024, 0), 858);
        assert_eq!(sockets_of(1024, 256), 602);
        assert_eq!(sockets_of(20_000, 0), 17_936);
        assert_eq!(sockets_of(10, 256), 1);
    }

    #[tokio::test]
    async fn the_oldest_handshake_makes_room() {
        let slots = Arc::new(ConnectionSlots::of(2, None));
        let [first, second] = [(); 2].map(|()| slots.take().unwrap());
        let third = slots.take().unwrap();
        assert!(poll!(Box::pin(first.leave.notified())).is_ready());
        assert!(poll!(Box::pin(second.leave.notified())).is_pending());
        drop((first, second));
        let fourth = slots.take().unwrap();
        assert!(poll!(Box::pin(third.leave.notified())).is_pending());
        assert!(poll!(Box::pin(fourth.leave.notified())).is_pending());
    }

    #[test]
    fn open_connections_are_never_closed_for_others() {
        let slots = Arc::new(ConnectionSlots::of(2, None));
        let mut open = [(); 2].map(|()| slots.take().unwrap());
        for slot in &mut open {
            slot.open().unwrap();
        }
        assert!(slots.take().is_none());
        open[0].close();
        assert!(slots.take().is_some());
        assert_eq!(slots.open_count(), 1);
        drop(open);
        assert_eq!((slots.open_count(), slots.taken.lock().sockets), (0, 0));
    }

    #[tokio::test]
    async fn a_connection_that_is_idle_again_is_the_last_to_make_room() {
        let slots = Arc::new(ConnectionSlots::of(3, None));
        let [mut first, mut second, third] = [(); 3].map(|()| slots.take().unwrap());
        first.open().unwrap();
        second.open().unwrap();
        first.set_idle();
        assert!(!first.is_open() && second.is_open());
        for next in [&third, &first] {
            assert!(poll!(Box::pin(next.leave.notified())).is_pending());
            slots.take().unwrap();
            assert!(poll!(Box::pin(next.leave.notified())).is_ready());
        }
    }

    #[test]
    fn sockets_that_are_about_to_close_have_a_bound() {
        let slots = Arc::new(ConnectionSlots::of(100, None));
        let kept: Vec<_> = std::iter::from_fn(|| slots.take()).take(500).collect();
        assert_eq!(kept.len(), 100 + LEAVING);
    }

    #[test]
    fn the_operators_limit_is_for_open_connections() {
        let slots = Arc::new(ConnectionSlots::of(10, Some(1)));
        let [mut first, mut second] = [(); 2].map(|()| slots.take().unwrap());
        assert_eq!(first.open(), Ok(()));
        assert_eq!(second.open(), Err(1));
        drop(first);
        assert_eq!(second.open(), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_do_not_flood_the_log() {
        let mut limited = LimitedLog::default();
        assert_eq!(limited.note(), Some(1));
        assert!((0..1000).all(|_| limited.note().is_none()));
        tokio::time::advance(SILENCE).await;
        assert_eq!(limited.note(), Some(1001));
    }
}
