//! The lock of a vhost. Threads that do nothing else wait for it as for any lock; tasks fall asleep.
//!
//! why: a thread that runs tasks must not stand still because one vhost is busy, or the tasks of all others
//! stand still with it. It does so for a moment all the same, since a vhost is almost always held for much less,
//! and to fall asleep costs more.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

/// How long a thread stands still for the lock before its task falls asleep.
const BRIEFLY: Duration = Duration::from_millis(1);

/// A mutex that threads and tasks wait for.
#[derive(Debug, Default)]
pub(super) struct Lock<T> {
    value: Mutex<T>,
    /// How many tasks are asleep, or about to be.
    sleepers: AtomicUsize,
    /// Notified at the end of a hold while there are any.
    released: Notify,
}

/// The right to the value, until it is dropped.
pub(super) struct Guard<'a, T> {
    /// There until the drop.
    held: Option<MutexGuard<'a, T>>,
    lock: &'a Lock<T>,
}

impl<T> Lock<T> {
    pub(super) fn new(value: T) -> Self {
        Lock { value: Mutex::new(value), sleepers: AtomicUsize::new(0), released: Notify::new() }
    }

    /// The guard, if nobody has it.
    pub(super) fn try_lock(&self) -> Option<Guard<'_, T>> {
        self.value.try_lock().map(|held| self.guard(held))
    }

    /// Waits for the guard, for a thread that runs no tasks.
    pub(super) fn lock_blocking(&self) -> Guard<'_, T> {
        self.guard(self.value.lock())
    }

    /// Waits for the guard, for a task. It may be dropped at any time.
    pub(super) async fn lock(&self) -> Guard<'_, T> {
        if let Some(guard) = self.try_lock() {
            return guard;
        }
        // why: where others sleep already, the vhost is known to be busy.
        if self.sleepers.load(Ordering::Relaxed) == 0
            && let Some(guard) = self.lock_briefly()
        {
            return guard;
        }
        let _sleeper = Sleeper::new(&self.sleepers);
        loop {
            let released = self.released.notified();
            // why: again, since a hold that ended before this one was counted has notified nobody.
            if let Some(guard) = self.try_lock() {
                return guard;
            }
            released.await;
            if let Some(guard) = self.lock_briefly() {
                return guard;
            }
        }
    }

    /// Whether tasks wait for the guard.
    pub(super) fn is_wanted(&self) -> bool {
        self.sleepers.load(Ordering::Relaxed) > 0
    }

    fn lock_briefly(&self) -> Option<Guard<'_, T>> {
        self.value.try_lock_for(BRIEFLY).map(|held| self.guard(held))
    }

    fn guard<'a>(&'a self, held: MutexGuard<'a, T>) -> Guard<'a, T> {
        Guard { held: Some(held), lock: self }
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // invariant: only the drop takes it away.
        self.held.as_ref().expect("a guard that is not dropped holds the lock")
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // invariant: as above.
        self.held.as_mut().expect("a guard that is not dropped holds the lock")
    }
}

impl<T> Drop for Guard<'_, T> {
    fn drop(&mut self) {
        drop(self.held.take());
        // why: who counts itself as a sleeper, or puts something into the inbox, does so before its own fence
        // and its last attempt. Either that attempt finds the lock free, or what it did is seen from here on.
        fence(Ordering::SeqCst);
        if self.lock.sleepers.load(Ordering::Relaxed) > 0 {
            self.lock.released.notify_one();
        }
    }
}

/// A task that sleeps, from before its last attempt.
struct Sleeper<'a>(&'a AtomicUsize);

impl<'a> Sleeper<'a> {
    fn new(sleepers: &'a AtomicUsize) -> Self {
        sleepers.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        Sleeper(sleepers)
    }
}

impl Drop for Sleeper<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::poll;

    use super::*;

    #[tokio::test]
    async fn a_task_sleeps_until_the_lock_is_free() {
        let lock = Lock::new(0);
        let guard = lock.try_lock().unwrap();
        let mut first = Box::pin(lock.lock());
        let mut second = Box::pin(lock.lock());
        assert!(poll!(first.as_mut()).is_pending());
        assert!(poll!(second.as_mut()).is_pending());
        drop(guard);
        *first.await += 1;
        *second.await += 1;
        assert_eq!(*lock.try_lock().unwrap(), 2);
    }

    #[tokio::test]
    async fn one_that_is_woken_and_dropped_leaves_its_turn_to_the_next() {
        let lock = Lock::new(());
        let guard = lock.try_lock().unwrap();
        let mut first = Box::pin(lock.lock());
        let mut second = Box::pin(lock.lock());
        assert!(poll!(first.as_mut()).is_pending());
        assert!(poll!(second.as_mut()).is_pending());
        drop(guard);
        drop(first);
        second.await;
        assert_eq!(lock.sleepers.load(Ordering::Relaxed), 0);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn threads_and_tasks_count_together() {
        const EACH: usize = 2_000;
        let lock = Arc::new(Lock::new(0));
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..16 {
            let lock = lock.clone();
            tasks.spawn(async move {
                for _ in 0..EACH {
                    *lock.lock().await += 1;
                    tokio::task::yield_now().await;
                }
            });
        }
        let thread = std::thread::spawn({
            let lock = lock.clone();
            move || {
                for hold in 0..EACH {
                    let mut guard = lock.lock_blocking();
                    *guard += 1;
                    if hold % 100 == 0 {
                        // Long enough for tasks to fall asleep.
                        std::thread::sleep(2 * BRIEFLY);
                    }
                }
            }
        });
        tasks.join_all().await;
        thread.join().unwrap();
        assert_eq!(*lock.lock().await, 17 * EACH);
    }
}
