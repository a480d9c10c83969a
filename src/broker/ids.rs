//! What refers to what: the ids of everything that a virtual host owns, and of what its store keeps.
//!
//! why: queues, channels and consumers refer to each other in circles. An id costs eight bytes,
//! is copied freely, and one that outlived its object finds nothing instead of something else,
//! because each place counts how often it was given away. They stand here together, apart from what they
//! refer to, so that the nouns need not know each other.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;

/// What ids refer to: names for the type parameter of [`Id`], without values.
pub mod kind {
    /// A connection of a virtual host.
    #[derive(Clone, Copy, Debug)]
    pub enum Connection {}
    /// A channel.
    #[derive(Clone, Copy, Debug)]
    pub enum Channel {}
    /// A consumer.
    #[derive(Clone, Copy, Debug)]
    pub enum Consumer {}
    /// A queue.
    #[derive(Clone, Copy, Debug)]
    pub enum Queue {}
    /// An exchange.
    #[derive(Clone, Copy, Debug)]
    pub enum Exchange {}
}

/// Refers to a connection of a virtual host.
pub type ConnectionId = Id<kind::Connection>;
/// Refers to a channel of a virtual host.
pub type ChannelId = Id<kind::Channel>;
/// Refers to a consumer of a virtual host.
pub type ConsumerId = Id<kind::Consumer>;
/// Refers to a queue of a virtual host.
pub type QueueId = Id<kind::Queue>;
/// Refers to an exchange of a virtual host.
pub type ExchangeId = Id<kind::Exchange>;

/// The place of a record in the core's order, counted from 1. A confirm waits for its record's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

/// Identifies a durable queue for ever; a queue declared again under the same name has another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DurableQueueId(pub u64);

/// The place of a message in its queue: rises by one with each message enqueued there, whether
/// durable or not, and is kept when the message is requeued.
pub type Position = u64;

/// Refers to an object of the kind `K` in an [`Arena`](super::arena::Arena).
pub struct Id<K> {
    index: u32,
    generation: u32,
    of: PhantomData<fn() -> K>,
}

impl<K> Id<K> {
    pub(super) fn new(index: u32, generation: u32) -> Self {
        Id { index, generation, of: PhantomData }
    }

    /// The place in the arena; reused by later objects once this one is gone.
    pub fn index(self) -> usize {
        self.index as usize
    }

    /// The number of its insertion among all of its kind: of two objects, the older one has the lower,
    /// until the numbers begin again.
    pub fn generation(self) -> u32 {
        self.generation
    }

    /// An id that nothing ever has.
    #[cfg(test)]
    pub(crate) fn dangling() -> Self {
        Id::numbered(u32::MAX)
    }

    /// One of many ids that nothing ever has.
    #[cfg(test)]
    pub(crate) fn numbered(index: u32) -> Self {
        Id::new(index, 0)
    }

    fn parts(self) -> (u32, u32) {
        (self.index, self.generation)
    }
}

impl<K> Clone for Id<K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K> Copy for Id<K> {}

impl<K> PartialEq for Id<K> {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl<K> Eq for Id<K> {}

impl<K> PartialOrd for Id<K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<K> Ord for Id<K> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.parts().cmp(&other.parts())
    }
}

impl<K> Hash for Id<K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

impl<K> fmt::Debug for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index, self.generation)
    }
}
