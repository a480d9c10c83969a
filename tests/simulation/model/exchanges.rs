//! Exchanges and bindings: where a message goes.

use std::collections::BTreeSet;

use super::{Content, Model};

/// An exchange that may be declared.
pub(crate) struct ExchangeKind {
    pub(crate) name: &'static str,
    pub(crate) durable: bool,
    /// Direct otherwise.
    pub(crate) fanout: bool,
}

/// All exchanges there may be.
pub(crate) const EXCHANGES: [ExchangeKind; 3] = [
    ExchangeKind { name: "all", durable: true, fanout: true },
    ExchangeKind { name: "by key", durable: true, fanout: false },
    ExchangeKind { name: "for now", durable: false, fanout: false },
];

pub(crate) const KEYS: &[&str] = &["red", "blue"];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Binding {
    pub(crate) source: &'static str,
    pub(crate) queue: &'static str,
    pub(crate) key: &'static str,
}

pub(crate) fn exchange_kind(name: &str) -> &'static ExchangeKind {
    EXCHANGES.iter().find(|kind| kind.name == name).expect("an exchange of ours")
}

impl Model {
    pub(super) fn delete_exchange(&mut self, name: &str) {
        self.exchanges.remove(name);
        self.bindings.retain(|binding| binding.source != name);
    }

    /// The queues that a message goes to.
    pub(super) fn route(&self, content: &Content) -> Vec<&'static str> {
        if content.exchange.is_empty() {
            return self.queues.keys().filter(|name| **name == content.key).copied().collect();
        }
        let fanout = exchange_kind(&content.exchange).fanout;
        let bindings = self.bindings.iter().filter(|it| it.source == content.exchange);
        let matching = bindings.filter(|it| fanout || it.key == content.key);
        matching.map(|it| it.queue).collect::<BTreeSet<_>>().into_iter().collect()
    }
}
