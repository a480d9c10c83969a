//! Watches over a client that promised heartbeats.

use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

/// How often a connection without heartbeats gives back memory that it does not use.
const TIDY_PERIOD: Duration = Duration::from_secs(30);

/// Looks a heartbeat timeout.
const LOOKS: u32 = 4;

/// Looks in a row without life at which a client is given up.
///
/// why: the last life is up to one look older than the first of them, so that this is after two
/// timeouts at most, and not much before.
const LOOKS_WITHOUT_LIFE: u32 = 2 * LOOKS - 1;

/// Looks every now and then whether the client lives.
///
/// spec: 4.2.7: any octets count, not only heartbeats, and a client that is silent for two timeouts
/// is given up. rabbitmq: looks once a timeout and gives up at the second look in a row that finds
/// nothing, which is after two to three timeouts.
pub(super) struct Monitor {
    interval: Interval,
    /// Whether heartbeats were agreed upon; without, nobody is ever given up.
    active: bool,
    life: u64,
    looks_without_life: u32,
    received: u64,
}

impl Monitor {
    /// Begins to watch over a client that has sent so many octets.
    pub(super) fn new(heartbeat_secs: u16, received: u64) -> Self {
        let period = match heartbeat_secs {
            0 => TIDY_PERIOD,
            secs => Duration::from_secs(secs.into()) / LOOKS,
        };
        let mut interval = interval_at(Instant::now() + period, period);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let active = heartbeat_secs > 0;
        Monitor { interval, active, life: received, looks_without_life: 0, received }
    }

    /// Waits until it is time to look.
    pub(super) async fn tick(&mut self) {
        self.interval.tick().await;
    }

    /// Starts to watch anew.
    pub(super) fn reset(&mut self) {
        self.interval.reset();
        self.looks_without_life = 0;
    }

    /// Whether little was received since the last look: no more than heartbeats.
    pub(super) fn is_quiet(&mut self, received: u64) -> bool {
        let before = std::mem::replace(&mut self.received, received);
        received - before < 1024
    }

    /// Whether `life`, a number that changes while the client lives, is what it was for too long.
    pub(super) fn is_lost(&mut self, life: u64) -> bool {
        if life == self.life {
            self.looks_without_life += 1;
        } else {
            self.life = life;
            self.looks_without_life = 0;
        }
        self.active && self.looks_without_life >= LOOKS_WITHOUT_LIFE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long a monitor takes, in milliseconds, to give up a client whose last octet came so many
    /// milliseconds after the beginning.
    async fn silence_ms(heartbeat_secs: u16, last_octet_ms: u64) -> u128 {
        let began = Instant::now();
        let mut monitor = Monitor::new(heartbeat_secs, 8);
        let last = began + Duration::from_millis(last_octet_ms);
        loop {
            monitor.tick().await;
            let life = if Instant::now() > last && last_octet_ms > 0 { 9 } else { 8 };
            if monitor.is_lost(life) {
                return (Instant::now() - last).as_millis();
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_client_is_given_up_within_two_timeouts_and_not_long_before() {
        for secs in [1, 10, 60] {
            let timeout = u128::from(secs) * 1000;
            for last_octet_ms in (0..u64::from(secs) * 1700).step_by(usize::from(secs) * 37) {
                let silence = silence_ms(secs, last_octet_ms).await;
                let allowed = timeout * 7 / 4 - 5..=timeout * 2 + 5;
                assert!(allowed.contains(&silence), "{secs} {last_octet_ms} {silence}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_sends_something_each_timeout_is_never_given_up() {
        let mut monitor = Monitor::new(4, 0);
        for look in 0..1000 {
            monitor.tick().await;
            assert!(!monitor.is_lost(look / 4));
        }
    }

    #[tokio::test]
    async fn without_heartbeats_nobody_is_given_up() {
        let mut never = Monitor::new(0, 8);
        assert!((0..99).all(|_| !never.is_lost(8)));
    }
}
