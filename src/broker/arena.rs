//! A store of objects that are referred to by ids.

use std::marker::PhantomData;

use slab::Slab;

use super::ids::Id;

/// A store of `T`s that gives out ids of the kind `K`.
pub struct Arena<K, T> {
    // why: boxed, so that growth moves sixteen bytes an object and not all of it, which would
    // copy megabytes under the lock and leave as much behind in the allocator.
    slots: Slab<(u32, Box<T>)>,
    /// Rises with every insertion, so that no two objects ever share an id.
    next_generation: u32,
    /// Behind the highest place that was ever in use.
    end: usize,
    kind: PhantomData<fn() -> K>,
}

impl<K, T> Default for Arena<K, T> {
    fn default() -> Self {
        Arena { slots: Slab::new(), next_generation: 0, end: 0, kind: PhantomData }
    }
}

impl<K, T> Arena<K, T> {
    /// Puts `value` in and says where.
    pub fn insert(&mut self, value: T) -> Id<K> {
        self.next_generation = self.next_generation.wrapping_add(1);
        let generation = self.next_generation;
        let index = self.slots.insert((generation, Box::new(value)));
        self.end = self.end.max(index + 1);
        Id::new(index as u32, generation)
    }

    /// The object, while it is there.
    pub fn get(&self, id: Id<K>) -> Option<&T> {
        match self.slots.get(id.index()) {
            Some((generation, value)) if *generation == id.generation() => Some(value),
            _ => None,
        }
    }

    /// The object to change, while it is there.
    pub fn get_mut(&mut self, id: Id<K>) -> Option<&mut T> {
        match self.slots.get_mut(id.index()) {
            Some((generation, value)) if *generation == id.generation() => Some(value),
            _ => None,
        }
    }

    /// Whether the object is there.
    pub fn contains(&self, id: Id<K>) -> bool {
        self.get(id).is_some()
    }

    /// Takes the object out.
    pub fn remove(&mut self, id: Id<K>) -> Option<T> {
        self.get(id)?;
        Some(*self.slots.remove(id.index()).1)
    }

    /// All objects with their ids, by their place.
    pub fn iter(&self) -> impl Iterator<Item = (Id<K>, &T)> {
        self.slots
            .iter()
            .map(|(index, (generation, value))| (Id::new(index as u32, *generation), &**value))
    }

    /// The object at a place, if there is one, and its id.
    ///
    /// why: whoever visits all of them in steps counts places, from zero up to [`end`](Arena::end). A step
    /// costs the same whether there is something or not, and an object that comes or goes meanwhile moves
    /// no other.
    pub fn at(&self, index: usize) -> Option<(Id<K>, &T)> {
        let (generation, value) = self.slots.get(index)?;
        Some((Id::new(index as u32, *generation), value))
    }

    /// Behind the highest place that was ever in use.
    pub fn end(&self) -> usize {
        self.end
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
        let mut arena = Arena::<(), char>::default();
        let first = arena.insert('a');
        assert_eq!(arena.remove(first), Some('a'));
        let second = arena.insert('b');
        assert_eq!(first.index(), second.index());
        assert_eq!(arena.get(first), None);
        assert_eq!(arena.get(second), Some(&'b'));
        assert_eq!(arena.remove(first), None);
        assert_eq!(arena.len(), 1);
    }

    #[test]
    fn places_are_visited_without_a_search() {
        let mut arena = Arena::<(), u32>::default();
        let ids: Vec<_> = (0..1000).map(|number| arena.insert(number)).collect();
        for id in &ids[..999] {
            arena.remove(*id);
        }
        let found: Vec<_> = (0..arena.end()).filter_map(|place| arena.at(place)).collect();
        assert_eq!(found, [(ids[999], &999)]);
    }
}
