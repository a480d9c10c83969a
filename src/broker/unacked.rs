//! The deliveries of a channel that are not acknowledged yet.

use std::collections::VecDeque;

use super::ids::{ConsumerId, QueueId};
use super::ready::Entry;
use super::time::Time;

/// A delivery that waits for its acknowledgement.
#[derive(Clone, Debug)]
pub struct Unacked {
    /// The queue it came from.
    pub queue: QueueId,
    /// The consumer it went to; none after basic.get.
    pub consumer: Option<ConsumerId>,
    /// The message in its queue.
    pub entry: Entry,
    /// When it was delivered.
    pub delivered_at: Time,
}

/// Deliveries by their tag, which only ever rises.
///
/// why: clients acknowledge from the front, one by one or many at once, so deques serve them
/// without a search. They lie in chunks, so that however many are taken at once, no more than the
/// deliveries of one chunk are moved. One acknowledged out of turn leaves a hole; the holes are swept once
/// they outnumber what is left, so their cost and their number stay bounded.
///
/// invariant: tags rise within a chunk and from one chunk to the next. No chunk is without deliveries, but
/// for one that is kept for its memory when there are none at all.
#[derive(Debug, Default)]
pub struct UnackedList {
    chunks: VecDeque<Chunk>,
    live: usize,
    /// The places of a chunk that is gone, for the next one; none while there are no deliveries.
    spare: VecDeque<Slot>,
}

/// A tag and its delivery, until that is taken.
type Slot = (u64, Option<Unacked>);

/// How many places a chunk has at most.
const CHUNK: usize = 512;

#[derive(Debug, Default)]
struct Chunk {
    slots: VecDeque<Slot>,
    live: usize,
}

impl UnackedList {
    /// One delivery.
    pub fn of(tag: u64, delivery: Unacked) -> Self {
        let chunks = VecDeque::from([Chunk::of(tag, delivery)]);
        UnackedList { chunks, live: 1, spare: VecDeque::new() }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.live
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// The tag of the last one, or a higher one.
    pub fn last_tag(&self) -> Option<u64> {
        self.chunks.back().and_then(Chunk::last_tag)
    }

    /// Adds a delivery; its tag must be higher than all before.
    pub fn push(&mut self, tag: u64, delivery: Unacked) {
        debug_assert!(self.last_tag().is_none_or(|last| last < tag), "tags only rise");
        self.live += 1;
        match self.chunks.back_mut() {
            Some(chunk) if chunk.slots.len() < CHUNK => chunk.push_back(tag, delivery),
            Some(_) => {
                let mut slots = std::mem::take(&mut self.spare);
                slots.reserve_exact(CHUNK);
                slots.push_back((tag, Some(delivery)));
                self.chunks.push_back(Chunk { slots, live: 1 });
            }
            None => self.chunks.push_back(Chunk::of(tag, delivery)),
        }
    }

    /// Takes the delivery of this tag.
    pub fn take(&mut self, tag: u64) -> Option<Unacked> {
        let (index, slot) = self.find(tag)?;
        let chunk = &mut self.chunks[index];
        let delivery = chunk.slots[slot].1.take()?;
        chunk.live -= 1;
        self.live -= 1;
        if chunk.live == 0 {
            self.remove_chunk(index);
        } else {
            chunk.sweep();
        }
        Some(delivery)
    }

    /// How many there are at most of this tag and lower ones; none unless the tag itself is there.
    pub fn count_through(&self, tag: u64) -> Option<usize> {
        let (index, slot) = self.find(tag)?;
        self.chunks[index].slots[slot].1.as_ref()?;
        let before: usize = self.chunks.iter().take(index).map(|chunk| chunk.live).sum();
        Some(before + slot + 1)
    }

    /// Takes the first one if it has this tag or a lower one.
    pub fn pop_through(&mut self, tag: u64) -> Option<Unacked> {
        let first = loop {
            match self.chunks.front_mut()?.slots.front()? {
                (first, Some(_)) => break *first,
                (_, None) => self.chunks.front_mut()?.slots.pop_front(),
            };
        };
        if first <= tag { self.pop_front().map(|(_, delivery)| delivery) } else { None }
    }

    /// Takes the first one, with its tag.
    pub fn pop_front(&mut self) -> Option<(u64, Unacked)> {
        let chunk = self.chunks.front_mut()?;
        let taken = std::iter::from_fn(|| chunk.slots.pop_front()).find_map(present)?;
        chunk.live -= 1;
        self.live -= 1;
        if chunk.live == 0 {
            self.remove_chunk(0);
        }
        Some(taken)
    }

    /// Takes the delivery of this tag and all before it, in order; nothing unless the tag itself
    /// is there.
    pub fn take_through(&mut self, tag: u64) -> Option<UnackedList> {
        let (index, slot) = self.find(tag)?;
        self.chunks[index].slots[slot].1.as_ref()?;
        let mut chunks: VecDeque<_> = self.chunks.drain(..index).collect();
        if let Some(first) = self.chunks.front_mut() {
            let slots: VecDeque<_> = first.slots.drain(..=slot).collect();
            let live = slots.iter().filter(|(_, delivery)| delivery.is_some()).count();
            first.live -= live;
            if first.live == 0 {
                self.chunks.pop_front();
            } else {
                first.sweep();
            }
            chunks.push_back(Chunk { slots, live });
        }
        let live = chunks.iter().map(|chunk| chunk.live).sum();
        self.live -= live;
        Some(UnackedList { chunks, live, spare: VecDeque::new() })
    }

    /// Takes all.
    pub fn take_all(&mut self) -> UnackedList {
        std::mem::take(self)
    }

    /// Puts deliveries that were taken back to their places.
    pub fn put_back(&mut self, mut deliveries: UnackedList) {
        // why: what lies before all others, as after a rollback, goes in chunk by chunk.
        while let Some(chunk) = deliveries.chunks.pop_back() {
            deliveries.live -= chunk.live;
            let is_before = self.first_tag().is_none_or(|first| chunk.last_tag() < Some(first));
            let first =
                self.chunks.front_mut().filter(|it| it.slots.len() + chunk.slots.len() <= CHUNK);
            match (is_before, first) {
                (true, Some(first)) => {
                    self.live += chunk.live;
                    first.live += chunk.live;
                    for slot in chunk.slots.into_iter().rev() {
                        first.slots.push_front(slot);
                    }
                }
                (true, None) => {
                    self.live += chunk.live;
                    self.chunks.push_front(chunk);
                }
                (false, _) => {
                    for (tag, delivery) in chunk.slots.into_iter().filter_map(present) {
                        self.put_one_back(tag, delivery);
                    }
                }
            }
        }
    }

    /// All of them, in order, with their tags.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Unacked)> {
        self.iter_from(0)
    }

    /// Those of a tag or a higher one, in order, with their tags.
    pub fn iter_from(&self, tag: u64) -> impl Iterator<Item = (u64, &Unacked)> {
        let index = self.chunk_of(tag);
        let slots = self.chunks.iter().skip(index).flat_map(|chunk| &chunk.slots);
        let live = slots.filter_map(|(tag, delivery)| Some((*tag, delivery.as_ref()?)));
        live.skip_while(move |(at, _)| *at < tag)
    }

    fn put_one_back(&mut self, tag: u64, delivery: Unacked) {
        self.live += 1;
        let index = self.chunk_of(tag);
        let Some(chunk) = self.chunks.get_mut(index) else {
            self.chunks.push_back(Chunk::of(tag, delivery));
            return;
        };
        match chunk.slots.binary_search_by_key(&tag, |(tag, _)| *tag) {
            Ok(slot) => chunk.slots[slot].1 = Some(delivery),
            Err(slot) => chunk.slots.insert(slot, (tag, Some(delivery))),
        }
        chunk.live += 1;
        if chunk.slots.len() > 2 * CHUNK {
            chunk.slots.retain(|(_, delivery)| delivery.is_some());
            let slots = chunk.slots.split_off(chunk.slots.len() / 2);
            let live = slots.len();
            chunk.live -= live;
            self.chunks.insert(index + 1, Chunk { slots, live });
        }
    }

    /// The chunk that a tag is in, if it is in any.
    fn chunk_of(&self, tag: u64) -> usize {
        match self.chunks.front() {
            Some(first) if first.last_tag() >= Some(tag) => 0,
            _ => self
                .chunks
                .partition_point(|chunk| chunk.first_tag() <= Some(tag))
                .saturating_sub(1),
        }
    }

    fn find(&self, tag: u64) -> Option<(usize, usize)> {
        let index = self.chunk_of(tag);
        let slots = &self.chunks.get(index)?.slots;
        match slots.front() {
            Some((first, _)) if *first == tag => Some((index, 0)),
            _ => Some((index, slots.binary_search_by_key(&tag, |(tag, _)| *tag).ok()?)),
        }
    }

    fn remove_chunk(&mut self, index: usize) {
        // why: the last one stays, empty, so that a channel with a message or two needs no allocation each
        // time.
        if self.chunks.len() == 1 && self.chunks[index].slots.capacity() <= CHUNK {
            self.chunks[index].slots.clear();
            self.chunks[index].live = 0;
            self.spare = VecDeque::new();
        } else if let Some(Chunk { mut slots, .. }) = self.chunks.remove(index) {
            slots.clear();
            // why: where a client keeps many deliveries, chunks come and go all the time.
            if slots.capacity() == CHUNK && !self.chunks.is_empty() {
                self.spare = slots;
            }
        }
    }

    fn first_tag(&self) -> Option<u64> {
        self.chunks.front().and_then(Chunk::first_tag)
    }
}

impl Chunk {
    fn of(tag: u64, delivery: Unacked) -> Self {
        Chunk { slots: VecDeque::from([(tag, Some(delivery))]), live: 1 }
    }

    fn push_back(&mut self, tag: u64, delivery: Unacked) {
        self.slots.push_back((tag, Some(delivery)));
        self.live += 1;
    }

    fn first_tag(&self) -> Option<u64> {
        self.slots.front().map(|(tag, _)| *tag)
    }

    fn last_tag(&self) -> Option<u64> {
        self.slots.back().map(|(tag, _)| *tag)
    }

    fn sweep(&mut self) {
        while let Some((_, None)) = self.slots.front() {
            self.slots.pop_front();
        }
        const FEW: usize = 16;
        if self.slots.len() > FEW + 2 * self.live {
            self.slots.retain(|(_, delivery)| delivery.is_some());
        }
    }
}

fn present((tag, delivery): (u64, Option<Unacked>)) -> Option<(u64, Unacked)> {
    Some((tag, delivery?))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use leveret_codec::{Properties, ShortStr};
    use proptest::prelude::*;

    use super::*;
    use crate::broker::message::Message;

    fn list(tags: impl IntoIterator<Item = u64>) -> UnackedList {
        let mut list = UnackedList::default();
        for tag in tags {
            list.push(tag, delivery(tag));
        }
        list
    }

    fn delivery(position: u64) -> Unacked {
        let message = Message::new(ShortStr::EMPTY, ShortStr::EMPTY, Properties::EMPTY, b"");
        Unacked {
            queue: QueueId::dangling(),
            consumer: None,
            entry: Entry {
                message,
                position,
                expires_at: Time::NEVER,
                returns: 0,
                priority: 0,
                redelivered: false,
                recorded: false,
                paged: false,
            },
            delivered_at: Time::EPOCH,
        }
    }

    fn tags(list: &UnackedList) -> Vec<u64> {
        list.iter().map(|(tag, _)| tag).collect()
    }

    #[test]
    fn tags_with_gaps_are_found_once() {
        let mut list = list([1, 3, 4, 9]);
        assert!(list.take(2).is_none());
        assert!(list.take(4).is_some());
        assert!(list.take(4).is_none());
        assert_eq!(tags(&list), [1, 3, 9]);
        assert!(list.take_through(4).is_none(), "the tag itself must be there");
        assert_eq!(list.take_through(3).map(|taken| tags(&taken)), Some(vec![1, 3]));
        assert_eq!(tags(&list), [9]);
        assert_eq!(list.take_all().len(), 1);
        assert!(list.is_empty());
    }

    #[test]
    fn one_that_is_put_back_is_found_at_its_place() {
        let mut list = list([1, 2, 3, 4]);
        let taken = list.take_through(3).expect("3 is there");
        list.put_back(taken);
        assert_eq!(tags(&list), [1, 2, 3, 4]);
        let mut taken = UnackedList::default();
        taken.push(2, list.take(2).expect("2 is there"));
        list.put_back(taken);
        assert_eq!(tags(&list), [1, 2, 3, 4]);
        assert_eq!(list.len(), 4);
    }

    #[test]
    fn one_that_is_never_acknowledged_holds_no_holes() {
        let mut list = list(1..=1);
        for tag in 2..10_000 {
            list.push(tag, delivery(tag));
            assert!(list.take(tag).is_some());
        }
        assert_eq!(list.len(), 1);
        let slots: usize = list.chunks.iter().map(|chunk| chunk.slots.len()).sum();
        assert!(slots < 50, "{slots} slots");
    }

    /// What is done to a list of tags; numbers are places among those that are there.
    #[derive(Clone, Debug)]
    enum Step {
        Push(usize),
        Take(usize),
        TakeThrough(usize),
        PopThrough(usize),
        PopFront,
        Hold(usize),
        HoldThrough(usize),
        PutBack,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (1_usize..700).prop_map(Step::Push),
            (0_usize..3000).prop_map(Step::Take),
            (0_usize..3000).prop_map(Step::TakeThrough),
            (0_usize..3000).prop_map(Step::PopThrough),
            Just(Step::PopFront),
            (0_usize..3000).prop_map(Step::Hold),
            (0_usize..3000).prop_map(Step::HoldThrough),
            Just(Step::PutBack),
        ]
    }

    proptest! {
        #[test]
        fn it_is_a_sorted_map(steps in prop::collection::vec(step(), 0..60)) {
            let (mut list, mut model) = (UnackedList::default(), BTreeSet::new());
            let (mut held, mut held_model) = (Vec::new(), BTreeSet::new());
            let mut last = 0;
            for step in steps {
                let nth = |place: usize| model.iter().copied().nth(place);
                match step {
                    Step::Push(count) => {
                        for _ in 0..count {
                            last += 1;
                            list.push(last, delivery(last));
                            model.insert(last);
                        }
                    }
                    Step::Take(place) => {
                        let tag = nth(place).unwrap_or(last + 1);
                        prop_assert_eq!(list.take(tag).is_some(), model.remove(&tag));
                    }
                    Step::TakeThrough(place) => {
                        let Some(tag) = nth(place) else { continue };
                        let rest = model.split_off(&(tag + 1));
                        let taken = list.take_through(tag).expect("it is there");
                        prop_assert_eq!(tags(&taken), Vec::from_iter(model));
                        model = rest;
                    }
                    Step::PopThrough(place) => {
                        let tag = nth(place).unwrap_or(last + 1);
                        let count = list.count_through(tag);
                        let rest = model.split_off(&(tag + 1));
                        prop_assert_eq!(count.is_some(), model.contains(&tag));
                        prop_assert!(count.is_none_or(|count| count >= model.len()));
                        let popped = std::iter::from_fn(|| list.pop_through(tag));
                        let popped: Vec<_> = popped.map(|it| it.entry.position).collect();
                        prop_assert_eq!(popped, Vec::from_iter(model));
                        model = rest;
                    }
                    Step::PopFront => {
                        let popped = list.pop_front().map(|(tag, _)| tag);
                        prop_assert_eq!(popped, model.pop_first());
                    }
                    Step::Hold(place) => {
                        let Some(tag) = nth(place) else { continue };
                        let mut one = UnackedList::default();
                        one.push(tag, list.take(tag).expect("it is there"));
                        held.push(one);
                        model.remove(&tag);
                        held_model.insert(tag);
                    }
                    Step::HoldThrough(place) => {
                        let Some(tag) = nth(place) else { continue };
                        let rest = model.split_off(&(tag + 1));
                        held.push(list.take_through(tag).expect("it is there"));
                        held_model.append(&mut model);
                        model = rest;
                    }
                    Step::PutBack => {
                        for deliveries in held.drain(..).rev() {
                            list.put_back(deliveries);
                        }
                        model.append(&mut held_model);
                    }
                }
                prop_assert_eq!(list.len(), model.len());
                prop_assert_eq!(tags(&list), Vec::from_iter(model.iter().copied()));
                let from = last / 2;
                let behind: Vec<_> = list.iter_from(from).map(|(tag, _)| tag).collect();
                prop_assert_eq!(behind, Vec::from_iter(model.range(from..).copied()));
                let counts = list.chunks.iter().map(|it| (it.live, it.slots.iter().flat_map(|(_, it)| it).count()));
                for (live, counted) in counts {
                    prop_assert_eq!(live, counted);
                }
            }
        }
    }
}
