//! What a store should hold, kept the simplest way, and random records that make sense.

use std::collections::BTreeMap;

use leveret_codec::{Properties, ShortStr, ShortString, TableBuf};

use crate::broker::message::Message;
use crate::broker::paging::{Cold, PageOwner, PagedMessage};
use crate::broker::record::{
    BindingDefinition, BoundTo, DurableQueueId, ExchangeDefinition, Lsn, Placement, Position,
    QueueDefinition, Record, Recovered, RecoveredMessage, RecoveredQueue,
};
use crate::broker::time::Time;
use crate::store::Store;

/// A source of numbers that repeats: splitmix64.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    pub(super) fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

#[derive(Clone, Default)]
pub(super) struct Model {
    exchanges: Vec<ExchangeDefinition>,
    pub(super) queues: BTreeMap<DurableQueueId, ModelQueue>,
    bindings: Vec<BindingDefinition>,
    pub(super) last: Lsn,
    last_queue_id: DurableQueueId,
}

#[derive(Clone)]
pub(super) struct ModelQueue {
    definition: QueueDefinition,
    pub(super) messages: BTreeMap<Position, RecoveredMessage>,
    last_position: Position,
    /// The highest position given, also to messages that no record speaks of.
    pub(super) given: Position,
    delivered: BTreeMap<u8, Position>,
    returns: BTreeMap<Position, u32>,
}

impl Model {
    pub(super) fn apply_all(&mut self, records: &[Record]) {
        records.iter().for_each(|record| self.apply(record));
    }

    pub(super) fn apply(&mut self, record: &Record) {
        self.last.0 += 1;
        match record.clone() {
            Record::ExchangeDeclared(exchange) => self.exchanges.push(exchange),
            Record::ExchangeDeleted { name } => {
                self.exchanges.retain(|exchange| exchange.name != name);
                let gone = BoundTo::Exchange(name.clone());
                self.bindings
                    .retain(|binding| binding.source != name && binding.destination != gone);
            }
            Record::QueueDeclared(definition) => {
                self.last_queue_id = definition.id;
                let queue = ModelQueue {
                    definition,
                    messages: BTreeMap::new(),
                    last_position: 0,
                    given: 0,
                    delivered: BTreeMap::new(),
                    returns: BTreeMap::new(),
                };
                self.queues.insert(queue.definition.id, queue);
            }
            Record::QueueDeleted { id } => {
                self.queues.remove(&id);
                self.bindings.retain(|binding| binding.destination != BoundTo::Queue(id));
            }
            Record::Bound(binding) => self.bindings.push(binding),
            Record::Unbound(binding) => self.bindings.retain(|known| *known != binding),
            Record::Enqueued { message, placements } => {
                for Placement { queue, position, expires_at } in placements {
                    let message = message.clone();
                    let queue = self.queues.get_mut(&queue).unwrap();
                    queue.last_position = position;
                    queue.given = queue.given.max(position);
                    let message = RecoveredMessage { position, expires_at, message };
                    queue.messages.insert(position, message);
                }
            }
            Record::Settled { queue, first, last, .. } => {
                let queue = self.queues.get_mut(&queue).unwrap();
                queue.last_position = queue.last_position.max(last);
                queue.given = queue.given.max(last);
                queue.messages.retain(|position, _| !(first..=last).contains(position));
                queue.returns.retain(|position, _| !(first..=last).contains(position));
            }
            Record::Delivered { queue, priority, position } => {
                let queue = self.queues.get_mut(&queue).unwrap();
                queue.last_position = queue.last_position.max(position);
                queue.given = queue.given.max(position);
                let mark = queue.delivered.entry(priority).or_default();
                *mark = position.max(*mark);
            }
            Record::Returned { queue, first, last, returns } => {
                let queue = self.queues.get_mut(&queue).unwrap();
                queue.last_position = queue.last_position.max(last);
                queue.given = queue.given.max(last);
                let there = queue.messages.range(first..=last).map(|(&position, _)| position);
                queue.returns.extend(there.map(|position| (position, returns)));
            }
        }
    }

    pub(super) fn recovered(&self) -> Recovered {
        let queues = self.queues.values().map(|queue| RecoveredQueue {
            definition: queue.definition.clone(),
            messages: queue.messages.values().cloned().collect(),
            cold: None,
            returns: queue
                .returns
                .iter()
                .map(|(&position, &returns)| (position, returns))
                .collect(),
            last_position: queue.last_position,
            delivered: queue.delivered.iter().map(|(&priority, &mark)| (priority, mark)).collect(),
        });
        Recovered {
            exchanges: self.exchanges.clone(),
            queues: queues.collect(),
            bindings: self.bindings.clone(),
            last_lsn: self.last,
            last_queue_id: self.last_queue_id,
        }
    }

    /// Some records that a core in this state could emit.
    pub(super) fn invent_batch(&self, dice: &mut Dice) -> Vec<Record> {
        let mut ahead = self.clone();
        let count = 1 + dice.below(6);
        (0..count)
            .map(|_| {
                let record = ahead.invent(dice);
                ahead.apply(&record);
                record
            })
            .collect()
    }

    fn invent(&self, dice: &mut Dice) -> Record {
        let ids: Vec<DurableQueueId> = self.queues.keys().copied().collect();
        if ids.is_empty() || ids.len() < 5 && dice.one_in(20) {
            let mut definition = declared_queue(self.last_queue_id.0 + 1);
            if dice.one_in(4) {
                definition.arguments = priorities();
            }
            return Record::QueueDeclared(definition);
        }
        let id = ids[dice.below(ids.len() as u64) as usize];
        let queue = &self.queues[&id];
        match dice.below(100) {
            0..=1 => Record::QueueDeleted { id },
            2..=7 => self.invent_definition(dice, id),
            8..=13 => Record::Delivered {
                queue: id,
                priority: dice.below(3) as u8,
                position: dice.below(queue.last_position + 3),
            },
            14..=16 => {
                let first = dice.below(queue.last_position + 1);
                let last = (first + dice.below(6)).min(queue.given).max(first);
                Record::Returned { queue: id, first, last, returns: dice.below(9) as u32 }
            }
            17..=20 => {
                let first = dice.below(queue.last_position + 1);
                let last = first + dice.below(queue.last_position - first + 3);
                Record::Settled { queue: id, first, last, acknowledged: false }
            }
            21..=55 if !queue.messages.is_empty() => {
                // Mostly the oldest, sometimes another.
                let index =
                    if dice.one_in(4) { dice.below(queue.messages.len() as u64) } else { 0 };
                let position = *queue.messages.keys().nth(index as usize).unwrap();
                Record::Settled { queue: id, first: position, last: position, acknowledged: false }
            }
            _ => {
                let chosen = ids.iter().filter(|&&other| other == id || dice.one_in(4));
                let places: Vec<_> = chosen.copied().collect();
                let places: Vec<_> = places
                    .into_iter()
                    .map(|id| (id, self.queues[&id].given + 1 + dice.below(8) / 6))
                    .collect();
                let length = if dice.one_in(30) { 1500 } else { dice.below(120) };
                let mut record = enqueued(&places, length as usize);
                if let Record::Enqueued { placements, .. } = &mut record
                    && dice.one_in(3)
                {
                    placements[0].expires_at = Some(Time::from_millis(dice.below(1000)));
                }
                record
            }
        }
    }

    /// Forgets what went with the process: the positions that no record spoke of.
    pub(super) fn restart(&mut self) {
        self.queues.values_mut().for_each(|queue| queue.given = queue.last_position);
    }

    /// Messages of a queue that a core could want out of its memory, and some that the store has
    /// to pass over.
    pub(super) fn invent_page(&mut self, dice: &mut Dice, id: DurableQueueId) -> Vec<PagedMessage> {
        let queue = self.queues.get_mut(&id).unwrap();
        let mut page = BTreeMap::new();
        let begin = dice.below(queue.given + 2);
        for (&position, message) in queue.messages.range(begin..).take(1 + dice.below(9) as usize) {
            if dice.one_in(4) {
                continue;
            }
            let RecoveredMessage { expires_at, ref message, .. } = *message;
            let message = message.clone();
            page.insert(position, PagedMessage { position, expires_at, recorded: true, message });
        }
        if dice.one_in(5) {
            let position = dice.below(queue.given + 1);
            if !queue.messages.contains_key(&position) {
                page.insert(position, unrecorded(position, dice, true));
            }
        }
        for _ in 0..dice.below(4) {
            queue.given += 1 + dice.below(3) / 2;
            page.insert(queue.given, unrecorded(queue.given, dice, false));
        }
        page.into_values().collect()
    }

    fn invent_definition(&self, dice: &mut Dice, id: DurableQueueId) -> Record {
        let number = dice.below(4);
        let name = string(&format!("exchange {number}"));
        if self.exchanges.iter().all(|exchange| exchange.name != name) {
            return Record::ExchangeDeclared(ExchangeDefinition {
                name,
                kind: string("topic"),
                auto_delete: dice.one_in(2),
                internal: dice.one_in(2),
                arguments: TableBuf::default(),
            });
        }
        if dice.one_in(6) {
            return Record::ExchangeDeleted { name };
        }
        let destination = if dice.one_in(3) {
            BoundTo::Exchange(string("exchange 0"))
        } else {
            BoundTo::Queue(id)
        };
        let binding = BindingDefinition {
            source: name,
            destination,
            routing_key: string(&format!("key {}", dice.below(3))),
            arguments: TableBuf::default(),
        };
        if self.bindings.contains(&binding) {
            Record::Unbound(binding)
        } else {
            Record::Bound(binding)
        }
    }
}

pub(super) fn string(text: &str) -> ShortString {
    ShortString::new(text.as_bytes()).unwrap()
}

pub(super) fn declared_queue(id: u64) -> QueueDefinition {
    QueueDefinition {
        id: DurableQueueId(id),
        name: string(&format!("queue {id}")),
        auto_delete: id.is_multiple_of(2),
        arguments: TableBuf::default(),
    }
}

/// A message that is not in the log.
pub(super) fn unrecorded(position: Position, dice: &mut Dice, recorded: bool) -> PagedMessage {
    let body = vec![b't'; dice.below(90) as usize];
    let (exchange, key) = (ShortStr::from_static("transient"), ShortStr::EMPTY);
    let message = Message::new(exchange, key, Properties::EMPTY, &body);
    let expires_at = dice.one_in(3).then(|| Time::from_millis(dice.below(1000)));
    PagedMessage { position, expires_at, recorded, message }
}

/// The arguments of a queue whose messages are all kept in memory.
fn priorities() -> TableBuf {
    TableBuf::parse(b"\x0ex-max-priorityb\x05").unwrap()
}

/// Pages in everything cold and adds it to the messages, as if it had been read at the start.
/// Unless something is damaged, what was said of the cold part is exact.
pub(super) fn warm_up(store: &mut Store, recovered: &mut Recovered) {
    for queue in &mut recovered.queues {
        let Some(cold) = queue.cold.take() else { continue };
        assert!(!queue.definition.is_kept_in_memory());
        let owner = PageOwner::Durable(queue.definition.id);
        let paged = page_in_all(store, owner, cold.first, cold.last);
        let damage = store.take_damage();
        if damage.is_empty() {
            let body_bytes = paged.iter().map(|paged| paged.message.body().len() as u64).sum();
            let found = Cold {
                first: paged.first().map_or(0, |paged| paged.position),
                last: paged.last().map_or(0, |paged| paged.position),
                messages: paged.len() as u64,
                octets: body_bytes,
            };
            assert_eq!(found, cold, "{owner:?}");
        }
        store.damage = damage;
        queue.messages.extend(paged.into_iter().map(|paged| {
            assert!(paged.recorded);
            let PagedMessage { position, expires_at, message, .. } = paged;
            RecoveredMessage { position, expires_at, message }
        }));
        queue.messages.sort_by_key(|message| message.position);
    }
}

/// What is in the segments of a queue from one position to another, read a few messages at a time.
pub(super) fn page_in_all(
    store: &mut Store,
    owner: PageOwner,
    first: Position,
    last: Position,
) -> Vec<PagedMessage> {
    let mut messages: Vec<PagedMessage> = Vec::new();
    let mut next = Some(first);
    while let Some(first) = next {
        let page = store.page_in(owner, first, last, 300).expect("the disk can be read");
        assert_eq!(page.owner, owner);
        messages.extend(page.messages);
        next = page.next;
    }
    assert!(messages.is_sorted_by(|one, other| one.position < other.position));
    messages
}

/// A message with a body of this length, different for different places.
pub(super) fn enqueued(places: &[(DurableQueueId, Position)], length: usize) -> Record {
    let mut body = format!("{places:?}").into_bytes();
    body.resize(length, b'.');
    let key = ShortStr::from_static("key");
    Record::Enqueued {
        message: Message::new(ShortStr::EMPTY, key, Properties::EMPTY, &body),
        placements: places
            .iter()
            .map(|&(queue, position)| Placement { queue, position, expires_at: None })
            .collect(),
    }
}

/// Compares part by part, so that a failure can be read.
pub(super) fn assert_same(found: &Recovered, expected: &Recovered) {
    assert_eq!(found.last_lsn, expected.last_lsn);
    assert_eq!(found.last_queue_id, expected.last_queue_id);
    assert_eq!(found.exchanges, expected.exchanges);
    assert_eq!(found.bindings, expected.bindings);
    let definitions = |recovered: &Recovered| -> Vec<QueueDefinition> {
        recovered.queues.iter().map(|queue| queue.definition.clone()).collect()
    };
    assert_eq!(definitions(found), definitions(expected));
    for (found, expected) in found.queues.iter().zip(&expected.queues) {
        let positions = |queue: &RecoveredQueue| -> Vec<Position> {
            queue.messages.iter().map(|message| message.position).collect()
        };
        let id = found.definition.id;
        assert_eq!(positions(found), positions(expected), "{id:?}");
        assert_eq!(found, expected);
    }
}
