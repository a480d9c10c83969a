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
/// why: clients acknowledge from the front, one by one or many at once, so a deque serves them
/// without a search. One acknowledged out of turn leaves a hole; the holes are swept once they
/// outnumber what is left, so their cost and their number stay bounded.
#[derive(Debug, Default)]
pub struct UnackedList {
    slots: VecDeque<(u64, Option<Unacked>)>,
    live: usize,
}

impl UnackedList {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.live
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Adds a delivery; its tag must be higher than all before.
    pub fn push(&mut self, tag: u64, delivery: Unacked) {
        debug_assert!(self.slots.back().is_none_or(|(last, _)| *last < tag), "tags only rise");
        self.slots.push_back((tag, Some(delivery)));
        self.live += 1;
    }

    /// Takes the delivery of this tag.
    pub fn take(&mut self, tag: u64) -> Option<Unacked> {
        let index = self.index_of(tag)?;
        let delivery = self.slots[index].1.take()?;
        self.live -= 1;
        self.sweep();
        Some(delivery)
    }

    /// Takes the delivery of this tag and all before it, in order; nothing unless the tag itself
    /// is there.
    pub fn take_through(&mut self, tag: u64) -> Option<Vec<(u64, Unacked)>> {
        let index = self.index_of(tag)?;
        self.slots[index].1.as_ref()?;
        let mut taken = Vec::with_capacity(self.live.min(index + 1));
        taken.extend(self.slots.drain(..=index).filter_map(present));
        self.live -= taken.len();
        self.sweep();
        Some(taken)
    }

    /// Takes all, in order.
    pub fn take_all(&mut self) -> Vec<(u64, Unacked)> {
        self.live = 0;
        std::mem::take(&mut self.slots).into_iter().filter_map(present).collect()
    }

    /// Puts deliveries that were taken back to their places.
    ///
    /// why: all at once; each alone would move half of the others.
    pub fn put_back(&mut self, deliveries: impl IntoIterator<Item = (u64, Unacked)>) {
        let kept = std::mem::take(&mut self.slots).into_iter();
        let kept = kept.filter(|(_, delivery)| delivery.is_some());
        let returned = deliveries.into_iter().map(|(tag, delivery)| (tag, Some(delivery)));
        let mut slots: Vec<_> = kept.chain(returned).collect();
        slots.sort_by_key(|(tag, _)| *tag);
        self.live = slots.len();
        self.slots = slots.into();
    }

    /// All of them, in order, with their tags.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Unacked)> {
        self.slots.iter().filter_map(|(tag, delivery)| Some((*tag, delivery.as_ref()?)))
    }

    fn index_of(&self, tag: u64) -> Option<usize> {
        match self.slots.front() {
            Some((first, _)) if *first == tag => Some(0),
            _ => self.slots.binary_search_by_key(&tag, |(tag, _)| *tag).ok(),
        }
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
    use leveret_codec::{Properties, ShortStr};

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
        assert_eq!(list.take_through(3).map(|taken| taken.len()), Some(2));
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
        let two = list.take(2).expect("2 is there");
        list.put_back([(2, two)]);
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
        assert!(list.slots.len() < 50, "{} slots", list.slots.len());
    }
}
