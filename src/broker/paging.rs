//! What of a queue is on the disk alone, and how the core and the store talk about it.
//!
//! A backlog costs no memory that grows with it: of a long queue the core holds the messages at its
//! head, which go next, and the latest at its end; those between are its cold part, of which it knows
//! no more than the set of their positions and how many there are. What is to become cold goes
//! out as [`PageOrder::Out`]; what is wanted back is asked for with [`PageOrder::In`] and comes as a
//! [`Page`].
//!
//! Orders are handed to the store in the core's order, and behind every record that was made before
//! them.

use super::ids::{DurableQueueId, Position};
use super::message::Message;
use super::time::Time;

/// Whose messages a page holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PageOwner {
    /// A durable queue.
    Durable(DurableQueueId),
    /// A queue that goes with this process; its pages do too. The number is given once in the life
    /// of a process.
    Transient(u64),
}

/// Something the core asks of the store that is no change to what is durable.
#[derive(Clone, Debug, PartialEq)]
pub enum PageOrder {
    /// Messages that the core holds no longer, by position; it may have had some of them from the disk.
    Out {
        /// The queue.
        owner: PageOwner,
        /// The messages; not empty.
        messages: Vec<PagedMessage>,
    },
    /// The messages from one position to another, themselves included, are wanted back; the answer is
    /// a [`Page`]. There is one such order for a queue at a time.
    In {
        /// The queue.
        owner: PageOwner,
        /// Where to begin.
        first: Position,
        /// The end of what is wanted.
        last: Position,
        /// About how much is wanted at once, in octets; one message at least is given.
        octets: usize,
    },
    /// Messages that were paged out and that no record speaks of are done with, all in the range.
    /// invariant: between the first and the last lies no message that lives.
    Done {
        /// The queue.
        owner: PageOwner,
        /// The first position.
        first: Position,
        /// The last position, itself included.
        last: Position,
    },
    /// A queue that goes with this process is deleted.
    Forget {
        /// Its number.
        queue: u64,
    },
}

/// Where the store keeps a message, to be told when it is done with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// A record speaks of it.
    Recorded {
        /// The queue.
        queue: DurableQueueId,
        /// Its place there.
        position: Position,
    },
    /// It was paged out, and goes with this process.
    Paged {
        /// The queue.
        owner: PageOwner,
        /// Its place there.
        position: Position,
    },
}

/// A message on its way to the disk or back.
#[derive(Clone, Debug, PartialEq)]
pub struct PagedMessage {
    /// Its place in the queue.
    pub position: Position,
    /// When it expires, if it does.
    pub expires_at: Option<Time>,
    /// Whether a record speaks of it: it survives a restart.
    pub recorded: bool,
    /// The message.
    pub message: Message,
}

/// How much memory the messages of a virtual host may take, in octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryShare {
    /// Beyond this, messages that wait go to the disk.
    pub before_paging: u64,
    /// Beyond this, a queue whose deliveries are not acknowledged gets nothing back from the disk.
    pub before_consumers_wait: u64,
    /// All that may be taken. Of what definitions leave of it, half is for messages that wait.
    pub whole: u64,
}

/// What came back from the disk.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// The queue.
    pub owner: PageOwner,
    /// Messages by position, from where the order began.
    pub messages: Vec<PagedMessage>,
    /// Where the next order is to begin; none when everything came that was asked for.
    pub next: Option<Position>,
}

/// The cold part of a queue after a restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cold {
    /// The lowest position in it.
    pub first: Position,
    /// The highest position in it.
    pub last: Position,
    /// How many messages it has.
    pub messages: u64,
    /// Sum of their body sizes, in octets.
    pub octets: u64,
}
