//! Memory and disk of a broker: what each virtual host may take, and the alarms.
//!
//! What clients make the broker keep may take so much memory, all virtual hosts together. A quarter of that,
//! shared between them, is for messages that wait; beyond it they go to the disk, if there is one. The rest is
//! for what cannot go there: deliveries that are not acknowledged, outboxes, what is on its way to the disk, and
//! what is defined, which may take three quarters: beyond that nothing more may be defined. When all is full,
//! publishers are blocked and consumers go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

use super::Vhosts;
use crate::broker::limits::ClientLimits;
use crate::broker::paging::MemoryShare;
use crate::handle::MemoryLimits;
use crate::log_buffer::DiskRoom;
use crate::memory;
use crate::store::Options;

/// What may be short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resource {
    /// Memory for messages.
    Memory,
    /// Room on the disk.
    Disk,
}

/// Which alarms are raised.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Alarms {
    memory: bool,
    disk: bool,
    /// What an operator says is short, whatever is.
    by_operator: Vec<Resource>,
    /// One that was raised by hand, and why.
    by_hand: Option<String>,
}

impl Alarms {
    /// What clients are told.
    ///
    /// rabbitmq: with these words.
    fn reason(&self) -> Option<String> {
        let memory = self.memory || self.by_operator.contains(&Resource::Memory);
        let disk = self.disk || self.by_operator.contains(&Resource::Disk);
        match (memory, disk) {
            _ if self.by_hand.is_some() => self.by_hand.clone(),
            (true, true) => Some("low on disk & memory".to_owned()),
            (true, false) => Some("low on memory".to_owned()),
            (false, true) => Some("low on disk".to_owned()),
            (false, false) => None,
        }
    }
}

/// How much memory and disk what clients make the broker keep may take.
#[derive(Clone, Debug)]
pub(crate) struct ResourcePlan {
    /// All of the memory, in bytes.
    pub(crate) limit: u64,
    /// Whether messages may go to a disk.
    pub(crate) has_disk: bool,
    /// While less is free on the disk of the data directory, in bytes, publishers are blocked.
    pub(crate) disk_free_limit: u64,
    /// How long a log file is at most when it is followed by a new one, in bytes.
    pub(crate) log_file_bytes: u64,
    /// What clients may define.
    pub(crate) client_limits: ClientLimits,
}

impl ResourcePlan {
    /// So much memory, and the usual of everything else.
    #[cfg(test)]
    pub(crate) fn for_tests(limit: u64, has_disk: bool) -> Self {
        let (disk_free_limit, log_file_bytes) = (0, Options::default().log_file_bytes);
        let client_limits = ClientLimits::default();
        ResourcePlan { limit, has_disk, disk_free_limit, log_file_bytes, client_limits }
    }

    /// How large the files of a store may be, of so many.
    ///
    /// why: a start takes up what lives in the log, as much as `start_bytes` says, before it can go to the disk
    /// again.
    pub(super) fn store_options(&self, vhosts: usize) -> Options {
        let usual = Options::default();
        let log_bytes = (self.limit / LOG_SHARE / vhosts.max(1) as u64).max(LEAST_LOG_BYTES);
        let log_file_bytes = self.log_file_bytes.min(log_bytes / usual.log_files as u64);
        // why: the log may be longer than it should be, as it was written under another limit.
        Options { log_file_bytes, start_bytes: log_bytes, ..usual }
    }
}

/// The share of the memory that the log's files may be as large as: one in so many.
const LOG_SHARE: u64 = 4;
/// The least that all log files together may be, in bytes.
const LEAST_LOG_BYTES: u64 = 8 * 1024 * 1024;

/// The share of the memory that is for messages that wait: one in so many.
const WAITING_SHARE: u64 = 4;
/// The share of the memory that is not for what is defined: one in so many.
const NOT_DEFINED_SHARE: u64 = 4;
/// What may be defined in each virtual host, however many there are, in bytes.
const LEAST_DEFINITIONS: u64 = 8 * 1024 * 1024;

/// The limits that an operator may change while the broker runs.
#[derive(Debug)]
pub(super) struct RunningLimits {
    memory: AtomicU64,
    disk_free: AtomicU64,
}

impl RunningLimits {
    pub(super) fn new(plan: &ResourcePlan) -> Self {
        let memory = AtomicU64::new(plan.limit);
        RunningLimits { memory, disk_free: AtomicU64::new(plan.disk_free_limit) }
    }
}

/// The memory alarm ends below this share of the limit, in percent, so that it does not come and go
/// with every message.
const MEMORY_CALM_PERCENT: u64 = 90;

impl Vhosts {
    /// Gives each virtual host its share.
    pub(super) fn share_memory(&self) {
        let plan = &self.inner.resources;
        // why: of less than that, what waits between the disk and the clients would have too small a part; the
        // alarm is raised then in any case.
        let limit = self.memory_limit().max(memory::LEAST_LIMIT.min(plan.limit));
        let vhosts = self.running();
        let part = limit / vhosts.len().max(1) as u64;
        let before_paging = part / WAITING_SHARE;
        let share =
            MemoryShare { before_paging, before_consumers_wait: 2 * before_paging, whole: part };
        let limits = MemoryLimits {
            share: plan.has_disk.then_some(share),
            definitions: (part - part / NOT_DEFINED_SHARE).max(LEAST_DEFINITIONS),
            whole: limit,
        };
        for (_, handle) in vhosts {
            handle.set_memory_limits(limits);
        }
    }

    /// How much memory what clients make the broker keep may take, in bytes.
    pub(crate) fn memory_limit(&self) -> u64 {
        self.inner.limits.memory.load(Ordering::Relaxed)
    }

    /// Changes how much that is. Below what a broker needs at least, memory is short whatever it takes.
    pub(crate) fn set_memory_limit(&self, bytes: u64) {
        self.inner.limits.memory.store(bytes, Ordering::Relaxed);
        self.share_memory();
    }

    /// Whether what may be taken is less than a broker needs.
    pub(crate) fn is_memory_limit_too_low(&self) -> bool {
        self.memory_limit() < memory::LEAST_LIMIT.min(self.inner.resources.limit)
    }

    /// While less is free on the disk of the data directory, in bytes, publishers are blocked.
    pub(crate) fn disk_free_limit(&self) -> u64 {
        self.inner.limits.disk_free.load(Ordering::Relaxed)
    }

    /// Changes how much that is.
    pub(crate) fn set_disk_free_limit(&self, bytes: u64) {
        self.inner.limits.disk_free.store(bytes, Ordering::Relaxed);
    }

    /// What clients may define.
    pub(crate) fn client_limits(&self) -> ClientLimits {
        self.inner.resources.client_limits
    }

    /// Tells every store that room on the disk is short, or will soon be.
    pub(crate) fn tell_of_disk(&self, room: DiskRoom) {
        self.running().iter().for_each(|(_, handle)| handle.tell_of_disk(room));
    }

    /// About how much it takes, in bytes.
    pub(crate) fn memory_used(&self) -> u64 {
        self.running().iter().map(|(_, handle)| handle.memory()).sum()
    }

    /// Whether a store waits for room on the disk.
    pub(crate) fn is_disk_full(&self) -> bool {
        self.running().iter().any(|(_, handle)| handle.is_disk_full())
    }

    /// Notified when a virtual host alone holds more than the limit: the sum is to be checked.
    pub(crate) fn memory_pressure(&self) -> Arc<Notify> {
        self.inner.pressure.clone()
    }

    /// Raises an alarm by hand in all virtual hosts, or takes it back.
    pub(crate) fn set_alarm(&self, reason: Option<&str>) {
        self.change_alarms(|alarms| alarms.by_hand = reason.map(str::to_owned));
    }

    /// An operator says that something is short, whatever is, or no longer says so.
    pub(crate) fn set_short_by_operator(&self, resource: Resource, is_short: bool) {
        self.change_alarms(|alarms| {
            alarms.by_operator.retain(|it| *it != resource);
            alarms.by_operator.extend(is_short.then_some(resource));
        });
    }

    /// Something is short, or no longer.
    pub(crate) fn set_short(&self, resource: Resource, is_short: bool) {
        self.change_alarms(|alarms| match resource {
            Resource::Memory => alarms.memory = is_short,
            Resource::Disk => alarms.disk = is_short,
        });
    }

    /// Raises the memory alarm, or ends it.
    ///
    /// why: without what comes of unfinished messages, which has a bound of its own. A client that is blocked is
    /// not read from, so that its own could never be finished and would keep all clients blocked.
    pub(crate) fn check_memory(&self) {
        let (limit, used) = (self.memory_limit(), self.memory_used());
        let was_short = self.is_short(Resource::Memory);
        let bound = if was_short { limit / 100 * MEMORY_CALM_PERCENT } else { limit };
        let is_short = used > bound || self.is_memory_limit_too_low();
        if is_short == was_short {
            return;
        }
        if is_short {
            tracing::error!(used, limit, "low on memory: publishers are blocked");
        } else {
            tracing::info!(used, limit, "memory is free again: publishers go on");
        }
        self.set_short(Resource::Memory, is_short);
    }

    fn change_alarms(&self, change: impl FnOnce(&mut Alarms)) {
        // why: held meanwhile, so that the last alarms that virtual hosts get are the present ones.
        let mut alarms = self.inner.alarms.lock();
        let before = alarms.reason();
        change(&mut alarms);
        let reason = alarms.reason();
        if reason != before {
            for (_, handle) in self.running() {
                handle.set_alarm(reason.as_deref());
            }
        }
    }

    /// Gives a virtual host that has just begun to run the alarms that are raised.
    pub(super) fn apply_alarms(&self, name: &str) {
        let alarms = self.inner.alarms.lock();
        if let Some(handle) = self.vhost(name) {
            handle.set_alarm(alarms.reason().as_deref());
        }
    }

    /// The alarm that is raised, as clients are told of it.
    pub(crate) fn alarm(&self) -> Option<String> {
        self.inner.alarms.lock().reason()
    }

    /// Whether something is short.
    pub(crate) fn is_short(&self, resource: Resource) -> bool {
        let alarms = self.inner.alarms.lock();
        match resource {
            Resource::Memory => alarms.memory,
            Resource::Disk => alarms.disk,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_told_all_that_is_short() {
        let mut alarms = Alarms::default();
        assert_eq!(alarms.reason(), None);
        alarms.disk = true;
        assert_eq!(alarms.reason().as_deref(), Some("low on disk"));
        alarms.memory = true;
        assert_eq!(alarms.reason().as_deref(), Some("low on disk & memory"));
        let by_operator = Alarms { by_operator: vec![Resource::Disk], ..Alarms::default() };
        assert_eq!(by_operator.reason().as_deref(), Some("low on disk"));
        alarms.by_hand = Some("maintenance".to_owned());
        assert_eq!(alarms.reason().as_deref(), Some("maintenance"));
    }
}
