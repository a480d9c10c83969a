//! Deadlines: what is to be looked at when.
//!
//! A deadline is a hint, never a fact: when it comes, the owner is asked whether its time has
//! really come, and sets the next one.

use std::collections::BTreeSet;

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
