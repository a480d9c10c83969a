//! Ids and the arenas they point into.
//!
//! why: queues, channels and consumers refer to each other in circles. An id costs eight octets,
//! is copied freely, and one that outlived its object finds nothing instead of something else,
//! because each place counts how often it was given away.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;

use slab::Slab;

/// Refers to a `T` in an [`Arena`].
pub struct Id<T> {
    index: u32,
    generation: u32,
    of: PhantomData<fn() -> T>,
}

impl<T> Id<T> {
    /// The place in the arena; reused by later objects once this one is gone.
    pub fn index(self) -> usize {
        self.index as usize
    }

    /// An id that nothing ever has.
    #[cfg(test)]
    pub(crate) fn dangling() -> Self {
        Id::numbered(u32::MAX)
    }

    /// One of many ids that nothing ever has.
    #[cfg(test)]
    pub(crate) fn numbered(index: u32) -> Self {
        Id { index, generation: 0, of: PhantomData }
    }

    fn parts(self) -> (u32, u32) {
        (self.index, self.generation)
    }
}

impl<T> Clone for Id<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Id<T> {}

impl<T> PartialEq for Id<T> {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl<T> Eq for Id<T> {}

impl<T> PartialOrd for Id<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Id<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.parts().cmp(&other.parts())
    }
}

impl<T> Hash for Id<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

impl<T> fmt::Debug for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index, self.generation)
    }
}

/// A store of `T`s that gives out ids.
pub struct Arena<T> {
    // why: boxed, so that growth moves sixteen octets an object and not all of it, which would
    // copy megabytes under the lock and leave as much behind in the allocator.
    slots: Slab<(u32, Box<T>)>,
    /// Rises with every insertion, so that no two objects ever share an id.
    next_generation: u32,
}

impl<T> Default for Arena<T> {
    fn default() -> Self {
        Arena { slots: Slab::new(), next_generation: 0 }
    }
}

impl<T> Arena<T> {
    /// Puts `value` in and says where.
    pub fn insert(&mut self, value: T) -> Id<T> {
        self.next_generation = self.next_generation.wrapping_add(1);
        let generation = self.next_generation;
        let index = self.slots.insert((generation, Box::new(value)));
        Id { index: index as u32, generation, of: PhantomData }
    }

    /// The object, while it is there.
    pub fn get(&self, id: Id<T>) -> Option<&T> {
        match self.slots.get(id.index()) {
            Some((generation, value)) if *generation == id.generation => Some(value),
            _ => None,
        }
    }

    /// The object to change, while it is there.
    pub fn get_mut(&mut self, id: Id<T>) -> Option<&mut T> {
        match self.slots.get_mut(id.index()) {
            Some((generation, value)) if *generation == id.generation => Some(value),
            _ => None,
        }
    }

    /// Takes the object out.
    pub fn remove(&mut self, id: Id<T>) -> Option<T> {
        self.get(id)?;
        Some(*self.slots.remove(id.index()).1)
    }

    /// All objects with their ids, by their place.
    pub fn iter(&self) -> impl Iterator<Item = (Id<T>, &T)> {
        self.slots.iter().map(|(index, (generation, value))| {
            (Id { index: index as u32, generation: *generation, of: PhantomData }, &**value)
        })
    }

    /// The first object at a place or behind it.
    pub fn next_from(&self, index: usize) -> Option<Id<T>> {
        // why: a place behind the last is where the search ends; empty ones in between are few, since
        // they are given away first.
        let end = self.slots.iter().next_back().map_or(0, |(last, _)| last + 1);
        (index..end).find_map(|index| {
            let (generation, _) = self.slots.get(index)?;
            Some(Id { index: index as u32, generation: *generation, of: PhantomData })
        })
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_outlived_its_object_finds_nothing() {
        let mut arena = Arena::default();
        let first = arena.insert('a');
        assert_eq!(arena.remove(first), Some('a'));
        let second = arena.insert('b');
        assert_eq!(first.index(), second.index());
        assert_eq!(arena.get(first), None);
        assert_eq!(arena.get(second), Some(&'b'));
        assert_eq!(arena.remove(first), None);
        assert_eq!(arena.len(), 1);
    }
}
