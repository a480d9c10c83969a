//! What the store keeps in memory: the definitions, and of each queue which of its positions are
//! where. It holds no message.
//!
//! Records change it once they are synced, and replaying the log changes it the same way, so that
//! it always says what a restart would find; and beside that, where the messages are that go with
//! the process.
//!
//! invariant: a position that lives, lives in one place: in the log, or in one segment.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use leveret_codec::ShortString;

use crate::broker::paging::PageOwner;
use crate::broker::record::{
    BindingDefinition, BoundTo, DurableQueueId, ExchangeDefinition, Position, QueueDefinition,
    Record,
};

use super::segment::{Kind, Segment, SegmentKey};
use super::segment_set::{SegmentSet, Waste};
use crate::broker::range_set::RangeSet;

/// The durable part of a virtual host, without its messages.
#[derive(Debug, Default)]
pub(super) struct State {
    exchanges: BTreeMap<ShortString, (Rank, ExchangeDefinition)>,
    // why: boxed, since ids rise and leave the nodes of the tree half empty.
    pub(super) queues: BTreeMap<DurableQueueId, Box<Queue>>,
    bindings: BTreeMap<BoundTo, BTreeMap<BindingDefinition, Rank>>,
    last_rank: Rank,
    pub(super) last_queue_id: DurableQueueId,
    /// The queues, also deleted ones, that have a directory.
    pub(super) directories: BTreeSet<DurableQueueId>,
    /// Deleted queues whose directory is still to be removed.
    pub(super) doomed: BTreeSet<DurableQueueId>,
    /// What durable segments take up for little or nothing.
    waste: Waste,
    /// What transient segments take up so.
    pages_waste: Waste,
    /// The transient segments of queues that are not durable.
    transient: BTreeMap<u64, SegmentSet>,
    /// Transient segments in which nothing lives, to be removed.
    pub(super) dead_pages: Vec<(PageOwner, u64)>,
    /// Those whose transient segments are all to be removed.
    pub(super) forgotten: BTreeSet<PageOwner>,
    /// Those that had segments of a kind and may have none any more, but a directory.
    pub(super) emptied: BTreeSet<(PageOwner, Kind)>,
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
    /// How often messages that live have come back.
    pub(super) returns: BTreeMap<Position, u32>,
    /// Where durable messages are that are not in the log.
    pub(super) segments: SegmentSet,
    /// Where messages are that no record speaks of.
    pub(super) pages: SegmentSet,
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
            Record::Settled { queue, first, last, .. } => {
                self.change(*queue, |queue| queue.settle(*first, *last));
            }
            Record::Delivered { queue, priority, position } => {
                if let Some(queue) = self.queues.get_mut(queue) {
                    queue.deliver(*priority, *position);
                }
            }
            Record::Returned { queue, first, last, returns } => {
                if let Some(queue) = self.queues.get_mut(queue) {
                    queue.note_returns(*first, *last, *returns);
                }
            }
        }
    }

    /// Does something with a queue that may make its segments waste more or less.
    pub(super) fn change<T>(
        &mut self,
        id: DurableQueueId,
        act: impl FnOnce(&mut Queue) -> T,
    ) -> Option<T> {
        let queue = self.queues.get_mut(&id)?;
        let (before, pages_before) = (queue.segments.waste(), queue.pages.waste());
        let result = act(queue);
        self.waste.change(before, queue.segments.waste());
        self.pages_waste.change(pages_before, queue.pages.waste());
        Some(result)
    }

    /// Counts that anew, after segments were changed directly.
    pub(super) fn recount_waste(&mut self) {
        self.waste = Waste::default();
        for queue in self.queues.values_mut() {
            queue.segments.recount();
            self.waste.change(Waste::default(), queue.segments.waste());
        }
    }

    /// What segments of a kind take up for little or nothing.
    pub(super) fn waste(&self, kind: Kind) -> Waste {
        match kind {
            Kind::Durable => self.waste,
            Kind::Transient => self.pages_waste,
        }
    }

    /// Does something with the segments of a kind that a queue has, if it is there.
    pub(super) fn with_segments<T>(
        &mut self,
        owner: PageOwner,
        kind: Kind,
        act: impl FnOnce(&mut SegmentSet) -> T,
    ) -> Option<T> {
        match (owner, kind) {
            (PageOwner::Durable(id), Kind::Durable) => {
                self.change(id, |queue| act(&mut queue.segments))
            }
            (PageOwner::Durable(id), Kind::Transient) => {
                self.change(id, |queue| act(&mut queue.pages))
            }
            (PageOwner::Transient(_), Kind::Durable) => None,
            (PageOwner::Transient(number), Kind::Transient) => {
                let pages = self.transient.get_mut(&number)?;
                let before = pages.waste();
                let result = act(pages);
                self.pages_waste.change(before, pages.waste());
                Some(result)
            }
        }
    }

    /// Closes the segments of a kind in which too little lives to keep them for it, and says which.
    pub(super) fn close_sparse(&mut self, kind: Kind) -> Vec<(PageOwner, SegmentKey)> {
        let durable = self.queues.iter_mut().map(|(&id, queue)| {
            let set = match kind {
                Kind::Durable => &mut queue.segments,
                Kind::Transient => &mut queue.pages,
            };
            (PageOwner::Durable(id), set)
        });
        let transient = self.transient.iter_mut().filter(|_| kind == Kind::Transient);
        let transient = transient.map(|(&number, set)| (PageOwner::Transient(number), set));
        let wasting = durable.chain(transient).filter(|(_, set)| set.waste() != Waste::default());
        let sparse = |(owner, set): (PageOwner, &mut SegmentSet)| {
            set.close_sparse().into_iter().map(move |key| (owner, key))
        };
        wasting.flat_map(sparse).collect()
    }

    /// Brings a queue into being that is not durable, if it is none that there is.
    pub(super) fn know_pages(&mut self, owner: PageOwner) {
        if let PageOwner::Transient(number) = owner {
            self.transient.entry(number).or_insert_with(|| SegmentSet::new(Kind::Transient));
        }
    }

    /// Does something with a segment, if it is there.
    pub(super) fn with_segment<T>(
        &mut self,
        owner: PageOwner,
        kind: Kind,
        key: SegmentKey,
        act: impl FnOnce(&mut Segment) -> T,
    ) -> Option<T> {
        self.with_segments(owner, kind, |set| set.change(key, act)).flatten()
    }

    /// What the operator knows a queue by.
    pub(super) fn name(&self, owner: PageOwner) -> Arc<str> {
        match owner {
            PageOwner::Durable(id) => self.queues.get(&id).map_or("".into(), |queue| queue.name()),
            PageOwner::Transient(_) => "".into(),
        }
    }

    /// Notes that a message lives in a segment now.
    pub(super) fn leave_log(&mut self, id: DurableQueueId, position: Position) {
        if let Some(queue) = self.queues.get_mut(&id) {
            queue.live.remove(position, position);
        }
    }

    /// Notes that a message lives in the log after all.
    pub(super) fn return_to_log(&mut self, id: DurableQueueId, position: Position) {
        if let Some(queue) = self.queues.get_mut(&id) {
            queue.live.insert(position, position);
        }
    }

    /// Whether a commit would let a segment go.
    pub(super) fn has_dead_segments(&self) -> bool {
        self.waste.dead > 0
    }

    /// Whether a queue that is there has no segments of a kind.
    pub(super) fn is_empty(&mut self, owner: PageOwner, kind: Kind) -> bool {
        self.with_segments(owner, kind, |set| set.is_empty()).unwrap_or(false)
    }

    /// Takes out the transient segments of a queue in which nothing lives.
    pub(super) fn bury_pages(&mut self, owner: PageOwner) {
        let dead = self.with_segments(owner, Kind::Transient, SegmentSet::take_dead);
        let dead = dead.unwrap_or_default();
        if dead.is_empty() {
            return;
        }
        if self.is_empty(owner, Kind::Transient) {
            self.emptied.insert((owner, Kind::Transient));
        }
        self.dead_pages.extend(dead.iter().map(|segment| (owner, segment.number)));
    }

    /// Forgets a queue that is not durable.
    pub(super) fn forget_pages(&mut self, number: u64) {
        if let Some(pages) = self.transient.remove(&number) {
            self.pages_waste.change(pages.waste(), Waste::default());
            self.forgotten.insert(PageOwner::Transient(number));
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
        self.queues
            .entry(definition.id)
            .or_insert_with(|| Box::new(Queue::new(definition.clone())));
    }

    fn delete_queue(&mut self, id: DurableQueueId) {
        if let Some(queue) = self.queues.remove(&id) {
            self.waste.change(queue.segments.waste(), Waste::default());
            self.pages_waste.change(queue.pages.waste(), Waste::default());
            if queue.pages.was_used() {
                self.forgotten.insert(PageOwner::Durable(id));
            }
        }
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
        self.living_in(log_file, None).next().is_some()
    }

    /// The queues behind one, or all, with messages that live in the log file, which is the oldest.
    pub(super) fn living_in(
        &self,
        log_file: u64,
        after: Option<DurableQueueId>,
    ) -> impl Iterator<Item = DurableQueueId> + '_ {
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let queues = self.queues.range((after, Bound::Unbounded));
        queues.filter(move |(_, queue)| queue.lives_in(log_file)).map(|(&id, _)| id)
    }

    /// Forgets a log file, which is the oldest and from which everything live was moved.
    pub(super) fn forget_log_file(&mut self, log_file: u64) {
        for queue in self.queues.values_mut() {
            while queue.marks.front().is_some_and(|&(number, _)| number <= log_file) {
                queue.marks.pop_front();
            }
        }
    }

    /// Takes out the durable segments in which nothing lives any more.
    pub(super) fn take_dead_segments(&mut self) -> Vec<(DurableQueueId, Segment)> {
        let mut dead = Vec::new();
        for (&id, queue) in &mut self.queues {
            let before = queue.segments.waste();
            if before.dead > 0 {
                dead.extend(queue.segments.take_dead().into_iter().map(|segment| (id, segment)));
                self.waste.change(before, queue.segments.waste());
                if queue.segments.is_empty() {
                    self.emptied.insert((PageOwner::Durable(id), Kind::Durable));
                }
            }
        }
        dead
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
            returns: BTreeMap::new(),
            segments: SegmentSet::new(Kind::Durable),
            pages: SegmentSet::new(Kind::Transient),
        }
    }

    /// What the operator knows it by.
    pub(super) fn name(&self) -> Arc<str> {
        String::from_utf8_lossy(self.definition.name.as_bytes()).into()
    }

    /// Whether a message of it lives in the log file, which is the oldest.
    fn lives_in(&self, log_file: u64) -> bool {
        match (self.marks.front(), self.live.first()) {
            (Some(&(number, highest)), Some(first)) => number == log_file && first <= highest,
            _ => false,
        }
    }

    /// Notes a message that is in the log, unless it lives in a segment too.
    pub(super) fn enqueue(&mut self, position: Position, log_file: u64) {
        self.last_position = self.last_position.max(position);
        // A log file outlives what was paged out from it, and is replayed.
        if self.segments.holds(position) {
            return;
        }
        self.live.insert(position, position);
        match self.marks.back_mut() {
            Some((number, highest)) if *number == log_file => *highest = position.max(*highest),
            _ => self.marks.push_back((log_file, position)),
        }
    }

    fn settle(&mut self, first: Position, last: Position) {
        self.live.remove(first, last);
        // Positions of transient messages are settled too, and must not be given again.
        self.last_position = self.last_position.max(last);
        self.segments.settle(first, last);
        if first == last {
            self.returns.remove(&first);
        } else if !self.returns.is_empty() && first < last {
            self.returns.extract_if(first..=last, |_, _| true).for_each(drop);
        }
    }

    /// Forgets how often messages came back that turned out not to be there.
    pub(super) fn forget_returns_of_the_lost(&mut self) {
        let Queue { returns, live, segments, .. } = self;
        returns.retain(|&position, _| live.contains(position) || segments.holds(position));
    }

    fn note_returns(&mut self, first: Position, last: Position, returns: u32) {
        // why: a message that gets a position of this record later would have these returns after a replay.
        self.last_position = self.last_position.max(last);
        let mut positions = self.segments.living(first, last);
        positions.extend(self.live.within(first, last));
        self.returns.extend(positions.into_iter().map(|position| (position, returns)));
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
