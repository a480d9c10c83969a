//! A set of positions that is small in memory.
//!
//! why: what lives in a queue is nearly always one run, and then it costs two numbers. Where it is
//! not, as with persistent and transient messages by turns, a compressed bitmap costs a bit for
//! each position or less; an entry for each run would grow with the backlog.

use roaring::RoaringTreemap;

use super::ids::Position;

/// A set of positions.
#[derive(Clone, Debug)]
pub struct RangeSet {
    shape: Shape,
    count: u64,
}

#[derive(Clone, Debug)]
enum Shape {
    /// From one position to another; meaningless while the set is empty.
    Run(Position, Position),
    Bitmap(Box<RoaringTreemap>),
}

impl Default for RangeSet {
    fn default() -> Self {
        RangeSet { shape: Shape::Run(0, 0), count: 0 }
    }
}

impl RangeSet {
    /// How many positions are in it.
    pub fn len(&self) -> u64 {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The lowest position.
    pub fn first(&self) -> Option<Position> {
        match &self.shape {
            _ if self.count == 0 => None,
            Shape::Run(first, _) => Some(*first),
            Shape::Bitmap(bitmap) => bitmap.min(),
        }
    }

    /// The highest position.
    pub fn last(&self) -> Option<Position> {
        match &self.shape {
            _ if self.count == 0 => None,
            Shape::Run(_, last) => Some(*last),
            Shape::Bitmap(bitmap) => bitmap.max(),
        }
    }

    /// Whether it has this position.
    pub fn contains(&self, position: Position) -> bool {
        match &self.shape {
            _ if self.count == 0 => false,
            Shape::Run(first, last) => (*first..=*last).contains(&position),
            Shape::Bitmap(bitmap) => bitmap.contains(position),
        }
    }

    /// Those of its positions that lie from `first` to `last`, rising.
    pub fn within(&self, first: Position, last: Position) -> impl Iterator<Item = Position> + '_ {
        let (run, bitmap) = match &self.shape {
            _ if self.count == 0 => (None, None),
            Shape::Run(run_first, run_last) => {
                (Some(first.max(*run_first)..=last.min(*run_last)), None)
            }
            Shape::Bitmap(bitmap) => {
                let mut positions = bitmap.iter();
                positions.advance_to(first);
                (None, Some(positions.take_while(move |&position| position <= last)))
            }
        };
        run.into_iter().flatten().chain(bitmap.into_iter().flatten())
    }

    /// Adds the positions from `first` to `last`; returns how many were not in it before.
    pub fn insert(&mut self, first: Position, last: Position) -> u64 {
        if first > last {
            return 0;
        }
        let before = self.count;
        match &mut self.shape {
            shape if before == 0 => {
                *shape = Shape::Run(first, last);
                self.count = last - first + 1;
            }
            Shape::Run(run_first, run_last)
                if first <= run_last.saturating_add(1) && *run_first <= last.saturating_add(1) =>
            {
                *run_first = first.min(*run_first);
                *run_last = last.max(*run_last);
                self.count = *run_last - *run_first + 1;
            }
            _ => self.count += self.bitmap().insert_range(first..=last),
        }
        self.count - before
    }

    /// Takes out the positions from `first` to `last`; returns how many were in it.
    pub fn remove(&mut self, first: Position, last: Position) -> u64 {
        let before = self.count;
        if first > last || before == 0 {
            return 0;
        }
        match &mut self.shape {
            Shape::Run(run_first, run_last) if last < *run_first || first > *run_last => {}
            Shape::Run(run_first, run_last) if first <= *run_first || last >= *run_last => {
                if first <= *run_first && last >= *run_last {
                    *self = RangeSet::default();
                } else if first <= *run_first {
                    *run_first = last + 1;
                    self.count = *run_last - *run_first + 1;
                } else {
                    *run_last = first - 1;
                    self.count = *run_last - *run_first + 1;
                }
            }
            _ => {
                self.count -= self.bitmap().remove_range(first..=last);
                if self.count == 0 {
                    *self = RangeSet::default();
                }
            }
        }
        before - self.count
    }

    /// Takes out the positions from `first` on, which are given back.
    pub fn split_off(&mut self, first: Position) -> RangeSet {
        let mut upper = self.clone();
        if let Some(before) = first.checked_sub(1) {
            upper.remove(0, before);
        }
        self.remove(first, Position::MAX);
        upper
    }

    /// Adds all positions of another set.
    pub fn append(&mut self, other: RangeSet) {
        match other.shape {
            _ if other.count == 0 => {}
            _ if self.count == 0 => *self = other,
            Shape::Run(first, last) => {
                self.insert(first, last);
            }
            Shape::Bitmap(bitmap) => {
                let positions = self.bitmap();
                *positions |= *bitmap;
                self.count = positions.len();
            }
        }
    }

    fn bitmap(&mut self) -> &mut RoaringTreemap {
        if let Shape::Run(first, last) = self.shape {
            let mut bitmap = RoaringTreemap::new();
            bitmap.insert_range(first..=last);
            self.shape = Shape::Bitmap(Box::new(bitmap));
        }
        match &mut self.shape {
            Shape::Bitmap(bitmap) => bitmap,
            Shape::Run(..) => unreachable!("invariant: it was just replaced"),
        }
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
                let last = (first + length).saturating_sub(1);
                let changed = if adds {
                    model.extend(range);
                    set.insert(first, last)
                } else {
                    model.retain(|position| !range.contains(position));
                    set.remove(first, last)
                };
                prop_assert_eq!(changed as usize, model.len().abs_diff(before));
                prop_assert_eq!(set.len() as usize, model.len());
                prop_assert_eq!(set.is_empty(), model.is_empty());
                prop_assert_eq!(set.first(), model.first().copied());
                prop_assert_eq!(set.last(), model.last().copied());
                for position in 0..60 {
                    prop_assert_eq!(set.contains(position), model.contains(&position));
                }
                let (mut lower, upper) = (set.clone(), model.split_off(&(first + 3)));
                let mut split = lower.split_off(first + 3);
                prop_assert_eq!((lower.len(), split.len()), (model.len() as u64, upper.len() as u64));
                prop_assert_eq!(split.first(), upper.first().copied());
                split.append(lower);
                model.extend(upper);
                prop_assert_eq!(split.within(0, 60).collect::<Vec<_>>(), Vec::from_iter(model.iter().copied()));
                let within: Vec<_> = set.within(first, first + 9).collect();
                let expected: Vec<_> = model.range(first..=first + 9).copied().collect();
                prop_assert_eq!(within, expected);
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
        assert_eq!(set.within(0, u64::MAX).collect::<Vec<_>>(), [0, u64::MAX - 1]);
        assert_eq!(set.remove(0, u64::MAX), 2);
    }
}
