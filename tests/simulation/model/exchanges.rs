//! Exchanges and bindings: where a message goes.

use std::collections::BTreeSet;

use super::confirms::KeptIn;
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
    /// What one of the type x-delayed-message routes like.
    pub(crate) delayed_type: Option<&'static str>,
}

const PLAIN: ExchangeKind = ExchangeKind {
    name: "",
    kind: "direct",
    durable: true,
    auto_delete: false,
    internal: false,
    alternate: None,
    delayed_type: None,
};

/// To which a queue dead-letters; nobody else publishes to it.
pub(crate) const DEAD_LETTERS: &str = "dead letters";

/// All exchanges there may be.
pub(crate) const EXCHANGES: [ExchangeKind; 11] = [
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
    ExchangeKind {
        name: "later",
        kind: "x-delayed-message",
        delayed_type: Some("topic"),
        alternate: Some("unrouted"),
        ..PLAIN
    },
    ExchangeKind {
        name: "later for now",
        kind: "x-delayed-message",
        delayed_type: Some("fanout"),
        durable: false,
        auto_delete: true,
        ..PLAIN
    },
    ExchangeKind { name: DEAD_LETTERS, kind: "topic", ..PLAIN },
];

/// Routing keys of messages, and of bindings where they are compared as a whole.
pub(crate) const KEYS: &[&str] = &["red", "blue", "red.large", "blue..large", ""];
/// Routing keys of bindings of topic exchanges.
pub(crate) const PATTERNS: &[&str] = &["red", "*", "#", "*.large", "red.#", "#.large", ""];

/// Where a message goes.
#[derive(Clone, Debug, Default)]
pub(super) struct Routed {
    /// Each queue once.
    pub(super) queues: Vec<&'static str>,
    /// The exchanges that hold it back, and which of their names.
    pub(super) delayed_by: Vec<KeptIn>,
}

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

pub(crate) fn is_exchange(name: &str) -> bool {
    EXCHANGES.iter().any(|kind| kind.name == name)
}

impl Model {
    pub(super) fn delete_exchange(&mut self, name: &str) {
        self.exchanges.remove(name);
        self.delayed.remove(name);
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

    /// Where a message goes.
    pub(super) fn route(&self, content: &Content) -> Routed {
        if content.exchange.is_empty() {
            let queues = self.queues.keys().copied();
            let queues = queues.filter(|name| content.keys().any(|key| key == *name)).collect();
            return Routed { queues, delayed_by: Vec::new() };
        }
        self.route_from(exchange_kind(&content.exchange).name, content)
    }

    /// Where a message goes from an exchange.
    ///
    /// rabbitmq: each exchange is asked once, whatever leads to it; its alternate exchange gets what
    /// it has no destination for, be that a queue or an exchange. One that holds the message back asks no
    /// other.
    pub(super) fn route_from(&self, exchange: &'static str, content: &Content) -> Routed {
        let mut queues = BTreeSet::new();
        let mut delayed_by = Vec::new();
        let mut asked = vec![exchange];
        let mut next = 0;
        while let Some(&exchange) = asked.get(next) {
            next += 1;
            if let (Some(delayed), Some(_)) = (self.delayed.get(exchange), content.delay_ms()) {
                delayed_by.push((exchange, delayed.instance));
                continue;
            }
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
        Routed { queues: queues.into_iter().collect(), delayed_by }
    }

    /// Where an exchange alone sends a message.
    fn destinations(&self, exchange: &str, content: &Content) -> Vec<Destination> {
        let ExchangeKind { kind, delayed_type, .. } = exchange_kind(exchange);
        let matches = |it: &&Binding| match delayed_type.unwrap_or(*kind) {
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
