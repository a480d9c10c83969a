//! After a peak of memory the threads of the broker give back what is free.
//!
//! why: a message is made on one thread and freed on another. The allocator hands it to its owner, which takes
//! it back when it allocates again; a thread that has nothing to do would keep the memory of its last peak.

use std::collections::HashSet;
use std::sync::Arc;
use std::thread::{self, ThreadId};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::task::{JoinSet, yield_now};
use tokio::time::sleep;

/// Less than this is not worth it, in bytes.
const LEAST_FALL: u64 = 16 * 1024 * 1024;

/// How often a task looks whether it has come to a thread that has not been asked. A busy broker's threads need
/// not be asked: they allocate.
const TRIES: usize = 10_000;

/// How long a thread waits before it looks again whether another one has had its turn.
const TURN: Duration = Duration::from_millis(5);

/// How much clients have made the broker keep since it gave something back.
#[derive(Debug, Default)]
pub(super) struct MemoryPeak {
    highest: u64,
    before: u64,
}

impl MemoryPeak {
    /// Takes the bytes that are used now. Says whether it is time to give back: they have fallen by a
    /// quarter of the highest and by [`LEAST_FALL`], and fall no more.
    pub(super) fn is_over(&mut self, used: u64) -> bool {
        let is_falling = used < self.before;
        self.before = used;
        self.highest = self.highest.max(used);
        let fall = self.highest - used;
        let is_over = !is_falling && fall >= LEAST_FALL && fall >= self.highest / 4;
        if is_over {
            self.highest = used;
        }
        is_over
    }
}

/// Runs `once` on all worker threads of this runtime that come to it soon, once on each, one after the other.
///
/// why: a task cannot be sent to a thread. There are as many as threads; one that finds itself on a thread that
/// has done it steps back, until one of those that have nothing to do takes it.
pub(super) async fn on_all_workers(once: fn()) {
    let workers = Handle::current().metrics().num_workers();
    let done: Arc<Mutex<HashSet<ThreadId>>> = Arc::default();
    let mut tasks = JoinSet::new();
    for _ in 0..workers {
        let done = done.clone();
        tasks.spawn(async move {
            for _ in 0..TRIES {
                // Another thread has it: this one is to serve clients meanwhile.
                while done.is_locked() {
                    sleep(TURN).await;
                }
                if let Some(mut done) = done.try_lock()
                    && done.insert(thread::current().id())
                {
                    return once();
                }
                yield_now().await;
            }
        });
    }
    tasks.join_all().await;
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_peak_is_over_when_much_has_gone_and_no_more_goes() {
        let mut peak = MemoryPeak::default();
        let mut is_over = |mib: u64| peak.is_over(mib * MIB);
        for mib in [1, 100, 90, 80, 70] {
            assert!(!is_over(mib), "{mib}");
        }
        assert!(is_over(70));
        assert!(!is_over(70), "that is known");
        for mib in [60, 61, 55, 55] {
            assert!(!is_over(mib), "{mib}: not a quarter less");
        }
        assert!(!is_over(3) && is_over(3));
        assert!(!is_over(10) && !is_over(2) && !is_over(2), "so little is not worth it");
    }

    static ASKED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

    #[tokio::test(flavor = "multi_thread", worker_threads = 3)]
    async fn idle_threads_are_asked_as_well() {
        // why: again and again, since a thread may be slow to wake on a busy machine.
        while ASKED.lock().len() < 3 {
            on_all_workers(|| {
                ASKED.lock().insert(format!("{:?}", thread::current().id()));
            })
            .await;
        }
    }
}
