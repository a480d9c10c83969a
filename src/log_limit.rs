//! How many lines a second clients can cause in the log.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// The time that lines are counted in.
const PERIOD: Duration = Duration::from_secs(1);

/// At most so many lines in a period; those that were left out are counted, and told with the next line.
#[derive(Debug)]
pub(crate) struct LogLimit {
    /// What the lines are, as in "channel errors".
    of: &'static str,
    most: u32,
    counted: Mutex<Counted>,
}

#[derive(Debug, Default)]
struct Counted {
    since: Option<Instant>,
    lines: u32,
    left_out: u64,
}

impl LogLimit {
    pub(crate) fn new(of: &'static str, most: u32) -> Self {
        LogLimit { of, most, counted: Mutex::default() }
    }

    /// Whether one more line may be logged. How many were not is logged before it.
    pub(crate) fn allows(&self) -> bool {
        let Some(left_out) = self.note(Instant::now()) else { return false };
        self.tell(left_out);
        true
    }

    /// Logs how many lines were left out since that was last told.
    pub(crate) fn finish(&self) {
        let left_out = std::mem::take(&mut self.counted.lock().left_out);
        self.tell(left_out);
    }

    fn tell(&self, left_out: u64) {
        if left_out > 0 {
            tracing::warn!(left_out, "there were too many {} for the log", self.of);
        }
    }

    /// One more line; how many were left out before it, unless it is left out, too.
    fn note(&self, now: Instant) -> Option<u64> {
        let mut counted = self.counted.lock();
        if counted.since.is_none_or(|since| now - since >= PERIOD) {
            counted.since = Some(now);
            counted.lines = 0;
        }
        if counted.lines == self.most {
            counted.left_out += 1;
            return None;
        }
        counted.lines += 1;
        Some(std::mem::take(&mut counted.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_for_a_second_is_counted_and_told_with_the_next_line() {
        let limit = LogLimit::new("lines", 3);
        let start = Instant::now();
        let in_first = [(); 5].map(|()| limit.note(start));
        assert_eq!(in_first, [Some(0), Some(0), Some(0), None, None]);
        assert_eq!(limit.note(start + PERIOD), Some(2));
        assert_eq!(limit.note(start + PERIOD), Some(0));
    }
}
