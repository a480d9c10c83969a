//! What others tell a vhost. Nobody waits for its lock to tell it something: what is told is put here, and
//! whoever has the lock next applies it, at once if it is free.
//!
//! A leaf: its lock is held for a change of these values, and nothing else is locked meanwhile.
//!
//! invariant: there is never more here than the last value of each kind, and one entry for each connection,
//! however long the vhost is busy.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

use parking_lot::Mutex;

use crate::broker::access::Rights;
use crate::broker::error::Fault;
use crate::broker::paging::MemoryShare;
use crate::broker::policy::PolicySet;
use crate::broker::vhost::ConnectionId;

/// How many connections that ended one hold of the lock deals with.
const ENDED_A_HOLD: usize = 16;

/// Values on their way to a vhost.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    has_any: AtomicBool,
    told: Mutex<Told>,
}

/// Which connections are to be closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Chosen {
    /// All there are, and no other is let in.
    All,
    /// Those of a user.
    User(String),
    /// One.
    Connection(ConnectionId),
}

/// How much memory a vhost may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MemoryLimits {
    /// Its messages, if there is a disk for more.
    pub(crate) share: Option<MemoryShare>,
    /// What is defined in it, in bytes.
    pub(crate) definitions: u64,
    /// All of the broker, in bytes.
    pub(crate) whole: u64,
}

/// The last value of each kind that was told, if any was.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Why publishers are blocked, if they are.
    pub(super) alarm: Option<Option<String>>,
    pub(super) memory: Option<MemoryLimits>,
    /// What users may do.
    pub(super) rights: BTreeMap<String, Arc<Rights>>,
    pub(super) policies: Option<Arc<PolicySet>>,
    pub(super) max_queues: Option<Option<u64>>,
    /// What the node is called that traces messages, if they are traced.
    pub(super) tracing: Option<Option<String>>,
    pub(super) close: Vec<(Fault, Chosen)>,
    /// How much was written to connections.
    pub(super) written: BTreeMap<ConnectionId, usize>,
    /// Connections that have ended.
    pub(super) ended: VecDeque<ConnectionId>,
}

impl Inbox {
    /// Puts something here. What follows is an attempt to get the lock.
    pub(super) fn put(&self, change: impl FnOnce(&mut Told)) {
        let mut told = self.told.lock();
        change(&mut told);
        self.has_any.store(true, Ordering::Relaxed);
        drop(told);
        // why: see the end of a hold in `lock`.
        fence(Ordering::SeqCst);
    }

    /// Whether there may be something.
    pub(super) fn has_any(&self) -> bool {
        self.has_any.load(Ordering::Relaxed)
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        let mut told = self.told.lock();
        *told = Told::default();
        self.has_any.store(false, Ordering::Relaxed);
    }

    /// Takes out what one hold of the lock deals with.
    pub(super) fn take(&self) -> Told {
        let mut told = self.told.lock();
        let now = told.ended.len().min(ENDED_A_HOLD);
        let later = told.ended.split_off(now);
        self.has_any.store(!later.is_empty(), Ordering::Relaxed);
        std::mem::replace(&mut *told, Told { ended: later, ..Told::default() })
    }
}
