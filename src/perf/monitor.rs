//! The one that looks at what the threads do: once a second for people, and at the two ends of the
//! measured window.
//!
//! ```text
//!   with a time     ┤ warm-up ├┤ window, --seconds long ├
//!   with a count    ┤ window: until the last is published and delivered ├
//!                   first message
//! ```

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use hdrhistogram::Histogram;

use super::connection::SECOND_NS;
use super::error::PerfError;
use super::options::{Options, Until};
use super::report::{Latency, Progress, Summary, per_second};
use super::tally::{Counts, Tally, histogram};

/// Deliveries that are still to come are waited for while no such time passes without any.
const LAST_DELIVERY_SECS: u64 = 5;

/// What has been seen so far.
pub(super) struct Monitor {
    producers: Vec<Arc<Tally>>,
    consumers: Vec<Arc<Tally>>,
    until: Until,
    expected: Option<u64>,
    kinds: Kinds,
    begun_ns: u64,
    /// When the window is to begin.
    warm_ns: u64,
    window: Option<Window>,
    second: Second,
}

/// The begin of the measured window, and the latencies in it so far.
struct Window {
    begun_ns: u64,
    before: Counts,
    deliveries: Histogram<u64>,
    confirms: Histogram<u64>,
}

/// What people were shown last.
struct Second {
    at_ns: u64,
    counts: Counts,
}

/// What occurs in this run.
#[derive(Clone, Copy)]
struct Kinds {
    publishes: bool,
    confirms: bool,
    delivers: bool,
    acknowledges: bool,
}

/// Why a run is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    Complete,
    /// Deliveries that were expected did not come.
    Incomplete {
        expected: u64,
        delivered: u64,
    },
}

impl Over {
    /// What is to be said of it, if it is not as it should be.
    pub(super) fn error(self) -> Option<PerfError> {
        let Over::Incomplete { expected, delivered } = self else { return None };
        let missing = expected - delivered;
        Some(PerfError::Undelivered { missing, expected, seconds: LAST_DELIVERY_SECS })
    }
}

impl Monitor {
    /// Begins when producers begin.
    pub(super) fn new(
        options: &Options,
        producers: Vec<Arc<Tally>>,
        consumers: Vec<Arc<Tally>>,
        now_ns: u64,
    ) -> Self {
        let warm_up = match options.until {
            Until::Count(_) => 0,
            _ => u64::try_from(options.warm_up.as_nanos()).unwrap_or(u64::MAX),
        };
        Monitor {
            kinds: Kinds {
                publishes: options.producers > 0,
                confirms: options.confirm.is_some(),
                delivers: options.consumers > 0,
                acknowledges: options.ack_every.is_some(),
            },
            producers,
            consumers,
            until: options.until,
            expected: options.expected_deliveries(),
            begun_ns: now_ns,
            warm_ns: now_ns.saturating_add(warm_up),
            window: (warm_up == 0).then(|| Window::new(now_ns, Counts::default())),
            second: Second { at_ns: now_ns, counts: Counts::default() },
        }
    }

    /// Looks at what time it is: opens the window when that is due, and returns what there is to
    /// show of a second that is over.
    pub(super) fn look(&mut self, now_ns: u64) -> Option<Progress> {
        if self.window.is_none() && now_ns >= self.warm_ns {
            // What was before it does not count.
            self.collect();
            self.window = Some(Window::new(now_ns, self.counts()));
        }
        if now_ns < self.second.at_ns + SECOND_NS {
            return None;
        }
        let counts = self.counts();
        let done = counts.since(self.second.counts);
        let seconds = (now_ns - self.second.at_ns) as f64 / 1e9;
        self.second = Second { at_ns: now_ns, counts };
        let [deliveries, confirms] = self.collect();
        let all = [
            (self.kinds.publishes, "published", done.published),
            (self.kinds.confirms, "confirmed", done.confirmed),
            (self.kinds.delivers, "delivered", done.delivered),
            (self.kinds.acknowledges, "acknowledged", done.acknowledged),
        ];
        let occurs = all.into_iter().filter(|(occurs, ..)| *occurs);
        Some(Progress {
            elapsed_secs: (now_ns - self.begun_ns) as f64 / 1e9,
            is_warm_up: self.window.is_none(),
            rates: occurs.map(|(_, name, done)| (name, per_second(done, seconds))).collect(),
            delivery_latency_us: Latency::of(&deliveries),
            confirm_latency_us: Latency::of(&confirms),
            blocked: self.producers.iter().filter(|tally| tally.is_blocked.load(Relaxed)).count(),
        })
    }

    /// Whether the run is over, when so many producers still publish.
    pub(super) fn over(&self, publishing: usize, now_ns: u64) -> Option<Over> {
        match self.until {
            Until::Stopped => None,
            Until::Time(time) => {
                let window = self.window.as_ref()?;
                let passed_ns = u128::from(now_ns.saturating_sub(window.begun_ns));
                (passed_ns >= time.as_nanos()).then_some(Over::Complete)
            }
            Until::Count(_) if publishing > 0 => None,
            Until::Count(_) if !self.kinds.delivers => Some(Over::Complete),
            Until::Count(_) => {
                let counts = self.counts();
                let delivered = counts.delivered;
                let over = match self.expected {
                    Some(expected) if delivered >= expected => return Some(Over::Complete),
                    // The broker has said of some that they will not come.
                    Some(_) if counts.nacked + counts.returned > 0 => Over::Complete,
                    Some(expected) => Over::Incomplete { expected, delivered },
                    None => Over::Complete,
                };
                let heard = self.consumers.iter().map(|tally| tally.heard_ns.load(Relaxed));
                let quiet_ns = now_ns.saturating_sub(heard.fold(self.last_active_ns(), u64::max));
                (quiet_ns > LAST_DELIVERY_SECS * SECOND_NS).then_some(over)
            }
        }
    }

    /// How long nothing can be due here, in nanoseconds.
    pub(super) fn until_due(&self, publishing: usize, now_ns: u64) -> u64 {
        let mut due_ns = self.second.at_ns + SECOND_NS;
        match (&self.window, self.until) {
            (None, _) => due_ns = due_ns.min(self.warm_ns),
            (Some(window), Until::Time(time)) => {
                let time_ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
                due_ns = due_ns.min(window.begun_ns.saturating_add(time_ns));
            }
            (Some(_), Until::Count(_)) if publishing == 0 => due_ns = now_ns + SECOND_NS / 500,
            _ => {}
        }
        due_ns.saturating_sub(now_ns)
    }

    /// What the run has come to so far, with the window's end now; with a count, when the last
    /// thing happened.
    pub(super) fn summary(&mut self, now_ns: u64) -> Summary {
        self.collect();
        let total = self.counts();
        let end_ns = match self.until {
            Until::Count(_) => self.last_active_ns().clamp(self.begun_ns, now_ns),
            _ => now_ns,
        };
        match &self.window {
            Some(window) => {
                let ns = end_ns.saturating_sub(window.begun_ns);
                let mut summary = Summary::of(total.since(window.before), total, ns);
                summary.delivery_latency_us = Latency::of(&window.deliveries);
                summary.confirm_latency_us = Latency::of(&window.confirms);
                summary
            }
            // It ended while it was warming up: better that than nothing.
            None => Summary::of(total, total, end_ns - self.begun_ns),
        }
    }

    /// Puts what has happened since into a summary: totals, and with a count, when the window is
    /// the whole run, everything.
    pub(super) fn complete(&mut self, summary: Summary, now_ns: u64) -> Summary {
        if let Until::Count(_) = self.until {
            return self.summary(now_ns);
        }
        let total = self.counts();
        Summary {
            published: total.published,
            confirmed: total.confirmed,
            nacked: total.nacked,
            returned: total.returned,
            delivered: total.delivered,
            acked: total.acknowledged,
            ..summary
        }
    }

    /// Takes the latencies since the last time, of deliveries and of confirms, into the window.
    fn collect(&mut self) -> [Histogram<u64>; 2] {
        let mut collected = [histogram(), histogram()];
        for (tallies, into) in [&self.consumers, &self.producers].into_iter().zip(&mut collected) {
            for tally in tallies {
                tally.collect(into);
            }
        }
        if let Some(window) = &mut self.window {
            let [deliveries, confirms] = &collected;
            // invariant: a histogram that resizes takes the values of any other one.
            let _ = window.deliveries.add(deliveries);
            let _ = window.confirms.add(confirms);
        }
        collected
    }

    fn counts(&self) -> Counts {
        self.producers.iter().chain(&self.consumers).map(|tally| tally.counts()).sum()
    }

    fn last_active_ns(&self) -> u64 {
        let tallies = self.producers.iter().chain(&self.consumers);
        tallies.map(|tally| tally.active_ns.load(Relaxed)).fold(self.begun_ns, u64::max)
    }
}

impl Window {
    fn new(begun_ns: u64, before: Counts) -> Self {
        Window { begun_ns, before, deliveries: histogram(), confirms: histogram() }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const S: u64 = SECOND_NS;

    fn monitor(until: Until) -> (Monitor, Arc<Tally>, Arc<Tally>) {
        let (producer, consumer) = (Arc::new(Tally::new()), Arc::new(Tally::new()));
        let options = Options { until, ..Options::default() };
        let monitor =
            Monitor::new(&options, vec![producer.clone()], vec![consumer.clone()], 10 * S);
        (monitor, producer, consumer)
    }

    #[test]
    fn a_window_begins_after_the_warm_up_and_has_its_time() {
        let (mut monitor, producer, consumer) = monitor(Until::Time(Duration::from_secs(2)));
        producer.published.store(1_000, Relaxed);
        consumer.record(&mut vec![(5_000_000, 1)]);
        assert_eq!(monitor.until_due(1, 10 * S), S);
        let progress = monitor.look(11 * S).expect("a second is over");
        assert_eq!(progress.rates, [("published", 1_000.0), ("delivered", 0.0)]);
        producer.published.store(5_000, Relaxed);
        consumer.record(&mut vec![(1_000, 3)]);
        assert_eq!(monitor.over(1, 12 * S), None);
        assert_eq!(monitor.over(1, 13 * S), Some(Over::Complete));
        let summary = monitor.summary(13 * S);
        assert_eq!((summary.published_per_s, summary.seconds), (2_000.0, 2.0));
        assert_eq!(summary.delivery_latency_us.map(|latency| latency.count), Some(3));
        producer.published.store(5_001, Relaxed);
        let summary = monitor.complete(summary, 14 * S);
        assert_eq!((summary.published, summary.published_per_s), (5_001, 2_000.0));
    }

    #[test]
    fn a_count_is_over_with_its_last_delivery() {
        let (mut monitor, producer, consumer) = monitor(Until::Count(100));
        producer.published.store(100, Relaxed);
        producer.active_ns.store(11 * S, Relaxed);
        consumer.delivered.store(99, Relaxed);
        assert_eq!(monitor.over(1, 12 * S), None);
        assert_eq!(monitor.over(0, 12 * S), None);
        assert_eq!(
            monitor.over(0, 17 * S),
            Some(Over::Incomplete { expected: 100, delivered: 99 })
        );
        consumer.heard_ns.store(13 * S, Relaxed);
        assert_eq!(monitor.over(0, 17 * S), None, "a large one is on its way");
        producer.nacked.store(1, Relaxed);
        assert_eq!(
            monitor.over(0, 19 * S),
            Some(Over::Complete),
            "it was said that one does not come"
        );
        consumer.delivered.store(100, Relaxed);
        consumer.active_ns.store(12 * S, Relaxed);
        assert_eq!(monitor.over(0, 17 * S), Some(Over::Complete));
        let summary = monitor.summary(17 * S);
        assert_eq!((summary.delivered_per_s, summary.seconds), (50.0, 2.0));
    }

    #[test]
    fn what_is_stopped_early_has_figures_all_the_same() {
        let (mut monitor, producer, _) = monitor(Until::Stopped);
        producer.published.store(100, Relaxed);
        assert_eq!(monitor.over(1, 10 * S + S / 2), None);
        assert_eq!(monitor.summary(10 * S + S / 2).published_per_s, 200.0);
    }
}
