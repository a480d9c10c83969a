//! A set of positions, kept as runs: for sets of which most are neighbours.

use std::collections::BTreeMap;

use super::ids::Position;

/// A set of positions.
#[derive(Debug, Default)]
pub struct Runs {
    /// The first of each run to its last. invariant: runs do not overlap.
    runs: BTreeMap<Position, Position>,
}

impl Runs {
    /// Whether a position is in it.
    pub fn contains(&self, position: Position) -> bool {
        self.run_of(position).is_some()
    }

    /// Adds a position; cheap for one behind all others.
    pub fn insert(&mut self, position: Position) {
        if self.contains(position) {
            return;
        }
        let before = self.runs.range_mut(..position).next_back();
        match before {
            Some((_, last)) if *last + 1 == position => *last = position,
            _ => {
                self.runs.insert(position, position);
            }
        }
    }

    fn run_of(&self, position: Position) -> Option<(Position, Position)> {
        let (&first, &last) = self.runs.range(..=position).next_back()?;
        (position <= last).then_some((first, last))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set(steps in prop::collection::vec(1_u64..40, 0..80)) {
            let (mut runs, mut model) = (Runs::default(), BTreeSet::new());
            for position in steps {
                runs.insert(position);
                model.insert(position);
                for position in 0..42 {
                    prop_assert_eq!(runs.contains(position), model.contains(&position));
                }
            }
        }
    }
}
