//! Notices of what may happen a million times a second: one in a while, with a count.

use leveret_codec::ShortString;

use crate::broker::time::Time;

/// How long after a notice the next one is made at the earliest, in milliseconds.
const PAUSE_MS: u64 = 10_000;

/// What has happened since the last notice of it.
#[derive(Debug, Default)]
pub(super) struct NoticeTally {
    count: u64,
    /// To what it happened last.
    name: ShortString,
    noticed_at: Option<Time>,
}

impl NoticeTally {
    /// It has happened once more, to this.
    pub(super) fn add(&mut self, name: &ShortString) {
        self.count += 1;
        self.name = name.clone();
    }

    /// To what it happened last, and how often since the notice before, if it is time for one.
    pub(super) fn due(&mut self, now: Time) -> Option<(String, u64)> {
        let is_due = self.noticed_at.is_none_or(|at| at.plus_millis(PAUSE_MS) <= now);
        if !is_due || self.count == 0 {
            return None;
        }
        self.noticed_at = Some(now);
        Some((self.name.to_string(), std::mem::take(&mut self.count)))
    }
}
