//! What a thread has done so far, for the thread that reports.
//!
//! why: a thread counts in its own variables and publishes them once for each batch with relaxed
//! stores, so that counting costs nothing that could be seen in a figure. Latencies go into a
//! histogram behind a lock that is taken once a batch as well and has another taker once a second.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use hdrhistogram::Histogram;
use parking_lot::Mutex;

/// What one thread has done. Aligned, so that two threads never share a line of a cache.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Tally {
    pub(super) published: AtomicU64,
    pub(super) confirmed: AtomicU64,
    pub(super) nacked: AtomicU64,
    pub(super) returned: AtomicU64,
    pub(super) delivered: AtomicU64,
    pub(super) acknowledged: AtomicU64,
    /// When it last did something that counts, in nanoseconds of the run's stopwatch.
    pub(super) active_ns: AtomicU64,
    /// When it last read something, be it a part of a message.
    pub(super) heard_ns: AtomicU64,
    /// Whether the broker has blocked the connection.
    pub(super) is_blocked: AtomicBool,
    latencies: Mutex<Histogram<u64>>,
}

/// Sums of what threads have done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) published: u64,
    pub(super) confirmed: u64,
    pub(super) nacked: u64,
    pub(super) returned: u64,
    pub(super) delivered: u64,
    pub(super) acknowledged: u64,
}

impl Tally {
    pub(super) fn new() -> Self {
        Tally {
            published: AtomicU64::new(0),
            confirmed: AtomicU64::new(0),
            nacked: AtomicU64::new(0),
            returned: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            active_ns: AtomicU64::new(0),
            heard_ns: AtomicU64::new(0),
            is_blocked: AtomicBool::new(false),
            latencies: Mutex::new(histogram()),
        }
    }

    /// Takes latencies in nanoseconds, each with how many messages had it, and empties the list.
    pub(super) fn record(&self, latencies: &mut Vec<(u64, u64)>) {
        if latencies.is_empty() {
            return;
        }
        let mut histogram = self.latencies.lock();
        for (latency_ns, messages) in latencies.drain(..) {
            // invariant: it resizes, so every value has its place.
            let _ = histogram.record_n(latency_ns, messages);
        }
    }

    /// Moves what was recorded since the last time into another histogram.
    pub(super) fn collect(&self, into: &mut Histogram<u64>) {
        let mut latencies = self.latencies.lock();
        if !latencies.is_empty() {
            // invariant: a histogram that resizes takes the values of any other one.
            let _ = into.add(&*latencies);
            latencies.reset();
        }
    }

    /// The counts so far.
    pub(super) fn counts(&self) -> Counts {
        Counts {
            published: self.published.load(Relaxed),
            confirmed: self.confirmed.load(Relaxed),
            nacked: self.nacked.load(Relaxed),
            returned: self.returned.load(Relaxed),
            delivered: self.delivered.load(Relaxed),
            acknowledged: self.acknowledged.load(Relaxed),
        }
    }
}

impl Counts {
    /// What was done since an earlier count.
    pub(super) fn since(self, earlier: Counts) -> Counts {
        Counts {
            published: self.published - earlier.published,
            confirmed: self.confirmed - earlier.confirmed,
            nacked: self.nacked - earlier.nacked,
            returned: self.returned - earlier.returned,
            delivered: self.delivered - earlier.delivered,
            acknowledged: self.acknowledged - earlier.acknowledged,
        }
    }
}

impl std::iter::Sum for Counts {
    fn sum<I: Iterator<Item = Counts>>(all: I) -> Counts {
        all.fold(Counts::default(), |sum, each| Counts {
            published: sum.published + each.published,
            confirmed: sum.confirmed + each.confirmed,
            nacked: sum.nacked + each.nacked,
            returned: sum.returned + each.returned,
            delivered: sum.delivered + each.delivered,
            acknowledged: sum.acknowledged + each.acknowledged,
        })
    }
}

/// A histogram of nanoseconds: three digits are right, and it grows to what it is given.
pub(super) fn histogram() -> Histogram<u64> {
    // invariant: 3 is between 0 and 5, and from 1 to 2 is what a histogram needs at least.
    let mut histogram = Histogram::new_with_bounds(1, 1_000_000, 3).expect("the bounds are good");
    histogram.auto(true);
    histogram
}
