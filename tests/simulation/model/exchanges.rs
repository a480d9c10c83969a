//! Exchanges and bindings: where a message goes.

use std::collections::BTreeSet;

use super::{Content, Fields, Model, NOT_FOUND, headers_match, topic_matches};

/// An exchange that may be declared.
pub(crate) struct ExchangeKind {
    pub(crate) name: &'static str,
    /// Its type.
    pub(crate) kind: &'static str,
    pub(crate) durable: bool,
    pub(crate) auto_delete: bool,
    pub(crate) internal: bool,
    pub(crate) alternate: Option<&'static str>,
}

const PLAIN: ExchangeKind = ExchangeKind {
    name: "",
    kind: "direct",
    durable: true,
    auto_delete: false,
    internal: false,
    alternate: None,
};

/// To which a queue dead-letters; nobody else publishes to it.
pub(crate) const DEAD_LETTERS: &str = "dead letters";

/// All exchanges there may be.
pub(crate) const EXCHANGES: [ExchangeKind; 9] = [
    ExchangeKind { name: "all", kind: "fanout", ..PLAIN },
    ExchangeKind { name: "by key", ..PLAIN },
    ExchangeKind { name: "for now", durable: false, ..PLAIN },
    ExchangeKind { name: "by topic", kind: "topic", alternate: Some("unrouted"), ..PLAIN },
    ExchangeKind { name: "by headers", kind: "headers", alternate: Some("by topic"), ..PLAIN },
    ExchangeKind { name: "unrouted", kind: "fanout", alternate: Some("by key"), ..PLAIN },
    ExchangeKind {
        name: "passing on",
        kind: "topic",
        durable: false,
        auto_delete: true,
        alternate: Some("unrouted"),
        ..PLAIN
    },
    ExchangeKind { name: "inside", internal: true, ..PLAIN },
    ExchangeKind { name: DEAD_LETTERS, kind: "topic", ..PLAIN },
];

/// Routing keys of messages, and of bindings where they are compared as a whole.
pub(crate) const KEYS: &[&str] = &["red", "blue", "red.large", "blue..large", ""];
/// Routing keys of bindings of topic exchanges.
pub(crate) const PATTERNS: &[&str] = &["red", "*", "#", "*.large", "red.#", "#.large", ""];

/// What a binding leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Destination {
    Queue(&'static str),
    Exchange(&'static str),
}

/// A binding: all of it makes its identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Binding {
    pub(crate) source: &'static str,
    pub(crate) destination: Destination,
    pub(crate) key: &'static str,
    pub(crate) arguments: Fields,
}

pub(crate) fn exchange_kind(name: &str) -> &'static ExchangeKind {
    EXCHANGES.iter().find(|kind| kind.name == name).expect("an exchange of ours")
}

impl Model {
    pub(super) fn delete_exchange(&mut self, name: &str) {
        self.exchanges.remove(name);
        let to = |it: &Binding| matches!(it.destination, Destination::Exchange(to) if to == name);
        self.remove_bindings(|it| it.source == name || to(it));
    }

    pub(super) fn bind(&mut self, binding: Binding) -> Result<(), u16> {
        let is_there = match binding.destination {
            Destination::Queue(name) => self.queues.contains_key(name),
            Destination::Exchange(name) => self.exchanges.contains(name),
        };
        if !is_there || !self.exchanges.contains(binding.source) {
            return Err(NOT_FOUND);
        }
        self.bindings.insert(binding);
        Ok(())
    }

    /// Removes bindings, and the exchanges that go with their last one.
    pub(super) fn remove_bindings(&mut self, goes: impl Fn(&Binding) -> bool) {
        let gone: Vec<Binding> = self.bindings.extract_if(.., |it| goes(it)).collect();
        for Binding { source, .. } in gone {
            let is_unused = !self.bindings.iter().any(|it| it.source == source);
            if exchange_kind(source).auto_delete && is_unused && self.exchanges.contains(source) {
                self.delete_exchange(source);
            }
        }
    }

    /// The queues that a message goes to, each once.
    ///
    /// rabbitmq: each exchange is asked once, whatever leads to it; its alternate exchange gets what
    /// it has no destination for, be that a queue or an exchange.
    pub(super) fn route(&self, content: &Content) -> Vec<&'static str> {
        if content.exchange.is_empty() {
            let queues = self.queues.keys().copied();
            return queues.filter(|name| content.keys().any(|key| key == *name)).collect();
        }
        let mut queues = BTreeSet::new();
        let mut asked = vec![exchange_kind(&content.exchange).name];
        let mut next = 0;
        while let Some(&exchange) = asked.get(next) {
            next += 1;
            let mut found = self.destinations(exchange, content);
            if found.is_empty() {
                found.extend(self.alternate_of(exchange).map(Destination::Exchange));
            }
            for destination in found {
                match destination {
                    Destination::Queue(name) => _ = queues.insert(name),
                    Destination::Exchange(name) => {
                        if self.exchanges.contains(name) && !asked.contains(&name) {
                            asked.push(name);
                        }
                    }
                }
            }
        }
        queues.into_iter().collect()
    }

    /// Where an exchange alone sends a message.
    fn destinations(&self, exchange: &str, content: &Content) -> Vec<Destination> {
        let matches = |it: &&Binding| match exchange_kind(exchange).kind {
            "fanout" => true,
            "direct" => content.keys().any(|key| key == it.key),
            "topic" => content.keys().any(|key| topic_matches(it.key, key)),
            "headers" => headers_match(it.arguments, &content.headers),
            other => unreachable!("no exchange is {other}"),
        };
        let bindings = self.bindings.iter().filter(|it| it.source == exchange);
        bindings.filter(matches).map(|it| it.destination).collect()
    }
}
