//! A line of those who wait, first come, first served.
//!
//! Whoever stands in it may leave it from anywhere at the same price as from its head, however long it is;
//! a deque would have to be searched and closed up.

use slab::Slab;

/// A place in a [`Line`], as long as whoever took it stands there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(u32);

/// A line.
#[derive(Clone, Debug)]
pub struct Line<T> {
    nodes: Slab<Node<T>>,
    head: u32,
    tail: u32,
}

#[derive(Clone, Debug)]
struct Node<T> {
    value: T,
    before: u32,
    behind: u32,
}

/// No node.
const NONE: u32 = u32::MAX;
/// An empty line keeps memory for no more than this.
const KEPT: usize = 64;

impl<T> Default for Line<T> {
    fn default() -> Self {
        Line { nodes: Slab::new(), head: NONE, tail: NONE }
    }
}

impl<T: Copy> Line<T> {
    /// How many stand in it.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether nobody does.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Whose turn it is.
    pub fn front(&self) -> Option<T> {
        self.nodes.get(self.head as usize).map(|node| node.value)
    }

    /// Adds one at the end.
    pub fn push_back(&mut self, value: T) -> Place {
        let node = Node { value, before: self.tail, behind: NONE };
        let place = self.nodes.insert(node) as u32;
        self.link_behind(self.tail, place);
        self.tail = place;
        Place(place)
    }

    /// Takes the first one out.
    pub fn pop_front(&mut self) -> Option<T> {
        (self.head != NONE).then(|| self.remove(Place(self.head)))
    }

    /// Sends the first one to the end; it keeps its place.
    pub fn rotate(&mut self) {
        let first = self.head;
        if first == self.tail {
            return;
        }
        let second = self.nodes[first as usize].behind;
        self.nodes[second as usize].before = NONE;
        self.head = second;
        let last = self.tail;
        self.nodes[first as usize].before = last;
        self.nodes[first as usize].behind = NONE;
        self.nodes[last as usize].behind = first;
        self.tail = first;
    }

    /// Takes one out that stands anywhere.
    pub fn remove(&mut self, place: Place) -> T {
        let Node { value, before, behind } = self.nodes.remove(place.0 as usize);
        self.link_behind(before, behind);
        match self.nodes.get_mut(behind as usize) {
            Some(node) => node.before = before,
            None => self.tail = before,
        }
        if self.nodes.is_empty() && self.nodes.capacity() > KEPT {
            self.nodes = Slab::new();
        }
        value
    }

    /// All of them, the first one first.
    pub fn iter(&self) -> impl Iterator<Item = T> {
        let mut next = self.head;
        std::iter::from_fn(move || {
            let node = self.nodes.get(next as usize)?;
            next = node.behind;
            Some(node.value)
        })
    }

    /// Lets `behind` follow `before`; without one it is the head.
    fn link_behind(&mut self, before: u32, behind: u32) {
        match self.nodes.get_mut(before as usize) {
            Some(node) => node.behind = behind,
            None => self.head = behind,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Push,
        Pop,
        Rotate,
        Remove(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            Just(Step::Push),
            Just(Step::Push),
            Just(Step::Pop),
            Just(Step::Rotate),
            (0_usize..8).prop_map(Step::Remove),
        ]
    }

    proptest! {
        #[test]
        fn it_is_a_deque_that_may_be_left_from_the_middle(
            steps in prop::collection::vec(step(), 0..60)
        ) {
            let (mut line, mut model) = (Line::default(), VecDeque::new());
            for (number, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Push => model.push_back((number, line.push_back(number))),
                    Step::Pop => {
                        let expected = model.pop_front().map(|(value, _)| value);
                        prop_assert_eq!(line.pop_front(), expected);
                    }
                    Step::Rotate => {
                        line.rotate();
                        if !model.is_empty() {
                            model.rotate_left(1);
                        }
                    }
                    Step::Remove(index) if index < model.len() => {
                        let (value, place) = model.remove(index).expect("it is there");
                        prop_assert_eq!(line.remove(place), value);
                    }
                    Step::Remove(_) => {}
                }
                let values: Vec<_> = model.iter().map(|(value, _)| *value).collect();
                prop_assert_eq!(line.iter().collect::<Vec<_>>(), values);
                prop_assert_eq!(line.front(), model.front().map(|(value, _)| *value));
                prop_assert_eq!(line.len(), model.len());
            }
        }
    }
}
