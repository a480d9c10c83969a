//! Points in time and spans of it, as the core sees them: whole milliseconds.
//!
//! The core never reads a clock. Every input carries the `now` it happened at, read once for a
//! batch by the edge (see `clock`), which makes a run repeatable and lets tests move time by hand.

use std::fmt;

/// A point in time: milliseconds since the Unix epoch, never running backwards within a process.
///
/// why: wall time, because message and queue expiry and the `time` of `x-death` must mean the same
/// after a restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// The Unix epoch.
    pub const EPOCH: Time = Time(0);

    /// Later than any other: what never happens happens then.
    pub const NEVER: Time = Time(u64::MAX);

    /// The point `millis` milliseconds after the Unix epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Time(millis)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since the Unix epoch: the unit of the AMQP timestamp.
    pub const fn as_secs(self) -> u64 {
        self.0 / 1000
    }

    /// This point, `millis` milliseconds later; the far end of time when that overflows.
    #[must_use]
    pub const fn plus_millis(self, millis: u64) -> Self {
        Time(self.0.saturating_add(millis))
    }

    /// Milliseconds from `earlier` to this point, zero when `earlier` is later.
    pub const fn millis_since(self, earlier: Time) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}
