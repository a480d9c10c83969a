//! Which messages of a channel wait for their confirm, and since when.

use std::collections::VecDeque;

/// A slot whose message is confirmed while earlier ones are not.
const DONE: u64 = u64::MAX;

/// The messages that wait.
///
/// invariant: the first slot is not done, so all that are before it are.
#[derive(Debug, Default)]
pub(super) struct Confirms {
    /// The delivery tag of the first slot is this plus 1: what is confirmed without a gap.
    before: u64,
    /// When each was sent, in nanoseconds.
    sent_ns: VecDeque<u64>,
    waiting: u64,
}

impl Confirms {
    /// So many more messages were sent.
    pub(super) fn sent(&mut self, messages: u64, now_ns: u64) {
        self.sent_ns.extend(std::iter::repeat_n(now_ns, messages as usize));
        self.waiting += messages;
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> u64 {
        self.waiting
    }

    /// A confirm came: for this tag alone, or for all up to it (with tag 0, for all there are).
    /// Returns for how many messages it is the first, and appends how long these waited, in runs.
    pub(super) fn confirmed(
        &mut self,
        tag: u64,
        multiple: bool,
        now_ns: u64,
        waited: &mut Vec<(u64, u64)>,
    ) -> u64 {
        let mut found = 0;
        let mut note = |sent_ns: u64| {
            let waited_ns = now_ns.saturating_sub(sent_ns);
            match waited.last_mut() {
                Some((last, messages)) if *last == waited_ns => *messages += 1,
                _ => waited.push((waited_ns, 1)),
            }
            found += 1;
        };
        // why: what is no tag of ours, too large or done before, finds nothing.
        let index = tag.wrapping_sub(self.before).wrapping_sub(1) as usize;
        if multiple {
            let up_to = if tag == 0 { self.sent_ns.len() } else { index.wrapping_add(1) };
            if up_to <= self.sent_ns.len() {
                for sent_ns in self.sent_ns.drain(..up_to) {
                    if sent_ns != DONE {
                        note(sent_ns);
                    }
                }
                self.before += up_to as u64;
            }
        } else if let Some(slot) = self.sent_ns.get_mut(index)
            && *slot != DONE
        {
            note(std::mem::replace(slot, DONE));
        }
        while self.sent_ns.front() == Some(&DONE) {
            self.sent_ns.pop_front();
            self.before += 1;
        }
        self.waiting -= found;
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn confirms_come_in_any_order_and_count_once() {
        let (mut confirms, mut waited) = (Confirms::default(), Vec::new());
        confirms.sent(4, 100);
        confirms.sent(2, 150);
        assert_eq!(confirms.confirmed(3, false, 200, &mut waited), 1);
        assert_eq!(confirms.confirmed(3, false, 200, &mut waited), 0, "it was there before");
        assert_eq!(confirms.confirmed(2, true, 210, &mut waited), 2);
        assert_eq!(waited, [(100, 1), (110, 2)]);
        waited.clear();
        assert_eq!(confirms.waiting(), 3);
        assert_eq!(confirms.confirmed(5, true, 250, &mut waited), 2);
        assert_eq!(waited, [(150, 1), (100, 1)]);
        confirms.sent(1, 300);
        assert_eq!(confirms.confirmed(0, true, 300, &mut waited), 2);
        assert_eq!(confirms.waiting(), 0);
        for strange in [0, 1, 7, 8, u64::MAX] {
            assert_eq!(confirms.confirmed(strange, false, 400, &mut waited), 0);
            assert_eq!(confirms.confirmed(strange, true, 400, &mut waited), 0);
        }
        confirms.sent(1, 500);
        assert_eq!(confirms.confirmed(8, false, 501, &mut waited), 1);
    }
}
