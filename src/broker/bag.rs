//! A set without an order, for lists that are read whole with every message.
//!
//! why: a list is the fastest to read, and a long one is slow to take anything out of; here the last one moves
//! into the gap. Where each of many stands is known by hash. The order depends on what was put in and
//! taken out alone, and never on a hash.

use std::hash::Hash;

use hashbrown::HashMap;

/// A set of values.
#[derive(Clone, Debug)]
pub struct Bag<T> {
    values: Vec<T>,
    /// Where each stands, in a long list.
    // why: boxed, since most lists are short, and many of them are passed on the way to one.
    places: Option<Box<HashMap<T, usize>>>,
}

/// A list of no more than this is searched.
const SHORT: usize = 32;

impl<T> Default for Bag<T> {
    fn default() -> Self {
        Bag { values: Vec::new(), places: None }
    }
}

impl<T: Clone + Eq + Hash> Bag<T> {
    /// Adds a value; false when it is there already.
    pub fn insert(&mut self, value: T) -> bool {
        if self.place(&value).is_some() {
            return false;
        }
        if let Some(places) = &mut self.places {
            places.insert(value.clone(), self.values.len());
        }
        self.values.push(value);
        if self.places.is_none() && self.values.len() > SHORT {
            let places = self.values.iter().cloned().enumerate().map(|(at, it)| (it, at));
            self.places = Some(Box::new(places.collect()));
        }
        true
    }

    /// Takes a value out; false when it is not there.
    pub fn remove(&mut self, value: &T) -> bool {
        let Some(place) = self.place(value) else { return false };
        self.values.swap_remove(place);
        if self.values.len() <= SHORT {
            self.places = None;
        } else if let Some(places) = &mut self.places {
            places.remove(value);
            if let Some(moved) = self.values.get(place) {
                places.insert(moved.clone(), place);
            }
        }
        true
    }

    fn place(&self, value: &T) -> Option<usize> {
        match &self.places {
            Some(places) => places.get(value).copied(),
            None => self.values.iter().position(|other| other == value),
        }
    }
}

impl<T> Bag<T> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.values.iter()
    }

    /// The one of this number.
    pub fn get(&self, index: usize) -> Option<&T> {
        self.values.get(index)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set(steps in prop::collection::vec((0_u32..90, any::<bool>()), 0..300)) {
            let (mut bag, mut model) = (Bag::default(), BTreeSet::new());
            for (value, inserts) in steps {
                if inserts {
                    prop_assert_eq!(bag.insert(value), model.insert(value));
                } else {
                    prop_assert_eq!(bag.remove(&value), model.remove(&value));
                }
                prop_assert_eq!(bag.len(), model.len());
                prop_assert_eq!(&bag.iter().copied().collect::<BTreeSet<_>>(), &model);
            }
        }
    }
}
