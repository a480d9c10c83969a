//! All exchanges of a virtual host, and the way of a message through them.

use hashbrown::HashMap;
use leveret_codec::ShortString;

use super::delayed::is_delayed;
use super::{Binding, Destination, Exchange, Routed, Routes, TooManyNodes};
use crate::broker::arena::Arena;
use crate::broker::error::Checked;
use crate::broker::ids::{ExchangeId, kind};

/// All exchanges of a virtual host but the default one, which is no more than the queues' names.
#[derive(Default)]
pub struct Exchanges {
    arena: Arena<kind::Exchange, Exchange>,
    names: HashMap<ShortString, ExchangeId>,
    /// Exchanges met while one message is routed; kept for its memory.
    met: Vec<ExchangeId>,
    /// How many messages have been routed.
    round: u64,
    /// What all of them take with their bindings and what they remember, in bytes.
    definitions: u64,
    /// What all of them remember of messages, in bytes.
    remembered: u64,
    /// How much that may be, if it is limited.
    max_remembered: Option<u64>,
}

impl Exchanges {
    /// Adds an exchange; none of its name may be there.
    pub fn insert(&mut self, exchange: Exchange) -> ExchangeId {
        let name = exchange.name.clone();
        self.definitions += exchange.weight();
        let id = self.arena.insert(exchange);
        self.names.insert(name, id);
        id
    }

    /// Takes an exchange out. Its bindings are the caller's business.
    pub fn remove(&mut self, id: ExchangeId) -> Option<Exchange> {
        let exchange = self.arena.remove(id)?;
        self.definitions -= exchange.weight();
        self.remembered -= exchange.remembered();
        self.names.remove(exchange.name.as_bytes());
        Some(exchange)
    }

    /// Adds a binding to an exchange; false when it is there already, or the exchange is not.
    pub fn bind(&mut self, source: ExchangeId, binding: Binding) -> Checked<bool> {
        let Some(exchange) = self.arena.get_mut(source) else { return Ok(false) };
        let before = exchange.bound;
        let is_new = exchange.bind(binding)?;
        self.definitions += exchange.bound - before;
        Ok(is_new)
    }

    /// Removes a binding from an exchange; false when either is not there.
    pub fn unbind(&mut self, source: ExchangeId, binding: &Binding) -> bool {
        let Some(exchange) = self.arena.get_mut(source) else { return false };
        let before = exchange.bound;
        let was_there = exchange.unbind(binding);
        self.definitions -= before - exchange.bound;
        was_there
    }

    /// What all of them remember of messages may take so much, in bytes.
    pub fn set_max_remembered(&mut self, max: u64) {
        self.max_remembered = Some(max);
    }

    /// What all of them take with their bindings and what they remember, in bytes.
    pub fn definition_weight(&self) -> u64 {
        self.definitions
    }

    /// The same, counted again: for tests.
    pub fn counted_definition_weight(&self) -> u64 {
        let weight = |exchange: &Exchange| {
            let bindings = exchange.bindings.iter().map(|binding| exchange.weight_of(binding));
            assert_eq!(bindings.sum::<u64>(), exchange.bound);
            exchange.weight()
        };
        self.iter().map(|(_, exchange)| weight(exchange)).sum()
    }

    /// The exchange of this name.
    pub fn find(&self, name: &[u8]) -> Option<ExchangeId> {
        self.names.get(name).copied()
    }

    /// The exchange, while it is there.
    pub fn get(&self, id: ExchangeId) -> Option<&Exchange> {
        self.arena.get(id)
    }

    /// The exchange to change, while it is there.
    pub fn get_mut(&mut self, id: ExchangeId) -> Option<&mut Exchange> {
        self.arena.get_mut(id)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (ExchangeId, &Exchange)> {
        self.arena.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.arena.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.arena.is_empty()
    }

    /// Appends where a message published to `from` goes, through exchanges bound to exchanges and,
    /// where one finds nothing at all, its alternate exchange.
    ///
    /// Says how many steps that took: about one for each further exchange and for what was looked at in vain.
    ///
    /// invariant: each exchange is asked at most once, so circles end.
    pub fn route(&mut self, from: ExchangeId, message: Routed<'_>, routes: &mut Routes) -> usize {
        let mut met = std::mem::take(&mut self.met);
        met.clear();
        met.push(from);
        self.round += 1;
        let round = self.round;
        let (mut next, mut steps) = (0, 0);
        while let Some(&id) = met.get(next) {
            next += 1;
            let Some(exchange) = self.arena.get_mut(id) else { continue };
            exchange.met_in = round;
            // rabbitmq: wherever it is met, be it first or on the way.
            if exchange.delayed.is_some() && is_delayed(message.properties) {
                routes.delaying.push(id);
                continue;
            }
            let (first, mut found_any) = (met.len(), false);
            let remembered = exchange.remembered();
            let routed = exchange.route(message, |destination| {
                found_any = true;
                match destination {
                    Destination::Queue(queue) => routes.queues.push(queue),
                    Destination::Exchange(other) => met.push(other),
                }
            });
            match routed {
                Ok(taken) => steps += taken,
                Err(TooManyNodes) => {
                    routes.refuse(id);
                    steps += TooManyNodes::STEPS;
                    break;
                }
            }
            if exchange.remembered() != remembered {
                if self.max_remembered.is_some_and(|max| self.remembered > max) {
                    exchange.forget_some();
                }
                let now = exchange.remembered();
                self.remembered = self.remembered - remembered + now;
                self.definitions = self.definitions - remembered + now;
            }
            if !found_any
                && let Some(name) = exchange.alternate.clone()
                && let Some(alternate) = self.find(name.as_bytes())
            {
                met.push(alternate);
            }
            self.forget_met(&mut met, first, round);
        }
        self.met = met;
        steps + next.saturating_sub(1)
    }

    /// Takes those out of a list, from `first` on, that were met in this round before.
    fn forget_met(&mut self, met: &mut Vec<ExchangeId>, first: usize, round: u64) {
        let mut kept = first;
        for index in first..met.len() {
            let id = met[index];
            let Some(exchange) = self.arena.get_mut(id) else { continue };
            if std::mem::replace(&mut exchange.met_in, round) != round {
                met[kept] = id;
                kept += 1;
            }
        }
        met.truncate(kept);
    }

    /// The exchange at a place, for whoever visits all of them in steps: see [`Arena::at`].
    pub fn at(&self, place: usize) -> Option<ExchangeId> {
        self.arena.at(place).map(|(id, _)| id)
    }

    /// Behind the last place there ever was.
    pub fn end(&self) -> usize {
        self.arena.end()
    }
}
