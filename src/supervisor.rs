//! Tasks and threads that must not end while the broker runs: what accepts clients, what waits for deadlines,
//! what writes the log, what looks after memory and disk.
//!
//! A broker that has lost one of them looks alive and is not: nobody gets in, or nothing expires, or nothing is
//! confirmed. So the end of one of them is the end of the broker. It is reported here, in one place; the program
//! exits, and an embedding program is told (see [`Broker::failed`](crate::Broker::failed)).

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use futures::FutureExt;
use tokio::sync::watch;

/// A part of a broker that must not end has ended: what is left of the broker is of no use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerFailure {
    part: String,
    panic: Option<String>,
}

impl fmt::Display for BrokerFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.panic {
            None => write!(f, "{} ended", self.part),
            Some(panic) => write!(f, "{} failed: {panic}", self.part),
        }
    }
}

impl std::error::Error for BrokerFailure {}

/// Learns of the end of what must not end. Cloning it copies a pointer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Supervisor {
    failure: Arc<watch::Sender<Option<BrokerFailure>>>,
}

impl Supervisor {
    /// Runs a task that must not end before `may_end` says so, nor panic at any time. A task that is dropped has
    /// not ended.
    pub(crate) async fn supervise(
        self,
        part: impl Into<String>,
        task: impl Future<Output = ()>,
        may_end: impl FnOnce() -> bool,
    ) {
        // why: nothing of a task that panicked is used any more.
        match AssertUnwindSafe(task).catch_unwind().await {
            Ok(()) if may_end() => {}
            Ok(()) => self.report(part, None),
            Err(panic) => self.report(part, Some(&*panic)),
        }
    }

    /// The same for a thread. The result of one that panicked is missing.
    pub(crate) fn supervise_thread<T>(
        &self,
        part: impl Into<String>,
        work: impl FnOnce() -> T,
        may_end: impl FnOnce() -> bool,
    ) -> Option<T> {
        // why: as above.
        match catch_unwind(AssertUnwindSafe(work)) {
            Ok(result) => {
                if !may_end() {
                    self.report(part, None);
                }
                Some(result)
            }
            Err(panic) => {
                self.report(part, Some(&*panic));
                None
            }
        }
    }

    /// Waits until something has ended that must not end.
    pub(crate) async fn failed(&self) -> BrokerFailure {
        let mut failure = self.failure.subscribe();
        match failure.wait_for(Option::is_some).await {
            Ok(failure) => failure.clone().expect("that was waited for"),
            // The sender lives as long as `self`.
            Err(_) => std::future::pending().await,
        }
    }

    fn report(&self, part: impl Into<String>, panic: Option<&(dyn Any + Send)>) {
        let failure = BrokerFailure { part: part.into(), panic: panic.map(text_of) };
        tracing::error!("{failure}: the broker cannot go on");
        // why: the first failure is the cause of those that follow.
        self.failure.send_if_modified(|first| {
            let is_first = first.is_none();
            first.get_or_insert(failure);
            is_first
        });
    }
}

/// What a panic says.
pub(crate) fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    // why: one line, whatever an assertion says.
    text.unwrap_or("a panic without a text").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use futures::poll;

    use super::*;

    #[tokio::test]
    async fn an_end_that_was_not_asked_for_is_reported() {
        let supervisor = Supervisor::default();
        supervisor.clone().supervise("a task", async {}, || true).await;
        let mut failed = Box::pin(supervisor.failed());
        assert!(poll!(failed.as_mut()).is_pending());
        supervisor.clone().supervise("a timer", async {}, || false).await;
        assert_eq!(failed.await.to_string(), "a timer ended");
        // The first is the cause.
        supervisor.clone().supervise("another", async {}, || false).await;
        assert_eq!(supervisor.failed().await.to_string(), "a timer ended");
    }

    #[tokio::test]
    async fn a_panic_is_reported_in_one_line_whether_the_end_was_asked_for_or_not() {
        let supervisor = Supervisor::default();
        supervisor.clone().supervise("a listener", async { panic!("one\ntwo") }, || true).await;
        assert_eq!(supervisor.failed().await.to_string(), "a listener failed: one two");
    }

    #[tokio::test]
    async fn a_task_that_is_dropped_has_not_ended() {
        let supervisor = Supervisor::default();
        let task = supervisor.clone().supervise("a task", std::future::pending(), || false);
        let mut task = Box::pin(task);
        assert!(poll!(task.as_mut()).is_pending());
        drop(task);
        assert!(poll!(Box::pin(supervisor.failed())).is_pending());
    }

    #[tokio::test]
    async fn so_it_is_with_threads() {
        let supervisor = Supervisor::default();
        assert_eq!(supervisor.supervise_thread("a thread", || 1, || true), Some(1));
        assert!(poll!(Box::pin(supervisor.failed())).is_pending());
        let none: Option<u8> = supervisor.supervise_thread("a thread", || panic!("no"), || false);
        assert_eq!(none, None);
        assert_eq!(supervisor.failed().await.to_string(), "a thread failed: no");
    }
}
