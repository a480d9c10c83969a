//! Finds out that a client which agreed to send heartbeats is silent.

use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

/// How often a connection without heartbeats gives back memory that it does not use.
const TIDY_PERIOD: Duration = Duration::from_secs(30);

/// Checks in one heartbeat timeout.
const CHECKS: u32 = 4;

/// Checks in a row without activity at which a client is given up.
///
/// why: the last activity is up to one check older than the first of them, so that this is after two
/// timeouts at most, and not much before.
const CHECKS_WITHOUT_ACTIVITY: u32 = 2 * CHECKS - 1;

/// Checks at regular times whether the client is alive.
///
/// spec: 4.2.7: any bytes count, not only heartbeats, and a client that is silent for two timeouts
/// is given up. rabbitmq: checks once a timeout and gives up at the second check in a row that finds
/// nothing, which is after two to three timeouts.
pub(super) struct HeartbeatMonitor {
    interval: Interval,
    /// Whether heartbeats were agreed upon; without, no client is ever given up.
    active: bool,
    activity: u64,
    checks_without_activity: u32,
    received: u64,
}

impl HeartbeatMonitor {
    /// Begins to watch a client that has sent so many bytes.
    pub(super) fn new(heartbeat_secs: u16, received: u64) -> Self {
        let period = match heartbeat_secs {
            0 => TIDY_PERIOD,
            secs => Duration::from_secs(secs.into()) / CHECKS,
        };
        let mut interval = interval_at(Instant::now() + period, period);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let active = heartbeat_secs > 0;
        HeartbeatMonitor {
            interval,
            active,
            activity: received,
            checks_without_activity: 0,
            received,
        }
    }

    /// Waits until it is time to check.
    pub(super) async fn tick(&mut self) {
        self.interval.tick().await;
    }

    /// Starts to watch anew.
    pub(super) fn reset(&mut self) {
        self.interval.reset();
        self.checks_without_activity = 0;
    }

    /// Whether little was received since the last check: no more than heartbeats.
    pub(super) fn is_quiet(&mut self, received: u64) -> bool {
        let before = std::mem::replace(&mut self.received, received);
        received - before < 1024
    }

    /// Whether `activity`, a number that changes while the client is alive, is what it was for too long.
    pub(super) fn is_lost(&mut self, activity: u64) -> bool {
        if activity == self.activity {
            self.checks_without_activity += 1;
        } else {
            self.activity = activity;
            self.checks_without_activity = 0;
        }
        self.active && self.checks_without_activity >= CHECKS_WITHOUT_ACTIVITY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long a monitor takes, in milliseconds, to give up a client whose last byte came so many
    /// milliseconds after the beginning.
    async fn silence_ms(heartbeat_secs: u16, last_byte_ms: u64) -> u128 {
        let began = Instant::now();
        let mut monitor = HeartbeatMonitor::new(heartbeat_secs, 8);
        let last = began + Duration::from_millis(last_byte_ms);
        loop {
            monitor.tick().await;
            let activity = if Instant::now() > last && last_byte_ms > 0 { 9 } else { 8 };
            if monitor.is_lost(activity) {
                return (Instant::now() - last).as_millis();
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_client_is_given_up_within_two_timeouts_and_not_long_before() {
        for secs in [1, 10, 60] {
            let timeout = u128::from(secs) * 1000;
            for last_byte_ms in (0..u64::from(secs) * 1700).step_by(usize::from(secs) * 37) {
                let silence = silence_ms(secs, last_byte_ms).await;
                let allowed = timeout * 7 / 4 - 5..=timeout * 2 + 5;
                assert!(allowed.contains(&silence), "{secs} {last_byte_ms} {silence}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_sends_something_each_timeout_is_never_given_up() {
        let mut monitor = HeartbeatMonitor::new(4, 0);
        for check in 0..1000 {
            monitor.tick().await;
            assert!(!monitor.is_lost(check / 4));
        }
    }

    #[tokio::test]
    async fn without_heartbeats_no_client_is_given_up() {
        let mut never = HeartbeatMonitor::new(0, 8);
        assert!((0..99).all(|_| !never.is_lost(8)));
    }
}
