//! A set of positions kept as ranges.
//!
//! why: what lives in a queue, and what does not, is nearly always a few long runs; a set with an
//! entry for each message would grow with the backlog.

use std::collections::BTreeMap;

use crate::broker::record::Position;

/// A set of positions. Its size in memory follows the number of runs in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RangeSet {
    /// First position of each run to its last. invariant: runs neither overlap nor touch.
    runs: BTreeMap<Position, Position>,
    count: u64,
}

impl RangeSet {
    /// How many positions are in it.
    pub(super) fn len(&self) -> u64 {
        self.count
    }

    /// The lowest position.
    pub(super) fn first(&self) -> Option<Position> {
        self.runs.first_key_value().map(|(&first, _)| first)
    }

    pub(super) fn contains(&self, position: Position) -> bool {
        self.runs.range(..=position).next_back().is_some_and(|(_, &last)| last >= position)
    }

    /// Adds the positions from `first` to `last`; returns how many were not in it before.
    pub(super) fn insert(&mut self, first: Position, last: Position) -> u64 {
        if first > last {
            return 0;
        }
        let before = self.count;
        let (mut new_first, mut new_last) = (first, last);
        // From the highest run that touches the new one downwards.
        let reach = last.saturating_add(1);
        while let Some((&run_first, &run_last)) = self.runs.range(..=reach).next_back() {
            if run_last.saturating_add(1) < first {
                break;
            }
            if run_first <= first && run_last >= last {
                return 0;
            }
            new_first = new_first.min(run_first);
            new_last = new_last.max(run_last);
            self.take_run(run_first, run_last);
        }
        self.put_run(new_first, new_last);
        self.count - before
    }

    /// Takes out the positions from `first` to `last`; returns how many were in it.
    pub(super) fn remove(&mut self, first: Position, last: Position) -> u64 {
        if first > last {
            return 0;
        }
        let before = self.count;
        while let Some((&run_first, &run_last)) = self.runs.range(..=last).next_back() {
            if run_last < first {
                break;
            }
            self.take_run(run_first, run_last);
            if run_first < first {
                self.put_run(run_first, first - 1);
            }
            if run_last > last {
                self.put_run(last + 1, run_last);
            }
            if run_first <= first {
                break;
            }
        }
        before - self.count
    }

    fn put_run(&mut self, first: Position, last: Position) {
        self.runs.insert(first, last);
        self.count += last - first + 1;
    }

    fn take_run(&mut self, first: Position, last: Position) {
        self.runs.remove(&first);
        self.count -= last - first + 1;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set(
            steps in prop::collection::vec((any::<bool>(), 1_u64..40, 0_u64..12), 0..60),
        ) {
            let mut set = RangeSet::default();
            let mut model = BTreeSet::new();
            for (adds, first, length) in steps {
                let before = model.len();
                let range = first..first + length;
                let (Some(last), changed) = (range.clone().last(), if adds {
                    model.extend(range);
                    set.insert(first, (first + length).saturating_sub(1))
                } else {
                    model.retain(|position| !range.contains(position));
                    set.remove(first, (first + length).saturating_sub(1))
                }) else {
                    continue;
                };
                prop_assert!(last >= first);
                prop_assert_eq!(changed as usize, model.len().abs_diff(before));
                prop_assert_eq!(set.len() as usize, model.len());
                prop_assert_eq!(set.first(), model.first().copied());
                for position in 0..60 {
                    prop_assert_eq!(set.contains(position), model.contains(&position));
                }
                let touching = set.runs.iter().zip(set.runs.keys().skip(1));
                for ((_, last), next) in touching {
                    prop_assert!(last + 1 < *next);
                }
            }
        }
    }

    #[test]
    fn the_ends_of_the_numbers_are_positions_too() {
        let mut set = RangeSet::default();
        assert_eq!(set.insert(u64::MAX - 1, u64::MAX), 2);
        assert_eq!(set.insert(0, 0), 1);
        assert_eq!(set.remove(u64::MAX, u64::MAX), 1);
        assert!(set.contains(u64::MAX - 1) && !set.contains(u64::MAX) && set.contains(0));
    }
}
