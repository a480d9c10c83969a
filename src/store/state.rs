//! What the store keeps in memory: the definitions, and of each queue which of its positions are
//! where. It holds no message.
//!
//! Records change it once they are synced, and replaying the log changes it the same way, so that
//! it always says what a restart would find.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use leveret_codec::ShortString;

use crate::broker::record::{
    BindingDefinition, BoundTo, DurableQueueId, ExchangeDefinition, Position, QueueDefinition,
    Record,
};

use super::range_set::RangeSet;
use super::segment::Segment;

/// The durable part of a virtual host, without its messages.
#[derive(Debug, Default)]
pub(super) struct State {
    exchanges: BTreeMap<ShortString, (Rank, ExchangeDefinition)>,
    pub(super) queues: BTreeMap<DurableQueueId, Queue>,
    bindings: BTreeMap<BoundTo, BTreeMap<BindingDefinition, Rank>>,
    last_rank: Rank,
    pub(super) last_queue_id: DurableQueueId,
    /// The queues, also deleted ones, that have a directory.
    pub(super) directories: BTreeSet<DurableQueueId>,
    /// Deleted queues whose directory is still to be removed.
    pub(super) doomed: BTreeSet<DurableQueueId>,
    /// How many bytes the segments have in which nothing lives any more.
    pub(super) dead_bytes: u64,
}

/// The place of a definition in the order in which they were made.
type Rank = u64;

/// What is known of a queue.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) definition: QueueDefinition,
    /// The positions whose messages live in the log.
    pub(super) live: RangeSet,
    /// For each log file that has messages of the queue, the highest position of them.
    marks: VecDeque<(u64, Position)>,
    pub(super) last_position: Position,
    /// Up to where was delivered, by priority, sorted.
    pub(super) delivered: Vec<(u8, Position)>,
    pub(super) segments: VecDeque<Segment>,
}

impl State {
    /// Notes a record that is in the log file with this number.
    pub(super) fn apply(&mut self, record: &Record, log_file: u64) {
        match record {
            Record::ExchangeDeclared(exchange) => self.declare_exchange(exchange),
            Record::ExchangeDeleted { name } => self.delete_exchange(name),
            Record::QueueDeclared(queue) => self.declare_queue(queue),
            Record::QueueDeleted { id } => self.delete_queue(*id),
            Record::Bound(binding) => self.bind(binding),
            Record::Unbound(binding) => self.unbind(binding),
            Record::Enqueued { placements, .. } => {
                for placement in placements {
                    if let Some(queue) = self.queues.get_mut(&placement.queue) {
                        queue.enqueue(placement.position, log_file);
                    }
                }
            }
            Record::Settled { queue, first, last } => {
                if let Some(queue) = self.queues.get_mut(queue) {
                    self.dead_bytes += queue.settle(*first, *last);
                }
            }
            Record::Delivered { queue, priority, position } => {
                if let Some(queue) = self.queues.get_mut(queue) {
                    queue.deliver(*priority, *position);
                }
            }
            Record::Returned { .. } => {}
        }
    }

    fn next_rank(&mut self) -> Rank {
        self.last_rank += 1;
        self.last_rank
    }

    fn declare_exchange(&mut self, exchange: &ExchangeDefinition) {
        let rank = self.next_rank();
        self.exchanges.entry(exchange.name.clone()).or_insert_with(|| (rank, exchange.clone())).1 =
            exchange.clone();
    }

    fn delete_exchange(&mut self, name: &ShortString) {
        self.exchanges.remove(name);
        self.bindings.remove(&BoundTo::Exchange(name.clone()));
        self.bindings.retain(|_, bindings| {
            bindings.retain(|binding, _| binding.source != *name);
            !bindings.is_empty()
        });
    }

    fn declare_queue(&mut self, definition: &QueueDefinition) {
        self.last_queue_id = self.last_queue_id.max(definition.id);
        self.queues.entry(definition.id).or_insert_with(|| Queue::new(definition.clone()));
    }

    fn delete_queue(&mut self, id: DurableQueueId) {
        self.queues.remove(&id);
        self.bindings.remove(&BoundTo::Queue(id));
        if self.directories.contains(&id) {
            self.doomed.insert(id);
        }
    }

    fn bind(&mut self, binding: &BindingDefinition) {
        let rank = self.next_rank();
        let bindings = self.bindings.entry(binding.destination.clone()).or_default();
        bindings.entry(binding.clone()).or_insert(rank);
    }

    fn unbind(&mut self, binding: &BindingDefinition) {
        if let Some(bindings) = self.bindings.get_mut(&binding.destination) {
            bindings.remove(binding);
            if bindings.is_empty() {
                self.bindings.remove(&binding.destination);
            }
        }
    }

    /// The exchanges in the order of their declaration.
    pub(super) fn exchanges(&self) -> Vec<&ExchangeDefinition> {
        in_order(self.exchanges.values())
    }

    /// The bindings in the order they were made.
    pub(super) fn bindings(&self) -> Vec<&BindingDefinition> {
        let mut bindings: Vec<_> = self.bindings.values().flatten().collect();
        bindings.sort_unstable_by_key(|(_, rank)| **rank);
        bindings.into_iter().map(|(binding, _)| binding).collect()
    }

    /// Whether a message lives in the log file, which is the oldest.
    pub(super) fn lives_in(&self, log_file: u64) -> bool {
        self.queues.values().any(|queue| match (queue.marks.front(), queue.live.first()) {
            (Some(&(number, highest)), Some(first)) => number == log_file && first <= highest,
            _ => false,
        })
    }

    /// Forgets a log file, which is the oldest and from which everything live was moved.
    pub(super) fn forget_log_file(&mut self, log_file: u64) {
        for queue in self.queues.values_mut() {
            while queue.marks.front().is_some_and(|&(number, _)| number <= log_file) {
                queue.marks.pop_front();
            }
        }
    }

    /// Takes out the segments in which nothing lives any more and returns their files.
    pub(super) fn take_dead_segments(&mut self) -> Vec<String> {
        let mut paths = Vec::new();
        for (&id, queue) in &mut self.queues {
            queue.segments.retain(|segment| {
                if segment.live() > 0 {
                    return true;
                }
                paths.push(segment.messages_path(id));
                if segment.settled_length > 0 {
                    paths.push(segment.settled_path(id));
                }
                false
            });
        }
        self.dead_bytes = 0;
        paths
    }
}

fn in_order<'a, T: 'a>(ranked: impl Iterator<Item = &'a (Rank, T)>) -> Vec<&'a T> {
    let mut ranked: Vec<_> = ranked.collect();
    ranked.sort_unstable_by_key(|(rank, _)| *rank);
    ranked.into_iter().map(|(_, value)| value).collect()
}

impl Queue {
    pub(super) fn new(definition: QueueDefinition) -> Self {
        Queue {
            definition,
            live: RangeSet::default(),
            marks: VecDeque::new(),
            last_position: 0,
            delivered: Vec::new(),
            segments: VecDeque::new(),
        }
    }

    fn enqueue(&mut self, position: Position, log_file: u64) {
        self.live.insert(position, position);
        self.last_position = self.last_position.max(position);
        match self.marks.back_mut() {
            Some((number, highest)) if *number == log_file => *highest = position.max(*highest),
            _ => self.marks.push_back((log_file, position)),
        }
    }

    /// Notes that positions are done with; returns how many bytes the segments have in which
    /// nothing lives since.
    fn settle(&mut self, first: Position, last: Position) -> u64 {
        self.live.remove(first, last);
        // Positions of transient messages are settled too, and must not be given again.
        self.last_position = self.last_position.max(last);
        let mut died = 0;
        let start = self.segments.partition_point(|segment| segment.last < first);
        for segment in self.segments.range_mut(start..) {
            if segment.first > last {
                break;
            }
            let changed = segment.settle(first.max(segment.first), last.min(segment.last));
            if changed > 0 && segment.live() == 0 {
                died += segment.length;
            }
        }
        died
    }

    pub(super) fn deliver(&mut self, priority: u8, position: Position) {
        self.last_position = self.last_position.max(position);
        match self.delivered.binary_search_by_key(&priority, |&(priority, _)| priority) {
            Ok(index) => {
                let mark = &mut self.delivered[index].1;
                *mark = position.max(*mark);
            }
            Err(index) => self.delivered.insert(index, (priority, position)),
        }
    }
}
