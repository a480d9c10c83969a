//! Which patterns a routing key matches: the bindings of a topic exchange.
//!
//! spec: 3.1.3.3, the topic exchange. A key is words between dots; in a pattern `*` stands for
//! exactly one word and `#` for any number of words, none included. Empty words count: `a..b` has
//! three. The empty key has no word at all.
//!
//! Patterns are a tree with a word on each edge. A key is read once, from the front, with the set
//! of nodes that its words so far can lead to:
//!
//! ```text
//!   patterns  a.*  a.#.c  #.c           key  a.b.c   reached   open
//!
//!   root ─a─► 1 ─*─► 2 (a.*)                           root      5
//!    │        └─#─► 3 ─c─► 4 (a.#.c)         a         1         3 5
//!    └─#─► 5 ─c─► 6 (#.c)                    b         2         3 5
//!                                            c         4 6       3 5
//! ```
//!
//! A node that `#` leads to stays open once it is, since `#` takes every further word. So the set
//! is never larger than the tree and a key costs at most words times nodes, whatever the patterns;
//! trying one way after the other would take exponential time for `#.#.#.#.a`. Tens of thousands of patterns
//! that differ in nothing but `*` and `#` make that long all the same; the caller says how many nodes it may be.
//!
//! invariant: every node but the root holds a value or leads to one that does.

use std::hash::Hash;
use std::mem;

use hashbrown::HashMap;
use slab::Slab;
use smallvec::{SmallVec, smallvec};

use super::bag::Bag;

/// Values by the patterns they are bound with.
pub struct TopicTable<T> {
    nodes: Slab<Node<T>>,
}

/// Place of the node that no word leads to.
const ROOT: usize = 0;

/// Places of nodes. More than this many at once take an allocation.
type Places = SmallVec<[usize; 16]>;

struct Node<T> {
    /// Where a word leads.
    // why: hashed words are the fastest way down a wide tree, and nothing ever iterates over them,
    // so that no order depends on the hash.
    words: HashMap<Box<[u8]>, usize>,
    /// Where `*` leads.
    one: Option<usize>,
    /// Where `#` leads.
    any: Option<usize>,
    /// The values of the pattern that ends here.
    values: Bag<T>,
}

impl<T> Default for TopicTable<T> {
    fn default() -> Self {
        TopicTable::new()
    }
}

impl<T> TopicTable<T> {
    /// A table without patterns.
    pub fn new() -> Self {
        let mut nodes = Slab::new();
        nodes.insert(Node::new());
        TopicTable { nodes }
    }

    /// Whether there is no pattern.
    pub fn is_empty(&self) -> bool {
        self.nodes[ROOT].is_empty()
    }

    /// Calls `each` for the values of every pattern that matches `key`. A value that is there under
    /// two matching patterns comes twice.
    ///
    /// Says how many nodes that took; with more than `max` nothing is called.
    pub fn for_each_match(&self, key: &[u8], max: usize, mut each: impl FnMut(&T)) -> usize {
        self.walk(key, max, |place| self.nodes[place].values.iter().for_each(&mut each))
    }

    /// The same for several keys together; a pattern that several of them match counts once.
    pub fn for_each_match_of<'k>(
        &self,
        keys: impl Iterator<Item = &'k [u8]>,
        max: usize,
        each: impl FnMut(&T),
    ) -> usize {
        let (mut ends, mut nodes) = (Vec::new(), 0);
        for key in keys {
            nodes += self.walk(key, max - nodes, |place| ends.push(place));
            if nodes > max {
                return nodes;
            }
        }
        ends.sort_unstable();
        ends.dedup();
        ends.into_iter().flat_map(|place| self.nodes[place].values.iter()).for_each(each);
        nodes
    }

    /// Calls `end` for the node of every pattern that matches `key`. Says how many nodes that took; with more
    /// than `max` nothing is called.
    fn walk(&self, key: &[u8], max: usize, end: impl FnMut(usize)) -> usize {
        let mut nodes = 0;
        // Reached by a word or `*`, each from its only parent: none is here twice.
        let mut reached: Places = smallvec![ROOT];
        // Reached by `#`, in ascending order.
        let mut open = Places::new();
        self.open_below(ROOT, &mut open);
        let mut next = Places::new();
        for word in words(key) {
            nodes += reached.len() + open.len();
            if nodes > max {
                return nodes;
            }
            for &place in reached.iter().chain(&open) {
                let node = &self.nodes[place];
                next.extend(node.words.get(word).copied());
                next.extend(node.one);
            }
            mem::swap(&mut reached, &mut next);
            next.clear();
            for &place in &reached {
                self.open_below(place, &mut open);
            }
        }
        reached.iter().chain(&open).copied().for_each(end);
        nodes
    }

    /// Adds what `#` leads to from `place`, since it may stand for no word: `a.#` matches `a`.
    fn open_below(&self, mut place: usize, open: &mut Places) {
        while let Some(below) = self.nodes[place].any {
            // What is open already has opened the rest of `#.#.#`.
            let Err(position) = open.binary_search(&below) else { return };
            open.insert(position, below);
            place = below;
        }
    }
}

impl<T: Clone + Eq + Hash> TopicTable<T> {
    /// Binds `value` with `pattern`; once, however often it is inserted.
    pub fn insert(&mut self, pattern: &[u8], value: T) {
        let mut place = ROOT;
        for word in words(pattern) {
            place = match self.nodes[place].child(word) {
                Some(child) => child,
                None => {
                    let child = self.nodes.insert(Node::new());
                    self.nodes[place].set_child(word, Some(child));
                    child
                }
            };
        }
        self.nodes[place].values.insert(value);
    }

    /// Takes `value` away from `pattern`, and says whether it was there.
    pub fn remove(&mut self, pattern: &[u8], value: &T) -> bool {
        let mut path: SmallVec<[(usize, &[u8]); 16]> = SmallVec::new();
        let mut place = ROOT;
        for word in words(pattern) {
            let Some(child) = self.nodes[place].child(word) else { return false };
            path.push((place, word));
            place = child;
        }
        if !self.nodes[place].values.remove(value) {
            return false;
        }
        while let Some((parent, word)) = path.pop()
            && self.nodes[place].is_empty()
        {
            self.nodes.remove(place);
            self.nodes[parent].set_child(word, None);
            place = parent;
        }
        true
    }
}

impl<T> Node<T> {
    fn new() -> Self {
        Node { words: HashMap::new(), one: None, any: None, values: Bag::default() }
    }

    /// Where this word of a pattern leads.
    fn child(&self, word: &[u8]) -> Option<usize> {
        match word {
            b"*" => self.one,
            b"#" => self.any,
            _ => self.words.get(word).copied(),
        }
    }

    fn set_child(&mut self, word: &[u8], child: Option<usize>) {
        match (word, child) {
            (b"*", _) => self.one = child,
            (b"#", _) => self.any = child,
            (_, Some(child)) => {
                self.words.insert(word.into(), child);
            }
            (_, None) => {
                self.words.remove(word);
            }
        }
    }

    /// Whether nothing ends here and nothing goes on.
    fn is_empty(&self) -> bool {
        let Node { words, one, any, values } = self;
        words.is_empty() && one.is_none() && any.is_none() && values.is_empty()
    }
}

/// The words of a key or a pattern; the empty one has none.
/// How many words a key or a pattern has.
pub fn word_count(key: &[u8]) -> usize {
    words(key).count()
}

fn words(key: &[u8]) -> impl Iterator<Item = &[u8]> {
    key.split(|octet| *octet == b'.').skip(usize::from(key.is_empty()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found<T: Clone + Ord>(table: &TopicTable<T>, key: &[u8]) -> Vec<T> {
        let mut values = Vec::new();
        table.for_each_match(key, usize::MAX, |value| values.push(value.clone()));
        values.sort();
        values
    }

    fn matches(pattern: &str, key: &str) -> bool {
        let mut table = TopicTable::new();
        table.insert(pattern.as_bytes(), ());
        !found(&table, key.as_bytes()).is_empty()
    }

    #[track_caller]
    fn check(pattern: &str, matching: &[&str], others: &[&str]) {
        for key in matching {
            assert!(matches(pattern, key), "{pattern} is to match '{key}'");
        }
        for key in others {
            assert!(!matches(pattern, key), "{pattern} is not to match '{key}'");
        }
    }

    #[test]
    fn a_pattern_of_words_matches_itself() {
        check("a.b", &["a.b"], &["a", "a.b.c", "A.b", "b.a", "a.b.", "", "a.bb"]);
    }

    #[test]
    fn a_star_is_exactly_one_word() {
        check("a.*", &["a.b", "a."], &["a", "a.b.c", "b.a"]);
        check("*", &["a"], &["", "a.b"]);
        check("*.*", &[".", "a.b"], &["a", "a.b.c"]);
        check("*.b.*", &["a.b.c", ".b."], &["b", "a.b", "a.c.c"]);
    }

    #[test]
    fn a_hash_is_any_number_of_words() {
        check("#", &["", "a", ".", "a.b.c"], &[]);
        check("a.#", &["a", "a.", "a.b.c"], &["b", "", "ab"]);
        check("#.b", &["b", "a.b", "a.b.b"], &["a", "b.a", ""]);
        check("a.#.c", &["a.c", "a.b.c", "a.b.b.c", "a.c.c"], &["a", "c", "a.c.b"]);
    }

    #[test]
    fn hashes_and_stars_together() {
        check("*.#", &["a", ".", "a.b"], &[""]);
        check("#.*", &["a", "a.b"], &[""]);
        check("a.#.#", &["a", "a.b", "a.b.c"], &["b"]);
        check("#.#", &["", "a", "a.b"], &[]);
        check("*.#.*", &["a.b", "a.b.c"], &["a", ""]);
    }

    #[test]
    fn empty_words_count() {
        check("a.*.*", &["a..b", "a.."], &["a.b", "a."]);
        check("a..b", &["a..b"], &["a.b", "a...b"]);
        check(".", &["."], &["", ".."]);
        check("", &[""], &["a", "."]);
    }

    #[test]
    fn wildcards_are_whole_words_of_a_pattern_and_nothing_in_a_key() {
        check("a*", &["a*"], &["ab", "a"]);
        check("#a.b", &["#a.b"], &["a.b", "x.a.b"]);
        check("a.b", &["a.b"], &["a.*", "a.#", "#", "*.b"]);
        check("a.*", &["a.*", "a.#"], &["*.a"]);
    }

    #[test]
    fn a_value_comes_once_for_each_matching_pattern() {
        let mut table = TopicTable::new();
        for pattern in ["a.#", "#", "a.*", "b", "#.#.b.#"] {
            table.insert(pattern.as_bytes(), pattern);
        }
        table.insert(b"a.b", "#");
        assert_eq!(found(&table, b"a.b"), ["#", "#", "#.#.b.#", "a.#", "a.*"]);
    }

    #[test]
    fn all_values_of_a_pattern_come() {
        let mut table = TopicTable::new();
        for value in [3, 1, 2] {
            table.insert(b"k", value);
        }
        let mut values = Vec::new();
        table.for_each_match(b"k", usize::MAX, |value| values.push(*value));
        values.sort_unstable();
        assert_eq!(values, [1, 2, 3]);
    }

    #[test]
    fn what_is_inserted_twice_is_there_once() {
        let mut table = TopicTable::new();
        table.insert(b"a.*", 1);
        table.insert(b"a.*", 1);
        assert_eq!(found(&table, b"a.b"), [1]);
        assert!(table.remove(b"a.*", &1));
        assert!(!table.remove(b"a.*", &1));
        assert!(table.is_empty());
    }

    #[test]
    fn a_removal_leaves_the_others_and_no_empty_node() {
        let mut table = TopicTable::new();
        for pattern in ["a.b.c", "a.b", "a.#", ""] {
            table.insert(pattern.as_bytes(), pattern);
        }
        assert!(!table.remove(b"a", &"a"), "a node without a value");
        assert!(!table.remove(b"a.b", &"a.#"), "another pattern's value");
        assert!(!table.remove(b"a.b.c.d", &"a.b.c"));
        assert!(table.remove(b"a.b.c", &"a.b.c"));
        assert_eq!(table.nodes.len(), 4);
        assert_eq!(found(&table, b"a.b"), ["a.#", "a.b"]);
        assert!(table.remove(b"a.b", &"a.b"));
        assert!(table.remove(b"a.#", &"a.#"));
        assert!(!table.is_empty());
        assert!(table.remove(b"", &""));
        assert!(table.is_empty());
        assert_eq!(table.nodes.len(), 1);
    }

    #[test]
    fn no_pattern_takes_long() {
        let mut table = TopicTable::new();
        let patterns = ["#.".repeat(127) + "a", "#.*.".repeat(60) + "a", "*.#.a.".repeat(40) + "b"];
        for pattern in &patterns {
            table.insert(pattern.as_bytes(), pattern.clone());
        }
        let dots = ".".repeat(255);
        let letters = "a.".repeat(127) + "a";
        assert!(found(&table, dots.as_bytes()).is_empty());
        assert_eq!(found(&table, letters.as_bytes()), [&patterns[0][..], &patterns[1]]);
        for pattern in &patterns {
            assert!(table.remove(pattern.as_bytes(), pattern));
        }
        assert!(table.is_empty());
    }

    /// The specification's words, turned into the slowest program.
    fn naive(pattern: &[&[u8]], key: &[&[u8]]) -> bool {
        match (pattern, key) {
            ([], []) => true,
            ([b"#", rest @ ..], _) => {
                naive(rest, key) || !key.is_empty() && naive(pattern, &key[1..])
            }
            ([b"*", rest @ ..], [_, key @ ..]) => naive(rest, key),
            ([word, rest @ ..], [first, key @ ..]) => word == first && naive(rest, key),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn agrees_with_a_naive_matcher(
            patterns in prop::collection::vec("([ab*#.]|\\.){0,9}", 0..12),
            gone in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
            keys in prop::collection::vec("([ab]?\\.?){0,6}", 0..12),
        ) {
            let mut table = TopicTable::new();
            let mut bound: Vec<(String, usize)> =
                patterns.into_iter().enumerate().map(|(value, text)| (text, value)).collect();
            for (pattern, value) in &bound {
                table.insert(pattern.as_bytes(), *value);
            }
            for index in gone {
                if !bound.is_empty() {
                    let (pattern, value) = bound.swap_remove(index.index(bound.len()));
                    prop_assert!(table.remove(pattern.as_bytes(), &value));
                }
            }
            for key in &keys {
                let split: Vec<&[u8]> = words(key.as_bytes()).collect();
                let mut expected: Vec<usize> = bound
                    .iter()
                    .filter(|(pattern, _)| {
                        naive(&words(pattern.as_bytes()).collect::<Vec<_>>(), &split)
                    })
                    .map(|(_, value)| *value)
                    .collect();
                expected.sort_unstable();
                prop_assert_eq!(found(&table, key.as_bytes()), expected, "key '{}'", key);
            }
            prop_assert_eq!(table.is_empty(), bound.is_empty());
        }
    }
}
