//! Deadlines: what is to be looked at when.
//!
//! A deadline is a hint, never a fact: when it comes, the owner is asked whether its time has
//! really come, and sets the next one. So nothing has to be taken out when plans change.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::exchange::ExchangeId;
use super::queue::QueueId;
use super::time::Time;
use super::vhost::ConnectionId;

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
}

/// Deadlines, soonest first.
#[derive(Debug, Default)]
pub struct Deadlines {
    heap: BinaryHeap<Reverse<(Time, Deadline)>>,
}

impl Deadlines {
    /// Adds one.
    pub fn add(&mut self, at: Time, deadline: Deadline) {
        self.heap.push(Reverse((at, deadline)));
    }

    /// When the next one comes.
    pub fn next(&self) -> Option<Time> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes one whose time has come.
    pub fn take_due(&mut self, now: Time) -> Option<Deadline> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse((_, deadline))| deadline)
    }
}
