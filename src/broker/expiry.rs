//! Deadlines: what is to be looked at when.
//!
//! A deadline is a hint, never a fact: when it comes, the owner is asked whether its time has
//! really come, and sets the next one.

use std::collections::BTreeSet;

use super::ids::{ConnectionId, ExchangeId, QueueId};
use super::time::Time;

/// Whose time comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deadline {
    /// The message at the head of a queue may expire, or the queue itself.
    Queue(QueueId),
    /// A message that an exchange holds back is due.
    Exchange(ExchangeId),
    /// Deliveries may have waited too long for their acknowledgement.
    Unacked,
    /// A connection was told to close and may not have answered.
    Close(ConnectionId),
    /// There is more to page out.
    Memory,
    /// Work waits for its turn.
    Work,
}

/// Deadlines, soonest first. Each owner has one at most.
#[derive(Debug, Default)]
pub struct Deadlines {
    order: BTreeSet<(Time, Deadline)>,
}

impl Deadlines {
    /// Adds one.
    pub fn add(&mut self, at: Time, deadline: Deadline) {
        self.order.insert((at, deadline));
    }

    /// Takes one out that is not wanted any more.
    pub fn remove(&mut self, at: Time, deadline: Deadline) {
        self.order.remove(&(at, deadline));
    }

    /// When the next one comes.
    pub fn next(&self) -> Option<Time> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Takes one whose time has come.
    pub fn take_due(&mut self, now: Time) -> Option<Deadline> {
        if self.next()? > now {
            return None;
        }
        self.order.pop_first().map(|(_, deadline)| deadline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::ids::Id;

    #[test]
    fn what_is_taken_out_does_not_come_and_the_rest_comes_in_order() {
        let mut deadlines = Deadlines::default();
        let [a, b] = [0, 1].map(|number| Deadline::Queue(Id::numbered(number)));
        let [early, late] = [10, 20].map(Time::from_millis);
        deadlines.add(late, a);
        deadlines.add(early, b);
        deadlines.add(early, a);
        deadlines.remove(early, a);
        assert_eq!(deadlines.next(), Some(early));
        assert_eq!(deadlines.take_due(late), Some(b));
        assert_eq!(deadlines.take_due(early), None, "the other is late");
        assert_eq!(deadlines.take_due(late), Some(a));
        assert_eq!(deadlines.next(), None);
    }
}
