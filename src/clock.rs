//! The clock: where every `now` that reaches the core comes from.
//!
//! Nothing else in the crate asks what time it is; the timeouts of sockets (handshake, heartbeats)
//! are spans measured by tokio and never reach the core. A program that embeds the broker may
//! bring a [`ManualClock`] and let an hour of message expiry pass in no time.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use tokio::sync::watch;

use crate::broker::time::Time;

/// Tells the time and waits for it.
#[async_trait]
pub trait Clock: Send + Sync {
    /// The time now. Must not run backwards.
    fn now(&self) -> Time;

    /// Returns when [`now`](Clock::now) has reached `deadline`, at once if it already has.
    async fn sleep_until(&self, deadline: Time);
}

/// The machine's clock: wall time when it was made, plus what has passed since.
///
/// why: wall time alone jumps when somebody sets it, and a jump of an hour would expire an hour's
/// messages.
#[derive(Debug)]
pub struct SystemClock {
    started_at: Time,
    started: Instant,
}

impl SystemClock {
    /// A clock that agrees with wall time now.
    pub fn new() -> Self {
        // A machine whose clock stands before 1970 is taken to be at 1970.
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        SystemClock {
            started_at: Time::EPOCH.plus_millis(millis(since_epoch)),
            started: Instant::now(),
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        SystemClock::new()
    }
}

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Time {
        self.started_at.plus_millis(millis(self.started.elapsed()))
    }

    async fn sleep_until(&self, deadline: Time) {
        // why: a loop, since a sleep has an upper limit of about two years.
        loop {
            let left_ms = deadline.millis_since(self.now());
            if left_ms == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(left_ms.min(LONGEST_SLEEP_MS))).await;
        }
    }
}

/// Measures what passes, finer than a [`Clock`]: for what is measured, such as a broker under load,
/// and not for what is decided.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch {
    started: Instant,
}

impl Stopwatch {
    /// One that begins to count now.
    pub fn start() -> Self {
        Stopwatch { started: Instant::now() }
    }

    /// Nanoseconds since it was started. They never run backwards, and copies agree on them.
    #[inline]
    pub fn elapsed_ns(&self) -> u64 {
        // 64 bits are enough for 584 years.
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// One day. A deadline may lie at the far end of time, which no timer can count down.
const LONGEST_SLEEP_MS: u64 = 24 * 60 * 60 * 1000;

/// A clock that moves only when it is told to, for tests.
///
/// ```
/// use std::time::Duration;
/// use leveret::clock::{Clock, ManualClock};
/// use leveret::broker::time::Time;
///
/// let clock = ManualClock::new(Time::from_millis(1_000));
/// clock.advance(Duration::from_secs(60));
/// assert_eq!(clock.now(), Time::from_millis(61_000));
/// ```
#[derive(Debug)]
pub struct ManualClock {
    now: watch::Sender<Time>,
}

impl ManualClock {
    /// A clock that stands at `now`.
    pub fn new(now: Time) -> Self {
        ManualClock { now: watch::Sender::new(now) }
    }

    /// Moves the clock forward, in whole milliseconds, and wakes whoever waited for it.
    pub fn advance(&self, by: Duration) {
        self.now.send_modify(|now| *now = now.plus_millis(millis(by)));
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now(&self) -> Time {
        *self.now.borrow()
    }

    async fn sleep_until(&self, deadline: Time) {
        // The wait can only fail when the sender is gone, and `self` holds it.
        let _ = self.now.subscribe().wait_for(|now| *now >= deadline).await;
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn the_system_clock_is_near_wall_time_and_never_wakes_early() {
        let clock = SystemClock::new();
        let wall_ms = millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap());
        assert!(wall_ms.abs_diff(clock.now().as_millis()) < 1000);

        let deadline = clock.now().plus_millis(3);
        clock.sleep_until(deadline).await;
        assert!(clock.now() >= deadline);
        clock.sleep_until(Time::EPOCH).await;
    }

    #[tokio::test]
    async fn a_manual_clock_wakes_its_sleepers_when_it_is_moved() {
        let clock = Arc::new(ManualClock::new(Time::from_millis(5)));
        let sleeper = tokio::spawn({
            let clock = clock.clone();
            async move { clock.sleep_until(Time::from_millis(10)).await }
        });
        clock.advance(Duration::from_millis(4));
        tokio::task::yield_now().await;
        assert!(!sleeper.is_finished());
        clock.advance(Duration::from_millis(1));
        sleeper.await.unwrap();
        assert_eq!(clock.now(), Time::from_millis(10));
    }
}
