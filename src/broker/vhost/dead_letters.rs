//! Dead-lettering: what leaves a queue otherwise than to a client is routed on from a list.
//!
//! rabbitmq: queues dead-letter to each other without end where topologies multiply: `n` queues that let
//! everything die at once and share a fanout as dead-letter exchange make about e·n! deaths of one publish.
//! Here what one death leads to has a bound, see [`limits::DEAD_LETTER_COPIES`] and
//! [`limits::DEAD_LETTER_QUEUES`].
//!
//! why: what a death leads to comes before the deaths that are listed already (depth first). So the list is
//! no longer than the queues that copies go to, times how deep they may go; and messages of a queue stay in
//! their order. Each client has a list of those that go back to its commands, and lists have their turns, so that
//! none waits for what another client's message multiplies into.

use std::collections::VecDeque;

use hashbrown::HashMap;
use leveret_codec::{ShortString, Value};

use super::Vhost;
use super::fan_out::{FanOut, Then};
use super::notice_tally::NoticeTally;
use super::publish::Source;
use crate::broker::dead_letter::{Death, Reason, dead_letter, died_in};
use crate::broker::ids::{ConnectionId, QueueId};
use crate::broker::limits;
use crate::broker::message::Message;
use crate::broker::notice::Notice;
use crate::broker::paging::Kept;
use crate::broker::ready::Entry;
use crate::broker::time::Time;

/// A message whose life in a queue ended and that has somewhere to go.
#[derive(Debug)]
pub(super) struct DeadLetter {
    message: Message,
    death: Death,
    /// Its place in the store, which is given up once its copy is there.
    kept: Option<Kept>,
    /// What it came from.
    origin: Origin,
    weight: u64,
}

/// What a death came from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    /// How many copies dead-lettering has made of what died first, at most.
    copies: u64,
    /// The client whose command it goes back to, if it does.
    client: Option<ConnectionId>,
}

/// The list of those that died and are to be routed on.
#[derive(Debug, Default)]
pub(super) struct DeadLetters {
    /// By the client whose command they go back to, if they do. No list is empty.
    lists: HashMap<Option<ConnectionId>, VecDeque<DeadLetter>>,
    /// Those that have a list, in the order of their turns.
    turns: VecDeque<Option<ConnectionId>>,
    /// Those that came of the one at hand, which go before all others of their list.
    born: Vec<DeadLetter>,
    /// What the deaths of now come from, while one that died before is routed on.
    routing: Option<Origin>,
    /// The client whose command is handled.
    client: Option<ConnectionId>,
    /// To how many queues the message at hand goes.
    width: u64,
    /// Those that were not routed on, by the queue.
    ended: NoticeTally,
}

/// What one occupies beside its message, in bytes.
const DEAD_LETTER_BYTES: u64 = 160;
/// How many steps it takes to route one on, and how many bytes of it or names of queues cost one more.
const STEPS: usize = 16;
const BYTES_A_STEP: usize = 256;
const NAMES_A_STEP: usize = 16;
/// How many of a list are routed on in a turn.
const A_TURN: usize = 64;

impl DeadLetters {
    pub(super) fn is_empty(&self) -> bool {
        self.lists.is_empty()
    }

    /// What all of them take in memory, in bytes.
    pub(super) fn weight(&self) -> u64 {
        self.lists.values().flatten().chain(&self.born).map(|it| it.weight).sum()
    }

    /// A command of a client is handled, or no longer: deaths go back to it. Says whose it was before.
    pub(super) fn set_client(&mut self, client: Option<ConnectionId>) -> Option<ConnectionId> {
        std::mem::replace(&mut self.client, client)
    }

    /// What the deaths of now come from.
    pub(super) fn origin(&self) -> Origin {
        self.routing.unwrap_or(Origin { copies: 1, client: self.client })
    }

    /// Deaths come from this from now on, while it is routed on. Says what they came from before.
    pub(super) fn set_routing(&mut self, origin: Option<Origin>) -> Option<Origin> {
        std::mem::replace(&mut self.routing, origin)
    }

    /// A message goes to so many queues.
    pub(super) fn set_width(&mut self, queues: usize) {
        self.width = queues as u64;
    }

    /// Those that came of one death go before all others of their list.
    pub(super) fn put_born_first(&mut self) {
        while let Some(born) = self.born.pop() {
            self.list_of(born.origin.client).push_front(born);
        }
    }

    /// How many of a client's are listed.
    pub(super) fn len_of(&self, client: ConnectionId) -> usize {
        self.lists.get(&Some(client)).map_or(0, VecDeque::len)
    }

    fn list_of(&mut self, client: Option<ConnectionId>) -> &mut VecDeque<DeadLetter> {
        self.lists.entry(client).or_insert_with(|| {
            self.turns.push_back(client);
            VecDeque::new()
        })
    }

    /// Takes the first one of a list.
    fn pop(&mut self, client: Option<ConnectionId>) -> Option<DeadLetter> {
        self.lists.get_mut(&client)?.pop_front()
    }

    /// The list whose turn it is; it is the last one then.
    fn next_turn(&mut self) -> Option<Option<ConnectionId>> {
        let client = self.turns.pop_front()?;
        self.turns.push_back(client);
        Some(client)
    }

    /// Forgets a list that is empty.
    fn end_turn(&mut self, client: Option<ConnectionId>) {
        if self.lists.get(&client).is_some_and(VecDeque::is_empty) {
            self.lists.remove(&client);
            // why the end: it has just had its turn, or is the only one that came of a command.
            if let Some(place) = self.turns.iter().rposition(|other| *other == client) {
                self.turns.remove(place);
            }
        }
    }

    fn note_ended(&mut self, now: Time, queue: &ShortString) -> Option<Notice> {
        self.ended.add(queue);
        let (queue, messages) = self.ended.due(now)?;
        Some(Notice::DeadLetteringEnded { queue, messages })
    }
}

impl Vhost {
    /// A message leaves a queue otherwise than to a client.
    pub(super) fn dead_letter_entry(&mut self, id: QueueId, entry: Entry, reason: Reason) {
        let Some(queue) = self.queues.get(id) else { return };
        let kept = queue.kept(&entry);
        self.dead_letter_message(id, entry.message, reason, kept);
    }

    /// A message that has a place in the store, or none, is to go where the queue sends its dead.
    pub(super) fn dead_letter_message(
        &mut self,
        id: QueueId,
        message: Message,
        reason: Reason,
        kept: Option<Kept>,
    ) {
        let Some(queue) = self.queues.get(id) else { return };
        let Some(exchange) = &queue.arguments.dead_letter_exchange else {
            self.release_from_store(kept);
            return;
        };
        let death = Death {
            reason,
            queue: queue.name.clone(),
            time: self.now,
            exchange: exchange.clone(),
            routing_key: queue.arguments.dead_letter_routing_key.clone(),
        };
        let letters = &mut self.work.dead_letters;
        // why: those that go to several queues at once share one body.
        let weight = DEAD_LETTER_BYTES + message.as_bytes().len() as u64 / letters.width.max(1);
        let origin = letters.origin();
        let dead = DeadLetter { message, death, kept, origin, weight };
        if letters.routing.is_some() {
            letters.born.push(dead);
        } else {
            letters.list_of(origin.client).push_back(dead);
        }
        self.work.add_weight(weight);
    }

    /// Routes those on that died of an input which is no client's, or of the command of a client, as far as
    /// the steps reach.
    pub(super) fn process_dead_letters(&mut self) {
        if !self.work.dead_letters.is_empty() {
            self.process_dead_letters_of(self.work.dead_letters.client, usize::MAX);
        }
    }

    /// Lists of dead letters have their turns, as far as the steps reach.
    pub(super) fn carry_on_dead_letters(&mut self) {
        for _ in 0..self.work.dead_letters.turns.len() {
            if self.work.is_exhausted() {
                return;
            }
            let Some(client) = self.work.dead_letters.next_turn() else { return };
            self.process_dead_letters_of(client, A_TURN);
        }
    }

    fn process_dead_letters_of(&mut self, client: Option<ConnectionId>, at_most: usize) {
        let mut done = 0;
        while done < at_most
            && self.finish_fan_outs()
            && let Some(dead) = self.work.dead_letters.pop(client)
        {
            done += 1;
            self.work.remove_weight(dead.weight);
            // A long list of deaths makes a message long, and each copy costs that.
            self.work.take(STEPS + dead.message.as_bytes().len() / BYTES_A_STEP);
            self.publish_dead(dead);
            self.work.dead_letters.set_routing(None);
            self.work.dead_letters.put_born_first();
        }
        self.work.dead_letters.end_turn(client);
    }

    fn publish_dead(&mut self, dead: DeadLetter) {
        let DeadLetter { message, death, kept, origin, .. } = dead;
        let exchange = match self.exchanges.find(death.exchange.as_bytes()) {
            Some(id) => Some(id),
            None if death.exchange.is_empty() => None,
            // rabbitmq: a dead-letter exchange that is not there loses the message silently.
            None => {
                self.release_from_store(kept);
                return;
            }
        };
        if died_in(&message).len() >= limits::DEAD_LETTER_QUEUES {
            self.end_dead_letter(&death, kept);
            return;
        }
        let copies = match (&death.routing_key, message.properties().headers()) {
            (None, Some(headers)) => copies_of(headers.find(b"CC")),
            _ => Vec::new(),
        };
        let message = dead_letter(&message, &death);
        if exchange.is_none() {
            self.deliver_replies(&message, &copies);
        }
        let mut routes = self.route(exchange, &message, &copies);
        if let Some(by) = routes.refused_by {
            self.note_refused(by);
        }
        for &exchange in &routes.delaying {
            self.delay(exchange, &message);
        }
        if death.reason != Reason::Rejected {
            let died_in = died_in(&message);
            self.work.take(routes.queues.len() * (1 + died_in.len() / NAMES_A_STEP));
            routes.queues.retain(|id| {
                let queue = self.queues.get(*id);
                queue.is_some_and(|queue| !died_in.contains(&queue.name.as_bytes()))
            });
        }
        let copies = origin.copies.saturating_mul(routes.queues.len().max(1) as u64);
        // why: the first time any number is meant so.
        if origin.copies > 1 && copies > limits::DEAD_LETTER_COPIES {
            self.batch.keep_routes(routes);
            self.end_dead_letter(&death, kept);
            return;
        }
        self.work.dead_letters.set_routing(Some(Origin { copies, ..origin }));
        let length = message.as_bytes().len();
        self.work.take(routes.queues.len() * (1 + length / BYTES_A_STEP));
        if routes.queues.len() > limits::AT_ONCE {
            let queues = std::mem::take(&mut routes.queues);
            self.add_fan_out(FanOut::new(message, None, queues, Then::Release(kept)), None);
        } else {
            self.enqueue(message, None, &routes.queues, Source::Broker);
            // why: only now. Should the broker die in between, the message is there twice rather
            // than lost.
            self.release_from_store(kept);
        }
        self.batch.keep_routes(routes);
    }

    /// A message is not routed on, for good.
    fn end_dead_letter(&mut self, death: &Death, kept: Option<Kept>) {
        let notice = self.work.dead_letters.note_ended(self.now, &death.queue);
        notice.into_iter().for_each(|notice| self.batch.notice(notice));
        self.release_from_store(kept);
    }
}

fn copies_of(header: Option<Value<'_>>) -> Vec<ShortString> {
    let Some(Value::Array(keys)) = header else { return Vec::new() };
    keys.iter().filter_map(|key| Some(ShortString::truncated(key.as_bytes()?))).collect()
}
