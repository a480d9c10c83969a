//! A map that is copied by copying a pointer: what a change does not touch is shared by the copies.
//!
//! The entries lie in chunks, in order. A change copies the list of the chunks and one chunk; two maps of which
//! one was made from the other are compared by what they do not share.
//!
//! why not a tree: chunks are read as fast as a list is, and for a million entries the list of chunks is
//! copied in some microseconds.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::ops::Index;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How many entries a chunk has at most.
const CHUNK: usize = 64;

type Chunk<V> = Vec<(String, V)>;

/// A map from names to values, by name.
pub(crate) struct SharedMap<V> {
    /// invariant: none is empty, and names rise through all of them.
    chunks: Arc<Vec<Arc<Chunk<V>>>>,
    entries: usize,
}

impl<V> SharedMap<V> {
    /// The value of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&V> {
        let chunk = self.chunks.get(self.chunk_of(name))?;
        let place = place_of(chunk, name).ok()?;
        Some(&chunk[place].1)
    }

    /// Whether there is a value of this name.
    pub(crate) fn contains_key(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// All of them, by name.
    pub(crate) fn iter(&self) -> Iter<'_, V> {
        Iter { chunks: self.chunks.iter(), chunk: [].iter() }
    }

    /// The chunk that a name is in, if it is there.
    fn chunk_of(&self, name: &str) -> usize {
        let behind = self.chunks.partition_point(|chunk| chunk[0].0.as_str() <= name);
        behind.saturating_sub(1)
    }
}

impl<V: Clone> SharedMap<V> {
    /// The value of this name, to change.
    pub(crate) fn get_mut(&mut self, name: &str) -> Option<&mut V> {
        let index = self.chunk_of(name);
        let place = place_of(self.chunks.get(index)?, name).ok()?;
        Some(&mut Arc::make_mut(&mut Arc::make_mut(&mut self.chunks)[index])[place].1)
    }

    /// Gives a name a value; gives back the one that it had.
    pub(crate) fn insert(&mut self, name: String, value: V) -> Option<V> {
        let index = self.chunk_of(&name);
        let chunks = Arc::make_mut(&mut self.chunks);
        let Some(chunk) = chunks.get_mut(index) else {
            chunks.push(Arc::new(vec![(name, value)]));
            self.entries = 1;
            return None;
        };
        let chunk = Arc::make_mut(chunk);
        match place_of(chunk, &name) {
            Ok(place) => return Some(std::mem::replace(&mut chunk[place].1, value)),
            Err(place) => chunk.insert(place, (name, value)),
        }
        self.entries += 1;
        if chunk.len() > CHUNK {
            let rest = chunk.split_off(CHUNK / 2);
            chunks.insert(index + 1, Arc::new(rest));
        }
        None
    }

    /// The value of this name to change, which is made if there is none.
    pub(crate) fn get_or_default(&mut self, name: &str) -> &mut V
    where
        V: Default,
    {
        if !self.contains_key(name) {
            self.insert(name.to_owned(), V::default());
        }
        self.get_mut(name).expect("invariant: it is there now")
    }

    /// Takes out the value of this name.
    pub(crate) fn remove(&mut self, name: &str) -> Option<V> {
        let index = self.chunk_of(name);
        let place = place_of(self.chunks.get(index)?, name).ok()?;
        let chunks = Arc::make_mut(&mut self.chunks);
        let chunk = Arc::make_mut(&mut chunks[index]);
        let (_, value) = chunk.remove(place);
        self.entries -= 1;
        if chunk.is_empty() {
            chunks.remove(index);
        }
        Some(value)
    }
}

impl<V: PartialEq> SharedMap<V> {
    /// What was changed since `before`, which this was made from: names with their values of now and of before.
    /// Takes as long as there are changes, and chunks.
    pub(crate) fn changes_since<'a>(
        &'a self,
        before: &'a SharedMap<V>,
    ) -> Vec<(&'a str, Option<&'a V>, Option<&'a V>)> {
        if Arc::ptr_eq(&self.chunks, &before.chunks) {
            return Vec::new();
        }
        let [ours, theirs] = [self, before].map(|map| map.chunks.iter().map(Arc::as_ptr));
        let (ours, theirs) = (ours.collect::<HashSet<_>>(), theirs.collect::<HashSet<_>>());
        let mut changed = BTreeMap::new();
        for (name, value) in before.entries_outside(&ours) {
            changed.insert(name, (None, Some(value)));
        }
        for (name, value) in self.entries_outside(&theirs) {
            changed.entry(name).or_insert((None, None)).0 = Some(value);
        }
        changed.retain(|_, (now, before)| now != before);
        changed.into_iter().map(|(name, (now, before))| (name, now, before)).collect()
    }

    fn entries_outside(
        &self,
        chunks: &HashSet<*const Chunk<V>>,
    ) -> impl Iterator<Item = (&str, &V)> {
        let chunks = self.chunks.iter().filter(|chunk| !chunks.contains(&Arc::as_ptr(chunk)));
        chunks.flat_map(|chunk| chunk.iter().map(|(name, value)| (name.as_str(), value)))
    }
}

fn place_of<V>(chunk: &Chunk<V>, name: &str) -> Result<usize, usize> {
    chunk.binary_search_by(|(known, _)| known.as_str().cmp(name))
}

/// The entries of a map, by name.
pub(crate) struct Iter<'a, V> {
    chunks: std::slice::Iter<'a, Arc<Chunk<V>>>,
    chunk: std::slice::Iter<'a, (String, V)>,
}

impl<'a, V> Iterator for Iter<'a, V> {
    type Item = (&'a String, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((name, value)) = self.chunk.next() {
                return Some((name, value));
            }
            self.chunk = self.chunks.next()?.iter();
        }
    }
}

impl<'a, V> IntoIterator for &'a SharedMap<V> {
    type Item = (&'a String, &'a V);
    type IntoIter = Iter<'a, V>;

    fn into_iter(self) -> Iter<'a, V> {
        self.iter()
    }
}

impl<V> Default for SharedMap<V> {
    fn default() -> Self {
        SharedMap { chunks: Arc::default(), entries: 0 }
    }
}

impl<V> Clone for SharedMap<V> {
    fn clone(&self) -> Self {
        SharedMap { chunks: self.chunks.clone(), entries: self.entries }
    }
}

impl<V: PartialEq> PartialEq for SharedMap<V> {
    fn eq(&self, other: &Self) -> bool {
        self.entries == other.entries && self.changes_since(other).is_empty()
    }
}

impl<V: fmt::Debug> fmt::Debug for SharedMap<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<V, Name: Borrow<str> + ?Sized> Index<&Name> for SharedMap<V> {
    type Output = V;

    fn index(&self, name: &Name) -> &V {
        self.get(name.borrow()).expect("there is a value of this name")
    }
}

impl<V> FromIterator<(String, V)> for SharedMap<V> {
    fn from_iter<All: IntoIterator<Item = (String, V)>>(all: All) -> Self {
        let mut chunks = Vec::new();
        let mut entries = 0;
        let mut chunk = Vec::new();
        // why: a map first, so that they are in order and each name is there once.
        for entry in BTreeMap::from_iter(all) {
            chunk.push(entry);
            entries += 1;
            if chunk.len() == CHUNK {
                chunks.push(Arc::new(std::mem::take(&mut chunk)));
            }
        }
        if !chunk.is_empty() {
            chunks.push(Arc::new(chunk));
        }
        SharedMap { chunks: Arc::new(chunks), entries }
    }
}

impl<V: Serialize> Serialize for SharedMap<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self)
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for SharedMap<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(BTreeMap::deserialize(deserializer)?.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_same(map: &SharedMap<u32>, model: &BTreeMap<String, u32>) {
        assert!(map.iter().eq(model.iter()), "{map:?} instead of {model:?}");
        assert_eq!((map.entries, map.is_empty()), (model.len(), model.is_empty()));
        assert!(map.chunks.iter().all(|chunk| (1..=CHUNK).contains(&chunk.len())));
    }

    #[test]
    fn it_holds_what_a_tree_holds_and_knows_what_changed() {
        let mut rng = fastrand::Rng::with_seed(1);
        let (mut map, mut model) = (SharedMap::default(), BTreeMap::new());
        let mut before = (map.clone(), model.clone());
        for step in 0..20_000_u32 {
            let name = format!("{}", rng.u32(..1_000));
            match rng.u8(..10) {
                0..=4 => assert_eq!(map.insert(name.clone(), step), model.insert(name, step)),
                5..=7 => assert_eq!(map.remove(&name), model.remove(&name)),
                8 => {
                    let (ours, theirs) = (map.get_mut(&name), model.get_mut(&name));
                    assert_eq!(ours, theirs);
                    for value in ours.into_iter().chain(theirs) {
                        *value = step;
                    }
                }
                _ => {
                    *map.get_or_default(&name) += 1;
                    *model.entry(name).or_default() += 1;
                }
            }
            if rng.u8(..) < 20 {
                assert_same(&map, &model);
                assert_same(&before.0, &before.1);
                let names =
                    model.keys().chain(before.1.keys()).collect::<std::collections::BTreeSet<_>>();
                let changed = names
                    .into_iter()
                    .map(|name| (name.as_str(), model.get(name), before.1.get(name)));
                let changed = changed.filter(|(_, now, before)| now != before);
                assert_eq!(map.changes_since(&before.0), changed.collect::<Vec<_>>());
                assert_eq!(map == before.0, model == before.1);
                before = (map.clone(), model.clone());
            }
        }
    }

    #[test]
    fn a_change_copies_one_chunk() {
        let all = (0..10_000_u32).map(|number| (format!("{number:05}"), number));
        let map: SharedMap<u32> = all.collect();
        let mut changed = map.clone();
        changed.insert("05000".to_owned(), 0);
        let shared = changed
            .chunks
            .iter()
            .filter(|it| map.chunks.iter().any(|other| Arc::ptr_eq(it, other)));
        assert_eq!(shared.count(), map.chunks.len() - 1);
        assert_eq!(changed.changes_since(&map), [("05000", Some(&0), Some(&5_000))]);
    }
}
