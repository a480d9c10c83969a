//! All queues of a virtual host, by id and by name, and which of them changed.
//!
//! invariant: whoever changes a queue gets it from [`get_mut`](Queues::get_mut), which lists it among those
//! that changed. So no change can be forgotten by what looks at changed queues at the end of a batch.

use hashbrown::HashMap;
use leveret_codec::ShortString;

use super::arena::Arena;
use super::ids::{QueueId, kind};
use super::queue::Queue;

/// All queues of a virtual host.
#[derive(Default)]
pub struct Queues {
    arena: Arena<kind::Queue, Slot>,
    names: HashMap<ShortString, QueueId>,
    changed: Vec<QueueId>,
    totals: MessageCounts,
    /// What all of them take without messages, in bytes.
    definitions: u64,
}

/// A queue and what is known of it from the end of an earlier batch.
struct Slot {
    queue: Queue,
    /// Whether it stands among those that changed.
    is_changed: bool,
    /// What its messages took when they were measured last, in bytes.
    measured: u64,
    /// How many messages it had when they were measured last.
    counted: MessageCounts,
    /// What it takes without messages, in bytes.
    definition: u64,
}

/// How many messages there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MessageCounts {
    /// Those that wait.
    pub ready: usize,
    /// Those that are delivered and not settled.
    pub unacknowledged: usize,
}

impl MessageCounts {
    fn of(queue: &Queue) -> Self {
        MessageCounts { ready: queue.ready.len(), unacknowledged: queue.unacknowledged }
    }

    /// Puts one part of a sum in the place of another.
    fn replace(&mut self, before: MessageCounts, now: MessageCounts) {
        self.ready = self.ready + now.ready - before.ready;
        self.unacknowledged = self.unacknowledged + now.unacknowledged - before.unacknowledged;
    }
}

/// A change of what the messages of a queue take, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    /// What they took when they were measured before.
    pub before: u64,
    /// What they take now.
    pub now: u64,
    /// How many octets more of them are counted by other queues too.
    pub repeated: i64,
}

impl Queues {
    /// Adds a queue; none of its name may be there.
    pub fn insert(&mut self, queue: Queue) -> QueueId {
        let name = queue.name.clone();
        let definition = queue.definition_weight();
        self.definitions += definition;
        let id = self.arena.insert(Slot {
            queue,
            is_changed: true,
            measured: 0,
            counted: MessageCounts::default(),
            definition,
        });
        self.names.insert(name, id);
        self.changed.push(id);
        id
    }

    /// Takes a queue out, and says what its messages took when they were measured last, in bytes.
    pub fn remove(&mut self, id: QueueId) -> Option<(Queue, u64)> {
        let Slot { queue, measured, counted, definition, .. } = self.arena.remove(id)?;
        self.definitions -= definition;
        self.totals.replace(counted, MessageCounts::default());
        self.names.remove(queue.name.as_bytes());
        Some((queue, measured))
    }

    /// The queue of this name.
    pub fn find(&self, name: &[u8]) -> Option<QueueId> {
        self.names.get(name).copied()
    }

    /// The queue, while it is there.
    pub fn get(&self, id: QueueId) -> Option<&Queue> {
        self.arena.get(id).map(|slot| &slot.queue)
    }

    /// The queue to change, while it is there.
    pub fn get_mut(&mut self, id: QueueId) -> Option<&mut Queue> {
        let slot = self.arena.get_mut(id)?;
        if !std::mem::replace(&mut slot.is_changed, true) {
            self.changed.push(id);
        }
        Some(&mut slot.queue)
    }

    /// Whether the queue is there.
    pub fn contains(&self, id: QueueId) -> bool {
        self.arena.contains(id)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (QueueId, &Queue)> {
        self.arena.iter().map(|(id, slot)| (id, &slot.queue))
    }

    /// The queue at a place, for whoever visits all of them in steps: see [`Arena::at`].
    pub fn at(&self, place: usize) -> Option<(QueueId, &Queue)> {
        self.arena.at(place).map(|(id, slot)| (id, &slot.queue))
    }

    /// Behind the last place there ever was.
    pub fn end(&self) -> usize {
        self.arena.end()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.arena.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.arena.is_empty()
    }

    /// Takes the list of those that changed. Each is to be [`measured`](Queues::measure).
    pub fn take_changed(&mut self) -> Vec<QueueId> {
        std::mem::take(&mut self.changed)
    }

    /// Gives back a list that was taken, for its memory.
    pub fn keep_list(&mut self, mut list: Vec<QueueId>) {
        if self.changed.is_empty() {
            list.clear();
            self.changed = list;
        }
    }

    /// Measures what the messages of a queue take; it counts as unchanged from now on.
    pub fn measure(&mut self, id: QueueId) -> Option<Measured> {
        let slot = self.arena.get_mut(id)?;
        slot.is_changed = false;
        let counted = MessageCounts::of(&slot.queue);
        self.totals.replace(std::mem::replace(&mut slot.counted, counted), counted);
        let now = slot.queue.weight();
        let before = std::mem::replace(&mut slot.measured, now);
        let repeated = slot.queue.take_repeated();
        Some(Measured { before, now, repeated })
    }

    /// How many messages all queues had when they were measured last: after a batch, how many they have.
    pub fn totals(&self) -> MessageCounts {
        self.totals
    }

    /// What all of them take without messages, in bytes.
    pub fn definition_weight(&self) -> u64 {
        self.definitions
    }

    /// Counts everything again, for tests; says what all of them took when they were measured last.
    ///
    /// # Panics
    /// When what a queue takes is not what was measured, though it has not changed since.
    pub fn check(&self) -> u64 {
        let mut sum = 0;
        let mut totals = MessageCounts::default();
        for (_, slot) in self.arena.iter() {
            let queue = &slot.queue;
            queue.ready.check(&queue.name);
            if !slot.is_changed {
                assert_eq!(slot.measured, queue.weight(), "weight of {}", queue.name);
                assert_eq!(slot.counted, MessageCounts::of(queue), "messages of {}", queue.name);
            }
            sum += slot.measured;
            totals.replace(MessageCounts::default(), slot.counted);
        }
        assert_eq!(totals, self.totals, "messages of all queues");
        let definitions: u64 = self.iter().map(|(_, queue)| queue.definition_weight()).sum();
        assert_eq!(definitions, self.definitions, "what all queues take without messages");
        sum
    }
}
